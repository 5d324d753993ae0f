/* predictor.c -- a score network on a device. */
#include "sample/predictor.h"
#include "base/dtype.h"
#include <stdlib.h>

Predictor *predictor_open(Device *dev, const Model *m, Weights *w, int batch, int passes, bool fuse, Error *e) {
    Net *net = net_open(dev, m, w, batch * passes, fuse, e);
    Score *score = net ? score_new(m, net->part[0].config, e) : NULL;
    if (!score) {
        net_free(net);
        return NULL;
    }
    Predictor *p = dg_alloc(sizeof *p);
    size_t n = (size_t)net->batch;
    p->net = net, p->score = score, p->batch = batch, p->passes = passes;
    p->state = shape_of(net->graph, net->x), p->state.n = 1, p->per_sample = net->per_sample;
    p->in = dg_alloc(n * sizeof *p->in), p->time = dg_alloc(n * sizeof *p->time), p->affine = dg_alloc(n * sizeof *p->affine);
    return p;
}
Predictor *predictor_new(Device *dev, Weights *w, int batch, int passes, bool fuse, Error *e) {
    const Model *m = model_find_score(weights_config(w), e);
    if (m) return predictor_open(dev, m, w, batch, passes, fuse, e);
    dg_error_context(e, "%s", weights_name(w));
    return NULL;
}
void predictor_free(Predictor *p) {
    if (!p) return;
    net_free(p->net);
    score_free(p->score);
    free(p->in), free(p->time), free(p->affine);
    free(p);
}
void predictor_set_labels(Predictor *p, int rows, const int *label) {
    int *all = dg_alloc((size_t)(rows * p->passes) * sizeof *all);
    for (int i = 0; i < rows * p->passes; i++)
        all[i] = i < rows ? label[i] : p->score->facts.null_class < 0 ? NO_LABEL : p->score->facts.null_class;
    net_set_labels(p->net, rows * p->passes, all);
    free(all);
}
void predictor_fill(Predictor *p, int rows, int passes, void *table, const double *scale, const Level *level) {
    for (int i = 0; i < rows; i++) {
        Affine a = p->affine[i] = score_affine(p->score, level[i]);
        for (int pass = 0; pass < passes; pass++) p->in[pass * rows + i] = a.in * (scale ? scale[i] : 1), p->time[pass * rows + i] = a.time;
    }
    net_fill(p->net, rows * passes, table, p->in, p->time);
}
void predictor_enqueue(Predictor *p, int rows, int passes, const double *x, const void *table) {
    net_enqueue(p->net, rows, passes, x, table);
}
/* Channels [first, first + the state's) of the output. */
static Term output_channels(const Predictor *p, int first) {
    Term t = net_output(p->net, NULL);
    int channels = shape_of(p->net->graph, p->net->out).c;
    DG_CHECK(first + p->state.c <= channels, "channels from %d on of an output of %d", first, channels);
    t.channels = p->state.c;
    if (channels != p->state.c) t.first = first, t.stride = channels;
    return t;
}
Term predictor_output(const Predictor *p, int rows, int pass, const double *coef, int head, const double *tail) {
    Term t = output_channels(p, 0);
    Shape s = shape_of(p->net->graph, p->net->out);
    size_t sample = (size_t)s.h * (size_t)s.w * (size_t)s.c * dtype_bytes(t.type);
    t.data = (const char *)t.data + (size_t)pass * (size_t)rows * sample;
    t.coef = coef;
    if (head) t.head = head, t.tail = tail;
    return t;
}
Term predictor_variance(const Predictor *p) { return output_channels(p, p->state.c); }
void predictor_run(Predictor *p, int passes, const double *x, const double *sigma) {
    Level *level = dg_alloc((size_t)p->batch * sizeof *level);
    for (int i = 0; i < p->batch; i++) level[i] = (Level){1, sigma[i]};
    Net *n = p->net;
    predictor_fill(p, p->batch, passes, n->host_table, NULL, level);
    exec_set(n->exec, n->table, n->graph->t[n->table].dtype, n->host_table);
    predictor_enqueue(p, p->batch, passes, x, n->exec->data[n->table]);
    free(level);
}
bool predictor_apply(Predictor *p, double *x, const double *sigma, Error *e) {
    size_t n = (size_t)p->batch;
    DG_CHECK(shape_of(p->net->graph, p->net->out).c == p->state.c, "a prediction with a variance code is no image");
    double *skip = dg_alloc(n * sizeof *skip), *out = dg_alloc(n * sizeof *out);
    predictor_run(p, 1, x, sigma);
    for (size_t i = 0; i < n; i++) skip[i] = p->affine[i].skip, out[i] = p->affine[i].out;
    bool ok = net_apply(p->net, p->batch, x, skip, out, e);
    free(skip), free(out);
    return ok;
}
