// attention_bwd.cu -- d qkv of attention.cu from qkv and dy, without matrices of tokens x tokens in memory and without atomics.
//   P = softmax(scale q k^T), dP = dy v^T, dS = P * (dP - D), D = P.dP of each query
//   dq = scale dS k, dk = scale dS^T q, dv = P^T dy
// Work:   a block owns queries and walks over the keys (dq), or owns keys and walks over the queries (dk, dv): P and dP are made again
//         from each query's maximum, sum and D. Tensor cores (f16, bf16: d up to 128; tf32: d up to 64; in whole 16-byte pieces; dy
//         of qkv's type): two kernels. Maximum and sum are those that the forward has left, D = dy.y with the y that it has left in
//         two parts, as precise as its f32. f32, for everything else: three kernels, the first of which makes the statistics.
// Order:  the others in order, in blocks whose size depends on d, the tokens and the type alone: never on n or the place in it.
// Range:  dS is multiplied by a power of two that puts 2^13 above all |dP|, of the query (dq) or of the head (dk), before it is
//         rounded to f16, and the sums divided by it: small gradients keep their bits, large ones do not overflow. The bound is
//         |dy| of the query times the largest |v| of the head. P is normalised in f32, then rounded; its differences of scores are
//         those that the sum was made of, and D is made by the products that make dP: with one key that takes everything P = 1
//         and dS = 0 exactly.
#include "kernels/attention_bwd_sm90.h"
#include "kernels/attention_tile.h"

// ---- tensor cores -----------------------------------------------------------------------------------------------------------
// The statistics of queries: {maximum of the scores, log2 of the sum of weights less P_EXPONENT, D, the factor of its sums for dq}.

// A warp owns 16 * MT rows, and multiplies them by CHUNK of the others at a time.
template <typename T, int D, int MT, bool OWN_KEYS> struct GradTile {
    typedef TileRow<T, D> R;
    enum {
        WARPS = 4,
        THREADS = 32 * WARPS,
        OWN = 16 * MT * WARPS,
        OWN_BYTES = OWN * R::PITCH, // of one of two tiles
        OTHERS = (R::BYTES <= 128 ? 128 : 64) / (int)sizeof(T),
        CHUNK = MT == 1 ? (int)OTHERS : 16, // what fits the registers beside the sums
        NT = CHUNK / 8,
        STAGE_BYTES = OTHERS * (2 * R::PITCH + (OWN_KEYS ? 16 : 0)), // two tiles, and the statistics where the others are queries
        STAGES_BYTES = 2 * (OWN_KEYS || STAGE_BYTES > OWN_BYTES ? (int)STAGE_BYTES : (int)OWN_BYTES), // y's parts lie there first
        SHARED_BYTES = 2 * OWN_BYTES + STAGES_BYTES,
        KEPT = R::BYTES > 128 ? 0 : 2 - (MT > 1 && OWN_KEYS), // own matrices in registers
        SLOTS = KEPT > 0 ? (int)KEPT : 1,
        STEPS_KEPT = KEPT > 0 ? (int)R::STEPS : 1
    };
};
// The block's own rows of two matrices, and two stages of the others' rows of two more.
template <typename T, int D, int MT, bool OWN_KEYS> struct GradWalk {
    typedef TileRow<T, D> R;
    typedef GradTile<T, D, MT, OWN_KEYS> Tile;
    static constexpr Part OWN0 = OWN_KEYS ? KEY : QUERY, OWN1 = OWN_KEYS ? VALUE : DY, OTHER0 = OWN_KEYS ? QUERY : KEY,
                          OTHER1 = OWN_KEYS ? DY : VALUE;
    const AttnParams &p;
    AttnPlace at;
    uint32_t base;
    int row; // of the warp, in the block's tile
    Lane<T, D> of_lane;
    RowCopies<T, D, Tile::OTHERS, Tile::THREADS> other0, other1;
    uint32_t own[Tile::SLOTS][Tile::STEPS_KEPT][MT][4];

    GPU_FN GradWalk(const AttnParams &params, uint32_t shared)
        : p(params), at(attn_place(p, Tile::OWN)), base(shared), row(((int)threadIdx.x >> 5) * 16 * MT), other0(p, at, OTHER0),
          other1(p, at, OTHER1) {}
    static GPU_FN uint32_t stage_of(int block) { return (uint32_t)(2 * Tile::OWN_BYTES + block % 2 * Tile::STAGE_BYTES); }
    static GPU_FN uint32_t second_of(int block) { return stage_of(block) + Tile::OTHERS * R::PITCH; }
    static GPU_FN uint32_t statistics_of(int block) { return stage_of(block) + 2 * Tile::OTHERS * R::PITCH; }
    GPU_FN void copy_own(Part part, uint32_t to) const { RowCopies<T, D, Tile::OWN, Tile::THREADS>(p, at, part).copy(base + to, at.first); }
    GPU_FN void copy_others(int block) const {
        other0.copy(base + stage_of(block), block * Tile::OTHERS);
        other1.copy(base + second_of(block), block * Tile::OTHERS);
        const int query = block * Tile::OTHERS + (int)threadIdx.x;
        if (OWN_KEYS && (int)threadIdx.x < Tile::OTHERS) {
            const bool valid = query < p.tokens;
            gpu::cp_async16(base + statistics_of(block) + threadIdx.x * 16,
                            valid ? p.query_stats + row_number(p, at) + query : p.query_stats, valid);
        }
        gpu::cp_async_commit();
    }
    // The warp's rows of a tile of own ones.
    GPU_FN uint32_t own_tile(uint32_t tile) const { return base + tile + (uint32_t)(row * R::PITCH); }
    GPU_FN void keep_own() {
        GPU_FOR (int i = 0; i < Tile::KEPT; i++)
            GPU_FOR (int step = 0; step < Tile::STEPS_KEPT; step++)
                load_left<T, D>(own[i][step], own_tile(i * Tile::OWN_BYTES) + of_lane.left, step);
    }
    // Where the chunk of others from number `first` on lies in the first of a stage's tiles. Before the first chunk of a block: waits
    // for the block, and starts to copy the next.
    GPU_FN uint32_t chunk_of(int first) const { return stage_of(first / Tile::OTHERS) + (uint32_t)(first % Tile::OTHERS * R::PITCH); }
    GPU_FN void arrive(int first) const {
        if (first % Tile::OTHERS) return;
        gpu::cp_async_wait<0>();
        __syncthreads(); // the block has landed for all, and nobody still reads the other stage
        if (first + Tile::OTHERS < p.tokens) copy_others(first / Tile::OTHERS + 1);
    }
    // s and dp of the own rows with a chunk of others.
    GPU_FN void products(float (&s)[MT][Tile::NT][4], float (&dp)[MT][Tile::NT][4], int first) {
        const uint32_t at_first = base + chunk_of(first) + of_lane.right;
        clear(s);
        clear(dp);
        GPU_FOR (int step = 0; step < R::STEPS; step++)
            GPU_FOR (int i = 0; i < 2; i++) {
                uint32_t loaded[MT][4];
                if (i >= Tile::KEPT) load_left<T, D>(loaded, own_tile(i * Tile::OWN_BYTES) + of_lane.left, step);
                multiply_rows<T, D>(i ? dp : s, i < Tile::KEPT ? own[i % Tile::SLOTS][step % Tile::STEPS_KEPT] : loaded,
                                    at_first + (uint32_t)(i * Tile::OTHERS * R::PITCH), step);
            }
    }
};

template <typename T, int D, int MT>
__global__ void __launch_bounds__(GradTile<T, D, MT, false>::THREADS, 2) attn_grad_queries_kernel(AttnParams p) {
    gpu::grid_enter();
    typedef TileRow<T, D> R;
    typedef GradTile<T, D, MT, false> Tile;
    enum { HIGH = 2 * Tile::OWN_BYTES, LOW = 3 * Tile::OWN_BYTES };
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31;
    GradWalk<T, D, MT, false> walk(p, gpu::smem_u32(shared));
    const AttnPlace at = walk.at;
    walk.copy_own(QUERY, 0), walk.copy_own(DY, Tile::OWN_BYTES);
    walk.copy_own(Y_HIGH, HIGH), walk.copy_own(Y_LOW, LOW);
    gpu::cp_async_commit();
    const float longest = IsHalf<T>::VALUE ? largest_of_head(p.lengths + group_number(p, at), p.tokens) : 0;
    gpu::cp_async_wait<0>();
    __syncthreads(); // the own rows have landed for all
    walk.keep_own();
    const uint32_t dy = walk.own_tile(Tile::OWN_BYTES);
    float dot[MT][2], bound[MT][2]; // D; what |dP| cannot exceed
    GPU_FOR (int m = 0; m < MT; m++) dot[m][0] = dot[m][1] = bound[m][0] = bound[m][1] = 0;
    add_row_dots<T, D>(dot, dy + walk.of_lane.left, walk.own_tile(HIGH) + walk.of_lane.right);
    add_row_dots<T, D>(dot, dy + walk.of_lane.left, walk.own_tile(LOW) + walk.of_lane.right);
    if (IsHalf<T>::VALUE) add_row_dots<T, D>(bound, dy + walk.of_lane.left, dy + walk.of_lane.right);
    __syncthreads(); // the stages lie over y's parts
    walk.copy_others(0);

    // A weight times a power of two is exp2(score * log2_scale - offset), but for what the offset's rounding takes: the factor that a
    // sum of them needs waits among the statistics.
    float offset[MT][2];
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + walk.row + 16 * m + 8 * h + (lane >> 2);
            const float2 score = query < p.tokens ? p.scores[row_number(p, at) + (size_t)query] : make_float2(0, 0);
            bound[m][h] = sqrtf(bound[m][h]) * sqrtf(longest);
            const int exponent = IsHalf<T>::VALUE ? range_exponent(bound[m][h]) : 0;
            const float rest = score.y - (float)exponent;
            offset[m][h] = fmaf(score.x, p.log2_scale, rest);
            const float unscale = p.scale / power_of_two(exponent) * exp2f(-(fmaf(score.x, p.log2_scale, -offset[m][h]) + rest));
            if ((lane & 3) == 0 && query < p.tokens)
                p.query_stats[row_number(p, at) + (size_t)query] =
                    make_float4(score.x, score.y - (float)Range<T>::P_EXPONENT, dot[m][h], unscale);
        }
    if (IsHalf<T>::VALUE) leave_largest(p.bounds + group_number(p, at), p.tokens, at.first + walk.row, bound);

    float dq[R::PARTS][MT][R::WIDTH][4];
    clear(dq);
    for (int first = 0; first < p.tokens; first += Tile::CHUNK) {
        walk.arrive(first);
        float s[MT][Tile::NT][4], dp[MT][Tile::NT][4];
        walk.products(s, dp, first);
        if (first + Tile::CHUNK > p.tokens)
            GPU_FOR (int n = 0; n < Tile::NT; n++)
                GPU_FOR (int i = 0; i < 4; i++)
                    if (first + 8 * n + (lane & 3) * 2 + i % 2 >= p.tokens)
                        GPU_FOR (int m = 0; m < MT; m++) s[m][n][i] = -INFINITY;
        Factors<T, MT, Tile::NT> slopes;
        GPU_FOR (int n = 0; n < Tile::NT; n++)
            GPU_FOR (int m = 0; m < MT; m++)
                GPU_FOR (int h = 0; h < 2; h++) {
                    float slope[2];
                    GPU_FOR (int i = 0; i < 2; i++)
                        slope[i] =
                            gpu::exp2_approx(fmaf(s[m][n][2 * h + i], p.log2_scale, -offset[m][h])) * (dp[m][n][2 * h + i] - dot[m][h]);
                    slopes.put(m, n, h, slope[0], slope[1]);
                }
        multiply_columns<T, D>(dq, slopes, shared, walk.base, walk.chunk_of(first) + walk.of_lane.column);
    }
    float unscale[MT][2];
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + walk.row + 16 * m + 8 * h + (lane >> 2);
            unscale[m][h] = query < p.tokens ? p.query_stats[row_number(p, at) + (size_t)query].w : 0; // a lane beside this one left it
        }
    store_rows<T, D, false>(p, dq, unscale, at, QUERY, at.first + walk.row);
}

template <typename T, int D, int MT>
__global__ void __launch_bounds__(GradTile<T, D, MT, true>::THREADS, 2) attn_grad_keys_kernel(AttnParams p) {
    gpu::grid_enter();
    typedef TileRow<T, D> R;
    typedef GradTile<T, D, MT, true> Tile;
    const float p_unit = 1.0f / (1 << Range<T>::P_EXPONENT);
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31;
    GradWalk<T, D, MT, true> walk(p, gpu::smem_u32(shared));
    const AttnPlace at = walk.at;
    walk.copy_own(KEY, 0), walk.copy_own(VALUE, Tile::OWN_BYTES);
    walk.copy_others(0);
    const int exponent = IsHalf<T>::VALUE ? range_exponent(largest_of_head(p.bounds + group_number(p, at), p.tokens)) : 0;
    const float factor = power_of_two(exponent), slope_unit = factor * p_unit; // of dS; of dS made from weights

    float dk[R::PARTS][MT][R::WIDTH][4], dv[R::PARTS][MT][R::WIDTH][4];
    clear(dk);
    clear(dv);
    for (int first = 0; first < p.tokens; first += Tile::CHUNK) {
        walk.arrive(first);
        if (first == 0) walk.keep_own();
        float s[MT][Tile::NT][4], dp[MT][Tile::NT][4];
        walk.products(s, dp, first);
        const uint8_t *const statistics = shared + walk.statistics_of(first / Tile::OTHERS) + (first % Tile::OTHERS + (lane & 3) * 2) * 16;
        Factors<T, MT, Tile::NT> slopes, probabilities;
        GPU_FOR (int n = 0; n < Tile::NT; n++) { // queries past the last are all zeros, and so are their statistics and dy
            float4 q[2];
            GPU_FOR (int i = 0; i < 2; i++) q[i] = *(const float4 *)(statistics + (8 * n + i) * 16);
            GPU_FOR (int m = 0; m < MT; m++)
                GPU_FOR (int h = 0; h < 2; h++) {
                    float weight[2], slope[2];
                    GPU_FOR (int i = 0; i < 2; i++) {
                        weight[i] = gpu::exp2_approx(fmaf(s[m][n][2 * h + i] - q[i].x, p.log2_scale, -q[i].y));
                        slope[i] = weight[i] * fmaf(dp[m][n][2 * h + i], slope_unit, -(q[i].z * slope_unit));
                    }
                    slopes.put(m, n, h, slope[0], slope[1]);
                    probabilities.put(m, n, h, weight[0], weight[1]);
                }
        }
        const uint32_t column = walk.chunk_of(first) + walk.of_lane.column;
        multiply_columns<T, D>(dk, slopes, shared, walk.base, column);
        multiply_columns<T, D>(dv, probabilities, shared, walk.base, column + Tile::OTHERS * R::PITCH);
    }
    float unscale[MT][2], unit[MT][2];
    GPU_FOR (int m = 0; m < MT; m++) unscale[m][0] = unscale[m][1] = p.scale / factor, unit[m][0] = unit[m][1] = p_unit;
    store_rows<T, D, false>(p, dk, unscale, at, KEY, at.first + walk.row);
    store_rows<T, D, false>(p, dv, unit, at, VALUE, at.first + walk.row);
}

// ---- f32 --------------------------------------------------------------------------------------------------------------------

// The statistics of queries: {maximum of the scores, log2 of the sum of weights, D, 0}. Some keys' share of a query's:
struct Statistics {
    float top, total, dot;
};
// top - base, where base is top unless no key has been seen: then both are -inf and nothing has been summed.
GPU_FN float finite_base(float top) { return top == -INFINITY ? 0 : top; }
// Adds keys; score is q.k, or -inf for keys past the last.
GPU_FN void add_keys(Statistics &s, const float (&score)[4], const float (&dp)[4], float log2_scale) {
    float most = score[0];
    GPU_FOR (int i = 0; i < 4; i++) most = fmaxf(most, score[i]);
    const float top = fmaxf(s.top, most), base = finite_base(top), shrink = exp2f((s.top - base) * log2_scale);
    s.top = top, s.total *= shrink, s.dot *= shrink;
    GPU_FOR (int i = 0; i < 4; i++) {
        const float weight = exp2f((score[i] - base) * log2_scale);
        s.total += weight, s.dot += weight * dp[i];
    }
}
// Adds the keys of the lane `apart` away.
GPU_FN void add_lane(Statistics &s, int apart, float log2_scale) {
    const Statistics o = {__shfl_xor_sync(~0u, s.top, apart), __shfl_xor_sync(~0u, s.total, apart), __shfl_xor_sync(~0u, s.dot, apart)};
    const float top = fmaxf(s.top, o.top), base = finite_base(top);
    const float mine = exp2f((s.top - base) * log2_scale), its = exp2f((o.top - base) * log2_scale);
    s = {top, s.total * mine + o.total * its, s.dot * mine + o.dot * its};
}

template <int V> __global__ void __launch_bounds__(F32_THREADS) attn_rows_f32_kernel(AttnParams p) {
    gpu::grid_enter();
    DYN_SHARED(shared);
    const int t = (int)threadIdx.x;
    const AttnPlace at = attn_place(p, F32_ROWS);
    const Matrix q = matrix(p, at, QUERY), k = matrix(p, at, KEY), v = matrix(p, at, VALUE), dy = matrix(p, at, DY);
    Statistics found[4];
    GPU_FOR (int i = 0; i < 4; i++) found[i] = {-INFINITY, 0, 0};
    for (int first = 0; first < p.tokens; first += F32_ROWS) {
        float s[4][4], dp[4][4];
        f32_dots<V>(p, s, (float *)shared, q, at.first, k, first);
        f32_dots<V>(p, dp, (float *)shared, dy, at.first, v, first);
        GPU_FOR (int i = 0; i < 4; i++) {
            GPU_FOR (int j = 0; j < 4; j++)
                if (first + t % 16 * 4 + j >= p.tokens) s[i][j] = -INFINITY;
            add_keys(found[i], s[i], dp[i], p.log2_scale);
        }
    }
    GPU_FOR (int i = 0; i < 4; i++) {
        GPU_FOR (int apart = 8; apart; apart /= 2) add_lane(found[i], apart, p.log2_scale);
        const int query = at.first + t / 16 * 4 + i;
        if (t % 16 == 0 && query < p.tokens)
            p.query_stats[row_number(p, at) + (size_t)query] =
                make_float4(found[i].top, log2f(found[i].total), found[i].dot / found[i].total, 0);
    }
}
template <int V, int PARTS, bool OWN_KEYS> __global__ void __launch_bounds__(F32_THREADS) attn_grad_f32_kernel(AttnParams p) {
    gpu::grid_enter();
    const Part own0 = OWN_KEYS ? KEY : QUERY, own1 = OWN_KEYS ? VALUE : DY, other0 = OWN_KEYS ? QUERY : KEY, other1 = OWN_KEYS ? DY : VALUE;
    DYN_SHARED(shared);
    float *const ds = (float *)shared, *const weights = ds + (OWN_KEYS ? F32_WEIGHTS : 0), *const buffer = weights + F32_WEIGHTS;
    const int t = (int)threadIdx.x, column = (int)blockIdx.z * 64 * PARTS;
    const AttnPlace at = attn_place(p, F32_ROWS);
    const Matrix a0 = matrix(p, at, own0), a1 = matrix(p, at, own1), b0 = matrix(p, at, other0), b1 = matrix(p, at, other1);
    float sum0[PARTS][4][4], sum1[PARTS][4][4]; // dq; dk and dv
    GPU_FOR (int i = 0; i < PARTS * 16; i++) (&sum0[0][0][0])[i] = (&sum1[0][0][0])[i] = 0;
    for (int first = 0; first < p.tokens; first += F32_ROWS) {
        float s[4][4], dp[4][4];
        f32_dots<V>(p, s, buffer, a0, at.first, b0, first);
        f32_dots<V>(p, dp, buffer, a1, at.first, b1, first);
        GPU_FOR (int i = 0; i < 4; i++)
            GPU_FOR (int j = 0; j < 4; j++) {
                const int own = at.first + t / 16 * 4 + i, other = first + t % 16 * 4 + j, query = OWN_KEYS ? other : own;
                const bool valid = own < p.tokens && other < p.tokens;
                const float4 q = valid ? p.query_stats[row_number(p, at) + (size_t)query] : make_float4(0, 0, 0, 0);
                s[i][j] = valid ? exp2f(fmaf(s[i][j] - q.x, p.log2_scale, -q.y)) : 0;
                dp[i][j] = s[i][j] * (dp[i][j] - q.z);
            }
        f32_keep(ds, dp);
        if (OWN_KEYS) f32_keep(weights, s);
        f32_sum<V>(p, sum0, ds, buffer, b0, first, column);
        if (OWN_KEYS) f32_sum<V>(p, sum1, weights, buffer, b1, first, column);
    }
    const float scale[4] = {p.scale, p.scale, p.scale, p.scale}, one[4] = {1, 1, 1, 1};
    f32_store<V>(p, sum0, scale, at, own0, column);
    if (OWN_KEYS) f32_store<V>(p, sum1, one, at, VALUE, column);
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

template <typename T, int D, int MT> static int launch_mma(AttnParams p, int n, cudaStream_t stream) {
    typedef GradTile<T, D, MT, false> Queries;
    typedef GradTile<T, D, MT, true> Keys;
    const dim3 grid = attn_grid(&p, n, Queries::OWN, 1), block(Queries::THREADS);
    const int error = gpu::launch_dependent(attn_grad_queries_kernel<T, D, MT>, grid, block, (size_t)Queries::SHARED_BYTES, stream, p);
    return error ? error : gpu::launch_dependent(attn_grad_keys_kernel<T, D, MT>, grid, block, (size_t)Keys::SHARED_BYTES, stream, p);
}
// 32 rows per warp where they fit the registers and there are so many: the others' operands are loaded half as often.
template <typename T, int D> static int launch_mma(const AttnParams &p, int n, cudaStream_t stream) {
    if constexpr (TileRow<T, D>::BYTES <= 128 && sizeof(T) == 2) {
        if (p.tokens > 64) return launch_mma<T, D, 2>(p, n, stream);
    }
    return launch_mma<T, D, 1>(p, n, stream);
}
template <typename T> static int launch_mma(const AttnParams &p, int n, cudaStream_t stream) {
    if (p.d <= 32) return launch_mma<T, 32>(p, n, stream);
    if constexpr (sizeof(T) == 2) {
        if (p.d > 64) return launch_mma<T, 128>(p, n, stream);
    }
    return launch_mma<T, 64>(p, n, stream);
}
template <int V, int PARTS> static int launch_f32(AttnParams p, int n, cudaStream_t stream) {
    enum { BUFFER = F32_DEPTH * 64 * PARTS > 2 * F32_TILE ? F32_DEPTH * 64 * PARTS : 2 * F32_TILE };
    const dim3 grid = attn_grid(&p, n, F32_ROWS, (p.d + 64 * PARTS - 1) / (64 * PARTS)), block(F32_THREADS), rows_grid(grid.x);
    const size_t dots = 2 * F32_TILE * sizeof(float), shared = (F32_WEIGHTS + BUFFER) * sizeof(float);
    int error = gpu::launch_dependent(attn_rows_f32_kernel<V>, rows_grid, block, dots, stream, p);
    if (!error) error = gpu::launch_dependent(attn_grad_f32_kernel<V, PARTS, false>, grid, block, shared, stream, p);
    return error
               ? error
               : gpu::launch_dependent(attn_grad_f32_kernel<V, PARTS, true>, grid, block, shared + F32_WEIGHTS * sizeof(float), stream, p);
}
template <int V> static int launch_f32(const AttnParams &p, int n, cudaStream_t stream) {
    return p.d <= 64 ? launch_f32<V, 1>(p, n, stream) : launch_f32<V, 2>(p, n, stream);
}
static bool backward_on_tensor_cores(const AttnArgs *a) {
    return on_tensor_cores(a, a->qkv_type == DG_F32 ? 64 : 128) && a->dy_type == a->qkv_type;
}
extern "C" int cuda_attn_bwd(const AttnArgs *a, void *stream) {
    if (attn_bwd_sm90_takes(a)) return attn_bwd_sm90(a, stream);
    const AttnParams p = attn_params(a);
    if (!backward_on_tensor_cores(a) || !a->kept || attn_bwd_heads_fits(a))
        return a->d % 4 == 0 ? launch_f32<4>(p, a->n, (cudaStream_t)stream) : launch_f32<1>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_F16) return launch_mma<__half>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_BF16) return launch_mma<__nv_bfloat16>(p, a->n, (cudaStream_t)stream);
    return launch_mma<float>(p, a->n, (cudaStream_t)stream);
}
extern "C" size_t cuda_attn_workspace(const AttnArgs *a) {
    return a->dy ? attn_rows(a) * sizeof(float4) + attn_groups(a) * sizeof(float) : 0;
}
extern "C" size_t cuda_attn_kept(const AttnArgs *a) {
    if (!backward_on_tensor_cores(a)) return 0;
    return parts_bytes(a) + attn_rows(a) * sizeof(float2) + attn_groups(a) * sizeof(float);
}
