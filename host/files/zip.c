/* zip.c -- the ZIP reader: the directory and every local header checked at opening, entries unpacked in pieces. */
#include "files/zip.h"
#include "base/crc32.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_ZLIB
#include <zlib.h>
#endif

/* Signatures, and sizes without the variable parts. */
enum {
    LOCAL_SIGNATURE = 0x04034b50,
    LOCAL_BYTES = 30,
    CENTRAL_SIGNATURE = 0x02014b50,
    CENTRAL_BYTES = 46,
    END_SIGNATURE = 0x06054b50,
    END_BYTES = 22,
    END64_SIGNATURE = 0x06064b50,
    END64_BYTES = 56,
    LOCATOR_SIGNATURE = 0x07064b50,
    LOCATOR_BYTES = 20,
    DESCRIPTOR_SIGNATURE = 0x08074b50,
    ZIP64_FIELD = 1, /* tag of the extra field with 64-bit sizes */
    FLAG_ENCRYPTED = 1,
    FLAG_DESCRIPTOR = 1 << 3,
    FLAG_PATCH = 1 << 5,
    FLAG_STRONG = 1 << 6,
    FLAG_MASKED = 1 << 13,
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    MAX16 = 0xffff,
    DEFLATE_MAX_RATIO = 1032 /* 258 bytes from 2 bits */
};
static const uint64_t MAX32 = 0xffffffff;

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    while (bytes-- > 0) v = v << 8 | p[bytes];
    return v;
}
bool zip_recognise(const void *data, size_t bytes) {
    if (bytes < 4) return false;
    uint64_t signature = get(data, 4);
    return signature == LOCAL_SIGNATURE || signature == END_SIGNATURE; /* the latter: an empty archive */
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */
typedef struct {
    const uint8_t *file;
    uint64_t bytes;
    uint64_t begin, end, count; /* the directory: file bytes [begin, end), entries */
} Directory;

/* With ZIP64, the saturated fields of the 32-bit end record are found in another, which a locator before it points to. */
static bool read_end64(Directory *d, uint64_t end, bool needed, uint64_t *directory_bytes, Error *e) {
    const uint8_t *locator = end < LOCATOR_BYTES ? NULL : d->file + end - LOCATOR_BYTES;
    if (!locator || get(locator, 4) != LOCATOR_SIGNATURE)
        return !needed || dg_error(e, "its end record wants ZIP64 sizes, and there are none");
    uint64_t at = get(locator + 8, 8);
    end -= LOCATOR_BYTES;
    if (at > end || end - at < END64_BYTES || get(d->file + at, 4) != END64_SIGNATURE)
        return dg_error(e, "its ZIP64 locator points to byte %" PRIu64 ", where no end record is", at);
    const uint8_t *r = d->file + at;
    if (get(r + 4, 8) != end - at - 12)
        return dg_error(e, "its ZIP64 end record of %" PRIu64 " bytes does not reach the locator", get(r + 4, 8));
    if (get(r + 16, 4) || get(r + 20, 4) || get(r + 24, 8) != get(r + 32, 8) || get(locator + 16, 4) > 1)
        return dg_error(e, "it is one part of a multi-part ZIP archive, which dg_cuda does not read");
    uint64_t narrow[3] = {d->count, *directory_bytes, d->begin}, wide[3] = {get(r + 32, 8), get(r + 40, 8), get(r + 48, 8)};
    for (int i = 0; i < 3; i++)
        if (narrow[i] != wide[i] && narrow[i] != (i ? MAX32 : MAX16))
            return dg_error(e, "its two end records disagree (%" PRIu64 " and %" PRIu64 ")", narrow[i], wide[i]);
    d->count = wide[0], *directory_bytes = wide[1], d->begin = wide[2], d->end = at;
    return true;
}
/* The end record is the last one whose comment reaches exactly to the end of the file. */
static bool find_directory(Directory *d, Error *e) {
    if (d->bytes < END_BYTES) return dg_error(e, "%" PRIu64 " bytes: too short for a ZIP archive", d->bytes);
    uint64_t end = d->bytes - END_BYTES, first = end > MAX16 ? end - MAX16 : 0;
    while (get(d->file + end, 4) != END_SIGNATURE || get(d->file + end + 20, 2) != d->bytes - END_BYTES - end)
        if (end-- == first) return dg_error(e, "it has no end of a ZIP directory: not a ZIP archive, or truncated");
    const uint8_t *r = d->file + end;
    uint64_t disks = get(r + 4, 2) | get(r + 6, 2), on_disk = get(r + 8, 2), directory_bytes = get(r + 12, 4);
    d->count = get(r + 10, 2), d->begin = get(r + 16, 4), d->end = end;
    if ((disks && disks != MAX16) || on_disk != d->count)
        return dg_error(e, "it is one part of a multi-part ZIP archive, which dg_cuda does not read");
    bool needed = disks || d->count == MAX16 || directory_bytes == MAX32 || d->begin == MAX32;
    if (!read_end64(d, end, needed, &directory_bytes, e)) return false;
    if (d->begin > d->end || directory_bytes != d->end - d->begin)
        return dg_error(e, "its directory, %" PRIu64 " bytes at %" PRIu64 ", does not end where the end record is, at %" PRIu64,
                        directory_bytes, d->begin, d->end);
    if (d->count > ZIP_MAX_ENTRIES) return dg_error(e, "it has %" PRIu64 " entries, at most %d are accepted", d->count, ZIP_MAX_ENTRIES);
    if (d->count > directory_bytes / CENTRAL_BYTES)
        return dg_error(e, "it says it has %" PRIu64 " entries, in a directory of %" PRIu64 " bytes", d->count, directory_bytes);
    return true;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */
typedef struct { /* what a central or a local header says */
    uint64_t flags, method, crc, packed_bytes, bytes;
    const uint8_t *name, *extra;
    uint64_t name_bytes, extra_bytes;
    uint64_t offset; /* of the local header: central only */
} Header;

/* Fields that are saturated in the header follow, in this order, as 64-bit values in the ZIP64 extra field. */
static bool read_extra(Header *h, Error *e) {
    uint64_t *wide[3] = {&h->bytes, &h->packed_bytes, &h->offset};
    const uint8_t *field = NULL;
    uint64_t left = 0;
    for (uint64_t at = 0; at < h->extra_bytes;) {
        /* Some writers pad with fewer bytes than a field's head has: zeros are taken for that. */
        if (h->extra_bytes - at < 4) {
            while (at < h->extra_bytes && h->extra[at] == 0) at++;
            if (at == h->extra_bytes) break;
            return dg_error(e, "its extra fields are truncated");
        }
        uint64_t tag = get(h->extra + at, 2), size = get(h->extra + at + 2, 2);
        if (size > h->extra_bytes - at - 4) return dg_error(e, "its extra fields are truncated");
        if (tag == ZIP64_FIELD && !field) field = h->extra + at + 4, left = size;
        at += 4 + size;
    }
    for (int i = 0; i < 3; i++) {
        if (*wide[i] != MAX32) continue;
        if (!field) return true; /* exactly 4 GiB - 1 */
        if (left < 8) return dg_error(e, "its ZIP64 field is too short");
        *wide[i] = get(field, 8);
        field += 8, left -= 8;
    }
    return true;
}
static bool read_central(const Directory *d, uint64_t *at, Header *h, Error *e) {
    const uint8_t *r = d->file + *at;
    uint64_t left = d->end - *at;
    if (left < CENTRAL_BYTES || get(r, 4) != CENTRAL_SIGNATURE) return dg_error(e, "its directory is broken at byte %" PRIu64, *at);
    *h = (Header){.flags = get(r + 8, 2),
                  .method = get(r + 10, 2),
                  .crc = get(r + 16, 4),
                  .packed_bytes = get(r + 20, 4),
                  .bytes = get(r + 24, 4),
                  .name = r + CENTRAL_BYTES,
                  .name_bytes = get(r + 28, 2),
                  .extra_bytes = get(r + 30, 2),
                  .offset = get(r + 42, 4)};
    uint64_t size = CENTRAL_BYTES + h->name_bytes + h->extra_bytes + get(r + 32, 2);
    if (size > left) return dg_error(e, "its directory is truncated at byte %" PRIu64, *at);
    h->extra = h->name + h->name_bytes;
    *at += size;
    return true;
}
static bool check_name(const Header *h, Error *e) {
    if (h->name_bytes == 0 || h->name_bytes > ZIP_MAX_NAME)
        return dg_error(e, "an entry's name has %" PRIu64 " bytes, 1 to %d are accepted", h->name_bytes, ZIP_MAX_NAME);
    for (uint64_t i = 0; i < h->name_bytes;) {
        int n = utf8_sequence(h->name + i, (size_t)(h->name_bytes - i));
        if (n == 0 || h->name[i] < 0x20 || h->name[i] == 0x7f)
            return dg_error(e, "the entry name %.*s is not UTF-8 text", (int)h->name_bytes, (const char *)h->name);
        i += (uint64_t)n;
    }
    return true;
}
static bool check_sizes(const Header *h, Error *e) {
    if (h->flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED)) return dg_error(e, "it is encrypted, which dg_cuda does not read");
    if (h->flags & FLAG_PATCH) return dg_error(e, "it is patch data, which dg_cuda does not read");
    if (h->method != METHOD_STORED && h->method != METHOD_DEFLATED)
        return dg_error(e, "compression method %" PRIu64 " is not one that dg_cuda reads (stored, deflate)", h->method);
    if (h->method == METHOD_STORED && h->packed_bytes != h->bytes)
        return dg_error(e, "it is stored, but its %" PRIu64 " bytes take %" PRIu64 " in the file", h->bytes, h->packed_bytes);
    if (h->method == METHOD_STORED) return true;
    if (h->bytes / DEFLATE_MAX_RATIO > h->packed_bytes)
        return dg_error(e, "it says that %" PRIu64 " deflated bytes hold %" PRIu64 ", more than they can", h->packed_bytes, h->bytes);
    if (h->bytes > ZIP_BOMB_BYTES && h->bytes / ZIP_BOMB_RATIO > h->packed_bytes)
        return dg_error(e, "%" PRIu64 " bytes that unpack to %" PRIu64 " look like a zip bomb: store it uncompressed if it is none",
                        h->packed_bytes, h->bytes);
    return true;
}
/* What follows the data of an entry whose sizes were not known when its local header was written. */
static uint64_t descriptor_bytes(const Header *h, const uint8_t *p, uint64_t left) {
    for (int form = 0; form < 4; form++) { /* with or without a signature; 4 or 8 bytes for each size */
        uint64_t head = form & 1 ? 0 : 4, wide = form & 2 ? 8 : 4, n = head + 4 + 2 * wide;
        if (n > left || (head && get(p, 4) != DESCRIPTOR_SIGNATURE)) continue;
        const uint8_t *r = p + head;
        if (get(r, 4) == h->crc && get(r + 4, (int)wide) == h->packed_bytes && get(r + 4 + wide, (int)wide) == h->bytes) return n;
    }
    return 0;
}
/* The local header must say what the directory says. Fills entry->packed, and the end of all that belongs to it. */
static bool read_local(const Directory *d, const Header *h, ZipEntry *entry, uint64_t *end, Error *e) {
    if (h->offset > d->begin || d->begin - h->offset < LOCAL_BYTES)
        return dg_error(e, "its header is said to be at byte %" PRIu64 ", outside the file's entries", h->offset);
    const uint8_t *r = d->file + h->offset;
    if (get(r, 4) != LOCAL_SIGNATURE) return dg_error(e, "at byte %" PRIu64 " there is no header of an entry", h->offset);
    Header l = {.flags = get(r + 6, 2),
                .method = get(r + 8, 2),
                .crc = get(r + 14, 4),
                .packed_bytes = get(r + 18, 4),
                .bytes = get(r + 22, 4),
                .name = r + LOCAL_BYTES,
                .name_bytes = get(r + 26, 2),
                .extra_bytes = get(r + 28, 2)};
    uint64_t data = h->offset + LOCAL_BYTES + l.name_bytes + l.extra_bytes;
    if (data > d->begin || h->packed_bytes > d->begin - data)
        return dg_error(e, "its %" PRIu64 " bytes at %" PRIu64 " do not fit into the file: truncated?", h->packed_bytes, data);
    l.extra = l.name + l.name_bytes;
    if (l.name_bytes != h->name_bytes || memcmp(l.name, h->name, (size_t)h->name_bytes) || l.method != h->method ||
        ((l.flags ^ h->flags) & (FLAG_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_PATCH | FLAG_STRONG)))
        return dg_error(e, "its header at byte %" PRIu64 " does not agree with the directory (name, method or flags)", h->offset);
    if (!read_extra(&l, e)) return false;
    bool unknown = h->flags & FLAG_DESCRIPTOR && l.crc == 0 && l.packed_bytes == 0 && l.bytes == 0;
    if (!unknown && (l.crc != h->crc || l.packed_bytes != h->packed_bytes || l.bytes != h->bytes))
        return dg_error(e,
                        "its header at byte %" PRIu64 " does not agree with the directory (%" PRIu64 " and %" PRIu64 " bytes, or the CRC)",
                        h->offset, l.bytes, h->bytes);
    entry->packed = d->file + data;
    *end = data + h->packed_bytes;
    if (!(h->flags & FLAG_DESCRIPTOR)) return true;
    uint64_t n = descriptor_bytes(h, d->file + *end, d->begin - *end);
    if (n == 0) return dg_error(e, "the sizes after its data do not agree with the directory");
    *end += n;
    return true;
}

typedef struct {
    uint64_t begin, end;
    const ZipEntry *entry;
} Range;
static int by_begin(const void *a, const void *b) {
    const Range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}
static int by_name(const void *a, const void *b) {
    return strcmp((*(const ZipEntry *const *)a)->name, (*(const ZipEntry *const *)b)->name);
}
/* No byte may belong to two entries: that is how small files unpack to terabytes. */
static bool check_overlaps(const Zip *z, Range *range, Error *e) {
    qsort(range, (size_t)z->count, sizeof *range, by_begin);
    for (int i = 1; i < z->count; i++)
        if (range[i].begin < range[i - 1].end)
            return dg_error(e, "the entries %s and %s overlap", range[i - 1].entry->name, range[i].entry->name);
    return true;
}
static bool index_names(Zip *z, Error *e) {
    z->by_name = dg_alloc((size_t)z->count * sizeof *z->by_name);
    for (int i = 0; i < z->count; i++) z->by_name[i] = &z->entry[i];
    qsort(z->by_name, (size_t)z->count, sizeof *z->by_name, by_name);
    for (int i = 1; i < z->count; i++)
        if (!strcmp(z->by_name[i]->name, z->by_name[i - 1]->name)) return dg_error(e, "it has two entries %s", z->by_name[i]->name);
    return true;
}
/* All of the archive's deflated data together obey the limit of one entry. */
static bool check_total(const Zip *z, Error *e) {
    Header sum = {.method = METHOD_DEFLATED};
    for (int i = 0; i < z->count; i++)
        if (z->entry[i].deflated) sum.bytes += z->entry[i].bytes, sum.packed_bytes += z->entry[i].packed_bytes;
    return check_sizes(&sum, e);
}
static bool read_entries(Zip *z, const Directory *d, Range *range, Error *e) {
    char *name = z->names = dg_alloc((size_t)(d->end - d->begin)); /* each takes less than its directory entry */
    uint64_t at = d->begin;
    for (; z->count < (int)d->count; z->count++) {
        Header h;
        ZipEntry *entry = &z->entry[z->count];
        Range *r = &range[z->count];
        if (!read_central(d, &at, &h, e) || !check_name(&h, e)) return false;
        memcpy(name, h.name, (size_t)h.name_bytes);
        *entry = (ZipEntry){.name = name, .deflated = h.method == METHOD_DEFLATED, .crc = (uint32_t)h.crc};
        name += h.name_bytes + 1;
        *r = (Range){.begin = h.offset, .entry = entry};
        if (!read_extra(&h, e) || !check_sizes(&h, e) || !read_local(d, &h, entry, &r->end, e))
            return dg_error_context(e, "entry %s", entry->name);
        r->begin = h.offset;
        entry->bytes = h.bytes, entry->packed_bytes = h.packed_bytes;
    }
    if (at != d->end) return dg_error(e, "%" PRIu64 " bytes of its directory belong to no entry", d->end - at);
    return check_overlaps(z, range, e) && index_names(z, e) && check_total(z, e);
}
Zip *zip_memory(const void *data, size_t bytes, const char *name, Error *e) {
    Directory d = {.file = data, .bytes = bytes};
    if (!find_directory(&d, e)) {
        dg_error_context(e, "%s", name);
        return NULL;
    }
    Zip *z = dg_alloc(sizeof *z);
    z->path = dg_strdup(name);
    z->entry = dg_alloc((size_t)d.count * sizeof *z->entry);
    Range *range = dg_alloc((size_t)d.count * sizeof *range);
    bool ok = read_entries(z, &d, range, e);
    free(range);
    if (ok) return z;
    dg_error_context(e, "%s", name);
    zip_close(z);
    return NULL;
}
Zip *zip_open(const char *path, Error *e) {
    FileMap m;
    if (!file_map(path, &m, e)) return NULL;
    Zip *z = zip_memory(m.data, m.bytes, path, e);
    if (z) z->map = m;
    else file_unmap(&m);
    return z;
}
void zip_close(Zip *z) {
    if (!z) return;
    file_unmap(&z->map);
    free(z->by_name);
    free(z->names);
    free(z->entry);
    free(z->path);
    free(z);
}
const ZipEntry *zip_find(const Zip *z, const char *name) {
    ZipEntry wanted = {.name = name};
    const ZipEntry *key = &wanted, **found = bsearch(&key, z->by_name, (size_t)z->count, sizeof *z->by_name, by_name);
    return found ? *found : NULL;
}
const ZipEntry *zip_find_suffix(const Zip *z, const char *suffix, const ZipEntry *after) {
    size_t n = strlen(suffix);
    for (const ZipEntry *x = after ? after + 1 : z->entry; x < z->entry + z->count; x++)
        if (strlen(x->name) >= n && !strcmp(x->name + strlen(x->name) - n, suffix)) return x;
    return NULL;
}

/* ---- unpacking --------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_ZLIB
typedef struct {
    z_stream z;
    uint64_t unfed; /* packed bytes that zlib, whose counts are 32-bit, has not been shown yet */
    bool open;
} Inflater;
static bool inflater_open(Inflater *f, const ZipEntry *entry, Error *e) {
    f->z.next_in = (z_const Bytef *)(uintptr_t)entry->packed;
    f->unfed = entry->packed_bytes;
    f->open = inflateInit2(&f->z, -MAX_WBITS) == Z_OK; /* raw deflate */
    return f->open || dg_error(e, "zlib does not start: %s", f->z.msg ? f->z.msg : "not enough memory");
}
/* Fills out[bytes]; at the stream's end it also asks for the end mark, with bytes == 0. */
static bool inflater_read(Inflater *f, uint8_t *out, size_t bytes, bool last, Error *e) {
    enum { PIECE = 1 << 30 };
    uint8_t none;
    int status = Z_OK;
    f->z.next_out = out ? out : &none;
    while (bytes > 0 || last) {
        if (f->z.avail_in == 0) f->z.avail_in = f->unfed < PIECE ? (uInt)f->unfed : PIECE, f->unfed -= f->z.avail_in;
        uInt room = bytes < PIECE ? (uInt)bytes : PIECE;
        f->z.avail_out = room;
        status = inflate(&f->z, Z_NO_FLUSH);
        bytes -= room - f->z.avail_out;
        if (status != Z_OK) break;
    }
    if (status == Z_STREAM_END && (bytes > 0 || !last)) return dg_error(e, "its deflated data hold fewer bytes than it says");
    if (status == Z_STREAM_END && (f->z.avail_in || f->unfed))
        return dg_error(e, "its deflated data end before the space they are said to take");
    if (status == Z_STREAM_END || (!last && status == Z_OK)) return true;
    if (status == Z_BUF_ERROR && bytes == 0 && f->z.avail_in) return dg_error(e, "its deflated data hold more bytes than it says");
    return dg_error(e, "its deflated data are corrupt: %s", f->z.msg ? f->z.msg : "they end early");
}
static void inflater_close(Inflater *f) {
    if (f->open) inflateEnd(&f->z);
}
#else
typedef struct {
    int none;
} Inflater;
static bool inflater_open(Inflater *f, const ZipEntry *entry, Error *e) {
    (void)f, (void)entry;
    return dg_error(e, "it is compressed, and this dg_cuda was built without zlib: store it uncompressed, or rebuild with zlib");
}
static bool inflater_read(Inflater *f, uint8_t *out, size_t bytes, bool last, Error *e) {
    (void)f, (void)out, (void)bytes, (void)last;
    return dg_error(e, "built without zlib");
}
static void inflater_close(Inflater *f) { (void)f; }
#endif

struct ZipStream {
    const Zip *zip;
    const ZipEntry *entry;
    uint64_t done;
    uint32_t crc;
    bool checked;
    Inflater inflater;
};
ZipStream *zip_stream_open(const Zip *z, const ZipEntry *entry, Error *e) {
    ZipStream *s = dg_alloc(sizeof *s);
    s->zip = z, s->entry = entry;
    if (!entry->deflated || inflater_open(&s->inflater, entry, e)) return s;
    dg_error_context(e, "%s: entry %s", z->path, entry->name);
    free(s);
    return NULL;
}
bool zip_stream_read(ZipStream *s, void *out, size_t bytes, Error *e) {
    const ZipEntry *entry = s->entry;
    DG_CHECK(bytes <= entry->bytes - s->done, "zip: more than the %llu bytes of %s were asked for", (unsigned long long)entry->bytes,
             entry->name);
    bool last = s->done + bytes == entry->bytes && !s->checked, ok = true;
    if (entry->deflated) ok = (bytes == 0 && !last) || inflater_read(&s->inflater, out, bytes, last, e);
    else if (bytes) memcpy(out, entry->packed + s->done, bytes);
    s->done += bytes;
    if (ok && bytes) s->crc = crc32_of(s->crc, out, bytes);
    if (ok && last) {
        s->checked = true;
        if (s->crc != entry->crc) ok = dg_error(e, "its CRC-32 is %08x, not %08x: the file is damaged", s->crc, entry->crc);
    }
    return ok || dg_error_context(e, "%s: entry %s", s->zip->path, entry->name);
}
void zip_stream_close(ZipStream *s) {
    if (!s) return;
    if (s->entry->deflated) inflater_close(&s->inflater);
    free(s);
}
bool zip_read(const Zip *z, const ZipEntry *entry, void *out, Error *e) {
    ZipStream *s = zip_stream_open(z, entry, e);
    bool ok = s && zip_stream_read(s, out, (size_t)entry->bytes, e);
    zip_stream_close(s);
    return ok;
}
void zip_let_go(const Zip *z) {
    if (z->map.data) file_let_go(z->map.data, z->map.bytes); /* memory that is no map would be lost */
}
bool zip_verify(const Zip *z, const ZipEntry *entry, Error *e) {
    enum { PIECE = 1 << 16 };
    if (!entry->deflated) {
        uint32_t crc = crc32_of(0, entry->packed, (size_t)entry->bytes);
        return crc == entry->crc ||
               dg_error(e, "%s: entry %s: its CRC-32 is %08x, not %08x: the file is damaged", z->path, entry->name, crc, entry->crc);
    }
    ZipStream *s = zip_stream_open(z, entry, e);
    if (!s) return false;
    uint8_t *piece = dg_alloc(PIECE);
    bool ok = true;
    do {
        uint64_t left = entry->bytes - s->done;
        ok = zip_stream_read(s, piece, left < PIECE ? (size_t)left : PIECE, e);
    } while (ok && s->done < entry->bytes);
    free(piece);
    zip_stream_close(s);
    return ok;
}
