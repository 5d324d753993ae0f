/* npz.c -- NumPy arrays: the .npy header, strictly; .npz files through zip.h; a streaming writer.
 * Format: numpy/lib/format.py ("NEP 1"), versions 1 to 3.                                         */
#include "files/npz.h"
#include "base/dtype.h"
#include "base/text.h"
#include "files/zip.h"
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    NPY_DIMS = 8,
    MAGIC_BYTES = 8,       /* with the version */
    MAX_HEADER = 64 << 10, /* NumPy itself refuses more than 10,000 */
    ALIGN_DATA = 64        /* of the data in files that we write, as NumPy does */
};
static const char magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

void npy_free(NpyArray *a) {
    free(a->data);
    *a = (NpyArray){0};
}
double npy_value(const NpyArray *a, size_t i) {
    const uint8_t *p = (const uint8_t *)a->data + i * (size_t)a->bytes;
    if (a->dtype == 'b') return *p != 0;
    uint64_t u = 0; /* the value's bits in the low bytes */
    memcpy(&u, p, (size_t)a->bytes);
    int unused = 64 - 8 * a->bytes;
    if (a->dtype == 'u') return (double)u;
    if (a->dtype == 'i') return (double)((int64_t)(u << unused) >> unused);
    if (a->bytes == 2) return f16_to_f32((uint16_t)u);
    float f;
    double d;
    if (a->bytes == 4) return memcpy(&f, p, sizeof f), f;
    return memcpy(&d, p, sizeof d), d;
}
int npy_one_hot(const NpyArray *a, size_t row, size_t columns) {
    int place = -1;
    for (size_t k = 0; k < columns; k++) {
        double v = npy_value(a, row * columns + k);
        if (v == 0) continue;
        if (v != 1 || place >= 0 || k > INT_MAX) return NPY_NOT_ONE_HOT;
        place = (int)k;
    }
    return place;
}

/* ---- the header: a Python dictionary of three keys --------------------------------------------------------------- */
typedef struct {
    const char *at, *end;
} Cursor;
typedef struct {
    NpyArray array; /* but for the data */
    bool swap, fortran;
    size_t data_bytes;
} Header;

static void skip_space(Cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n')) c->at++;
}
static bool take(Cursor *c, char wanted) {
    skip_space(c);
    if (c->at == c->end || *c->at != wanted) return false;
    return c->at++, true;
}
static bool take_word(Cursor *c, const char *word) {
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n)) return false;
    return c->at += n, true;
}
/* A quoted string without escapes, at most size - 1 long. */
static bool take_string(Cursor *c, char *out, size_t size) {
    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    char quote = *c->at++;
    for (size_t n = 0; c->at < c->end && n < size; c->at++) {
        if (*c->at == quote) return out[n] = 0, c->at++, true;
        if (*c->at == '\\' || *c->at == 0) return false;
        out[n++] = *c->at;
    }
    return false;
}
static bool read_type(Cursor *c, Header *h, Error *e) {
    char text[16];
    skip_space(c);
    if (c->at < c->end && *c->at == '[') return dg_error(e, "it is a structured array, which dg_cuda does not read");
    if (!take_string(c, text, sizeof text)) return dg_error(e, "its header has no valid 'descr'");
    char order = text[0], kind = order ? text[1] : 0;
    char *end = text;
    long bytes = kind && text[2] >= '1' && text[2] <= '9' ? strtol(text + 2, &end, 10) : 0;
    if (kind == 'O') return dg_error(e, "it holds Python objects (pickled code), which dg_cuda does not read");
    bool known = (kind == 'b' && bytes == 1) || (kind == 'f' && (bytes == 2 || bytes == 4 || bytes == 8)) ||
                 ((kind == 'i' || kind == 'u') && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8));
    if (!known || *end || (order != '<' && order != '>' && order != '=' && (order != '|' || bytes != 1)))
        return dg_error(e, "its type '%s' is not one that dg_cuda reads (bool, int, uint, float of 16, 32 or 64 bits)", text);
    h->array.dtype = kind, h->array.bytes = (int)bytes, h->swap = order == '>' && bytes > 1;
    return true;
}
static bool read_shape(Cursor *c, Header *h, Error *e) {
    NpyArray *a = &h->array;
    if (!take(c, '(')) return dg_error(e, "its header has no valid 'shape'");
    bool comma = true; /* between dimensions; a single one needs it too */
    while (!take(c, ')')) {
        skip_space(c);
        if (a->dims == NPY_DIMS) return dg_error(e, "it has more than %d dimensions", NPY_DIMS);
        if (!comma || c->at == c->end || *c->at < '0' || *c->at > '9')
            return dg_error(e, "its header has no valid 'shape': dimension %d is not a non-negative integer", a->dims);
        int64_t d = 0;
        for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
            if (__builtin_mul_overflow(d, 10, &d) || __builtin_add_overflow(d, *c->at - '0', &d)) return dg_error(e, "its shape overflows");
        if (c->at < c->end && *c->at == 'L') c->at++; /* Python 2 */
        a->shape[a->dims++] = d;
        comma = take(c, ',');
    }
    return a->dims != 1 || comma || dg_error(e, "its header has no valid 'shape': it is not a tuple");
}
static bool read_flag(Cursor *c, Header *h, Error *e) {
    h->fortran = take_word(c, "True");
    return h->fortran || take_word(c, "False") || dg_error(e, "its 'fortran_order' is not True or False");
}
static bool count_values(Header *h, Error *e) {
    uint64_t count = 1, bytes;
    for (int i = 0; i < h->array.dims; i++)
        if (__builtin_mul_overflow(count, (uint64_t)h->array.shape[i], &count)) return dg_error(e, "its shape overflows");
    if (__builtin_mul_overflow(count, (uint64_t)h->array.bytes, &bytes) || bytes > SIZE_MAX / 2) return dg_error(e, "its shape overflows");
    h->array.count = (size_t)count, h->data_bytes = (size_t)bytes;
    return true;
}
static bool read_header(const char *text, size_t bytes, Header *h, Error *e) {
    static const struct {
        const char *key;
        bool (*read)(Cursor *c, Header *h, Error *e);
    } keys[] = {{"descr", read_type}, {"fortran_order", read_flag}, {"shape", read_shape}};
    enum { KEYS = sizeof keys / sizeof *keys };
    Cursor c = {text, text + bytes};
    bool seen[KEYS] = {false}, comma = true;
    *h = (Header){0};
    if (!take(&c, '{')) return dg_error(e, "its header is not a Python dictionary");
    while (!take(&c, '}')) {
        char key[16];
        if (!comma || !take_string(&c, key, sizeof key) || !take(&c, ':')) return dg_error(e, "its header is not a Python dictionary");
        int k = 0;
        while (k < KEYS && strcmp(key, keys[k].key)) k++;
        if (k == KEYS) return dg_error(e, "its header has an unknown key '%s'", key);
        if (seen[k]) return dg_error(e, "its header has the key '%s' twice", key);
        seen[k] = true;
        if (!keys[k].read(&c, h, e)) return false;
        comma = take(&c, ',');
    }
    skip_space(&c);
    if (c.at < c.end) return dg_error(e, "its header goes on after the dictionary");
    for (int k = 0; k < KEYS; k++)
        if (!seen[k]) return dg_error(e, "its header has no '%s'", keys[k].key);
    return count_values(h, e);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */
struct Npz {
    char *path;
    FileMap map; /* none for npz_memory */
    Zip *zip;    /* NULL: one .npy, whose bytes `single` has */
    ZipEntry single;
    int count;
    char **name;
    const ZipEntry **entry;
};
typedef struct {
    ZipStream *stream;   /* of an archive's entry */
    const uint8_t *next; /* of a .npy */
    uint64_t left;
    bool named; /* the error that a read gave already names the file and the entry */
} Source;
static bool source_read(Source *s, void *out, size_t bytes, Error *e) {
    if (bytes > s->left) return dg_error(e, "it ends within its header: truncated?");
    s->left -= bytes;
    if (s->stream) return zip_stream_read(s->stream, out, bytes, e) || (s->named = true, false);
    if (bytes) memcpy(out, s->next, bytes);
    s->next += bytes;
    return true;
}

static void swap_bytes(uint8_t *p, size_t count, int bytes) {
    for (; count > 0; count--, p += bytes)
        for (int i = 0; i < bytes / 2; i++) {
            uint8_t t = p[i];
            p[i] = p[bytes - 1 - i], p[bytes - 1 - i] = t;
        }
}
/* From the first index running fastest to the last. */
static void fortran_to_c(const NpyArray *a, uint8_t *out) {
    size_t stride[NPY_DIMS], offset = 0, bytes = (size_t)a->bytes;
    int64_t index[NPY_DIMS] = {0};
    for (int k = 0; k < a->dims; k++) stride[k] = k ? stride[k - 1] * (size_t)a->shape[k - 1] : bytes;
    for (size_t i = 0; i < a->count; i++) {
        memcpy(out + i * bytes, (const uint8_t *)a->data + offset, bytes);
        for (int k = a->dims - 1; k >= 0; k--) {
            offset += stride[k];
            if (++index[k] < a->shape[k]) break;
            offset -= stride[k] * (size_t)a->shape[k];
            index[k] = 0;
        }
    }
}
static bool read_data(Source *s, Header *h, NpyArray *out, Error *e) {
    if (h->data_bytes != s->left)
        return dg_error(e, "it has %" PRIu64 " bytes of data, its shape and type want %zu", s->left, h->data_bytes);
    bool turn = h->fortran && h->array.dims > 1;
    uint8_t *data = malloc(h->data_bytes + 1), *turned = turn ? malloc(h->data_bytes + 1) : NULL;
    NpyArray a = h->array;
    a.data = data;
    bool ok = data && (turned || !turn) ? source_read(s, data, h->data_bytes, e)
                                        : dg_error(e, "there is no memory for its %zu bytes", h->data_bytes);
    if (ok && h->swap) swap_bytes(data, a.count, a.bytes);
    if (ok && turn) {
        fortran_to_c(&a, turned);
        a.data = turned;
        free(data);
    }
    if (ok) return *out = a, true;
    free(turned);
    free(data);
    return false;
}
/* Up to the data. */
static bool read_head(Source *s, Header *h, Error *e) {
    uint8_t head[MAGIC_BYTES + 4];
    if (!source_read(s, head, MAGIC_BYTES, e)) return false;
    if (memcmp(head, magic, sizeof magic)) return dg_error(e, "it is not a NumPy array: it does not begin as a .npy file does");
    int version = head[6], width = version == 1 ? 2 : 4;
    if (version < 1 || version > 3 || head[7] != 0)
        return dg_error(e, "its .npy format is version %d.%d, dg_cuda reads 1.0, 2.0 and 3.0", version, head[7]);
    if (!source_read(s, head + MAGIC_BYTES, (size_t)width, e)) return false;
    size_t bytes = 0;
    for (int i = width - 1; i >= 0; i--) bytes = bytes << 8 | head[MAGIC_BYTES + i];
    if (bytes > MAX_HEADER) return dg_error(e, "its header says it is %zu bytes long, at most %d are accepted", bytes, MAX_HEADER);
    char *text = dg_alloc(bytes);
    bool ok = source_read(s, text, bytes, e) && read_header(text, bytes, h, e);
    free(text);
    return ok;
}
static bool read_array(Source *s, NpyArray *out, Error *e) {
    Header h;
    return read_head(s, &h, e) && read_data(s, &h, out, e);
}
static const ZipEntry *find(const Npz *z, const char *name) {
    for (int i = 0; i < z->count; i++)
        if (!strcmp(z->name[i], name)) return z->entry[i];
    return NULL;
}
static const ZipEntry *need(const Npz *z, const char *name, Error *e) {
    const ZipEntry *entry = find(z, name);
    if (entry) return entry;
    Text have = {0};
    for (int i = 0; i < z->count; i++) text_printf(&have, "%s%s", i ? ", " : "", z->name[i]);
    dg_error(e, "%s: there is no array %s; it has %s", z->path, name, have.len ? have.text : "none");
    text_free(&have);
    return NULL;
}
bool npz_read(Npz *z, const char *name, NpyArray *out, Error *e) {
    *out = (NpyArray){0};
    const ZipEntry *entry = need(z, name, e);
    if (!entry) return false;
    if (!z->zip) {
        Source s = {.next = entry->packed, .left = entry->bytes};
        return read_array(&s, out, e) || dg_error_context(e, "%s", z->path);
    }
    Source s = {.stream = zip_stream_open(z->zip, entry, e), .left = entry->bytes};
    if (!s.stream) return false;
    bool ok = read_array(&s, out, e);
    zip_stream_close(s.stream);
    return ok || s.named ? ok : dg_error_context(e, "%s: array %s", z->path, name);
}
bool npz_view(Npz *z, const char *name, NpyArray *out, const uint8_t **data, Error *e) {
    const ZipEntry *entry = need(z, name, e);
    if (!entry) return false;
    if (entry->deflated) return dg_error(e, "%s: array %s is compressed", z->path, name);
    Source s = {.next = entry->packed, .left = entry->bytes};
    Header h;
    bool ok = read_head(&s, &h, e);
    if (ok && h.data_bytes != s.left)
        ok = dg_error(e, "it has %" PRIu64 " bytes of data, its shape and type want %zu", s.left, h.data_bytes);
    if (ok && (h.swap || (h.fortran && h.array.dims > 1))) ok = dg_error(e, "it is not in the order of this machine's memory");
    if (!ok) return dg_error_context(e, "%s: array %s", z->path, name);
    *out = h.array, *data = s.next;
    return true;
}
struct NpzStream {
    Source source;
    const Npz *z;
    size_t since; /* bytes delivered since the file's pages were let go */
};
NpzStream *npz_stream_open(Npz *z, const char *name, NpyArray *out, Error *e) {
    *out = (NpyArray){0};
    const ZipEntry *entry = need(z, name, e);
    if (!entry) return NULL;
    NpzStream *s = dg_alloc(sizeof *s);
    *s = (NpzStream){.source = {.next = entry->packed, .left = entry->bytes}, .z = z};
    Header h;
    bool ok = !z->zip || (s->source.stream = zip_stream_open(z->zip, entry, e));
    if (!ok) s->source.named = true;
    ok = ok && read_head(&s->source, &h, e);
    if (ok && h.data_bytes != s->source.left)
        ok = dg_error(e, "it has %" PRIu64 " bytes of data, its shape and type want %zu", s->source.left, h.data_bytes);
    if (ok && (h.swap || (h.fortran && h.array.dims > 1)))
        ok = dg_error(e, "it is not in C order and this machine's byte order: save it again as numpy.ascontiguousarray(x)");
    if (ok) return *out = h.array, s;
    if (!s->source.named) dg_error_context(e, "%s: array %s", z->path, name);
    npz_stream_close(s);
    return NULL;
}
void npz_let_go(const Npz *z) {
    if (z->map.data) file_let_go(z->map.data, z->map.bytes);
}
bool npz_stream_read(NpzStream *s, void *out, size_t bytes, Error *e) {
    enum { LET_GO = 64 << 20 };
    DG_CHECK(bytes <= s->source.left, "npz: more than an array's bytes were asked for");
    if (!source_read(&s->source, out, bytes, e)) return false;
    if ((s->since += bytes) < LET_GO || !s->z->map.data) return true; /* memory that is no map would be lost */
    s->since = 0;
    npz_let_go(s->z);
    return true;
}
void npz_stream_close(NpzStream *s) {
    if (!s) return;
    zip_stream_close(s->source.stream);
    free(s);
}
bool npz_verify(Npz *z, const char *name, Error *e) {
    const ZipEntry *entry = need(z, name, e);
    return entry && (!z->zip || zip_verify(z->zip, entry, e));
}

static void add_array(Npz *z, const ZipEntry *entry, const char *name, size_t name_bytes) {
    z->name = dg_realloc(z->name, (size_t)(z->count + 1) * sizeof *z->name);
    z->entry = dg_realloc(z->entry, (size_t)(z->count + 1) * sizeof *z->entry);
    z->name[z->count] = dg_alloc(name_bytes + 1);
    memcpy(z->name[z->count], name, name_bytes);
    z->entry[z->count++] = entry;
}
Npz *npz_memory(const void *data, size_t bytes, const char *name, Error *e) {
    static const char suffix[] = ".npy";
    Zip *zip = NULL;
    bool npy = bytes >= sizeof magic && !memcmp(data, magic, sizeof magic);
    if (!npy && !zip_recognise(data, bytes)) {
        dg_error(e, "%s: it is neither a .npz nor a .npy file", name);
        return NULL;
    }
    if (!npy && !(zip = zip_memory(data, bytes, name, e))) return NULL;
    Npz *z = dg_alloc(sizeof *z);
    z->path = dg_strdup(name);
    z->zip = zip;
    z->single = (ZipEntry){.packed = data, .bytes = bytes};
    if (npy) add_array(z, &z->single, "arr_0", strlen("arr_0"));
    for (const ZipEntry *x = NULL; zip && (x = zip_find_suffix(zip, suffix, x));)
        add_array(z, x, x->name, strlen(x->name) - strlen(suffix));
    return z;
}
Npz *npz_open(const char *path, Error *e) {
    FileMap m;
    if (!file_map(path, &m, e)) return NULL;
    Npz *z = npz_memory(m.data, m.bytes, path, e);
    if (z) z->map = m;
    else file_unmap(&m);
    return z;
}
int npz_count(const Npz *z) { return z->count; }
const char *npz_name(const Npz *z, int i) { return z->name[i]; }
bool npz_has(const Npz *z, const char *name) { return find(z, name) != NULL; }
bool npz_crc(const Npz *z, const char *name, uint32_t *crc) {
    const ZipEntry *entry = z->zip ? find(z, name) : NULL;
    if (entry) *crc = entry->crc;
    return entry != NULL;
}
void npz_close(Npz *z) {
    if (!z) return;
    zip_close(z->zip);
    file_unmap(&z->map);
    for (int i = 0; i < z->count; i++) free(z->name[i]);
    free(z->name);
    free(z->entry);
    free(z->path);
    free(z);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */
struct NpzWriter {
    ZipWriter *zip;
};
NpzWriter *npz_writer_open(const char *path, Error *e) {
    ZipWriter *zip = zip_writer_open(path, e);
    if (!zip) return NULL;
    NpzWriter *w = dg_alloc(sizeof *w);
    w->zip = zip;
    return w;
}
bool npz_writer_array(NpzWriter *w, const char *name, char dtype, int bytes, int dims, const int64_t *shape, Error *e) {
    DG_CHECK(dims >= 0 && dims <= NPY_DIMS, "npz: array %s has %d dimensions", name, dims);
    uint64_t data_bytes = (uint64_t)bytes;
    Text h = {0}, entry = {0};
    text_printf(&h, "%.6s%c%c%c%c", magic, 1, 0, 0, 0);
    text_printf(&h, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", bytes > 1 ? '<' : '|', dtype, bytes);
    for (int i = 0; i < dims; i++) {
        text_printf(&h, i ? ", %" PRId64 : "%" PRId64, shape[i]);
        data_bytes *= (uint64_t)shape[i];
    }
    text_printf(&h, "%s), }", dims == 1 ? "," : "");
    text_printf(&h, "%*s\n", (int)(ALIGN_DATA - 1 - h.len % ALIGN_DATA), "");
    size_t length = h.len - MAGIC_BYTES - 2;
    h.text[MAGIC_BYTES] = (char)(length & 255), h.text[MAGIC_BYTES + 1] = (char)(length >> 8);
    text_printf(&entry, "%s.npy", name);
    bool ok = zip_writer_entry(w->zip, entry.text, h.len + data_bytes, e) && zip_writer_data(w->zip, h.text, h.len, e);
    text_free(&h);
    text_free(&entry);
    return ok;
}
bool npz_writer_data(NpzWriter *w, const void *data, size_t bytes, Error *e) { return zip_writer_data(w->zip, data, bytes, e); }
bool npz_writer_finish(NpzWriter *w, Error *e) {
    bool ok = zip_writer_finish(w->zip, e);
    free(w);
    return ok;
}
void npz_writer_abandon(NpzWriter *w) {
    if (!w) return;
    zip_writer_abandon(w->zip);
    free(w);
}
