/* interrupt.h -- Ctrl-C and SIGTERM as a flag, so that a run ends with whole files. */
#ifndef DG_INTERRUPT_H
#define DG_INTERRUPT_H
#include <stdbool.h>

/* How work ends that an interruption may end. OUTCOME_FAILED: an Error says why; OUTCOME_INTERRUPTED: there is no sentence. */
typedef enum { OUTCOME_DONE, OUTCOME_INTERRUPTED, OUTCOME_FAILED } Outcome;

/* From here on the first SIGINT or SIGTERM sets the flag; a second one ends the program at once. Call it before other
 * threads are started: they inherit the signal mask.                                                               */
typedef struct Interrupt Interrupt;
Interrupt *interrupt_begin(void);
bool interrupted(const Interrupt *i); /* i may be NULL: never */
void interrupt_end(Interrupt *i);     /* signals act as before */
#endif
