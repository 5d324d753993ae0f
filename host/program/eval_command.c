/* eval_command.c -- the command `eval`: sets of images measured by the rules of an official tool; its reference files; their merge. */
#include "base/file.h"
#include "base/folder.h"
#include "models/shapes32/shapes32.h"
#include "program/commands.h"
#include "program/eval.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_IMAGES = 1000 * 1000 * 1000 };
void eval_defaults(void *options) {
    EvalOptions *o = options;
    *o = (EvalOptions){.adm_images = 10000,
                       .protocol = UNSET,
                       .batch = 32,
                       .save_every = 60,
                       .num = UNSET,
                       .seed = UNSET,
                       .is_split_size = UNSET,
                       .is_splits = UNSET,
                       .is_shuffle_seed = UNSET,
                       .pr_k = UNSET,
                       .kid_subsets = UNSET,
                       .kid_size = UNSET,
                       .kid_seed = UNSET};
}
#define AT(member) offsetof(EvalOptions, member)
static const Option option[] = {
    {"What is measured", "images", NULL, OPTION_TEXTS, AT(images), "SOURCE...", 0, 0, false,
     "folders of PNG and JPEG files, zip files of them, .npz files of images (ADM's, DiT's, DG's); several are one set"},
    {NULL, "each", NULL, OPTION_FLAG, AT(each), NULL, 0, 0, false, "a row of results for each SOURCE"},
    {NULL, "ref", "reference", OPTION_TEXT, AT(ref), "FILE", 0, 0, false,
     "statistics (.npz with mu and sigma, as EDM, pytorch-fid, ADM and eval ref write them), or images; of shapes32 the program has its "
     "own"},
    {NULL, "protocol", NULL, OPTION_CHOICE, AT(protocol), PROTOCOL_CHOICE, 0, 0, false,
     "the tool whose number it is to be; of shapes32: features of the example model's extractor"},
    {NULL, "inception", NULL, OPTION_TEXT, AT(inception), "FILE", 0, 0, false,
     "the Inception network of the FID: pytorch-fid's or torch-fidelity's .pth, OpenAI's .pt, or a conversion of one"},
    {NULL, "metrics", NULL, OPTION_TEXT, AT(metrics), "LIST", 0, 0, false,
     "of fid, sfid, is, pr (precision, recall), dc (density, coverage), kid; of shapes32 fd, pr, dc, kid, class; default: the protocol's"},
    {NULL, "allow-fewer", NULL, OPTION_FLAG, AT(allow_fewer), NULL, 0, 0, false, "fewer images than the protocol's number are no error"},
    {NULL, "force", NULL, OPTION_FLAG, AT(force), NULL, 0, 0, false, "statistics of another resize or network are no error"},
    {NULL, "bootstrap", NULL, OPTION_INT, AT(bootstrap), "N", 0, 100000, false,
     "the standard error of the Frechet distance, by N sets drawn from the set; at least 2"},

    {"Output", "output", NULL, OPTION_CHOICE, AT(output), "text|json|csv|md", 0, 0, false, "how results are printed"},
    {NULL, "out", "o", OPTION_TEXT, AT(out), "FILE.npz", 0, 0, false,
     "of eval ref and eval merge: the file to write; of eval: statistics of the images, kept while it runs. The same command goes on from "
     "it"},
    {NULL, "save-every", NULL, OPTION_INT, AT(save_every), "SECONDS", 0, 86400, false, "how often --out is replaced on the way"},
    {NULL, "features", NULL, OPTION_FLAG, AT(features), NULL, 0, 0, false,
     "keep the features themselves in --out: precision, recall and KID of a reference need them"},
    {NULL, "adm", NULL, OPTION_FLAG, AT(adm), NULL, 0, 0, false, "eval ref: ADM's form, images beside the statistics"},
    {NULL, "adm-images", NULL, OPTION_INT, AT(adm_images), "N", 1, MAX_IMAGES, false, "eval ref --adm: how many images, the first ones"},

    {"Instead of the protocol's", "num", NULL, OPTION_INT, AT(num), "N", 0, MAX_IMAGES, false, "images that are taken; 0: all"},
    {NULL, "seed", NULL, OPTION_INT, AT(seed), "N", 0, 2147483647, false, "of edm's subset of more images"},
    {NULL, "resize", NULL, OPTION_CHOICE, AT(resize), "auto|tf1|half|pil-bicubic", 0, 0, false, "to 299x299"},
    {NULL, "scale", NULL, OPTION_CHOICE, AT(scale), "auto|128|255", 0, 0, false, "of pixels: (p-128)/128 or 2p/255-1"},
    {NULL, "cov-ddof", NULL, OPTION_CHOICE, AT(cov_ddof), "auto|0|1", 0, 0, false, "the covariance is divided by N less this"},
    {NULL, "fd-trunc", NULL, OPTION_FLAG, AT(fd_trunc), NULL, 0, 0, false, "leave out eigenvalues below 1e-16 D of the largest"},
    {NULL, "dg-short-count", NULL, OPTION_FLAG, AT(dg_short_count), NULL, 0, 0, false,
     "with protocol dg and --allow-fewer: divide by the number asked for, as DG's tool does where there are fewer"},
    {NULL, "is-split-size", NULL, OPTION_INT, AT(is_split_size), "N", 1, MAX_IMAGES, false, "Inception Score: images of a part"},
    {NULL, "is-splits", NULL, OPTION_INT, AT(is_splits), "N", 1, 1000000, false, "Inception Score: number of parts"},
    {NULL, "is-shuffle-seed", NULL, OPTION_INT, AT(is_shuffle_seed), "N", 0, 2147483647, false, "Inception Score: images in random order"},
    {NULL, "pr-k", NULL, OPTION_INT, AT(pr_k), "N", 1, MAX_NEIGHBOURS, false, "precision, recall, density, coverage: neighbours"},
    {NULL, "pr-arith", NULL, OPTION_CHOICE, AT(pr_arith), "auto|fp32|fp16-adm", 0, 0, false, "how their distances are computed"},
    {NULL, "pr-cmp", NULL, OPTION_CHOICE, AT(pr_cmp), "auto|le|lt", 0, 0, false, "a neighbour is at most as far, or nearer"},
    {NULL, "kid-subsets", NULL, OPTION_INT, AT(kid_subsets), "N", 1, 1000000, false, "KID: subsets"},
    {NULL, "kid-size", NULL, OPTION_INT, AT(kid_size), "N", 1, MAX_IMAGES, false, "KID: images of a subset"},
    {NULL, "kid-seed", NULL, OPTION_INT, AT(kid_seed), "N", 0, 2147483647, false, "KID: of the random subsets"},

    {NULL, "batch", NULL, OPTION_INT, AT(batch), "N", 1, MAX_BATCH, false, "images at a time; does not change the result"},
    DEVICE_OPTIONS(EvalOptions, device),
    CHECKPOINT_OPTIONS(EvalOptions, checkpoint),
    CACHE_OPTION(EvalOptions, checkpoint),
};
static const ForeignOption foreign[] = {
    {"precision tf32", "features are computed in fp32; --dtype tf32 takes that"},
    {"num-samples num_samples", "--num says how many images are taken"},
};
static const char details[] =
    "Features are computed in fp32 (or with --dtype tf32), whatever images were made in; statistics have the same bits for any batch,\n"
    "number of threads and order of merging.\n\n"
    "Examples:\n"
    "  dg_cuda eval --images out --ref cifar10-32x32.npz --protocol edm --inception pt_inception-2015-12-05-6726825d.pth\n"
    "  dg_cuda eval --images samples.npz --ref VIRTUAL_imagenet256_labeled.npz --protocol adm --inception inception.pth\n"
    "  dg_cuda eval --images w0 w1 w2 --each --protocol shapes32 --output md\n"
    "  dg_cuda eval ref --images train/ --protocol pytorch-fid --inception inception.pth --out reference.npz\n"
    "  dg_cuda eval merge part0.npz part1.npz --out all.npz\n";

/* ---- the job ----------------------------------------------------------------------------------------------------------------------- */
void eval_notice(EvalJob *j, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!j->notices.text || !strstr(j->notices.text, text)) text_printf(&j->notices, "note: %s\n", text);
}
bool eval_weights(EvalJob *j, Error *e) {
    char notice[1024] = "";
    Precision fp32;
    if (j->weights && j->device) return true;
    if (!j->p.extractor && !j->o->inception) return features_need_inception(e);
    ConvertOptions c = checkpoint_options(&j->o->checkpoint);
    j->weights = j->p.extractor
                     ? weights_memory(shapes32_extractor, (size_t)(shapes32_extractor_end - shapes32_extractor), "shapes32 extractor", e)
                     : weights_open_any(j->o->inception, &c, notice, sizeof notice, e);
    if (!j->weights) return false;
    if (!j->p.extractor && !model_find(weights_config(j->weights), "inception", e))
        return dg_error_context(e, "--inception %s", j->o->inception);
    if (notice[0]) eval_notice(j, "%s", notice);
    bool tf32 = j->o->device.dtype == 3; /* of DTYPE_CHOICE */
    if (!j->borrowed && !(j->device = device_from_options(&j->o->device, e))) return false;
    j->precision = tf32 ? "tf32" : device_precision(j->device, "fp32", &fp32, NULL) ? "fp32" : dtype_name(j->device->precision.act);
    return true;
}
void eval_job_close(EvalJob *j) {
    weights_free(j->weights);
    if (!j->borrowed) device_close(j->device);
    text_free(&j->notices);
    for (int i = 0; i < EVAL_SAID; i++) free(j->said[i].path), free(j->said[i].value);
}
bool eval_settle(EvalJob *j, Error *e) {
    const EvalOptions *o = j->o;
    Protocol *p = &j->p;
    *p = protocols[o->protocol];
    if (o->num != UNSET) p->count = (size_t)o->num, p->least = 0;
    if (o->seed != UNSET) p->seed = (uint32_t)o->seed;
    if (o->resize) p->resize = (ResizeRule)(o->resize - 1);
    if (o->scale) p->scale = o->scale == 1 ? SCALE_128 : SCALE_255;
    if (o->cov_ddof) p->ddof = o->cov_ddof - 1;
    if (o->is_split_size != UNSET) p->score.split_size = (size_t)o->is_split_size;
    if (o->is_splits != UNSET) p->score.split_size = 0, p->score.splits = o->is_splits;
    if (o->is_shuffle_seed != UNSET) p->score.shuffled = true, p->score.seed = (uint32_t)o->is_shuffle_seed;
    if (o->pr_k != UNSET) p->neighbours.k = o->pr_k;
    if (o->pr_arith) p->neighbours.arithmetic = o->pr_arith == 1 ? DISTANCE_FLOAT : DISTANCE_ADM_HALF;
    if (o->pr_cmp) p->neighbours.strict = o->pr_cmp == 2;
    if (o->kid_subsets != UNSET) p->kernel.subsets = o->kid_subsets;
    if (o->kid_size != UNSET) p->kernel.size = (size_t)o->kid_size;
    if (o->kid_seed != UNSET) p->kernel.seed = (uint32_t)o->kid_seed;
    j->metrics = p->metrics;
    if (o->metrics && !protocol_metrics(p, o->metrics, &j->metrics, e)) return false;
    if (o->seed != UNSET && !p->random_subset)
        return dg_error(e, "--seed chooses EDM's random subset of the images: protocol %s takes the first ones", p->name);
    return !o->bootstrap || j->metrics >> METRIC_FID & 1 ||
           dg_error(e, "--bootstrap is of the Frechet distance, which --metrics %s leaves out", o->metrics ? o->metrics : p->name);
}
bool eval_fit_reference(EvalJob *j, Error *e) {
    unsigned possible = ~0u;
    const char *why = "";
    if (j->o->ref && !eval_possible(j->o->ref, &possible, &why, e)) return false;
    unsigned lost = j->metrics & ~possible;
    if (!lost) return true;
    if (j->o->metrics)
        return dg_error(e, "%s has %s, which a measure of --metrics %s needs: give images as --ref, or a file that eval ref made with them",
                        j->o->ref, why, j->o->metrics);
    eval_notice(j, "%s has %s: the protocol's measures that need them are left out", j->o->ref, why);
    j->metrics &= possible;
    return true;
}

/* ---- usage ------------------------------------------------------------------------------------------------------------------------- */
typedef enum { DO_EVAL, DO_REF, DO_MERGE } What;
static bool check_merge(const Args *a, Error *e) {
    const EvalOptions *o = a->options;
    for (int i = 0; i < a->command->options; i++) {
        const char *name = a->command->option[i].name;
        if (a->given[i] && strcmp(name, "out"))
            return dg_error(e, "eval merge has no use for --%s: it takes files of statistics and --out", name);
    }
    if (a->operands < 3) return dg_error(e, "eval merge takes at least two files of statistics");
    return o->out != NULL || dg_error(e, "eval merge needs --out, the file to write");
}
static bool check_usage(const Args *a, What *what, Error *e) {
    const EvalOptions *o = a->options;
    const char *word = a->operands ? a->operand[0] : NULL;
    *what = !word ? DO_EVAL : !strcmp(word, "ref") ? DO_REF : DO_MERGE;
    if (*what == DO_MERGE && strcmp(word, "merge"))
        return dg_error(e, "eval: \"%s\" is neither ref nor merge; images are given by --images", word);
    if (*what == DO_MERGE) return check_merge(a, e);
    bool ref = *what == DO_REF, shapes32 = o->protocol == PROTOCOL_SHAPES32;
    if (ref && a->operands > 1) return dg_error(e, "eval ref takes options alone, not \"%s\": images are given by --images", a->operand[1]);
    if (!o->images.count) return dg_error(e, "--images is missing: the images to measure");
    if (o->protocol == UNSET) return dg_error(e, "--protocol is missing: one of %s", PROTOCOL_CHOICE);
    if (ref && !o->out) return dg_error(e, "eval ref needs --out, the file to write");
    if (ref && o->ref) return dg_error(e, "eval ref makes a reference: --ref has no part in it");
    if (ref && (o->each || o->bootstrap)) return dg_error(e, "eval ref measures one set: --each and --bootstrap have no part in it");
    if (!ref && (o->adm || args_given(a, "adm-images"))) return dg_error(e, "--adm is of eval ref alone");
    if (!ref && !o->ref && !shapes32) return dg_error(e, "--ref is missing: the reference, statistics or images");
    if (o->features && !o->out) return dg_error(e, "--features needs --out, the file that keeps them");
    if (o->features && o->adm) return dg_error(e, "--features and --adm: ADM's form keeps images, not features");
    if (o->each && o->out) return dg_error(e, "--each and --out: statistics are of one set");
    if (o->is_split_size != UNSET && o->is_splits != UNSET)
        return dg_error(e, "--is-splits and --is-split-size: the number of parts or the size of one, not both");
    if (o->bootstrap == 1) return dg_error(e, "--bootstrap: a spread needs at least 2 sets");
    if (o->dg_short_count && o->protocol != PROTOCOL_DG) return dg_error(e, "--dg-short-count is of protocol dg alone");
    if (shapes32 && o->inception) return dg_error(e, "--inception: protocol shapes32 takes the extractor within the program");
    if (shapes32 && (o->resize || o->scale || o->adm)) return dg_error(e, "--resize, --scale and --adm are of Inception's protocols");
    if (o->device.dtype != 0 && o->device.dtype != 3 && o->device.dtype != 4)
        return dg_error(e, "--dtype: features are computed in fp32 or tf32, whatever images were made in");
    if (o->device.provider != DEVICE_OWN)
        return dg_error(e, "--%s: features are made by the program's own kernels alone, the same on every machine: leave it out",
                        args_given(a, "autotune") ? "autotune" : "provider");
    return true;
}

/* ---- running ------------------------------------------------------------------------------------------------------------------------ */
static Outcome run_ref(EvalJob *j, Error *e) {
    EvalSet set;
    if (j->o->adm) return eval_adm_reference(j, e);
    unsigned metrics = j->metrics & (1u << METRIC_FID | 1u << METRIC_SFID);
    EvalWish w = {.reference = true, .metrics = metrics, .features = j->o->features, .images = true, .out = j->o->out};
    Outcome outcome = eval_set_open(&set, j, j->o->images.item, j->o->images.count, w, e);
    if (outcome == OUTCOME_DONE && set.stored)
        outcome = OUTCOME_FAILED, dg_error(e, "%s holds statistics already: --images are images", set.path[0]);
    if (outcome == OUTCOME_DONE && set.n < 2)
        outcome = OUTCOME_FAILED, dg_error(e, "%s: a covariance needs at least 2 images", set.path[0]);
    eval_set_free(&set);
    return outcome;
}
/* *done: sets that have their results, whatever becomes of the next. */
static Outcome measure_sets(EvalJob *j, EvalSet *set, EvalResult *result, int sets, EvalSet *reference, int *done, Error *e) {
    const EvalOptions *o = j->o;
    int paths = o->each ? 1 : o->images.count;
    /* First, as what is wrong with a file of statistics is to be said before hours of images. */
    EvalWish of_reference = {.reference = true, .metrics = j->metrics & ~(1u << METRIC_CLASS | 1u << METRIC_IS)};
    Outcome outcome = eval_set_check(j, o->images.item, paths, e)
                          ? eval_set_open(reference, j, o->ref ? &o->ref : NULL, o->ref ? 1 : 0, of_reference, e)
                          : OUTCOME_FAILED;
    j->dims = reference->dims;
    for (int i = 0; i < sets && outcome == OUTCOME_DONE; i++) {
        EvalWish w = {.metrics = j->metrics, .features = o->features, .out = o->out};
        outcome = eval_set_open(&set[i], j, o->images.item + i, paths, w, e);
        if (outcome == OUTCOME_DONE && !eval_measure(&result[i], j, &set[i], reference, e)) outcome = OUTCOME_FAILED;
        free(set[i].features), set[i].features = NULL;
        *done += outcome == OUTCOME_DONE;
    }
    return outcome;
}
/* Statistics of a file are taken as they are: --out would stay empty. */
static bool keeps_something(const EvalJob *j, Error *e) {
    const char *path = j->o->images.item[0];
    Npz *z = j->o->images.count == 1 ? npz_open(path, NULL) : NULL;
    bool stored = z && npz_has(z, "mu"), images = z && (npz_has(z, "arr_0") || npz_has(z, "samples"));
    npz_close(z);
    if (!stored || (images && j->o->protocol != PROTOCOL_ADM)) return true;
    return dg_error(e, "%s holds statistics already, which are taken as they are: leave out --out, there is nothing to keep in it", path);
}
static Outcome run_eval(EvalJob *j, Error *e) {
    int sets = j->o->each ? j->o->images.count : 1;
    if (!eval_fit_reference(j, e) || (j->o->out && !keeps_something(j, e))) return OUTCOME_FAILED;
    if (j->o->out && j->metrics >> METRIC_CLASS & 1)
        return dg_error(e, "the measure class and --out: a run that goes on knows no classes of what came before"), OUTCOME_FAILED;
    EvalSet *set = dg_alloc((size_t)sets * sizeof *set), reference = {0};
    EvalResult *result = dg_alloc((size_t)sets * sizeof *result);
    int done = 0;
    Outcome outcome = measure_sets(j, set, result, sets, &reference, &done, e);
    if (done) eval_report(j, set, result, done, &reference);
    for (int i = 0; i < sets; i++) eval_set_free(&set[i]);
    eval_set_free(&reference);
    free(set), free(result);
    return outcome;
}
/* No file that is read is replaced, and none that the same command would not go on from. */
static bool prepare_out(const EvalJob *j, const Args *a, What what, int *code, Error *e) {
    const EvalOptions *o = j->o;
    bool input = is_input(o->out, &o->inception, 1) || (what == DO_MERGE && is_input(o->out, a->operand + 1, a->operands - 1)) ||
                 image_source_reads(o->images.item, o->images.count, &j->p.rules, o->out) ||
                 (o->ref && image_source_reads(&o->ref, 1, &j->p.rules, o->out));
    if (input) return *code = EXIT_USAGE, dg_error(e, "--out %s is a file that is read: give it another name", o->out);
    if ((what == DO_MERGE || o->adm) && access(o->out, F_OK) == 0) return dg_error(e, "%s exists: give --out another name", o->out);
    if (!out_check(o->out, e)) return false;
    file_remove_strays(o->out);
    return true;
}
static int run(const Args *a, Error *e) {
    const EvalOptions *o = a->options;
    EvalJob j = {.o = o, .quiet = o->output != EVAL_TEXT};
    What what;
    if (!check_usage(a, &what, e) || (what != DO_MERGE && !eval_settle(&j, e))) return EXIT_USAGE;
    int code = EXIT_FAILED;
    if (o->out && !prepare_out(&j, a, what, &code, e)) return code;
    threads_apply(&o->device);
    Interrupt *interrupt = interrupt_begin();
    j.interrupt = interrupt;
    Outcome outcome = what == DO_MERGE ? eval_merge(a, e) : what == DO_REF ? run_ref(&j, e) : run_eval(&j, e);
    if (outcome != OUTCOME_DONE && interrupted(interrupt)) outcome = OUTCOME_INTERRUPTED, e->text[0] = 0;
    if (outcome == OUTCOME_DONE && what == DO_REF) {
        print_text(stdout, o->out);
        printf(": written\n");
        if (j.notices.len) print_lines(stdout, j.notices.text);
    }
    interrupt_end(interrupt);
    eval_job_close(&j);
    return outcome == OUTCOME_DONE ? EXIT_DONE : outcome == OUTCOME_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_FAILED;
}
const Command command_eval = {.name = "eval",
                              .operands = "[ref | merge FILE...]",
                              .operands_max = 10000,
                              .summary = "measures images: FID, sFID, Inception Score, precision and recall, KID",
                              .details = details,
                              .options_bytes = sizeof(EvalOptions),
                              .defaults = eval_defaults,
                              .option = option,
                              .options = sizeof option / sizeof *option,
                              .foreign = foreign,
                              .foreigns = sizeof foreign / sizeof *foreign,
                              .run = run};
