/* pickle.h -- an inert reader of Python pickles (protocols 0 to 5): it builds a tree of values and executes nothing.
 * What Python would import or call stays a node that says so. Time and memory are bounded by the file's size and by
 * PICKLE_MAX_BYTES; values that Python would share are shared here, so the "tree" may share branches and have cycles:
 * whoever walks it bounds the walk.                                                                                   */
#ifndef DG_PICKLE_H
#define DG_PICKLE_H
#include "base/error.h"

typedef enum {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,  /* fits int64_t */
    PICKLE_LONG, /* does not: the little-endian two's complement bytes */
    PICKLE_FLOAT,
    PICKLE_TEXT, /* valid UTF-8 */
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,
    PICKLE_CLASS,     /* anything imported: text is "module.name" */
    PICKLE_CALL,      /* what calling `callee` with `args` would return: functions and constructors alike */
    PICKLE_PERSISTENT /* a persistent id: a torch file's storages */
} PickleKind;
typedef struct PickleValue PickleValue;
typedef struct {
    PickleValue *callee, *args; /* args: normally a tuple */
    PickleValue *state;         /* given by BUILD; NULL without one */
    PickleValue **item;         /* what was added afterwards: list items, or key, value, key, value... (OrderedDict) */
    bool pairs;
} PickleCall;
struct PickleValue {
    PickleKind kind;
    uint32_t depth; /* of the nesting below, when it was made: at most PICKLE_MAX_DEPTH */
    size_t count;   /* bytes of text; items of containers (two per pair of a dict) and of calls */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *text;   /* TEXT, BYTES, LONG: within the data, no NUL at the end; CLASS: with a NUL */
        PickleValue **item; /* LIST, TUPLE, SET, DICT */
        PickleCall *call;
        PickleValue *id; /* PERSISTENT */
    };
};
typedef struct Pickle Pickle;

enum { PICKLE_MAX_DEPTH = 1000, PICKLE_MAX_BYTES = 40 << 20 /* of memory, all together */ };

/* Reads one pickle at the start of data, which must outlive the result. Errors name the byte offset. */
Pickle *pickle_parse(const void *data, size_t bytes, Error *e);
void pickle_free(Pickle *p); /* may be NULL */
const PickleValue *pickle_value(const Pickle *p);
size_t pickle_bytes(const Pickle *p);                                        /* how long the pickle was */
const PickleValue *const *pickle_persistent(const Pickle *p, size_t *count); /* every PICKLE_PERSISTENT, in order */

/* A name in it that would harm whoever loads the file in Python ("os.system"), or NULL. Only the best known are looked for:
 * this is a word to the file's owner, not a check. Nothing is executed here whatever the name.                             */
const char *pickle_warning(const Pickle *p);

bool pickle_is_text(const PickleValue *v, const char *text);  /* v may be NULL in all of these */
bool pickle_is_class(const PickleValue *v, const char *name); /* "torch._utils._rebuild_tensor_v2" */
bool pickle_is_call(const PickleValue *v, const char *name);  /* a call of that class or function */
/* The pairs of a dict, or of an object that behaves as one (OrderedDict, EasyDict); false for anything else. */
bool pickle_pairs(const PickleValue *v, const PickleValue *const **item, size_t *count);
const PickleValue *pickle_get(const PickleValue *dict, const char *key); /* the last one of that key; NULL when absent */
/* For each of the pairs whether a later one has the same text as its key, as Python's dicts have only the last: to be freed. */
bool *pickle_superseded(const PickleValue *const *item, size_t count);
/* What Python before protocol 3 writes for bytes: _codecs.encode(text, 'latin1') of characters below 256, or bytes(): how many. */
bool pickle_latin1(const PickleValue *v, size_t *bytes);
void pickle_latin1_bytes(const PickleValue *v, uint8_t *out);          /* of what pickle_latin1 found */
const PickleValue *pickle_item(const PickleValue *sequence, size_t i); /* of a list or tuple; NULL when out of range */
const PickleValue *pickle_argument(const PickleValue *call, size_t i); /* positional; NULL when there is none */
const char *pickle_kind_name(const PickleValue *v);                    /* "a list"; "nothing" for NULL */

/* The escaped texts of protocol 0, as the reader meets them. */
#define PICKLE_UNESCAPED(n) (2 * (n) + 4) /* room that the result of unescaping n bytes may take */
bool pickle_is_utf8(const char *s, size_t n);
/* UNICODE: Latin-1 with \uXXXX and \UXXXXXXXX, to UTF-8. STRING: quoted as Python's repr() of a byte string. */
bool pickle_unescape_unicode(const char *s, size_t n, char *out, size_t *len);
bool pickle_unescape_string(const char *s, size_t n, char *out, size_t *len);
#endif
