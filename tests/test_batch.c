/* test_batch.c -- an image depends on its seed alone: the same bits from batches of 1, 3 and 8, full or not, at any place of the batch, guided
 * to second order, boosted, churned and rounded to bytes.
 *   test_batch [DEVICE[=PRECISION]...]     default: cpu, and cuda in fp32 and fp16 where there is one
 * The small networks work on 8x8 pixels and fewer, so that images share the tiles of a kernel; the example model's on 32x32.     */
#include "case_weights.h"
#include "device_spec.h"
#include "tiny_model.h"
#include "synthetic.h"
#include <time.h>

enum { SEEDS = 8, MOST_BATCH = 8 };
typedef struct {
    const char *name;
    Weights *network, *extractor, *head;
    SampleOptions options;
    uint64_t seed[SEEDS];
    int label[SEEDS];
} Setup;
typedef struct { /* of every seed, whatever batch it came from */
    size_t per_sample;
    double *state;
    uint8_t *bytes;
    bool seen[SEEDS];
} Images;

static Images images_new(size_t per_sample) {
    return (Images){
        .per_sample = per_sample, .state = dg_alloc(SEEDS * per_sample * sizeof(double)), .bytes = dg_alloc(SEEDS * per_sample)};
}
static void images_free(Images *m) { free(m->state), free(m->bytes); }

/* The `rows` images order[0], order[1], ... in one run. */
static void run_batch(Sampler *s, const Setup *setup, const int *order, int rows, Images *out) {
    uint64_t seed[MOST_BATCH];
    int label[MOST_BATCH];
    const int *bad;
    double *state = dg_alloc((size_t)rows * out->per_sample * sizeof *state);
    uint8_t *bytes;
    for (int i = 0; i < rows; i++) seed[i] = setup->seed[order[i]], label[i] = setup->label[order[i]];
    sampler_begin(s, rows, &(SampleNoise){.seed = seed}, label);
    while (sampler_step(s)) {}
    sampler_state(s, state);
    sampler_images_begin(s, 0);
    sampler_images_end(s, 0, &bytes, &bad);
    for (int i = 0; i < rows; i++) {
        size_t at = (size_t)order[i] * out->per_sample, from = (size_t)i * out->per_sample;
        CHECK(bad[i] == 0, "%s: seed %d has %d values that are no number", setup->name, order[i], bad[i]);
        memcpy(out->state + at, state + from, out->per_sample * sizeof *state);
        memcpy(out->bytes + at, bytes + from, out->per_sample);
        out->seen[order[i]] = true;
    }
    free(state);
}
/* The seeds of order[0..count) in batches; what there is of each. */
static bool run_all(Device *d, const Setup *setup, const int *order, int count, int batch, Images *out) {
    Error e = {""};
    Predictor *network = predictor_new(d, setup->network, batch, 1, true, &e);
    Guide *guide = network ? guide_new(d, setup->extractor, setup->head, batch, (GuideOptions){.fuse = true}, &e) : NULL;
    Sampler *s = guide ? sampler_new(&setup->options, &(SampleNetworks){.network = network, .discriminator = guide}, &e) : NULL;
    bool made = CHECK(s, "%s on %s: %s", setup->name, d->be->name, e.text);
    if (made) {
        *out = images_new(network->per_sample);
        for (int first = 0; first < count; first += batch) {
            int left = count - first;
            run_batch(s, setup, order + first, left < batch ? left : batch, out);
        }
        int guided = sampler_counts(s).term[TERM_DISCRIMINATOR];
        CHECK(guided > setup->options.num_steps, "%s: %d guided evaluations: nothing of second order", setup->name, guided);
    }
    sampler_free(s);
    guide_free(guide);
    predictor_free(network);
    return made;
}
/* All of them in one batch, in order; then some in another order: three together, one where three fit, and each alone. */
static void test_setup(Device *d, const Setup *setup) {
    static const struct { int batch, seeds; } runs[] = {{3, 4}, {1, 2}};
    static const int forward[SEEDS] = {0, 1, 2, 3, 4, 5, 6, 7}, mixed[SEEDS] = {5, 2, 7, 0, 3, 6, 1, 4};
    clock_t begin = clock();
    Images all = {0};
    if (!run_all(d, setup, forward, SEEDS, MOST_BATCH, &all)) return;
    for (size_t b = 0; b < sizeof runs / sizeof *runs; b++) {
        Images m = {0};
        if (!run_all(d, setup, mixed, runs[b].seeds, runs[b].batch, &m)) continue;
        for (int k = 0; k < runs[b].seeds; k++) {
            int i = mixed[k];
            size_t at = (size_t)i * m.per_sample;
            CHECK(m.seen[i] && !memcmp(m.state + at, all.state + at, m.per_sample * sizeof *m.state) &&
                      !memcmp(m.bytes + at, all.bytes + at, m.per_sample),
                  "%s on %s: seed %d differs between batches of %d and %d", setup->name, d->be->name, i, runs[b].batch, MOST_BATCH);
        }
        images_free(&m);
    }
    for (int i = 1; i < SEEDS; i++)
        CHECK(memcmp(all.bytes, all.bytes + (size_t)i * all.per_sample, all.per_sample) != 0, "%s: seeds 0 and %d make one image",
              setup->name, i);
    images_free(&all);
    printf("%s on %s: %.1f s of processor time\n", setup->name, d->be->name, (double)(clock() - begin) / CLOCKS_PER_SEC);
}
/* Everything that could mix images: noise added in the course, guidance that is switched by each image's own log ratio. */
static SampleOptions hard_options(int steps) {
    SampleOptions o = sample_defaults();
    o.num_steps = steps, o.sigma_min = .05, o.S_churn = steps / 3.0, o.S_noise = 1.003, o.boosting = BOOSTING_ON,
    o.dg_weight_2nd_order = .7;
    return o;
}
static Setup setup_new(const char *name, Weights *network, Weights *extractor, Weights *head, int classes, int steps) {
    Setup s = {.name = name, .network = network, .extractor = extractor, .head = head, .options = hard_options(steps)};
    for (int i = 0; i < SEEDS; i++) s.seed[i] = 1000 + 7 * (uint64_t)i, s.label[i] = i % classes;
    return s;
}
static void test_device(const char *spec) {
    Error e = {""};
    DeviceSpec s = device_spec(spec);
    Device *d = device_open(s.device, s.precision, &e);
    if (!d) {
        not_run("batches on %s: %s", spec, e.text);
        return;
    }
    Weights *network = synthetic(tiny_network_config, 11), *extractor = synthetic(tiny_extractor_config, 12),
            *head = synthetic(tiny_head_config, 13);
    Setup tiny = setup_new("8x8 pixels", network, extractor, head, 3, 6);
    test_setup(d, &tiny);
    weights_free(network), weights_free(extractor), weights_free(head);
    CaseWeights c;
    if (case_weights_open(&c, "shapes32")) {
        Setup example = setup_new(c.name, c.network, c.extractor, c.head, 3, 2);
        test_setup(d, &example);
        case_weights_close(&c);
    }
    device_close(d);
}
int main(int argc, char **argv) {
    static const char *const everywhere[] = {"cpu", "cuda=fp32", "cuda=fp16"};
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    for (int i = 1; i < argc; i++) test_device(argv[i]);
    for (int i = 0; argc < 2 && i < 3; i++)
        if (i == 0 || strstr(device_list(), "cuda")) test_device(everywhere[i]);
    return check_done("test_batch");
}
