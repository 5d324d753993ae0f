/* rows_thread.c -- rows of features, worked on by a thread. */
#include "program/rows_thread.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

struct RowsThread {
    RowsWork w;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    FeatureRows next; /* n: in hand, nobody else's meanwhile; 0: none */
    bool stop, failed;
    int threads; /* that a parallel region of the owner's has */
    Error error;
};

static bool work(RowsThread *t, Error *e) {
    spans_begin(t->w.spans, SPAN_STATISTICS, -1);
    bool ok = !t->next.n || t->w.work(t->w.context, &t->next, e);
    spans_end(t->w.spans, SPAN_STATISTICS);
    return ok;
}
static void *work_batches(void *rows) {
    RowsThread *t = rows;
    spans_thread(t->w.spans, "statistics");
#ifdef _OPENMP
    omp_set_num_threads(t->threads); /* which is a thread's own */
#endif
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->next.n && !t->stop) pthread_cond_wait(&t->changed, &t->lock);
        if (!t->next.n) break;
        pthread_mutex_unlock(&t->lock);
        Error e = {""};
        bool ok = work(t, &e);
        pthread_mutex_lock(&t->lock);
        if (!ok) t->failed = true, t->error = e;
        t->next.n = 0;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}
RowsThread *rows_thread_start(const RowsWork *w) {
    RowsThread *t = dg_alloc(sizeof *t);
    t->w = *w;
#ifdef _OPENMP
    t->threads = omp_get_max_threads();
#endif
    pthread_mutex_init(&t->lock, NULL), pthread_cond_init(&t->changed, NULL);
    if (w->threaded) t->w.threaded = pthread_create(&t->thread, NULL, work_batches, t) == 0;
    return t;
}
static void copy_rows(RowsThread *t, const Delivered *d) {
    size_t n = (size_t)d->count, dims = (size_t)t->w.dims, spatial = (size_t)t->w.spatial, good = 0;
    FeatureRows *to = &t->next;
    to->seed = dg_realloc(to->seed, n * sizeof *to->seed + 1), to->pool = dg_realloc(to->pool, n * dims * sizeof *to->pool + 1);
    if (spatial) to->spatial = dg_realloc(to->spatial, n * spatial * sizeof *to->spatial + 1);
    for (size_t i = 0; i < n; i++) {
        if (seeds_has(&t->w.skip, d->seed[i])) continue;
        to->seed[good] = d->seed[i];
        memcpy(to->pool + good * dims, d->pool + i * dims, dims * sizeof *to->pool);
        if (spatial) memcpy(to->spatial + good * spatial, d->spatial + i * spatial, spatial * sizeof *to->spatial);
        good++;
    }
    to->n = (int)good;
}
bool rows_thread_put(RowsThread *t, const Delivered *d, Error *e) {
    if (t->w.threaded) {
        pthread_mutex_lock(&t->lock);
        spans_begin(t->w.spans, SPAN_WAIT, -1);
        while (t->next.n) pthread_cond_wait(&t->changed, &t->lock);
        spans_end(t->w.spans, SPAN_WAIT);
    }
    bool ok = !t->failed;
    if (ok) copy_rows(t, d);
    if (ok && !t->w.threaded) t->failed = !(ok = work(t, &t->error)), t->next.n = 0;
    if (!ok) *e = t->error;
    if (t->w.threaded) {
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
    }
    return ok;
}
bool rows_thread_finish(RowsThread *t, Error *e) {
    if (t->w.threaded) {
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
        spans_begin(t->w.spans, SPAN_WAIT, -1);
        pthread_join(t->thread, NULL);
        spans_end(t->w.spans, SPAN_WAIT);
    }
    bool ok = !t->failed;
    if (!ok && e) *e = t->error;
    pthread_mutex_destroy(&t->lock), pthread_cond_destroy(&t->changed);
    free(t->next.seed), free(t->next.pool), free(t->next.spatial);
    free(t);
    return ok;
}
