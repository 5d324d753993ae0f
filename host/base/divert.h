/* divert.h -- standard output for results alone: what is printed on the way goes to standard error. */
#ifndef DG_DIVERT_H
#define DG_DIVERT_H

int divert_output(void);          /* where the results go to; -1: standard output is as it was */
void restore_output(int results); /* of divert_output */
#endif
