/* fuzz_torch_file.c -- any bytes as a checkpoint: refused with a sentence, or its tensors are named, recognised and read as
 * every type.                                                                                                              */
#include "weights_tools/checkpoint.h"
#include "weights_tools/naming.h"
#include "weights_tools/recognise.h"
#include "fuzz.h"
#include <stdlib.h>

static bool add_up(void *user, const void *data, size_t bytes, Error *e) {
    size_t *total = user;
    volatile uint8_t last = bytes ? ((const uint8_t *)data)[0] ^ ((const uint8_t *)data)[bytes - 1] : 0;
    (void)last, (void)e;
    *total += bytes;
    return true;
}
static void read_all(Checkpoint *c) {
    static const DType types[] = {DG_F32, DG_F16};
    for (int i = 0; i < c->count && i < 64; i++) {
        CheckpointTensor *t = &c->tensor[i];
        bool floating = t->dtype != DG_U8 && t->dtype != DG_I64;
        if (t->count > 1 << 20) continue;
        for (int k = -1; k < (floating ? 2 : 0); k++) {
            DType type = k < 0 ? t->dtype : types[k];
            size_t total = 0;
            Error e = {""};
            if (!checkpoint_read(c, t, type, add_up, &total, &e)) fuzz_refused(&e);
            else DG_CHECK(total == t->count * dtype_bytes(type), "tensor %s: %zu bytes", t->name, total);
        }
        DG_CHECK(checkpoint_position(c, t) <= c->map.bytes, "tensor %s lies outside the file", t->name);
    }
}
static void recognise_all(const Checkpoint *c) {
    const char **name = dg_alloc((size_t)c->count * sizeof *name + 1);
    NamedShape *shape = dg_alloc((size_t)c->count * sizeof *shape + 1);
    Error e = {""};
    for (int i = 0; i < c->count; i++) {
        name[i] = c->tensor[i].name;
        shape[i] = (NamedShape){name[i], c->tensor[i].dims, c->tensor[i].shape};
    }
    Naming n = naming_of(name, c->count);
    for (int i = 0; i < c->count; i++) {
        char text[CANONICAL_NAME];
        const char *official = naming_apply(&n, name[i], text);
        DG_CHECK(!official || strlen(official) < CANONICAL_NAME, "a name without an end");
    }
    Recognition r;
    Clues clues = {.shape = shape, .count = c->count, .class_name = c->class_name, .arguments = c->arguments, .attributes = c->attributes};
    if (recognise(&clues, &r, &e)) {
        Json *j = r.config.len ? json_parse(r.config.text, r.config.len, &e) : NULL;
        DG_CHECK(!r.config.len || j, "a config that is no JSON: %s: %s", e.text, r.config.text);
        json_free(j);
        recognition_free(&r);
    } else {
        DG_CHECK(e.text[0], "refused without a sentence");
    }
    free(name);
    free(shape);
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Error e = {""};
    Checkpoint *c = checkpoint_memory(data, bytes, fuzz_name, NULL, &e);
    if (!c) return fuzz_refused(&e), 0;
    read_all(c);
    recognise_all(c);
    checkpoint_close(c);
    return 0;
}
