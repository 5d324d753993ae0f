/* test_verify.c -- golden cases that are incomplete or contradict themselves: each is refused in one sentence. Every case is
 * a copy of a good one with a tensor left out, of another shape or type, or with another word in its JSON.            */
#include "program/verify_case.h"
#include "files/safetensors.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char DENOISE[] = "tests/golden/nets/edm_tiny_ddpmpp.safetensors";
static const char CONDITIONAL[] = "tests/golden/nets/edm_tiny_ddpmpp_cond.safetensors";
static const char GUIDANCE[] = "tests/golden/guidance/disc_tiny_cond.safetensors";
static const char EDM[] = "tests/golden/guidance/sample_edm.safetensors";
static const char CHURN[] = "tests/golden/guidance/sample_edm_churn.safetensors";
static const char BOOST[] = "tests/golden/guidance/sample_dg_boost.safetensors";
static const char ADM[] = "tests/golden/imagenet/adm_tiny_updown.safetensors";
static const char DIT[] = "tests/golden/imagenet/dit_tiny.safetensors";
static const char VAE[] = "tests/golden/imagenet/vae_tiny.safetensors";
static const char VAE_EPS[] = "tests/golden/imagenet/vae_tiny_eps.safetensors";
static const char CHAIN[] = "tests/golden/imagenet/dit_chain.safetensors";
static const char INCEPTION[] = "tests/golden/imagenet/inception_fid.safetensors";
static const char MIXED[] = "tests/golden/guidance/sample_dg_boost_mixed.safetensors";

typedef enum { WITHOUT, FIRST_HALF, FLAT, INTEGERS, FILLED, RENAMED } Change; /* of a tensor */
typedef struct {
    const char *from;
    const char *tensor; /* or NULL: the JSON is changed */
    Change change;
    double value;             /* FILLED */
    const char *word, *other; /* this text in the case's JSON becomes the other one; RENAMED: other is the tensor's name */
    const char *sentence;     /* what the error says; NULL: the case runs, and fits but for: */
    int fails;                /* so many tensors */
} Broken;
static const Broken broken[] = {
    {.from = DENOISE, .tensor = "x", .sentence = "no tensor x"},
    {.from = DENOISE, .tensor = "x", .change = FIRST_HALF, .sentence = "tensor sigma has shape [3], [1] is wanted"},
    {.from = DENOISE, .tensor = "x", .change = FLAT, .sentence = "tensor x has shape [2304], [n,channels,height,width]"},
    {.from = DENOISE, .tensor = "x", .change = INTEGERS, .sentence = "holds integers"},
    {.from = DENOISE, .tensor = "x", .change = FILLED, .value = NAN, .sentence = "value 0 is nan"},
    {.from = DENOISE, .tensor = "sigma", .sentence = "no tensor sigma"},
    {.from = DENOISE, .tensor = "sigma", .change = FIRST_HALF, .sentence = "tensor sigma has shape [1], [3] is wanted"},
    {.from = DENOISE, .tensor = "sigma", .change = FILLED, .value = 0, .sentence = "noise level 0 is 0, not positive"},
    {.from = DENOISE, .tensor = "sigma", .change = FILLED, .value = INFINITY, .sentence = "value 0 is inf"},
    {.from = DENOISE, .tensor = "denoised", .sentence = "no tensor denoised"},
    {.from = DENOISE, .tensor = "denoised", .change = FIRST_HALF, .sentence = "tensor denoised has shape [1,3,16,16]"},
    {.from = DENOISE, .word = "\"img_resolution\": 16", .other = "\"img_resolution\": 32", .sentence = "[3,3,32,32] is wanted"},
    {.from = DENOISE, .word = "\"network\"", .other = "\"netwark\"", .sentence = "no \"network\""},
    {.from = DENOISE, .word = "\"synthetic_seed\"", .other = "\"synthetic_sead\"", .sentence = "no synthetic_seed"},
    {.from = DENOISE, .word = "\"denoised\"", .other = "\"denoisad\"", .sentence = "names denoisad"},
    {.from = DENOISE, .word = "\"tol\"", .other = "\"tal\"", .sentence = "no \"tol\""},
    {.from = DENOISE, .word = "\"expect\"", .other = "\"expact\"", .sentence = "expects nothing"},
    {.from = DENOISE, .word = "\"SongUNet\"", .other = "\"SangUNet\"", .sentence = "SangUNet"},
    {.from = CONDITIONAL, .tensor = "class_labels", .change = FIRST_HALF, .sentence = "tensor class_labels has shape [1,7]"},
    {.from = CONDITIONAL, .tensor = "class_labels", .change = FLAT, .sentence = "tensor class_labels has shape [21]"},
    {.from = CONDITIONAL, .tensor = "class_labels", .change = FILLED, .value = .5, .sentence = "row 0 is not one-hot"},
    {.from = GUIDANCE, .tensor = "x", .sentence = "no tensor x"},
    {.from = GUIDANCE, .tensor = "sigma", .change = FIRST_HALF, .sentence = "tensor sigma has shape [1], [3] is wanted"},
    {.from = GUIDANCE, .tensor = "class_index", .change = FILLED, .value = 10, .sentence = "class 10, there are 10"},
    {.from = GUIDANCE, .tensor = "class_index", .change = FILLED, .value = -2, .sentence = "value 0 is -2, not a class"},
    {.from = GUIDANCE, .tensor = "class_index", .change = FIRST_HALF, .sentence = "tensor class_index has shape [1]"},
    {.from = GUIDANCE, .tensor = "tau", .sentence = "no tensor tau"},
    {.from = GUIDANCE, .tensor = "features", .change = FLAT, .sentence = "tensor features has shape"},
    {.from = GUIDANCE, .tensor = "logit", .change = FIRST_HALF, .sentence = "tensor logit has shape [1]"},
    {.from = GUIDANCE, .tensor = "guidance", .sentence = "no tensor guidance"},
    {.from = GUIDANCE, .word = "\"time\": \"linear\"", .other = "\"time\": \"backward\"", .sentence = "neither linear nor cosine"},
    {.from = GUIDANCE, .word = "\"extractor_seed\"", .other = "\"extractor_sead\"", .sentence = "no extractor_seed"},
    {.from = GUIDANCE, .word = "\"head\": {", .other = "\"haed\": {", .sentence = "no \"head\""},
    {.from = GUIDANCE,
     .word = "\"image_size\": 32",
     .other = "\"image_size\": 32, \"condition\": true, \"num_class\": 1",
     .sentence = "there are 1 classes"},
    {.from = EDM, .tensor = "noise"}, /* no churn, none is read */
    {.from = EDM, .tensor = "noise", .change = FIRST_HALF, .sentence = "tensor noise has shape [3,4,3,32,32]"},
    {.from = EDM, .tensor = "latents", .sentence = "no tensor latents"},
    {.from = EDM, .tensor = "latents", .change = FLAT, .sentence = "tensor latents has shape [12288], [n,"},
    {.from = EDM, .tensor = "images", .sentence = "no tensor images"},
    {.from = EDM, .word = "\"num_steps\": 6", .other = "\"num_steps\": 0", .sentence = "steps: 0"},
    {.from = EDM, .word = "\"num_steps\": 6", .other = "\"num_staps\": 6", .sentence = "option num_staps is not known"},
    {.from = EDM, .word = "\"sampler\": \"edm\"", .other = "\"sampler\": \"edn\"", .sentence = "none of edm, dg and ablation"},
    {.from = CHURN, .tensor = "noise", .sentence = "no tensor noise"},
    {.from = CHURN, .tensor = "noise", .change = FLAT, .sentence = "tensor noise has shape"},
    {.from = CHURN, .word = "\"S_churn\": 2.5", .other = "\"S_churn\": -2.5", .sentence = "at least 0 is possible"},
    {.from = BOOST, .tensor = "noise", .sentence = "no tensor noise"},
    {.from = BOOST, .tensor = "class_index", .change = FILLED, .value = 12, .sentence = "class 12, there are 10"},
    {.from = BOOST, .word = "\"head_seed\"", .other = "\"head_sead\"", .sentence = "no head_seed"},
    {.from = BOOST,
     .word = "\"image_size\": 32",
     .other = "\"image_size\": 32, \"condition\": true, \"num_class\": 2",
     .sentence = "the discriminator 2"},
    {.from = MIXED,
     .tensor = "override.head.out.2.c_proj.weight",
     .change = RENAMED,
     .other = "override.head.no.such.weight",
     .sentence = "no.such.weight"},
    {.from = ADM, .tensor = "x", .change = FLAT, .sentence = "tensor x has shape [6144], [n,"},
    {.from = ADM, .tensor = "timesteps", .sentence = "no tensor timesteps"},
    {.from = ADM, .tensor = "timesteps", .change = FIRST_HALF, .sentence = "tensor timesteps has shape [1], [2] is wanted"},
    {.from = ADM, .tensor = "timesteps", .change = FILLED, .value = 1000, .sentence = "value 0 is 1000, not from 0 to 999"},
    {.from = ADM, .tensor = "timesteps", .change = FILLED, .value = NAN, .sentence = "value 0 is nan, not from 0 to 999"},
    {.from = ADM, .tensor = "class_index", .sentence = "image 0 has no class"},
    {.from = ADM, .tensor = "class_index", .change = FILLED, .value = 10, .sentence = "class 10, there are 10"},
    {.from = ADM, .tensor = "out", .sentence = "no tensor out"},
    {.from = ADM, .tensor = "out", .change = FIRST_HALF, .sentence = "tensor out has shape [1,6,32,32]"},
    {.from = ADM, .tensor = "out", .change = FLAT, .sentence = "tensor out has shape [12288]"},
    {.from = ADM, .word = "\"image_size\": 32", .other = "\"image_size\": 64", .sentence = "[2,3,64,64] is wanted"},
    {.from = ADM, .word = "\"network\"", .other = "\"netwark\"", .sentence = "no \"network\""},
    {.from = DIT, .tensor = "timesteps", .change = FILLED, .value = -1, .sentence = "value 0 is -1, not from 0 to 999"},
    {.from = DIT, .tensor = "class_index", .change = FILLED, .value = 11, .sentence = "class 11, there are 11"},
    {.from = DIT, .word = "\"num_heads\": 4", .other = "\"num_heads\": 5", .sentence = "does not split into \"num_heads\" 5"},
    {.from = VAE, .tensor = "z", .sentence = "no tensor z"},
    {.from = VAE, .tensor = "image", .change = FLAT, .sentence = "tensor image has shape [1536], [n,"},
    {.from = VAE, .tensor = "moments", .change = FIRST_HALF, .sentence = "tensor moments has shape [1,8,8,8]"},
    {.from = VAE, .word = "\"config\"", .other = "\"canfig\"", .sentence = "no \"config\""},
    {.from = VAE, .word = "\"norm_num_groups\": 32", .other = "\"norm_num_groups\": 24", .sentence = "\"block_out_channels\" has 32"},
    {.from = VAE, .word = "\"synthetic_seed\"", .other = "\"synthetic_sead\"", .sentence = "no synthetic_seed"},
    {.from = CHAIN, .tensor = "bytes", .change = FILLED, .value = 7, .fails = 1},
    {.from = CHAIN, .tensor = "decoded", .change = FILLED, .value = .5, .fails = 1},
    {.from = CHAIN, .word = "\"near\": 0.01", .other = "\"near\": 0"}, /* no byte lies so near to the next one here */
    {.from = CHAIN, .word = "\"near\": 0.01", .other = "\"naer\": 0.01", .sentence = "no \"near\""},
    {.from = CHAIN, .tensor = "bytes", .sentence = "no tensor bytes"},
    {.from = CHAIN, .tensor = "bytes", .change = FLAT, .sentence = "tensor bytes has shape [24576]"},
    {.from = CHAIN, .tensor = "decoded", .change = FIRST_HALF, .sentence = "tensor decoded has shape [1,3,64,64]"},
    {.from = CHAIN, .word = "\"vae_seed\"", .other = "\"vae_sead\"", .sentence = "no vae_seed"},
    {.from = CHAIN, .word = "\"vae\"", .other = "\"vea\"", .sentence = "no \"vae\""},
    {.from = CHAIN, .word = "\"scaling_factor\": 0.18215", .other = "\"scaling_factor\": 0.2", .fails = 2},
    {.from = CHAIN,
     .tensor = "override.vae.decoder.conv_out.weight",
     .change = RENAMED,
     .other = "override.vae.no.such.weight",
     .sentence = "no.such.weight"},
    {.from = VAE_EPS,
     .tensor = "override.network.encoder.conv_in.bias",
     .change = RENAMED,
     .other = "override.network.no.such.weight",
     .sentence = "no.such.weight"},
    {.from = INCEPTION, .tensor = "images", .sentence = "no tensor images"},
    {.from = INCEPTION, .tensor = "images", .change = FLAT, .sentence = "tensor images has shape [6144], [n,"},
    {.from = INCEPTION, .tensor = "pool", .change = FIRST_HALF, .sentence = "tensor pool has shape [1,2048], [2,2048] is wanted"},
    {.from = INCEPTION, .word = "\"block_mean.Mixed_7c\"", .other = "\"block_mean.Mixed_7d\"", .sentence = "names block_mean.Mixed_7d"},
    {.from = INCEPTION, .word = "\"pytorch-fid\"", .other = "\"none\"", .sentence = "\"resize\" is \"none\""},
    {.from = INCEPTION, .word = "\"synthetic_seed\"", .other = "\"synthetic_sead\"", .sentence = "no synthetic_seed"},
};
enum { BROKEN = sizeof broken / sizeof *broken };

/* The JSON with its first `word` replaced. */
static char *replaced(const char *json, const char *word, const char *other) {
    const char *at = strstr(json, word);
    if (!CHECK(at, "the case has no %s", word)) return NULL;
    size_t bytes = strlen(json) + strlen(other) + 1;
    char *out = malloc(bytes);
    snprintf(out, bytes, "%.*s%s%s", (int)(at - json), json, other, at + strlen(word));
    return out;
}
/* The first half of a tensor, at least one, has 1 or 3 of its rows: the batches here are of 3 and 4, the draws 6. */
static int64_t half(int64_t n) { return n > 1 ? n / 2 : 1; }
typedef struct {
    char name[128];
    DType dtype;
    int dims;
    int64_t shape[ST_MAX_DIMS];
    void *data;
    size_t bytes;
} Part;
static Part part_of(const StTensor *t, const Broken *b) {
    Part p = {.dtype = t->dtype, .dims = t->dims, .bytes = t->bytes, .data = malloc(t->bytes)};
    snprintf(p.name, sizeof p.name, "%s", t->name);
    memcpy(p.shape, t->shape, sizeof p.shape);
    memcpy(p.data, t->data, t->bytes);
    if (!b->tensor || strcmp(t->name, b->tensor)) return p;
    switch (b->change) {
    case WITHOUT: break;
    case RENAMED: snprintf(p.name, sizeof p.name, "%s", b->other); break;
    case FIRST_HALF: p.bytes = p.bytes / (size_t)p.shape[0] * (size_t)half(p.shape[0]), p.shape[0] = half(p.shape[0]); break;
    case FLAT: p.dims = 1, p.shape[0] = (int64_t)t->count; break;
    case INTEGERS: p.dtype = DG_U8, p.bytes = t->count; break;
    case FILLED:
        for (size_t i = 0; i < t->count; i++) {
            int64_t whole = isfinite(b->value) ? (int64_t)b->value : 0;
            if (t->dtype == DG_I64) memcpy((char *)p.data + 8 * i, &whole, 8);
            else if (t->dtype == DG_U8) ((uint8_t *)p.data)[i] = (uint8_t)whole;
            else dtype_convert(t->dtype, (char *)p.data + i * dtype_bytes(t->dtype), DG_F64, &b->value, 1);
        }
    }
    return p;
}
static bool write_broken(const Broken *b, const char *path, Error *e) {
    SafeTensors *s = st_open(b->from, e);
    if (!s) return false;
    bool changes_json = !b->tensor;
    const char *text = st_metadata(s, "case");
    char *json = changes_json ? replaced(text, b->word, b->other) : NULL;
    StWriter *w = st_writer_open(path, e);
    bool ok = w && (!changes_json || json), found = changes_json;
    Part *part = calloc((size_t)s->count, sizeof *part);
    int parts = 0;
    for (int i = 0; i < s->count && ok; i++) {
        bool this = b->tensor && !strcmp(s->tensor[i].name, b->tensor);
        found |= this;
        if (!this || b->change != WITHOUT) part[parts++] = part_of(&s->tensor[i], b);
    }
    CHECK(found, "%s has no tensor %s", b->from, b->tensor);
    if (ok) {
        st_writer_metadata(w, "case", json ? json : text);
        for (int i = 0; i < parts; i++) st_writer_tensor(w, part[i].name, part[i].dtype, part[i].dims, part[i].shape);
        ok = st_writer_begin(w, e);
        for (int i = 0; i < parts && ok; i++) ok = st_writer_data(w, part[i].data, part[i].bytes, e);
        if (ok) ok = st_writer_finish(w, e);
        else st_writer_abandon(w);
    } else if (w) st_writer_abandon(w);
    for (int i = 0; i < parts; i++) free(part[i].data);
    free(part), free(json);
    st_close(s);
    return ok;
}
static void test_broken(const Broken *b, const char *path, Device *d) {
    Error e = {""};
    VerifyResult r;
    const char *what = b->tensor ? b->tensor : b->word;
    if (!CHECK(write_broken(b, path, &e), "%s", e.text)) return;
    bool ran = verify_case(path, d, true, 1, NULL, &r, &e);
    if (!b->sentence)
        CHECK(ran && r.compared > b->fails && r.failed == b->fails, "%s, %s: %d of %d fail, %d wanted: %s", b->from, what, r.failed,
              r.compared, b->fails, e.text);
    else
        CHECK(!ran && strstr(e.text, b->sentence) && strstr(e.text, path) && !strchr(e.text, '\n'), "%s, %s: \"%s\" (wanted: %s)", b->from,
              what, ran ? "it ran" : e.text, b->sentence);
}
static void test_cost(const char *path, CaseSize size, double least, double most) {
    Error e = {""};
    CaseCost c;
    if (CHECK(verify_case_cost(path, &c, &e), "%s", e.text))
        CHECK(c.known && c.size == size && c.flops >= least && c.flops <= most, "%s: %s, %g operations", path, case_size_name[c.size],
              c.flops);
}
int main(void) {
    char folder[] = "/tmp/dg_verify_XXXXXX", path[64];
    Error e;
    Device *d = device_open("cpu", NULL, &e);
    if (!CHECK(d && mkdtemp(folder), "no device or no folder")) return check_done("test_verify");
    snprintf(path, sizeof path, "%s/case.safetensors", folder);
    for (int i = 0; i < BROKEN; i++) test_broken(&broken[i], path, d);
    /* operations as the cases' makers counted them: an image and call times images and calls */
    test_cost(DENOISE, CASE_QUICK, 3 * 151920640., 3 * 151920640.);
    test_cost("tests/golden/nets/edm_cifar10_cond.safetensors", CASE_FULL, 2 * 42380429824., 2 * 42380429824.);
    test_cost(GUIDANCE, CASE_QUICK, 3 * 239083520., 3 * 3 * (239083520. + 14928064.));
    test_cost("tests/golden/guidance/disc_latent256.safetensors", CASE_FULL, 2 * 5904400384., 2 * 3 * (5904400384. + 249348864.));
    test_cost(ADM, CASE_QUICK, 2 * 663068672., 2 * 663068672.);
    test_cost("tests/golden/imagenet/adm_imagenet64.safetensors", CASE_FULL, 219356037120., 219356037120.);
    test_cost("tests/golden/imagenet/adm_imagenet256.safetensors", CASE_LARGE, 2239665537024., 2239665537024.);
    test_cost(DIT, CASE_QUICK, 3 * 9924096., 3 * 9924096.);
    test_cost("tests/golden/imagenet/dit_xl_2.safetensors", CASE_LARGE, 237242843136., 237242843136.);
    test_cost(VAE, CASE_QUICK, 2 * 2 * 85147648. * .5, 2 * 2 * 85147648.); /* an encoder has fewer blocks than a decoder */
    test_cost("tests/golden/imagenet/vae_sd.safetensors", CASE_FULL, 38760873984., 2 * 38760873984.);
    test_cost(EDM, CASE_SAMPLE, 1, INFINITY);
    test_cost(BOOST, CASE_SAMPLE, 1, INFINITY);
    test_cost(CHAIN, CASE_SAMPLE, 2 * 85147648. * 16, INFINITY); /* the decoder of vae_tiny, on 16 times the pixels */
    unlink(path);
    rmdir(folder);
    device_close(d);
    return check_done("test_verify");
}
