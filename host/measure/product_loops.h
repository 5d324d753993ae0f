/* product_loops.h -- a product of matrices for one type of numbers: products.c includes this once for each.
 * REAL: the type; OWN(name): what a name becomes; FUSED(a, b, c): the vectors' a * b + c in one rounding where there is such an
 * instruction.
 *
 * c is made of tiles that registers hold. Both operands are copied first into panels as wide as a tile, in the order in which
 * the innermost loop reads them; DEPTH terms of a sum at a time stay in the first cache.                               */
typedef REAL OWN(Vec) __attribute__((vector_size(PRODUCT_VECTOR)));
enum { OWN(LANES) = PRODUCT_VECTOR / sizeof(REAL), OWN(WIDTH) = 2 * PRODUCT_VECTOR / sizeof(REAL) };

/* terms x width values of a matrix from row or column `first` on, zero beyond its `last`: [term][width] */
static void OWN(pack)(REAL *out, const REAL *in, ProductOf of, int ld, int from, int terms, int first, int last, int width) {
    size_t filled = (size_t)(last - first < width ? last - first : width), w = (size_t)width, n = (size_t)terms;
    if (filled < w) memset(out, 0, n * w * sizeof *out);
    if (of == COLUMNS) {
        in += (size_t)from * (size_t)ld + (size_t)first;
        for (size_t k = 0; k < n; k++) memcpy(out + k * w, in + k * (size_t)ld, filled * sizeof *out);
    } else {
        in += (size_t)first * (size_t)ld + (size_t)from;
        for (size_t i = 0; i < filled; i++) /* along the rows that are read: they may all fall into one set of the cache */
            for (size_t k = 0; k < n; k++) out[k * w + i] = in[i * (size_t)ld + k];
    }
}
/* One tile of c: rows x columns of it are wanted. */
static void OWN(tile)(const REAL *a, const REAL *b, int terms, REAL *c, int ldc, int rows, int columns, bool add) {
    OWN(Vec) sum[TILE_ROWS][2] = {{{0}}};
    for (int k = 0; k < terms; k++, a += TILE_ROWS, b += OWN(WIDTH)) {
        OWN(Vec) left, right;
        memcpy(&left, b, sizeof left);
        memcpy(&right, b + OWN(LANES), sizeof right);
#pragma GCC unroll 16
        for (int i = 0; i < TILE_ROWS; i++) {
            OWN(Vec) all = a[i] - (OWN(Vec)){0};
            sum[i][0] = FUSED(all, left, sum[i][0]);
            sum[i][1] = FUSED(all, right, sum[i][1]);
        }
    }
    size_t bytes = (size_t)columns * sizeof *c; /* of a row that are wanted */
    for (int i = 0; i < rows; i++) {
        REAL *out = c + (size_t)i * (size_t)ldc;
        if (add) {
            OWN(Vec) old[2] = {{0}};
            if (columns == OWN(WIDTH)) memcpy(old, out, sizeof old);
            else memcpy(old, out, bytes);
            sum[i][0] += old[0], sum[i][1] += old[1];
        }
        if (columns == OWN(WIDTH)) memcpy(out, sum[i], sizeof sum[i]);
        else memcpy(out, sum[i], bytes);
    }
}
static void OWN(product)(ProductShape s, const REAL *a, const REAL *b, REAL *c) {
    int bands = (s.m + TILE_ROWS - 1) / TILE_ROWS, width = OWN(WIDTH);
    REAL *left = dg_alloc((size_t)bands * TILE_ROWS * DEPTH * sizeof *left);
    for (int from = 0; from < s.k; from += DEPTH) {
        int terms = s.k - from < DEPTH ? s.k - from : DEPTH;
        bool add = s.add || from > 0;
#pragma omp parallel if ((double)s.m * s.n * terms > PARALLEL)
        {
#pragma omp for
            for (int i = 0; i < bands; i++)
                OWN(pack)(left + (size_t)i * TILE_ROWS * (size_t)terms, a, s.of, s.lda, from, terms, i * TILE_ROWS, s.m, TILE_ROWS);
            REAL *right = dg_alloc((size_t)width * DEPTH * sizeof *right);
#pragma omp for schedule(dynamic)
            for (int j = 0; j < s.n; j += width) {
                int columns = s.n - j < width ? s.n - j : width;
                OWN(pack)(right, b, s.of, s.ldb, from, terms, j, s.n, width);
                for (int i = 0; i < bands; i++) {
                    int row = i * TILE_ROWS, rows = s.m - row < TILE_ROWS ? s.m - row : TILE_ROWS;
                    OWN(tile)
                    (left + (size_t)row * (size_t)terms, right, terms, c + (size_t)row * (size_t)s.ldc + j, s.ldc, rows, columns, add);
                }
            }
            free(right);
        }
    }
    free(left);
}
