/* folder.h -- paths, folders that are made when they are missing, and the folder for what can be made again. */
#ifndef DG_FOLDER_H
#define DG_FOLDER_H
#include "base/error.h"

char *path_join(const char *dir, const char *name); /* to be freed */
bool make_folders(const char *path, Error *e);      /* path and what is missing above it */
bool make_parent(const char *file, Error *e);       /* the folder that a file is in */
/* Removes what dead writers left unfinished in a folder (file.h): of the file `name`, or of every file where it is NULL. */
void folder_remove_strays(const char *dir, const char *name);
void file_remove_strays(const char *file); /* of this file, which need not be there */
/* Whether --out, a file, can be written: before anything is computed. One that is there is refused unless `overwrite`; what dead writers
 * left of it is removed.                                                                                                 */
bool out_ready(const char *file, bool overwrite, Error *e);
/* $XDG_CACHE_HOME/dg_cuda or $HOME/.cache/dg_cuda, to be freed; it may not be there yet. NULL where neither names a folder. */
char *cache_folder(void);
#endif
