/* test_safetensors.c -- values through the writer and the reader, and a table of malformed files, each refused. */
#include "base/dtype.h"
#include "files/safetensors.h"
#include "hostile.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char path[] = "/tmp/dg_test_safetensors.safetensors";

/* ---- values --------------------------------------------------------------------------------------------------------
 */
static const struct {
    DType type;
    const char *name;
} types[] = {{DG_F32, "f32"}, {DG_F16, "f16"}, {DG_BF16, "bf16"}, {DG_F64, "f64"}, {DG_U8, "u8"}, {DG_I64, "i64"}};
enum { TYPES = sizeof types / sizeof *types, COUNT = 24 };
static const int64_t shape[3] = {2, 3, 4};

static double value(int i) { return i + 0.5; } /* exact in every floating type, truncated in the integer ones */
static void fill(DType type, uint8_t *out) {
    for (int i = 0; i < COUNT; i++) {
        double d = value(i);
        int64_t n = i;
        if (type == DG_U8) out[i] = (uint8_t)i;
        else if (type == DG_I64) memcpy(out + 8 * i, &n, 8);
        else dtype_convert(type, out + dtype_bytes(type) * (size_t)i, DG_F64, &d, 1);
    }
}
static bool write_all(Error *e) {
    uint8_t data[COUNT * 8];
    StWriter *w = st_writer_open(path, e);
    if (!w) return false;
    st_writer_metadata(w, "config", "{\"a\": \"b\\c\"}\n");
    st_writer_metadata(w, "hash", "0000");
    for (int t = 0; t < TYPES; t++) st_writer_tensor(w, types[t].name, types[t].type, 3, shape);
    st_writer_tensor(w, "scalar", DG_F32, 0, NULL);
    st_writer_tensor(w, "empty", DG_F32, 2, (const int64_t[]){0, 5});
    bool ok = st_writer_begin(w, e);
    for (int t = 0; t < TYPES && ok; t++) {
        fill(types[t].type, data);
        ok = st_writer_data(w, data, COUNT * dtype_bytes(types[t].type), e);
    }
    float scalar = -3;
    ok = ok && st_writer_data(w, &scalar, sizeof scalar, e) && st_writer_set_metadata(w, "hash", "cafe", e);
    if (ok) return st_writer_finish(w, e);
    st_writer_abandon(w);
    return false;
}
static void round_trip(void) {
    Error e = {""};
    CHECK(write_all(&e), "write: %s", e.text);
    SafeTensors *s = st_open(path, &e);
    if (!CHECK(s, "read: %s", e.text)) return;
    CHECK(s->count == TYPES + 2, "%d tensors", s->count);
    for (int i = 1; i < s->count; i++) CHECK(strcmp(s->tensor[i - 1].name, s->tensor[i].name) < 0, "not sorted at %d", i);
    const char *config = st_metadata(s, "config"), *hash = st_metadata(s, "hash");
    CHECK(config && !strcmp(config, "{\"a\": \"b\\c\"}\n"), "metadata config: %s", config);
    CHECK(hash && !strcmp(hash, "cafe"), "metadata filled in at the end: %s", hash);
    CHECK(!st_metadata(s, "none") && !st_find(s, "none"), "something absent was found");
    for (int t = 0; t < TYPES; t++) {
        const StTensor *x = st_find(s, types[t].name);
        bool integer = types[t].type == DG_U8 || types[t].type == DG_I64;
        if (!CHECK(x && x->dtype == types[t].type && x->dims == 3 && !memcmp(x->shape, shape, sizeof shape) && x->count == COUNT &&
                       x->bytes == COUNT * dtype_bytes(types[t].type),
                   "%s: not as written", types[t].name))
            continue;
        float f[COUNT];
        double d[COUNT];
        st_to_f32(x, f);
        st_to_f64(x, d);
        for (int i = 0; i < COUNT; i++) {
            double want = integer ? i : value(i);
            CHECK(d[i] == want && f[i] == (float)want, "%s[%d]: %g and %g, want %g", types[t].name, i, d[i], (double)f[i], want);
        }
    }
    const StTensor *scalar = st_find(s, "scalar"), *empty = st_find(s, "empty");
    float f = 0;
    if (CHECK(scalar && scalar->dims == 0 && scalar->count == 1, "scalar: not as written")) st_to_f32(scalar, &f);
    CHECK(f == -3, "scalar: %g", (double)f);
    CHECK(empty && empty->count == 0 && empty->bytes == 0 && empty->shape[1] == 5, "empty: not as written");
    st_close(s);
    unlink(path);
}
static void nothing_left_behind(void) {
    Error e = {""};
    StWriter *w = st_writer_open(path, &e);
    if (!CHECK(w, "%s", e.text)) return;
    st_writer_tensor(w, "x", DG_F32, 1, (const int64_t[]){1});
    CHECK(st_writer_begin(w, &e), "%s", e.text);
    st_writer_abandon(w);
    CHECK(access(path, F_OK) != 0, "an abandoned file appeared");
    Hostile h = hostile_begin("a folder that does not exist");
    w = st_writer_open("/tmp/dg_no_such_folder/x.safetensors", &h.e);
    hostile_end(&h, w != NULL, "/tmp/dg_no_such_folder/x.safetensors", "cannot write");
    h = hostile_begin("a missing file");
    SafeTensors *s = st_open("/tmp/dg_no_such_file", &h.e);
    hostile_end(&h, s != NULL, "/tmp/dg_no_such_file", "No such file");
    h = hostile_begin("a folder");
    s = st_open("/tmp", &h.e);
    hostile_end(&h, s != NULL, "/tmp", "not a regular file");
}

/* ---- malformed files -----------------------------------------------------------------------------------------------
 */
#define TENSOR(dtype, dims, offsets) "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":[" dims "],\"data_offsets\":[" offsets "]}}"
#define TWO(a, b)                                                                                                                          \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" a "]},\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" b "]}}"
static const struct {
    const char *what, *header;
    int data_bytes;
    const char *fragment;
} malformed[] = {
    {"no data where some are declared", TENSOR("F32", "2", "0,8"), 0, "truncated"},
    {"one byte of data missing", TENSOR("F32", "2", "0,8"), 7, "truncated"},
    {"one byte of data too many", TENSOR("F32", "2", "0,8"), 9, "belong to none"},
    {"data but no tensor", "{}", 4, "belong to none"},
    {"a gap before the first tensor", TENSOR("F32", "2", "4,12"), 12, "belong to no tensor"},
    {"a gap between tensors", TWO("0,8", "12,20"), 20, "belong to no tensor"},
    {"overlapping by half", TWO("0,8", "4,12"), 12, "overlaps"},
    {"the same data twice", TWO("0,8", "0,8"), 8, "overlaps"},
    {"overlapping in the other order", TWO("4,12", "0,8"), 12, "overlaps"},
    {"end before begin", TENSOR("F32", "2", "8,0"), 8, "ends before it begins"},
    {"offsets far beyond the file", TENSOR("F32", "2", "1000000,1000008"), 8, "truncated"},
    {"end at 2^63", TENSOR("F32", "2", "0,9223372036854775808"), 8, "truncated"},
    {"end at 2^64 - 1", TENSOR("F32", "2", "0,18446744073709551615"), 8, "truncated"},
    {"end at 2^64", TENSOR("F32", "2", "0,18446744073709551616"), 8, "data_offsets"},
    {"a negative offset", TENSOR("F32", "2", "-8,0"), 8, "data_offsets"},
    {"a fractional offset", TENSOR("F32", "2", "0,8.5"), 8, "data_offsets"},
    {"an offset with an exponent", TENSOR("F32", "2", "0,8e0"), 8, "data_offsets"},
    {"one offset", TENSOR("F32", "2", "8"), 8, "data_offsets"},
    {"three offsets", TENSOR("F32", "2", "0,8,16"), 8, "data_offsets"},
    {"offsets as strings", TENSOR("F32", "2", "\"0\",\"8\""), 8, "data_offsets"},
    {"fewer bytes than the shape wants", TENSOR("F32", "3", "0,8"), 8, "its shape wants 12"},
    {"more bytes than the shape wants", TENSOR("F16", "2", "0,8"), 8, "its shape wants 4"},
    {"a negative dimension", TENSOR("F32", "-2", "0,8"), 8, "non-negative integer"},
    {"a fractional dimension", TENSOR("F32", "2.0", "0,8"), 8, "non-negative integer"},
    {"a dimension of 2^63", TENSOR("U8", "9223372036854775808", "0,8"), 8, "non-negative integer"},
    {"a dimension of 2^65", TENSOR("U8", "36893488147419103232", "0,8"), 8, "non-negative integer"},
    {"a shape whose count overflows to 0", TENSOR("U8", "4294967296,4294967296", "0,0"), 0, "overflows"},
    {"a shape whose count overflows to 2", TENSOR("U8", "9223372036854775807,2,1", "0,8"), 8, "overflows"},
    {"a shape whose bytes overflow", TENSOR("F64", "2305843009213693953", "0,8"), 8, "overflows"},
    {"nine dimensions", TENSOR("F32", "1,1,1,1,1,1,1,1,2", "0,8"), 8, "at most 8"},
    {"a shape of strings", TENSOR("F32", "\"2\"", "0,8"), 8, "non-negative integer"},
    {"a nested shape", TENSOR("F32", "[2]", "0,8"), 8, "non-negative integer"},
    {"an unknown type", TENSOR("F8_E4M3", "8", "0,8"), 8, "F8_E4M3 is not one"},
    {"a type in lower case", TENSOR("f32", "2", "0,8"), 8, "f32 is not one"},
    {"an empty type", TENSOR("", "2", "0,8"), 8, "not one"},
    {"a type that would clear a terminal", TENSOR("\\u001b[2J", "2", "0,8"), 8, "\\x1b[2J is not one"},
    {"no type", "{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "no dtype"},
    {"a type that is a number", "{\"x\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "no dtype"},
    {"no shape", "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "no shape"},
    {"a shape that is a number", "{\"x\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "no shape"},
    {"no offsets", "{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
    {"offsets that are an object", "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{\"0\":8}}}", 8, "data_offsets"},
    {"a tensor that is a number", "{\"x\":1}", 0, "not an object"},
    {"a tensor that is null", "{\"x\":null}", 0, "not an object"},
    {"metadata that is a list", "{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"metadata that is a number", "{\"__metadata__\":{\"a\":1}}", 0, "metadata a is not a string"},
    {"metadata that is an object", "{\"__metadata__\":{\"a\":{}}}", 0, "metadata a is not a string"},
    {"the same tensor twice", "{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"x\":{}}", 0, "twice"},
    {"the same tensor twice, once escaped", "{\"x\":{},\"\\u0078\":{}}", 0, "twice"},
    {"the same field twice", "{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "twice"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"an array as header", "[]", 0, "does not begin with '{'"},
    {"a space before the header", " {}", 0, "does not begin with '{'"},
    {"a byte order mark", "\xef\xbb\xbf{}", 0, "does not begin with '{'"},
    {"no closing brace", "{\"x\":{}", 0, "JSON at byte"},
    {"something after the header", "{}x", 0, "something follows"},
    {"two headers", "{}{}", 0, "something follows"},
    {"a trailing comma", "{\"x\":{},}", 0, "a key was expected"},
    {"no comma", "{\"x\":{} \"y\":{}}", 0, "was expected"},
    {"no colon", "{\"x\" {}}", 0, "':' was expected"},
    {"an unquoted key", "{x:{}}", 0, "a key was expected"},
    {"single quotes", "{'x':{}}", 0, "a key was expected"},
    {"a comment", "{/**/}", 0, "a key was expected"},
    {"a string without an end", "{\"x", 0, "does not end"},
    {"a backslash at the end", "{\"x\\", 0, "does not end"},
    {"an unknown escape", "{\"\\x41\":{}}", 0, "escape"},
    {"an escape of three digits", "{\"\\u041\":{}}", 0, "hexadecimal"},
    {"an escaped NUL", "{\"a\\u0000b\":{}}", 0, "\\u0000"},
    {"half of a surrogate pair", "{\"\\ud800\":{}}", 0, "surrogate"},
    {"the wrong half of a surrogate pair", "{\"\\udc00\":{}}", 0, "surrogate"},
    {"a line break in a string", "{\"a\nb\":{}}", 0, "control character"},
    {"a stray continuation byte", "{\"\x80\":{}}", 0, "not UTF-8"},
    {"an overlong slash", "{\"\xc0\xaf\":{}}", 0, "not UTF-8"},
    {"a truncated sequence", "{\"\xe2\x82\":{}}", 0, "not UTF-8"},
    {"an encoded surrogate", "{\"\xed\xa0\x80\":{}}", 0, "not UTF-8"},
    {"a code point above U+10FFFF", "{\"\xf4\x90\x80\x80\":{}}", 0, "not UTF-8"},
    {"NaN as a number", "{\"x\":NaN}", 0, "value was expected"},
    {"a leading zero", TENSOR("F32", "02", "0,8"), 8, "expected"},
    {"a leading plus", TENSOR("F32", "+2", "0,8"), 8, "expected"},
    {"a hexadecimal number", TENSOR("F32", "0x2", "0,8"), 8, "expected"},
};
enum { MALFORMED = sizeof malformed / sizeof *malformed };

static void put_length(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (8 * i));
}
static bool accept(const uint8_t *file, size_t bytes, Error *e) {
    SafeTensors *s = st_memory(file, bytes, "bad.safetensors", e);
    st_close(s);
    return s != NULL;
}
static void refuse(const char *what, const void *file, size_t bytes, const char *fragment) {
    hostile_refuse(accept, what, file, bytes, "bad.safetensors", fragment);
}
static void tables(void) {
    for (int i = 0; i < MALFORMED; i++) {
        size_t n = strlen(malformed[i].header), bytes = 8 + n + (size_t)malformed[i].data_bytes;
        uint8_t *file = dg_alloc(bytes);
        put_length(file, n);
        memcpy(file + 8, malformed[i].header, n);
        refuse(malformed[i].what, file, bytes, malformed[i].fragment);
        free(file);
    }
    static const struct {
        const char *what;
        uint64_t length;
        const char *fragment;
    } lengths[] = {
        {"a header of no length", 0, "truncated"},
        {"a header of one byte", 1, "truncated"},
        {"a header one byte too long", 3, "truncated"},
        {"a header of 100 MB", ST_MAX_HEADER, "truncated"},
        {"a header of 4 GB", 1ull << 32, "not a safet"},
        {"a header of 2^63 bytes", 1ull << 63, "not a safet"},
        {"a header of 2^64 - 8 bytes", -8ull, "not a safet"},
        {"a header of 2^64 - 1 bytes", -1ull, "not a safet"},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t file[10] = {[8] = '{', [9] = '}'};
        put_length(file, lengths[i].length);
        refuse(lengths[i].what, file, sizeof file, lengths[i].fragment);
    }
}
/* A good file cut anywhere is refused. */
static void truncations(void) {
    static const char header[] = TWO("0,8", "8,16");
    enum { HEADER = sizeof header - 1, BYTES = 8 + HEADER + 16 };
    uint8_t file[BYTES] = {0};
    put_length(file, HEADER);
    memcpy(file + 8, header, HEADER);
    Error e = {""};
    SafeTensors *s = st_memory(file, BYTES, "good", &e);
    CHECK(s && s->count == 2, "the whole file: %s", e.text);
    st_close(s);
    for (size_t n = 0; n < BYTES; n++) refuse("a file cut short", file, n, n < 8 ? "too short" : "truncated");
}
/* Headers that are large, or deep, and nothing else. */
static void resources(void) {
    enum { MANY = 2 << 20, DEEP = 1 << 20 };
    uint8_t *file = dg_alloc(8 + MANY);
    put_length(file, MANY);
    memcpy(file + 8, "{\"x\":[0", 7);
    for (size_t i = 7; i < MANY; i++) file[8 + i] = i % 2 ? ',' : '0';
    refuse("a million numbers", file, 8 + MANY, "too many values");
    memset(file + 8 + 5, '[', DEEP - 5);
    put_length(file, DEEP);
    refuse("a million brackets", file, 8 + DEEP, "nested too deeply");
    memset(file + 8 + 1, '"', DEEP - 1);
    refuse("a million quotes", file, 8 + DEEP, "':' was expected");
    memset(file + 8 + 2, 'a', MANY - 2);
    put_length(file, MANY);
    refuse("a name of 2 MB", file, 8 + MANY, "does not end");
    free(file);
}
int main(void) {
    round_trip();
    nothing_left_behind();
    tables();
    truncations();
    resources();
    printf("%d malformed headers in the table\n", MALFORMED);
    return check_done("test_safetensors");
}
