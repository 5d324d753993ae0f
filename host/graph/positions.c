/* positions.c -- DiT's positions, as get_2d_sincos_pos_embed of its models.py computes them: in f64, rounded once. */
#include "graph/positions.h"
#include <math.h>

void positions_2d(int h, int w, int c, float *out) {
    GRAPH_CHECK(h > 0 && w > 0 && c > 0 && c % 4 == 0, "positions of %dx%d tokens: %d channels, for four tables of equal width", h, w, c);
    int q = c / 4;
    for (int k = 0; k < q; k++) {
        double frequency = 1 / pow(10000, (double)k / q);
        for (int row = 0; row < h; row++)
            for (int column = 0; column < w; column++) {
                float *token = out + ((size_t)row * (size_t)w + (size_t)column) * (size_t)c;
                token[k] = (float)sin(column * frequency), token[q + k] = (float)cos(column * frequency);
                token[2 * q + k] = (float)sin(row * frequency), token[3 * q + k] = (float)cos(row * frequency);
            }
    }
}
