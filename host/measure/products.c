/* products.c -- products of matrices: CBLAS, and this program's own loops. */
#include "measure/products.h"
#include "measure/blas.h"
#include <stdlib.h>
#include <string.h>
#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

/* ---- loops ------------------------------------------------------------------------------------------------------- */
/* Bytes of a vector register; rows of a tile, as many as the registers hold beside two vectors; terms of a sum at a time;
 * multiplications from which threads are worth their start. */
#ifdef __AVX512F__
enum { PRODUCT_VECTOR = 64, TILE_ROWS = 12 };
#else
enum { PRODUCT_VECTOR = 32, TILE_ROWS = 6 };
#endif
enum { DEPTH = 192, PARALLEL = 1 << 18 };

#if defined(__AVX512F__)
#define FUSED_F64(a, b, c) (Vec_f64) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FUSED_F32(a, b, c) (Vec_f32) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#elif defined(__FMA__)
#define FUSED_F64(a, b, c) (Vec_f64) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FUSED_F32(a, b, c) (Vec_f32) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#else
#define FUSED_F64(a, b, c) ((a) * (b) + (c))
#define FUSED_F32(a, b, c) ((a) * (b) + (c))
#endif

#define REAL      double
#define OWN(name) name##_f64
#define FUSED     FUSED_F64
#include "measure/product_loops.h"
#undef REAL
#undef OWN
#undef FUSED
#define REAL      float
#define OWN(name) name##_f32
#define FUSED     FUSED_F32
#include "measure/product_loops.h"
#undef REAL
#undef OWN
#undef FUSED
const Products products_own = {"loops", product_f64, product_f32};

/* ---- CBLAS ------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_CBLAS
static void cblas_f64(ProductShape s, const double *a, const double *b, double *c) {
    bool columns = s.of == COLUMNS;
    blas_threads();
    blas_products()->dgemm(CblasRowMajor, columns ? CblasTrans : CblasNoTrans, columns ? CblasNoTrans : CblasTrans, s.m, s.n, s.k, 1, a,
                           s.lda, b, s.ldb, s.add, c, s.ldc);
}
static void cblas_f32(ProductShape s, const float *a, const float *b, float *c) {
    bool columns = s.of == COLUMNS;
    blas_threads();
    blas_products()->sgemm(CblasRowMajor, columns ? CblasTrans : CblasNoTrans, columns ? CblasNoTrans : CblasTrans, s.m, s.n, s.k, 1, a,
                           s.lda, b, s.ldb, s.add, c, s.ldc);
}
static const Products through_cblas = {"CBLAS", cblas_f64, cblas_f32};
const Products *products_cblas(void) { return blas_products() ? &through_cblas : NULL; }
#else
const Products *products_cblas(void) { return NULL; }
#endif
const Products *products_best(void) { return products_cblas() ? products_cblas() : &products_own; }
