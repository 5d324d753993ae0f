/* json.h -- a strict JSON reader (RFC 8259, UTF-8 checked, duplicate keys refused). */
#ifndef DG_JSON_H
#define DG_JSON_H
#include "base/error.h"
#include <stdio.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonKind;
typedef struct Json {
    JsonKind kind;
    char *key;    /* of a member of an object, else NULL */
    char *string; /* strings, unescaped; numbers, as written. No embedded NUL: \u0000 is refused. UTF-8, but for the bytes
                   * that stood as \udc80 to \udcff: a path may hold any                                               */
    double number;
    bool boolean;
    int count;                 /* children of arrays and objects */
    struct Json *child, *next; /* first child; next sibling */
} Json;

/* Parses one whole value. Nesting is bounded (64). NULL: e names the byte offset. Free with json_free. */
Json *json_parse(const char *text, size_t len, Error *e);
Json *json_parse_file(const char *path, Error *e); /* at most 64 MiB */
void json_free(Json *j);

const Json *json_get(const Json *object, const char *key); /* NULL when absent, or not an object */
bool json_u64(const Json *j, uint64_t *out);               /* exact non-negative integers only */
/* Typed members with a default for an absent key; a member of another type is an error that names it. */
bool json_get_int(const Json *object, const char *key, int dflt, int *out, Error *e);
bool json_get_double(const Json *object, const char *key, double dflt, double *out, Error *e);
bool json_get_bool(const Json *object, const char *key, bool dflt, bool *out, Error *e); /* 0/1 accepted */
bool json_get_string(const Json *object, const char *key, const char *dflt, const char **out, Error *e);
bool json_get_ints(const Json *object, const char *key, int *out, int max, int *count, Error *e); /* absent: count 0 */

struct Text;                                    /* base/text.h */
void json_write(struct Text *t, const Json *j); /* a parsed value back as text, compact */
/* "; in: key was 18, is now 20", after what was there before, where the two are not the same; NULL: not set. */
void json_difference(struct Text *differ, const char *in, const char *key, const Json *before, const Json *now);
#endif
