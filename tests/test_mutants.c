/* test_mutants.c -- changed checkpoints of every format: `info` and `convert` crash on none, refuse in one sentence, and what they
 * accept is what a second reader reads (tests/second_reader.py, where there is a python3).
 * Usage: test_mutants [FILES], of each format; DG_MUTANTS_KEEP=FOLDER keeps what the second reader reads otherwise.            */
#include "weights_tools/weights_tools.h"
#include "base/crc32.h"
#include "check.h"
#include "hostile.h"
#include "torch_writer.h"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef enum { NATIVE, ZIPPED, DEFLATED, LEGACY, PICKLE4, PICKLE2, SHARDS, FORMATS } Format;
static const struct {
    const char *name, *file, *kind; /* kind: of the record for the second reader */
} formats[FORMATS] = {
    {"safetensors", "mutant.safetensors", "nati"},    {"PyTorch zip", "mutant.pt", "zipp"},
    {"PyTorch zip, compressed", "mutant.pt", "zipp"}, {"PyTorch legacy", "mutant.pt", "lega"},
    {"pickle, protocol 4", "mutant.pkl", "pick"},     {"pickle, protocol 2", "mutant.pkl", "pick"},
    {"list of shards", "mutant.index.json", "shar"},
};
typedef struct {
    uint64_t state;
} Dice;
static uint32_t roll(Dice *d, uint32_t sides) {
    d->state ^= d->state << 13, d->state ^= d->state >> 7, d->state ^= d->state << 17;
    return sides ? (uint32_t)(d->state >> 33) % sides : 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------ */
static const struct {
    const char *name;
    DType dtype;
    int dims;
    int64_t shape[3];
} tensors[] = {{"a.weight", DG_F32, 2, {2, 3}}, {"a.bias", DG_F16, 1, {3}},  {"b", DG_F64, 1, {2}},
               {"c.steps", DG_I64, 2, {2, 2}},  {"d.mask", DG_U8, 1, {3}},   {"e.weight", DG_BF16, 3, {1, 2, 2}},
               {"f.empty", DG_F32, 1, {0}},     {"g.scalar", DG_F32, 0, {0}}};
enum { TENSORS = sizeof tensors / sizeof *tensors };
static void state_dict(TorchWriter *w) {
    uint8_t data[64];
    for (int i = 0; i < 64; i++) data[i] = (uint8_t)(i * 37 + 5);
    torch_open_ordered_dict(w);
    for (int i = 0; i < TENSORS; i++)
        torch_text(w, tensors[i].name), torch_tensor(w, tensors[i].dtype, tensors[i].dims, tensors[i].shape, data + i);
    torch_close_dict(w);
}
static Made native(int from, int to) {
    Made m = {0};
    Error e = {""};
    StWriter *w = st_writer_memory();
    size_t bytes = 0;
    uint8_t data[64];
    for (int i = 0; i < 64; i++) data[i] = (uint8_t)(i * 37 + 5);
    st_writer_metadata(w, "format", "pt");
    for (int i = from; i < to; i++) st_writer_tensor(w, tensors[i].name, tensors[i].dtype, tensors[i].dims, tensors[i].shape);
    bool ok = st_writer_begin(w, &e);
    for (int i = from; i < to && ok; i++) {
        size_t n = dtype_bytes(tensors[i].dtype);
        for (int d = 0; d < tensors[i].dims; d++) n *= (size_t)tensors[i].shape[d];
        ok = st_writer_data(w, data + i, n, &e);
    }
    void *file = st_writer_take(w, &bytes);
    made_bytes(&m, file, bytes);
    free(file);
    return m;
}
static void mutate(Made *m, Dice *d) {
    static const uint8_t opcodes[] = "NJKMGX\x8c\x88\x89(]}tuesaR\x81"
                                     "bcQ0\x85\x86\x87.\x93qhr\x94\x8a)";
    for (int times = 1 + (int)roll(d, 3); times > 0 && m->bytes > 1; times--) {
        uint32_t at = roll(d, (uint32_t)m->bytes), other = roll(d, (uint32_t)m->bytes), n = 1 + roll(d, 16);
        if (at + n > m->bytes) n = (uint32_t)m->bytes - at;
        switch (roll(d, 8)) {
        case 0: m->data[at] ^= (uint8_t)(1u << roll(d, 8)); break;
        case 1: m->data[at] = (uint8_t)roll(d, 256); break;
        case 2: m->data[at] = (uint8_t)(m->data[at] + (roll(d, 2) ? 1 : 255)); break;
        case 3: m->data[at] = opcodes[roll(d, sizeof opcodes - 1)]; break;
        case 4: memmove(m->data + at, m->data + at + n, m->bytes - at - n), m->bytes -= n; break; /* left out */
        case 5:                                                                                   /* twice */
            made_put(m, 0, (int)n);
            memmove(m->data + at + n, m->data + at, m->bytes - at - n);
            break;
        case 6: /* a piece of elsewhere */
            if (other + n > m->bytes) n = (uint32_t)m->bytes - other;
            memmove(m->data + at, m->data + other, at + n > m->bytes ? m->bytes - at : n);
            break;
        case 7:
            if (roll(d, 8) == 0) m->bytes = at; /* cut */
            else m->data[at] = m->data[other];
            break;
        }
    }
}
/* What is packed is changed before it is packed, half the time: the sums would give it away otherwise. */
static Made mutant_of(Format f, Dice *d) {
    bool inside = roll(d, 4) > 0;
    Made m = {0};
    if (f == NATIVE) m = native(0, TENSORS);
    else if (f == SHARDS) {
        Text t = {0};
        text_printf(&t, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
        for (int i = 0; i < TENSORS; i++)
            text_printf(&t, "%s\"%s\": \"piece-%d.safetensors\"", i ? ", " : "", tensors[i].name, 1 + i * 2 / TENSORS);
        text_printf(&t, "}}");
        made_bytes(&m, t.text, t.len);
        text_free(&t);
    } else {
        static const TorchForm forms[FORMATS] = {[LEGACY] = TORCH_LEGACY, [PICKLE4] = TORCH_PLAIN, [PICKLE2] = TORCH_PLAIN};
        TorchWriter w = torch_begin(forms[f], f == PICKLE4 ? 4 : 2);
        torch_open_dict(&w), torch_text(&w, "epoch"), torch_int(&w, 3), torch_text(&w, "ema"), state_dict(&w), torch_close_dict(&w);
        w.deflate = f == DEFLATED;
        if (inside) mutate(&w.pickle, d);
        m = torch_finish(&w);
        if (inside) return m;
    }
    mutate(&m, d);
    return m;
}

/* ---- the readers ---------------------------------------------------------------------------------------------------------------- */
typedef struct {
    long files, accepted, refused, bad; /* bad: refused without a sentence, or with something left */
    char example[256];
} Count;
static void record(FILE *to, const char *kind, const void *data, size_t bytes, const void *said, size_t said_bytes) {
    uint8_t n[8];
    for (int i = 0; i < 4; i++) n[i] = (uint8_t)(bytes >> 8 * i), n[4 + i] = (uint8_t)(said_bytes >> 8 * i);
    fwrite(kind, 1, 4, to), fwrite(n, 1, 4, to);
    if (bytes) fwrite(data, 1, bytes, to);
    fwrite(n + 4, 1, 4, to);
    if (said_bytes) fwrite(said, 1, said_bytes, to);
}
/* "name type [shape] CRC" and a zero byte, for each tensor. */
static Made describe(const SafeTensors *s) {
    Made m = {0};
    static const char *const names[] = {
        [DG_F32] = "F32", [DG_F16] = "F16", [DG_BF16] = "BF16", [DG_F64] = "F64", [DG_U8] = "U8", [DG_I64] = "I64"};
    for (int i = 0; i < s->count; i++) {
        const StTensor *x = &s->tensor[i];
        Text t = {0};
        text_printf(&t, "%s %s [", x->name, names[x->dtype]);
        for (int k = 0; k < x->dims; k++) text_printf(&t, k ? ",%lld" : "%lld", (long long)x->shape[k]);
        text_printf(&t, "] %08x", crc32_of(0, x->data, x->bytes));
        made_bytes(&m, t.text, t.len + 1);
        text_free(&t);
    }
    return m;
}
static void try_file(Format f, const char *folder, const Made *m, FILE *records, Count *c) {
    char in[160], out[160];
    Error e[2] = {{""}, {""}};
    struct stat st;
    snprintf(in, sizeof in, "%s/%s", folder, formats[f].file), snprintf(out, sizeof out, "%s/out.safetensors", folder);
    FILE *file = fopen(in, "wb");
    bool written = file && fwrite(m->data, 1, m->bytes, file) == m->bytes;
    if (!file || fclose(file) != 0 || !written) {
        c->bad++, snprintf(c->example, sizeof c->example, "%.200s was not written", in);
        return;
    }
    Inspection *x = inspect(in, NULL, &e[0]);
    const char *path = in;
    bool done = convert(&path, 1, out, &(ConvertOptions){.key = f == NATIVE || f == SHARDS ? NULL : "ema"}, NULL, &e[1]);
    c->files++;
    c->accepted += done, c->refused += !done;
    const char *name = strrchr(in, '/') + 1;
    if ((!x && !is_sentence(e[0].text, f == SHARDS ? "/" : name)) ||
        (!done && (!is_sentence(e[1].text, f == SHARDS ? "/" : name) || stat(out, &st) == 0)))
        c->bad++, snprintf(c->example, sizeof c->example, "%.120s | %.120s", e[0].text, e[1].text);
    SafeTensors *s = done ? st_open(out, &e[1]) : NULL;
    if (done && !s) c->bad++, snprintf(c->example, sizeof c->example, "%.200s", e[1].text);
    if (s) {
        Made said = describe(s);
        record(records, formats[f].kind, m->data, m->bytes, said.data, said.bytes);
        made_free(&said);
    }
    st_close(s);
    inspection_free(x);
    unlink(out);
}
enum { BATCH = 500 };
/* In a process of its own: a crash is one of the batch's files. */
static void batch(Format f, long first, long files, const char *folder, const char *records, Count *total) {
    char report[160];
    int status = -1;
    snprintf(report, sizeof report, "%s/report", folder);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        Count c = {0};
        FILE *to = fopen(records, "ab");
        for (long i = first; to && i < first + files; i++) {
            Dice d = {0x9E3779B97F4A7C15u * (uint64_t)(i * FORMATS + (long)f + 1)};
            for (int k = 0; k < 8; k++) roll(&d, 2);
            Made m = mutant_of(f, &d);
            try_file(f, folder, &m, to, &c);
            made_free(&m);
        }
        bool closed = to && fclose(to) == 0;
        FILE *r = fopen(report, "wb");
        bool told = r && fwrite(&c, sizeof c, 1, r) == 1;
        exit(r && fclose(r) == 0 && told && closed ? 0 : 3); /* exit: leaks are looked for */
    }
    waitpid(pid, &status, 0);
    Count c = {0};
    FILE *r = fopen(report, "rb");
    bool told = r && fread(&c, sizeof c, 1, r) == 1;
    if (r) fclose(r);
    unlink(report);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && told, "%s: one of the files %ld to %ld: %s %d", formats[f].name, first,
          first + files - 1, WIFSIGNALED(status) ? "signal" : "exit status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    total->files += c.files, total->accepted += c.accepted, total->refused += c.refused, total->bad += c.bad;
    if (c.bad) memcpy(total->example, c.example, sizeof c.example);
}
static void write_pieces(const char *folder, const char *records) {
    FILE *to = fopen(records, "ab");
    for (int p = 0; to && p < 2; p++) {
        char path[160], name[32];
        snprintf(name, sizeof name, "piece-%d.safetensors", 1 + p), snprintf(path, sizeof path, "%s/%s", folder, name);
        Made m = native(p ? TENSORS / 2 : 0, p ? TENSORS : TENSORS / 2);
        FILE *f = fopen(path, "wb");
        if (f) fwrite(m.data, 1, m.bytes, f), fclose(f);
        record(to, "piec", m.data, m.bytes, name, strlen(name));
        made_free(&m);
    }
    if (to) fclose(to);
}
int main(int argc, char **argv) {
    long files = argc > 1 ? atol(argv[1]) : 2000;
    /* in memory, where that is possible: a disk would take most of the time */
    char folder[40], records[64], command[512];
    snprintf(folder, sizeof folder, "%s/dg_test_mutants_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!CHECK(mkdtemp(folder) && files > 0, "no temporary folder, or no number of files")) return check_done("test_mutants");
    snprintf(records, sizeof records, "%s/records", folder);
    write_pieces(folder, records);
    for (Format f = 0; f < FORMATS; f++) {
#ifndef DG_HAVE_ZLIB
        if (f == DEFLATED) {
            not_run("compressed storages: built without zlib");
            continue;
        }
#endif
        Count c = {0};
        for (long i = 0; i < files; i += BATCH) batch(f, i, files - i < BATCH ? files - i : BATCH, folder, records, &c);
        printf("%-24s %8ld files: %8ld accepted, %8ld refused\n", formats[f].name, c.files, c.accepted, c.refused);
        CHECK(c.files == files && c.accepted > 0 && c.refused > 0, "%s: %ld files of %ld were tried", formats[f].name, c.files, files);
        CHECK(c.bad == 0, "%s: %ld times something else than a sentence: %s", formats[f].name, c.bad, c.example);
    }
    if (system("python3 -c pass 2>/dev/null") == 0) {
        const char *keep = getenv("DG_MUTANTS_KEEP");
        snprintf(command, sizeof command, "python3 tests/second_reader.py %s %.300s", records, keep ? keep : "");
        fflush(NULL);
        CHECK(system(command) == 0, "the second reader reads something else");
    } else not_run("the second reader: no python3");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0, "%s was not removed", folder);
    return check_done("test_mutants");
}
