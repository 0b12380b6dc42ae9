/* calls: every call is idle (ready to go, or waiting for its next try), in flight, or held by the
 * node with its answer. */
#include "nodes/remote/calls.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "nodes/remote/endpoints.h"
#include "nodes/remote/purse.h"
#include "nodes/remote/url.h"

#define TOKENS_UNKNOWN  4096 /* of an answer, where the asker sets no bound */
#define BYTES_PER_TOKEN 4    /* of a request, for the pace alone */
#define ADMIT_later     (INT_MIN)
#define ESTIMATE_IN_HAND 1024 /* units at a time where calls are only counted */
#define TRIES_ROOM      128  /* tries of one variation, in the Idempotency-Key */

enum call_state { CALL_idle, CALL_found, CALL_cleared, CALL_flying, CALL_held };

struct call {
    struct call *next, *before; /* in the list of its state */
    void *own;
    const char *path;
    struct buffer body, cache_key;
    struct buffer answer; /* of CALL_found, and of CALL_held while a cache is kept */
    struct cache_key key; /* of the body at hand */
    bool keyed, looked;   /* the key is made; the cache was asked */
    bool doubled;         /* an identical call is out: its answer is worth waiting for */
    bool cached;          /* the answer is the cache's */
    bool blamed;          /* the answer was no use */
    uint64_t ordinal;
    int variation;
    enum call_state state;
    int endpoint;      /* of CALL_flying; -1: one that is gone */
    int avoid;         /* the server that failed it last; -1: none */
    int hops;          /* servers it was sent on to without waiting */
    double not_before; /* of CALL_idle, on node_now()'s clock */
    double sent_at;
    int failures; /* transient ones in a row */
    int spoiled;  /* answers that were no use */
    uint64_t tokens_in_most, tokens_out_most;
    uint64_t tokens_in, tokens_out;
    double charged;  /* tokens, to the pace, for the try at hand */
    struct amount aside; /* of the budget, for the try at hand */
    int64_t money;       /* what all tries cost */
    json_t *json;        /* of CALL_held */
    char *why;           /* of CALL_held, given up */
};

struct list {
    struct call *first, *last;
    int count;
};

struct calls {
    struct node *node;
    const struct remote_options *options;
    struct http *http;
    struct endpoints endpoints;
    struct list idle, found, busy;
    json_t *fields;    /* of every request; NULL: none */
    XXH128_hash_t key; /* of the secret in use, to see whether the file holds another */
    struct rate requests, tokens;
    bool key_refused;
    struct purse *purse;
    bool paced;
    double paced_until;
    char why[REPLY_WHY_MAX]; /* the last trouble */
};

static void
list_remove(struct list *l, struct call *call)
{
    *(call->before ? &call->before->next : &l->first) = call->next;
    *(call->next ? &call->next->before : &l->last) = call->before;
    l->count--;
}

static void
list_add(struct list *l, struct call *call, bool first)
{
    call->before = first ? NULL : l->last;
    call->next = first ? l->first : NULL;
    *(call->before ? &call->before->next : &l->first) = call;
    *(call->next ? &call->next->before : &l->last) = call;
    l->count++;
}

/* The call may be made (again) from WHEN on, before those that came later. */
static void
make_idle(struct calls *c, struct call *call, double when)
{
    list_remove(&c->busy, call);
    list_add(&c->idle, call, true);
    call->state = CALL_idle;
    call->not_before = when;
}

/* ---- setting up ---- */

/* The key of this moment goes into effect, if it is another. */
static void
apply_settings(struct calls *c, bool always)
{
    char key[REMOTE_KEY_MAX];
    struct error why;
    struct http_settings s;
    XXH128_hash_t hash;

    if (remote_key(c->options, key, &why) != 0)
        node_log(c->node, LOG_warning, "%s: calls go without a key", why.text);
    hash = XXH3_128bits(key, strlen(key));
    s = remote_http(c->options, key);
    if (!always && XXH128_isEqual(hash, c->key)) {
        explicit_bzero(key, sizeof(key));
        return;
    }
    if (!always)
        node_log(c->node, LOG_info, "another key was found and is used from now on");
    c->key = hash;
    http_settings_change(c->http, &s);
    explicit_bzero(key, sizeof(key));
}

struct calls *
calls_open(struct node *n, const struct remote_options *o, const char *model, struct error *e)
{
    struct calls *c = xalloc(sizeof(*c));
    struct http_settings bare = remote_http(o, NULL);

    c->node = n;
    c->options = o;
    if (endpoints_set(&c->endpoints, &o->url, (int)o->in_flight, NULL, e) != 0 ||
        remote_body(o, &c->fields, e) != 0 || !(c->http = http_open(&bare, e)) ||
        !(c->purse = purse_open(n, o, model, e))) {
        calls_close(c);
        return NULL;
    }
    apply_settings(c, true);
    node_set_in_flight(n, purse_estimates(c->purse) ? ESTIMATE_IN_HAND : (int)o->in_flight);
    node_watch(n, http_fd(c->http));
    return c;
}

static void
call_free(struct list *l, struct call *call)
{
    list_remove(l, call);
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
    while (c->idle.first)
        call_free(&c->idle, c->idle.first);
    while (c->found.first)
        call_free(&c->found, c->found.first);
    while (c->busy.first)
        call_free(&c->busy, c->busy.first);
    purse_close(c->purse);
    endpoints_free(&c->endpoints);
    json_decref(c->fields);
    free(c);
}

int
calls_changed(struct calls *c, struct error *e)
{
    int moved[ENDPOINTS_MAX], in_flight = (int)c->options->in_flight;
    struct error why;

    if (endpoints_set(&c->endpoints, &c->options->url, in_flight, moved, &why) != 0) {
        node_log(c->node, LOG_error, "option 'url': %s; the old servers stay", why.text);
    } else {
        for (struct call *call = c->busy.first; call; call = call->next)
            call->endpoint = call->endpoint < 0 ? -1 : moved[call->endpoint];
        for (struct call *call = c->idle.first; call; call = call->next)
            call->avoid = -1;
    }
    apply_settings(c, true);
    node_set_in_flight(c->node, in_flight);
    if (purse_changed(c->purse, e) != 0)
        return e->code;
    return calls_send(c, e);
}

/* ---- what status says ---- */

/* Of several servers, those that get no calls now: " (http://b/v1 is left alone)"; else empty. */
static void
tell_servers(const struct calls *c, char *text, size_t room)
{
    int bad = 0, which = -1;

    text[0] = 0;
    for (int i = 0; i < c->endpoints.count; i++)
        if (c->endpoints.at[i].refused || c->endpoints.at[i].failures >= ENDPOINT_FAILURES_MAX) {
            bad++;
            which = which < 0 ? i : which;
        }
    if (bad && c->endpoints.count > 1)
        snprintf(text, room, "; %d of %d servers left alone, e.g. %.100s", bad, c->endpoints.count,
                 c->endpoints.at[which].url);
}

static void
tell_why(struct calls *c)
{
    double now = node_now(c->node), limited = endpoints_limited(&c->endpoints, now);
    int flying = http_flying(c->http), waiting = c->idle.count;
    char servers[200], money[200];

    tell_servers(c, servers, sizeof(servers));
    purse_words(c->purse, money, sizeof(money));
    if (endpoints_refuse(&c->endpoints))
        node_why(c->node, "the server refuses (%s); trying one call every %.0f s at most", c->why,
                 ENDPOINT_REFUSED_MAX);
    else if (purse_empty(c->purse))
        node_why(c->node, "%s", money);
    else if (limited > now && waiting)
        node_why(c->node, "rate-limited for %.0f s more (%s)", ceil(limited - now), c->why);
    else if (c->paced && waiting)
        node_why(c->node, "rate-limited: rpm or tpm lets the next call go in %.1f s",
                 c->paced_until - now);
    else if (waiting && flying)
        node_why(c->node, "waiting for %d judge calls; %d more to be tried again (%s)%s", flying,
                 waiting, c->why, servers);
    else if (waiting)
        node_why(c->node, "%d judge calls to be tried again (%s)%s", waiting, c->why, servers);
    else if (flying)
        node_why(c->node, "waiting for %d judge calls%s%s%s", flying, servers,
                 money[0] ? "; " : "", money);
    else
        node_why(c->node, NULL);
}

/* ---- asking and sending ---- */

/* A field that bounds an answer, where the user's own fields hold a larger one. */
static uint64_t
bound_of(const struct calls *c, uint64_t bound)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens", NULL};
    json_int_t n = json_integer_value(json_object_get(c->fields, "n"));

    for (const char *const *name = names; *name; name++) {
        json_int_t value = json_integer_value(json_object_get(c->fields, *name));
        if (value > 0 && (uint64_t)value > bound)
            bound = (uint64_t)value;
    }
    return n > 1 && n < 1000 ? bound * (uint64_t)n : bound;
}

/* The request, with the user's own fields. */
static void
write_body(const struct calls *c, struct span body, struct buffer *out)
{
    json_t *json = c->fields ? json_loadb(body.at, body.length, JSON_ALLOW_NUL, NULL) : NULL;
    char *text = NULL;

    buffer_clear(out);
    if (json_is_object(json) && json_object_update(json, c->fields) == 0)
        text = json_dumps(json, JSON_COMPACT);
    if (text)
        buffer_text(out, text);
    else
        buffer_add(out, body.at, body.length);
    free(text);
    json_decref(json);
}

void
calls_ask(struct calls *c, const struct ask *a)
{
    struct call *call = xalloc(sizeof(*call));

    call->own = a->own;
    call->path = a->path;
    call->avoid = call->endpoint = -1;
    write_body(c, a->body, &call->body);
    buffer_add(&call->cache_key, a->cache_key.at, a->cache_key.length);
    call->ordinal = a->ordinal;
    call->variation = a->variation;
    call->tokens_in_most = a->tokens_in > 0 ? (uint64_t)a->tokens_in : call->body.length;
    call->tokens_out_most =
        bound_of(c, a->tokens_out > 0 ? (uint64_t)a->tokens_out : TOKENS_UNKNOWN);
    list_add(&c->idle, call, false);
}

static int
post(struct calls *c, struct call *call, struct error *e)
{
    XXH128_hash_t hash = XXH3_128bits(call->body.at, call->body.length);
    char *url = url_join(c->endpoints.at[call->endpoint].url, call->path), name[80];
    int rc;

    snprintf(name, sizeof(name), "sluice-%016" PRIx64 "%016" PRIx64 "-%" PRIu64 "-%d",
             (uint64_t)hash.high64, (uint64_t)hash.low64, call->ordinal,
             call->variation * TRIES_ROOM + call->spoiled);
    call->state = CALL_flying;
    rc = http_post(c->http, url, buffer_span(&call->body), name, call, e);
    free(url);
    return rc;
}

/* Is the same asked just now by another call? */
static bool
is_asked(const struct calls *c, const struct call *call)
{
    for (const struct call *other = c->busy.first; other; other = other->next)
        if (other->keyed && memcmp(&other->key, &call->key, sizeof(call->key)) == 0)
            return true;
    return false;
}

/* Looks for answers in the cache, once for each call. */
static void
look_up(struct calls *c)
{
    struct cache_answer found;

    for (struct call *call = c->idle.first, *after; call; call = after) {
        after = call->next;
        call->doubled = false;
        if (call->looked || !purse_caches(c->purse))
            continue;
        if (!call->keyed)
            cache_key(call->path, (uint64_t)call->variation, buffer_span(&call->cache_key),
                      buffer_span(&call->body), &call->key);
        call->keyed = true;
        call->doubled = is_asked(c, call);
        call->looked = !call->doubled;
        if (call->doubled || !purse_find(c->purse, &call->key, call->ordinal, &found))
            continue;
        buffer_clear(&call->answer);
        buffer_add(&call->answer, found.body.at, found.body.length);
        call->tokens_in += found.tokens_in;
        call->tokens_out += found.tokens_out;
        call->money += found.money;
        call->cached = true;
        list_remove(&c->idle, call);
        list_add(&c->found, call, false);
        call->state = CALL_found;
    }
}

static const char estimate_why[] = "no call was made: this is an estimate";

/* Counts what would be asked; each call is given up. */
static void
count_all(struct calls *c)
{
    for (struct call *call; (call = c->idle.first);) {
        cache_key(call->path, (uint64_t)call->variation, buffer_span(&call->cache_key),
                  buffer_span(&call->body), &call->key);
        purse_count(c->purse, &call->key, call->body.length, call->tokens_in_most,
                    call->tokens_out_most);
        list_remove(&c->idle, call);
        list_add(&c->found, call, false);
        call->state = CALL_found;
    }
}

/* The try at hand ended: what was set aside for it becomes what it cost, which is all of it where
 * the answer does not say, or where a server that was reached gave none. */
static void
settle(struct calls *c, struct call *call, const struct http_answer *got, const struct reply *r)
{
    bool again = r->outcome == REPLY_again || r->outcome == REPLY_refused;

    if (again && (!got->failure[0] || !got->sent))
        return; /* nothing was charged: it serves for the next try */
    if (r->tokens_in || r->tokens_out)
        call->money += purse_settle(c->purse, &call->aside, r->tokens_in, r->tokens_cached,
                                    r->tokens_out);
    else if (got->status >= 400)
        purse_return(c->purse, &call->aside);
    else
        purse_lose(c->purse, &call->aside);
    call->aside = (struct amount){0};
}

/* A server for the call, if pace, servers and budget let it go now; else ADMIT_later, and *next gets
 * the time at which to see again. */
static int
admit(struct calls *c, struct call *call, double now, double *next, struct error *e)
{
    const struct remote_options *o = c->options;
    double pace = fmax(rate_when(&c->requests, o->rpm), rate_when(&c->tokens, o->tpm));
    double tokens =
        (double)(call->tokens_in_most / BYTES_PER_TOKEN) + (double)call->tokens_out_most;
    int which, rc;
    bool may;

    c->paced = pace > now;
    c->paced_until = pace;
    if (c->paced) {
        *next = fmin(*next, pace);
        return ADMIT_later;
    }
    which = endpoints_choose(&c->endpoints, tokens, call->avoid, now, next);
    if (which < 0)
        return ADMIT_later;
    if (!call->aside.money && !call->aside.tokens) { /* else a server turned it away: it is paid */
        rc = purse_reserve(c->purse, call->tokens_in_most, call->tokens_out_most, &call->aside,
                           &may, e);
        if (rc != 0)
            return rc;
        if (!may)
            return ADMIT_later;
    }
    rate_take(&c->requests, o->rpm, 1, now);
    rate_take(&c->tokens, o->tpm, tokens, now);
    call->charged = tokens;
    endpoint_sent(&c->endpoints.at[which], tokens);
    return which;
}

/* Marks the calls that may go now; when the next may go later goes to *next. How many were marked,
 * or an error. */
static int
clear_calls(struct calls *c, double now, double *next, struct error *e)
{
    int out = http_flying(c->http), cleared = 0;

    if (out > 0 && purse_when(c->purse) > now && c->idle.first) {
        *next = purse_when(c->purse);
        return 0;
    }
    purse_begin(c->purse);
    c->paced = false;
    for (struct call *call = c->idle.first, *after; call; call = after) {
        after = call->next;
        if (call->not_before > now)
            *next = fmin(*next, call->not_before);
        if (call->not_before > now || call->doubled)
            continue;
        if (out + cleared >= c->options->in_flight)
            break; /* the end of a call in flight brings us here again */
        if (purse_caches(c->purse) && is_asked(c, call)) {
            call->doubled = true;
            call->looked = false;
            continue;
        }
        int which = admit(c, call, now, next, e);
        if (which == ADMIT_later)
            break;
        if (which < 0)
            return which;
        call->endpoint = which;
        list_remove(&c->idle, call);
        list_add(&c->busy, call, true);
        call->state = CALL_cleared;
        call->sent_at = now;
        cleared++;
    }
    return cleared;
}

int
calls_send(struct calls *c, struct error *e)
{
    double now = node_now(c->node), next = INFINITY;
    int cleared, rc;

    if (purse_estimates(c->purse))
        count_all(c);
    look_up(c);
    rc = cleared = clear_calls(c, now, &next, e);
    if (cleared > 0 && c->key_refused && c->options->api_key_file[0])
        apply_settings(c, false);
    if (rc >= 0)
        rc = purse_commit(c->purse, e); /* what is set aside must outlive a kill */
    for (struct call *call = c->busy.first; cleared > 0 && call && rc == 0; call = call->next)
        if (call->state == CALL_cleared) {
            rc = post(c, call, e);
            cleared--;
        }
    if (rc == 0)
        rc = http_begin(c->http, e);
    if (rc == 0)
        rc = purse_keep_up(c->purse, e);
    if (c->found.count)
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
        make_idle(c, call, 0);
        return;
    }
    call->hops = 0;
    make_idle(c, call,
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
    make_idle(c, call, 0);
    return true;
}

static void
hold(struct calls *c, struct call *call, enum calls_end end, struct reply *r,
     struct calls_answer *a)
{
    if (call->state == CALL_found) {
        list_remove(&c->found, call);
        list_add(&c->busy, call, true);
    }
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
    double used = (double)(r->tokens_in + r->tokens_out);

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
        make_idle(c, call, 0); /* the server says when */
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
        list_remove(&c->found, call);
        list_add(&c->idle, call, true);
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
        purse_keep(c->purse, &call->key, call->ordinal, buffer_span(&call->answer),
                   call->tokens_in, call->tokens_out, call->money);
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
        write_body(c, body, &call->body);
        call->keyed = call->looked = false;
    }
    a->call = NULL;
    return true;
}
