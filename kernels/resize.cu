// resize.cu -- separable resizing by tables: columns, then rows; NHWC.
//   half[h][w] = sum over k of columns[w][1 + k] * x[h][columns[w][0] + k], rounded to f32 (with u8: to bytes)
//   y[h][w] = a * clamp(sum over k of rows[h][1 + k] * half[rows[h][0] + k][w]) + b
// Work:   a kernel for each. A block's threads stand along the out_width * c elements of a row, a run of 8 each where channels come in
//         whole runs; in the columns' kernel a thread makes COLUMN_ROWS rows, for which it reads its table once, and in the
//         rows' the table is the same for all threads of a row.
// Order:  the tables', in f64, products and sums each rounded: every bit as ref's and ref64's, so that no byte differs.
// Limits: none on sizes.
// Speed:  floors: bytes of x, of y, and twice those of the f32 between them, which the L2 cache mostly holds; one conversion to f64
//         a tap, of which a multiprocessor makes 16 a clock: beyond about 4 taps a pixel the conversions decide.
#include "kernels/values.h"

enum { COLUMN_ROWS = 4 };

// ---- device code ------------------------------------------------------------------------------------------------------

GPU_FN double to_byte(double v) {
    v = floor(v + 0.5);
    return v < 0 ? 0 : v > 255 ? 255 : v;
}
// A table's row for one output: the first position, and how many of the taps lie in [0, size).
struct TableRow {
    const double *weight;
    int first, taps;
};
GPU_FN TableRow table_row(const double *table, int output, int taps, int size) {
    const double *row = table + (size_t)output * (size_t)(1 + taps);
    const int first = (int)row[0];
    return {row + 1, first, min(taps, size - first)};
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) resize_columns_kernel(ResizeArgs p, RowBlock b) {
    const RowPlace at = row_place(b, V); // its channel counts along the whole row
    if (!at.active) return;
    const int channel = at.channel % p.c;
    const TableRow table = table_row(p.columns, at.channel / p.c, p.column_taps, p.width);
    const size_t image = (size_t)blockIdx.z * (size_t)p.height;
    const int row0 = ((int)blockIdx.x * b.lanes + at.lane) * COLUMN_ROWS;
    double sum[COLUMN_ROWS][V];
    GPU_FOR (int r = 0; r < COLUMN_ROWS; r++)
        GPU_FOR (int e = 0; e < V; e++) sum[r][e] = 0;
    for (int k = 0; k < table.taps; k++) {
        const double weight = table.weight[k];
        GPU_FOR (int r = 0; r < COLUMN_ROWS; r++) {
            const size_t row = image + (size_t)min(row0 + r, p.height - 1);
            float x[V];
            load_floats(x, p.x, p.x_type, (row * (size_t)p.width + (size_t)(table.first + k)) * (size_t)p.c + (size_t)channel);
            GPU_FOR (int e = 0; e < V; e++) sum[r][e] += gpu::mul_rn(weight, (double)x[e]);
        }
    }
    GPU_FOR (int r = 0; r < COLUMN_ROWS; r++) {
        if (row0 + r >= p.height) return;
        float half[V];
        GPU_FOR (int e = 0; e < V; e++) half[e] = (float)(p.options.u8 ? to_byte(sum[r][e]) : sum[r][e]);
        store_floats(p.workspace, DG_F32, (image + (size_t)(row0 + r)) * (size_t)b.c + (size_t)at.channel, half);
    }
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) resize_rows_kernel(ResizeArgs p, RowBlock b) {
    const RowPlace at = row_place(b, V);
    const int row = (int)blockIdx.x * b.lanes + at.lane;
    if (!at.active || row >= p.out_height) return;
    const TableRow table = table_row(p.rows, row, p.row_taps, p.height);
    const size_t image = blockIdx.z, half = image * (size_t)p.height + (size_t)table.first;
    double sum[V];
    GPU_FOR (int e = 0; e < V; e++) sum[e] = 0;
    for (int k = 0; k < table.taps; k++) {
        float x[V];
        load_floats(x, p.workspace, DG_F32, (half + (size_t)k) * (size_t)b.c + (size_t)at.channel);
        GPU_FOR (int e = 0; e < V; e++) sum[e] += gpu::mul_rn(table.weight[k], (double)x[e]);
    }
    const double lo = (double)p.options.lo, hi = (double)p.options.hi;
    float y[V];
    GPU_FOR (int e = 0; e < V; e++) {
        double v = p.options.u8 ? to_byte(sum[e]) : sum[e];
        v = v < lo ? lo : v > hi ? hi : v; // NaN stays NaN
        y[e] = (float)(gpu::mul_rn((double)p.options.a, v) + (double)p.options.b);
    }
    store_floats(p.y, p.y_type, (image * (size_t)p.out_height + (size_t)row) * (size_t)b.c + (size_t)at.channel, y);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" size_t cuda_resize_workspace(const ResizeArgs *a) {
    return (size_t)a->n * (size_t)a->height * (size_t)a->out_width * (size_t)a->c * sizeof(float);
}
extern "C" int cuda_resize(const ResizeArgs *a, void *stream) {
    const int along = a->out_width * a->c;
    const int error = launch_rows(resize_columns_kernel<1>, resize_columns_kernel<RUN>, a->c % RUN == 0, along, (size_t)a->height,
                                  COLUMN_ROWS, a->n, stream, *a);
    return error ? error
                 : launch_rows(resize_rows_kernel<1>, resize_rows_kernel<RUN>, along % RUN == 0, along, (size_t)a->out_height, 1, a->n,
                               stream, *a);
}
