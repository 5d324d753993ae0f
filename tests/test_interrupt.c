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
/* Work made of runs that have an Interrupt of their own: a signal in a run is for the work too, as is one between two runs. */
static int pass_outwards(int number) {
    atomic_bool stop = false;
    pthread_t thread[THREADS];
    for (int k = 0; k < THREADS; k++)
        if (pthread_create(&thread[k], NULL, idle, &stop) != 0) return NOT_ANSWERED;
    Interrupt *work = interrupt_hold(), *run = interrupt_begin();
    bool early = interrupted(work) || interrupted(run);
    interrupt_end(run);
    early |= interrupted(work);
    run = interrupt_begin();
    kill(getpid(), number);
    for (int k = 0; k < 5000 && !interrupted(run); k++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    bool asked = interrupted(run);
    interrupt_end(run);
    asked &= interrupted(work);
    interrupt_end(work);
    work = interrupt_hold();
    early |= interrupted(work);
    kill(getpid(), number);
    for (int k = 0; k < 5000 && !interrupted(work); k++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    asked &= interrupted(work);
    interrupt_end(work);
    atomic_store(&stop, true);
    for (int k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
    return asked && !early ? ANSWERED : NOT_ANSWERED;
}
static int status_of(int (*what)(int), int number) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(what(number));
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
int main(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    static int (*const whats[])(int) = {answer, pass_outwards};
    for (size_t k = 0; k < 2 * sizeof numbers / sizeof *numbers; k++) {
        int number = numbers[k / 2], answered = 0, killed = 0;
        for (int run = 0; run < RUNS; run++) {
            int status = status_of(whats[k % 2], number);
            answered += WIFEXITED(status) && WEXITSTATUS(status) == ANSWERED;
            killed += WIFSIGNALED(status);
        }
        CHECK(answered == RUNS, "signal %d%s: of %d runs %d were answered, %d killed", number, k % 2 ? " in work made of runs" : "", RUNS,
              answered, killed);
    }
    return check_done("test_interrupt");
}
