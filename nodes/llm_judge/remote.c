/* remote: judging over HTTP. The questions of an interview become calls (nodes/remote), answers go
 * back to it, and when the last has come it gives the votes. Each answer is counted, and kept in
 * the cache, when it comes; the votes follow in the callback of the last one. */
#include "nodes/llm_judge/llm_judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/judge.h"
#include "nodes/llm_judge/interview.h"
#include "nodes/remote/purse.h"

/* One response, or those of a group that are to be ranked. */
struct judging {
    struct judging *next, **link;
    struct unit **units; /* (count) */
    struct steps *steps;
    int count;
    struct arena arena;
    struct interview interview;
    uint64_t tokens_in, tokens_out;
    double usd;
};

struct asked {
    struct judging *judging;
    struct question *question;
};

struct remote {
    struct node *node;
    const struct llm_options *options;
    struct calls *calls;
    struct prompt *prompt;
    struct prompt_messages messages;
    struct buffer body;       /* of the call at hand */
    enum chat_format format;  /* what the server knows, as far as we have seen */
    struct judging *judgings; /* in hand */
};

int
remote_check(struct check *c, const struct llm_options *o, struct error *e)
{
    int rc = remote_options_check(c, &o->remote, e);

    if (rc < 0)
        return rc;
    if (!o->model[0])
        return check_fail(c, "model", e,
                          "backend http needs the name of a model that the server knows");
    if (o->model[0] == '/')
        return check_fail(c, "model", e,
                          "'%s' is a folder beside the topology, and backend http needs the"
                          " name of a model that the server knows",
                          o->model);
    return purse_check(c, &o->remote, o->model, o->max_tokens, e);
}

/* A unit, or a group to rank, costs `votes` calls or more. */
static void
set_in_flight(struct remote *r)
{
    const struct llm_options *o = r->options;
    int64_t units = o->remote.in_flight / o->votes;

    node_set_in_flight(r->node, units > 1 ? (int)units : 1);
}

struct remote *
remote_open(struct node *n, struct error *e)
{
    struct remote *r = xalloc(sizeof(*r));
    struct llm_judge *judge = node_state(n);

    r->node = n;
    r->options = node_options(n);
    r->prompt = judge->prompt;
    r->format = (enum chat_format)r->options->format;
    r->calls = calls_open(n, &r->options->remote, r->options->model, e);
    if (!r->calls) {
        remote_close(r);
        return NULL;
    }
    set_in_flight(r);
    return r;
}

static void
judging_free(struct judging *j)
{
    if (j->link) {
        *j->link = j->next;
        if (j->next)
            j->next->link = j->link;
    }
    arena_free(&j->arena);
    free(j->units);
    free(j->steps);
    free(j);
}

void
remote_close(struct remote *r)
{
    if (!r)
        return;
    calls_close(r->calls);
    while (r->judgings)
        judging_free(r->judgings);
    prompt_messages_free(&r->messages);
    buffer_free(&r->body);
    free(r);
}

/* ---- the end of a judging ---- */

/* What was asked in vain, while other questions were answered: the vote stands, and says nothing
 * there. */
static void
tell_lost(struct remote *r, const struct judging *j)
{
    for (const struct question *q = j->interview.first; q; q = q->next) {
        char where[120];
        if (q->state != QUESTION_lost)
            continue;
        snprintf(where, sizeof(where),
                 "ordinal %" PRIu64 ", vote %d, steps %" PRId64 " to %" PRId64,
                 j->units[0]->ordinal, q->vote, q->from, q->to - 1);
        node_dead(r->node, where, j->units[0]->inputs[0].body, "not answered: %s", q->why.at);
        node_log(r->node, LOG_warning, "%s: not answered: %s", where, q->why.at);
    }
}

/* Votes on every unit; the first carries what all of them cost. */
static void
finish(struct remote *r, struct judging *j)
{
    bool told = false;

    for (int i = 0; i < j->count; i++) {
        struct vote vote = {.model = span_text(llm_model_name(r->options))};
        const char *why = "";
        if (i == 0) {
            vote.tokens_in = j->tokens_in;
            vote.tokens_out = j->tokens_out;
            vote.usd = j->usd;
        }
        if (!interview_vote(&j->interview, i, &vote, &why)) {
            judge_dead(r->node, j->units[i], &vote, "%s", why);
            continue;
        }
        if (!told)
            tell_lost(r, j);
        told = true;
        judge_vote(r->node, j->units[i], &vote, r->options->threshold);
    }
    judging_free(j);
}

/* ---- asking ---- */

static void
ask(struct remote *r, struct judging *j, struct question *q)
{
    struct asked *asked = arena_take(&j->arena, sizeof(*asked));
    struct error why;

    *asked = (struct asked){j, q};
    buffer_clear(&r->body);
    if (interview_write(&j->interview, q, &r->messages, &r->body, &why) != 0) {
        interview_lose(&j->interview, q, why.text);
        return;
    }
    calls_ask(r->calls, &(struct ask){.path = "/chat/completions",
                                      .body = buffer_span(&r->body),
                                      .ordinal = j->units[0]->ordinal,
                                      .variation = q->vote,
                                      .tokens_out = interview_tokens_out(&j->interview, q),
                                      .own = asked});
}

/* Asks what is new; the votes go out where nothing is open any more. */
static void
go_on(struct remote *r, struct judging *j)
{
    struct question *q;

    while ((q = interview_next(&j->interview)))
        ask(r, j, q);
    if (interview_done(&j->interview))
        finish(r, j);
}

/* A response without a byte is worth no call: nothing is said of its steps. */
static void
finish_empty(struct remote *r, struct unit *u, const struct steps *steps, struct arena *arena)
{
    int64_t count = steps->ends.count;
    struct vote vote = {.model = span_text(llm_model_name(r->options))};

    vote.scores = (struct f32s){count, arena_take(arena, (size_t)count * sizeof(float) + 1)};
    vote.said = (struct u8s){count, arena_take(arena, (size_t)count + 1)};
    judge_vote(r->node, u, &vote, r->options->threshold);
}

/* Reads a unit's steps into the judging, or answers the unit at once. */
static void
take_unit(struct remote *r, struct judging *j, struct unit *u)
{
    struct steps *steps = &j->steps[j->count];
    struct vote vote = {.model = span_text(llm_model_name(r->options))};
    struct error why;

    if (judge_read(u, steps, &j->arena, &why) != 0)
        judge_dead(r->node, u, &vote, "%s", why.text);
    else if (steps->rollout.response.length == 0)
        finish_empty(r, u, steps, &j->arena);
    else
        j->units[j->count++] = u;
}

int
remote_take(struct remote *r, struct unit *const *units, int count, struct error *e)
{
    struct judging *j = xalloc(sizeof(*j));

    j->units = xarray((size_t)count, sizeof(struct unit *));
    j->steps = xarray((size_t)count, sizeof(*j->steps));
    for (int i = 0; i < count; i++)
        take_unit(r, j, units[i]);
    if (j->count == 0) {
        judging_free(j);
        return 0;
    }
    j->next = r->judgings;
    j->link = &r->judgings;
    if (j->next)
        j->next->link = &j->next;
    r->judgings = j;
    interview_begin(&j->interview, r->options, r->prompt, r->format, j->steps, j->count, &j->arena);
    go_on(r, j);
    return calls_send(r->calls, e);
}

/* ---- answering ---- */

/* An answer came, or none will: true: the question is to be asked again in other words. Its own
 * `again` of the same words is done here, and *open then says that the call is not over. */
static bool
take_answer(struct remote *r, struct calls_answer *a, bool *open)
{
    const struct asked *asked = a->own;
    struct interview *iv = &asked->judging->interview;
    struct error why;
    const char *lost = a->why;

    *open = false;
    switch (a->end) {
    case CALLS_answered:
        if (interview_answer(iv, asked->question, a->json, &why) == 0)
            return false;
        *open = calls_again(r->calls, a, (struct span){0}, why.text);
        if (*open)
            return false;
        lost = why.text;
        break;
    case CALLS_unsupported:
        if (interview_simplify(iv, asked->question))
            return true;
        break;
    case CALLS_too_long:
        if (interview_shorten(iv, asked->question, a->why))
            return true;
        break;
    case CALLS_given_up:
        break;
    }
    interview_lose(iv, asked->question, lost);
    return false;
}

static void
use_answer(struct remote *r, struct calls_answer *a)
{
    struct asked asked = *(const struct asked *)a->own;
    struct judging *j = asked.judging;
    bool open, otherwise = take_answer(r, a, &open);

    if (open)
        return;
    if (j->interview.format < r->format) {
        node_log(r->node, LOG_warning, "the server does not know the response_format: %s", a->why);
        r->format = j->interview.format;
    }
    j->tokens_in += a->tokens_in;
    j->tokens_out += a->tokens_out;
    j->usd += a->usd;
    calls_done(r->calls, a);
    if (otherwise)
        ask(r, j, asked.question);
    go_on(r, j);
}

int
remote_ready(struct remote *r, struct error *e)
{
    struct calls_answer a;
    int rc = calls_step(r->calls, e);

    while (rc == 0 && calls_next(r->calls, &a))
        use_answer(r, &a);
    return rc ? rc : calls_send(r->calls, e);
}

int
remote_flush(struct remote *r, struct error *e)
{
    return calls_flush(r->calls, e);
}

int
remote_changed(struct remote *r, struct error *e)
{
    int rc = calls_changed(r->calls, e);

    set_in_flight(r);
    return rc;
}
