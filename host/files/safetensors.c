/* safetensors.c -- the native weight file: a reader that trusts nothing, and a streaming writer. */
#include "files/safetensors.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    DType dtype;
    size_t bytes;
} types[] = {
    {"F32", DG_F32, 4}, {"F16", DG_F16, 2}, {"BF16", DG_BF16, 2}, {"F64", DG_F64, 8}, {"U8", DG_U8, 1}, {"I64", DG_I64, 8},
};
enum { TYPES = sizeof types / sizeof *types };

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
static uint64_t little_endian(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
}
static bool read_type(const Json *entry, StTensor *t, Error *e) {
    const Json *dtype = json_get(entry, "dtype");
    if (!dtype || dtype->kind != JSON_STRING) return dg_error(e, "tensor %s: no dtype", t->name);
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(dtype->string, types[i].name)) return t->dtype = types[i].dtype, true;
    return dg_error(e, "tensor %s: dtype %s is not one that dg_cuda reads (F32 F16 BF16 F64 U8 I64)", t->name, dtype->string);
}
static bool read_shape(const Json *entry, StTensor *t, Error *e) {
    const Json *shape = json_get(entry, "shape");
    if (!shape || shape->kind != JSON_ARRAY) return dg_error(e, "tensor %s: no shape", t->name);
    if (shape->count > ST_MAX_DIMS)
        return dg_error(e, "tensor %s: %d dimensions, at most %d are possible", t->name, shape->count, ST_MAX_DIMS);
    uint64_t count = 1, d;
    for (const Json *c = shape->child; c; c = c->next) {
        if (!json_u64(c, &d) || d > INT64_MAX) return dg_error(e, "tensor %s: a dimension is not a non-negative integer", t->name);
        if (__builtin_mul_overflow(count, d, &count)) return dg_error(e, "tensor %s: the shape overflows", t->name);
        t->shape[t->dims++] = (int64_t)d;
    }
    if (__builtin_mul_overflow(count, (uint64_t)dtype_bytes(t->dtype), &d) || d > INT64_MAX)
        return dg_error(e, "tensor %s: the shape overflows", t->name);
    t->count = (size_t)count, t->bytes = (size_t)d;
    return true;
}
static bool read_tensor(const Json *entry, StTensor *t, const uint8_t *data, size_t data_bytes, Error *e) {
    t->name = entry->key;
    if (entry->kind != JSON_OBJECT) return dg_error(e, "tensor %s: not an object", t->name);
    if (!read_type(entry, t, e) || !read_shape(entry, t, e)) return false;
    const Json *offsets = json_get(entry, "data_offsets");
    uint64_t begin, end;
    if (!offsets || offsets->kind != JSON_ARRAY || offsets->count != 2 || !json_u64(offsets->child, &begin) ||
        !json_u64(offsets->child->next, &end))
        return dg_error(e, "tensor %s: data_offsets is not a pair of non-negative integers", t->name);
    if (begin > end) return dg_error(e, "tensor %s: its data ends before it begins", t->name);
    if (end > data_bytes)
        return dg_error(e, "tensor %s: its data ends at byte %" PRIu64 ", but the file holds %zu: truncated?", t->name, end, data_bytes);
    if (end - begin != t->bytes)
        return dg_error(e, "tensor %s: %" PRIu64 " bytes of data, its shape wants %zu", t->name, end - begin, t->bytes);
    t->data = data + begin;
    return true;
}
static int by_name(const void *a, const void *b) { return strcmp(((const StTensor *)a)->name, ((const StTensor *)b)->name); }
static int by_data(const void *a, const void *b) {
    const StTensor *x = *(const StTensor *const *)a, *y = *(const StTensor *const *)b;
    const char *p = x->data, *q = y->data;
    return p != q ? (p > q) - (p < q) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}
/* The tensors must tile the data: no byte twice, none left over. */
static bool check_tiling(const SafeTensors *s, const uint8_t *data, size_t data_bytes, Error *e) {
    const StTensor **order = dg_alloc((size_t)s->count * sizeof *order);
    for (int i = 0; i < s->count; i++) order[i] = &s->tensor[i];
    qsort(order, (size_t)s->count, sizeof *order, by_data);
    const uint8_t *end = data;
    bool ok = true;
    for (int i = 0; i < s->count && ok; i++) {
        const uint8_t *begin = order[i]->data;
        if (begin < end) ok = dg_error(e, "tensor %s: its data overlaps that of another tensor", order[i]->name);
        else if (begin > end) ok = dg_error(e, "%zu bytes before tensor %s belong to no tensor", (size_t)(begin - end), order[i]->name);
        end = begin + order[i]->bytes;
    }
    size_t used = (size_t)(end - data);
    if (ok && used != data_bytes) ok = dg_error(e, "%zu bytes after the last tensor belong to none", data_bytes - used);
    free(order);
    return ok;
}
static bool parse(SafeTensors *s, const uint8_t *file, size_t bytes, Error *e) {
    if (bytes < 8) return dg_error(e, "%zu bytes: too short for a safetensors file", bytes);
    uint64_t header = little_endian(file);
    if (header > ST_MAX_HEADER) return dg_error(e, "the header says it is %" PRIu64 " bytes long: not a safetensors file?", header);
    if (header < 2 || header > bytes - 8)
        return dg_error(e, "the header says it is %" PRIu64 " bytes long, the file has %zu: truncated?", header, bytes);
    if (file[8] != '{') return dg_error(e, "the header does not begin with '{': not a safetensors file");
    s->header = json_parse((const char *)file + 8, (size_t)header, e);
    if (!s->header) return false;
    const uint8_t *data = file + 8 + header;
    size_t data_bytes = bytes - 8 - (size_t)header;
    s->tensor = dg_alloc((size_t)s->header->count * sizeof *s->tensor);
    for (const Json *c = s->header->child; c; c = c->next) {
        if (strcmp(c->key, "__metadata__")) {
            if (!read_tensor(c, &s->tensor[s->count], data, data_bytes, e)) return false;
            s->count++;
            continue;
        }
        if (c->kind == JSON_NULL) continue; /* as the safetensors library reads it */
        if (c->kind != JSON_OBJECT) return dg_error(e, "__metadata__ is not an object");
        for (const Json *m = c->child; m; m = m->next)
            if (m->kind != JSON_STRING) return dg_error(e, "metadata %s is not a string", m->key);
        s->metadata = c;
    }
    qsort(s->tensor, (size_t)s->count, sizeof *s->tensor, by_name);
    return check_tiling(s, data, data_bytes, e);
}
static SafeTensors *open_bytes(const char *name, const void *data, size_t bytes, Error *e) {
    SafeTensors *s = dg_alloc(sizeof *s);
    s->path = dg_strdup(name);
    if (parse(s, data, bytes, e)) return s;
    dg_error_context(e, "%s", name);
    st_close(s);
    return NULL;
}
SafeTensors *st_memory(const void *data, size_t bytes, const char *name, Error *e) { return open_bytes(name, data, bytes, e); }
SafeTensors *st_of_map(FileMap *m, const char *path, Error *e) {
    SafeTensors *s = open_bytes(path, m->data, m->bytes, e);
    if (s) s->map = *m;
    else file_unmap(m);
    *m = (FileMap){0};
    return s;
}
SafeTensors *st_open(const char *path, Error *e) {
    FileMap m;
    return file_map(path, &m, e) ? st_of_map(&m, path, e) : NULL;
}
void st_close(SafeTensors *s) {
    if (!s) return;
    if (s->map.data) file_unmap(&s->map);
    json_free(s->header);
    free(s->tensor);
    free(s->path);
    free(s);
}
void st_let_go(const SafeTensors *s, const StTensor *t) {
    if (s->map.data) file_let_go(t->data, t->bytes); /* memory that is no map would be lost */
}
const StTensor *st_find(const SafeTensors *s, const char *name) {
    StTensor key = {.name = name};
    return s->count ? bsearch(&key, s->tensor, (size_t)s->count, sizeof *s->tensor, by_name) : NULL;
}
const char *st_metadata(const SafeTensors *s, const char *key) {
    const Json *j = json_get(s->metadata, key);
    return j ? j->string : NULL;
}
void st_to_f32(const StTensor *t, float *out) { dtype_convert(DG_F32, out, t->dtype, t->data, t->count); }
void st_to_f64(const StTensor *t, double *out) { dtype_convert(DG_F64, out, t->dtype, t->data, t->count); }

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
struct StWriter {
    OutFile *file;   /* NULL: into memory */
    uint8_t *memory; /* of all that was declared, from st_writer_begin */
    uint64_t written;
    Text metadata, tensors;
    uint64_t data_bytes, data_begin;
    char *header; /* as written, to find metadata values in */
};
StWriter *st_writer_open(const char *path, Error *e) {
    OutFile *file = out_open(path, e);
    if (!file) return NULL;
    StWriter *w = dg_alloc(sizeof *w);
    w->file = file;
    return w;
}
StWriter *st_writer_memory(void) { return dg_alloc(sizeof(StWriter)); }
void st_writer_unsynced(StWriter *w) { out_unsynced(w->file); }
static bool put(StWriter *w, const void *data, size_t bytes, Error *e) {
    if (w->file) return out_write(w->file, data, bytes, e);
    DG_CHECK(bytes <= w->data_begin + w->data_bytes - w->written, "safetensors: more is written than was declared");
    if (bytes) memcpy(w->memory + w->written, data, bytes);
    w->written += bytes;
    return true;
}
void st_writer_metadata(StWriter *w, const char *key, const char *value) {
    text_printf(&w->metadata, w->metadata.len ? ", " : "");
    text_json_string(&w->metadata, key);
    text_printf(&w->metadata, ": ");
    text_json_string(&w->metadata, value);
}
void st_writer_tensor(StWriter *w, const char *name, DType dtype, int dims, const int64_t *shape) {
    const char *type = NULL;
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype) type = types[i].name;
    uint64_t bytes = dtype_bytes(dtype);
    text_printf(&w->tensors, w->tensors.len ? ", " : "");
    text_json_string(&w->tensors, name);
    text_printf(&w->tensors, ": {\"dtype\": \"%s\", \"shape\": [", type);
    for (int i = 0; i < dims; i++) {
        text_printf(&w->tensors, i ? ", %" PRId64 : "%" PRId64, shape[i]);
        bytes *= (uint64_t)shape[i];
    }
    text_printf(&w->tensors, "], \"data_offsets\": [%" PRIu64 ", %" PRIu64 "]}", w->data_bytes, w->data_bytes + bytes);
    w->data_bytes += bytes;
}
bool st_writer_begin(StWriter *w, Error *e) {
    Text h = {0};
    text_printf(&h, "{");
    if (w->metadata.len) text_printf(&h, "\"__metadata__\": {%s}", w->metadata.text);
    if (w->metadata.len && w->tensors.len) text_printf(&h, ", ");
    if (w->tensors.len) text_printf(&h, "%s", w->tensors.text);
    text_printf(&h, "}");
    while (h.len % 8) text_printf(&h, " "); /* the data begin at a multiple of 8 */
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)h.len >> (8 * i));
    w->header = h.text;
    w->data_begin = 8 + h.len;
    if (!w->file && !(w->memory = malloc(w->data_begin + w->data_bytes)))
        return dg_error(e, "not enough memory for %" PRIu64 " bytes of weights", w->data_bytes);
    return put(w, length, sizeof length, e) && put(w, h.text, h.len, e);
}
bool st_writer_data(StWriter *w, const void *data, size_t bytes, Error *e) { return put(w, data, bytes, e); }
bool st_writer_set_metadata(StWriter *w, const char *key, const char *value, Error *e) {
    Text pattern = {0}, escaped = {0};
    text_json_string(&pattern, key);
    text_printf(&pattern, ": \"");
    text_json_string(&escaped, value);
    const char *at = strstr(w->header, pattern.text);
    DG_CHECK(at, "safetensors: metadata %s was not declared", key);
    uint64_t offset = 8 + (uint64_t)(at - w->header) + pattern.len;
    DG_CHECK(w->header[offset - 8 + escaped.len - 2] == '"', "safetensors: metadata %s has another length", key);
    memcpy(w->header + offset - 8, escaped.text + 1, escaped.len - 2);
    bool ok = true;
    if (w->file) ok = out_patch(w->file, offset, escaped.text + 1, escaped.len - 2, e);
    else memcpy(w->memory + offset, escaped.text + 1, escaped.len - 2);
    text_free(&pattern);
    text_free(&escaped);
    return ok;
}
const char *st_writer_header(const StWriter *w) { return w->header; }
static void writer_free(StWriter *w) {
    text_free(&w->metadata);
    text_free(&w->tensors);
    free(w->header);
    free(w);
}
bool st_writer_finish(StWriter *w, Error *e) {
    uint64_t written = (w->file ? out_position(w->file) : w->written) - w->data_begin;
    DG_CHECK(written == w->data_bytes, "safetensors: %" PRIu64 " bytes written, %" PRIu64 " declared", written, w->data_bytes);
    bool ok = !w->file || out_finish(w->file, e);
    free(w->memory);
    writer_free(w);
    return ok;
}
void *st_writer_take(StWriter *w, size_t *bytes) {
    void *memory = w->memory;
    *bytes = w->data_begin + w->data_bytes;
    w->memory = NULL;
    bool whole = st_writer_finish(w, NULL);
    DG_CHECK(whole, "safetensors: memory cannot be finished");
    return memory;
}
void st_writer_abandon(StWriter *w) {
    if (!w) return;
    out_abandon(w->file);
    free(w->memory);
    writer_free(w);
}
