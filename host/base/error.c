/* error.c -- error sentences that are safe to print, the abort for our own mistakes, and memory. */
#include "base/error.h"
#include "base/unfinished.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Copies text into e as a terminal may receive it. Of a sentence that is too long the middle is left out: what it is about
 * stands at its beginning, and why at its end.                                                                           */
static void set_text(Error *e, const char *text) {
    static const char gap[] = " [...] ";
    enum { ROOM = sizeof e->text - 1, HALF = (ROOM - (sizeof gap - 1)) / 2 };
    size_t left = printable_length(text), out = 0;
    char piece[PRINTABLE_PIECE];
    bool whole = left <= ROOM;
    for (size_t n; (n = printable_next(&text, piece)); left -= n) {
        if (!whole && out + n > HALF) { /* the beginning is full: on to where the rest fits */
            memcpy(e->text + out, gap, sizeof gap - 1);
            out += sizeof gap - 1;
            for (whole = true; left > HALF; n = printable_next(&text, piece)) left -= n;
        }
        memcpy(e->text + out, piece, n);
        out += n;
    }
    e->text[out] = 0;
}

/* Without memory for the whole of a sentence, its beginning. */
static void format_text(Error *e, const char *fmt, va_list ap, const char *after) {
    char part[2 * sizeof e->text], *all = part;
    va_list again;
    va_copy(again, ap);
    size_t size = (size_t)vsnprintf(NULL, 0, fmt, again) + strlen(after) + 1;
    va_end(again);
    if (size > sizeof part && !(all = malloc(size))) all = part, size = sizeof part;
    if (size < sizeof part) size = sizeof part;
    size_t n = (size_t)vsnprintf(all, size, fmt, ap);
    if (n < size) snprintf(all + n, size - n, "%s", after);
    set_text(e, all);
    if (all != part) free(all);
}
static bool fail(Error *e, bool out_of_memory, const char *fmt, va_list ap) {
    if (!e) return false;
    format_text(e, fmt, ap, "");
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
    char cause[sizeof e->text + 2];
    snprintf(cause, sizeof cause, ": %s", e->text);
    va_list ap;
    va_start(ap, fmt);
    format_text(e, fmt, ap, cause);
    va_end(ap);
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

/* Nothing was done wrong, and there is nothing that the caller could free: this one failure ends the program here. */
__attribute__((noreturn)) static void no_memory(size_t bytes) {
    while (!out_drop_unfinished()) pause();
    fflush(stdout);
    fprintf(stderr,
            "dg_cuda: out of memory: %zu bytes were not to be had (ulimit -v shows whether there is a limit): less at a time needs less, "
            "a smaller --batch or fewer --seeds\n",
            bytes);
    _exit(1);
}
void *dg_alloc(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p) no_memory(bytes);
    return p;
}
void *dg_realloc(void *old, size_t bytes) {
    void *p = realloc(old, bytes ? bytes : 1);
    if (!p) no_memory(bytes);
    return p;
}
char *dg_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(dg_alloc(n), s, n);
}
