/* cuda_choice.h -- which implementation runs a convolution on this GPU: the kernels' own, or a library's (--autotune on). */
#ifndef DG_CUDA_CHOICE_H
#define DG_CUDA_CHOICE_H
#include "cuda_device.h"
#include "cuda_providers.h"

typedef struct ConvChoice ConvChoice;
/* Measures, or remembers, for a layer whose weight is in place. NULL: the kernels' own. */
ConvChoice *conv_choose(Device *d, const ConvArgs *a);
void conv_choice_free(Device *d, ConvChoice *c);
const char *conv_choice_name(const ConvChoice *c); /* the provider's; of NULL, "own" */
int conv_choice_run(const ConvChoice *c, const ConvArgs *a, void *stream);
void cuda_choices_close(Device *d); /* writes what was learnt; cuda_close calls it */
#endif
