/* verdict_errors: answers that name wrong steps: the first of them, or all of them. */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nodes/llm_judge/verdict_parts.h"
#include "nodes/one_line.h"

static bool
starts(const char *at, const char *end, const char *word)
{
    size_t length = strlen(word);

    return (size_t)(end - at) >= length && strncasecmp(at, word, length) == 0;
}

/* Past what models put between a label and its value: spaces, colons, stars of bold type. */
static const char *
skip_marks(const char *at, const char *end)
{
    while (at < end && strchr(" \t*:_#=`\"'", *at) && *at)
        at++;
    return at;
}

static bool
number_at(const char **at, const char *end, int64_t *out)
{
    const char *from = *at;
    int64_t value = 0, sign = 1;

    if (starts(from, end, "\xe2\x88\x92")) { /* the minus sign of mathematics */
        sign = -1;
        from += 3;
    } else if (from < end && (*from == '-' || *from == '+')) {
        sign = *from++ == '-' ? -1 : 1;
    }
    if (from >= end || !isdigit((unsigned char)*from))
        return false;
    for (; from < end && isdigit((unsigned char)*from); from++)
        value = value < 100000000 ? value * 10 + (*from - '0') : value;
    *at = from;
    *out = sign * value;
    return true;
}

/* ---- the first error ---- */

static const char *const index_names[] = {"first_error", "first_error_index", "earliest_error",
                                          NULL};

static json_t *
index_holder(json_t *value)
{
    return json_is_object(value) && verdict_member(value, index_names) ? value : NULL;
}

/* What stands in the braces of a box: "2", "-1", "\text{paragraph 2}", "paragraph_2", "none". */
static int
box_value(const char *at, const char *end, int64_t *out, struct error *e)
{
    static const char *const none[] = {"none", "no error", NULL};
    const char *from = at;
    int64_t found = 0;

    for (int i = 0; none[i]; i++)
        if (verdict_last(at, end, none[i])) {
            *out = -1;
            return 0;
        }
    while (from < end) {
        if (number_at(&from, end, out))
            found++;
        else
            from++;
    }
    if (found != 1)
        return error_set(e, ERROR_input, "the box of the answer holds %s",
                         found ? "several numbers" : "no number");
    return 0;
}

static int
last_box(struct span text, int64_t *out, struct error *e)
{
    const char *end = text.at + text.length, *at = verdict_last(text.at, end, "\\boxed"), *to;
    int depth = 0;

    if (!at)
        return error_set(e, ERROR_input, "no verdict in the answer: neither JSON nor a box");
    for (at += 6; at < end && isspace((unsigned char)*at); at++)
        continue;
    for (to = at; to < end; to++) {
        depth += (*to == '{') - (*to == '}');
        if (depth <= 0)
            break;
    }
    if (at >= end || *at != '{' || to >= end)
        return error_set(e, ERROR_input, "the box of the answer is not closed");
    return box_value(at + 1, to, out, e);
}

int
verdict_first_error(struct span text, const struct verdict_ask *ask, struct verdict *out,
                    struct arena *arena, struct error *e)
{
    static const char *const reason_names[] = {"analysis", "reason", "explanation", NULL};
    json_t *root, *object = verdict_find(text, index_holder, &root);
    struct span reason = {0};
    int64_t index = 0;
    int rc = 0;

    if (object && !verdict_whole(verdict_member(object, index_names), &index))
        rc = error_set(e, ERROR_input, "first_error is no whole number");
    else if (object)
        reason = verdict_reason(verdict_member(object, reason_names), arena);
    else if (ask->cut)
        rc = error_set(e, ERROR_input, "the answer was cut at max_tokens before its verdict");
    else
        rc = last_box(text, &index, e);
    json_decref(root);
    if (rc == 0 && index != -1)
        rc = verdict_place(&index, 1, ask, false, e);
    if (rc != 0)
        return rc;
    for (int64_t i = 0; i < ask->count && (index < 0 || i <= index); i++) {
        out->said[i] = 1;
        out->scores[i] = i != index;
    }
    if (index >= 0)
        out->reasons[index] = reason;
    return 0;
}

/* ---- all errors ---- */

static json_t *
errors_holder(json_t *value)
{
    json_t *list = json_is_object(value) ? json_object_get(value, "errors") : NULL;

    return json_is_array(list) ? list : NULL;
}

/* Step `number`, counted from 1 in the response, is wrong. */
static int
add_error(int64_t number, struct span reason, const struct verdict_ask *ask, struct verdict *out,
          struct error *e)
{
    int64_t index = number - 1 - ask->first;

    if (index < 0 || index >= ask->count)
        return error_set(e, ERROR_input, "the verdict names section %" PRId64 " of %" PRId64,
                         number, ask->first + ask->count);
    out->scores[index] = 0;
    if (reason.length)
        out->reasons[index] = reason;
    return 0;
}

static int
read_list(const json_t *list, const struct verdict_ask *ask, struct verdict *out,
          struct arena *arena, struct error *e)
{
    static const char *const section_names[] = {"section", "number", "step", "i", NULL};
    static const char *const reason_names[] = {"explanation", "reason", "analysis", NULL};
    int rc = 0;

    for (size_t k = 0; rc == 0 && k < json_array_size(list); k++) {
        const json_t *entry = json_array_get(list, k);
        bool object = json_is_object(entry);
        int64_t number;
        if (!verdict_whole(object ? verdict_member(entry, section_names) : entry, &number))
            rc = error_set(e, ERROR_input, "error %zu of the verdict names no section", k);
        else
            rc = add_error(
                number, verdict_reason(object ? verdict_member(entry, reason_names) : NULL, arena),
                ask, out, e);
    }
    return rc;
}

/* The line's text after `at`, as a reason. */
static struct span
rest_of_line(const char *at, const char *end, struct arena *arena)
{
    const char *to = memchr(at, '\n', (size_t)(end - at));

    return one_line(span_of(at, (size_t)((to ? to : end) - at)), VERDICT_REASON_MAX, arena);
}

/* The numbers of one "Error Section Number: 3, 5" line, which begin at `at`; *last gets the
 * last. */
static int
read_numbers(const char *at, const char *end, const struct verdict_ask *ask, struct verdict *out,
             int64_t *last, struct error *e)
{
    const char *line = memchr(at, '\n', (size_t)(end - at));
    int rc = 0;

    *last = -1;
    for (end = line ? line : end; rc == 0 && at < end;) {
        int64_t number;
        if (!number_at(&at, end, &number)) {
            at++;
            continue;
        }
        rc = add_error(number, (struct span){0}, ask, out, e);
        *last = number - 1 - ask->first;
    }
    if (rc == 0 && *last < 0)
        rc = error_set(e, ERROR_input, "a line on an error names no section");
    return rc;
}

/* Lines from `at` on: numbers and explanations. How many lines had numbers goes to *found. A line's
 * numbers are read once, however often the line names them: an answer may be one line of 4 MiB. */
static int
read_lines(const char *at, const char *end, const struct verdict_ask *ask, struct verdict *out,
           struct arena *arena, int64_t *found, struct error *e)
{
    static const char number[] = "error section number", why[] = "explanation";
    const char *line = at; /* where the line ends whose numbers were read */
    int64_t last = -1;
    int rc = 0;

    for (; rc == 0 && at < end; at++) {
        if (at >= line && starts(at, end, number)) {
            at += sizeof(number) - 1;
            line = memchr(at, '\n', (size_t)(end - at));
            line = line ? line : end;
            rc = read_numbers(at, end, ask, out, &last, e);
            ++*found;
        } else if (last >= 0 && starts(at, end, why)) {
            at = skip_marks(at + sizeof(why) - 1, end);
            out->reasons[last] = rest_of_line(at, end, arena);
            last = -1;
        }
    }
    return rc;
}

static int
read_words(struct span text, const struct verdict_ask *ask, struct verdict *out,
           struct arena *arena, struct error *e)
{
    const char *end = text.at + text.length, *at = verdict_last(text.at, end, "conclusion");
    int64_t found = 0;
    bool no, yes;
    int rc;

    if (ask->cut)
        return error_set(e, ERROR_input, "the answer was cut at max_tokens");
    if (!at)
        return error_set(e, ERROR_input, "no verdict in the answer: neither JSON nor a conclusion");
    at = skip_marks(at + strlen("conclusion"), end);
    no = starts(at, end, "no");
    yes = starts(at, end, "yes") || starts(at, end, "error");
    if (!no && !yes)
        return error_set(e, ERROR_input, "the conclusion says neither yes nor no error");
    rc = read_lines(at, end, ask, out, arena, &found, e);
    if (rc == 0 && yes != (found > 0))
        rc = error_set(e, ERROR_input,
                       yes ? "the conclusion is yes, but no section is named"
                           : "the conclusion is no error, but a section is named");
    return rc;
}

int
verdict_all_errors(struct span text, const struct verdict_ask *ask, struct verdict *out,
                   struct arena *arena, struct error *e)
{
    json_t *root, *list = verdict_find(text, errors_holder, &root);
    int rc;

    for (int64_t i = 0; i < ask->count; i++) {
        out->said[i] = 1;
        out->scores[i] = 1;
    }
    rc = list ? read_list(list, ask, out, arena, e) : read_words(text, ask, out, arena, e);
    json_decref(root);
    return rc;
}
