/* text.h -- a growing text buffer, and JSON strings into it. */
#ifndef DG_TEXT_H
#define DG_TEXT_H
#include <stddef.h>

typedef struct Text {
    char *text; /* NULL while nothing was written */
    size_t len, cap;
} Text;
void text_printf(Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_json_string(Text *t, const char *s); /* escaped, with the quotes; any bytes, which the reader gives back */
void text_printable(Text *t, const char *s);   /* as a terminal may receive it (printable.h) */
void text_csv_string(Text *t, const char *s);  /* a field of CSV, with the quotes */
void text_markdown(Text *t, const char *s);    /* printable, in one line, and no part of a table or of other markup */
void text_free(Text *t);
#endif
