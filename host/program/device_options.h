/* device_options.h -- the options that every command which computes has, and the device they name. */
#ifndef DG_DEVICE_OPTIONS_H
#define DG_DEVICE_OPTIONS_H
#include "program/cli.h"
#include "device/device.h"

typedef struct {
    const char *device; /* NULL: the first of cuda, cpu, ref that opens */
    int dtype;          /* index into DTYPE_CHOICE; 0: the device's own default */
    bool no_fuse;
    int provider; /* DeviceProvider */
    int threads;  /* 0: threads_from_options decides */
} DeviceOptions;
#define DTYPE_CHOICE    "auto|fp16|bf16|tf32|fp32|fp64"
#define PROVIDER_CHOICE "own|auto|cudnn|cublaslt" /* by DeviceProvider; the first two are what --autotune says */
enum { MAX_THREADS = 1024 };

/* Rows for the option table of a command whose options, of type T, have a DeviceOptions as member m. */
/* clang-format off */
#define DEVICE_OPTIONS(T, m)                                                                                           \
    {"Where it runs", "device", NULL, OPTION_TEXT, offsetof(T, m.device), "NAME", 0, 0, false,                         \
     "cuda, cuda:N, cpu, ref (plain loops), ref64 (the same in double), rounded (cpu, every result rounded to fp16, bf16 or tf32); default: cuda where there is a GPU, else cpu"}, \
        {NULL, "dtype", NULL, OPTION_CHOICE, offsetof(T, m.dtype), DTYPE_CHOICE, 0, 0, false,                          \
         "storage of images and feature maps; auto: on cuda fp16, of networks on latents and their autoencoder bf16; fp32 elsewhere; sums are fp32 always"},              \
        {NULL, "no-fuse", NULL, OPTION_FLAG, offsetof(T, m.no_fuse), NULL, 0, 0, true,                                 \
         "run the networks op by op as they are written, to find mistakes"},                                           \
        {NULL, "provider", NULL, OPTION_CHOICE, offsetof(T, m.provider), PROVIDER_CHOICE, 0, 0, true,                  \
         "on cuda: who runs convolutions: the program's own kernels; cuDNN or cuBLASLt, wherever it can; or, auto, whoever is faster in a layer, measured once and remembered"}, \
        {NULL, "autotune", NULL, OPTION_CHOICE, offsetof(T, m.provider), "off|on", 0, 0, false,                        \
         "an older word: off is --provider own, on is --provider auto"},                                               \
        {NULL, "threads", NULL, OPTION_INT, offsetof(T, m.threads), "N", 0, MAX_THREADS, false,                        \
         "processor threads; 0: as many as the processors that this process may use (affinity, containers' shares, OMP_NUM_THREADS)"}
/* clang-format on */

/* How many threads will compute: --threads or OMP_NUM_THREADS where given, fewer where that many cannot be had. */
int threads_from_options(const DeviceOptions *o);
void threads_apply(const DeviceOptions *o); /* so many from now on */
/* NULL: e says what is wrong with the device, or that a library that was named is not there. */
Device *device_from_options(const DeviceOptions *o, Error *e);
const char *provider_word(const DeviceOptions *o); /* what --provider says */
/* For networks on latents, before any is opened: bf16 where nobody named a type and the device would take fp16. */
void device_for_latents(Device *d, const DeviceOptions *o);
#endif
