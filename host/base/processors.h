/* processors.h -- how many processors this process may use, and how threads wait for each other. */
#ifndef DG_PROCESSORS_H
#define DG_PROCESSORS_H
#include <stdbool.h>

/* Processors that the scheduler gives this process (taskset, cpusets) and, in containers, the share of time that its control
 * groups may use: of 1.5 processors' time, 2 threads; of 1.2, one. root: "" for this machine; tests give a folder that has
 * proc/self/cgroup and sys/fs/cgroup.                                                                                    */
int processors_share(const char *root, int scheduled);
int processors_scheduled(void);
/* threads, or as many of them as can be had beside `others` more: a limit (ulimit -u, a full control group) is no reason to fail. */
int processors_startable(int threads, int others);

/* Threads that wait for each other sleep, unless the environment says otherwise: on shared processors those that spin take the
 * time of those that work. OpenMP reads the environment before main begins, so that this starts the program afresh, once.   */
void processors_wait_passively(char **argv);
#endif
