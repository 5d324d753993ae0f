/* check.h -- counting checks. Every test program ends with `return check_done("test_name");`.
 * Zero checks run is a failure; what could not run is printed as NOT RUN with its reason.
 * Comparisons are written so that NaN fails: CHECK(err <= tol), never CHECK(!(err > tol)).      */
#ifndef DG_CHECK_H
#define DG_CHECK_H
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int check_passed, check_failed, check_not_run;

__attribute__((format(printf, 4, 5), unused)) static bool check_at(bool ok, const char *file, int line, const char *fmt, ...) {
    if (ok) {
        check_passed++;
        return true;
    }
    check_failed++;
    va_list ap;
    va_start(ap, fmt);
    printf("FAIL %s:%d: ", file, line);
    vprintf(fmt, ap);
    putchar('\n');
    fflush(stdout); /* a crash later must not take it along */
    va_end(ap);
    return false;
}
/* CHECK(condition, "what was found and what was wanted", ...) */
#define CHECK(cond, ...) check_at((cond), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 1, 2), unused)) static void not_run(const char *fmt, ...) {
    check_not_run++;
    va_list ap;
    va_start(ap, fmt);
    printf("NOT RUN: ");
    vprintf(fmt, ap);
    putchar('\n');
    fflush(stdout); /* a crash later must not take it along */
    va_end(ap);
}
__attribute__((unused)) static int check_done(const char *name) {
    if (check_passed + check_failed == 0 && check_not_run == 0) {
        printf("FAIL %s ran no check\n", name);
        check_failed++;
    }
    printf("%s: %d passed, %d failed, %d not run\n", name, check_passed, check_failed, check_not_run);
    return check_failed != 0;
}
#endif
