/* pooling: see pooling.h. */
#include "nodes/prm_judge/pooling.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROW_MAX   2    /* classes in a row */
#define SUM_SLACK 0.02 /* two probabilities may miss a sum of 1 by as much: servers round to half */

/* ---- asking ---- */

/* Takes `value` on every path. */
static int
put(json_t *root, const char *key, json_t *value)
{
    return value ? json_object_set_new(root, key, value) : -1;
}

static json_t *
text_of(struct span s)
{
    return json_stringn(s.at, s.length);
}

static json_t *
message_of(const char *role, json_t *content)
{
    return content ? json_pack("{s:s,s:o}", "role", role, "content", content) : NULL;
}

static int
put_messages(json_t *root, const struct pooling *p, struct span prompt,
             const struct convention_text *text)
{
    struct span answer = span_of(text->text.at + text->answer,
                                 (size_t)(text->answer_end - text->answer));
    json_t *list = json_array();
    int bad = json_array_append_new(list, message_of("system", json_string(p->convention->system)));

    bad |= json_array_append_new(list, message_of("user", text_of(prompt)));
    bad |= json_array_append_new(list, message_of("assistant", text_of(answer)));
    bad |= put(root, "messages", list);
    bad |= put(root, "add_generation_prompt", json_false());
    return bad | put(root, "continue_final_message", json_false());
}

static json_t *
ids_of(const struct tokens *tokens)
{
    json_t *ids = json_array();

    for (int64_t i = 0; i < tokens->count; i++)
        json_array_append_new(ids, json_integer(tokens->ids[i]));
    return ids;
}

int
pooling_write(const struct pooling *p, struct span prompt, const struct convention_text *text,
              const struct tokens *tokens, struct buffer *out, struct error *e)
{
    json_t *root = json_object();
    bool whole = p->request == POOLING_text && p->convention->kind == CONVENTION_math_shepherd;
    int bad = put(root, "model", json_string(p->model));
    char *body;

    if (p->request == POOLING_messages)
        bad |= put_messages(root, p, prompt, text);
    else if (p->request == POOLING_ids)
        bad |= put(root, "input", ids_of(tokens));
    else
        bad |= put(root, "input", text_of(buffer_span(&text->text)));
    /* math_shepherd's text begins with the tokenizer's own bos; the others bring all they need. */
    bad |= put(root, "add_special_tokens", json_boolean(whole));
    bad |= put(root, "encoding_format", json_string("float"));
    if (p->task[0])
        bad |= put(root, "task", json_string(p->task));
    if (p->activation == POOLING_logits)
        bad |= put(root, "use_activation", json_false());
    body = bad ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!body)
        return error_set(e, ERROR_input, "the prompt, the response or an option is not UTF-8");
    buffer_text(out, body);
    free(body);
    return 0;
}

/* ---- answering ---- */

/* The rows of the answer: of the first and only item; NULL: there are none. */
static const json_t *
rows_of(const json_t *answer, struct error *e)
{
    const json_t *items = json_object_get(answer, "data"), *item = json_array_get(items, 0);
    const json_t *rows = json_object_get(item, "data");

    if (!rows)
        rows = json_object_get(item, "embedding");
    if (json_array_size(items) != 1 || !json_is_object(item)) {
        error_set(e, ERROR_input, "the answer has %zu items in 'data', not one",
                  json_array_size(items));
        return NULL;
    }
    if (json_is_string(rows))
        error_set(e, ERROR_input, "the answer is encoded text, although floats were asked for");
    else if (!json_is_array(rows))
        error_set(e, ERROR_input,
                  "the answer has no rows of scores: neither 'data' nor 'embedding'");
    return json_is_array(rows) ? rows : NULL;
}

/* The numbers of row k; how many, 0: it is none. */
static size_t
read_row(const json_t *row, double values[ROW_MAX])
{
    size_t count = json_is_array(row) ? json_array_size(row) : 1;

    if (count < 1 || count > ROW_MAX)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_is_array(row) ? json_array_get(row, i) : row;

        values[i] = json_number_value(value);
        if (!json_is_number(value) || !isfinite(values[i]))
            return 0;
    }
    return count;
}

static int
score_of(const struct pooling *p, const json_t *row, int64_t step, float *score, struct error *e)
{
    double v[ROW_MAX], good;
    size_t count = read_row(row, v);
    int at = p->convention->kind == CONVENTION_math_shepherd ? 0 : 1; /* the good class */

    if (count == 0)
        return error_set(e, ERROR_input,
                         "the row of step %" PRId64 " is not one or two finite numbers", step + 1);
    if (p->activation == POOLING_logits)
        good = 1 / (1 + exp(count == 1 ? -v[0] : v[1 - at] - v[at]));
    else
        good = count == 1 ? v[0] : v[at];
    if (!(good >= 0 && good <= 1) ||
        (p->activation == POOLING_probabilities && count == 2 && fabs(v[0] + v[1] - 1) > SUM_SLACK))
        return error_set(e, ERROR_input,
                         "the row of step %" PRId64 " holds no probabilities (%g%s%.6g); say "
                         "activation: logits if the server gives logits",
                         step + 1, v[0], count == 2 ? ", " : " of one: ", count == 2 ? v[1] : v[0]);
    *score = (float)good;
    return 0;
}

int
pooling_read(const struct pooling *p, const json_t *answer, const int64_t *places, int64_t steps,
             int64_t tokens, float *scores, struct error *e)
{
    const json_t *rows = rows_of(answer, e);
    int64_t have = (int64_t)json_array_size(rows), asked = 0, at = 0;
    bool each_token;
    int rc = 0;

    if (!rows)
        return ERROR_input;
    for (int64_t i = 0; i < steps; i++)
        asked += places[i] >= 0;
    each_token = tokens > 0 && have == tokens && have != asked;
    if (have != asked && !each_token)
        return error_set(e, ERROR_input,
                         "the server scored %" PRId64 " steps, %" PRId64 " were asked about%s",
                         have, asked,
                         tokens > 0 || have <= asked
                             ? ""
                             : " (a row for each token? then give tokenizer, its folder)");
    for (int64_t i = 0; rc == 0 && i < steps; i++) {
        if (places[i] < 0)
            continue;
        rc = score_of(p, json_array_get(rows, (size_t)(each_token ? places[i] : at)), i,
                      &scores[at], e);
        at++;
    }
    return rc;
}
