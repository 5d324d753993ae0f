/* pickle_text.h -- the escaped texts of protocol 0, and UTF-8. */
#ifndef DG_PICKLE_TEXT_H
#define DG_PICKLE_TEXT_H
#include "base/error.h"

#define PICKLE_UNESCAPED(n) (2 * (n) + 4) /* room that the result of unescaping n bytes may take */
bool pickle_is_utf8(const char *s, size_t n);
/* UNICODE: Latin-1 with \uXXXX and \UXXXXXXXX, to UTF-8. STRING: quoted as Python's repr() of a byte string. */
bool pickle_unescape_unicode(const char *s, size_t n, char *out, size_t *len);
bool pickle_unescape_string(const char *s, size_t n, char *out, size_t *len);
#endif
