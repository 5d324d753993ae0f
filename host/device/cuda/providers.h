/* providers.h -- NVIDIA's libraries as further implementations of a convolution: cuDNN for any filter, cuBLASLt for 1x1.
 * They are loaded at run time, so the program starts without them; which one runs a layer is measured (autotune.h).      */
#ifndef DG_CUDA_PROVIDERS_H
#define DG_CUDA_PROVIDERS_H
#include "kernels/kernels.h"

typedef enum { PROVIDER_OWN, PROVIDER_CUDNN, PROVIDER_CUBLASLT, PROVIDERS } Provider;
extern const char *const provider_name[PROVIDERS];

typedef struct ProviderSet ProviderSet; /* the libraries that were found, each with a handle on one stream */
ProviderSet *providers_open(void *stream);
void providers_close(ProviderSet *s);
void providers_describe(const ProviderSet *s, char *text, size_t size); /* their versions, for a cache's key */

/* One layer at a fixed number of images, a->n. The weight is the kernels' own packed form, which has no padding in the layers
 * that are taken. NULL: this provider has nothing for it.                                                                  */
typedef struct ProviderConv ProviderConv;
ProviderConv *provider_conv_new(ProviderSet *s, Provider p, const ConvArgs *a);
void provider_conv_free(ProviderConv *c);
size_t provider_conv_workspace(const ProviderConv *c);
void provider_conv_describe(const ProviderConv *c, char *text, size_t size); /* provider and algorithm: what its sums depend on */
/* y = conv(x, w) alone; false when the library refuses. Only enqueues. */
bool provider_conv_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace);
#endif
