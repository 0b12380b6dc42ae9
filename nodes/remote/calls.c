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

#include "nodes/remote/http.h"
#include "nodes/remote/purse.h"
#include "nodes/remote/reply.h"

#define TOKENS_UNKNOWN     4096 /* of an answer, where the asker sets no bound */
#define TRIES_ROOM         128  /* tries of one variation, in the Idempotency-Key */
#define REFUSED_MAX        60.0 /* seconds between tries while the server refuses us */

enum call_state { CALL_ready, CALL_flying, CALL_waiting, CALL_cleared, CALL_found, CALL_held };

struct call {
    struct call *next, *before; /* in order of arrival */
    void *own;
    const char *path;
    struct buffer body, cache_key;
    struct cache_key key;  /* in the cache; of the body at hand */
    struct buffer answer;  /* of CALL_held and CALL_found, where a cache is kept */
    bool keyed, looked;    /* the key is made; the cache was asked */
    bool from_cache;
    bool blamed;           /* the answer was no use */
    uint64_t ordinal;
    int variation;
    enum call_state state;
    double not_before; /* of CALL_waiting, on node_now()'s clock */
    int failures;      /* transient ones in a row */
    int spoiled;       /* answers that were no use */
    uint64_t tokens_in_most, tokens_out_most;
    uint64_t tokens_in, tokens_out;
    struct amount aside; /* of the budget, for the try at hand */
    int64_t money;       /* what all tries cost */
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
    struct purse *purse;
    int found;               /* calls in state CALL_found */
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

    c->node = n;
    c->options = o;
    settings = settings_of(c);
    c->http = http_open(&settings, e);
    if (c->http)
        c->purse = purse_open(n, o, model, e);
    if (!c->purse) {
        calls_close(c);
        return NULL;
    }
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
    buffer_free(&call->answer);
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
    purse_close(c->purse);
    free(c);
}

int
calls_changed(struct calls *c, struct error *e)
{
    struct http_settings settings = settings_of(c);
    int rc = purse_changed(c->purse, e);

    if (rc != 0)
        return rc;
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
    char money[160];

    purse_words(c->purse, money, sizeof(money));
    for (struct call *call = c->first; call; call = call->next)
        waiting += call->state != CALL_flying && call->state != CALL_held;
    if (c->refused)
        node_why(c->node, "the server refuses (%s); trying one call every %.0f s at most", c->why,
                 REFUSED_MAX);
    else if (purse_empty(c->purse))
        node_why(c->node, "%s", money);
    else if (c->limited_until > now && waiting)
        node_why(c->node, "rate-limited for %.0f s more (%s)", ceil(c->limited_until - now),
                 c->why);
    else if (waiting && flying)
        node_why(c->node, "waiting for %d judge calls; %d more to be tried again (%s)", flying,
                 waiting, c->why);
    else if (waiting)
        node_why(c->node, "%d judge calls to be tried again (%s)", waiting, c->why);
    else if (flying)
        node_why(c->node, "waiting for %d judge calls%s%s", flying, money[0] ? "; " : "", money);
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

/* ---- what was asked before ---- */

/* Is the same asked just now by another call? Its answer is worth waiting for. */
static bool
is_asked(const struct calls *c, const struct call *call)
{
    for (const struct call *other = c->first; other; other = other->next)
        if (other != call && other->keyed && other->state != CALL_ready &&
            other->state != CALL_waiting && memcmp(&other->key, &call->key, sizeof(call->key)) == 0)
            return true;
    return false;
}

/* Looks once for an answer in the cache. False: the call has to wait for an identical one. */
static bool
look_up(struct calls *c, struct call *call)
{
    struct cache_answer found;

    if (call->looked || !purse_caches(c->purse))
        return true;
    if (!call->keyed)
        cache_key(call->path, (uint64_t)call->variation, buffer_span(&call->cache_key),
                  buffer_span(&call->body), &call->key);
    call->keyed = true;
    if (is_asked(c, call))
        return false;
    call->looked = true;
    if (!purse_find(c->purse, &call->key, call->ordinal, &found))
        return true;
    buffer_clear(&call->answer);
    buffer_add(&call->answer, found.body.at, found.body.length);
    call->tokens_in += found.tokens_in;
    call->tokens_out += found.tokens_out;
    call->money += found.money;
    call->from_cache = true;
    call->state = CALL_found;
    c->found++;
    return true;
}

/* ---- money ---- */

/* May this call be paid for? */
static int
afford(struct calls *c, struct call *call, bool *may, struct error *e)
{
    *may = true;
    if (call->aside.money || call->aside.tokens)
        return 0; /* from a try that the server turned away */
    return purse_reserve(c->purse, call->tokens_in_most, call->tokens_out_most, &call->aside, may,
                         e);
}

/* The try at hand ended: what was set aside for it becomes what it cost, which is all of it where
 * the answer does not say, or where a server that was reached gave none. */
static void
settle(struct calls *c, struct call *call, const struct http_answer *got, const struct reply *r)
{
    bool turned_away = r->outcome == REPLY_again || r->outcome == REPLY_refused;

    if (turned_away && (!got->failure[0] || !got->sent))
        return; /* nothing was charged; it serves for the next try */
    if (r->tokens_in || r->tokens_out)
        call->money += purse_settle(c->purse, &call->aside, r->tokens_in, r->tokens_cached,
                                    r->tokens_out);
    else if (got->status >= 400)
        purse_return(c->purse, &call->aside);
    else
        purse_lose(c->purse, &call->aside);
    call->aside = (struct amount){0};
}

/* ---- sending ---- */

/* Marks the calls that may go now; when the next may go later goes to *next. */
static int
clear_calls(struct calls *c, double now, double *next, int *cleared, struct error *e)
{
    double stage = fmax(c->limited_until, c->refused ? c->refused_until : 0);
    int out = http_flying(c->http), rc = 0;
    bool may = true;

    purse_begin(c->purse);
    for (struct call *call = c->first; call && rc == 0; call = call->next) {
        double when = fmax(stage, call->state == CALL_waiting ? call->not_before : 0);
        if (call->state == CALL_flying || call->state == CALL_held || call->state == CALL_found)
            continue;
        if (!look_up(c, call) || call->state == CALL_found || !may)
            continue;
        if (out + *cleared >= c->options->in_flight || (c->refused && out + *cleared > 0))
            continue; /* the end of a call in flight brings us here again */
        if (when > now) {
            *next = fmin(*next, when);
            continue;
        }
        rc = afford(c, call, &may, e);
        if (rc != 0 || !may)
            continue;
        call->state = CALL_cleared;
        (*cleared)++;
    }
    return rc;
}

int
calls_send(struct calls *c, struct error *e)
{
    double now = node_now(c->node), next = INFINITY;
    int cleared = 0, rc = clear_calls(c, now, &next, &cleared, e);

    if (rc == 0)
        rc = purse_commit(c->purse, e); /* what is set aside must outlive a kill */
    for (struct call *call = c->first; call && rc == 0; call = call->next)
        if (call->state == CALL_cleared)
            rc = post(c, call, e);
    if (c->found)
        next = now;
    if (purse_empty(c->purse))
        next = fmin(next, now + PURSE_LOOK_SECONDS);
    node_timer(c->node, isfinite(next) ? fmax(next - now, 0.001) : -1);
    tell_why(c);
    return rc;
}

int
calls_flush(struct calls *c, struct error *e)
{
    return purse_flush(c->purse, e);
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
                               .tokens_out = call->tokens_out,
                               .usd = (double)call->money / (double)PRICE_USD};
}

/* What an answer is to its call. True: the call ended, and *a says how. */
static bool
use_reply(struct calls *c, const struct http_answer *got, struct reply *r, struct calls_answer *a)
{
    struct call *call = got->own;

    call->tokens_in += r->tokens_in;
    call->tokens_out += r->tokens_out;
    settle(c, call, got, r);
    if (r->why[0])
        snprintf(c->why, sizeof(c->why), "%s", r->why);
    if (r->outcome == REPLY_again || r->outcome == REPLY_refused) {
        node_count(c->node, METRIC_calls_failed, 1);
    } else {
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

/* The next call that the cache answered. */
static bool
next_found(struct calls *c, struct calls_answer *a)
{
    struct reply reply;

    for (struct call *call = c->first; call && c->found; call = call->next) {
        if (call->state != CALL_found)
            continue;
        c->found--;
        reply_body(buffer_span(&call->answer), &reply);
        if (reply.outcome == REPLY_json) {
            hold(call, CALLS_answered, &reply, a);
            return true;
        }
        purse_forget(c->purse, &call->key);
        call->from_cache = false;
        call->state = CALL_ready;
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
        if (!use_reply(c, &got, &reply, a))
            continue;
        if (a->end == CALLS_answered && purse_caches(c->purse)) {
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
    if (a->end == CALLS_answered && !call->blamed && !call->from_cache && call->keyed &&
        call->answer.length)
        purse_keep(c->purse, &call->key, call->ordinal, buffer_span(&call->answer),
                   call->tokens_in, call->tokens_out, call->money);
    if (call->from_cache) {
        node_count(c->node, METRIC_calls_cached, 1);
    } else {
        node_count(c->node, METRIC_calls, 1);
        node_urgent(c->node);
    }
    call_free(c, call);
    a->call = NULL;
}

bool
calls_again(struct calls *c, struct calls_answer *a, struct span body, const char *why)
{
    struct call *call = a->call;

    assert(call && call->state == CALL_held && a->end == CALLS_answered);
    call->blamed = true;
    if (call->from_cache)
        purse_forget(c->purse, &call->key);
    call->from_cache = false;
    if (!spoil(c, call, why))
        return false;
    call->blamed = false;
    json_decref(call->json);
    call->json = NULL;
    free(call->why);
    call->why = NULL;
    if (body.length) {
        buffer_clear(&call->body);
        buffer_add(&call->body, body.at, body.length);
        call->keyed = call->looked = false;
    }
    a->call = NULL;
    return true;
}
