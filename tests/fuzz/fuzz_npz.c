/* fuzz_npz.c -- any bytes as a .npy or .npz file: refused with a sentence, or every array can be read. */
#include "files/npz.h"
#include "fuzz.h"
#include <string.h>

/* An array that can be read whole has the same bytes in pieces, where it is of this machine's order. */
static void in_pieces(Npz *z, const char *name, const NpyArray *whole) {
    Error e = {""};
    NpyArray head;
    NpzStream *s = npz_stream_open(z, name, &head, &e);
    if (!s) {
        fuzz_refused(&e);
        return;
    }
    size_t bytes = whole->count * (size_t)whole->bytes, at = 0;
    uint8_t piece[100];
    for (size_t n = 1; at < bytes; at += n, n = 1 + (n * 7 + at) % sizeof piece) {
        if (n > bytes - at) n = bytes - at;
        DG_CHECK(npz_stream_read(s, piece, n, &e) && !memcmp(piece, (const uint8_t *)whole->data + at, n), "other bytes in pieces: %s",
                 e.text);
    }
    npz_stream_close(s);
}
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
        in_pieces(z, npz_name(z, i), &a);
        npy_free(&a);
    }
    npz_close(z);
    volatile double used = sum; /* so that no value's reading is optimised away */
    (void)used;
    return 0;
}
