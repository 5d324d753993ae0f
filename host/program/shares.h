/* shares.h -- the convolutions of a run, by their operations: which implementation runs which share; what whole waves would save. */
#ifndef DG_SHARES_H
#define DG_SHARES_H
#include "base/text.h"
#include "sample/sampler.h"

/* As a line on stdout, where somebody else than the device itself was asked for (Device.provider), and as a member of a JSON object that is
 * begun (json; or NULL): {"own": 0.2, "cudnn": 0.8}, those that run any. counts: calls of a run; without steps, each network
 * counts once.                                                                                                              */
void shares_print(const Device *d, const SampleNetworks *n, const SampleCounts *counts, Text *json);
/* What share of the time of convolutions all multiprocessors have work in, as the device counts waves of blocks (Backend.waves): at this
 * batch, and at that within a quarter of it which has most. As a line on stdout and as a member of json, "waves": {"share": 0.97,
 * "batch": 264, "batch_share": 0.99}. Nothing where nobody knows waves. The decoder has a batch of its own, and no part in it. */
void waves_print(const SampleNetworks *n, const SampleCounts *counts, int batch, Text *json);
#endif
