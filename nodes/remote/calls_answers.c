/* calls_answers: what an answer is to its call and to the server that gave it. */
#include "nodes/remote/calls_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char estimate_why[] = "no call was made: this is an estimate";

/* The try at hand ended: what was set aside for it becomes what it cost, which is all of it where
 * the answer does not say, or where a server that was reached gave none. */
static void
settle(struct calls *c, struct call *call, const struct http_answer *got, const struct reply *r)
{
    bool again = r->outcome == REPLY_again || r->outcome == REPLY_refused;

    if (again && (!got->failure[0] || !got->sent))
        return; /* nothing was charged: it serves for the next try */
    if (r->tokens_in || r->tokens_out)
        call->money +=
            purse_settle(c->purse, &call->aside, r->tokens_in, r->tokens_cached, r->tokens_out);
    else if (got->status >= 400)
        purse_return(c->purse, &call->aside);
    else
        purse_lose(c->purse, &call->aside);
    call->aside = (struct amount){0};
}

/* A hash spread over [0,1), so that calls that failed together do not come back together. */
static double
spread(const struct call *call)
{
    uint64_t x = call->ordinal * 0x9e3779b97f4a7c15ULL +
                 (uint64_t)(call->variation * TRIES_ROOM + call->failures) * 0xbf58476d1ce4e5b9ULL;

    x ^= x >> 31;
    x *= 0x94d049bb133111ebULL;
    return (double)(x >> 11) / 9007199254740992.0;
}

/* Transient trouble: at once where another server is there, else after a while. */
static void
try_later(struct calls *c, struct call *call, const struct reply *r)
{
    double now = node_now(c->node);
    int which = call->endpoint;

    call->failures++;
    call->avoid = which;
    if (call->failures == 1)
        node_log(c->node, LOG_info, "ordinal %" PRIu64 ": %s; trying again", call->ordinal, r->why);
    if (call->hops + 1 < c->endpoints.count && endpoints_other(&c->endpoints, which)) {
        call->hops++;
        call_make_idle(c, call, 0);
        return;
    }
    call->hops = 0;
    call_make_idle(c, call,
                   now + (r->wait_seconds >= 0 ? r->wait_seconds
                                               : reply_back_off(call->failures, spread(call))));
}

/* One more answer was no use. May the call be made again? */
static bool
spoil(struct calls *c, struct call *call, const char *why)
{
    node_log(c->node, LOG_info, "ordinal %" PRIu64 ": answer %d of %" PRId64 ": %s", call->ordinal,
             call->spoiled + 1, c->options->tries, why);
    snprintf(c->why, sizeof(c->why), "%s", why);
    call->failures = 0;
    if (++call->spoiled >= c->options->tries)
        return false;
    node_count(c->node, METRIC_calls_failed, 1);
    call_make_idle(c, call, 0);
    return true;
}

static void
hold(struct calls *c, struct call *call, enum calls_end end, struct reply *r,
     struct calls_answer *a)
{
    if (call->state == CALL_found)
        call_make_busy(c, &c->found, call);
    call->state = CALL_held;
    call->json = r->json;
    call->why = xtext(r->why);
    *a = (struct calls_answer){.own = call->own,
                               .call = call,
                               .end = end,
                               .json = call->json,
                               .why = call->why,
                               .spoiled = call->spoiled,
                               .tokens_in = call->tokens_in,
                               .tokens_out = call->tokens_out,
                               .usd = (double)call->money / (double)PRICE_USD};
}

/* What the answer says of the server. */
static void
learn(struct calls *c, const struct call *call, const struct reply *r, bool timed_out)
{
    int which = call->endpoint;
    struct endpoint *p, before;

    if (which < 0)
        return; /* it is no longer one of ours */
    p = &c->endpoints.at[which];
    before = *p;
    endpoint_answered(&c->endpoints, which, r, timed_out, call->sent_at, node_now(c->node));
    c->key_refused = r->outcome == REPLY_refused || (c->key_refused && r->outcome == REPLY_again);
    if (p->refused && !before.refused)
        node_log(c->node, LOG_error, "the server refuses: %s; waiting until it is mended (%s)",
                 r->why, p->url);
    if (before.refused && !p->refused)
        node_log(c->node, LOG_info, "the server answers again (%s)", p->url);
    if (p->downs && !before.downs && c->endpoints.count > 1)
        node_log(c->node, LOG_warning, "%s: %s; the other servers get its calls", p->url, r->why);
    if (before.downs && !p->downs && c->endpoints.count > 1)
        node_log(c->node, LOG_info, "%s answers again", p->url);
}

/* What an answer is to its call. True: the call ended, and *a says how. */
static bool
use_reply(struct calls *c, const struct http_answer *got, struct reply *r, struct calls_answer *a)
{
    struct call *call = got->own;
    /* More than it may have used would stop the pace for as long as the server likes. */
    double used = fmin((double)(r->tokens_in + r->tokens_out),
                       (double)(call->tokens_in_most + call->tokens_out_most));

    settle(c, call, got, r);
    call->tokens_in += r->tokens_in;
    call->tokens_out += r->tokens_out;
    if (r->why[0])
        snprintf(c->why, sizeof(c->why), "%s", r->why);
    if (used > 0)
        rate_give_back(&c->tokens, c->options->tpm, call->charged - used);
    if (r->outcome == REPLY_again || r->outcome == REPLY_refused)
        node_count(c->node, METRIC_calls_failed, 1);
    switch (r->outcome) {
    case REPLY_json:
        hold(c, call, CALLS_answered, r, a);
        return true;
    case REPLY_again:
        try_later(c, call, r);
        return false;
    case REPLY_refused:
        call->avoid = call->endpoint;
        call_make_idle(c, call, 0); /* the server says when */
        return false;
    case REPLY_spoiled:
        if (spoil(c, call, r->why))
            return false;
        hold(c, call, CALLS_given_up, r, a);
        return true;
    case REPLY_unsupported:
        hold(c, call, CALLS_unsupported, r, a);
        return true;
    case REPLY_too_long:
        hold(c, call, CALLS_too_long, r, a);
        return true;
    }
    return false;
}

/* The next call that the cache answered. A damaged row is none. */
static bool
next_found(struct calls *c, struct calls_answer *a)
{
    struct call *call;
    struct reply reply;

    while ((call = c->found.first)) {
        if (purse_estimates(c->purse)) {
            reply = (struct reply){.outcome = REPLY_spoiled};
            snprintf(reply.why, sizeof(reply.why), "%s", estimate_why);
            hold(c, call, CALLS_given_up, &reply, a);
            return true;
        }
        reply_body(buffer_span(&call->answer), &reply);
        if (reply.outcome == REPLY_json) {
            hold(c, call, CALLS_answered, &reply, a);
            return true;
        }
        purse_forget(c->purse, &call->key);
        call->cached = false;
        call_list_remove(&c->found, call);
        call_list_add(&c->idle, call, true);
        call->state = CALL_idle;
    }
    return false;
}

bool
calls_next(struct calls *c, struct calls_answer *a)
{
    struct http_answer got;
    struct reply reply;

    if (next_found(c, a))
        return true;
    while (http_next(c->http, &got)) {
        struct call *call = got.own;
        reply_read(&got, &reply);
        learn(c, call, &reply, got.timed_out);
        if (!use_reply(c, &got, &reply, a))
            continue;
        if (a->end == CALLS_answered && call->keyed) {
            buffer_clear(&call->answer);
            buffer_add(&call->answer, got.body.at, got.body.length);
        }
        return true;
    }
    return false;
}

void
calls_done(struct calls *c, struct calls_answer *a)
{
    struct call *call = a->call;

    assert(call && call->state == CALL_held);
    if (a->end == CALLS_answered && call->keyed && !call->blamed && !call->cached)
        purse_keep(c->purse, &call->key, call->ordinal, buffer_span(&call->answer), call->tokens_in,
                   call->tokens_out, call->money);
    node_count(c->node, call->cached ? METRIC_calls_cached : METRIC_calls, 1);
    if (!call->cached && !purse_estimates(c->purse))
        node_urgent(c->node);
    call_free(&c->busy, call);
    a->call = NULL;
}

bool
calls_again(struct calls *c, struct calls_answer *a, struct span body, const char *why)
{
    struct call *call = a->call;

    assert(call && call->state == CALL_held && a->end == CALLS_answered);
    call->blamed = true;
    if (call->cached)
        purse_forget(c->purse, &call->key);
    call->cached = false;
    if (!spoil(c, call, why))
        return false;
    call->blamed = false;
    json_decref(call->json);
    call->json = NULL;
    free(call->why);
    call->why = NULL;
    if (body.length) {
        calls_write_body(c, body, &call->body);
        call->keyed = call->looked = false;
    }
    a->call = NULL;
    return true;
}
