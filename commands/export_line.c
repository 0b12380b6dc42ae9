/* export_line: messages as rows of other trainers, and where they are asked for. */
#include <stdlib.h>
#include <string.h>

#include "commands/export.h"
#include "graph/control.h"
#include "graph/store.h"
#include "graph/tap.h"

#define ASK_TRIES 60        /* looks at a process between living and not */

int
export_ask(struct talk *t, int node, int replica, const json_t *request, json_t **reply,
           struct error *e)
{
    char *path = place_store(&t->place, t->plan.nodes[node].id, replica);
    char *lock = place_store_lock(&t->place, t->plan.nodes[node].id, replica);
    int   rc = ERROR_remote;

    *reply = NULL;
    for (int i = 0; i < ASK_TRIES; i++) {
        struct store *s = store_peek(path, lock, e);

        if (s) {
            *reply = json_object();
            rc = outbox_answer(s, &t->plan, node, request, *reply, e);
            store_close(s);
            break;
        }
        rc = e->code == ERROR_file ? 0 : e->code;       /* never started: nothing to read */
        if (e->code != ERROR_locked)
            break;
        rc = talk_process(t, node, replica, json_deep_copy(request), TALK_WORK_MS, reply, e);
        if (rc != ERROR_wire)
            break;
        talk_nap();
    }
    free(path);
    free(lock);
    return rc;
}

/* ---- steps ---- */

/* One step as text, line ends at its end taken off: trainers put a separator of their own between steps. */
static json_t *
step_text(const char *response, size_t from, size_t to)
{
    while (to > from && (response[to - 1] == '\n' || response[to - 1] == '\r'))
        to--;
    return json_stringn(response + from, to - from);
}

static bool
is_blank(const json_t *text)
{
    const char *s = json_string_value(text);

    return !s || strspn(s, " \t\r\n") == json_string_length(text);
}

/* The steps of a labelled message, as texts and labels (0, 1, 2). Blank steps are left out. False: they do not fit. */
static bool
steps_of(const json_t *body, json_t *texts, json_t *labels)
{
    const json_t *response = json_object_get(json_object_get(body, "rollout"), "response");
    size_t        from = 0, i, length = json_string_length(response);
    json_t       *end;

    json_array_foreach(json_object_get(body, "ends"), i, end) {
        size_t      to = (size_t)json_integer_value(end);
        json_int_t  label = json_integer_value(json_array_get(json_object_get(body, "labels"), i));
        json_t     *text = to <= length && to >= from ? step_text(json_string_value(response), from, to) : NULL;

        if (!text)
            return false;
        if (is_blank(text)) {
            json_decref(text);
        } else {
            json_array_append_new(texts, text);
            json_array_append_new(labels, json_integer(label));
        }
        from = to;
    }
    return true;
}

/* ---- rows ---- */

static json_t *
line_jsonl(enum message m, const char *from, const json_t *row, const json_t *body)
{
    json_t *line = json_deep_copy(row);

    json_object_del(line, "body");
    json_object_set_new(line, "from", json_string(from));
    json_object_set_new(line, "kind", json_string(message_name(m)));
    json_object_update(line, (json_t *)body);
    return line;
}

static json_t *
line_stepwise(const struct export_how *how, const json_t *body)
{
    json_t *texts = json_array(), *labels = json_array(), *out = json_array(), *kept = json_array(), *line = NULL;
    size_t  count = steps_of(body, texts, labels) ? json_array_size(texts) : 0;
    bool    skip = false;

    for (size_t i = 0; i < count && !skip; i++) {
        json_int_t label = json_integer_value(json_array_get(labels, i));

        if (label == 2 && how->unknown == EXPORT_cut)
            break;
        skip = label == 2 && how->unknown == EXPORT_skip;
        json_array_append(kept, json_array_get(texts, i));
        json_array_append_new(out, json_boolean(label == 1 || (label == 2 && how->unknown == EXPORT_correct)));
    }
    if (!skip && json_array_size(kept) > 0)
        line = json_pack("{s:O,s:O,s:O}", "prompt", json_object_get(json_object_get(body, "rollout"), "prompt"),
                         "completions", kept, "labels", out);
    json_decref(texts);
    json_decref(labels);
    json_decref(out);
    json_decref(kept);
    return line;
}

/* Always with a point: a column of whole and broken numbers is one type to its readers. */
static json_t *
reward_of(const json_t *rollout)
{
    return json_real(json_number_value(json_object_get(rollout, "reward")));
}

/* What the two flat formats share: the rollout, and its steps where it has labels. */
static const json_t *
rollout_of(enum message m, const json_t *body)
{
    return m == MESSAGE_labelled ? json_object_get(body, "rollout") : body;
}

static json_t *
line_verl(const struct export_how *how, enum message m, const json_t *row, const json_t *body)
{
    const json_t *r = rollout_of(m, body);
    json_t *texts = json_array(), *labels = json_array(), *line;

    if (m == MESSAGE_labelled)
        steps_of(body, texts, labels);
    line = json_pack("{s:s,s:[{s:s,s:O}],s:s,s:{s:s,s:O},s:{s:s,s:O,s:O,s:o,s:o,s:o},s:[O]}", "data_source",
                     how->data_source, "prompt", "role", "user", "content", json_object_get(r, "prompt"), "ability",
                     how->ability, "reward_model", "style", "rule", "ground_truth", json_object_get(r, "answer"),
                     "extra_info", "split", "train", "index", json_object_get(row, "ordinal"), "id",
                     json_object_get(r, "id"), "reward", reward_of(r), "steps", texts, "step_labels",
                     labels, "responses", json_object_get(r, "response"));
    return line;
}

static json_t *
line_openrlhf(enum message m, const json_t *body)
{
    const json_t *r = rollout_of(m, body);
    json_t *texts = json_array(), *labels = json_array();

    if (m == MESSAGE_labelled)
        steps_of(body, texts, labels);
    return json_pack("{s:O,s:O,s:O,s:o,s:o,s:o}", "input", json_object_get(r, "prompt"), "output",
                     json_object_get(r, "response"), "label", json_object_get(r, "answer"), "reward",
                     reward_of(r), "steps", texts, "step_labels", labels);
}

json_t *
export_line(const struct export_how *how, enum message m, const char *from, const json_t *row,
            const json_t *body)
{
    switch (how->format) {
    case EXPORT_stepwise: return m == MESSAGE_labelled ? line_stepwise(how, body) : NULL;
    case EXPORT_verl: return line_verl(how, m, row, body);
    case EXPORT_openrlhf: return line_openrlhf(m, body);
    default: return line_jsonl(m, from, row, body);
    }
}
