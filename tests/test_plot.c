/* test_plot.c -- the SVG of plot.h: where points and bars are, that everything is inside the picture, ticks, escapes, broken lines.
 * Usage: test_plot [FILE.svg]: writes one of its pictures there, to be looked at                                           */
#include "base/file.h"
#include "check.h"
#include "program/plot.h"
#include <math.h>
#include <stdlib.h>

/* ---- a reader of what plot.c writes: elements and their attributes, one after the other ---------------------------------------------- */
static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *s = text; (s = strstr(s, what)); s++) n++;
    return n;
}
static double attribute(const char *element, const char *name) {
    char key[32];
    snprintf(key, sizeof key, " %s=\"", name);
    const char *end = strchr(element, '>'), *s = strstr(element, key);
    return s && end && s < end ? strtod(s + strlen(key), NULL) : (double)NAN;
}
/* The i-th element that begins with `what`. */
static const char *element(const char *text, const char *what, int i) {
    const char *s = strstr(text, what);
    while (s && i--) s = strstr(s + 1, what);
    return s ? s : "";
}
/* Balanced elements, every & an entity, no bytes that XML refuses: what a parser would complain about. */
static bool well_formed(const char *text) {
    char open[16][16];
    int depth = 0;
    for (const char *s = text; *s; s++) {
        if (*s == '&' && strncmp(s, "&amp;", 5) && strncmp(s, "&lt;", 4) && strncmp(s, "&gt;", 4) && strncmp(s, "&quot;", 6)) return false;
        if ((unsigned char)*s < 32 && *s != '\n') return false;
        if (*s != '<') continue;
        const char *end = strchr(s, '>');
        size_t n = strcspn(s + 1 + (s[1] == '/'), " >/\n");
        if (!end || n == 0 || n > 15) return false;
        if (s[1] == '/' && (depth == 0 || strlen(open[depth - 1]) != n || memcmp(open[--depth], s + 2, n))) return false;
        if (s[1] != '/' && end[-1] != '/') {
            if (depth == 16) return false;
            snprintf(open[depth++], 16, "%.*s", (int)n, s + 1);
        }
        s = end;
    }
    return depth == 0;
}
/* Every coordinate is within the viewBox. */
static void check_inside(const char *svg) {
    static const char *const of[][3] = {{"<circle", "cx", "cy"}, {"<line", "x1", "y1"}, {"<line", "x2", "y2"}, {"<text x", "x", "y"}};
    double width = attribute(svg, "width"), height = attribute(svg, "height");
    CHECK(width > 100 && height > 100, "the picture is %g x %g", width, height);
    for (int k = 0; k < 4; k++) {
        const char *s = svg;
        for (int i = 0; (s = strstr(s, of[k][0])); i++, s++) {
            double x = attribute(s, of[k][1]), y = attribute(s, of[k][2]);
            CHECK(x >= 0 && x <= width && y >= 0 && y <= height, "%s %d is at (%g, %g) of %g x %g", of[k][0], i, x, y, width, height);
        }
    }
    for (const char *s = svg; (s = strstr(s, "rotate(-30)")); s++) { /* a word that ends at x; its characters are 6.6 wide on the average */
        double x, y, length = 0;
        const char *begin = s;
        for (const char *c = strchr(s, '>') + 1; *c != '<'; c++) length += ((unsigned char)*c & 0xc0) != 0x80 ? 6.6 : 0;
        while (*begin != '<') begin--;
        int read = sscanf(strstr(begin, "translate("), "translate(%lf %lf)", &x, &y);
        CHECK(read == 2 && x - .87 * length >= 0 && y + .5 * length <= height, "a word of length %g ends at (%g, %g) of height %g", length,
              x, y, height);
    }
    for (const char *s = svg; (s = strstr(s, " d=\"M")); s++) {
        double x, top, low;
        int read = sscanf(s, " d=\"M%lf %lfV%lf", &x, &top, &low);
        CHECK(read == 3 && x >= 0 && x <= width && top >= 0 && low <= height && top < low, "a bar from %g to %g at %g", top, low, x);
    }
}
static Text draw(const Plot *p) {
    Text t = {0};
    Error e = {0};
    CHECK(plot_svg(p, &t, &e), "%s", e.text);
    if (!t.text) text_printf(&t, "<svg></svg>");
    CHECK(well_formed(t.text), "not XML: %s", t.text);
    check_inside(t.text);
    return t;
}

/* ---- cases ------------------------------------------------------------------------------------------------------------------------- */
static const PlotPoint distance[] = {{0, 14, .5}, {1, 9, .25}, {2, 8, .25}, {4, 11, .5}};
static const PlotPoint precision[] = {{0, .6, .01}, {1, .7, .01}, {2, .72, .01}, {4, .8, 0}};
static const PlotPoint recall[] = {{0, .5, .01}, {1, .48, .01}, {2, (double)NAN, .01}, {4, .3, .02}};
static const PlotSeries one[] = {{"fd", distance, 4}}, two[] = {{"precision", precision, 4}, {"recall", recall, 4}};
static const PlotPanel both[] = {{"fd", one, 1}, {"precision, recall", two, 2}};

static void test_numbers(const char *file) {
    Plot p = {.title = "shapes32", .x_label = "dg_weight_1st_order", .note = "bars: standard error", .panel = both, .panels = 2};
    Text t = draw(&p);
    const char *svg = t.text;
    CHECK(count(svg, "<circle") == 11, "%d points, 11 wanted: one is not a number", count(svg, "<circle"));
    CHECK(count(svg, "class=\"bar\"") == 10, "%d bars, 10 wanted: one is 0", count(svg, "class=\"bar\""));
    CHECK(count(svg, "<polyline") == 4, "%d lines, 4 wanted: recall's is broken", count(svg, "<polyline"));
    CHECK(count(svg, "<rect") == 5, "%d rectangles, 5 wanted: paper, 2 frames, 2 of the legend", count(svg, "<rect"));
    double x[4], y[4];
    for (int i = 0; i < 4; i++) x[i] = attribute(element(svg, "<circle", i), "cx"), y[i] = attribute(element(svg, "<circle", i), "cy");
    double unit = x[1] - x[0], up = (y[0] - y[1]) / (14 - 9); /* of the picture, for 1 */
    CHECK(unit > 20, "one is %g wide", unit);
    CHECK(fabs(x[2] - x[1] - unit) <= .02 && fabs(x[3] - x[2] - 2 * unit) <= .03, "x is not at scale: %g %g %g %g", x[0], x[1], x[2], x[3]);
    CHECK(up < 0, "larger values are not higher: %g", up);
    CHECK(fabs(y[2] - (y[0] + (8 - 14) * up)) <= .02 && fabs(y[3] - (y[0] + (11 - 14) * up)) <= .02, "y is not at scale");
    for (int i = 0; i < 4; i++) {
        double at, top, low, half = distance[i].error * -up;
        int n = sscanf(strstr(element(svg, "class=\"bar\"", i), " d="), " d=\"M%lf %lfV%lf", &at, &top, &low);
        CHECK(n == 3 && fabs(at - x[i]) <= .01 && fabs(y[i] - top - half) <= .02 && fabs(low - y[i] - half) <= .02,
              "bar %d is from %g to %g about %g, %g each way wanted", i, top, low, y[i], half);
    }
    OutFile *f = file ? out_open(file, NULL) : NULL;
    if (file) CHECK(f && out_write(f, t.text, t.len, NULL) && out_finish(f, NULL), "%s was not written", file);
    text_free(&t);
}
static void test_words(void) {
    static const PlotPoint a[] = {{.y = 3, .error = .1}, {.y = 2, .error = .1}, {.y = (double)NAN}};
    static const char *const word[] = {"a<b", "ddim & \"more\"", "of/a/path/that/is/so/long/that/its/beginning/is/left/out/é\n\xff"};
    static const PlotSeries series[] = {{"steps=18", a, 3}, {"steps=36", a, 3}};
    static const PlotPanel panel[] = {{"fid", series, 2}};
    Plot p = {.title = "<&>", .x_label = "sampler", .note = "", .word = word, .words = 3, .panel = panel, .panels = 1};
    Text t = draw(&p);
    CHECK(count(t.text, "<circle") == 4 && !count(t.text, "<polyline"), "over words: %s", t.text);
    CHECK(strstr(t.text, "a&lt;b") && strstr(t.text, "ddim &amp; &quot;more&quot;") && strstr(t.text, "&lt;&amp;&gt;"), "escapes: %s",
          t.text);
    CHECK(strstr(t.text, "é\\x0a\\xff") && !strstr(t.text, "of/a/path"), "a long word: %s", t.text);
    double first = attribute(element(t.text, "<circle", 0), "cx"), other = attribute(element(t.text, "<circle", 2), "cx");
    CHECK(other > first + 2 * 3.5, "two series over one word are at %g and %g, one above the other", first, other);
    text_free(&t);
    static const char *const path[] = {
        "networks/network-snapshot-000100", "networks/network-snapshot-000200", "networks/network-snapshot-000300",
        "networks/network-snapshot-000400", "networks/network-snapshot-000500", "networks/network-snapshot-000600",
        "networks/network-snapshot-000700", "networks/network-snapshot-000800", "networks/network-snapshot-000900"};
    static const PlotPoint nine[9] = {{.y = 1}, {.y = 2}};
    static const PlotSeries all[] = {{"fid", nine, 9}};
    static const PlotPanel wide[] = {{"fid", all, 1}};
    p = (Plot){.title = "", .x_label = "network", .note = "note", .word = path, .words = 9, .panel = wide, .panels = 1};
    t = draw(&p);
    CHECK(count(t.text, "rotate(-30)") == 9 && strstr(t.text, "shot-000900<"), "nine paths: %s", t.text);
    text_free(&t);
}
static void test_extremes(void) {
    static const double y[][2] = {
        {0, 0}, {5, 5}, {-3, -3}, {1e150, -1e150}, {1e-300, 2e-300}, {1e6, 1e6 + 1e-4}, {(double)NAN, (double)INFINITY}};
    for (size_t i = 0; i < sizeof y / sizeof *y; i++) {
        PlotPoint at[] = {{1, y[i][0], 0}, {1, y[i][1], (double)INFINITY}};
        PlotSeries s = {"s", at, 2};
        PlotPanel panel = {"y", &s, 1};
        Text t = draw(&(Plot){.title = "", .x_label = "x", .note = "", .panel = &panel, .panels = 1});
        CHECK(!strstr(t.text, "nan") && !strstr(t.text, "inf"), "%g and %g: %s", y[i][0], y[i][1], t.text);
        CHECK(count(t.text, "<circle") == (isfinite(y[i][0]) ? 2 : 0) && !count(t.text, "class=\"bar\""), "%g: points", y[i][0]);
        text_free(&t);
    }
}
static void test_logarithmic(void) {
    PlotPoint at[] = {{1, 10, 1}, {10, 100, 200}, {100, 1000, 1}};
    PlotSeries s = {"s", at, 3}, many[PLOT_MAX_SERIES + 1];
    PlotPanel panel = {"y", &s, 1};
    Plot p = {.title = "", .x_label = "x", .note = "", .log_x = true, .log_y = true, .panel = &panel, .panels = 1};
    Error e = {0};
    Text t = draw(&p);
    double x[3], y[3];
    for (int i = 0; i < 3; i++)
        x[i] = attribute(element(t.text, "<circle", i), "cx"), y[i] = attribute(element(t.text, "<circle", i), "cy");
    CHECK(fabs(x[2] - x[1] - (x[1] - x[0])) <= .03 && fabs(y[2] - y[1] - (y[1] - y[0])) <= .03, "decades are not alike");
    CHECK(count(t.text, "class=\"bar\"") == 3, "a bar to below 0 is cut, not left out");
    text_free(&t);
    at[0].x = 0;
    CHECK(!plot_svg(&p, &t, &e) && strstr(e.text, "logarithmic") && strstr(e.text, "of x"), "x of 0: %s", e.text);
    at[0].x = 1, at[1].y = -1;
    CHECK(!plot_svg(&p, &t, &e) && strstr(e.text, "-1 of y"), "y below 0: %s", e.text);
    at[1].y = 1, at[1].x = (double)INFINITY;
    CHECK(!plot_svg(&p, &t, &e) && strstr(e.text, "inf of x"), "x infinite: %s", e.text);
    at[1].x = 10;
    for (int i = 0; i <= PLOT_MAX_SERIES; i++) many[i] = s;
    panel = (PlotPanel){"y", many, PLOT_MAX_SERIES + 1};
    CHECK(!plot_svg(&p, &t, &e) && strstr(e.text, "9 lines"), "too many: %s", e.text);
    text_free(&t);
}
static void test_ticks(void) {
    static const struct {
        double lo, hi;
        bool log;
        int n;
        double first, second, last;
    } want[] = {{0, 4, false, 5, 0, 1, 4},        {-.2, 4.2, false, 5, 0, 1, 4}, {.295, .83, false, 6, .3, .4, .8},
                {7.3, 14.9, false, 4, 8, 10, 14}, {-1, 1, false, 5, -1, -.5, 1}, {0, 50000, false, 6, 0, 10000, 50000},
                {1, 1000, true, 4, 1, 10, 1000},  {2, 300, true, 7, 2, 5, 200},  {1e-9, 1e9, true, 7, 1e-9, 1e-6, 1e9},
                {3, 4, true, 6, 3, 3.2, 4}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        double tick[PLOT_MAX_TICKS];
        int n = plot_ticks(want[i].lo, want[i].hi, want[i].log, tick);
        CHECK(n == want[i].n && fabs(tick[0] - want[i].first) <= 1e-12 * fabs(want[i].hi) && fabs(tick[1] / want[i].second - 1) <= 1e-12 &&
                  fabs(tick[n - 1] / want[i].last - 1) <= 1e-12,
              "from %g to %g: %d ticks, %g %g ... %g", want[i].lo, want[i].hi, n, tick[0], tick[1], tick[n - 1]);
    }
    for (double length = 1e-6; length < 1e9; length *= 1.37) {
        double tick[PLOT_MAX_TICKS];
        int n = plot_ticks(.3 * length, 1.3 * length, false, tick);
        CHECK(n >= 2 && n <= 8 && tick[0] >= .3 * length && tick[n - 1] <= 1.3 * length * (1 + 1e-9), "%d ticks of %g", n, length);
    }
}
int main(int argc, char **argv) {
    test_numbers(argc > 1 ? argv[1] : NULL);
    test_words();
    test_extremes();
    test_logarithmic();
    test_ticks();
    return check_done("test_plot");
}
