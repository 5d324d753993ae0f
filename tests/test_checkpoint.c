/* test_checkpoint.c -- malformed and malicious checkpoints: each is refused in one sentence, by the library and by the program
 * (exit code 1, within limits of memory and time); and the program makes the same images from the official files.
 * Usage: test_checkpoint [PROGRAM]; without it, dg_cuda of the same build folder.                                          */
#include "base/text.h"
#include "files/npz.h"
#include "weights_tools/weights_tools.h"
#include "hostile.h"
#include "official_files.h"
#include "zip_maker.h"
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char *program; /* NULL: not there */
    char dir[64];
} Setup;
static char *in_dir(const Setup *s, const char *name, char *path, size_t size) { return snprintf(path, size, "%s/%s", s->dir, name), path; }

/* ---- the program ----------------------------------------------------------------------------------------------------------- */
static int run(const Setup *s, bool limited, char *said, size_t size, const char *const *args) {
    char *argv[16] = {s->program}, path[128];
    int status = -1, n = 1;
    for (; args[n - 1] && n < 15; n++) argv[n] = dg_strdup(args[n - 1]);
    in_dir(s, "said.txt", path, sizeof path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)limited;
#ifndef __SANITIZE_ADDRESS__
        struct rlimit memory = {64 << 20, 64 << 20}, cpu = {1, 1};
        if (limited) setrlimit(RLIMIT_DATA, &memory), setrlimit(RLIMIT_CPU, &cpu);
#endif
        if (!freopen(path, "w", stderr) || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) _exit(99);
        execv(s->program, argv);
        _exit(98);
    }
    waitpid(pid, &status, 0);
    for (int i = 1; i < n; i++) free(argv[i]);
    FILE *f = fopen(path, "r");
    size_t got = f ? fread(said, 1, size - 1, f) : 0;
    said[got] = 0;
    if (f) fclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
/* The library and the program must both refuse the file, say the same, and leave nothing. */
static void refuse(const Setup *s, const char *what, const void *data, size_t bytes, const char *wanted) {
    char bad[96], out[96], said[2048];
    struct stat st;
    in_dir(s, "bad.pt", bad, sizeof bad), in_dir(s, "out.safetensors", out, sizeof out);
    FILE *f = fopen(bad, "wb");
    if (!CHECK(f && fwrite(data, 1, bytes, f) == bytes, "%s was not written", bad)) return;
    fclose(f);
    const char *in = bad;
    Hostile h = hostile_begin(what);
    bool done = convert(&in, 1, out, NULL, NULL, &h.e);
    hostile_end(&h, done, "bad.pt", wanted);
    CHECK(stat(out, &st) != 0, "%s: a file was left", what);
    if (!s->program) return;
    int code = run(s, true, said, sizeof said, (const char *[]){"convert", bad, out, NULL});
    size_t n = strlen(said);
    bool line = n > 1 && strchr(said, '\n') == said + n - 1;
    CHECK(code == 1 && line && strstr(said, wanted), "%s: exit code %d, said \"%s\", wanted \"%s\"", what, code, said, wanted);
    CHECK(stat(out, &st) != 0, "%s: the program left a file", what);
}

/* ---- checkpoints that lie in one place -------------------------------------------------------------------------------------- */
typedef enum { ZIP, PACKED, LEGACY, PLAIN } Form;
typedef struct {
    const char *what;
    Form form;
    const char *wanted;
    /* Opcodes of protocol 0 that replace those of an honest file; NULL: honest. */
    const char *root, *entry, *builder, *persistent, *storage, *key, *elements, *offset, *shape, *stride;
    int bytes;                /* of the storage, when not 64 */
    const char *keys, *count; /* legacy: the list of keys; the storage's own count, 8 bytes */
    const char *order, *name; /* zip: the byteorder record; the storage's entry */
} Lie;
#define OR(a, b) ((a) ? (a) : (b))
static void state_dict(const Lie *l, Text *t) {
    Text p = {0}, w = {0};
    text_printf(&p, "(S'storage'\n%s%sS'cpu'\n%st", OR(l->storage, "ctorch\nFloatStorage\n"), OR(l->key, "S'0'\n"),
                OR(l->elements, "I16\n"));
    text_printf(&w, "%s(%sQ%s%s%sI00\nccollections\nOrderedDict\n(tRtR", OR(l->builder, "ctorch._utils\n_rebuild_tensor_v2\n"),
                OR(l->persistent, p.text), OR(l->offset, "I0\n"), OR(l->shape, "(I4\nI4\nt"), OR(l->stride, "(I4\nI1\nt"));
    if (l->root) text_printf(t, "%s.", l->root);
    else text_printf(t, "(dS'w'\n%ss.", OR(l->entry, w.text));
    text_free(&p);
    text_free(&w);
}
static void make_zip(const Lie *l, const Text *pickle, const uint8_t *data, size_t bytes, Made *m) {
    made_stored(m, "x/data.pkl", pickle->text, pickle->len);
    if (l->order) made_stored(m, "x/byteorder", l->order, strlen(l->order));
    const char *name = OR(l->name, "x/data/0");
    if (l->form == ZIP) made_stored(m, name, data, bytes);
#ifdef DG_HAVE_ZLIB
    else {
        MadeEntry x = {.name = name, .bytes = bytes, .crc = crc32_of(0, data, bytes), .deflated = true};
        uint8_t *packed = made_deflate(data, bytes, &x.packed_bytes);
        x.data = packed;
        made_local(m, x);
        free(packed);
    }
#endif
    made_finish(m, false);
}
static const uint8_t legacy_head[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                                     "\x80\x02M\xe9\x03."
                                     "(dS'little_endian'\nI01\ns.";
static void make(const Lie *l, Made *m) {
    Text t = {0};
    size_t bytes = l->bytes ? (size_t)l->bytes : 64;
    uint8_t *data = dg_alloc(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(i % 7);
    state_dict(l, &t);
    if (l->form == ZIP || l->form == PACKED) make_zip(l, &t, data, bytes, m);
    else if (l->form == PLAIN) made_bytes(m, t.text, t.len);
    else {
        const char *keys = OR(l->keys, "(lS'0'\na.");
        made_bytes(m, legacy_head, sizeof legacy_head - 1);
        made_bytes(m, t.text, t.len);
        made_bytes(m, keys, strlen(keys));
        if (l->count) made_bytes(m, l->count, 8);
        else made_put(m, 16, 8);
        made_bytes(m, data, bytes);
    }
    free(data);
    text_free(&t);
}
#define REDUCE    "ctorch._utils\n_rebuild_tensor_v2\n"
#define PARAMETER "ctorch._utils\n_rebuild_parameter\n("
static const Lie lies[] = {
    /* what is in the file */
    {"a number", PLAIN, "it holds an integer", .root = "I7\n"},
    {"a list", ZIP, "it holds a list", .root = "(lI7\na"},
    {"an empty dict", ZIP, "it holds a dict", .root = "(d"},
    {"a call", ZIP, "it holds an object made by m.f", .root = "cm\nf\n(tR"},
    {"a class", ZIP, "it holds a class", .root = "cm\nf\n"},
    {"a dict without tensors", ZIP, "none of its parts holds tensors (a)", .root = "(dS'a'\nI1\ns"},
    {"a dict of itself", ZIP, "none of its parts holds tensors", .root = "(dp0\nS'a'\ng0\ns"},
    {"two parts, none of them known", ZIP, "name one with --key", .root = "(dS'a'\n(dS'w'\n" REDUCE "(tRssS'b'\n(dS'w'\n" REDUCE "(tRss"},
    {"a name with a zero byte", ZIP, "a zero byte", .root = "(dS'a\\x00b'\n" REDUCE "(tRs"},
    {"a tensor without arguments", ZIP, "its storage is nothing", .entry = REDUCE "(tR"},
    {"a parameter of a text", ZIP, "made of a text instead of a tensor", .entry = "ctorch._utils\n_rebuild_parameter\n(S'x'\ntR"},
    {"a parameter of a parameter, and so on", ZIP, "instead of a tensor",
     .entry = PARAMETER PARAMETER PARAMETER PARAMETER PARAMETER PARAMETER "NtRtRtRtRtRtR"},
    {"os.system for a tensor", ZIP, "os.system", .entry = "cos\nsystem\n(S'id'\ntR"},
    {"eval for a storage class", LEGACY, "builtins.eval", .storage = "cbuiltins\neval\n"},
    {"subprocess beside the tensors", ZIP, "subprocess.Popen", .root = "(dS'w'\ncsubprocess\nPopen\n(S'id'\ntRs"},
    /* storages */
    {"a storage that is missing", ZIP, "storage 1 is missing", .key = "S'1'\n"},
    {"a storage outside the archive", ZIP, "is missing", .key = "S'../../etc/passwd'\n"},
    {"a storage with an empty key", ZIP, "key of a storage is empty", .key = "S''\n"},
    {"a storage whose key is a number", ZIP, "key of a storage is an integer", .key = "I0\n"},
    {"a storage whose key has a zero byte", ZIP, "key of a storage", .key = "S'0\\x00'\n"},
    {"a storage larger than its entry", ZIP, "has 64 bytes, the pickle says 128", .elements = "I32\n"},
    {"a storage smaller than its entry", ZIP, "has 64 bytes, the pickle says 32", .elements = "I8\n"},
    {"a storage of -1 elements", ZIP, "size of a storage is not", .elements = "I-1\n"},
    {"a storage of 2^62 elements", ZIP, "size of a storage overflows", .elements = "L4611686018427387904L\n"},
    {"a storage of 2^70 elements", ZIP, "size of a storage is not", .elements = "L1180591620717411303424L\n"},
    {"a storage of text size", ZIP, "size of a storage is not", .elements = "S'16'\n"},
    {"a storage of another type's size", ZIP, "has 64 bytes, the pickle says 128", .storage = "ctorch\nDoubleStorage\n"},
    {"a storage of quantized numbers", ZIP, "torch.QInt8Storage, a type that dg_cuda does not read", .storage = "ctorch\nQInt8Storage\n"},
    {"a storage of another program", ZIP, "evil.FloatStorage", .storage = "cevil\nFloatStorage\n"},
    {"a storage whose class is a text", ZIP, "type of a storage is a text", .storage = "S'FloatStorage'\n"},
    {"a persistent id that is a number", ZIP, "a persistent id is an integer", .persistent = "I3\n"},
    {"a persistent id of another kind", ZIP, "not a storage", .persistent = "(S'module'\nI1\nt"},
    {"an empty persistent id", LEGACY, "names one that nothing refers to", .persistent = "(t"},
    {"a view of a storage past its end", LEGACY, "a view of a storage lies outside",
     .persistent = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI16\n(S'1'\nI9\nI8\ntt"},
    {"a view of a storage before its beginning", LEGACY, "a view of a storage lies outside",
     .persistent = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI16\n(S'1'\nI-1\nI8\ntt"},
    {"a view of a storage that is a number", LEGACY, "a view of a storage lies outside",
     .persistent = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI16\nI5\nt"},
    {"a storage that lies in another file", PLAIN, "lies in another file"},
    {"a storage from a text", PLAIN, "made of a text instead of bytes",
     .entry = REDUCE "(ctorch.storage\n_load_from_bytes\n(S'abc'\ntRI0\n(I4\nt(I1\ntI00\nNtR"},
    {"a storage from damaged bytes", PLAIN, "magic number",
     .entry = REDUCE "(ctorch.storage\n_load_from_bytes\n(S'\\xff\\xfe'\ntRI0\n(I4\nt(I1\ntI00\nNtR"},
    {"a storage that is a list", ZIP, "its storage is a list", .entry = REDUCE "((lI0\n(I4\nt(I1\ntI00\nNtR"},
    /* views */
    {"an offset past the end", ZIP, "lie outside its storage", .offset = "I17\n"},
    {"an offset that leaves no room", ZIP, "lie outside its storage", .offset = "I1\n"},
    {"a negative offset", ZIP, "offset is not", .offset = "I-4\n"},
    {"an offset of 2^63", ZIP, "offset is not", .offset = "L9223372036854775808L\n"},
    {"an offset of 2^63 - 1", ZIP, "lie outside its storage", .offset = "L9223372036854775807L\n"},
    {"an offset that is a float", ZIP, "offset is not", .offset = "F0.0\n"},
    {"a shape past the end", ZIP, "lie outside its storage", .shape = "(I5\nI4\nt"},
    {"a negative shape", ZIP, "shape is not of non-negative", .shape = "(I-4\nI4\nt"},
    {"a shape that overflows", ZIP, "its shape overflows", .shape = "(L4294967296L\nL4294967296L\nt", .stride = "(I0\nI0\nt"},
    {"a shape of 2^61 without strides", ZIP, "are said to hold", .shape = "(L1152921504606846975L\nt", .stride = "(I0\nt"},
    {"a shape of floats", ZIP, "shape is not of non-negative", .shape = "(F4.0\nI4\nt"},
    {"a shape that is a number", ZIP, "its shape is an integer", .shape = "I16\n"},
    {"nine dimensions", ZIP, "9 dimensions", .shape = "(I1\nI1\nI1\nI1\nI1\nI1\nI1\nI1\nI1\nt"},
    {"more strides than dimensions", ZIP, "2 dimensions and 3 strides", .stride = "(I4\nI1\nI1\nt"},
    {"a stride past the end", ZIP, "lie outside its storage", .stride = "(I5\nI1\nt"},
    {"a negative stride", ZIP, "stride is not of non-negative", .stride = "(I-4\nI1\nt"},
    {"a stride that overflows", ZIP, "lie outside its storage", .stride = "(L9223372036854775807L\nL9223372036854775807L\nt"},
    {"a stride of 2^62", ZIP, "lie outside its storage", .stride = "(L4611686018427387904L\nI1\nt"},
    {"a stride of nothing", ZIP, "its stride is None", .stride = "N"},
    {"a tensor of a terabyte from 64 bytes", ZIP, "are said to hold", .shape = "(I1000000\nI1000000\nt", .stride = "(I0\nI0\nt"},
    {"an unknown dtype", ZIP, "its dtype is torch.float8_e4m3fn",
     .entry = "ctorch._utils\n_rebuild_tensor_v3\n((S'storage'\nctorch.storage\nUntypedStorage\nS'0'\nS'cpu'\nI64\ntQI0\n(I4\nt("
              "I1\ntI00\nNctorch\nfloat8_e4m3fn\ntR"},
    /* containers */
    {"big-endian numbers", ZIP, "\"big\"-endian", .order = "big"},
    {"a long byteorder record", ZIP, "byteorder record has 20 bytes", .order = "little little little"},
    {"TorchScript", ZIP, "TorchScript", .name = "x/constants.pkl"},
    {"a compressed storage that is missing", PACKED, "storage 0 is missing", .name = "x/data/9"},
    {"a compressed storage of another size", PACKED, "has 64 bytes, the pickle says 128", .elements = "I32\n"},
    {"a legacy list of keys that is a dict", LEGACY, "the list of storages is a dict", .keys = "(d."},
    {"a legacy list with an unknown key", LEGACY, "names one that nothing refers to", .keys = "(lS'7'\na."},
    {"a legacy list of numbers", LEGACY, "names one that nothing refers to", .keys = "(lI0\na."},
    {"a legacy list with a key twice", LEGACY, "twice", .keys = "(lS'0'\naS'0'\na."},
    {"a legacy list without the key", LEGACY, "storage 0 is missing", .keys = "(l."},
    {"a legacy storage of another count", LEGACY, "has 15 elements, the pickle says 16", .count = "\x0f\0\0\0\0\0\0"},
    {"a legacy storage of 2^64 elements", LEGACY, "18446744073709551615 elements", .count = "\xff\xff\xff\xff\xff\xff\xff\xff"},
    {"a legacy storage that is cut", LEGACY, "wants 64 bytes and the file has 60 more", .bytes = 60},
    {"bytes after the last legacy storage", LEGACY, "4 bytes follow the last storage", .bytes = 68},
    {"a legacy file without a list", LEGACY, "the list of storages", .keys = ""},
};
static void honest(const Setup *s) { /* the files that the lies are told in are themselves accepted */
    static const Form forms[] = {ZIP, PACKED, LEGACY};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#ifndef DG_HAVE_ZLIB
        if (forms[i] == PACKED) continue;
#endif
        Made m = {0};
        char path[96], out[96];
        Error e = {""};
        make(&(Lie){.form = forms[i]}, &m);
        FILE *f = fopen(in_dir(s, "good.pt", path, sizeof path), "wb");
        if (f) fwrite(m.data, 1, m.bytes, f), fclose(f);
        const char *in = path;
        CHECK(convert(&in, 1, in_dir(s, "good.safetensors", out, sizeof out), NULL, NULL, &e), "form %d: %s", forms[i], e.text);
        made_free(&m);
    }
}
/* One changed bit in a stored storage, and in the middle of a larger one: only its CRC tells. */
static void damage(const Setup *s) {
    Made m = {0};
    make(&(Lie){.form = ZIP}, &m);
    const MadeEntry *x = &m.entry[1];
    m.data[x->end - 7] ^= 4;
    refuse(s, "a changed bit", m.data, m.bytes, "the file is damaged");
    made_free(&m);
    enum { ELEMENTS = 1000003 };
    char shape[64], elements[64];
    snprintf(shape, sizeof shape, "(I%d\nt", ELEMENTS), snprintf(elements, sizeof elements, "I%d\n", ELEMENTS);
    Lie large = {.form = ZIP, .bytes = 4 * ELEMENTS, .elements = elements, .shape = shape, .stride = "(I1\nt"};
    make(&large, &m);
    m.data[m.entry[1].end - 2 * ELEMENTS] ^= 1;
    refuse(s, "a changed bit in a large storage", m.data, m.bytes, "the file is damaged");
    made_free(&m);
    large.shape = "(I1000\nt"; /* a view of a part, which is not where the damage is */
    make(&large, &m);
    m.data[m.entry[1].end - 2] ^= 1;
    refuse(s, "a changed bit beside what is used", m.data, m.bytes, "the file is damaged");
    made_free(&m);
}
static void truncations(const Setup *s) {
    static const Form forms[] = {ZIP, LEGACY};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        Made m = {0};
        char bad[96], out[96];
        in_dir(s, "bad.pt", bad, sizeof bad), in_dir(s, "out.safetensors", out, sizeof out);
        make(&(Lie){.form = forms[i]}, &m);
        for (size_t n = 0; n < m.bytes; n++) {
            FILE *f = fopen(bad, "wb");
            if (f) fwrite(m.data, 1, n, f), fclose(f);
            Error e = {""};
            const char *in = bad;
            CHECK(!convert(&in, 1, out, NULL, NULL, &e) && is_sentence(e.text, "bad.pt"), "form %d cut at %zu: %s", forms[i], n, e.text);
        }
        made_free(&m);
    }
}

/* ---- what is no checkpoint, and what only looks like a small one --------------------------------------------------------------- */
static void strangers(const Setup *s) {
    static const struct {
        const char *what, *data, *wanted;
    } other[] = {
        {"an empty file", "", "empty file"},
        {"a web page", "<!DOCTYPE html><html>", "a web page"},
        {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"},
        {"a gzip file", "\x1f\x8b\x08 and more", "gzip"},
        {"a GGUF file", "GGUF\x03 and more", "GGUF"},
        {"text", "hello, this is not a checkpoint", "neither safetensors nor PyTorch"},
        {"an archive of nothing", "PK\x05\x06", "too short for a ZIP archive"},
        {"a pickle with more behind it", "(dS'a'\nI1\ns.and more", "8 bytes follow the pickle's end"},
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        refuse(s, other[i].what, other[i].data, strlen(other[i].data), other[i].wanted);
    uint8_t tar[1024] = "sys_info";
    memcpy(tar + 257, "ustar", 5);
    refuse(s, "a tar file", tar, sizeof tar, "a tar file");
    Made m = {0};
    made_stored(&m, "x/other.txt", "abc", 3);
    made_finish(&m, false);
    refuse(s, "an archive without data.pkl", m.data, m.bytes, "without data.pkl");
    made_free(&m);
}
/* Opcodes repeated: a pickle in a plain file. */
static void bomb(const Setup *s, const char *what, const char *head, const char *unit, int times, const char *tail, const char *wanted) {
    Text t = {0};
    text_printf(&t, "%s", head);
    for (int i = 0; i < times; i++) text_printf(&t, unit, i); /* the unit may hold one %d */
    text_printf(&t, "%s", tail);
    refuse(s, what, t.text, t.len, wanted);
    text_free(&t);
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void bombs(const Setup *s) {
    static const char one[] = REDUCE "((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI16\ntQI0\n(I16\nt(I1\ntI00\nNtRp0\n0(d";
    /* shared branches: 2^300 modules, 3^200 parts */
    bomb(s, "modules that share modules", "(dS'_parameters'\n(dsS'_modules'\n(dsp0\n0cm\nM\n(tRg0\nbp0\n0",
         "(dS'_parameters'\n(dsS'_modules'\n(dS'a'\ng0\nsS'b'\ng0\nssp1\n0cm\nM\n(tRg1\nbp0\n0", 20, "g0\n.", "shared so often");
    bomb(s, "modules within modules", "(dS'_parameters'\n(dsS'_modules'\n(dsp0\n0cm\nM\n(tRg0\nbp0\n0",
         "(dS'_parameters'\n(dsS'_modules'\n(dS'a'\ng0\nssp1\n0cm\nM\n(tRg1\nbp0\n0", 60, "g0\n.", "nested more than 32 deep");
    bomb(s, "parts that share parts", "(dp0\n0", "(dS'a'\ng0\nsS'b'\ng0\nsS'c'\ng0\nsp0\n0", 200, "g0\n.",
         "none of its parts holds tensors");
    bomb(s, "a hundred thousand tensors in one", one, "S't%d'\ng0\ns", 100000, ".", "lies in another file");
    bomb(s, "two hundred thousand entries", "(d", "S'%d'\nNs", 200000, ".", "none of its parts holds tensors");
    bomb(s, "a deep tuple", "N", "\x85", 5000, ".", "nested more than 1000 deep");
    bomb(s, "a module whose parameters are a list", "cm\nM\n(tR(dS'_parameters'\n(lI1\nasS'_modules'\n(dsb.", "", 0, "",
         "parameters of  are a list");
    bomb(s, "a module whose parameter is a number", "cm\nM\n(tR(dS'_parameters'\n(dS'w'\nI1\nssS'_modules'\n(dsb.", "", 0, "",
         "parameter w is an integer");
    bomb(s, "a module with a part that is a number", "cm\nM\n(tR(dS'_parameters'\n(dsS'_modules'\n(dS'w'\nI1\nssb.", "", 0, "",
         "module w. is an integer");
    bomb(s, "a module with a part of no name", "cm\nM\n(tR(dS'_parameters'\n(dsS'_modules'\n(dI1\nI1\nssb.", "", 0, "", "is an integer");
    /* the same, where the storage is there */
    Text t = {0};
    text_printf(&t, "%s", one);
    for (int i = 0; i < 40000; i++) text_printf(&t, "S't%d'\ng0\ns", i);
    text_printf(&t, ".");
    uint8_t data[64] = {0};
    Made m = {0};
    made_stored(&m, "x/data.pkl", t.text, t.len);
    made_stored(&m, "x/data/0", data, sizeof data);
    made_finish(&m, false);
    refuse(s, "forty thousand tensors in one storage", m.data, m.bytes, "more than 32768 tensors");
    made_free(&m);
    text_free(&t);
}
#pragma GCC diagnostic pop
#ifdef DG_HAVE_ZLIB
static void zip_bombs(const Setup *s) {
    enum { HUGE_BYTES = 40 << 20 };
    uint8_t *zeros = dg_alloc(HUGE_BYTES);
    size_t packed_bytes;
    uint8_t *packed = made_deflate(zeros, HUGE_BYTES, &packed_bytes);
    uint32_t crc = crc32_of(0, zeros, HUGE_BYTES);
    free(zeros);
    static const char *const names[] = {"x/data/0", "x/data.pkl"};
    for (int i = 0; i < 2; i++) {
        Made m = {0};
        Text t = {0};
        state_dict(&(Lie){.elements = "I10485760\n", .shape = "(I10485760\nt", .stride = "(I1\nt"}, &t);
        if (i == 0) made_stored(&m, "x/data.pkl", t.text, t.len);
        made_local(
            &m,
            (MadeEntry){.name = names[i], .data = packed, .packed_bytes = packed_bytes, .bytes = HUGE_BYTES, .crc = crc, .deflated = true});
        made_finish(&m, false);
        refuse(s, i ? "a zip bomb for a pickle" : "a zip bomb for a storage", m.data, m.bytes, "zip bomb");
        made_free(&m);
        text_free(&t);
    }
    free(packed);
}
#endif

/* ---- images from the official files ---------------------------------------------------------------------------------------------- */
static void same_images(const Setup *s) {
    char said[8192];
    NpyArray a[2] = {{0}, {0}};
    char cache[96];
    setenv("XDG_CACHE_HOME", in_dir(s, "cache", cache, sizeof cache), 1);
    for (int from_official = 0; from_official < 2; from_official++) {
        char out[96], samples[128], file[OFFICIAL_FILES][160], option[OFFICIAL_FILES][600];
        in_dir(s, from_official ? "official" : "native", out, sizeof out);
        const char *args[] = {"generate", "--device=cpu", "--seeds=0-3", "--steps=4", "--format=npz", "--outdir",
                              out,        NULL,           NULL,          NULL,        NULL,           NULL};
        static const char *const role[OFFICIAL_FILES] = {"network", "extractor", "discriminator"};
        for (int i = 0; from_official && i < OFFICIAL_FILES; i++) {
            official_write(i, s->dir, file[i], sizeof file[i]);
            snprintf(option[i], sizeof option[i], "--%s=%s", role[i], file[i]);
            args[7 + i] = option[i];
        }
        if (from_official) args[7 + OFFICIAL_FILES] = "--extractor_num_head_channels=32";
        int code = run(s, false, said, sizeof said, args);
        CHECK(code == 0, "generate: exit code %d: %s", code, said);
        Error e = {""};
        snprintf(samples, sizeof samples, "%s/samples.npz", out);
        Npz *z = npz_open(samples, &e);
        CHECK(z && npz_read(z, "arr_0", &a[from_official], &e), "%s", e.text);
        npz_close(z);
    }
    size_t bytes = a[0].count * (size_t)a[0].bytes;
    CHECK(bytes == 4 * 32 * 32 * 3 && a[1].count == a[0].count && !memcmp(a[0].data, a[1].data, bytes),
          "the official files give other images");
    CHECK(strstr(said, "converted once"), "no word of the conversion: %s", said);
    npy_free(&a[0]);
    npy_free(&a[1]);
}
int main(int argc, char **argv) {
    Setup s = {.dir = "/tmp/dg_test_checkpoint_XXXXXX"};
    char beside[PATH_MAX], program[PATH_MAX];
    snprintf(beside, sizeof beside, "%s", argv[0]);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(beside, '/');
        if (slash) *slash = 0;
    }
    snprintf(program, sizeof program, "%.*s/dg_cuda", PATH_MAX - 10, beside);
    s.program = realpath(argc > 1 ? argv[1] : program, NULL);
    if (!CHECK(mkdtemp(s.dir), "no temporary folder")) return check_done("test_checkpoint");
    if (!s.program) not_run("the program: %s is not there", program);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
#ifndef DG_HAVE_ZLIB
        if (lies[i].form == PACKED) continue;
#endif
        Made m = {0};
        make(&lies[i], &m);
        refuse(&s, lies[i].what, m.data, m.bytes, lies[i].wanted);
        made_free(&m);
    }
    honest(&s);
    damage(&s);
    truncations(&s);
    strangers(&s);
    bombs(&s);
#ifdef DG_HAVE_ZLIB
    zip_bombs(&s);
#else
    not_run("compressed storages: built without zlib");
#endif
    if (s.program) same_images(&s);
    char clean[96];
    snprintf(clean, sizeof clean, "rm -rf %s", s.dir);
    CHECK(system(clean) == 0, "%s was not removed", s.dir);
    free(s.program);
    return check_done("test_checkpoint");
}
