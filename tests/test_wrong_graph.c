/* test_wrong_graph.c -- what the author of a model, or of an op, got wrong stops with a sentence that says what, before anything runs. */
#include "device/device.h"
#include "graph/positions.h"
#include "graph/weights.h"
#include "check.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static Graph *new_graph(void) { return graph_new((Precision){DG_F32, false}); }
static Tid image(Graph *g) { return g_input(g, "x", (Shape){1, 8, 8, 16}); }
static Tid weight(Graph *g, int r, int s) { return g_weight(g, "some.weight", (Shape){16, r, s, 16}, (WeightView){.kind = VIEW_CONV}); }
static void differentiate(Graph *g, Tid y, Tid x) { graph_backward(g, y, g_input(g, "dy", shape_of(g, y)), x); }

static void unknown_function(void) {
    Graph *g = new_graph();
    g_unary(g, image(g), (UnaryKind)UNARY_COUNT, -1, 1);
}
static void unknown_op(void) {
    Graph *g = new_graph();
    g_emit(g, (Op){.kind = (OpKind)OP_COUNT, .in = {image(g)}}, (Shape){1, 8, 8, 16});
}
static void one_pad_for_a_row(void) {
    Graph *g = new_graph();
    g_conv(g, image(g), weight(g, 1, 7), 0, 3);
}
static void negative_pad(void) {
    Graph *g = new_graph();
    g_conv_with(g, image(g), weight(g, 3, 3), 0, (ConvOptions){1, 1, 1, -1, 1, 1});
}
static void no_stride(void) {
    Graph *g = new_graph();
    g_conv_with(g, image(g), weight(g, 3, 3), 0, (ConvOptions){.scale = 1});
}
/* Views are looked at when their weights are read. */
static void read_view(const char *name, Shape s, WeightView v) {
    Error e = {""};
    float *out = dg_alloc(shape_count(s) * sizeof *out);
    weights_read(weights_synthetic(1, NULL), name, s, v, DG_F32, out, &e);
}
static void norm_of_no_convolution(void) {
    read_view("some.weight", (Shape){16, 3, 3, 16}, (WeightView){.kind = VIEW_FOLD_BN, .eps = .001});
}
static void norm_without_eps(void) { read_view("some.bn.bias", (Shape){1, 1, 1, 16}, (WeightView){.kind = VIEW_FOLD_BN_BIAS}); }
static void positions_for_six_channels(void) {
    float out[2 * 2 * 6];
    positions_2d(2, 2, 6, out);
}
static void positions_of_two_images(void) { read_view("pos_embed", (Shape){2, 2, 2, 8}, (WeightView){.kind = VIEW_POSITIONS}); }
static void gradient_of_a_stride(void) {
    Graph *g = new_graph();
    Tid x = image(g);
    differentiate(g, g_conv_with(g, x, weight(g, 3, 3), 0, (ConvOptions){2, 1, 1, 1, 1, 1}), x);
}
/* The rule of an add hands on the gradient of its result: it cannot fit an input of another shape. */
static void gradient_of_another_shape(void) {
    Graph *g = new_graph();
    Tid x = image(g);
    differentiate(g, g_emit(g, (Op){.kind = OP_ADD, .in = {x}, .add = {1, 0}}, (Shape){1, 8, 9, 16}), x);
}
static void gradient_of_a_forward_op(void) {
    Graph *g = new_graph();
    Tid x = image(g);
    differentiate(g, g_slice(g, x, 0, 4), x);
}
static void gradient_of_an_activation(void) {
    Graph *g = new_graph();
    Tid x = image(g);
    differentiate(g, g_conv_with(g, x, weight(g, 3, 3), 0, (ConvOptions){1, 1, 1, 1, 1, 1, ACT_RELU}), x);
}
static void gradient_of_a_gate(void) {
    Graph *g = new_graph();
    Tid x = image(g), y = g_gate(g, g_conv(g, x, weight(g, 3, 3), 0, 1), g_input(g, "gate", (Shape){1, 1, 1, 16}), 0);
    graph_fuse(g);
    differentiate(g, y, x);
}
/* A convolution of images with a skip of `images`, by a weight for so many channels. */
static void with_skip(Shape images, int c, Tid gate) {
    Graph *g = new_graph();
    Tid y = g_conv(g, image(g), weight(g, 3, 3), 0, 1), skip = g_input(g, "skip", images);
    Op *conv = &g->op[g->t[y].producer];
    conv->in[4] = gate;
    *conv = conv_with_skip(g, *conv, skip, 0, g_weight(g, "skip.weight", (Shape){16, 1, 1, c}, (WeightView){.kind = VIEW_CONV}), 0);
}
static void skip_beside_a_gate(void) { with_skip((Shape){1, 8, 8, 8}, 8, 1); }
static void skip_of_other_channels(void) { with_skip((Shape){1, 8, 8, 8}, 16, 0); }
static void skip_of_other_pixels(void) { with_skip((Shape){1, 8, 4, 8}, 8, 0); }
static void skip_of_another_type(void) {
    Graph *g = graph_new((Precision){DG_F16, false});
    Tid x = image(g), y = g_conv(g, x, weight(g, 3, 3), 0, 1),
        w = g_weight(g, "skip.weight", (Shape){16, 1, 1, 16}, (WeightView){.kind = VIEW_CONV});
    conv_with_skip(g, g->op[g->t[y].producer], x, 0, w, 0);
}
static void window_of_padding(void) {
    Graph *g = new_graph();
    g_pool(g, image(g), (PoolOptions){.height = 3, .width = 3, .stride = 1, .pad = 3});
}
static Tid table(Graph *g, double first, double weight) {
    return g_table(g, "some table", (Shape){1, 1, 1, 3}, (double[]){first, 1, weight});
}
static void table_beyond_the_image(void) {
    Graph *g = new_graph();
    g_resize(g, image(g), table(g, 7, .5), table(g, 0, 0), (ResizeOptions){.lo = -1, .hi = 1});
}
static void table_between_pixels(void) {
    Graph *g = new_graph();
    g_resize(g, image(g), table(g, 7, 0), table(g, .5, 0), (ResizeOptions){.lo = -1, .hi = 1});
}
static void table_of_floats(void) {
    Graph *g = new_graph();
    float values[2] = {0, 1};
    Tid t = g_constant(g, "floats", (Shape){1, 1, 1, 2}, DG_F32, values);
    g_resize(g, image(g), t, t, (ResizeOptions){.lo = -1, .hi = 1});
}
static void positions_of_another_size(void) {
    static const float values[8 * 4 * 16];
    Graph *g = new_graph();
    g_add(g, image(g), g_constant(g, "positions", (Shape){1, 4, 8, 16}, DG_F32, values), 1, 1);
}
static void gate_for_other_channels(void) {
    Graph *g = new_graph();
    g_gate(g, image(g), g_input(g, "gate", (Shape){1, 1, 1, 8}), 0);
}
static void modulation_of_half(void) {
    Graph *g = new_graph();
    g_pixel_norm(g, image(g), 0, 0, g_input(g, "shift", (Shape){1, 1, 1, 16}), 1e-6f, false);
}
static void pixels_of_too_few_channels(void) {
    Graph *g = new_graph();
    g_depth_to_space(g, image(g), 3);
}
static void softmax_of_an_image(void) {
    Graph *g = new_graph();
    g_softmax(g, image(g), false);
}
/* In 16 bits a 1x1 image is one: a convolution over all pixels gives no vector. */
static Tid one_pixel(Graph *g, Tid x) {
    Tid w = g_weight(g, "all.weight", (Shape){16, 8, 8, 16}, (WeightView){.kind = VIEW_CONV});
    return g_conv(g, x, w, 0, 0);
}
static void gate_of_one_pixel(void) {
    Graph *g = graph_new((Precision){DG_F16, false});
    Tid x = image(g);
    g_gate(g, x, one_pixel(g, x), 0);
}
static void softmax_of_one_pixel(void) {
    Graph *g = graph_new((Precision){DG_F16, false});
    g_softmax(g, one_pixel(g, image(g)), false);
}
static void modulation_of_one_pixel(void) {
    Graph *g = graph_new((Precision){DG_F16, false});
    Tid x = image(g), v = one_pixel(g, x);
    g_pixel_norm(g, x, 0, 0, g_concat(g, v, v), 1e-6f, false);
}
static void constant_as_gate(void) {
    static const float values[16];
    Graph *g = new_graph();
    g_gate(g, image(g), g_constant(g, "ones", (Shape){1, 1, 1, 16}, DG_F32, values), 0);
}
static void constant_as_residual(void) {
    static const float values[8 * 8 * 16];
    Graph *g = new_graph();
    g_gate(g, image(g), g_input(g, "gate", (Shape){1, 1, 1, 16}), g_constant(g, "picture", (Shape){1, 8, 8, 16}, DG_F32, values));
}
static void wide_too_late(void) {
    Graph *g = graph_new((Precision){DG_F16, false});
    Tid y = g_conv(g, image(g), weight(g, 3, 3), 0, 1);
    g_conv(g, y, g_weight(g, "next.weight", (Shape){16, 1, 1, 16}, (WeightView){.kind = VIEW_CONV}), 0, 0);
    g_f32(g, y);
}
static void too_many_images(void) {
    Graph *g = new_graph();
    g_input(g, "x", (Shape){MAX_BATCH + 1, 1, 1, 1});
}
static void concat_of_six(void) {
    Graph *g = new_graph();
    Tid x = image(g);
    g_concat_all(g, (Tid[]){x, x, x, x, x, x}, 6);
}
static void constant_as_kernel(void) {
    static const float values[16 * 16];
    Graph *g = new_graph();
    g_conv(g, image(g), g_constant(g, "table", (Shape){16, 1, 1, 16}, DG_F32, values), 0, 0);
}
static void two_batches(void) {
    Graph *g = new_graph();
    image(g), g_input(g, "label", (Shape){2, 1, 1, 10});
}
static void constant_as_input(void) {
    static const float values[16];
    Graph *g = new_graph();
    image(g), g_silu(g, g_constant(g, "table", (Shape){1, 1, 1, 16}, DG_F32, values));
}
static Exec *batch_of_two(void) {
    Error e = {""};
    Graph *g = new_graph();
    g_output(g, g_silu(g, g_input(g, "x", (Shape){2, 8, 8, 16})));
    graph_plan(g);
    return exec_new(g, device_open("cpu", NULL, &e), weights_alone(weights_synthetic(1, NULL)), &e);
}
static void run_of_none(void) { exec_run(batch_of_two(), 0); }
static void run_of_three(void) { exec_run(batch_of_two(), 3); }
static void values_of_three(void) {
    static const float values[3 * 8 * 8 * 16];
    exec_set_rows(batch_of_two(), 1, 3, DG_F32, values);
}
static void terms(const Term *t, size_t per_sample) {
    Error e = {""};
    Device *d = device_open("cpu", NULL, &e);
    double out[16];
    d->be->combine(d, out, DG_F64, 1, per_sample, t, 1);
}
static void posterior(const Posterior *p, size_t per_sample) {
    Error e = {""};
    Device *d = device_open("cpu", NULL, &e);
    double x[16] = {0};
    d->be->posterior(d, x, 1, per_sample, p);
}
static void step_of_nothing(void) { posterior(&(Posterior){.terms = 0}, 6); }
static void step_of_too_much(void) { posterior(&(Posterior){.terms = POSTERIOR_TERMS + 1}, 6); }
static void three_gradients(void) { posterior(&(Posterior){.terms = 1, .gradients = 3}, 6); }
static void variance_of_another_image(void) {
    static const double values[16], coef[1];
    const Term eps = {.data = values, .type = DG_F64, .coef = coef};
    posterior(&(Posterior){.x0 = {eps}, .terms = 1, .variance = {.data = values, .type = DG_F64, .channels = 3, .first = 3, .stride = 6}},
              7);
}
static void gradient_of_whole_numbers(void) {
    static const double values[16], coef[1];
    const Term eps = {.data = values, .type = DG_F64, .coef = coef}, g = {.data = values, .type = DG_I64, .coef = coef};
    posterior(&(Posterior){.x0 = {eps}, .terms = 1, .gradient = {g}, .gradients = 1}, 6);
}
static void channels_beyond_the_last(void) {
    static const double values[16], coef[1];
    terms(&(Term){.data = values, .type = DG_F64, .coef = coef, .channels = 3, .first = 2, .stride = 4}, 6);
}
static void channels_of_no_pixel(void) {
    static const double values[16], coef[1];
    terms(&(Term){.data = values, .type = DG_F64, .coef = coef, .channels = 3, .head = 1, .tail = coef}, 7);
}
static void whole_numbers(void) {
    static const int64_t values[4];
    static const double coef[1];
    terms(&(Term){.data = values, .type = DG_I64, .coef = coef}, 4);
}
static void rows_between_values(void) {
    static const double values[16], coef[1];
    terms(&(Term){.data = values, .type = DG_F64, .coef = coef, .row = 20}, 2);
}
static void precision_of_another_device(void) {
    Error e = {""};
    Graph *g = graph_new((Precision){DG_F16, false});
    Tid y = g_silu(g, image(g));
    g->t[y].keep = true;
    graph_plan(g);
    exec_new(g, device_open("cpu", NULL, &e), weights_alone(weights_synthetic(1, NULL)), &e);
}

static const struct {
    void (*mistake)(void);
    const char *sentence;
} wrong[] = {
    {unknown_function, "unary: function 4 is in no list of functions"},
    {unknown_op, "op 21 is in no list of ops"},
    {one_pad_for_a_row, "conv some.weight: one pad, 3, for a 1x7 kernel"},
    {negative_pad, "conv some.weight: stride 1, pads 1 1 -1 1 (top, left, bottom, right)"},
    {no_stride, "conv some.weight: stride 0, pads 0 0 0 0"},
    {norm_of_no_convolution, "weight some.weight: a view that folds a batch norm is of X.conv.weight"},
    {norm_without_eps, "weight some.bn.bias: a folded batch norm with eps 0"},
    {positions_for_six_channels, "positions of 2x2 tokens: 6 channels, for four tables of equal width"},
    {positions_of_two_images, "positions pos_embed: those of 2 images: they are the same in all"},
    {gradient_of_a_stride, "backward: conv some.weight has stride 2: there is a gradient for stride 1 only"},
    {gradient_of_another_shape, "backward: the rule of add gave 1 8 9 16 for input 0, which is 1 8 8 16"},
    {gradient_of_a_forward_op, "backward: op 0 (slice) has no gradient rule"},
    {gradient_of_an_activation, "backward: conv some.weight has an activation of its own: there is no gradient through it"},
    {gradient_of_a_gate, "backward: conv some.weight has a gate: there is no gradient through it"},
    {skip_beside_a_gate, "conv some.weight: a skip beside something else that is added, or a gate"},
    {skip_of_other_channels, "skip skip.weight: wants 16x1x1x8 values"},
    {skip_of_other_pixels, "skip skip.weight: of other images than the output, 1x8x8"},
    {skip_of_another_type, "skip skip.weight: it and its inputs are not all of type fp16, as is what conv some.weight reads"},
    {window_of_padding, "pool: windows of 3x3, stride 1, pad 3 on 8x8"},
    {table_beyond_the_image, "resize: output 0 of the columns reads [7,9), of 8"},
    {table_between_pixels, "resize: output 0 of the rows reads [0.5,1.5), of 8"},
    {table_of_floats, "resize: the table of columns, floats, is not one of g_table"},
    {positions_of_another_size, "add: 1 8 8 16 and 1 4 8 16"},
    {gate_for_other_channels, "gate: 1 1 1 8 for 1 8 8 16"},
    {modulation_of_half, "pixel norm: shift and scale have 16 values, want 32"},
    {pixels_of_too_few_channels, "depth to space: 16 channels for 3x3 pixels"},
    {softmax_of_an_image, "softmax: 8x8 pixels: it is of vectors"},
    {gate_of_one_pixel, "gate, conv: vectors of the batch are wanted, in fp32"},
    {softmax_of_one_pixel, "softmax, conv: vectors of the batch are wanted, in fp32"},
    {modulation_of_one_pixel, "shift and scale of a pixel norm, concat: vectors of the batch are wanted, in fp32"},
    {constant_as_gate, "gate, ones: vectors of the batch are wanted, in fp32"},
    {constant_as_residual, "gate: the residual, picture, has another shape than what is gated, or is no image of the batch"},
    {wide_too_late, "conv of op 0 becomes f32 after conv next.weight has read it"},
    {too_many_images, "input x: a batch of 65536, of at most 65535"},
    {concat_of_six, "concat: 6 tensors, not 2 to 5"},
    {constant_as_kernel, "conv table: its kernel is not a weight of the model"},
    {two_batches, "input label: a batch of 2, where the inputs before it have 1"},
    {constant_as_input, "op unary computes with table alone: what does not depend on an input belongs to a constant"},
    {precision_of_another_device, "exec: a graph in fp16 on device cpu"},
    {run_of_none, "exec_run: 0 images, of a graph that is planned for 2"},
    {run_of_three, "exec_run: 3 images, of a graph that is planned for 2"},
    {values_of_three, "x: 3 images of 2"},
    {channels_beyond_the_last, "combine: channels 2 to 4 of 4"},
    {channels_of_no_pixel, "combine: 7 elements are not pixels of 3 channels"},
    {whole_numbers, "combine of int64"},
    {step_of_nothing, "posterior: 0 terms"},
    {step_of_too_much, "posterior: 7 terms"},
    {three_gradients, "posterior: 3 gradients"},
    {variance_of_another_image, "posterior: 7 elements are not pixels of 3 channels"},
    {gradient_of_whole_numbers, "posterior of int64"},
    {rows_between_values, "combine: 20 bytes from one sample of fp64 to the next"},
};
/* What the mistake says on standard error, in a process of its own; its end. */
static int said_by(void (*mistake)(void), char *text, size_t size) {
    int out[2], status = 0;
    DG_CHECK(pipe(out) == 0, "no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDERR_FILENO);
        mistake();
        _exit(0);
    }
    close(out[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(out[0], text + n, size - 1 - n)) > 0;) n += (size_t)got;
    text[n] = 0;
    close(out[0]);
    waitpid(child, &status, 0);
    return status;
}
int main(void) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[2048];
        int status = said_by(wrong[i].mistake, text, sizeof text);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: goes on", wrong[i].sentence);
        CHECK(strstr(text, wrong[i].sentence) && strchr(text, '\n') == text + strlen(text) - 1, "\"%s\" is wanted: %s", wrong[i].sentence,
              text);
    }
    return check_done("test_wrong_graph");
}
