/* resize.h -- the rules by which other programs resize images, as tables for g_resize. */
#ifndef DG_RESIZE_H
#define DG_RESIZE_H
#include "graph/graph.h"

typedef enum {
    RESIZE_TF1,         /* TensorFlow 1's bilinear: pixel j of the output lies at j * in / out, without a half */
    RESIZE_HALF,        /* PyTorch's bilinear, align_corners=False: at (j + 1/2) * in / out - 1/2 */
    RESIZE_PIL_BICUBIC, /* Pillow's bicubic of floats: wider where the image shrinks; values may leave the image's range */
    RESIZE_RULES
} ResizeRule;
extern const char *const resize_rule_name[RESIZE_RULES + 1]; /* "tf1", "half", "pil-bicubic"; NULL at the end */

/* x, by this rule, to height x width; o.u8 is Pillow's of bytes. */
Tid resize_by(Graph *g, Tid x, ResizeRule rule, int height, int width, ResizeOptions o);
#endif
