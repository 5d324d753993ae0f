/* imagenet.c -- reading the table of ImageNet's classes. */
#include "models/imagenet.h"
#include "base/error.h"
#include "models/imagenet/classes.h"
#include <string.h>

static const char *next_line(const char *at) { return at + strcspn(at, "\n") + 1; }
static const char *first_line(void) {
    const char *at = imagenet_classes_text;
    while (*at == '#') at = next_line(at);
    return at;
}
static ImagenetClass class_at(const char *line) {
    const char *names = line + IMAGENET_ID + 1;
    return (ImagenetClass){line, names, strcspn(names, "\n")};
}
ImagenetName imagenet_names(void) { return (ImagenetName){.class = -1}; }
bool imagenet_next(ImagenetName *n) {
    if (n->name && n->name[n->len] == ',') {
        n->name += n->len + strlen(", ");
    } else {
        const char *line = n->name ? next_line(n->name + n->len) : first_line();
        if (line == imagenet_classes_end) return false;
        n->of = class_at(line), n->class ++;
        n->name = n->of.names;
    }
    n->len = strcspn(n->name, ",\n");
    return true;
}
ImagenetClass imagenet_class(int number) {
    const char *line = first_line();
    DG_CHECK(number >= 0 && number < IMAGENET_CLASSES, "class %d of ImageNet", number);
    for (int i = 0; i < number; i++) line = next_line(line);
    return class_at(line);
}
int imagenet_number(const char *id, size_t len) {
    int number = 0;
    for (const char *line = first_line(); len == IMAGENET_ID && line < imagenet_classes_end; line = next_line(line), number++)
        if (!memcmp(line, id, IMAGENET_ID)) return number;
    return -1;
}
bool imagenet_is_id(const char *text, size_t len) {
    if (len != IMAGENET_ID || text[0] != 'n') return false;
    for (size_t i = 1; i < len; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}
