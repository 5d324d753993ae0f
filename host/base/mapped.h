/* mapped.h -- what happens when a mapped file becomes shorter while it is read. */
#ifndef DG_MAPPED_H
#define DG_MAPPED_H

/* From here on that ends the program with one sentence and exit code 1 instead of SIGBUS; other bus errors are as before. */
void mapped_guard(void);
#endif
