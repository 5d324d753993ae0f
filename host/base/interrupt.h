/* interrupt.h -- the signals that ask a run to end, as a flag, so that it ends with whole files. */
#ifndef DG_INTERRUPT_H
#define DG_INTERRUPT_H
#include <stdbool.h>

/* How work ends that an interruption may end. OUTCOME_FAILED: an Error says why; OUTCOME_INTERRUPTED: there is no sentence. */
typedef enum { OUTCOME_DONE, OUTCOME_INTERRUPTED, OUTCOME_FAILED } Outcome;

/* From here on the first SIGINT, SIGTERM, SIGHUP or SIGXCPU sets the flag; a SIGINT or SIGTERM after that ends the program at
 * once, without its unfinished files. What the parent had ignored (nohup, a shell's &) stays ignored, and a reader of the
 * output that goes away (SIGPIPE) does not end the run. Call it before other threads are started: they inherit the mask.
 * Where no thread can be had for it, a second signal waits like the first.                                              */
typedef struct Interrupt Interrupt;
Interrupt *interrupt_begin(void);
/* For work that is made of such runs: a signal waits until `interrupted` asks. In between a run's own Interrupt answers it, whose end leaves
 * it waiting here, so that it is not lost where the run had nothing left to stop.                                          */
Interrupt *interrupt_hold(void);
bool interrupted(const Interrupt *i); /* i may be NULL: never */
void interrupt_end(Interrupt *i);     /* signals act as before */
#endif
