/* test_npz.c -- NumPy's files, read and written, and a table of malformed headers, each refused.
 * Runs in the project's folder: tests/data/numpy holds files that NumPy wrote; where NumPy is, they are made anew too.  */
#include "files/npz.h"
#include "base/dtype.h"
#include "hostile.h"
#include "zip_maker.h"
#include <unistd.h>

enum { COUNT = 24 };
static const int64_t shape[3] = {2, 3, 4};
static const char bad[] = "bad.npz", python[] = "/usr/bin/python3";

/* ---- files that NumPy wrote -------------------------------------------------------------------------------------- */
/* Value i - 7 as NumPy casts it to the type. */
static double value(int i, char kind, int bytes) {
    int v = i - 7;
    if (kind == 'b') return v != 0;
    if (kind == 'u' && v < 0) return bytes == 8 ? 18446744073709551616.0 + v : (double)((1ull << (8 * bytes)) + (uint64_t)(int64_t)v);
    return v;
}
static void check_array(const char *file, const char *name, const NpyArray *a) {
    if (!strcmp(name, "scalar")) {
        CHECK(a->dims == 0 && a->count == 1 && npy_value(a, 0) == 3.5, "%s: %s: not as written", file, name);
        return;
    }
    if (!strcmp(name, "empty")) {
        CHECK(a->dims == 2 && a->count == 0 && a->shape[0] == 0 && a->shape[1] == 5, "%s: %s: not as written", file, name);
        return;
    }
    bool vector = !strcmp(name, "vector");
    CHECK(a->count == COUNT && (vector ? a->dims == 1 && a->shape[0] == COUNT : a->dims == 3 && !memcmp(a->shape, shape, sizeof shape)),
          "%s: %s: another shape", file, name);
    for (int i = 0; i < COUNT && a->count == COUNT; i++) {
        double got = npy_value(a, (size_t)i), want = value(i, a->dtype, a->bytes);
        CHECK(got == want, "%s: %s[%d] is %g, not %g", file, name, i, got, want);
    }
}
/* Arrays are named c_ or fortran_ and their type. */
static void check_type(const char *name, const NpyArray *a) {
    if (strncmp(name, "c_", 2) && strncmp(name, "fortran_", 8)) return;
    const char *type = strrchr(name, '_');
    CHECK(a->dtype == type[2] && a->bytes == type[3] - '0', "%s: read as %c%d", name, a->dtype, a->bytes);
}
static void read_file(const char *folder, const char *file, int arrays) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    Error e = {""};
    Npz *z = npz_open(path, &e);
    if (!CHECK(z && npz_count(z) == arrays, "%s: %d arrays; %s", path, z ? npz_count(z) : 0, e.text)) {
        npz_close(z);
        return;
    }
    for (int i = 0; i < arrays; i++) {
        NpyArray a;
        if (!CHECK(npz_has(z, npz_name(z, i)) && npz_read(z, npz_name(z, i), &a, &e), "%s", e.text)) continue;
        check_array(path, npz_name(z, i), &a);
        check_type(npz_name(z, i), &a);
        npy_free(&a);
    }
    Hostile h = hostile_begin("an absent array");
    NpyArray a;
    hostile_end(&h, npz_has(z, "none") || npz_read(z, "none", &a, &h.e), path, "there is no array none; it has");
    npz_close(z);
}
static void read_files(const char *folder) {
    enum { ARRAYS = 25 };
    read_file(folder, "stored.npz", ARRAYS);
#ifdef DG_HAVE_ZLIB
    read_file(folder, "packed.npz", ARRAYS);
#else
    not_run("%s/packed.npz: built without zlib", folder);
#endif
    read_file(folder, "version2.npy", 1);
    read_file(folder, "version3.npy", 1);
}

/* ---- files for NumPy --------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    char kind;
    int bytes;
} types[] = {{"b1", 'b', 1}, {"i1", 'i', 1}, {"u1", 'u', 1}, {"i2", 'i', 2}, {"u2", 'u', 2}, {"i4", 'i', 4},
             {"u4", 'u', 4}, {"i8", 'i', 8}, {"u8", 'u', 8}, {"f2", 'f', 2}, {"f4", 'f', 4}, {"f8", 'f', 8}};
enum { TYPES = sizeof types / sizeof *types };

static void put_value(uint8_t *out, int i, char kind, int bytes) {
    int64_t v = i - 7;
    double d = (double)v;
    if (kind == 'f') dtype_convert(bytes == 2 ? DG_F16 : bytes == 4 ? DG_F32 : DG_F64, out, DG_F64, &d, 1);
    else if (kind == 'b') *out = v != 0;
    else memcpy(out, &v, (size_t)bytes);
}
static bool write_file(const char *path, Error *e) {
    NpzWriter *w = npz_writer_open(path, e);
    bool ok = w != NULL;
    for (int t = 0; t < TYPES && ok; t++) {
        uint8_t data[COUNT * 8];
        size_t bytes = (size_t)types[t].bytes;
        for (int i = 0; i < COUNT; i++) put_value(data + (size_t)i * bytes, i, types[t].kind, types[t].bytes);
        size_t first = (size_t)t * 3; /* in two pieces */
        ok = npz_writer_array(w, types[t].name, types[t].kind, types[t].bytes, 3, shape, e) && npz_writer_data(w, data, first, e) &&
             npz_writer_data(w, data + first, COUNT * bytes - first, e);
    }
    float scalar = 3.5f;
    int32_t vector[COUNT];
    for (int i = 0; i < COUNT; i++) vector[i] = i - 7;
    ok = ok && npz_writer_array(w, "scalar", 'f', 4, 0, NULL, e) && npz_writer_data(w, &scalar, sizeof scalar, e) &&
         npz_writer_array(w, "vector", 'i', 4, 1, (const int64_t[]){COUNT}, e) && npz_writer_data(w, vector, sizeof vector, e) &&
         npz_writer_array(w, "empty", 'f', 4, 2, (const int64_t[]){0, 5}, e);
    if (ok) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
static void written(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "%s/ours.npz", folder);
    Error e = {""};
    CHECK(write_file(path, &e), "write: %s", e.text);
    read_file(folder, "ours.npz", TYPES + 3);
    NpzWriter *w = npz_writer_open(path, &e);
    CHECK(w && npz_writer_array(w, "a", 'f', 4, 0, NULL, &e), "%s", e.text);
    npz_writer_abandon(w);
    read_file(folder, "ours.npz", TYPES + 3); /* an abandoned writer leaves what was there */
}
static void with_numpy(const char *folder) {
    char command[600];
    snprintf(command, sizeof command, "%s -c 'import numpy' 2>/dev/null", python);
    if (system(command)) {
        not_run("files written by the installed NumPy: %s has none", python);
        return;
    }
    snprintf(command, sizeof command, "%s tests/data/numpy_files.py --check %s/ours.npz", python, folder);
    CHECK(system(command) == 0, "NumPy does not read what the writer wrote");
    snprintf(command, sizeof command, "%s tests/data/numpy_files.py %s", python, folder);
    if (CHECK(system(command) == 0, "tests/data/numpy_files.py failed")) read_files(folder);
}

/* ---- malformed arrays -------------------------------------------------------------------------------------------- */
#define HEADER(descr, order, dims) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " dims ", }"
static const struct {
    const char *what, *header;
    int data_bytes;
    const char *fragment; /* NULL: an honest one, accepted */
} malformed[] = {
    {"as NumPy writes it", HEADER("'<f4'", "False", "(2, 3)"), 24, NULL},
    {"as Python 2 wrote it", HEADER("'<f4'", "False", "(2L, 3L)"), 24, NULL},
    {"in another order, without spaces", "{\"shape\":(6,),\"descr\":\"<f4\",\"fortran_order\":True}", 24, NULL},
    {"a scalar", HEADER("'<f4'", "False", "()"), 4, NULL},
    {"eight dimensions", HEADER("'|u1'", "True", "(1, 1, 2, 1, 1, 3, 1, 1)"), 6, NULL},
    {"no data", HEADER("'<f4'", "False", "(2, 3)"), 0, "0 bytes of data"},
    {"one byte of data missing", HEADER("'<f4'", "False", "(2, 3)"), 23, "23 bytes of data"},
    {"one byte of data too many", HEADER("'<f4'", "False", "(2, 3)"), 25, "25 bytes of data"},
    {"a scalar without data", HEADER("'<f4'", "False", "()"), 0, "0 bytes of data"},
    {"a negative dimension", HEADER("'<f4'", "False", "(-2, 3)"), 24, "non-negative integer"},
    {"a fractional dimension", HEADER("'<f4'", "False", "(2.0, 3)"), 24, "not a non-negative"},
    {"a dimension of 2^63", HEADER("'|u1'", "False", "(9223372036854775808,)"), 24, "overflows"},
    {"a dimension of 2^65", HEADER("'|u1'", "False", "(36893488147419103232,)"), 24, "overflows"},
    {"a count that overflows to 0", HEADER("'|u1'", "False", "(4294967296, 4294967296)"), 0, "overflows"},
    {"bytes that overflow to 8", HEADER("'<f8'", "False", "(2305843009213693953,)"), 8, "overflows"},
    {"bytes beyond any address", HEADER("'|u1'", "False", "(9223372036854775807, 2)"), 24, "overflows"},
    {"an exabyte", HEADER("'|u1'", "False", "(1152921504606846976,)"), 24, "24 bytes of data"},
    {"nine dimensions", HEADER("'|u1'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), 1, "more than 8 dimensions"},
    {"a shape that is a number", HEADER("'<f4'", "False", "6"), 24, "no valid 'shape'"},
    {"a shape in brackets", HEADER("'<f4'", "False", "[6]"), 24, "no valid 'shape'"},
    {"a shape that is only in parentheses", HEADER("'<f4'", "False", "(6)"), 24, "not a tuple"},
    {"a shape without a comma", HEADER("'<f4'", "False", "(2 3)"), 24, "non-negative integer"},
    {"a shape of commas", HEADER("'<f4'", "False", "(,)"), 24, "non-negative integer"},
    {"a shape without an end", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", 24, "non-negative integer"},
    {"a shape of a name", HEADER("'<f4'", "False", "(x,)"), 24, "non-negative integer"},
    {"a shape that computes", HEADER("'<f4'", "False", "(2*3,)"), 24, "non-negative integer"},
    {"a hexadecimal dimension", HEADER("'<f4'", "False", "(0x6,)"), 24, "non-negative integer"},
    {"True as a number", HEADER("'<f4'", "1", "(2, 3)"), 24, "not True or False"},
    {"true in lower case", HEADER("'<f4'", "true", "(2, 3)"), 24, "not True or False"},
    {"an expression", HEADER("'<f4'", "not False", "(2, 3)"), 24, "not True or False"},
    {"a word that begins with False", HEADER("'<f4'", "Falsehood", "(2, 3)"), 24, "not a Python dictionary"},
    {"Python objects", HEADER("'|O'", "False", "(2, 3)"), 24, "Python objects"},
    {"a structured type", HEADER("[('a', '<f4')]", "False", "(2, 3)"), 24, "structured"},
    {"complex numbers", HEADER("'<c8'", "False", "(3,)"), 24, "'<c8' is not one"},
    {"strings", HEADER("'<U1'", "False", "(6,)"), 24, "'<U1' is not one"},
    {"dates", HEADER("'<M8[s]'", "False", "(3,)"), 24, "'<M8[s]' is not one"},
    {"raw bytes", HEADER("'|V4'", "False", "(6,)"), 24, "'|V4' is not one"},
    {"long double", HEADER("'<f16'", "False", "(1,)"), 16, "'<f16' is not one"},
    {"floats of 8 bits", HEADER("'|f1'", "False", "(24,)"), 24, "'|f1' is not one"},
    {"integers of 3 bytes", HEADER("'<i3'", "False", "(8,)"), 24, "'<i3' is not one"},
    {"integers of 0 bytes", HEADER("'<i0'", "False", "(8,)"), 24, "'<i0' is not one"},
    {"integers of -4 bytes", HEADER("'<i-4'", "False", "(6,)"), 24, "'<i-4' is not one"},
    {"integers of 2^64 + 4 bytes", HEADER("'<i1844674407'", "False", "(6,)"), 24, "is not one"},
    {"a bool of 4 bytes", HEADER("'<b4'", "False", "(6,)"), 24, "'<b4' is not one"},
    {"a type without a byte order", HEADER("'f4'", "False", "(2, 3)"), 24, "'f4' is not one"},
    {"an unknown byte order", HEADER("'!f4'", "False", "(2, 3)"), 24, "'!f4' is not one"},
    {"no byte order where one is needed", HEADER("'|f4'", "False", "(2, 3)"), 24, "'|f4' is not one"},
    {"a type with something after it", HEADER("'<f4x'", "False", "(2, 3)"), 24, "'<f4x' is not one"},
    {"an empty type", HEADER("''", "False", "(2, 3)"), 24, "'' is not one"},
    {"a type of one letter", HEADER("'<'", "False", "(2, 3)"), 24, "'<' is not one"},
    {"a type that would clear a terminal", HEADER("'\033[2J'", "False", "(2, 3)"), 24, "'\\x1b[2J' is not one"},
    {"a type that is not quoted", HEADER("<f4", "False", "(2, 3)"), 24, "no valid 'descr'"},
    {"a type without an end", "{'descr': '<f4", 24, "no valid 'descr'"},
    {"a very long type", HEADER("'<f4<f4<f4<f4<f4<f4'", "False", "(2, 3)"), 24, "no valid 'descr'"},
    {"an escape in a type", HEADER("'\\x3cf4'", "False", "(2, 3)"), 24, "no valid 'descr'"},
    {"an unknown key", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'extra': 1}", 24, "unknown key 'extra'"},
    {"a key twice", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24, "'descr' twice"},
    {"no type", "{'fortran_order': False, 'shape': (2, 3)}", 24, "has no 'descr'"},
    {"no order", "{'descr': '<f4', 'shape': (2, 3)}", 24, "has no 'fortran_order'"},
    {"no shape", "{'descr': '<f4', 'fortran_order': False}", 24, "has no 'shape'"},
    {"an empty dictionary", "{}", 0, "has no 'descr'"},
    {"an empty header", "", 0, "not a Python dictionary"},
    {"a header of spaces", "                \n", 0, "not a Python dictionary"},
    {"a list", "[]", 0, "not a Python dictionary"},
    {"a call", "__import__('os').system('true')", 0, "not a Python dictionary"},
    {"a dictionary without an end", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), ", 24, "not a Python dictionary"},
    {"no comma", "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}", 24, "not a Python dictionary"},
    {"no colon", "{'descr' '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24, "not a Python dictionary"},
    {"something after the dictionary", HEADER("'<f4'", "False", "(2, 3)") " + 1", 24, "goes on after"},
    {"two dictionaries", HEADER("'<f4'", "False", "(2, 3)") "{}", 24, "goes on after"},
};
enum { MALFORMED = sizeof malformed / sizeof *malformed };

static size_t make_npy(uint8_t *out, int version, size_t length, const char *header, size_t data_bytes) {
    size_t n = strlen(header), head = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (uint8_t)version, out[7] = 0;
    for (size_t i = 8; i < head; i++) out[i] = (uint8_t)(length >> (8 * (i - 8)));
    memcpy(out + head, header, n);
    memset(out + head + n, 1, data_bytes);
    return head + n + data_bytes;
}
/* Reads every array of the file; true when all are accepted. */
static bool accept(const uint8_t *file, size_t bytes, Error *e) {
    Npz *z = npz_memory(file, bytes, bad, e);
    bool ok = z != NULL;
    for (int i = 0; ok && i < npz_count(z); i++) {
        NpyArray a;
        ok = npz_read(z, npz_name(z, i), &a, e);
        CHECK(ok == (a.data != NULL), "an array and an error, or neither");
        npy_free(&a);
    }
    npz_close(z);
    return ok;
}
static void refuse(const char *what, const uint8_t *file, size_t bytes, const char *fragment) {
    Error e = {""};
    if (fragment) hostile_refuse(accept, what, file, bytes, bad, fragment);
    else CHECK(read_exactly(accept, file, bytes, &e), "%s: refused: %s", what, e.text);
}
static void tables(void) {
    uint8_t file[512];
    for (int i = 0; i < MALFORMED; i++)
        for (int version = 1; version <= 3; version++) {
            size_t n = make_npy(file, version, strlen(malformed[i].header), malformed[i].header, (size_t)malformed[i].data_bytes);
            refuse(malformed[i].what, file, n, malformed[i].fragment);
            Made m = {0}; /* the same within an archive */
            made_stored(&m, "x.npy", file, n);
            made_finish(&m, false);
            refuse(malformed[i].what, m.data, m.bytes, malformed[i].fragment);
            made_free(&m);
        }
    static const char good[] = HEADER("'<f4'", "False", "(2, 3)");
    size_t n = make_npy(file, 1, sizeof good - 1, good, 24);
    for (size_t k = 0; k < n; k++) refuse("an array cut short", file, k, k < 6 ? "neither" : "");
    file[6] = 4, refuse("version 4.0", file, n, "version 4.0");
    file[6] = 0, refuse("version 0.0", file, n, "version 0.0");
    file[6] = 1, file[7] = 1, refuse("version 1.1", file, n, "version 1.1");
    file[0] = 'P', refuse("another first byte", file, n, "neither");
    n = make_npy(file, 1, 65535, good, 24), refuse("a header of 65535 bytes", file, n, "truncated");
    n = make_npy(file, 1, sizeof good - 2, good, 24), refuse("a header one byte too short", file, n, "not a Python dictionary");
    n = make_npy(file, 1, sizeof good, good, 24), refuse("a header one byte too long", file, n, "goes on after");
    n = make_npy(file, 2, 0xffffffff, good, 24), refuse("a header of 4 GB", file, n, "at most 65536");
    n = make_npy(file, 2, 65536, good, 24), refuse("a header of 64 KiB", file, n, "truncated");
    memcpy(file, "\x93NUMPY", 6);
    Made m = {0};
    made_stored(&m, "x.npy", "not an array", 12);
    made_finish(&m, false);
    refuse("text named .npy", m.data, m.bytes, "does not begin as a .npy file");
    m.data[m.entry[0].end - 1] ^= 1;
    refuse("a damaged archive", m.data, m.bytes, "does not begin as a .npy file");
    made_free(&m);
    n = make_npy(file, 1, sizeof good - 1, good, 24);
    made_stored(&m, "x.npy", file, n);
    made_finish(&m, false);
    m.data[m.entry[0].end - 1] ^= 1;
    refuse("a damaged array", m.data, m.bytes, "the file is damaged");
    made_free(&m);
}
int main(void) {
    char folder[] = "/tmp/dg_test_npz_XXXXXX", command[64];
    if (!CHECK(mkdtemp(folder), "no temporary folder")) return check_done("test_npz");
    read_files("tests/data/numpy");
    written(folder);
    with_numpy(folder);
    tables();
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK(system(command) == 0, "%s is left over", folder);
    printf("%d malformed headers in the table, each in 3 versions, alone and in an archive\n", MALFORMED - 5);
    return check_done("test_npz");
}
