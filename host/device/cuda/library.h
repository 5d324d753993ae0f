/* library.h -- what providers.c wants of a library that convolves: proposals for a layer, and plans made of some of them.
 * Which proposals may run is decided in providers.c, alike for all libraries and for the made-up one of the tests.            */
#ifndef DG_CUDA_LIBRARY_H
#define DG_CUDA_LIBRARY_H
#include "base/text.h"
#include "kernels/kernels.h"

/* What sets a proposal's sums apart from those of a plain convolution in the layer's precision. */
enum {
    NOTE_UNSTEADY = 1,       /* not the same bits every time */
    NOTE_WINOGRAD = 2,       /* transformed tiles: less exact */
    NOTE_FOURIER = 4,        /* the same of Fourier transforms */
    NOTE_NARROW_INPUTS = 8,  /* operands are rounded to a narrower type than that of the layer */
    NOTE_NARROW_SUMS = 16,   /* sums are kept in less than f32 */
    NOTE_TENSOR_CORES = 32,  /* of f32 layers: operands are rounded to tf32 */
    NOTE_OTHER_WEIGHTS = 64, /* it wants the weight in another order */
};
enum { PLAN_NAME = 400 }; /* less than a field of the file that remembers (autotune.c) */
typedef struct {
    unsigned notes;
    char name[PLAN_NAME]; /* what its sums depend on: algorithm and settings, in the library's terms; printable */
} Proposal;

/* A handle on one stream, a search among the proposals for one layer, and a plan are each the library's own. */
typedef struct {
    const char *built_without;                         /* what was missing when this program was built, and open is NULL; else NULL */
    void *(*open)(void *stream, Text *looked);         /* NULL: it is not there, or does not start; looked says where it was looked for */
    void (*close)(void *library);                      /* after all of its plans */
    size_t (*version)(const void *library);            /* as the library counts */
    void *(*search)(void *library, const ConvArgs *a); /* NULL: it has nothing for this layer. For a->n images */
    bool (*next)(void *search, Proposal *p);           /* the best one first, by its own guess */
    void *(*build)(void *search);                      /* the plan of the latest proposal, which outlives the search; NULL: it cannot */
    void (*end)(void *search);
    void *(*again)(const void *plan, int images); /* the same proposal for another number of images; NULL: it cannot */
    size_t (*workspace)(const void *plan);        /* in bytes */
    bool (*run)(const void *plan, const void *x, const void *w, void *y, void *workspace); /* y = conv(x, w); only enqueues */
    void (*drop)(void *plan);
} Library;
extern const Library library_cudnn, library_cublaslt;
#endif
