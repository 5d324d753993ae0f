/* test_pickle.c -- the inert pickle reader: every protocol, every truncation and byte flip, hostile pickles. */
#include "base/text.h"
#include "weights_tools/pickle.h"
#include "check.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what a pickle says, as text ---------------------------------------------------------------------------------------- */
static void dump(Text *t, const PickleValue *v);
static void dump_items(Text *t, const char *open, PickleValue *const *item, size_t count, bool pairs, const char *close) {
    text_printf(t, "%s", open);
    for (size_t i = 0; i < count; i++) {
        text_printf(t, "%s", i == 0 ? "" : pairs && i % 2 ? ": " : ", ");
        dump(t, item[i]);
    }
    text_printf(t, "%s", close);
}
static void dump_bytes(Text *t, const PickleValue *v) {
    if (v->count > 99) {
        text_printf(t, "%c*%zu", v->text[0], v->count);
        return;
    }
    for (size_t i = 0; i < v->count; i++)
        text_printf(t, (uint8_t)v->text[i] < 32 || (v->kind != PICKLE_TEXT && (uint8_t)v->text[i] > 126) ? "\\%02x" : "%c",
                    (uint8_t)v->text[i]);
}
static void dump(Text *t, const PickleValue *v) {
    switch (v->kind) {
    case PICKLE_NONE: text_printf(t, "None"); return;
    case PICKLE_BOOL: text_printf(t, v->boolean ? "True" : "False"); return;
    case PICKLE_INT: text_printf(t, "%lld", (long long)v->integer); return;
    case PICKLE_FLOAT: text_printf(t, "%g", v->number); return;
    case PICKLE_LONG: text_printf(t, "long "), dump_bytes(t, v); return;
    case PICKLE_TEXT: text_printf(t, "'"), dump_bytes(t, v), text_printf(t, "'"); return;
    case PICKLE_BYTES: text_printf(t, "b'"), dump_bytes(t, v), text_printf(t, "'"); return;
    case PICKLE_LIST: dump_items(t, "[", v->item, v->count, false, "]"); return;
    case PICKLE_TUPLE: dump_items(t, "(", v->item, v->count, false, ")"); return;
    case PICKLE_SET: dump_items(t, "set{", v->item, v->count, false, "}"); return;
    case PICKLE_DICT: dump_items(t, "{", v->item, v->count, true, "}"); return;
    case PICKLE_CLASS: text_printf(t, "<%s>", v->text); return;
    case PICKLE_PERSISTENT: text_printf(t, "persistent "), dump(t, v->id); return;
    case PICKLE_CALL:
        dump(t, v->call->callee);
        dump(t, v->call->args);
        if (v->call->state) text_printf(t, " state "), dump(t, v->call->state);
        if (v->count) dump_items(t, " with [", v->call->item, v->count, v->call->pairs, "]");
        return;
    }
}
static char *read_file(const char *path, size_t *bytes) {
    FILE *f = fopen(path, "rb");
    if (!CHECK(f != NULL, "%s: missing", path)) return NULL;
    char *data = malloc(1 << 20);
    *bytes = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

/* ---- every protocol (tests/make_pickles.py wrote the files) --------------------------------------------------------------- */
static void protocols(void) {
    static const char common[] =
        "{'integers': [0, 1, 255, 256, 65535, 65536, -1, -2147483648, 2147483648, -9223372036854775807, 9223372036854775807, "
        "long \\00\\00\\00\\00\\00\\00\\00\\00@], 'numbers': (1.5, -0, 1e+300), 'constants': [None, True, False], "
        "'text': 'caf\u00e9 \u20ac \U0001f600 \\ ' \\0a', 'empty': [(), [], {}, ''], 'long': ['x*300'], ";
    static const char shared[] =
        "'tuples': [(1), (1, 2), (1, 2, 3), (1, 2, 3, 4)], 'shared': [['shared'], ['shared'], <collections.OrderedDict>() "
        "state {'_metadata': {'version': 1}} with ['first': 1, 'second': ['shared']]], 'deque': <__main__.Deque>() with [1, 2], "
        "'class': <collections.OrderedDict>, 'storage': persistent ";
    /* Before protocol 3, bytes are written as calls of _codecs.encode; before 4, sets as calls; before 5, bytearrays. */
    static const char codecs[] = "'bytes': <_codecs.encode>('\\00\u00ffq', 'latin1'), 'more bytes': [<_codecs.encode>('y*300', 'latin1')], "
                                 "'bytearray': <__builtin__.bytearray>(<_codecs.encode>('abc', 'latin1')), "
                                 "'set': <__builtin__.set>([7]), 'frozenset': <__builtin__.frozenset>([8]), ";
    static const char *const blobs[6] = {
        codecs,
        codecs,
        codecs,
        "'bytes': b'\\00\\ffq', 'more bytes': [b'y*300'], 'bytearray': <builtins.bytearray>(b'abc'), "
        "'set': <builtins.set>([7]), 'frozenset': <builtins.frozenset>([8]), ",
        "'bytes': b'\\00\\ffq', 'more bytes': [b'y*300'], 'bytearray': <builtins.bytearray>(b'abc'), 'set': set{7}, 'frozenset': set{8}, ",
        "'bytes': b'\\00\\ffq', 'more bytes': [b'y*300'], 'bytearray': b'abc', 'set': set{7}, 'frozenset': set{8}, ",
    };
    for (int protocol = 0; protocol < 6; protocol++) {
        char path[64], wanted[2048];
        size_t bytes;
        snprintf(path, sizeof path, "tests/data/protocol%d.pkl", protocol);
        snprintf(wanted, sizeof wanted, "%s%s%s%s, 'complex': <%s.complex>(1, 2)}", common, blobs[protocol], shared,
                 protocol ? "('storage', <collections.OrderedDict>, '7', 'cpu', 4096)" : "'storage 7'",
                 protocol < 3 ? "__builtin__" : "builtins");
        char *data = read_file(path, &bytes);
        if (!data) continue;
        Error e = {""};
        Pickle *p = pickle_parse(data, bytes, &e);
        if (CHECK(p != NULL, "%s: %s", path, e.text)) {
            Text t = {0};
            size_t storages;
            dump(&t, pickle_value(p));
            CHECK(!strcmp(t.text, wanted), "%s:\nfound  %s\nwanted %s", path, t.text, wanted);
            CHECK(pickle_bytes(p) == bytes, "%s: %zu bytes read of %zu", path, pickle_bytes(p), bytes);
            const PickleValue *const *id = pickle_persistent(p, &storages), *list = pickle_get(pickle_value(p), "shared");
            CHECK(storages == 1 && id[0] == pickle_get(pickle_value(p), "storage"), "%s: %zu persistent ids", path, storages);
            CHECK(pickle_item(list, 0) == pickle_item(list, 1), "%s: a shared value was copied", path);
            CHECK(pickle_get(pickle_item(list, 2), "first")->integer == 1, "%s: an OrderedDict's item", path);
            text_free(&t);
        }
        pickle_free(p);
        /* Every truncation is an error that names a byte; every changed byte is an error or another value, never a crash. */
        for (size_t n = 0; n < bytes; n++) {
            char *exact = malloc(n ? n : 1); /* of its own, so that a read past its end is seen */
            memcpy(exact, data, n);
            p = pickle_parse(exact, n, &e);
            CHECK(!p && strstr(e.text, "byte "), "%s cut at %zu: %s", path, n, p ? "accepted" : e.text);
            pickle_free(p);
            free(exact);
        }
        int survived = 0;
        for (size_t n = 0; n < bytes; n++)
            for (int flip = 1; flip < 256; flip = flip * 2 + (flip == 16)) {
                data[n] = (char)(data[n] ^ flip);
                p = pickle_parse(data, bytes, &e);
                survived++;
                pickle_free(p);
                data[n] = (char)(data[n] ^ flip);
            }
        CHECK(survived > 0, "%s: no byte was changed", path);
        free(data);
    }
}

/* ---- hostile pickles -------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name, *head;
    size_t head_bytes;
    const char *unit; /* repeated */
    size_t unit_bytes, times;
    const char *tail;
    size_t tail_bytes;
    const char *wanted; /* part of the sentence; NULL: accepted */
} Hostile;
#define S(text) text, sizeof text - 1
#define ONE(name, text, wanted)                                                                                                            \
    { name, S(text), S(""), 0, S(""), wanted }
static const Hostile hostile[] = {
    /* what Python would execute: nodes only; warnings() looks at what is said of them */
    ONE("os.system", "cos\nsystem\n(S'echo pwned'\ntR.", NULL),
    ONE("posix.system",
        "\x80\x02"
        "cposix\nsystem\nX\x02\0\0\0id\x85R.",
        NULL),
    ONE("nt.system", "\x80\x04\x8c\x02nt\x8c\x06system\x93\x8c\x02id\x85R.", NULL),
    ONE("builtins.eval",
        "\x80\x04\x8c\x08"
        "builtins\x8c\x04"
        "eval\x93\x8c\x03"
        "1+1\x85R.",
        NULL),
    ONE("builtins.exec", "cbuiltins\nexec\n(S'pass'\ntR.", NULL),
    ONE("__builtin__.getattr", "c__builtin__\ngetattr\n(c__builtin__\nint\nS'__subclasses__'\ntR.", NULL),
    ONE("builtins.__import__", "cbuiltins\n__import__\n(S'os'\ntR.", NULL),
    ONE("subprocess",
        "\x80\x03"
        "csubprocess\nPopen\n]X\x02\0\0\0sha\x85R.",
        NULL),
    ONE("a submodule",
        "\x80\x03"
        "cimportlib.util\nfind_spec\n)R.",
        NULL),
    ONE("by INST", "(S'id'\nios\nsystem\n.", NULL),
    ONE("by OBJ", "(cos\nsystem\nS'id'\no.", NULL),
    ONE("by NEWOBJ",
        "\x80\x02"
        "csubprocess\nPopen\nX\x02\0\0\0id\x85\x81.",
        NULL),
    ONE("by NEWOBJ_EX", "\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93)}\x92.", NULL),
    ONE("pickle inside", "cpickle\nloads\n(S'x'\ntR.", NULL),
    ONE("nested reduce", "cmodule\nf\n)R)R)R)R.", NULL), /* inert: nodes only */
    ONE("a call of a text", "X\x02\0\0\0id)R.", "calls a text"),
    ONE("a call of a list", "])R.", "calls a list"),
    ONE("arguments that are no tuple", "cmodule\nf\n]R.", "arguments of a call are a list"),
    ONE("control characters in a name", "cos\x1b[2J\nsystem\n.", NULL),
    ONE("a class named by a number", "\x80\x04K\x01K\x02\x93.", "name of a class is an integer"),
    ONE("an empty class name", "c\n\n.", "name of a class has 0 bytes"),
    ONE("a class name that is no text", "c\xff\xfe\nname\n.", "not text"),
    ONE("a class name with a NUL",
        "\x80\x04\x8c\x03"
        "a\0b\x8c\x01"
        "c\x93.",
        "not text"),
    {"a huge class name", S("\x80\x04X\x00\x10\x00\x00"), S("m"), 4096, S("\x8c\x01n\x93."), "name of a class has 4097"},
    /* memory */
    {"a million values", S("("), S("K\x01"), 1000000, S("t."), NULL},
    {"twenty million values", S("("), S("K\x01"), 20000000, S("t."), "more than 40 MB"},
    {"integers that are not shared", S("("), S("M\x01\x02"), 4000000, S("t."), "more than 40 MB"},
    {"a memo index of 2^32", S("Nr\xff\xff\xff\xff."), S(""), 0, S(""), "memo index 4294967295"},
    {"a memo index in decimal", S("Np123456789012345678\n."), S(""), 0, S(""), "memo index 123456789012345678"},
    {"a negative memo index", S("Np-1\n."), S(""), 0, S(""), "no memo index"},
    {"a memo of two million", S("N"), S("\x94"), 2000000, S("."), "memo index 1048576"},
    {"billion laughs, lists", S("]q\0"),
     S("0](h\0h\0h\0h\0"
       "eq\0"),
     900, S("."), NULL},
    {"billion laughs, tuples", S("\x80\x02K\x01"), S("2\x86"), 900, S("."), NULL},
    {"billion laughs, dicts", S("}q\0"), S("0}K\x01h\0sK\x02h\0sq\0"), 900, S("."), NULL},
    {"a list inside itself", S("]q\0h\0a."), S(""), 0, S(""), NULL},
    {"a list inside itself, over and over", S("]q\0"), S("h\0a"), 2000, S("."), "nested more than 1000 deep"},
    {"many persistent ids", S("\x80\x02K\x01"), S("Q"), 999, S("."), NULL},
    /* depth */
    {"deep tuples", S("\x80\x02N"), S("\x85"), 1001, S("."), "nested more than 1000 deep"},
    {"deep lists", S("N"), S("]"), 3000, S("a"), "ends before"},
    {"deep lists, closed", S(""), S("(("), 600, S("."), "nested more than 1000 deep"},
    {"deep dicts", S("\x80\x02N"), S("q\0}K\x01h\0s"), 2000, S("."), "nested more than 1000 deep"},
    {"deep calls", S("cm\nf\n"), S(")R"), 2000, S("."), "nested more than 1000 deep"},
    {"deep states", S("cm\nf\n)Rq\0"), S("cm\nf\n)Rh\0bq\0"), 2000, S("."), "nested more than 1000 deep"},
    {"deep persistent ids", S("N"), S("Q"), 2000, S("."), "nested more than 1000 deep"},
    /* lengths */
    ONE("BINUNICODE of 4 GB",
        "X\xff\xff\xff\xff"
        "abc.",
        "4294967295 more bytes"),
    ONE("BINUNICODE8 of 2^64",
        "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
        "abc.",
        "18446744073709551615 more bytes"),
    ONE("BINBYTES8 of 2^63",
        "\x8e\0\0\0\0\0\0\0\x80"
        "abc.",
        "9223372036854775808 more bytes"),
    ONE("BYTEARRAY8 of 2^40",
        "\x96\0\0\0\0\0\1\0\0"
        "abc.",
        "1099511627776 more bytes"),
    ONE("BINSTRING of -1",
        "T\xff\xff\xff\xff"
        "abc.",
        "negative length"),
    ONE("LONG4 of 4 GB",
        "\x8b\xff\xff\xff\xff"
        "abc.",
        "4294967295 more bytes"),
    ONE("LONG1 past the end",
        "\x8a\xff"
        "abc.",
        "255 more bytes"),
    ONE("a frame past the end", "\x80\x04\x95\xff\0\0\0\0\0\0\0N.", "255 more bytes"),
    ONE("a frame of 2^64", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "18446744073709551615 more bytes"),
    {"a decimal of a million digits", S("L"), S("9"), 1000000, S("\n."), "no integer"},
    ONE("a decimal that is none", "I12x\n.", "no integer"),
    ONE("an empty decimal", "I\n.", "no integer"),
    ONE("a lone minus", "I-\n.", "no integer"),
    ONE("a number that is none", "F1.5e\n.", "no number"),
    ONE("a line without end", "I12", "does not end"),
    /* structure */
    ONE("an empty tuple by MARK", "(t.", NULL),
    ONE("nothing", "", "ends before"),
    ONE("STOP alone", ".", "ends with 0 values"),
    ONE("two values", "NN.", "ends with 2 values"),
    ONE("an open MARK", "(N.", "ends with 1 values"),
    ONE("an unknown opcode", "\x80\x02\xff.", "opcode 0xff"),
    ONE("protocol 6", "\x80\x06N.", "protocol 6"),
    ONE("POP of nothing", "0N.", "empty stack"),
    ONE("DUP of nothing", "2.", "empty stack"),
    ONE("TUPLE without a MARK", "Nt.", "never began"),
    ONE("TUPLE2 of one", "\x80\x02N\x86.", "empty stack"),
    ONE("TUPLE1 through a MARK", "\x80\x02N(\x85.", "empty stack"),
    ONE("APPEND to a dict", "}Na.", "items for a list are added to a dict"),
    ONE("APPEND to None", "NNa.", "items for a list are added to None"),
    ONE("SETITEM on a list", "]NNs.", "items for a dict are added to a list"),
    ONE("SETITEMS with half a pair", "}(Nu.", "key without a value"),
    ONE("DICT with half a pair", "(Nd.", "key without a value"),
    ONE("ADDITEMS to a list", "\x80\x04](N\x90.", "items for a set are added to a list"),
    ONE("an object both list and dict", "cm\nf\n)RNaNNs.", "both a list and a dict"),
    ONE("REDUCE of nothing", ")R.", "empty stack"),
    ONE("OBJ of nothing", "(o.", "no class"),
    ONE("NEWOBJ_EX with a list",
        "\x80\x04"
        "cm\nf\n)]\x92.",
        "keyword arguments are a list"),
    ONE("BUILD of a list", "]}b.", "sets the state of a list"),
    ONE("BUILD of nothing", "}b.", "empty stack"),
    ONE("GET of what was not put", "h\x07.", "value 7 of the memo"),
    ONE("PUT of nothing", "q\0N.", "empty stack"),
    ONE("MEMOIZE of nothing", "\x80\x04\x94N.", "empty stack"),
    ONE("an out-of-band buffer", "\x80\x05\x97.", "out-of-band"),
    ONE("a read-only buffer", "\x80\x05N\x98.", "out-of-band"),
    ONE("EXT1", "\x82\x01.", "extension registry"),
    ONE("EXT4", "\x84\x01\0\0\0.", "extension registry"),
    /* texts */
    ONE("text that is no UTF-8", "X\x02\0\0\0\xc0\x80.", "not valid UTF-8"),
    ONE("a surrogate", "X\x03\0\0\0\xed\xa0\x80.", "not valid UTF-8"),
    ONE("a malformed \\u", "V\\u12\n.", "malformed"),
    ONE("\\U beyond Unicode", "V\\U00110000\n.", "malformed"),
    ONE("a string without quotes", "Sabc\n.", "not quoted"),
    ONE("a string with one quote", "S'\n.", "not quoted"),
    ONE("a string with a cut escape", "S'\\x1'\n.", "malformed escape"),
    ONE("a string that ends in a backslash", "S'\\'\n.", "malformed escape"),
    ONE("a persistent id that is no text", "P\xff\n.", "persistent id is not text"),
};
/* 64 MB more than the process begins with, and a second of processor time; sanitizers need more than that. */
static void limit_process(void) {
#ifndef __SANITIZE_ADDRESS__
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%zu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    struct rlimit memory = {pages * (size_t)sysconf(_SC_PAGESIZE) + (64 << 20), RLIM_INFINITY}, cpu = {1, 1};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CPU, &cpu);
#endif
}
/* In a process of its own, limited as above. */
static void hostile_case(const Hostile *h) {
    size_t bytes = h->head_bytes + h->unit_bytes * h->times + h->tail_bytes;
    char *data = malloc(bytes + 1), *to = data;
    memcpy(to, h->head, h->head_bytes), to += h->head_bytes;
    for (size_t i = 0; i < h->times; i++) memcpy(to, h->unit, h->unit_bytes), to += h->unit_bytes;
    memcpy(to, h->tail, h->tail_bytes);
    int link[2], status = -1;
    if (!CHECK(pipe(link) == 0, "no pipe")) return;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        limit_process();
        Error e = {""};
        Pickle *p = pickle_parse(data, bytes, &e);
        const char *said = p ? "" : e.text;
        bool told = write(link[1], said, strlen(said)) == (ssize_t)strlen(said);
        pickle_free(p);
        free(data);
        _exit(told ? (p ? 0 : 1) : 2);
    }
    close(link[1]);
    char said[sizeof(((Error *)0)->text)] = "";
    size_t n = 0;
    for (ssize_t got; n < sizeof said - 1 && (got = read(link[0], said + n, sizeof said - 1 - n)) > 0;) n += (size_t)got;
    close(link[0]);
    waitpid(child, &status, 0);
    free(data);
    bool exited = WIFEXITED(status);
    CHECK(exited, "%s: killed by signal %d", h->name, exited ? 0 : WTERMSIG(status));
    if (!h->wanted) CHECK(exited && WEXITSTATUS(status) == 0, "%s: refused: %s", h->name, said);
    else
        CHECK(exited && WEXITSTATUS(status) == 1 && strstr(said, h->wanted) && strstr(said, "byte "), "%s: wanted \"%s\", said \"%s\"",
              h->name, h->wanted, said);
}
/* A name that would harm is said, whatever way it is written; honest pickles' is not. */
static void warnings(void) {
    static const struct {
        const char *pickle;
        size_t bytes;
        const char *said; /* NULL: nothing */
    } table[] = {
        {S("cos\nsystem\n(S'id'\ntR."), "os.system"},
        {S("ctorch\nos.system\n(S'id'\ntR."), "torch.os.system"},
        {S("cposixpath\nos.system\n(S'id'\ntR."), "posixpath.os.system"},
        {S("c_posixsubprocess\nfork_exec\n)R."), "_posixsubprocess.fork_exec"},
        {S("\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93)}\x92."), "subprocess.Popen"},
        {S("cbuiltins\neval\n(S'1'\ntR."), "builtins.eval"},
        {S("(S'id'\nios\nsystem\n."), "os.system"},
        {S("c__builtin__\ngetattr\n(cmodule\nOuter\nS'Inner'\ntR."), NULL}, /* a nested class, in protocol 2 */
        {S("ccollections\nOrderedDict\n)R."), NULL},
        {S("cmodels.os_net\nNet\n)R."), NULL},
        {S("cargparse\nNamespace\n)R."), NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        Error e = {""};
        Pickle *p = pickle_parse(table[i].pickle, table[i].bytes, &e);
        const char *said = p ? pickle_warning(p) : NULL, *wanted = table[i].said;
        CHECK(p && (wanted ? said && !strcmp(said, wanted) : !said), "warning %zu: \"%s\", wanted \"%s\" %s", i, said ? said : "",
              wanted ? wanted : "", e.text);
        pickle_free(p);
    }
}
/* Bytes as protocols 0 to 2 write them. */
static void latin1(void) {
    static const char text[] = "c_codecs\nencode\n(V\\u0000\xff\x80q\nVlatin1\ntR.", other[] = "c_codecs\nencode\n(V\\u0100\nVlatin1\ntR.";
    Error e = {""};
    Pickle *p = pickle_parse(text, sizeof text - 1, &e), *q = pickle_parse(other, sizeof other - 1, &e);
    size_t n;
    uint8_t out[4] = {0};
    if (CHECK(p && q, "%s", e.text) && CHECK(pickle_latin1(pickle_value(p), &n) && n == 4, "bytes of protocol 0 are not read")) {
        pickle_latin1_bytes(pickle_value(p), out);
        CHECK(!memcmp(out, "\0\xff\x80q", 4), "bytes of protocol 0 are %02x %02x %02x %02x", out[0], out[1], out[2], out[3]);
        CHECK(!pickle_latin1(pickle_value(q), &n), "a character above 255 is taken as a byte");
    }
    pickle_free(p);
    pickle_free(q);
}
int main(void) {
    protocols();
    warnings();
    latin1();
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) hostile_case(&hostile[i]);
    return check_done("test_pickle");
}
