/* printable.c -- text from files and command lines, as a terminal may receive it. */
#include "base/printable.h"
#include <stdbool.h>
#include <string.h>

int utf8_sequence(const unsigned char *s, size_t left) {
    if (left == 0) return 0;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return (int)n;
}
/* Controls (C0, DEL, C1), and the separators, embeddings and isolates that make a line look like another. */
static bool acts_on_terminal(const unsigned char *s) {
    if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0)) return true;
    if (s[0] != 0xe2) return false;
    return (s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae))) ||
           (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
}
size_t printable_next(const char **text, char piece[PRINTABLE_PIECE]) {
    const unsigned char *s = (const unsigned char *)*text;
    if (!*s) return 0;
    int n = utf8_sequence(s, strnlen(*text, 4));
    *text += n ? n : 1;
    if (n && !acts_on_terminal(s)) {
        memcpy(piece, s, (size_t)n);
        return (size_t)n;
    }
    size_t length = 0;
    for (int i = 0; i < (n ? n : 1); i++) length += (size_t)snprintf(piece + length, PRINTABLE_PIECE - length, "\\x%02x", s[i]);
    return length;
}
size_t printable_length(const char *text) {
    char piece[PRINTABLE_PIECE];
    size_t total = 0;
    for (size_t n; (n = printable_next(&text, piece));) total += n;
    return total;
}
void printable_copy(char *out, size_t size, const char *text) {
    char piece[PRINTABLE_PIECE];
    size_t at = 0;
    for (size_t n; (n = printable_next(&text, piece)) && at + n < size; at += n) memcpy(out + at, piece, n);
    out[at] = 0;
}
size_t print_text(FILE *f, const char *text) {
    char piece[PRINTABLE_PIECE];
    size_t total = 0;
    for (size_t n; (n = printable_next(&text, piece)); total += n) fwrite(piece, 1, n, f);
    return total;
}
void print_lines(FILE *f, const char *text) {
    char piece[PRINTABLE_PIECE];
    while (*text) {
        bool ends = *text == '\n';
        size_t n = printable_next(&text, piece);
        if (ends) putc('\n', f);
        else fwrite(piece, 1, n, f);
    }
}
