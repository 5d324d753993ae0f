/* blas.h -- CBLAS and LAPACKE, loaded when they are first needed: OpenBLAS starts threads as it is loaded, which costs every run that
 * needs none of it, and ends a program that may start none.                                                             */
#ifndef DG_BLAS_H
#define DG_BLAS_H
#include "base/error.h"
#ifdef DG_HAVE_CBLAS
#include <cblas.h>
typedef struct {
    __typeof__(cblas_dgemm) *dgemm;
    __typeof__(cblas_sgemm) *sgemm;
} Cblas;
const Cblas *blas_products(void); /* NULL: the library that the program was built with is not there any more */
#endif
#ifdef DG_HAVE_LAPACK
#include <lapacke.h>
typedef struct {
    __typeof__(LAPACKE_dpotrf) *dpotrf;
    __typeof__(LAPACKE_dsygst) *dsygst;
    __typeof__(LAPACKE_dsyevd) *dsyevd;
} Lapack;
const Lapack *blas_lapack(void);
#endif
/* Before work by either: as many threads as OpenMP would have, where the library has threads of its own. */
void blas_threads(void);
#endif
