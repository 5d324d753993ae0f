/* test_trainers.c -- checkpoints in the shapes that trainers save: which part, prefix and average is taken, and what is said of it.
 * The files hold one small network twice or more, with other values in each copy, and are made by torch_writer.h.               */
#include "models/models.h"
#include "weights_tools/weights_tools.h"
#include "tiny_checkpoint.h"
#include <unistd.h>

static const char *const copy_name[] = {"raw", "averaged", "other"};
/* ---- pieces of files --------------------------------------------------------------------------------------------------------- */
static void entry(TorchWriter *w, const char *key, const Net *n, int copy, const char *prefix) {
    torch_text(w, key), state(w, n, copy, prefix);
}
static void number(TorchWriter *w, const char *key, int64_t v) { torch_text(w, key), torch_int(w, v); }
static void scalar(TorchWriter *w, const char *key, DType t) { /* a tensor without dimensions */
    static const int64_t seven = 7;
    static const float one = 1;
    torch_text(w, key), torch_tensor(w, t, 0, NULL, t == DG_I64 ? (const void *)&seven : &one);
}
static void vector(TorchWriter *w, const char *key) {
    static const float v[3] = {1, 2, 3};
    torch_text(w, key), torch_tensor(w, DG_F32, 1, (int64_t[]){3}, v);
}
static void optimizer(TorchWriter *w, const Net *n) { /* Adam's averages, of the shapes of the network */
    torch_open_dict(w), torch_text(w, "state"), torch_open_dict(w);
    for (int i = 0; i < 3; i++) {
        const TorchNamed *t = &n->t[OTHER][i];
        torch_int(w, i), torch_open_dict(w), scalar(w, "step", DG_F32);
        torch_text(w, "exp_avg"), torch_tensor(w, t->dtype, t->dims, t->shape, t->data), torch_close_dict(w);
    }
    torch_close_dict(w), torch_text(w, "param_groups"), torch_open_list(w), torch_close_list(w), torch_close_dict(w);
}
static void list(TorchWriter *w, const Net *n, int copy, int leave_out) {
    torch_open_list(w);
    for (int i = 0; i < n->count - leave_out; i++) torch_tensor(w, DG_F32, n->t[copy][i].dims, n->t[copy][i].shape, n->t[copy][i].data);
    torch_close_list(w);
}
static void open_object(TorchWriter *w, const char *module, const char *name) {
    torch_global(w, module, name), torch_op(w, ')'), torch_op(w, (char)0x81), torch_open_dict(w);
}
static void close_object(TorchWriter *w) { torch_close_dict(w), torch_build(w); }

/* ---- what trainers save -------------------------------------------------------------------------------------------------------- */
static void flat(TorchWriter *w, const Net *n) { state(w, n, RAW, ""); }
static void ddp(TorchWriter *w, const Net *n) { state(w, n, RAW, "module."); }
static void compiled(TorchWriter *w, const Net *n) { state(w, n, RAW, "_orig_mod."); }
static void compiled_ddp(TorchWriter *w, const Net *n) { state(w, n, RAW, "_orig_mod.module."); }
static void ddp_compiled(TorchWriter *w, const Net *n) { state(w, n, RAW, "module._orig_mod."); }
static void compiled_inside(TorchWriter *w, const Net *n) {
    torch_open_dict(w), put(w, n, RAW, "model._orig_mod.", strlen("model.")), torch_close_dict(w);
}
static void fsdp(TorchWriter *w, const Net *n) { state(w, n, RAW, "_fsdp_wrapped_module."); }
static void unet(TorchWriter *w, const Net *n) { torch_open_dict(w), put(w, n, RAW, "", strlen("model.")), torch_close_dict(w); }
static void unet_inside(TorchWriter *w, const Net *n) {
    torch_open_dict(w), put(w, n, RAW, "denoise_fn.", strlen("model.")), torch_close_dict(w);
}
static void model_twice(TorchWriter *w, const Net *n) { state(w, n, RAW, "model."); }
static void lightning(TorchWriter *w, const Net *n) {
    torch_open_dict(w), number(w, "epoch", 3), number(w, "global_step", 10), entry(w, "state_dict", n, RAW, "net.");
    torch_text(w, "optimizer_states"), torch_open_list(w), optimizer(w, n), torch_close_list(w);
    torch_text(w, "callbacks"), torch_open_dict(w), torch_close_dict(w), torch_close_dict(w);
}
static void lightning_ema(TorchWriter *w, const Net *n) { /* a loss of its own and an averaged copy beside the network */
    torch_open_dict(w), torch_text(w, "state_dict"), torch_open_dict(w);
    put(w, n, RAW, "net.", 0), vector(w, "loss.logvar"), put(w, n, EMA, "net_ema.", 0), torch_close_dict(w), torch_close_dict(w);
}
static void averaged_model(TorchWriter *w, const Net *n) {
    torch_open_dict(w), scalar(w, "n_averaged", DG_I64), put(w, n, EMA, "module.", 0), torch_close_dict(w);
}
static void ema_pytorch(TorchWriter *w, const Net *n) {
    torch_open_dict(w), number(w, "step", 5), entry(w, "model", n, RAW, ""), torch_text(w, "opt"), optimizer(w, n), torch_text(w, "ema");
    torch_open_dict(w), scalar(w, "initted", DG_F32), scalar(w, "step", DG_I64), put(w, n, RAW, "online_model.", 0);
    put(w, n, EMA, "ema_model.", 0), torch_close_dict(w), torch_close_dict(w);
}
static void score_sde_of(TorchWriter *w, const Net *n, int leave_out) {
    torch_open_dict(w), torch_text(w, "optimizer"), optimizer(w, n), entry(w, "model", n, RAW, "module."), torch_text(w, "ema");
    torch_open_dict(w), torch_text(w, "decay"), torch_float(w, .999), number(w, "num_updates", 5), torch_text(w, "shadow_params");
    list(w, n, EMA, leave_out), torch_close_dict(w), number(w, "step", 5), torch_close_dict(w);
}
static void score_sde(TorchWriter *w, const Net *n) { score_sde_of(w, n, 0); }
static void score_sde_other(TorchWriter *w, const Net *n) { score_sde_of(w, n, 1); }
static void ddim(TorchWriter *w, const Net *n) {
    torch_open_list(w), state(w, n, RAW, "module."), optimizer(w, n), torch_int(w, 3), torch_int(w, 100), state(w, n, EMA, "module.");
    torch_close_list(w);
}
static void ddim_raw(TorchWriter *w, const Net *n) {
    torch_open_list(w), state(w, n, RAW, "module."), optimizer(w, n), torch_int(w, 3), torch_int(w, 100), torch_close_list(w);
}
static void rates(TorchWriter *w, const Net *n) {
    torch_open_dict(w), entry(w, "model", n, RAW, ""), entry(w, "ema_0.9999", n, EMA, ""), number(w, "step", 1), torch_close_dict(w);
}
static void timm(TorchWriter *w, const Net *n) {
    torch_open_dict(w), number(w, "epoch", 1), torch_text(w, "arch"), torch_text(w, "unet"), entry(w, "state_dict", n, RAW, "");
    torch_text(w, "optimizer"), optimizer(w, n), entry(w, "state_dict_ema", n, EMA, ""), torch_close_dict(w);
}
static void dit(TorchWriter *w, const Net *n) {
    torch_open_dict(w), entry(w, "model", n, RAW, ""), entry(w, "ema", n, EMA, ""), torch_text(w, "opt"), optimizer(w, n);
    torch_text(w, "args"), open_object(w, "argparse", "Namespace"), number(w, "epochs", 1400), close_object(w), torch_close_dict(w);
}
static void edm(TorchWriter *w, const Net *n) {
    torch_open_dict(w), torch_text(w, "ema"), torch_open_persistent(w, "EDMPrecond");
    number(w, "img_resolution", 8), torch_text(w, "model_type"), torch_text(w, "SongUNet"), torch_text(w, "dropout"), torch_float(w, .13);
    torch_close_persistent(w, n->t[EMA], n->count, 0);
    torch_text(w, "loss_fn"), torch_none(w), torch_text(w, "augment_pipe"), torch_none(w), torch_close_dict(w);
}
static void training_state(TorchWriter *w, const Net *n) {
    torch_open_dict(w), torch_text(w, "net"), torch_open_persistent(w, "EDMPrecond"), torch_close_persistent(w, n->t[RAW], n->count, 0);
    torch_text(w, "optimizer_state"), optimizer(w, n), torch_close_dict(w);
}
static void whole_module(TorchWriter *w, const Net *n) { torch_module(w, n->t[RAW], n->count, 0); }
static void whole_parallel(TorchWriter *w, const Net *n) { /* a pickled DataParallel */
    open_object(w, "torch.nn.parallel.data_parallel", "DataParallel"), torch_text(w, "_parameters"), torch_open_dict(w),
        torch_close_dict(w);
    torch_text(w, "_modules"), torch_open_dict(w), torch_text(w, "module"), torch_module(w, n->t[RAW], n->count, 0), torch_close_dict(w);
    close_object(w);
}
static void basicsr(TorchWriter *w, const Net *n) {
    torch_open_dict(w), entry(w, "params", n, RAW, ""), entry(w, "params_ema", n, EMA, ""), torch_close_dict(w);
}
static void mmengine(TorchWriter *w, const Net *n) {
    torch_open_dict(w), torch_text(w, "meta"), torch_open_dict(w), number(w, "iter", 9), torch_close_dict(w),
        entry(w, "state_dict", n, RAW, "");
    entry(w, "ema_state_dict", n, EMA, "module."), torch_text(w, "message_hub"), torch_open_dict(w), torch_close_dict(w),
        torch_close_dict(w);
}
static void deepspeed(TorchWriter *w, const Net *n) {
    torch_open_dict(w), entry(w, "module", n, RAW, "module."), torch_text(w, "optimizer"), optimizer(w, n), torch_text(w, "lr_scheduler");
    torch_none(w), torch_close_dict(w);
}
static void nested(TorchWriter *w, const Net *n) {
    torch_open_dict(w), torch_text(w, "checkpoint"), torch_open_dict(w), number(w, "iteration", 1), entry(w, "model", n, RAW, "module.");
    torch_close_dict(w), torch_close_dict(w);
}
static void gan(TorchWriter *w, const Net *n) {
    torch_open_dict(w), torch_text(w, "G"), torch_module(w, n->t[RAW], n->count, 0), torch_text(w, "D");
    torch_module(w, n->t[OTHER], n->count, 0), torch_text(w, "G_ema"), torch_module(w, n->t[EMA], n->count, 0), torch_close_dict(w);
}
static void several_emas(TorchWriter *w, const Net *n) {
    torch_open_dict(w), entry(w, "model", n, RAW, ""), torch_text(w, "ema"), torch_open_list(w), state(w, n, OTHER, ""),
        state(w, n, EMA, "");
    torch_close_list(w), torch_close_dict(w);
}
static void ema_object(TorchWriter *w, const Net *n) { /* of a class of the trainer's own */
    torch_open_dict(w), entry(w, "model", n, RAW, ""), torch_text(w, "ema"), open_object(w, "trainer.ema", "EMA");
    torch_text(w, "decay"), torch_float(w, .99), entry(w, "shadow", n, EMA, ""), close_object(w), torch_close_dict(w);
}
static void ema_of_parameters(TorchWriter *w, const Net *n) { /* a pickled object of torch_ema */
    torch_open_dict(w), entry(w, "net", n, RAW, ""), torch_text(w, "ema"), open_object(w, "torch_ema", "ExponentialMovingAverage");
    torch_text(w, "decay"), torch_float(w, .99), torch_text(w, "shadow_params"), list(w, n, EMA, 0), close_object(w), torch_close_dict(w);
}
static void two_networks(TorchWriter *w, const Net *n) {
    torch_open_dict(w), put(w, n, RAW, "teacher.", 0), put(w, n, OTHER, "student.", 0), torch_close_dict(w);
}
static void step_beside(TorchWriter *w, const Net *n) {
    torch_open_dict(w), put(w, n, RAW, "", 0), scalar(w, "step", DG_I64), scalar(w, "best", DG_F32), torch_close_dict(w);
}
static void tensor_beside(TorchWriter *w, const Net *n) {
    torch_open_dict(w), put(w, n, RAW, "", 0), vector(w, "logvar"), torch_close_dict(w);
}

typedef struct {
    const char *name;
    TorchForm form;
    int protocol;
    void (*write)(TorchWriter *w, const Net *n);
    int taken;        /* the copy whose values the result must have */
    const char *said; /* within the notes; NULL: nothing in particular */
    ConvertOptions o;
    const char *refused; /* with these options: within the error */
} Trainer;
static const Trainer trainers[] = {
    {"a state dict", TORCH_ZIP, 2, flat, RAW, NULL, {0}, NULL},
    {"a state dict, legacy", TORCH_LEGACY, 2, flat, RAW, NULL, {0}, NULL},
    {"DistributedDataParallel", TORCH_ZIP, 2, ddp, RAW, "module.model", {0}, NULL},
    {"torch.compile", TORCH_ZIP, 2, compiled, RAW, "_orig_mod.model", {0}, NULL},
    {"torch.compile of DDP", TORCH_ZIP, 2, compiled_ddp, RAW, "_orig_mod.module.model", {0}, NULL},
    {"DDP of torch.compile", TORCH_ZIP, 2, ddp_compiled, RAW, "module._orig_mod.model", {0}, NULL},
    {"torch.compile of a submodule", TORCH_ZIP, 2, compiled_inside, RAW, "model._orig_mod.", {0}, NULL},
    {"FullyShardedDataParallel", TORCH_ZIP, 2, fsdp, RAW, "_fsdp_wrapped_module.", {0}, NULL},
    {"a bare U-Net", TORCH_ZIP, 2, unet, RAW, "is now model.", {0}, NULL},
    {"a bare U-Net in a wrapper", TORCH_ZIP, 2, unet_inside, RAW, "denoise_fn.", {0}, NULL},
    {"a wrapper's model.", TORCH_ZIP, 2, model_twice, RAW, "model.model.", {0}, NULL},
    {"Lightning", TORCH_ZIP, 2, lightning, RAW, "took \"state_dict\" of its parts epoch, global_step", {0}, NULL},
    {"Lightning, an average and a loss beside",
     TORCH_ZIP,
     2,
     lightning_ema,
     EMA,
     "took the network of prefix \"net_ema.\", passing over that of \"net.\"",
     {0},
     NULL},
    {"the same, told", TORCH_ZIP, 2, lightning_ema, RAW, NULL, {.prefix = "net"}, NULL},
    {"swa_utils.AveragedModel", TORCH_ZIP, 2, averaged_model, EMA, "left out 1", {0}, NULL},
    {"ema_pytorch", TORCH_ZIP, 2, ema_pytorch, EMA, "prefix \"ema_model.\", passing over that of \"online_model.\"", {0}, NULL},
    {"score_sde", TORCH_ZIP, 2, score_sde, EMA, "took \"ema\" of its parts optimizer, model, ema, step", {0}, NULL},
    {"score_sde, told", TORCH_ZIP, 2, score_sde, RAW, NULL, {.key = "model"}, NULL},
    {"score_sde, the average told", TORCH_ZIP, 2, score_sde, EMA, NULL, {.key = "ema"}, NULL},
    {"score_sde, whose average does not fit", TORCH_ZIP, 2, score_sde_other, RAW, "passed over \"ema\": ", {0}, NULL},
    {"DDIM", TORCH_ZIP, 2, ddim, EMA, "took \"4\" of its parts 0, 1, 2, 3, 4", {0}, NULL},
    {"DDIM, told", TORCH_ZIP, 2, ddim, RAW, NULL, {.key = "0"}, NULL},
    {"DDIM, in the format of its time", TORCH_LEGACY, 2, ddim, EMA, "took \"4\"", {0}, NULL},
    {"DDIM without averages", TORCH_ZIP, 2, ddim_raw, RAW, "took \"0\" of its parts", {0}, NULL},
    {"an average by its rate", TORCH_ZIP, 2, rates, EMA, "took \"ema_0.9999\"", {0}, NULL},
    {"the same, told by a name with a dot", TORCH_ZIP, 2, rates, EMA, NULL, {.key = "ema_0.9999"}, NULL},
    {"timm", TORCH_ZIP, 2, timm, EMA, "took \"state_dict_ema\"", {0}, NULL},
    {"DiT", TORCH_ZIP, 2, dit, EMA, "took \"ema\" of its parts model, ema, opt, args", {0}, NULL},
    {"EDM's pickle", TORCH_PLAIN, 4, edm, EMA, "took \"ema\"", {0}, NULL},
    {"EDM's pickle, protocol 2", TORCH_PLAIN, 2, edm, EMA, "took \"ema\"", {0}, NULL},
    {"EDM's training state", TORCH_ZIP, 2, training_state, RAW, "took \"net\" of its parts net, optimizer_state", {0}, NULL},
    {"a whole module", TORCH_ZIP, 2, whole_module, RAW, NULL, {0}, NULL},
    {"a whole DataParallel", TORCH_ZIP, 2, whole_parallel, RAW, "module.model", {0}, NULL},
    {"BasicSR", TORCH_ZIP, 2, basicsr, EMA, "took \"params_ema\"", {0}, NULL},
    {"MMEngine", TORCH_ZIP, 2, mmengine, EMA, "took \"ema_state_dict\"", {0}, NULL},
    {"DeepSpeed", TORCH_ZIP, 2, deepspeed, RAW, "took \"module\"", {0}, NULL},
    {"nested twice", TORCH_ZIP, 2, nested, RAW, "took \"model\"", {0}, NULL},
    {"nested twice, told", TORCH_ZIP, 2, nested, RAW, NULL, {.key = "checkpoint.model"}, NULL},
    {"a GAN's", TORCH_ZIP, 2, gan, EMA, "took \"G_ema\" of its parts G, D, G_ema", {0}, NULL},
    {"a list of averages, told", TORCH_ZIP, 2, several_emas, EMA, NULL, {.key = "ema.1"}, NULL},
    {"a list of averages", TORCH_ZIP, 2, several_emas, EMA, NULL, {0}, "more than one of its parts holds tensors (0, 1)"},
    {"an average as an object", TORCH_ZIP, 2, ema_object, EMA, "took \"shadow\" of its parts decay, shadow", {0}, NULL},
    {"torch_ema as an object", TORCH_ZIP, 2, ema_of_parameters, EMA, "took \"ema\"", {0}, NULL},
    {"two networks", TORCH_ZIP, 2, two_networks, OTHER, NULL, {0}, "several networks, of prefix"},
    {"two networks, told", TORCH_ZIP, 2, two_networks, OTHER, NULL, {.prefix = "student."}, NULL},
    {"two networks, told wrongly", TORCH_ZIP, 2, two_networks, OTHER, NULL, {.prefix = "stud"}, "no tensor's name begins with \"stud\""},
    {"a step count beside", TORCH_ZIP, 2, step_beside, RAW, "left out 2 scalars and integers (best, ...)", {0}, NULL},
    {"a tensor beside, told",
     TORCH_ZIP,
     2,
     tensor_beside,
     RAW,
     "left out 1 tensors that have no name of this network's (logvar)",
     {.ignore_extra = true},
     NULL},
};
/* ---- looking at what came of them ------------------------------------------------------------------------------------------------ */
static void same_values(const char *what, const Net *n, int copy, const SafeTensors *s) {
    CHECK(s->count == n->count, "%s: %d tensors, not %d", what, s->count, n->count);
    int wrong = 0;
    const char *example = "";
    for (int i = 0; i < n->count; i++) {
        const TorchNamed *t = &n->t[copy][i];
        const StTensor *x = st_find(s, t->name);
        if (x && x->dtype == t->dtype && x->dims == t->dims && !memcmp(x->data, t->data, x->bytes)) continue;
        wrong++, example = t->name;
    }
    CHECK(wrong == 0, "%s: %d tensors (%s) are not those of the %s copy", what, wrong, example, copy_name[copy]);
    const char *config = st_metadata(s, "config");
    Error e = {""};
    Json *j = config ? json_parse(config, strlen(config), &e) : NULL;
    const Model *m = j ? model_find(j, "denoiser", &e) : NULL;
    void *c = m ? model_config(m, j, &e) : NULL;
    int resolution = 0, classes = 0;
    bool read = c && json_get_int(j, "img_resolution", 0, &resolution, &e) && json_get_int(j, "label_dim", 0, &classes, &e);
    CHECK(read && resolution == 8 && classes == 3, "%s: no configuration: %s", what, e.text);
    free(c);
    json_free(j);
}
static void check_files(const char *what, const Net *n, const char *const *in, int count, const Trainer *t) {
    char out[128];
    Text notes = {0};
    Error e = {""};
    bool ok = convert(in, count, in_folder(n, "out.safetensors", out), &t->o, &notes, &e);
    if (t->refused) {
        CHECK(!ok && strstr(e.text, t->refused), "%s: %s", what, ok ? "accepted" : e.text);
    } else if (CHECK(ok, "%s: %s", what, e.text)) {
        SafeTensors *s = st_open(out, &e);
        if (CHECK(s, "%s: %s", what, e.text)) same_values(what, n, t->taken, s);
        st_close(s);
        CHECK(!t->said || (notes.text && strstr(notes.text, t->said)), "%s: said \"%s\", wanted \"%s\"", what, notes.len ? notes.text : "",
              t->said);
    }
    unlink(out);
    text_free(&notes);
}
static void check_trainer(const Net *n, const Trainer *t) {
    char path[128];
    TorchWriter w = torch_begin(t->form, t->protocol);
    t->write(&w, n);
    Made m = torch_finish(&w);
    const char *in = in_folder(n, "checkpoint.pt", path);
    if (write_bytes(in, m.data, m.bytes)) check_files(t->name, n, &in, 1, t);
    made_free(&m);
}

/* ---- several files: pieces, and lists of pieces ------------------------------------------------------------------------------------ */
static void write_piece(const Net *n, const char *name, const char *prefix, int from, int to) {
    char path[128], full[256];
    Error e = {""};
    StWriter *w = st_writer_open(in_folder(n, name, path), &e);
    if (!CHECK(w, "%s", e.text)) return;
    st_writer_metadata(w, "format", "pt");
    for (int pass = 0; pass < 2; pass++) {
        for (int i = from; i < to; i++) {
            const TorchNamed *t = &n->t[RAW][i];
            size_t count = 1;
            snprintf(full, sizeof full, "%s%s", prefix, t->name);
            for (int d = 0; d < t->dims; d++) count *= (size_t)t->shape[d];
            if (pass == 0) st_writer_tensor(w, full, t->dtype, t->dims, t->shape);
            else CHECK(st_writer_data(w, t->data, 4 * count, &e), "%s", e.text);
        }
        if (pass == 0) CHECK(st_writer_begin(w, &e), "%s", e.text);
    }
    CHECK(st_writer_finish(w, &e), "%s", e.text);
}
static void write_index(const Net *n, const char *prefix, int half, const char *first, const char *second) {
    Text t = {0};
    char path[128];
    text_printf(&t, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int i = 0; i < n->count; i++)
        text_printf(&t, "%s\"%s%s\": \"%s\"", i ? ", " : "", prefix, n->t[RAW][i].name, i < half ? first : second);
    text_printf(&t, "}}");
    write_bytes(in_folder(n, "net.safetensors.index.json", path), t.text, t.len);
    text_free(&t);
}
static void shards(const Net *n) {
    char path[3][128];
    const char *in[] = {in_folder(n, "piece-1.safetensors", path[0]), in_folder(n, "piece-2.safetensors", path[1])},
               *index = in_folder(n, "net.safetensors.index.json", path[2]);
    static const char *const prefixes[] = {"", "unet."};
    Trainer t = {.taken = RAW};
    for (int p = 0; p < 2; p++) {
        int half = n->count / 2;
        write_piece(n, "piece-1.safetensors", prefixes[p], 0, half);
        write_piece(n, "piece-2.safetensors", prefixes[p], half, n->count);
        check_files("pieces", n, in, 2, &t);
        write_index(n, prefixes[p], half, "piece-1.safetensors", "piece-2.safetensors");
        check_files("a list of shards", n, &index, 1, &t);
    }
    Error e = {""};
    char notice[512];
    Weights *w = weights_open_any(index, &(ConvertOptions){.cache = "off"}, notice, sizeof notice, &e);
    CHECK(w && strstr(notice, "converted in memory (the cache is off)") && strlen(weights_source(w)) == 64, "%s%s", notice, e.text);
    weights_free(w);
    Inspection *x = inspect(index, NULL, &e);
    CHECK(x && !strcmp(x->format, "list of shards") && x->count == n->count, "%s", e.text);
    inspection_free(x);
    static const char *const outside[] = {"../piece-2.safetensors", "/etc/passwd", "", ".hidden", "a/b"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        write_index(n, "unet.", n->count / 2, "piece-1.safetensors", outside[i]);
        t.refused = "which is no name of a file beside the list";
        check_files("a list that leads elsewhere", n, &index, 1, &t);
    }
    write_index(n, "unet.", n->count / 2, "piece-1.safetensors", "piece-3.safetensors");
    t.refused = "piece-3.safetensors: cannot open";
    check_files("a list with a piece that is missing", n, &index, 1, &t);
    write_bytes(index, "{\"weight_map\": 3}", 17);
    t.refused = "no \"weight_map\"";
    check_files("a list of nothing", n, &index, 1, &t);
}

/* ---- classes and arguments ----------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *class_name, *key;
    void (*value)(TorchWriter *w);
    const char *precond, *refused;
} Class;
static void yes(TorchWriter *w) { torch_bool(w, true); }
static void no(TorchWriter *w) { torch_bool(w, false); }
static void d128(TorchWriter *w) { torch_int(w, 128); }
static void song(TorchWriter *w) { torch_text(w, "SongUNet"); }
static void other(TorchWriter *w) { torch_text(w, "OtherUNet"); }
static void object(TorchWriter *w) { open_object(w, "m", "Thing"), close_object(w); }
static void infinite(TorchWriter *w) { torch_float(w, __builtin_inf()); }
static const Class classes[] = {
    {"EDMPrecond", "model_type", song, NULL, NULL},
    {"EDMPrecond", "sigma_max", infinite, NULL, NULL},
    {"VPPrecond", "M", d128, NULL, NULL},
    {"ECMPrecond", "model_type", song, NULL, "its class is ECMPrecond"},
    {"ECMPrecond", "model_type", song, "EDMPrecond", NULL},
    {"EDMPrecond", "pfgmpp", yes, NULL, "(pfgmpp=true)"},
    {"EDMPrecond", "pfgmpp", no, NULL, NULL},
    {"EDMPrecond", "D", d128, NULL, "(D=128)"},
    {"EDMPrecond", "D", d128, "EDMPrecond", NULL},
    {"EDMPrecond", "model_type", other, NULL, "its network is a OtherUNet"},
    {"EDMPrecond", "schedule", object, NULL, "(schedule=null)"},
};
static void check_class(const Net *n, const Class *c) {
    char path[128], what[96];
    snprintf(what, sizeof what, "%s with %s%s%s", c->class_name, c->key, c->precond ? ", taken as " : "", c->precond ? c->precond : "");
    TorchWriter w = torch_begin(TORCH_PLAIN, 4);
    torch_open_dict(&w), torch_text(&w, "ema"), torch_open_persistent(&w, c->class_name), torch_text(&w, c->key), c->value(&w);
    torch_close_persistent(&w, n->t[RAW], n->count, 0), torch_close_dict(&w);
    Made m = torch_finish(&w);
    const char *in = in_folder(n, "class.pkl", path);
    Trainer t = {.taken = RAW, .refused = c->refused, .o = {.precond = c->precond}};
    if (write_bytes(in, m.data, m.bytes)) check_files(what, n, &in, 1, &t);
    made_free(&m);
}

/* ---- what has two meanings ------------------------------------------------------------------------------------------------------------- */
static void ambiguous(const Net *n) {
    char path[128];
    const char *in = in_folder(n, "ambiguous.pt", path);
    /* a key set twice: the last one counts, as in Python, whether it is a tensor or not */
    for (int last = 0; last < 2; last++) {
        TorchWriter w = torch_begin(TORCH_ZIP, 2);
        torch_open_dict(&w);
        if (last) put(&w, n, OTHER, "", 0), number(&w, "extra", 1), vector(&w, "extra"), number(&w, "extra", 2);
        else put(&w, n, RAW, "", 0), vector(&w, "extra"), number(&w, "extra", 1), put(&w, n, EMA, "", 0);
        if (last) put(&w, n, RAW, "", 0);
        torch_close_dict(&w);
        Made m = torch_finish(&w);
        if (write_bytes(in, m.data, m.bytes)) check_files("a key set twice", n, &in, 1, &(Trainer){.taken = last ? RAW : EMA});
        made_free(&m);
    }
    /* two folders with a data.pkl, and bytes behind it */
    for (int bad = 0; bad < 3; bad++) {
        static const char *const refused[] = {NULL, "with 2 data.pkl", "2 bytes follow the pickle's end"};
        TorchWriter w = torch_begin(TORCH_ZIP, 2);
        Made one = {0};
        torch_open_dict(&w), vector(&w, "v"), torch_close_dict(&w), torch_op(&w, '.');
        if (bad == 1) made_stored(&one, "c/version", "3\n", 2);
        if (bad < 2) made_stored(&one, bad ? "b/data.pkl" : "a/version", w.pickle.data, w.pickle.bytes);
        if (bad < 2) made_stored(&one, bad ? "d/data.pkl" : "b/data.pkl", w.pickle.data, w.pickle.bytes);
        if (bad == 2) torch_op(&w, 'N'), torch_op(&w, '.');
        made_stored(&one, "a/data.pkl", w.pickle.data, w.pickle.bytes);
        if (bad == 1) one.count--; /* not in the directory */
        made_stored(&one, "a/data/0", w.storage[0].data, 12);
        made_finish(&one, false);
        Error e = {""};
        Inspection *x = write_bytes(in, one.data, one.bytes) ? inspect(in, NULL, &e) : NULL;
        if (!refused[bad]) CHECK(x && x->count == 1, "the first entry's folder is not taken: %s", e.text);
        else CHECK(!x && strstr(e.text, refused[bad]), "case %d: %s", bad, x ? "accepted" : e.text);
        inspection_free(x);
        made_free(&one);
        for (int i = 0; i < w.storages; i++) free(w.storage[i].data);
        free(w.storage);
        made_free(&w.pickle);
    }
}
int main(void) {
    Net n = {.folder = "/tmp/dg_test_trainers_XXXXXX"};
    if (!CHECK(mkdtemp(n.folder), "no temporary folder") || !make_net(&n)) return check_done("test_trainers");
    enum { TRAINERS = sizeof trainers / sizeof *trainers };
    for (int i = 0; i < TRAINERS; i++) check_trainer(&n, &trainers[i]);
    printf("%d checkpoints of trainers' shapes\n", TRAINERS);
    shards(&n);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) check_class(&n, &classes[i]);
    ambiguous(&n);
    free_net(&n);
    char clean[96];
    snprintf(clean, sizeof clean, "rm -rf %s", n.folder);
    CHECK(system(clean) == 0, "%s was not removed", n.folder);
    return check_done("test_trainers");
}
