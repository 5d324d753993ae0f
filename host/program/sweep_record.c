/* sweep_record.c -- DIR/sweep.json: the command of a sweep, and a line for each finished cell. */
#include "base/file.h"
#include "base/folder.h"
#include "base/sha256.h"
#include "base/version.h"
#include "program/grid_file.h"
#include "program/sweep.h"
#include "weights_tools/weights_tools.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char PROGRAM[] = "dg_cuda sweep";

/* ---- the command ---------------------------------------------------------------------------------------------------------------------- */
/* Options of generate that change no result: a sweep goes on with others. */
static const char *const free_option[] = {"batch", "vae-batch", "threads", "cache", "stats-every"};
static bool is_free(const Option *o) {
    for (size_t i = 0; i < sizeof free_option / sizeof *free_option; i++)
        if (!strcmp(o->name, free_option[i])) return true;
    return false;
}
/* What is not as by default, so that options of later versions make no difference. */
void sweep_put_options(const Sweep *s, Text *t) {
    const Command *c = s->cells->command;
    void *defaults = dg_alloc(c->options_bytes);
    if (c->defaults) c->defaults(defaults);
    bool first = true;
    for (int i = 0; i < c->options; i++) {
        Text usual = {0}, now = {0};
        option_json(&c->option[i], defaults, &usual), option_json(&c->option[i], s->base.options, &now);
        if (!is_free(&c->option[i]) && strcmp(usual.text, now.text))
            text_printf(t, "%s\"%s\": %s", first ? "" : ", ", c->option[i].name, now.text), first = false;
        text_free(&usual), text_free(&now);
    }
    free(defaults);
}
static void put_command(const Sweep *s, Text *t) {
    text_printf(t, "{\"version\": \"%s\", \"vary\": {", DG_VERSION);
    for (int i = 0; i < s->varied; i++) {
        text_printf(t, "%s\"%s\": [", i ? ", " : "", s->vary[i].option->name);
        for (int k = 0; k < s->vary[i].values; k++) {
            if (k) text_printf(t, ", ");
            text_json_string(t, s->vary[i].value[k]);
        }
        text_printf(t, "]");
    }
    text_printf(t, "}, \"seeds\": \"");
    for (int r = 0; r < s->ranges; r++) {
        if (r) text_printf(t, ",");
        sweep_seeds(t, &s->range[r], s->range[r].count);
    }
    text_printf(t, "\", \"metrics\": ");
    text_json_string(t, s->o->metrics);
    text_printf(t, ", \"screen\": %d, \"keep\": %d, \"options\": {", s->screen, s->keep);
    sweep_put_options(s, t);
    text_printf(t, "}}");
}
static bool check_command(const Sweep *s, const Json *before, Error *e) {
    Json *now = json_parse(s->command.text, s->command.len, e);
    DG_CHECK(now, "the record of a sweep does not parse: %s", e->text);
    Text differ = {0};
    for (const Json *j = now->child; j; j = j->next) {
        const Json *old = json_get(before, j->key);
        bool members = j->kind == JSON_OBJECT;
        if (!members || !old || old->kind != JSON_OBJECT) {
            json_difference(&differ, "", j->key, old, j);
            continue;
        }
        for (const Json *k = j->child; k; k = k->next) json_difference(&differ, j->key, k->key, json_get(old, k->key), k);
        for (const Json *k = old->child; k; k = k->next)
            if (!json_get(j, k->key)) json_difference(&differ, j->key, k->key, k, NULL);
    }
    json_free(now);
    bool same = !differ.len ||
                dg_error(e, "%s is of another sweep: choose another --outdir, or give that one's options (%s)", s->record, differ.text);
    text_free(&differ);
    return same;
}

/* ---- the files that its options name: a result of before is of no use where one has changed since --------------------------------------- */
static bool names_file(const Option *o) { return o->kind == OPTION_TEXT && !strncmp(o->value, "FILE", 4); }
static int named_files(const Sweep *s, const char ***path) { /* to be freed */
    const Command *c = s->cells->command;
    int n = 0, most = c->options;
    for (int i = 0; i < s->varied; i++) most += s->vary[i].values;
    *path = dg_alloc((size_t)most * sizeof **path);
    for (int i = 0; i < c->options; i++) {
        const char *named = NULL;
        if (!names_file(&c->option[i])) continue;
        memcpy(&named, (const char *)s->base.options + c->option[i].offset, sizeof named);
        if (named) (*path)[n++] = named;
    }
    for (int i = 0; i < s->varied; i++)
        for (int k = 0; k < s->vary[i].values && names_file(s->vary[i].option); k++) (*path)[n++] = s->vary[i].value[k];
    return n;
}
static void put_path(Text *t, const char *path) {
    if (t->len) text_printf(t, ",\n  ");
    text_json_string(t, path);
    text_printf(t, ": ");
}
static bool has_path(const Text *t, const char *path) { /* one file may serve two options */
    Text key = {0};
    put_path(&key, path);
    bool found = t->text && strstr(t->text, key.text);
    text_free(&key);
    return found;
}
static bool is_u64(const Json *object, const char *key, uint64_t wanted) {
    uint64_t value;
    return json_u64(json_get(object, key), &value) && value == wanted;
}
/* What a folder holds, by names, sizes and times: no order is needed, because every file's digest is added (exclusive or) to the others'.
 * Links to folders are not followed, as where images are read.                                                            */
enum { MOST_DEPTH = 32 };
static bool digest_folder(const char *path, const char *below, int depth, uint8_t sum[SHA256_BYTES], Error *e) {
    DIR *d = depth < MOST_DEPTH ? opendir(path) : NULL;
    bool ok = d || dg_error(e, "%s: cannot read the folder: %s", path, depth < MOST_DEPTH ? strerror(errno) : "folders without end");
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *name = path_join(below, entry->d_name), *whole = path_join(path, entry->d_name);
        struct stat own, st;
        bool there = lstat(whole, &own) == 0 && stat(whole, &st) == 0;
        if (there && S_ISDIR(own.st_mode)) ok = digest_folder(whole, name, depth + 1, sum, e);
        else if (there && S_ISREG(st.st_mode)) {
            Text t = {0};
            Sha256 h;
            uint8_t one[SHA256_BYTES];
            text_printf(&t, "%lld %lld %ld %s", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, name);
            sha256_init(&h), sha256_update(&h, t.text, t.len), sha256_final(&h, one);
            for (int i = 0; i < SHA256_BYTES; i++) sum[i] ^= one[i];
            text_free(&t);
        }
        free(name), free(whole);
    }
    if (d) closedir(d);
    return ok;
}
static bool digest_path(const char *path, bool folder, char hex[SHA256_HEX], Error *e) {
    uint8_t sum[SHA256_BYTES] = {0};
    if (!folder) return sha256_file(path, hex, e);
    if (!digest_folder(path, "", 0, sum, e)) return false;
    sha256_hex(sum, hex);
    return true;
}
/* The line of a regular file or a folder: its digest, and, of a file, the size and time by which it is known without reading it once more. */
static bool put_file(Text *t, Text *contents, const char *path, const Json *before, Error *e) {
    struct stat st;
    char hex[SHA256_HEX];
    const char *known = NULL;
    const Json *old = json_get(before, path);
    if (has_path(t, path)) return true;
    if (old && !json_get_string(old, "sha256", NULL, &known, e)) return false;
    if (stat(path, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) { /* where it is needed, generate says so */
        if (known) put_path(t, path), json_write(t, old), text_printf(contents, "%s\n", known);
        return true;
    }
    uint64_t bytes = (uint64_t)st.st_size, seconds = (uint64_t)st.st_mtim.tv_sec, nanoseconds = (uint64_t)st.st_mtim.tv_nsec;
    bool folder = S_ISDIR(st.st_mode), untouched = !folder && known && is_u64(old, "bytes", bytes) && is_u64(old, "seconds", seconds) &&
                                                   is_u64(old, "nanoseconds", nanoseconds);
    if (untouched) snprintf(hex, sizeof hex, "%s", known);
    else if (!digest_path(path, folder, hex, e)) return false;
    if (known && strcmp(known, hex))
        return dg_error(e, "%s %s when this sweep began: put back what was there, or choose another --outdir", path,
                        folder ? "does not hold the files (names, sizes, times) that it held" : "is another file than");
    put_path(t, path);
    text_printf(t, "{\"bytes\": %" PRIu64 ", \"seconds\": %" PRIu64 ", \"nanoseconds\": %" PRIu64 ", \"sha256\": \"%s\"}", bytes, seconds,
                nanoseconds, hex);
    text_printf(contents, "%s\n", hex);
    return true;
}
static bool put_files(Sweep *s, Text *t, const Json *before, Error *e) {
    const char **path;
    int n = named_files(s, &path);
    bool ok = true;
    for (int i = 0; i < n && ok; i++) ok = put_file(t, &s->contents, path[i], before, e);
    free(path);
    return ok;
}
bool sweep_reads(const Sweep *s, const char *file) {
    const char **path;
    int n = named_files(s, &path);
    bool found = is_input(file, path, n) || is_input(file, (const char *const[]){s->record}, 1);
    free(path);
    return found;
}
bool sweep_keeps(const Sweep *s, const char *file) {
    char *target = out_target(file);
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target, *end = strrchr(name, '.');
    Text t = {0};
    text_printf(&t, "%s/%s", s->o->outdir, name);
    bool found = end && !strcmp(end, ".npz") && same_target(file, t.text);
    free(target), text_free(&t);
    return found;
}

/* ---- cells ---------------------------------------------------------------------------------------------------------------------------- */
static void put_cell(const Sweep *s, Text *t, int setting, const SweepCell *cell, const SweepRange *r, size_t count) {
    text_printf(t, "%s{\"setting\": ", t->len ? ",\n  " : "");
    text_json_string(t, s->name[setting]);
    text_printf(t, ", \"seeds\": \"");
    sweep_seeds(t, r, count);
    text_printf(t, "\", \"images\": %zu, \"seconds\": %.3f, \"results\": {", count, cell->seconds);
    for (int i = 0; i < cell->values; i++) {
        text_printf(t, "%s\"%s\": ", i ? ", " : "", cell->value[i].name);
        text_json_double(t, cell->value[i].value);
    }
    text_printf(t, "}}");
}
static double value_of(const Json *j) { /* as text_json_double writes it */
    if (j->kind == JSON_NUMBER) return j->number;
    if (j->kind == JSON_STRING) return strtod(j->string, NULL);
    return (double)NAN;
}
/* The cell of a line of the record. NULL: none of this sweep. */
static SweepCell *find_cell(Sweep *s, const char *setting, const char *seeds) {
    SweepCell *found = NULL;
    for (int k = 0; k < s->settings && !found; k++) {
        if (strcmp(s->name[k], setting)) continue;
        for (int r = -1; r < s->ranges && !found; r++) {
            Text t = {0};
            sweep_seeds(&t, &s->range[r < 0 ? 0 : r], r < 0 ? (size_t)s->screen : s->range[r].count);
            if (!strcmp(t.text, seeds)) found = r < 0 ? &s->screened[k] : &s->full[k * s->ranges + r];
            text_free(&t);
        }
    }
    return found;
}
static bool take_cell(Sweep *s, const Json *line, Error *e) {
    const char *setting, *seeds;
    SweepCell *cell = NULL;
    if (json_get_string(line, "setting", "", &setting, e) && json_get_string(line, "seeds", "", &seeds, e))
        cell = find_cell(s, setting, seeds);
    const Json *results = json_get(line, "results");
    bool fits = cell && !cell->done && results && results->kind == JSON_OBJECT && results->count > 0 && results->count <= MAX_VALUES &&
                json_get_double(line, "seconds", 0, &cell->seconds, e);
    for (const Json *v = fits ? results->child : NULL; v && fits; v = v->next) {
        SweepValue *value = &cell->value[cell->values++];
        fits = strlen(v->key) < sizeof value->name;
        snprintf(value->name, sizeof value->name, "%s", v->key);
        value->value = value_of(v);
    }
    if (!fits) return dg_error(e, "%s: a line of its cells is damaged: remove that line, and its cell is measured once more", s->record);
    return cell->done = true, s->finished++, true;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------------- */
/* s->command: the command, and behind it the files. */
static bool settle_command(Sweep *s, const Json *before, Error *e) {
    put_command(s, &s->command);
    if (before && !check_command(s, json_get(before, "command"), e)) return false;
    Text files = {0};
    bool ok = put_files(s, &files, json_get(before, "files"), e);
    text_printf(&s->command, ",\n \"files\": {%s}", files.len ? files.text : "");
    text_free(&files);
    return ok;
}
bool sweep_record_open(Sweep *s, Error *e) {
    struct stat st;
    file_remove_strays(s->record);
    Json *before = NULL;
    bool ok = true;
    if (lstat(s->record, &st) == 0) {
        ok = (before = json_parse_file(s->record, e)) != NULL;
        const Json *program = json_get(before, "program");
        if (ok && (!program || program->kind != JSON_STRING || strcmp(program->string, PROGRAM) || !json_get(before, "command")))
            ok = dg_error(e, "%s: not the record of a sweep", s->record);
        if (!ok) dg_error_context(e, "--outdir");
    }
    const Json *cells = json_get(before, "cells");
    bool any = cells && cells->count > 0; /* where nothing was measured another command may begin */
    ok = ok && settle_command(s, any ? before : NULL, e);
    for (const Json *line = cells ? cells->child : NULL; ok && line; line = line->next) ok = take_cell(s, line, e);
    json_free(before);
    return ok && sweep_record_write(s, e);
}
bool sweep_record_write(const Sweep *s, Error *e) {
    Text cells = {0}, t = {0};
    for (int k = 0; k < s->settings; k++)
        if (s->screened[k].done) put_cell(s, &cells, k, &s->screened[k], &s->range[0], (size_t)s->screen);
    for (int k = 0; k < s->settings; k++)
        for (int r = 0; r < s->ranges; r++)
            if (s->full[k * s->ranges + r].done) put_cell(s, &cells, k, &s->full[k * s->ranges + r], &s->range[r], s->range[r].count);
    text_printf(&t, "{\"program\": \"%s\",\n \"command\": %s,\n \"cells\": [", PROGRAM, s->command.text);
    text_printf(&t, "%s%s]}\n", cells.len ? "\n  " : "", cells.len ? cells.text : "");
    bool ok = out_whole(s->record, t.text, t.len, e);
    text_free(&cells), text_free(&t);
    return ok;
}
