/* backend_naive.c -- the reference with float sums: the naive implementation whose error sets the tests' tolerances. */
#define DG_REF_REAL    float
#define DG_REF_SUM     float
#define DG_REF_NAME    "naive"
#define DG_REF_BACKEND backend_naive
#include "device/device.h"
extern const Backend backend_naive;
#include "device/ref.c"
