/* cpu_state.c -- the sampler's state functions of the CPU backend, each beside a copy of as many bytes as it reads and writes.
 *   build/bench/cpu_state [ROUNDS [WORD]]     11 rounds; only rows whose name contains WORD
 * A row and the copy take turns (turns.h). Medians of the rounds; the ratio is the median of the rounds' ratios, with the least and the
 * greatest. To add a row: a function, if there is none, and a line in `rows`.                                                  */
#include "bench/turns.h"

typedef struct Row Row;
typedef struct { /* what the functions work on: the same for all */
    Device *d;
    const Row *row;
    int n;
    size_t per_sample;
    double *x, *out, *noise; /* [n][per_sample] */
    float *network, *input;  /* [n][per_sample] of pixels of 3 channels, or of 6: eps and v */
    float *gradient;         /* [n][per_sample] */
    uint8_t *bytes;          /* [n][per_sample] */
    double *coef;            /* [n], of every term */
    int *bad;                /* [n] */
    PosteriorCoef *step;     /* [n] */
} State;
struct Row {
    const char *name;
    void (*call)(void *state);
    int bytes; /* of an element, read and written */
    bool learned, guided, noise;
};

/* ---- rows: the summands of sampler.c, and a step of a discrete process --------------------------------------------------------- */
static Term f64(const State *s, const double *data) { return (Term){.data = data, .type = DG_F64, .coef = s->coef}; }
static Term f32(const State *s, const float *data) { return (Term){.data = data, .type = DG_F32, .coef = s->coef}; }
static Term half_of_network(const State *s, int first) {
    return (Term){.data = s->network, .type = DG_F32, .coef = s->coef, .channels = 3, .first = first, .stride = 6};
}
static void network_input(void *state) {
    State *s = state;
    s->d->be->combine(s->d, s->input, DG_F32, s->n, s->per_sample, (Term[]){f64(s, s->x)}, 1);
}
static void slope(void *state) {
    State *s = state;
    s->d->be->combine(s->d, s->out, DG_F64, s->n, s->per_sample, (Term[]){f64(s, s->x), f32(s, s->network), f32(s, s->gradient)}, 3);
}
static void euler_step(void *state) {
    State *s = state;
    s->d->be->combine(s->d, s->out, DG_F64, s->n, s->per_sample, (Term[]){f64(s, s->x), f64(s, s->noise)}, 2);
}
static void heun_step(void *state) { /* x, which it replaces, is among the summands */
    State *s = state;
    Term terms[] = {f64(s, s->out), f32(s, s->network), f32(s, s->gradient), f64(s, s->x), f64(s, s->noise)};
    s->d->be->combine(s->d, s->out, DG_F64, s->n, s->per_sample, terms, 5);
}
static void posterior(void *state) {
    State *s = state;
    Posterior p = {.x0 = {s->row->learned ? half_of_network(s, 0) : f32(s, s->network)}, .terms = 1, .coef = s->step, .clip = true};
    if (s->row->learned) p.variance = half_of_network(s, 3);
    if (s->row->guided) p.gradient[p.gradients++] = f32(s, s->gradient);
    if (s->row->noise) p.noise = s->noise;
    s->d->be->posterior(s->d, s->x, s->n, s->per_sample, &p);
}
static void to_u8(void *state) {
    State *s = state;
    s->d->be->to_u8(s->d, s->bytes, s->x, DG_F64, s->n, s->per_sample, 127.5, 128, s->bad);
}
static void to_u8_f32(void *state) {
    State *s = state;
    s->d->be->to_u8(s->d, s->bytes, s->gradient, DG_F32, s->n, s->per_sample, 127.5, 127.5, s->bad);
}
static const Row rows[] = {
    {"combine, a network's input", network_input, 8 + 4},
    {"combine, EDM's slope with guidance", slope, 8 + 4 + 4 + 8},
    {"combine, an Euler step", euler_step, 8 + 8 + 8},
    {"combine, a Heun step with guidance", heun_step, 8 + 4 + 4 + 8 + 8 + 8},
    {"posterior, eps", posterior, 16 + 4},
    {"posterior, eps, noise", posterior, 16 + 4 + 8, .noise = true},
    {"posterior, eps and v, noise", posterior, 16 + 8 + 8, .learned = true, .noise = true},
    {"posterior, eps and v, gradient, noise", posterior, 16 + 8 + 4 + 8, .learned = true, .guided = true, .noise = true},
    {"to_u8", to_u8, 8 + 1},
    {"to_u8 of f32", to_u8_f32, 4 + 1},
};
static const struct {
    int n;
    size_t per_sample;
} sizes[] = {{8, 3 * 32 * 32}, {64, 3 * 256 * 256}};
enum { ROWS = sizeof rows / sizeof *rows, SIZES = sizeof sizes / sizeof *sizes };

/* ---- measuring ------------------------------------------------------------------------------------------------------------------ */
static void *made_up(Device *d, DType type, size_t count) {
    void *p = d->be->alloc(d, count * dtype_bytes(type));
    DG_CHECK(p, "no memory");
    if (type == DG_U8) memset(p, 0, count);
    else dtype_made_up(type, p, count);
    return p;
}
static State state_new(Device *d, int n, size_t per_sample) {
    size_t count = (size_t)n * per_sample;
    State s = {.d = d, .n = n, .per_sample = per_sample};
    s.x = made_up(d, DG_F64, count), s.out = made_up(d, DG_F64, count), s.noise = made_up(d, DG_F64, count);
    s.network = made_up(d, DG_F32, 2 * count), s.input = made_up(d, DG_F32, count), s.gradient = made_up(d, DG_F32, count);
    s.bytes = made_up(d, DG_U8, count), s.coef = made_up(d, DG_F64, (size_t)n);
    s.bad = dg_alloc((size_t)n * sizeof *s.bad), s.step = dg_alloc((size_t)n * sizeof *s.step);
    /* of a step in the middle; x stays what it is in size */
    for (int i = 0; i < n; i++) s.step[i] = (PosteriorCoef){1.5, 0.1, 0.8, 1e-3, 1, 1e-3, 1, -9, 2};
    return s;
}
static void state_free(State *s) {
    void *device[] = {s->x, s->out, s->noise, s->network, s->input, s->gradient, s->bytes, s->coef};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) s->d->be->release(s->d, device[i]);
    free(s->bad), free(s->step);
}
int main(int argc, char **argv) {
    const Asked a = asked(argc, argv, "cpu_state");
    int shown = 0;
    if (!a.rounds) return 2;
    printf("| function | samples | bytes a value | MB | GB/s | of a copy | ratio |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < SIZES; i++) {
        State s = state_new(a.d, sizes[i].n, sizes[i].per_sample);
        for (int k = 0; k < ROWS; k++) {
            if (!strstr(rows[k].name, a.word)) continue;
            double bytes = (double)rows[k].bytes * (double)sizes[i].n * (double)sizes[i].per_sample;
            Copy copy = copy_new(bytes);
            s.row = &rows[k];
            Subject function = {.call = rows[k].call, .context = &s, .work = bytes}, of_copy = copy_subject(&copy);
            Rates r = take_turns(&function, &of_copy, a.rounds);
            printf("| %s | %d of %zu | %d | %.4g | %.1f | %.1f | **%.2f** (%.2f to %.2f) |\n", rows[k].name, s.n, s.per_sample,
                   rows[k].bytes, bytes * 1e-6, r.rate * 1e-9, r.other * 1e-9, r.ratio, r.least, r.greatest);
            fflush(stdout);
            copy_free(&copy);
            shown++;
        }
        state_free(&s);
    }
    return asked_end(&a, shown, "cpu_state");
}
