/* test_sha256.c -- SHA-256 against the vectors of FIPS 180-4, in both implementations and for every split of the input. */
#include "base/sha256.h"
#include "check.h"
#include <stdlib.h>
#include <unistd.h>

static void hash(Sha256Compress compress, const void *data, size_t bytes, size_t first, char hex[SHA256_HEX]) {
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    sha256_init(&h);
    h.compress = compress;
    sha256_update(&h, data, first);
    sha256_update(&h, (const uint8_t *)data + first, bytes - first);
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
}
static void vectors(Sha256Compress compress, const char *which) {
    static const struct {
        const char *text, *digest;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[SHA256_HEX];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].text);
        for (size_t first = 0; first <= n; first++) {
            hash(compress, known[i].text, n, first, hex);
            CHECK(!strcmp(hex, known[i].digest), "%s: vector %zu cut at %zu: %s", which, i, first, hex);
        }
    }
    enum { MILLION = 1000000 };
    char *a = malloc(MILLION);
    memset(a, 'a', MILLION);
    for (size_t first = 0; first < 3 * 64; first += 7) {
        hash(compress, a, MILLION, first, hex);
        CHECK(!strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), "%s: a million a: %s", which, hex);
    }
    free(a);
}
static void files(void) {
    char path[] = "/tmp/dg_test_sha256_XXXXXX", hex[SHA256_HEX] = "";
    int fd = mkstemp(path);
    Error e = {""};
    CHECK(fd >= 0 && sha256_file(path, hex, &e) && !strncmp(hex, "e3b0c442", 8), "an empty file: %s%s", hex, e.text);
    CHECK(write(fd, "abc", 3) == 3 && sha256_file(path, hex, &e) && !strncmp(hex, "ba7816bf", 8), "a file: %s%s", hex, e.text);
    close(fd);
    unlink(path);
    CHECK(!sha256_file(path, hex, &e) && strstr(e.text, path), "a missing file: %s", e.text);
}
int main(void) {
    vectors(sha256_compress_portable, "portable");
    if (sha256_compress_native()) vectors(sha256_compress_native(), "SHA instructions");
    else not_run("SHA instructions: this processor has none");
    /* Lengths around the padding's block boundary: the two agree where no vector is known. */
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + 1);
    for (size_t n = 0; n <= sizeof data && sha256_compress_native(); n++) {
        char a[SHA256_HEX], b[SHA256_HEX];
        hash(sha256_compress_portable, data, n, n / 3, a);
        hash(sha256_compress_native(), data, n, n / 2, b);
        CHECK(!strcmp(a, b), "%zu bytes: portable %s, native %s", n, a, b);
    }
    files();
    return check_done("test_sha256");
}
