/* jpeg.c -- JPEG files in memory through libjpeg: slow integer transform and smooth upsampling, its defaults and Pillow's choice. */
#include "files/jpeg.h"
#include <string.h>

bool jpeg_recognise(const void *data, size_t bytes) {
    static const uint8_t begin[] = {0xff, 0xd8, 0xff};
    return bytes >= sizeof begin && !memcmp(data, begin, sizeof begin);
}

#ifdef DG_HAVE_JPEG
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
/* after stdio.h, whose FILE it takes for granted, and before the numbers of its messages */
#include <jpeglib.h>

#include <jerror.h>

/* A few bytes may ask for thousands of passes over the image. */
enum { MOST_SCANS = 500 };
typedef struct { /* what client_data leads to */
    struct jpeg_error_mgr errors;
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
} Fault;
typedef struct {
    struct jpeg_decompress_struct d;
    struct jpeg_progress_mgr progress;
    Fault fault;
} Decoder;
typedef struct {
    struct jpeg_compress_struct c;
    unsigned char *data; /* the file, from malloc */
    unsigned long bytes;
    Fault fault;
} Encoder;

const char *jpeg_other_decoder(void) {
#ifdef LIBJPEG_TURBO_VERSION
    return NULL;
#else
    return "libjpeg";
#endif
}
static void give_up(j_common_ptr c) {
    Fault *f = c->client_data;
    f->errors.format_message(c, f->text);
    longjmp(f->back, 1);
}
/* Warnings of missing or damaged data give some pixels; others, of bytes in between or of unknown markers, do not touch them. */
static void message(j_common_ptr c, int level) {
    int code = c->err->msg_code;
    bool damaged = code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE;
#ifdef D_ARITH_CODING_SUPPORTED
    damaged |= code == JWRN_ARITH_BAD_CODE;
#endif
    if (level < 0 && damaged) give_up(c);
}
static void progress(j_common_ptr c) {
    Fault *f = c->client_data;
    if (((j_decompress_ptr)c)->input_scan_number <= MOST_SCANS) return;
    snprintf(f->text, sizeof f->text, "it has more than %d scans", MOST_SCANS);
    longjmp(f->back, 1);
}
/* What follows runs behind the setjmp of `run`, which has no local variable that changes between that and a longjmp. */
static void begin(Decoder *j, const uint8_t *data, size_t bytes) {
    jpeg_create_decompress(&j->d);
    j->progress.progress_monitor = progress;
    j->d.progress = &j->progress;
    jpeg_mem_src(&j->d, data, bytes);
    jpeg_read_header(&j->d, TRUE);
}
/* c, m, y, k as Adobe writes them, inverted, in Pillow's arithmetic. */
static void from_cmyk(const uint8_t *row, int width, uint8_t *rgb) {
    for (int x = 0; x < width; x++, row += 4)
        for (int c = 0; c < 3; c++) {
            int k = row[3], product = (255 - row[c]) * k + 128, part = ((product >> 8) + product) >> 8;
            *rgb++ = (uint8_t)(k > part ? k - part : 0);
        }
}
static void from_gray(uint8_t *rgb, int width) { /* in place, from its beginning */
    for (int x = width - 1; x >= 0; x--) rgb[3 * x] = rgb[3 * x + 1] = rgb[3 * x + 2] = rgb[x];
}
static void decode(Decoder *j, uint8_t *cmyk, uint8_t *rgb) {
    struct jpeg_decompress_struct *d = &j->d;
    int parts = d->num_components;
    d->out_color_space = parts == 1 ? JCS_GRAYSCALE : parts == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);
    while (d->output_scanline < d->output_height) {
        uint8_t *out = rgb + (size_t)d->output_scanline * d->output_width * 3, *row = parts == 4 ? cmyk : out;
        jpeg_read_scanlines(d, &row, 1);
        if (parts == 1) from_gray(out, (int)d->output_width);
        if (parts == 4) from_cmyk(cmyk, (int)d->output_width, out);
    }
    jpeg_finish_decompress(d);
}
typedef struct {
    const uint8_t *data;
    size_t bytes;
    int height, width;
    uint8_t *rgb, *cmyk; /* rgb NULL: the head alone */
} Job;
static void work(Decoder *j, Job *job) {
    begin(j, job->data, job->bytes);
    if (job->rgb && ((int)j->d.image_height != job->height || (int)j->d.image_width != job->width)) {
        snprintf(j->fault.text, sizeof j->fault.text, "its size is not what it was");
        longjmp(j->fault.back, 1);
    }
    job->height = (int)j->d.image_height, job->width = (int)j->d.image_width;
    if (job->rgb) decode(j, job->cmyk, job->rgb);
}
static bool run(Job *job, Error *e) {
    Decoder *j = dg_alloc(sizeof *j);
    j->d.err = jpeg_std_error(&j->fault.errors);
    j->fault.errors.error_exit = give_up, j->fault.errors.emit_message = message;
    j->d.client_data = &j->fault;
    bool ok;
    if (setjmp(j->fault.back) == 0) {
        work(j, job);
        ok = true;
    } else {
        bool end = strstr(j->fault.text, "Premature end") != NULL;
        ok = dg_error(e, "%s", end ? "it is cut off" : j->fault.text);
    }
    jpeg_destroy_decompress(&j->d);
    free(j);
    return ok;
}
bool jpeg_head(const uint8_t *data, size_t bytes, int *height, int *width, Error *e) {
    Job job = {.data = data, .bytes = bytes};
    if (!run(&job, e)) return false;
    *height = job.height, *width = job.width;
    return true;
}
bool jpeg_decode(const uint8_t *data, size_t bytes, int height, int width, uint8_t *rgb, Error *e) {
    Job job = {data, bytes, height, width, rgb, malloc((size_t)width * 4)};
    bool ok = job.cmyk ? run(&job, e) : dg_error(e, "there is no memory to decode it");
    free(job.cmyk);
    return ok;
}
/* The defaults of libjpeg are Pillow's: quality 75, colours at half the size. */
static void encode(Encoder *j, uint8_t *rgb, int height, int width) {
    jpeg_create_compress(&j->c);
    jpeg_mem_dest(&j->c, &j->data, &j->bytes);
    j->c.image_height = (JDIMENSION)height, j->c.image_width = (JDIMENSION)width;
    j->c.input_components = 3, j->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&j->c);
    jpeg_start_compress(&j->c, TRUE);
    while (j->c.next_scanline < j->c.image_height) {
        uint8_t *row = rgb + (size_t)j->c.next_scanline * (size_t)width * 3;
        jpeg_write_scanlines(&j->c, &row, 1);
    }
    jpeg_finish_compress(&j->c);
}
bool jpeg_round_trip(uint8_t *rgb, int height, int width, Error *e) {
    Encoder *j = dg_alloc(sizeof *j);
    j->c.err = jpeg_std_error(&j->fault.errors);
    j->fault.errors.error_exit = give_up;
    j->c.client_data = &j->fault;
    bool ok;
    if (setjmp(j->fault.back) == 0) {
        encode(j, rgb, height, width);
        ok = true;
    } else {
        ok = dg_error(e, "%s", j->fault.text);
    }
    jpeg_destroy_compress(&j->c);
    ok = ok && jpeg_decode(j->data, j->bytes, height, width, rgb, e);
    free(j->data);
    free(j);
    return ok;
}
bool jpeg_available(Error *e) { return (void)e, true; }
#else
const char *jpeg_other_decoder(void) { return NULL; }
static bool absent(Error *e) {
    return dg_error(e, "this build reads no JPEG files: install libjpeg-turbo (Debian: libjpeg-dev) and build again");
}
bool jpeg_head(const uint8_t *data, size_t bytes, int *height, int *width, Error *e) {
    (void)data, (void)bytes, (void)height, (void)width;
    return absent(e);
}
bool jpeg_decode(const uint8_t *data, size_t bytes, int height, int width, uint8_t *rgb, Error *e) {
    (void)data, (void)bytes, (void)height, (void)width, (void)rgb;
    return absent(e);
}
bool jpeg_round_trip(uint8_t *rgb, int height, int width, Error *e) {
    (void)rgb, (void)height, (void)width;
    return absent(e);
}
bool jpeg_available(Error *e) { return absent(e); }
#endif
