/* zip_maker.h -- makes ZIP archives in memory, byte by byte, so that tests can lie in any field of them. */
#ifndef DG_ZIP_MAKER_H
#define DG_ZIP_MAKER_H
#include "base/crc32.h"
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_ZLIB
#include <zlib.h>
#endif

typedef struct {
    const char *name;
    const void *data; /* as it lies in the file */
    size_t packed_bytes, bytes;
    uint32_t crc;
    bool deflated, descriptor, zip64; /* zip64: sizes and offset in an extra field */
    size_t local, central, end;       /* filled in: where the headers are, where the data end */
} MadeEntry;
typedef struct {
    uint8_t *data;
    size_t bytes, capacity;
    MadeEntry *entry;
    int count, room;
    size_t directory, end64, locator, end; /* filled in by made_finish; end64 and locator only with zip64 */
} Made;

static inline void made_bytes(Made *m, const void *data, size_t bytes) {
    if (m->bytes + bytes > m->capacity) m->data = dg_realloc(m->data, m->capacity = 2 * m->capacity + bytes);
    if (bytes) memcpy(m->data + m->bytes, data, bytes);
    m->bytes += bytes;
}
static inline void made_put(Made *m, uint64_t v, int bytes) {
    for (uint8_t b; bytes > 0; bytes--, v >>= 8) b = (uint8_t)v, made_bytes(m, &b, 1);
}
static inline void made_common(Made *m, const MadeEntry *x, bool known) {
    made_put(m, x->zip64 ? 45 : 20, 2);
    made_put(m, x->descriptor ? 8 : 0, 2);
    made_put(m, x->deflated ? 8 : 0, 2);
    made_put(m, 0x00210000, 4);
    made_put(m, known ? x->crc : 0, 4);
    made_put(m, x->zip64 ? 0xffffffff : known ? x->packed_bytes : 0, 4);
    made_put(m, x->zip64 ? 0xffffffff : known ? x->bytes : 0, 4);
    made_put(m, strlen(x->name), 2);
}
/* The local header, its data and, where wanted, the descriptor after them. */
static inline void made_local(Made *m, MadeEntry x) {
    bool known = !x.descriptor;
    x.local = m->bytes;
    made_put(m, 0x04034b50, 4);
    made_common(m, &x, known);
    made_put(m, x.zip64 ? 20 : 0, 2);
    made_bytes(m, x.name, strlen(x.name));
    if (x.zip64) made_put(m, 1, 2), made_put(m, 16, 2), made_put(m, known ? x.bytes : 0, 8), made_put(m, known ? x.packed_bytes : 0, 8);
    made_bytes(m, x.data, x.packed_bytes);
    x.end = m->bytes;
    int wide = x.zip64 ? 8 : 4;
    if (x.descriptor) made_put(m, 0x08074b50, 4), made_put(m, x.crc, 4), made_put(m, x.packed_bytes, wide), made_put(m, x.bytes, wide);
    if (m->count == m->room) m->entry = dg_realloc(m->entry, (size_t)(m->room = 2 * m->room + 8) * sizeof *m->entry);
    m->entry[m->count++] = x;
}
static inline void made_stored(Made *m, const char *name, const void *data, size_t bytes) {
    made_local(m, (MadeEntry){.name = name, .data = data, .packed_bytes = bytes, .bytes = bytes, .crc = crc32_of(0, data, bytes)});
}
static inline void made_central(Made *m, MadeEntry *x) {
    x->central = m->bytes;
    made_put(m, 0x02014b50, 4);
    made_put(m, 45, 2);
    made_common(m, x, true);
    made_put(m, x->zip64 ? 28 : 0, 2);
    made_put(m, 0, 10); /* comment, disk, attributes */
    made_put(m, x->zip64 ? 0xffffffff : x->local, 4);
    made_bytes(m, x->name, strlen(x->name));
    if (x->zip64)
        made_put(m, 1, 2), made_put(m, 24, 2), made_put(m, x->bytes, 8), made_put(m, x->packed_bytes, 8), made_put(m, x->local, 8);
}
static inline void made_finish(Made *m, bool zip64) {
    m->directory = m->bytes;
    for (int i = 0; i < m->count; i++) made_central(m, &m->entry[i]);
    size_t bytes = m->bytes - m->directory, count = (size_t)m->count;
    if (zip64) {
        m->end64 = m->bytes;
        made_put(m, 0x06064b50, 4), made_put(m, 44, 8), made_put(m, 45, 2), made_put(m, 45, 2), made_put(m, 0, 8);
        made_put(m, count, 8), made_put(m, count, 8), made_put(m, bytes, 8), made_put(m, m->directory, 8);
        m->locator = m->bytes;
        made_put(m, 0x07064b50, 4), made_put(m, 0, 4), made_put(m, m->end64, 8), made_put(m, 1, 4);
    }
    m->end = m->bytes;
    made_put(m, 0x06054b50, 4), made_put(m, 0, 4);
    made_put(m, zip64 ? 0xffff : count, 2), made_put(m, zip64 ? 0xffff : count, 2);
    made_put(m, zip64 ? 0xffffffff : bytes, 4), made_put(m, zip64 ? 0xffffffff : m->directory, 4), made_put(m, 0, 2);
}
static inline void made_free(Made *m) {
    free(m->data);
    free(m->entry);
    *m = (Made){0};
}
#ifdef DG_HAVE_ZLIB
/* Raw deflate of data; the caller frees it. */
static inline uint8_t *made_deflate(const void *data, size_t bytes, size_t *packed_bytes) {
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    size_t room = deflateBound(&z, bytes);
    uint8_t *out = dg_alloc(room);
    z.next_in = (z_const Bytef *)(uintptr_t)data, z.avail_in = (uInt)bytes;
    z.next_out = out, z.avail_out = (uInt)room;
    deflate(&z, Z_FINISH);
    *packed_bytes = room - z.avail_out;
    deflateEnd(&z);
    return out;
}
#endif
#endif
