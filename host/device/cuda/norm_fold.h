/* norm_fold.h -- which pixel norms are not run, because the convolutions around them do their work (kernels.h: ConvFold). */
#ifndef DG_CUDA_NORM_FOLD_H
#define DG_CUDA_NORM_FOLD_H
#include "kernels/kernels.h"
#include "device/device.h"

/* Whether op i is such a norm; whether it makes what one reads; whether it reads one. Decided by the graph and the device alone, so that
 * memory is known before it is taken. *f: the fold.                                                                           */
bool cuda_norm_folded(const Exec *e, int i, NormFold *f);
bool cuda_fold_maker(const Exec *e, int i, NormFold *f);
bool cuda_fold_reader(const Exec *e, int i, NormFold *f);
/* Device memory of op i, for e->rows images. Kept: from the maker to the last reader; scratch: of the op alone. */
size_t cuda_fold_kept_bytes(const Exec *e, int i);
size_t cuda_fold_scratch_bytes(const Exec *e, int i);
/* What op i reads and writes on the whole batch: nothing, of a norm that is not run; its convolutions' parts of it are with them. */
double cuda_fold_bytes(const Exec *e, int i);
/* Op i, a maker or a reader, whose own arguments are `a`: all of its launches. */
int cuda_run_fold_maker(const Exec *e, const NormFold *f, ConvArgs a, void *stream);
int cuda_run_fold_reader(const Exec *e, int i, const NormFold *f, ConvArgs a, void *stream);
#endif
