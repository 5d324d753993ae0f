/* json.c -- a strict JSON reader (RFC 8259), and a parsed value written back. */
#include "base/json.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,
    MAX_FILE = 64 << 20,
    MAX_VALUES = 1 << 19, /* about 50 MB of memory */
    VALUE_BYTES = 16      /* or one for so many bytes of text: honest records of many runs have fewer */
};
typedef struct {
    const unsigned char *text;
    size_t len, pos;
    int values;
    Error *e;
} Reader;

static bool fail(Reader *r, const char *what) { return dg_error(r->e, "JSON at byte %zu: %s", r->pos, what); }
static int peek(const Reader *r) { return r->pos < r->len ? r->text[r->pos] : -1; }
static void skip_space(Reader *r) {
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r') r->pos++;
}
static bool expect(Reader *r, const char *word) {
    size_t n = strlen(word);
    if (r->len - r->pos < n || memcmp(r->text + r->pos, word, n)) return fail(r, "a value was expected");
    r->pos += n;
    return true;
}
static int hex_digit(int c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
static bool read_hex4(Reader *r, unsigned *out) { /* after \u */
    *out = 0;
    for (int i = 0; i < 4; i++, r->pos++) {
        int d = hex_digit(peek(r));
        if (d < 0) return fail(r, "\\u wants four hexadecimal digits");
        *out = *out * 16 + (unsigned)d;
    }
    return true;
}
static size_t put_utf8(char *out, unsigned c) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
    out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}
static bool read_escape(Reader *r, char *out, size_t *n) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    const char *at = c > 0 ? strchr(from, c) : NULL;
    if (at) {
        out[(*n)++] = to[at - from];
        r->pos++;
        return true;
    }
    if (c != 'u') return fail(r, "an unknown escape");
    r->pos++;
    unsigned code, low;
    if (!read_hex4(r, &code)) return false;
    if (code == 0) return fail(r, "\\u0000 is not accepted");
    if (code >= 0xdc80 && code < 0xdd00) return out[(*n)++] = (char)(code - 0xdc00), true; /* a byte that is not UTF-8 */
    if (code >= 0xdc00 && code < 0xe000) return fail(r, "half of a surrogate pair");
    if (code >= 0xd800 && code < 0xdc00) {
        if (r->len - r->pos < 2 || r->text[r->pos] != '\\' || r->text[r->pos + 1] != 'u') return fail(r, "half of a surrogate pair");
        r->pos += 2;
        if (!read_hex4(r, &low)) return false;
        if (low < 0xdc00 || low >= 0xe000) return fail(r, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *n += put_utf8(out + *n, code);
    return true;
}
static char *read_string(Reader *r) { /* at the opening quote */
    size_t end = ++r->pos;
    while (end < r->len && r->text[end] != '"') end += r->text[end] == '\\' ? 2 : 1;
    if (end >= r->len) {
        fail(r, "the string does not end");
        return NULL;
    }
    char *out = dg_alloc(end - r->pos + 1); /* no escape is longer than what it stands for */
    size_t n = 0;
    while (peek(r) != '"') {
        int c = peek(r), length;
        if (c == '\\') {
            r->pos++;
            if (read_escape(r, out, &n)) continue;
            free(out);
            return NULL;
        }
        length = c < 0x20 ? 0 : utf8_sequence(r->text + r->pos, r->len - r->pos);
        if (!length) {
            fail(r, c < 0x20 ? "a control character in a string" : "not UTF-8");
            free(out);
            return NULL;
        }
        memcpy(out + n, r->text + r->pos, (size_t)length);
        n += (size_t)length, r->pos += (size_t)length;
    }
    r->pos++;
    return out;
}
static bool digits(Reader *r) {
    size_t start = r->pos;
    while (peek(r) >= '0' && peek(r) <= '9') r->pos++;
    return r->pos > start;
}
static bool read_number(Reader *r, Json *j) {
    size_t start = r->pos;
    if (peek(r) == '-') r->pos++;
    if (peek(r) == '0') r->pos++;
    else if (!digits(r)) return fail(r, "a value was expected");
    if (peek(r) == '.') {
        r->pos++;
        if (!digits(r)) return fail(r, "digits were expected after the point");
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->pos++;
        if (peek(r) == '+' || peek(r) == '-') r->pos++;
        if (!digits(r)) return fail(r, "digits were expected in the exponent");
    }
    size_t n = r->pos - start;
    j->kind = JSON_NUMBER;
    j->string = dg_alloc(n + 1);
    memcpy(j->string, r->text + start, n);
    j->number = strtod(j->string, NULL);
    return true;
}
static bool read_value(Reader *r, Json *j, int depth);

static int by_key(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static bool keys_differ(Reader *r, const Json *object) {
    const char **key = dg_alloc((size_t)object->count * sizeof *key);
    int n = 0;
    for (const Json *c = object->child; c; c = c->next) key[n++] = c->key;
    qsort(key, (size_t)n, sizeof *key, by_key);
    bool ok = true;
    for (int i = 1; i < n && ok; i++)
        if (!strcmp(key[i - 1], key[i])) ok = dg_error(r->e, "JSON: the key \"%s\" stands twice in one object", key[i]);
    free(key);
    return ok;
}
/* The members of an array or object, after its opening bracket. */
static bool read_members(Reader *r, Json *j, int close, int depth) {
    Json **tail = &j->child;
    skip_space(r);
    if (peek(r) == close) return r->pos++, true;
    for (;;) {
        Json *member = *tail = dg_alloc(sizeof *member);
        tail = &member->next;
        j->count++;
        skip_space(r);
        if (close == '}') {
            if (peek(r) != '"') return fail(r, "a key was expected");
            if (!(member->key = read_string(r))) return false;
            skip_space(r);
            if (peek(r) != ':') return fail(r, "':' was expected");
            r->pos++;
        }
        if (!read_value(r, member, depth + 1)) return false;
        skip_space(r);
        int c = peek(r);
        if (c != ',' && c != close) return fail(r, close == '}' ? "',' or '}' was expected" : "',' or ']' was expected");
        r->pos++;
        if (c == close) return close == ']' || keys_differ(r, j);
    }
}
static bool read_value(Reader *r, Json *j, int depth) {
    if (depth > MAX_DEPTH) return fail(r, "nested too deeply");
    if (r->values++ >= MAX_VALUES && (size_t)r->values > r->len / VALUE_BYTES) return fail(r, "too many values");
    skip_space(r);
    switch (peek(r)) {
    case '{': j->kind = JSON_OBJECT, r->pos++; return read_members(r, j, '}', depth);
    case '[': j->kind = JSON_ARRAY, r->pos++; return read_members(r, j, ']', depth);
    case '"': j->kind = JSON_STRING; return (j->string = read_string(r)) != NULL;
    case 't': j->kind = JSON_BOOL, j->boolean = true; return expect(r, "true");
    case 'f': j->kind = JSON_BOOL; return expect(r, "false");
    case 'n': return expect(r, "null");
    case -1: return fail(r, "the text ends too early");
    default: return read_number(r, j);
    }
}
Json *json_parse(const char *text, size_t len, Error *e) {
    Reader r = {.text = (const unsigned char *)text, .len = len, .e = e};
    Json *j = dg_alloc(sizeof *j);
    bool ok = read_value(&r, j, 0);
    skip_space(&r);
    if (ok && r.pos < len) ok = fail(&r, "something follows the value");
    if (ok) return j;
    json_free(j);
    return NULL;
}
Json *json_parse_file(const char *path, Error *e) {
    FileMap m;
    if (!file_map(path, &m, e)) return NULL;
    Json *j = NULL;
    if (m.bytes > MAX_FILE) dg_error(e, "%s: %zu bytes of JSON, at most 64 MiB are read", path, m.bytes);
    else if (!(j = json_parse((const char *)m.data, m.bytes, e))) dg_error_context(e, "%s", path);
    file_unmap(&m);
    return j;
}
void json_free(Json *j) {
    while (j) {
        Json *next = j->next;
        json_free(j->child);
        free(j->key);
        free(j->string);
        free(j);
        j = next;
    }
}

const Json *json_get(const Json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (const Json *c = object->child; c; c = c->next)
        if (!strcmp(c->key, key)) return c;
    return NULL;
}
bool json_u64(const Json *j, uint64_t *out) {
    if (!j || j->kind != JSON_NUMBER || !j->string[0] || strspn(j->string, "0123456789") != strlen(j->string)) return false;
    errno = 0;
    *out = strtoull(j->string, NULL, 10);
    return errno == 0;
}
bool json_get_int(const Json *object, const char *key, int dflt, int *out, Error *e) {
    const Json *j = json_get(object, key);
    *out = dflt;
    if (!j || j->kind == JSON_NULL) return true;
    if (j->kind != JSON_NUMBER || j->number != floor(j->number) || fabs(j->number) > 2e9)
        return dg_error(e, "\"%s\" is not an integer", key);
    *out = (int)j->number;
    return true;
}
bool json_get_double(const Json *object, const char *key, double dflt, double *out, Error *e) {
    const Json *j = json_get(object, key);
    *out = dflt;
    if (!j || j->kind == JSON_NULL) return true;
    if (j->kind != JSON_NUMBER) return dg_error(e, "\"%s\" is not a number", key);
    *out = j->number;
    return true;
}
bool json_get_bool(const Json *object, const char *key, bool dflt, bool *out, Error *e) {
    const Json *j = json_get(object, key);
    *out = dflt;
    if (!j || j->kind == JSON_NULL) return true;
    if (j->kind == JSON_NUMBER && (j->number == 0 || j->number == 1)) return *out = j->number == 1, true;
    if (j->kind != JSON_BOOL) return dg_error(e, "\"%s\" is neither true nor false", key);
    *out = j->boolean;
    return true;
}
bool json_get_string(const Json *object, const char *key, const char *dflt, const char **out, Error *e) {
    const Json *j = json_get(object, key);
    *out = dflt;
    if (!j || j->kind == JSON_NULL) return true;
    if (j->kind != JSON_STRING) return dg_error(e, "\"%s\" is not a string", key);
    *out = j->string;
    return true;
}
bool json_get_ints(const Json *object, const char *key, int *out, int max, int *count, Error *e) {
    const Json *j = json_get(object, key);
    *count = 0;
    if (!j || j->kind == JSON_NULL) return true;
    if (j->kind != JSON_ARRAY) return dg_error(e, "\"%s\" is not a list", key);
    if (j->count > max) return dg_error(e, "\"%s\" has %d entries, at most %d are possible", key, j->count, max);
    for (const Json *c = j->child; c; c = c->next) {
        if (c->kind != JSON_NUMBER || c->number != floor(c->number) || fabs(c->number) > 2e9)
            return dg_error(e, "\"%s\" holds something that is not an integer", key);
        out[(*count)++] = (int)c->number;
    }
    return true;
}
void json_write(Text *t, const Json *j) {
    switch (j->kind) {
    case JSON_NULL: text_printf(t, "null"); return;
    case JSON_BOOL: text_printf(t, j->boolean ? "true" : "false"); return;
    case JSON_NUMBER: text_printf(t, "%s", j->string); return;
    case JSON_STRING: text_json_string(t, j->string); return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    text_printf(t, j->kind == JSON_ARRAY ? "[" : "{");
    for (const Json *c = j->child; c; c = c->next) {
        if (c->key) text_json_string(t, c->key), text_printf(t, ": ");
        json_write(t, c);
        if (c->next) text_printf(t, ", ");
    }
    text_printf(t, j->kind == JSON_ARRAY ? "]" : "}");
}
static void write_or_say(Text *t, const Json *j) {
    if (j) json_write(t, j);
    else text_printf(t, "not set");
}
void json_difference(Text *differ, const char *in, const char *key, const Json *before, const Json *now) {
    Text a = {0}, b = {0};
    write_or_say(&a, before);
    write_or_say(&b, now);
    if (strcmp(a.text, b.text))
        text_printf(differ, "%s%s%s%s was %s, is now %s", differ->len ? "; " : "", in, *in ? ": " : "", key, a.text, b.text);
    text_free(&a), text_free(&b);
}
