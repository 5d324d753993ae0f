/* file.h -- files as the readers and writers want them: mapped whole, or written atomically. */
#ifndef DG_FILE_H
#define DG_FILE_H
#include "base/error.h"

typedef struct {
    const uint8_t *data; /* NULL when bytes is 0 */
    size_t bytes;
} FileMap;
bool file_map(const char *path, FileMap *m, Error *e); /* read-only; a missing file, or what is not a regular one, is an error */
void file_unmap(FileMap *m);
/* The memory that a part of a map takes is another's until it is read again: what goes through a large file once calls it on the way. */
void file_let_go(const void *mapped, size_t bytes);

/* The file appears under its name, complete and fsynced, at out_finish; out_abandon, or a failure, leaves nothing.
 * out_unsynced, right after out_open, is for what can be made again: as after cp, a power failure may still take a new
 * file, but one that replaces another is fsynced all the same.                                                       */
typedef struct OutFile OutFile;
/* One rule for every output: through links, its name leads to a regular file or to nothing yet, and that is made or replaced.
 * A folder, a device, a pipe and the file that the program's own messages go to are refused.                              */
OutFile *out_open(const char *path, Error *e);
char *out_target(const char *path);         /* where its name leads, through links; to be freed */
bool out_check(const char *path, Error *e); /* whether out_open can: long before there is something to write */
void out_unsynced(OutFile *f);
bool out_write(OutFile *f, const void *data, size_t bytes, Error *e);
bool out_patch(OutFile *f, uint64_t offset, const void *data, size_t bytes, Error *e); /* within what was written */
uint64_t out_position(const OutFile *f);                                               /* bytes written so far */
bool out_finish(OutFile *f, Error *e);                                                 /* frees f either way */
bool out_whole(const char *path, const void *data, size_t bytes, Error *e);            /* all of it: opened, written, finished */
void out_abandon(OutFile *f);                                                          /* f may be NULL */
/* Many small files: out_settle each, which begins writing it out, and out_finish_all waits for all of them together. It frees
 * them and returns how many are there, the first ones: fewer than n after a failure. Until then each holds a file descriptor. */
bool out_settle(OutFile *f, Error *e);
int out_finish_all(OutFile **f, int n, Error *e);
#endif
