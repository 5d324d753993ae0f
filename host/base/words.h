/* words.h -- words as people type them: capitals do not matter, and '_', '-' and a blank are the same. */
#ifndef DG_WORDS_H
#define DG_WORDS_H
#include <stdbool.h>
#include <stddef.h>

enum { WORD_MAX = 40 }; /* characters of a word that has near ones */
bool words_same(const char *a, size_t a_len, const char *b, size_t b_len);
bool words_within(const char *part, size_t part_len, const char *whole, size_t whole_len); /* whether it occurs in the other */
/* Letters to change, add or leave out (Levenshtein); INT_MAX of one that is longer than WORD_MAX. */
int words_distance(const char *a, size_t a_len, const char *b, size_t b_len);
#endif
