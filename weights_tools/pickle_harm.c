/* pickle_harm.c -- which Python names mean that a pickle is an attack. The reader runs nothing whatever it says; this list
 * is there so that the file's owner is told. No official checkpoint refers to any of them.                               */
#include "weights_tools/pickle.h"
#include <string.h>

bool pickle_would_harm(const char *module, const char *name) {
    static const char *const modules[] = {
        "os",     "posix",   "nt",       "subprocess", "sys",    "runpy",    "importlib",       "shutil",  "socket",
        "pty",    "ctypes",  "pickle",   "_pickle",    "code",   "codeop",   "webbrowser",      "timeit",  "pdb",
        "bdb",    "profile", "cProfile", "commands",   "popen2", "platform", "multiprocessing", "asyncio", "requests",
        "urllib", "http",    "ftplib",   "pip",        "marshal"};
    /* All that may be used of builtins. */
    static const char *const harmless[] = {"set",       "frozenset", "object", "dict", "list",  "tuple", "int",  "float",   "complex",
                                           "bytearray", "bytes",     "str",    "bool", "slice", "range", "long", "unicode", "type"};
    size_t root = strcspn(module, ".");
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strlen(modules[i]) == root && !strncmp(module, modules[i], root)) return true;
    if (strcmp(module, "builtins") && strcmp(module, "__builtin__")) return false;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (!strcmp(name, harmless[i])) return false;
    return true;
}
