/* test_zip.c -- ZIP archives: what honest writers make is read, and a table of lies in every field is refused. */
#include "files/zip.h"
#include "hostile.h"
#include "zip_maker.h"
#include <unistd.h>

static const char path[] = "/tmp/dg_test_zip.zip", bad[] = "bad.zip";
enum { TEXT_BYTES = 600 };
static uint8_t *text(void) { /* compresses well, but not to nothing */
    uint8_t *t = dg_alloc(TEXT_BYTES);
    for (int i = 0; i < TEXT_BYTES; i++) t[i] = (uint8_t)(i % 23 + i / 97);
    return t;
}

/* ---- the archives that the lies are told in ---------------------------------------------------------------------- */
typedef enum { PLAIN, WIDE } Base;  /* WIDE: ZIP64 throughout */
enum { STORED, DESCRIBED, PACKED }; /* the entries; the last one only with zlib */
typedef struct {
    Made made;
    uint8_t *text, *packed;
} Archive;
static Archive archive_new(Base base) {
    Archive a = {.text = text()};
    bool wide = base == WIDE;
    uint32_t crc = crc32_of(0, a.text, TEXT_BYTES);
    MadeEntry x = {.name = "stored.bin", .data = a.text, .packed_bytes = TEXT_BYTES, .bytes = TEXT_BYTES, .crc = crc, .zip64 = wide};
    made_local(&a.made, x);
    x.name = "folder/described.bin", x.descriptor = true;
    made_local(&a.made, x);
#ifdef DG_HAVE_ZLIB
    x.name = "packed.bin", x.descriptor = false, x.deflated = true;
    x.data = a.packed = made_deflate(a.text, TEXT_BYTES, &x.packed_bytes);
    made_local(&a.made, x);
#endif
    made_finish(&a.made, wide);
    return a;
}
static void archive_free(Archive *a) {
    made_free(&a->made);
    free(a->text);
    free(a->packed);
}

/* ---- honest archives --------------------------------------------------------------------------------------------- */
static void read_whole(const Zip *z, const char *name, const uint8_t *want, size_t bytes) {
    Error e = {""};
    const ZipEntry *x = zip_find(z, name);
    if (!CHECK(x && x->bytes == bytes, "%s: not found, or of another size", name)) return;
    uint8_t *got = malloc(bytes + 1);
    CHECK(zip_verify(z, x, &e) && zip_read(z, x, got, &e) && !memcmp(got, want, bytes), "%s: other bytes; %s", name, e.text);
    CHECK(x->deflated || !memcmp(x->packed, want, bytes), "%s: other bytes in the map", name);
    for (size_t piece = 1; piece <= bytes + 1; piece = piece * 3 + 1) {
        ZipStream *s = zip_stream_open(z, x, &e);
        if (!CHECK(s, "%s", e.text)) break;
        memset(got, 0xee, bytes);
        bool ok = true;
        for (size_t at = 0; at < bytes && ok; at += piece) ok = zip_stream_read(s, got + at, at + piece < bytes ? piece : bytes - at, &e);
        CHECK(ok && zip_stream_read(s, NULL, 0, &e) && !memcmp(got, want, bytes), "%s in pieces of %zu: %s", name, piece, e.text);
        zip_stream_close(s);
    }
    free(got);
}
static void honest(Base base) {
    Archive a = archive_new(base);
    Error e = {""};
    Zip *z = zip_memory(a.made.data, a.made.bytes, "good.zip", &e);
    if (CHECK(z && z->count == a.made.count, "an honest archive (%d): %s", base, e.text)) {
        CHECK(zip_recognise(a.made.data, a.made.bytes), "not recognised");
        for (int i = 0; i < z->count; i++) read_whole(z, a.made.entry[i].name, a.text, TEXT_BYTES);
        CHECK(!zip_find(z, "none") && !zip_find(z, "stored.bi") && !zip_find(z, ""), "an absent name was found");
        int n = 0;
        for (const ZipEntry *x = NULL; (x = zip_find_suffix(z, ".bin", x));) n++;
        CHECK(n == z->count, "%d entries end in .bin", n);
        const ZipEntry *x = zip_find_suffix(z, "/described.bin", NULL);
        CHECK(x && x == zip_find(z, "folder/described.bin") && !zip_find_suffix(z, "/described.bin", x), "by suffix");
    }
    zip_close(z);
    archive_free(&a);
}
/* Comments may hold anything, an end record's signature too; extra fields may pad to an alignment. */
static void comments(void) {
    static const char comment[] = "PK\5\6 is not the end";
    Made m = {0};
    made_stored(&m, "a", "abc", 3);
    made_finish(&m, false);
    m.data[m.end + 20] = sizeof comment;
    made_bytes(&m, comment, sizeof comment);
    Error e = {""};
    Zip *z = zip_memory(m.data, m.bytes, "comment.zip", &e);
    if (CHECK(z, "an archive with a comment: %s", e.text)) read_whole(z, "a", (const uint8_t *)"abc", 3);
    zip_close(z);
    made_free(&m);
    made_finish(&m, false);
    z = zip_memory(m.data, m.bytes, "empty.zip", &e);
    CHECK(z && z->count == 0 && !zip_find(z, "a") && !zip_find_suffix(z, "", NULL), "an empty archive: %s", e.text);
    zip_close(z);
    made_free(&m);
}
static bool write_archive(const uint8_t *data, Error *e) {
    ZipWriter *w = zip_writer_open(path, e);
    if (!w) return false;
    bool ok = zip_writer_entry(w, "x/first", TEXT_BYTES, e) && zip_writer_data(w, data, 100, e) && zip_writer_data(w, data + 100, 0, e) &&
              zip_writer_data(w, data + 100, TEXT_BYTES - 100, e) && zip_writer_entry(w, "empty", 0, e) &&
              zip_writer_entry(w, "\xc3\xa9", 1, e) && zip_writer_data(w, data, 1, e);
    if (ok) return zip_writer_finish(w, e);
    zip_writer_abandon(w);
    return false;
}
static void writer(void) {
    uint8_t *data = text();
    Error e = {""};
    CHECK(write_archive(data, &e), "write: %s", e.text);
    Zip *z = zip_open(path, &e);
    if (CHECK(z && z->count == 3, "read: %s", e.text)) {
        read_whole(z, "x/first", data, TEXT_BYTES);
        read_whole(z, "empty", data, 0);
        read_whole(z, "\xc3\xa9", data, 1);
    }
    zip_close(z);
    unlink(path);
    ZipWriter *w = zip_writer_open(path, &e);
    if (CHECK(w, "%s", e.text)) {
        Hostile h = hostile_begin("the writer is given a name twice");
        CHECK(zip_writer_entry(w, "a", 0, &e), "%s", e.text);
        hostile_end(&h, zip_writer_entry(w, "a", 0, &h.e), path, "two entries");
        zip_writer_abandon(w);
    }
    CHECK(access(path, F_OK) != 0, "an abandoned archive appeared");
    free(data);
}
/* More than 65,535 entries, and sizes and offsets from 4 GiB on. */
static void large(void) {
    if (!getenv("DG_TEST_FULL")) {
        not_run("an archive of more than 4 GiB: set DG_TEST_FULL=1 (writes 8.1 GiB to /tmp)");
        return;
    }
    enum { PIECE = 1 << 26, PIECES = 65 }; /* 4.06 GiB each */
    uint8_t *piece = dg_alloc(PIECE);
    Error e = {""};
    ZipWriter *w = zip_writer_open(path, &e);
    bool ok = w != NULL;
    for (int k = 0; k < 2 && ok; k++) {
        ok = zip_writer_entry(w, k ? "b" : "a", (uint64_t)PIECE * PIECES, &e);
        for (int i = 0; i < PIECES && ok; i++) {
            memset(piece, i + 100 * k, PIECE);
            ok = zip_writer_data(w, piece, PIECE, &e);
        }
    }
    ok = ok && zip_writer_entry(w, "c", 1, &e) && zip_writer_data(w, "c", 1, &e) && zip_writer_finish(w, &e);
    CHECK(ok, "8 GiB: %s", e.text);
    Zip *z = zip_open(path, &e);
    if (CHECK(z && z->count == 3, "8 GiB: %s", e.text)) {
        CHECK(zip_verify(z, zip_find(z, "a"), &e) && zip_verify(z, zip_find(z, "b"), &e), "8 GiB: %s", e.text);
        CHECK(zip_find(z, "b")->packed[(size_t)PIECE * PIECES - 1] == 100 + PIECES - 1, "8 GiB: another last byte");
        read_whole(z, "c", (const uint8_t *)"c", 1);
    }
    zip_close(z);
    unlink(path);
    free(piece);
}

/* ---- lies -------------------------------------------------------------------------------------------------------- */
typedef enum { LOCAL, CENTRAL, DATA, AFTER, END, END64, LOCATOR } Place; /* AFTER: the data */
static const struct {
    const char *what;
    Base base;
    Place place;
    int entry, offset, width;
    uint64_t value;
    const char *fragment; /* of the sentence, at opening or at reading the entry */
} lies[] = {
    {"no end record", PLAIN, END, 0, 0, 4, 0, "no end of a ZIP directory"},
    {"a comment that is not there", PLAIN, END, 0, 20, 2, 1, "no end of a ZIP directory"},
    {"on disk 1", PLAIN, END, 0, 4, 2, 1, "multi-part"},
    {"directory on disk 1", PLAIN, END, 0, 6, 2, 1, "multi-part"},
    {"fewer entries on this disk", PLAIN, END, 0, 8, 2, 1, "multi-part"},
    {"no entries on this disk", PLAIN, END, 0, 8, 2, 0, "multi-part"},
    {"65535 entries without ZIP64", PLAIN, END, 0, 8, 4, 0xffffffff, "wants ZIP64"},
    {"more entries than fit", PLAIN, END, 0, 8, 4, 0x00990099, "in a directory of"},
    {"one entry more", PLAIN, END, 0, 8, 4, 0x00040004, "in a directory of"},
    {"one entry fewer", PLAIN, END, 0, 8, 4, 0x00010001, "belong to no entry"},
    {"a longer directory", PLAIN, END, 0, 12, 4, 1000, "does not end where"},
    {"a saturated directory size", PLAIN, END, 0, 12, 4, 0xffffffff, "wants ZIP64"},
    {"a directory at 0", PLAIN, END, 0, 16, 4, 0, "does not end where"},
    {"a directory beyond the file", PLAIN, END, 0, 16, 4, 0x7fffffff, "does not end where"},
    {"a saturated directory offset", PLAIN, END, 0, 16, 4, 0xffffffff, "wants ZIP64"},
    {"another central signature", PLAIN, CENTRAL, 0, 0, 4, 0x02014b51, "broken at byte"},
    {"encrypted in the directory", PLAIN, CENTRAL, 0, 8, 2, 1, "encrypted"},
    {"strongly encrypted", PLAIN, CENTRAL, 0, 8, 2, 1 << 6, "encrypted"},
    {"masked headers", PLAIN, CENTRAL, 0, 8, 2, 1 << 13, "encrypted"},
    {"patch data", PLAIN, CENTRAL, 0, 8, 2, 1 << 5, "patch data"},
    {"a descriptor only in the directory", PLAIN, CENTRAL, 0, 8, 2, 8, "does not agree"},
    {"no descriptor in the directory", PLAIN, CENTRAL, DESCRIBED, 8, 2, 0, "does not agree"},
    {"method 12 (bzip2)", PLAIN, CENTRAL, 0, 10, 2, 12, "method 12"},
    {"method 14 (LZMA)", PLAIN, CENTRAL, 0, 10, 2, 14, "method 14"},
    {"method 65535", PLAIN, CENTRAL, 0, 10, 2, 65535, "method 65535"},
    {"deflated in the directory, stored in its header", PLAIN, CENTRAL, 0, 10, 2, 8, "does not agree"},
    {"another CRC in the directory", PLAIN, CENTRAL, 0, 16, 4, 1, "the CRC"},
    {"a smaller packed size", PLAIN, CENTRAL, 0, 20, 4, TEXT_BYTES - 1, "take"},
    {"a larger packed size", PLAIN, CENTRAL, 0, 20, 4, TEXT_BYTES + 1, "take"},
    {"a packed size of 2 GB", PLAIN, CENTRAL, 0, 20, 4, 0x7fffffff, "take"},
    {"a larger size", PLAIN, CENTRAL, 0, 24, 4, TEXT_BYTES + 1, "take"},
    {"a size of 4 GB - 1", PLAIN, CENTRAL, 0, 24, 4, 0xffffffff, "take"},
    {"a nameless entry", PLAIN, CENTRAL, 0, 28, 2, 0, "name has 0 bytes"},
    {"a shorter name", PLAIN, CENTRAL, 0, 28, 2, 9, "does not agree"},
    {"a name of 65535 bytes", PLAIN, CENTRAL, 0, 28, 2, 65535, "truncated at byte"},
    {"extra fields beyond the directory", PLAIN, CENTRAL, 0, 30, 2, 65535, "truncated at byte"},
    {"extra fields into the next entry", PLAIN, CENTRAL, 0, 30, 2, 10, "extra fields are truncated"},
    {"a comment beyond the directory", PLAIN, CENTRAL, 0, 32, 2, 65535, "truncated at byte"},
    {"a header at byte 1", PLAIN, CENTRAL, 0, 42, 4, 1, "no header of an entry"},
    {"a header beyond the file", PLAIN, CENTRAL, 0, 42, 4, 0x7fffffff, "outside"},
    {"a header at 4 GB - 1", PLAIN, CENTRAL, 0, 42, 4, 0xffffffff, "outside"},
    {"the header of another entry", PLAIN, CENTRAL, DESCRIBED, 42, 4, 0, "does not agree"},
    {"a NUL in a name", PLAIN, CENTRAL, 0, 46, 1, 0, "not UTF-8 text"},
    {"an escape character in a name", PLAIN, CENTRAL, 0, 47, 1, 0x1b, "not UTF-8 text"},
    {"a broken UTF-8 sequence in a name", PLAIN, CENTRAL, 0, 48, 1, 0xff, "not UTF-8 text"},
    {"another name in the directory", PLAIN, CENTRAL, 0, 46, 1, 'S', "does not agree"},
    {"another local signature", PLAIN, LOCAL, 0, 0, 4, 0x04034b51, "no header of an entry"},
    {"encrypted in its header", PLAIN, LOCAL, 0, 6, 2, 1, "does not agree"},
    {"a descriptor only in its header", PLAIN, LOCAL, 0, 6, 2, 8, "does not agree"},
    {"another method in its header", PLAIN, LOCAL, 0, 8, 2, 8, "does not agree"},
    {"another CRC in its header", PLAIN, LOCAL, 0, 14, 4, 1, "does not agree"},
    {"another packed size in its header", PLAIN, LOCAL, 0, 18, 4, 0, "does not agree"},
    {"another size in its header", PLAIN, LOCAL, 0, 22, 4, TEXT_BYTES - 1, "does not agree"},
    {"a longer name in its header", PLAIN, LOCAL, 0, 26, 2, 11, "does not agree"},
    {"a name of 65535 bytes in its header", PLAIN, LOCAL, 0, 26, 2, 65535, "do not fit"},
    {"extra fields that are data", PLAIN, LOCAL, 0, 28, 2, 30, "extra fields are truncated"},
    {"extra fields of 65535 bytes", PLAIN, LOCAL, 0, 28, 2, 65535, "do not fit"},
    {"another name in its header", PLAIN, LOCAL, 0, 30, 1, 'S', "does not agree"},
    {"sizes in a header that leaves them for later", PLAIN, LOCAL, DESCRIBED, 22, 4, 5, "does not agree"},
    {"no descriptor", PLAIN, AFTER, DESCRIBED, 0, 4, 0, "after its data"},
    {"another CRC in the descriptor", PLAIN, AFTER, DESCRIBED, 4, 4, 0, "after its data"},
    {"another size in the descriptor", PLAIN, AFTER, DESCRIBED, 12, 4, 0, "after its data"},
    {"a changed byte of stored data", PLAIN, DATA, 0, 299, 1, 0xee, "the file is damaged"},
    {"a changed byte of described data", PLAIN, DATA, DESCRIBED, 0, 1, 0xee, "the file is damaged"},
    {"a locator that points beyond the file", WIDE, LOCATOR, 0, 8, 8, 1 << 30, "ZIP64 locator"},
    {"a locator that points to 2^64 - 1", WIDE, LOCATOR, 0, 8, 8, -1ull, "ZIP64 locator"},
    {"a locator that points to entries", WIDE, LOCATOR, 0, 8, 8, 0, "ZIP64 locator"},
    {"a locator of 7 parts", WIDE, LOCATOR, 0, 16, 4, 7, "multi-part"},
    {"no locator", WIDE, LOCATOR, 0, 0, 4, 0, "wants ZIP64"},
    {"another end64 signature", WIDE, END64, 0, 0, 4, 0, "ZIP64 locator"},
    {"an end64 record of 2^64 - 1 bytes", WIDE, END64, 0, 4, 8, -1ull, "does not reach"},
    {"an end64 record that is too short", WIDE, END64, 0, 4, 8, 43, "does not reach"},
    {"end64 on disk 1", WIDE, END64, 0, 16, 4, 1, "multi-part"},
    {"no entries on this disk, ZIP64", WIDE, END64, 0, 24, 8, 0, "multi-part"},
    {"a directory of 2^64 - 1 bytes", WIDE, END64, 0, 40, 8, -1ull, "does not end where"},
    {"a directory at 2^64 - 1", WIDE, END64, 0, 48, 8, -1ull, "does not end where"},
    {"two end records that disagree on the count", WIDE, END, 0, 8, 4, 0x00010001, "disagree"},
    {"two end records that disagree on the offset", WIDE, END, 0, 16, 4, 5, "disagree"},
    {"a ZIP64 field that is too short", WIDE, CENTRAL, 0, 58, 2, 16, "too short"},
    {"a ZIP64 field that ends within a size", WIDE, CENTRAL, 0, 58, 2, 20, "too short"},
    {"a ZIP64 field beyond the extra fields", WIDE, CENTRAL, 0, 58, 2, 60, "extra fields are truncated"},
    {"a size of 2^64 - 1", WIDE, CENTRAL, 0, 60, 8, -1ull, "take"},
    {"a packed size of 2^64 - 1", WIDE, CENTRAL, 0, 68, 8, -1ull, "take"},
    {"a header at 2^64 - 1", WIDE, CENTRAL, 0, 76, 8, -1ull, "outside"},
    {"a header at 2^63", WIDE, CENTRAL, 0, 76, 8, 1ull << 63, "outside"},
    {"another ZIP64 size in its header", WIDE, LOCAL, 0, 44, 8, 1, "does not agree"},
    {"no ZIP64 field in its header", WIDE, LOCAL, 0, 40, 2, 2, "does not agree"},
    {"another size in a ZIP64 descriptor", WIDE, AFTER, DESCRIBED, 16, 8, 1, "after its data"},
#ifdef DG_HAVE_ZLIB
    {"a deflated entry with one byte less inside", PLAIN, CENTRAL, PACKED, 24, 4, TEXT_BYTES + 1, "does not agree"},
    {"a ratio that deflate does not have", PLAIN, CENTRAL, PACKED, 24, 4, 0x7fffffff, "more than they can"},
    {"a deflate block of an unknown kind", PLAIN, DATA, PACKED, 0, 1, 0xff, "corrupt"},
#endif
};
enum { LIES = sizeof lies / sizeof *lies };

/* Reads every entry; true when all of it is accepted. */
static bool accept_all(const uint8_t *file, size_t bytes, Error *e) {
    Zip *z = zip_memory(file, bytes, bad, e);
    bool ok = z != NULL;
    for (int i = 0; ok && i < z->count; i++) {
        uint8_t *out = malloc((size_t)z->entry[i].bytes + 1);
        Error unread = {""};
        ok = zip_read(z, &z->entry[i], out, e);
        CHECK(ok == zip_verify(z, &z->entry[i], &unread), "zip_read and zip_verify differ: %s%s", e->text, unread.text);
        free(out);
    }
    zip_close(z);
    return ok;
}
static size_t place_of(const Made *m, Place place, int entry) {
    const MadeEntry *x = &m->entry[entry];
    switch (place) {
    case LOCAL: return x->local;
    case CENTRAL: return x->central;
    case DATA: return x->end - x->packed_bytes;
    case AFTER: return x->end;
    case END: return m->end;
    case END64: return m->end64;
    case LOCATOR: return m->locator;
    }
    return 0;
}
static void tell_lies(void) {
    for (int i = 0; i < LIES; i++) {
        Archive a = archive_new(lies[i].base);
        size_t at = place_of(&a.made, lies[i].place, lies[i].entry) + (size_t)lies[i].offset;
        for (int k = 0; k < lies[i].width; k++) a.made.data[at + (size_t)k] = (uint8_t)(lies[i].value >> (8 * k));
        hostile_refuse(accept_all, lies[i].what, a.made.data, a.made.bytes, bad, lies[i].fragment);
        archive_free(&a);
    }
}
static void truncations(void) {
    for (Base base = PLAIN; base <= WIDE; base++) {
        Archive a = archive_new(base);
        for (size_t n = 0; n < a.made.bytes; n++)
            hostile_refuse(accept_all, "an archive cut short", a.made.data, n, bad, n < 22 ? "too short" : "no end");
        for (size_t n = 1; n < a.made.end; n += 7) /* every offset lies */
            hostile_refuse(accept_all, "an archive without its beginning", a.made.data + n, a.made.bytes - n, bad, "");
        archive_free(&a);
    }
}
static void refuse(const char *what, Made *m, const char *fragment) {
    made_finish(m, false);
    hostile_refuse(accept_all, what, m->data, m->bytes, bad, fragment);
    made_free(m);
}
static void structures(void) {
    Made m = {0}, inner = {0};
    made_stored(&m, "a", "1", 1), made_stored(&m, "a", "2", 1);
    refuse("two entries of one name", &m, "two entries a");

    made_stored(&m, "a", "1", 1);
    m.entry[m.count] = m.entry[0], m.count++;
    refuse("one entry listed twice", &m, "overlap");

    made_stored(&inner, "inner", "some bytes", 10);
    made_stored(&m, "outer", inner.data, inner.bytes);
    m.entry[m.count] = inner.entry[0];
    m.entry[m.count++].local = m.entry[0].end - inner.bytes;
    made_free(&inner);
    refuse("an entry within the data of another", &m, "overlap");

    made_stored(&m, "a", "1", 1), made_stored(&m, "b", "2", 1);
    m.entry[0].bytes = m.entry[0].packed_bytes = m.data[m.entry[0].local + 18] = m.data[m.entry[0].local + 22] = 2;
    refuse("two entries that share one byte", &m, "the entries a and b overlap");

    made_stored(&m, "a", "1", 1);
    m.entry[0].bytes = m.entry[0].packed_bytes = m.data[m.entry[0].local + 18] = m.data[m.entry[0].local + 22] = 10;
    refuse("an entry that goes on into the directory", &m, "do not fit");

    char *name = dg_alloc(ZIP_MAX_NAME + 2);
    memset(name, 'n', ZIP_MAX_NAME + 1);
    made_stored(&m, name, "1", 1);
    refuse("a name of 1025 bytes", &m, "name has 1025 bytes");
    free(name);
}

/* ---- bombs ------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_ZLIB
static void add_zeros(Made *m, const char *name, size_t bytes, size_t declared) {
    uint8_t *zeros = dg_alloc(bytes);
    MadeEntry x = {.name = name, .bytes = declared, .crc = crc32_of(0, zeros, bytes < declared ? bytes : declared), .deflated = true};
    uint8_t *packed = made_deflate(zeros, bytes, &x.packed_bytes);
    x.data = packed;
    made_local(m, x);
    free(packed);
    free(zeros);
}
static void bombs(void) {
    enum { MIB = 1 << 20 };
    Made m = {0};
    add_zeros(&m, "zeros", 20 * MIB, 20 * MIB);
    refuse("20 MiB of zeros", &m, "zip bomb");
    add_zeros(&m, "zeros", 20 * MIB, 1000);
    refuse("20 MiB that say they are 1000 bytes", &m, "hold more bytes");
    add_zeros(&m, "zeros", 20000, 25000);
    refuse("20000 bytes that say they are 25000", &m, "hold fewer bytes");
    enum { MANY = 64 };
    char name[MANY][12];
    for (int i = 0; i < MANY; i++) {
        snprintf(name[i], sizeof name[i], "%d", i);
        add_zeros(&m, name[i], MIB, MIB);
    }
    refuse("64 MiB of zeros in 64 entries", &m, "zip bomb");
    /* What is large but honest is read. */
    add_zeros(&m, "zeros", 8 * MIB, 8 * MIB);
    made_finish(&m, false);
    Error e = {""};
    CHECK(read_exactly(accept_all, m.data, m.bytes, &e), "8 MiB of zeros: %s", e.text);
    made_free(&m);
}
static void corrupt_deflate(void) {
    Archive a = archive_new(PLAIN);
    const MadeEntry *x = &a.made.entry[PACKED];
    int refused = 0;
    for (size_t i = 0; i < x->packed_bytes; i++) {
        uint8_t *byte = &a.made.data[x->end - x->packed_bytes + i];
        for (int bit = 0; bit < 8; bit++) {
            Error e = {""};
            *byte ^= (uint8_t)(1 << bit);
            refused += !read_exactly(accept_all, a.made.data, a.made.bytes, &e);
            *byte ^= (uint8_t)(1 << bit);
        }
    }
    /* The unused bits after the end mark are the only ones that may change. */
    CHECK(refused >= 8 * (int)x->packed_bytes - 7, "%d of %zu changed bits of deflated data were found", refused, 8 * x->packed_bytes);
    archive_free(&a);
}
#else
static void bombs(void) { not_run("zip bombs: built without zlib"); }
static void corrupt_deflate(void) {
    Made m = {0};
    made_local(&m, (MadeEntry){.name = "p", .data = "\3", .packed_bytes = 2, .deflated = true}); /* an empty block */
    refuse("a deflated entry in a build without zlib", &m, "built without zlib");
}
#endif

/* ---- CRC-32
 * ----------------------------------------------------------------------------------------------------------- */
static void crc(void) {
    CHECK(crc32_of(0, "123456789", 9) == 0xcbf43926, "the check value of CRC-32"); /* the catalogue's */
    uint8_t data[400];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * i * 31 + i);
    int wrong = 0;
    for (size_t from = 0; from < 20; from++)
        for (size_t n = 0; n + from <= sizeof data; n++) {
            uint32_t want = crc32_portable(0, data + from, n);
            wrong += crc32_of(0, data + from, n) != want;
            wrong += crc32_of(crc32_of(0, data + from, n / 3), data + from + n / 3, n - n / 3) != want;
        }
    CHECK(wrong == 0, "%d of the CRC-32 by folding differ from those by table", wrong);
}
int main(void) {
    crc();
    honest(PLAIN);
    honest(WIDE);
    comments();
    writer();
    tell_lies();
    structures();
    bombs();
    corrupt_deflate();
    truncations();
    large();
    printf("%d lies in the table\n", LIES);
    return check_done("test_zip");
}
