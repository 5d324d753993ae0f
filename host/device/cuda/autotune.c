/* autotune.c -- choosing between implementations by measurement, and the file that remembers. */
#include "device/cuda/autotune.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char FORMAT[] = "dg_cuda autotune, format 2";
static const double CLEARLY_FASTER = 0.97; /* of our own time */
enum { MAX_BYTES = 4 << 20, MAX_FIELD = 512, MAX_TIMES = 64 << 10, FIELDS = 4 };

typedef struct {
    char *device, *layer, *name, *times; /* times: a JSON object, microseconds of every implementation that could run the layer */
    bool used, measured;                 /* asked for in this run; and measured in it */
} Choice;
struct Autotune {
    char *path, *device;
    Choice *choice;
    size_t count;
    bool changed, foreign; /* foreign: the file is not ours, and is not to be overwritten */
};

/* ---- the file ---------------------------------------------------------------------------------------------------------------- */
static bool is_text(const char *s, size_t n, size_t limit) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 32 || (unsigned char)s[i] > 126) return false;
    return n > 0 && n < limit;
}
static char *copy(const char *s, size_t n) {
    char *p = dg_alloc(n + 1);
    memcpy(p, s, n);
    return p;
}
static Choice *find(Autotune *a, const char *device, const char *layer) {
    for (size_t i = 0; i < a->count; i++)
        if (!strcmp(a->choice[i].layer, layer) && !strcmp(a->choice[i].device, device)) return &a->choice[i];
    return NULL;
}
static Choice *put(Autotune *a, const char *device, const char *layer, const char *name, const char *times) {
    Choice *c = find(a, device, layer);
    if (!c) {
        a->choice = dg_realloc(a->choice, (a->count + 1) * sizeof *a->choice);
        c = &a->choice[a->count++];
        *c = (Choice){.device = dg_strdup(device), .layer = dg_strdup(layer)};
    }
    free(c->name), free(c->times);
    c->name = dg_strdup(name), c->times = dg_strdup(times);
    return c;
}
/* Whether this is an object of positive times, that of `name` among them. */
static bool are_times(const char *text, const char *name) {
    Json *j = json_parse(text, strlen(text), NULL);
    bool ok = j && j->kind == JSON_OBJECT && json_get(j, name);
    for (const Json *k = ok ? j->child : NULL; k && ok; k = k->next) ok = k->kind == JSON_NUMBER && k->number > 0 && isfinite(k->number);
    json_free(j);
    return ok;
}
/* One line without its end; false when it is none of ours. */
static bool read_line(Autotune *a, const char *s, size_t n) {
    const char *field[FIELDS];
    size_t length[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        const char *end = i < FIELDS - 1 ? memchr(s, '\t', n) : s + n;
        if (!end || !is_text(s, (size_t)(end - s), i < FIELDS - 1 ? MAX_FIELD : MAX_TIMES)) return false;
        field[i] = s, length[i] = (size_t)(end - s);
        if (i < FIELDS - 1) n -= length[i] + 1, s = end + 1;
    }
    char *text[FIELDS];
    for (int i = 0; i < FIELDS; i++) text[i] = copy(field[i], length[i]);
    bool ok = are_times(text[3], text[2]);
    if (ok && !find(a, text[0], text[1])) put(a, text[0], text[1], text[2], text[3]); /* what this run knows is newer */
    for (int i = 0; i < FIELDS; i++) free(text[i]);
    return ok;
}
static bool read_lines(Autotune *a, const char *s, size_t n, Error *e) {
    size_t line = 0;
    while (n) {
        const char *end = memchr(s, '\n', n);
        size_t length = end ? (size_t)(end - s) : n;
        bool good = line ? end && read_line(a, s, length) : length == sizeof FORMAT - 1 && !memcmp(s, FORMAT, length);
        if (!good)
            return dg_error(e, "%s: line %zu is not one of an autotune file: it is not used, and not overwritten", a->path, line + 1);
        s += length + (end != NULL), n -= length + (end != NULL), line++;
    }
    return true;
}
static void forget(Autotune *a) {
    for (size_t i = 0; i < a->count; i++)
        free(a->choice[i].device), free(a->choice[i].layer), free(a->choice[i].name), free(a->choice[i].times);
    free(a->choice);
    a->choice = NULL, a->count = 0;
}
/* Adds what the file holds; a missing file holds nothing. */
static bool read_file(Autotune *a, Error *e) {
    struct stat s;
    FileMap m;
    if (stat(a->path, &s)) return errno == ENOENT || dg_error(e, "%s: %s", a->path, strerror(errno));
    if (!S_ISREG(s.st_mode) || s.st_size > MAX_BYTES)
        return dg_error(e, "%s is not an autotune file: it is not used, and not overwritten", a->path);
    if (!file_map(a->path, &m, e)) return false;
    bool ok = read_lines(a, (const char *)m.data, m.bytes, e);
    file_unmap(&m);
    return ok;
}
Autotune *autotune_open(const char *path, const char *device, Error *refused) {
    DG_CHECK(is_text(device, strlen(device), MAX_FIELD), "autotune: a device's name of one printable line is wanted");
    Autotune *a = dg_alloc(sizeof *a);
    a->device = dg_strdup(device);
    if (path) a->path = dg_strdup(path);
    if (path && !read_file(a, refused)) forget(a), a->foreign = true;
    return a;
}
static void free_all(Autotune *a) {
    forget(a);
    free(a->path), free(a->device);
    free(a);
}
static bool write_file(Autotune *a, Error *e) {
    if (!make_parent(a->path, e) || !read_file(a, e)) return false; /* choices that others have added */
    Text t = {0};
    text_printf(&t, "%s\n", FORMAT);
    for (size_t i = 0; i < a->count; i++) {
        const Choice *c = &a->choice[i];
        text_printf(&t, "%s\t%s\t%s\t%s\n", c->device, c->layer, c->name, c->times);
    }
    OutFile *f = out_open(a->path, e);
    bool ok = f && out_write(f, t.text, t.len, e);
    if (ok) ok = out_finish(f, e);
    else if (f) out_abandon(f);
    text_free(&t);
    return ok;
}
bool autotune_close(Autotune *a, Error *e) {
    if (!a) return true;
    bool ok = !a->path || a->foreign || !a->changed || write_file(a, e);
    free_all(a);
    return ok;
}

/* ---- choosing ------------------------------------------------------------------------------------------------------------------ */
int autotune_choose(Autotune *a, const char *layer, const char *const *candidate, int candidates, AutotuneTime time, void *context) {
    DG_CHECK(candidates > 0 && is_text(layer, strlen(layer), MAX_FIELD), "autotune: layer %s, %d candidates", layer, candidates);
    Choice *known = find(a, a->device, layer);
    for (int i = 0; known && i < candidates; i++)
        if (!strcmp(known->name, candidate[i])) return known->used = true, i;
    int best = -1;
    double least = INFINITY;
    Text times = {0};
    for (int i = 0; i < candidates; i++) {
        double seconds = time(context, i);
        if (!(seconds > 0) || !isfinite(seconds)) continue;
        text_printf(&times, "%s", best < 0 ? "{" : ", ");
        text_json_string(&times, candidate[i]);
        text_printf(&times, ": %.3f", fmax(seconds * 1e6, 1e-3));
        if (best < 0 || seconds < least * (best == 0 ? CLEARLY_FASTER : 1)) best = i, least = seconds;
    }
    if (best < 0) return 0; /* nothing could be measured: our own, and nothing to remember */
    text_printf(&times, "}");
    Choice *c = put(a, a->device, layer, candidate[best], times.text);
    c->used = c->measured = a->changed = true;
    text_free(&times);
    return best;
}
/* The next choice from *i on that this run has used; NULL at the end. */
static const Choice *next_used(const Autotune *a, size_t *i) {
    while (*i < a->count) {
        const Choice *c = &a->choice[(*i)++];
        if (c->used && !strcmp(c->device, a->device)) return c;
    }
    return NULL;
}
void autotune_chosen(const Autotune *a, Text *t) {
    size_t i = 0;
    const char *separator = "{";
    for (const Choice *c; (c = next_used(a, &i)); separator = ", ") {
        text_printf(t, "%s", separator);
        text_json_string(t, c->layer);
        text_printf(t, ": ");
        text_json_string(t, c->name);
    }
    text_printf(t, *separator == '{' ? "{}" : "}");
}
void autotune_measured(const Autotune *a, Text *t) {
    size_t i = 0;
    const char *separator = "";
    text_printf(t, "{\"device\": ");
    text_json_string(t, a->device);
    text_printf(t, ", \"layers\": {");
    for (const Choice *c; (c = next_used(a, &i)); separator = ", ") {
        text_printf(t, "%s", separator);
        text_json_string(t, c->layer);
        text_printf(t, ": {\"runs\": ");
        text_json_string(t, c->name);
        text_printf(t, ", \"remembered\": %s, \"microseconds\": %s}", c->measured ? "false" : "true", c->times);
    }
    text_printf(t, "}}");
}
char *autotune_path(void) {
    char *folder = cache_folder(), *path = folder ? path_join(folder, "autotune.txt") : NULL;
    free(folder);
    return path;
}
