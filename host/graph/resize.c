/* resize.c -- the rules by which other programs resize images: for each output, its first pixel and their weights. Positions are
 * computed in the precision of those programs, as a rounded position is another pixel now and then.                         */
#include "graph/resize.h"
#include <math.h>
#include <stdlib.h>

const char *const resize_rule_name[RESIZE_RULES + 1] = {"tf1", "half", "pil-bicubic", NULL};

typedef struct {
    int first, taps;
    double *weight; /* [Rule.taps] */
} Row;
/* The pixels around s, from 0 to in - 1, weighted by their distance. */
static void between(Row *r, float s, int in) {
    int low = (int)s;
    if (low > in - 1) low = in - 1;
    float f = s - (float)low;
    r->first = low, r->taps = low + 1 < in ? 2 : 1;
    r->weight[0] = r->taps > 1 ? 1 - (double)f : 1; /* beyond the last pixel there is that one again */
    if (r->taps > 1) r->weight[1] = (double)f;
}
static void tf1(Row *r, int j, int in, int out) { between(r, (float)j * ((float)in / (float)out), in); }
static void half(Row *r, int j, int in, int out) {
    float s = ((float)j + .5f) * ((float)in / (float)out) - .5f;
    between(r, s > 0 ? s : 0, in);
}
static double cubic(double t) {
    const double a = -.5;
    t = fabs(t);
    return t < 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}
static const double CUBIC_REACH = 2;
static double widened(int in, int out) { return in > out ? (double)in / out : 1; }
static void pil_bicubic(Row *r, int j, int in, int out) {
    double wide = widened(in, out), reach = CUBIC_REACH * wide, center = (j + .5) * ((double)in / out), sum = 0;
    int low = (int)(center - reach + .5), high = (int)(center + reach + .5);
    if (low < 0) low = 0;
    if (high > in) high = in;
    r->first = low, r->taps = high - low;
    for (int k = 0; k < r->taps; k++) sum += r->weight[k] = cubic((k + low - center + .5) / wide);
    for (int k = 0; k < r->taps; k++) r->weight[k] *= 1 / sum;
}

static const struct {
    void (*row)(Row *r, int j, int in, int out);
    double reach; /* of the weights, to either side, in pixels of an image that does not shrink; 0: two pixels at any size */
} rules[RESIZE_RULES] = {{tf1, 0}, {half, 0}, {pil_bicubic, CUBIC_REACH}};

static Tid table_of(Graph *g, const char *name, ResizeRule rule, int in, int out) {
    int taps = rules[rule].reach > 0 ? 2 * (int)ceil(rules[rule].reach * widened(in, out)) + 1 : 2, used = 1;
    double *weight = dg_alloc((size_t)out * (size_t)taps * sizeof *weight);
    Row *row = dg_alloc((size_t)out * sizeof *row);
    for (int j = 0; j < out; j++) {
        row[j].weight = weight + (size_t)j * (size_t)taps;
        rules[rule].row(&row[j], j, in, out);
        for (int k = used; k < row[j].taps; k++)
            if (row[j].weight[k] != 0) used = k + 1;
    }
    double *table = dg_alloc((size_t)out * (size_t)(1 + used) * sizeof *table), *at = table;
    for (int j = 0; j < out; j++) {
        *at++ = row[j].first;
        for (int k = 0; k < used; k++) *at++ = k < row[j].taps ? row[j].weight[k] : 0;
    }
    Tid t = g_table(g, name, (Shape){1, 1, out, 1 + used}, table);
    free(table);
    free(row);
    free(weight);
    return t;
}
Tid resize_by(Graph *g, Tid x, ResizeRule rule, int height, int width, ResizeOptions o) {
    Shape s = shape_of(g, x);
    Tid columns = table_of(g, "columns", rule, s.w, width);
    return g_resize(g, x, columns, table_of(g, "rows", rule, s.h, height), o);
}
