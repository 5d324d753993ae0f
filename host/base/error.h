/* error.h -- the two kinds of failure.
 *
 * What a user gave (a file, an option, a full disk, a GPU out of memory) fills an Error and the function returns
 * false or NULL, with nothing left half done; main.c alone prints it and exits. Our own mistakes abort at DG_CHECK,
 * which is never compiled out.                                                                                     */
#ifndef DG_ERROR_H
#define DG_ERROR_H
#include "base/printable.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char text[1024];    /* one sentence for the user: what, which file/tensor/option, found, wanted, what to do */
    bool out_of_memory; /* set by dg_out_of_memory: less work at a time would have fitted */
} Error;

/* Fills e (when not NULL) and returns false, so that `return dg_error(e, ...)` ends a bool function.
 * What a terminal should not receive is shown as \xNN (printable.h), and of a long sentence the middle is left out.  */
bool dg_error(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for memory that a device did not have. */
bool dg_out_of_memory(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "context: " before the sentence already in e; returns false. */
bool dg_error_context(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* whose: said behind the sentence, whose mistake it is. */
void dg_abort(const char *file, int line, const char *whose, const char *fmt, ...) __attribute__((noreturn, format(printf, 4, 5)));
#define DG_CHECK(cond, ...)                                                                                                                \
    do {                                                                                                                                   \
        if (!(cond)) dg_abort(__FILE__, __LINE__, "a mistake in dg_cuda itself: please report it", __VA_ARGS__);                           \
    } while (0)

/* malloc/calloc/realloc. Where memory is exhausted they end the program with one sentence and exit code 1, leaving only whole
 * files: what is large enough for that to be likely asks the device, or malloc itself, and returns an Error.
 * A size that comes from a file is checked against the file's size first.                                            */
void *dg_alloc(size_t bytes);            /* zeroed; never NULL */
void *dg_realloc(void *p, size_t bytes); /* never NULL */
char *dg_strdup(const char *s);

#ifdef __cplusplus
}
#endif
#endif
