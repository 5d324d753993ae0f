#!/bin/sh
# neg.sh BUILD -- runs every wrong kernel of neg_test.cu; the layer must say what is wrong with it.
# Each line: the case, the build that must report it (emu or race), a pattern of the report.
build=${1:-build} failed=0 run=0
while read -r number variant pattern; do
    run=$((run + 1))
    timeout 20 "$build/$variant/neg_test" "$number" 2>&1 | grep -qE "$pattern" && continue
    echo "FAIL neg_test $number ($variant): no report of '$pattern'"
    failed=$((failed + 1))
done <<END
1 emu outside every live allocation
1 race OUT-OF-BOUNDS device access.* writes
2 emu outside every live allocation
2 race OUT-OF-BOUNDS device access.* writes
3 emu outside every live allocation
3 race OUT-OF-BOUNDS device access.* reads
4 emu DEADLOCK
5 emu reached from two places at once
6 emu lane 16 of warp 0 exited while .* wait for it in ldmatrix
7 emu lane 16 of warp 0 exited while .* wait for it in __shfl_sync
8 emu not 16-byte aligned
9 race UNINITIALISED shared read
10 race RACE \(device memory\)
11 race RACE \(read after write\)
11 race CUDA error, [1-9][0-9]* defects
12 emu stack overflow
13 race RACE \(write after write\)
14 emu DEADLOCK
15 emu cp.async not waited for
16 race RACE \(device memory\)
17 emu cudaMemcpy: error returned
18 emu invalid configuration argument
19 emu EMU_CC is "9.0": wanted a compute capability without its point, one of 80 86
20 emu EMU_SMS is "many": wanted a number of multiprocessors
21 emu wgmma on a device of capability 8.0
22 emu a thread exits before this TMA store has been waited for
23 emu an arrival reaches CTA 1, which may not have started
24 emu an arrival reaches CTA 1, which has exited
25 race EXIT \(before another CTA's access\)
26 emu mbarrier.try_wait of shared address 0x[0-9a-f]*, which is not this CTA's \(rank 1\)
27 emu the mask 7 names CTAs that the cluster of 2 has not
28 emu invalid cluster size
29 emu a CTA exits with 1 TMA loads in flight
30 race RACE \(write after write\)
31 emu exited while lanes .* wait for it in barrier.cluster.arrive
32 emu waits at the cluster's barrier that has not arrived there
33 race RACE \(copy over unordered read\)
34 emu no mbarrier at shared address 0x[0-9a-f]* of CTA 0
40 emu exits without grid_wait
40 emu CUDA error, [1-9][0-9]* defects
41 emu nan where 1 was written
41 race RACE with the next kernel .* writes
42 race ACCESS BEFORE grid_wait .* reads
42 race CUDA error, [1-9][0-9]* defects
43 race CUDA error, [1-9][0-9]* defects
43 race ACCESS BEFORE grid_wait .* writes
44 emu grid_release before grid_wait
END
echo "neg_test: $((run - failed)) passed, $failed failed, 0 not run"
[ "$run" -gt 0 ] && [ "$failed" = 0 ]
