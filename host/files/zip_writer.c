/* zip_writer.c -- writes ZIP archives of stored entries, ZIP64 where a size or an offset needs it. */
#include "files/zip.h"
#include "base/crc32.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *name;
    uint64_t bytes, offset; /* offset: of the local header */
    uint32_t crc;
} Written;
struct ZipWriter {
    OutFile *file;
    char *path;
    Written *entry;
    int count, capacity;
    uint64_t left; /* bytes that the entry in progress still wants */
};
enum {
    LOCAL_CRC_AT = 14,      /* where the CRC lies in a local header */
    DATE_1980_01_01 = 0x21, /* a constant date: the same content gives the same file */
    VERSION = 20,
    VERSION_ZIP64 = 45,
    FLAG_UTF8 = 1 << 11,
    MAX16 = 0xffff
};
static const uint64_t MAX32 = 0xffffffff;

/* ---- little-endian records --------------------------------------------------------------------------------------- */
typedef struct {
    uint8_t byte[64];
    size_t len;
} Record;
static void put(Record *r, uint64_t v, int bytes) {
    for (; bytes > 0; bytes--, v >>= 8) r->byte[r->len++] = (uint8_t)v;
}
static uint64_t narrow(uint64_t v, uint64_t max) { return v < max ? v : max; }
/* What the local and the central header have in common, from the version to the length of the name. */
static void put_common(Record *r, const Written *x, bool zip64) {
    put(r, zip64 ? VERSION_ZIP64 : VERSION, 2);
    put(r, FLAG_UTF8, 2);
    put(r, 0, 2); /* stored */
    put(r, 0, 2);
    put(r, DATE_1980_01_01, 2);
    put(r, x->crc, 4);
    put(r, narrow(x->bytes, MAX32), 4);
    put(r, narrow(x->bytes, MAX32), 4);
    put(r, strlen(x->name), 2);
}
static bool write_local(const ZipWriter *w, const Written *x, Error *e) {
    Record r = {.len = 0}, wide = {.len = 0};
    bool zip64 = x->bytes >= MAX32;
    if (zip64) put(&wide, 1, 2), put(&wide, 16, 2), put(&wide, x->bytes, 8), put(&wide, x->bytes, 8);
    put(&r, 0x04034b50, 4);
    put_common(&r, x, zip64);
    put(&r, wide.len, 2);
    return out_write(w->file, r.byte, r.len, e) && out_write(w->file, x->name, strlen(x->name), e) &&
           out_write(w->file, wide.byte, wide.len, e);
}
static bool write_central(const ZipWriter *w, const Written *x, Error *e) {
    Record r = {.len = 0}, wide = {.len = 0};
    bool sizes = x->bytes >= MAX32, offset = x->offset >= MAX32;
    if (sizes || offset) put(&wide, 1, 2), put(&wide, (sizes ? 16 : 0) + (offset ? 8 : 0), 2);
    if (sizes) put(&wide, x->bytes, 8), put(&wide, x->bytes, 8);
    if (offset) put(&wide, x->offset, 8);
    put(&r, 0x02014b50, 4);
    put(&r, VERSION_ZIP64, 2); /* made by */
    put_common(&r, x, sizes || offset);
    put(&r, wide.len, 2);
    put(&r, 0, 2); /* comment */
    put(&r, 0, 2); /* disk */
    put(&r, 0, 2); /* attributes */
    put(&r, 0, 4);
    put(&r, narrow(x->offset, MAX32), 4);
    return out_write(w->file, r.byte, r.len, e) && out_write(w->file, x->name, strlen(x->name), e) &&
           out_write(w->file, wide.byte, wide.len, e);
}
static bool write_end(const ZipWriter *w, uint64_t begin, Error *e) {
    uint64_t end = out_position(w->file), bytes = end - begin, count = (uint64_t)w->count;
    if (begin >= MAX32 || bytes >= MAX32 || count >= MAX16) {
        Record r = {.len = 0};
        put(&r, 0x06064b50, 4), put(&r, 44, 8); /* the size counts from after itself */
        put(&r, VERSION_ZIP64, 2), put(&r, VERSION_ZIP64, 2), put(&r, 0, 4), put(&r, 0, 4);
        put(&r, count, 8), put(&r, count, 8), put(&r, bytes, 8), put(&r, begin, 8);
        if (!out_write(w->file, r.byte, r.len, e)) return false;
        r.len = 0;
        put(&r, 0x07064b50, 4), put(&r, 0, 4), put(&r, end, 8), put(&r, 1, 4); /* the locator */
        if (!out_write(w->file, r.byte, r.len, e)) return false;
    }
    Record r = {.len = 0};
    put(&r, 0x06054b50, 4), put(&r, 0, 2), put(&r, 0, 2);
    put(&r, narrow(count, MAX16), 2), put(&r, narrow(count, MAX16), 2);
    put(&r, narrow(bytes, MAX32), 4), put(&r, narrow(begin, MAX32), 4), put(&r, 0, 2);
    return out_write(w->file, r.byte, r.len, e);
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */
ZipWriter *zip_writer_open(const char *path, Error *e) {
    OutFile *file = out_open(path, e);
    if (!file) return NULL;
    ZipWriter *w = dg_alloc(sizeof *w);
    w->file = file;
    w->path = dg_strdup(path);
    return w;
}
static bool end_entry(ZipWriter *w, Error *e) {
    if (w->count == 0) return true;
    const Written *x = &w->entry[w->count - 1];
    DG_CHECK(w->left == 0, "zip: entry %s lacks %llu bytes", x->name, (unsigned long long)w->left);
    Record crc = {.len = 0};
    put(&crc, x->crc, 4);
    return out_patch(w->file, x->offset + LOCAL_CRC_AT, crc.byte, crc.len, e);
}
bool zip_writer_entry(ZipWriter *w, const char *name, uint64_t bytes, Error *e) {
    if (!end_entry(w, e)) return false;
    if (name[0] == 0 || strlen(name) > ZIP_MAX_NAME)
        return dg_error(e, "%s: an entry's name has %zu bytes, 1 to %d are accepted", w->path, strlen(name), ZIP_MAX_NAME);
    for (int i = 0; i < w->count; i++)
        if (!strcmp(w->entry[i].name, name)) return dg_error(e, "%s: two entries %s", w->path, name);
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 16;
        w->entry = dg_realloc(w->entry, (size_t)w->capacity * sizeof *w->entry);
    }
    Written *x = &w->entry[w->count++];
    *x = (Written){.name = dg_strdup(name), .bytes = bytes, .offset = out_position(w->file)};
    w->left = bytes;
    return write_local(w, x, e);
}
bool zip_writer_data(ZipWriter *w, const void *data, size_t bytes, Error *e) {
    DG_CHECK(w->count > 0 && bytes <= w->left, "zip: more bytes than were declared");
    Written *x = &w->entry[w->count - 1];
    x->crc = crc32_of(x->crc, data, bytes);
    w->left -= bytes;
    return out_write(w->file, data, bytes, e);
}
static void writer_free(ZipWriter *w) {
    for (int i = 0; i < w->count; i++) free(w->entry[i].name);
    free(w->entry);
    free(w->path);
    free(w);
}
bool zip_writer_finish(ZipWriter *w, Error *e) {
    bool ok = end_entry(w, e);
    uint64_t begin = out_position(w->file);
    for (int i = 0; i < w->count && ok; i++) ok = write_central(w, &w->entry[i], e);
    ok = ok && write_end(w, begin, e);
    if (ok) ok = out_finish(w->file, e);
    else out_abandon(w->file);
    writer_free(w);
    return ok;
}
void zip_writer_abandon(ZipWriter *w) {
    if (!w) return;
    out_abandon(w->file);
    writer_free(w);
}
