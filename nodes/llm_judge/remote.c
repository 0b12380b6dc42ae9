/* remote: judging over HTTP. A response becomes a prompt, the prompt a call (nodes/remote), the
 * words that come back a verdict, and the verdict a vote. */
#include "nodes/llm_judge/llm_judge.h"

#include <stdlib.h>
#include <string.h>

#include "nodes/judge.h"
#include "nodes/llm_judge/chat.h"
#include "nodes/llm_judge/verdict.h"
#include "nodes/remote/purse.h"

struct judging {
    struct judging *next, **link;
    struct unit *unit;
    struct steps steps;
    struct arena arena;
};

struct remote {
    struct node *node;
    const struct llm_options *options;
    struct calls *calls;
    struct prompt *prompt;
    struct prompt_messages messages;
    struct buffer body, content; /* of the call at hand */
    struct judging *judgings;    /* in hand */
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

struct remote *
remote_open(struct node *n, struct error *e)
{
    struct remote *r = xalloc(sizeof(*r));
    struct llm_judge *judge = node_state(n);

    r->node = n;
    r->options = node_options(n);
    r->prompt = judge->prompt;
    r->calls = calls_open(n, &r->options->remote, r->options->model, e);
    if (!r->calls) {
        remote_close(r);
        return NULL;
    }
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
    buffer_free(&r->content);
    free(r);
}

/* ---- asking ---- */

/* A response without a byte is worth no call: nothing is said of its steps. */
static void
finish_empty(struct remote *r, struct judging *j)
{
    int64_t count = j->steps.ends.count;
    struct vote vote = {.model = span_text(llm_model_name(r->options))};

    vote.scores = (struct f32s){count, arena_take(&j->arena, (size_t)count * sizeof(float) + 1)};
    vote.said = (struct u8s){count, arena_take(&j->arena, (size_t)count + 1)};
    judge_vote(r->node, j->unit, &vote, r->options->threshold);
}

/* The request for the steps, in r->body. */
static int
write_request(struct remote *r, const struct steps *steps, struct error *e)
{
    const struct llm_options *o = r->options;
    struct prompt_values values = {.problem = steps->rollout.prompt,
                                   .response = steps->rollout.response,
                                   .answer = steps->rollout.answer,
                                   .ends = steps->ends.at,
                                   .count = steps->ends.count};
    struct chat_request request = {o->model,
                                   &r->messages,
                                   o->temperature,
                                   o->max_tokens,
                                   (enum chat_limit)o->limit_field,
                                   o->seed,
                                   (enum chat_format)o->format};

    prompt_render(r->prompt, &values, &r->messages);
    buffer_clear(&r->body);
    return chat_write(&request, &r->body, e);
}

int
remote_take(struct remote *r, struct unit *u, struct error *e)
{
    struct judging *j = xalloc(sizeof(*j));
    struct vote vote = {.model = span_text(llm_model_name(r->options))};
    struct error why;
    int rc;

    j->unit = u;
    rc = judge_read(u, &j->steps, &j->arena, &why);
    if (rc == 0 && j->steps.rollout.response.length == 0) {
        finish_empty(r, j);
        judging_free(j);
        return 0;
    }
    if (rc == 0)
        rc = write_request(r, &j->steps, &why);
    if (rc != 0) {
        judge_dead(r->node, u, &vote, "%s", why.text);
        judging_free(j);
        return 0;
    }
    j->next = r->judgings;
    j->link = &r->judgings;
    if (j->next)
        j->next->link = &j->next;
    r->judgings = j;
    calls_ask(r->calls, &(struct ask){.path = "/chat/completions",
                                      .body = buffer_span(&r->body),
                                      .ordinal = u->ordinal,
                                      .tokens_out = r->options->max_tokens,
                                      .own = j});
    return calls_send(r->calls, e);
}

/* ---- answering ---- */

static struct vote
vote_of(const struct remote *r, const struct calls_answer *a)
{
    return (struct vote){.model = span_text(llm_model_name(r->options)),
                         .tokens_in = a->tokens_in,
                         .tokens_out = a->tokens_out,
                         .usd = a->usd};
}

static void
give_up(struct remote *r, struct calls_answer *a, const char *why)
{
    struct judging *j = a->own;
    struct vote vote = vote_of(r, a);

    judge_dead(r->node, j->unit, &vote, "%s", why);
    calls_done(r->calls, a);
    judging_free(j);
}

static void
finish(struct remote *r, struct calls_answer *a, const struct verdict *v)
{
    struct judging *j = a->own;
    struct vote vote = vote_of(r, a);
    int64_t count = j->steps.ends.count;

    vote.scores = (struct f32s){count, v->scores};
    vote.said = (struct u8s){count, v->said};
    vote.reasons = (struct spans){count, v->reasons};
    judge_vote(r->node, j->unit, &vote, r->options->threshold);
    calls_done(r->calls, a);
    judging_free(j);
}

static void
use_answer(struct remote *r, struct calls_answer *a)
{
    struct judging *j = a->own;
    struct verdict verdict;
    struct error why;
    int rc;

    if (a->end != CALLS_answered) {
        give_up(r, a, a->why);
        return;
    }
    buffer_clear(&r->content);
    rc = chat_read(a->json, &r->content, &why);
    if (rc == 0)
        rc = verdict_read(buffer_span(&r->content), j->steps.ends.count, &verdict, &j->arena, &why);
    if (rc == 0)
        finish(r, a, &verdict);
    else if (!calls_again(r->calls, a, (struct span){0}, why.text))
        give_up(r, a, why.text);
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
    return calls_changed(r->calls, e);
}
