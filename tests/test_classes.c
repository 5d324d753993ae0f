/* test_classes.c -- --class: ImageNet's names, those of a network's file, numbers, lists, and what is refused.
 * Usage: test_classes [PROGRAM]                                                                                          */
#include "files/npz.h"
#include "models/imagenet.h"
#include "program.h"
#include "program/classes.h"
#include "synthetic.h"
#include "tiny_model.h"

static const char imagenet_dit[] = "{\"kind\": \"dit\", \"input_size\": 4, \"patch_size\": 2, \"hidden_size\": 16, \"depth\": 1, "
                                   "\"num_heads\": 2, \"num_classes\": 1000}";
static const char hundred[] = "{\"kind\": \"dit\", \"input_size\": 4, \"patch_size\": 2, \"hidden_size\": 16, \"depth\": 1, "
                              "\"num_heads\": 2, \"num_classes\": 100}";
static const char named[] =
    "{\"kind\": \"dit\", \"input_size\": 4, \"patch_size\": 2, \"hidden_size\": 16, \"depth\": 1, "
    "\"num_heads\": 2, \"num_classes\": 5, \"classes\": [\"first\", \"crane\", \"salt, or pepper\", \"crane\", \"golden retriever\"]}";

/* ---- the table ------------------------------------------------------------------------------------------------------------------ */
static void table(void) {
    static const struct {
        int number;
        const char *id, *names;
    } known[] = {{0, "n01440764", "tench, Tinca tinca"},
                 {7, "n01514668", "cock"},
                 {207, "n02099601", "golden retriever"},
                 {264, "n02113186", "Cardigan, Cardigan Welsh corgi"},
                 {360, "n02444819", "otter"},
                 {517, "n03126707", "crane"},
                 {639, "n03710721", "maillot, tank suit"},
                 {999, "n15075141", "toilet tissue, toilet paper, bathroom tissue"}};
    enum { NAMES = 1860 };
    int names = 0, last = -1, wrong = 0;
    for (ImagenetName n = imagenet_names(); imagenet_next(&n); last = n.class, names++) {
        bool trimmed = n.len > 0 && n.name[0] != ' ' && n.name[n.len - 1] != ' ';
        wrong += !trimmed || n.class < last || n.class > last + 1;
    }
    CHECK(names == NAMES && last == IMAGENET_CLASSES - 1 && wrong == 0, "%d names of %d classes, %d of them wrong", names, last + 1, wrong);
    for (int i = 0; i < IMAGENET_CLASSES; i++) {
        ImagenetClass c = imagenet_class(i);
        bool above = i == 0 || memcmp(imagenet_class(i - 1).id, c.id, IMAGENET_ID) < 0;
        wrong += !above || !imagenet_is_id(c.id, IMAGENET_ID) || imagenet_number(c.id, IMAGENET_ID) != i;
    }
    CHECK(wrong == 0, "%d ids are out of order, or none", wrong);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ImagenetClass c = imagenet_class(known[i].number);
        CHECK(!memcmp(c.id, known[i].id, IMAGENET_ID) && c.len == strlen(known[i].names) && !memcmp(c.names, known[i].names, c.len),
              "class %d is %.*s", known[i].number, (int)c.len, c.id);
    }
    CHECK(imagenet_number("n00000001", IMAGENET_ID) == -1 && imagenet_number("n0144076", 8) == -1, "a class of an id that there is not");
    CHECK(!imagenet_is_id("n0144076x", 9) && !imagenet_is_id("01440764n", 9) && !imagenet_is_id("n01440764", 8), "no id taken for one");
}

/* ---- rules ---------------------------------------------------------------------------------------------------------------------- */
static Networks network_of(const char *config) {
    Error e = {""};
    Networks n = {.source = {{.weights = synthetic(config, 1)}}};
    CHECK(networks_describe(&n, &e), "%s", e.text);
    return n;
}
/* Every name is its class's, unless another class has it too: then the sentence has both. */
static void all_names(const Networks *n) {
    enum { SHARED = 38 }; /* 19 names of two classes each */
    int own = 0, shared = 0, wrong = 0;
    for (ImagenetName x = imagenet_names(); imagenet_next(&x);) {
        char text[64], number[16];
        ClassRule r;
        Error e = {""};
        snprintf(text, sizeof text, "%.*s", (int)x.len, x.name), snprintf(number, sizeof number, "%d (", x.class);
        if (class_rule_parse(&r, n, text, &e)) {
            own++;
            wrong += r.count != 1 || r.list[0] != x.class || !r.imagenet;
            class_rule_free(&r);
        } else {
            shared++;
            wrong += !strstr(e.text, number) || !strstr(e.text, ") and ") || !strstr(e.text, " are called so: give the number");
        }
    }
    CHECK(own > 0 && shared == SHARED && wrong == 0, "%d names of one class, %d of more, %d wrong", own, shared, wrong);
}
static const struct {
    const char *config, *text, *list; /* numbers; or of what is refused NULL, and: */
    const char *sentence;
} rules[] = {
    {imagenet_dit, "207", "207"},
    {imagenet_dit, "golden retriever", "207"},
    {imagenet_dit, "Golden Retriever", "207"},
    {imagenet_dit, "golden_retriever", "207"},
    {imagenet_dit, "n02099601", "207"},
    {imagenet_dit, "Tinca tinca", "0"},
    {imagenet_dit, "tank suit", "639"},
    {imagenet_dit, "Cardigan Welsh corgi", "264"},
    {imagenet_dit, "golden retriever,360, 387 ,macaw,n03126707,0", "207,360,387,88,517,0"},
    {imagenet_dit, "5,5", "5,5"},
    {imagenet_dit, "crane", NULL, "--class \"crane\": classes 134 (crane) and 517 (crane) are called so: give the number"},
    {imagenet_dit, "1,Maillot", NULL,
     "--class \"Maillot\": classes 638 (maillot) and 639 (maillot, tank suit) are called so: give the number"},
    {imagenet_dit, "cardigan", NULL, "classes 264 (Cardigan, Cardigan Welsh corgi) and 474 (cardigan) are called so"},
    {imagenet_dit, "goldn retriver", NULL,
     "--class: \"goldn retriver\" is no name of ImageNet's classes: did you mean golden retriever (207)?"},
    {imagenet_dit, "retriever", NULL, "did you mean flat-coated retriever (205), curly-coated retriever (206) or golden retriever (207)?"},
    {imagenet_dit, "anmone", NULL, "did you mean anemone (108) or anole (40)?"},
    {imagenet_dit, "golden", NULL, "is no name of ImageNet's classes: did you mean golden retriever (207)?"},
    {imagenet_dit, "tench, Tinca", NULL, "\"Tinca\" is no name of ImageNet's classes: did you mean Tinca tinca (0)?"},
    {imagenet_dit, "zyzzyva zyx", NULL, "is no name of ImageNet's classes: give another, a number from 0 to 999, seeded or balanced"},
    {imagenet_dit, "a very long name that no class can have, as it does not end so soon", NULL, "is no name of ImageNet's classes: give"},
    {imagenet_dit, "n00000001", NULL, "\"n00000001\" is no name of ImageNet's classes"},
    {imagenet_dit, "1000", NULL, "--class: 1000 is outside this network's classes, 0 to 999"},
    {imagenet_dit, "7,-1", NULL, "--class: -1 is outside this network's classes, 0 to 999"},
    {imagenet_dit, "7,,8", NULL, "--class 7,,8: a class is missing, before or behind a comma"},
    {imagenet_dit, "7,", NULL, "a class is missing, before or behind a comma"},
    {imagenet_dit, "seeded,7", NULL, "\"seeded\" is no name of ImageNet's classes"},
    {hundred, "99,0", "99,0"},
    {hundred, "golden retriever", NULL,
     "--class: \"golden retriever\": this network's 100 classes have no names, as ImageNet's 1000 have: give seeded, balanced, or 0 to 99"},
    {named, "first", "0"},
    {named, "golden retriever", "4"},
    {named, "salt, or pepper", "2"},
    {named, "golden retriever,1,first", "4,1,0"},
    {named, "crane", NULL, "classes 1 and 3 are both called so: give the number"},
    {named, "tench", NULL, "\"tench\" is none of this network's classes: give seeded, balanced, or 0 to 4"},
};
static void check_rules(void) {
    const char *config = NULL;
    Networks n = {0};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        ClassRule r;
        Error e = {""};
        Text found = {0};
        if (config != rules[i].config) networks_close(&n), n = network_of(config = rules[i].config);
        bool ok = class_rule_parse(&r, &n, rules[i].text, &e);
        if (ok) class_rule_print(&r, &found);
        CHECK(ok == (rules[i].list != NULL), "--class %s: %s%s", rules[i].text, e.text, ok ? "was taken" : "");
        if (ok && rules[i].list) {
            CHECK(!strcmp(found.text, rules[i].list), "--class %s: %s, not %s", rules[i].text, found.text, rules[i].list);
            int first = r.list[0], last = r.list[r.count - 1];
            uint64_t many = (uint64_t)r.count * 1000000007;
            CHECK(class_of_seed(&r, n.classes, many) == first && class_of_seed(&r, n.classes, many + (uint64_t)r.count - 1) == last,
                  "--class %s: a seed has another class than its turn", rules[i].text);
        }
        if (!ok && rules[i].sentence)
            CHECK(strstr(e.text, rules[i].sentence), "--class %s: \"%s\" has no \"%s\"", rules[i].text, e.text, rules[i].sentence);
        if (ok) class_rule_free(&r);
        text_free(&found);
    }
    networks_close(&n);
}

/* ---- the program ---------------------------------------------------------------------------------------------------------------- */
static void check_label(const Setup *s, const char *file, const int *wanted, size_t count) {
    Error e = {0};
    NpyArray a = {0};
    Npz *z = npz_open(at(s, file), &e);
    if (CHECK(z && npz_read(z, "label", &a, &e) && a.count == count * IMAGENET_CLASSES, "%s: %s", file, e.text))
        for (size_t i = 0; i < count; i++)
            CHECK(npy_value(&a, i * IMAGENET_CLASSES + (size_t)wanted[i]) == 1, "%s: image %zu is not of class %d", file, i, wanted[i]);
    npy_free(&a);
    npz_close(z);
}
/* The same class is the same run, whatever it is called. */
static void runs(const Setup *s) {
#define LATENTS "generate --network imagenet.safetensors --steps 2 --format npz --save-latents --seeds "
    succeeds(run(s, LATENTS "0-4 --class golden_retriever,macaw --outdir names"), "two names");
    check_label(s, "names/samples.npz", (int[]){207, 88, 207, 88, 207}, 5);
    Result *r = run(s, LATENTS "0-4 --class 207,88 --outdir names");
    if (succeeds(r, "their numbers")) CHECK(strstr(r->out, "5 of 5 images are there already"), "made anew: %s", r->out);
    fails(run(s, LATENTS "0-4 --class 207 --outdir names"), "another class", 1,
          "were made with other options.*class was .207,88., is now .207.");
    fails(run(s, LATENTS "0 --class crane --outdir none"), "crane", 2, "134 .crane. and 517 .crane. are called so");
    fails(run(s, LATENTS "0 --class golden_retrieve --outdir none"), "golden_retrieve", 2, "did you mean golden retriever .207.\\?");
    CHECK(!exists(s, "none"), "a class that was refused left a folder");
}
int main(int argc, char **argv) {
    Setup s = {.dir = "/tmp/dg_test_classes_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    table();
    Networks n = network_of(imagenet_dit);
    all_names(&n);
    networks_close(&n);
    check_rules();
    if (CHECK(real, "no program beside the tests") && CHECK(mkdtemp(s.dir), "no temporary folder") &&
        CHECK(tiny_write(at(&s, "imagenet.safetensors"), imagenet_dit, 1, &e), "%s", e.text))
        runs(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_classes");
}
