/* nvToolsExt.h -- the part of NVTX that the engine uses, implemented by runtime.cpp: what is pushed and popped goes to whoever listens. */
#ifndef CUDA_ON_CPU_NVTX_H
#define CUDA_ON_CPU_NVTX_H
#ifdef __cplusplus
extern "C" {
#endif
int nvtxRangePushA(const char *name); /* how many ranges of this thread were open before */
int nvtxRangePop(void);               /* how many are left; below 0: none was open */
#ifdef __cplusplus
}
#endif
#endif
