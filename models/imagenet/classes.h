/* classes.h -- the text of classes.txt inside the program. */
#ifndef DG_IMAGENET_CLASSES_H
#define DG_IMAGENET_CLASSES_H
extern const char imagenet_classes_text[], imagenet_classes_end[]; /* a 0 stands at the end */
#endif
