/* package.c -- opening checkpoints, merging them, naming their tensors and recognising the network; and the facts about one file. */
#include "weights_tools/package.h"
#include "weights_tools/naming.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b) { return strcmp(((const PackageTensor *)a)->name, ((const PackageTensor *)b)->name); }
/* The names behind --prefix, with or without its last dot; NULL where a name does not begin with it. */
static const char *behind(const char *name, const char *prefix) {
    size_t n = prefix ? strlen(prefix) : 0;
    if (!n) return name;
    if (strncmp(name, prefix, n)) return NULL;
    if (prefix[n - 1] != '.' && name[n] != '.') return NULL;
    name += n + (prefix[n - 1] != '.');
    return *name ? name : NULL;
}
typedef struct {
    const char *first, *now; /* an example */
    int count;
} Example;
static void note_names(Package *p, const Naming *n, const Example *renamed, const Example *dropped) {
    if (renamed->count) {
        text_printf(&p->notes, "renamed %d tensors (", renamed->count);
        text_printable(&p->notes, renamed->first);
        text_printf(&p->notes, " is now ");
        text_printable(&p->notes, renamed->now);
        text_printf(&p->notes, ")\n");
    }
    for (int i = 0; i < n->others; i++) {
        text_printf(&p->notes, "took the network of prefix \"");
        text_printable(&p->notes, n->prefix);
        text_printf(&p->notes, "\", passing over that of \"");
        text_printable(&p->notes, n->other[i]);
        text_printf(&p->notes, "\" (--prefix)\n");
    }
    note_left_out(&p->notes, dropped->count, "tensors that the network does not need", dropped->first);
}
/* The names of these files' tensors behind --prefix. */
static Naming naming_of_files(Checkpoint *const *c, int files, const char *prefix, int *count) {
    size_t room = 1;
    for (int k = 0; k < files; k++) room += (size_t)c[k]->count;
    const char **name = dg_alloc(room * sizeof *name);
    *count = 0;
    for (int k = 0; k < files; k++)
        for (int i = 0; i < c[k]->count; i++)
            if ((name[*count] = behind(c[k]->tensor[i].name, prefix))) ++*count;
    Naming n = naming_of(name, *count);
    free(name);
    return n;
}
static const char *official_name(const Naming *n, const char *own, const char *prefix, char text[CANONICAL_NAME]) {
    const char *rest = behind(own, prefix), *official = rest ? naming_apply(n, rest, text) : NULL;
    return official && *official ? official : NULL;
}
static bool takes_of_each(const Package *p, const Naming *n, const char *prefix) {
    char text[CANONICAL_NAME];
    for (int k = 0; k < p->inputs; k++) {
        bool any = false;
        for (int i = 0; i < p->input[k]->count && !any; i++) any = official_name(n, p->input[k]->tensor[i].name, prefix, text) != NULL;
        if (!any) return false;
    }
    return true;
}
static bool add_tensors(Package *p, Checkpoint *c, const Naming *n, const char *prefix, Error *e) {
    Example renamed = {NULL, NULL, 0}, dropped = {NULL, NULL, 0};
    p->tensor = dg_realloc(p->tensor, (size_t)(p->count + c->count) * sizeof *p->tensor + 1);
    int before = p->count;
    for (int i = 0; i < c->count; i++) {
        char text[CANONICAL_NAME];
        const char *own = c->tensor[i].name, *official = official_name(n, own, prefix, text);
        if (!official) {
            if (!dropped.count++) dropped.first = own;
            continue;
        }
        PackageTensor *t = &p->tensor[p->count++];
        *t = (PackageTensor){.name = dg_strdup(official), .from = c, .tensor = &c->tensor[i]};
        if (strcmp(official, own) && !renamed.count++) renamed.first = own, renamed.now = t->name;
    }
    note_names(p, n, &renamed, &dropped);
    return p->count > before || dg_error(e, "%s: it holds no tensors of a network", c->path);
}
/* Several files are the pieces of one network, or one network each. */
static bool name_tensors(Package *p, const char *prefix, Error *e) {
    int count;
    Naming all = naming_of_files(p->input, p->inputs, prefix, &count);
    bool together = p->inputs == 1 || (all.inside && !all.ambiguous && takes_of_each(p, &all, prefix));
    for (int k = 0; k < p->inputs; k++) {
        Checkpoint *c = p->input[k];
        Naming n = together ? all : naming_of_files(&p->input[k], 1, prefix, &count);
        if (!count)
            return dg_error(e, "%s: no tensor's name begins with \"%s\" (--prefix), but for example with %s", c->path, prefix ? prefix : "",
                            c->count ? c->tensor[0].name : "nothing");
        if (n.ambiguous)
            return dg_error(e, "%s: it holds several networks, of prefix \"%s\" and \"%s\": name one with --prefix", c->path, n.prefix,
                            n.other[0]);
        if (!add_tensors(p, c, &n, prefix, e)) return false;
    }
    return true;
}
/* Of a network that is known: counters (n_averaged, step) and other integers; and, with --ignore-extra, all that has no name of
 * its kind.                                                                                                                    */
static void drop_extra(Package *p, bool ignore_extra) {
    int kept = 0, integers = 0, strangers = 0;
    const char *integer = "", *stranger = "";
    for (int i = 0; i < p->count; i++) {
        PackageTensor *t = &p->tensor[i];
        bool own = !ignore_extra || !p->found.own;
        for (int k = 0; !own && p->found.own[k]; k++) own = !strncmp(t->name, p->found.own[k], strlen(p->found.own[k]));
        bool floating = t->tensor->dtype != DG_U8 && t->tensor->dtype != DG_I64;
        if (floating && t->tensor->dims > 0 && own) {
            p->tensor[kept++] = *t;
            continue;
        }
        if (!floating || !t->tensor->dims) integer = integers++ ? integer : t->tensor->name;
        else stranger = strangers++ ? stranger : t->tensor->name;
        free(t->name);
    }
    p->count = kept;
    note_left_out(&p->notes, integers, "scalars and integers", integer);
    note_left_out(&p->notes, strangers, "tensors that have no name of this network's", stranger);
}
static bool check_names(const Package *p, Error *e) {
    for (int i = 1; i < p->count; i++) {
        const PackageTensor *a = &p->tensor[i - 1], *b = &p->tensor[i];
        if (strcmp(a->name, b->name)) continue;
        if (a->from == b->from)
            return dg_error(e, "%s: its tensors %s and %s have one name", a->from->path, a->tensor->name, b->tensor->name);
        return dg_error(e, "%s and %s both have a tensor %s: only files of one network, with different tensors, can be merged",
                        a->from->path, b->from->path, a->name);
    }
    return true;
}
typedef struct {
    bool ones;
} Gamma;
static bool look_for_ones(void *into, const void *data, size_t bytes, Error *e) {
    Gamma *g = into;
    (void)e;
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        float v;
        memcpy(&v, (const char *)data + i * sizeof v, sizeof v);
        g->ones &= v == 1;
    }
    return true;
}
/* The batch norms of some containers have no scale, and those of others a scale of ones. */
static bool drop_ones(Package *p, Error *e) {
    static const char end[] = ".bn.weight";
    int kept = 0, others = 0;
    bool ok = true;
    for (int i = 0; i < p->count; i++) {
        PackageTensor *t = &p->tensor[i];
        size_t n = strlen(t->name), k = sizeof end - 1;
        Gamma g = {n > k && !strcmp(t->name + n - k, end)};
        bool scale = g.ones;
        if (scale && ok) ok = checkpoint_read(t->from, t->tensor, DG_F32, look_for_ones, &g, e);
        others += scale && !g.ones;
        if (scale && ok && g.ones) free(t->name);
        else p->tensor[kept++] = *t;
    }
    p->count = kept;
    if (others)
        text_printf(&p->notes, "%d of its batch norms have a scale (bn.weight) other than 1, which the published network has not\n",
                    others);
    return ok;
}
static bool find_config(Package *p, const ConvertOptions *o, Error *e) {
    for (int i = 0; i < p->inputs; i++) {
        const char *own = p->input[i]->config;
        if (!own) continue;
        Json *j = json_parse(own, strlen(own), e); /* weights.c would refuse the result */
        if (!j) return dg_error_context(e, "%s: metadata \"config\"", p->input[i]->path);
        const Json *kind = json_get(j, "kind"), *type = json_get(j, "model_type"), *precond = json_get(j, "precond");
        text_printf(&p->found.architecture, "%s",
                    precond && precond->string ? precond->string
                    : kind && kind->string     ? kind->string
                                               : "configured");
        if (type && type->string) text_printf(&p->found.architecture, " %s", type->string);
        text_printf(&p->found.config, "%s", own);
        json_free(j);
        return true;
    }
    NamedShape *shape = dg_alloc((size_t)p->count * sizeof *shape);
    Clues c = {.shape = shape, .count = p->count, .options = o};
    for (int i = 0; i < p->count; i++) shape[i] = (NamedShape){p->tensor[i].name, p->tensor[i].tensor->dims, p->tensor[i].tensor->shape};
    for (int i = 0; i < p->inputs && !c.class_name; i++) {
        const Checkpoint *from = p->input[i];
        c.class_name = from->class_name, c.arguments = from->arguments, c.attributes = from->attributes;
    }
    bool ok = recognise(&c, &p->found, e);
    free(shape);
    if (ok && p->found.config.len) drop_extra(p, o && o->ignore_extra);
    if (ok && p->found.canonical) return drop_ones(p, e);
    return ok || dg_error_context(e, "%s", p->input[0]->path);
}
/* ---- lists of shards ------------------------------------------------------------------------------------------------------ */
static bool is_list_of_shards(const char *path) {
    static const char end[] = ".index.json";
    size_t n = strlen(path);
    return n > sizeof end - 1 && !strcmp(path + n - (sizeof end - 1), end);
}
static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
/* The files that "weight_map" names: beside the list, and nowhere else. */
static bool list_shards(const char *path, char ***out, int *count, Error *e) {
    Json *j = json_parse_file(path, e);
    if (!j) return false;
    const Json *map = json_get(j, "weight_map");
    bool ok = (map && map->kind == JSON_OBJECT && map->count) || dg_error(e, "%s: no \"weight_map\" of tensors to files", path);
    const char **name = dg_alloc((size_t)(ok ? map->count : 0) * sizeof *name + 1), *slash = strrchr(path, '/');
    int n = 0;
    for (const Json *t = ok ? map->child : NULL; t && ok; t = t->next) {
        ok = t->kind == JSON_STRING && *t->string && !strchr(t->string, '/') && t->string[0] != '.';
        if (ok) name[n++] = t->string;
        else
            dg_error(e, "%s: tensor %s lies in \"%s\", which is no name of a file beside the list", path, t->key,
                     t->string ? t->string : "");
    }
    if (ok) qsort(name, (size_t)n, sizeof *name, by_text);
    for (int i = 0; ok && i < n; i++) {
        if (i && !strcmp(name[i], name[i - 1])) continue;
        Text full = {0};
        text_printf(&full, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name[i]);
        if (*count % 64 == 0) *out = dg_realloc(*out, (size_t)(*count + 64) * sizeof **out);
        (*out)[(*count)++] = full.text;
    }
    free(name);
    json_free(j);
    return ok;
}
bool package_files(const char *const *path, int count, char ***files, int *n, Error *e) {
    enum { MAX_FILES = 4096 };
    *files = NULL, *n = 0;
    bool ok = true;
    for (int i = 0; i < count && ok; i++) {
        if (is_list_of_shards(path[i])) {
            ok = list_shards(path[i], files, n, e);
        } else {
            if (*n % 64 == 0) *files = dg_realloc(*files, (size_t)(*n + 64) * sizeof **files);
            (*files)[(*n)++] = dg_strdup(path[i]);
        }
        if (ok && *n > MAX_FILES) ok = dg_error(e, "%s: more than %d files", path[i], MAX_FILES);
    }
    if (ok) return true;
    package_files_free(*files, *n);
    return false;
}
void package_files_free(char **files, int n) {
    for (int i = 0; i < n; i++) free(files[i]);
    free(files);
}

static bool same_file(const struct stat *s, const char *path) {
    struct stat x;
    return stat(path, &x) == 0 && x.st_dev == s->st_dev && x.st_ino == s->st_ino;
}
bool is_input(const char *path, const char *const *in, int n_in) {
    struct stat s;
    bool found = false;
    if (stat(path, &s) != 0) return false;
    for (int i = 0; i < n_in && !found; i++) {
        char **file;
        int files;
        if (!in[i]) continue;
        found = same_file(&s, in[i]);
        if (found || !package_files(&in[i], 1, &file, &files, NULL)) continue;
        for (int k = 0; k < files && !found; k++) found = same_file(&s, file[k]);
        package_files_free(file, files);
    }
    return found;
}

Package *package_open(const char *const *path, int count, const ConvertOptions *o, Error *e) {
    char **file;
    int files;
    if (!package_files(path, count, &file, &files, e)) return NULL;
    Package *p = dg_alloc(sizeof *p);
    p->input = dg_alloc((size_t)files * sizeof *p->input);
    bool ok = true;
    for (; ok && p->inputs < files; p->inputs += ok) {
        Checkpoint *c = p->input[p->inputs] = checkpoint_open(file[p->inputs], o ? o->key : NULL, e);
        ok = c != NULL;
        if (ok && c->notes.len) text_printf(&p->notes, "%s", c->notes.text);
    }
    package_files_free(file, files);
    ok = ok && name_tensors(p, o ? o->prefix : NULL, e);
    if (ok) qsort(p->tensor, (size_t)p->count, sizeof *p->tensor, by_name);
    ok = ok && check_names(p, e) && find_config(p, o, e);
    if (ok && p->found.notes.len) text_printf(&p->notes, "%s", p->found.notes.text);
    if (ok) return p;
    package_close(p);
    return NULL;
}
void package_close(Package *p) {
    if (!p) return;
    for (int i = 0; i < p->count; i++) free(p->tensor[i].name);
    for (int i = 0; i < p->inputs; i++) checkpoint_close(p->input[i]);
    recognition_free(&p->found);
    text_free(&p->notes);
    free(p->tensor);
    free(p->input);
    free(p);
}

/* ---- facts about a file ------------------------------------------------------------------------------------------------- */
Inspection *inspect(const char *path, const ConvertOptions *o, Error *e) {
    Package *p = package_open(&path, 1, o, e);
    if (!p) return NULL;
    Inspection *i = dg_alloc(sizeof *i);
    i->format = p->inputs > 1 ? "list of shards" : p->input[0]->format;
    i->architecture = dg_strdup(p->found.architecture.len ? p->found.architecture.text : "unknown");
    i->config = p->found.config.len ? dg_strdup(p->found.config.text) : NULL;
    i->notes = dg_strdup(p->notes.len ? p->notes.text : "");
    i->count = p->count;
    i->tensor = dg_alloc((size_t)p->count * sizeof *i->tensor);
    for (int k = 0; k < p->count; k++) {
        const CheckpointTensor *t = p->tensor[k].tensor;
        i->tensor[k] = (InspectTensor){.name = dg_strdup(p->tensor[k].name), .dtype = t->dtype, .dims = t->dims};
        memcpy(i->tensor[k].shape, t->shape, sizeof t->shape);
        if (t->dtype != DG_U8 && t->dtype != DG_I64) i->parameters += t->count;
    }
    package_close(p);
    return i;
}
void inspection_free(Inspection *i) {
    if (!i) return;
    for (int k = 0; k < i->count; k++) free(i->tensor[k].name);
    free(i->tensor);
    free(i->architecture);
    free(i->config);
    free(i->notes);
    free(i);
}
