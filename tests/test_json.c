/* test_json.c -- the JSON reader: what it refuses and where, what it accepts, typed members, and writing back. */
#include "base/json.h"
#include "base/text.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

static void test_malformed(void) {
    static const struct {
        const char *text, *why; /* part of the sentence */
        int at;                 /* the byte it names */
    } bad[] = {
        {"", "ends too early", 0},
        {"   ", "ends too early", 3},
        {"{", "a key was expected", 1},
        {"[", "ends too early", 1},
        {"[1,", "ends too early", 3},
        {"[1 2]", "',' or ']'", 3},
        {"[1,]", "a value was expected", 3},
        {"[,1]", "a value was expected", 1},
        {"{\"a\":1,}", "a key was expected", 7},
        {"{\"a\" 1}", "':' was expected", 5},
        {"{\"a\":}", "a value was expected", 5},
        {"{a:1}", "a key was expected", 1},
        {"{1:1}", "a key was expected", 1},
        {"{\"a\":1 \"b\":2}", "',' or '}'", 7},
        {"{\"a\":1]", "',' or '}'", 6},
        {"[1}", "',' or ']'", 2},
        {"1 1", "something follows", 2},
        {"{}{}", "something follows", 2},
        {"nul", "a value was expected", 0},
        {"nulls", "something follows", 4},
        {"True", "a value was expected", 0},
        {"NaN", "a value was expected", 0},
        {"Infinity", "a value was expected", 0},
        {"-Infinity", "a value was expected", 1},
        {"+1", "a value was expected", 0},
        {"-", "a value was expected", 1},
        {"01", "something follows", 1},
        {"-01", "something follows", 2},
        {".5", "a value was expected", 0},
        {"1.", "after the point", 2},
        {"1.e5", "after the point", 2},
        {"1e", "in the exponent", 2},
        {"1e+", "in the exponent", 3},
        {"0x10", "something follows", 1},
        {"1_000", "something follows", 1},
        {"'a'", "a value was expected", 0},
        {"\"a", "does not end", 1},
        {"\"a\\\"", "does not end", 1},
        {"\"\\", "does not end", 1},
        {"\"\\x41\"", "unknown escape", 2},
        {"\"\\u12\"", "hexadecimal", 5},
        {"\"\\u12g4\"", "hexadecimal", 5},
        {"\"\\u0000\"", "u0000", 7},
        {"\"\\ud800\"", "surrogate", 7},
        {"\"\\ud800x\"", "surrogate", 7},
        {"\"\\ud800\\u0041\"", "surrogate", 13},
        {"\"\\udc00\"", "surrogate", 7},
        {"\"\\udc7f\"", "surrogate", 7}, /* just outside the bytes that are not UTF-8 */
        {"\"\\udd00\"", "surrogate", 7},
        {"\"\\udcf\"", "hexadecimal", 6},
        {"\"a\nb\"", "control character", 2},
        {"\"\t\"", "control character", 1},
        {"\"\x7f\xff\"", "not UTF-8", 2},
        {"\"\xc0\x80\"", "not UTF-8", 1},
        {"\"\xed\xa0\x80\"", "not UTF-8", 1},
        {"\"\xf4\x90\x80\x80\"", "not UTF-8", 1},
        {"\"\xe2\x82\"", "not UTF-8", 1},
        {"\xef\xbb\xbf{}", "a value was expected", 0},
        {"{} // note", "something follows", 3},
        {"/* note */ {}", "a value was expected", 0},
        {"{\"a\":1,\"a\":2}", "stands twice", -1},
        {"{\"b\":{\"x\":1,\"\\u0078\":2}}", "stands twice", -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error e = {""};
        Json *j = json_parse(bad[i].text, strlen(bad[i].text), &e);
        char place[32];
        snprintf(place, sizeof place, "at byte %d:", bad[i].at);
        CHECK(!j && strstr(e.text, bad[i].why) && (bad[i].at < 0 || strstr(e.text, place)), "case %zu, %s, gave: %s; wanted %s %s", i,
              bad[i].text, j ? "accepted" : e.text, bad[i].why, place);
        json_free(j);
    }
    Error e = {""};
    Json *j = json_parse("\"a\0b\"", 5, &e);
    CHECK(!j && strstr(e.text, "control character"), "a zero byte: %s", j ? "accepted" : e.text);
    json_free(j);
}
/* Depth is bounded, so that a hostile file cannot exhaust the stack. */
static void test_depth(void) {
    enum { DEPTH = 1 << 20 };
    char *text = malloc(2 * DEPTH);
    for (int depth = 60; depth <= 70; depth++) {
        memset(text, '[', (size_t)depth), memset(text + depth, ']', (size_t)depth);
        Error e = {""};
        Json *j = json_parse(text, 2 * (size_t)depth, &e);
        CHECK(depth <= 65 ? j != NULL : !j && strstr(e.text, "too deeply"), "depth %d: %s", depth, j ? "accepted" : e.text);
        json_free(j);
    }
    Error e = {""};
    memset(text, '[', DEPTH);
    CHECK(!json_parse(text, DEPTH, &e), "a million brackets were accepted");
    for (int i = 0; i < DEPTH; i++) text[i] = "[0,"[i < 1 ? 0 : 1 + (i & 1 ? 0 : 1)];
    CHECK(!json_parse(text, DEPTH - 1, &e), "an endless list was accepted");
    free(text);
}
static void test_values(void) {
    Error e = {""};
    static const char text[] =
        " {\"n\": null, \"t\": true, \"f\": false, \"i\": -12, \"d\": 1.5e-3, \"big\": 18446744073709551615, \"over\": "
        "18446744073709551616,"
        " \"s\": \"\\u00e9\\ud83d\\ude00\\n\\/\xc3\xa9\", \"list\": [1, 2, 3], \"half\": 0.5, \"empty\": {}, \"none\": []} ";
    Json *j = json_parse(text, strlen(text), &e);
    CHECK(j && j->kind == JSON_OBJECT && j->count == 12, "the object is refused: %s", e.text);
    if (!j) return;
    int i, ints[3], n;
    double d;
    bool b;
    const char *s;
    uint64_t u;
    CHECK(json_get_int(j, "i", 0, &i, &e) && i == -12, "i is %d", i);
    CHECK(json_get_int(j, "absent", 7, &i, &e) && i == 7 && json_get_int(j, "n", 8, &i, &e) && i == 8,
          "an absent member and null take the default");
    CHECK(!json_get_int(j, "half", 0, &i, &e) && strstr(e.text, "half"), "half an integer: %s", e.text);
    CHECK(!json_get_int(j, "big", 0, &i, &e) && !json_get_int(j, "s", 0, &i, &e) && strstr(e.text, "\"s\""), "too large, or a string: %s",
          e.text);
    CHECK(json_get_double(j, "d", 0, &d, &e) && d == 1.5e-3 && !json_get_double(j, "t", 0, &d, &e), "d is %g", d);
    CHECK(json_get_bool(j, "t", false, &b, &e) && b && json_get_bool(j, "f", true, &b, &e) && !b && !json_get_bool(j, "i", false, &b, &e),
          "booleans");
    CHECK(json_get_string(j, "s", NULL, &s, &e) && !strcmp(s, "\xc3\xa9\xf0\x9f\x98\x80\n/\xc3\xa9") &&
              !json_get_string(j, "list", NULL, &s, &e),
          "the string is %s", s);
    CHECK(json_get_ints(j, "list", ints, 3, &n, &e) && n == 3 && ints[2] == 3 && !json_get_ints(j, "list", ints, 2, &n, &e),
          "the list has %d entries", n);
    CHECK(json_get_ints(j, "absent", ints, 3, &n, &e) && n == 0 && !json_get_ints(j, "i", ints, 3, &n, &e), "an absent list has %d entries",
          n);
    CHECK(json_u64(json_get(j, "big"), &u) && u == UINT64_MAX, "big is %llu", (unsigned long long)u);
    CHECK(!json_u64(json_get(j, "over"), &u) && !json_u64(json_get(j, "i"), &u) && !json_u64(json_get(j, "d"), &u) && !json_u64(NULL, &u),
          "what is not a uint64 was taken for one");
    CHECK(!json_get(json_get(j, "list"), "i") && !json_get(NULL, "i"), "a list has members");
    /* writing back, and reading that */
    Text once = {0}, twice = {0};
    json_write(&once, j);
    Json *again = json_parse(once.text, once.len, &e);
    CHECK(again, "what was written is refused: %s", e.text);
    if (again) json_write(&twice, again);
    CHECK(again && !strcmp(once.text, twice.text), "%s became %s", once.text, twice.text);
    text_free(&once), text_free(&twice);
    json_free(again), json_free(j);
}
/* Every byte that a C string can hold and that is UTF-8 survives writing and reading. */
static void test_escaping(void) {
    char all[128];
    for (int c = 1; c < 128; c++) all[c - 1] = (char)c;
    all[127] = 0;
    Text t = {0};
    text_json_string(&t, all);
    Error e = {""};
    Json *j = json_parse(t.text, t.len, &e);
    CHECK(j && !strcmp(j->string, all), "ASCII does not survive: %s", j ? j->string : e.text);
    json_free(j);
    text_free(&t);
}
/* Any bytes at all: paths. */
static void test_bytes(void) {
    char all[256];
    for (int c = 1; c < 256; c++) all[c - 1] = (char)c;
    all[255] = 0;
    static const char *const cases[] = {"mod\xe9le",    "\xff",    "\xc3", "a\xc3\xa9\xc3", "\xed\xa0\x80", "\xf0\x9f\x98\x80\xf0\x9f\x98",
                                        "\xc2\x9b\x7f", "\x80\xbf"};
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        const char *bytes = i ? cases[i - 1] : all;
        Text t = {0};
        text_json_string(&t, bytes);
        Error e = {0};
        Json *j = json_parse(t.text, t.len, &e);
        CHECK(j && !strcmp(j->string, bytes), "case %zu: %s does not give its bytes back: %s", i, t.text, e.text);
        for (size_t k = 0; k < t.len; k++) {
            int n = utf8_sequence((unsigned char *)t.text + k, t.len - k);
            if (!CHECK(n > 0 && (unsigned char)t.text[k] >= 0x20 && t.text[k] != 0x7f, "case %zu: what is written is not JSON: %s", i,
                       t.text))
                break;
            k += (size_t)n - 1;
        }
        json_free(j);
        text_free(&t);
    }
    Text t = {0}; /* as Python's json.dumps(os.fsdecode(path)) */
    text_json_string(&t, "n\xff\xc3\xa9.pt");
    CHECK(!strcmp(t.text, "\"n\\udcff\xc3\xa9.pt\""), "%s", t.text);
    text_free(&t);
}
static void test_files(void) {
    Error e = {""};
    CHECK(!json_parse_file("tests/no-such.json", &e) && strstr(e.text, "no-such.json"), "a missing file: %s", e.text);
    CHECK(!json_parse_file("tests/check.h", &e) && strstr(e.text, "check.h") && strstr(e.text, "byte 0"), "not JSON: %s", e.text);
    CHECK(!json_parse_file("tests", &e) && strstr(e.text, "tests"), "a folder: %s", e.text);
}
int main(void) {
    test_malformed();
    test_depth();
    test_values();
    test_escaping();
    test_bytes();
    test_files();
    return check_done("test_json");
}
