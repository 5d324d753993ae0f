/* test_dependent.c -- kernels that begin before the kernel before them has ended, on the emulated device as one of capability 9.0: whole
 * networks and gradients make the same bits when some blocks of every such kernel run up to their wait first (EMU_PDL=early), with
 * other inputs each time, so that what was read too early is not what it should be.
 *   test_dependent [DEVICE[=PRECISION]]     default: emu, in fp32 and fp16                                                   */
#include "models/edm.h"
#include "run/net.h"
#include "check.h"
#include "device_spec.h"
#include "tiny_model.h"

enum { RUNS = 3 /* the first is enqueued, the others are replays */ };
typedef struct {
    size_t kernels, early;
} Launches;
extern void emuGetLaunches(Launches *l) __attribute__((weak)); /* of tests/cuda_on_cpu; not there with other devices */
static const char classifier_config[] =
    "{\"kind\": \"extractor\", \"image_size\": 4, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 5, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [1], \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true, \"pool\": \"attention\"}";
#define ATTENTION_OF(size)                                                                                                                 \
    "{\"kind\": \"extractor\", \"image_size\": " size                                                                                      \
    ", \"in_channels\": 3, \"model_channels\": 64, \"out_channels\": 3, \"num_res_blocks\": 1,"                                            \
    " \"attention_resolutions\": [1], \"channel_mult\": [1], \"num_head_channels\": 64, \"use_scale_shift_norm\": true, "                  \
    "\"resblock_updown\": true, \"pool\": \"attention\"}"
static const char inception_config[] = "{\"kind\": \"inception\", \"num_classes\": 5, \"image_size\": 107, \"depth_multiplier\": 0.01}";
static const struct {
    const char *name, *config;
    const Model *model;
} networks[] = {{"a denoiser", tiny_network_config, NULL},
                {"an extractor and its gradient", tiny_extractor_config, &model_extractor},
                {"heads of 64 and their gradient", ATTENTION_OF("4"), &model_extractor},
                {"heads of 64, more than 256 tokens, and their gradient", ATTENTION_OF("17"), &model_extractor},
                {"a head and its gradient", tiny_head_config, &model_head},
                {"a classifier", classifier_config, &model_classifier},
                {"a DiT", tiny_dit_config, &model_dit},
                {"a decoder", tiny_vae_config, &model_vae},
                {"Inception", inception_config, &model_inception}};

static Net *build(const Model *m, const Json *j, Device *d, Error *e) {
    Net *n = net_new(SPAN_NETWORK, d->precision, 2, d->precision.act != DG_F32); /* in fp32 not fused: more kinds of kernels */
    if (!m) m = model_find(j, json_get(j, "kind")->string, e);
    const Ports *p = m ? net_add(n, m, j, "", 0, e) : NULL;
    Weights *w = weights_synthetic(3, j);
    Tid out = p ? p->out : 0;
    if (p && m == &model_classifier) out = g_softmax(n->graph, out, true);
    else if (p && m->gradient) {
        n->graph->t[out].keep = true;
        out = graph_backward(n->graph, out, g_input(n->graph, "seed", shape_of(n->graph, out)), p->x);
    }
    if (p) net_plan(n, out);
    bool ok = CHECK(p && net_bind(n, d, &w, e), "%s", e->text);
    weights_free(w);
    return ok ? n : (net_free(n), NULL);
}
static void run(Net *n, int number, float *out) {
    for (Tid t = 1; t < n->graph->nt; t++) {
        if (n->graph->t[t].kind != T_INPUT) continue;
        size_t count = shape_count(shape_of(n->graph, t));
        double *v = dg_alloc(count * sizeof *v);
        for (size_t i = 0; i < count; i++) v[i] = sin((double)(i + 1) * 12.9898 + 3 * number + t);
        exec_set(n->exec, t, DG_F64, v);
        free(v);
    }
    exec_run(n->exec, n->exec->g->batch);
    exec_get(n->exec, n->out, DG_F32, out);
}
/* A run begins with copies, and everything after its first kernel follows one. */
static void check_early(const char *name, bool early, size_t kernels, size_t begun) {
    CHECK(kernels > 1 && begun == (early ? kernels - 1 : 0), "%s: %zu of %zu kernels began before the one before had ended", name, begun,
          kernels);
}
static void compare(const char *spec, const char *precision, int i) {
    Error e = {""};
    Json *j = json_parse(networks[i].config, strlen(networks[i].config), &e);
    float *out[2][RUNS] = {{NULL}};
    size_t count = 0;
    for (int early = 0; early < 2; early++) {
        setenv("EMU_PDL", early ? "early" : "late", 1);
        Device *d = device_open(spec, precision, &e);
        Net *n = CHECK(d, "%s", e.text) ? build(networks[i].model, j, d, &e) : NULL;
        for (int k = 0; k < RUNS && n; k++) {
            count = shape_count(shape_of(n->graph, n->out));
            out[early][k] = dg_alloc(count * sizeof **out[early]);
            Launches before, after;
            emuGetLaunches(&before);
            run(n, k, out[early][k]);
            emuGetLaunches(&after);
            check_early(networks[i].name, early, after.kernels - before.kernels, after.early - before.early);
        }
        net_free(n);
        if (d) device_close(d);
    }
    for (int k = 0; k < RUNS && out[1][RUNS - 1]; k++) {
        size_t different = 0, infinite = 0;
        for (size_t v = 0; v < count; v++)
            different += memcmp(&out[0][k][v], &out[1][k][v], sizeof(float)) != 0, infinite += !isfinite(out[0][k][v]);
        CHECK(different == 0 && infinite == 0, "%s, %s, run %d: %zu of %zu values differ where kernels begin early, %zu are not finite",
              networks[i].name, precision, k, different, count, infinite);
        CHECK(!k || memcmp(out[0][k], out[0][k - 1], count * sizeof(float)), "%s: runs %d and %d are alike", networks[i].name, k - 1, k);
    }
    for (int k = 0; k < 2 * RUNS; k++) free(out[k / RUNS][k % RUNS]);
    json_free(j);
}
int main(int argc, char **argv) {
    DeviceSpec s = device_spec(argc > 1 ? argv[1] : "emu");
    static const char *const precision[] = {"fp32", "fp16"};
    if (strcmp(s.device, "emu") || !strstr(device_list(), "emu")) {
        not_run("only the emulated device tells whether a kernel waits");
        return check_done("test_dependent");
    }
    setenv("EMU_CC", "90", 1);
    for (size_t p = 0; p < sizeof precision / sizeof *precision; p++)
        for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
            if (!s.precision || !strcmp(s.precision, precision[p])) compare(s.device, precision[p], (int)i);
    return check_done("test_dependent");
}
