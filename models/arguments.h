/* arguments.h -- reading a network's official arguments from JSON: ranges, choices and levels, each with a sentence. */
#ifndef DG_ARGUMENTS_H
#define DG_ARGUMENTS_H
#include "base/json.h"

enum { MAX_LEVELS = 8, MAX_RESOLUTION = 1024, MAX_CHANNELS = 8192, MAX_LABELS = 100000, MAX_BLOCKS = 16 };
bool argument_int(const Json *config, const char *key, int dflt, int lo, int hi, int *out, Error *e);
/* The index of the value in the NULL-terminated names. */
bool argument_choice(const Json *config, const char *key, const char *dflt, const char *const *name, int *out, Error *e);
/* "channel_mult", at least one level. */
bool argument_levels(const Json *config, int model_channels, int *mult, int *levels, Error *e);
/* The same, where a level may have half the channels, or another fraction of them that is whole. */
bool argument_multiples(const Json *config, int model_channels, double *mult, int *levels, Error *e);
/* An image of this size can be halved between all levels. */
bool argument_halves(const char *key, int size, int levels, Error *e);
#endif
