/* seeds.c -- reading and printing lists of seeds. */
#include "base/seeds.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int seeds_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}
static bool read_seed(const char **s, uint64_t *out, Error *e) {
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)**s)) return dg_error(e, "--seeds: a number is missing at \"%s\": write for example 0-63,70", *s);
    *out = strtoull(*s, &end, 10);
    if (errno) return dg_error(e, "--seeds: a seed is larger than 2^64 - 1");
    *s = end;
    return true;
}
static bool append(SeedList *l, uint64_t first, uint64_t last, size_t *cap, Error *e) {
    if (last < first)
        return dg_error(e, "--seeds: the range %llu-%llu runs backwards", (unsigned long long)first, (unsigned long long)last);
    if (last - first >= MAX_SEEDS || l->count + (size_t)(last - first) >= MAX_SEEDS)
        return dg_error(e, "--seeds: more than %d at once: make several runs", MAX_SEEDS);
    size_t n = (size_t)(last - first) + 1;
    if (l->count + n > *cap) l->seed = dg_realloc(l->seed, (*cap = 2 * *cap + n) * sizeof *l->seed);
    for (size_t i = 0; i < n; i++) l->seed[l->count++] = first + i;
    return true;
}
static bool all_different(const SeedList *l, Error *e) {
    bool sorted = true;
    for (size_t i = 1; i < l->count && sorted; i++) sorted = l->seed[i - 1] < l->seed[i];
    if (sorted) return true;
    uint64_t *copy = dg_alloc(l->count * sizeof *copy);
    memcpy(copy, l->seed, l->count * sizeof *copy);
    qsort(copy, l->count, sizeof *copy, seeds_compare);
    bool ok = true;
    for (size_t i = 1; i < l->count && ok; i++)
        if (copy[i] == copy[i - 1]) ok = dg_error(e, "--seeds: seed %llu is listed twice", (unsigned long long)copy[i]);
    free(copy);
    return ok;
}
bool seeds_parse(const char *text, SeedList *out, Error *e) {
    *out = (SeedList){NULL, 0};
    size_t cap = 0;
    bool ok = true;
    for (const char *s = text; ok;) {
        uint64_t first, last;
        ok = read_seed(&s, &first, e);
        last = first;
        if (ok && *s == '-') s++, ok = read_seed(&s, &last, e);
        ok = ok && append(out, first, last, &cap, e);
        if (ok && !*s) break;
        if (ok && *s++ != ',') ok = dg_error(e, "--seeds: \"%s\" is not a list of seeds: write for example 0-63,70", text);
    }
    ok = ok && all_different(out, e);
    if (!ok) seeds_free(out);
    return ok;
}
void seeds_free(SeedList *s) {
    free(s->seed);
    *s = (SeedList){NULL, 0};
}
void seeds_print(Text *out, const uint64_t *seed, size_t count, size_t most) {
    size_t ranges = 0;
    for (size_t i = 0, j; i < count; i = j) {
        for (j = i + 1; j < count && seed[j] == seed[j - 1] + 1; j++) {}
        if (ranges++ == most) {
            text_printf(out, ", ...");
            return;
        }
        text_printf(out, i ? ", %llu" : "%llu", (unsigned long long)seed[i]);
        if (j > i + 1) text_printf(out, "-%llu", (unsigned long long)seed[j - 1]);
    }
}
