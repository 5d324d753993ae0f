/* output.c -- a run and its output folder. */
#include "program/output.h"
#include "base/folder.h"
#include "base/progress.h"
#include "files/claims.h"
#include "files/store_names.h"
#include "weights_tools/package.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct Output {
    OutputOptions o;
    FolderLock *lock;
    Store *store;
    Manifest manifest;
    Text images;  /* of the manifest, with the hashes */
    Text unbound; /* the manifest as it was found in a folder without images */
    SeedList todo;
    Claims dead;
    Counted *counted; /* [dead.count] */
    ClaimFile *claim;
    char run[192];
    double updated; /* seconds_now of the last time */
    bool settled;
};
static const double UPDATE_SECONDS = 10;

static void name_run(Output *o) {
    struct timespec now;
    struct tm utc;
    char host[65] = "", when[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gethostname(host, sizeof host - 1);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    snprintf(o->run, sizeof o->run, "%s.%09ldZ %s %ld", when, now.tv_nsec, host, (long)getpid());
}
/* ---- opening -------------------------------------------------------------------------------------------------------------------- */
/* Reads the manifest and the others' claims. Where there is no image and nobody at work, what an earlier run says binds nobody. */
static bool read_folder(Output *o, Error *e) {
    const char *dir = o->o.store.dir;
    bool locks = folder_lock_works(o->lock), live = false;
    if (!manifest_read(&o->manifest, dir, e) || (locks && !claims_read(&o->dead, dir, e))) return false;
    for (int i = 0; i < o->dead.count; i++) live |= o->dead.claim[i].live;
    if (!o->manifest.before || !locks || live || store_occupied(dir)) return true;
    json_write(&o->unbound, o->manifest.before);
    manifest_forget(&o->manifest);
    return true;
}
static bool check_manifest(Output *o, Error *e) {
    if (o->o.overwrite) return true;
    Text images = {0};
    manifest_images(&images, o->o.args, o->o.device, o->o.networks, NULL);
    bool ok = manifest_check(&o->manifest, &images, o->o.args, e);
    text_free(&images);
    return ok;
}
/* Images that nobody vouches for are neither continued nor removed. */
static bool check_owner(const Output *o, Error *e) {
    if (o->manifest.before || !store_occupied(o->o.store.dir)) return true;
    return dg_error(e, "%s: there are images but no manifest.json that says how they were made: choose another --outdir, or remove them",
                    o->o.store.dir);
}
typedef struct {
    struct stat *file;
    int count;
} Inputs;
static bool is_no_input(void *inputs, const FolderEntry *x, Error *e) {
    const Inputs *in = inputs;
    struct stat s;
    bool there = fstatat(x->fd, x->name, &s, 0) == 0; /* where a link leads to: that is written to */
    for (int i = 0; i < in->count && there; i++)
        if (in->file[i].st_dev == s.st_dev && in->file[i].st_ino == s.st_ino)
            return dg_error(e, "%s/%s is a file that is read, and --overwrite would remove it: choose another --outdir", x->folder,
                            x->name);
    return true;
}
/* Images that are removed, or written over, are nothing that this run reads. */
static Outcome check_inputs(const Output *o, Error *e) {
    const OutputOptions *q = &o->o;
    Inputs in = {0};
    for (int i = 0; i < q->inputs; i++) {
        char **file;
        int files;
        if (!q->input[i] || !package_files(&q->input[i], 1, &file, &files, NULL)) continue;
        in.file = dg_realloc(in.file, (size_t)(in.count + files) * sizeof *in.file);
        for (int k = 0; k < files; k++) in.count += stat(file[k], &in.file[in.count]) == 0;
        package_files_free(file, files);
    }
    Outcome outcome = store_walk(q->store.dir, true, q->store.interrupt, is_no_input, &in, e);
    free(in.file);
    return outcome;
}
/* Sets the dead runs' claims apart; refuses what a living run stands against. */
static bool check_claims(Output *o, const Claims *claims, const SeedList *todo, Error *e) {
    const char *dir = o->o.store.dir;
    for (int i = 0; i < claims->count; i++) {
        const Claim *c = &claims->claim[i];
        uint64_t seed = 0;
        if (!c->live) continue;
        if (c->alone)
            return dg_error(e, "%s: another run is about to remove what is there (--overwrite): start this one when it samples", dir);
        if (o->o.overwrite)
            return dg_error(
                e, "%s: another run is making images there, which --overwrite would remove: wait for it, or choose another --outdir", dir);
        if (seeds_shared(&c->seeds, todo, &seed))
            return dg_error(e, "%s: another run is making seed %llu there: wait for it, or give other --seeds or another --outdir", dir,
                            (unsigned long long)seed);
    }
    return true;
}
static void count_dead(Output *o) {
    Claims *c = &o->dead;
    int dead = 0;
    for (int i = 0; i < c->count; i++) {
        Claim x = c->claim[i];
        if (!x.live) c->claim[i] = c->claim[dead], c->claim[dead++] = x;
    }
    o->counted = dg_alloc((size_t)dead * sizeof *o->counted);
    for (int i = 0; i < dead; i++) {
        size_t there = seeds_shared(&c->claim[i].seeds, store_present(o->store), NULL);
        o->counted[i] = (Counted){c->claim[i].run, there > c->claim[i].present ? there - c->claim[i].present : 0};
    }
    while (c->count > dead) { /* the living */
        Claims last = {dg_alloc(sizeof(Claim)), 1};
        last.claim[0] = c->claim[--c->count];
        claims_free(&last);
    }
}
static Outcome look(Output *o, Error *e) {
    const OutputOptions *q = &o->o;
    if (!read_folder(o, e) || !check_manifest(o, e) || !check_owner(o, e)) return OUTCOME_FAILED;
    Outcome outcome = q->overwrite ? check_inputs(o, e) : OUTCOME_DONE;
    if (outcome != OUTCOME_DONE) return outcome;
    SeedList wanted = seeds_copy(q->wanted);
    seeds_sort(&wanted);
    outcome = store_scan(o->store, &wanted, q->read_back, e);
    seeds_free(&wanted);
    if (outcome != OUTCOME_DONE) return outcome;
    o->todo = q->overwrite ? seeds_copy(q->wanted) : seeds_without(q->wanted, store_present(o->store));
    if (!folder_lock_works(o->lock)) return OUTCOME_DONE;
    SeedList todo = seeds_copy(&o->todo);
    seeds_sort(&todo);
    bool ok = check_claims(o, &o->dead, &todo, e);
    seeds_free(&todo);
    if (!ok) return OUTCOME_FAILED;
    count_dead(o);
    if (!o->todo.count) return OUTCOME_DONE;
    o->claim = claim_make(q->store.dir, o->run, q->seeds, q->wanted->count - o->todo.count, q->overwrite, e);
    return o->claim ? OUTCOME_DONE : OUTCOME_FAILED;
}
Outcome output_open(Output **out, const OutputOptions *q, Error *e) {
    Output *o = *out = dg_alloc(sizeof *o);
    o->o = *q;
    name_run(o);
    o->store = store_new(&o->o.store);
    o->lock = folder_lock_new(q->store.dir);
    if (!make_folders(q->store.dir, e)) return OUTCOME_FAILED;
    Outcome outcome = folder_lock(o->lock, q->store.interrupt, e);
    if (outcome == OUTCOME_DONE) outcome = look(o, e);
    folder_unlock(o->lock);
    return outcome;
}
const SeedList *output_todo(const Output *o) { return &o->todo; }
Store *output_store(Output *o) { return o->store; }

/* ---- the record ----------------------------------------------------------------------------------------------------------------- */
static bool write_record(Output *o, const RunFacts *f, Error *e) {
    RunFacts mine = *f;
    mine.run = o->run;
    return manifest_write(&o->manifest, &o->images, o->todo.count ? &mine : NULL, o->counted, o->dead.count, e);
}
/* Under the lock: reads the manifest again, for others may have written it. */
static bool compare_again(Output *o, Error *e) {
    if (!manifest_read(&o->manifest, o->o.store.dir, e)) return false;
    if (o->manifest.before && o->unbound.text) {
        Text now = {0};
        json_write(&now, o->manifest.before);
        if (!strcmp(now.text, o->unbound.text)) manifest_forget(&o->manifest); /* nobody has started since */
        text_free(&now);
    }
    return manifest_check(&o->manifest, &o->images, o->o.args, e);
}
static Outcome start_anew(Output *o, Error *e) {
    ImageFormat format;
    if (!manifest_read(&o->manifest, o->o.store.dir, e)) return OUTCOME_FAILED;
    if (!o->manifest.before) return OUTCOME_DONE;
    SeedList seeds = manifest_seeds(&o->manifest, &format);
    Outcome outcome = store_clear(o->o.store.dir, format, &seeds, o->o.store.interrupt, e);
    seeds_free(&seeds);
    manifest_forget(&o->manifest);
    return outcome;
}
static Outcome settle(Output *o, const RunFacts *f, Error *e) {
    Outcome outcome = OUTCOME_DONE;
    if (o->o.overwrite) outcome = start_anew(o, e);
    else if (!compare_again(o, e)) outcome = OUTCOME_FAILED;
    if (outcome != OUTCOME_DONE || (!o->todo.count && !o->dead.count)) return outcome;
    if (!write_record(o, f, e) || (o->claim && o->o.overwrite && !claim_settle(o->claim, e))) return OUTCOME_FAILED;
    for (int i = 0; i < o->dead.count; i++) unlink(o->dead.claim[i].path);
    claims_free(&o->dead);
    return OUTCOME_DONE;
}
Outcome output_settle(Output *o, char (*hex)[SHA256_HEX], const RunFacts *f, Error *e) {
    manifest_images(&o->images, o->o.args, o->o.device, o->o.networks, hex);
    Outcome outcome = folder_lock(o->lock, o->o.store.interrupt, e);
    if (outcome == OUTCOME_DONE) outcome = settle(o, f, e);
    folder_unlock(o->lock);
    o->updated = seconds_now();
    o->settled = outcome == OUTCOME_DONE;
    return outcome;
}
void output_update(Output *o, const RunFacts *f) {
    if (seconds_now() - o->updated < UPDATE_SECONDS || !folder_lock_now(o->lock)) return;
    if (compare_again(o, NULL)) write_record(o, f, NULL);
    folder_unlock(o->lock);
    o->updated = seconds_now();
}
Outcome output_finish(Output *o, const RunFacts *f, bool merge, Error *e) {
    RunFacts last = *f;
    Outcome outcome = folder_lock(o->lock, o->o.store.interrupt, e), merged = OUTCOME_DONE;
    if (outcome != OUTCOME_DONE) return outcome;
    if (merge) merged = store_merge(o->store, e);
    last.over = true, last.complete = f->complete && merged == OUTCOME_DONE;
    Error unwritten = {0};
    bool ok = !o->todo.count || (compare_again(o, &unwritten) && write_record(o, &last, &unwritten));
    claim_release(o->claim, ok); /* else the next run counts */
    o->claim = NULL;
    if (!ok && merged == OUTCOME_DONE) *e = unwritten;
    return merged == OUTCOME_DONE && !ok ? OUTCOME_FAILED : merged;
}
void output_close(Output *o) {
    if (!o) return;
    claim_release(o->claim, !o->settled); /* of a run that was settled but not finished, the next one counts what it made */
    folder_lock_remove(o->lock);
    folder_lock_free(o->lock);
    claims_free(&o->dead);
    free(o->counted);
    store_free(o->store);
    manifest_close(&o->manifest);
    text_free(&o->images), text_free(&o->unbound);
    seeds_free(&o->todo);
    free(o);
}
