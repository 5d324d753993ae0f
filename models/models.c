/* models.c -- reading a network's configuration (the official constructor arguments, as JSON) and its embeddings. */
#include "models/models.h"
#include <math.h>
#include <string.h>

typedef struct {
    const char *name;
    int value;
} Choice;
static bool get_choice(const Json *config, const char *key, const char *dflt, const Choice *choice, int count, int *out, Error *e) {
    const char *name;
    if (!json_get_string(config, key, dflt, &name, e)) return false;
    if (!name) return dg_error(e, "the configuration has no \"%s\"", key);
    for (int i = 0; i < count; i++)
        if (!strcmp(name, choice[i].name)) return *out = choice[i].value, true;
    return dg_error(e, "\"%s\" is \"%s\", which dg_cuda does not know", key, name);
}
#define CHOICE(config, key, dflt, list, out, e) get_choice(config, key, dflt, list, (int)(sizeof(list) / sizeof *(list)), out, e)

static const Choice preconds[] = {
    {"EDMPrecond", PRECOND_EDM}, {"VPPrecond", PRECOND_VP}, {"VEPrecond", PRECOND_VE}, {"iDDPMPrecond", PRECOND_IDDPM}};
static const Choice model_types[] = {{"SongUNet", MODEL_SONG_UNET}, {"DhariwalUNet", MODEL_DHARIWAL_UNET}};
static const Choice embeddings[] = {{"positional", EMBEDDING_POSITIONAL}, {"fourier", EMBEDDING_FOURIER}};
static const Choice coders[] = {{"standard", CODER_STANDARD}, {"skip", CODER_SKIP}, {"residual", CODER_RESIDUAL}};

enum { MAX_RESOLUTION = 1024, MAX_CHANNELS = 8192, MAX_LABELS = 100000, MAX_BLOCKS = 16 };
static bool in_range(const char *key, int value, int lo, int hi, Error *e) {
    return (value >= lo && value <= hi) || dg_error(e, "\"%s\" is %d, from %d to %d is possible", key, value, lo, hi);
}
static bool get_int(const Json *config, const char *key, int dflt, int lo, int hi, int *out, Error *e) {
    return json_get_int(config, key, dflt, out, e) && in_range(key, *out, lo, hi, e);
}
static bool get_levels(const Json *config, int model_channels, int *mult, int *levels, Error *e) {
    if (!json_get_ints(config, "channel_mult", mult, MAX_LEVELS, levels, e)) return false;
    if (*levels == 0) return dg_error(e, "the configuration has no \"channel_mult\"");
    for (int i = 0; i < *levels; i++)
        if (mult[i] < 1 || mult[i] > MAX_CHANNELS / model_channels)
            return dg_error(e, "\"channel_mult\" has %d for %d channels: at most %d channels are possible", mult[i], model_channels,
                            MAX_CHANNELS);
    return true;
}
static bool get_filter(NetworkConfig *c, const Json *config, Error *e) {
    int tap[RESAMPLE_TAPS];
    if (!json_get_ints(config, "resample_filter", tap, RESAMPLE_TAPS, &c->resample_taps, e)) return false;
    if (c->resample_taps == 0) tap[0] = tap[1] = 1, c->resample_taps = 2;
    if (c->resample_taps % 2) return dg_error(e, "\"resample_filter\" has an odd number of taps");
    for (int i = 0; i < c->resample_taps; i++) {
        if (tap[i] < 1 || tap[i] > 1000 || tap[i] != tap[c->resample_taps - 1 - i])
            return dg_error(e, "\"resample_filter\" is not positive and symmetric");
        c->resample_filter[i] = (float)tap[i];
    }
    return true;
}
static bool get_precond(NetworkConfig *c, const Json *config, Error *e) {
    const float linf = INFINITY;
    bool ok = json_get_double(config, "sigma_data", .5, &c->sigma_data, e) && json_get_double(config, "beta_d", 19.9, &c->beta_d, e) &&
              json_get_double(config, "beta_min", .1, &c->beta_min, e) && json_get_double(config, "epsilon_t", 1e-5, &c->epsilon_t, e) &&
              json_get_double(config, "C_1", .001, &c->C_1, e) && json_get_double(config, "C_2", .008, &c->C_2, e) &&
              get_int(config, "M", 1000, 2, PRECOND_MAX_STEPS, &c->M, e);
    if (!ok) return false;
    if (!(c->sigma_data > 0 && c->beta_d > 0 && c->beta_min > 0 && c->epsilon_t > 0 && c->C_1 >= 0 && c->C_2 >= 0))
        return dg_error(e, "a constant of the preconditioning is not positive");
    double lo = 0, hi = linf;
    precond_range(c, &lo, &hi);
    if (!json_get_double(config, "sigma_min", lo, &c->sigma_min, e) || !json_get_double(config, "sigma_max", hi, &c->sigma_max, e))
        return false;
    if (c->sigma_max >= 1e30) c->sigma_max = linf;
    return (c->sigma_min >= 0 && c->sigma_min < c->sigma_max) || dg_error(e, "\"sigma_min\" is not below \"sigma_max\"");
}
bool network_config(NetworkConfig *c, const Json *config, Error *e) {
    *c = (NetworkConfig){.img_resolution = 0};
    if (!config || config->kind != JSON_OBJECT) return dg_error(e, "no configuration of a score network: is this a network's file?");
    const char *kind;
    if (!json_get_string(config, "kind", "denoiser", &kind, e)) return false;
    if (strcmp(kind, "denoiser")) return dg_error(e, "this file holds a %s, not a score network", kind);
    int precond = 0, model = 0, embedding = 0, encoder = 0, decoder = 0;
    if (!CHOICE(config, "precond", "EDMPrecond", preconds, &precond, e) || !CHOICE(config, "model_type", NULL, model_types, &model, e) ||
        !CHOICE(config, "embedding_type", "positional", embeddings, &embedding, e) ||
        !CHOICE(config, "encoder_type", "standard", coders, &encoder, e) ||
        !CHOICE(config, "decoder_type", "standard", coders, &decoder, e))
        return false;
    c->precond = (Precond)precond, c->model_type = (ModelType)model, c->embedding_type = (EmbeddingType)embedding;
    c->encoder_type = (CoderType)encoder, c->decoder_type = (CoderType)decoder;
    bool dhariwal = c->model_type == MODEL_DHARIWAL_UNET;
    if (!get_int(config, "img_resolution", 0, 2, MAX_RESOLUTION, &c->img_resolution, e) ||
        !get_int(config, "img_channels", 0, 1, 64, &c->img_channels, e) ||
        !get_int(config, "label_dim", 0, 0, MAX_LABELS, &c->label_dim, e) ||
        !get_int(config, "model_channels", dhariwal ? 192 : 128, 8, MAX_CHANNELS, &c->model_channels, e) ||
        !get_int(config, "num_blocks", dhariwal ? 3 : 4, 1, MAX_BLOCKS, &c->num_blocks, e) ||
        !get_int(config, "channel_mult_noise", 1, 1, 16, &c->channel_mult_noise, e) ||
        !get_int(config, "channel_mult_emb", 4, 1, 16, &c->channel_mult_emb, e) ||
        !get_levels(config, c->model_channels, c->channel_mult, &c->levels, e) ||
        !json_get_ints(config, "attn_resolutions", c->attn_resolutions, MAX_LEVELS, &c->attn_count, e) || !get_filter(c, config, e))
        return false;
    if (c->model_channels % 8) return dg_error(e, "\"model_channels\" is %d, not a multiple of 8", c->model_channels);
    if (c->decoder_type == CODER_RESIDUAL) return dg_error(e, "\"decoder_type\" is \"residual\", which does not exist");
    if (c->img_resolution % (1 << (c->levels - 1)))
        return dg_error(e, "\"img_resolution\" %d cannot be halved %d times", c->img_resolution, c->levels - 1);
    if (dhariwal && (c->channel_mult_noise != 1 || c->embedding_type != EMBEDDING_POSITIONAL || c->encoder_type != CODER_STANDARD ||
                     c->decoder_type != CODER_STANDARD))
        return dg_error(e, "a DhariwalUNet has no embedding, encoder or decoder types");
    for (int i = 0; i < c->levels; i++) {
        int channels = c->model_channels * c->channel_mult[i], res = c->img_resolution >> i;
        bool attention = i == c->levels - 1;
        for (int k = 0; k < c->attn_count; k++) attention |= c->attn_resolutions[k] == res;
        if (dhariwal && attention && channels % 64)
            return dg_error(e, "%d channels at %dx%d do not split into heads of 64", channels, res, res);
        if (channels / 4 >= 32 && channels % 32) return dg_error(e, "%d channels do not split into 32 groups", channels);
    }
    return get_precond(c, config, e);
}
int network_noise_channels(const NetworkConfig *c) { return c->model_channels * c->channel_mult_noise; }
int network_out_channels(const NetworkConfig *c) { return c->img_channels * (c->precond == PRECOND_IDDPM ? 2 : 1); }
float network_label_scale(const NetworkConfig *c) { return c->model_type == MODEL_SONG_UNET ? sqrtf((float)c->label_dim) : 1; }

void network_noise_embedding(const NetworkConfig *c, const float *freqs, float c_noise, float *out) {
    int n = network_noise_channels(c), half = n / 2;
    bool song = c->model_type == MODEL_SONG_UNET;
    for (int i = 0; i < half; i++) {
        float arg;
        if (c->embedding_type == EMBEDDING_FOURIER) arg = c_noise * ((float)(2 * M_PI) * freqs[i]);
        else arg = c_noise * powf(1.f / 10000.f, (float)i / (float)(half - (song ? 1 : 0)));
        float cosine = cosf(arg), sine = sinf(arg);
        out[i] = song ? sine : cosine; /* SongUNet swaps the halves */
        out[half + i] = song ? cosine : sine;
    }
}
const char *const network_unused[] = {"model.map_augment.weight", "*resample_filter", "model.map_noise.freqs", "u"};
const int network_unused_count = (int)(sizeof network_unused / sizeof *network_unused);

bool encoder_config(EncoderConfig *c, const Json *config, Error *e) {
    *c = (EncoderConfig){.image_size = 0};
    if (!config || config->kind != JSON_OBJECT)
        return dg_error(e, "no configuration of an encoder: is this an extractor's or a head's file?");
    const char *kind, *pool, *time;
    if (!json_get_string(config, "kind", "extractor", &kind, e) || !json_get_string(config, "pool", "attention", &pool, e) ||
        !json_get_string(config, "time", "linear", &time, e))
        return false;
    if (strcmp(kind, "extractor") && strcmp(kind, "head")) return dg_error(e, "this file holds a %s, not an extractor or a head", kind);
    if (strcmp(pool, "attention")) return dg_error(e, "\"pool\" is \"%s\"; only \"attention\" is known", pool);
    if (strcmp(time, "linear") && strcmp(time, "cosine")) return dg_error(e, "\"time\" is \"%s\", neither linear nor cosine", time);
    c->cosine_time = !strcmp(time, "cosine");
    if (!get_int(config, "image_size", 0, 1, MAX_RESOLUTION, &c->image_size, e) ||
        !get_int(config, "in_channels", 3, 1, MAX_CHANNELS, &c->in_channels, e) ||
        !get_int(config, "model_channels", 128, 32, MAX_CHANNELS, &c->model_channels, e) ||
        !get_int(config, "out_channels", 1, 1, MAX_LABELS, &c->out_channels, e) ||
        !get_int(config, "num_res_blocks", 2, 1, MAX_BLOCKS, &c->num_res_blocks, e) ||
        !get_int(config, "num_head_channels", 64, 1, MAX_CHANNELS, &c->num_head_channels, e) ||
        !get_int(config, "num_class", 1000, 1, MAX_LABELS, &c->num_class, e) ||
        !json_get_bool(config, "condition", false, &c->condition, e) ||
        !json_get_bool(config, "use_scale_shift_norm", true, &c->use_scale_shift_norm, e) ||
        !json_get_bool(config, "resblock_updown", true, &c->resblock_updown, e) ||
        !get_levels(config, c->model_channels, c->channel_mult, &c->levels, e) ||
        !json_get_ints(config, "attention_resolutions", c->attention_resolutions, MAX_LEVELS, &c->attn_count, e))
        return false;
    if (!c->use_scale_shift_norm || !c->resblock_updown)
        return dg_error(e, "only encoders with scale-shift norm and resblock_updown are known");
    if (c->model_channels % 32) return dg_error(e, "\"model_channels\" is %d, not a multiple of 32", c->model_channels);
    if (c->image_size % (1 << (c->levels - 1)))
        return dg_error(e, "\"image_size\" %d cannot be halved %d times", c->image_size, c->levels - 1);
    for (int i = 0; i < c->levels; i++)
        if (c->model_channels * c->channel_mult[i] % c->num_head_channels)
            return dg_error(e, "%d channels do not split into heads of %d (\"num_head_channels\")", c->model_channels * c->channel_mult[i],
                            c->num_head_channels);
    return true;
}
