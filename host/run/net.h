/* net.h -- networks in one graph, bound to a device. What a call takes from the host travels in one table, so that the call
 * can be replayed: per image a factor of the input, then the features of its time for each network.
 *
 *   one network     net_open
 *   several         net_new, net_add for each (the next one on a tensor of the one before), any g_ op or graph_backward on
 *                   n->graph, net_plan, net_bind                                                                        */
#ifndef DG_NET_H
#define DG_NET_H
#include "device/device.h"
#include "graph/weights.h"
#include "models/models.h"

enum { NET_PARTS = WEIGHT_PARTS };
typedef struct {
    const Model *model;
    void *config;       /* of the model's own type */
    const char *root;   /* before the names of its weights, in the graph */
    float *frequencies; /* what the ports' frequencies name, or NULL */
    Ports ports;
} NetPart;
typedef struct {
    SpanName span; /* what a call is on time lines */
    Graph *graph;
    Exec *exec;
    Device *dev;
    int batch;
    bool fuse;
    NetPart part[NET_PARTS];
    int parts;
    Tid x, out;        /* of the first part; what net_output reads */
    Tid table;         /* an input that no op reads: it keeps the device's copy of net_run's table in the planned memory */
    size_t per_sample; /* values of x for one image */
    void *host_table;  /* a table for calls outside of a replay */
    float *features;   /* scratch */
} Net;

/* One network: reads the configuration of the weights, builds, fuses, plans, binds. NULL: e names the file. */
Net *net_open(Device *d, const Model *m, Weights *w, int batch, bool fuse, Error *e);
void net_free(Net *n);

Net *net_new(SpanName span, Precision precision, int batch, bool fuse);
/* Adds a network on x (0: on an input of its own). The name root has to outlive the Net. */
const Ports *net_add(Net *n, const Model *m, const Json *config, const char *root, Tid x, Error *e);
void net_plan(Net *n, Tid out); /* marks out as kept; fuses and plans. The graph is then whole: what it takes is known */
/* weights: one for each part. Checks that the files hold nothing unexpected. */
bool net_bind(Net *n, Device *d, Weights *const *weights, Error *e);

/* What follows takes `rows`, from 1 to the batch: the images of a call, which are the first ones of everything. */
/* label[rows]: classes; below 0: none, a row of zeros. Every network that takes a label gets it; the others none. */
void net_set_labels(Net *n, int rows, const int *label);
void net_set_onehot(Net *n, Tid t, int rows, float scale, const int *label); /* the same of one vector input, of that size */
/* A call in two halves: fill writes a table (host memory, net_table_bytes, aligned for a double), enqueue computes with a copy
 * of it in device memory. The networks see scale[i] * x[i] (f64 on the device, [rows][per_sample]) at time[i], in the
 * unit of the models' time_features. scale may be NULL: 1; time too where no network takes one.
 * enqueue takes x `passes` times one after the other, as if it were rows * passes images, for which fill and the labels are.  */
size_t net_table_bytes(const Net *n);
void net_fill(Net *n, int rows, void *table, const double *scale, const double *time);
void net_enqueue(Net *n, int rows, int passes, const double *x, const void *table);
void net_run(Net *n, int rows, const double *x, const double *scale, const double *time); /* both, with host_table */
void net_run_filled(Net *n, int rows, const double *x);                                   /* with host_table as it is */
Term net_output(const Net *n, const double *coef);                                        /* coef: device, [rows] */
/* After net_run, where the output has the input's shape: x[i] = own[i] x[i] + coef[i] output[i] (host; own NULL: 0). False: there is
 * no memory for the coefficients on the device.                                                                        */
bool net_apply(Net *n, int rows, double *x, const double *own, const double *coef, Error *e);
#endif
