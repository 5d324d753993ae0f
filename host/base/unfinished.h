/* unfinished.h -- files that are being written. Until out_finish (file.h) a file is "NAME.partial-PID-N" (NAME cut where that would
 * be too long for a file system), locked (flock) by its writer, also where that has another process table; when it dies, the
 * lock goes and the file stays. Where a file system keeps no locks, nothing counts as abandoned. Nothing here allocates.   */
#ifndef DG_UNFINISHED_H
#define DG_UNFINISHED_H
#include <stdbool.h>
#include <stddef.h>

/* A new file for `final`, locked; its path goes into path[size], which has 64 bytes more than final. -1: errno says why. */
int unfinished_create(char *path, size_t size, const char *final);
size_t file_unfinished(const char *name); /* how long NAME is; 0: not the name of an unfinished file */
bool file_abandoned(const char *path);    /* a regular file that is there and that nobody has locked */
bool file_remove_stray(const char *path); /* whether it was an unfinished file of a dead writer, and is gone */
/* The last thing before a process ends without out_finish: removes what it has open under such names, and lets no thread open
 * anything any more. False: another thread is there already, and does the rest. Only system calls, for signal handlers.    */
bool out_drop_unfinished(void);
bool out_dropping(void); /* whether a thread has begun that */
#endif
