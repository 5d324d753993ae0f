/* pickle.c -- the inert pickle reader: one loop over opcodes, an explicit stack, an arena with a limit. */
#include "weights_tools/pickle.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 1 << 14,
    MAX_MARKS = PICKLE_MAX_DEPTH,
    MAX_MEMO = 1 << 20,
    MAX_DIGITS = 128,
    LONG_BYTES = 64, /* of an integer written in decimal, and what that takes in binary */
    MAX_CLASS_NAME = 1024,
    SMALL_INTS = 256 /* one node each, shared */
};
typedef struct Chunk {
    struct Chunk *next;
    size_t used, bytes;
    _Alignas(16) uint8_t data[];
} Chunk;
struct Pickle {
    Chunk *chunk;
    size_t allocated; /* against PICKLE_MAX_BYTES: chunks, stack, memo */
    const PickleValue *value;
    size_t bytes;
    PickleValue **persistent;
    size_t persistents;
    const char *warning;
};
typedef struct {
    const uint8_t *data;
    size_t bytes, at, op; /* at: next byte; op: where the current opcode is */
    Error *e;
    Pickle *out;
    PickleValue **stack;
    size_t height, stack_room;
    size_t mark[MAX_MARKS], marks; /* heights of the stack at each MARK */
    PickleValue **memo;
    size_t memo_count, memo_room; /* count: of values put, as MEMOIZE numbers them */
    PickleValue *none, *yes, *no, *empty_tuple, *small[SMALL_INTS];
    bool stopped;
} Parser;

__attribute__((format(printf, 2, 3))) static bool fail(const Parser *p, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return dg_error(p->e, "byte %zu of the pickle: %s", p->op, text);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------- */
static bool take(Parser *p, size_t bytes) {
    if (bytes > (size_t)PICKLE_MAX_BYTES - p->out->allocated)
        return fail(p, "its values need more than %d MB of memory: no checkpoint does", PICKLE_MAX_BYTES >> 20);
    p->out->allocated += bytes;
    return true;
}
static void *arena(Parser *p, size_t bytes) {
    Chunk *c = p->out->chunk;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!c || bytes > c->bytes - c->used) {
        size_t room = c ? 2 * c->bytes : 1024; /* many pickles are tiny: a storage inside another pickle */
        if (room > CHUNK_BYTES) room = CHUNK_BYTES;
        if (room < bytes) room = bytes;
        if (!take(p, sizeof *c + room)) return NULL;
        c = dg_alloc(sizeof *c + room);
        c->bytes = room, c->next = p->out->chunk, p->out->chunk = c;
    }
    void *m = c->data + c->used;
    c->used += bytes;
    return m;
}
static PickleValue *value(Parser *p, PickleKind kind) {
    PickleValue *v = arena(p, sizeof *v);
    if (v) *v = (PickleValue){.kind = kind};
    return v;
}
/* A growing array of pointers outside the arena (stack, memo): doubles. */
static bool room_for(Parser *p, PickleValue ***array, size_t *room, size_t wanted) {
    if (wanted <= *room) return true;
    size_t n = *room ? *room : 64;
    while (n < wanted) n *= 2;
    if (!take(p, (n - *room) * sizeof **array)) return false;
    *array = dg_realloc(*array, n * sizeof **array);
    memset(*array + *room, 0, (n - *room) * sizeof **array);
    *room = n;
    return true;
}
/* Appends to an array in the arena, whose room is the next power of two. */
static bool append(Parser *p, PickleValue ***item, size_t *count, PickleValue *v) {
    if ((*count & (*count - 1)) == 0) { /* 0 or a power of two: full */
        size_t n = *count ? *count * 2 : 1;
        PickleValue **more = arena(p, n * sizeof *more);
        if (!more) return false;
        if (*count) memcpy(more, *item, *count * sizeof *more);
        *item = more;
    }
    (*item)[(*count)++] = v;
    return true;
}

/* ---- stack -------------------------------------------------------------------------------------------------------------- */
static bool push(Parser *p, PickleValue *v) {
    if (!v || !room_for(p, &p->stack, &p->stack_room, p->height + 1)) return false;
    p->stack[p->height++] = v;
    return true;
}
static size_t floor_of_stack(const Parser *p) { return p->marks ? p->mark[p->marks - 1] : 0; }
static PickleValue *pop(Parser *p) {
    if (p->height > floor_of_stack(p)) return p->stack[--p->height];
    fail(p, "it takes a value from an empty stack");
    return NULL;
}
static PickleValue *top(Parser *p) {
    if (p->height > floor_of_stack(p)) return p->stack[p->height - 1];
    fail(p, "it takes a value from an empty stack");
    return NULL;
}
/* The values above the last MARK, which is removed; they stay valid until the next push. */
static bool pop_to_mark(Parser *p, PickleValue ***item, size_t *count) {
    *item = NULL, *count = 0;
    if (!p->marks) return fail(p, "it ends a group that never began");
    size_t from = p->mark[--p->marks];
    *item = p->stack + from, *count = p->height - from;
    p->height = from;
    return true;
}
static bool nest(Parser *p, PickleValue *parent, const PickleValue *child) {
    if (child->depth + 1 > PICKLE_MAX_DEPTH) return fail(p, "its values are nested more than %d deep", PICKLE_MAX_DEPTH);
    if (parent->depth < child->depth + 1) parent->depth = child->depth + 1;
    return true;
}

/* ---- reading arguments -------------------------------------------------------------------------------------------------- */
static bool need(const Parser *p, uint64_t bytes) {
    if (bytes <= p->bytes - p->at) return true;
    return fail(p, "it wants %" PRIu64 " more bytes and the file has %zu: truncated?", bytes, p->bytes - p->at);
}
static bool read_uint(Parser *p, int size, uint64_t *v) {
    if (!need(p, (uint64_t)size)) return false;
    *v = 0;
    for (int i = 0; i < size; i++) *v |= (uint64_t)p->data[p->at + (size_t)i] << (8 * i);
    p->at += (size_t)size;
    return true;
}
/* A line of protocol 0, without its newline. */
static bool read_line(Parser *p, const char **line, size_t *len) {
    const uint8_t *begin = p->data + p->at, *end = memchr(begin, '\n', p->bytes - p->at);
    *line = "", *len = 0;
    if (!end) return fail(p, "it begins a line that does not end: truncated?");
    *line = (const char *)begin, *len = (size_t)(end - begin);
    p->at += *len + 1;
    return true;
}
/* A decimal integer of at most MAX_DIGITS digits as little-endian two's complement. */
typedef struct {
    uint8_t byte[LONG_BYTES];
    size_t used; /* bytes that say it all: 8 for what fits int64_t */
} Decimal;
static bool read_decimal(Parser *p, Decimal *d) {
    const char *s;
    size_t n;
    if (!read_line(p, &s, &n)) return false;
    if (n && s[n - 1] == 'L') n--; /* Python 2's long */
    bool negative = n && s[0] == '-';
    if (n <= (size_t)negative || n > MAX_DIGITS) return fail(p, "a line is no integer");
    *d = (Decimal){.used = LONG_BYTES};
    for (size_t i = negative; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return fail(p, "a line is no integer");
        unsigned carry = (unsigned)(s[i] - '0');
        for (size_t k = 0; k < LONG_BYTES; k++) carry += 10u * d->byte[k], d->byte[k] = (uint8_t)carry, carry >>= 8;
    }
    unsigned carry = 1;
    for (size_t k = 0; k < LONG_BYTES && negative; k++) carry += (uint8_t)~d->byte[k], d->byte[k] = (uint8_t)carry, carry >>= 8;
    while (d->used > 8 && d->byte[d->used - 1] == (d->byte[d->used - 2] & 0x80 ? 0xff : 0)) d->used--;
    return true;
}
static int64_t little_endian(const uint8_t *b, size_t n) { /* n <= 8 bytes, sign-extended */
    uint64_t u = n && b[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = n; i-- > 0;) u = u << 8 | b[i];
    return (int64_t)u;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */
static bool push_int(Parser *p, int64_t i) {
    bool small = i >= 0 && i < SMALL_INTS;
    if (small && p->small[i]) return push(p, p->small[i]);
    PickleValue *v = value(p, PICKLE_INT);
    if (!v) return false;
    v->integer = i;
    if (small) p->small[i] = v;
    return push(p, v);
}
static bool push_float(Parser *p, double d) {
    PickleValue *v = value(p, PICKLE_FLOAT);
    if (!v) return false;
    v->number = d;
    return push(p, v);
}
static PickleValue *singleton(Parser *p, PickleValue **slot, PickleKind kind, bool boolean) {
    if (!*slot && (*slot = value(p, kind)) && kind == PICKLE_BOOL) (*slot)->boolean = boolean;
    return *slot;
}
static bool op_constant(Parser *p, uint8_t op) {
    if (op == 'N') return push(p, singleton(p, &p->none, PICKLE_NONE, false));
    if (op == 0x88) return push(p, singleton(p, &p->yes, PICKLE_BOOL, true));
    return push(p, singleton(p, &p->no, PICKLE_BOOL, false));
}
static bool push_long(Parser *p, const uint8_t *b, size_t n) {
    if (n <= 8) return push_int(p, little_endian(b, n));
    PickleValue *v = value(p, PICKLE_LONG);
    if (!v) return false;
    v->text = (const char *)b, v->count = n;
    return push(p, v);
}
static bool push_decimal(Parser *p) {
    Decimal d;
    if (!read_decimal(p, &d)) return false;
    if (d.used <= 8) return push_int(p, little_endian(d.byte, 8));
    uint8_t *copy = arena(p, d.used);
    if (!copy) return false;
    memcpy(copy, d.byte, d.used);
    return push_long(p, copy, d.used);
}
static bool op_int(Parser *p, uint8_t op) {
    uint64_t u;
    switch (op) {
    case 'J': return read_uint(p, 4, &u) && push_int(p, (int32_t)(uint32_t)u);
    case 'K': return read_uint(p, 1, &u) && push_int(p, (int64_t)u);
    case 'M': return read_uint(p, 2, &u) && push_int(p, (int64_t)u);
    case 'L': return push_decimal(p);
    }
    const uint8_t *line = p->data + p->at; /* I: a line, of which "00" is False and "01" True */
    bool boolean = p->bytes - p->at >= 3 && line[0] == '0' && (line[1] == '0' || line[1] == '1') && line[2] == '\n';
    if (!boolean) return push_decimal(p);
    p->at += 3;
    return op_constant(p, line[1] == '1' ? 0x88 : 0x89);
}
static bool op_long(Parser *p, uint8_t op) { /* LONG1, LONG4: little-endian two's complement of any length */
    uint64_t n;
    if (!read_uint(p, op == 0x8a ? 1 : 4, &n) || !need(p, n)) return false;
    p->at += n;
    return push_long(p, p->data + p->at - n, (size_t)n);
}
static bool op_float(Parser *p, uint8_t op) {
    if (op == 'G') { /* big-endian */
        uint64_t u = 0;
        double d;
        if (!need(p, 8)) return false;
        for (int i = 0; i < 8; i++) u = u << 8 | p->data[p->at++];
        memcpy(&d, &u, sizeof d);
        return push_float(p, d);
    }
    const char *s;
    size_t n;
    char text[64], *end;
    if (!read_line(p, &s, &n)) return false;
    if (n == 0 || n >= sizeof text) return fail(p, "a line is no number");
    memcpy(text, s, n), text[n] = 0;
    double d = strtod(text, &end);
    return *end ? fail(p, "a line is no number") : push_float(p, d);
}

/* ---- text and bytes ------------------------------------------------------------------------------------------------------ */
static bool push_text(Parser *p, PickleKind kind, const char *s, size_t n) {
    PickleValue *v = value(p, kind);
    if (!v) return false;
    v->text = s, v->count = n;
    return push(p, v);
}
typedef struct {
    uint8_t op, length_bytes;
    PickleKind kind;
} StringOp;
static const StringOp string_ops[] = {
    {'X', 4, PICKLE_TEXT},  {0x8c, 1, PICKLE_TEXT}, {0x8d, 8, PICKLE_TEXT},                           /* unicode */
    {'B', 4, PICKLE_BYTES}, {'C', 1, PICKLE_BYTES}, {0x8e, 8, PICKLE_BYTES}, {0x96, 8, PICKLE_BYTES}, /* bytes, bytearray */
    {'T', 4, PICKLE_BYTES}, {'U', 1, PICKLE_BYTES},                                                   /* str of Python 2 */
};
static bool op_string(Parser *p, uint8_t op) {
    const StringOp *o = string_ops;
    while (o->op != op) o++;
    uint64_t n;
    if (!read_uint(p, o->length_bytes, &n)) return false;
    if (op == 'T' && n > INT32_MAX) return fail(p, "a string has a negative length");
    if (!need(p, n)) return false;
    const char *s = (const char *)p->data + p->at;
    p->at += n;
    PickleKind kind = o->kind;
    if (kind == PICKLE_TEXT && !pickle_is_utf8(s, (size_t)n)) return fail(p, "a text is not valid UTF-8");
    if ((op == 'T' || op == 'U') && pickle_is_utf8(s, (size_t)n)) kind = PICKLE_TEXT;
    return push_text(p, kind, s, (size_t)n);
}
static bool op_text_line(Parser *p, uint8_t op) { /* UNICODE and STRING of protocol 0 */
    const char *s;
    size_t n, len;
    if (!read_line(p, &s, &n)) return false;
    char *out = arena(p, PICKLE_UNESCAPED(n));
    if (!out) return false;
    if (op == 'V') {
        if (!pickle_unescape_unicode(s, n, out, &len)) return fail(p, "a text has a malformed \\u");
        return push_text(p, PICKLE_TEXT, out, len);
    }
    if (!pickle_unescape_string(s, n, out, &len)) return fail(p, "a string is not quoted, or has a malformed escape");
    return push_text(p, pickle_is_utf8(out, len) ? PICKLE_TEXT : PICKLE_BYTES, out, len);
}

/* ---- containers ----------------------------------------------------------------------------------------------------------- */
static bool op_empty(Parser *p, uint8_t op) {
    if (op == ')') return push(p, singleton(p, &p->empty_tuple, PICKLE_TUPLE, false));
    return push(p, value(p, op == ']' ? PICKLE_LIST : op == '}' ? PICKLE_DICT : PICKLE_SET));
}
/* Tuples, and lists, dicts and frozensets made from the values above a MARK. */
static bool make(Parser *p, PickleKind kind, PickleValue *const *item, size_t count) {
    size_t room = kind == PICKLE_TUPLE ? count : 1;
    while (room < count) room *= 2; /* as append() expects */
    PickleValue *v = value(p, kind);
    PickleValue **copy = v ? arena(p, room * sizeof *copy) : NULL;
    if (!copy) return false;
    for (size_t i = 0; i < count; i++) {
        copy[i] = item[i];
        if (!nest(p, v, item[i])) return false;
    }
    v->item = copy, v->count = count;
    return push(p, v);
}
static bool op_group(Parser *p, uint8_t op) {
    PickleValue **item;
    size_t count;
    if (op >= 0x85 && op <= 0x87) {
        count = (size_t)(op - 0x84);
        if (p->height - floor_of_stack(p) < count) return fail(p, "it takes a value from an empty stack");
        p->height -= count;
        return make(p, PICKLE_TUPLE, p->stack + p->height, count);
    }
    if (!pop_to_mark(p, &item, &count)) return false;
    if (op == 't') return count ? make(p, PICKLE_TUPLE, item, count) : op_empty(p, ')');
    if (op == 'd' && count % 2) return fail(p, "a dict has a key without a value");
    return make(p, op == 'l' ? PICKLE_LIST : op == 'd' ? PICKLE_DICT : PICKLE_SET, item, count);
}
/* Adds items to the container, or to the object, that is on top of the stack. */
static bool add_items(Parser *p, PickleValue *const *item, size_t count, PickleKind kind) {
    PickleValue *to = top(p);
    if (!to) return false;
    bool pairs = kind == PICKLE_DICT;
    if (pairs && count % 2) return fail(p, "a dict has a key without a value");
    if (to->kind == PICKLE_CALL) {
        if (to->count && to->call->pairs != pairs) return fail(p, "an object is both a list and a dict");
        to->call->pairs = pairs;
    } else if (to->kind != kind) {
        return fail(p, "items for %s are added to %s", kind == PICKLE_LIST ? "a list" : pairs ? "a dict" : "a set", pickle_kind_name(to));
    }
    PickleValue ***array = to->kind == PICKLE_CALL ? &to->call->item : &to->item;
    for (size_t i = 0; i < count; i++)
        if (!nest(p, to, item[i]) || !append(p, array, &to->count, item[i])) return false;
    return true;
}
static bool op_add(Parser *p, uint8_t op) {
    PickleValue *pair[2], **item;
    size_t count;
    switch (op) {
    case 'a': return (pair[0] = pop(p)) && add_items(p, pair, 1, PICKLE_LIST);
    case 's': return (pair[1] = pop(p)) && (pair[0] = pop(p)) && add_items(p, pair, 2, PICKLE_DICT);
    }
    if (!pop_to_mark(p, &item, &count)) return false;
    return add_items(p, item, count, op == 'e' ? PICKLE_LIST : op == 'u' ? PICKLE_DICT : PICKLE_SET);
}

/* ---- classes, calls, objects ---------------------------------------------------------------------------------------------- */
/* Functions that run commands or code, under the names that published attacks use; "torch" and "os.system" is os.system. */
static bool would_harm(const char *name) {
    static const char *const modules[] = {"os",     "posix",    "nt",         "subprocess",       "runpy",          "pty",
                                          "socket", "ctypes",   "webbrowser", "_posixsubprocess", "code",           "codeop",
                                          "timeit", "pdb",      "bdb",        "shutil",           "importlib",      "popen2",
                                          "pip",    "commands", "profile",    "cProfile",         "multiprocessing"};
    static const char *const functions[] = {"eval", "exec", "compile", "__import__", "open", "execfile"};
    for (const char *at = name; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL) {
        size_t n = strcspn(at, ".");
        for (size_t i = 0; at[n] && i < sizeof modules / sizeof *modules; i++)
            if (strlen(modules[i]) == n && !strncmp(modules[i], at, n)) return true;
    }
    const char *dot = strchr(name, '.');
    if (strncmp(name, "builtins.", 9) && strncmp(name, "__builtin__.", 12)) return false;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(dot + 1, functions[i])) return true;
    return false;
}
static bool push_class(Parser *p, const char *module, size_t m, const char *name, size_t n) {
    if (m > MAX_CLASS_NAME || n > MAX_CLASS_NAME || !m || !n) return fail(p, "the name of a class has %zu bytes", m + n);
    if (!pickle_is_utf8(module, m) || !pickle_is_utf8(name, n) || memchr(module, 0, m) || memchr(name, 0, n))
        return fail(p, "the name of a class is not text");
    PickleValue *v = value(p, PICKLE_CLASS);
    char *text = v ? arena(p, m + n + 2) : NULL;
    if (!text) return false;
    memcpy(text, module, m), text[m] = 0;
    memcpy(text + m + 1, name, n), text[m + n + 1] = 0;
    text[m] = '.';
    if (!p->out->warning && would_harm(text)) p->out->warning = text;
    v->text = text, v->count = m + n + 1;
    return push(p, v);
}
static bool op_global(Parser *p, uint8_t op) {
    const char *module, *name;
    size_t m, n;
    if (op == 'c') return read_line(p, &module, &m) && read_line(p, &name, &n) && push_class(p, module, m, name, n);
    PickleValue *second = pop(p), *first = second ? pop(p) : NULL;
    if (!first) return false;
    const PickleValue *other = first->kind == PICKLE_TEXT ? second : first;
    if (other->kind != PICKLE_TEXT) return fail(p, "the name of a class is %s", pickle_kind_name(other));
    return push_class(p, first->text, first->count, second->text, second->count);
}
static bool push_call(Parser *p, PickleValue *callee, PickleValue *args) {
    bool callable = callee->kind == PICKLE_CLASS || callee->kind == PICKLE_CALL || callee->kind == PICKLE_PERSISTENT; /* a class by id */
    if (!callable) return fail(p, "it calls %s", pickle_kind_name(callee));
    if (args->kind != PICKLE_TUPLE && args->kind != PICKLE_CALL)
        return fail(p, "the arguments of a call are %s, not a tuple", pickle_kind_name(args));
    PickleValue *v = value(p, PICKLE_CALL);
    if (!v || !(v->call = arena(p, sizeof *v->call))) return false;
    *v->call = (PickleCall){.callee = callee, .args = args};
    if (!nest(p, v, callee) || !nest(p, v, args)) return false;
    return push(p, v);
}
static bool op_call(Parser *p, uint8_t op) {
    PickleValue *named = NULL, *args, *callee;
    if (op == 0x92 && !(named = pop(p))) return false; /* NEWOBJ_EX: keyword arguments, which only its own class understands */
    if (named && named->kind != PICKLE_DICT) return fail(p, "keyword arguments are %s, not a dict", pickle_kind_name(named));
    return (args = pop(p)) && (callee = pop(p)) && push_call(p, callee, args);
}
static bool op_instance(Parser *p, uint8_t op) { /* INST and OBJ of protocols 0 and 1: arguments above a MARK */
    const char *module = NULL, *name = NULL;
    size_t m = 0, n = 0, count;
    PickleValue **item, *callee = NULL, *args;
    if (op == 'i' && (!read_line(p, &module, &m) || !read_line(p, &name, &n))) return false;
    if (!pop_to_mark(p, &item, &count)) return false;
    if (op == 'o') {
        if (!count) return fail(p, "it makes an object of no class");
        callee = *item++, count--;
    }
    if (!make(p, PICKLE_TUPLE, item, count) || !(args = pop(p))) return false;
    if (op == 'i' && (!push_class(p, module, m, name, n) || !(callee = pop(p)))) return false;
    return push_call(p, callee, args);
}
static bool op_build(Parser *p, uint8_t op) {
    (void)op;
    PickleValue *state = pop(p), *object = state ? top(p) : NULL;
    if (!object) return false;
    if (object->kind != PICKLE_CALL) return fail(p, "it sets the state of %s", pickle_kind_name(object));
    object->call->state = state;
    return nest(p, object, state);
}
static bool op_persistent(Parser *p, uint8_t op) {
    const char *s;
    size_t n;
    if (op == 'P') {
        if (!read_line(p, &s, &n)) return false;
        if (!pickle_is_utf8(s, n)) return fail(p, "a persistent id is not text");
        if (!push_text(p, PICKLE_TEXT, s, n)) return false;
    }
    PickleValue *id = pop(p), *v = id ? value(p, PICKLE_PERSISTENT) : NULL;
    if (!v) return false;
    v->id = id;
    return nest(p, v, id) && append(p, &p->out->persistent, &p->out->persistents, v) && push(p, v);
}

/* ---- memo, stack and framing ------------------------------------------------------------------------------------------------ */
static bool memo_index(Parser *p, uint8_t op, uint64_t *i) {
    if (op == 'h' || op == 'q') return read_uint(p, 1, i);
    if (op == 'j' || op == 'r') return read_uint(p, 4, i);
    Decimal d;
    if (!read_decimal(p, &d)) return false;
    int64_t line = d.used <= 8 ? little_endian(d.byte, 8) : -1;
    if (line < 0) return fail(p, "a line is no memo index");
    *i = (uint64_t)line;
    return true;
}
static bool op_get(Parser *p, uint8_t op) {
    uint64_t i;
    if (!memo_index(p, op, &i)) return false;
    if (i >= p->memo_room || !p->memo[i]) return fail(p, "it asks for value %" PRIu64 " of the memo, which was never put there", i);
    return push(p, p->memo[i]);
}
static bool op_put(Parser *p, uint8_t op) {
    uint64_t i = p->memo_count;
    PickleValue *v = top(p);
    if (!v || (op != 0x94 && !memo_index(p, op, &i))) return false;
    if (i >= MAX_MEMO) return fail(p, "memo index %" PRIu64 " is above %d: no checkpoint needs that", i, MAX_MEMO);
    if (!room_for(p, &p->memo, &p->memo_room, (size_t)i + 1)) return false;
    if (!p->memo[i]) p->memo_count++;
    p->memo[i] = v;
    return true;
}
static bool op_stack(Parser *p, uint8_t op) {
    PickleValue **item;
    size_t count;
    switch (op) {
    case '(':
        if (p->marks == MAX_MARKS) return fail(p, "its values are nested more than %d deep", MAX_MARKS);
        p->mark[p->marks++] = p->height;
        return true;
    case '0':
        if (p->marks && p->height == floor_of_stack(p)) return p->marks--, true; /* POP takes a MARK too */
        return pop(p) != NULL;
    case '1': return pop_to_mark(p, &item, &count);
    case '2': return push(p, top(p));
    default: /* STOP */
        if (p->marks || p->height != 1) return fail(p, "it ends with %zu values on the stack instead of one", p->height);
        p->out->value = p->stack[0], p->out->bytes = p->at;
        return p->stopped = true;
    }
}
static bool op_frame(Parser *p, uint8_t op) {
    uint64_t n;
    if (op == 0x95) return read_uint(p, 8, &n) && need(p, n); /* only a hint for readers of streams */
    if (!read_uint(p, 1, &n)) return false;
    return n <= 5 || fail(p, "it is of protocol %" PRIu64 "; 0 to 5 are known", n);
}
static bool op_refused(Parser *p, uint8_t op) {
    if (op == 0x97 || op == 0x98)
        return fail(p, "part of its data lies outside the file (an out-of-band buffer), so that it cannot be read");
    return fail(p, "it uses the extension registry of the program that wrote it, which checkpoints do not");
}
typedef bool (*OpFn)(Parser *p, uint8_t op);
static const OpFn ops[256] = {
    ['N'] = op_constant,   [0x88] = op_constant, [0x89] = op_constant, ['I'] = op_int,       ['J'] = op_int,       ['K'] = op_int,
    ['M'] = op_int,        ['L'] = op_int,       [0x8a] = op_long,     [0x8b] = op_long,     ['F'] = op_float,     ['G'] = op_float,
    ['X'] = op_string,     [0x8c] = op_string,   [0x8d] = op_string,   ['B'] = op_string,    ['C'] = op_string,    [0x8e] = op_string,
    [0x96] = op_string,    ['T'] = op_string,    ['U'] = op_string,    ['V'] = op_text_line, ['S'] = op_text_line, [')'] = op_empty,
    [']'] = op_empty,      ['}'] = op_empty,     [0x8f] = op_empty,    ['t'] = op_group,     ['l'] = op_group,     ['d'] = op_group,
    [0x91] = op_group,     [0x85] = op_group,    [0x86] = op_group,    [0x87] = op_group,    ['a'] = op_add,       ['e'] = op_add,
    ['s'] = op_add,        ['u'] = op_add,       [0x90] = op_add,      ['c'] = op_global,    [0x93] = op_global,   ['R'] = op_call,
    [0x81] = op_call,      [0x92] = op_call,     ['i'] = op_instance,  ['o'] = op_instance,  ['b'] = op_build,     ['P'] = op_persistent,
    ['Q'] = op_persistent, ['g'] = op_get,       ['h'] = op_get,       ['j'] = op_get,       ['p'] = op_put,       ['q'] = op_put,
    ['r'] = op_put,        [0x94] = op_put,      ['('] = op_stack,     ['0'] = op_stack,     ['1'] = op_stack,     ['2'] = op_stack,
    ['.'] = op_stack,      [0x80] = op_frame,    [0x95] = op_frame,    [0x82] = op_refused,  [0x83] = op_refused,  [0x84] = op_refused,
    [0x97] = op_refused,   [0x98] = op_refused,
};

Pickle *pickle_parse(const void *data, size_t bytes, Error *e) {
    Parser *p = dg_alloc(sizeof *p);
    *p = (Parser){.data = data, .bytes = bytes, .e = e, .out = dg_alloc(sizeof *p->out)};
    bool ok = room_for(p, &p->stack, &p->stack_room, 1); /* so that even an empty group has an address */
    while (ok && !p->stopped) {
        p->op = p->at;
        if (p->at == bytes) {
            ok = fail(p, "the file ends before the pickle does: truncated?");
            break;
        }
        uint8_t op = p->data[p->at++];
        ok = ops[op] ? ops[op](p, op) : fail(p, "opcode 0x%02x does not exist: damaged, or no pickle", op);
    }
    Pickle *out = p->out;
    free(p->stack);
    free(p->memo);
    free(p);
    if (ok) return out;
    pickle_free(out);
    return NULL;
}
void pickle_free(Pickle *p) {
    if (!p) return;
    for (Chunk *c = p->chunk, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(p);
}
const PickleValue *pickle_value(const Pickle *p) { return p->value; }
size_t pickle_bytes(const Pickle *p) { return p->bytes; }
const char *pickle_warning(const Pickle *p) { return p->warning; }
const PickleValue *const *pickle_persistent(const Pickle *p, size_t *count) {
    *count = p->persistents;
    return (const PickleValue *const *)p->persistent;
}
