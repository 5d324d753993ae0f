/* mapped.c -- a signal handler that asks the kernel which file lies at the address: no list of maps is kept. */
#include "base/mapped.h"
#include "base/unfinished.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int fd;
    size_t n, at;
    char buffer[1024];
} Lines;
/* The next line of the file, cut to size; false at the end. */
static bool next_line(Lines *l, char *line, size_t size) {
    size_t n = 0;
    for (;;) {
        if (l->at == l->n) {
            ssize_t got = read(l->fd, l->buffer, sizeof l->buffer);
            if (got <= 0) return false;
            l->n = (size_t)got, l->at = 0;
        }
        char c = l->buffer[l->at++];
        if (c == '\n') break;
        if (n + 1 < size) line[n++] = c;
    }
    line[n] = 0;
    return true;
}
static uintptr_t hexadecimal(const char **s) {
    uintptr_t value = 0;
    for (;; ++*s) {
        char c = **s;
        if (c >= '0' && c <= '9') value = value * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f') value = value * 16 + (uintptr_t)(c - 'a') + 10;
        else return value;
    }
}
/* The path in a line of /proc/self/maps, "7f0000000000-7f0000001000 r--p 00000000 08:01 42    /a/file", when address lies in it. */
static const char *path_at(const char *line, uintptr_t address) {
    uintptr_t begin = hexadecimal(&line);
    if (*line++ != '-') return NULL;
    uintptr_t end = hexadecimal(&line);
    return address >= begin && address < end ? strchr(line, '/') : NULL;
}
static void say(const char *text, size_t n) {
    if (write(STDERR_FILENO, text, n) < 0) return; /* nobody listens */
}
static void say_printable(const char *text) {
    for (char c; (c = *text); text++) {
        static const char digits[] = "0123456789abcdef";
        char escaped[4] = {'\\', 'x', digits[(unsigned char)c >> 4], digits[c & 15]};
        if ((unsigned char)c < 0x20 || c == 0x7f) say(escaped, sizeof escaped);
        else say(text, 1);
    }
}
static void on_bus_error(int number, siginfo_t *info, void *context) {
    static const char before[] = "dg_cuda: ", after[] = ": it became shorter, or its disk failed, while it was read\n";
    char line[PATH_MAX + 128];
    (void)context;
    Lines maps = {.fd = info->si_code == BUS_ADRERR ? open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1};
    while (maps.fd < 0 && out_dropping()) pause(); /* another thread read the same file, and ends the program */
    while (maps.fd >= 0 && next_line(&maps, line, sizeof line)) {
        const char *path = path_at(line, (uintptr_t)info->si_addr);
        if (!path) continue;
        while (!out_drop_unfinished()) pause();
        say(before, sizeof before - 1);
        say_printable(path);
        say(after, sizeof after - 1);
        _exit(1);
    }
    signal(number, SIG_DFL); /* it comes again, and ends the program as it would have */
}
void mapped_guard(void) {
    struct sigaction a = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, NULL);
}
