// runtime.cpp -- the C part of the CUDA runtime: device memory, streams, captured graphs, events and the device's properties.
#include "layer.h"
#include "cuda_profiler_api.h"
#include "nvtx3/nvToolsExt.h"
#include <functional>
#include <string>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace emu {
cudaError_t g_last = cudaSuccess;
}
using namespace emu;
// How much the device has, and what is taken of it: EMU_MEMORY=bytes, else the host's. EMU_MALLOC_FAIL=N: N more allocations
// (of a graph too) succeed, the one after them fails, as in a heap in pieces. Both are read at every call, so that a test can change them.
static size_t g_taken;
static const size_t HEAP = (size_t)256 << 30;
static size_t memory_bytes() {
    const char *s = getenv("EMU_MEMORY");
    return s ? strtoull(s, nullptr, 0) : (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}
static bool malloc_fails() {
    const char *s = getenv("EMU_MALLOC_FAIL");
    if (!s) return false;
    long left = atol(s);
    if (left <= 0) unsetenv("EMU_MALLOC_FAIL");
    else setenv("EMU_MALLOC_FAIL", std::to_string(left - 1).c_str(), 1);
    return left <= 0;
}
cudaError_t cudaMalloc(void **out, size_t n) {
    std::lock_guard<std::mutex> g(g_mu);
    if (!g_heap) {
        g_heap = (uint8_t *)mmap(nullptr, HEAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (g_heap == MAP_FAILED) {
            perror("mmap");
            _exit(87);
        }
        g_heap_top = g_heap;
    }
    size_t body = (n + 255) / 256 * 256, pages = (body + 4095) / 4096 * 4096;
    const size_t GUARD = 256 << 10; // inaccessible before and after: address space is free
    if (body > memory_bytes() || g_taken > memory_bytes() - body || malloc_fails()) return g_last = cudaErrorMemoryAllocation;
    if (g_heap_top + pages + 2 * GUARD > g_heap + HEAP) return g_last = cudaErrorMemoryAllocation;
    uint8_t *lo = g_heap_top + GUARD;
    g_heap_top = lo + pages;
    if (mprotect(lo, pages, PROT_READ | PROT_WRITE)) return g_last = cudaErrorMemoryAllocation;
    uint8_t *p = lo + pages - body; // ends at the guard page, 256-byte aligned
    memset(lo, 0xff, pages);
    ASAN_POISON_MEMORY_REGION(lo, pages);
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    g_allocs.push_back(new Alloc{p, n, true, {}, lo, pages});
    *out = p;
    g_taken += body;
    return cudaSuccess;
}
static cudaError_t run_all();
cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    const cudaError_t earlier = run_all(); // what went wrong in a launch is this call's error too
    Alloc *a = find_alloc(p);
    if (!a || a->p != p) return g_last = cudaErrorInvalidValue;
    a->live = false;
    g_taken -= (size_t)(a->lo + a->pages - a->p);
    std::vector<GCell>().swap(a->sh);
    ASAN_UNPOISON_MEMORY_REGION(a->lo, a->pages);
    mmap(a->lo, a->pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0); // later use faults
    return earlier;
}
static bool dev_ok(const void *p, size_t n) {
    if (!in_heap(p)) return true;
    Alloc *a = find_alloc(p);
    return a && (const uint8_t *)p + n <= a->p + a->n;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
    if (n && (!dev_ok(d, n) || !dev_ok(s, n))) return g_last = cudaErrorInvalidValue;
    if ((k == cudaMemcpyHostToDevice && (!in_heap(d) || in_heap(s))) || (k == cudaMemcpyDeviceToHost && (in_heap(d) || !in_heap(s))))
        return g_last = cudaErrorInvalidValue;
    memmove(d, s, n);
    return cudaSuccess;
}
cudaError_t cudaMemset(void *d, int v, size_t n) {
    if (!dev_ok(d, n)) return g_last = cudaErrorInvalidValue;
    memset(d, v, n);
    return cudaSuccess;
}
// A stream is lazy: what is enqueued runs at the last moment that CUDA allows, when somebody waits for it. So a host buffer
// that is changed too early, or read without a wait, shows. The null stream, which kernels' own tests use, is not.
// While a stream is being captured its work goes into the graph instead.
struct emuStream {
    emuGraph *capture;
    std::deque<Work> work; // enqueued, not yet run
    size_t done;           // how many were run before those
    size_t end() const { return done + work.size(); }
};
struct emuGraph {
    std::vector<Work> work;
};
struct emuEvent {
    bool timed;
    emuStream *stream; // NULL: never recorded
    size_t position;   // of the stream's work: what comes before belongs to the event
    double seconds;    // when it was reached
};
static std::vector<emuStream *> g_streams;
// A kernel that may begin before the kernel before it has ended does so, as far as that matters to it, before that one has begun.
static int run_item(const Work &work, const Work *next) {
    if (work.kernel && next && next->begin) next->begin();
    return work.run();
}
static cudaError_t run_until(emuStream *s, size_t position) {
    if (s->capture) return g_last = cudaErrorStreamCaptureUnsupported;
    cudaError_t first = cudaSuccess;
    while (s->done < position && !s->work.empty()) {
        const Work work = std::move(s->work.front());
        s->work.pop_front(), s->done++;
        cudaError_t error = (cudaError_t)run_item(work, s->work.empty() ? nullptr : &s->work.front());
        if (first == cudaSuccess) first = error;
    }
    return first == cudaSuccess ? first : g_last = first;
}
static cudaError_t run_all() {
    cudaError_t first = cudaSuccess;
    for (emuStream *s : g_streams) {
        cudaError_t error = s->capture ? cudaSuccess : run_until(s, s->end());
        if (first == cudaSuccess) first = error;
    }
    return first;
}
static bool enqueue(cudaStream_t s, Work work) {
    if (!s) return false;
    if (s->capture) s->capture->work.push_back(std::move(work));
    else s->work.push_back(std::move(work));
    return true;
}
static emuCalls g_calls;
void emuGetCalls(emuCalls *c) { *c = g_calls; }
void emuGetLaunches(emuLaunches *l) { *l = {(size_t)emu::stats(false).launches, (size_t)emu::stats(false).early}; }
static bool enqueue(cudaStream_t s, std::function<int()> run) { return enqueue(s, Work{std::move(run), {}, false}); }
bool emu::record(cudaStream_t s, Work work) {
    if (!s || !s->capture) g_calls.kernels++;
    return enqueue(s, std::move(work));
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t stream) {
    auto copy = [=] { return (int)cudaMemcpy(d, s, n, k); };
    bool captured = stream && stream->capture;
    if (!captured) g_calls.copies++;
    if (k == cudaMemcpyDeviceToHost && stream && !captured) memset(d, 0xff, n); // not there before the wait
    return enqueue(stream, copy) ? cudaSuccess : (cudaError_t)copy();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = new emuStream{nullptr, {}, 0};
    g_streams.push_back(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    cudaError_t error = run_until(s, s->end());
    g_streams.erase(std::find(g_streams.begin(), g_streams.end(), s));
    delete s;
    return error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (!s) return cudaSuccess;
    return run_until(s, s->end());
}
cudaError_t cudaDeviceSynchronize() { return run_all(); }
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode) {
    if (!s || s->capture) return g_last = cudaErrorInvalidValue;
    s->capture = new emuGraph;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
    if (!s || !s->capture) return g_last = cudaErrorInvalidValue;
    *g = s->capture;
    s->capture = nullptr;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
    if (malloc_fails()) return g_last = cudaErrorMemoryAllocation; // a graph takes memory too
    *e = new emuGraph(*g);
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
    auto replay = [e] {
        for (size_t i = 0; i < e->work.size(); i++)
            if (int r = run_item(e->work[i], i + 1 < e->work.size() ? &e->work[i + 1] : nullptr)) return r;
        return 0;
    };
    if (s && s->capture) return g_last = cudaErrorStreamCaptureUnsupported;
    g_calls.graphs++;
    return enqueue(s, replay) ? cudaSuccess : g_last = (cudaError_t)replay();
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    delete g;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    cudaError_t error = run_all(); // a launch of it may be waiting
    delete e;
    return error;
}
// The device's clock is the processor time of the thread that runs its streams: what else the machine does does not count.
static double seconds_now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    *e = new emuEvent{!(flags & cudaEventDisableTiming), nullptr, 0, 0};
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    cudaError_t error = run_all();
    delete e;
    return error;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) {
    if (!s || (s->capture && !(flags & cudaEventRecordExternal))) return g_last = cudaErrorInvalidValue;
    bool captured = s->capture != nullptr;
    enqueue(s, [e] { return e->seconds = seconds_now(), 0; });
    if (!captured) e->stream = s, e->position = s->end();
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { return cudaEventRecordWithFlags(e, s, 0); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return e->stream ? run_until(e->stream, e->position) : cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    emuStream *other = e->stream;
    size_t position = e->position;
    if (other) enqueue(s, [=] { return (int)run_until(other, position); });
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop) {
    for (cudaEvent_t e : {start, stop}) {
        if (!e->timed) return g_last = cudaErrorInvalidResourceHandle;
        if (e->stream && e->stream->done < e->position) return g_last = cudaErrorNotReady; // nobody has waited for it
    }
    *ms = (float)((stop->seconds - start->seconds) * 1e3);
    return cudaSuccess;
}
// What a profiler is told.
static emuProfiler g_profiler;
static bool g_profiles;
static cudaError_t profile(bool on) {
    g_profiler.idle += g_profiles == on;
    g_profiles = on;
    return cudaSuccess;
}
cudaError_t cudaProfilerStart() { return g_profiler.starts++, profile(true); }
cudaError_t cudaProfilerStop() { return g_profiler.stops++, profile(false); }
void emuGetProfiler(emuProfiler *p) { *p = g_profiler; }
static void (*g_hear)(void *context, const char *name);
static void *g_hearer;
static thread_local int t_ranges;
void emuOnRange(void (*hear)(void *context, const char *name), void *context) { g_hear = hear, g_hearer = context; }
int nvtxRangePushA(const char *name) {
    if (g_hear) g_hear(g_hearer, name);
    return t_ranges++;
}
int nvtxRangePop() {
    if (g_hear) g_hear(g_hearer, nullptr);
    if (g_hear && t_ranges <= 0) {
        fprintf(stderr, "EMU a range ends that has not begun\n");
        _exit(87);
    }
    return --t_ranges;
}
// Page-locked memory: ordinary, but filled with NaN as device memory is.
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned) {
    if (!(*p = malloc(n))) return g_last = cudaErrorMemoryAllocation;
    memset(*p, 0xff, n);
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p) {
    cudaError_t error = run_all();
    free(p);
    return error;
}
cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *i) {
    *i = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int i) { return i ? g_last = cudaErrorInvalidDevice : cudaSuccess; }
// What the device is: EMU_CC=80 and so on, EMU_SMS=multiprocessors. Both are read at every call, as EMU_MEMORY is.
const Capability &emu::capability() {
    static const Capability known[] = {{80, 164, 163}, {86, 100, 99},   {87, 164, 163}, {89, 100, 99},
                                       {90, 228, 227}, {100, 228, 227}, {120, 100, 99}};
    const char *s = getenv("EMU_CC");
    for (const Capability &c : known)
        if (std::to_string(c.number) == (s ? s : "80")) return c;
    fprintf(stderr, "EMU: EMU_CC is \"%s\": wanted a compute capability without its point, one of", s);
    for (const Capability &c : known) fprintf(stderr, " %d", c.number);
    fprintf(stderr, "\n");
    _exit(87);
}
static int multiprocessors() {
    const char *s = getenv("EMU_SMS");
    char *end = nullptr;
    const long n = s ? strtol(s, &end, 10) : 4; // few, so that a persistent kernel's threads come round to a second tile
    if (n > 0 && n <= 1024 && (!s || !*end)) return (int)n;
    fprintf(stderr, "EMU: EMU_SMS is \"%s\": wanted a number of multiprocessors from 1 to 1024\n", s);
    _exit(87);
}
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int) {
    const Capability &c = capability();
    switch (a) {
    case cudaDevAttrMultiProcessorCount: *v = multiprocessors(); break;
    case cudaDevAttrL2CacheSize: *v = 40 << 20; break;
    case cudaDevAttrComputeCapabilityMajor: *v = c.number / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *v = c.number % 10; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *v = c.smem_sm << 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *v = c.smem_block << 10; break;
    case cudaDevAttrClusterLaunch: *v = c.number >= 90; break;
    default: return g_last = cudaErrorInvalidValue;
    }
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = memory_bytes();
    *free_bytes = *total < g_taken ? 0 : *total - g_taken;
    if (!getenv("EMU_MEMORY")) *free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidClusterSize: return "invalid cluster size";
    default: return "emulated CUDA error";
    }
}
cudaError_t cudaGetLastError() {
    cudaError_t e = g_last;
    g_last = cudaSuccess;
    return e;
}
cudaError_t cudaFuncGetAttributes_(cudaFuncAttributes *a, const void *f) {
    a->maxDynamicSharedSizeBytes = g_max_dyn.count(f) ? g_max_dyn[f] : 48 << 10;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute_(const void *f, cudaFuncAttribute, int v) {
    if (v > capability().smem_block << 10) return g_last = cudaErrorInvalidValue;
    g_max_dyn[f] = v;
    return cudaSuccess;
}
