/* classes.h -- which class an image gets: what --class says, against the classes that a run's network has. */
#ifndef DG_CLASSES_H
#define DG_CLASSES_H
#include "program/networks.h"

typedef enum { CLASS_SEEDED, CLASS_BALANCED, CLASS_LISTED } ClassKind;
typedef struct {
    ClassKind kind;
    int *list, count; /* CLASS_LISTED: seed s gets list[s modulo count] */
    bool imagenet;    /* one was given by ImageNet's name for it */
} ClassRule;
/* "seeded", "balanced", or classes separated by commas: numbers, the names that the network's configuration lists in "classes", or,
 * where it lists none and there are 1000 classes, ImageNet's names and WordNet ids. On failure there is nothing to free.       */
bool class_rule_parse(ClassRule *r, const Networks *n, const char *text, Error *e);
void class_rule_print(const ClassRule *r, Text *out); /* numbers for names, so that the same classes are the same text */
void class_rule_free(ClassRule *r);
/* classes: how many there are; 0: -1, no class. */
int class_of_seed(const ClassRule *r, int classes, uint64_t seed);
#endif
