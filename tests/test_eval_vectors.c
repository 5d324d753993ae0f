/* test_eval_vectors.c -- the numbers of the command eval against those that code in double made for the evaluation's specification: the
 * whole Inception network with made-up weights, 10 and 12 images, FID, sFID, Inception Score, precision, recall and KID by the rules
 * of ADM and of pytorch-fid. Usage: test_eval_vectors [PROGRAM].                                                            */
#include "files/npz.h"
#include "program.h"
#include "tiny_model.h"

#if defined DG_HAVE_LAPACK
static uint64_t hash(uint64_t s, uint64_t n) {
    uint64_t z = s + (n + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static double uniform(uint64_t s, uint64_t n) { return (double)(hash(s, n) >> 40) * 0x1p-24; }

/* ---- weights: those of the published file, by name, each a function of its unit's place -------------------------------------------------- */
static const char config[] = "{\"kind\": \"inception\", \"num_classes\": 1008}";
static const struct {
    const char *leaf;
    int seed;
    double least, range;
} norms[] = {{"weight", 2000, .75, .5}, {"bias", 3000, 0, .2}, {"running_mean", 4000, -.1, .2}, {"running_var", 5000, .75, .5}};
static void norm_name(const char *conv, const char *leaf, char out[160]) {
    snprintf(out, 160, "%.*sbn.%s", (int)(strlen(conv) - strlen("conv.weight")), conv, leaf);
}
static bool put(StWriter *w, const float *v, size_t count, Error *e) { return st_writer_data(w, v, count * sizeof *v, e); }
static bool write_unit(StWriter *w, int unit, Shape s, Error *e) {
    size_t count = shape_count(s);
    double fan = (double)s.c * s.h * s.w;
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = (float)((2 * uniform((uint64_t)(1000 + unit), i) - 1) * sqrt(6 / fan));
    bool ok = put(w, v, count, e);
    for (size_t k = 0; k < sizeof norms / sizeof *norms && ok; k++) {
        for (int c = 0; c < s.n; c++)
            v[c] = (float)(norms[k].least + norms[k].range * uniform((uint64_t)(norms[k].seed + unit), (uint64_t)c));
        ok = put(w, v, (size_t)s.n, e);
    }
    free(v);
    return ok;
}
static bool write_last(StWriter *w, Error *e) {
    size_t count = (size_t)1008 * 2048;
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = (float)(.08 * (2 * uniform(6000, i) - 1));
    bool ok = put(w, v, count, e);
    for (size_t i = 0; i < 1008; i++) v[i] = (float)(.5 * (2 * uniform(6001, i) - 1));
    ok = ok && put(w, v, 1008, e);
    free(v);
    return ok;
}
static void write_weights(const char *path) {
    Error e = {""};
    Json *j = json_parse(config, strlen(config), &e);
    Graph *g = graph_new((Precision){DG_F32, false});
    Ports ports = {0};
    void *c = model_config(&model_inception, j, &e);
    StWriter *w = c && model_build(&model_inception, g, c, "", 1, &ports, &e) ? st_writer_open(path, &e) : NULL;
    DG_CHECK(w, "%s", e.text);
    st_writer_metadata(w, "config", config);
    for (Tid t = 1; t < g->nt; t++) {
        if (g->t[t].view.kind != VIEW_FOLD_BN) continue;
        Shape s = g->t[t].shape;
        char name[160];
        st_writer_tensor(w, g->t[t].name, DG_F32, 4, (const int64_t[]){s.n, s.c, s.h, s.w});
        for (size_t k = 0; k < sizeof norms / sizeof *norms; k++) {
            norm_name(g->t[t].name, norms[k].leaf, name);
            st_writer_tensor(w, name, DG_F32, 1, (const int64_t[]){s.n});
        }
    }
    st_writer_tensor(w, "fc.weight", DG_F32, 2, (const int64_t[]){1008, 2048});
    st_writer_tensor(w, "fc.bias", DG_F32, 1, (const int64_t[]){1008});
    int units = 0;
    bool ok = st_writer_begin(w, &e);
    for (Tid t = 1; t < g->nt && ok; t++)
        if (g->t[t].view.kind == VIEW_FOLD_BN) ok = write_unit(w, units++, g->t[t].shape, &e);
    ok = ok && write_last(w, &e) && st_writer_finish(w, &e);
    CHECK(ok && units == 94, "%d units, %s", units, e.text);
    free(c);
    graph_free(g);
    json_free(j);
}

/* ---- images ------------------------------------------------------------------------------------------------------------------------- */
enum { SIDE = 32, BYTES = SIDE * SIDE * 3 };
static void write_images(const Setup *s, const char *name, int first, int n) {
    Error e = {""};
    const int64_t shape[4] = {n, SIDE, SIDE, 3};
    NpzWriter *w = npz_writer_open(at(s, name), &e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e);
    for (int i = first; ok && i < first + n; i++) {
        uint8_t p[BYTES];
        long sum = 0;
        for (int k = 0; k < BYTES; k++) {
            int y = k / 3 / SIDE, x = k / 3 % SIDE, c = k % 3;
            int noise = (int)(hash((uint64_t)(90 + i), (uint64_t)k) >> 58);
            sum += p[k] = (uint8_t)(((7 * i + 3) % 11 * y + (5 * i + 1) % 13 * x + (29 + 4 * i) * c + noise) % 256);
        }
        CHECK((i != 0 || sum == 377751) && (i != 11 || sum == 413191), "image %d is another one: its sum is %ld", i, sum);
        ok = npz_writer_data(w, p, BYTES, &e);
    }
    CHECK(ok && npz_writer_finish(w, &e), "%s", e.text);
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------ */
static void number(const Json *j, const char *term, const char *name, double want, double tolerance) {
    const Json *results = json_get(j, "results"), *x = results ? results->child : NULL;
    if (term) x = json_get(x, term);
    const Json *v = json_get(x, name);
    double found = v ? v->number : NAN;
    CHECK(fabs(found - want) <= tolerance, "%s%s%s: %.12g, %.12g wanted", term ? term : "", term ? " " : "", name, found, want);
}
static Json *eval(const Setup *s, const char *args) {
    char all[1024];
    Error e = {""};
    snprintf(all, sizeof all, "eval --device cpu --inception weights.safetensors --output json %s", args);
    Result r; /* full-size networks take their time */
    pid_t pid = start(s, all, 0, "stdout.txt");
    while (alive(pid)) nanosleep(&(struct timespec){0, 50000000}, NULL);
    finish(s, pid, &r);
    succeeds(&r, args);
    Json *j = json_parse(r.out, strlen(r.out), &e);
    CHECK(j, "%s", e.text);
    return j;
}
static void all_numbers(const Setup *s) {
    Json *j = eval(s, "--images set.npz --ref ref.npz --protocol adm --is-split-size 5 --pr-arith fp32");
    number(j, NULL, "fid", 151.039535, 2e-3);
    number(j, "fid_terms", "mean_term", 51.187121, 1e-3);
    number(j, "fid_terms", "trace_reference", 151.336875, 1e-3);
    number(j, "fid_terms", "trace_images", 16.161078, 1e-3);
    number(j, "fid_terms", "trace_root", 33.822769, 1e-3);
    number(j, NULL, "sfid", 1085.808389, 2e-2);
    number(j, NULL, "is", 1.0058557652, 1e-5);
    number(j, NULL, "precision", 1, 0);
    number(j, NULL, "recall", .3, 1e-12);
    json_free(j);
    j = eval(s, "--images first.npz --ref ref.npz --protocol adm --metrics kid --kid-subsets 1 --kid-size 10");
    number(j, NULL, "kid", 11.986394, 1e-3);
    json_free(j);
    j = eval(s, "--images set.npz --ref ref.npz --protocol pytorch-fid --metrics fid,sfid");
    number(j, NULL, "fid", 155.968510, 2e-3);
    number(j, "fid_terms", "mean_term", 54.187793, 1e-3);
    number(j, "fid_terms", "trace_root", 34.812022, 1e-3);
    number(j, NULL, "sfid", 1081.528047, 2e-2);
    json_free(j);
}

int main(int argc, char **argv) {
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    Setup s = {.program = real, .dir = "/tmp/dg_test_vectors_XXXXXX"};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_eval_vectors");
    write_weights(at(&s, "weights.safetensors"));
    write_images(&s, "ref.npz", 0, 10);
    write_images(&s, "set.npz", 10, 12);
    write_images(&s, "first.npz", 10, 10);
    all_numbers(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_eval_vectors");
}
#else
int main(void) {
    not_run("Frechet distances: built without LAPACK");
    return check_done("test_eval_vectors");
}
#endif
