/* text.c -- a growing text buffer. */
#include "base/text.h"
#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_printf(Text *t, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (t->len + (size_t)n + 1 > t->cap) {
        t->cap = 2 * t->cap + (size_t)n + 64;
        t->text = dg_realloc(t->text, t->cap);
    }
    vsnprintf(t->text + t->len, (size_t)n + 1, fmt, again);
    va_end(again);
    t->len += (size_t)n;
}
static void append(Text *t, const char *s, size_t n) {
    if (t->len + n + 1 > t->cap) {
        t->cap = 2 * t->cap + n + 64;
        t->text = dg_realloc(t->text, t->cap);
    }
    if (n) memcpy(t->text + t->len, s, n);
    t->len += n;
    t->text[t->len] = 0;
}
void text_printable(Text *t, const char *s) {
    char piece[PRINTABLE_PIECE];
    for (size_t n; (n = printable_next(&s, piece));) append(t, piece, n);
}
/* Paths and names are bytes: those that are not UTF-8 are written as the surrogates that Python's surrogateescape gives them. */
void text_json_string(Text *t, const char *s) {
    append(t, "\"", 1);
    while (*s) {
        unsigned char c = (unsigned char)*s;
        int n = utf8_sequence((const unsigned char *)s, strnlen(s, 4));
        bool control = c < 0x20 || c == 0x7f || (n == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0);
        if (c == '"' || c == '\\') text_printf(t, "\\%c", c);
        else if (n == 0) text_printf(t, "\\udc%02x", c);
        else if (control) text_printf(t, "\\u%04x", n == 2 ? (unsigned char)s[1] : c);
        else append(t, s, (size_t)n);
        s += n ? n : 1;
    }
    append(t, "\"", 1);
}
void text_csv_string(Text *t, const char *s) {
    text_printf(t, "\"");
    for (; *s; s++) text_printf(t, *s == '"' ? "\"\"" : "%c", *s);
    text_printf(t, "\"");
}
void text_markdown(Text *t, const char *s) {
    Text line = {0};
    text_printable(&line, s);
    for (const char *c = line.len ? line.text : ""; *c; c++) text_printf(t, strchr("\\|`*<[", *c) ? "\\%c" : "%c", *c);
    text_free(&line);
}
void text_free(Text *t) {
    free(t->text);
    *t = (Text){0};
}
