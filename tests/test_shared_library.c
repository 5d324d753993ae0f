/* test_shared_library.c -- where a library of NVIDIA's is looked for: in the file that the environment names, by the loader, where the build
 * found it, in Python's wheels; and what is said where it is not. With the C library's mathematics in its place.            */
#include "device/cuda/shared_library.h"
#include "base/error.h"
#include "check.h"
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABSENT "libdg_cuda_test_absent.so.9"
static char root[] = "/tmp/dg_shared_library_XXXXXX", real[PATH_MAX];
static char *below(const char *name) {
    static char path[2][PATH_MAX];
    static int next;
    next = !next;
    snprintf(path[next], sizeof path[next], "%s/%s", root, name);
    return path[next];
}
/* The library under another name, in folders that are made. */
static void put(const char *name) {
    char *path = below(name);
    for (char *s = strchr(path + strlen(root) + 1, '/'); s; s = strchr(s + 1, '/')) { *s = 0, mkdir(path, 0777), *s = '/'; }
    CHECK(symlink(real, path) == 0, "no link %s", path);
}
static const SharedLibrary absent = {
    .variable = "DG_TEST_LIBRARY", .name = {ABSENT}, .wheel = {"nvidia/cudnn/lib/" ABSENT, "nvidia/cu13/lib/" ABSENT}};
/* wanted: it is found; else what is said. */
static void look(const char *what, const SharedLibrary *l, bool wanted, const char *said) {
    Text looked = {0};
    void *library = shared_library_load(l, &looked);
    double (*cosine)(double) = NULL;
    CHECK(!library == !wanted, "%s: %s", what, library ? "found" : looked.text);
    CHECK(!said || (looked.text && strstr(looked.text, said)), "%s: \"%s\" is not in: %s", what, said, looked.text ? looked.text : "");
    if (library) {
        CHECK(shared_library_symbol(library, "cos", &cosine) && fabs(cosine(0) - 1) <= 0, "%s: it is another library", what);
        CHECK(!shared_library_symbol(library, "dg_no_such_function", &cosine), "%s: it has every function", what);
        dlclose(library);
    }
    text_free(&looked);
}
static void set_path(const char *folder) {
    Text path = {0};
    text_printf(&path, "/nowhere/bin::%s", below(folder));
    setenv("PATH", path.text, 1);
    text_free(&path);
}
int main(void) {
    Dl_info info;
    union {
        double (*function)(double);
        void *address;
    } cosine = {.function = cos};
    if (!mkdtemp(root) || !dladdr(cosine.address, &info) || !realpath(info.dli_fname, real) || !strstr(real, ".so")) {
        not_run("where libraries are looked for: no library of mathematics to look for");
        return check_done("test_shared_library");
    }
    setenv("HOME", below("home"), 1), set_path("env/bin");
    unsetenv("DG_TEST_LIBRARY");
    look("nowhere", &absent, false,
         "not found: looked for " ABSENT " (as the loader looks for it, LD_LIBRARY_PATH first), nvidia/cudnn/lib/" ABSENT
         ", nvidia/cu13/lib/" ABSENT " (in the packages of the Pythons of PATH and in ~/.local): install it, or name its file in the "
         "environment variable DG_TEST_LIBRARY");
    SharedLibrary built = absent, loader = absent;
    put("toolkit/" ABSENT);
    built.built = below("toolkit/" ABSENT);
    look("where the build found it", &built, true, NULL);
    loader.name[1] = "libm.so.6";
    look("by the loader, its second name", &loader, true, NULL);

    put("home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/" ABSENT);
    look("a wheel at home", &absent, true, NULL);
    setenv("HOME", below("other"), 1);
    look("another's home", &absent, false, NULL);
    mkdir(below("env/bin"), 0777);
    put("env/lib/python3.11/site-packages/nvidia/cudnn/lib/" ABSENT);
    mkdir(below("env/bin"), 0777);
    look("a wheel beside a program of PATH", &absent, true, NULL);
    set_path("system/bin");
    put("system/lib/python3/dist-packages/nvidia/cu13/lib/" ABSENT);
    mkdir(below("system/bin"), 0777);
    look("a distribution's packages", &absent, true, NULL);

    setenv("DG_TEST_LIBRARY", real, 1);
    set_path("nowhere/bin");
    look("the file that the environment names", &absent, true, NULL);
    setenv("DG_TEST_LIBRARY", "/nowhere/lib.so", 1);
    look("and only that", &loader, false, "DG_TEST_LIBRARY names /nowhere/lib.so, which cannot be loaded (");
    setenv("DG_TEST_LIBRARY", "", 1);
    look("an empty name is none", &loader, true, NULL);
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "/bin/rm -r %s", root);
    CHECK(system(command) == 0, "%s is left", root);
    return check_done("test_shared_library");
}
