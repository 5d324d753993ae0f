/* attention.c -- attention, forward and backward, a block of query rows at a time: the scores of a block against all
 * keys stay in the second-level cache, and nothing of T x T is ever in memory.
 * Backward: one thread owns one (image, head), so that dK and dV are summed over the row blocks in their order.          */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

typedef struct {
    int images, heads, d, tokens, block, blocks; /* block: query rows at a time */
    int padded;                                  /* tokens, in whole vectors */
    size_t row, scores;                          /* floats from token to token of qkv; from row to row of scores */
    size_t pack_key, pack_token;                 /* floats of a d x T and of a T x d matrix, packed */
    float scale;
} Attention;

static Attention attention_layout(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    const int cached_floats = 65536; /* of the blocks of scores that are in use together */
    Shape s = cpu_shape_in(e, i, 0);
    Attention a = {.images = s.n, .heads = op->attn.heads, .d = s.c / 3 / op->attn.heads, .tokens = (int)pixels_of(s), .row = (size_t)s.c};
    a.padded = round_up(a.tokens, LANES);
    /* An odd number of cache lines: columns of P are read too, and a power of two would put them all into one set. */
    a.scores = (size_t)round_up(a.tokens, 32) + 16;
    int rows = cached_floats / (int)a.scores / (op->kind == OP_ATTN_BWD ? 2 : 1);
    a.block = rows < 12 ? 12 : rows > GEMM_ROWS ? GEMM_ROWS : rows / 6 * 6;
    if (a.block > a.tokens) a.block = a.tokens;
    a.blocks = (a.tokens + a.block - 1) / a.block;
    a.pack_key = gemm_packed_floats(a.d, a.tokens), a.pack_token = gemm_packed_floats(a.tokens, a.d);
    a.scale = (float)(1 / sqrt((double)a.d));
    return a;
}
static size_t forward_shared(const Attention *a) { return a->pack_key + a->pack_token; } /* of one head */
static size_t forward_scratch(const Attention *a) { return (size_t)a->block * a->scores; }
static size_t backward_scratch(const Attention *a) {
    return 2 * a->pack_key + a->pack_token + 2 * (size_t)a->block * a->scores + 2 * gemm_packed_floats(a->block, a->d);
}
bool cpu_attention_prepare(Exec *e, int i, Error *err) {
    Attention a = attention_layout(e, i);
    size_t one = e->g->op[i].kind == OP_ATTN ? forward_shared(&a) + forward_scratch(&a) : backward_scratch(&a);
    return cpu_reserve(e, (size_t)cpu_of(e)->threads * one, err);
}
/* q, k or v (part 0, 1, 2) of one head */
static size_t part_of(const Attention *a, int head, int part) {
    return (size_t)(head / a->heads) * (size_t)a->tokens * a->row + (size_t)part * a->row / 3 + (size_t)(head % a->heads) * (size_t)a->d;
}
/* The same place in a tensor of C channels: the output, or its gradient. */
static size_t out_of(const Attention *a, int head) {
    return (size_t)(head / a->heads) * (size_t)a->tokens * (a->row / 3) + (size_t)(head % a->heads) * (size_t)a->d;
}
/* The largest score of a row; what is behind its last token becomes -infinity. */
static Vec row_max(const Attention *a, float *s) {
    for (int t = a->tokens; t < a->padded; t++) s[t] = -INFINITY;
    Vec top = vec_load(s);
    for (int t = LANES; t < a->padded; t += LANES) top = vec_above(vec_load(s + t), top);
    return vec_all(vec_max(top));
}
/* ---- forward --------------------------------------------------------------------------------------------------------------- */
/* s[t] = e^(s[t] - max); returns 1 / sum. */
static float softmax_row(const Attention *a, float *s) {
    Vec max = row_max(a, s), sum = vec_all(0);
    for (int t = 0; t < a->padded; t += LANES) {
        Vec p = vec_exp(vec_load(s + t) - max);
        vec_store(s + t, p);
        sum += p;
    }
    return 1 / vec_sum(sum);
}
static void forward_block(const Attention *a, const float *qkv, float *y, int head, int block, const float *keys, const float *values,
                          float *s) {
    int first = block * a->block, rows = min_int(a->block, a->tokens - first);
    size_t C = a->row / 3;
    const float *q = qkv + part_of(a, head, 0) + (size_t)first * a->row;
    gemm(&(Gemm){.m = rows,
                 .n = a->tokens,
                 .k = a->d,
                 .a = q,
                 .a_row = a->row,
                 .a_col = 1,
                 .b = keys,
                 .c = s,
                 .c_row = a->scores,
                 .scale = a->scale});
    float sum[GEMM_ROWS];
    for (int r = 0; r < rows; r++) sum[r] = softmax_row(a, s + (size_t)r * a->scores);
    float *o = y + out_of(a, head) + (size_t)first * C;
    gemm(
        &(Gemm){.m = rows, .n = a->d, .k = a->tokens, .a = s, .a_row = a->scores, .a_col = 1, .b = values, .c = o, .c_row = C, .scale = 1});
    for (int r = 0; r < rows; r++, o += C)
        for (int c = 0; c < a->d; c++) o[c] *= sum[r];
}
void cpu_attention(const Exec *e, int i) {
    const Attention a = attention_layout(e, i);
    const float *qkv = cpu_in(e, i, 0);
    float *y = cpu_out(e, i), *work = cpu_of(e)->work;
    int threads = cpu_of(e)->threads, heads = a.images * a.heads;
    float *scratch = work + (size_t)threads * forward_shared(&a);
#pragma omp parallel num_threads(threads)
    for (int first = 0; first < heads; first += threads) { /* as many heads at a time as there is room for their keys */
        int group = min_int(threads, heads - first);
#pragma omp for
        for (int t = 0; t < 2 * group; t++) {
            float *pack = work + (size_t)(t / 2) * forward_shared(&a);
            if (t % 2 == 0) gemm_pack(a.d, a.tokens, qkv + part_of(&a, first + t / 2, 1), 1, a.row, pack);
            else gemm_pack(a.tokens, a.d, qkv + part_of(&a, first + t / 2, 2), a.row, 1, pack + a.pack_key);
        }
#pragma omp for schedule(dynamic)
        for (int t = 0; t < group * a.blocks; t++) {
            const float *pack = work + (size_t)(t / a.blocks) * forward_shared(&a);
            forward_block(&a, qkv, y, first + t / a.blocks, t % a.blocks, pack, pack + a.pack_key,
                          scratch + (size_t)thread_index() * forward_scratch(&a));
        }
    }
}

/* ---- backward -------------------------------------------------------------------------------------------------------------- */
/* s becomes P = softmax(s); dp = dO V^T becomes dS = P (dp - sum_t P dp) / sqrt d. */
static void score_gradient(const Attention *a, float *s, float *dp) {
    Vec max = row_max(a, s), sum = vec_all(0), dot = vec_all(0);
    for (int t = a->tokens; t < a->padded; t++) dp[t] = 0;
    for (int t = 0; t < a->padded; t += LANES) {
        Vec p = vec_exp(vec_load(s + t) - max);
        vec_store(s + t, p);
        sum += p;
        dot = vec_fma(p, vec_load(dp + t), dot);
    }
    Vec inverse = vec_all(1 / vec_sum(sum)), mean = inverse * vec_sum(dot), scale = vec_all(a->scale);
    for (int t = 0; t < a->padded; t += LANES) {
        Vec p = vec_load(s + t) * inverse;
        vec_store(s + t, p);
        vec_store(dp + t, p * (vec_load(dp + t) - mean) * scale);
    }
}
typedef struct {
    float *keys, *values, *key_rows; /* K^T and V^T (d x T), K (T x d): packed */
    float *s, *dp, *q_pack, *dy_pack;
} Backward;
static void backward_block(const Attention *a, const Backward *b, const float *qkv, const float *dy, float *dqkv, int head, int block) {
    int first = block * a->block, rows = min_int(a->block, a->tokens - first);
    size_t C = a->row / 3;
    const float *q = qkv + part_of(a, head, 0) + (size_t)first * a->row, *d_out = dy + out_of(a, head) + (size_t)first * C;
    float *dq = dqkv + part_of(a, head, 0) + (size_t)first * a->row, *dk = dqkv + part_of(a, head, 1), *dv = dqkv + part_of(a, head, 2);
    gemm(&(Gemm){.m = rows,
                 .n = a->tokens,
                 .k = a->d,
                 .a = q,
                 .a_row = a->row,
                 .a_col = 1,
                 .b = b->keys,
                 .c = b->s,
                 .c_row = a->scores,
                 .scale = a->scale});
    gemm(&(Gemm){.m = rows,
                 .n = a->tokens,
                 .k = a->d,
                 .a = d_out,
                 .a_row = C,
                 .a_col = 1,
                 .b = b->values,
                 .c = b->dp,
                 .c_row = a->scores,
                 .scale = 1});
    for (int r = 0; r < rows; r++) score_gradient(a, b->s + (size_t)r * a->scores, b->dp + (size_t)r * a->scores);
    gemm(&(Gemm){.m = rows,
                 .n = a->d,
                 .k = a->tokens,
                 .a = b->dp,
                 .a_row = a->scores,
                 .a_col = 1,
                 .b = b->key_rows,
                 .c = dq,
                 .c_row = a->row,
                 .scale = 1});
    gemm_pack(rows, a->d, q, a->row, 1, b->q_pack);
    gemm_pack(rows, a->d, d_out, C, 1, b->dy_pack);
    /* dV += P^T dO, dK += dS^T Q: the first block writes */
    gemm(&(Gemm){.m = a->tokens,
                 .n = a->d,
                 .k = rows,
                 .a = b->s,
                 .a_row = 1,
                 .a_col = a->scores,
                 .b = b->dy_pack,
                 .c = dv,
                 .c_row = a->row,
                 .add = block ? dv : NULL,
                 .add_row = a->row,
                 .scale = 1});
    gemm(&(Gemm){.m = a->tokens,
                 .n = a->d,
                 .k = rows,
                 .a = b->dp,
                 .a_row = 1,
                 .a_col = a->scores,
                 .b = b->q_pack,
                 .c = dk,
                 .c_row = a->row,
                 .add = block ? dk : NULL,
                 .add_row = a->row,
                 .scale = 1});
}
void cpu_attention_bwd(const Exec *e, int i) {
    const Attention a = attention_layout(e, i);
    const float *qkv = cpu_in(e, i, 0), *dy = cpu_in(e, i, 1);
    float *dqkv = cpu_out(e, i), *work = cpu_of(e)->work;
    int heads = a.images * a.heads;
#pragma omp parallel for num_threads(cpu_of(e)->threads) schedule(dynamic)
    for (int head = 0; head < heads; head++) {
        Backward b = {.keys = work + (size_t)thread_index() * backward_scratch(&a)};
        b.values = b.keys + a.pack_key, b.key_rows = b.values + a.pack_key, b.s = b.key_rows + a.pack_token;
        b.dp = b.s + (size_t)a.block * a.scores, b.q_pack = b.dp + (size_t)a.block * a.scores;
        b.dy_pack = b.q_pack + gemm_packed_floats(a.block, a.d);
        gemm_pack(a.d, a.tokens, qkv + part_of(&a, head, 1), 1, a.row, b.keys);
        gemm_pack(a.d, a.tokens, qkv + part_of(&a, head, 2), 1, a.row, b.values);
        gemm_pack(a.tokens, a.d, qkv + part_of(&a, head, 1), a.row, 1, b.key_rows);
        for (int block = 0; block < a.blocks; block++) backward_block(&a, &b, qkv, dy, dqkv, head, block);
    }
}
