/* cache.h -- what weights_open_any asks of the folder of conversions; weights_tools.h has what its users may ask. */
#ifndef DG_CACHE_H
#define DG_CACHE_H
#include "weights_tools/weights_tools.h"

void conversions_remove_strays(const char *folder); /* what conversions of dead processes left unfinished */
/* The conversion of sources of these hashes, every byte as it was written; NULL: absent, of others, or damaged. */
SafeTensors *conversion_open(const char *path, const char *source_sha256);
#endif
