/* term.c -- what a backend asks of the terms of a combination. */
#include "base/term.h"

static bool is_real(DType t) { return t == DG_F64 || t == DG_F32 || t == DG_F16 || t == DG_BF16; }
void term_check(const char *sum, const Term *t, size_t per_sample) {
    DG_CHECK(is_real(t->type) || t->type == DG_U8, "%s of %s", sum, dtype_name(t->type));
    DG_CHECK(t->row % dtype_bytes(t->type) == 0, "%s: %zu bytes from one sample of %s to the next", sum, t->row, dtype_name(t->type));
    if (!t->stride && !t->tail) return;
    DG_CHECK(t->channels > 0 && per_sample % (size_t)t->channels == 0 && per_sample <= UINT32_MAX,
             "%s: %zu elements are not pixels of %d channels", sum, per_sample, t->channels);
    DG_CHECK(!t->stride || (t->first >= 0 && t->first <= t->stride - t->channels), "%s: channels %d to %d of %d", sum, t->first,
             t->first + t->channels - 1, t->stride);
}
void terms_check(const Term *term, int terms, size_t per_sample, DType out_type) {
    DG_CHECK(terms > 0 && terms <= COMBINE_TERMS, "combine: %d terms", terms);
    DG_CHECK(is_real(out_type), "combine into %s", dtype_name(out_type));
    for (int k = 0; k < terms; k++) term_check("combine", &term[k], per_sample);
}
