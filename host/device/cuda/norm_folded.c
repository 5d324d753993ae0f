/* norm_folded.c -- the pixel norms of graph/norm_fold.c on a device: which are left out, the memory that this takes, the launches around. */
#include "device/cuda/norm_fold.h"
#include "device/cuda/norm_stats.h"
#include "device/cuda/ops.h"

static bool reads(const Exec *e, int i, Tid y) { return op_at(e, i)->kind == OP_CONV && op_at(e, i)->in[0] == y; }
bool cuda_norm_folded(const Exec *e, int i, NormFold *f) {
    if (e->dev->provider != DEVICE_OWN || !graph_norm_fold(e->g, i, f) || !cuda_is_image_conv(e, op_at(e, f->maker))) return false;
    ConvArgs maker = cuda_conv_args(e, f->maker);
    if (!cuda_conv_leaves(&maker) || cuda_stats_bytes(e->g, f->maker)) return false;
    for (int j = 0; j < e->g->nop; j++) {
        if (!reads(e, j, op_at(e, i)->out)) continue;
        ConvArgs reader = cuda_conv_args(e, j);
        if (!cuda_conv_folds(&reader) || reader.x_type != maker.x_type || cuda_stats_bytes(e->g, j)) return false;
    }
    return true;
}
bool cuda_fold_maker(const Exec *e, int i, NormFold *f) {
    if (op_at(e, i)->kind != OP_CONV) return false;
    for (int j = i + 1; j < e->g->nop; j++)
        if (op_at(e, j)->kind == OP_PIXEL_NORM && op_at(e, j)->in[0] == op_at(e, i)->out) return cuda_norm_folded(e, j, f);
    return false;
}
bool cuda_fold_reader(const Exec *e, int i, NormFold *f) {
    int producer = op_at(e, i)->kind == OP_CONV ? e->g->t[op_at(e, i)->in[0]].producer : -1;
    return producer >= 0 && cuda_norm_folded(e, producer, f);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------- */
static size_t rows_of(Shape s) { return (size_t)s.n * (size_t)(s.h * s.w); }
size_t cuda_fold_kept_bytes(const Exec *e, int i) { /* moments */
    NormFold f;
    return cuda_fold_maker(e, i, &f) ? rows_of(exec_shape(e, op_at(e, i)->out)) * 2 * sizeof(float) : 0;
}
static size_t modulation_bytes(const ConvArgs *reader) { /* two rows of an image */
    return align_up((size_t)reader->n * 2 * (size_t)reader->c * dtype_bytes(reader->x_type));
}
size_t cuda_fold_scratch_bytes(const Exec *e, int i) {
    NormFold f;
    Shape y = exec_shape(e, op_at(e, i)->out);
    if (cuda_fold_maker(e, i, &f)) return rows_of(y) * (size_t)(y.c / FOLD_COLUMNS) * 2 * sizeof(float);
    if (!cuda_fold_reader(e, i, &f)) return 0;
    ConvArgs a = cuda_conv_args(e, i);
    return modulation_bytes(&a) + (size_t)a.n * 2 * (size_t)a.k * sizeof(float);
}

/* The maker writes the copy and the moments of its rows, and reads the scale; a reader reads those moments, and shift and scale. */
double cuda_fold_bytes(const Exec *e, int i) {
    const Graph *g = e->g;
    NormFold f;
    bool maker = cuda_fold_maker(e, i, &f);
    if (!maker && cuda_norm_folded(e, i, &f)) return 0;
    if (!maker && !cuda_fold_reader(e, i, &f)) return op_bytes(g, i);
    const Op *norm = op_at(e, f.norm);
    double shift_scale = (double)tensor_bytes(&g->t[norm->in[3]]), moments = (double)rows_of(shape_of(g, norm->out)) * 2 * sizeof(float);
    return op_bytes(g, i) + moments + (maker ? (double)tensor_bytes(&g->t[norm->out]) + shift_scale / 2 : shift_scale);
}

/* ---- launches -------------------------------------------------------------------------------------------------------------- */
int cuda_run_fold_maker(const Exec *e, const NormFold *f, ConvArgs a, void *stream) {
    const Op *norm = op_at(e, f->norm);
    float *partial = op_scratch(e, f->maker);
    a.fold = (ConvFold){.copy = e->data[norm->out], .shift_scale = e->data[norm->in[3]], .partial = partial};
    int error = cuda_conv(&a, stream);
    if (error) return error;
    FoldMomentsArgs m = {.partial = partial,
                         .moments = op_kept(e, f->maker),
                         .rows = a.n * a.out_height * a.out_width,
                         .c = a.k,
                         .eps = norm->pixel_norm.eps};
    return cuda_fold_moments(&m, stream);
}
int cuda_run_fold_reader(const Exec *e, int i, const NormFold *f, ConvArgs a, void *stream) {
    void *modulation = op_scratch(e, i);
    float *rows = (float *)((char *)modulation + modulation_bytes(&a));
    FoldRowsArgs m = {.shift_scale = e->data[op_at(e, f->norm)->in[3]], .rows = modulation, .type = a.x_type, .n = a.n, .c = a.c};
    int error = cuda_fold_rows(&m, stream);
    if (error) return error;
    ConvArgs of_rows = {.x = modulation,
                        .w = a.w,
                        .y = rows,
                        .x_type = a.x_type,
                        .y_type = DG_F32,
                        .n = a.n,
                        .height = 1,
                        .width = 2,
                        .c = a.c,
                        .k = a.k,
                        .r = 1,
                        .s = 1,
                        .out_height = 1,
                        .out_width = 2,
                        .options = {.stride = 1, .scale = 1},
                        .capability = a.capability,
                        .multiprocessors = a.multiprocessors};
    error = cuda_conv(&of_rows, stream);
    if (error) return error;
    a.fold = (ConvFold){.moments = op_kept(e, f->maker), .rows = rows};
    return cuda_conv(&a, stream);
}
