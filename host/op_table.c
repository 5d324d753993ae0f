/* op_table.c -- timing and grouping of ops. */
#include "op_table.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    char what[72]; /* "conv 3x3 128->256 32x32 +res" */
    int count;
    double seconds, flops, bytes;
} Row;

static void describe(const Graph *g, int i, char *out, size_t size) {
    const Op *op = &g->op[i];
    Shape a = shape_of(g, op->in[0]), o = shape_of(g, op->out);
    const char *name = op_name(op->kind);
    if (op->kind == OP_CONV) {
        Shape k = shape_of(g, op->in[1]);
        if (is_vector(a)) snprintf(out, size, "linear %d->%d", k.c, k.n);
        else snprintf(out, size, "%s %dx%d %d->%d %dx%d%s%s", name, k.h, k.w, k.c, k.n, o.h, o.w, op->in[2] ? "" : " no bias", op->in[3] ? " + in3" : "");
    } else if (op->kind == OP_NORM || op->kind == OP_NORM_BWD)
        snprintf(out, size, "%s%s%s %d %dx%d", name, op->norm.silu ? " silu" : "", op->in[3] ? " scale-shift" : "", a.c, a.h, a.w);
    else if (op->kind == OP_ATTN || op->kind == OP_ATTN_BWD)
        snprintf(out, size, "%s %d heads of %d, %d tokens", name, op->attn.heads, a.c / 3 / op->attn.heads, a.h * a.w);
    else if (op->kind == OP_RESAMPLE) snprintf(out, size, "%s %s %d %dx%d", name, op->resample.up ? "up" : "down", a.c, a.h, a.w);
    else snprintf(out, size, "%s %d %dx%d", name, o.c, o.h, o.w);
}
static int slower_first(const void *a, const void *b) {
    const Row *x = a, *y = b;
    return x->seconds != y->seconds ? (x->seconds < y->seconds) - (x->seconds > y->seconds) : strcmp(x->what, y->what);
}
void op_table(const char *name, Exec *x, int repeats, Text *json) {
    const Graph *g = x->g;
    double *seconds = dg_alloc((size_t)g->nop * sizeof *seconds), total = 0;
    Row *row = dg_alloc((size_t)g->nop * sizeof *row);
    int rows = 0;
    exec_profile(x, repeats, seconds);
    for (int i = 0; i < g->nop; i++) {
        char what[sizeof row->what];
        describe(g, i, what, sizeof what);
        int r = 0;
        while (r < rows && strcmp(row[r].what, what)) r++;
        if (r == rows) memcpy(row[rows++].what, what, sizeof what);
        row[r].count++, row[r].seconds += seconds[i], row[r].flops += op_flops(g, i), row[r].bytes += op_bytes(g, i);
        total += seconds[i];
    }
    qsort(row, (size_t)rows, sizeof *row, slower_first);
    printf("\n%s, op by op: %.3f ms\n%-48s %5s %10s %6s %10s %9s\n", name, total * 1e3, "op", "count", "ms", "share", "GFLOP/s", "GB/s");
    text_printf(json, ", \"%s ops\": [", name);
    for (int r = 0; r < rows; r++) {
        double s = row[r].seconds > 0 ? row[r].seconds : 1e-12;
        printf("%-48s %5d %10.4f %5.1f%% ", row[r].what, row[r].count, s * 1e3, 100 * s / total);
        if (row[r].flops > 0) printf("%10.2f ", row[r].flops / s * 1e-9);
        else printf("%10s ", "");
        printf("%9.2f\n", row[r].bytes / s * 1e-9);
        text_printf(json, "%s{\"op\": \"%s\", \"count\": %d, \"ms\": %.6f, \"share\": %.5f, \"gflops\": %.3f, \"gbytes\": %.3f}", r ? ", " : "", row[r].what,
                    row[r].count, s * 1e3, s / total, row[r].flops / s * 1e-9, row[r].bytes / s * 1e-9);
    }
    text_printf(json, "]");
    free(seconds);
    free(row);
}
