/* tiny_checkpoint.h -- checkpoints of one small network, which tests write in several forms: copies of it with other values, and
 * the state dicts that hold them.                                                                                              */
#ifndef DG_TINY_CHECKPOINT_H
#define DG_TINY_CHECKPOINT_H
#include "check.h"
#include "tiny_model.h"
#include "torch_writer.h"

enum { RAW, EMA, OTHER, COPIES }; /* copies of the network: which one a file's part is */
typedef struct {
    char folder[64];
    TorchNamed *t[COPIES];
    int count;
} Net;
static inline char *in_folder(const Net *n, const char *name, char path[128]) {
    return snprintf(path, 128, "%s/%s", n->folder, name), path;
}
static inline bool make_net(Net *n) {
    char path[128];
    Error e = {""};
    SafeTensors *s = tiny_write(in_folder(n, "net.safetensors", path), tiny_network_config, 1, &e) ? st_open(path, &e) : NULL;
    if (!CHECK(s, "%s", e.text)) return false;
    n->count = s->count;
    for (int c = 0; c < COPIES; c++) {
        n->t[c] = dg_alloc((size_t)s->count * sizeof *n->t[c]);
        for (int i = 0; i < s->count; i++) {
            const StTensor *x = &s->tensor[i];
            float *v = dg_alloc(x->count * sizeof *v);
            st_to_f32(x, v);
            for (size_t k = 0; k < x->count; k++) v[k] = v[k] * 4 + (float)c;
            n->t[c][i] = (TorchNamed){.name = dg_strdup(x->name), .dtype = DG_F32, .dims = x->dims, .data = v};
            memcpy(n->t[c][i].shape, x->shape, sizeof x->shape);
        }
    }
    st_close(s);
    return true;
}
static inline void free_net(Net *n) {
    for (int c = 0; c < COPIES; c++) {
        for (int i = 0; i < n->count; i++) free((void *)(uintptr_t)n->t[c][i].name), free((void *)(uintptr_t)n->t[c][i].data);
        free(n->t[c]);
    }
}

static inline bool write_bytes(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, bytes, f) == bytes;
    return CHECK(f && fclose(f) == 0 && ok, "%s was not written", path);
}
/* The tensors under prefix + their names without the first `skip` characters, into a dict that is open. */
static inline void put(TorchWriter *w, const Net *n, int copy, const char *prefix, size_t skip) {
    for (int i = 0; i < n->count; i++) {
        const TorchNamed *t = &n->t[copy][i];
        char name[256];
        snprintf(name, sizeof name, "%s%s", prefix, t->name + skip);
        torch_text(w, name), torch_tensor(w, t->dtype, t->dims, t->shape, t->data);
    }
}
static inline void state(TorchWriter *w, const Net *n, int copy, const char *prefix) {
    torch_open_ordered_dict(w), put(w, n, copy, prefix, 0), torch_close_dict(w);
}
#endif
