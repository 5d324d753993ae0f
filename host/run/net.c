/* net.c -- networks in one graph, bound to a device. */
#include "run/net.h"
#include "base/dtype.h"
#include <stdlib.h>
#include <string.h>

Net *net_new(SpanName span, Precision precision, int batch, bool fuse) {
    Net *n = dg_alloc(sizeof *n);
    n->span = span, n->batch = batch, n->fuse = fuse, n->graph = graph_new(precision);
    return n;
}
void net_free(Net *n) {
    if (!n) return;
    exec_free(n->exec);
    graph_free(n->graph);
    for (int i = 0; i < n->parts; i++) free(n->part[i].config), free(n->part[i].frequencies);
    free(n->host_table);
    free(n->features);
    free(n);
}
const Ports *net_add(Net *n, const Model *m, const Json *config, const char *root, Tid x, Error *e) {
    DG_CHECK(n->parts < NET_PARTS, "a net of more than %d networks", NET_PARTS);
    NetPart *p = &n->part[n->parts];
    *p = (NetPart){.model = m, .config = model_config(m, config, e), .root = root, .ports = {.x = x}};
    if (!p->config) return NULL;
    n->parts++;
    if (!model_build(m, n->graph, p->config, root, n->batch, &p->ports, e)) return NULL;
    if (n->parts == 1) {
        Shape s = shape_of(n->graph, p->ports.x);
        n->x = p->ports.x, n->per_sample = shape_count(s) / (size_t)s.n;
    }
    return &p->ports;
}
static size_t time_width(const Net *n, const NetPart *p) { return p->ports.time ? (size_t)shape_of(n->graph, p->ports.time).c : 0; }
void net_plan(Net *n, Tid out) {
    Graph *g = n->graph;
    size_t width = 0, widest = 0;
    for (int i = 0; i < n->parts; i++) {
        size_t w = time_width(n, &n->part[i]);
        width += w, widest = w > widest ? w : widest;
    }
    n->out = g_output(g, out);
    n->features = dg_alloc((size_t)n->batch * widest * sizeof *n->features);
    n->table = g_input(g, "table", (Shape){n->batch, 1, 1, (int)(sizeof(double) / sizeof(float) + width)});
    if (n->fuse) {
        graph_fuse(g);
        graph_gather(g);
    }
    graph_plan(g);
}
static bool read_frequencies(Net *n, NetPart *p, Weights *w, Error *e) {
    if (!p->ports.frequencies) return true;
    int half = (int)time_width(n, p) / 2;
    p->frequencies = dg_alloc((size_t)half * sizeof *p->frequencies);
    return weights_read(w, p->ports.frequencies, (Shape){1, 1, 1, half}, (WeightView){.kind = VIEW_VECTOR}, DG_F32, p->frequencies, e);
}
bool net_bind(Net *n, Device *d, Weights *const *weights, Error *e) {
    WeightSet set = {.parts = n->parts};
    n->dev = d;
    for (int i = 0; i < n->parts; i++) set.part[i] = (WeightPart){n->part[i].root, weights[i]};
    if (!(n->exec = exec_new(n->graph, d, set, e))) return false;
    n->host_table = dg_alloc(net_table_bytes(n));
    for (int i = 0; i < n->parts; i++)
        if (!read_frequencies(n, &n->part[i], weights[i], e) || !weights_check_unused(weights[i], n->part[i].model->unused, e))
            return false;
    return true;
}
Net *net_open(Device *d, const Model *m, Weights *w, int batch, bool fuse, Error *e) {
    Net *n = net_new(SPAN_NETWORK, d->precision, batch, fuse);
    const Ports *p = net_add(n, m, weights_config(w), "", 0, e);
    if (p) net_plan(n, p->out);
    if (p && net_bind(n, d, &w, e)) return n;
    if (!p) dg_error_context(e, "%s", weights_name(w));
    net_free(n);
    return NULL;
}

void net_set_onehot(Net *n, Tid t, int rows, float scale, const int *label) {
    size_t classes = (size_t)shape_of(n->graph, t).c;
    float *onehot = dg_alloc((size_t)rows * classes * sizeof *onehot);
    for (int i = 0; i < rows; i++) {
        DG_CHECK(label[i] < (int)classes, "label %d of %zu classes", label[i], classes);
        if (label[i] >= 0) onehot[(size_t)i * classes + (size_t)label[i]] = scale;
    }
    exec_set_rows(n->exec, t, rows, DG_F32, onehot);
    free(onehot);
}
void net_set_labels(Net *n, int rows, const int *label) {
    for (int k = 0; k < n->parts; k++) {
        const Ports *p = &n->part[k].ports;
        if (p->label) net_set_onehot(n, p->label, rows, p->label_scale, label);
    }
}
static size_t feature_bytes(const Net *n, const NetPart *p) { /* of one image */
    return p->ports.time ? time_width(n, p) * dtype_bytes(n->graph->t[p->ports.time].dtype) : 0;
}
size_t net_table_bytes(const Net *n) { return shape_count(shape_of(n->graph, n->table)) * dtype_bytes(n->graph->t[n->table].dtype); }
void net_fill(Net *n, int rows, void *table, const double *scale, const double *time) {
    double *factor = table;
    char *at = (char *)(factor + n->batch);
    for (int i = 0; i < rows; i++) factor[i] = scale ? scale[i] : 1;
    for (int k = 0; k < n->parts; k++) {
        const NetPart *p = &n->part[k];
        size_t width = time_width(n, p), bytes = feature_bytes(n, p);
        if (!bytes) continue;
        DG_CHECK(time, "%s: no times for a network that takes one", span_name(n->span));
        for (int i = 0; i < rows; i++) {
            float *row = n->features + (size_t)i * width;
            if (i && time[i] == time[i - 1]) memcpy(row, row - width, width * sizeof *row);
            else p->model->time_features(p->config, p->frequencies, time[i], row);
        }
        dtype_convert(n->graph->t[p->ports.time].dtype, at, DG_F32, n->features, (size_t)rows * width);
        at += (size_t)n->batch * bytes;
    }
}
void net_enqueue(Net *n, int rows, int passes, const double *x, const void *table) {
    const Backend *be = n->dev->be;
    const double *factor = table;
    int all = rows * passes;
    DG_CHECK(all <= n->batch, "%s: %d passes over %d images, of a net for %d", span_name(n->span), passes, rows, n->batch);
    const char *at = (const char *)(factor + n->batch);
    device_range_push(n->dev, SPAN_STATE);
    for (int k = 0; k < n->parts; k++) {
        size_t bytes = feature_bytes(n, &n->part[k]);
        if (bytes) be->copy(n->dev, n->exec->data[n->part[k].ports.time], at, (size_t)all * bytes);
        at += (size_t)n->batch * bytes;
    }
    DType type = n->graph->t[n->x].dtype;
    for (int pass = 0; pass < passes; pass++) {
        size_t first = (size_t)pass * (size_t)rows;
        Term scaled = {.data = x, .type = DG_F64, .coef = factor + first};
        be->combine(n->dev, (char *)n->exec->data[n->x] + first * n->per_sample * dtype_bytes(type), type, rows, n->per_sample, &scaled, 1);
    }
    device_range_pop(n->dev, SPAN_STATE);
    SpanName call = passes > 1 ? SPAN_CFG : n->span;
    device_range_push(n->dev, call);
    exec_run(n->exec, all);
    device_range_pop(n->dev, call);
}
void net_run(Net *n, int rows, const double *x, const double *scale, const double *time) {
    net_fill(n, rows, n->host_table, scale, time);
    net_run_filled(n, rows, x);
}
void net_run_filled(Net *n, int rows, const double *x) {
    exec_set(n->exec, n->table, n->graph->t[n->table].dtype, n->host_table);
    net_enqueue(n, rows, 1, x, n->exec->data[n->table]);
}
Term net_output(const Net *n, const double *coef) {
    return (Term){.data = n->exec->data[n->out], .type = n->graph->t[n->out].dtype, .coef = coef};
}
bool net_apply(Net *n, int rows, double *x, const double *own, const double *coef, Error *e) {
    const Backend *be = n->dev->be;
    size_t bytes = (size_t)rows * sizeof(double);
    double *device = be->alloc(n->dev, 2 * bytes); /* coef, then own */
    if (!device) return dg_out_of_memory(e, "not enough memory on device %s for %d coefficients", be->name, 2 * rows);
    be->upload(n->dev, device, coef, bytes);
    if (own) be->upload(n->dev, device + rows, own, bytes);
    Term mine = {.data = x, .type = DG_F64, .coef = device + rows}, output = net_output(n, device);
    if (own) be->combine(n->dev, x, DG_F64, rows, n->per_sample, (Term[]){mine, output}, 2);
    else be->combine(n->dev, x, DG_F64, rows, n->per_sample, &output, 1);
    be->release(n->dev, device);
    return true;
}
