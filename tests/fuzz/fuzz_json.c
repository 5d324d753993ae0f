/* fuzz_json.c -- any bytes as JSON: refused with a sentence, or what is written back reads as the same. */
#include "base/json.h"
#include "base/text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Error e = {""};
    Json *j = json_parse((const char *)data, bytes, &e);
    if (!j) {
        DG_CHECK(is_sentence(e.text, "JSON"), "refused with \"%s\"", e.text);
        return 0;
    }
    Text once = {0}, twice = {0};
    json_write(&once, j);
    Json *again = json_parse(once.text, once.len, &e);
    DG_CHECK(again, "what was written is refused: %s", e.text);
    json_write(&twice, again);
    DG_CHECK(!strcmp(once.text, twice.text), "\"%s\" became \"%s\"", once.text, twice.text);
    text_free(&once);
    text_free(&twice);
    json_free(again);
    json_free(j);
    return 0;
}
