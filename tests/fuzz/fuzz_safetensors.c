/* fuzz_safetensors.c -- any bytes as a safetensors file: refused with a sentence, or every tensor can be read. */
#include "files/safetensors.h"
#include "fuzz.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Error e = {""};
    SafeTensors *s = st_memory(data, bytes, fuzz_name, &e);
    if (!s) return fuzz_refused(&e), 0;
    for (int i = 0; i < s->count; i++) {
        const StTensor *t = &s->tensor[i];
        DG_CHECK(st_find(s, t->name) == t, "tensor %s is not found by its name", t->name);
        double *values = malloc((t->count + 1) * sizeof *values); /* count is at most bytes */
        st_to_f64(t, values);
        st_to_f32(t, (float *)values);
        free(values);
    }
    st_close(s);
    return 0;
}
