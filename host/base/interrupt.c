/* interrupt.c -- a thread that waits for the signals, which every other thread blocks: no handler, no global. */
#include "base/interrupt.h"
#include "base/error.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

struct Interrupt {
    atomic_bool flag;
    pthread_t thread;
    sigset_t wanted, before;
};
static const int WAKE = SIGUSR2; /* from interrupt_end */

static void *wait_for_signals(void *arg) {
    Interrupt *i = arg;
    int number = 0;
    while (sigwait(&i->wanted, &number) != 0) {}
    if (number == WAKE) return NULL;
    atomic_store(&i->flag, true);
    sigset_t again = i->wanted; /* the next one meets this thread with its default action */
    sigdelset(&again, WAKE);
    pthread_sigmask(SIG_UNBLOCK, &again, NULL);
    sigset_t wake;
    sigemptyset(&wake);
    sigaddset(&wake, WAKE);
    while (sigwait(&wake, &number) != 0) {}
    return NULL;
}
Interrupt *interrupt_begin(void) {
    Interrupt *i = dg_alloc(sizeof *i);
    sigemptyset(&i->wanted);
    sigaddset(&i->wanted, SIGINT);
    sigaddset(&i->wanted, SIGTERM);
    sigaddset(&i->wanted, WAKE);
    pthread_sigmask(SIG_BLOCK, &i->wanted, &i->before);
    DG_CHECK(pthread_create(&i->thread, NULL, wait_for_signals, i) == 0, "no thread for signals");
    return i;
}
bool interrupted(const Interrupt *i) { return i && atomic_load(&i->flag); }
void interrupt_end(Interrupt *i) {
    pthread_kill(i->thread, WAKE);
    pthread_join(i->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &i->before, NULL);
    free(i);
}
