/* seeds.h -- lists of seeds as they are written on command lines, "0-63,70", kept as ranges: millions cost nothing. */
#ifndef DG_SEEDS_H
#define DG_SEEDS_H
#include "base/error.h"
#include "base/text.h"

enum { MAX_SEEDS = 100 * 1000 * 1000 };
typedef struct {
    uint64_t first;
    size_t count, before; /* seeds of the list that stand before this range */
} SeedRange;
typedef struct {
    SeedRange *range;
    size_t ranges, count, capacity;
} SeedList;

bool seeds_parse(const char *text, SeedList *out, Error *e); /* in the order given; one that is listed twice is an error */
void seeds_free(SeedList *s);
void seeds_add(SeedList *s, uint64_t first, size_t count);   /* at the end */
uint64_t seeds_at(const SeedList *s, size_t position);       /* position < s->count */
size_t seeds_position(const SeedList *s, uint64_t seed);     /* s->count: not in the list */
void seeds_print(Text *out, const SeedList *s, size_t most); /* "0-63,70"; after `most` ranges ",..." */

/* Sets: lists in ascending order without repetitions. */
void seeds_sort(SeedList *s); /* makes a set of a list */
bool seeds_has(const SeedList *set, uint64_t seed);
/* How many seeds two sets share; *first is the first of them. */
size_t seeds_shared(const SeedList *a, const SeedList *b, uint64_t *first);
/* What of a list is not in a set, in the list's order. */
SeedList seeds_without(const SeedList *s, const SeedList *set);
SeedList seeds_copy(const SeedList *s);
#endif
