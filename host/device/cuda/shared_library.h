/* shared_library.h -- finding and loading the shared libraries of NVIDIA's, wherever they were installed. */
#ifndef DG_SHARED_LIBRARY_H
#define DG_SHARED_LIBRARY_H
#include "base/text.h"
#include <stdbool.h>

enum { LIBRARY_NAMES = 3 };
typedef struct {
    const char *variable;             /* of the environment: names the file, and then only that one is tried */
    const char *name[LIBRARY_NAMES];  /* as the loader looks for it; NULL ends it */
    const char *built;                /* the file that the build found; or NULL */
    const char *wheel[LIBRARY_NAMES]; /* within a folder of Python's packages; NULL ends it */
} SharedLibrary;
/* In the order above; wheels in the packages of every Python whose program PATH finds, and in ~/.local. NULL: looked says, as the rest of
 * a sentence, what was tried and what may be done.                                                                                   */
void *shared_library_load(const SharedLibrary *l, Text *looked);
/* A function pointer from dlsym, without a cast that C does not have. */
bool shared_library_symbol(void *library, const char *name, void *function);
#endif
