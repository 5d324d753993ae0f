/* blas.c -- loading CBLAS and LAPACKE, once in a process. */
#include "measure/blas.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined DG_HAVE_CBLAS || defined DG_HAVE_LAPACK
typedef struct {
    void (*set_threads)(int);
#ifdef DG_HAVE_CBLAS
    Cblas products;
    bool has_products;
#endif
#ifdef DG_HAVE_LAPACK
    Lapack lapack;
    bool has_lapack;
#endif
} Loaded;
/* The one thing that a process keeps: libraries cannot be loaded twice, nor is it anybody's to unload them. */
static Loaded loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int threads_wanted(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
/* By the name that programs are linked to, then by that which only developers have. */
static void *open_library(const char *name) {
    static const char *const ending[] = {".0", ".3", ""};
    void *library = NULL;
    char file[256];
    for (int i = 0; i < 3 && !library; i++) {
        snprintf(file, sizeof file, "lib%s.so%s", name, ending[i]);
        library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}
#define TAKE(into, library, name) (*(void **)&(into) = (library) ? dlsym(library, name) : NULL)
static void load(void) {
    char threads[16];
    snprintf(threads, sizeof threads, "%d", threads_wanted());
    setenv("OPENBLAS_NUM_THREADS", threads, 0); /* as it is loaded it starts so many, not one for each processor of the machine */
    void *library = NULL;
#ifdef DG_HAVE_CBLAS
    library = open_library(DG_CBLAS_LIB);
    TAKE(loaded.products.dgemm, library, "cblas_dgemm"), TAKE(loaded.products.sgemm, library, "cblas_sgemm");
    loaded.has_products = loaded.products.dgemm && loaded.products.sgemm;
    TAKE(loaded.set_threads, library, "openblas_set_num_threads");
#endif
#ifdef DG_HAVE_LAPACK
    library = open_library("lapacke");
    TAKE(loaded.lapack.dpotrf, library, "LAPACKE_dpotrf"), TAKE(loaded.lapack.dsygst, library, "LAPACKE_dsygst");
    TAKE(loaded.lapack.dsyevd, library, "LAPACKE_dsyevd");
    loaded.has_lapack = loaded.lapack.dpotrf && loaded.lapack.dsygst && loaded.lapack.dsyevd;
    if (!loaded.set_threads) TAKE(loaded.set_threads, library, "openblas_set_num_threads"); /* of the LAPACK behind it */
#endif
}
#endif
#ifdef DG_HAVE_CBLAS
const Cblas *blas_products(void) {
    pthread_once(&once, load);
    return loaded.has_products ? &loaded.products : NULL;
}
#endif
#ifdef DG_HAVE_LAPACK
const Lapack *blas_lapack(void) {
    pthread_once(&once, load);
    return loaded.has_lapack ? &loaded.lapack : NULL;
}
#endif
void blas_threads(void) {
#if defined DG_HAVE_CBLAS || defined DG_HAVE_LAPACK
    if (loaded.set_threads) loaded.set_threads(threads_wanted());
#endif
}
