#include "nodes/prompts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/verify.h"
#include "nodes/reader/stream.h"

static int
is_blank(struct span s)
{
    for (size_t i = 0; i < s.length; i++)
        if (!strchr(" \t\r", s.at[i]))
            return 0;
    return 1;
}

static int
read_lines(struct stream *s, const char *path, uint64_t size,
           int (*each)(void *context, int64_t number, struct span text, struct error *e),
           void *context, struct error *e)
{
    struct stream_line line;

    for (int64_t number = 1;; number++) {
        int event = stream_next(s, size, true, &line, e), rc = 0;

        if (event < 0)
            return event;
        if (event == STREAM_end)
            return 0;
        if (event == STREAM_long)
            rc = error_set(e, ERROR_input, "a line of %llu bytes; at most %d",
                           (unsigned long long)line.length, PROMPTS_LINE_MAX);
        else if (event == STREAM_broken)
            rc = error_set(e, ERROR_input, "the file breaks off: %s",
                           line.why ? line.why : "cannot be decompressed");
        else if (event == STREAM_line && !is_blank(line.text))
            rc = each(context, number, line.text, e);
        if (rc < 0) {
            error_wrap(e, "%s:%lld", path, (long long)number);
            return rc;
        }
    }
}

int
prompts_lines(const char *path,
              int (*each)(void *context, int64_t number, struct span text, struct error *e),
              void *context, struct error *e)
{
    const struct stream_how how = {.format = STREAM_auto, .line_bytes_max = PROMPTS_LINE_MAX};
    struct stream *s;
    struct stat info;
    int rc;

    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(e, ERROR_file, "%s: not a regular file", path);
    rc = stream_open(&s, path, &how, 0, e);
    if (rc < 0)
        return rc;
    rc = fstat(stream_fd(s), &info) == 0
             ? read_lines(s, path, (uint64_t)info.st_size, each, context, e)
             : error_set(e, ERROR_file, "%s: cannot be read", path);
    stream_close(s);
    return rc;
}

/* Text, or a number as it stands, copied into the arena; at NULL when the key is absent or null. */
static int
take_text(struct prompts *p, const json_t *line, const char *key, struct span *out, struct error *e)
{
    const json_t *value = json_object_get(line, key);
    char *number = NULL, *copy;

    *out = (struct span){NULL, 0};
    if (!value || json_is_null(value))
        return 0;
    if (json_is_string(value))
        *out = span_of(json_string_value(value), json_string_length(value));
    else if (json_is_number(value))
        *out = span_text(number = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)));
    else
        return error_set(e, ERROR_input, "'%s' must be text", key);
    copy = arena_take(&p->arena, out->length + 1);
    memcpy(copy, out->at, out->length);
    out->at = copy;
    free(number);
    return 0;
}

struct reading {
    struct prompts *prompts;
    json_t *ids; /* seen, as keys */
    int answers;
};

static int
take_prompt(struct reading *r, const json_t *json, int64_t number, struct error *e)
{
    struct prompts *p = r->prompts;
    struct prompt *one;
    struct span id;

    if (!json_is_object(json))
        return error_set(e, ERROR_input, "must be an object");
    if (p->count == PROMPTS_MAX)
        return error_set(e, ERROR_limit, "more than %d prompts", PROMPTS_MAX);
    if (p->count == p->room) {
        p->room = p->room ? 2 * p->room : 256;
        p->at = xresize(p->at, (size_t)p->room * sizeof(*p->at));
    }
    one = &p->at[p->count];
    *one = (struct prompt){.line = number, .number = p->count};
    if (take_text(p, json, "prompt", &one->text, e) ||
        take_text(p, json, "answer", &one->answer, e) || take_text(p, json, "id", &id, e))
        return ERROR_input;
    if (!one->text.at)
        return error_set(e, ERROR_input, "'prompt' is missing");
    if (!one->answer.at && r->answers)
        return error_set(e, ERROR_input, "'answer' is missing; without it nothing can be verified");
    one->id = id.at;
    if (!id.at) {
        char *text = arena_take(&p->arena, 24), *made = xprint("%lld", (long long)p->count);

        one->id = strcpy(text, made);
        free(made);
    }
    if (json_object_get(r->ids, one->id))
        return error_set(e, ERROR_input, "id '%.200s' appeared before", one->id);
    json_object_set_new(r->ids, one->id, json_true());
    p->count++;
    return 0;
}

static int
read_prompt(void *context, int64_t number, struct span text, struct error *e)
{
    json_error_t why;
    json_t *json = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, &why);
    int rc = json ? take_prompt(context, json, number, e)
                  : error_set(e, ERROR_input, "not JSON: %s (column %d)", why.text, why.column);

    json_decref(json);
    return rc;
}

int
prompts_read(struct prompts *p, const char *path, int answers, struct error *e)
{
    struct reading r = {p, json_object(), answers};
    int rc;

    *p = (struct prompts){.path = path};
    rc = prompts_lines(path, read_prompt, &r, e);
    if (rc == 0 && p->count == 0)
        rc = error_set(e, ERROR_input, "%s: holds no prompt", path);
    json_decref(r.ids);
    if (rc)
        prompts_free(p);
    return rc;
}

void
prompts_free(struct prompts *p)
{
    free(p->at);
    arena_free(&p->arena);
    *p = (struct prompts){0};
}

int
prompts_reward(const json_t *json, struct span response, double *reward, struct error *e)
{
    const json_t *given = json_object_get(json, "reward"),
                 *answer = json_object_get(json, "answer");

    if (json_is_number(given))
        *reward = json_number_value(given);
    else if (json_is_boolean(given))
        *reward = json_is_true(given);
    else if (json_is_string(answer))
        *reward = verify_answer(VERIFY_numeric, response,
                                span_of(json_string_value(answer), json_string_length(answer)));
    else
        return error_set(e, ERROR_input,
                         "neither 'reward' nor 'answer' says whether it is correct");
    return 0;
}
