/* cases.h -- the one table of op cases. Forward, gradient, exactness, determinism and batch tests iterate it for every
 * backend; each case says why it exists. To add an op: add its builder line in case_build and rows here.
 * Spatial sizes are small because every backend, the emulated kernels included, runs all of them.                     */
#ifndef DG_CASES_H
#define DG_CASES_H
#include "device/device.h"
#include <math.h>
#include <stdlib.h>

/* A second operand: none, same shape, per-image vector, one image for all (a constant). */
typedef enum { ADD_NONE, ADD_FULL, ADD_VECTOR, ADD_POSITIONS } AddKind;
typedef enum { NEAREST, LINEAR, CUBIC } Filter;  /* of a resize: of 1, 2 and 4 pixels, wider where the image shrinks */
typedef enum { FREE, OPPOSED, ALIKE } AttnInput; /* opposed: queries at least 0, keys at most 0; alike: one value for all tokens */
typedef struct {
    const char *name, *why;
    OpKind kind;           /* the forward op; its gradient op is tested through graph_backward */
    Shape x;               /* in0, at batch 1: the tests choose n */
    float x_gain, dy_gain; /* inputs and the output's gradient are uniform in [-gain, gain]; 0 means 1 */
    bool f32_out;          /* the output is f32 where activations have 16 bits, as g_output makes it */
    bool f32_in;           /* so is x; of a conv and a gate, the residual */
    /* clang-format off */
    union {
        /* an r x r kernel and one pad; where s is not 0, an r x s kernel, its stride and its pads (top, left, bottom, right) */
        struct { int k, r, pad; float scale; bool bias; AddKind add; int s, stride, side[4]; Act act; bool gate; int skip[2]; bool no_skip_bias; } conv;
        struct { int groups; float eps; bool silu, scale_shift, again; int more; } norm; /* again: x is read beside the norm too, y = norm + x */
        struct { int heads; AttnInput input; } attn;
        struct { UnaryKind f; float lo, hi; } unary;
        struct { float a, b; AddKind add; } add;
        struct { int c[CONCAT_INPUTS - 1]; } concat; /* of in1, in2, ... */
        struct { int first, c; } slice;
        struct { bool up; int taps, pad; float tap[RESAMPLE_TAPS], scale; } resample;
        PoolOptions pool;
        struct { int h, w; Filter filter; ResizeOptions o; } resize;
        struct { float eps; bool rms, gamma, beta, modulated; } pixel_norm;
        struct { bool residual; } gate;
        struct { int p; } depth_to_space;
        struct { bool log; } softmax;
    };
} OpCase;

/* a row a case */
#define ALL -INFINITY, INFINITY
#define BOX 2, 0, {.5f, .5f}
#define TENT 4, 1, {.125f, .375f, .375f, .125f}
static const OpCase op_cases[] = {
    /* ---- conv ---- */
    {"conv3_64", "the common case: 3x3, full tiles", OP_CONV, {1, 8, 8, 64}, .conv = {64, 3, 1, 1, true, ADD_NONE}},
    {"conv3_residual", "residual and scale in the epilogue", OP_CONV, {1, 8, 8, 32}, .conv = {32, 3, 1, .70710678f, true, ADD_FULL}},
    {"conv3_vector", "time embedding added in the epilogue", OP_CONV, {1, 8, 8, 32}, .conv = {64, 3, 1, 1, true, ADD_VECTOR}},
    {"conv3_vector_scale", "vector, scale, no bias", OP_CONV, {1, 4, 4, 32}, .conv = {32, 3, 1, .3f, false, ADD_VECTOR}},
    {"conv3_first", "image input: 3 channels", OP_CONV, {1, 16, 16, 3}, .conv = {32, 3, 1, 1, true, ADD_NONE}},
    {"conv3_last", "image output: 3 channels", OP_CONV, {1, 16, 16, 32}, .conv = {3, 3, 1, 1, true, ADD_NONE}},
    {"conv3_gray", "one channel in, one out", OP_CONV, {1, 9, 7, 1}, .conv = {1, 3, 1, 1, true, ADD_NONE}},
    {"conv3_odd", "no size is a multiple of anything", OP_CONV, {1, 7, 5, 13}, .conv = {19, 3, 1, 1, true, ADD_FULL}},
    {"conv3_pad2", "fused resample of NCSN++: the output is larger", OP_CONV, {1, 8, 8, 16}, .conv = {24, 3, 2, 1, true, ADD_NONE}},
    {"conv3_pad0", "valid convolution: the gradient has pad 2", OP_CONV, {1, 8, 6, 24}, .conv = {16, 3, 0, 1, true, ADD_NONE}},
    {"conv3_wide", "concatenated decoder input: long sums", OP_CONV, {1, 8, 8, 384}, .conv = {128, 3, 1, 1, true, ADD_NONE}},
    {"conv3_136", "channels end inside a K tile and an N tile", OP_CONV, {1, 6, 6, 136}, .conv = {72, 3, 1, 1, true, ADD_NONE}},
    {"conv3_32px", "several M tiles per image", OP_CONV, {1, 32, 32, 32}, .conv = {40, 3, 1, 1, true, ADD_FULL}},
    {"conv3_small", "2x2 image: every pixel is a border", OP_CONV, {1, 2, 2, 40}, .conv = {32, 3, 1, 1, true, ADD_NONE}},
    {"conv_1x7", "each dimension has a pad of its own", OP_CONV, {1, 9, 11, 16}, .conv = {24, 1, 0, 1, true, ADD_FULL, 7, 1, {0, 3, 0, 3}}},
    {"conv_7x1", "the same, upright, odd channels", OP_CONV, {1, 9, 8, 13}, .conv = {8, 7, 0, .5f, true, ADD_NONE, 1, 1, {3, 0, 3, 0}}},
    {"conv3_uneven", "four different pads, and a shape for every fast way", OP_CONV, {1, 8, 9, 64}, .conv = {64, 3, 0, 1, true, ADD_NONE, 3, 1, {0, 1, 2, 2}}},
    {"conv3_stride2", "a stride in a shape for every fast way", OP_CONV, {1, 9, 10, 64}, .conv = {64, 3, 0, 1, true, ADD_FULL, 3, 2, {1, 1, 1, 1}}},
    {"conv3_down", "stride 2, padded at the bottom and on the right: the VAE's encoder", OP_CONV, {1, 8, 8, 32}, .conv = {40, 3, 0, 1, true, ADD_NONE, 3, 2, {0, 0, 1, 1}}},
    {"conv1_stride2", "1x1 with a stride is no product of matrices", OP_CONV, {1, 5, 7, 32}, .conv = {32, 1, 0, 1, true, ADD_VECTOR, 1, 2, {0}}},
    {"conv2_patches", "2x2 patches of 4 channels", OP_CONV, {1, 8, 6, 4}, .conv = {48, 2, 0, 1, true, ADD_NONE, 2, 2, {0}}},
    {"conv5_inception", "5x5, pad 2, then ReLU", OP_CONV, {1, 7, 9, 48}, .conv = {64, 5, 2, 1, true, ADD_NONE, .act = ACT_RELU}},
    {"conv5_odd", "every pad from 0 to 3, stride 2, channels that are multiples of nothing", OP_CONV, {1, 9, 7, 7}, .conv = {13, 5, 0, 1, true, ADD_FULL, 5, 2, {0, 1, 2, 3}, .act = ACT_GELU_TANH, .gate = true}},
    {"conv3_pads", "the pads the other way round", OP_CONV, {1, 6, 5, 13}, .conv = {7, 3, 0, 1, true, ADD_VECTOR, 3, 1, {3, 2, 1, 0}, .act = ACT_RELU, .gate = true}},
    {"conv3_relu", "an activation in a shape for every fast way", OP_CONV, {1, 8, 8, 64}, .conv = {64, 3, 1, 1, true, ADD_NONE, .act = ACT_RELU}},
    {"conv3_relu_4", "and for the larger tile of the fast ways", OP_CONV, {1, 17, 16, 64}, .conv = {64, 3, 1, .5f, true, ADD_FULL, .act = ACT_RELU, .gate = true}},
    {"conv3_gated", "gate, residual, scale and activation together", OP_CONV, {1, 8, 8, 32}, .conv = {40, 3, 1, .70710678f, true, ADD_FULL, .act = ACT_GELU_TANH, .gate = true}},
    {"conv3_positions", "one image is added to all", OP_CONV, {1, 8, 8, 32}, .conv = {64, 3, 1, 1, true, ADD_POSITIONS}},
    {"conv3_valid_down", "3x3, stride 2, no pads: Inception's reductions", OP_CONV, {1, 9, 9, 24}, .conv = {40, 3, 0, 1, true, ADD_NONE, 3, 2, {0}, .act = ACT_RELU}},
    {"conv2_patches_positions", "DiT's patches: stride 2, positions", OP_CONV, {1, 8, 8, 4}, .f32_out = true, .conv = {72, 2, 0, 1, true, ADD_POSITIONS, 2, 2, {0}}},
    {"conv4_patches", "patches of 4x4 pixels, odd channels", OP_CONV, {1, 8, 12, 3}, .conv = {13, 4, 0, 1, true, ADD_POSITIONS, 4, 4, {0}}},
    {"conv1_gelu", "the first layer of DiT's blocks", OP_CONV, {1, 4, 8, 72}, .conv = {288, 1, 0, 1, true, ADD_NONE, .act = ACT_GELU_TANH}},
    {"conv1_gated", "the last: gate and residual, which are f32 in all precisions", OP_CONV, {1, 4, 8, 72}, .f32_out = true, .f32_in = true, .conv = {72, 1, 0, 1, true, ADD_FULL, .gate = true}},
    {"conv1_gate_alone", "a gate, no bias, nothing to add", OP_CONV, {1, 3, 5, 13}, .conv = {7, 1, 0, 1, false, ADD_NONE, .gate = true}},
    {"conv1_positions", "1x1: rows of one image are not those of the batch", OP_CONV, {1, 3, 5, 32}, .conv = {32, 1, 0, .5f, true, ADD_POSITIONS}},
    {"conv3_f32", "operand and output are f32 in all precisions, in whole runs", OP_CONV, {1, 8, 8, 32}, .f32_out = true, .f32_in = true, .conv = {72, 3, 1, .5f, true, ADD_FULL}},
    {"conv_5x1", "rows of the filter that are shorter than a step of the sum", OP_CONV, {1, 9, 8, 8}, .conv = {16, 5, 0, 1, true, ADD_NONE, 1, 1, {2, 0, 2, 0}}},
    {"conv6", "36 taps: more than a mask of bits holds", OP_CONV, {1, 8, 7, 16}, .conv = {24, 6, 2, 1, true, ADD_NONE}},
    {"linear_gelu", "an activation on vectors", OP_CONV, {1, 1, 1, 96}, .conv = {40, 1, 0, 1, true, ADD_NONE, .act = ACT_GELU_TANH}},
    {"linear_gated", "a gate on vectors", OP_CONV, {1, 1, 1, 13}, .conv = {7, 1, 0, 1, true, ADD_FULL, .act = ACT_RELU, .gate = true}},
    {"linear_positions", "one vector is added to all, no whole pieces of channels", OP_CONV, {1, 1, 1, 133}, .conv = {24, 1, 0, .5f, true, ADD_POSITIONS}},
    {"conv2_pads", "pads that are wider than the kernel: windows with no pixel", OP_CONV, {1, 3, 4, 5}, .conv = {6, 2, 0, 1, true, ADD_NONE, 2, 1, {3, 3, 2, 3}, .act = ACT_RELU}},
    {"conv1_qkv", "1x1: C to 3C", OP_CONV, {1, 8, 8, 64}, .conv = {192, 1, 0, 1, true, ADD_NONE}},
    {"conv1_proj", "1x1 with residual and scale", OP_CONV, {1, 8, 8, 64}, .conv = {64, 1, 0, .70710678f, true, ADD_FULL}},
    {"conv1_odd", "1x1, odd channels, no bias", OP_CONV, {1, 3, 5, 11}, .conv = {9, 1, 0, 1, false, ADD_NONE}},
    {"linear_map", "a vector: time embedding layer", OP_CONV, {1, 1, 1, 128}, .conv = {512, 1, 0, 1, true, ADD_NONE}},
    {"linear_add", "a vector plus a vector", OP_CONV, {1, 1, 1, 96}, .conv = {40, 1, 0, 1, true, ADD_FULL}},
    {"linear_logit", "one output", OP_CONV, {1, 1, 1, 128}, .conv = {1, 1, 0, 1, true, ADD_NONE}},
    {"linear_one_hot", "1000 classes, no bias", OP_CONV, {1, 1, 1, 1000}, .conv = {64, 1, 0, 1, false, ADD_NONE}},
    {"conv1_tokens", "{n,1,65,c}: the attention pool's projection", OP_CONV, {1, 1, 65, 32}, .conv = {96, 1, 0, 1, true, ADD_NONE}},
    /* every way through Hopper's own kernel: its tiles are 128 pixels by 256, 192 or 128 channels, made in passes of 64 */
    {"conv3_k256", "tiles of two images and 256 channels, a vector for each image", OP_CONV, {1, 8, 8, 64}, .conv = {256, 3, 1, .3f, true, ADD_VECTOR}},
    {"conv3_k192", "tiles of 192 channels, residual", OP_CONV, {1, 8, 16, 64}, .conv = {192, 3, 1, .70710678f, true, ADD_FULL}},
    {"conv3_k256_residual", "a residual of four passes", OP_CONV, {1, 8, 8, 64}, .conv = {256, 3, 1, 1, true, ADD_FULL}},
    {"conv3_k320", "the last tile of channels is not full, residual", OP_CONV, {1, 8, 8, 64}, .conv = {320, 3, 1, 1, true, ADD_FULL}},
    {"conv3_k136", "channels end inside a pass, a vector", OP_CONV, {1, 8, 8, 64}, .conv = {136, 3, 1, 1, true, ADD_VECTOR}},
    {"conv3_4px", "eight images in a tile, residual", OP_CONV, {1, 4, 4, 64}, .conv = {64, 3, 1, 1, true, ADD_FULL}},
    {"conv3_w32", "half of an image's last tile lies outside", OP_CONV, {1, 6, 32, 64}, .conv = {64, 3, 1, 1, true, ADD_FULL}},
    {"conv3_w64", "tiles of two lines", OP_CONV, {1, 2, 64, 64}, .conv = {64, 3, 1, 1, false, ADD_NONE}},
    {"conv3_w256", "tiles of half a line", OP_CONV, {1, 1, 256, 64}, .conv = {64, 3, 1, 1, true, ADD_VECTOR}},
    {"conv3_halves", "stride 2 and every pad, residual, three images in two tiles", OP_CONV, {1, 16, 16, 64}, .conv = {64, 3, 0, 1, true, ADD_FULL, 3, 2, {1, 1, 1, 1}}},
    {"conv3_halves_down", "stride 2, padded at the bottom and on the right", OP_CONV, {1, 8, 32, 64}, .conv = {64, 3, 0, 1, true, ADD_VECTOR, 3, 2, {0, 0, 1, 1}}},
    {"conv1_halves", "1x1, every second pixel", OP_CONV, {1, 16, 16, 64}, .conv = {64, 1, 0, 1, true, ADD_NONE, 1, 2, {0}}},
    {"conv3_positions_64", "positions, activation", OP_CONV, {1, 8, 8, 64}, .conv = {64, 3, 1, .5f, true, ADD_POSITIONS, .act = ACT_RELU}},
    {"conv3_k256_f32", "residual and output in f32, two images in a tile", OP_CONV, {1, 8, 8, 64}, .f32_out = true, .f32_in = true, .conv = {256, 3, 1, .5f, true, ADD_FULL}},
    {"conv3_k192_f32", "the residual alone in f32, 192 channels", OP_CONV, {1, 8, 8, 64}, .f32_in = true, .conv = {192, 3, 1, .5f, true, ADD_FULL}},
    {"conv1_bands", "so many rows that tiles come in bands", OP_CONV, {1, 24, 32, 64}, .conv = {320, 1, 0, 1, true, ADD_VECTOR}},
    {"conv1_bands_f32", "a block's next tiles come while an f32 residual is still read", OP_CONV, {1, 12, 32, 64}, .f32_out = true, .f32_in = true, .conv = {320, 1, 0, 1, true, ADD_FULL}},
    {"conv1_ragged", "rows, channels and sums end inside a tile", OP_CONV, {1, 1, 65, 136}, .conv = {200, 1, 0, 1, true, ADD_NONE, .act = ACT_GELU_TANH}},
    {"conv1_ragged_vector", "two rows of a thread lie in two images, a vector for each", OP_CONV, {1, 5, 13, 136}, .conv = {200, 1, 0, 1, true, ADD_VECTOR}},
    {"conv1_ragged_gated", "gate and residual, which is f32", OP_CONV, {1, 5, 13, 136}, .f32_out = true, .f32_in = true, .conv = {200, 1, 0, 1, true, ADD_FULL, .gate = true}},
    {"conv3_f32_runs", "operand and output are f32 in all precisions, in whole runs", OP_CONV, {1, 8, 8, 32}, .f32_out = true, .f32_in = true, .conv = {72, 3, 1, .5f, true, ADD_FULL}},
    {"conv_5x1", "rows of the filter that are shorter than a step of the sum", OP_CONV, {1, 9, 8, 8}, .conv = {16, 5, 0, 1, true, ADD_NONE, 1, 1, {2, 0, 2, 0}}},
    {"conv6", "36 taps: more than a mask of bits holds", OP_CONV, {1, 8, 7, 16}, .conv = {24, 6, 2, 1, true, ADD_NONE}},
    {"conv3_narrow", "image output of a wide image: the products that a block keeps come round", OP_CONV, {1, 32, 32, 96}, .conv = {3, 3, 1, 1, true, ADD_NONE}},
    {"conv3_narrow_f32", "output in f32, no bias, sums of one step, lines longer than a step", OP_CONV, {1, 6, 200, 64}, .f32_out = true, .conv = {1, 3, 1, 1, false, ADD_NONE}},
    {"conv3_narrow_latent", "four channels, everything that is done to a sum; lines end inside a step", OP_CONV, {1, 19, 13, 72}, .conv = {4, 3, 1, .5f, true, ADD_FULL, .act = ACT_RELU, .gate = true}},
    {"conv_narrow_uneven", "seven channels, a filter of two lines, four different pads, a vector", OP_CONV, {1, 12, 20, 64}, .conv = {7, 2, 0, 1, true, ADD_VECTOR, 4, 1, {0, 1, 1, 2}}},
    {"conv3_skip", "1x1 of another input, sums that end inside a step, a scale", OP_CONV, {1, 8, 8, 64}, .conv = {64, 3, 1, .70710678f, true, ADD_NONE, .skip = {136}}},
    {"conv3_skip_two", "of two, the first one's sum ends inside a step; two images in a tile", OP_CONV, {1, 8, 8, 64}, .conv = {256, 3, 1, 1, true, ADD_NONE, .skip = {72, 128}}},
    {"conv3_skip_wide", "many steps of a skip, tiles of 192 channels, no bias of its own", OP_CONV, {1, 8, 16, 64}, .conv = {192, 3, 1, 1, true, ADD_NONE, .skip = {320, 64}, .no_skip_bias = true}},
    {"conv3_skip_first", "the only bias is the skip's; half of the last tile lies outside, activation", OP_CONV, {1, 6, 32, 64}, .conv = {64, 3, 1, .5f, false, ADD_NONE, .act = ACT_RELU, .skip = {64, 64}}},
    {"conv3_skip_none", "no bias at all; the larger tile of the fast ways", OP_CONV, {1, 16, 16, 64}, .conv = {64, 3, 1, 1, false, ADD_NONE, .skip = {32}, .no_skip_bias = true}},
    {"conv3_skip_f32", "output in f32", OP_CONV, {1, 8, 8, 64}, .f32_out = true, .conv = {128, 3, 1, .5f, true, ADD_NONE, .skip = {64, 32}}},
    {"conv3_skip_odd", "no size is a multiple of anything", OP_CONV, {1, 7, 5, 13}, .conv = {19, 3, 1, 1, true, ADD_NONE, .skip = {11, 9}}},
    {"conv3_skip_halves", "stride 2; the skip has the output's pixels", OP_CONV, {1, 16, 16, 64}, .conv = {64, 3, 0, 1, true, ADD_NONE, 3, 2, {1, 1, 1, 1}, .skip = {64}}},
    {"conv1_skip", "a product of matrices with another", OP_CONV, {1, 3, 43, 136}, .conv = {72, 1, 0, 1, true, ADD_NONE, .skip = {64, 200}}},
    {"linear_wide", "DiT's modulation: many outputs, the last tile not whole", OP_CONV, {1, 1, 1, 72}, .conv = {3220, 1, 0, 1, true, ADD_NONE}},
    {"linear_gated_256", "everything that a layer does to its sums, for those that tensor cores make", OP_CONV, {1, 1, 1, 260}, .conv = {259, 1, 0, .5f, true, ADD_FULL, .act = ACT_GELU_TANH, .gate = true}},
    {"linear_far", "vectors far beyond the range of 16 bits", OP_CONV, {1, 1, 1, 256}, .x_gain = 0x1p17f, .conv = {256, 1, 0, 1, false, ADD_NONE, .gate = true}},
    {"linear_odd", "the same, no whole pieces of channels", OP_CONV, {1, 1, 1, 18}, .conv = {3218, 1, 0, 1, true, ADD_NONE}},
    /* ---- norm ---- */
    {"norm_128", "32 groups of 4", OP_NORM, {1, 8, 8, 128}, .norm = {32, 1e-6f, false, false}},
    {"norm_silu", "fused activation", OP_NORM, {1, 8, 8, 64}, .norm = {16, 1e-5f, true, false}},
    {"norm_ss_silu", "scale-shift norm of ADM", OP_NORM, {1, 8, 8, 128}, .norm = {32, 1e-5f, true, true}},
    {"norm_ss", "scale-shift without activation", OP_NORM, {1, 4, 4, 64}, .norm = {16, 1e-5f, false, true}},
    {"norm_12", "12 channels per group: groups straddle vectors", OP_NORM, {1, 8, 8, 384}, .norm = {32, 1e-6f, true, false}},
    {"norm_18", "18 channels per group", OP_NORM, {1, 4, 4, 576}, .norm = {32, 1e-5f, true, true}},
    {"norm_odd", "3 channels per group, odd image", OP_NORM, {1, 5, 7, 15}, .norm = {5, 1e-6f, true, false}},
    {"norm_one_group", "everything in one group", OP_NORM, {1, 6, 6, 20}, .norm = {1, 1e-5f, false, false}},
    {"norm_eps", "eps dominates: a wrong one shows", OP_NORM, {1, 4, 4, 32}, .norm = {8, 10.f, true, false}},
    {"norm_pixel", "1x1 image", OP_NORM, {1, 1, 2, 64}, .norm = {8, 1e-5f, true, false}},
    {"norm_32px", "many rows: several passes per group", OP_NORM, {1, 32, 32, 64}, .norm = {16, 1e-6f, true, true}},
    {"norm_1024", "32 channels per group", OP_NORM, {1, 4, 4, 1024}, .norm = {32, 1e-5f, true, false}},
    {"norm_72px", "more segments than every block reads for itself", OP_NORM, {1, 72, 72, 16}, .norm = {4, 1e-5f, true, true}},
    {"norm_48px", "as many pixels as threads can hold", OP_NORM, {1, 48, 48, 16}, .norm = {4, 1e-6f, true, false}},
    {"norm_40px", "more than they can: parts of an image", OP_NORM, {1, 40, 40, 48}, .norm = {8, 1e-5f, true, true}},
    {"norm_24px_odd", "the same of single channels", OP_NORM, {1, 24, 24, 15}, .norm = {5, 1e-6f, true, false}},
    {"norm_wide", "a group wider than a block of threads", OP_NORM, {1, 2, 3, 521}, .norm = {1, 1e-5f, true, true}},
    {"norm_again", "x is read beside the norm too: its gradient is added to the norm's", OP_NORM, {1, 8, 8, 64}, .norm = {16, 1e-5f, true, false, true}},
    {"norm_again_32px", "the same: many rows", OP_NORM, {1, 32, 32, 32}, .norm = {8, 1e-6f, true, true, true}},
    {"norm_again_40px", "the same: parts of an image", OP_NORM, {1, 40, 40, 48}, .norm = {8, 1e-5f, false, true, true}},
    {"norm_again_odd", "the same: 3 channels per group, odd image", OP_NORM, {1, 5, 7, 15}, .norm = {5, 1e-6f, true, false, true}},
    {"norm_again_f32", "the same: a gradient of another type is added", OP_NORM, {1, 10, 10, 24}, .f32_out = true, .norm = {4, 1e-5f, false, true, true}},
    {"norm_two", "of two tensors, 12 channels per group: one straddles the seam", OP_NORM, {1, 8, 8, 256}, .norm = {32, 1e-6f, true, false, false, 128}},
    {"norm_two_seam", "a slice of channels that begins beside the seam; more pixels than a segment", OP_NORM, {1, 12, 12, 72}, .norm = {8, 1e-5f, true, true, false, 88}},
    {"norm_two_odd", "a seam where no run of channels begins", OP_NORM, {1, 5, 7, 21}, .norm = {16, 1e-6f, true, false, false, 11}},
    {"norm_two_72px", "two tensors, many segments", OP_NORM, {1, 72, 72, 8}, .norm = {4, 1e-5f, false, true, false, 24}},
    {"norm_two_32px", "several passes, channels of two slices", OP_NORM, {1, 32, 32, 40}, .norm = {3, 1e-5f, true, false, false, 8}},
    {"norm_two_f32_out", "two tensors, types that differ", OP_NORM, {1, 10, 10, 16}, .f32_out = true, .norm = {4, 1e-5f, true, true, false, 8}},
    {"norm_f32_out", "types that differ, a last segment that is not whole", OP_NORM, {1, 10, 10, 24}, .f32_out = true, .norm = {4, 1e-5f, true, true}},
    /* ---- attention ---- */
    {"attn_d64", "ADM heads of 64", OP_ATTN, {1, 8, 8, 3 * 128}, .attn = {2}},
    {"attn_d32", "shapes32: heads of 32", OP_ATTN, {1, 8, 8, 3 * 64}, .attn = {2}},
    {"attn_d256", "DDPM++: one head of 256", OP_ATTN, {1, 8, 8, 3 * 256}, .attn = {1}},
    {"attn_pool", "65 tokens: no multiple of a tile", OP_ATTN, {1, 1, 65, 3 * 64}, .attn = {1}},
    {"attn_256", "16x16 tokens: several key blocks", OP_ATTN, {1, 16, 16, 3 * 32}, .attn = {1}},
    {"attn_d72", "head dim 72: DiT, padding of K", OP_ATTN, {1, 6, 6, 3 * 72}, .attn = {1}},
    {"attn_d8", "small heads, odd token count", OP_ATTN, {1, 3, 11, 3 * 24}, .attn = {3}},
    {"attn_d5", "head dim that no vector fits", OP_ATTN, {1, 3, 3, 3 * 10}, .attn = {2}},
    {"attn_one", "one token", OP_ATTN, {1, 1, 1, 3 * 32}, .attn = {1}},
    {"attn_129", "one token more than two blocks of 64", OP_ATTN, {1, 1, 129, 3 * 64}, .attn = {1}},
    {"attn_576", "24x24 tokens: many key blocks, many query blocks", OP_ATTN, {1, 24, 24, 3 * 64}, .attn = {1}},
    {"attn_d64_256", "256 tokens, two heads of 64: whole tiles, several blocks of both", OP_ATTN, {1, 16, 16, 3 * 128}, .attn = {2}},
    {"attn_d64_261", "261 tokens, a head of 64: more than lie in shared memory whole, no multiple of a tile", OP_ATTN, {1, 9, 29, 3 * 64}, .attn = {1}},
    {"attn_d64_odd", "an odd number of heads of 64 with fewer tokens than a tile, many of them", OP_ATTN, {1, 3, 5, 3 * 704}, .attn = {11}},
    {"attn_320", "five times 64 tokens: no multiple of what four warpgroups take", OP_ATTN, {1, 16, 20, 3 * 64}, .attn = {1}},
    {"attn_d72_256", "DiT's 16x16 tokens, two heads of 72", OP_ATTN, {1, 16, 16, 3 * 144}, .attn = {2}},
    {"attn_d40_140", "140 tokens, heads of 40", OP_ATTN, {1, 10, 14, 3 * 80}, .attn = {2}},
    {"attn_d72_77", "77 tokens, heads of 72", OP_ATTN, {1, 7, 11, 3 * 144}, .attn = {2}},
    {"attn_d256_16px", "DDPM++ at 16x16: several key blocks of 256 channels", OP_ATTN, {1, 16, 16, 3 * 256}, .attn = {1}},
    {"attn_d32_odd", "77 tokens, heads of 32", OP_ATTN, {1, 7, 11, 3 * 64}, .attn = {2}},
    {"attn_d128", "70 tokens, heads of 128", OP_ATTN, {1, 7, 10, 3 * 256}, .attn = {2}},
    {"attn_d100", "whole 16-byte pieces in f32 but not in 16 bits", OP_ATTN, {1, 3, 5, 3 * 100}, .attn = {1}},
    {"attn_d512", "the VAE's head of 512", OP_ATTN, {1, 5, 9, 3 * 512}, .attn = {1}},
    {"attn_d320", "wider than any block of channels", OP_ATTN, {1, 5, 5, 3 * 320}, .attn = {1}},
    {"attn_d512_odd", "a head of 512 with 77 tokens: several blocks of queries", OP_ATTN, {1, 7, 11, 3 * 512}, .attn = {1}},
    {"attn_d264", "two heads a little wider than half of 512", OP_ATTN, {1, 3, 7, 3 * 528}, .attn = {2}},
    {"attn_d520", "wider than any tensor-core kernel's", OP_ATTN, {1, 3, 3, 3 * 520}, .attn = {1}},
    {"attn_few", "scores of thousands: a key or two take all", OP_ATTN, {1, 9, 9, 3 * 64}, .x_gain = 64, .attn = {1}},
    {"attn_sharp", "scores of millions: one key takes all, exactly", OP_ATTN, {1, 9, 9, 3 * 64}, .x_gain = 2048, .dy_gain = 0x1p-8f, .attn = {1}},
    {"attn_sharp_d32", "the same with heads of 32", OP_ATTN, {1, 9, 9, 3 * 64}, .x_gain = 2048, .dy_gain = 0x1p-8f, .attn = {2}},
    {"attn_sharp_d72", "the same with heads of 72", OP_ATTN, {1, 9, 9, 3 * 72}, .x_gain = 2048, .dy_gain = 0x1p-8f, .attn = {1}},
    {"attn_sharp_d256", "the same with a head of 256", OP_ATTN, {1, 9, 9, 3 * 256}, .x_gain = 2048, .dy_gain = 0x1p-8f, .attn = {1}},
    {"attn_sharp_d512", "the same with a head of 512", OP_ATTN, {1, 9, 9, 3 * 512}, .x_gain = 2048, .dy_gain = 0x1p-8f, .attn = {1}},
    {"attn_opposed", "all scores far below 0: so is their maximum", OP_ATTN, {1, 9, 9, 3 * 64}, .x_gain = 16, .attn = {1, OPPOSED}},
    {"attn_few_261", "a key or two take all, more than 256 tokens", OP_ATTN, {1, 9, 29, 3 * 64}, .x_gain = 64, .attn = {1}},
    {"attn_opposed_261", "all scores far below 0, more than 256 tokens", OP_ATTN, {1, 9, 29, 3 * 64}, .x_gain = 16, .attn = {1, OPPOSED}},
    {"attn_alike", "one value for all: P sums to 1 as rounded", OP_ATTN, {1, 9, 9, 3 * 64}, .x_gain = 8, .f32_out = true, .attn = {1, ALIKE}},
    {"attn_steep", "f16: dy.v is larger than f16 holds", OP_ATTN, {1, 1, 9, 3 * 64}, .x_gain = 2, .dy_gain = 32768, .attn = {1}},
    {"attn_faint", "f16: d scores are smaller than f16 holds", OP_ATTN, {1, 16, 32, 3 * 8}, .x_gain = 2, .dy_gain = 0x1p-12f, .attn = {1}},
    {"attn_f32_out", "output and its gradient in f32, qkv in 16 bits", OP_ATTN, {1, 9, 9, 3 * 64}, .f32_out = true, .attn = {2}},
    /* ---- the rest ---- */
    {"silu", "odd size", OP_UNARY, {1, 5, 3, 7}, .unary = {F_SILU, 0, 0}},
    {"silu_vector", "embedding", OP_UNARY, {1, 1, 1, 512}, .unary = {F_SILU, 0, 0}},
    {"clamp", "half of the values are outside", OP_UNARY, {1, 4, 4, 33}, .unary = {F_CLAMP, -.6f, .4f}},
    {"clamp_logit", "one value per image", OP_UNARY, {1, 1, 1, 1}, .unary = {F_CLAMP, -11.5129f, 11.5129f}},
    {"relu", "odd size", OP_UNARY, {1, 5, 3, 7}, .unary = {F_RELU, 0, 0}},
    {"relu_vector", "whole runs", OP_UNARY, {1, 1, 1, 512}, .unary = {F_RELU, 0, 0}},
    {"gelu_tanh", "odd size, far into both tails", OP_UNARY, {1, 5, 3, 7}, .x_gain = 8, .unary = {F_GELU_TANH, 0, 0}},
    {"gelu_tanh_vector", "whole runs", OP_UNARY, {1, 1, 1, 512}, .x_gain = 2, .unary = {F_GELU_TANH, 0, 0}},
    {"add", "two tensors, two factors", OP_ADD, {1, 5, 5, 12}, .add = {.7f, -.4f, ADD_FULL}},
    {"add_plain", "the skip connection", OP_ADD, {1, 8, 8, 16}, .add = {1, 1, ADD_FULL}},
    {"add_vector", "per-image vector", OP_ADD, {1, 4, 3, 20}, .add = {1, .5f, ADD_VECTOR}},
    {"add_positions", "one image for all", OP_ADD, {1, 4, 3, 20}, .add = {1, 1, ADD_POSITIONS}},
    {"add_positions_odd", "odd channels, two factors", OP_ADD, {1, 3, 5, 13}, .f32_out = true, .add = {.5f, -2, ADD_POSITIONS}},
    {"add_scale", "no second operand", OP_ADD, {1, 3, 3, 9}, .add = {-2.5f, 0, ADD_NONE}},
    {"concat", "aligned", OP_CONCAT, {1, 4, 4, 64}, .concat = {{32}}},
    {"concat_odd", "unaligned seam", OP_CONCAT, {1, 3, 5, 7}, .concat = {{10}}},
    {"concat_seam", "whole vectors read, written where no vector begins", OP_CONCAT, {1, 4, 4, 4}, .concat = {{8}}},
    {"concat_three", "three, the middle one unaligned", OP_CONCAT, {1, 3, 4, 8}, .concat = {{7, 16}}},
    {"concat_four", "Inception's branches", OP_CONCAT, {1, 5, 5, 32}, .concat = {{64, 96, 32}}},
    {"concat_five", "five, one channel among them", OP_CONCAT, {1, 2, 3, 13}, .concat = {{1, 7, 24, 8}}},
    {"slice", "the first half", OP_SLICE, {1, 4, 4, 32}, .slice = {0, 16}},
    {"slice_odd", "the middle, unaligned", OP_SLICE, {1, 3, 3, 11}, .slice = {3, 5}},
    {"down_box", "2x2 average pooling", OP_RESAMPLE, {1, 8, 8, 32}, .resample = {false, BOX, 1}},
    {"up_box", "nearest neighbour", OP_RESAMPLE, {1, 4, 4, 32}, .resample = {true, BOX, 4}},
    {"down_tent", "[1,3,3,1], borders", OP_RESAMPLE, {1, 8, 6, 16}, .resample = {false, TENT, 1}},
    {"up_tent", "[1,3,3,1], borders", OP_RESAMPLE, {1, 4, 5, 16}, .resample = {true, TENT, 4}},
    {"down_tent_pad0", "the filter of NCSN++'s fused resample", OP_RESAMPLE, {1, 10, 8, 5}, .resample = {false, 4, 0, {.125f, .375f, .375f, .125f}, 1}},
    {"up_scaled", "odd channels, a scale", OP_RESAMPLE, {1, 3, 2, 3}, .resample = {true, BOX, 1.9f}},
    {"pool_tokens", "mean token first", OP_POOL_TOKENS, {1, 8, 8, 32}, .attn = {0}},
    {"pool_tokens_odd", "odd sizes", OP_POOL_TOKENS, {1, 3, 5, 9}, .attn = {0}},
    {"first_token", "what the logit reads", OP_FIRST_TOKEN, {1, 1, 65, 32}, .attn = {0}},
    {"pool_max", "3x3, stride 2, no pads: Inception's reductions", OP_POOL, {1, 9, 11, 32}, .pool = {true, 3, 3, 2, 0}},
    {"pool_max_pad", "the largest of what is inside may be negative", OP_POOL, {1, 7, 5, 13}, .pool = {true, 3, 3, 1, 1}},
    {"pool_mean_pad", "the mean of what is inside: Inception of the FID", OP_POOL, {1, 8, 8, 64}, .pool = {false, 3, 3, 1, 1}},
    {"pool_mean_odd", "odd everything, rows and columns left over", OP_POOL, {1, 8, 7, 7}, .pool = {false, 2, 3, 2, 1}},
    {"pool_mean_2", "2x2, stride 2", OP_POOL, {1, 8, 6, 16}, .pool = {false, 2, 2, 2, 0}},
    {"pool_one", "windows of one pixel: a stride alone", OP_POOL, {1, 5, 6, 9}, .pool = {true, 1, 1, 3, 0}},
    {"pool_global", "Inception's features: a vector, f32", OP_POOL, {1, 8, 8, 256}, .pool = {false, 8, 8, 1, 0}},
    {"pool_global_odd", "many pixels, odd channels", OP_POOL, {1, 17, 13, 13}, .pool = {false, 17, 13, 1, 0}},
    {"pool_large", "large windows, several of them, cut off at every side", OP_POOL, {1, 9, 11, 24}, .pool = {false, 6, 7, 3, 3}},
    {"pool_global_max", "the largest of all", OP_POOL, {1, 5, 7, 24}, .pool = {true, 5, 7, 1, 0}},
    {"resize_linear", "TensorFlow's: to Inception's size, less of it", OP_RESIZE, {1, 8, 6, 3}, .resize = {19, 21, LINEAR, {false, ALL, 1 / 128.f, -1}}},
    {"resize_down", "wide filters, odd channels, rows and columns differ", OP_RESIZE, {1, 23, 17, 7}, .resize = {9, 5, LINEAR, {false, ALL, 1, 0}}},
    {"resize_cubic", "clean-fid's: weights below 0, then a clamp", OP_RESIZE, {1, 13, 16, 3}, .x_gain = 128, .resize = {21, 10, CUBIC, {false, -90, 90, .0078125f, -1}}},
    {"resize_bytes", "Pillow's: rounded to bytes between the passes", OP_RESIZE, {1, 15, 12, 3}, .x_gain = 280, .resize = {8, 19, CUBIC, {true, ALL, 2 / 255.f, -1}}},
    {"resize_nearest", "weights of one pixel", OP_RESIZE, {1, 6, 5, 4}, .resize = {12, 15, NEAREST, {false, ALL, 1, 0}}},
    {"resize_wide", "many channels: whole runs", OP_RESIZE, {1, 6, 7, 40}, .resize = {9, 5, LINEAR, {false, ALL, 2, .5f}}},
    {"resize_one", "to one pixel, a vector's shape", OP_RESIZE, {1, 5, 4, 13}, .resize = {1, 1, LINEAR, {false, ALL, 1, 0}}},
    {"pixel_norm", "layer norm, nothing learned", OP_PIXEL_NORM, {1, 4, 4, 72}, .pixel_norm = {1e-6f, false, false, false, false}},
    {"pixel_norm_dit", "the residual stream in f32, shift and scale", OP_PIXEL_NORM, {1, 4, 4, 1152}, .f32_in = true, .x_gain = 4, .pixel_norm = {1e-6f, false, false, false, true}},
    {"pixel_norm_affine", "a transformer's: gamma and beta", OP_PIXEL_NORM, {1, 3, 5, 384}, .pixel_norm = {1e-5f, false, true, true, false}},
    {"pixel_norm_all", "gamma, beta, shift and scale, odd channels", OP_PIXEL_NORM, {1, 5, 3, 13}, .pixel_norm = {1e-5f, false, true, true, true}},
    {"pixel_norm_rms", "EDM2's: no mean, eps outside the root", OP_PIXEL_NORM, {1, 4, 5, 40}, .pixel_norm = {1e-4f, true, false, false, false}},
    {"pixel_norm_rms_eps", "eps dominates: where it stands shows", OP_PIXEL_NORM, {1, 3, 3, 7}, .pixel_norm = {2, true, true, false, true}},
    {"pixel_norm_eps", "the same of the layer norm", OP_PIXEL_NORM, {1, 3, 3, 7}, .f32_in = true, .f32_out = true, .pixel_norm = {2, false, false, true, true}},
    {"pixel_norm_2000", "more channels than a block of threads holds at once", OP_PIXEL_NORM, {1, 2, 3, 2056}, .pixel_norm = {1e-6f, false, false, false, true}},
    {"pixel_norm_1301", "odd, and more than threads hold of single channels", OP_PIXEL_NORM, {1, 1, 3, 1301}, .pixel_norm = {1e-5f, false, true, false, false}},
    {"pixel_norm_vector", "of vectors", OP_PIXEL_NORM, {1, 1, 1, 96}, .pixel_norm = {1e-6f, false, true, true, false}},
    {"gate", "aligned", OP_GATE, {1, 4, 4, 72}, .gate = {false}},
    {"gate_residual", "into the residual stream, f32", OP_GATE, {1, 4, 4, 72}, .f32_in = true, .gate = {true}},
    {"gate_odd", "odd channels, residual", OP_GATE, {1, 3, 5, 13}, .gate = {true}},
    {"gate_vector", "of vectors", OP_GATE, {1, 1, 1, 9}, .gate = {true}},
    {"depth_to_space", "DiT's last layer: 2x2 pixels of 8 channels", OP_DEPTH_TO_SPACE, {1, 4, 4, 32}, .f32_out = true, .depth_to_space = {2}},
    {"depth_to_space_odd", "3x3 pixels of 5 channels", OP_DEPTH_TO_SPACE, {1, 2, 3, 45}, .depth_to_space = {3}},
    {"depth_to_space_pixel", "of one pixel, one channel", OP_DEPTH_TO_SPACE, {1, 1, 1, 16}, .depth_to_space = {4}},
    {"softmax", "a thousand classes", OP_SOFTMAX, {1, 1, 1, 1000}, .x_gain = 8, .softmax = {false}},
    {"softmax_odd", "more than float's exp takes, were the largest not taken off", OP_SOFTMAX, {1, 1, 1, 13}, .x_gain = 200, .softmax = {false}},
    {"softmax_log", "its logarithm", OP_SOFTMAX, {1, 1, 1, 77}, .x_gain = 20, .softmax = {true}},
    {"softmax_one", "one class: 1", OP_SOFTMAX, {1, 1, 1, 1}, .softmax = {false}},
};
/* clang-format on */
#undef BOX
#undef ALL
#undef TENT
enum { OP_CASES = sizeof op_cases / sizeof *op_cases };

enum { CASE_INPUTS = CONCAT_INPUTS };
typedef struct {
    Tid in[CASE_INPUTS]; /* in[0] = x; 0 where there is none */
    Tid y;
} CaseGraph;

static inline Tid case_weight(Graph *g, const char *name, Shape s, ViewKind kind) {
    return g_weight(g, name, s, (WeightView){.kind = kind});
}
static inline Tid case_vector(Graph *g, const char *name, int c) { return case_weight(g, name, (Shape){1, 1, 1, c}, VIEW_VECTOR); }

/* What f32 is in a graph that may be f64. */
static inline DType case_f32(const Graph *g) { return g->precision.act == DG_F64 ? DG_F64 : DG_F32; }
/* One image of values that every type holds, sums with small integers too, and no two neighbours share. */
static inline Tid case_positions(Graph *g, Shape s) {
    s.n = 1;
    double *v = dg_alloc(shape_count(s) * sizeof *v);
    for (size_t i = 0; i < shape_count(s); i++) v[i] = ((double)(i * 7 % 17) - 8) / 2;
    Tid t = g_constant(g, "positions", s, DG_F64, v);
    free(v);
    return t;
}
/* Half-pixel centres; where the image shrinks the filter grows, and the weights sum to 1. */
static inline double case_filter(Filter f, double t) {
    t = t < 0 ? -t : t;
    switch (f) {
    case NEAREST: return t <= .5 ? 1 : 0;
    case LINEAR: return t < 1 ? 1 - t : 0;
    case CUBIC: return t < 1 ? (1.5 * t - 2.5) * t * t + 1 : t < 2 ? ((-.5 * t + 2.5) * t - 4) * t + 2 : 0;
    }
    return 0;
}
static inline Tid case_table(Graph *g, const char *name, Filter f, int in, int out) {
    double scale = (double)in / out, grown = f != NEAREST && scale > 1 ? scale : 1, reach = (f == CUBIC ? 2 : f == LINEAR ? 1 : .5) * grown;
    int taps = (int)(2 * reach) + 1;
    double *table = dg_alloc((size_t)out * (size_t)(1 + taps) * sizeof *table), *row = table;
    for (int i = 0; i < out; i++, row += 1 + taps) {
        double centre = (i + .5) * scale, sum = 0;
        int first = (int)(centre - reach + .5);
        if (centre - reach + .5 < 0) first = 0;
        row[0] = first;
        for (int k = 0; k < taps; k++)
            row[1 + k] = first + k < in ? case_filter(f, (first + k + .5 - centre) / grown) : 0, sum += row[1 + k];
        for (int k = 0; k < taps; k++) row[1 + k] /= sum;
    }
    Tid t = g_table(g, name, (Shape){1, 1, out, 1 + taps}, table);
    free(table);
    return t;
}

static inline CaseGraph case_build(Graph *g, const OpCase *c, int n) {
    Shape s = c->x;
    s.n = n;
    CaseGraph k = {.in = {g_input(g, "x", s)}};
    static const char *const concat_names[] = {"second", "third", "fourth", "fifth"}, *const skip_names[] = {"skip", "more"};
    Tid x = k.in[0];
    int inputs = 1;
    Op *op;
    switch (c->kind) {
    case OP_CONV: {
        int pad = c->conv.pad, columns = c->conv.s ? c->conv.s : c->conv.r;
        const int *side = c->conv.side;
        ConvOptions o = {1, pad, pad, pad, pad, c->conv.scale, c->conv.act};
        if (c->conv.s) o = (ConvOptions){c->conv.stride, side[0], side[1], side[2], side[3], c->conv.scale, c->conv.act};
        Tid w = case_weight(g, "w.weight", (Shape){c->conv.k, c->conv.r, columns, s.c}, VIEW_CONV);
        k.y = g_conv_with(g, x, w, c->conv.bias ? case_vector(g, "w.bias", c->conv.k) : 0, o);
        if (c->conv.add == ADD_FULL) k.in[1] = g_input(g, "residual", shape_of(g, k.y));
        if (c->conv.add == ADD_VECTOR) k.in[1] = g_input(g, "vector", (Shape){n, 1, 1, c->conv.k});
        if (c->conv.gate) k.in[2] = g_input(g, "gate", (Shape){n, 1, 1, c->conv.k});
        if (c->f32_in) g->t[k.in[1]].dtype = case_f32(g);
        Tid add = c->conv.add == ADD_POSITIONS ? case_positions(g, shape_of(g, k.y)) : k.in[1];
        op = &g->op[g->t[k.y].producer];
        op->in[3] = add, op->in[4] = k.in[2];
        for (int i = 0; i < 2; i++)
            if (c->conv.skip[i])
                k.in[1 + i] = g_input(g, skip_names[i], (Shape){n, shape_of(g, k.y).h, shape_of(g, k.y).w, c->conv.skip[i]});
        if (c->conv.skip[0]) {
            Tid skip_w = case_weight(g, "skip.weight", (Shape){c->conv.k, 1, 1, c->conv.skip[0] + c->conv.skip[1]}, VIEW_CONV);
            g->t[skip_w].dtype = g->t[w].dtype;
            *op = conv_with_skip(g, *op, k.in[1], k.in[2], skip_w, c->conv.no_skip_bias ? 0 : case_vector(g, "skip.bias", c->conv.k));
        }
        break;
    }
    case OP_NORM:
        if (c->norm.more) k.in[1] = g_input(g, "more", (Shape){n, s.h, s.w, c->norm.more});
        s.c += c->norm.more;
        if (c->norm.scale_shift) k.in[2] = g_input(g, "scale_shift", (Shape){n, 1, 1, 2 * s.c});
        k.y = g_norm_of_two(g, x, k.in[1], case_vector(g, "n.weight", s.c), case_vector(g, "n.bias", s.c), k.in[2], c->norm.groups,
                            c->norm.eps);
        op = &g->op[g->t[k.y].producer];
        op->norm.silu = c->norm.silu;
        if (c->norm.again) k.y = g_add(g, c->f32_out ? g_silu(g, k.y) : k.y, x, 1, 1); /* silu: what comes to the norm is not f32 */
        break;
    case OP_ATTN: k.y = g_attn(g, x, c->attn.heads); break;
    case OP_UNARY: k.y = g_unary(g, x, c->unary.f, c->unary.lo, c->unary.hi); break;
    case OP_ADD:
        if (c->add.add == ADD_FULL) k.in[1] = g_input(g, "second", s);
        if (c->add.add == ADD_VECTOR) k.in[1] = g_input(g, "vector", (Shape){n, 1, 1, s.c});
        k.y = g_add(g, x, c->add.add == ADD_POSITIONS ? case_positions(g, s) : k.in[1], c->add.a, c->add.b);
        break;
    case OP_CONCAT:
        for (int i = 0; i < CONCAT_INPUTS - 1 && c->concat.c[i]; i++, inputs++)
            k.in[1 + i] = g_input(g, concat_names[i], (Shape){n, s.h, s.w, c->concat.c[i]});
        k.y = g_concat_all(g, k.in, inputs);
        break;
    case OP_SLICE: k.y = g_slice(g, x, c->slice.first, c->slice.c); break;
    case OP_RESAMPLE:
        k.y = c->resample.up ? g_up(g, x, c->resample.tap, c->resample.taps, c->resample.pad, c->resample.scale)
                             : g_down(g, x, c->resample.tap, c->resample.taps, c->resample.pad, c->resample.scale);
        break;
    case OP_POOL_TOKENS:
        k.y = g_pool_tokens(g, x, case_weight(g, "positional_embedding", (Shape){1, 1, s.h * s.w + 1, s.c}, VIEW_TOKENS));
        break;
    case OP_FIRST_TOKEN: k.y = g_first_token(g, x); break;
    case OP_POOL: k.y = g_pool(g, x, c->pool); break;
    case OP_RESIZE: {
        Tid columns = case_table(g, "columns", c->resize.filter, s.w, c->resize.w);
        k.y = g_resize(g, x, columns, case_table(g, "rows", c->resize.filter, s.h, c->resize.h), c->resize.o);
        break;
    }
    case OP_PIXEL_NORM: {
        if (c->f32_in) g->t[x].dtype = case_f32(g);
        if (c->pixel_norm.modulated) k.in[1] = g_input(g, "shift_scale", (Shape){n, 1, 1, 2 * s.c});
        Tid gamma = c->pixel_norm.gamma ? case_vector(g, "n.weight", s.c) : 0,
            beta = c->pixel_norm.beta ? case_vector(g, "n.bias", s.c) : 0;
        k.y = g_pixel_norm(g, x, gamma, beta, k.in[1], c->pixel_norm.eps, c->pixel_norm.rms);
        break;
    }
    case OP_GATE:
        k.in[1] = g_input(g, "gate", (Shape){n, 1, 1, s.c});
        if (c->gate.residual) k.in[2] = g_input(g, "residual", s);
        if (c->f32_in) g->t[k.in[2]].dtype = case_f32(g);
        k.y = g_gate(g, x, k.in[1], k.in[2]);
        break;
    case OP_DEPTH_TO_SPACE: k.y = g_depth_to_space(g, x, c->depth_to_space.p); break;
    case OP_SOFTMAX: k.y = g_softmax(g, x, c->softmax.log); break;
    case OP_NORM_BWD:
    case OP_ATTN_BWD:
    case OP_UNARY_BWD:
    case OP_POOL_TOKENS_BWD:
    case OP_FIRST_TOKEN_BWD: DG_CHECK(false, "case %s: a gradient, which the tests reach through its forward op", c->name);
    }
    g->t[k.y].keep = true;
    if (c->f32_out && g->precision.act != DG_F64) g->t[k.y].dtype = DG_F32;
    return k;
}
#endif
