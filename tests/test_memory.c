/* test_memory.c -- devices with too little memory, on the emulated one, which can be given any (tests/cuda_on_cpu): what a network
 * needs is predicted to the byte, what fails later leaves nothing behind, and the program halves its batch without changing images.
 * Usage: test_memory [PROGRAM]; without it, dg_cuda-emu of the same build folder. NOT RUN where there is no device emu.     */
#include "program/networks.h"
#include "program.h"
#include "tiny_model.h"

enum { UNIT = DG_ALIGN }; /* an allocation takes a multiple of it */
static const size_t PLENTY = (size_t)1 << 30;
static void set_memory(size_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    setenv("EMU_MEMORY", text, 1);
}
static bool fits(Device *d, size_t bytes) {
    void *p = d->be->alloc(d, bytes);
    if (p) d->be->release(d, p);
    return p != NULL;
}
/* What is free of `memory`, by trying. */
static size_t free_bytes(Device *d, size_t memory) {
    size_t low = 0, high = memory / UNIT; /* low fits, high + 1 does not */
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (fits(d, middle * UNIT)) low = middle;
        else high = middle - 1;
    }
    return low * UNIT;
}

/* ---- the prediction ------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *path;
    const Json *network, *extractor, *head;
} Case;
static Exec *bind(const Case *c, Device *d, int batch, bool fuse, Predictor **network, Guide **guide, Error *e) {
    *network = NULL, *guide = NULL;
    Weights *w = weights_synthetic(1, c->network ? c->network : c->extractor), *head = c->head ? weights_synthetic(2, c->head) : NULL;
    if (c->network) *network = predictor_new(d, w, batch, 1, fuse, e);
    else *guide = guide_new(d, w, head, batch, (GuideOptions){.fuse = fuse}, e);
    weights_free(w), weights_free(head);
    return *network ? (*network)->net->exec : *guide ? (*guide)->net->exec : NULL;
}
static void predict(const Case *c, Device *d, const char *precision, int batch, bool fuse) {
    Predictor *network;
    Guide *guide;
    Error e = {""};
    char what[256];
    snprintf(what, sizeof what, "%s %s batch %d%s", c->path, precision, batch, fuse ? "" : ", not fused");
    set_memory(UNIT);
    Exec *x = bind(c, d, batch, fuse, &network, &guide, &e);
    const char *sum = strstr(e.text, "needs "), *opened = sum ? strchr(sum, '(') : NULL;
    size_t needed = 0, activations = 0, weights = 0, workspaces = 0;
    bool said =
        !x && e.out_of_memory && opened &&
        sscanf(opened, "(%zu bytes: activations %zu, weights %zu, workspaces %zu)", &needed, &activations, &weights, &workspaces) == 4;
    bool free_said = said && strstr(e.text, "(256 bytes) free") != NULL;
    if (!CHECK(free_said, "%s, no memory: %s", what, e.text)) return;
    CHECK(needed == activations + weights + workspaces && activations > 0 && weights > 0, "%s: %s", what, e.text);
    set_memory(needed - UNIT);
    e = (Error){""};
    x = bind(c, d, batch, fuse, &network, &guide, &e);
    CHECK(!x && e.out_of_memory && strstr(e.text, "needs "), "%s: %zu bytes are not refused: %s", what, needed - UNIT, e.text);
    if (x) predictor_free(network), guide_free(guide);
    set_memory(needed);
    e = (Error){""};
    x = bind(c, d, batch, fuse, &network, &guide, &e);
    if (CHECK(x, "%s: does not fit into the %zu bytes that it was said to need: %s", what, needed, e.text)) {
        CHECK(!fits(d, 1), "%s: %zu of the %zu bytes predicted are not used", what, free_bytes(d, needed), needed);
        CHECK(x->weight_bytes <= weights && weights - x->weight_bytes < (size_t)x->g->nt * UNIT, "%s: %zu bytes of weights, %zu predicted",
              what, x->weight_bytes, weights);
        CHECK(x->g->arena_bytes == activations, "%s: %zu bytes of activations, %zu predicted", what, x->g->arena_bytes, activations);
    }
    predictor_free(network), guide_free(guide);
    CHECK(fits(d, needed), "%s: memory is lost", what);
}
static void predict_case(const char *path, bool full_size) {
    static const char *const precisions[] = {"fp16", "fp32", "bf16", "tf32"};
    Error e = {""};
    SafeTensors *file = st_open(path, &e);
    const char *text = file ? st_metadata(file, "case") : NULL;
    Json *j = text ? json_parse(text, strlen(text), &e) : NULL;
    if (CHECK(j, "%s: %s", path, e.text)) {
        Case c = {path, json_get(j, "network"), json_get(j, "extractor"), json_get(j, "head")};
        for (int p = 0; p < (full_size ? 1 : 4); p++) {
            Device *d = device_open("emu", precisions[p], &e);
            if (!CHECK(d, "%s", e.text)) continue;
            for (int batch = 1; batch <= (full_size ? 1 : 3); batch += 2)
                for (int fuse = 1; fuse >= full_size; fuse--) predict(&c, d, precisions[p], batch, fuse);
            device_close(d);
        }
    }
    json_free(j);
    st_close(file);
}

/* ---- what fails later ------------------------------------------------------------------------------------------------------- */
static bool open_tiny(const Setup *s, Networks *n, Error *e) {
    char network[128], extractor[128], head[128];
    snprintf(network, sizeof network, "%s/tiny.safetensors", s->dir),
        snprintf(extractor, sizeof extractor, "%s/extractor.safetensors", s->dir);
    snprintf(head, sizeof head, "%s/head.safetensors", s->dir);
    const char *const path[ROLES] = {network, extractor, head};
    ConvertOptions o = {0};
    return networks_open(n, path, &o, true, e);
}
/* Every allocation fails once: nothing is left of the engine, and the sentence says how much was wanted. */
static void fail_each(const Setup *s) {
    Error e = {""};
    Networks n;
    Engine g;
    SampleOptions o = sample_defaults();
    Device *d = device_open("emu", NULL, &e);
    if (!CHECK(d && open_tiny(s, &n, &e), "%s", e.text)) return;
    enum { ENOUGH = 1 << 22 };
    set_memory(ENOUGH);
    int k = 0;
    for (bool made = false; !made && k < 10000; k++) {
        char count[16];
        snprintf(count, sizeof count, "%d", k);
        setenv("EMU_MALLOC_FAIL", count, 1);
        e = (Error){""};
        made = engine_new(&g, d, &n, &o, 2, true, &e);
        if (made) break;
        CHECK(e.out_of_memory && strstr(e.text, "not enough memory on device emu for ") && !strchr(e.text, '\n'),
              "allocation %d fails: \"%s\"", k, e.text);
        CHECK(fits(d, ENOUGH), "allocation %d fails: memory is lost", k);
    }
    unsetenv("EMU_MALLOC_FAIL");
    CHECK(k > 20 && k < 10000, "%d allocations", k);
    engine_free(&g);
    printf("each of %d allocations of an engine has failed\n", k);
    CHECK(fits(d, ENOUGH), "memory is lost");
    networks_close(&n);
    device_close(d);
}

/* ---- the program -------------------------------------------------------------------------------------------------------------- */
enum { BATCH = 4 };
/* What the engine of `generate` takes at this batch. */
static size_t engine_bytes(const Setup *s, int batch) {
    Error e = {""};
    Networks n;
    Engine g;
    SampleOptions o = sample_defaults();
    o.num_steps = 2;
    Device *d = device_open("emu", NULL, &e);
    size_t bytes = 0;
    if (!CHECK(d && open_tiny(s, &n, &e), "%s", e.text)) return 0;
    enum { ENOUGH = 1 << 26 };
    set_memory(ENOUGH);
    if (CHECK(engine_new(&g, d, &n, &o, batch, true, &e), "%s", e.text)) bytes = ENOUGH - free_bytes(d, ENOUGH);
    engine_free(&g);
    networks_close(&n);
    device_close(d);
    return bytes;
}
static Result *generate(const Setup *s, int batch, const char *outdir) {
    char args[512];
    snprintf(
        args, sizeof args,
        "generate --device emu --network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors --steps 2 "
        "--format npz --seeds 0-%d --batch %d --outdir %s",
        BATCH - 1, batch, outdir);
    return run(s, args);
}
/* The run has gone on with a smaller batch, said so in one line, and made the images of `all`. */
static void check_halved(const Setup *s, Result *r, const char *outdir, int batch, int wanted) {
    char line[128], made[128];
    snprintf(line, sizeof line, "going on with --batch %d instead of %d", batch, wanted);
    CHECK(r->code == 0 && !r->err[0], "%s: exit code %d, %s", outdir, r->code, r->err);
    const char *said = strstr(r->out, "going on with");
    CHECK(said && !strncmp(said, line, strlen(line)) && !strstr(said + 1, "going on with"), "%s: \"%s\" is not said once: %s", outdir, line,
          r->out);
    const char *second = strchr(r->out, '\n'), *end = second ? strchr(second + 1, '\n') : NULL;
    CHECK(said && end && said > second && said < end, "%s: that is not the line after the networks: %s", outdir, r->out);
    snprintf(made, sizeof made, "%s/samples.npz", outdir);
    CHECK(same_file(s, made, "all/samples.npz"), "%s: other images", outdir);
    Json *j = manifest(s, outdir);
    const Json *runs = json_get(j, "runs");
    CHECK(runs && runs->child && json_get(runs->child, "batch")->number == batch, "%s: the manifest has another batch", outdir);
    json_free(j);
}
static void too_little(const Setup *s) {
    size_t needed[BATCH + 1];
    for (int n = 1; n <= BATCH; n *= 2) needed[n] = engine_bytes(s, n);
    if (!CHECK(needed[1] && needed[1] < needed[2] && needed[2] < needed[4], "an engine takes %zu, %zu, %zu bytes", needed[1], needed[2],
               needed[4]))
        return;
    set_memory(needed[4]);
    Result *r = generate(s, BATCH, "all");
    CHECK(r->code == 0 && !r->err[0] && !strstr(r->out, "going on"), "exactly enough memory: exit code %d, %s%s", r->code, r->out, r->err);
    set_memory(needed[4] - UNIT), check_halved(s, generate(s, BATCH, "two"), "two", 2, BATCH);
    set_memory(needed[2]), check_halved(s, generate(s, BATCH, "just-two"), "just-two", 2, BATCH);
    set_memory(needed[2] - UNIT), check_halved(s, generate(s, BATCH, "one"), "one", 1, BATCH);
    CHECK(strstr(generate(s, 3, "one")->out, "4 of 4 images are there already"), "a run that has nothing to do takes no memory");
    set_memory(needed[1] - UNIT);
    fails(generate(s, BATCH, "none"), "one image does not fit", 1, "one image at a time is too much: .*emu.*[0-9]+ bytes");
    set_memory(4096);
    fails(generate(s, BATCH, "none"), "nothing fits", 1,
          "device emu:0 has 0.0 MiB \\(4096 bytes\\) free, and a network needs [0-9.]+ MiB \\([0-9]+ bytes: activations");
    CHECK(count_files(s, "none", ".npz") == 0, "images without memory");
    fails(run(s, "bench --device emu --batch 4 --repeats 1 --network tiny.safetensors"), "bench", 1, "--batch 4 is too much: .*4096 bytes");
    /* memory in pieces: the prediction was right, and an allocation fails all the same */
    set_memory(PLENTY);
    setenv("EMU_MALLOC_FAIL", "30", 1);
    r = generate(s, BATCH, "pieces");
    check_halved(s, r, "pieces", 2, BATCH);
    CHECK(strstr(r->out, "not enough memory on device emu for "), "%s", r->out);
    fails(generate(s, 1, "none"), "pieces, one image", 1, "one image at a time is too much: not enough memory on device emu for .*bytes");
    unsetenv("EMU_MALLOC_FAIL");
}
int main(int argc, char **argv) {
    static const char *const small[] = {"nets/edm_tiny_ddpmpp", "nets/edm_tiny_ncsnpp_skip", "nets/edm_tiny_adm",
                                        "nets/iddpm_tiny_adm",  "guidance/disc_tiny",        "guidance/disc_tiny_cond"};
    static const char *const full[] = {"nets/edm_cifar10_uncond", "guidance/disc_cifar10_uncond"};
    Setup s = {.device = "emu", .dir = "/tmp/dg_test_memory_XXXXXX"};
    if (!strstr(device_list(), "emu")) {
        not_run("no device emu in this build, and no other's memory can be taken away");
        return check_done("test_memory");
    }
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], true, "dg_cuda-emu"), path[256];
    s.program = real;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        snprintf(path, sizeof path, "tests/golden/%s.safetensors", small[i]), predict_case(path, false);
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        snprintf(path, sizeof path, "tests/golden/%s.safetensors", full[i]), predict_case(path, true);
    Error e = {""};
    bool ready = CHECK(real, "no program dg_cuda-emu") && CHECK(mkdtemp(s.dir), "no temporary folder") &&
                 CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                           tiny_write(at(&s, "extractor.safetensors"), tiny_extractor_config, 1, &e) &&
                           tiny_write(at(&s, "head.safetensors"), tiny_head_config, 1, &e),
                       "%s", e.text);
    if (ready) {
        fail_each(&s);
        too_little(&s);
        remove_folder(s.dir);
    }
    unsetenv("EMU_MEMORY");
    free(real);
    return check_done("test_memory");
}
