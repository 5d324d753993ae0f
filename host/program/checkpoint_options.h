/* checkpoint_options.h -- the options about official checkpoints (.pt, .pth, .pkl) of every command that reads weights. */
#ifndef DG_CHECKPOINT_OPTIONS_H
#define DG_CHECKPOINT_OPTIONS_H
#include "weights_tools/weights_tools.h"
#include "program/cli.h"

typedef struct {
    const char *key, *prefix, *cache; /* NULL: found; the user's cache folder */
    bool ignore_extra;
    int num_head_channels, num_heads, image_size; /* 0: the official models' */
    int extractor_num_head_channels, discriminator_num_head_channels;
    int time, attention_order, precond; /* indices into their choices; 0: the official models' */
} CheckpointOptions;
enum { MAX_CHECKPOINT_SIZE = 8192 };

/* Rows for the option table of a command whose options, of type T, have a CheckpointOptions as member m. */
/* clang-format off */
#define CHECKPOINT_OPTIONS(T, m)                                                                                       \
    {"Checkpoints (.pt, .pth, .ckpt, .pkl, lists of shards)", "key", NULL, OPTION_TEXT, offsetof(T, m.key), "PATH", 0, 0, true, \
     "the network's part of the file, for example ema, state_dict or ema.0; default: averaged weights before others"}, \
        {NULL, "prefix", NULL, OPTION_TEXT, offsetof(T, m.prefix), "TEXT", 0, 0, true,                                 \
         "what the names of the network's tensors begin with there; default: found"},                                  \
        {NULL, "ignore-extra", NULL, OPTION_FLAG, offsetof(T, m.ignore_extra), NULL, 0, 0, true,                       \
         "tensors that the network has no use for are no error"},                                                      \
        {"What their names and shapes do not tell; 0 or auto: as the official models", "num_head_channels", NULL,      \
         OPTION_INT, offsetof(T, m.num_head_channels), "N", 0, MAX_CHECKPOINT_SIZE, true,                              \
         "width of an attention head in ADM networks"},                                                                \
        {NULL, "extractor_num_head_channels", NULL, OPTION_INT, offsetof(T, m.extractor_num_head_channels), "N", 0,    \
         MAX_CHECKPOINT_SIZE, true, "of the extractor, where it differs"},                                             \
        {NULL, "discriminator_num_head_channels", NULL, OPTION_INT, offsetof(T, m.discriminator_num_head_channels),    \
         "N", 0, MAX_CHECKPOINT_SIZE, true, "of the discriminator's head, where it differs"},                          \
        {NULL, "num_heads", NULL, OPTION_INT, offsetof(T, m.num_heads), "N", 0, MAX_CHECKPOINT_SIZE, true,             \
         "attention heads of DiT, and of ADM networks with a fixed number of them"},                                   \
        {NULL, "image_size", NULL, OPTION_INT, offsetof(T, m.image_size), "N", 0, MAX_CHECKPOINT_SIZE, true,           \
         "of ADM and DiT networks whose tensors do not depend on it"},                                                 \
        {NULL, "time", NULL, OPTION_CHOICE, offsetof(T, m.time), "auto|linear|cosine", 0, 0, true,                     \
         "noise schedule that an extractor was trained on"},                                                           \
        {NULL, "attention_order", NULL, OPTION_CHOICE, offsetof(T, m.attention_order), "auto|legacy|new", 0, 0, true,  \
         "order of q, k and v in ADM networks"},                                                                       \
        {NULL, "precond", NULL, OPTION_CHOICE, offsetof(T, m.precond),                                                 \
         "auto|EDMPrecond|VPPrecond|VEPrecond|iDDPMPrecond", 0, 0, true,                                               \
         "of EDM networks stored as a bare state dict, or of a class that is not known"}
/* Of the commands that open them as networks: what is no safetensors file is converted once. */
#define CACHE_OPTION(T, m)                                                                                             \
    {NULL, "cache", NULL, OPTION_TEXT, offsetof(T, m.cache), "DIR|off", 0, 0, false,                                   \
     "where conversions of checkpoints are kept; default: $XDG_CACHE_HOME/dg_cuda or ~/.cache/dg_cuda (dg_cuda cache)"}
/* clang-format on */

ConvertOptions checkpoint_options(const CheckpointOptions *o);
#endif
