/* local: judging with a small decoder in this process. For every step the template asks one
 * question, and the score is the probability of the yes token against the no token right after it,
 * or with scoring expected the mean of the marks 1 to 5 there (scoring.h), each written with or
 * without a space before it.
 *
 * Units wait in a queue; pump() takes a batch of questions at a time, so that signals and
 * heartbeats never wait longer than one batch. A score's bits do not depend on which questions
 * shared its batch (scorer.h). */
#include "nodes/llm_judge/llm_judge.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "nodes/judge.h"
#include "nodes/llm_judge/scoring.h"
#include "nodes/llm_judge/verdict.h"
#include "nodes/one_line.h"
#include "nodes/origin.h"
#include "nodes/scorer.h"
#include "nodes/spans.h"

#define SLICE_SECONDS 0.05 /* pump() begins no further batch after so long */
#define UNITS_IN_HAND 64

struct job {
    struct unit *unit;
    struct steps steps;
    struct arena arena;
    struct vote vote;
    int64_t step; /* the next to ask about */
    bool begun;
    struct job *next;
};

#define MARKS (VERDICT_MARK_MAX - VERDICT_MARK_MIN + 1)

/* The tokens that stand for marks. */
struct marks {
    int count;
    int32_t ids[2 * MARKS];
    int marks[2 * MARKS]; /* which mark each is, from 0 */
};

struct local {
    struct node *node;
    const struct llm_options *options;
    struct prompt *prompt;
    struct prompt_messages messages;
    struct scorer scorer;
    int32_t yes, no;
    struct marks marks;
    struct tokens tokens;
    struct job *jobs, **last;
    int count;
};

/* The one id that the text of a verdict is, encoded as a response is; -1. */
static int32_t
verdict_id(struct tokenizer *t, const char *text)
{
    struct tokens tokens = {0};
    int32_t id = -1;

    if (tokenizer_encode(t, span_text(text), SPANS_RESPONSE_FLAGS, &tokens, NULL) == 0 &&
        tokens.count == 1 && tokens.dropped == 0)
        id = tokens.ids[0];
    tokens_free(&tokens);
    return id >= 0 ? id : tokenizer_id(t, text);
}

/* -> ERROR_model where a mark is no token of the model's. */
static int
find_marks(struct tokenizer *t, struct marks *m, struct error *e)
{
    m->count = 0;
    for (int mark = 0; mark < MARKS; mark++) {
        int before = m->count;
        for (int spaces = 0; spaces < 2; spaces++) {
            char text[3] = {spaces ? ' ' : (char)('0' + VERDICT_MARK_MIN + mark),
                            (char)(spaces ? '0' + VERDICT_MARK_MIN + mark : 0)};
            int32_t id = verdict_id(t, text);
            if (id < 0 || (m->count > before && m->ids[m->count - 1] == id))
                continue;
            m->ids[m->count] = id;
            m->marks[m->count++] = mark;
        }
        if (m->count == before)
            return error_set(e, ERROR_model,
                             "the mark %d is not one token of the model's tokenizer",
                             VERDICT_MARK_MIN + mark);
    }
    return 0;
}

static int
check_tokens(struct check *c, const struct llm_options *o, struct tokenizer *t, struct error *e)
{
    struct marks marks;
    struct error why;

    if (o->scoring == LLM_expected)
        return find_marks(t, &marks, &why) == 0 ? 0 : check_fail(c, "scoring", e, "%s", why.text);
    if (verdict_id(t, o->yes_token) < 0)
        return check_fail(c, "yes_token", e, "'%s' is not one token of the model's tokenizer",
                          o->yes_token);
    if (verdict_id(t, o->no_token) < 0)
        return check_fail(c, "no_token", e, "'%s' is not one token of the model's tokenizer",
                          o->no_token);
    if (verdict_id(t, o->yes_token) == verdict_id(t, o->no_token))
        return check_fail(c, "no_token", e, "yes_token and no_token are the same token");
    return 0;
}

int
local_check(struct check *c, const struct llm_options *o, struct error *e)
{
    struct error why;
    struct tokenizer *t = NULL;
    int rc;

    if (!o->model[0])
        return check_fail(c, "model", e, "backend local needs the folder of a model");
    if (o->model[0] != '/')
        return check_fail(c, "model", e, "there is no folder '%s' beside the topology", o->model);
    if (scorer_check(o->model, 0, &t, &why) != 0)
        return check_fail(c, "model", e, "%s", why.text);
    rc = check_tokens(c, o, t, e);
    tokenizer_close(t);
    return rc;
}

static int
find_tokens(struct local *l, struct error *e)
{
    if (l->options->scoring == LLM_expected)
        return find_marks(l->scorer.tokenizer, &l->marks, e);
    l->yes = verdict_id(l->scorer.tokenizer, l->options->yes_token);
    l->no = verdict_id(l->scorer.tokenizer, l->options->no_token);
    if (l->yes < 0 || l->no < 0)
        return error_set(e, ERROR_model,
                         "yes_token or no_token is not one token of the model's tokenizer");
    return 0;
}

struct local *
local_open(struct node *n, struct error *e)
{
    struct local *l = xalloc(sizeof(*l));
    struct llm_judge *judge = node_state(n);

    l->node = n;
    l->options = node_options(n);
    l->prompt = judge->prompt;
    l->last = &l->jobs;
    if (origin_check(n, l->options->model, e) != 0 ||
        scorer_open(&l->scorer, l->options->model, 0, e) != 0) {
        free(l);
        return NULL;
    }
    if (find_tokens(l, e) != 0) {
        local_close(l);
        return NULL;
    }
    node_set_in_flight(n, UNITS_IN_HAND);
    return l;
}

static void
job_free(struct job *j)
{
    arena_free(&j->arena);
    free(j);
}

void
local_close(struct local *l)
{
    if (!l)
        return;
    while (l->jobs) {
        struct job *next = l->jobs->next;
        job_free(l->jobs);
        l->jobs = next;
    }
    scorer_close(&l->scorer);
    tokens_free(&l->tokens);
    prompt_messages_free(&l->messages);
    free(l);
}

int
local_take(struct local *l, struct unit *u, struct error *e)
{
    struct job *j = xalloc(sizeof(*j));

    (void)e;
    j->unit = u;
    j->vote.model = span_text(llm_model_name(l->options));
    *l->last = j;
    l->last = &j->next;
    l->count++;
    node_wake(l->node);
    return 0;
}

static void
pop(struct local *l)
{
    struct job *j = l->jobs;

    l->jobs = j->next;
    if (!l->jobs)
        l->last = &l->jobs;
    l->count--;
    job_free(j);
}

/* The template may hold special tokens (a chat's marks); the response it is filled with may not
 * forge any. */
static int
check_forged(struct local *l, struct span response, struct error *e)
{
    int rc = tokenizer_encode(l->scorer.tokenizer, response, TOKENIZER_SPECIAL, &l->tokens, e);

    for (int64_t i = 0; rc == 0 && i < l->tokens.count; i++)
        if (tokenizer_is_special(l->scorer.tokenizer, l->tokens.ids[i]))
            rc = error_set(e, ERROR_input, "the response holds the special token '%s'",
                           tokenizer_token(l->scorer.tokenizer, l->tokens.ids[i]));
    return rc;
}

static int
begin(struct local *l, struct job *j, struct error *e)
{
    int rc = judge_read(j->unit, &j->steps, &j->arena, e);
    int64_t count = j->steps.ends.count;

    if (rc == 0)
        rc = check_forged(l, j->steps.rollout.response, e);
    if (rc != 0)
        return rc;
    j->vote.scores = (struct f32s){count, arena_take(&j->arena, (size_t)count * sizeof(float) + 1)};
    j->vote.said = (struct u8s){count, arena_take(&j->arena, (size_t)count + 1)};
    j->vote.reasons =
        (struct spans){count, arena_take(&j->arena, (size_t)count * sizeof(struct span) + 1)};
    if (l->options->scoring == LLM_expected)
        j->vote.outside =
            (struct f32s){count, arena_take(&j->arena, (size_t)count * sizeof(float) + 1)};
    j->begun = true;
    return 0;
}

/* The ids of the question about one step, in l->tokens. */
static int
ask(struct local *l, const struct job *j, int64_t step, struct error *e)
{
    struct prompt_values values = {.problem = j->steps.rollout.prompt,
                                   .response = j->steps.rollout.response,
                                   .answer = j->steps.rollout.answer,
                                   .ends = j->steps.ends.at,
                                   .count = j->steps.ends.count,
                                   .step = step};
    int rc;

    prompt_render(l->prompt, &values, &l->messages);
    assert(l->messages.count == 1);
    rc = tokenizer_encode(l->scorer.tokenizer, buffer_span(&l->messages.at[0].text),
                          SPANS_PROMPT_FLAGS, &l->tokens, e);
    if (rc == 0 && l->tokens.count == 0)
        rc = error_set(e, ERROR_input, "the question is empty");
    if (rc == 0 && l->tokens.count > scorer_length_max(&l->scorer))
        rc = error_set(e, ERROR_limit,
                       "the question has %" PRId64 " tokens, the model takes %" PRId64,
                       l->tokens.count, scorer_length_max(&l->scorer));
    return rc;
}

/* The batch's expected marks into the vote. */
static void
score_marks(struct local *l, struct job *j, const int64_t *steps, int64_t asked)
{
    int count = l->marks.count;
    double *p = xarray((size_t)asked * (size_t)count + 1, sizeof(*p));

    scorer_run_among_all(&l->scorer, l->marks.ids, count, p);
    for (int64_t i = 0; i < asked; i++) {
        double mark[MARKS] = {0}, score, outside;
        for (int k = 0; k < count; k++)
            mark[l->marks.marks[k]] += p[i * count + k];
        scoring_mark(mark, MARKS, l->options->renormalise, &score, &outside);
        j->vote.scores.at[steps[i]] = (float)score;
        j->vote.outside.at[steps[i]] = (float)outside;
        j->vote.said.at[steps[i]] = 1;
    }
    free(p);
}

/* The batch's verdicts into the vote. */
static void
score_verdicts(struct local *l, struct job *j, const int64_t *steps, int64_t asked)
{
    float scores[SCORER_TOKENS];

    scorer_run(&l->scorer, l->no, l->yes, scores);
    for (int64_t i = 0; i < asked; i++) {
        j->vote.scores.at[steps[i]] = scores[i];
        j->vote.said.at[steps[i]] = 1;
    }
}

/* One batch of questions about the first job. */
static void
ask_batch(struct local *l, struct job *j)
{
    struct scorer *s = &l->scorer;
    int64_t steps[SCORER_TOKENS], asked = 0;
    struct error why;

    scorer_begin(s);
    while (j->step < j->vote.said.count && asked < SCORER_TOKENS) {
        if (ask(l, j, j->step, &why) != 0) {
            j->vote.reasons.at[j->step] =
                one_line(span_text(why.text), VERDICT_REASON_MAX, &j->arena);
            j->step++;
            continue;
        }
        if (!scorer_add(s, &l->tokens, NULL, &(int64_t){l->tokens.count - 1}, 1))
            break;
        j->vote.tokens_in += (uint64_t)l->tokens.count;
        steps[asked++] = j->step++;
    }
    if (l->options->scoring == LLM_expected)
        score_marks(l, j, steps, asked);
    else
        score_verdicts(l, j, steps, asked);
}

/* A vote if anything was said; else the first reason why not. */
static void
answer(struct local *l, struct job *j)
{
    int64_t said = 0;
    struct span reason;

    for (int64_t i = 0; i < j->vote.said.count; i++)
        said += j->vote.said.at[i];
    if (said > 0 || j->vote.said.count == 0) {
        judge_vote(l->node, j->unit, &j->vote, l->options->threshold);
        return;
    }
    reason = j->vote.reasons.at[0];
    judge_dead(l->node, j->unit, &j->vote, "%.*s", (int)reason.length, reason.at);
}

int
local_pump(struct local *l, struct error *e)
{
    double from = node_now(l->node);
    struct error why;

    (void)e;
    while (l->jobs && node_now(l->node) - from < SLICE_SECONDS) {
        struct job *j = l->jobs;
        if (!j->begun && begin(l, j, &why) != 0) {
            judge_dead(l->node, j->unit, &j->vote, "%s", why.text);
            pop(l);
            continue;
        }
        if (j->step < j->vote.said.count)
            ask_batch(l, j);
        if (j->step == j->vote.said.count) {
            answer(l, j);
            pop(l);
        }
    }
    if (l->jobs)
        node_why(l->node, "computing: %d responses in hand", l->count);
    else
        node_why(l->node, NULL);
    return l->jobs ? PUMP_AGAIN : PUMP_IDLE;
}
