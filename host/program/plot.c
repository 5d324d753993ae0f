/* plot.c -- the SVG picture of plot.h. Lengths are in the picture's own units, which a browser shows as pixels. */
#include "program/plot.h"
#include "base/printable.h"
#include <math.h>
#include <string.h>

enum { PANEL_WIDTH = 420, PANEL_HEIGHT = 260, LEFT = 74, RIGHT = 18, TOP = 30, TITLE = 26, BOTTOM = 52, NOTE = 22, LEGEND_ROW = 18 };
enum { WORD_ROOM = 94, WORD_MOST = 18 };                               /* below the axis, for words that stand aslant */
static const double FONT = 12, CHARACTER = 6.6, RADIUS = 3.5, CAP = 4; /* a character's mean width at this size; half widths */
/* Okabe and Ito's, which the colour-blind tell apart; yellow, too light on white, left out for grey. */
static const char *const colour[PLOT_MAX_SERIES] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#777777"};

typedef struct {
    double lo, hi;   /* of the values; of their logarithms where `log` */
    double at, span; /* where lo is in the picture, and how far it is to hi: negative upward */
    bool log;
} Axis;
static double place(const Axis *a, double value) {
    double v = a->log ? log10(value) : value;
    return a->at + (v - a->lo) / (a->hi - a->lo) * a->span;
}

/* ---- text --------------------------------------------------------------------------------------------------------------------------- */
static void put_escaped(Text *t, const char *s) {
    char piece[PRINTABLE_PIECE];
    for (size_t n; (n = printable_next(&s, piece));) {
        if (n == 1 && piece[0] == '&') text_printf(t, "&amp;");
        else if (n == 1 && piece[0] == '<') text_printf(t, "&lt;");
        else if (n == 1 && piece[0] == '>') text_printf(t, "&gt;");
        else if (n == 1 && piece[0] == '"') text_printf(t, "&quot;");
        else text_printf(t, "%.*s", (int)n, piece);
    }
}
static void put_text(Text *t, double x, double y, const char *style, const char *s) {
    text_printf(t, "<text x=\"%.2f\" y=\"%.2f\"%s>", x, y, style);
    put_escaped(t, s);
    text_printf(t, "</text>\n");
}
static double width_of(const char *s) { return CHARACTER * (double)printable_length(s); }
/* Its end, where it is longer than `most` characters: of paths that is what differs. */
static void put_word(Text *t, const char *word, size_t most) {
    size_t n = strlen(word);
    if (n > most) {
        word += n - most;
        while (((unsigned char)*word & 0xc0) == 0x80) word++; /* not within a character */
        text_printf(t, "…");
    }
    put_escaped(t, word);
}

/* ---- scales ------------------------------------------------------------------------------------------------------------------------- */
/* 1, 2 or 5 times a power of ten, so that about five of them are the length. */
static double nice_step(double length) {
    double step = pow(10, floor(log10(length / 4)));
    for (int i = 0; length / step > 6; i++) step *= i % 3 == 1 ? 2.5 : 2;
    return step;
}
static int log_ticks(double lo, double hi, double tick[PLOT_MAX_TICKS]) {
    static const double within[] = {1, 2, 5};
    int n = 0, first = (int)floor(log10(lo)), last = (int)floor(log10(hi)), decades = last - first + 1, every = (decades + 7) / 8;
    for (int power = first; power <= last; power += every)
        for (int i = 0; i < (decades <= 3 ? 3 : 1); i++) {
            double v = within[i] * pow(10, power);
            if (v >= lo * (1 - 1e-9) && v <= hi * (1 + 1e-9) && n < PLOT_MAX_TICKS) tick[n++] = v;
        }
    return n;
}
int plot_ticks(double lo, double hi, bool log_scale, double tick[PLOT_MAX_TICKS]) {
    int n = log_scale ? log_ticks(lo, hi, tick) : 0;
    if (n >= 2) return n;
    n = 0; /* less than an octave: as on a plain scale */
    double step = nice_step(hi - lo);
    for (double k = ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step && n < PLOT_MAX_TICKS; k++) tick[n++] = k == 0 ? 0 : k * step;
    return n;
}
/* As many decimals as the step between ticks has. */
static void put_tick(Text *t, const double *tick, int ticks, int i, bool log_scale) {
    double step = ticks > 1 ? tick[1] - tick[0] : fabs(tick[0]), most = fmax(fabs(tick[0]), fabs(tick[ticks - 1]));
    int decimals = step > 0 && step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    if (log_scale || most >= 1e6 || decimals > 5) text_printf(t, "%g", tick[i]);
    else text_printf(t, "%.*f", decimals, tick[i]);
}
/* Widens a range that has no length, and puts a margin about it. */
static void settle_axis(Axis *a, double margin) {
    if (!(a->lo <= a->hi)) a->lo = 0, a->hi = 1; /* no points */
    if (a->log) a->lo = log10(a->lo), a->hi = log10(a->hi);
    double length = a->hi - a->lo, size = fmax(fabs(a->lo), fabs(a->hi));
    if (!(length > 1e-9 * size)) {
        length = a->log ? .2 : size > 0 ? .1 * size : 1;
        a->lo -= length / 2, a->hi += length / 2;
    }
    a->lo -= margin * length, a->hi += margin * length;
}
static const double LARGEST = 1e150; /* so that no length overflows */
static bool shown(const PlotPoint *p) { return fabs(p->y) <= LARGEST; }
static bool barred(const PlotPoint *p) { return p->error > 0 && p->error <= LARGEST; }
static void widen(Axis *a, double v) { a->lo = fmin(a->lo, v), a->hi = fmax(a->hi, v); }
static void y_range(const Plot *p, const PlotPanel *panel, Axis *y) {
    *y = (Axis){.lo = INFINITY, .hi = -INFINITY, .log = p->log_y};
    for (int s = 0; s < panel->count; s++)
        for (int i = 0; i < panel->series[s].points; i++) {
            const PlotPoint *q = &panel->series[s].point[i];
            if (!shown(q)) continue;
            double error = barred(q) ? q->error : 0;
            widen(y, q->y + error);
            widen(y, p->log_y && q->y - error <= 0 ? q->y : q->y - error); /* a bar to 0 leaves a logarithmic axis */
        }
}
static void x_range(const Plot *p, Axis *x) {
    *x = (Axis){.lo = INFINITY, .hi = -INFINITY, .log = p->log_x};
    if (p->word) x->lo = -.5, x->hi = p->words - .5, x->log = false;
    for (int k = 0; k < p->panels && !p->word; k++)
        for (int s = 0; s < p->panel[k].count; s++)
            for (int i = 0; i < p->panel[k].series[s].points; i++) widen(x, p->panel[k].series[s].point[i].x);
}

/* ---- drawing ------------------------------------------------------------------------------------------------------------------------ */
static void line(Text *t, double x1, double y1, double x2, double y2, const char *style) {
    text_printf(t, "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" %s/>\n", x1, y1, x2, y2, style);
}
#define GRID  "stroke=\"#e5e5e5\""
#define FRAME "stroke=\"#555\""
static void draw_y_axis(Text *t, const Axis *y, const char *label, double left) {
    double tick[PLOT_MAX_TICKS], lo = y->log ? pow(10, y->lo) : y->lo, hi = y->log ? pow(10, y->hi) : y->hi, bottom = y->at;
    int n = plot_ticks(lo, hi, y->log, tick);
    for (int i = 0; i < n; i++) {
        double at = place(y, tick[i]);
        line(t, left, at, left + PANEL_WIDTH, at, GRID);
        text_printf(t, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"end\">", left - 7, at + FONT / 3);
        put_tick(t, tick, n, i, y->log);
        text_printf(t, "</text>\n");
    }
    text_printf(t, "<text transform=\"translate(%.2f %.2f) rotate(-90)\" text-anchor=\"middle\">", left - LEFT + FONT + 8,
                bottom - PANEL_HEIGHT / 2.);
    put_escaped(t, label);
    text_printf(t, "</text>\n");
}
static bool words_aslant(const Plot *p) {
    for (int i = 0; i < p->words; i++)
        if (width_of(p->word[i]) > (double)PANEL_WIDTH / p->words - 6) return true;
    return false;
}
static void draw_words(Text *t, const Plot *p, const Axis *x, double bottom) {
    bool aslant = words_aslant(p);
    for (int i = 0; i < p->words; i++) {
        double at = place(x, i);
        line(t, at, bottom, at, bottom + 4, FRAME);
        if (aslant) text_printf(t, "<text transform=\"translate(%.2f %.2f) rotate(-30)\" text-anchor=\"end\">", at + 4, bottom + 16);
        else text_printf(t, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\">", at, bottom + 18);
        int room = (int)((at - x->at + LEFT) / (CHARACTER * cos(M_PI / 6))) - 1; /* to the picture's edge */
        put_word(t, p->word[i], !aslant ? 60 : room < WORD_MOST ? (size_t)room : WORD_MOST);
        text_printf(t, "</text>\n");
    }
}
static void draw_x_axis(Text *t, const Plot *p, const Axis *x, double left, double bottom) {
    double tick[PLOT_MAX_TICKS], room = p->word && words_aslant(p) ? WORD_ROOM : 38;
    int n = p->word ? 0 : plot_ticks(x->log ? pow(10, x->lo) : x->lo, x->log ? pow(10, x->hi) : x->hi, x->log, tick);
    for (int i = 0; i < n; i++) {
        double at = place(x, tick[i]);
        line(t, at, bottom, at, bottom - PANEL_HEIGHT, GRID);
        line(t, at, bottom, at, bottom + 4, FRAME);
        text_printf(t, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\">", at, bottom + 18);
        put_tick(t, tick, n, i, x->log);
        text_printf(t, "</text>\n");
    }
    if (p->word) draw_words(t, p, x, bottom);
    put_text(t, left + PANEL_WIDTH / 2., bottom + room, " text-anchor=\"middle\"", p->x_label);
}
/* Series stand a little beside each other over a word, where they would hide each other. */
static double x_of(const Plot *p, const PlotPanel *panel, const Axis *x, int series, int i) {
    if (!p->word) return place(x, panel->series[series].point[i].x);
    double room = .5 / (panel->count + 1);
    return place(x, i + (series - (panel->count - 1) / 2.) * room);
}
static void draw_series(Text *t, const Plot *p, const PlotPanel *panel, int s, const Axis *x, const Axis *y) {
    const PlotSeries *series = &panel->series[s];
    text_printf(t, "<g stroke=\"%s\" fill=\"%s\">\n", colour[s], colour[s]);
    bool open = false;
    for (int i = 0; i < series->points && !p->word; i++) {
        bool there = shown(&series->point[i]);
        if (there) text_printf(t, open ? " " : "<polyline fill=\"none\" stroke-width=\"1.5\" points=\"");
        if (there) text_printf(t, "%.2f,%.2f", x_of(p, panel, x, s, i), place(y, series->point[i].y));
        if (open && !there) text_printf(t, "\"/>\n");
        open = there;
    }
    if (open) text_printf(t, "\"/>\n");
    for (int i = 0; i < series->points; i++) {
        const PlotPoint *q = &series->point[i];
        if (!shown(q)) continue;
        double at = x_of(p, panel, x, s, i);
        if (barred(q)) {
            bool leaves = y->log && q->y - q->error <= 0;
            double top = place(y, q->y + q->error), low = leaves ? y->at : place(y, q->y - q->error);
            text_printf(t, "<path class=\"bar\" fill=\"none\" stroke-width=\"1.2\" d=\"M%.2f %.2fV%.2fM%.2f %.2fh%.2f", at, top, low,
                        at - CAP, top, 2 * CAP);
            if (!leaves) text_printf(t, "M%.2f %.2fh%.2f", at - CAP, low, 2 * CAP);
            text_printf(t, "\"/>\n");
        }
        text_printf(t, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%g\" stroke=\"none\"/>\n", at, place(y, q->y), RADIUS);
    }
    text_printf(t, "</g>\n");
}
static int legend_rows(const Plot *p) {
    int most = 0;
    for (int k = 0; k < p->panels; k++)
        if (p->panel[k].count > 1 && p->panel[k].count > most) most = p->panel[k].count;
    return most;
}
/* Above the frame, where no point is. */
static void draw_legend(Text *t, const PlotPanel *panel, double left, double top) {
    for (int s = 0; s < panel->count && panel->count > 1; s++) {
        double y = top - LEGEND_ROW * (panel->count - 1 - s) - 12;
        text_printf(t, "<rect x=\"%.2f\" y=\"%.2f\" width=\"9\" height=\"9\" fill=\"%s\"/>\n", left + 2, y - 4.5, colour[s]);
        text_printf(t, "<text x=\"%.2f\" y=\"%.2f\">", left + 17, y + FONT / 3);
        put_word(t, panel->series[s].name, 56);
        text_printf(t, "</text>\n");
    }
}
static void draw_panel(Text *t, const Plot *p, int k, double left, double top) {
    const PlotPanel *panel = &p->panel[k];
    Axis x, y;
    x_range(p, &x), y_range(p, panel, &y);
    x.at = left, x.span = PANEL_WIDTH, y.at = top + PANEL_HEIGHT, y.span = -PANEL_HEIGHT;
    settle_axis(&x, p->word ? 0 : .05), settle_axis(&y, .06);
    draw_y_axis(t, &y, panel->label, left);
    draw_x_axis(t, p, &x, left, top + PANEL_HEIGHT);
    text_printf(t, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%d\" height=\"%d\" fill=\"none\" " FRAME "/>\n", left, top, PANEL_WIDTH,
                PANEL_HEIGHT);
    for (int s = 0; s < panel->count; s++) draw_series(t, p, panel, s, &x, &y);
    draw_legend(t, panel, left, top);
}
static bool check(const Plot *p, Error *e) {
    for (int k = 0; k < p->panels; k++) {
        const PlotPanel *panel = &p->panel[k];
        if (panel->count > PLOT_MAX_SERIES)
            return dg_error(e, "a plot of %d lines: more than %d cannot be told apart", panel->count, PLOT_MAX_SERIES);
        for (int s = 0; s < panel->count; s++)
            for (int i = 0; i < panel->series[s].points; i++) {
                const PlotPoint *q = &panel->series[s].point[i];
                if (!p->word && !(fabs(q->x) <= LARGEST)) return dg_error(e, "a plot has no place for %g of %s", q->x, p->x_label);
                if (p->log_x && !p->word && !(q->x > 0))
                    return dg_error(e, "a logarithmic axis has no place for %g of %s", q->x, p->x_label);
                if (p->log_y && shown(q) && !(q->y > 0))
                    return dg_error(e, "a logarithmic axis has no place for %g of %s", q->y, panel->label);
            }
    }
    return true;
}
bool plot_svg(const Plot *p, Text *out, Error *e) {
    DG_CHECK(p->panels > 0 && (!p->word || p->words > 0), "a plot of nothing");
    if (!check(p, e)) return false;
    bool aslant = p->word && words_aslant(p), title = *p->title, note = *p->note;
    double top = TOP + (title ? TITLE : 0) + LEGEND_ROW * legend_rows(p);
    double height = top + PANEL_HEIGHT + BOTTOM + (aslant ? WORD_ROOM - 38 : 0) + (note ? NOTE : 0);
    double width = p->panels * (LEFT + PANEL_WIDTH + RIGHT);
    text_printf(out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
                "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"%g\" fill=\"#222\">\n",
                width, height, width, height, FONT);
    text_printf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
    if (title) put_text(out, width / 2, 26, " text-anchor=\"middle\" font-size=\"15\"", p->title);
    for (int k = 0; k < p->panels; k++) draw_panel(out, p, k, k * (LEFT + PANEL_WIDTH + RIGHT) + LEFT, top);
    if (note) put_text(out, width / 2, height - 10, " text-anchor=\"middle\" font-size=\"11\" fill=\"#555\"", p->note);
    text_printf(out, "</svg>\n");
    return true;
}
