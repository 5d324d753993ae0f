/* zip.h -- ZIP archives (.npz, torch .pt): a reader over a mapped file that trusts nothing, and a streaming writer.
 *
 * Opening checks every header: the directory against the local headers, sizes against the file, names, overlaps, and
 * declared sizes that no honest archive has. Stored entries are used where they lie in the map, without a copy.
 * Format: PKWARE's APPNOTE.TXT.                                                                                      */
#ifndef DG_ZIP_H
#define DG_ZIP_H
#include "base/file.h"

enum {
    ZIP_MAX_ENTRIES = 1 << 21,
    ZIP_MAX_NAME = 1024, /* bytes */
    /* Deflated data that unpacks to more than ZIP_BOMB_BYTES and more than ZIP_BOMB_RATIO times itself is refused. */
    ZIP_BOMB_BYTES = 16 << 20,
    ZIP_BOMB_RATIO = 200
};
typedef struct {
    const char *name;      /* valid UTF-8 without control characters; unique in the archive; "x/" is a folder */
    bool deflated;         /* else stored */
    uint32_t crc;          /* CRC-32 of the unpacked bytes, as declared */
    uint64_t bytes;        /* unpacked, as declared: reading fails unless it is true */
    uint64_t packed_bytes; /* in the file */
    const uint8_t *packed; /* in the map; of a stored entry: the bytes themselves, of any alignment, CRC not checked */
} ZipEntry;
typedef struct {
    char *path;
    int count;
    ZipEntry *entry; /* in the directory's order */
    /* private */
    const ZipEntry **by_name;
    char *names;
    FileMap map;
} Zip;

bool zip_recognise(const void *data, size_t bytes); /* begins as a ZIP archive does */
Zip *zip_open(const char *path, Error *e);
Zip *zip_memory(const void *data, size_t bytes, const char *name, Error *e); /* not copied: must outlive it */
void zip_close(Zip *z);                                                      /* z may be NULL */
const ZipEntry *zip_find(const Zip *z, const char *name);                    /* NULL when absent */
/* The first entry, or the first one after `after`, whose name ends with suffix; NULL when there is none. */
const ZipEntry *zip_find_suffix(const Zip *z, const char *suffix, const ZipEntry *after);

/* Whole entries. zip_read fills out[entry->bytes]; zip_verify only checks (size and CRC), in constant memory. */
bool zip_read(const Zip *z, const ZipEntry *entry, void *out, Error *e);
bool zip_verify(const Zip *z, const ZipEntry *entry, Error *e);
void zip_let_go(const Zip *z); /* of memory: file_let_go of all of its file, which stays readable */

/* An entry in pieces of any size, at most entry->bytes in all. Size and CRC are checked by the call that delivers the
 * last byte (of an empty entry: by a call for 0 bytes).                                                             */
typedef struct ZipStream ZipStream;
ZipStream *zip_stream_open(const Zip *z, const ZipEntry *entry, Error *e);
bool zip_stream_read(ZipStream *s, void *out, size_t bytes, Error *e);
void zip_stream_close(ZipStream *s); /* s may be NULL */

/* Writer of stored entries, ZIP64 where needed. The file appears complete under its name at zip_writer_finish. */
typedef struct ZipWriter ZipWriter;
ZipWriter *zip_writer_open(const char *path, Error *e);
/* Begins an entry of exactly `bytes` bytes, which zip_writer_data then appends in pieces of any size. */
bool zip_writer_entry(ZipWriter *w, const char *name, uint64_t bytes, Error *e);
bool zip_writer_data(ZipWriter *w, const void *data, size_t bytes, Error *e);
bool zip_writer_finish(ZipWriter *w, Error *e); /* frees w either way */
void zip_writer_abandon(ZipWriter *w);          /* w may be NULL */
#endif
