/* parts.h -- which part of what a checkpoint holds is the network: the path that a user gives, or the part that the program
 * which wrote the file would sample from: averaged weights before raw ones.                                            */
#ifndef DG_PARTS_H
#define DG_PARTS_H
#include "base/text.h"
#include "weights_tools/pickle.h"

typedef struct {
    const PickleValue *value; /* a state dict, a module, or a list of averaged tensors in the order of: */
    const PickleValue *names; /* the state dict with their names; NULL unless value is such a list */
} Part;
/* key: a path of names and list positions ("ema", "ema.0", "state_dict"), or NULL. What was chosen, and what was passed over,
 * is appended to notes.                                                                                                  */
bool part_find(const PickleValue *root, const char *key, Part *part, Text *notes, Error *e);
bool part_is_buffer(const PickleValue *name);
bool part_list_has_buffers(const Part *part); /* of a list of averaged tensors: parameters alone are usual */
bool part_is_average(const char *name);       /* "model_ema": of a part, or of a prefix */
#endif
