/* resize.c -- the rules by which other programs resize images: for each output, its first pixel and their weights. Positions are
 * computed in the precision of those programs, as a rounded position is another pixel now and then.                         */
#include "graph/resize.h"
#include "files/pillow.h"
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
static void pil_bicubic(Row *r, int j, int in, int out) { r->taps = pillow_weights(PILLOW_BICUBIC, j, in, out, &r->first, r->weight); }
static int two_taps(int in, int out) { return (void)in, (void)out, 2; }
static int pil_bicubic_taps(int in, int out) { return pillow_most_taps(PILLOW_BICUBIC, in, out); }

static const struct {
    void (*row)(Row *r, int j, int in, int out);
    int (*taps)(int in, int out); /* the most that an output has */
} rules[RESIZE_RULES] = {{tf1, two_taps}, {half, two_taps}, {pil_bicubic, pil_bicubic_taps}};

static Tid table_of(Graph *g, const char *name, ResizeRule rule, int in, int out) {
    int taps = rules[rule].taps(in, out), used = 1;
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
