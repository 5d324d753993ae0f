/* exact_sums.h -- sums of features and of their products that have the same bits for any split into batches, files or
 * processes, any number of threads, any BLAS and any order of merging.
 *
 * A feature is rounded to a multiple of 2^exponent, and everything after that is arithmetic of integers: of 128 bits where they
 * are kept, of doubles that hold integers below 2^53 where they are multiplied. So parts of a set that were summed anywhere
 * merge to what the whole set gives.                                                                                  */
#ifndef DG_EXACT_SUMS_H
#define DG_EXACT_SUMS_H
#include "base/dtype.h"
#include "measure/gaussian.h"
#include "measure/products.h"

__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 UInt128;

/* What features are rounded to, and into how many pieces of PIECE_BITS bits they are cut. */
enum { PIECE_BITS = 22, MAX_PIECES = 3 };
typedef struct {
    int exponent, pieces;
} Grid;
extern const Grid grid_f32;   /* 2^-36, two pieces: below 256 in size, as of features in float */
extern const Grid grid_f64;   /* 2^-48, three pieces: below 32 in size, and a million of images */
bool grid_valid(Grid g);      /* one of a file may be neither */
double grid_limit(Grid g);    /* the largest size of a feature */
uint64_t grid_images(Grid g); /* how many images fit into the sums */
bool grid_same(Grid a, Grid b);

typedef struct {
    int dims;
    Grid grid;
    uint64_t count;   /* images, those that wait among them */
    Int128 *sum;      /* [dims] of features, in units of 2^exponent */
    UInt128 *product; /* of features i and j >= i, in units of 2^(2 exponent), modulo 2^128: row i after row i - 1 */
    const Products *products;
    double *waiting; /* [pieces][EXACT_ROWS][dims]: images that are not in the sums yet */
    double *panel;   /* a product of pieces */
    int rows;        /* how many wait */
} ExactSums;
/* products: who multiplies, NULL for the best. Much memory (16 dims^2 bytes): NULL and a sentence where there is none. */
ExactSums *exact_new(int dims, Grid g, const Products *products, Error *e);
void exact_free(ExactSums *s);
size_t exact_products(int dims);         /* elements of product */
bool exact_possible(const ExactSums *s); /* sums of a file: of count features of the grid? */
/* n rows of DG_F32 or DG_F64. A feature that is no number or outside the grid is an error that names the image (`first` is the
 * number of the first) and adds nothing of these rows. */
bool exact_add(ExactSums *s, DType type, const void *rows, size_t n, uint64_t first, Error *e);
void exact_settle(ExactSums *s); /* what waits, into the sums: before they are looked at */
/* Whether two sums add up: of as many features, on one grid. */
bool exact_fits(const ExactSums *a, const ExactSums *b, Error *e);
void exact_merge(ExactSums *into, const ExactSums *from); /* both settled, and they fit; from keeps what it has */

/* The mean, and the covariance with the divisor count - ddof (1: unbiased; 0: stylegan3's). images: what the sums are divided
 * by; 0: the images that they are of. DG's tool divides by the number asked for even where there were fewer; the count of the result
 * is that of the images all the same, on which its rank depends.                                                        */
typedef struct {
    int ddof;
    uint64_t images;
} Divisor;
bool exact_gaussian(ExactSums *s, Divisor divisor, Gaussian *g, Error *e);
#endif
