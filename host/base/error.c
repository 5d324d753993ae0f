/* error.c -- error sentences that are safe to print, and the abort for our own mistakes. */
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int utf8_sequence(const unsigned char *s, size_t left) {
    if (left == 0) return 0;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return (int)n;
}
/* Copies text into e, escaping what a terminal should not receive. */
static void set_text(Error *e, const char *text) {
    size_t out = 0;
    const unsigned char *s = (const unsigned char *)text;
    while (*s && out + 5 < sizeof e->text) {
        int n = utf8_sequence(s, strlen((const char *)s));
        bool control = *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);
        if (n == 0 || control) {
            out += (size_t)snprintf(e->text + out, 5, "\\x%02x", *s++);
            continue;
        }
        memcpy(e->text + out, s, (size_t)n);
        out += (size_t)n, s += n;
    }
    e->text[out] = 0;
}

static bool fail(Error *e, bool out_of_memory, const char *fmt, va_list ap) {
    if (!e) return false;
    char text[sizeof e->text];
    vsnprintf(text, sizeof text, fmt, ap);
    set_text(e, text);
    e->out_of_memory = out_of_memory;
    return false;
}
bool dg_error(Error *e, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail(e, false, fmt, ap);
    va_end(ap);
    return false;
}
bool dg_out_of_memory(Error *e, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail(e, true, fmt, ap);
    va_end(ap);
    return false;
}
bool dg_error_context(Error *e, const char *fmt, ...) {
    if (!e) return false;
    char text[2 * sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, ": %s", e->text);
    set_text(e, text);
    return false;
}

void dg_abort(const char *file, int line, const char *whose, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, " (%s)\n", whose);
    va_end(ap);
    abort();
}

void *dg_alloc(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    DG_CHECK(p, "out of memory: %zu bytes", bytes);
    return p;
}
void *dg_realloc(void *old, size_t bytes) {
    void *p = realloc(old, bytes ? bytes : 1);
    DG_CHECK(p, "out of memory: %zu bytes", bytes);
    return p;
}
char *dg_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(dg_alloc(n), s, n);
}
