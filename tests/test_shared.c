/* test_shared.c -- two runs in one folder at random times, and runs that are killed at random times and given again: every image once and
 * the same as undisturbed, each run's record, or one sentence.
 *   test_shared [pairs N] [kills N] [seed S] [PROGRAM]      default: 6 pairs, 12 kills                                  */
#include "base/text.h"
#include "images.h"
#include <signal.h>
#include <time.h>

enum { SEEDS = 64 };
typedef struct {
    Setup setup;
    uint64_t random;
    Images reference[3]; /* by what a run was asked for: */
} Tests;
static const char *const settings[3] = {"--network tiny.safetensors --steps 2", "--network tiny.safetensors --steps 3",
                                        "--network other.safetensors --steps 2"};
static const char *const form[] = {"--format png", "--format png --subdirs", "--format npz", "--format npz --npz-keys dg"};

static int draw(Tests *t, int n) {
    t->random ^= t->random << 13, t->random ^= t->random >> 7, t->random ^= t->random << 17;
    return (int)((t->random >> 20) % (uint64_t)n);
}
static void pause_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

typedef struct {
    char args[512];
    int first, last, setting;
    pid_t pid;
    Result r;
    char err[32];
} Run;
static void into_file(void *name) {
    if (!freopen(name, "w", stderr)) _exit(99);
}
static void begin(const Tests *t, Run *x, int number) {
    char out[32];
    snprintf(out, sizeof out, "out%d.txt", number), snprintf(x->err, sizeof x->err, "err%d.txt", number);
    x->pid = start_prepared(&t->setup, x->args, 0, out, into_file, x->err);
}
static void end(const Tests *t, Run *x) {
    finish(&t->setup, x->pid, &x->r);
    read_text(at(&t->setup, x->err), x->r.err);
}
static void ask(Tests *t, Run *x, const char *how, const char *dir, int first, int last, int setting) {
    *x = (Run){.first = first, .last = last, .setting = setting};
    snprintf(x->args, sizeof x->args, "generate --device cpu --threads 1 --batch %d --seeds %d-%d --outdir %s %s %s", 1 + draw(t, 5), first,
             last, dir, settings[setting], how);
}
/* Which of the settings made what is in the folder, by its manifest; -1: nothing does. */
static int setting_of(const Tests *t, const char *dir, Json **out) {
    char name[64];
    snprintf(name, sizeof name, "%s/manifest.json", dir);
    Json *j = *out = json_parse_file(at(&t->setup, name), NULL);
    if (!j) return -1;
    const Json *images = json_get(j, "images"), *runs = json_get(j, "runs");
    if (!runs->child) return -1;
    bool three = json_get(images, "steps")->number == 3;
    const Json *options = json_get(runs->child, "options"), *network = json_get(options, "network");
    return three ? 1 : network && !strcmp(network->string, "other.safetensors") ? 2 : 0;
}
static bool has_record(const Json *j, const Run *x) {
    char seeds[32];
    snprintf(seeds, sizeof seeds, "%d-%d", x->first, x->last);
    for (const Json *r = json_get(j, "runs")->child; r; r = r->next)
        if (!strcmp(json_get(json_get(r, "options"), "seeds")->string, seeds)) return true;
    return false;
}
/* After everything has ended well: no image is missing, wrong, twice or uncounted, and nothing is left that does not belong there. */
static void settled(const Tests *t, const char *dir, int setting, int wanted, const char *what) {
    Images x = images_new(SEEDS);
    Json *j;
    images_read(&x, at(&t->setup, dir));
    int made_with = setting_of(t, dir, &j);
    CHECK(made_with == setting, "%s: the manifest is of setting %d, not %d", what, made_with, setting);
    CHECK(x.files == 0 && images_there(&x) == wanted, "%s: %d images of %d, %d wrong files", what, images_there(&x), wanted, x.files);
    CHECK(images_differ(&x, &t->reference[setting]) == 0, "%s: %d images differ", what, images_differ(&x, &t->reference[setting]));
    int twice = 0;
    for (int i = 0; i < SEEDS; i++) twice += x.count[i] > 1;
    CHECK(twice == 0, "%s: %d images stand in two files", what, twice);
    CHECK(j && made_of(j) == wanted, "%s: the records say %ld images of %d", what, j ? made_of(j) : -1, wanted);
    CHECK(count_files(&t->setup, dir, "partial") == 0 && count_files(&t->setup, dir, ".dg_cuda") == 0,
          "%s: unfinished files, claims or locks are left", what);
    json_free(j);
    images_free(&x);
}
static void pair(Tests *t, int number) {
    static const char refusal[] = "another run is making seed|made with other options|is about to remove|is making images there";
    char dir[32], what[2048];
    Run x[2];
    const char *how = form[draw(t, 4)];
    int first = draw(t, 16), middle = first + 4 + draw(t, 20), last = middle + 1 + draw(t, 20), overlap = draw(t, 3) ? 0 : 1 + draw(t, 4);
    bool same = draw(t, 10) < 7;
    snprintf(dir, sizeof dir, "pair%d", number);
    ask(t, &x[0], how, dir, first, middle, draw(t, 3));
    ask(t, &x[1], how, dir, middle + 1 - overlap, last, same ? x[0].setting : draw(t, 3));
    begin(t, &x[0], 0);
    pause_ms(draw(t, 4) ? draw(t, 60) : 0);
    begin(t, &x[1], 1);
    if (draw(t, 3) == 0) {
        Run *victim = &x[draw(t, 2)];
        pause_ms(draw(t, 120));
        kill(victim->pid, draw(t, 4) ? SIGKILL : SIGINT);
    }
    end(t, &x[0]), end(t, &x[1]);
    snprintf(what, sizeof what, "pair %d: %s (%d) & %s (%d)", number, x[0].args, x[0].r.code, x[1].args, x[1].r.code);
    int refused = 0, done = 0;
    for (int i = 0; i < 2; i++) {
        Result *r = &x[i].r;
        done += r->code == 0;
        if (r->code == 1) {
            refused++;
            CHECK(lines(r->err) == 1 && matches(r->err, refusal), "%s: %s", what, r->err);
        } else CHECK(r->code == 0 || r->code == 130 || r->code == 1000 + SIGKILL || r->code == 1000 + SIGINT, "%s: %s", what, r->err);
    }
    CHECK(refused < 2, "%s: both were refused: %s %s", what, x[0].r.err, x[1].r.err);
    Json *j;
    int setting = setting_of(t, dir, &j);
    for (int i = 0; i < 2; i++)
        if (x[i].r.code == 0) CHECK(j && x[i].setting == setting && has_record(j, &x[i]), "%s: a run's record is lost", what);
    json_free(j);
    if (setting < 0) setting = x[0].setting; /* killed before anything was there */
    Run rest;
    ask(t, &rest, how, dir, first, last, setting);
    begin(t, &rest, 0), end(t, &rest);
    CHECK(rest.r.code == 0, "%s: the run after them: exit code %d, %s", what, rest.r.code, rest.r.err);
    settled(t, dir, setting, last - first + 1, what);
    remove_folder(at(&t->setup, dir));
}
/* One folder, killed again and again until a run comes through. Returns how many kills hit. */
static int killed_until_done(Tests *t, int number, int most) {
    char dir[32], what[1024];
    int kills = 0;
    const char *how = form[draw(t, 4)];
    Images x;
    Run run_now;
    snprintf(dir, sizeof dir, "kill%d", number);
    for (bool done = false; !done;) {
        ask(t, &run_now, how, dir, 0, SEEDS - 1, 0);
        begin(t, &run_now, 0);
        if (kills < most) {
            pause_ms(draw(t, 3) ? draw(t, 80) : draw(t, 400));
            if (alive(run_now.pid)) kill(run_now.pid, SIGKILL);
        }
        end(t, &run_now);
        done = run_now.r.code == 0;
        kills += run_now.r.code == 1000 + SIGKILL;
        snprintf(what, sizeof what, "folder %d, %s, after %d kills", number, run_now.args, kills);
        if (!CHECK(done || run_now.r.code == 1000 + SIGKILL, "%s: exit code %d, %s", what, run_now.r.code, run_now.r.err)) break;
        x = images_new(SEEDS);
        images_read(&x, at(&t->setup, dir));
        CHECK(x.files == 0 && images_differ(&x, &t->reference[0]) == 0, "%s: %d wrong files", what, x.files);
        images_free(&x);
    }
    settled(t, dir, 0, SEEDS, what);
    remove_folder(at(&t->setup, dir));
    return kills;
}
int main(int argc, char **argv) {
    Tests t = {.setup = {.device = "cpu", .dir = "/tmp/dg_test_shared_XXXXXX"}, .random = 20231};
    int pairs = 6, kills = 12;
    const char *program = NULL;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (more && !strcmp(argv[i], "pairs")) pairs = atoi(argv[++i]);
        else if (more && !strcmp(argv[i], "kills")) kills = atoi(argv[++i]);
        else if (more && !strcmp(argv[i], "seed")) t.random = strtoull(argv[++i], NULL, 10) * 2654435761u + 1;
        else program = argv[i];
    }
    char *real = program ? realpath(program, NULL) : program_of_build(argv[0], false, "dg_cuda");
    Error e = {0};
    t.setup.program = real;
    if (!image_png_available(NULL)) {
        not_run("shared folders: this build writes no PNG files");
        return check_done("test_shared");
    }
    if (!CHECK(real, "no program") || !CHECK(mkdtemp(t.setup.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&t.setup, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&t.setup, "other.safetensors"), tiny_network_config, 2, &e),
               "%s", e.text))
        return check_done("test_shared");
    for (int i = 0; i < 3; i++) {
        char args[512], dir[32];
        snprintf(dir, sizeof dir, "reference%d", i);
        snprintf(args, sizeof args, "generate --device cpu --seeds 0-%d --outdir %s %s", SEEDS - 1, dir, settings[i]);
        succeeds(run(&t.setup, args), args);
        t.reference[i] = images_new(SEEDS);
        images_read(&t.reference[i], at(&t.setup, dir));
        CHECK(images_there(&t.reference[i]) == SEEDS, "%s: %d images", dir, images_there(&t.reference[i]));
    }
    for (int i = 0; i < pairs; i++) pair(&t, i);
    int hit = 0, folders = 0;
    while (hit < kills && folders < 10 * kills) hit += killed_until_done(&t, folders++, kills - hit < 8 ? kills - hit : 8);
    CHECK(hit == kills, "%d of %d kills hit", hit, kills);
    printf("%d pairs of runs, %d kills in %d folders\n", pairs, hit, folders);
    for (int i = 0; i < 3; i++) images_free(&t.reference[i]);
    remove_folder(t.setup.dir);
    free(real);
    return check_done("test_shared");
}
