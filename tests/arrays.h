/* arrays.h -- arrays of npz files that a program wrote, for tests. */
#ifndef DG_TEST_ARRAYS_H
#define DG_TEST_ARRAYS_H
#include "files/npz.h"
#include "program.h"

/* Checks that it is there, and of so many values; a is to be freed then. */
static inline bool read_array(const Setup *s, const char *file, const char *name, size_t count, NpyArray *a) {
    Error e = {0};
    *a = (NpyArray){0};
    Npz *z = npz_open(at(s, file), &e);
    bool ok = z && npz_read(z, name, a, &e) && a->count == count;
    npz_close(z);
    return CHECK(ok, "%s, array %s of %zu values: %s", file, name, count, e.text);
}
#endif
