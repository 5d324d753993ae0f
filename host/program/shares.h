/* shares.h -- which implementation runs which share of the convolutions of a run, by their operations. */
#ifndef DG_SHARES_H
#define DG_SHARES_H
#include "base/text.h"
#include "sample/sampler.h"

/* As a line on stdout, where somebody else than the device itself was asked for (Device.provider), and as a member of a JSON object that is
 * begun (json; or NULL): {"own": 0.2, "cudnn": 0.8}, those that run any. counts: calls of a run; without steps, each network
 * counts once.                                                                                                              */
void shares_print(const Device *d, const SampleNetworks *n, const SampleCounts *counts, Text *json);
#endif
