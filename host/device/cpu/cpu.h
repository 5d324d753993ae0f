/* cpu.h -- what the files of the CPU backend share: the device's workspace, threads, and the matrix product.
 *
 * Bits: an element depends on its own image alone. The order of every sum follows from the op's shape per image, not from the
 * thread, the tile or the batch.                                                                                          */
#ifndef DG_CPU_H
#define DG_CPU_H
#include "device/device.h"
#ifdef _OPENMP
#include <omp.h>
#endif

typedef struct {
    int threads; /* of every parallel region: the workspace is sized for them */
    float *work; /* one for all ops, since ops run one after the other; grown in prepare */
    size_t work_bytes;
} Cpu;
static inline Cpu *cpu_of(const Exec *e) { return e->dev->impl; }
/* Makes sure that the workspace holds so many floats, and that e's workspace_bytes says so. */
bool cpu_reserve(Exec *e, size_t floats, Error *err);
/* Memory for an op's own form of a weight, counted as weight_bytes; released by host_release. */
float *cpu_packed(Exec *e, size_t floats, Error *err);

static inline const float *cpu_in(const Exec *e, int i, int j) { return e->g->op[i].in[j] ? e->data[e->g->op[i].in[j]] : NULL; }
static inline float *cpu_out(const Exec *e, int i) { return e->data[e->g->op[i].out]; }
static inline Shape cpu_shape_in(const Exec *e, int i, int j) { return shape_of(e->g, e->g->op[i].in[j]); }
static inline Shape cpu_shape_out(const Exec *e, int i) { return shape_of(e->g, e->g->op[i].out); }
static inline size_t pixels_of(Shape s) { return (size_t)s.h * (size_t)s.w; }
static inline int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int min_int(int a, int b) { return a < b ? a : b; }
static inline int max_int(int a, int b) { return a > b ? a : b; }
static inline int thread_index(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* ---- gemm.c ------------------------------------------------------------------------------------------------------ */
/* c = act(scale * ((a b + bias) * gate + add)), for one thread. a: element (m,k) at a[m*a_row + k*a_col]. b: packed, see gemm_pack.
 * bias [n] or NULL. gate, add: row m at gate + m*gate_row and add + m*add_row, or NULL; add may be c itself.             */
typedef struct {
    int m, n, k;
    const float *a;
    size_t a_row, a_col;
    const float *b;
    float *c;
    size_t c_row;
    const float *bias, *gate, *add;
    size_t gate_row, add_row;
    float scale;
    Act act;
} Gemm;
void gemm(const Gemm *g);
void activate(Act act, float *y, int count); /* in place; not of ACT_NONE */
/* b in panels of gemm_panel() columns, each k-major: element (k,n) of the source at src[k*row + n*col]. */
size_t gemm_packed_floats(int k, int n);
size_t gemm_packed_at(int k_count, int k, int n); /* where element (k,n) is */
void gemm_pack(int k, int n, const float *src, size_t row, size_t col, float *packed);
int gemm_panel(void);
enum { GEMM_ROWS = 96 }; /* rows of a that one call should take, so that they stay in the second-level cache */

/* ---- ops --------------------------------------------------------------------------------------------------------------- */
bool cpu_conv_prepare(Exec *e, int i, Error *err);
void cpu_conv_release(Exec *e, int i);
void cpu_conv(const Exec *e, int i);

bool cpu_norm_prepare(Exec *e, int i, Error *err);
void cpu_norm(const Exec *e, int i); /* and its gradient */

bool cpu_attention_prepare(Exec *e, int i, Error *err);
void cpu_attention(const Exec *e, int i);
void cpu_attention_bwd(const Exec *e, int i);

void cpu_unary(const Exec *e, int i); /* and its gradient */
void cpu_add(const Exec *e, int i);
void cpu_gate(const Exec *e, int i);
void cpu_concat(const Exec *e, int i);
void cpu_slice(const Exec *e, int i);
void cpu_depth_to_space(const Exec *e, int i);
bool cpu_pool_prepare(Exec *e, int i, Error *err);
void cpu_pool(const Exec *e, int i);
void cpu_pixel_norm(const Exec *e, int i);
bool cpu_resize_prepare(Exec *e, int i, Error *err);
void cpu_resize(const Exec *e, int i);
void cpu_resample(const Exec *e, int i);
void cpu_pool_tokens(const Exec *e, int i);
void cpu_pool_tokens_bwd(const Exec *e, int i);
#endif
