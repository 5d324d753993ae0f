/* products.h -- products of matrices of features: through CBLAS where the build found one, or by loops of this program.
 *
 * Matrices are in C order. A statistic whose products are exact in double (exact_sums.c) has the same bits whoever computes
 * them; the tests take both.                                                                                          */
#ifndef DG_PRODUCTS_H
#define DG_PRODUCTS_H
#include "base/error.h"

typedef enum {
    COLUMNS, /* c[i][j] = sum over k of a[k][i] b[k][j]: products of columns */
    ROWS     /* c[i][j] = sum over k of a[i][k] b[j][k]: products of rows */
} ProductOf;
typedef struct {
    ProductOf of;
    bool add; /* to what c holds; else c is overwritten */
    int m, n, k;
    int lda, ldb, ldc; /* elements from one row of memory to the next */
} ProductShape;

typedef struct {
    const char *name;
    void (*f64)(ProductShape s, const double *a, const double *b, double *c);
    void (*f32)(ProductShape s, const float *a, const float *b, float *c);
} Products;
extern const Products products_own;
const Products *products_cblas(void); /* NULL where the build found none, or it is gone */
const Products *products_best(void);  /* CBLAS, or the loops */
#endif
