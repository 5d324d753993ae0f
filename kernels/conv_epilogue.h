// conv_epilogue.h -- what a convolution does to its sums before they are stored: y = act(scale * ((sum + bias) * gate + add)).
// For the kernels of conv.cu and linear.cu; include it instead of values.h.
// Order: with neither gate, act nor positions: ((sum + bias) + add) * scale. Else the product with the gate and the sum with `add`
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
};
inline Epilogue conv_epilogue(const ConvArgs *a) {
    Epilogue q = {};
    q.add = a->add, q.bias = a->bias, q.gate = a->gate;
    q.add_type = a->add_type, q.y_type = a->y_type, q.add_kind = a->add_kind, q.act = a->options.act;
    q.k = a->k, q.out_pixels = a->out_height * a->out_width, q.rows = a->n * q.out_pixels, q.scale = a->options.scale;
    return q;
}
GPU_FN bool more_than_plain(const Epilogue &q) { return q.gate || q.add_kind == OPERAND_POSITIONS || q.act != ACT_NONE; }

template <int V> GPU_FN void activate(float (&v)[V], Act act) {
    if (act == ACT_RELU)
        GPU_FOR (int e = 0; e < V; e++) v[e] = v[e] < 0 ? 0 : v[e]; // NaN stays NaN
    if (act == ACT_GELU_TANH)
        GPU_FOR (int e = 0; e < V; e++) v[e] = gelu_tanh(v[e]);
}
template <int V> GPU_FN void load_bias(float (&bias)[V], const Epilogue &q, int k) {
    GPU_FOR (int e = 0; e < V; e++) bias[e] = q.bias ? q.bias[k + e] : 0;
}
template <int V> GPU_FN void add_and_scale(float (&v)[V], const float (&add)[V], float scale) {
    GPU_FOR (int e = 0; e < V; e++) v[e] = (v[e] + add[e]) * scale;
}
// v, sums with their bias added, become the outputs of channels k, ... at `row`, a pixel counted over all images; `out`: their place in y.
template <int V> GPU_FN void finish_plain(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    float add[V];
    GPU_FOR (int e = 0; e < V; e++) add[e] = 0;
    if (q.add)
        load_floats(add, q.add, q.add_type, q.add_kind == OPERAND_VECTOR ? (size_t)(row / q.out_pixels) * (size_t)q.k + (size_t)k : out);
    add_and_scale(v, add, q.scale);
}
template <int V> GPU_FN void finish_more(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    float gate[V], add[V];
    GPU_FOR (int e = 0; e < V; e++) gate[e] = 1, add[e] = 0;
    if (q.gate) load_run(gate, q.gate + (size_t)(row / q.out_pixels) * (size_t)q.k + (size_t)k);
    if (q.add) {
        const int of_add = q.add_kind == OPERAND_VECTOR ? row / q.out_pixels : row % q.out_pixels; // of positions
        load_floats(add, q.add, q.add_type, q.add_kind == OPERAND_FULL ? out : (size_t)of_add * (size_t)q.k + (size_t)k);
    }
    GPU_FOR (int e = 0; e < V; e++) v[e] = q.scale * fmaf(v[e], gate[e], add[e]);
    activate(v, q.act);
}
template <bool MORE, int V> GPU_FN void finish(const Epilogue &q, float (&v)[V], int row, int k, size_t out) {
    if (MORE) finish_more(q, v, row, k, out);
    else finish_plain(q, v, row, k, out);
}
#endif
