/* run_measure.h -- measures of the images of `generate`, taken while they are made: features on the device, exact sums on a thread of the
 * host, in a file that says of which seeds they are. A later run goes on from it; what comes out is what `eval` gives, to the last bit. */
#ifndef DG_RUN_MEASURE_H
#define DG_RUN_MEASURE_H
#include "program/eval.h"
#include "program/sinks.h"

typedef struct {
    const char *metrics, *ref, *inception, *stats; /* metrics NULL: nothing is measured */
    int protocol, every, output;                   /* UNSET: of the example model its own; batches between two files; EvalOutput */
    bool no_images, allow_fewer;
} MeasureOptions;
/* clang-format off */
/* Rows for the option table of a command whose options, of type T, have a MeasureOptions as member m. */
#define MEASURE_OPTIONS(T, m)                                                                                          \
    {"Measures", "metrics", NULL, OPTION_TEXT, offsetof(T, m.metrics), "LIST", 0, 0, false,                            \
     "measure the images as they are made: of fid, sfid, is, pr (precision, recall), dc (density, coverage), kid; of the example model fd for fid; what eval gives of the same images, to the last bit"}, \
        {NULL, "ref", "reference", OPTION_TEXT, offsetof(T, m.ref), "FILE", 0, 0, false,                               \
         "the reference: statistics or images, as for eval; of the example model the program has its own"},            \
        {NULL, "protocol", NULL, OPTION_CHOICE, offsetof(T, m.protocol), PROTOCOL_CHOICE, 0, 0, false,                 \
         "the tool whose number it is to be (dg_cuda eval --help); of the example model shapes32"},                    \
        {NULL, "inception", NULL, OPTION_TEXT, offsetof(T, m.inception), "FILE", 0, 0, false,                          \
         "the Inception network of the FID"},                                                                          \
        {NULL, "stats", NULL, OPTION_TEXT, offsetof(T, m.stats), "FILE.npz", 0, 0, false,                              \
         "where the statistics are kept, with their seeds; the same command, or one of more seeds, goes on from them; default: DIR/statistics_SEEDS.npz"}, \
        {NULL, "stats-every", NULL, OPTION_INT, offsetof(T, m.every), "N", 1, 1000000, false,                           \
         "batches between two times that the statistics are written: what a killed run has to measure again"},         \
        {NULL, "no-images", NULL, OPTION_FLAG, offsetof(T, m.no_images), NULL, 0, 0, false,                            \
         "keep the statistics alone: the images are not written"},                                                     \
        {NULL, "allow-fewer", NULL, OPTION_FLAG, offsetof(T, m.allow_fewer), NULL, 0, 0, false,                        \
         "fewer images than the protocol's number are no error"},                                                      \
        {NULL, "output", NULL, OPTION_CHOICE, offsetof(T, m.output), "text|json|csv|md", 0, 0, false,                  \
         "how the measures are printed"}
/* clang-format on */
enum { MEASURE_EVERY = 16 };

typedef struct RunMeasure RunMeasure;
typedef struct {
    MeasureOptions o;
    bool own;                    /* the example model makes the images */
    const DeviceOptions *device; /* of the command */
    const CheckpointOptions *checkpoint;
    const SeedList *wanted;
    const Interrupt *interrupt;
    bool quiet;
    bool anew;           /* a file that is there is not gone on from, but removed */
    bool files, subdirs; /* the images become files, in folders of a thousand */
} MeasureRun;
/* Before anything is opened: NULL where options do not go together. o.stats is to be set. */
RunMeasure *run_measure_new(const MeasureRun *r, Error *e);
/* The reference, the features' network on the run's device, and what a file holds already. made: a JSON object, what the images depend on;
 * images: what they are called in results; batch: the most that come at a time.                                          */
Outcome run_measure_begin(RunMeasure *m, Device *d, Shape picture, const char *made, const char *images, int batch, Error *e);
Features *run_measure_features(const RunMeasure *m);   /* for the pipeline */
const SeedList *run_measure_held(const RunMeasure *m); /* the seeds, a set, of the images in the file when it was opened */
Sink sink_measure(RunMeasure *m);                      /* of images with their features; those that are held are passed over */
SeedList run_measure_missing(const RunMeasure *m);     /* after finish: those that are not measured; freed with seeds_free */
bool run_measure_pixels(RunMeasure *m, int n, const uint64_t *seed, const uint8_t *pixels, Error *e); /* of images without */
/* The file as it is now. `complete`: no more images come, and the result is worked out. */
bool run_measure_finish(RunMeasure *m, bool complete, Error *e);
const EvalResult *run_measure_result(const RunMeasure *m, uint64_t *images); /* after finish */
void run_measure_print(RunMeasure *m);
void run_measure_close(RunMeasure *m); /* m may be NULL */
#endif
