/* fuzz_zip.c -- any bytes as a ZIP archive: refused with a sentence, or every entry is; reading whole, in pieces and
 * only to verify must agree.                                                                                         */
#include "files/zip.h"
#include "fuzz.h"
#include <stdlib.h>

static bool in_pieces(const Zip *z, const ZipEntry *x, uint8_t *out, Error *e) {
    ZipStream *s = zip_stream_open(z, x, e);
    bool ok = s != NULL;
    for (uint64_t at = 0; ok && at < x->bytes;) {
        uint64_t left = x->bytes - at, piece = 1 + at % 1000;
        if (piece > left) piece = left;
        ok = zip_stream_read(s, out + at, (size_t)piece, e);
        at += piece;
    }
    ok = ok && zip_stream_read(s, NULL, 0, e);
    zip_stream_close(s);
    return ok;
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    enum { LARGEST = 1 << 20 };
    Error e = {""};
    Zip *z = zip_memory(data, bytes, fuzz_name, &e);
    if (!z) return fuzz_refused(&e), 0;
    for (int i = 0; i < z->count; i++) {
        const ZipEntry *x = &z->entry[i];
        DG_CHECK(zip_find(z, x->name) == x, "entry %s is not found by its name", x->name);
        if (x->bytes > LARGEST) continue;
        Error whole = {""}, pieces = {""}, verified = {""};
        uint8_t *a = malloc((size_t)x->bytes + 1), *b = malloc((size_t)x->bytes + 1);
        bool ok = zip_read(z, x, a, &whole);
        DG_CHECK(ok == in_pieces(z, x, b, &pieces) && ok == zip_verify(z, x, &verified), "\"%s\", \"%s\", \"%s\"", whole.text, pieces.text,
                 verified.text);
        DG_CHECK(!ok || !memcmp(a, b, (size_t)x->bytes), "entry %s: other bytes in pieces", x->name);
        if (!ok) fuzz_refused(&whole), fuzz_refused(&pieces), fuzz_refused(&verified);
        free(a);
        free(b);
    }
    zip_close(z);
    return 0;
}
