/* processors.c -- how many processors this process may use, and how threads wait for each other. */
#include "base/processors.h"
#include "base/error.h"
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- control groups ----------------------------------------------------------------------------------------------------- */
enum { PATH_SPACE = PATH_MAX + 256 };
/* The processors that a quota stands for; INFINITY: no file, or no limit. */
static double quota_of(const char *root, const char *hierarchy, const char *group, bool v2) {
    char path[2 * PATH_SPACE];
    double quota = -1, period = -1;
    snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s/%s", root, hierarchy, group, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    FILE *f = fopen(path, "re");
    if (!f) return INFINITY;
    int got = v2 ? fscanf(f, "%lf %lf", &quota, &period) : fscanf(f, "%lf", &quota); /* "max 100000"; -1 */
    fclose(f);
    if (!v2 && got == 1) {
        snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s/cpu.cfs_period_us", root, hierarchy, group);
        if (!(f = fopen(path, "re"))) return INFINITY;
        got += fscanf(f, "%lf", &period);
        fclose(f);
    }
    return got == 2 && quota > 0 && period > 0 ? quota / period : INFINITY;
}
/* The least quota of the group and those above it. Where a container sees its own group as the root of the file system but
 * not in /proc/self/cgroup, the groups in between are not there, and the root is. */
static double least_quota(const char *root, const char *hierarchy, char *group, bool v2) {
    double least = INFINITY;
    for (;;) {
        char *slash = strrchr(group, '/');
        if (slash && !slash[1]) *slash = 0; /* "/" */
        least = fmin(least, quota_of(root, hierarchy, group, v2));
        if (!(slash = strrchr(group, '/'))) return least;
        *slash = 0;
    }
}
static bool has_word(const char *list, const char *word) { /* separated by commas */
    size_t n = strlen(word);
    for (const char *s = list; (s = strstr(s, word)); s += n)
        if ((s == list || s[-1] == ',') && (!s[n] || s[n] == ',')) return true;
    return false;
}
static double quota(const char *root) {
    char path[PATH_SPACE], line[PATH_SPACE], above[PATH_SPACE];
    double least = INFINITY;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) { /* "0::/group", "4:cpu,cpuacct:/group" */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group || strlen(group + 1) >= PATH_MAX) continue;
        *controllers++ = 0, *group++ = 0;
        bool v2 = !*controllers;
        if (!v2 && !has_word(controllers, "cpu")) continue;
        static const char *const places[2][3] = {{"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"}, {"", "/unified", NULL}};
        for (int i = 0; i < 3 && places[v2][i]; i++) {
            snprintf(above, sizeof above, "%s", group);
            least = fmin(least, least_quota(root, places[v2][i], above, v2));
        }
    }
    if (f) fclose(f);
    return least;
}

/* ---- how many ----------------------------------------------------------------------------------------------------------- */
int processors_scheduled(void) {
    cpu_set_t *set;
    for (int most = 1024; most <= 1 << 20; most *= 4) { /* grown until it holds the kernel's */
        size_t size = CPU_ALLOC_SIZE(most);
        if (!(set = CPU_ALLOC(most))) break;
        int n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0) return n;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
int processors_share(const char *root, int scheduled) {
    const double worth_a_thread = .25; /* of a processor: for less, another thread costs more than it brings */
    double share = floor(quota(root) + 1 - worth_a_thread);
    return share >= scheduled ? scheduled : share < 1 ? 1 : (int)share;
}
static void *pass(void *lock) { /* waits until the others have been tried too */
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}
int processors_startable(int threads, int others) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int wanted = threads - 1 + others, n = 0;
    pthread_t *thread = dg_alloc((size_t)(wanted > 0 ? wanted : 0) * sizeof *thread);
    pthread_mutex_lock(&lock);
    while (n < wanted && pthread_create(&thread[n], NULL, pass, &lock) == 0) n++;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    free(thread);
    if (n == wanted) return threads;
    return n > others ? n - others + 1 : 1;
}

/* ---- how they wait -------------------------------------------------------------------------------------------------------- */
void processors_wait_passively(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("OMP_WAIT_POLICY", "passive", 1) != 0) {
        const char *slash = strrchr(argv[0], '/');
        prctl(PR_SET_NAME, slash ? slash + 1 : argv[0]); /* not "exe", in ps */
        return;
    }
    execv("/proc/self/exe", argv); /* where that fails, everything works, with threads that spin */
}
