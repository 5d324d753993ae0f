/* eval_report.c -- the results of `eval` as text, JSON, CSV and Markdown. */
#include "program/eval.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *resize_of(const EvalJob *j) { return j->p.extractor ? "none" : resize_rule_name[j->p.resize]; }
static void number(Text *t, const EvalJob *j, double value) {
    char digits[64];
    if (j->p.format[1] == 'g') snprintf(digits, sizeof digits, "%g", value);
    else snprintf(digits, sizeof digits, "%.*g", atoi(j->p.format + 2), value);
    text_printf(t, "%s", digits);
}
static void images_of(Text *t, uint64_t n) {
    if (n) text_printf(t, "%" PRIu64, n);
    else text_printf(t, "unknown");
}

/* ---- text, Markdown ----------------------------------------------------------------------------------------------------------------- */
/* What the options change of the protocol, as options. */
static void changes(Text *t, const EvalJob *j) {
    const Protocol *p = &j->p, *official = &protocols[j->o->protocol];
    static const char *const arith[] = {[DISTANCE_FLOAT] = "fp32", [DISTANCE_ADM_HALF] = "fp16-adm"};
    if (p->count != official->count) text_printf(t, " --num %zu", p->count);
    if (p->seed != official->seed) text_printf(t, " --seed %u", p->seed);
    if (p->resize != official->resize) text_printf(t, " --resize %s", resize_rule_name[p->resize]);
    if (p->scale != official->scale) text_printf(t, " --scale %s", scale_name(p));
    if (p->ddof != official->ddof) text_printf(t, " --cov-ddof %d", p->ddof);
    if (p->score.split_size != official->score.split_size) text_printf(t, " --is-split-size %zu", p->score.split_size);
    if (p->score.splits != official->score.splits) text_printf(t, " --is-splits %d", p->score.splits);
    if (p->score.shuffled != official->score.shuffled || p->score.seed != official->score.seed)
        text_printf(t, " --is-shuffle-seed %u", p->score.seed);
    if (p->neighbours.k != official->neighbours.k) text_printf(t, " --pr-k %d", p->neighbours.k);
    if (p->neighbours.arithmetic != official->neighbours.arithmetic) text_printf(t, " --pr-arith %s", arith[p->neighbours.arithmetic]);
    if (p->neighbours.strict != official->neighbours.strict) text_printf(t, " --pr-cmp %s", p->neighbours.strict ? "lt" : "le");
    if (p->kernel.subsets != official->kernel.subsets) text_printf(t, " --kid-subsets %d", p->kernel.subsets);
    if (p->kernel.size != official->kernel.size) text_printf(t, " --kid-size %zu", p->kernel.size);
    if (p->kernel.seed != official->kernel.seed) text_printf(t, " --kid-seed %u", p->kernel.seed);
    if (j->o->fd_trunc) text_printf(t, " --fd-trunc");
    if (j->o->dg_short_count) text_printf(t, " --dg-short-count");
    if (j->o->allow_fewer) text_printf(t, " --allow-fewer");
    if (j->o->force) text_printf(t, " --force");
}
typedef void TextFn(Text *t, const char *s);
static void describe(Text *t, const EvalJob *j, const EvalSet *reference, const char *begin, TextFn *put) {
    const Protocol *p = &j->p;
    char *name = eval_set_name(reference);
    text_printf(t, "%sprotocol %s: resize %s, pixels %s, %s, covariance by N%s\n", begin, p->name, resize_of(j), scale_name(p),
                j->precision ? j->precision : "features of files", p->ddof ? " - 1" : "");
    Text changed = {0};
    changes(&changed, j);
    if (changed.len) text_printf(t, "%sotherwise than the protocol:%s\n", begin, changed.text);
    text_free(&changed);
    text_printf(t, "%sreference ", begin);
    put(t, name);
    text_printf(t, ": N ");
    images_of(t, reference->n);
    if (reference->rows && reference->rows != reference->n) text_printf(t, " (%zu for measures of single images)", reference->rows);
    text_printf(t, "%s%s\n", reference->sha256[0] ? ", SHA-256 " : "", reference->sha256);
    if (j->weights_sha256[0]) text_printf(t, "%sweights SHA-256 %s\n", begin, j->weights_sha256);
    free(name);
}
static void report_text(Text *t, const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference) {
    describe(t, j, reference, "", text_printable);
    for (int i = 0; i < sets; i++) {
        char *name = eval_set_name(&set[i]);
        text_printf(t, "images ");
        text_printable(t, name);
        text_printf(t, ": N ");
        images_of(t, set[i].n);
        text_printf(t, ", rounding ");
        text_printable(t, set[i].rounding);
        text_printf(t, "\n");
        for (int k = 0; k < result[i].values; k++) {
            text_printf(t, "  %-10s ", result[i].value[k].name);
            number(t, j, result[i].value[k].value);
            text_printf(t, "\n");
        }
        free(name);
    }
}
static void report_md(Text *t, const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference) {
    text_printf(t, "| images | N | rounding |");
    for (int k = 0; k < result[0].values; k++) text_printf(t, " %s |", result[0].value[k].name);
    text_printf(t, "\n|---|--:|---|");
    for (int k = 0; k < result[0].values; k++) text_printf(t, "--:|");
    for (int i = 0; i < sets; i++) {
        char *name = eval_set_name(&set[i]);
        text_printf(t, "\n| ");
        text_markdown(t, name);
        text_printf(t, " | ");
        images_of(t, set[i].n);
        text_printf(t, " | ");
        text_markdown(t, set[i].rounding);
        text_printf(t, " |");
        for (int k = 0; k < result[i].values; k++) {
            text_printf(t, " ");
            number(t, j, result[i].value[k].value);
            text_printf(t, " |");
        }
        free(name);
    }
    text_printf(t, "\n\n");
    describe(t, j, reference, "- ", text_markdown);
}

/* ---- CSV, JSON: for programs ---------------------------------------------------------------------------------------------------------- */
static void report_csv(Text *t, const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference) {
    char *against = eval_set_name(reference);
    Text changed = {0};
    changes(&changed, j);
    text_printf(t, "images,N,protocol,changed,resize,scale,precision,rounding,reference,reference_N,reference_sha256,weights_sha256");
    for (int k = 0; k < result[0].values; k++) text_printf(t, ",%s", result[0].value[k].name);
    text_printf(t, "\n");
    for (int i = 0; i < sets; i++) {
        char *name = eval_set_name(&set[i]);
        text_csv_string(t, name);
        text_printf(t, ",%" PRIu64 ",%s,%s,%s,%s,%s,", set[i].n, j->p.name, changed.len ? changed.text + 1 : "", resize_of(j),
                    scale_name(&j->p), j->precision ? j->precision : "");
        text_csv_string(t, set[i].rounding);
        text_printf(t, ",");
        text_csv_string(t, against);
        text_printf(t, ",%" PRIu64 ",%s,%s", reference->n, reference->sha256, j->weights_sha256);
        for (int k = 0; k < result[i].values; k++) {
            text_printf(t, ",");
            text_json_double(t, result[i].value[k].value);
        }
        text_printf(t, "\n");
        free(name);
    }
    free(against);
    text_free(&changed);
}
static void terms(Text *t, const char *name, const Frechet *f) {
    const double value[] = {f->mean_term, f->trace_a, f->trace_b, f->trace_root};
    static const char *const term[] = {"mean_term", "trace_images", "trace_reference", "trace_root"};
    text_printf(t, ", \"%s_terms\": {", name);
    for (int i = 0; i < 4; i++) {
        text_printf(t, "%s\"%s\": ", i ? ", " : "", term[i]);
        text_json_double(t, value[i]);
    }
    text_printf(t, "}");
}
static void json_set(Text *t, const EvalSet *s) {
    text_printf(t, "{\"paths\": [");
    for (int i = 0; i < s->paths; i++) {
        if (i) text_printf(t, ", ");
        text_json_string(t, s->path[i]);
    }
    text_printf(t, "], \"N\": %" PRIu64 ", \"rows\": %zu, \"sha256\": \"%s\", \"rounding\": ", s->n, s->rows, s->sha256);
    text_json_string(t, s->rounding);
}
static void report_json(Text *t, const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference) {
    const Protocol *p = &j->p;
    text_printf(t,
                "{\"protocol\": \"%s\", \"resize\": \"%s\", \"scale\": \"%s\", \"precision\": \"%s\", \"cov_ddof\": %d, "
                "\"weights_sha256\": \"%s\",\n",
                p->name, resize_of(j), scale_name(p), j->precision ? j->precision : "", p->ddof, j->weights_sha256);
    text_printf(t, " \"num\": %zu, \"seed\": %u, \"is\": {\"split_size\": %zu, \"splits\": %d, \"shuffle_seed\": ", p->count, p->seed,
                p->score.split_size, p->score.splits);
    if (p->score.shuffled) text_printf(t, "%u", p->score.seed);
    else text_printf(t, "null");
    text_printf(t, "}, \"pr\": {\"k\": %d, \"arith\": \"%s\", \"cmp\": \"%s\"}, \"kid\": {\"subsets\": %d, \"size\": %zu, \"seed\": %u},\n",
                p->neighbours.k, p->neighbours.arithmetic == DISTANCE_FLOAT ? "fp32" : "fp16-adm", p->neighbours.strict ? "lt" : "le",
                p->kernel.subsets, p->kernel.size, p->kernel.seed);
    Text changed = {0};
    changes(&changed, j);
    text_printf(t, " \"fd_trunc\": %s, \"dg_short_count\": %s, \"bootstrap\": %d, \"changed\": ", j->o->fd_trunc ? "true" : "false",
                j->o->dg_short_count ? "true" : "false", j->o->bootstrap);
    text_json_string(t, changed.len ? changed.text + 1 : "");
    text_free(&changed);
    text_printf(t, ",\n \"reference\": ");
    json_set(t, reference);
    text_printf(t, "},\n \"results\": [");
    for (int i = 0; i < sets; i++) {
        text_printf(t, i ? ",\n  " : "\n  ");
        json_set(t, &set[i]);
        for (int k = 0; k < result[i].values; k++) {
            text_printf(t, ", \"%s\": ", result[i].value[k].name);
            text_json_double(t, result[i].value[k].value);
        }
        if (j->metrics >> METRIC_KID & 1) text_printf(t, ", \"kid_size\": %zu", result[i].kid_size);
        if (j->metrics >> METRIC_FID & 1) terms(t, p->extractor ? "fd" : "fid", &result[i].fid);
        if (j->metrics >> METRIC_SFID & 1) terms(t, "sfid", &result[i].sfid);
        text_printf(t, "}");
    }
    text_printf(t, "],\n \"notices\": ");
    text_json_string(t, j->notices.len ? j->notices.text : "");
    text_printf(t, "}\n");
}

void eval_report(const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference) {
    Text t = {0};
    static void (*const report[])(Text *, const EvalJob *, const EvalSet *, const EvalResult *, int, const EvalSet *) = {
        [EVAL_TEXT] = report_text, [EVAL_JSON] = report_json, [EVAL_CSV] = report_csv, [EVAL_MD] = report_md};
    report[j->o->output](&t, j, set, result, sets, reference);
    if (j->o->output == EVAL_JSON || j->o->output == EVAL_CSV) fputs(t.text, stdout);
    else print_lines(stdout, t.text);
    if (j->o->output != EVAL_JSON && j->notices.len) print_lines(j->o->output == EVAL_CSV ? stderr : stdout, j->notices.text);
    text_free(&t);
}
