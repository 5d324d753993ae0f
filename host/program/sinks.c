/* sinks.c -- where finished images go. */
#include "program/sinks.h"

static bool put_writer(void *writer, const Delivered *d, Error *e) {
    const void *images = d->state ? (const void *)d->state : d->bytes;
    return writer_put(writer, d->count, d->seed, d->label, images, e);
}
Sink sink_writer(Writer *w) { return (Sink){put_writer, w}; }
static bool put_grid(void *places, const Delivered *d, Error *e) {
    const GridPlaces *g = places;
    (void)e;
    for (int i = 0; i < d->count; i++)
        grid_set(g->grid, (int)seeds_position(g->wanted, d->seed[i]), d->bytes + (size_t)i * d->picture_bytes);
    return true;
}
Sink sink_grid(GridPlaces *g) { return (Sink){put_grid, g}; }
