/* official_files.h -- the example model's checkpoints, to the last byte as Python and PyTorch wrote them. The repository keeps
 * each without its tensors, which models/shapes32 has already: tests/data/NAME.cut, made by tests/cut_checkpoint.py.            */
#ifndef DG_OFFICIAL_FILES_H
#define DG_OFFICIAL_FILES_H
#include "base/sha256.h"
#include "files/safetensors.h"
#include "check.h"
#include <stdlib.h>

enum { OFFICIAL_SCORE, OFFICIAL_EXTRACTOR, OFFICIAL_HEAD, OFFICIAL_FILES };
static const struct {
    const char *name, *weights, *sha256;
} official[OFFICIAL_FILES] = {
    {"shapes32-score.pkl", "models/shapes32/network.safetensors", "0e0ae1fd015ffbef6b403973c1107daaed415c3e74f50ef8fcb22d910f694c09"},
    {"shapes32-extractor.pt", "models/shapes32/extractor.safetensors", "5e04fd9ab8998b25fd69bea37d14847f38cb1f780ba677d7d2da42ca29feacbf"},
    {"shapes32-head.pt", "models/shapes32/discriminator.safetensors", "efb3d4a48543d52d34e16625f6c938b34ac899fc2fe5e5f7621bdd5187d9bd68"},
};

/* Lines "OFFSET TENSOR", an empty line, and the bytes between the tensors. */
static bool official_join(FILE *cut, const SafeTensors *tensors, FILE *out) {
    struct {
        long at;
        char name[120];
    } piece[256];
    char line[160];
    int count = 0;
    while (fgets(line, sizeof line, cut) && line[0] != '\n')
        if (count == 256 || sscanf(line, "%ld %119s", &piece[count].at, piece[count].name) != 2) return false;
        else count++;
    long done = 0;
    for (int i = 0; i < count; i++) {
        const StTensor *t = st_find(tensors, piece[i].name);
        if (!t) return false;
        for (; done < piece[i].at; done++) putc(getc(cut), out);
        done += (long)fwrite(t->data, 1, t->bytes, out);
    }
    for (int c; (c = getc(cut)) != EOF;) putc(c, out);
    return count > 0 && !ferror(out);
}
/* Writes FOLDER/NAME of one of them, and gives the path in `path`. */
static bool official_write(int which, const char *folder, char *path, size_t size) {
    Error e = {""};
    char hex[SHA256_HEX] = "", source[96];
    snprintf(source, sizeof source, "tests/data/%s.cut", official[which].name);
    snprintf(path, size, "%s/%s", folder, official[which].name);
    SafeTensors *tensors = st_open(official[which].weights, &e);
    FILE *cut = fopen(source, "rb"), *out = fopen(path, "wb");
    bool ok = tensors && cut && out && official_join(cut, tensors, out);
    if (cut) fclose(cut);
    if (out) ok &= !fclose(out);
    st_close(tensors);
    return CHECK(ok && sha256_file(path, hex, &e) && !strcmp(hex, official[which].sha256), "%s from %s and %s: SHA-256 %s, not %s; %s",
                 path, source, official[which].weights, hex, official[which].sha256, e.text);
}
#endif
