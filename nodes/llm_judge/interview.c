/* interview: from steps to questions. interview_vote.c has the way back, from answers to votes. */
#include "nodes/llm_judge/interview.h"

#include <assert.h>
#include <string.h>

#include "nodes/one_line.h"

#define RANK_TOKENS_MAX 4 /* of an answer that is one letter, perhaps in brackets */
#define WHY_MAX         400

static bool
ranks(const struct interview *iv)
{
    return prompt_form(iv->prompt) == FORM_rank;
}

static struct question *
new_question(struct interview *iv, int vote, int64_t from, int64_t to)
{
    struct question *q = arena_take(iv->arena, sizeof(*q));
    int64_t shown = from - iv->options->window_context;

    *q = (struct question){.vote = vote,
                           .from = from,
                           .to = to,
                           .shown = shown > 0 ? shown : 0,
                           .problem_max = INT64_MAX,
                           .response_max = INT64_MAX,
                           .tokens_max = INT64_MAX,
                           .format = iv->format};
    iv->open++;
    return q;
}

static struct question *
add_question(struct interview *iv, int vote, int64_t from, int64_t to)
{
    struct question *q = new_question(iv, vote, from, to);

    *iv->last = q;
    iv->last = &q->next;
    return q;
}

static void
begin_ranking(struct interview *iv, int vote)
{
    int *order = arena_take(iv->arena, (size_t)iv->count * sizeof(*order) + 1);

    for (int i = 0; i < iv->count; i++)
        order[i] = vote % 2 ? iv->count - 1 - i : i;
    scoring_rank_begin(&iv->rankings[vote], iv->count, order);
    if (!iv->rankings[vote].done)
        add_question(iv, vote, 0, 0);
}

void
interview_begin(struct interview *iv, const struct llm_options *o, const struct prompt *p,
                enum chat_format format, const struct steps *steps, int count, struct arena *arena)
{
    int64_t all = steps[0].ends.count, window = o->window_steps > 0 ? o->window_steps : all;

    *iv = (struct interview){.options = o,
                             .prompt = p,
                             .format = format,
                             .steps = steps,
                             .count = count,
                             .arena = arena};
    iv->last = &iv->first;
    if (ranks(iv))
        iv->rankings = arena_take(arena, (size_t)o->votes * sizeof(*iv->rankings));
    for (int vote = 0; vote < o->votes; vote++) {
        if (ranks(iv))
            begin_ranking(iv, vote);
        for (int64_t from = 0; !ranks(iv) && from < all; from += window)
            add_question(iv, vote, from, from + window < all ? from + window : all);
    }
}

struct question *
interview_next(struct interview *iv)
{
    for (struct question *q = iv->first; q; q = q->next)
        if (q->state == QUESTION_new) {
            q->state = QUESTION_asked;
            return q;
        }
    return NULL;
}

bool
interview_done(const struct interview *iv)
{
    return iv->open == 0;
}

/* ---- writing ---- */

static bool
continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* At most `most` bytes of a text and a mark: its beginning and its end, whole characters. */
static struct span
middle_out(struct span s, int64_t most, struct arena *arena)
{
    static const char mark[] = " [...] ";
    size_t head, tail, n = sizeof(mark) - 1;
    char *out;

    if ((int64_t)s.length <= most)
        return s;
    head = (size_t)most / 2;
    tail = s.length - ((size_t)most - head);
    while (head > 0 && continues((unsigned char)s.at[head]))
        head--;
    while (tail < s.length && continues((unsigned char)s.at[tail]))
        tail++;
    out = arena_take(arena, head + n + s.length - tail);
    memcpy(out, s.at, head);
    memcpy(out + head, mark, n);
    memcpy(out + head + n, s.at + tail, s.length - tail);
    return span_of(out, head + n + s.length - tail);
}

static void
list_responses(const struct interview *iv, const struct question *q, struct prompt_values *v)
{
    const struct scoring_ranking *r = &iv->rankings[q->vote];
    struct span *list = arena_take(iv->arena, PROMPT_LETTERS * sizeof(*list));

    for (int i = r->from; i < r->to; i++)
        list[i - r->from] =
            middle_out(iv->steps[r->order[i]].rollout.response, q->response_max, iv->arena);
    v->responses = list;
    v->response_count = r->to - r->from;
}

static int64_t
seed_of(const struct interview *iv, const struct question *q)
{
    const struct llm_options *o = iv->options;

    if (o->seed < 0 && o->votes == 1)
        return -1;
    return (o->seed > 0 ? o->seed : 0) + q->vote;
}

int64_t
interview_tokens_out(const struct interview *iv, const struct question *q)
{
    int64_t most = iv->options->max_tokens > 0 ? iv->options->max_tokens : INT64_MAX;

    if (ranks(iv) && most > RANK_TOKENS_MAX)
        most = RANK_TOKENS_MAX;
    if (most > q->tokens_max)
        most = q->tokens_max;
    return most < INT64_MAX ? most : 0;
}

int
interview_write(const struct interview *iv, const struct question *q,
                struct prompt_messages *messages, struct buffer *body, struct error *e)
{
    const struct llm_options *o = iv->options;
    const struct steps *steps = &iv->steps[0];
    struct prompt_values values = {.problem =
                                       middle_out(steps->rollout.prompt, q->problem_max, iv->arena),
                                   .response = steps->rollout.response,
                                   .answer = steps->rollout.answer,
                                   .ends = steps->ends.at,
                                   .count = steps->ends.count,
                                   .from = q->from,
                                   .to = q->to,
                                   .shown = q->shown,
                                   .json = q->format != CHAT_text};
    struct chat_request request = {.model = o->model,
                                   .messages = messages,
                                   .temperature = o->temperature,
                                   .max_tokens = interview_tokens_out(iv, q),
                                   .limit = (enum chat_limit)o->limit_field,
                                   .seed = seed_of(iv, q),
                                   .format = q->format,
                                   .form = prompt_form(iv->prompt),
                                   .first = q->from,
                                   .count = q->to - q->from,
                                   .goes_on = o->continue_message,
                                   .top_logprobs = o->scoring == LLM_verdict ? 0 : o->top_logprobs};

    if (ranks(iv))
        list_responses(iv, q, &values);
    prompt_render(iv->prompt, &values, messages);
    return chat_write(&request, body, e);
}

/* ---- when it does not fit ---- */

static bool
halve(int64_t *most, size_t length)
{
    int64_t now = *most < (int64_t)length ? *most : (int64_t)length;

    if (now <= INTERVIEW_TEXT_MIN)
        return false;
    *most = now / 2 > INTERVIEW_TEXT_MIN ? now / 2 : INTERVIEW_TEXT_MIN;
    return true;
}

static bool
shorten_list(struct interview *iv, struct question *q)
{
    size_t longest = 0;

    for (int i = 0; i < iv->count; i++)
        if (iv->steps[i].rollout.response.length > longest)
            longest = iv->steps[i].rollout.response.length;
    return halve(&q->response_max, longest) ||
           halve(&q->problem_max, iv->steps[0].rollout.prompt.length);
}

bool
interview_shorten(struct interview *iv, struct question *q, const char *why)
{
    int64_t room = chat_room(why), most = interview_tokens_out(iv, q);
    int64_t middle = q->from + (q->to - q->from + 1) / 2;
    struct question *rest;

    if (q->shorter++ >= INTERVIEW_SHORTER_MAX)
        return false;
    if (room >= INTERVIEW_TOKENS_MIN && (most == 0 || room < most)) {
        q->tokens_max = room;
        return true;
    }
    if (ranks(iv))
        return shorten_list(iv, q);
    if (q->shown < q->from && prompt_shows_previous(iv->prompt)) {
        q->shown = q->from - (q->from - q->shown) / 2;
        return true;
    }
    if (middle < q->to) {
        rest = new_question(iv, q->vote, middle, q->to);
        rest->problem_max = q->problem_max;
        rest->format = q->format;
        rest->shorter = q->shorter;
        rest->next = q->next; /* the list stays in the order of votes and steps */
        q->next = rest;
        if (iv->last == &q->next)
            iv->last = &rest->next;
        q->to = middle;
        return true;
    }
    return halve(&q->problem_max, iv->steps[0].rollout.prompt.length);
}

bool
interview_simplify(struct interview *iv, struct question *q)
{
    if (q->format == CHAT_text)
        return false;
    q->format = q->format == CHAT_schema ? CHAT_object_schema : CHAT_text;
    if (q->format < iv->format)
        iv->format = q->format;
    return true;
}

/* ---- answers ---- */

static void
close_question(struct interview *iv, struct question *q, enum question_state state)
{
    assert(q->state == QUESTION_asked);
    q->state = state;
    iv->open--;
}

void
interview_lose(struct interview *iv, struct question *q, const char *why)
{
    q->why = one_line(span_text(why), WHY_MAX, iv->arena);
    close_question(iv, q, QUESTION_lost);
}

/* The expected marks instead of the ones that were drawn. */
static int
expect_marks(struct interview *iv, struct question *q, const json_t *completion,
             const struct verdict_ask *ask, struct error *e)
{
    struct scoring_tokens tokens;
    int64_t *places, count = ask->count;
    struct verdict *v = &q->verdict;
    int rc = scoring_read(completion, &tokens, iv->arena, e);

    if (rc == 0 && count == 1 && tokens.count == 1) {
        places =
            arena_take(iv->arena, 2 * sizeof(*places)); /* whatever was drawn, this is its place */
        places[1] = -1;
    } else if (rc == 0) {
        rc = verdict_marks(tokens.words, ask, &places, iv->arena, e);
    }
    if (rc != 0)
        return rc;
    *v =
        (struct verdict){.scores = arena_take(iv->arena, (size_t)count * sizeof(float) + 1),
                         .said = arena_take(iv->arena, (size_t)count + 1),
                         .reasons = arena_take(iv->arena, (size_t)count * sizeof(struct span) + 1)};
    q->outside = arena_take(iv->arena, (size_t)count * sizeof(float) + 1);
    for (int64_t i = 0; i <= count; i++) {
        double score, outside;
        if (places[i] < 0)
            continue;
        rc = scoring_expected(&tokens, places[i], iv->options->renormalise, &score, &outside, e);
        if (rc != 0)
            return rc;
        if (i == count) {
            v->rated = true;
            v->response = (float)score;
            continue;
        }
        v->scores[i] = (float)score;
        v->said[i] = 1;
        q->outside[i] = (float)outside;
    }
    return 0;
}

static int
answer_ranking(struct interview *iv, struct question *q, const json_t *completion, struct error *e)
{
    struct scoring_ranking *r = &iv->rankings[q->vote];
    struct scoring_tokens tokens;
    int order[PROMPT_LETTERS];
    int rc = scoring_read(completion, &tokens, iv->arena, e);

    if (rc == 0)
        rc = scoring_order(&tokens, r->to - r->from, order, e);
    if (rc != 0)
        return rc;
    scoring_rank_put(r, order);
    close_question(iv, q, QUESTION_answered);
    if (!r->done) {
        struct question *next = add_question(iv, q->vote, 0, 0);
        next->problem_max = q->problem_max;
        next->response_max = q->response_max;
    }
    return 0;
}

int
interview_answer(struct interview *iv, struct question *q, const json_t *completion,
                 struct error *e)
{
    struct verdict_ask ask = {prompt_form(iv->prompt), q->from, q->to - q->from, false};
    struct buffer words = {0};
    int rc;

    if (ranks(iv))
        return answer_ranking(iv, q, completion, e);
    rc = chat_read(completion, &words, &ask.cut, e);
    if (rc == 0 && iv->options->scoring == LLM_expected)
        rc = expect_marks(iv, q, completion, &ask, e);
    else if (rc == 0)
        rc = verdict_read(buffer_span(&words), &ask, &q->verdict, iv->arena, e);
    buffer_free(&words);
    if (rc == 0)
        close_question(iv, q, QUESTION_answered);
    return rc;
}
