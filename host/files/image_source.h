/* image_source.h -- sets of images as evaluation takes them, one image at a time or many: folders of PNG and JPEG files, zip files of
 * them (EDM's datasets), and arrays (ADM's, DiT's and DG's .npz). The pixels of a few images are in memory, never all.            */
#ifndef DG_IMAGE_SOURCE_H
#define DG_IMAGE_SOURCE_H
#include "base/error.h"

typedef struct ImageSource ImageSource;
typedef struct {
    bool flat;         /* of a folder, not what lies in folders within it */
    bool refuse_alpha; /* channels of alpha, as EDM's tools do; else these are left out, as transparent colours always are */
    bool lower_case;   /* of a folder, not files whose ending has capitals: pytorch-fid */
    bool any_size;     /* images of many sizes: for image_source_visit alone */
    bool arrays;       /* of a folder with samples*.npz those alone, as DG\'s tool: the pictures beside them are grids */
} SourceRules;
/* Several paths are one set, in the order given. Files of a folder or zip come by name, in the order of code points; a folder may
 * hold DG's samples*.npz instead; one with both is refused, but by rule. All images of a set have the size of its first. NULL: e says
 * what is wrong with which path.                                                                                              */
ImageSource *image_source_open(const char *const *path, int paths, const SourceRules *rules, Error *e);
/* Whether `file` is one of those that a set of these paths is read from, by whatever name. Nothing under this name is none. */
bool image_source_reads(const char *const *path, int paths, const SourceRules *rules, const char *file);
void image_source_close(ImageSource *s); /* s may be NULL */
size_t image_source_count(const ImageSource *s);
int image_source_height(const ImageSource *s);
int image_source_width(const ImageSource *s);
bool image_source_has_jpeg(const ImageSource *s);            /* by name; files/jpeg.h says whose pixels these are */
char *image_source_name(const ImageSource *s, size_t index); /* for sentences: its path, or its array and number. To be freed */
/* What tells an image from another one under its name, without reading it: of a file its size and the time of its last change, of an
 * archive's file or array its size and CRC, which is that of the whole array.                                                       */
typedef struct {
    uint64_t bytes;
    int64_t seconds, nanoseconds;
    uint64_t crc;
} ImageMark;
bool image_source_mark(const ImageSource *s, size_t index, ImageMark *out, Error *e);
/* Images index[0..n) as RGB, [n][height][width][3]. Any order; of a compressed array each step back unpacks it from the start. Files are
 * decoded on all processors.                                                                                                     */
bool image_source_read(ImageSource *s, const size_t *index, size_t n, uint8_t *pixels, Error *e);
/* Calls see(context, i, ...) with the pixels of image index[i], of its own size, for each of n: they are see's to change, and gone when
 * it returns. Several at once, on all processors. Ends with the first sentence, as image_source_read does.                  */
typedef bool (*ImageSee)(void *context, size_t i, uint8_t *rgb, int height, int width, Error *e);
bool image_source_visit(ImageSource *s, const size_t *index, size_t n, ImageSee see, void *context, Error *e);
/* The first folder below the path that the image was found under, *len characters of its name; NULL: it lies in none. */
const char *image_source_folder(const ImageSource *s, size_t index, size_t *len);
/* The classes that the set has: of EDM's dataset.json, and of arr_1 or label of an array, numbers or one-hot rows. -1 of images without
 * one.                                                                                                                           */
bool image_source_labels(ImageSource *s, int *label, Error *e);
/* The seeds that dg_cuda made the images of. False: not all images have one, or two have the same. */
bool image_source_seeds(const ImageSource *s, uint64_t *seed);
#endif
