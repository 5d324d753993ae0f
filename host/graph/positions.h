/* positions.h -- the table of positions that DiT adds to its patches: sines and cosines of the column, then of the row. */
#ifndef DG_POSITIONS_H
#define DG_POSITIONS_H
#include "graph/graph.h"

/* Fills out[h*w][c], c a multiple of 4, with the values that official files hold, which are f32: for a constant of the graph, and
 * for VIEW_POSITIONS of weights that leave them out.                                                                       */
void positions_2d(int h, int w, int c, float *out);
#endif
