/* test_lines.c -- random command lines, made from valid ones: none may crash, hang or blame the program, and every refusal is one
 * sentence with exit code 1 or 2. Usage: test_lines [LINES [FIRST [PROGRAM]]]; the lines depend on their numbers alone.      */
#include "base/rng.h"
#include "program.h"
#include "files/npz.h"
#include "program/commands.h"
#include "tiny_model.h"

enum { MAX_WORDS = 40, SECONDS = 3 /* then it is asked to end */, GRACE = 60 /* and then made to */ };
static const Command *const commands[] = {&command_generate, &command_decode,  &command_encode, &command_verify,
                                          &command_info,     &command_convert, &command_bench,  &command_cache};
static const char *const valid[] = {
    "generate --network tiny.safetensors --seeds 0-3 --steps 2 --outdir out",
    "generate --network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors --seeds 5,7 --steps 2 --outdir "
    "out2 --format npz",
    "generate --network tiny.safetensors --seeds 0-5 --steps 1 --grid grid.png --grid-columns 3 --grid-scale 2",
    "generate --network uncond.safetensors --seeds 1 --steps 3 --solver euler --disc vp --schedule vp --scaling vp --outdir out3",
    "generate --network tiny.safetensors --class green --seeds 0-2 --steps 2 --S_churn 2 --outdir out --subdirs --overwrite",
    "generate --preset edm-cifar10-cond-dg --network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors "
    "--dry-run",
    "generate --network tiny.safetensors --seeds 0-1 --steps 1 --dtype fp32 --device ref --threads 2 --outdir out4 --batch 1",
    "generate --network dit.safetensors --vae vae.safetensors --seeds 0-2 --steps 2 --outdir out5 --format npz --vae-batch 2",
    "generate --network dit.safetensors --preset dit-xl-2-256 --steps 2 --seeds 0-2 --outdir out6 --format npz --save-latents",
    "decode latents.npz --vae vae.safetensors --outdir out7 --format npz --vae-batch 2",
    "decode latents.npz --vae vae.safetensors --outdir out8 --overwrite --device cpu",
    "encode --images pictures.npz --vae vae.safetensors --out encoded.npz --vae-batch 2 --overwrite --mean",
    "encode --images pictures.npz --vae vae.safetensors --out encoded2.npz --seeds 1,0 --size 16 --flip off --jpeg --labels auto",
    "verify --device cpu --tolerance-factor 2 case.safetensors",
    "info tiny.safetensors --tensors --batch 4",
    "info extractor.safetensors",
    "convert tiny.safetensors -o converted.safetensors --overwrite --dtype fp16",
    "convert tiny.safetensors extractor.safetensors new.safetensors",
    "bench --network tiny.safetensors --batch 1 --repeats 1 --warmup 0 --steps 2 --json bench.json --device cpu",
    "bench --synthetic config.json --batch 1 --repeats 1 --ops",
    "cache --cache folder",
    "cache --clear",
    "help generate",
    "--version",
};
/* No path that leads out of the work folder: the tests may run as the super-user. */
static const char *const values[] = {
    "0",
    "1",
    "-1",
    "2",
    "3",
    "1e9",
    "-1e308",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "1e-320",
    "4.5",
    "",
    "''",
    "--",
    "-",
    "-o",
    "-h",
    "--help",
    "auto",
    "off",
    "on",
    "true",
    "png",
    "npz",
    "0-3",
    "3-0",
    "0-",
    "0,0",
    "0-99999999",
    "18446744073709551615",
    "18446744073709551616",
    "green",
    "seeded",
    "balanced",
    "fp16",
    "bf16",
    "fp64",
    "cuda",
    "cpu",
    "ref",
    "ref64",
    "rounded",
    "cpu:1",
    "cuda:9",
    "toaster",
    "tiny.safetensors",
    "uncond.safetensors",
    "extractor.safetensors",
    "head.safetensors",
    "dit.safetensors",
    "vae.safetensors",
    "latents.npz",
    "pictures.npz",
    "notes.txt",
    "empty",
    "folder",
    "missing",
    "pipe",
    "config.json",
    "case.safetensors",
    "out",
    "out/manifest.json",
    "grid.png",
    "folder/x",
    "tiny.safetensors/x",
    "/dev/null",
    "/dev/full",
    "/proc/self/nothing",
    "https://example.org/x.pt",
    "\x1b[2J",
    "a\nb",
    "\xff\xfe",
    "%s%n%s",
    "loop",
    "edm-cifar10",
    "2147483648",
    "99999999999999999999",
};
enum { VALUES = sizeof values / sizeof *values };

typedef struct {
    uint64_t state;
} Random;
static uint32_t below(Random *r, uint32_t n) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((r->state >> 33) % n);
}
typedef struct {
    char *word[MAX_WORDS];
    int n;
} Line;
static void insert(Line *l, int at, const char *word) {
    if (l->n == MAX_WORDS) return;
    memmove(l->word + at + 1, l->word + at, (size_t)(l->n - at) * sizeof *l->word);
    l->word[at] = strdup(word);
    l->n++;
}
static void drop(Line *l, int at) {
    free(l->word[at]);
    l->n--;
    memmove(l->word + at, l->word + at + 1, (size_t)(l->n - at) * sizeof *l->word);
}
static void spoil(char **word, Random *r) { /* one character becomes another, or goes; never a '/' that was not there */
    size_t n = strlen(*word);
    if (!n) return;
    size_t at = below(r, (uint32_t)n);
    if (below(r, 3) == 0) memmove(*word + at, *word + at + 1, n - at);
    else {
        char c = (char)(1 + below(r, 255));
        (*word)[at] = c == '/' ? '.' : c;
    }
    if ((*word)[0] == '/') (*word)[0] = '_';
}
/* A value that the option can have, most of the time. */
static void plausible(const Option *o, Random *r, char *out, size_t size) {
    static const char *const numbers[] = {"0", "1", "2", "3", "4", "7", "0.5", "1.5", "16", "80"};
    if (o->kind == OPTION_CHOICE) {
        const char *s = o->value;
        for (uint32_t skip = below(r, 4); skip > 0 && strchr(s, '|'); skip--) s = strchr(s, '|') + 1;
        snprintf(out, size, "%.*s", (int)strcspn(s, "|"), s);
    } else if (o->kind == OPTION_TEXT || below(r, 8) == 0) snprintf(out, size, "%s", values[below(r, VALUES)]);
    else snprintf(out, size, "%s", numbers[below(r, sizeof numbers / sizeof *numbers)]);
}
/* An option of the line's command, or now and then of another one. */
static void add_option(Line *l, Random *r) {
    const Command *c = commands[below(r, sizeof commands / sizeof *commands)];
    char name[64], value[512];
    for (size_t k = 0; k < sizeof commands / sizeof *commands && l->n && below(r, 8); k++)
        if (!strcmp(commands[k]->name, l->word[0])) c = commands[k];
    const Option *o = &c->option[below(r, (uint32_t)c->options)];
    snprintf(name, sizeof name, "--%s", o->name);
    plausible(o, r, value, sizeof value);
    insert(l, l->n, name);
    if (o->kind != OPTION_FLAG && l->n < MAX_WORDS && !strcmp(l->word[l->n - 1], name)) insert(l, l->n, value);
}
static Line make(uint64_t number) {
    Random r = {number * 0x9E3779B97F4A7C15u + 1};
    Line l = {.n = 0};
    for (int i = 0; i < 4; i++) below(&r, 2);
    char *copy = strdup(valid[below(&r, sizeof valid / sizeof *valid)]), *rest = NULL;
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) insert(&l, l.n, w);
    free(copy);
    for (uint32_t changes = 1 + below(&r, 3); changes > 0; changes--) {
        int at = l.n ? (int)below(&r, (uint32_t)l.n) : 0;
        switch (below(&r, 12)) {
        case 0:
            if (l.n) drop(&l, at);
            break;
        case 1:
            if (l.n) insert(&l, (int)below(&r, (uint32_t)l.n + 1), l.word[at]);
            break;
        case 2:
            if (l.n) spoil(&l.word[at], &r);
            break;
        case 3: insert(&l, at, values[below(&r, VALUES)]); break;
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
        case 9: add_option(&l, &r); break;
        default:
            if (l.n > 1) {
                int k = 1 + (int)below(&r, (uint32_t)l.n - 1);
                free(l.word[k]);
                l.word[k] = strdup(values[below(&r, VALUES)]);
            }
        }
    }
    return l;
}
static void print_line(const Line *l) {
    for (int i = 0; i < l->n; i++) {
        fputs(" '", stdout);
        print_text(stdout, l->word[i]);
        putchar('\'');
    }
    putchar('\n');
}

/* ---- running ------------------------------------------------------------------------------------------------------------------ */
static bool wait_up_to(pid_t pid, int *status, int seconds) {
    for (int i = 0; i < 1000 * seconds; i += i < 100 ? 1 : 10) {
        if (waitpid(pid, status, WNOHANG) == pid) return true;
        nanosleep(&(struct timespec){0, i < 100 ? 1000000 : 10000000}, NULL);
    }
    return false;
}
/* A copy: a line may ask for it to be replaced. */
static bool write_latents(const char *path, Error *e) {
    enum { VALUES_OF_ONE = 4 * 8 * 8 };
    static const float values_of[2 * VALUES_OF_ONE];
    NpzWriter *w = npz_writer_open(path, e);
    if (w && npz_writer_array(w, "samples", 'f', 4, 4, (const int64_t[]){2, 4, 8, 8}, e) &&
        npz_writer_data(w, values_of, sizeof values_of, e))
        return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
static bool write_pictures(const char *path, Error *e) {
    static const uint8_t pixels[2 * 8 * 8 * 3];
    NpzWriter *w = npz_writer_open(path, e);
    if (w && npz_writer_array(w, "arr_0", 'u', 1, 4, (const int64_t[]){2, 8, 8, 3}, e) && npz_writer_data(w, pixels, sizeof pixels, e))
        return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
static bool copy_file(const char *from, const char *to, Error *e) {
    FileMap m;
    if (!file_map(from, &m, e)) return false;
    OutFile *out = out_open(to, e);
    bool ok = out && out_write(out, m.data, m.bytes, e) && out_finish(out, e);
    file_unmap(&m);
    return ok;
}
static bool prepare(const Setup *s) {
    Error e = {0};
    write_file(s, "notes.txt", "these are notes, not weights\n");
    write_file(s, "empty", "");
    write_file(s, "config.json", tiny_network_config);
    mkdir(at(s, "folder"), 0777);
    if (!exists(s, "pipe")) mkfifo(at(s, "pipe"), 0666);
    if (symlink("loop", at(s, "loop")) != 0) {}
    return CHECK(write_latents(at(s, "latents.npz"), &e) && write_pictures(at(s, "pictures.npz"), &e) &&
                     tiny_write(at(s, "dit.safetensors"), tiny_dit_config, 1, &e) &&
                     tiny_write(at(s, "vae.safetensors"), tiny_vae_config, 1, &e),
                 "%s", e.text) &&
           CHECK(copy_file("tests/golden/nets/edm_tiny_ddpmpp.safetensors", at(s, "case.safetensors"), &e) &&
                     tiny_write(at(s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                     tiny_write(at(s, "uncond.safetensors"), tiny_uncond_config, 1, &e) &&
                     tiny_write(at(s, "extractor.safetensors"), tiny_extractor_config, 1, &e) &&
                     tiny_write(at(s, "head.safetensors"), tiny_head_config, 1, &e),
                 "%s", e.text);
}
typedef struct {
    int code[3], stopped; /* exit codes 0, 1, 2; took too long and ended when asked */
} Counts;
static void run_line(const Setup *s, uint64_t number, Counts *counts) {
    Line l = make(number);
    char *argv[MAX_WORDS + 2], name[] = "dg_cuda";
    static char err[OUTPUT];
    int status = 0, n = 0;
    argv[n++] = name;
    for (int i = 0; i < l.n; i++) argv[n++] = l.word[i];
    argv[n] = NULL;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){64 << 20, 64 << 20});
        if (chdir(s->dir) != 0 || !freopen("/dev/null", "r", stdin) || !freopen("stdout.txt", "w", stdout) ||
            !freopen("stderr.txt", "w", stderr))
            _exit(99);
        execv(s->program, argv);
        _exit(98);
    }
    bool asked = !wait_up_to(pid, &status, SECONDS);
    if (asked) {
        kill(pid, SIGTERM);
        if (!wait_up_to(pid, &status, GRACE)) kill(pid, SIGKILL), waitpid(pid, &status, 0);
    }
    read_text(at(s, "stderr.txt"), err);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    bool stopped = asked && (code == 130 || code == 1000 + SIGTERM), sentence = lines(err) == 1 && !strncmp(err, "dg_cuda: ", 9);
    bool ok = stopped || (code == 0 && !err[0]) || ((code == 1 || code == 2) && sentence && !strstr(err, "mistake in dg_cuda"));
    if (!CHECK(ok, "line %llu: exit code %d, standard error: %s", (unsigned long long)number, code, err)) print_line(&l);
    if (stopped) counts->stopped++;
    else if (code >= 0 && code <= 2) counts->code[code]++;
    for (int i = 0; i < l.n; i++) free(l.word[i]);
}
int main(int argc, char **argv) {
    enum { QUICK = 200, FRESH = 100 /* lines, after which spoiled files are made again */ };
    Setup s = {.dir = "/tmp/dg_test_lines_XXXXXX"};
    long count = argc > 1 ? atol(argv[1]) : QUICK, first = argc > 2 ? atol(argv[2]) : 0;
    char *real = argc > 3 ? realpath(argv[3], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_lines");
    setenv("XDG_CACHE_HOME", s.dir, 1);
    Counts counts = {{0}};
    for (long i = first; i < first + count; i++) {
        if ((i - first) % FRESH == 0 && !prepare(&s)) break;
        run_line(&s, (uint64_t)i, &counts);
    }
    printf("%ld command lines: %d done, %d failed, %d wrong usage, %d stopped after %d s\n", count, counts.code[0], counts.code[1],
           counts.code[2], counts.stopped, SECONDS);
    CHECK(counts.code[0] > count / 50 && counts.code[1] > count / 50 && counts.code[2] > count / 50, "the lines are not of all kinds");
    remove_folder(s.dir);
    free(real);
    return check_done("test_lines");
}
