/* op_table.h -- where a graph's time goes: its ops, timed one by one, summed by kind and shape. */
#ifndef DG_OP_TABLE_H
#define DG_OP_TABLE_H
#include "dg.h"
#include "json.h"

/* Prints the table to standard output, the slowest row first; appends ", \"NAME ops\": [...]" to json. */
void op_table(const char *name, Exec *x, int repeats, Text *json);
#endif
