// conv_epilogue.h -- what a convolution does to its sums before they are stored: y = act(scale * ((sum + bias) * gate + add)).
// For every kernel of convolutions and linear layers; include it instead of values.h.
// Order: with neither gate nor act: ((sum + bias) + add) * scale. Else the product with the gate and the sum with `add`
//        are one fused multiply-add, so that every caller rounds alike.
#ifndef DG_CONV_EPILOGUE_H
#define DG_CONV_EPILOGUE_H
#include "kernels/values.h"

struct Epilogue {
    const void *add;
    const float *bias, *gate;
    DType add_type, y_type;
    Operand add_kind;
    Act act;
    int k, rows, out_pixels; // of y: channels, pixels of all images and of one
    float scale;
    Divider by_pixels; // of an image of y
};
inline Epilogue conv_epilogue(const ConvArgs *a) {
    Epilogue q = {};
    q.add = a->add, q.bias = a->bias, q.gate = a->gate;
    q.add_type = a->add_type, q.y_type = a->y_type, q.add_kind = a->add_kind, q.act = a->options.act;
    q.k = a->k, q.out_pixels = a->out_height * a->out_width, q.rows = a->n * q.out_pixels, q.scale = a->options.scale;
    q.by_pixels = divider(q.out_pixels);
    return q;
}
GPU_FN int image_of(const Epilogue &q, int row) { return divide(row, q.by_pixels); }
GPU_FN bool more_than_plain(const Epilogue &q) { return q.gate || q.act != ACT_NONE; }

template <int V> GPU_FN void activate(float (&v)[V], Act act) {
    if (act == ACT_RELU)
        GPU_FOR (int e = 0; e < V; e++) v[e] = v[e] < 0 ? 0 : v[e]; // NaN stays NaN
    if (act == ACT_GELU_TANH)
        GPU_FOR (int e = 0; e < V; e++) v[e] = gelu_tanh(v[e]);
}
template <int V> GPU_FN void load_bias(float (&bias)[V], const Epilogue &q, int k) {
    GPU_FOR (int e = 0; e < V; e++) bias[e] = 0;
    if (q.bias) load_run(bias, q.bias + k);
}
template <int V> GPU_FN void add_and_scale(float (&v)[V], const float (&add)[V], float scale) {
    GPU_FOR (int e = 0; e < V; e++) v[e] = (v[e] + add[e]) * scale;
}
// Element of `add` for channels k, ... at `row`, a pixel counted over all images; `out`: their place in y.
GPU_FN size_t add_at(const Epilogue &q, int row, int k, size_t out) {
    if (q.add_kind == OPERAND_FULL) return out;
    const int image = image_of(q, row);
    return (size_t)(q.add_kind == OPERAND_VECTOR ? image : row - image * q.out_pixels) * (size_t)q.k + (size_t)k; // or of positions
}
// v, sums with their bias added, become the outputs of channels k, ... at `row`.
template <int V> GPU_FN void finish_plain(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    float add[V];
    GPU_FOR (int e = 0; e < V; e++) add[e] = 0;
    if (q.add) load_floats(add, q.add, q.add_type, add_at(q, row, k, out));
    add_and_scale(v, add, q.scale);
}
template <int V> GPU_FN void finish_more(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    float gate[V], add[V];
    GPU_FOR (int e = 0; e < V; e++) gate[e] = 1, add[e] = 0;
    if (q.gate) load_run(gate, q.gate + (size_t)image_of(q, row) * (size_t)q.k + (size_t)k);
    if (q.add) load_floats(add, q.add, q.add_type, add_at(q, row, k, out));
    GPU_FOR (int e = 0; e < V; e++) v[e] = q.scale * fmaf(v[e], gate[e], add[e]);
    activate(v, q.act);
}
template <bool MORE, int V> GPU_FN void finish(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    if (MORE) finish_more(q, v, row, k, out);
    else finish_plain(q, v, row, k, out);
}
// Statistics (kernels.h) of the stored values of one channel in one segment, `pitch` floats from each other.
GPU_FN float2 segment_stats(const float *y, int pitch) {
    float mean = 0, rest = 0, squares = 0; // rest: what rounding took from the mean
    for (int r = 0; r < NORM_SEGMENT; r++) mean += y[r * pitch];
    mean /= NORM_SEGMENT;
    for (int r = 0; r < NORM_SEGMENT; r++) {
        const float apart = y[r * pitch] - mean;
        rest += apart, squares += apart * apart;
    }
    return make_float2(mean + rest / NORM_SEGMENT, squares - rest * rest / NORM_SEGMENT);
}
#endif
