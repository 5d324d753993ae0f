/* seeds.h -- lists of seeds as they are written on command lines: "0-63,70". */
#ifndef DG_SEEDS_H
#define DG_SEEDS_H
#include "base/error.h"
#include "base/text.h"

enum { MAX_SEEDS = 100 * 1000 * 1000 };
typedef struct {
    uint64_t *seed;
    size_t count;
} SeedList;
bool seeds_parse(const char *text, SeedList *out, Error *e); /* in the order given; one that is listed twice is an error */
void seeds_free(SeedList *s);
void seeds_print(Text *out, const uint64_t *seed, size_t count, size_t most); /* "0-63, 70"; after `most` ranges ", ..." */
int seeds_compare(const void *a, const void *b);                              /* qsort and bsearch over uint64_t */
#endif
