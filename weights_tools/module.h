/* module.h -- a pickled torch.nn.Module (EDM's persistent objects, or torch.save of a whole module), down to its tensors. */
#ifndef DG_MODULE_H
#define DG_MODULE_H
#include "base/json.h"
#include "weights_tools/pickle.h"

bool module_recognise(const PickleValue *v);
const PickleValue *module_state(const PickleValue *v); /* the __dict__ of any object; NULL where there is none */
/* Calls add for every parameter and persistent buffer, under its state-dict name. */
typedef bool (*ModuleAdd)(void *user, const char *name, const PickleValue *tensor, Error *e);
bool module_walk(const PickleValue *module, ModuleAdd add, void *user, Error *e);
/* Its class ("EDMPrecond"), the keyword arguments it was constructed with, and its plain attributes: objects. Values that are
 * no numbers, texts or lists of them stand as null among the arguments, and are left out of the attributes. The caller frees.  */
bool module_describe(const PickleValue *module, char **class_name, Json **arguments, Json **attributes, Error *e);
#endif
