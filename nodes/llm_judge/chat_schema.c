/* chat_schema: JSON schemas of the answers that verdict.h reads, in the subset that OpenAI's strict
 * mode takes: every property required and none more. What a model should think of first comes
 * first. Numbers are listed, since some servers forget bounds (llama-cpp-python); entries are told
 * by their place, so that no index can be wrong. */
#include "nodes/llm_judge/chat.h"
#include "nodes/llm_judge/verdict.h"

static json_t *
type(const char *name)
{
    return json_pack("{s:s}", "type", name);
}

#define LIST_MAX 500 /* values of an enum, as OpenAI allows; a longer range gets bounds */

/* One of from .. to; `none`: or -1. */
static json_t *
whole(int64_t from, int64_t to, bool none)
{
    json_t *list;

    if (to - from >= LIST_MAX)
        return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum",
                         (json_int_t)(none ? -1 : from), "maximum", (json_int_t)to);
    list = json_array();
    if (none)
        json_array_append_new(list, json_integer(-1));
    for (int64_t i = from; i <= to; i++)
        json_array_append_new(list, json_integer(i));
    return json_pack("{s:s, s:o}", "type", "integer", "enum", list);
}

/* An object of these properties, in this order; takes them. */
static json_t *
object(json_t *properties)
{
    json_t *required = json_array();
    const char *name;
    json_t *value;

    json_object_foreach(properties, name, value) json_array_append_new(required, json_string(name));
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required",
                     required, "additionalProperties", 0);
}

/* count < 0: as many as there are. */
static json_t *
array(json_t *items, int64_t count)
{
    json_t *out = json_pack("{s:s, s:o}", "type", "array", "items", items);

    if (count >= 0) {
        json_object_set_new(out, "minItems", json_integer(count));
        json_object_set_new(out, "maxItems", json_integer(count));
    }
    return out;
}

static json_t *
marks(void)
{
    return whole(VERDICT_MARK_MIN, VERDICT_MARK_MAX, false);
}

static json_t *
entries(const char *name, json_t *value, int64_t count)
{
    return array(object(json_pack("{s:o, s:o}", "reason", type("string"), name, value)), count);
}

json_t *
chat_schema(enum prompt_form form, int64_t first, int64_t count)
{
    json_t *error;

    switch (form) {
    case FORM_first_error:
        return object(json_pack("{s:o, s:o}", "analysis", type("string"), "first_error",
                                whole(first, first + count - 1, true)));
    case FORM_all_errors:
        error = object(json_pack("{s:o, s:o}", "section", whole(first + 1, first + count, false),
                                 "explanation", type("string")));
        return object(
            json_pack("{s:o, s:o}", "analysis", type("string"), "errors", array(error, -1)));
    case FORM_agent:
        return object(json_pack("{s:o, s:o, s:o}", "analysis", type("string"), "step_labels",
                                array(whole(-1, 1, false), count), "final_label",
                                whole(-1, 1, false)));
    case FORM_score:
        return object(
            json_pack("{s:o, s:o}", "steps", entries("score", marks(), count), "overall", marks()));
    default:
        return object(json_pack("{s:o}", "steps", entries("label", whole(0, 1, false), count)));
    }
}
