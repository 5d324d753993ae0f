/* test_options.c -- what command lines of `generate` ask for: those of before select what they selected, wrong combinations are one
 * sentence, every cell of the README's matrix of samplers and terms is what it says, folders of before are continued, bytes are
 * made by the right rule.
 * Usage: test_options [PROGRAM]; without it, dg_cuda of the same build folder; in the root of the tree, for its README       */
#include "device/device.h"
#include "models/adm_encoder.h"
#include "program.h"
#include "program/sample_options.h"
#include "tiny_model.h"
#include <math.h>

#define GUIDED        "--network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors"
#define CONDITIONAL   "--network tiny.safetensors"
#define UNCONDITIONAL "--network uncond.safetensors"
static Result *generate(const Setup *s, const char *args) {
    char all[1024];
    snprintf(all, sizeof all, "generate --device %s %s", s->device, args);
    return run(s, all);
}

/* ---- command lines of before ---------------------------------------------------------------------------------------------------- */
static const struct {
    const char *option, *value; /* the default, as --dry-run printed it */
} of_before[] = {{"class", "\"seeded\""},
                 {"format", "\"png\""},
                 {"npz-keys", "\"edm\""},
                 {"save-latents", "false"},
                 {"subdirs", "false"},
                 {"steps", "18"},
                 {"sigma_min", "null"},
                 {"sigma_max", "null"},
                 {"rho", "7"},
                 {"S_churn", "0"},
                 {"S_min", "0"},
                 {"S_max", "\"inf\""},
                 {"S_noise", "1"},
                 {"dg_weight_1st_order", "2"},
                 {"dg_weight_2nd_order", "0"},
                 {"time_min", "0.01"},
                 {"time_max", "1"},
                 {"boosting", "false"},
                 {"dg-gate", "\"sample\""},
                 {"solver", "\"heun\""},
                 {"disc", "\"edm\""},
                 {"schedule", "\"linear\""},
                 {"scaling", "\"none\""},
                 {"no-fuse", "false"},
                 {"autotune", "\"off\""}};
enum { OF_BEFORE = sizeof of_before / sizeof *of_before };
/* Recorded from the program of before: what was not the default, and the calls of an image. Of the second order it counted one guide
 * call too many, that of the last step, which has no second evaluation.                                                    */
static const struct {
    const char *args, *set;
    int network, guide;
    bool ablation;
} before[] = {
    {"--seeds 0-15 --outdir out --grid grid.png", "", 35, 15},
    {"--seeds 0-15 --class heart --grid hearts.png", "class=\"heart\"", 35, 15},
    {"--seeds 0-63 --grid demo/unguided.png --dg_weight_1st_order 0", "dg_weight_1st_order=0", 35, 0},
    {UNCONDITIONAL " --seeds 0-63 --outdir a --steps 18", "dg_weight_1st_order=0", 35, 0},
    {UNCONDITIONAL " --outdir a --seeds 0-63 --preset edm-cifar10", "dg_weight_1st_order=0", 35, 0},
    {"--preset edm-ffhq64 " CONDITIONAL " --max_batch_size 8", "steps=40 dg_weight_1st_order=0", 79, 0},
    {"--preset edm-imagenet64 " CONDITIONAL " --steps 9", "steps=9 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003 dg_weight_1st_order=0", 17,
     0},
    {GUIDED " --preset edm-cifar10-uncond-dg --seeds 0-49999 --batch 64 --outdir cifar10 --format npz", "format=\"npz\"", 35, 15},
    {GUIDED " --preset edm-cifar10-cond-dg --seeds 0-2 --class balanced", "class=\"balanced\" dg_weight_1st_order=1 boosting=true", 35, 15},
    {GUIDED " --preset edm-cifar10-cond-dg --boosting 0", "dg_weight_1st_order=1", 35, 15},
    {GUIDED " --boosting", "boosting=true", 35, 15},
    {GUIDED " --boosting 1 --dg_weight_1st_order 1 --time_min 0.01 --time_max 1.0", "dg_weight_1st_order=1 boosting=true", 35, 15},
    {GUIDED " --boosting=1 --dg-gate batch", "boosting=true dg-gate=\"batch\"", 35, 15},
    {GUIDED " --boosting=true --dg_weight_1st_order=2 --dg_weight_2nd_order=0", "boosting=true", 35, 15},
    {GUIDED " --boosting --steps 6 --S_churn 10 --S_noise 1.01 --dg_weight_2nd_order 1",
     "steps=6 S_churn=10 S_noise=1.01 dg_weight_2nd_order=1 boosting=true", 11, 9},
    {GUIDED " --S_churn 40 --S_min 0.05 --S_max 50 --S_noise 1.003 --steps 12", "steps=12 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003", 23,
     10},
    {GUIDED " --num_steps 18 --sigma_min 0.002 --sigma_max 80 --rho 7", "sigma_min=0.002 sigma_max=80", 35, 15},
    {GUIDED " --Seeds=0-1 --num_steps 2 --S-churn 0 --boosting 0", "steps=2", 3, 1},
    {GUIDED " --time_min 0.2 --time-max 0.8", "time_min=0.2 time_max=0.8", 35, 7},
    {GUIDED " --time_min 0 --time_max 0.4 --dg-weight-1st-order 3", "dg_weight_1st_order=3 time_min=0 time_max=0.4", 35, 9},
    {CONDITIONAL " --pretrained_classifier_ckpt extractor.safetensors --discriminator_ckpt head.safetensors --save_type npz --steps 4",
     "steps=4 format=\"npz\"", 7, 3},
    {CONDITIONAL " --format npz --npz-keys dg --steps 4", "format=\"npz\" npz-keys=\"dg\" steps=4 dg_weight_1st_order=0", 7, 0},
    {CONDITIONAL " --format npz --save-latents --steps 4 --class 1",
     "class=\"1\" format=\"npz\" npz-keys=\"dg\" save-latents=true steps=4 dg_weight_1st_order=0", 7, 0},
    {UNCONDITIONAL " --seeds 0-2 --steps 3 --solver euler --disc vp --schedule vp --scaling vp",
     "steps=3 dg_weight_1st_order=0 solver=\"euler\" disc=\"vp\" schedule=\"vp\" scaling=\"vp\"", 3, 0, true},
    {UNCONDITIONAL " --disc ve --schedule ve --solver heun --steps 8", "steps=8 dg_weight_1st_order=0 disc=\"ve\" schedule=\"ve\"", 15, 0,
     true},
    {UNCONDITIONAL " --discretization iddpm --steps 8", "steps=8 dg_weight_1st_order=0 disc=\"iddpm\"", 15, 0, true},
    {UNCONDITIONAL " --solver heun --steps 8", "steps=8 dg_weight_1st_order=0", 15, 0, true},
    {"--dg_weight_1st_order 0 --solver euler --steps 8", "steps=8 dg_weight_1st_order=0 solver=\"euler\"", 8, 0, true},
    {CONDITIONAL " --scaling vp --S_churn 5 --steps 6", "steps=6 S_churn=5 dg_weight_1st_order=0 scaling=\"vp\"", 11, 0, true},
    {GUIDED " --print-config --steps 256 --subdirs --class green", "class=\"green\" subdirs=true steps=256", 511, 215},
    {CONDITIONAL " --dg_weight_1st_order 0 --dg_weight_2nd_order 0 --rho 5 --steps 1", "steps=1 rho=5 dg_weight_1st_order=0", 1, 0},
};
/* The value that `set`, "name=value name=value", has for a name, or `value`. */
static void expected(const char *set, const char *name, const char *value, char *out, size_t bytes) {
    size_t n = strlen(name);
    snprintf(out, bytes, "%s", value);
    for (const char *at = set; *at; at += strcspn(at, " "), at += *at == ' ')
        if (!strncmp(at, name, n) && at[n] == '=') snprintf(out, bytes, "%.*s", (int)strcspn(at + n + 1, " "), at + n + 1);
}
static void lines_of_before(const Setup *s) {
    enum { WANTED = 30, COUNT = sizeof before / sizeof *before };
    _Static_assert(COUNT >= WANTED, "so many command lines of before");
    for (int i = 0; i < COUNT; i++) {
        char args[1024], line[256], value[64], calls[64];
        snprintf(args, sizeof args, "%s --dry-run", before[i].args);
        Result *r = generate(s, args);
        if (!succeeds(r, args)) continue;
        for (int k = 0; k < OF_BEFORE; k++) {
            expected(before[i].set, of_before[k].option, of_before[k].value, value, sizeof value);
            snprintf(line, sizeof line, "\n  --%s = %s\n", of_before[k].option, value);
            const char *found = strstr(r->out, line);
            CHECK(found, "%s: no \"%s\"", args, line + 1);
        }
        snprintf(calls, sizeof calls, " %d network calls, %d guide calls,", before[i].network, before[i].guide);
        CHECK(strstr(r->out, calls), "%s: not%s but %s", args, calls, strstr(r->out, "an image"));
        CHECK((strstr(r->out, "sampler ablation") != NULL) == before[i].ablation, "%s: another sampler: %.80s", args, r->out);
    }
}

/* ---- wrong combinations ----------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *args;
    int code;
    const char *pattern;
} wrong[] = {
    {GUIDED " --sampler ddim --boosting", 2, "--boosting works with EDM's sampler alone, this one is ddim"},
    {GUIDED " --sampler ddpm --dg_weight_2nd_order 1", 2, "only EDM's sampler has a second order, this one is ddpm"},
    {GUIDED " --sampler ddpm --time_min 0.5", 2, "--time_min.*0.5 is no timestep"},
    {GUIDED " --sampler ddim --dg_interval 0.01,1", 2, "--dg_interval.*0.01 is no timestep"},
    {GUIDED " --dg_interval 100,999", 2, "--dg_interval.*100 is above 1: .*tau"},
    {GUIDED " --time_max 1000", 2, "--time_max.*1000 is above 1: .*tau"},
    {GUIDED " --sampler flow --time_max 1000", 2, "1000 is above 1: .*time from 0 to 1"},
    {GUIDED " --dg_interval 0.1,0.5 --time_min 0.2", 2, "--dg_interval is --time_min and --time_max in one"},
    {GUIDED " --dg_interval 0.5", 2, "--dg_interval: \"0.5\" is no interval"},
    {GUIDED " --sampler ablation", 2, "--sampler ablation works without guidance by a discriminator only"},
    {GUIDED " --disc vp", 2, "work without guidance by a discriminator only"},
    {UNCONDITIONAL " --cfg_scale 2", 2, "classifier-free guidance: this network is unconditional"},
    {CONDITIONAL " --sampler ddim --cfg_scale 2 --LT_cfg 1 --ST_cfg 3", 2, "--cfg_scale is one weight .* give one or the other"},
    {CONDITIONAL " --sampler ddim --LT_cfg 2", 2, "--LT_cfg and --ST_cfg go together"},
    {CONDITIONAL " --LT_cfg 1 --ST_cfg 3", 2, "--branch_time is a timestep: it needs --sampler ddpm or ddim, this one is edm"},
    {CONDITIONAL " --cfg_interval 0.2,5", 2, "--cfg_interval needs --cfg_scale"},
    {CONDITIONAL " --cfg_channels 3", 2, "--cfg_channels needs --cfg_scale"},
    {CONDITIONAL " --cfg_scale 2 --cfg_interval 5,0.2", 2, "--cfg_interval: \"5,0.2\" is no interval"},
    {CONDITIONAL " --sampler ddim --cfg_scale 2 --cfg_interval 0.2,0.5", 2, "--cfg_interval: 0.2 is no timestep"},
    {CONDITIONAL " --gnet tiny.safetensors", 2, "--gnet needs --guidance, its weight"},
    {CONDITIONAL " --guidance 2", 2, "--guidance needs --gnet"},
    {CONDITIONAL " --guidance_interval 0,1", 2, "--guidance_interval needs --guidance"},
    {CONDITIONAL " --classifier classifier.safetensors", 2, "--classifier needs --classifier_scale, its weight"},
    {CONDITIONAL " --classifier_scale 1", 2, "--classifier_scale needs --classifier"},
    {CONDITIONAL " --sampler ddpm --eta 0.5", 2, "--eta is DDIM's"},
    {CONDITIONAL " --eta 0.5", 2, "--eta is DDIM's"},
    {CONDITIONAL " --sampler ddpm --timestep_respacing 50 --steps 50", 2, "--timestep_respacing says how many steps"},
    {CONDITIONAL " --timestep_respacing 50", 2, "--timestep_respacing belongs to the samplers ddpm and ddim, this one is edm"},
    {CONDITIONAL " --sampler ddim --timestep_respacing ddim7.5", 2, "ddim7.5"},
    {CONDITIONAL " --sampler ddim --steps 2000", 2, "so many steps cannot be taken out of 1000"},
    {CONDITIONAL " --sampler ddim --variance learned", 2, "--variance is the ancestral sampler's"},
    {CONDITIONAL " --sampler ddpm --variance learned", 2, "this network predicts no variance"},
    {CONDITIONAL " --sampler ddim --sigma_min 0.1", 2, "the noise levels of ddim are those of --noise_schedule"},
    {CONDITIONAL " --sampler dpm.. --S_churn 4", 2, "--sampler: \"dpm..\" is not one of"},
    {CONDITIONAL " --sampler dpm++ --S_churn 4", 2, "the sampler dpm.. has no churn"},
    {CONDITIONAL " --sampler edm --solver euler", 2, "--solver is the ablation sampler's, --sampler edm has none"},
    {CONDITIONAL " --sampler ddim --disc vp", 2, "is the ablation sampler's, --sampler ddim has none"},
    {CONDITIONAL " --clip_denoised 1", 2, "--clip_denoised belongs to the samplers ddpm and ddim"},
    {CONDITIONAL " --quantize dit", 2, "--quantize: \"dit\" is not one of auto.edm.adm"},
    {CONDITIONAL " --boosting=perhaps", 2, "--boosting: \"perhaps\" is not one of off.on.double"},
    /* files that do not fit */
    {CONDITIONAL " --gnet head.safetensors --guidance 2", 1, "head.safetensors: this file holds a head, not a score network"},
    {CONDITIONAL " --gnet uncond.safetensors --guidance 2", 1, "--gnet makes 8x8x1 images, the network 8x8x3"},
    {CONDITIONAL " --classifier tiny.safetensors --classifier_scale 1", 1, "--classifier tiny.safetensors: this file holds a denoiser"},
    {CONDITIONAL " --classifier extractor.safetensors --classifier_scale 1", 1, "extractor.safetensors: no tensor out.0.weight"},
    {UNCONDITIONAL " --classifier classifier.safetensors --classifier_scale 1", 1,
     "classifier takes 8x8x3 images, the network makes 8x8x1"},
    {CONDITIONAL " --cfg_scale 2 --cfg_channels 4", 1, "--cfg_channels: 4 of 3 channels"},
};
static void wrong_combinations(const Setup *s) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char args[512];
        snprintf(args, sizeof args, "--outdir wrong --seeds 0 --format npz %s", wrong[i].args);
        Result *r = generate(s, args);
        fails(r, args, wrong[i].code, wrong[i].pattern);
        CHECK(!strstr(r->err, "mistake in dg_cuda"), "%s: %s", args, r->err);
        if (wrong[i].code == 2) CHECK(!exists(s, "wrong"), "%s: it left a folder", args);
    }
    CHECK(count_files(s, "wrong", ".") == 2, "files that do not fit left %d files", count_files(s, "wrong", ".") - 2); /* . and .. */
}

/* ---- the matrix of samplers and terms ----------------------------------------------------------------------------------------------- */
enum { TERMS = 6 };
static const char *const term_args[TERMS] = {
    CONDITIONAL " --cfg_scale 3",
    CONDITIONAL " --gnet other.safetensors --guidance 3",
    GUIDED " --dg_weight_1st_order 2",
    CONDITIONAL " --classifier classifier.safetensors --classifier_scale 5",
    GUIDED " --dg_weight_1st_order 0 --dg_weight_2nd_order 2",
    GUIDED " --dg_weight_1st_order 2 --boosting",
};
static Result *sample(const Setup *s, const char *sampler, const char *args, const char *dir) {
    char all[512];
    snprintf(all, sizeof all, "--seeds 0-3 --steps 5 --format npz --outdir %s --sampler %s %s", dir, sampler, args);
    return generate(s, all);
}
/* A row of the README's table: `sampler` | yes or no, ... | its units. */
static void matrix_row(const Setup *s, const char *row) {
    char copy[512], sampler[32] = "", *rest = NULL, dir[48];
    snprintf(copy, sizeof copy, "%s", row);
    char *cell = strtok_r(copy, "|", &rest);
    if (!CHECK(cell && sscanf(cell, " `%31[^`]`", sampler) == 1, "no sampler in %s", row)) return;
    snprintf(dir, sizeof dir, "m-%s", sampler);
    succeeds(sample(s, sampler, CONDITIONAL, dir), sampler);
    for (int k = 0; k < TERMS; k++) {
        char what[64], other[64], a[80], b[80];
        cell = strtok_r(NULL, "|", &rest);
        bool yes = cell && strstr(cell, "yes"), no = cell && strstr(cell, "no");
        snprintf(what, sizeof what, "%s, term %d", sampler, k), snprintf(other, sizeof other, "%s-%d", dir, k);
        CHECK(yes != no, "%s: neither yes nor no in %s", what, row);
        Result *r = sample(s, sampler, term_args[k], other);
        if (no) {
            fails(r, what, 2, ".");
            CHECK(!exists(s, other), "%s: it left a folder", what);
            continue;
        }
        snprintf(a, sizeof a, "%s/samples.npz", dir), snprintf(b, sizeof b, "%s/samples.npz", other);
        if (succeeds(r, what)) CHECK(exists(s, a) && exists(s, b) && !same_file(s, a, b), "%s: it changes nothing", what);
    }
    if (!strcmp(sampler, "edm")) return;
    char a[80];
    snprintf(a, sizeof a, "%s/samples.npz", dir);
    bool as_edm = same_file(s, a, "m-edm/samples.npz");
    CHECK(exists(s, "m-edm/samples.npz") && as_edm == !strcmp(sampler, "ablation"), "%s is edm", sampler); /* its defaults are edm's */
}
static void matrix(const Setup *s) {
    FILE *f = fopen("README.md", "r");
    char row[512];
    int rows = 0;
    bool inside = false;
    if (!f) {
        not_run("the matrix of samplers and terms: README.md is not here");
        return;
    }
    while (fgets(row, sizeof row, f)) {
        if (!strncmp(row, "| sampler |", 11)) inside = true;
        else if (inside && row[0] != '|') inside = false;
        if (inside && !strncmp(row, "| `", 3)) matrix_row(s, row), rows++;
    }
    fclose(f);
    CHECK(rows == 6, "%d samplers in the README's matrix", rows);
}

/* ---- folders of before ---------------------------------------------------------------------------------------------------------------- */
/* The manifest that the program of before would have left: without the options and networks that it did not know. */
static void make_old(const Setup *s, const char *dir) {
    static const char *const also[] = {"version", "device", "dtype", "network sha256", "extractor sha256", "discriminator sha256"};
    char name[64];
    Json *j = manifest(s, dir);
    Text t = {0};
    text_printf(&t, "{\"program\": \"dg_cuda\", \"images\": {");
    int kept = 0;
    for (const Json *m = json_get(j, "images")->child; m; m = m->next) {
        bool known = false;
        for (int i = 0; i < OF_BEFORE; i++) known |= !strcmp(of_before[i].option, m->key);
        for (size_t i = 0; i < sizeof also / sizeof *also; i++) known |= !strcmp(also[i], m->key);
        if (!strcmp(m->key, "provider")) text_printf(&t, "%s\"autotune\": \"off\"", kept++ ? ", " : ""); /* its name of before */
        if (!known) continue;
        text_printf(&t, "%s\"%s\": ", kept++ ? ", " : "", m->key);
        json_write(&t, m);
    }
    CHECK(kept == OF_BEFORE + (int)(sizeof also / sizeof *also), "%d members of an old manifest", kept);
    text_printf(&t, "}, \"runs\": ");
    json_write(&t, json_get(j, "runs"));
    text_printf(&t, "}\n");
    snprintf(name, sizeof name, "%s/manifest.json", dir);
    write_file(s, name, t.text);
    text_free(&t);
    json_free(j);
}
static void folders_of_before(const Setup *s) {
    static const struct {
        const char *dir, *args, *refused, *why;
    } table[] = {
        {"old-edm", GUIDED " --steps 3", GUIDED " --steps 3 --sampler ddim", "sampler was \"auto\", is now \"ddim\""},
        {"old-boosting", GUIDED " --boosting --steps 3", GUIDED " --boosting double --steps 3", "boosting was true, is now \"double\""},
        {"old-ablation", CONDITIONAL " --solver euler --steps 3", CONDITIONAL " --solver euler --cfg_scale 2 --steps 3",
         "cfg_scale was null, is now 2"},
        {"old-autoguidance", CONDITIONAL " --steps 3", CONDITIONAL " --steps 3 --gnet other.safetensors --guidance 2", "guidance was null"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char args[512];
        snprintf(args, sizeof args, "--seeds 0-1 --format npz --outdir %s %s", table[i].dir, table[i].args);
        if (!succeeds(generate(s, args), args)) continue;
        make_old(s, table[i].dir);
        snprintf(args, sizeof args, "--seeds 0-3 --format npz --outdir %s %s", table[i].dir, table[i].args);
        Result *r = generate(s, args);
        succeeds(r, args);
        CHECK(strstr(r->out, "2 of 4 images are there already"), "%s: %s", args, r->out);
        make_old(s, table[i].dir);
        snprintf(args, sizeof args, "--seeds 0-3 --format npz --outdir %s %s", table[i].dir, table[i].refused);
        fails(generate(s, args), args, 1, table[i].why);
    }
    /* the same interval in other words */
    succeeds(generate(s, GUIDED " --steps 3 --seeds 0 --format npz --outdir words --time_min 0.1 --time_max 0.9"), "an interval");
    succeeds(generate(s, GUIDED " --steps 3 --seeds 0 --format npz --outdir words --dg_interval 0.1,0.9"), "in other words");
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------------------ */
static const char tiny_adm_config[] =
    "{\"kind\": \"adm_unet\", \"image_size\": 8, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 6, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [2], \"channel_mult\": [1, 1], \"num_classes\": 3, \"num_heads\": 1, \"num_head_channels\": 32, "
    "\"use_scale_shift_norm\": true, \"resblock_updown\": true, \"use_new_attention_order\": false, \"conv_resample\": true}";
/* Bytes are made as the network's authors make them, unless --quantize says how. */
static void bytes(const Setup *s) {
    static const char *const network[] = {"tiny", "adm"}, *const rule[] = {"auto", "edm", "adm"};
    for (int n = 0; n < 2; n++) {
        char args[256], name[3][64];
        for (int k = 0; k < 3; k++) {
            snprintf(args, sizeof args, "--network %s.safetensors --steps 3 --seeds 0-3 --format npz --outdir bytes-%s-%s --quantize %s",
                     network[n], network[n], rule[k], rule[k]);
            snprintf(name[k], sizeof name[k], "bytes-%s-%s/samples.npz", network[n], rule[k]);
            if (!succeeds(generate(s, args), args)) return;
        }
        CHECK(same_file(s, name[0], name[1 + n]) && !same_file(s, name[1], name[2]), "%s's own bytes are not those of %s", network[n],
              rule[1 + n]);
    }
}

/* ---- options of golden cases ------------------------------------------------------------------------------------------------------------ */
static const Option rows[] = {SAMPLE_OPTIONS(SampleOptions, ), GUIDANCE_OPTIONS(SampleOptions, )};
/* Sets them; the JSON, whose texts they may be, is to be freed. NULL: e says what does not fit. */
static Json *read_options(const char *text, SampleOptions *o, Error *e) {
    Json *j = json_parse(text, strlen(text), e);
    *o = sample_defaults();
    if (j && options_from_json(rows, sizeof rows / sizeof *rows, o, j, "name latents", e)) return j;
    json_free(j);
    return NULL;
}
static void official_names(void) {
    SampleOptions o;
    Error e = {""};
    Json *j = read_options(
        "{\"num_steps\": 7, \"discretization\": \"vp\", \"S_churn\": 2.5, \"boosting\": true, \"dg_scale\": 3, \"name\": \"x\"}", &o, &e);
    if (CHECK(j, "%s", e.text))
        CHECK(
            o.num_steps == 7 && o.discretization == DISC_VP && o.S_churn == 2.5 && o.boosting == BOOSTING_ON && o.dg_weight_1st_order == 3,
            "EDM's and DG's names: %d %d %g %d %g", o.num_steps, (int)o.discretization, o.S_churn, (int)o.boosting, o.dg_weight_1st_order);
    json_free(j);
    j = read_options("{\"respacing\": \"ddim25\", \"clip_denoised\": false, \"noise_schedule\": \"cosine\", \"eta\": 0.5, "
                     "\"classifier_scale\": 4}",
                     &o, &e);
    if (CHECK(j, "%s", e.text))
        CHECK(!strcmp(o.timestep_respacing, "ddim25") && o.clip_denoised == CLIP_OFF && o.noise_schedule == COSINE_NOISE && o.eta == .5 &&
                  o.classifier_scale == 4,
              "ADM's names");
    json_free(j);
    j = read_options("{\"num_sampling_steps\": 250, \"LT_cfg\": 1.25, \"ST_cfg\": 3, \"branch_time\": 200, \"boosting\": \"double\"}", &o,
                     &e);
    if (CHECK(j, "%s", e.text))
        CHECK(!strcmp(o.timestep_respacing, "250") && o.LT_cfg == 1.25 && o.ST_cfg == 3 && o.branch_time == 200 &&
                  o.boosting == BOOSTING_DOUBLE,
              "DiT's names");
    json_free(j);
    static const struct {
        const char *text, *pattern;
    } bad[] = {{"{\"nonsense\": 1}", "option nonsense is not known"},
               {"{\"steps\": 0}", "steps.*0 is outside"},
               {"{\"steps\": 1.5}", "not a whole number"},
               {"{\"eta\": \"much\"}", "not a number"},
               {"{\"eta\": null}", "eta is neither"},
               {"{\"boosting\": \"maybe\"}", "off.on.double"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!read_options(bad[i].text, &o, &e) && matches(e.text, bad[i].pattern), "%s: %s", bad[i].text, e.text);
}

static const char tiny_classifier_config[] =
    "{\"kind\": \"extractor\", \"image_size\": 8, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 3, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [2], \"channel_mult\": [1, 1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true, \"pool\": \"attention\"}";
static bool write_models(const Setup *s, Error *e) {
    return tiny_write(at(s, "tiny.safetensors"), tiny_network_config, 1, e) &&
           tiny_write(at(s, "other.safetensors"), tiny_network_config, 2, e) &&
           tiny_write(at(s, "uncond.safetensors"), tiny_uncond_config, 1, e) &&
           tiny_write(at(s, "extractor.safetensors"), tiny_extractor_config, 1, e) &&
           tiny_write(at(s, "head.safetensors"), tiny_head_config, 1, e) && tiny_write(at(s, "adm.safetensors"), tiny_adm_config, 1, e) &&
           tiny_write_model(&model_classifier, at(s, "classifier.safetensors"), tiny_classifier_config, 1, e);
}
int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_options_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    Device *d = device_open(s.device, NULL, NULL);
    if (d) device_close(d);
    else s.device = "ref";
    official_names();
    if (!CHECK(real, "no program %s", argc > 1 ? argv[1] : "dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(write_models(&s, &e), "%s", e.text))
        return check_done("test_options");
    lines_of_before(&s);
    wrong_combinations(&s);
    matrix(&s);
    folders_of_before(&s);
    bytes(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_options");
}
