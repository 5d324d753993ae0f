/* convert.c -- checkpoints to one safetensors file: written from the map in the file's order while another thread hashes. */
#include "weights_tools/package.h"
#include "base/crc32.h"
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
void package_hash(const Package *p, char (*hex)[SHA256_HEX], const Interrupt *interrupt) {
    enum { PIECE = 1 << 20 };
    for (int i = 0; i < p->inputs; i++) {
        FileMap m = p->input[i]->map;
        Sha256 s;
        uint8_t digest[SHA256_BYTES];
        sha256_init(&s);
        for (size_t at = 0; at < m.bytes && !(interrupt && interrupted(interrupt)); at += PIECE)
            sha256_update(&s, m.data + at, m.bytes - at < PIECE ? m.bytes - at : PIECE);
        sha256_final(&s, digest);
        sha256_hex(digest, hex[i]);
    }
}
static void *hash_inputs(void *arg) {
    const Hashing *h = arg;
    package_hash(h->package, h->hex, h->interrupt);
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
static int by_name(const void *a, const void *b) { return strcmp(((const Job *)a)->t->name, ((const Job *)b)->t->name); }
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
    qsort(job, (size_t)p->count, sizeof *job, p->found.canonical ? by_name : by_position);
    return job;
}
static bool stopped(Error *e) { return dg_error(e, "interrupted: nothing was converted"); }
typedef struct {
    StWriter *writer;
    const Interrupt *interrupt;
    uint32_t crc;
    bool checked;
} Sink;
static bool sink(void *context, const void *data, size_t bytes, Error *e) {
    Sink *s = context;
    if (s->interrupt && interrupted(s->interrupt)) return stopped(e);
    if (s->checked) s->crc = crc32_of(s->crc, data, bytes);
    return st_writer_data(s->writer, data, bytes, e);
}

/* ---- metadata --------------------------------------------------------------------------------------------------------------- */
/* Joined by spaces: of one input, the text itself. */
void package_join(const Package *p, const char (*hex)[SHA256_HEX], Text *t) {
    for (int i = 0; i < p->inputs; i++) text_printf(t, "%s%s", i ? " " : "", hex[i]);
}
static bool is_ours(const char *key) {
    static const char *const keys[] = {"config", "source", "source_sha256", CONTENT_CHECK};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}
/* What other programs wrote into the inputs' metadata stays; of one key in several of them, the first. */
static void declare_others(StWriter *w, const Package *p) {
    for (int i = 0; i < p->inputs; i++) {
        const Json *all = p->input[i]->native ? p->input[i]->native->metadata : NULL;
        for (const Json *j = all ? all->child : NULL; j; j = j->next) {
            bool before = is_ours(j->key);
            for (int k = 0; k < i && !before; k++) before = p->input[k]->native && st_metadata(p->input[k]->native, j->key);
            if (!before) st_writer_metadata(w, j->key, j->string);
        }
    }
}
/* A cache asks where its files came from; a file that is the same from every container does not say it. */
static bool says_source(const Package *p, bool cached) { return cached || !p->found.canonical; }
static void declare(StWriter *w, const Package *p, const char (*blank)[SHA256_HEX], const Job *job, bool checked) {
    Text source = {0}, hash = {0};
    for (int i = 0; i < p->inputs; i++) {
        const char *slash = strrchr(p->input[i]->path, '/');
        if (i) text_printf(&source, " ");
        text_printable(&source, slash ? slash + 1 : p->input[i]->path); /* other readers want UTF-8 */
    }
    package_join(p, blank, &hash);
    if (p->found.config.len) st_writer_metadata(w, "config", p->found.config.text);
    if (says_source(p, checked)) {
        st_writer_metadata(w, "source", source.text);
        st_writer_metadata(w, "source_sha256", hash.text);
        declare_others(w, p);
    }
    if (checked) st_writer_metadata(w, CONTENT_CHECK, CONTENT_CHECK_BLANK);
    for (int i = 0; i < p->count; i++) st_writer_tensor(w, job[i].t->name, job[i].dtype, job[i].t->tensor->dims, job[i].t->tensor->shape);
    text_free(&source);
    text_free(&hash);
}
static bool write_tensors(Sink *to, const Package *p, const Job *job, Error *e) {
    for (int i = 0; i < p->count; i++)
        if (!checkpoint_read(job[i].t->from, job[i].t->tensor, job[i].dtype, sink, to, e)) return false;
    return true;
}
bool package_write(const Package *p, StWriter *w, ConvertDType dtype, const char (*known)[SHA256_HEX], const Interrupt *interrupt,
                   Error *e) {
    char(*hex)[SHA256_HEX] = dg_alloc((size_t)p->inputs * sizeof *hex);
    for (int i = 0; i < p->inputs; i++) memset(hex[i], '0', SHA256_HEX - 1);
    Job *job = plan(p, dtype);
    declare(w, p, known ? known : (const char(*)[SHA256_HEX])hex, job, known != NULL);
    for (int i = 0; i < p->inputs; i++) madvise((void *)(uintptr_t)p->input[i]->map.data, p->input[i]->map.bytes, MADV_SEQUENTIAL);
    Hashing h = {.package = p, .hex = hex, .interrupt = interrupt};
    Sink to = {.writer = w, .interrupt = interrupt, .checked = known != NULL};
    pthread_t thread;
    bool hashed = !known && says_source(p, false), threaded = hashed && pthread_create(&thread, NULL, hash_inputs, &h) == 0;
    bool ok = st_writer_begin(w, e) && write_tensors(&to, p, job, e);
    if (threaded) pthread_join(thread, NULL);
    else if (ok && hashed) hash_inputs(&h);
    if (ok && interrupt && interrupted(interrupt)) ok = stopped(e); /* before its inputs were hashed to their ends */
    Text value = {0};
    if (known) {
        const char *header = st_writer_header(w);
        if (ok) text_printf(&value, "%08x%08x", crc32_of(0, header, strlen(header)), to.crc);
    } else if (hashed) {
        package_join(p, (const char(*)[SHA256_HEX])hex, &value);
    }
    if (known || hashed) ok = ok && st_writer_set_metadata(w, known ? CONTENT_CHECK : "source_sha256", value.text, e);
    text_free(&value);
    free(job);
    free(hex);
    return ok;
}
bool convert(const char *const *in, int n_in, const char *out, const ConvertOptions *o, Text *notes, Error *e) {
    if (n_in < 1) return dg_error(e, "no file to convert was given");
    Package *p = package_open(in, n_in, o, e);
    if (!p) return false;
    StWriter *w = st_writer_open(out, e);
    if (w) st_writer_unsynced(w); /* its source is still there */
    bool ok = w && package_write(p, w, o ? o->dtype : KEEP_DTYPE, NULL, o ? o->interrupt : NULL, e);
    if (ok) ok = st_writer_finish(w, e);
    else st_writer_abandon(w);
    if (ok && notes && p->notes.len) text_printf(notes, "%s", p->notes.text);
    package_close(p);
    return ok;
}
