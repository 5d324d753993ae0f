/* fuzz.h -- what the libFuzzer targets share: the entry point, and the check of what a reader says when it refuses. */
#ifndef DG_FUZZ_H
#define DG_FUZZ_H
#include "../hostile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The name that every target gives its input: each refusal must be a sentence that holds it. */
static const char fuzz_name[] = "fuzz.bin";
static inline void fuzz_refused(const Error *e) { DG_CHECK(is_sentence(e->text, fuzz_name), "refused with \"%s\"", e->text); }
#endif
