// state.cu -- the sampler's state on the device, in f64: combinations, steps of discrete processes, noise and 8-bit images; the
// contracts are device/device.h's.
//   combine  out[i] = sum over k of coef[k][image] * term[k][i], products and sums each rounded, in the terms' order, zero
//            coefficients skipped, one rounding to the output type: every bit as host_combine makes it. Channels of a term may be
//            a range of those in its data, or have a second coefficient (base/term.h).
//   posterior  x' = P x0 + Q x + (G0 + G1 m) g + (S0 + S1 sqrt(m)) noise of base/posterior.h, x0 and g combinations: one pass over
//            memory, every bit as host_posterior makes it. The coefficients are the same for all threads of a block.
//   randn    normals 2j and 2j+1 of (seed, step) from one Philox4x32-10 block, counters and uniforms as in host/base/rng.h. The integers,
//            the uniforms and sqrt agree exactly with the host's; log, sin and cos to their last place or two.
//   to_u8    trunc(clamp(scale x + offset, 0, 255)), and how many elements of each image are not finite: every bit as the host's.
// Work:   some blocks to an image. Coefficients, seeds and the step are read in device memory, so that a captured launch
//         can be replayed with others.
// Limits: none on sizes; 2^32 elements of an image where channels matter.
#include "base/rng.h"
#include "kernels/values.h"

enum { STATE_THREADS = 256, POSTERIOR_BLOCKS = 6 }; // of a multiprocessor: with more, registers spill

// ---- device code ------------------------------------------------------------------------------------------------------

// Where a thread stands: its image, and which of the image's threads it is.
struct StatePlace {
    unsigned image;
    size_t thread;
};
GPU_FN StatePlace state_place(unsigned blocks) { // blocks: to an image
    return {blockIdx.x / blocks, (size_t)(blockIdx.x % blocks) * STATE_THREADS + threadIdx.x};
}

GPU_FN double load_double(const void *p, DType type, size_t i) {
    if (type == DG_F64) return ((const double *)p)[i];
    if (type == DG_U8) return ((const uint8_t *)p)[i];
    float v[1];
    load_floats(v, p, type, i);
    return (double)v[0];
}
// What a term has for the element where the thread stands: where in its image's data, and by which coefficients.
struct TermPlace {
    size_t element;
    const double *coefs;
};
GPU_FN TermPlace term_place(const Term &t, size_t thread) {
    TermPlace place = {thread, t.coef};
    if (!t.stride && !t.tail) return place;
    const unsigned pixel = (unsigned)thread / (unsigned)t.channels, channel = (unsigned)thread % (unsigned)t.channels;
    if (t.stride) place.element = (size_t)pixel * (unsigned)t.stride + (unsigned)t.first + channel;
    if (t.tail && channel >= (unsigned)t.head) place.coefs = t.tail;
    return place;
}
GPU_FN double term_value(const Term &t, const StatePlace &at, size_t element) {
    return load_double((const char *)t.data + at.image * t.row, t.type, element);
}
// The sum of the terms; where a coefficient is 0, whatever there is. Every branch is the same for all threads but its choice.
GPU_FN double term_sum(double sum, const Term *term, int terms, const StatePlace &at) {
    for (int k = 0; k < terms; k++) {
        const TermPlace place = term_place(term[k], at.thread);
        const double coef = place.coefs[at.image];
        if (coef != 0) sum += gpu::mul_rn(coef, term_value(term[k], at, place.element));
    }
    return sum;
}

struct CombineParams {
    void *out;
    Term term[COMBINE_TERMS];
    DType out_type;
    int terms;
    size_t per_sample;
    unsigned blocks;
};
// The f32 next to d whose last bit is odd, unless d is itself an f32: rounding it again, to fewer bits, rounds d once.
GPU_FN float round_to_odd(double d) {
    const float f = (float)d;
    const uint32_t bits = __float_as_uint(f);
    if ((double)f == d || d != d || bits & 1) return f;
    return __uint_as_float(fabs((double)f) > fabs(d) ? bits - 1 : bits + 1);
}
__global__ void __launch_bounds__(STATE_THREADS) combine_kernel(const __grid_constant__ CombineParams p) {
    gpu::grid_enter();
    const StatePlace at = state_place(p.blocks);
    if (at.thread >= p.per_sample) return;
    const size_t i = at.image * p.per_sample + at.thread;
    const double sum = term_sum(0, p.term, p.terms, at);
    if (p.out_type == DG_F64) ((double *)p.out)[i] = sum;
    else if (p.out_type == DG_F32) ((float *)p.out)[i] = (float)sum;
    else {
        const float v[1] = {round_to_odd(sum)};
        store_floats(p.out, p.out_type, i, v);
    }
}

struct PosteriorParams {
    double *x;
    Posterior p;
    size_t per_sample;
    unsigned blocks;
};
__global__ void __launch_bounds__(STATE_THREADS, POSTERIOR_BLOCKS) posterior_kernel(const __grid_constant__ PosteriorParams q) {
    gpu::grid_enter();
    const StatePlace at = state_place(q.blocks);
    if (at.thread >= q.per_sample) return;
    const size_t i = at.image * q.per_sample + at.thread;
    const Posterior &p = q.p;
    const PosteriorCoef &c = p.coef[at.image];
    const double x = q.x[i];
    const bool learned = posterior_learned(&p, &c);
    double sum = 0, deviation = 0;
    if (c.from_x0 != 0) {
        double x0 = 0;
        if (c.skip != 0) x0 += gpu::mul_rn(c.skip, x);
        x0 = term_sum(x0, p.x0, p.terms, at);
        if (p.clip) x0 = posterior_clamp(x0, 1);
        sum += gpu::mul_rn(c.from_x0, x0);
    }
    if (c.from_x != 0) sum += gpu::mul_rn(c.from_x, x);
    if (learned)
        deviation = posterior_deviation(c.log_low, c.log_half, term_value(p.variance, at, term_place(p.variance, at.thread).element));
    if (posterior_guided(&p, &c)) {
        const double factor = learned ? c.gradient + gpu::mul_rn(c.gradient_variance, gpu::mul_rn(deviation, deviation)) : c.gradient;
        sum += gpu::mul_rn(factor, term_sum(0, p.gradient, p.gradients, at));
    }
    if (posterior_noisy(&p, &c)) {
        const double factor = learned ? c.noise + gpu::mul_rn(c.noise_deviation, deviation) : c.noise;
        sum += gpu::mul_rn(factor, p.noise[i]);
    }
    q.x[i] = sum;
}

struct RandnParams {
    double *out;
    size_t per_sample;
    const uint64_t *seed;
    const uint32_t *step;
    unsigned blocks;
};
// Both of an angle from 0 to 2 pi, each within 1.5 units in its last place: the distance r to the nearest quarter turn, then
// the series of sin r and cos r for |r| <= pi/4, whose next terms are below 2^-58. CUDA's own need memory for large angles.
GPU_FN void sine_cosine(double angle, double *sine, double *cosine) {
    const double half_pi = 1.57079632679489655800, rest_of_half_pi = 6.12323399573676603587e-17;
    const double quarter = rint(angle * 0.63661977236758134308);
    const double r = fma(-quarter, rest_of_half_pi, fma(-quarter, half_pi, angle)), z = r * r;
    double s = 1, c = 1;
    GPU_FOR (int k = 17; k > 1; k -= 2) s = 1 - z * (1.0 / (k * (k - 1))) * s, c = 1 - z * (1.0 / ((k - 1) * (k - 2))) * c;
    s *= r;
    const int turn = (int)quarter & 3;
    *sine = turn & 1 ? c : s, *cosine = turn & 1 ? s : c;
    if (turn & 2) *sine = -*sine;
    if (turn == 1 || turn == 2) *cosine = -*cosine;
}
__global__ void __launch_bounds__(STATE_THREADS) randn_kernel(const __grid_constant__ RandnParams p) {
    gpu::grid_enter();
    const StatePlace at = state_place(p.blocks);
    const size_t pair = at.thread;
    if (2 * pair >= p.per_sample) return;
    double sine, cosine, *row = p.out + at.image * p.per_sample;
    const Philox r = philox(p.seed[at.image], pair, *p.step, RNG_STREAM_NOISE); // the rest is philox_normal_pair
    const double radius = sqrt(-2 * log(philox_uniform(r.v[0], r.v[1])));
    sine_cosine(6.283185307179586476925 * philox_uniform(r.v[2], r.v[3]), &sine, &cosine);
    row[2 * pair] = radius * cosine;
    if (2 * pair + 1 < p.per_sample) row[2 * pair + 1] = radius * sine;
}

struct ToU8Params {
    uint8_t *out;
    const void *x;
    DType type;
    size_t per_sample;
    double scale, offset;
    int *bad;
};
// One block per image, so that the count needs no atomics.
__global__ void __launch_bounds__(STATE_THREADS) to_u8_kernel(const __grid_constant__ ToU8Params p) {
    gpu::grid_enter();
    SHARED(int, counts, [STATE_THREADS / 32]);
    const int t = (int)threadIdx.x;
    const size_t image = blockIdx.x * p.per_sample;
    int count = 0;
    for (size_t i = (size_t)t; i < p.per_sample; i += STATE_THREADS) {
        const double in = load_double(p.x, p.type, image + i), v = gpu::mul_rn(p.scale, in) + p.offset;
        if (!(in - in == 0)) count++; // infinities and NaN
        p.out[image + i] = v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0;
    }
    count = __reduce_add_sync(~0u, count);
    if (t % 32 == 0) counts[t / 32] = count;
    __syncthreads();
    if (t) return;
    for (int warp = 1; warp < STATE_THREADS / 32; warp++) count += counts[warp];
    p.bad[blockIdx.x] = count;
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

static unsigned state_blocks(size_t threads) { return (unsigned)((threads + STATE_THREADS - 1) / STATE_THREADS); }

// As given, but for the bytes from one sample to the next, which the kernel is told.
static void take_terms(Term *to, const Term *term, int terms, size_t per_sample) {
    for (int k = 0; k < terms; k++) to[k] = term[k], to[k].row = term_row(&term[k], per_sample);
}
extern "C" int cuda_combine(void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms, void *stream) {
    CombineParams p = {};
    p.out = out, p.out_type = out_type, p.terms = terms, p.per_sample = per_sample, p.blocks = state_blocks(per_sample);
    take_terms(p.term, term, terms, per_sample);
    return gpu::launch_dependent(combine_kernel, dim3((unsigned)n * p.blocks), dim3(STATE_THREADS), 0, (cudaStream_t)stream, p);
}
extern "C" int cuda_posterior(double *x, int n, size_t per_sample, const Posterior *p, void *stream) {
    PosteriorParams q = {x, *p, per_sample, state_blocks(per_sample)};
    take_terms(q.p.x0, p->x0, p->terms, per_sample);
    take_terms(q.p.gradient, p->gradient, p->gradients, per_sample);
    if (p->variance.data) take_terms(&q.p.variance, &p->variance, 1, per_sample);
    return gpu::launch_dependent(posterior_kernel, dim3((unsigned)n * q.blocks), dim3(STATE_THREADS), 0, (cudaStream_t)stream, q);
}
extern "C" int cuda_randn(double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step, void *stream) {
    const RandnParams p = {out, per_sample, seed, step, state_blocks((per_sample + 1) / 2)};
    return gpu::launch_dependent(randn_kernel, dim3((unsigned)n * p.blocks), dim3(STATE_THREADS), 0, (cudaStream_t)stream, p);
}
extern "C" int cuda_to_u8(uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset, int *bad,
                          void *stream) {
    const ToU8Params p = {out, x, type, per_sample, scale, offset, bad};
    return gpu::launch_dependent(to_u8_kernel, dim3((unsigned)n), dim3(STATE_THREADS), 0, (cudaStream_t)stream, p);
}
