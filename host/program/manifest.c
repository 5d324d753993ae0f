/* manifest.c -- writing, reading and comparing manifest.json. */
#include "program/manifest.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/version.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void manifest_images(Text *out, const Args *a, const Device *d, const Networks *n, char (*hex)[SHA256_HEX]) {
    text_printf(out, "{\"version\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\"", DG_VERSION, d->be->name, dtype_of(d));
    for (int i = 0; i < a->command->options; i++) {
        const Option *o = &a->command->option[i];
        if (!o->image) continue;
        text_printf(out, ", \"%s\": ", o->name);
        option_json(o, a->options, out);
    }
    for (Role r = 0; r < ROLES && hex; r++)
        if (n->source[r].weights) text_printf(out, ", \"%s sha256\": \"%s\"", role_name(r), hex[r]);
        else text_printf(out, ", \"%s sha256\": null", role_name(r));
    if (hex) print_choices(out, "implementations", d, false);
    text_printf(out, "}");
}
bool manifest_read(Manifest *m, const char *dir, Error *e) {
    struct stat s;
    manifest_close(m);
    m->path = path_join(dir, "manifest.json");
    if (lstat(m->path, &s) != 0) return true;
    Error cause = {0};
    m->before = json_parse_file(m->path, &cause);
    if (m->before && json_get(m->before, "images") && json_get(m->before, "runs")) return true;
    if (m->before) dg_error(&cause, "%s: not a manifest of dg_cuda", m->path);
    dg_error(e, "%s: so nobody knows how the images there were made: choose another --outdir, or remove what is in this one", cause.text);
    json_free(m->before);
    m->before = NULL;
    return false;
}
void manifest_forget(Manifest *m) {
    json_free(m->before);
    m->before = NULL;
}
void manifest_close(Manifest *m) {
    json_free(m->before);
    free(m->path);
    *m = (Manifest){0};
}
/* What an option is where `before` says nothing by its name: what it says by an older one, else the default; NULL where it is none. To
 * be freed.                                                                                                                */
static Json *default_of(const Args *a, const Json *before, const char *key) {
    Json *value = NULL;
    void *defaults = dg_alloc(a->command->options_bytes);
    a->command->defaults(defaults);
    for (int i = 0; i < a->command->options; i++) {
        const Option *o = &a->command->option[i];
        Text t = {0};
        if (!o->image || strcmp(o->name, key)) continue;
        for (int k = 0; k < a->command->options; k++) {
            const Option *older = &a->command->option[k];
            const Json *said = k != i && older->offset == o->offset ? json_get(before, older->name) : NULL;
            if (!said) continue;
            Json alone = *said;
            alone.next = NULL;
            options_from_json(older, 1, defaults, &(Json){.kind = JSON_OBJECT, .child = &alone, .count = 1}, "", NULL);
        }
        option_json(o, defaults, &t);
        value = json_parse(t.text, t.len, NULL);
        text_free(&t);
    }
    free(defaults);
    return value;
}
/* Appends what differs of `now` from `before`, and of objects among them member by member. */
static void compare(Text *differ, const Args *a, const Json *before, const Json *now) {
    for (const Json *j = now->child; j; j = j->next) {
        const Json *old = json_get(before, j->key);
        if (!old || old->kind != JSON_OBJECT || j->kind != JSON_OBJECT) {
            Json *unknown = old ? NULL : default_of(a, before, j->key); /* to an older version, which had no network of that kind either */
            if (old || unknown || j->kind != JSON_NULL) json_difference(differ, "", j->key, old ? old : unknown, j);
            json_free(unknown);
            continue;
        }
        for (const Json *k = j->child; k; k = k->next) json_difference(differ, j->key, k->key, json_get(old, k->key), k);
        for (const Json *k = old->child; k; k = k->next)
            if (!json_get(j, k->key)) json_difference(differ, j->key, k->key, k, NULL);
    }
}
bool manifest_check(const Manifest *m, const Text *images, const Args *a, Error *e) {
    if (!m->before) return true;
    Json *now = json_parse(images->text, images->len, e);
    DG_CHECK(now, "the manifest does not parse: %s", e->text);
    Text differ = {0};
    compare(&differ, a, json_get(m->before, "images"), now);
    bool same = !differ.len ||
                dg_error(e, "%s: choose another --outdir, or --overwrite to start anew: the images there were made with other options (%s)",
                         m->path, differ.text);
    text_free(&differ);
    json_free(now);
    return same;
}
bool manifest_write(const Manifest *m, const Text *images, const RunFacts *own, const Counted *dead, int deads, Error *e) {
    Text t = {0};
    text_printf(&t, "{\"program\": \"dg_cuda\",\n \"images\": %s,\n \"runs\": ", images->text);
    records_print(&t, json_get(m->before, "runs"), own, dead, deads);
    text_printf(&t, "}\n");
    bool ok = out_whole(m->path, t.text, t.len, e);
    text_free(&t);
    return ok;
}
SeedList manifest_seeds(const Manifest *m, ImageFormat *format) {
    const char *name;
    json_get_string(json_get(m->before, "images"), "format", "png", &name, NULL);
    *format = strcmp(name, "npz") ? FORMAT_PNG : FORMAT_NPZ;
    return records_seeds(json_get(m->before, "runs"));
}
