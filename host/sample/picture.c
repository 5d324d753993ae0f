/* picture.c -- from the end of the chain to bytes. */
#include "sample/picture.h"

Picture picture_of_state(Shape state, Quantize q, const ScoreFacts *f) {
    bool adm = q == QUANTIZE_ADM || (q == QUANTIZE_OF_NETWORK && f->adm_bytes);
    return (Picture){state.h, state.w, state.c, 127.5, adm ? 127.5 : 128};
}
size_t picture_bytes(const Picture *p) { return (size_t)p->height * (size_t)p->width * (size_t)p->channels; }
