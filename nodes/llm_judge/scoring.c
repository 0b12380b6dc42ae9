/* scoring: what a server says of its tokens, and what follows from it. */
#include "nodes/llm_judge/scoring.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "nodes/llm_judge/verdict.h"

#define TOKENS_MAX     65536 /* of an answer */
#define CANDIDATES_MAX 64    /* of a token; further ones are not read */

/* ---- reading ---- */

/* The bytes of a token: "bytes" where the server gives them ("token" may be half a character). */
static struct span
text_of(const json_t *token, struct arena *arena)
{
    const json_t *bytes = json_object_get(token, "bytes"), *text = json_object_get(token, "token");
    size_t count = json_array_size(bytes), length = json_string_length(text);
    char *out = arena_take(arena, (count > length ? count : length) + 1);

    for (size_t i = 0; i < count; i++)
        out[i] = (char)json_integer_value(json_array_get(bytes, i));
    if (count == 0 && length > 0)
        memcpy(out, json_string_value(text), length);
    return span_of(out, count ? count : length);
}

static double
probability_of(const json_t *token)
{
    const json_t *value = json_object_get(token, "logprob");
    double p = json_is_number(value) ? exp(json_number_value(value)) : 0;

    return p >= 0 ? fmin(p, 1) : 0;
}

static bool
same(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static struct scoring_token
read_token(const json_t *token, struct arena *arena)
{
    const json_t *top = json_object_get(token, "top_logprobs");
    size_t count = json_array_size(top);
    struct scoring_candidate *list;
    struct scoring_token out = {.text = text_of(token, arena)};
    bool listed = false;

    count = count < CANDIDATES_MAX ? count : CANDIDATES_MAX;
    list = arena_take(arena, (count + 1) * sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(top, i);
        list[i] = (struct scoring_candidate){text_of(one, arena), probability_of(one)};
        listed |= same(list[i].text, out.text);
    }
    if (!listed)
        list[count++] = (struct scoring_candidate){out.text, probability_of(token)};
    out.count = (int)count;
    out.candidates = list;
    return out;
}

int
scoring_read(const json_t *completion, struct scoring_tokens *out, struct arena *arena,
             struct error *e)
{
    const json_t *choice = json_array_get(json_object_get(completion, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, "logprobs"), "content");
    size_t count = json_array_size(content), length = 0;
    struct scoring_token *tokens;
    char *words;

    if (count == 0)
        return error_set(e, ERROR_input, "the server gave no log-probabilities");
    if (count > TOKENS_MAX)
        return error_set(e, ERROR_limit, "the answer has more than %d tokens", TOKENS_MAX);
    tokens = arena_take(arena, count * sizeof(*tokens));
    for (size_t i = 0; i < count; i++) {
        tokens[i] = read_token(json_array_get(content, i), arena);
        tokens[i].at = length;
        length += tokens[i].text.length;
    }
    words = arena_take(arena, length + 1);
    for (size_t i = 0; i < count; i++)
        if (tokens[i].text.length)
            memcpy(words + tokens[i].at, tokens[i].text.at, tokens[i].text.length);
    *out = (struct scoring_tokens){(int64_t)count, tokens, span_of(words, length)};
    return 0;
}

/* ---- symbols ---- */

/* Is `c` what a token says, but for what may stand around it: spaces, brackets, stars, colons? */
static bool
says(struct span text, char c)
{
    static const char around[] = " \t\r\n*[](){}\"'`:=._#";
    bool found = false;

    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == c && !found)
            found = true;
        else if (!text.at[i] || !strchr(around, text.at[i]))
            return false;
    }
    return found;
}

static double
probability_that(const struct scoring_token *t, char c)
{
    double sum = 0;

    for (int i = 0; i < t->count; i++)
        if (says(t->candidates[i].text, c))
            sum += t->candidates[i].probability;
    return sum;
}

/* ---- marks ---- */

void
scoring_mark(const double *p, int count, bool renormalise, double *score, double *outside)
{
    double mean = 0, mass = 0;

    for (int k = 0; k < count; k++) {
        mean += (VERDICT_MARK_MIN + k) * p[k];
        mass += p[k];
    }
    if (renormalise && mass > 0)
        mean /= mass;
    *score = fmin(fmax((mean - VERDICT_MARK_MIN) / (count - 1), 0), 1);
    *outside = fmin(fmax(1 - mass, 0), 1);
}

int
scoring_expected(const struct scoring_tokens *t, int64_t place, bool renormalise, double *score,
                 double *outside, struct error *e)
{
    double p[VERDICT_MARK_MAX - VERDICT_MARK_MIN + 1], mass = 0;
    int count = VERDICT_MARK_MAX - VERDICT_MARK_MIN + 1;
    int64_t i = 0;

    while (i + 1 < t->count && (int64_t)t->at[i + 1].at <= place)
        i++;
    for (int k = 0; k < count; k++) {
        p[k] = probability_that(&t->at[i], (char)('0' + VERDICT_MARK_MIN + k));
        mass += p[k];
    }
    if (!(mass > 0))
        return error_set(e, ERROR_input, "the mark at byte %" PRId64 " is not a token of its own",
                         place);
    scoring_mark(p, count, renormalise, score, outside);
    return 0;
}

/* ---- ranking ---- */

/* The first token that is more than an opening bracket or a space, as FIRST's "[". */
static const struct scoring_token *
letter_token(const struct scoring_tokens *t)
{
    for (int64_t i = 0; i < t->count; i++) {
        struct span text = t->at[i].text;
        size_t n = 0;
        while (n < text.length && text.at[n] && strchr(" \t\r\n*[(\"'`", text.at[n]))
            n++;
        if (n < text.length)
            return &t->at[i];
    }
    return &t->at[0];
}

int
scoring_order(const struct scoring_tokens *t, int count, int *order, struct error *e)
{
    const struct scoring_token *at = letter_token(t);
    double p[PROMPT_LETTERS];
    bool any = false;

    assert(count <= PROMPT_LETTERS && t->count > 0);
    for (int i = 0; i < count; i++) {
        p[i] = probability_that(at, (char)('A' + i));
        any |= p[i] > 0;
    }
    if (!any)
        return error_set(e, ERROR_input, "the answer does not begin with a letter of the list");
    for (int i = 0; i < count; i++) { /* by insertion: equals stay in the order they were listed */
        int to = i;
        while (to > 0 && p[order[to - 1]] < p[i]) {
            order[to] = order[to - 1];
            to--;
        }
        order[to] = i;
    }
    return 0;
}

void
scoring_rank_begin(struct scoring_ranking *r, int count, int *order)
{
    int from = count > SCORING_RANK_WINDOW ? count - SCORING_RANK_WINDOW : 0;

    *r = (struct scoring_ranking){count, from, count, count < 2, order};
}

void
scoring_rank_put(struct scoring_ranking *r, const int *order)
{
    int before[SCORING_RANK_WINDOW], size = r->to - r->from;

    memcpy(before, r->order + r->from, (size_t)size * sizeof(*before));
    for (int i = 0; i < size; i++)
        r->order[r->from + i] = before[order[i]];
    r->done = r->from == 0;
    r->from = r->from > SCORING_RANK_STEP ? r->from - SCORING_RANK_STEP : 0;
    r->to -= SCORING_RANK_STEP;
}
