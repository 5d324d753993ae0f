/* text.c -- a growing text buffer. */
#include "base/text.h"
#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
void text_json_string(Text *t, const char *s) {
    text_printf(t, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') text_printf(t, "\\%c", *s);
        else if ((unsigned char)*s < 0x20) text_printf(t, "\\u%04x", (unsigned char)*s);
        else text_printf(t, "%c", *s);
    }
    text_printf(t, "\"");
}
void text_free(Text *t) {
    free(t->text);
    *t = (Text){0};
}
