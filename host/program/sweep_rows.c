/* sweep_rows.c -- the rows of a sweep's tables: what the ranges of one setting say together. */
#include "program/sweep.h"
#include <math.h>
#include <string.h>

static int cells_of(const Sweep *s, int setting, const SweepCell **first) {
    *first = s->kept[setting] ? &s->full[setting * s->ranges] : &s->screened[setting];
    return s->kept[setting] ? s->ranges : 1;
}
static const SweepValue *find_value(const SweepCell *c, const char *name) {
    for (int i = 0; i < c->values; i++)
        if (!strcmp(c->value[i].name, name)) return &c->value[i];
    return NULL;
}
size_t sweep_images(const Sweep *s, int setting) { return s->kept[setting] ? s->range->count : (size_t)s->screen; }
const char *sweep_failure(const Sweep *s, int setting) {
    const SweepCell *cell;
    int n = cells_of(s, setting, &cell);
    for (int r = 0; r < n; r++)
        if (cell[r].failure) return cell[r].failure;
    return NULL;
}
int sweep_names(const Sweep *s, const char *name[MAX_VALUES]) {
    for (int k = 0; k < s->settings; k++) {
        const SweepCell *cell;
        int n = cells_of(s, k, &cell);
        for (int r = 0; r < n; r++)
            if (cell[r].done && cell[r].values) {
                for (int i = 0; i < cell[r].values; i++) name[i] = cell[r].value[i].name;
                return cell[r].values;
            }
    }
    name[0] = s->by; /* nothing was measured */
    return 1;
}
Summary sweep_summary(const Sweep *s, int setting, const char *name) {
    const SweepCell *cell;
    Summary m = {.n = cells_of(s, setting, &cell), .lo = INFINITY, .hi = -INFINITY};
    double squares = 0;
    for (int r = 0; r < m.n; r++) {
        const SweepValue *v = cell[r].done ? find_value(&cell[r], name) : NULL;
        if (!v || !isfinite(v->value)) {
            m.failed = true;
            continue;
        }
        m.mean += v->value / m.n;
        m.lo = fmin(m.lo, v->value), m.hi = fmax(m.hi, v->value);
    }
    if (m.failed) return m.mean = m.std = m.error = m.lo = m.hi = (double)NAN, m;
    for (int r = 0; r < m.n; r++) {
        double d = find_value(&cell[r], name)->value - m.mean;
        squares += d * d;
    }
    m.std = m.n > 1 ? sqrt(squares / (m.n - 1)) : (double)NAN;
    m.error = m.std / sqrt(m.n);
    return m;
}
SettingState sweep_state(const Sweep *s, int setting) {
    const char *name[MAX_VALUES];
    int names = sweep_names(s, name);
    for (int i = 0; i < names; i++)
        if (sweep_summary(s, setting, name[i]).failed) return SETTING_FAILED;
    return s->kept[setting] ? SETTING_MEASURED : SETTING_LEFT_OUT;
}
