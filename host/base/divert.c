/* divert.c -- standard output for results alone. */
#include "base/divert.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int divert_output(void) {
    fflush(stdout);
    int results = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (results >= 0) dup2(STDERR_FILENO, STDOUT_FILENO);
    return results;
}
void restore_output(int results) {
    if (results < 0) return;
    fflush(stdout);
    dup2(results, STDOUT_FILENO);
    close(results);
}
