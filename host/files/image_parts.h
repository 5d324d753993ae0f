/* image_parts.h -- what a set of images is made of, between image_source.c and the file of labels: folders, zip files and arrays. */
#ifndef DG_IMAGE_PARTS_H
#define DG_IMAGE_PARTS_H
#include "files/image_source.h"
#include "files/npz.h"
#include "files/zip.h"

typedef struct { /* one of: files, zip, npz */
    char *path;
    size_t first, count; /* its images among those of the set */
    char **file;         /* [count] below path, sorted */
    Zip *zip;
    const ZipEntry **entry; /* [count], sorted by name */
    Npz *npz;
    const char *array; /* its name */
    NpyArray head;     /* its shape */
    NpzStream *stream;
    size_t next; /* the image that comes next from the stream */
} ImagePart;
struct ImageSource {
    ImagePart *part;
    int parts;
    size_t count;
    int height, width;
    SourceRules rules;
    size_t since; /* bytes of pixels read since the memory of zip files was let go */
};
#endif
