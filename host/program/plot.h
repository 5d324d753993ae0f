/* plot.h -- points with error bars over numbers or words as an SVG picture: panels side by side, each with its own scale. */
#ifndef DG_PLOT_H
#define DG_PLOT_H
#include "base/error.h"
#include "base/text.h"

typedef struct {
    double x;     /* over words: ignored, a series has a point for each word */
    double y;     /* not finite: no point, and the line is broken */
    double error; /* the bar is from y - error to y + error; 0 or not finite: none */
} PlotPoint;
typedef struct {
    const char *name;
    const PlotPoint *point; /* in ascending order of x */
    int points;
} PlotSeries;
typedef struct {
    const char *label; /* of the vertical axis */
    const PlotSeries *series;
    int count;
} PlotPanel;
typedef struct {
    const char *title, *x_label, *note; /* the note stands below; each may be "" */
    const char *const *word;            /* NULL: x is a number, at scale, and points are joined by lines */
    int words;
    bool log_x, log_y;
    const PlotPanel *panel;
    int panels;
} Plot;
enum { PLOT_MAX_SERIES = 8 }; /* of a panel: colours that can be told apart */

/* False: e says what cannot be drawn: a logarithmic axis with a value that is not positive, or too many series. */
bool plot_svg(const Plot *p, Text *out, Error *e);
/* At most 12 round numbers from lo to hi, which are different; returns how many. */
enum { PLOT_MAX_TICKS = 12 };
int plot_ticks(double lo, double hi, bool log_scale, double tick[PLOT_MAX_TICKS]);
#endif
