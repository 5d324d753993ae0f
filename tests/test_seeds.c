/* test_seeds.c -- lists of seeds as ranges, against plain arrays of the same seeds, and at both ends of the numbers. */
#include "base/seeds.h"
#include "check.h"
#include <stdlib.h>

enum { UNIVERSE = 40, TRIALS = 3000 };
typedef struct {
    uint64_t state;
} Random;
static int draw(Random *r, int n) {
    r->state ^= r->state << 13, r->state ^= r->state >> 7, r->state ^= r->state << 17;
    return (int)((r->state >> 20) % (uint64_t)n);
}
/* Numbers of a small universe at `base`, in any order, in ranges and alone, none twice. */
static SeedList random_list(Random *r, uint64_t base, bool *has) {
    SeedList s = {0};
    memset(has, 0, UNIVERSE);
    for (int k = draw(r, 8); k > 0; k--) {
        int first = draw(r, UNIVERSE), count = 1 + draw(r, 6);
        for (int i = 0; i < count && first + i < UNIVERSE && !has[first + i]; i++)
            has[first + i] = true, seeds_add(&s, base + (uint64_t)(first + i), 1);
    }
    return s;
}
static void against_arrays(void) {
    Random r = {88172645463325252u};
    int wrong[6] = {0};
    for (int trial = 0; trial < TRIALS; trial++) {
        bool in_a[UNIVERSE], in_b[UNIVERSE];
        uint64_t base = trial % 3 == 0 ? 0 : trial % 3 == 1 ? 1000 : UINT64_MAX - (UNIVERSE - 1), first = 0, first_wanted = 0;
        SeedList a = random_list(&r, base, in_a), b = random_list(&r, base, in_b), set = seeds_copy(&a), twice = seeds_copy(&a);
        for (size_t i = 0; i < b.ranges; i++) seeds_add(&twice, b.range[i].first, b.range[i].count);
        SeedList b_set = seeds_copy(&b);
        seeds_sort(&set), seeds_sort(&b_set), seeds_sort(&twice);
        SeedList left = seeds_without(&a, &b_set);
        size_t shared = 0, united = 0, at = 0;
        for (size_t i = UNIVERSE; i-- > 0;) {
            if (in_a[i] && in_b[i]) shared++, first_wanted = base + i;
            united += in_a[i] || in_b[i];
            wrong[0] += seeds_has(&set, base + i) != in_a[i] || seeds_has(&twice, base + i) != (in_a[i] || in_b[i]);
            wrong[1] += (seeds_position(&a, base + i) < a.count) != in_a[i];
        }
        wrong[2] += seeds_shared(&set, &b_set, &first) != shared || (shared && first != first_wanted) || twice.count != united ||
                    set.count != a.count;
        for (size_t i = 0; i < a.count; i++) {
            uint64_t seed = seeds_at(&a, i);
            wrong[3] += seeds_position(&a, seed) != i;
            if (!in_b[seed - base]) wrong[4] += at >= left.count || seeds_at(&left, at) != seed, at++;
        }
        wrong[4] += left.count != at;
        for (size_t i = 1; i < set.ranges; i++) wrong[5] += set.range[i].first <= set.range[i - 1].first + set.range[i - 1].count;
        seeds_free(&a), seeds_free(&b), seeds_free(&set), seeds_free(&b_set), seeds_free(&twice), seeds_free(&left);
    }
    static const char *const what[] = {
        "seeds_has", "seeds_position of what is not there", "seeds_shared, or a set's size", "seeds_at", "seeds_without", "a set's ranges"};
    for (int i = 0; i < 6; i++) CHECK(wrong[i] == 0, "%s: %d of %d trials' answers are wrong", what[i], wrong[i], TRIALS);
}
static void reading(void) {
    static const char *const good[][2] = {{"0-63,70", "0-63,70"},
                                          {"5,6,7,1", "5-7,1"},
                                          {"18446744073709551615", "18446744073709551615"},
                                          {"18446744073709551614-18446744073709551615,0", "18446744073709551614-18446744073709551615,0"},
                                          {"3-3", "3"}};
    static const char *const bad[] = {
        "",  "-1", "1-", "3-1", "1,1", "0-5,3", "4,0-5", "1;2", "18446744073709551616", "0-100000000", "0-60000000,70000000-120000000",
        " 1"};
    SeedList s;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Error e = {0};
        Text t = {0};
        if (CHECK(seeds_parse(good[i][0], &s, &e), "%s: %s", good[i][0], e.text)) seeds_print(&t, &s, SIZE_MAX);
        CHECK(t.text && !strcmp(t.text, good[i][1]), "%s is printed as %s", good[i][0], t.text ? t.text : "nothing");
        text_free(&t), seeds_free(&s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error e = {0};
        CHECK(!seeds_parse(bad[i], &s, &e) && e.text[0] && s.range == NULL, "\"%s\" is accepted", bad[i]);
    }
    Text t = {0};
    CHECK(seeds_parse("1,3,5-9", &s, NULL), "1,3,5-9");
    seeds_print(&t, &s, 2);
    CHECK(!strcmp(t.text, "1,3,..."), "%s", t.text);
    text_free(&t), seeds_free(&s);
}
int main(void) {
    against_arrays();
    reading();
    return check_done("test_seeds");
}
