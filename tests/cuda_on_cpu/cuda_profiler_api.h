/* cuda_profiler_api.h -- the switch that profilers wait for, implemented by runtime.cpp. */
#ifndef CUDA_ON_CPU_PROFILER_API_H
#define CUDA_ON_CPU_PROFILER_API_H
#include "cuda_runtime_api.h"
#ifdef __cplusplus
extern "C" {
#endif
cudaError_t cudaProfilerStart(void);
cudaError_t cudaProfilerStop(void);
#ifdef __cplusplus
}
#endif
#endif
