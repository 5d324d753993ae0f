/* pickle_tree.c -- looking things up in the tree that the pickle reader built, and the texts in it: UTF-8, and the escapes of
 * protocol 0. */
#include "weights_tools/pickle.h"
#include <stdlib.h>
#include <string.h>

bool pickle_is_text(const PickleValue *v, const char *text) {
    return v && v->kind == PICKLE_TEXT && v->count == strlen(text) && !memcmp(v->text, text, v->count);
}
bool pickle_is_class(const PickleValue *v, const char *name) { return v && v->kind == PICKLE_CLASS && !strcmp(v->text, name); }
bool pickle_is_call(const PickleValue *v, const char *name) {
    return v && v->kind == PICKLE_CALL && pickle_is_class(v->call->callee, name);
}
bool pickle_pairs(const PickleValue *v, const PickleValue *const **item, size_t *count) {
    if (!v || (v->kind != PICKLE_DICT && !(v->kind == PICKLE_CALL && (v->call->pairs || !v->count)))) return false;
    *item = (const PickleValue *const *)(v->kind == PICKLE_DICT ? v->item : v->call->item), *count = v->count;
    return true;
}
const PickleValue *pickle_get(const PickleValue *dict, const char *key) {
    const PickleValue *const *item, *found = NULL;
    size_t count;
    if (!pickle_pairs(dict, &item, &count)) return NULL;
    for (size_t i = 0; i < count; i += 2)
        if (pickle_is_text(item[i], key)) found = item[i + 1];
    return found;
}
static int by_key(const void *a, const void *b) {
    const PickleValue *const *x = *(const PickleValue *const *const *)a, *const *y = *(const PickleValue *const *const *)b;
    if (x[0]->count != y[0]->count) return x[0]->count < y[0]->count ? -1 : 1;
    int order = memcmp(x[0]->text, y[0]->text, x[0]->count);
    return order ? order : x < y ? -1 : 1;
}
bool *pickle_superseded(const PickleValue *const *item, size_t count) {
    const PickleValue *const **pair = dg_alloc((count / 2 + 1) * sizeof *pair);
    bool *superseded = dg_alloc(count / 2 + 1);
    size_t n = 0;
    for (size_t i = 0; i < count; i += 2)
        if (item[i]->kind == PICKLE_TEXT) pair[n++] = &item[i];
    if (n) qsort(pair, n, sizeof *pair, by_key);
    for (size_t i = 1; i < n; i++)
        if (pair[i - 1][0]->count == pair[i][0]->count && !memcmp(pair[i - 1][0]->text, pair[i][0]->text, pair[i][0]->count))
            superseded[(pair[i - 1] - item) / 2] = true;
    free(pair);
    return superseded;
}
const PickleValue *pickle_item(const PickleValue *sequence, size_t i) {
    if (!sequence || (sequence->kind != PICKLE_LIST && sequence->kind != PICKLE_TUPLE) || i >= sequence->count) return NULL;
    return sequence->item[i];
}
const PickleValue *pickle_argument(const PickleValue *call, size_t i) {
    return call && call->kind == PICKLE_CALL ? pickle_item(call->call->args, i) : NULL;
}
/* The character at s, below 256, and how many bytes it takes; 0: it is none. The text is valid UTF-8. */
static int latin1_character(const char *s, uint8_t *c) {
    uint8_t first = (uint8_t)s[0];
    *c = first;
    if (first < 0x80) return 1;
    *c = (uint8_t)(first << 6 | (s[1] & 0x3f));
    return first == 0xc2 || first == 0xc3 ? 2 : 0;
}
bool pickle_latin1(const PickleValue *v, size_t *bytes) {
    *bytes = 0;
    if ((pickle_is_call(v, "__builtin__.bytes") || pickle_is_call(v, "builtins.bytes")) && !pickle_argument(v, 0)) return true;
    const PickleValue *text = pickle_argument(v, 0), *encoding = pickle_argument(v, 1);
    if (!pickle_is_call(v, "_codecs.encode") || !text || text->kind != PICKLE_TEXT) return false;
    if (!pickle_is_text(encoding, "latin1") && !pickle_is_text(encoding, "latin-1")) return false;
    for (size_t i = 0; i < text->count; ++*bytes) {
        uint8_t c;
        int n = latin1_character(text->text + i, &c);
        if (!n) return false;
        i += (size_t)n;
    }
    return true;
}
void pickle_latin1_bytes(const PickleValue *v, uint8_t *out) {
    const PickleValue *text = pickle_argument(v, 0);
    for (size_t i = 0; text && i < text->count;) i += (size_t)latin1_character(text->text + i, out++);
}
const char *pickle_kind_name(const PickleValue *v) {
    static const char *const names[] = {"None",   "a boolean", "an integer", "a long integer", "a number", "a text",    "bytes",
                                        "a list", "a tuple",   "a set",      "a dict",         "a class",  "an object", "a persistent id"};
    return v ? names[v->kind] : "nothing";
}

/* ---- texts ---------------------------------------------------------------------------------------------------------------- */
bool pickle_is_utf8(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        int k = (uint8_t)s[i] < 0x80 ? 1 : utf8_sequence((const unsigned char *)s + i, n - i);
        if (!k) return false;
        i += (size_t)k;
    }
    return true;
}
static size_t put_utf8(char *out, uint32_t c) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    size_t n = 0;
    if (c < 0x10000) out[n++] = (char)(0xe0 | c >> 12);
    else out[n++] = (char)(0xf0 | c >> 18), out[n++] = (char)(0x80 | (c >> 12 & 63));
    out[n++] = (char)(0x80 | (c >> 6 & 63));
    out[n++] = (char)(0x80 | (c & 63));
    return n;
}
static bool hex(const char *s, size_t n, uint32_t *v) {
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return false;
        *v = *v << 4 | (uint32_t)d;
    }
    return true;
}
bool pickle_unescape_unicode(const char *s, size_t n, char *out, size_t *len) {
    *len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = (uint8_t)s[i];
        size_t digits = i + 1 < n && s[i] == '\\' ? (s[i + 1] == 'u' ? 4u : s[i + 1] == 'U' ? 8u : 0u) : 0u;
        if (digits && (n - i < digits + 2 || !hex(s + i + 2, digits, &c) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))) return false;
        i += digits ? digits + 2 : 1;
        *len += put_utf8(out + *len, c);
    }
    return true;
}
bool pickle_unescape_string(const char *s, size_t n, char *out, size_t *len) {
    static const char from[] = "\\'\"nrtbfav", to[] = "\\'\"\n\r\t\b\f\a\v";
    *len = 0;
    if (n < 2 || (s[0] != '\'' && s[0] != '"') || s[n - 1] != s[0]) return false;
    for (size_t i = 1; i < n - 1;) {
        if (s[i] != '\\') {
            out[(*len)++] = s[i++];
            continue;
        }
        uint32_t c;
        const char *simple = i + 1 < n - 1 && s[i + 1] ? strchr(from, s[i + 1]) : NULL;
        if (simple) out[(*len)++] = to[simple - from], i += 2;
        else if (n - 1 - i >= 4 && s[i + 1] == 'x' && hex(s + i + 2, 2, &c)) out[(*len)++] = (char)c, i += 4;
        else return false;
    }
    return true;
}
