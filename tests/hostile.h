/* hostile.h -- what every malformed or malicious file must meet: refused, in one printable sentence that names the file
 * and says what is wrong, within a second of processor time and 64 MB of memory. */
#ifndef DG_HOSTILE_H
#define DG_HOSTILE_H
#include "base/error.h"
#include "check.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

typedef struct {
    const char *what; /* the case, for the report */
    clock_t started;
    Error e;
} Hostile;

static inline Hostile hostile_begin(const char *what) { return (Hostile){.what = what, .started = clock()}; }

/* one line, printable, UTF-8, naming the file */
static inline bool is_sentence(const char *text, const char *file) {
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        int m = utf8_sequence((const unsigned char *)text + i, n - i);
        if (m == 0 || (unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
        i += (size_t)m;
    }
    return n > strlen(file) + 10 && strstr(text, file) != NULL;
}
/* Readers have bounds on their work, and none comes near this; without one, some of these files would take years. */
#ifdef __SANITIZE_ADDRESS__
enum { HOSTILE_SECONDS = 20 };
#else
enum { HOSTILE_SECONDS = 1 };
#endif
/* `fragment` is a part of the sentence: it shows that this defect was found and not another. */
static inline void hostile_end(const Hostile *h, bool accepted, const char *file, const char *fragment) {
    CHECK(!accepted, "%s: accepted", h->what);
    CHECK(accepted || is_sentence(h->e.text, file), "%s: not a sentence naming %s: \"%s\"", h->what, file, h->e.text);
    CHECK(accepted || strstr(h->e.text, fragment), "%s: \"%s\" does not say \"%s\"", h->what, h->e.text, fragment);
    double seconds = (double)(clock() - h->started) / CLOCKS_PER_SEC;
    CHECK(seconds < HOSTILE_SECONDS, "%s: took %.2f s", h->what, seconds);
#ifndef __SANITIZE_ADDRESS__ /* whose own memory dwarfs ours */
    struct rusage r;
    enum { LIMIT_KIB = 64 << 10 };
    bool known = getrusage(RUSAGE_SELF, &r) == 0;
    CHECK(known && r.ru_maxrss < LIMIT_KIB, "%s: %ld KiB of memory", h->what, r.ru_maxrss);
#endif
}
/* Reads all of a file that lies in memory; false with an error when it is refused. */
typedef bool (*Reader)(const uint8_t *file, size_t bytes, Error *e);
/* From a copy of exactly this size, so that AddressSanitizer sees the first byte read beyond it. */
static inline bool read_exactly(Reader reader, const void *file, size_t bytes, Error *e) {
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (bytes) memcpy(copy, file, bytes);
    bool accepted = reader(copy, bytes, e);
    free(copy);
    return accepted;
}
/* `name` is what the reader calls the file. */
static inline void hostile_refuse(Reader reader, const char *what, const void *file, size_t bytes, const char *name, const char *fragment) {
    Hostile h = hostile_begin(what);
    hostile_end(&h, read_exactly(reader, file, bytes, &h.e), name, fragment);
}
#endif
