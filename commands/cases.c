/* cases: each shape is known by the keys it has, and read into the same struct. */
#include "commands/cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nodes/prompts.h"

static struct span
keep(struct cases *c, const json_t *v)
{
    size_t length = json_string_length(v);
    char *copy = arena_take(&c->arena, length + 1);

    if (length > 0)
        memcpy(copy, json_string_value(v), length);
    return span_of(copy, length);
}

static const json_t *
first_of(const json_t *object, const char *const *names)
{
    for (; *names; names++) {
        const json_t *v = json_object_get(object, *names);
        if (v && !json_is_null(v))
            return v;
    }
    return NULL;
}

static int
take_problem(struct cases *c, const json_t *element, struct labelled_case *out, struct error *e)
{
    static const char *const names[] = {"problem", "prompt", "question", NULL};
    const json_t *problem = first_of(element, names), *answer = json_object_get(element, "answer");

    if (!json_is_string(problem))
        return error_set(e, ERROR_input, "no text under 'problem', 'prompt' or 'question'");
    out->problem = keep(c, problem);
    out->answer = json_is_string(answer) ? keep(c, answer) : span_text("");
    return 0;
}

static void
take_room(struct cases *c, struct labelled_case *out, size_t count)
{
    out->count = (int64_t)count;
    out->steps = arena_take(&c->arena, sizeof(*out->steps) * count);
    out->labels = arena_take(&c->arena, count);
    memset(out->labels, CASE_unknown, count);
}

static int
take_steps(struct cases *c, const json_t *steps, struct labelled_case *out, struct error *e)
{
    size_t count = json_array_size(steps), i;
    json_t *step;

    if (count == 0 || count > CASES_STEPS_MAX)
        return error_set(e, ERROR_input, "%zu steps; 1 to %d are possible", count, CASES_STEPS_MAX);
    take_room(c, out, count);
    json_array_foreach(steps, i, step)
    {
        if (!json_is_string(step) || json_string_length(step) == 0)
            return error_set(e, ERROR_input, "step %zu is not text, or empty", i);
        out->steps[i] = keep(c, step);
    }
    return 0;
}

/* The index of the first wrong step; what comes after it nobody judged. */
static int
label_first(const json_t *label, struct labelled_case *out, struct error *e)
{
    json_int_t first = json_integer_value(label);

    if (!json_is_integer(label) || first < -1 || first >= out->count)
        return error_set(e, ERROR_input, "'label' is not -1 or one of the %lld steps",
                         (long long)out->count);
    memset(out->labels, CASE_correct, (size_t)(first < 0 ? out->count : first));
    if (first >= 0)
        out->labels[first] = CASE_incorrect;
    return 0;
}

static int
label_each(const json_t *labels, struct labelled_case *out, struct error *e)
{
    size_t i;
    json_t *v;

    if (!json_is_array(labels) || json_array_size(labels) != (size_t)out->count)
        return error_set(e, ERROR_input, "'labels' is not a list of %lld, one for each step",
                         (long long)out->count);
    json_array_foreach(labels, i, v)
    {
        json_int_t n = json_is_boolean(v)   ? json_is_true(v)
                       : json_is_integer(v) ? json_integer_value(v)
                       : json_is_null(v)    ? CASE_unknown
                                            : -1;
        if (n < CASE_incorrect || n > CASE_unknown)
            return error_set(e, ERROR_input,
                             "label %zu is not true, false, null, 0 (incorrect), 1 (correct) or 2 "
                             "(unknown)",
                             i);
        out->labels[i] = (uint8_t)n;
    }
    return 0;
}

/* What stands as a step of PRM800K: chosen, written by a person, or the first there is. */
static const json_t *
chosen_of(const json_t *step)
{
    const json_t *completions = json_object_get(step, "completions"),
                 *chosen = json_object_get(step, "chosen_completion"),
                 *human = json_object_get(step, "human_completion");
    json_int_t at = json_integer_value(chosen);

    if (json_is_integer(chosen) && at >= 0 && at < (json_int_t)json_array_size(completions))
        return json_array_get(completions, (size_t)at);
    if (json_is_object(human))
        return human;
    return json_array_get(completions, 0);
}

/* -> 1: the element says nothing. */
static int
read_prm800k(struct cases *c, const json_t *element, struct labelled_case *out, struct error *e)
{
    const json_t *label = json_object_get(element, "label"),
                 *steps = json_object_get(label, "steps");
    const char *end = json_string_value(json_object_get(label, "finish_reason"));
    size_t count = json_array_size(steps), i;
    json_t *step;
    int rc;

    if (end && (strcmp(end, "bad_problem") == 0 || strcmp(end, "give_up") == 0))
        return 1;
    if (count == 0 || count > CASES_STEPS_MAX)
        return count == 0
                   ? 1
                   : error_set(e, ERROR_input, "%zu steps; at most %d", count, CASES_STEPS_MAX);
    rc = take_problem(c, json_object_get(element, "question"), out, e);
    if (rc != 0)
        return rc;
    take_room(c, out, count);
    json_array_foreach(steps, i, step)
    {
        const json_t *one = chosen_of(step), *text = json_object_get(one, "text"),
                     *rating = json_object_get(one, "rating");
        if (!json_is_string(text) || json_string_length(text) == 0)
            return error_set(e, ERROR_input, "step %zu has no text", i);
        out->steps[i] = keep(c, text);
        if (json_is_integer(rating))
            out->labels[i] = json_integer_value(rating) < 0 ? CASE_incorrect : CASE_correct;
    }
    return 0;
}

/* What a consensus sent, as a sink wrote it. */
static int
read_ours(struct cases *c, const json_t *element, struct labelled_case *out, struct error *e)
{
    const json_t *rollout = json_object_get(element, "rollout"),
                 *response = json_object_get(rollout, "response"),
                 *ends = json_object_get(element, "ends"), *end;
    size_t count = json_array_size(ends), i, from = 0;
    int rc = take_problem(c, rollout, out, e);

    if (rc != 0)
        return rc;
    if (!json_is_string(response) || count == 0 || count > CASES_STEPS_MAX)
        return error_set(e, ERROR_input, "no response with steps; 'ends' is a list of 1 to %d",
                         CASES_STEPS_MAX);
    take_room(c, out, count);
    struct span text = keep(c, response);
    json_array_foreach(ends, i, end)
    {
        json_int_t to = json_integer_value(end);
        if (to <= (json_int_t)from || (size_t)to > text.length)
            return error_set(e, ERROR_input, "'ends' do not rise to the response's length");
        out->steps[i] = span_of(text.at + from, (size_t)to - from);
        from = (size_t)to;
    }
    return from == text.length
               ? label_each(json_object_get(element, "labels"), out, e)
               : error_set(e, ERROR_input, "'ends' do not rise to the response's length");
}

static int
read_element(struct cases *c, const json_t *element, struct labelled_case *out, struct error *e)
{
    const json_t *label = json_object_get(element, "label"),
                 *steps = json_object_get(element, "steps"),
                 *right = json_object_get(element, "final_answer_correct");
    int rc;

    if (json_is_object(json_object_get(element, "rollout")))
        return read_ours(c, element, out, e);
    if (json_is_array(json_object_get(label, "steps")))
        return read_prm800k(c, element, out, e);
    if (!steps)
        steps = json_object_get(element, "completions");
    if (!json_is_array(steps))
        return error_set(e, ERROR_input,
                         "no list of steps under 'steps' or 'completions', nor "
                         "PRM800K's 'label.steps', nor our 'rollout'");
    rc = take_problem(c, element, out, e);
    if (rc == 0)
        rc = take_steps(c, steps, out, e);
    if (rc == 0 && json_is_boolean(right))
        out->answer_right = json_is_true(right);
    if (rc != 0)
        return rc;
    return json_object_get(element, "labels")
               ? label_each(json_object_get(element, "labels"), out, e)
               : label_first(label, out, e);
}

static int64_t
first_error(const struct labelled_case *c)
{
    int64_t unknown = 0;

    for (int64_t i = 0; i < c->count; i++) {
        if (c->labels[i] == CASE_incorrect)
            return unknown ? CASE_UNSET : i; /* an unknown step before it may be the first */
        unknown += c->labels[i] == CASE_unknown;
    }
    return unknown ? CASE_UNSET : CASE_NONE;
}

int
cases_add(struct cases *c, const json_t *element, struct error *e)
{
    struct labelled_case one = {.answer_right = -1};
    int rc;

    if (!json_is_object(element))
        return error_set(e, ERROR_input, "it is no JSON object");
    if (c->count >= CASES_MAX)
        return error_set(e, ERROR_limit, "more than %d solutions", CASES_MAX);
    rc = read_element(c, element, &one, e);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        c->skipped++;
        return 0;
    }
    one.first_error = first_error(&one);
    if (c->count == c->room) {
        c->room = c->room ? 2 * c->room : 64;
        c->at = xresize(c->at, sizeof(*c->at) * (size_t)c->room);
    }
    c->at[c->count++] = one;
    return 0;
}

static int
add_line(void *context, int64_t number, struct span text, struct error *e)
{
    json_error_t why;
    json_t *element = json_loadb(text.at, text.length, JSON_ALLOW_NUL, &why);
    int rc;

    (void)number;
    if (!element)
        return error_set(e, ERROR_input, "it is no JSON: %s", why.text);
    rc = cases_add(context, element, e);
    json_decref(element);
    return rc;
}

/* Does the file begin with '[' and hold an array? */
static int
is_array(const char *path, struct error *e)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    int byte = EOF;

    if (!f || fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode)) {
        int why = f ? EINVAL : errno;
        if (f)
            fclose(f);
        return error_set(e, ERROR_file, "%s: %s", path, f ? "not a regular file" : strerror(why));
    }
    while ((byte = getc(f)) == ' ' || byte == '\n' || byte == '\r' || byte == '\t')
        ;
    fclose(f);
    if (byte == '[' && (int64_t)info.st_size > CASES_ARRAY_MAX)
        return error_set(e, ERROR_limit,
                         "%s: an array of %lld bytes; give more than %lld as JSON "
                         "lines",
                         path, (long long)info.st_size, (long long)CASES_ARRAY_MAX);
    return byte == '[';
}

static int
read_array(struct cases *c, const char *path, struct error *e)
{
    json_error_t why;
    json_t *array = json_load_file(path, JSON_ALLOW_NUL, &why), *element;
    size_t i;
    int rc = 0;

    if (!json_is_array(array)) {
        json_decref(array);
        return error_set(e, ERROR_input, "%s:%d: it is no JSON array: %s", path, why.line,
                         why.text);
    }
    json_array_foreach(array, i, element)
    {
        rc = cases_add(c, element, e);
        if (rc < 0) {
            error_wrap(e, "%s: element %zu", path, i);
            break;
        }
    }
    json_decref(array);
    return rc;
}

int
cases_read(struct cases *c, const char *path, struct error *e)
{
    int rc;

    *c = (struct cases){0};
    rc = is_array(path, e);
    if (rc >= 0)
        rc = rc ? read_array(c, path, e) : prompts_lines(path, add_line, c, e);
    if (rc == 0 && c->count == 0)
        rc = error_set(e, ERROR_input, "%s: no labelled solution in it", path);
    if (rc < 0)
        cases_free(c);
    return rc;
}

void
cases_free(struct cases *c)
{
    free(c->at);
    arena_free(&c->arena);
    *c = (struct cases){0};
}

static json_t *
text_json(struct span s)
{
    json_t *v = json_stringn(s.at ? s.at : "", s.length);
    return v ? v : json_stringn_nocheck("", 0);
}

void
case_write(const struct labelled_case *c, int64_t id, struct buffer *out)
{
    json_t *steps = json_array(),
           *line = json_pack("{s:I, s:o, s:o, s:i}", "id", (json_int_t)id, "prompt",
                             text_json(c->problem), "steps", steps, "reward", c->answer_right > 0);
    char *text;

    for (int64_t i = 0; i < c->count; i++)
        json_array_append_new(steps, text_json(c->steps[i]));
    if (c->answer.length > 0)
        json_object_set_new(line, "answer", text_json(c->answer));
    text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    buffer_text(out, text ? text : "{}");
    buffer_text(out, "\n");
    free(text);
    json_decref(line);
}
