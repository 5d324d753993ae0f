/* neighbours.h -- precision, recall, density and coverage: which images of one set lie among the neighbours of another's. */
#ifndef DG_NEIGHBOURS_H
#define DG_NEIGHBOURS_H
#include "measure/products.h"

/* How a squared distance is computed. FLOAT: |u|^2 - 2 u.v + |v|^2 in float. ADM_HALF: as ADM's evaluator does it on a GPU, every
 * step stored in half precision, but blocks of 10,000 x 10,000 of which a distance overflows, in float. */
typedef enum { DISTANCE_FLOAT, DISTANCE_ADM_HALF } DistanceArithmetic;
enum { MAX_NEIGHBOURS = 63 };
typedef struct {
    int k; /* neighbours, 1 to MAX_NEIGHBOURS */
    DistanceArithmetic arithmetic;
    bool strict;              /* precision and recall by < (prdc, dgm-eval), not <= (ADM, torch-fidelity) */
    const Products *products; /* NULL: the best */
    int block;                /* 0: ADM's 10,000; tests take smaller ones */
} NeighbourOptions;
typedef struct {
    double precision, recall, density, coverage;
    uint64_t precise, recalled, dense, covered; /* generated images, reference images, pairs (of k times the generated), reference images */
} Neighbours;
/* Rows of dims features: of reference images, of generated ones. */
bool neighbours_measure(const float *reference, size_t n_reference, const float *generated, size_t n_generated, int dims,
                        NeighbourOptions o, Neighbours *out, Error *e);

/* Its parts, for tests: squared radii, to the k-th neighbour of each image within its set; distances from each of a to each of b. */
bool neighbours_radii(const float *x, size_t n, int dims, NeighbourOptions o, float *radius, Error *e);
bool neighbours_distances(const float *a, size_t n_a, const float *b, size_t n_b, int dims, NeighbourOptions o, float *out, Error *e);
#endif
