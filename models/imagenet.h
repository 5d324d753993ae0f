/* imagenet.h -- the classes of ImageNet (ILSVRC-2012): their numbers, WordNet ids and names. */
#ifndef DG_IMAGENET_H
#define DG_IMAGENET_H
#include <stdbool.h>
#include <stddef.h>

enum { IMAGENET_CLASSES = 1000, IMAGENET_ID = 9 /* characters of an id */ };
typedef struct {
    const char *id;    /* "n02099601"; it does not end there */
    const char *names; /* "Cardigan, Cardigan Welsh corgi" */
    size_t len;        /* of names */
} ImagenetClass;
typedef struct { /* goes through all names: of every class, one after the other */
    int class;   /* of the latest name; -1 before the first */
    ImagenetClass of;
    const char *name;
    size_t len; /* of name */
} ImagenetName;

ImagenetName imagenet_names(void);
bool imagenet_next(ImagenetName *n); /* false: there is none any more */
ImagenetClass imagenet_class(int number);
/* The number of a WordNet id; -1: of none of them. */
int imagenet_number(const char *id, size_t len);
bool imagenet_is_id(const char *text, size_t len); /* whether it is written as one: n and eight digits */
#endif
