/* seeds.c -- reading, printing and comparing lists of seeds. */
#include "base/seeds.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long Wide; /* for printf */

void seeds_add(SeedList *s, uint64_t first, size_t count) {
    SeedRange *last = s->ranges ? &s->range[s->ranges - 1] : NULL;
    if (!count) return;
    if (last && last->first + last->count == first && first) last->count += count;
    else {
        if (s->ranges == s->capacity) {
            s->capacity = 2 * s->capacity + 4;
            s->range = dg_realloc(s->range, s->capacity * sizeof *s->range);
        }
        s->range[s->ranges++] = (SeedRange){first, count, s->count};
    }
    s->count += count;
}
void seeds_free(SeedList *s) {
    free(s->range);
    *s = (SeedList){0};
}
SeedList seeds_copy(const SeedList *s) {
    SeedList copy = {0};
    for (size_t i = 0; i < s->ranges; i++) seeds_add(&copy, s->range[i].first, s->range[i].count);
    return copy;
}

/* ---- reading and printing ------------------------------------------------------------------------------------------------- */
static bool read_seed(const char **s, uint64_t *out, Error *e) {
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)**s)) return dg_error(e, "--seeds: a number is missing at \"%s\": write for example 0-63,70", *s);
    *out = strtoull(*s, &end, 10);
    if (errno) return dg_error(e, "--seeds: a seed is larger than 2^64 - 1");
    *s = end;
    return true;
}
static bool read_range(const char **s, SeedList *out, Error *e) {
    uint64_t first, last;
    if (!read_seed(s, &first, e)) return false;
    last = first;
    if (**s == '-' && (++*s, !read_seed(s, &last, e))) return false;
    if (last < first) return dg_error(e, "--seeds: the range %llu-%llu runs backwards", (Wide)first, (Wide)last);
    if (last - first >= MAX_SEEDS || out->count + (size_t)(last - first) >= MAX_SEEDS)
        return dg_error(e, "--seeds: more than %d at once: make several runs", MAX_SEEDS);
    seeds_add(out, first, (size_t)(last - first) + 1);
    return true;
}
static int by_first(const void *a, const void *b) {
    const SeedRange *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}
static bool all_different(const SeedList *s, Error *e) {
    SeedRange *sorted = dg_alloc(s->ranges * sizeof *sorted);
    memcpy(sorted, s->range, s->ranges * sizeof *sorted);
    qsort(sorted, s->ranges, sizeof *sorted, by_first);
    bool ok = true;
    for (size_t i = 1; i < s->ranges && ok; i++)
        if (sorted[i].first - sorted[i - 1].first < sorted[i - 1].count)
            ok = dg_error(e, "--seeds: seed %llu is listed twice", (Wide)sorted[i].first);
    free(sorted);
    return ok;
}
bool seeds_parse(const char *text, SeedList *out, Error *e) {
    *out = (SeedList){0};
    bool ok = true;
    for (const char *s = text; ok;) {
        ok = read_range(&s, out, e);
        if (ok && !*s) break;
        if (ok && *s++ != ',') ok = dg_error(e, "--seeds: \"%s\" is not a list of seeds: write for example 0-63,70", text);
    }
    ok = ok && all_different(out, e);
    if (!ok) seeds_free(out);
    return ok;
}
void seeds_print(Text *out, const SeedList *s, size_t most) {
    for (size_t i = 0; i < s->ranges; i++) {
        const SeedRange *r = &s->range[i];
        if (i == most) {
            text_printf(out, ",...");
            return;
        }
        text_printf(out, i ? ",%llu" : "%llu", (Wide)r->first);
        if (r->count > 1) text_printf(out, "-%llu", (Wide)(r->first + (r->count - 1)));
    }
}

/* ---- positions ---------------------------------------------------------------------------------------------------------------- */
uint64_t seeds_at(const SeedList *s, size_t position) {
    size_t lo = 0, hi = s->ranges;
    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;
        if (s->range[middle].before <= position) lo = middle;
        else hi = middle;
    }
    return s->range[lo].first + (position - s->range[lo].before);
}
size_t seeds_position(const SeedList *s, uint64_t seed) {
    for (size_t i = 0; i < s->ranges; i++)
        if (seed >= s->range[i].first && seed - s->range[i].first < s->range[i].count)
            return s->range[i].before + (size_t)(seed - s->range[i].first);
    return s->count;
}

/* ---- sets ----------------------------------------------------------------------------------------------------------------------- */
void seeds_sort(SeedList *s) {
    SeedList set = {0};
    bool sorted = true;
    for (size_t i = 1; i < s->ranges && sorted; i++) sorted = s->range[i - 1].first < s->range[i].first;
    if (!sorted) qsort(s->range, s->ranges, sizeof *s->range, by_first);
    uint64_t next = 0; /* after what is in the set; 0 also when that is the whole of the numbers */
    for (size_t i = 0; i < s->ranges; i++) {
        SeedRange r = s->range[i];
        if (set.count && (next == 0 || r.first < next)) { /* its beginning is in the set already */
            size_t known = next == 0 ? r.count : (size_t)(next - r.first);
            if (known >= r.count) continue;
            r.first += known, r.count -= known;
        }
        seeds_add(&set, r.first, r.count);
        next = r.first + r.count;
    }
    free(s->range);
    *s = set;
}
/* The first range that ends at or after seed. */
static size_t range_from(const SeedList *set, uint64_t seed) {
    size_t lo = 0, hi = set->ranges;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        const SeedRange *r = &set->range[middle];
        if (r->first + (r->count - 1) < seed) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}
bool seeds_has(const SeedList *set, uint64_t seed) {
    size_t i = range_from(set, seed);
    return i < set->ranges && set->range[i].first <= seed;
}
size_t seeds_shared(const SeedList *a, const SeedList *b, uint64_t *first) {
    size_t shared = 0, i = 0, j = 0;
    while (i < a->ranges && j < b->ranges) {
        const SeedRange *x = &a->range[i], *y = &b->range[j];
        uint64_t x_last = x->first + (x->count - 1), y_last = y->first + (y->count - 1);
        uint64_t from = x->first > y->first ? x->first : y->first, to = x_last < y_last ? x_last : y_last;
        if (from <= to) {
            if (!shared && first) *first = from;
            shared += (size_t)(to - from) + 1;
        }
        if (x_last < y_last) i++;
        else j++;
    }
    return shared;
}
SeedList seeds_without(const SeedList *s, const SeedList *set) {
    SeedList left = {0};
    for (size_t i = 0; i < s->ranges; i++) {
        uint64_t at = s->range[i].first, last = at + (s->range[i].count - 1);
        bool done = false; /* a count would overflow at the last seed of all */
        for (size_t j = range_from(set, at); !done && j < set->ranges && set->range[j].first <= last; j++) {
            const SeedRange *r = &set->range[j];
            uint64_t end = r->first + (r->count - 1);
            if (r->first > at) seeds_add(&left, at, (size_t)(r->first - at));
            done = end >= last;
            at = end + 1;
        }
        if (!done) seeds_add(&left, at, (size_t)(last - at) + 1);
    }
    return left;
}
