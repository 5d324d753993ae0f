/* provider_cudnn.h -- cuDNN's plans for a GPU that is not there, so that all but their execution can be tested without one. */
#ifndef DG_CUDA_PROVIDER_CUDNN_H
#define DG_CUDA_PROVIDER_CUDNN_H
#include "device/cuda/library.h"

/* As library_cudnn.open (which wants a GPU), from the description of one, as cuDNN since 9.8 serialises it. No plan of it runs. */
void *cudnn_open_described(const char *json, Text *looked);
#endif
