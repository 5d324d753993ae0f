/* edm.h -- EDM's score networks: SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM) under a preconditioner. */
#ifndef DG_EDM_H
#define DG_EDM_H
#include "models/arguments.h"
#include "models/models.h"

typedef enum { PRECOND_EDM, PRECOND_VP, PRECOND_VE, PRECOND_IDDPM } Precond;
typedef enum { EMBEDDING_POSITIONAL, EMBEDDING_FOURIER } EmbeddingType;
typedef enum { CODER_STANDARD, CODER_SKIP, CODER_RESIDUAL } CoderType;
struct NetworkConfig { /* field names are the official argument names (training/networks.py of NVlabs/edm) */
    Precond precond;
    EmbeddingType embedding_type;         /* this and the next line: SongUNet's */
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
};
/* Finds the row, reads the configuration, and walks its builder. NULL: e says what is wrong. */
const Model *network_config(NetworkConfig *c, const Json *config, Error *e);

/* ---- preconditioning (spec: EDM Table 1): D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) ------------------------- */
typedef struct {
    float c_skip, c_out, c_in, c_noise;
} PrecondCoef;
PrecondCoef precond_coef(const NetworkConfig *c, double sigma);     /* computed in fp32 from (float)sigma, as officially */
enum { PRECOND_MAX_STEPS = 4000 };                                  /* of M */
void precond_range(const NetworkConfig *c, double *lo, double *hi); /* the network's own sigma_min and sigma_max */
double precond_round_sigma(const NetworkConfig *c, double sigma);   /* iDDPM: the nearest u, compared in fp32; else sigma */
#endif
