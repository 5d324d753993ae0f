/* device_spec.h -- DEVICE[=PRECISION], as the test programs that compare devices take them. */
#ifndef DG_DEVICE_SPEC_H
#define DG_DEVICE_SPEC_H
#include <stdio.h>
#include <string.h>

typedef struct {
    char device[32];
    const char *precision; /* NULL: not given */
} DeviceSpec;
static inline DeviceSpec device_spec(const char *text) {
    const char *precision = strchr(text, '=');
    DeviceSpec s = {.precision = precision ? precision + 1 : NULL};
    snprintf(s.device, sizeof s.device, "%.*s", (int)strcspn(text, "="), text);
    return s;
}
#endif
