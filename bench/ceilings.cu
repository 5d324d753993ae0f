/* ceilings.cu -- what this GPU can do at best, measured: a large device copy and large matrix products by cuBLAS.
 * Every share in a report is of these figures, not of a data sheet. Prints one JSON object. cuBLAS is looked for when the
 * program runs: without it the products are left out.                                                                  */
#include <cublas_v2.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_STATUS(call, good)                                                                                                           \
    do {                                                                                                                                   \
        int status_ = (int)(call);                                                                                                         \
        if (status_ != (int)(good)) {                                                                                                      \
            fprintf(stderr, "ceilings: %s: status %d\n", #call, status_);                                                                  \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)
#define CUBLAS(call) CHECK_STATUS(call, CUBLAS_STATUS_SUCCESS)
static void check_cuda(cudaError_t status, const char *what) {
    if (status == cudaSuccess) return;
    fprintf(stderr, "ceilings: %s: %s\n", what, cudaGetErrorString(status));
    exit(1);
}
#define CUDA(call) check_cuda(call, #call)

enum { REPEATS = 10, WARM_UP = 3 };

/* ---- cuBLAS, opened at run time ------------------------------------------------------------------------------------------ */
typedef struct {
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *, const void *, cudaDataType_t,
                           int, const void *, cudaDataType_t, int, const void *, void *, cudaDataType_t, int, cublasComputeType_t,
                           cublasGemmAlgo_t);
    cublasHandle_t handle;
} Cublas;
static bool cublas_open(Cublas *c) {
    static const char *const file[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    void *library = NULL;
    for (int i = 0; i < 3 && !library; i++) library = dlopen(file[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "ceilings: no products: %s\n", dlerror());
        return false;
    }
    c->create = (decltype(c->create))dlsym(library, "cublasCreate_v2");
    c->destroy = (decltype(c->destroy))dlsym(library, "cublasDestroy_v2");
    c->gemm = (decltype(c->gemm))dlsym(library, "cublasGemmEx");
    if (!c->create || !c->destroy || !c->gemm) {
        fprintf(stderr, "ceilings: no products: cuBLAS lacks a function\n");
        return false;
    }
    CUBLAS(c->create(&c->handle));
    return true;
}

/* ---- measurements --------------------------------------------------------------------------------------------------------- */
/* Random data: products of zeros run faster than real ones, because the chip draws less power. */
template <typename T> __global__ static void fill_kernel(T *p, size_t n) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        unsigned z = (unsigned)i * 2654435761u;
        z ^= z >> 15, z *= 2246822519u, z ^= z >> 13;
        p[i] = (T)((float)(z >> 8) * 0x1p-23f - 1.f);
    }
}
typedef struct {
    cudaEvent_t start, stop;
} Timer;
static double timer_seconds(Timer t) { /* mean of REPEATS */
    float ms;
    CUDA(cudaEventSynchronize(t.stop));
    CUDA(cudaEventElapsedTime(&ms, t.start, t.stop));
    return ms * 1e-3 / REPEATS;
}
static double copy_bytes_per_second(Timer t, size_t bytes) {
    void *a, *b;
    CUDA(cudaMalloc(&a, bytes));
    CUDA(cudaMalloc(&b, bytes));
    for (int i = -WARM_UP; i < REPEATS; i++) {
        if (i == 0) CUDA(cudaEventRecord(t.start, 0));
        CUDA(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice, 0));
    }
    CUDA(cudaEventRecord(t.stop, 0));
    double seconds = timer_seconds(t);
    CUDA(cudaFree(a));
    CUDA(cudaFree(b));
    return 2.0 * (double)bytes / seconds; /* read and written */
}
template <typename T> static double matmul_flops(Timer t, const Cublas *blas, int n, cudaDataType_t type, cublasComputeType_t compute) {
    size_t count = (size_t)n * (size_t)n;
    T *a, *b, *c;
    float one = 1, zero = 0;
    CUDA(cudaMalloc(&a, count * sizeof(T)));
    CUDA(cudaMalloc(&b, count * sizeof(T)));
    CUDA(cudaMalloc(&c, count * sizeof(T)));
    fill_kernel<T><<<1024, 256>>>(a, count);
    fill_kernel<T><<<1024, 256>>>(b, count);
    CUDA(cudaGetLastError());
    for (int i = -WARM_UP; i < REPEATS; i++) {
        if (i == 0) CUDA(cudaEventRecord(t.start, 0));
        CUBLAS(blas->gemm(blas->handle, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, a, type, n, b, type, n, &zero, c, type, n, compute,
                          CUBLAS_GEMM_DEFAULT));
    }
    CUDA(cudaEventRecord(t.stop, 0));
    double seconds = timer_seconds(t);
    CUDA(cudaFree(a));
    CUDA(cudaFree(b));
    CUDA(cudaFree(c));
    return 2.0 * n * (double)n * n / seconds;
}
int main(void) {
    struct cudaDeviceProp device;
    CUDA(cudaGetDeviceProperties(&device, 0));
    Timer t;
    CUDA(cudaEventCreate(&t.start));
    CUDA(cudaEventCreate(&t.stop));
    int driver = 0, runtime = 0;
    CUDA(cudaDriverGetVersion(&driver));
    CUDA(cudaRuntimeGetVersion(&runtime));
    double copy = copy_bytes_per_second(t, (size_t)4 << 30);
    printf("{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d, \"driver\": %d, \"runtime\": %d, "
           "\"copy_bytes_per_second\": %.4g",
           device.name, device.major, device.minor, device.multiProcessorCount, driver, runtime, copy);
    Cublas blas;
    if (cublas_open(&blas)) {
        double f16 = matmul_flops<__half>(t, &blas, 8192, CUDA_R_16F, CUBLAS_COMPUTE_32F);
        double tf32 = matmul_flops<float>(t, &blas, 8192, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
        double f32 = matmul_flops<float>(t, &blas, 4096, CUDA_R_32F, CUBLAS_COMPUTE_32F);
        printf(", \"matmul_fp16_flops\": %.4g, \"matmul_tf32_flops\": %.4g, \"matmul_fp32_flops\": %.4g", f16, tf32, f32);
        CUBLAS(blas.destroy(blas.handle));
    }
    printf("}\n");
    return 0;
}
