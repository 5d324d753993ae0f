/* claims.h -- an output folder that several programs use at once: its lock, and which seeds each of them is making.
 *
 *   .dg_cuda.lock         locked (flock) while the manifest is read and written, what is there is listed, or parts are merged
 *   .dg_cuda.run-*        a program's claim, JSON; locked as long as it lives. One that nobody has locked tells what a dead
 *                         program was making, until the manifest has counted it
 *
 * Locks go when their program ends, however it ends. They work across machines where the file system passes them on (NFS does
 * unless it is mounted with nolock or local_lock). Where it keeps none at all, folder_lock says so and nothing is claimed. */
#ifndef DG_CLAIMS_H
#define DG_CLAIMS_H
#include "base/interrupt.h"
#include "base/seeds.h"

typedef struct FolderLock FolderLock;
FolderLock *folder_lock_new(const char *dir); /* takes nothing yet */
void folder_lock_free(FolderLock *l);         /* lets go */
/* Waits for whoever has it. A folder that cannot be written needs no lock, nobody changes it. */
Outcome folder_lock(FolderLock *l, const Interrupt *i, Error *e);
bool folder_lock_now(FolderLock *l); /* without waiting; false: somebody has it */
void folder_unlock(FolderLock *l);
void folder_lock_remove(FolderLock *l);      /* unlocks, and takes the lock's file away where nobody has a claim */
bool folder_lock_works(const FolderLock *l); /* after folder_lock: whether the file system keeps locks */

/* All that follows is done under the lock. */
typedef struct {
    char *path, *run; /* of its file; its name in the manifest */
    bool live;
    bool alone;     /* it is about to remove what is there */
    SeedList seeds; /* a set: those it was asked for */
    size_t present; /* of them, when it began */
} Claim;
typedef struct {
    Claim *claim;
    int count;
} Claims;
bool claims_read(Claims *out, const char *dir, Error *e); /* of other programs; the dead ones that say nothing are removed */
void claims_free(Claims *c);
typedef struct ClaimFile ClaimFile;
ClaimFile *claim_make(const char *dir, const char *run, const char *seeds, size_t present, bool alone, Error *e);
bool claim_settle(ClaimFile *c, Error *e);      /* what was there is removed: others may join */
void claim_release(ClaimFile *c, bool counted); /* counted: the manifest has it, the file goes; c may be NULL */
#endif
