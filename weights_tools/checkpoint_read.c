/* checkpoint_read.c -- a tensor's values in C order and another type, in pieces: views gathered, storages unpacked. */
#include "weights_tools/checkpoint.h"
#include "base/crc32.h"
#include "base/dtype.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 1 << 16,         /* elements */
    WRITE_BYTES = 512 << 10, /* of what is handed on as it lies: what the check has just read is written from the cache */
    MAX_UNPACKED = 512 << 20 /* bytes of a deflated storage that is viewed in another order than its own */
};
typedef struct { /* elements of a tensor, one piece after the other */
    const CheckpointTensor *t;
    const uint8_t *base; /* of the storage; NULL: from the stream */
    const Zip *zip;
    ZipStream *stream;
    size_t size;            /* of an element */
    bool check;             /* the storage's CRC, along with the reading */
    bool contiguous, whole; /* whole: all of its storage, in order */
    uint64_t done;
    int64_t index[ST_MAX_DIMS]; /* of the next element, where it is not contiguous */
    uint8_t *raw, *wide;        /* a piece as it lies in the file, and integers as 64 bits */
} Source;

/* Compressed storages: unpacked on the way where the tensor is all of it, else once for all the tensors that view it. */
static bool unpack(Source *s, Checkpoint *c, Error *e) {
    const TorchTensor *t = &s->t->torch;
    const Zip *zip = torch_zip(c->torch);
    if (s->whole) return (s->stream = zip_stream_open(zip, t->entry, e)) != NULL;
    if (t->bytes > MAX_UNPACKED)
        return dg_error(e, "its compressed storage of %" PRIu64 " bytes is shared or viewed: save the file again with torch.save",
                        t->bytes);
    if (c->unpacked_of != t->entry) {
        free(c->unpacked);
        c->unpacked_of = NULL;
        c->unpacked = malloc(t->bytes + 1);
        if (!c->unpacked) return dg_error(e, "not enough memory to unpack its storage of %" PRIu64 " bytes", t->bytes);
        if (!zip_read(zip, t->entry, c->unpacked, e)) return false;
        c->unpacked_of = t->entry;
    }
    s->base = c->unpacked;
    return true;
}
static bool source_open(Source *s, Checkpoint *c, const CheckpointTensor *t, Error *e) {
    *s = (Source){.t = t, .contiguous = true, .zip = c->torch ? torch_zip(c->torch) : NULL};
    if (t->native) {
        s->base = t->native->data, s->size = dtype_bytes(t->dtype);
        return true;
    }
    const TorchTensor *v = &t->torch;
    s->size = element_bytes(v->type), s->contiguous = torch_contiguous(v), s->base = v->data;
    s->whole = s->contiguous && v->first == 0 && v->count * s->size == v->bytes;
    s->raw = dg_alloc(PIECE * s->size);
    if (v->type >= EL_I8 && v->type <= EL_I32) s->wide = dg_alloc(PIECE * sizeof(int64_t));
    if (v->entry && !s->base && !unpack(s, c, e)) return false;
    s->check = v->entry && v->data && c->verified != v->entry; /* tensors come in the file's order: each storage once */
    if (s->check && !s->whole) {
        if (!zip_verify(torch_zip(c->torch), v->entry, e)) return false;
        s->check = false;
    }
    if (v->entry) c->verified = v->entry;
    if (s->base) s->base += v->first * s->size;
    return true;
}
static void source_close(Source *s) {
    zip_stream_close(s->stream);
    free(s->raw);
    free(s->wide);
}
static void gather(Source *s, uint8_t *out, size_t n) {
    const TorchTensor *t = &s->t->torch;
    int64_t offset = 0;
    for (int i = 0; i < t->dims; i++) offset += s->index[i] * t->stride[i];
    for (size_t k = 0; k < n; k++, out += s->size) {
        memcpy(out, s->base + (size_t)offset * s->size, s->size);
        for (int i = t->dims - 1; i >= 0; i--) {
            offset += t->stride[i];
            if (++s->index[i] < t->shape[i]) break;
            offset -= t->shape[i] * t->stride[i];
            s->index[i] = 0;
        }
    }
}
static void widen(ElementType type, const uint8_t *raw, uint8_t *wide, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int16_t s;
        int32_t w;
        int64_t v = (int8_t)raw[i];
        if (type == EL_I16) memcpy(&s, raw + 2 * i, sizeof s), v = s;
        if (type == EL_I32) memcpy(&w, raw + 4 * i, sizeof w), v = w;
        memcpy(wide + 8 * i, &v, sizeof v);
    }
}
/* The next n <= PIECE elements; contiguous ones of a mapped storage need no copy. */
static const uint8_t *next_piece(Source *s, size_t n, Error *e) {
    const uint8_t *raw = s->raw;
    if (s->stream) {
        if (!zip_stream_read(s->stream, s->raw, n * s->size, e)) return NULL;
    } else if (s->contiguous) {
        raw = s->base + s->done * s->size;
    } else {
        gather(s, s->raw, n);
    }
    s->done += n;
    if (!s->wide) return raw;
    widen(s->t->torch.type, raw, s->wide, n);
    return s->wide;
}
/* fp16 ends at 65504: a finite value that became infinite would ruin every image without a word. */
static bool check_range(const uint8_t *half, DType from, const uint8_t *src, size_t n, Error *e) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        double v;
        memcpy(&h, half + 2 * i, sizeof h);
        if ((h & 0x7fff) != 0x7c00) continue;
        dtype_convert(DG_F64, &v, from, src + i * dtype_bytes(from), 1);
        if (isfinite(v)) return dg_error(e, "its value %g does not fit fp16, which ends at 65504: use --dtype fp32", v);
    }
    return true;
}
/* As it lies in the file: the usual case. */
static bool deliver_direct(const Source *s, CheckpointSink sink, void *user, Error *e) {
    const ZipEntry *entry = s->t->torch.entry;
    uint64_t bytes = s->t->count * s->size;
    uint32_t crc = 0;
    for (uint64_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < WRITE_BYTES ? bytes - at : WRITE_BYTES;
        if (s->check) crc = crc32_of(crc, s->base + at, n);
        if (!sink(user, s->base + at, n, e)) return false;
    }
    if (s->check && crc != entry->crc)
        return dg_error(e, "the CRC-32 of entry %s is %08x, not %08x: the file is damaged", entry->name, crc, entry->crc);
    return true;
}
static bool deliver(Source *s, DType dtype, CheckpointSink sink, void *user, Error *e) {
    const CheckpointTensor *t = s->t;
    DType from = t->dtype;
    if (from == dtype && s->base && s->contiguous && !s->wide) return deliver_direct(s, sink, user, e);
    if (s->check && !zip_verify(s->zip, t->torch.entry, e)) return false;
    uint8_t *converted = from == dtype ? NULL : dg_alloc(PIECE * dtype_bytes(dtype));
    bool ok = true;
    uint64_t left = t->count;
    do {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        const uint8_t *src = next_piece(s, n, e), *out = src;
        if (!(ok = src != NULL)) break;
        if (converted) dtype_convert(dtype, converted, from, src, n), out = converted;
        if (converted && dtype == DG_F16) ok = check_range(converted, from, src, n, e);
        ok = ok && (n == 0 || sink(user, out, n * dtype_bytes(dtype), e));
        left -= n;
    } while (ok && left);
    free(converted);
    return ok;
}
bool checkpoint_read(Checkpoint *c, const CheckpointTensor *t, DType dtype, CheckpointSink sink, void *user, Error *e) {
    Source s;
    bool ok = source_open(&s, c, t, e) && deliver(&s, dtype, sink, user, e);
    source_close(&s);
    return ok || dg_error_context(e, "%s: tensor %s", c->path, t->name);
}
uint64_t checkpoint_position(const Checkpoint *c, const CheckpointTensor *t) {
    uintptr_t at = (uintptr_t)(t->native ? t->native->data : t->torch.data ? t->torch.data : t->torch.entry->packed);
    uintptr_t begin = (uintptr_t)c->map.data;
    if (at < begin || at - begin > c->map.bytes) return 0; /* unpacked, or decoded */
    return at - begin + (t->native ? 0 : t->torch.first);
}
