/* weights.h -- where a graph's weights come from: a safetensors file, a buffer, or values defined by name and seed.
 * Layout quirks of the official checkpoints (OIHW, qkv orders, lookup tables) end here, through WeightView.        */
#ifndef DG_WEIGHTS_H
#define DG_WEIGHTS_H
#include "files/safetensors.h"
#include "graph/graph.h"

typedef struct Weights Weights;
typedef struct WeightSet WeightSet;

Weights *weights_open(const char *path, Error *e);
Weights *weights_of_file(SafeTensors *s, Error *e);                                  /* takes the file, also when it fails */
Weights *weights_memory(const void *data, size_t bytes, const char *name, Error *e); /* not copied */
/* The same of what was converted from a file of another format: takes s, and memory (to be freed with it, or NULL), in any
 * case. Errors name `name`, the file that the user gave; source: its SHA-256.                                            */
Weights *weights_converted(SafeTensors *s, void *memory, const char *name, const char *source, Error *e);
/* Every parameter is a function of its official name, its shape and the seed (tests/golden/README.md): tests and
 * benchmarks at full size need no checkpoint. config may be NULL; it is copied.                                  */
Weights *weights_synthetic(uint64_t seed, const Json *config);
/* Of synthetic weights: multiplies, in fp32, the parameters whose names end so (golden cases); ending must outlive w. */
void weights_synthetic_gain(Weights *w, const char *ending, float gain);
/* Replaces the value of parameter `name` by the tensor t (golden cases); t must outlive w. */
void weights_override(Weights *w, const char *name, const StTensor *t);
void weights_free(Weights *w);

const char *weights_source(const Weights *w); /* of weights_converted; "" of all others */
const char *weights_name(const Weights *w);   /* the path, or "synthetic weights (seed 7)" */
const Json *weights_config(const Weights *w); /* the network's arguments: JSON in the metadata key "config"; may be NULL */
/* One parameter as f32 or f64, in memory layout s under view v. Fails with the tensor's name when it is missing, has
 * another shape (both are printed), is not a floating-point tensor or holds values that are not finite. Marks the name as
 * used. A view of several tensors asks so of each, marks each, and computes in f64.                                   */
bool weights_read(Weights *w, const char *name, Shape s, WeightView v, DType type, void *out, Error *e);
/* The shape in the file of the tensor that a parameter is named for, whose shape in memory, under view v, is s; returns its
 * dimensions. A linear layer may also be written as [K,C,1] or [K,C,1,1]. */
int view_official_shape(Shape s, WeightView v, int64_t shape[4]);
void weights_ignore_extra(Weights *w); /* weights_check_unused finds none in the file then */
/* After the graphs are bound: an error naming the first tensors that nobody read and that no pattern allows.
 * A pattern is a name, or one with a '*' at its start or end. Synthetic weights pass, but for such overrides. */
bool weights_check_unused(const Weights *w, const char *const *allowed, Error *e); /* allowed: NULL-terminated, or NULL */

/* The weights of a graph, which may hold several networks: a name is looked up, without the part's prefix, in the part whose
 * prefix it begins with, the longest one. */
enum { WEIGHT_PARTS = 4 };
typedef struct {
    const char *prefix; /* "" of the only network, or the first */
    Weights *weights;
} WeightPart;
struct WeightSet {
    WeightPart part[WEIGHT_PARTS];
    int parts;
};
WeightSet weights_alone(Weights *w); /* one network's */
bool weight_set_read(const WeightSet *s, const char *name, Shape shape, WeightView v, DType type, void *out, Error *e);
#endif
