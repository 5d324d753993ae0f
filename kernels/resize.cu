// resize.cu -- separable resizing by tables: columns, then rows; NHWC.
//   half[h][w] = sum over k of columns[w][1 + k] * x[h][columns[w][0] + k], rounded to f32 (with u8: to bytes)
//   y[h][w] = a * clamp(sum over k of rows[h][1 + k] * half[rows[h][0] + k][w]) + b
// Work:   a kernel for each: what lies between is small where the image grows, and stays in the L2 cache mostly. A block's threads
//         stand along the out_width * c elements of a row. Where these come in whole runs of 8, a thread makes one of a row;
//         else single elements, AT_ONCE of them: of the columns in as many rows, of the rows as many in one row, so that it
//         reads its row of the table once for all.
// Order:  the tables', in f64, products and sums each rounded: every bit as ref's and ref64's, so that no byte differs.
// Limits: none on sizes.
// Speed:  floors: bytes of x, of y, and twice those of the f32 between them, which the L2 cache mostly holds; one conversion to f64
//         a tap, of which a multiprocessor makes 16 a clock: beyond about 4 taps a pixel the conversions decide.
#include "kernels/values.h"

enum { AT_ONCE = 4 };

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

// What a thread makes: this many outputs, runs of V each.
template <int V> GPU_FN constexpr int at_once() { return V == 1 ? AT_ONCE : 1; }

template <int V> __global__ void __launch_bounds__(ROW_THREADS) resize_columns_kernel(ResizeArgs p, RowBlock b) {
    gpu::grid_enter();
    enum { ROWS = at_once<V>() };
    const RowPlace at = row_place(b, V); // its channel counts along the whole row
    const int row0 = ((int)blockIdx.x * b.lanes + at.lane) * ROWS;
    if (!at.active || row0 >= p.height) return;
    const TableRow table = table_row(p.columns, at.channel / p.c, p.column_taps, p.width);
    const size_t image = (size_t)blockIdx.z * (size_t)p.height, to_pixel = (size_t)p.c;
    const size_t start = (size_t)table.first * to_pixel + (size_t)(at.channel % p.c);
    double sum[ROWS][V];
    GPU_FOR (int r = 0; r < ROWS; r++)
        GPU_FOR (int e = 0; e < V; e++) sum[r][e] = 0;
    with_type(p.x, p.x_type, [&](const auto *x) {
        for (int k = 0; k < table.taps; k++) {
            const double weight = table.weight[k];
            float v[ROWS][V];
            GPU_FOR (int r = 0; r < ROWS; r++) {
                const size_t row = image + (size_t)min(row0 + r, p.height - 1);
                load_run(v[r], x + row * (size_t)p.width * to_pixel + start + (size_t)k * to_pixel);
            }
            GPU_FOR (int r = 0; r < ROWS; r++)
                GPU_FOR (int e = 0; e < V; e++) sum[r][e] += gpu::mul_rn(weight, (double)v[r][e]);
        }
    });
    GPU_FOR (int r = 0; r < ROWS; r++) {
        if (row0 + r >= p.height) return;
        float half[V];
        GPU_FOR (int e = 0; e < V; e++) half[e] = (float)(p.options.u8 ? to_byte(sum[r][e]) : sum[r][e]);
        store_run((float *)p.workspace + (image + (size_t)(row0 + r)) * (size_t)b.c + (size_t)at.channel, half);
    }
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) resize_rows_kernel(ResizeArgs p, RowBlock b) {
    gpu::grid_enter();
    enum { RUNS = at_once<V>() };
    const int lane = (int)threadIdx.x / b.across, row = (int)blockIdx.x * b.lanes + lane;
    const int first = ((int)blockIdx.y * RUNS * b.across + (int)threadIdx.x % b.across) * V, apart = b.across * V;
    if (lane >= b.lanes || row >= p.out_height || first >= b.c) return;
    const TableRow table = table_row(p.rows, row, p.row_taps, p.height);
    const size_t image = blockIdx.z;
    const float *half = (const float *)p.workspace + (image * (size_t)p.height + (size_t)table.first) * (size_t)b.c;
    double sum[RUNS][V];
    GPU_FOR (int i = 0; i < RUNS; i++)
        GPU_FOR (int e = 0; e < V; e++) sum[i][e] = 0;
    for (int k = 0; k < table.taps; k++, half += b.c) {
        const double weight = table.weight[k];
        float v[RUNS][V];
        GPU_FOR (int i = 0; i < RUNS; i++) load_run(v[i], half + (first + i * apart < b.c ? first + i * apart : first));
        GPU_FOR (int i = 0; i < RUNS; i++)
            GPU_FOR (int e = 0; e < V; e++) sum[i][e] += gpu::mul_rn(weight, (double)v[i][e]);
    }
    const double lo = (double)p.options.lo, hi = (double)p.options.hi;
    GPU_FOR (int i = 0; i < RUNS; i++) {
        if (first + i * apart >= b.c) return;
        float y[V];
        GPU_FOR (int e = 0; e < V; e++) {
            double v = p.options.u8 ? to_byte(sum[i][e]) : sum[i][e];
            v = v < lo ? lo : v > hi ? hi : v; // NaN stays NaN
            y[e] = (float)(gpu::mul_rn((double)p.options.a, v) + (double)p.options.b);
        }
        store_floats(p.y, p.y_type, (image * (size_t)p.out_height + (size_t)row) * (size_t)b.c + (size_t)(first + i * apart), y);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" size_t cuda_resize_workspace(const ResizeArgs *a) {
    return (size_t)a->n * (size_t)a->height * (size_t)a->out_width * (size_t)a->c * sizeof(float);
}
extern "C" int cuda_resize(const ResizeArgs *a, void *stream) {
    const int along = a->out_width * a->c, run = row_run(along);
    const int error = launch_rows(resize_columns_kernel<1>, resize_columns_kernel<RUN>, a->c % RUN == 0, along, (size_t)a->height,
                                  a->c % RUN ? AT_ONCE : 1, a->n, stream, *a);
    if (error) return error;
    const RowBlock b = row_block(along, run, ROW_THREADS);
    const dim3 grid((unsigned)blocks_for((size_t)a->out_height, (size_t)b.lanes),
                    (unsigned)blocks_for((size_t)along, (size_t)(b.across * (run == 1 ? AT_ONCE : run))), (unsigned)a->n);
    return gpu::launch_dependent(run == 1 ? resize_rows_kernel<1> : resize_rows_kernel<RUN>, grid, dim3(ROW_THREADS), 0,
                                 (cudaStream_t)stream, *a, b);
}
