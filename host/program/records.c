/* records.c -- printing, merging and summing up the records of runs. */
#include "program/records.h"
#include "base/version.h"
#include <stdlib.h>
#include <string.h>

void print_choices(Text *out, const char *key, const Device *d, bool how) {
    Text chosen = {0}, measured = {0};
    if (d->provider == DEVICE_OWN || !d->be->choices(d, &chosen, &measured)) return;
    text_printf(out, ", \"%s\": %s", key, how ? measured.text : chosen.text);
    text_free(&chosen), text_free(&measured);
}
const char *dtype_of(const Device *d) { return precision_name(d->precision); }

static void print_own(Text *t, const RunFacts *r) {
    const Args *a = r->args;
    text_printf(t, "{\"started\": \"%s\", \"complete\": %s, \"images wanted\": %zu, \"already there\": %zu, \"made\": %zu, ", r->started,
                r->complete ? "true" : "false", r->wanted, r->present, r->made);
    text_printf(t,
                "\"version\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"batch\": %d, \"network calls\": %d, \"guided calls\": %d, ",
                DG_VERSION, r->device->be->name, dtype_of(r->device), r->batch, r->network_calls, r->guided_calls);
    text_printf(t, "\"seconds\": ");
    text_json_double(t, r->seconds);
    text_printf(t, ", \"images per second\": 0");
    print_choices(t, "autotune", r->device, true);
    text_printf(t, ", \"options\": {");
    for (int i = 0; i < a->command->options; i++) {
        text_printf(t, "%s\"%s\": ", i ? ", " : "", a->command->option[i].name);
        option_json(&a->command->option[i], a->options, t);
    }
    text_printf(t, "}");
    if (!r->over) {
        text_printf(t, ", \"run\": ");
        text_json_string(t, r->run);
    }
    text_printf(t, "}");
}

/* ---- records as they are worked on -------------------------------------------------------------------------------------------- */
typedef struct {
    const Json *json; /* what is not below; NULL: of the sum */
    bool going_on, dropped;
    uint64_t made, present, runs;
    double seconds;
    const char *started, *last;
    size_t order;
    Text key;       /* what runs of the same command share */
    SeedList seeds; /* of the sum */
} Record;
typedef struct {
    Record *record;
    size_t count;
} Records;

static const char *string_of(const Json *j, const char *key) {
    const Json *s = json_get(j, key);
    return s && s->kind == JSON_STRING ? s->string : NULL;
}
static uint64_t number_of(const Json *j, const char *key, uint64_t dflt) {
    uint64_t value;
    return json_u64(json_get(j, key), &value) ? value : dflt;
}
static void add_seeds(SeedList *to, const char *text) {
    SeedList more;
    if (!text || !seeds_parse(text, &more, NULL)) return;
    for (size_t i = 0; i < more.ranges; i++) seeds_add(to, more.range[i].first, more.range[i].count);
    seeds_free(&more);
}
static const char *seeds_text(const Json *j) {
    const Json *options = json_get(j, "options");
    return options ? string_of(options, "seeds") : string_of(j, "seeds");
}
static void add_record(Records *all, const Json *j, const Counted *dead, int deads) {
    static const char *const same[] = {"version", "device", "dtype", "options"};
    const char *run = string_of(j, "run");
    const Json *seconds = json_get(j, "seconds");
    Record r = {.json = j,
                .going_on = run != NULL,
                .made = number_of(j, "made", 0),
                .present = number_of(j, "already there", 0),
                .runs = number_of(j, "runs", 1),
                .seconds = seconds ? seconds->number : 0,
                .started = string_of(j, "started"),
                .last = string_of(j, "last started"),
                .order = all->count};
    for (int i = 0; run && i < deads; i++)
        if (!strcmp(run, dead[i].run)) r.made = dead[i].made, r.going_on = false, r.dropped = r.made == 0;
    if (!r.started) r.started = "";
    if (!r.last) r.last = r.started;
    if (!json_get(j, "options")) r.json = NULL, add_seeds(&r.seeds, string_of(j, "seeds"));
    for (size_t i = 0; r.json && i < sizeof same / sizeof *same; i++)
        if (json_get(j, same[i])) json_write(&r.key, json_get(j, same[i])), text_printf(&r.key, "\n");
    if (r.dropped) {
        text_free(&r.key);
        return;
    }
    all->record = dg_realloc(all->record, (all->count + 1) * sizeof *all->record);
    all->record[all->count++] = r;
}
static void join(Record *later, const Record *earlier) {
    later->made += earlier->made, later->runs += earlier->runs, later->seconds += earlier->seconds;
    later->started = earlier->started, later->present = earlier->present;
}
static int by_key(const void *a, const void *b) {
    const Record *x = a, *y = b;
    int c = strcmp(x->key.text ? x->key.text : "", y->key.text ? y->key.text : "");
    return c ? c : (x->order > y->order) - (x->order < y->order);
}
static int by_order(const void *a, const void *b) {
    const Record *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}
/* What of the records is kept, in their order. */
static void drop(Records *all) {
    size_t kept = 0;
    for (size_t i = 0; i < all->count; i++)
        if (all->record[i].dropped) text_free(&all->record[i].key), seeds_free(&all->record[i].seeds);
        else all->record[kept++] = all->record[i];
    all->count = kept;
    if (kept) qsort(all->record, kept, sizeof *all->record, by_order);
}
static void join_same(Records *all) {
    if (all->count) qsort(all->record, all->count, sizeof *all->record, by_key);
    Record *before = NULL; /* the latest of this key that is over */
    for (size_t i = 0; i < all->count; i++) {
        Record *r = &all->record[i];
        if (r->going_on || !r->json) continue;
        if (before && !strcmp(before->key.text, r->key.text)) join(r, before), before->dropped = true;
        before = r;
    }
    drop(all);
}
static void sum_oldest(Records *all) {
    if (all->count <= MOST_RECORDS) return;
    Record *sum = NULL;
    size_t left = all->count - MOST_RECORDS + 1; /* with the sum itself, MOST_RECORDS remain */
    for (size_t i = 0; i < all->count && left > 0; i++) {
        Record *r = &all->record[i];
        if (r->going_on) continue;
        left--;
        if (r->json) add_seeds(&r->seeds, seeds_text(r->json)), r->json = NULL;
        if (!sum) {
            sum = r;
            continue;
        }
        for (size_t k = 0; k < r->seeds.ranges; k++) seeds_add(&sum->seeds, r->seeds.range[k].first, r->seeds.range[k].count);
        sum->made += r->made, sum->runs += r->runs, sum->seconds += r->seconds, sum->last = r->last;
        r->dropped = true;
    }
    if (sum) seeds_sort(&sum->seeds);
    drop(all);
}

/* ---- printing ------------------------------------------------------------------------------------------------------------------- */
static void print_started(Text *t, const Record *r) {
    text_printf(t, "\"started\": ");
    text_json_string(t, r->started);
    if (r->runs < 2) return;
    text_printf(t, ", \"last started\": ");
    text_json_string(t, r->last);
    text_printf(t, ", \"runs\": %llu", (unsigned long long)r->runs);
}
static void print_sum(Text *t, const Record *r) {
    text_printf(t, "{");
    print_started(t, r);
    text_printf(t, ", \"made\": %llu, \"seconds\": ", (unsigned long long)r->made);
    text_json_double(t, r->seconds);
    text_printf(t, ", \"seeds\": \"");
    seeds_print(t, &r->seeds, SIZE_MAX);
    text_printf(t, "\"}");
}
static void print_record(Text *t, const Record *r) {
    text_printf(t, "{");
    bool first = true;
    for (const Json *j = r->json->child; j; j = j->next) {
        if (!strcmp(j->key, "last started") || !strcmp(j->key, "runs") || (!strcmp(j->key, "run") && !r->going_on)) continue;
        if (!first) text_printf(t, ", ");
        first = false;
        if (!strcmp(j->key, "started")) {
            print_started(t, r);
            continue;
        }
        text_json_string(t, j->key);
        text_printf(t, ": ");
        if (!strcmp(j->key, "made")) text_printf(t, "%llu", (unsigned long long)r->made);
        else if (!strcmp(j->key, "already there")) text_printf(t, "%llu", (unsigned long long)r->present);
        else if (!strcmp(j->key, "seconds")) text_json_double(t, r->seconds);
        else if (!strcmp(j->key, "images per second")) text_json_double(t, r->seconds > 0 ? (double)r->made / r->seconds : 0);
        else json_write(t, j);
    }
    text_printf(t, "}");
}
void records_print(Text *out, const Json *before, const RunFacts *own, const Counted *dead, int deads) {
    Records all = {0};
    Json *mine = NULL;
    for (const Json *j = before ? before->child : NULL; j; j = j->next) {
        const char *run = string_of(j, "run");
        if (j->kind == JSON_OBJECT && !(own && run && !strcmp(run, own->run))) add_record(&all, j, dead, deads);
    }
    if (own && (own->made || !own->over)) {
        Text t = {0};
        Error e = {0};
        print_own(&t, own);
        mine = json_parse(t.text, t.len, &e);
        DG_CHECK(mine, "a run's record does not parse: %s", e.text);
        add_record(&all, mine, NULL, 0);
        text_free(&t);
    }
    join_same(&all);
    sum_oldest(&all);
    text_printf(out, "[");
    for (size_t i = 0; i < all.count; i++) {
        Record *r = &all.record[i];
        text_printf(out, i ? ",\n    " : "\n    ");
        if (r->json) print_record(out, r);
        else print_sum(out, r);
        text_free(&r->key), seeds_free(&r->seeds);
    }
    text_printf(out, "\n ]");
    free(all.record);
    json_free(mine);
}
SeedList records_seeds(const Json *records) {
    SeedList all = {0};
    for (const Json *j = records ? records->child : NULL; j; j = j->next) add_seeds(&all, seeds_text(j));
    seeds_sort(&all);
    return all;
}
