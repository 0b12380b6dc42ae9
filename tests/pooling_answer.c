/* pooling_answer: see pooling_answer.h. */
#include "tests/pooling_answer.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/memory.h"

double
pooling_score(const void *before, size_t bytes)
{
    return 0.02 + 0.96 * (double)(XXH3_64bits(before, bytes) >> 40) / (double)(1 << 24);
}

static json_t *
row_of(const char *word, double p, bool good_first)
{
    if (strcmp(word, "logits") == 0)
        return json_pack("[f,f]", 0.0, log(p / (1 - p)));
    if (strcmp(word, "null") == 0)
        return json_pack("[f,n]", 1 - p);
    if (strcmp(word, "wide") == 0)
        return json_pack("[f,f,f]", 1 - p, p, 0.0);
    if (strcmp(word, "scores") == 0)
        return json_pack("[f,f]", -1.5, 2.5 + p);
    return good_first ? json_pack("[f,f]", p, 1 - p) : json_pack("[f,f]", 1 - p, p);
}

/* The text that the model reads: the input, or the answer of the last message. */
static const char *
text_of(const json_t *request)
{
    const json_t *messages = json_object_get(request, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *text = json_string_value(messages ? json_object_get(last, "content")
                                                  : json_object_get(request, "input"));

    return text ? text : "";
}

static json_t *
rows_of_text(const char *word, const char *text)
{
    json_t *rows = json_array();
    bool russian = strstr(text, "<extra_0>") == NULL;
    const char *tag = russian ? " ки" : "<extra_0>";

    for (const char *at = strstr(text, tag); at; at = strstr(at + 1, tag))
        json_array_append_new(
            rows, row_of(word, pooling_score(text, (size_t)(at - text)), russian));
    return rows;
}

static json_t *
rows_of_ids(const char *word, const json_t *ids)
{
    json_t *rows = json_array(), *id;
    bool each = strcmp(word, "tokens") == 0, values = strcmp(word, "values") == 0;
    size_t i;

    json_array_foreach(ids, i, id) {
        bool tag = json_integer_value(id) == POOLING_TAG;
        double p = tag ? pooling_score(&i, sizeof(i)) : 0.5;

        if (values)
            json_array_append_new(rows, json_real(log(p / (1 - p))));
        else if (each || tag)
            json_array_append_new(rows, row_of(word, p, false));
    }
    return rows;
}

static json_t *
item_of(const char *word, json_t *rows)
{
    if (strcmp(word, "encoded") == 0) {
        json_decref(rows);
        return json_pack("{s:i,s:s,s:s}", "index", 0, "object", "pooling", "data", "AACAPwAAAAA=");
    }
    if (strcmp(word, "none") == 0) {
        json_decref(rows);
        return json_pack("{s:i,s:s}", "index", 0, "object", "pooling");
    }
    return json_pack("{s:i,s:s,s:o}", "index", 0, "object", "pooling",
                     strcmp(word, "values") == 0 ? "embedding" : "data", rows);
}

char *
pooling_answer(const char *word, const json_t *request)
{
    const json_t *ids = json_object_get(request, "input");
    json_t *rows = json_is_array(ids) ? rows_of_ids(word, ids)
                                      : rows_of_text(word, text_of(request));
    json_t *items = json_array(), *root;
    char *text, *found;

    if (strcmp(word, "garbage") == 0 || strcmp(word, "empty") == 0) {
        json_decref(rows);
        json_decref(items);
        return xtext(word[0] == 'g' ? "\x1f\x8b<html>\xff{{{ it is not here" : "");
    }
    if (strcmp(word, "few") == 0 && json_array_size(rows) > 0)
        json_array_remove(rows, json_array_size(rows) - 1);
    if (strcmp(word, "many") == 0)
        json_array_append_new(rows, row_of(word, 0.5, false));
    json_array_append_new(items, item_of(word, rows));
    if (strcmp(word, "two") == 0)
        json_array_append_new(items, json_object());
    root = json_pack("{s:s,s:s,s:s,s:o,s:{s:i,s:i}}", "id", "pool-test", "object", "list", "model",
                     "m", "data", items, "usage", "prompt_tokens", 77, "total_tokens", 77);
    text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(root);
    found = strcmp(word, "nan") == 0 ? strstr(text, "0.") : NULL;
    if (found) { /* as Python's json writes it, blanks for the digits that are over */
        size_t length = strspn(found, "0123456789.");

        memset(found, ' ', length);
        memcpy(found, "NaN", 3);
    }
    return text;
}
