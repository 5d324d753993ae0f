// attention_sm90_maps.h -- how TMA sees the rows of attention's tensors, for attention_sm90.cu and the gradients.
#ifndef DG_ATTENTION_SM90_MAPS_H
#define DG_ATTENTION_SM90_MAPS_H
#include "kernels/gpu_prims_sm90.h"
#include "kernels/kernels.h"

enum { ROWS_OF_MAP = 64 };
// Of {image, token, part, channel}: `rows` tokens of one part of a->d channels. Channels past the part's are zeros, and so are tokens past
// the last.
static inline int attn_rows_map(gpu::TensorMap *m, const AttnArgs *a, const void *base, int parts, int images, int channels, int swizzle,
                                int rows = ROWS_OF_MAP) {
    const uint64_t dims[4] = {(uint64_t)a->d, (uint64_t)parts, (uint64_t)a->tokens, (uint64_t)images}, part = dims[0] * 2;
    const uint64_t strides[3] = {part, part * dims[1], part * dims[1] * dims[2]};
    const uint32_t box[4] = {(uint32_t)channels, 1, (uint32_t)rows, 1};
    return gpu::tensor_map(m, a->qkv_type == DG_BF16 ? gpu::MAP_BF16 : gpu::MAP_F16, 4, base, dims, strides, box, swizzle);
}
#endif
