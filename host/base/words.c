/* words.c -- comparing words as people type them. */
#include "base/words.h"
#include <ctype.h>
#include <limits.h>

static char fold(char c) { return c == '_' || c == ' ' ? '-' : (char)tolower((unsigned char)c); }
bool words_same(const char *a, size_t a_len, const char *b, size_t b_len) {
    if (a_len != b_len) return false;
    for (size_t i = 0; i < a_len; i++)
        if (fold(a[i]) != fold(b[i])) return false;
    return true;
}
bool words_within(const char *part, size_t part_len, const char *whole, size_t whole_len) {
    for (size_t i = 0; i + part_len <= whole_len; i++)
        if (words_same(part, part_len, whole + i, part_len)) return true;
    return false;
}
int words_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    int row[WORD_MAX + 1];
    if (a_len > WORD_MAX || b_len > WORD_MAX) return INT_MAX;
    for (size_t j = 0; j <= b_len; j++) row[j] = (int)j;
    for (size_t i = 1; i <= a_len; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_len; j++) {
            int change = diagonal + (fold(a[i - 1]) != fold(b[j - 1])), best = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[b_len];
}
