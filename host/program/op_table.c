/* op_table.c -- timing and grouping of ops. */
#include "program/op_table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char what[72]; /* "conv 3x3 128->256 32x32 +res" */
    int count;
    double seconds, flops, bytes;
} Row;

static void describe(const Exec *x, int i, char *out, size_t size) {
    const Graph *g = x->g;
    const Op *op = &g->op[i];
    Shape a = shape_of(g, op->in[0]), o = shape_of(g, op->out);
    const char *name = op_name(op->kind);
    static const char *const act[] = {[ACT_NONE] = "", [ACT_RELU] = " relu", [ACT_GELU_TANH] = " gelu"};
    if (op->kind == OP_CONV) {
        Shape k = shape_of(g, op->in[1]);
        char stride[16] = "", skip[24] = "";
        if (op->in[7]) snprintf(skip, sizeof skip, " + skip %d", shape_of(g, op->in[7]).c);
        if (op->conv.stride > 1) snprintf(stride, sizeof stride, "/%d", op->conv.stride);
        if (is_vector(a)) snprintf(out, size, "linear %d->%d%s%s", k.c, k.n, op->in[4] ? " gate" : "", act[op->conv.act]);
        else
            snprintf(out, size, "%s %dx%d%s %d->%d %dx%d%s%s%s%s%s", name, k.h, k.w, stride, k.c, k.n, o.h, o.w,
                     op->in[2] ? "" : " no bias", op->in[4] ? " gate" : "", op->in[3] ? " + in3" : "", skip, act[op->conv.act]);
    } else if (op->kind == OP_NORM || op->kind == OP_NORM_BWD)
        snprintf(out, size, "%s%s%s %d %dx%d%s", name, op->norm.silu ? " silu" : "", op->in[3] ? " scale-shift" : "", o.c, o.h, o.w,
                 op->in[5] ? " + in5" : "");
    else if (op->kind == OP_ATTN || op->kind == OP_ATTN_BWD)
        snprintf(out, size, "%s %d heads of %d, %d tokens", name, op->attn.heads, a.c / 3 / op->attn.heads, a.h * a.w);
    else if (op->kind == OP_RESAMPLE) snprintf(out, size, "%s %s %d %dx%d", name, op->resample.up ? "up" : "down", a.c, a.h, a.w);
    else if (op->kind == OP_POOL)
        snprintf(out, size, "%s %s %dx%d/%d %d %dx%d", name, op->pool.max ? "max" : "mean", op->pool.height, op->pool.width,
                 op->pool.stride, o.c, o.h, o.w);
    else if (op->kind == OP_RESIZE) snprintf(out, size, "%s%s %d %dx%d->%dx%d", name, op->resize.u8 ? " u8" : "", o.c, a.h, a.w, o.h, o.w);
    else if (op->kind == OP_PIXEL_NORM)
        snprintf(out, size, "%s%s%s %d %dx%d", name, op->pixel_norm.rms ? " rms" : "", op->in[3] ? " shift-scale" : "", o.c, o.h, o.w);
    else snprintf(out, size, "%s %d %dx%d", name, o.c, o.h, o.w);
    const char *by = x->dev->be->implementation(x, i);
    size_t n = strlen(out);
    if (strcmp(by, "own")) snprintf(out + n, size - n, " by %s", by);
    if (!(x->dev->be->bytes(x, i) > 0)) snprintf(out + n, size - n, " left out");
}
static int slower_first(const void *a, const void *b) {
    const Row *x = a, *y = b;
    return x->seconds != y->seconds ? (x->seconds < y->seconds) - (x->seconds > y->seconds) : strcmp(x->what, y->what);
}
static void print_row(const Row *r, double total, const Ceilings *c) {
    double s = r->seconds, floor = ceilings_floor(c, r->flops, r->bytes);
    printf("%-48s %5d %10.4f %5.1f%% ", r->what, r->count, s * 1e3, 100 * s / total);
    if (r->flops > 0) printf("%10.2f ", r->flops / s * 1e-9);
    else printf("%10s ", "");
    printf("%9.2f", r->bytes / s * 1e-9);
    if (floor > 0) printf(" %6.1f%% %s", 100 * floor / s, r->flops / c->flops > r->bytes / c->bytes ? "flops" : "bytes");
    printf("\n");
}
static void row_json(const Row *r, double total, const Ceilings *c, Text *json) {
    double s = r->seconds, floor = ceilings_floor(c, r->flops, r->bytes);
    text_printf(json, "{\"op\": \"%s\", \"count\": %d, \"ms\": %.6f, \"share\": %.5f, \"gflops\": %.6g, \"gbytes\": %.6g", r->what,
                r->count, s * 1e3, s / total, r->flops / s * 1e-9, r->bytes / s * 1e-9);
    if (floor > 0) text_printf(json, ", \"of_ceiling\": %.6g", floor / s);
    text_printf(json, "}");
}
void op_table(const char *name, Exec *x, int repeats, const Ceilings *ceilings, Text *json) {
    const Graph *g = x->g;
    double *seconds = dg_alloc((size_t)g->nop * sizeof *seconds), total = 0, floor = 0;
    Row *row = dg_alloc((size_t)g->nop * sizeof *row);
    int rows = 0;
    exec_profile(x, repeats, seconds);
    for (int i = 0; i < g->nop; i++) {
        char what[sizeof row->what];
        describe(x, i, what, sizeof what);
        int r = 0;
        while (r < rows && strcmp(row[r].what, what)) r++;
        if (r == rows) memcpy(row[rows++].what, what, sizeof what);
        row[r].count++, row[r].seconds += seconds[i], row[r].flops += op_flops(g, i), row[r].bytes += x->dev->be->bytes(x, i);
        total += seconds[i];
    }
    qsort(row, (size_t)rows, sizeof *row, slower_first);
    printf("\n%s, op by op: %.3f ms\n%-48s %5s %10s %6s %10s %9s %s\n", name, total * 1e3, "op", "count", "ms", "share", "GFLOP/s", "GB/s",
           "of ceiling");
    text_printf(json, ", \"%s ops\": [", name);
    for (int r = 0; r < rows; r++) {
        row[r].seconds = row[r].seconds > 0 ? row[r].seconds : 1e-12;
        print_row(&row[r], total, ceilings);
        if (r) text_printf(json, ", ");
        row_json(&row[r], total, ceilings, json);
        floor += ceilings_floor(ceilings, row[r].flops, row[r].bytes);
    }
    text_printf(json, "]");
    if (floor > 0) {
        printf("all ops at their ceilings: %.3f ms, %.1f%% of the time taken\n", floor * 1e3, 100 * floor / total);
        text_printf(json, ", \"%s floor ms\": %.6f", name, floor * 1e3);
    }
    free(seconds);
    free(row);
}
