/* fuzz_npz.c -- any bytes as a .npy or .npz file: refused with a sentence, or every array can be read. */
#include "files/npz.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Error e = {""};
    Npz *z = npz_memory(data, bytes, fuzz_name, &e);
    if (!z) return fuzz_refused(&e), 0;
    double sum = 0;
    for (int i = 0; i < npz_count(z); i++) {
        NpyArray a;
        if (!npz_read(z, npz_name(z, i), &a, &e)) {
            fuzz_refused(&e);
            continue;
        }
        for (size_t k = 0; k < a.count; k++) sum += npy_value(&a, k);
        npy_free(&a);
    }
    npz_close(z);
    volatile double used = sum; /* so that no value's reading is optimised away */
    (void)used;
    return 0;
}
