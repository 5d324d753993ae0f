/* device.h -- a graph bound to weights and a device, and the table of functions that a device is. Read graph/graph.h first. */
#ifndef DG_DEVICE_H
#define DG_DEVICE_H
#include "base/posterior.h"
#include "base/spans.h"
#include "graph/graph.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- devices -------------------------------------------------------------------------------------------------------- */
typedef struct Backend Backend;
struct Text;                        /* base/text.h */
typedef struct WeightSet WeightSet; /* graph/weights.h */
/* Whose convolutions run on a GPU: the program's own, those of one library wherever it has one, or whichever are faster. */
typedef enum { DEVICE_OWN, DEVICE_AUTO, DEVICE_CUDNN, DEVICE_CUBLASLT } DeviceProvider;
typedef struct Device {
    const Backend *be;
    int index;               /* which GPU */
    Precision precision;     /* what graphs are built in when nothing else is asked for: graph_new(device->precision) */
    bool leaves_norms;       /* set by open: the own kernels can do the work of a pixel norm that is left out (graph_norm_fold) */
    DeviceProvider provider; /* set by device_provide: exec_new may choose a library for a layer, by measurement */
    Spans *spans;            /* set after opening: records the ranges; NULL: nobody does. It outlives the device */
    void *impl;              /* the backend's own: streams, handles, caches */
} Device;
/* spec: "cpu", "ref" (plain loops, float), "ref64" (the same in double), "rounded" (cpu, every result rounded to fp16, bf16 or
 * tf32: the yardstick of reduced precision), "cuda", "cuda:1", "emu".
 * precision: NULL (the backend's default), "fp32", "tf32", "fp16", "bf16", "fp64".                  */
Device *device_open(const char *spec, const char *precision, Error *e);
/* What `precision` (NULL: the default) is on this device, for a graph that does not take the device's own. */
bool device_precision(const Device *d, const char *precision, Precision *p, Error *e);
/* Who runs the convolutions of what is bound from now on. False: a library that was named is not there, or this device has none. */
bool device_provide(Device *d, DeviceProvider p, Error *e);
void device_close(Device *d);
/* Ranges of a time line, nested, for profilers and for the device's recorder; from any thread. number: of a step, of a batch. */
void device_range_push(const Device *d, SpanName n);
void device_range_push_number(const Device *d, SpanName n, int number);
void device_range_pop(const Device *d, SpanName n); /* n: of the latest push */
const char *device_list(void);                      /* the names compiled in: "cpu, ref, ref64, ..." */

/* ---- execution (exec.c) --------------------------------------------------------------------------------------------- */
typedef struct Exec {
    const Graph *g;
    Device *dev;
    int rows;    /* images of the run under way: the first so many of each tensor of the arena; between runs the graph's batch */
    void **data; /* [nt] device pointer of each tensor */
    void **prep; /* [nop] the backend's own, made by prepare: descriptors, variant choice, packed weights */
    void *state; /* the backend's own, made by bind */
    void *arena;
    size_t weight_bytes;    /* device memory of all weights and constants, prepared forms included */
    size_t workspace_bytes; /* and what ops work in beside that; where Execs share it, what this one needs of it */
} Exec;
/* Uploads every weight once (through w, with all checks), allocates the arena, prepares each op. The graph must be
 * planned, in a precision that the device takes, and outlive the Exec. NULL: e says what is missing, mismatched, or how many
 * bytes there were not.                                                                                                    */
Exec *exec_new(const Graph *g, Device *d, WeightSet w, Error *e);
void exec_free(Exec *e);
void exec_set(Exec *e, Tid t, DType type, const void *src); /* all of t, from host values of `type` (f32, f64) */
void exec_get(Exec *e, Tid t, DType type, void *dst);
void exec_set_rows(Exec *e, Tid t, int rows, DType type, const void *src); /* the first `rows` images of it */
void exec_get_rows(Exec *e, Tid t, int rows, DType type, void *dst);
/* Computes the first `rows` images, from 1 to the graph's batch, with the bits that they have in a run of all. No op reads or
 * writes the others; what is left there of tensors that share the memory means nothing.                                    */
void exec_run(Exec *e, int rows);
void exec_profile(Exec *e, int repeats, double *seconds); /* seconds[nop]: mean time of each op, on the whole batch */
/* The shape of t in the run under way. What a backend asks when it runs an op; before the first run it is the planned one. */
static inline Shape exec_shape(const Exec *e, Tid t) {
    Shape s = shape_of(e->g, t);
    if (in_arena(&e->g->t[t]) && s.n == e->g->batch) s.n = e->rows;
    return s;
}

/* ---- backends ------------------------------------------------------------------------------------------------------- */
typedef struct {
    int rows;  /* images */
    int parts; /* what else tells two pieces of work apart: the caller's */
} WorkShape;
typedef void (*WorkFn)(void *context, WorkShape shape);
enum { DEVICE_SLOTS = 4, PRECISIONS = 4 };
/* Every function is there. What a device in host memory has nothing of its own for is in device/host_state.h. */
struct Backend {
    const char *name;
    Precision takes[PRECISIONS]; /* the precisions that graphs may have here, `precisions` of them; the first is the default */
    int precisions;
    bool (*open)(Device *d, Error *e); /* fills impl */
    void (*close)(Device *d);
    void *(*alloc)(Device *d, size_t bytes); /* DG_ALIGN-aligned; NULL when there is not enough */
    void (*release)(Device *d, void *p);
    void (*upload)(Device *d, void *dst, const void *src, size_t bytes);
    void (*download)(Device *d, void *dst, const void *src, size_t bytes); /* waits for all earlier work */
    void (*copy)(Device *d, void *dst, const void *src, size_t bytes);     /* within the device */
    void (*sync)(Device *d);
    /* Downloads that go on beside later work, and points in the order of work. A slot, below DEVICE_SLOTS, holds what was
     * started in it last. dst lies in memory of alloc_host (NULL: there is not enough).                               */
    void *(*alloc_host)(Device *d, size_t bytes);
    void (*release_host)(Device *d, void *p);
    void (*download_async)(Device *d, int slot, void *dst, const void *src, size_t bytes); /* once all earlier work is done */
    void (*mark)(Device *d, int slot);                                                     /* here, after all earlier work */
    void (*wait)(Device *d, int slot);                                                     /* for the slot's downloads, or its mark */
    /* work(context, shape), where the device can by replaying what it enqueued when it was done before with the same shape. So the
     * shape, and what is constant, must say all that it enqueues; what varies it reads in device memory, and it copies nothing
     * to or from the host. *kept, NULL at first, goes to replay_free before any memory that the work refers to is freed. A
     * replay inside a replay runs as plain calls of the outer one.                                                      */
    void (*replay)(Device *d, void **kept, WorkShape shape, WorkFn work, void *context);
    void (*replay_free)(Device *d, void *kept);
    /* Ranges for a profiler's time line, nested; and what is enqueued in some (span_of_device) as spans of d->spans, by the device's
     * own clock.                                                                                                         */
    void (*range_push)(const Device *d, SpanName n, int number);
    void (*range_pop)(const Device *d, SpanName n);
    bool has_profiler;
    void (*profiler)(Device *d, bool on); /* profilers that wait for it record from here on, or no more; after all earlier work */

    /* Binding a graph. bind comes first, before any memory is taken: it refuses what there is no memory for, and makes
     * e->state. prepare comes once for each op, when its weights are there; it may replace e->data[w] of a weight that only op i
     * reads by a packed form. unbind releases what the two have made, after a failure too, before the rest is released. */
    bool (*bind)(Exec *e, Error *err);
    bool (*prepare)(Exec *e, int i, Error *err);
    void (*unbind)(Exec *e);
    void (*run)(Exec *e);                                   /* e->rows images, as run_op */
    void (*run_op)(const Exec *e, int i);                   /* op i of the graph alone, whatever its kind */
    void (*profile)(Exec *e, int repeats, double *seconds); /* exec_profile, by the device's own clock where it has one */
    bool (*open_provider)(Device *d, Error *e);             /* d->provider's libraries are there, or e says why not */
    /* The implementation that runs op i, where exec_new chose by measurement; "own" is the backend itself. */
    const char *(*implementation)(const Exec *e, int i);
    /* How many times op i on `rows` images would fill the device's multiprocessors: whole numbers waste nothing. 0: not known. */
    double (*waves)(const Exec *e, int i, int rows);
    double (*bytes)(const Exec *e, int i); /* that op i reads and writes on the whole batch: op_bytes, but 0 of an op that is left out */
    /* What was chosen so far, for the manifest, as JSON: {layer: implementation}, and how it was measured (autotune.h). False, and
     * nothing written: this device has no choice.                                                                        */
    bool (*choices)(const Device *d, struct Text *chosen, struct Text *measured);

    /* Sampler state: [n][per_sample], f64. per_sample counts NHWC elements of one image.
     * combine: out[i] = sum_k term[k].coef[n] * term[k].data[i], in f64, rounded once to out_type. out may be a term whose
     * data lies as out does. Which element of its data a term takes for element i, and which coefficient: base/term.h.
     * randn: unit normals; element j of sample i depends on (seed[i], *step, j) alone (rng.h), not on n or position.
     * posterior: a step of a discrete process, of x in place (base/posterior.h), in f64. Sums start at 0 and take their summands in
     * the order of the formula, each product and each sum rounded. A summand is dropped, whatever there is, where its coefficient is 0,
     * that of g and that of the noise where both of its numbers are. No data may overlap x, but a term that is x itself. The same
     * bits on every device.
     * to_u8: trunc(clamp(scale x + offset, 0, 255)), NaN -> 0, of x in f64, f32, f16 or bf16; bad[i] = number of non-finite elements
     * of sample i. EDM and DiT have 127.5 x + 128, ADM 127.5 x + 127.5.
     * Every pointer here leads to device memory, those of the coefficients, the seeds and the step included: what is
     * captured once is replayed with other values.                                                                  */
    void (*combine)(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms);
    void (*randn)(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step);
    void (*posterior)(Device *d, double *x, int n, size_t per_sample, const Posterior *p);
    void (*to_u8)(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset, int *bad);
};
extern const Backend backend_ref, backend_ref64, backend_cpu, backend_rounded;
extern const Backend backend_cuda; /* only where DG_HAVE_CUDA or DG_EMU is defined; named "emu" in the latter */

#ifdef __cplusplus
}
#endif
#endif
