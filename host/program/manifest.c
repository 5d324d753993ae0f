/* manifest.c -- writing, reading and comparing manifest.json. */
#include "program/manifest.h"
#include "base/file.h"
#include "base/folder.h"
#include "files/store.h"
#include "base/version.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What was measured and chosen on this device (--autotune on), appended as a member; nothing where nothing can be. */
static void print_choices(Text *out, const char *key, const Device *d, bool how) {
    Text chosen = {0}, measured = {0};
    if (!d->autotune || !d->be->choices(d, &chosen, &measured)) return;
    text_printf(out, ", \"%s\": %s", key, how ? measured.text : chosen.text);
    text_free(&chosen), text_free(&measured);
}
static const char *dtype_of(const Device *d) { return precision_name(d->precision); }

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
bool manifest_open(Manifest *m, const char *dir, bool anew, Error *e) {
    struct stat s;
    *m = (Manifest){.path = path_join(dir, "manifest.json")};
    if (anew || stat(m->path, &s) != 0) return true;
    m->before = json_parse_file(m->path, e);
    if (m->before && json_get(m->before, "images")) return true;
    if (m->before) dg_error(e, "%s: not a manifest of dg_cuda", m->path);
    if (e) {
        Error cause = *e;
        dg_error(e, "%s: choose another --outdir, or --overwrite to start anew", cause.text);
    }
    manifest_close(m);
    return false;
}
void manifest_close(Manifest *m) {
    json_free(m->before);
    free(m->path);
    *m = (Manifest){0};
}
static void print_value(Text *out, const Json *j) {
    if (j) json_write(out, j);
    else text_printf(out, "not set");
}
static void print_difference(Text *differ, const char *in, const char *key, const Json *before, const Json *now) {
    Text a = {0}, b = {0};
    print_value(&a, before);
    print_value(&b, now);
    if (strcmp(a.text, b.text))
        text_printf(differ, "%s%s%s%s was %s, is now %s", differ->len ? "; " : "", in, *in ? ": " : "", key, a.text, b.text);
    text_free(&a), text_free(&b);
}
/* Appends what differs of `now` from `before`, and of objects among them member by member. */
static void compare(Text *differ, const Json *before, const Json *now) {
    for (const Json *j = now->child; j; j = j->next) {
        const Json *old = json_get(before, j->key);
        if (!old || old->kind != JSON_OBJECT || j->kind != JSON_OBJECT) {
            print_difference(differ, "", j->key, old, j);
            continue;
        }
        for (const Json *k = j->child; k; k = k->next) print_difference(differ, j->key, k->key, json_get(old, k->key), k);
        for (const Json *k = old->child; k; k = k->next)
            if (!json_get(j, k->key)) print_difference(differ, j->key, k->key, k, NULL);
    }
}
bool manifest_check(const Manifest *m, const Text *images, Error *e) {
    if (!m->before) return true;
    Json *now = json_parse(images->text, images->len, e);
    DG_CHECK(now, "the manifest does not parse: %s", e->text);
    Text differ = {0};
    compare(&differ, json_get(m->before, "images"), now);
    bool same = !differ.len ||
                dg_error(e, "%s: choose another --outdir, or --overwrite to start anew: the images there were made with other options (%s)",
                         m->path, differ.text);
    text_free(&differ);
    json_free(now);
    return same;
}

static void print_run(Text *t, const RunFacts *r) {
    const Args *a = r->args;
    text_printf(t, "{\"started\": \"%s\", \"complete\": %s, \"images wanted\": %zu, \"already there\": %zu, \"made\": %zu,\n", r->started,
                r->complete ? "true" : "false", r->wanted, r->present, r->made);
    text_printf(
        t, "     \"version\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"batch\": %d, \"network calls\": %d, \"guided calls\": %d,\n",
        DG_VERSION, r->device->be->name, dtype_of(r->device), r->batch, r->network_calls, r->guided_calls);
    text_printf(t, "     \"seconds\": ");
    text_json_double(t, r->seconds);
    text_printf(t, ", \"images per second\": ");
    text_json_double(t, r->seconds > 0 ? (double)r->made / r->seconds : 0);
    print_choices(t, "autotune", r->device, true);
    text_printf(t, ",\n     \"options\": {");
    for (int i = 0; i < a->command->options; i++) {
        text_printf(t, "%s\"%s\": ", i ? ", " : "", a->command->option[i].name);
        option_json(&a->command->option[i], a->options, t);
    }
    text_printf(t, "}}");
}
bool manifest_write(const Manifest *m, const Text *images, const RunFacts *run, Error *e) {
    Text t = {0};
    text_printf(&t, "{\"program\": \"dg_cuda\",\n \"images\": %s,\n \"runs\": [", images->text);
    const Json *runs = json_get(m->before, "runs");
    for (const Json *j = runs ? runs->child : NULL; j; j = j->next) {
        text_printf(&t, "\n    ");
        json_write(&t, j);
        text_printf(&t, ",");
    }
    text_printf(&t, "\n    ");
    print_run(&t, run);
    text_printf(&t, "\n ]}\n");
    OutFile *f = out_open(m->path, e);
    bool ok = f && out_write(f, t.text, t.len, e);
    if (ok) ok = out_finish(f, e);
    else out_abandon(f);
    text_free(&t);
    return ok;
}
