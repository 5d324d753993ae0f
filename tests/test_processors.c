/* test_processors.c -- how many threads are taken under control groups of both versions, from folders made for the purpose. */
#include "base/processors.h"
#include "base/folder.h"
#include "program.h"
#include <math.h>

static const struct {
    const char *what, *cgroup; /* /proc/self/cgroup */
    struct {
        const char *path, *text;
    } file[6]; /* below /sys/fs/cgroup */
    int scheduled, wanted;
} cases[] = {
    {"no control groups", NULL, {{NULL, NULL}}, 6, 6},
    {"no limit", "0::/\n", {{"cpu.max", "max 100000\n"}}, 6, 6},
    {"two processors' time", "0::/\n", {{"cpu.max", "200000 100000\n"}}, 6, 2},
    {"more than there are", "0::/\n", {{"cpu.max", "900000 100000\n"}}, 6, 6},
    {"one and a half", "0::/\n", {{"cpu.max", "150000 100000\n"}}, 6, 2},
    {"one and a little", "0::/\n", {{"cpu.max", "120000 100000\n"}}, 6, 1},
    {"a tenth", "0::/\n", {{"cpu.max", "10000 100000\n"}}, 6, 1},
    {"another period", "0::/\n", {{"cpu.max", "60000 20000\n"}}, 6, 3},
    {"a group's own", "0::/a/b\n", {{"a/b/cpu.max", "300000 100000\n"}, {"a/cpu.max", "max 100000\n"}}, 6, 3},
    {"a limit above", "0::/a/b\n", {{"a/b/cpu.max", "max 100000\n"}, {"a/cpu.max", "100000 100000\n"}}, 6, 1},
    {"the lesser of two", "0::/a/b\n", {{"a/b/cpu.max", "400000 100000\n"}, {"a/cpu.max", "200000 100000\n"}}, 6, 2},
    {"a path that is not visible here", "0::/host/docker/1\n", {{"cpu.max", "200000 100000\n"}}, 6, 2},
    {"version 1",
     "4:memory:/x\n3:cpu,cpuacct:/x\n",
     {{"cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n"}, {"cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"}},
     6,
     3},
    {"version 1, by another name",
     "3:cpuacct,cpu:/\n",
     {{"cpu/cpu.cfs_quota_us", "400000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}},
     6,
     4},
    {"version 1, no limit", "3:cpu:/\n", {{"cpu/cpu.cfs_quota_us", "-1\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}}, 6, 6},
    {"cpuset is not cpu", "3:cpuset:/\n", {{"cpu/cpu.cfs_quota_us", "100000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}}, 6, 6},
    {"both versions",
     "3:cpu:/x\n0::/x\n",
     {{"cpu/x/cpu.cfs_quota_us", "300000\n"}, {"cpu/x/cpu.cfs_period_us", "100000\n"}, {"unified/x/cpu.max", "max 100000\n"}},
     6,
     3},
    {"nonsense", "0::/\n:::\n\nx\n", {{"cpu.max", "many of them\n"}}, 6, 6},
    {"a period of nothing", "0::/\n", {{"cpu.max", "100000 0\n"}}, 6, 6},
    {"affinity is less", "0::/\n", {{"cpu.max", "400000 100000\n"}}, 1, 1},
};
static void write_at(const char *root, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = make_parent(path, NULL) ? fopen(path, "w") : NULL;
    if (CHECK(f, "cannot write %s", path)) fputs(text, f), fclose(f);
}
static void shares(const char *dir) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char root[256], name[256];
        snprintf(root, sizeof root, "%s/%zu", dir, i);
        mkdir(root, 0777);
        if (cases[i].cgroup) write_at(root, "proc/self/cgroup", cases[i].cgroup);
        for (int k = 0; k < 6 && cases[i].file[k].path; k++) {
            snprintf(name, sizeof name, "sys/fs/cgroup/%s", cases[i].file[k].path);
            write_at(root, name, cases[i].file[k].text);
        }
        int threads = processors_share(root, cases[i].scheduled);
        CHECK(threads == cases[i].wanted, "%s: %d threads, %d wanted", cases[i].what, threads, cases[i].wanted);
    }
}
int main(void) {
    char dir[] = "/tmp/dg_test_processors_XXXXXX";
    if (!CHECK(mkdtemp(dir), "no temporary folder")) return check_done("test_processors");
    shares(dir);
    remove_folder(dir);
    int n = processors_scheduled();
    CHECK(n >= 1 && n <= sysconf(_SC_NPROCESSORS_CONF), "%d processors of %ld", n, sysconf(_SC_NPROCESSORS_CONF));
    CHECK(processors_share("", n) >= 1 && processors_share("", n) <= n, "%d of %d processors", processors_share("", n), n);
    CHECK(processors_startable(5, 2) == 5 && processors_startable(1, 0) == 1, "threads that can be started are not counted");
    return check_done("test_processors");
}
