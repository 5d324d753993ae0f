/* providers.h -- NVIDIA's libraries as further implementations of a convolution: cuDNN for any filter, cuBLASLt for 1x1.
 * They are loaded at run time, so the program starts without them; which one runs a layer is measured (choice.h).       */
#ifndef DG_CUDA_PROVIDERS_H
#define DG_CUDA_PROVIDERS_H
#include "base/error.h"
#include "kernels/kernels.h"

typedef enum { PROVIDER_OWN, PROVIDER_CUDNN, PROVIDER_CUBLASLT, PROVIDERS } Provider;
extern const char *const provider_name[PROVIDERS];

typedef struct ProviderSet ProviderSet; /* the libraries that were found, each with a handle on one stream */
/* only: PROVIDER_OWN for all that are there, or the one that must be: NULL then, and e says where it was looked for. */
ProviderSet *providers_open(void *stream, Provider only, Error *e);
void providers_close(ProviderSet *s);
void providers_describe(const ProviderSet *s, char *text, size_t size); /* their versions, for a cache's key */

/* One way to run a layer at a fixed number of images. The weight is the kernels' own packed form, which has no padding in the
 * layers that are taken.                                                                                                     */
typedef struct ProviderConv ProviderConv;
/* Up to `most` ways of one provider to run a layer of a->n images, the best first by the library's own guess; how many. None whose
 * sums are not those of a plain convolution in the layer's precision, or that wants too large a workspace.                  */
int provider_conv_find(ProviderSet *s, Provider p, const ConvArgs *a, ProviderConv *out[], int most);
ProviderConv *provider_conv_again(const ProviderConv *c, int images); /* the same way at another number; NULL: it cannot */
void provider_conv_free(ProviderConv *c);
Provider provider_conv_provider(const ProviderConv *c);
size_t provider_conv_workspace(const ProviderConv *c);
const char *provider_conv_name(const ProviderConv *c); /* provider and algorithm: what its sums depend on */
/* y = conv(x, w) alone; false when the library refuses. Only enqueues. */
bool provider_conv_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace);
#endif
