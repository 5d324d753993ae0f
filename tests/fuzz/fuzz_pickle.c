/* fuzz_pickle.c -- any bytes as a pickle: refused with a sentence, or a tree that can be walked. */
#include "weights_tools/pickle.h"
#include "fuzz.h"
#include <stdlib.h>

/* The walk is bounded, as every walk over a pickle has to be: branches are shared, and may lead back. */
static void walk(const PickleValue *v, size_t *left, uint64_t *sum) {
    if (*left == 0 || !v) return;
    --*left;
    *sum += v->kind + v->depth;
    const PickleValue *const *item;
    size_t bytes, pairs;
    if (pickle_latin1(v, &bytes) && bytes < 1000) {
        uint8_t decoded[1000] = {0};
        pickle_latin1_bytes(v, decoded);
        *sum += decoded[0];
    }
    if (pickle_pairs(v, &item, &pairs) && pairs < 1000) {
        bool *superseded = pickle_superseded(item, pairs);
        for (size_t i = 0; i < pairs / 2; i++) *sum += superseded[i];
        free(superseded);
    }
    switch (v->kind) {
    case PICKLE_TEXT:
    case PICKLE_BYTES:
    case PICKLE_LONG:
    case PICKLE_CLASS:
        for (size_t i = 0; i < v->count && i < 1000; i++) *sum += (uint8_t)v->text[i];
        return;
    case PICKLE_LIST:
    case PICKLE_TUPLE:
    case PICKLE_SET:
    case PICKLE_DICT:
        for (size_t i = 0; i < v->count; i++) walk(v->item[i], left, sum);
        return;
    case PICKLE_CALL:
        walk(v->call->callee, left, sum), walk(v->call->args, left, sum), walk(v->call->state, left, sum);
        for (size_t i = 0; i < v->count; i++) walk(v->call->item[i], left, sum);
        return;
    case PICKLE_PERSISTENT: walk(v->id, left, sum); return;
    default: return;
    }
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Error e = {""};
    Pickle *p = pickle_parse(data, bytes, &e);
    if (!p) {
        DG_CHECK(is_sentence(e.text, "byte "), "refused with \"%s\"", e.text);
        return 0;
    }
    DG_CHECK(pickle_bytes(p) <= bytes, "more was read than there is");
    uint64_t sum = 0;
    size_t left = 2000, ids;
    walk(pickle_value(p), &left, &sum);
    const PickleValue *const *id = pickle_persistent(p, &ids);
    for (size_t i = 0; i < ids; i++) DG_CHECK(id[i]->kind == PICKLE_PERSISTENT, "a persistent id of another kind");
    pickle_free(p);
    volatile uint64_t used = sum;
    (void)used;
    return 0;
}
