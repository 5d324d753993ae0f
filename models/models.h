/* models.h -- the networks: configuration, graph builders, preconditioning and time embeddings.
 * A builder is a pure description: it names weights and shapes, and knows no backend, dtype or memory.
 * Names and order follow the official code, so that checkpoints load without a name map.               */
#ifndef DG_MODELS_H
#define DG_MODELS_H
#include "graph/graph.h"
#include "base/json.h"
#include "graph/weights.h"

enum { MAX_LEVELS = 8 };

/* ---- score networks: EDM's SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM) under a preconditioner ----------------- */
typedef enum { PRECOND_EDM, PRECOND_VP, PRECOND_VE, PRECOND_IDDPM } Precond;
typedef enum { MODEL_SONG_UNET, MODEL_DHARIWAL_UNET } ModelType;
typedef enum { EMBEDDING_POSITIONAL, EMBEDDING_FOURIER } EmbeddingType;
typedef enum { CODER_STANDARD, CODER_SKIP, CODER_RESIDUAL } CoderType;
typedef struct { /* field names are the official argument names (training/networks.py of NVlabs/edm) */
    Precond precond;
    ModelType model_type;
    EmbeddingType embedding_type;
    CoderType encoder_type, decoder_type; /* the decoder: standard or skip */
    int img_resolution, img_channels, label_dim;
    int model_channels, num_blocks, channel_mult_noise, channel_mult_emb;
    int channel_mult[MAX_LEVELS], levels;
    int attn_resolutions[MAX_LEVELS], attn_count;
    float resample_filter[RESAMPLE_TAPS];
    int resample_taps;
    double sigma_data, sigma_min, sigma_max; /* the network's own range; sigma_max may be infinite */
    double beta_d, beta_min, epsilon_t;      /* VP */
    double C_1, C_2;                         /* iDDPM */
    int M;                                   /* VP, iDDPM: number of discrete steps */
} NetworkConfig;
typedef struct {
    Tid x;     /* in: c_in * x, {n,R,R,C} */
    Tid noise; /* in: the noise embedding before map_layer0, {n,1,1,network_noise_channels} */
    Tid label; /* in: one-hot labels scaled as the network wants them, {n,1,1,label_dim}; 0 when unconditional */
    Tid out;   /* F, {n,R,R,C} (iDDPM: the first half of the channels), kept */
} NetworkGraph;
bool network_config(NetworkConfig *c, const Json *config, Error *e); /* unknown values and impossible sizes are errors */
bool network_build(Graph *g, const NetworkConfig *c, int batch, NetworkGraph *out, Error *e);
int network_noise_channels(const NetworkConfig *c);
int network_out_channels(const NetworkConfig *c);  /* of the U-Net itself: iDDPM's has twice the image's */
float network_label_scale(const NetworkConfig *c); /* sqrt(label_dim) for SongUNet, 1 for DhariwalUNet */
/* The embedding of one c_noise in fp32, as the official code computes it; freqs [noise_channels/2] for Fourier. */
void network_noise_embedding(const NetworkConfig *c, const float *freqs, float c_noise, float *out);
/* Checkpoint tensors that sampling never reads (map_augment, resample_filter, iDDPM's u, ...). */
extern const char *const network_unused[];
extern const int network_unused_count;

/* ---- preconditioning (spec: EDM Table 1): D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) ------------------------- */
typedef struct {
    float c_skip, c_out, c_in, c_noise;
} PrecondCoef;
PrecondCoef precond_coef(const NetworkConfig *c, double sigma);     /* computed in fp32 from (float)sigma, as officially */
enum { PRECOND_MAX_STEPS = 4000 };                                  /* of M */
void precond_range(const NetworkConfig *c, double *lo, double *hi); /* the network's own sigma_min and sigma_max */
double precond_round_sigma(const NetworkConfig *c, double sigma);   /* iDDPM: the nearest u, compared in fp32; else sigma */

/* ---- the discriminator: ADM "EncoderUNetModel" of guided-diffusion, as feature extractor and as head ---------------- */
typedef struct { /* field names are the official argument names (guided_diffusion/unet.py, script_util.py) */
    int image_size, in_channels, model_channels, out_channels, num_res_blocks;
    int channel_mult[MAX_LEVELS], levels;
    int attention_resolutions[MAX_LEVELS], attn_count; /* downsampling factors */
    int num_head_channels;
    bool use_scale_shift_norm, resblock_updown;
    bool condition; /* head: adds label_emb[class] to the time embedding */
    int num_class;
    bool cosine_time; /* extractor, "time": "cosine": tau is re-parameterised (64x64 OpenAI classifier) */
} EncoderConfig;
typedef struct {
    Tid temb;     /* in: sinusoid of 999 * tau, {n,1,1,model_channels} */
    Tid label;    /* in: one-hot class, {n,1,1,num_class}; 0 when not conditional */
    Tid features; /* after the middle block */
    Tid logit;    /* {n,1,1,out_channels}; 0 when the head was not asked for */
} EncoderGraph;
bool encoder_config(EncoderConfig *c, const Json *config, Error *e);
/* x: {n,image_size,image_size,in_channels}. with_pool: also out.0 and the attention pool. prefix is put before every
 * name, so that two encoders can share a graph: "" or "head.".                                                        */
bool encoder_build(Graph *g, const EncoderConfig *c, const char *prefix, Tid x, bool with_pool, EncoderGraph *out, Error *e);
void encoder_time_embedding(const EncoderConfig *c, double tau, float *out); /* 999 * tau in f64, then fp32 */
extern const char *const extractor_unused[];
extern const int extractor_unused_count;
#endif
