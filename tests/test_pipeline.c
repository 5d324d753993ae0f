/* test_pipeline.c -- from seeds to images: a last batch computes only the images that it has, whatever guides them; images go to every
 * sink once, in their order; labels are of the classes that the network has.
 *   test_pipeline [DEVICE]     default: cpu                                                                                */
#include "program/pipeline.h"
#include "check.h"
#include "tiny_model.h"
#include "synthetic.h"
#include <math.h>
#include <stdlib.h>

typedef struct {
    Weights *network, *extractor, *head;
} Files;
/* ---- a last batch that is not full ---------------------------------------------------------------------------------------------- */
typedef struct { /* a device that counts what it is asked for */
    Device device;
    Backend be;
    const Device *inner;
    size_t computed, drawn, combined, finished; /* images: of networks, of noise, of combinations, of bytes */
} Counter;
static Counter *counter_of(Device *d) { return (Counter *)d; }
static void count_run(Exec *e) {
    Counter *c = counter_of(e->dev);
    c->computed += (size_t)e->rows;
    c->inner->be->run(e);
}
static void count_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    counter_of(d)->drawn += (size_t)n;
    counter_of(d)->inner->be->randn(d, out, n, per_sample, seed, step);
}
static void count_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    counter_of(d)->combined += (size_t)n;
    counter_of(d)->inner->be->combine(d, out, out_type, n, per_sample, term, terms);
}
static void count_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset,
                        int *bad) {
    counter_of(d)->finished += (size_t)n;
    counter_of(d)->inner->be->to_u8(d, out, x, type, n, per_sample, scale, offset, bad);
}
static Counter counter_new(const Device *d) {
    Counter c = {.device = *d, .be = *d->be, .inner = d};
    c.be.run = count_run, c.be.randn = count_randn, c.be.combine = count_combine, c.be.to_u8 = count_to_u8;
    return c;
}
/* What comes to a sink. */
typedef struct {
    size_t images, in_order;
    uint64_t next;
    double sum;
} Seen;
static bool see(void *seen, const Delivered *d, Error *e) {
    Seen *s = seen;
    (void)e;
    for (int i = 0; i < d->count; i++) s->in_order += d->seed[i] == s->next++;
    for (size_t i = 0; i < (size_t)d->count * d->picture_bytes; i++) s->sum += d->bytes[i];
    s->images += (size_t)d->count;
    return true;
}
/* So many images as generate makes them; their bytes come as one picture. The counts are of one image: the sums over `images`. */
static bool make_images(const Device *d, const Files *f, SampleOptions o, int images, int batch, ImageGrid *grid, Counter *c, Error *e) {
    Networks n = {.source = {{.weights = f->network}, {.weights = f->extractor}, {.weights = f->head}}};
    SeedList seeds = {0};
    Engine engine = {0};
    Seen seen = {.next = 500};
    seeds_add(&seeds, 500, (size_t)images);
    *c = counter_new(d), c->device.be = &c->be;
    bool ok = networks_describe(&n, e);
    if (ok) sample_resolve(&o, score_sampler(n.score));
    ok = ok && grid_layout(grid, images, 10, 8, 8, 3, 1, e) && grid_begin(grid, e) &&
         engine_new(&engine, &c->device, &n, &o, batch, true, e);
    GridPlaces places = {grid, &seeds};
    Pipeline p = {.sampler = engine.sampler, .batch = batch, .todo = &seeds, .classes = n.classes, .class_rule = {.kind = CLASS_BALANCED}};
    p.sink[p.sinks++] = sink_grid(&places), p.sink[p.sinks++] = (Sink){see, &seen};
    progress_begin(&p.progress, seeds.count);
    if (ok) ok = pipeline_run(&p, e) == OUTCOME_DONE && p.shown == (size_t)images && p.sampled == (size_t)images;
    CHECK(seen.images == (size_t)images && seen.in_order == seen.images && seen.sum > 0, "%zu of %d images came to a sink, %zu in order",
          seen.images, images, seen.in_order);
    engine_free(&engine);
    seeds_free(&seeds), seeds_free(&p.bad);
    n.source[0].weights = n.source[1].weights = n.source[2].weights = NULL; /* they are the caller's */
    networks_close(&n);
    return ok;
}
/* 37 images in batches of 32 take what 37 images take in batches of one: not what 64 do. And they are the same. */
static void check_last_batch(const Device *d, const Files *f, const char *name, SampleOptions o) {
    enum { IMAGES = 37, FULL = 32 };
    Error e = {""};
    ImageGrid one = {0}, many = {0};
    Counter a, b;
    if (!CHECK(make_images(d, f, o, IMAGES, 1, &one, &a, &e) && make_images(d, f, o, IMAGES, FULL, &many, &b, &e), "%s: %s", name, e.text))
        return;
    CHECK(a.finished == IMAGES && a.computed % IMAGES == 0 && a.computed / IMAGES >= 5, "%s: %zu calls of networks for %d images", name,
          a.computed, IMAGES);
    CHECK(b.computed == a.computed, "%s: %d images at batch %d take %zu calls of networks for an image each, %zu one by one", name, IMAGES,
          FULL, b.computed, a.computed);
    CHECK(b.drawn == a.drawn && b.combined == a.combined && b.finished == a.finished,
          "%s: %d images at batch %d: noise for %zu, not %zu; %zu sums, not %zu; bytes of %zu, not %zu", name, IMAGES, FULL, b.drawn,
          a.drawn, b.combined, a.combined, b.finished, a.finished);
    CHECK(!memcmp(one.pixels, many.pixels, (size_t)one.height * (size_t)one.width * 3), "%s: an image depends on its batch", name);
    grid_free(&one), grid_free(&many);
}

static void check_last_batches(const Device *d, const Files *f) {
    SampleOptions o = sample_defaults();
    o.num_steps = 3, o.S_churn = 1;
    check_last_batch(d, f, "edm", o);
    o.S_churn = 0, o.sampler = SAMPLER_DDPM, o.cfg_scale = 1.5, o.cfg_interval = "300,999";
    check_last_batch(d, f, "ddpm with a second pass", o);
    o.sampler = SAMPLER_DPM, o.cfg_interval = NULL;
    check_last_batch(d, f, "dpm++ with a second pass", o);
}
/* DiT's label has a column for no class: its classes are the others. */
static void check_labels(void) {
    static const char dit[] =
        "{\"kind\": \"dit\", \"input_size\": 8, \"patch_size\": 4, \"hidden_size\": 16, \"depth\": 1, \"num_heads\": 2, "
        "\"num_classes\": 7}";
    Error e = {""};
    Networks n = {.source = {{.weights = synthetic(dit, 1)}}};
    bool seen[7] = {false};
    int outside = 0, all = 0;
    if (!CHECK(networks_describe(&n, &e) && n.classes == 7, "%s, %d classes", e.text, n.classes)) return;
    ClassRule rule = {.kind = CLASS_SEEDED};
    for (uint64_t seed = 0; seed < 1000; seed++) {
        int k = class_of_seed(&rule, n.classes, seed);
        if (k < 0 || k >= 7) outside++;
        else seen[k] = true;
    }
    for (int k = 0; k < 7; k++) all += seen[k];
    CHECK(outside == 0 && all == 7, "seeded: %d of 1000 labels are no class, %d of 7 classes appear", outside, all);
    rule.kind = CLASS_BALANCED;
    int six = class_of_seed(&rule, n.classes, 6), seven = class_of_seed(&rule, n.classes, 7);
    CHECK(six == 6 && seven == 0, "balanced: seeds 6 and 7 are of classes %d and %d", six, seven);
    CHECK(!class_rule_parse(&rule, &n, "7", &e), "--class 7, the column for none, was taken");
    CHECK(class_rule_parse(&rule, &n, "6", &e) && class_of_seed(&rule, n.classes, 5) == 6, "--class 6 is not class 6");
    class_rule_free(&rule);
    networks_close(&n);
}
int main(int argc, char **argv) {
    Error e = {""};
    Device *d = device_open(argc > 1 ? argv[1] : "cpu", NULL, &e);
    Files f = {synthetic(tiny_network_config, 1), synthetic(tiny_extractor_config, 2), synthetic(tiny_head_config, 17)};
    check_labels();
    if (d) check_last_batches(d, &f);
    else not_run("%s", e.text);
    weights_free(f.network), weights_free(f.extractor), weights_free(f.head);
    if (d) device_close(d);
    return check_done("test_pipeline");
}
