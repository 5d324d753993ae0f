/* op_table.h -- where a graph's time goes: its ops, timed one by one, summed by kind and shape. */
#ifndef DG_OP_TABLE_H
#define DG_OP_TABLE_H
#include "program/ceilings.h"

/* Prints the table to standard output, the slowest row first; appends ", \"NAME ops\": [...]" to json. An op cannot take less
 * than its floor: its operations at the ceiling of products, or its bytes at that of copies, whichever is longer.      */
void op_table(const char *name, Exec *x, int repeats, const Ceilings *ceilings, Text *json);
#endif
