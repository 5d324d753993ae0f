/* arguments.c -- reading a network's official arguments from JSON. */
#include "models/arguments.h"
#include <string.h>

bool argument_int(const Json *config, const char *key, int dflt, int lo, int hi, int *out, Error *e) {
    if (!json_get_int(config, key, dflt, out, e)) return false;
    return (*out >= lo && *out <= hi) || dg_error(e, "\"%s\" is %d, from %d to %d is possible", key, *out, lo, hi);
}
bool argument_choice(const Json *config, const char *key, const char *dflt, const char *const *name, int *out, Error *e) {
    const char *value;
    if (!json_get_string(config, key, dflt, &value, e)) return false;
    for (int i = 0; name[i]; i++)
        if (!strcmp(value, name[i])) return *out = i, true;
    return dg_error(e, "\"%s\" is \"%s\", which dg_cuda does not know", key, value);
}
bool argument_levels(const Json *config, int model_channels, int *mult, int *levels, Error *e) {
    if (!json_get_ints(config, "channel_mult", mult, MAX_LEVELS, levels, e)) return false;
    if (*levels == 0) return dg_error(e, "the configuration has no \"channel_mult\"");
    for (int i = 0; i < *levels; i++)
        if (mult[i] < 1 || mult[i] > MAX_CHANNELS / model_channels)
            return dg_error(e, "\"channel_mult\" has %d for %d channels: at most %d channels are possible", mult[i], model_channels,
                            MAX_CHANNELS);
    return true;
}
bool argument_multiples(const Json *config, int model_channels, double *mult, int *levels, Error *e) {
    const Json *list = json_get(config, "channel_mult");
    *levels = 0;
    if (!list || list->kind == JSON_NULL) return dg_error(e, "the configuration has no \"channel_mult\"");
    if (list->kind != JSON_ARRAY || list->count < 1 || list->count > MAX_LEVELS)
        return dg_error(e, "\"channel_mult\" is not a list of 1 to %d numbers, one for each level", MAX_LEVELS);
    for (const Json *j = list->child; j; j = j->next) {
        double m = j->kind == JSON_NUMBER ? j->number : 0, channels = m * model_channels;
        if (!(channels >= 1 && channels <= MAX_CHANNELS && channels == (int)channels))
            return dg_error(e, "\"channel_mult\" has an entry that makes no number of channels between 1 and %d of %d", MAX_CHANNELS,
                            model_channels);
        mult[(*levels)++] = m;
    }
    return true;
}
bool argument_halves(const char *key, int size, int levels, Error *e) {
    return size % (1 << (levels - 1)) == 0 || dg_error(e, "\"%s\" %d cannot be halved %d times", key, size, levels - 1);
}
