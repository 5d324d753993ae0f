/* bench_print.c -- the figures of `bench` for others than readers: a table of names and values, or the line of JSON itself. */
#include "program/bench.h"
#include <stdio.h>

enum { OUTPUT_MD = 1, OUTPUT_CSV, OUTPUT_JSONL };

/* A figure within others is called after them, with points between: "network call.ms". */
static void put_figures(Text *out, const Json *j, const char *name, int output) {
    int index = 0;
    for (const Json *x = j->child; x; x = x->next, index++) {
        Text own = {0};
        if (*name) text_printf(&own, "%s.", name);
        if (x->key) text_printf(&own, "%s", x->key);
        else text_printf(&own, "%d", index);
        if (x->kind == JSON_OBJECT || x->kind == JSON_ARRAY) {
            put_figures(out, x, own.text, output);
        } else {
            Text value = {0};
            json_write(&value, x);
            const char *text = x->kind == JSON_STRING ? x->string : value.text;
            if (output == OUTPUT_MD) text_printf(out, "| "), text_markdown(out, own.text), text_printf(out, " | ");
            else text_csv_string(out, own.text), text_printf(out, ",");
            if (output == OUTPUT_MD) text_markdown(out, text), text_printf(out, " |\n");
            else if (x->kind == JSON_STRING) text_csv_string(out, text), text_printf(out, "\n");
            else text_printf(out, "%s\n", text);
            text_free(&value);
        }
        text_free(&own);
    }
}
void bench_print(const Text *json, int output) {
    Text out = {0};
    Json *j = json_parse(json->text, json->len, NULL);
    DG_CHECK(j, "the figures do not parse: %s", json->text);
    if (output == OUTPUT_MD) text_printf(&out, "| figure | value |\n|---|---|\n");
    if (output == OUTPUT_CSV) text_printf(&out, "figure,value\n");
    if (output == OUTPUT_JSONL) text_printf(&out, "%s", json->text);
    else put_figures(&out, j, "", output);
    fputs(out.text, stdout);
    json_free(j);
    text_free(&out);
}
