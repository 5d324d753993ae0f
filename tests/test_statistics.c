/* test_statistics.c -- statistics files: what is written is read, parts merge to the whole bit for bit, what must not be merged
 * or was changed is refused, and NumPy reads what is there. */
#include "measure/statistics.h"
#include "hostile.h"
#include "spec_values.h"
#include <inttypes.h>
#include <math.h>
#include <unistd.h>

enum { N = 90, DIMS = 7, SPATIAL = 5 };
static char path[64], part_path[64]; /* of this process alone */
static const char meta[] = "{\"preset\": \"edm\", \"resize\": \"tf1\", \"weights_sha256\": \"ab12\", \"source\": \"one\", \"N\": 3}";

/* Images first..last - 1 of the set, whose seeds begin at `seed`; seed -1: of no seeds. */
static Statistics images_of(int first, int last, int64_t seed, int spatial, Grid g, const char *of) {
    Statistics s;
    Error e = {""};
    float pool[N * DIMS], other[N * SPATIAL];
    for (int i = 0; i < N * DIMS; i++) pool[i] = (float)uniform(1, (uint64_t)i);
    for (int i = 0; i < N * SPATIAL; i++) other[i] = (float)uniform(2, (uint64_t)i) * 9;
    size_t n = (size_t)(last - first);
    CHECK(statistics_new(&s, DIMS, spatial, g, of, &e), "%s", e.text);
    CHECK(exact_add(s.pool, DG_F32, pool + first * DIMS, n, 0, &e), "%s", e.text);
    CHECK(!spatial || exact_add(s.spatial, DG_F32, other + first * SPATIAL, n, 0, &e), "%s", e.text);
    if (seed >= 0) seeds_add(&s.seeds, (uint64_t)(seed + first), n);
    return s;
}
static bool same_sums(ExactSums *a, ExactSums *b) {
    exact_settle(a), exact_settle(b);
    return a->dims == b->dims && a->count == b->count && grid_same(a->grid, b->grid) &&
           !memcmp(a->sum, b->sum, (size_t)a->dims * sizeof *a->sum) &&
           !memcmp(a->product, b->product, exact_products(a->dims) * sizeof *a->product);
}
static void check_same(const char *what, Statistics *a, Statistics *b) {
    CHECK(same_sums(a->pool, b->pool), "%s: other sums", what);
    CHECK(!a->spatial == !b->spatial && (!a->spatial || same_sums(a->spatial, b->spatial)), "%s: other spatial sums", what);
    CHECK(a->seeds.ranges == b->seeds.ranges && a->seeds.count == b->seeds.count, "%s: %zu seeds in %zu runs, not %zu in %zu", what,
          b->seeds.count, b->seeds.ranges, a->seeds.count, a->seeds.ranges);
    for (size_t i = 0; i < a->seeds.ranges && i < b->seeds.ranges; i++)
        CHECK(a->seeds.range[i].first == b->seeds.range[i].first && a->seeds.range[i].count == b->seeds.range[i].count, "%s: run %zu", what,
              i);
}
static void write_statistics(const char *to, Statistics *s) {
    Error e = {""};
    CHECK(statistics_write(to, s, NULL, &e), "%s", e.text);
}

/* ---- written and read -------------------------------------------------------------------------------------------- */
static void round_trip(int spatial, Grid g, int64_t seed) {
    Statistics s = images_of(0, N, seed, spatial, g, meta), got;
    Error e = {""};
    if (seed == 0)
        seeds_free(&s.seeds), seeds_add(&s.seeds, 1000, 30), seeds_add(&s.seeds, UINT64_MAX - 9, 10), seeds_add(&s.seeds, 5, N - 40);
    write_statistics(path, &s);
    bool ok = CHECK(statistics_read(path, &got, &e), "%s", e.text);
    if (ok) {
        check_same("through a file", &s, &got);
        CHECK(!strcmp(got.meta, meta), "meta: %s", got.meta);
        /* the same file for the same statistics */
        char command[256];
        write_statistics(part_path, &got);
        snprintf(command, sizeof command, "cmp -s %s %s", path, part_path);
        CHECK(system(command) == 0, "the file of what was read is another file");
        statistics_free(&got);
    }
    Gaussian want = {0}, found = {0};
    CHECK(gaussian_read(path, &found, &e) && exact_gaussian(s.pool, (Divisor){.ddof = 1}, &want, &e), "%s", e.text);
    CHECK(found.count == N && found.mean && !memcmp(found.covariance, want.covariance, DIMS * DIMS * sizeof(double)),
          "read as mu and sigma");
    gaussian_free(&want);
    gaussian_free(&found);
    statistics_free(&s);
}
static void biased(void) {
    Statistics s = images_of(0, N, 0, 0, grid_f32, "{\"cov_ddof\": 0}"), got;
    Error e = {""};
    Gaussian want = {0}, found = {0};
    write_statistics(path, &s);
    CHECK(exact_gaussian(s.pool, (Divisor){.ddof = 0}, &want, &e) && gaussian_read(path, &found, &e), "%s", e.text);
    CHECK(found.covariance && !memcmp(found.covariance, want.covariance, DIMS * DIMS * sizeof(double)),
          "cov_ddof is 0: another covariance");
    bool ok = statistics_read(path, &got, &e);
    if (CHECK(ok, "%s", e.text)) statistics_free(&got);
    gaussian_free(&want);
    gaussian_free(&found);
    statistics_free(&s);
}

static void features(void) {
    float pool[N * DIMS];
    uint16_t half[N * DIMS];
    for (int i = 0; i < N * DIMS; i++) pool[i] = (float)uniform(1, (uint64_t)i), half[i] = f32_to_f16(pool[i]);
    Statistics s = images_of(0, N, 100, 0, grid_f32, meta);
    Error e = {""};
    CHECK(statistics_write(path, &s, pool, &e), "%s", e.text);
    size_t images = 0;
    int dims = 0;
    float *got = statistics_features(path, &images, &dims, &e);
    CHECK(got && images == N && dims == DIMS && !memcmp(got, pool, sizeof pool), "features: %zu of %d: %s", images, dims, e.text);
    free(got);
    for (int shape = 0; shape < 3; shape++) { /* half precision; a vector; integers */
        int64_t sizes[2] = {N, DIMS};
        NpzWriter *w = npz_writer_open(path, &e);
        if (shape == 1) sizes[0] = N * DIMS;
        CHECK(w && npz_writer_array(w, "feats", shape == 2 ? 'u' : 'f', 2, shape == 1 ? 1 : 2, sizes, &e) &&
                  npz_writer_data(w, half, sizeof half, &e) && npz_writer_finish(w, &e),
              "%s", e.text);
        Hostile h = hostile_begin("features of another kind");
        got = statistics_features(path, &images, &dims, &h.e);
        if (shape) hostile_end(&h, got != NULL, path, "not a matrix of numbers");
        else {
            int wrong = 0;
            for (int i = 0; got && i < N * DIMS; i++) wrong += got[i] != f16_to_f32(half[i]);
            CHECK(got && !wrong, "features in half precision: %d are other ones: %s", wrong, h.e.text);
        }
        free(got);
    }
    write_statistics(path, &s);
    Hostile h = hostile_begin("no features");
    hostile_end(&h, statistics_features(path, &images, &dims, &h.e) != NULL, path, "keeps no features");
    statistics_free(&s);
}

/* ---- merged ------------------------------------------------------------------------------------------------------ */
static void merged(int spatial, int64_t seed) {
    const int cut[] = {0, 13, 14, 60, N}, order[] = {2, 0, 3, 1};
    Statistics whole = images_of(0, N, seed, spatial, grid_f32, meta), sum = images_of(0, 0, seed, spatial, grid_f32, meta);
    Error e = {""};
    if (seed < 0) seeds_free(&sum.seeds);
    for (int i = 0; i < 4; i++) {
        int p = order[i];
        /* the source and N of parts differ */
        Statistics s = images_of(cut[p], cut[p + 1], seed, spatial, grid_f32,
                                 "{\"resize\": \"tf1\", \"preset\": \"edm\", \"source\": \"two\", \"weights_sha256\": \"ab12\"}");
        if (s.pool->count > 1) { /* through a file where one can be */
            write_statistics(part_path, &s);
            statistics_free(&s);
            CHECK(statistics_read(part_path, &s, &e), "%s", e.text);
        }
        if (i == 0) statistics_free(&sum), sum = s;
        else {
            CHECK(statistics_merge(&sum, "a.npz", &s, "b.npz", &e), "%s", e.text);
            statistics_free(&s);
        }
    }
    check_same("merged", &whole, &sum);
    statistics_free(&whole);
    statistics_free(&sum);
}
static void holes(void) {
    Statistics s = images_of(0, 10, 100, 0, grid_f32, meta);
    seeds_add(&s.seeds, 114, 11), seeds_add(&s.seeds, 112, 1), seeds_add(&s.seeds, UINT64_MAX, 1);
    SeedList missing = statistics_holes(&s);
    Text t = {0};
    seeds_print(&t, &missing, 9);
    CHECK(t.text && !strcmp(t.text, "110-111,113,125-18446744073709551614"), "holes: %s", t.text);
    text_free(&t);
    seeds_free(&missing);
    statistics_free(&s);
    s = images_of(0, 10, 100, 0, grid_f32, meta);
    missing = statistics_holes(&s);
    CHECK(missing.count == 0, "holes where there are none");
    seeds_free(&missing);
    statistics_free(&s);
}
static void refuse_merge(const char *what, Statistics b, const char *fragment) {
    Statistics a = images_of(0, 40, 100, 0, grid_f32, meta), before = images_of(0, 40, 100, 0, grid_f32, meta);
    Hostile h = hostile_begin(what);
    hostile_end(&h, statistics_merge(&a, "a.npz", &b, "b.npz", &h.e), "do not merge", fragment);
    check_same(what, &before, &a); /* nothing of it was added */
    statistics_free(&a);
    statistics_free(&b);
    statistics_free(&before);
}
static void refused_merges(void) {
    refuse_merge("the same seeds", images_of(30, N, 100, 0, grid_f32, meta), "images of 10 seeds, the first of them 130");
    refuse_merge("no seeds", images_of(40, N, -1, 0, grid_f32, meta), "b.npz does not say of which seeds");
    refuse_merge("spatial features", images_of(40, N, 100, SPATIAL, grid_f32, meta), "a.npz has no spatial features");
    refuse_merge("another grid", images_of(40, N, 100, 0, grid_f64, meta), "different grids, 2^-36 in 2 pieces and 2^-48 in 3");
    refuse_merge("another resize",
                 images_of(40, N, 100, 0, grid_f32, "{\"preset\": \"edm\", \"resize\": \"half\", \"weights_sha256\": \"ab12\"}"),
                 "\"resize\" is \"tf1\" in one and \"half\" in the other");
    refuse_merge("other weights",
                 images_of(40, N, 100, 0, grid_f32, "{\"preset\": \"edm\", \"resize\": \"tf1\", \"weights_sha256\": \"ff\"}"),
                 "\"weights_sha256\" is \"ab12\"");
    refuse_merge("no resize", images_of(40, N, 100, 0, grid_f32, "{\"preset\": \"edm\", \"weights_sha256\": \"ab12\"}"),
                 "not there in the other");
    refuse_merge(
        "a scale",
        images_of(40, N, 100, 0, grid_f32, "{\"scale\": 2, \"preset\": \"edm\", \"resize\": \"tf1\", \"weights_sha256\": \"ab12\"}"),
        "\"scale\" is 2 in one and not there");
    Statistics a = images_of(0, 40, -1, 0, grid_f32, meta), b = images_of(0, 40, -1, 0, grid_f32, meta);
    Hostile h = hostile_begin("the same images without seeds");
    hostile_end(&h, statistics_merge(&a, "a.npz", &b, "b.npz", &h.e), "a.npz and b.npz", "hold the same images");
    statistics_free(&a);
    statistics_free(&b);
}
static void refuse_write(const char *what, Statistics s, const char *fragment) {
    unlink(path);
    Hostile h = hostile_begin(what);
    hostile_end(&h, statistics_write(path, &s, NULL, &h.e), path, fragment);
    CHECK(access(path, F_OK) != 0, "%s: a file is left", what);
    statistics_free(&s);
}
static void refused_writes(void) {
    Statistics twice = images_of(0, 40, 100, 0, grid_f32, meta);
    seeds_add(&twice.seeds, 110, 5);
    refuse_write("seeds twice", twice, "5 seeds are listed twice");
    Statistics more = images_of(0, 40, 100, 0, grid_f32, meta);
    seeds_add(&more.seeds, 500, 5);
    refuse_write("more seeds than images", more, "45 seeds for 40 images");
    refuse_write("one image", images_of(0, 1, 100, 0, grid_f32, meta), "at least 2 images, there are 1");
    refuse_write("no JSON", images_of(0, 9, 100, 0, grid_f32, "edm"), "meta");
    refuse_write("a list", images_of(0, 9, 100, 0, grid_f32, "[1]"), "not a JSON object");
    refuse_write("a divisor", images_of(0, 9, 100, 0, grid_f32, "{\"cov_ddof\": 2}"), "\"cov_ddof\" is 2");
}

/* ---- files that are wrong ---------------------------------------------------------------------------------------- */
/* A sound file with one array replaced: its first 8-byte value, or its shape, or left out. */
typedef struct {
    const char *array;
    int64_t value; /* of element at */
    size_t at;
    bool absent, flat, wide_type;
} Change;
static void copy_changed(Change c) {
    Error e = {""};
    Npz *z = npz_open(path, &e);
    NpzWriter *w = npz_writer_open(part_path, &e);
    CHECK(z && w, "%s", e.text);
    for (int i = 0; i < npz_count(z); i++) {
        NpyArray a;
        const char *name = npz_name(z, i);
        bool changed = !strcmp(name, c.array);
        if (changed && c.absent) continue;
        CHECK(npz_read(z, name, &a, &e), "%s", e.text);
        if (changed && !c.flat && !c.wide_type) memcpy((char *)a.data + c.at * 8, &c.value, 8);
        if (changed && c.flat) a.dims = 1, a.shape[0] = (int64_t)a.count;
        size_t bytes = a.count * (size_t)a.bytes;
        char type = changed && c.wide_type ? (a.dtype == 'f' ? 'i' : 'f') : a.dtype;
        CHECK(npz_writer_array(w, name, type, a.bytes, a.dims, a.shape, &e) && npz_writer_data(w, a.data, bytes, &e), "%s", e.text);
        npy_free(&a);
    }
    npz_close(z);
    CHECK(npz_writer_finish(w, &e), "%s", e.text);
}
static void refuse_file(const char *what, Change c, const char *fragment) {
    Statistics s;
    copy_changed(c);
    Hostile h = hostile_begin(what);
    bool accepted = statistics_read(part_path, &s, &h.e);
    hostile_end(&h, accepted, part_path, fragment);
    if (accepted) statistics_free(&s);
    else CHECK(!s.pool && !s.meta && !s.seeds.range, "%s: something is left", what);
}
static void refused_files(void) {
    Statistics s = images_of(0, N, 100, SPATIAL, grid_f32, meta);
    write_statistics(path, &s);
    const char *changed = "the file was changed";
    refuse_file("no sums", (Change){.array = "dg_products", .absent = true}, "only statistics that dg_cuda wrote can be merged");
    refuse_file("no linear sums", (Change){.array = "dg_sum", .absent = true}, "dg_sum");
    refuse_file("no grid", (Change){.array = "dg_grid", .absent = true}, "dg_grid");
    refuse_file("no number of images", (Change){.array = "num_images", .absent = true}, "no array num_images");
    refuse_file("no seeds", (Change){.array = "dg_seeds", .absent = true}, "dg_seeds");
    refuse_file("no meta", (Change){.array = "meta", .absent = true}, "meta");
    refuse_file("no spatial sums", (Change){.array = "dg_sum_s", .absent = true}, "dg_sum_s");
    refuse_file("another sum", (Change){.array = "dg_sum", .value = 1, .at = 0}, changed);
    refuse_file("an impossible sum", (Change){.array = "dg_sum", .value = INT64_MAX, .at = 3}, changed);
    refuse_file("the most negative sum", (Change){.array = "dg_sum", .value = INT64_MIN, .at = 3}, changed);
    refuse_file("another product", (Change){.array = "dg_products", .value = -1, .at = 9}, changed);
    refuse_file("another spatial product", (Change){.array = "dg_products_s", .value = -1, .at = 9}, "mu_s and sigma_s");
    refuse_file("another mean", (Change){.array = "mu", .value = 0, .at = 1}, changed);
    refuse_file("another number of images", (Change){.array = "num_images", .value = N + 1}, changed);
    refuse_file("a number of images beyond the sums", (Change){.array = "num_images", .value = 999999999999999}, changed);
    refuse_file("a grid of no pieces", (Change){.array = "dg_grid", .value = 0, .at = 1}, "no grid of sums that this version knows");
    refuse_file("another grid", (Change){.array = "dg_grid", .value = -35, .at = 0}, changed);
    refuse_file("a grid far off", (Change){.array = "dg_grid", .value = INT64_MIN, .at = 0}, "no grid");
    refuse_file("products as a vector", (Change){.array = "dg_products", .flat = true}, "the type or the shape");
    refuse_file("sums of another type", (Change){.array = "dg_sum", .wide_type = true}, "the type or the shape");
    refuse_file("fewer seeds", (Change){.array = "dg_seeds", .value = N - 1, .at = 1}, "ascending list of runs");
    refuse_file("more seeds", (Change){.array = "dg_seeds", .value = N + 1, .at = 1}, "ascending list of runs");
    refuse_file("seeds beyond the last", (Change){.array = "dg_seeds", .value = -3, .at = 0}, "ascending list of runs");
    refuse_file("meta that is no text", (Change){.array = "meta", .value = 0, .at = 0}, "meta");
    statistics_free(&s);
}

/* ---- NumPy ------------------------------------------------------------------------------------------------------- */
static void numpy_reads(void) {
    const char *python = getenv("DG_PYTHON") ? getenv("DG_PYTHON") : "python3";
    char command[512];
    snprintf(command, sizeof command, "%s -c 'import numpy' 2>/dev/null", python);
    if (system(command) != 0) {
        not_run("the file in NumPy: %s has no numpy (DG_PYTHON names another)", python);
        return;
    }
    float pool[N * DIMS];
    for (int i = 0; i < N * DIMS; i++) pool[i] = (float)uniform(1, (uint64_t)i);
    Statistics s = images_of(0, N, 100, SPATIAL, grid_f32, meta);
    Error e = {""};
    CHECK(statistics_write(path, &s, pool, &e), "%s", e.text);
    snprintf(command, sizeof command, "%s tests/read_statistics.py %s", python, path);
    CHECK(system(command) == 0, "NumPy does not read the file, or computes something else");
    statistics_free(&s);
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/dg_test_statistics_%d.npz", (int)getpid());
    snprintf(part_path, sizeof part_path, "/tmp/dg_test_statistics_%d_part.npz", (int)getpid());
    round_trip(0, grid_f32, 0);
    round_trip(SPATIAL, grid_f32, 7);
    round_trip(SPATIAL, grid_f64, -1);
    biased();
    features();
    merged(0, 3);
    merged(SPATIAL, 1000000);
    merged(0, -1);
    holes();
    refused_merges();
    refused_writes();
    refused_files();
    numpy_reads();
    unlink(path);
    unlink(part_path);
    return check_done("test_statistics");
}
