/* writer.h -- a thread that writes one batch of images while the next one is computed. */
#ifndef DG_WRITER_H
#define DG_WRITER_H
#include "base/spans.h"
#include "files/store.h"

typedef struct Writer Writer;
Writer *writer_start(Store *s, Spans *spans); /* spans: records what it does; or NULL */
/* Copies the batch and returns; waits first while the batch before is still being written. False: an earlier batch could
 * not be written (e says why), and this one is not either.                                                            */
bool writer_put(Writer *w, int n, const uint64_t *seed, const int *label, const void *images, Error *e);
size_t writer_written(Writer *w); /* images that are whole on the disk by now */
/* Waits for the last batch, frees w. *written as above. */
bool writer_finish(Writer *w, size_t *written, Error *e);
#endif
