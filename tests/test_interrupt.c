/* test_interrupt.c -- signals in a program whose libraries have threads of their own, from before it could block anything: they are
 * answered all the same, once, and the program does not die of the first.                                                  */
#include "base/interrupt.h"
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, RUNS = 50, ANSWERED = 7, NOT_ANSWERED = 8 };
static void *idle(void *stop) {
    while (!atomic_load((atomic_bool *)stop)) nanosleep(&(struct timespec){0, 1000000}, NULL);
    return NULL;
}
/* In a process of its own: a signal comes while other threads, which block nothing, are there. */
static int answer(int number) {
    atomic_bool stop = false;
    pthread_t thread[THREADS];
    for (int k = 0; k < THREADS; k++)
        if (pthread_create(&thread[k], NULL, idle, &stop) != 0) return NOT_ANSWERED;
    Interrupt *i = interrupt_begin();
    kill(getpid(), number);
    for (int k = 0; k < 5000 && !interrupted(i); k++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    bool asked = interrupted(i);
    interrupt_end(i);
    atomic_store(&stop, true);
    for (int k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
    return asked ? ANSWERED : NOT_ANSWERED;
}
static int status_of(int number) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(answer(number));
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
int main(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        int answered = 0, killed = 0;
        for (int run = 0; run < RUNS; run++) {
            int status = status_of(numbers[k]);
            answered += WIFEXITED(status) && WEXITSTATUS(status) == ANSWERED;
            killed += WIFSIGNALED(status);
        }
        CHECK(answered == RUNS, "signal %d: of %d runs %d were answered, %d killed", numbers[k], RUNS, answered, killed);
    }
    return check_done("test_interrupt");
}
