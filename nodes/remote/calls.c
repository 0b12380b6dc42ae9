/* calls: every call is ready to go, in flight, waiting for its next try, or held by the node with
 * its answer. */
#include "nodes/remote/calls.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "nodes/remote/budget.h"
#include "nodes/remote/http.h"
#include "nodes/remote/reply.h"

#define TOKENS_UNKNOWN     4096 /* of an answer, where the asker sets no bound */
#define TRIES_ROOM         128  /* tries of one variation, in the Idempotency-Key */
#define REFUSED_MAX        60.0 /* seconds between tries while the server refuses us */

enum call_state { CALL_ready, CALL_flying, CALL_waiting, CALL_cleared, CALL_held };

struct call {
    struct call *next, *before; /* in order of arrival */
    void *own;
    const char *path;
    struct buffer body, cache_key;
    uint64_t ordinal;
    int variation;
    enum call_state state;
    double not_before; /* of CALL_waiting, on node_now()'s clock */
    int failures;      /* transient ones in a row */
    int spoiled;       /* answers that were no use */
    uint64_t tokens_in_most, tokens_out_most;
    uint64_t tokens_in, tokens_out;
    int64_t aside;   /* of the budget, for the try at hand */
    int64_t settled; /* what earlier tries cost */
    json_t *json;    /* of CALL_held */
    char *why;       /* of CALL_held, given up */
};

struct calls {
    struct node *node;
    const struct remote_options *options;
    struct http *http;
    struct call *first, *last;
    double limited_until; /* a server that asked for it gets no call before */
    double refused_until; /* while refused: when to try one call again */
    struct budget budget;
    bool over_budget;
    int refused;             /* refusals in a row; 0: none */
    char why[REPLY_WHY_MAX]; /* the last trouble */
};

/* ---- setting up ---- */

int
calls_check(struct check *c, const struct remote_options *o, struct error *e)
{
    struct error why;

    if (!o->url[0])
        return check_fail(c, "url", e,
                          "backend http needs the url of a server, e.g. http://localhost:8000/v1");
    if (http_check(o->url, &why) != 0)
        return check_fail(c, "url", e, "%s", why.text);
    if (o->budget_usd > 0 && o->price_in <= 0 && o->price_out <= 0)
        return check_fail(c, "budget_usd", e,
                          "a budget needs price_in and price_out, the model's prices");
    for (const char *at = o->api_key_env; *at; at++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789", *at))
            return check_fail(c, "api_key_env", e,
                              "this is the name of an environment variable that holds"
                              " the key, such as JUDGE_KEY; never the key itself");
    return 0;
}

/* The key from the environment, or NULL. One that could forge a header line is not used. */
static const char *
key_of(struct node *n, const struct remote_options *o)
{
    const char *key = o->api_key_env[0] ? getenv(o->api_key_env) : NULL;

    if (!o->api_key_env[0])
        return NULL;
    if (!key || !*key) {
        node_log(n, LOG_warning, "the environment variable %s is not set: calls go without a key",
                 o->api_key_env);
        return NULL;
    }
    for (const char *at = key; *at; at++)
        if (*at < 0x21 || *at > 0x7e) {
            node_log(n, LOG_warning,
                     "the environment variable %s holds white space or control characters:"
                     " calls go without a key",
                     o->api_key_env);
            return NULL;
        }
    return key;
}

static struct http_settings
settings_of(const struct calls *c)
{
    const struct remote_options *o = c->options;

    return (struct http_settings){
        .secret = key_of(c->node, o),
        .timeout_seconds = o->timeout,
        .connect_seconds = o->connect_timeout,
        .answer_bytes_max = o->max_response_bytes,
        .connections = (int)o->in_flight,
    };
}

struct calls *
calls_open(struct node *n, const struct remote_options *o, const char *model, struct error *e)
{
    struct calls *c = xalloc(sizeof(*c));
    struct http_settings settings;

    (void)model; /* prices are options */
    c->node = n;
    c->options = o;
    settings = settings_of(c);
    c->http = http_open(&settings, e);
    if (!c->http) {
        calls_close(c);
        return NULL;
    }
    budget_load(&c->budget, n);
    node_set_in_flight(n, (int)o->in_flight);
    node_watch(n, http_fd(c->http));
    return c;
}

static void
call_free(struct calls *c, struct call *call)
{
    *(call->before ? &call->before->next : &c->first) = call->next;
    *(call->next ? &call->next->before : &c->last) = call->before;
    json_decref(call->json);
    buffer_free(&call->body);
    buffer_free(&call->cache_key);
    free(call->why);
    free(call);
}

void
calls_close(struct calls *c)
{
    if (!c)
        return;
    http_close(c->http);
    while (c->first)
        call_free(c, c->first);
    free(c);
}

int
calls_changed(struct calls *c, struct error *e)
{
    struct http_settings settings = settings_of(c);

    http_settings_change(c->http, &settings);
    node_set_in_flight(c->node, (int)c->options->in_flight);
    return calls_send(c, e);
}

/* ---- what status says ---- */

static void
tell_why(struct calls *c)
{
    double now = node_now(c->node);
    int flying = http_flying(c->http), waiting = 0;

    for (struct call *call = c->first; call; call = call->next)
        waiting += call->state != CALL_flying && call->state != CALL_held;
    if (c->refused)
        node_why(c->node, "the server refuses (%s); trying one call every %.0f s at most", c->why,
                 REFUSED_MAX);
    else if (c->over_budget)
        node_why(
            c->node,
            "over budget: %.4f of %.4f USD are spent or set aside; a higher budget_usd goes on",
            (double)c->budget.spent / 1e6, c->options->budget_usd);
    else if (c->limited_until > now && waiting)
        node_why(c->node, "rate-limited for %.0f s more (%s)", ceil(c->limited_until - now),
                 c->why);
    else if (waiting && flying)
        node_why(c->node, "waiting for %d judge calls; %d more to be tried again (%s)", flying,
                 waiting, c->why);
    else if (waiting)
        node_why(c->node, "%d judge calls to be tried again (%s)", waiting, c->why);
    else if (flying)
        node_why(c->node, "waiting for %d judge calls", flying);
    else
        node_why(c->node, NULL);
}

/* ---- asking and sending ---- */

void
calls_ask(struct calls *c, const struct ask *a)
{
    struct call *call = xalloc(sizeof(*call));

    call->own = a->own;
    call->path = a->path;
    buffer_add(&call->body, a->body.at, a->body.length);
    buffer_add(&call->cache_key, a->cache_key.at, a->cache_key.length);
    call->ordinal = a->ordinal;
    call->variation = a->variation;
    call->tokens_in_most = a->tokens_in > 0 ? (uint64_t)a->tokens_in : a->body.length;
    call->tokens_out_most = a->tokens_out > 0 ? (uint64_t)a->tokens_out : TOKENS_UNKNOWN;
    call->before = c->last;
    *(c->last ? &c->last->next : &c->first) = call;
    c->last = call;
}

/* The url with the call's path, whether or not it ends in a slash or holds the path already. */
static char *
full_url(const char *url, const char *path)
{
    size_t length = strlen(url), n = strlen(path);

    while (length && url[length - 1] == '/')
        length--;
    if (length >= n && memcmp(url + length - n, path, n) == 0)
        n = 0;
    return xprint("%.*s%.*s", (int)length, url, (int)n, path);
}

static int
post(struct calls *c, struct call *call, struct error *e)
{
    XXH128_hash_t hash = XXH3_128bits(call->body.at, call->body.length);
    char *url = full_url(c->options->url, call->path), name[80];
    int rc;

    snprintf(name, sizeof(name), "sluice-%016" PRIx64 "%016" PRIx64 "-%" PRIu64 "-%d",
             (uint64_t)hash.high64, (uint64_t)hash.low64, call->ordinal,
             call->variation * TRIES_ROOM + call->spoiled);
    call->state = CALL_flying;
    rc = http_post(c->http, url, buffer_span(&call->body), name, call, e);
    free(url);
    return rc;
}

static int64_t
millionths(const struct remote_options *o, uint64_t tokens_in, uint64_t tokens_out)
{
    return (int64_t)ceil((double)tokens_in * o->price_in + (double)tokens_out * o->price_out);
}

/* May this call be paid for? What it may cost at most is set aside: no tokenizer gives more tokens
 * than bytes. */
static bool
afford(struct calls *c, struct call *call)
{
    const struct remote_options *o = c->options;
    int64_t most = millionths(o, call->tokens_in_most, call->tokens_out_most);

    if (o->budget_usd <= 0 || call->aside > 0)
        return true;
    c->over_budget = !budget_reserve(&c->budget, most, (int64_t)(o->budget_usd * 1e6));
    if (!c->over_budget)
        call->aside = most;
    return !c->over_budget;
}

/* The try at hand ended with an answer: its share of the budget becomes what it cost. */
static void
settle(struct calls *c, struct call *call)
{
    int64_t cost = millionths(c->options, call->tokens_in, call->tokens_out) - call->settled;

    if (c->options->budget_usd > 0 || call->aside > 0)
        budget_settle(&c->budget, call->aside, cost);
    call->settled += cost;
    call->aside = 0;
}

/* Marks the calls that may go now; when the next may go later goes to *next. How many were marked.
 */
static int
clear_calls(struct calls *c, double now, double *next)
{
    double stage = fmax(c->limited_until, c->refused ? c->refused_until : 0);
    int out = http_flying(c->http), cleared = 0;

    c->over_budget = false;
    for (struct call *call = c->first; call; call = call->next) {
        double when = fmax(stage, call->state == CALL_waiting ? call->not_before : 0);
        if (call->state == CALL_flying || call->state == CALL_held)
            continue;
        if (out + cleared >= c->options->in_flight || (c->refused && out + cleared > 0))
            break; /* the end of a call in flight brings us here again */
        if (when > now) {
            *next = fmin(*next, when);
            continue;
        }
        if (!afford(c, call))
            break;
        call->state = CALL_cleared;
        cleared++;
    }
    return cleared;
}

int
calls_send(struct calls *c, struct error *e)
{
    double now = node_now(c->node), next = INFINITY;
    int cleared = clear_calls(c, now, &next), rc = 0;

    if (cleared && c->options->budget_usd > 0)
        rc = node_commit(c->node, e); /* what is set aside must outlive a kill */
    for (struct call *call = c->first; call && rc == 0; call = call->next)
        if (call->state == CALL_cleared)
            rc = post(c, call, e);
    node_timer(c->node, isfinite(next) ? fmax(next - now, 0.001) : -1);
    tell_why(c);
    return rc;
}

int
calls_step(struct calls *c, struct error *e)
{
    return http_step(c->http, e);
}

/* ---- answers ---- */

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

static void
try_later(struct calls *c, struct call *call, const struct reply *r)
{
    double now = node_now(c->node);

    call->failures++;
    call->state = CALL_waiting;
    call->not_before = now + (r->wait_seconds >= 0 ? r->wait_seconds
                                                   : reply_back_off(call->failures, spread(call)));
    if (r->limited && r->wait_seconds >= 0)
        c->limited_until = fmax(c->limited_until, now + r->wait_seconds);
    if (call->failures == 1)
        node_log(c->node, LOG_info, "ordinal %" PRIu64 ": %s; trying again", call->ordinal, r->why);
}

/* The stage waits until someone mends it: 1, 2, 4 ... seconds between single calls. Answers to
 * calls that were in flight together count once. */
static void
wait_for_person(struct calls *c, struct call *call, const struct reply *r)
{
    double now = node_now(c->node);

    call->state = CALL_ready;
    if (c->refused && now < c->refused_until)
        return;
    if (!c->refused)
        node_log(c->node, LOG_error, "the server refuses: %s; waiting until it is mended", r->why);
    c->refused_until = now + fmax(fmin(exp2(fmin(c->refused, 30)), REFUSED_MAX), r->wait_seconds);
    c->refused++;
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
    call->state = CALL_ready;
    return true;
}

static void
hold(struct call *call, enum calls_end end, struct reply *r, struct calls_answer *a)
{
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
                               .tokens_out = call->tokens_out};
}

/* What an answer is to its call. True: the call ended, and *a says how. */
static bool
use_reply(struct calls *c, struct call *call, struct reply *r, struct calls_answer *a)
{
    call->tokens_in += r->tokens_in;
    call->tokens_out += r->tokens_out;
    if (r->why[0])
        snprintf(c->why, sizeof(c->why), "%s", r->why);
    if (r->outcome == REPLY_again || r->outcome == REPLY_refused) {
        node_count(c->node, METRIC_calls_failed, 1);
    } else {
        settle(c, call);
        if (c->refused)
            node_log(c->node, LOG_info, "the server answers again");
        c->refused = 0;
    }
    switch (r->outcome) {
    case REPLY_json:
        hold(call, CALLS_answered, r, a);
        return true;
    case REPLY_again:
        try_later(c, call, r);
        return false;
    case REPLY_refused:
        wait_for_person(c, call, r);
        return false;
    case REPLY_spoiled:
        if (spoil(c, call, r->why))
            return false;
        hold(call, CALLS_given_up, r, a);
        return true;
    case REPLY_too_long:
        hold(call, CALLS_too_long, r, a);
        return true;
    }
    return false;
}

bool
calls_next(struct calls *c, struct calls_answer *a)
{
    struct http_answer got;
    struct reply reply;

    while (http_next(c->http, &got)) {
        reply_read(&got, &reply);
        if (!use_reply(c, got.own, &reply, a))
            continue;
        a->usd = ((double)a->tokens_in * c->options->price_in +
                  (double)a->tokens_out * c->options->price_out) /
                 1e6;
        return true;
    }
    return false;
}

void
calls_done(struct calls *c, struct calls_answer *a)
{
    assert(a->call && a->call->state == CALL_held);
    node_count(c->node, METRIC_calls, 1);
    node_urgent(c->node);
    call_free(c, a->call);
    a->call = NULL;
}

bool
calls_again(struct calls *c, struct calls_answer *a, struct span body, const char *why)
{
    struct call *call = a->call;

    assert(call && call->state == CALL_held && a->end == CALLS_answered);
    if (!spoil(c, call, why))
        return false;
    json_decref(call->json);
    call->json = NULL;
    free(call->why);
    call->why = NULL;
    if (body.length) {
        buffer_clear(&call->body);
        buffer_add(&call->body, body.at, body.length);
    }
    a->call = NULL;
    return true;
}
