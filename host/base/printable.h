/* printable.h -- text from files and command lines, as a terminal may receive it. */
#ifndef DG_PRINTABLE_H
#define DG_PRINTABLE_H
#include <stddef.h>
#include <stdio.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Length of the valid UTF-8 sequence at s (no overlong forms, no surrogates), of which `left` bytes exist; 0: invalid. */
int utf8_sequence(const unsigned char *s, size_t left);

/* The next character of *text, which moves on: as it is, or as \xNN where it is a control character, one that turns the
 * direction of what follows, or not UTF-8. Returns its length; 0 at the end.                                            */
enum { PRINTABLE_PIECE = 16 };
size_t printable_next(const char **text, char piece[PRINTABLE_PIECE]);
size_t printable_length(const char *text);
void printable_copy(char *out, size_t size, const char *text); /* as much of it as there is room for */
/* Everything that a file's names, values or paths give goes to the terminal through this. Returns the bytes printed. */
size_t print_text(FILE *f, const char *text);
void print_lines(FILE *f, const char *text); /* the same, line by line */

#ifdef __cplusplus
}
#endif
#endif
