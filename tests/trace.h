/* trace.h -- counting what a program asks of the kernel (ptrace), so that a test need not look at the clock. */
#ifndef DG_TEST_TRACE_H
#define DG_TEST_TRACE_H
#include "program.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

typedef struct {
    long calls;  /* of all threads, until the first rename, `most`, or the end */
    long syncfs; /* among them */
    bool ended;
    int code;
} Calls;
#if defined __x86_64__ && defined __linux__
static inline void be_traced(void *context) {
    (void)context;
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* its search for leaks is a tracer too */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(97);
}
/* Runs the program; to_rename: only up to its first rename, then it is killed. False: this machine does not let us watch. */
static inline bool count_calls(const Setup *s, const char *args, bool to_rename, long most, Calls *out) {
    *out = (Calls){0};
    pid_t child = start_prepared(s, args, 0, "stdout.txt", be_traced, NULL);
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return false;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) != 0) return false;
    ptrace(PTRACE_SYSCALL, child, NULL, NULL);
    for (pid_t who; (who = waitpid(-1, &status, __WALL)) > 0;) {
        int number = WIFSTOPPED(status) ? WSTOPSIG(status) : 0, pass = 0;
        if (who == child && !WIFSTOPPED(status)) {
            out->ended = true, out->code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
            break;
        }
        if (number == (SIGTRAP | 0x80)) {
            struct user_regs_struct r;
            bool known = ptrace(PTRACE_GETREGS, who, NULL, &r) == 0, enters = known && (long)r.rax == -38; /* -ENOSYS: not done yet */
            out->calls += enters && r.orig_rax != SYS_sched_yield; /* a library's threads that have nothing to do */
            out->syncfs += enters && r.orig_rax == SYS_syncfs;
            bool renames = enters && (r.orig_rax == SYS_rename || r.orig_rax == SYS_renameat || r.orig_rax == SYS_renameat2);
            if ((to_rename && renames) || out->calls > most) break;
        } else if (number && number != SIGTRAP && number != SIGSTOP) pass = number;
        if (number) ptrace(PTRACE_SYSCALL, who, NULL, pass);
    }
    if (!out->ended) kill(child, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0) {}
    return true;
}
#else
static inline bool count_calls(const Setup *s, const char *args, bool to_rename, long most, Calls *out) {
    (void)s, (void)args, (void)to_rename, (void)most;
    *out = (Calls){0};
    return false;
}
#endif
#endif
