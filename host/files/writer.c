/* writer.c -- the writer thread: one batch in hand, one being handed over. Where there may be no thread, it writes at once. */
#include "files/writer.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct Writer {
    Store *store;
    Spans *spans;
    size_t image_bytes, written;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n; /* of the batch in hand; 0: none */
    bool stop, failed;
    uint64_t *seed;
    int *label;
    uint8_t *images;
    Error error;
};

static void *write_batches(void *arg) {
    Writer *w = arg;
    spans_thread(w->spans, "writer");
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->n && !w->stop) pthread_cond_wait(&w->changed, &w->lock);
        if (!w->n) break;
        pthread_mutex_unlock(&w->lock);
        Error e = {0};
        int written = 0;
        spans_begin(w->spans, SPAN_WRITE, -1);
        bool ok = store_put(w->store, w->n, w->seed, w->label, w->images, &written, &e);
        spans_end(w->spans, SPAN_WRITE);
        pthread_mutex_lock(&w->lock);
        w->written += (size_t)written;
        if (!ok) w->failed = true, w->error = e;
        w->n = 0;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}
Writer *writer_start(Store *s, Spans *spans) {
    Writer *w = dg_alloc(sizeof *w);
    w->store = s, w->spans = spans, w->image_bytes = store_image_bytes(s);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->threaded = pthread_create(&w->thread, NULL, write_batches, w) == 0;
    return w;
}
bool writer_put(Writer *w, int n, const uint64_t *seed, const int *label, const void *images, Error *e) {
    if (!w->threaded) {
        int written = 0;
        spans_begin(w->spans, SPAN_WRITE, -1);
        if (!w->failed && n > 0) w->failed = !store_put(w->store, n, seed, label, images, &written, &w->error);
        spans_end(w->spans, SPAN_WRITE);
        w->written += (size_t)written;
        if (w->failed) *e = w->error;
        return !w->failed;
    }
    spans_begin(w->spans, SPAN_WAIT, -1);
    pthread_mutex_lock(&w->lock);
    while (w->n) pthread_cond_wait(&w->changed, &w->lock);
    spans_end(w->spans, SPAN_WAIT);
    bool ok = !w->failed;
    if (!ok) *e = w->error;
    if (ok && n > 0) {
        size_t count = (size_t)n;
        w->seed = memcpy(dg_realloc(w->seed, count * sizeof *seed), seed, count * sizeof *seed);
        w->label = memcpy(dg_realloc(w->label, count * sizeof *label), label, count * sizeof *label);
        w->images = memcpy(dg_realloc(w->images, count * w->image_bytes), images, count * w->image_bytes);
        w->n = n;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return ok;
}
size_t writer_written(Writer *w) {
    pthread_mutex_lock(&w->lock);
    size_t written = w->written;
    pthread_mutex_unlock(&w->lock);
    return written;
}
bool writer_finish(Writer *w, size_t *written, Error *e) {
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    spans_begin(w->spans, SPAN_WAIT, -1);
    if (w->threaded) pthread_join(w->thread, NULL);
    spans_end(w->spans, SPAN_WAIT);
    bool ok = !w->failed;
    if (!ok) *e = w->error;
    *written = w->written;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w->seed), free(w->label), free(w->images);
    free(w);
    return ok;
}
