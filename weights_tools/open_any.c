/* open_any.c -- weight files of any format as weights: what is not ready is converted once, into the cache, or in memory. */
#include "base/folder.h"
#include "base/interrupt.h"
#include "base/version.h"
#include "weights_tools/cache.h"
#include "weights_tools/package.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *path; /* as the user gave it */
    Package *package;
    ConvertOptions o;
    char (*hex)[SHA256_HEX]; /* of its files */
    Text joined;
    char *cached; /* where the conversion is, or will be; NULL: nowhere */
    Error why;    /* it is nowhere, or could not be written */
} Source;

/* A safetensors file with its configuration is used as it is. *s: that file, or NULL. */
static bool open_ready(const char *path, SafeTensors **s, Error *e) {
    FileMap m;
    *s = NULL;
    if (!file_map(path, &m, e)) return false;
    if (!checkpoint_is_native(&m)) {
        file_unmap(&m);
        return true;
    }
    if (!(*s = st_of_map(&m, path, e))) return false;
    if (st_metadata(*s, "config")) return true;
    st_close(*s);
    *s = NULL;
    return true;
}
static void hash_text(Sha256 *h, const char *text) { sha256_update(h, text ? text : "\1", text ? strlen(text) + 1 : 1); }
/* The name says what was converted, and how: other bytes or other options give another name. */
static void name_conversion(Source *s) {
    enum { SHOWN = 64, DIGITS = 32 };
    const ConvertOptions *o = &s->o;
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX], shown[SHOWN + 1];
    int numbers[] = {o->dtype,       o->num_head_channels,           o->num_heads,
                     o->image_size,  o->extractor_num_head_channels, o->discriminator_num_head_channels,
                     o->ignore_extra};
    const char *texts[] = {DG_VERSION, s->joined.text, o->key, o->prefix, o->time, o->attention_order, o->precond};
    sha256_init(&h);
    sha256_update(&h, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) hash_text(&h, texts[i]);
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
    char *folder = conversions_folder(o->cache);
    if (!folder && o->cache) dg_error(&s->why, "the cache is off");
    else if (!folder) dg_error(&s->why, "neither XDG_CACHE_HOME nor HOME names a folder to keep it in: --cache DIR does");
    else if (make_folders(folder, &s->why)) {
        const char *slash = strrchr(s->path, '/');
        snprintf(shown, sizeof shown, "%s", slash ? slash + 1 : s->path);
        for (char *c = shown; *c; c++) /* names of any bytes and length have room, and are no trouble */
            if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c)) *c = '_';
        Text t = {0};
        text_printf(&t, "%s/%s-%.*s.safetensors", folder, shown, DIGITS, hex);
        s->cached = t.text;
        conversions_remove_strays(folder);
    }
    free(folder);
}
static bool source_open(Source *s, Error *e) {
    if (!(s->package = package_open(&s->path, 1, &s->o, e))) return false;
    const Package *p = s->package;
    if (!p->found.config.len)
        return dg_error(
            e,
            "%s: the network in it is not one that dg_cuda knows (it has %d tensors, %s for example): \"dg_cuda info\" shows them "
            "all; --key and --prefix name another part of the file",
            s->path, p->count, p->tensor[0].name);
    s->hex = dg_alloc((size_t)p->inputs * sizeof *s->hex);
    package_hash(p, s->hex, s->o.interrupt);
    if (s->o.interrupt && interrupted(s->o.interrupt)) return dg_error(e, "%s: interrupted: nothing was converted", s->path);
    package_join(p, (const char(*)[SHA256_HEX])s->hex, &s->joined);
    name_conversion(s);
    return true;
}
static void source_close(Source *s) {
    package_close(s->package);
    text_free(&s->joined);
    free(s->hex);
    free(s->cached);
}
/* The file's own SHA-256; of several, that of the lines which sha256sum prints for them. */
static void hash_of_all(const Source *s, char hex[SHA256_HEX]) {
    const Package *p = s->package;
    snprintf(hex, SHA256_HEX, "%s", s->hex[0]);
    if (p->inputs == 1) return;
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    sha256_init(&h);
    for (int i = 0; i < p->inputs; i++) {
        const char *slash = strrchr(p->input[i]->path, '/');
        Text line = {0};
        text_printf(&line, "%s  %s\n", s->hex[i], slash ? slash + 1 : p->input[i]->path);
        sha256_update(&h, line.text, line.len);
        text_free(&line);
    }
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
}
/* Into the cache; false, with s->why, when that cannot be. */
static SafeTensors *convert_to_cache(Source *s) {
    StWriter *w = st_writer_open(s->cached, &s->why);
    bool ok = w && package_write(s->package, w, s->o.dtype, (const char(*)[SHA256_HEX])s->hex, s->o.interrupt, &s->why);
    if (ok) ok = st_writer_finish(w, &s->why);
    else st_writer_abandon(w);
    return ok ? st_open(s->cached, &s->why) : NULL;
}
static SafeTensors *convert_in_memory(Source *s, void **memory, Error *e) {
    size_t bytes;
    StWriter *w = st_writer_memory();
    if (!package_write(s->package, w, s->o.dtype, (const char(*)[SHA256_HEX])s->hex, s->o.interrupt, e)) {
        st_writer_abandon(w);
        dg_error_context(e, "%s", s->path);
        return NULL;
    }
    *memory = st_writer_take(w, &bytes);
    SafeTensors *t = st_memory(*memory, bytes, s->path, e);
    if (t) return t;
    free(*memory);
    return NULL;
}
Weights *weights_open_any(const char *path, const ConvertOptions *o, char *notice, size_t notice_bytes, Error *e) {
    Source s = {.path = path, .o = o ? *o : (ConvertOptions){.key = NULL}};
    SafeTensors *t;
    void *memory = NULL;
    char hex[SHA256_HEX] = "";
    if (notice_bytes) notice[0] = 0;
    if (!open_ready(path, &t, e)) return NULL;
    if (!t && source_open(&s, e)) {
        Text notes = {0};
        for (const char *at = s.package->notes.text; at && *at; at += strcspn(at, "\n") + 1)
            text_printf(&notes, "%s%.*s", notes.len ? "; " : ": ", (int)strcspn(at, "\n"), at);
        const char *said = notes.len ? notes.text : "";
        hash_of_all(&s, hex);
        if (s.cached && (t = conversion_open(s.cached, s.joined.text)))
            snprintf(notice, notice_bytes, "%s: using its conversion of before, %s%s", path, s.cached, said);
        else if (s.cached && (t = convert_to_cache(&s)))
            snprintf(notice, notice_bytes, "%s: converted once, to %s%s", path, s.cached, said);
        else if ((t = convert_in_memory(&s, &memory, e)))
            snprintf(notice, notice_bytes, "%s: converted in memory (%s)%s", path, s.why.text, said);
        text_free(&notes);
    }
    Weights *w = t ? weights_converted(t, memory, path, hex, e) : NULL;
    if (w && s.o.ignore_extra) weights_ignore_extra(w);
    source_close(&s);
    return w;
}
