/* convert.c -- checkpoints to one safetensors file: written from the map in the file's order while another thread hashes. */
#include "weights_tools/package.h"
#include "base/interrupt.h"
#include "base/sha256.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct {
    const Package *package;
    char (*hex)[SHA256_HEX]; /* [inputs] */
    const Interrupt *interrupt;
} Hashing;
static void *hash_inputs(void *arg) {
    enum { PIECE = 1 << 20 };
    const Hashing *h = arg;
    for (int i = 0; i < h->package->inputs; i++) {
        FileMap m = h->package->input[i]->map;
        Sha256 s;
        uint8_t digest[SHA256_BYTES];
        sha256_init(&s);
        for (size_t at = 0; at < m.bytes && !(h->interrupt && interrupted(h->interrupt)); at += PIECE)
            sha256_update(&s, m.data + at, m.bytes - at < PIECE ? m.bytes - at : PIECE);
        sha256_final(&s, digest);
        sha256_hex(digest, h->hex[i]);
    }
    return NULL;
}

typedef struct {
    const PackageTensor *t;
    DType dtype;
    int input;
    uint64_t position;
} Job;
/* 8-byte elements first, so that everything lies at a multiple of its size; then as it lies in the files. */
static int by_position(const void *a, const void *b) {
    const Job *x = a, *y = b;
    size_t p = dtype_bytes(x->dtype), q = dtype_bytes(y->dtype);
    if (p != q) return p > q ? -1 : 1;
    if (x->input != y->input) return x->input < y->input ? -1 : 1;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return strcmp(x->t->name, y->t->name);
}
static bool is_floating(DType t) { return t != DG_U8 && t != DG_I64; }
static Job *plan(const Package *p, ConvertDType dtype) {
    Job *job = dg_alloc((size_t)p->count * sizeof *job);
    for (int i = 0; i < p->count; i++) {
        const PackageTensor *t = &p->tensor[i];
        DType stored = t->tensor->dtype;
        if (is_floating(stored) && dtype != KEEP_DTYPE) stored = dtype == TO_F16 ? DG_F16 : DG_F32;
        job[i] = (Job){.t = t, .dtype = stored, .position = checkpoint_position(t->from, t->tensor)};
        while (p->input[job[i].input] != t->from) job[i].input++;
    }
    qsort(job, (size_t)p->count, sizeof *job, by_position);
    return job;
}
static bool stopped(Error *e) { return dg_error(e, "interrupted: nothing was converted"); }
typedef struct {
    StWriter *writer;
    const Interrupt *interrupt;
} Sink;
static bool sink(void *context, const void *data, size_t bytes, Error *e) {
    Sink *s = context;
    if (s->interrupt && interrupted(s->interrupt)) return stopped(e);
    return st_writer_data(s->writer, data, bytes, e);
}

/* Joined by spaces: of one input, the text itself. */
static void join(const Package *p, const char (*hex)[SHA256_HEX], Text *t) {
    for (int i = 0; i < p->inputs; i++) text_printf(t, "%s%s", i ? " " : "", hex[i]);
}
static void declare(StWriter *w, const Package *p, const char (*blank)[SHA256_HEX], const Job *job) {
    Text source = {0}, hash = {0};
    for (int i = 0; i < p->inputs; i++) {
        const char *slash = strrchr(p->input[i]->path, '/');
        if (i) text_printf(&source, " ");
        text_printable(&source, slash ? slash + 1 : p->input[i]->path); /* other readers want UTF-8 */
    }
    join(p, blank, &hash);
    if (p->found.config.len) st_writer_metadata(w, "config", p->found.config.text);
    st_writer_metadata(w, "source", source.text);
    st_writer_metadata(w, "source_sha256", hash.text);
    for (int i = 0; i < p->count; i++) st_writer_tensor(w, job[i].t->name, job[i].dtype, job[i].t->tensor->dims, job[i].t->tensor->shape);
    text_free(&source);
    text_free(&hash);
}
static bool write_tensors(StWriter *w, const Package *p, const Job *job, const ConvertOptions *o, Error *e) {
    Sink s = {w, o ? o->interrupt : NULL};
    for (int i = 0; i < p->count; i++)
        if (!checkpoint_read(job[i].t->from, job[i].t->tensor, job[i].dtype, sink, &s, e)) return false;
    return true;
}
static bool write_package(const Package *p, const char *out, const ConvertOptions *o, Error *e) {
    StWriter *w = st_writer_open(out, e);
    if (!w) return false;
    if (!o || !o->sync) st_writer_unsynced(w); /* its source is still there */
    char(*hex)[SHA256_HEX] = dg_alloc((size_t)p->inputs * sizeof *hex);
    for (int i = 0; i < p->inputs; i++) memset(hex[i], '0', SHA256_HEX - 1);
    Job *job = plan(p, o ? o->dtype : KEEP_DTYPE);
    declare(w, p, (const char(*)[SHA256_HEX])hex, job);
    for (int i = 0; i < p->inputs; i++) madvise((void *)(uintptr_t)p->input[i]->map.data, p->input[i]->map.bytes, MADV_SEQUENTIAL);
    Hashing h = {.package = p, .hex = hex, .interrupt = o ? o->interrupt : NULL};
    pthread_t thread;
    bool threaded = pthread_create(&thread, NULL, hash_inputs, &h) == 0;
    bool ok = st_writer_begin(w, e) && write_tensors(w, p, job, o, e);
    if (threaded) pthread_join(thread, NULL);
    else if (ok) hash_inputs(&h);
    Text hash = {0};
    join(p, (const char(*)[SHA256_HEX])hex, &hash);
    if (ok && h.interrupt && interrupted(h.interrupt)) ok = stopped(e);
    ok = ok && st_writer_set_metadata(w, "source_sha256", hash.text, e);
    text_free(&hash);
    free(job);
    free(hex);
    if (ok) return st_writer_finish(w, e);
    st_writer_abandon(w);
    return false;
}
bool convert(const char *const *in, int n_in, const char *out, const ConvertOptions *o, Text *notes, Error *e) {
    if (n_in < 1) return dg_error(e, "no file to convert was given");
    Package *p = package_open(in, n_in, o, e);
    if (!p) return false;
    bool ok = write_package(p, out, o, e);
    if (ok && notes && p->notes.len) text_printf(notes, "%s", p->notes.text);
    package_close(p);
    return ok;
}
