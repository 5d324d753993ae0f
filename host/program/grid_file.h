/* grid_file.h -- the file of --grid: what it, and any other single file, may not be, and opening it before there is a picture to write. */
#ifndef DG_GRID_FILE_H
#define DG_GRID_FILE_H
#include "files/image.h"

/* Whether `path`, of --option, is none of the inputs (NULL: not given), and no image or record of outdir (or NULL) or of another folder
 * of images. noun: what is in it.                                                                                         */
bool output_file_check(const char *option, const char *noun, const char *path, const char *outdir, const char *const *input, int inputs,
                       Error *e);
/* Whether two names of outputs lead to one file, which need not be there yet. */
bool same_target(const char *a, const char *b);
/* An open file for a grid of this layout. So one that cannot be written is found before anything is computed. */
typedef struct GridFile GridFile;
GridFile *grid_file_open(const char *path, const ImageGrid *layout, Error *e);
ImageGrid *grid_file_grid(GridFile *f);
bool grid_file_finish(GridFile *f, Error *e); /* frees f either way */
void grid_file_abandon(GridFile *f);          /* leaves what was there; f may be NULL */
#endif
