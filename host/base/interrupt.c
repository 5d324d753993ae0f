/* interrupt.c -- a thread that waits for the signals, which every other thread blocks: no global. Where there may be no thread, the
 * signals wait until somebody asks. Libraries may have threads from before main on, which block nothing (OpenBLAS has): a handler
 * makes them, once each, block what they are given, and gives it to the process again.                                      */
#include "base/interrupt.h"
#include "base/error.h"
#include "base/unfinished.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { SIGNALS = 5 };
static const int signals[SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR2};
struct Interrupt {
    atomic_int asked; /* the first signal; 0: none */
    atomic_bool ending;
    bool threaded;
    Interrupt *self; /* without a thread, whoever asks takes what waits, though it only looks */
    pthread_t thread;
    sigset_t wanted, before;
    struct sigaction pipe, was[SIGNALS]; /* as they were */
};
static const int WAKE = SIGUSR2; /* from interrupt_end; from others it means nothing */

/* In a thread that does not block the signal: from its return on it does. The signal goes to the process, so to whoever waits. */
static void pass_on(int number, siginfo_t *info, void *context) {
    ucontext_t *interrupted_thread = context;
    int before = errno;
    (void)info;
    sigaddset(&interrupted_thread->uc_sigmask, number);
    kill(getpid(), number);
    errno = before;
}
static void end_at_once(int number) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    out_drop_unfinished();
    signal(number, SIG_DFL);
    raise(number); /* pending for this thread, until: */
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}
static void *wait_for_signals(void *arg) {
    Interrupt *i = arg;
    for (;;) {
        int number = sigwaitinfo(&i->wanted, NULL);
        if (number == WAKE && atomic_load(&i->ending)) return NULL; /* whoever sent it: of two that wait, one may be all that comes */
        if (number < 0 || number == WAKE) continue;                 /* stopped and continued; or somebody else's */
        bool asks = number == SIGINT || number == SIGTERM; /* a terminal that closes sends SIGHUP twice, SIGXCPU comes every second */
        int none = 0;
        if (!atomic_compare_exchange_strong(&i->asked, &none, number) && asks) end_at_once(number);
    }
}
static void add_unless_ignored(sigset_t *set, int number) {
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(set, number);
}
Interrupt *interrupt_hold(void) {
    Interrupt *i = dg_alloc(sizeof *i);
    i->self = i;
    sigemptyset(&i->wanted);
    add_unless_ignored(&i->wanted, SIGINT);
    add_unless_ignored(&i->wanted, SIGTERM);
    add_unless_ignored(&i->wanted, SIGHUP);
    add_unless_ignored(&i->wanted, SIGXCPU);
    sigaddset(&i->wanted, WAKE);
    pthread_sigmask(SIG_BLOCK, &i->wanted, &i->before);
    struct sigaction pass = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigfillset(&pass.sa_mask);
    for (int k = 0; k < SIGNALS; k++)
        if (sigismember(&i->wanted, signals[k])) sigaction(signals[k], &pass, &i->was[k]);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, &i->pipe);
    return i;
}
Interrupt *interrupt_begin(void) {
    Interrupt *i = interrupt_hold();
    i->threaded = pthread_create(&i->thread, NULL, wait_for_signals, i) == 0;
    return i;
}
/* The first signal that waits, taken from the process; 0: none. Only one that is taken has come: one that merely waits may be on its
 * way through pass_on, and would end the program when interrupt_end has put the old actions back.                           */
static int take(const sigset_t *wanted) {
    int number;
    do number = sigtimedwait(wanted, NULL, &(struct timespec){0, 0});
    while (number == WAKE || (number < 0 && errno == EINTR));
    return number < 0 ? 0 : number;
}
bool interrupted(const Interrupt *i) {
    if (!i) return false;
    int none = 0, number = i->threaded || atomic_load(&i->asked) ? 0 : take(&i->wanted);
    if (number) atomic_compare_exchange_strong(&i->self->asked, &none, number);
    return atomic_load(&i->asked) != 0;
}
void interrupt_end(Interrupt *i) {
    if (i->threaded) {
        atomic_store(&i->ending, true);
        pthread_kill(i->thread, WAKE);
        pthread_join(i->thread, NULL);
    }
    int asked = atomic_load(&i->asked), number;
    while ((number = take(&i->wanted)) > 0)
        if (!asked) asked = number;
    if (asked && sigismember(&i->before, asked)) raise(asked); /* answered here; whoever held it before is to hear of it too */
    fflush(stdout);                                            /* while a reader that went away is only an error */
    for (int k = 0; k < SIGNALS; k++)
        if (sigismember(&i->wanted, signals[k])) sigaction(signals[k], &i->was[k], NULL);
    sigaction(SIGPIPE, &i->pipe, NULL);
    pthread_sigmask(SIG_SETMASK, &i->before, NULL);
    free(i);
}
