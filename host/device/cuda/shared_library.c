/* shared_library.c -- looking for a shared library: by name, where the build found it, in Python's wheels. */
#include "device/cuda/shared_library.h"
#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

static void *open_file(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
/* In the packages that lie in `prefix`/lib, PREFIX being the first `length` bytes. */
static void *open_wheel(const char *prefix, size_t length, const char *file) {
    static const char *const packages[] = {"site-packages", "dist-packages"};
    void *library = NULL;
    for (int i = 0; i < 2 && !library; i++) {
        Text pattern = {0};
        glob_t found;
        text_printf(&pattern, "%.*s/lib/python3*/%s/%s", (int)length, prefix, packages[i], file);
        if (!glob(pattern.text, 0, NULL, &found))
            for (size_t k = 0; k < found.gl_pathc && !library; k++) library = open_file(found.gl_pathv[k]);
        globfree(&found);
        text_free(&pattern);
    }
    return library;
}
static void *search_wheels(const char *file) {
    const char *path = getenv("PATH"), *home = getenv("HOME");
    void *library = NULL;
    for (const char *s = path ? path : ""; *s && !library; s += *s == ':') { /* .../bin: its packages are in .../lib */
        size_t n = strcspn(s, ":");
        Text prefix = {0};
        text_printf(&prefix, "%.*s/..", (int)n, s);
        if (n) library = open_wheel(prefix.text, prefix.len, file);
        text_free(&prefix);
        s += n;
    }
    if (library || !home) return library;
    Text local = {0};
    text_printf(&local, "%s/.local", home);
    library = open_wheel(local.text, local.len, file);
    text_free(&local);
    return library;
}
static void list(Text *t, const char *item) { text_printf(t, "%s%s", t->len ? ", " : "", item); }
void *shared_library_load(const SharedLibrary *l, Text *looked) {
    const char *named = getenv(l->variable);
    if (named && named[0]) {
        void *library = open_file(named);
        const char *why = library ? NULL : dlerror();
        if (!library)
            text_printf(looked, "%s names %s, which cannot be loaded (%s): name another file, or unset it", l->variable, named,
                        why ? why : "no reason is given");
        return library;
    }
    void *library = NULL;
    Text tried = {0};
    for (int i = 0; i < LIBRARY_NAMES && l->name[i] && !library; i++) library = open_file(l->name[i]), list(&tried, l->name[i]);
    text_printf(&tried, " (as the loader looks for it, LD_LIBRARY_PATH first)");
    if (!library && l->built) library = open_file(l->built), list(&tried, l->built);
    for (int i = 0; i < LIBRARY_NAMES && l->wheel[i] && !library; i++) library = search_wheels(l->wheel[i]), list(&tried, l->wheel[i]);
    text_printf(&tried, " (in the packages of the Pythons of PATH and in ~/.local)");
    if (!library)
        text_printf(looked, "not found: looked for %s: install it, or name its file in the environment variable %s", tried.text,
                    l->variable);
    text_free(&tried);
    return library;
}
bool shared_library_symbol(void *library, const char *name, void *function) {
    void *p = dlsym(library, name);
    memcpy(function, &p, sizeof p);
    return p != NULL;
}
