/* calls: every call is idle (ready to go, or waiting for its next try), found in the cache, in
 * flight, or held by the node with its answer (calls_answers.c). */
#include "nodes/remote/calls_inside.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/remote/url.h"

#define TOKENS_UNKNOWN   4096 /* of an answer, where the asker sets no bound */
#define BYTES_PER_TOKEN  4    /* of a request, for the pace alone */
#define ADMIT_later      (INT_MIN)
#define ADMIT_unpaid     (INT_MIN + 1)
#define ESTIMATE_IN_HAND 1024 /* units at a time where calls are only counted */

void
call_list_remove(struct call_list *l, struct call *call)
{
    *(call->before ? &call->before->next : &l->first) = call->next;
    *(call->next ? &call->next->before : &l->last) = call->before;
    l->count--;
}

void
call_list_add(struct call_list *l, struct call *call, bool first)
{
    call->before = first ? NULL : l->last;
    call->next = first ? l->first : NULL;
    *(call->before ? &call->before->next : &l->first) = call;
    *(call->next ? &call->next->before : &l->last) = call;
    l->count++;
}

static struct call **
bucket_of(struct calls *c, const struct call *call)
{
    uint32_t hash;

    memcpy(&hash, &call->key, sizeof(hash));
    return &c->asked[hash % ASKED_BUCKETS];
}

void
call_make_busy(struct calls *c, struct call_list *from, struct call *call)
{
    call_list_remove(from, call);
    call_list_add(&c->busy, call, true);
    if (!call->keyed)
        return;
    call->link = bucket_of(c, call);
    call->same = *call->link;
    if (call->same)
        call->same->link = &call->same;
    *call->link = call;
}

/* No longer busy: others may ask the same. */
static void
leave_bucket(struct call *call)
{
    if (!call->link)
        return;
    *call->link = call->same;
    if (call->same)
        call->same->link = call->link;
    call->link = NULL;
}

void
call_make_idle(struct calls *c, struct call *call, double when)
{
    leave_bucket(call);
    call_list_remove(&c->busy, call);
    call_list_add(&c->idle, call, true);
    call->state = CALL_idle;
    call->not_before = when;
}

void
call_free(struct call_list *l, struct call *call)
{
    leave_bucket(call);
    call_list_remove(l, call);
    json_decref(call->json);
    buffer_free(&call->body);
    buffer_free(&call->cache_key);
    buffer_free(&call->answer);
    free(call->why);
    free(call);
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
    purse_changed(c->purse);
    return calls_send(c, e);
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

void
calls_write_body(const struct calls *c, struct span body, struct buffer *out)
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
    calls_write_body(c, a->body, &call->body);
    buffer_add(&call->cache_key, a->cache_key.at, a->cache_key.length);
    call->ordinal = a->ordinal;
    call->variation = a->variation;
    call->tokens_in_most = a->tokens_in > 0 ? (uint64_t)a->tokens_in : call->body.length;
    call->tokens_out_most =
        bound_of(c, a->tokens_out > 0 ? (uint64_t)a->tokens_out : TOKENS_UNKNOWN);
    call_list_add(&c->idle, call, false);
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
is_asked(struct calls *c, const struct call *call)
{
    for (const struct call *other = *bucket_of(c, call); other; other = other->same)
        if (memcmp(&other->key, &call->key, sizeof(call->key)) == 0)
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
        call_list_remove(&c->idle, call);
        call_list_add(&c->found, call, false);
        call->state = CALL_found;
    }
}

/* Counts what would be asked; each call is given up. */
static void
count_all(struct calls *c)
{
    for (struct call *call; (call = c->idle.first);) {
        cache_key(call->path, (uint64_t)call->variation, buffer_span(&call->cache_key),
                  buffer_span(&call->body), &call->key);
        purse_count(c->purse, &call->key, call->body.length, call->tokens_in_most,
                    call->tokens_out_most);
        call_list_remove(&c->idle, call);
        call_list_add(&c->found, call, false);
        call->state = CALL_found;
    }
}

/* A server turned it away that was paid for. */
static bool
is_paid(const struct call *call)
{
    return call->aside.money || call->aside.tokens;
}

/* A server for the call, if pace, servers and budget let it go now; else ADMIT_later, and *next
 * gets the time at which to see again, or ADMIT_unpaid. */
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
    if (!is_paid(call)) {
        rc = purse_reserve(c->purse, call->tokens_in_most, call->tokens_out_most, &call->aside,
                           &may, e);
        if (rc != 0)
            return rc;
        if (!may)
            return ADMIT_unpaid;
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
    bool unpaid = false;

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
        if (unpaid && !is_paid(call))
            continue; /* those go on for which money is set aside: it must not stay so for ever */
        int which = admit(c, call, now, next, e);
        if (which == ADMIT_later)
            break;
        unpaid = unpaid || which == ADMIT_unpaid;
        if (which == ADMIT_unpaid)
            continue;
        if (which < 0)
            return which;
        call->endpoint = which;
        call_make_busy(c, &c->idle, call);
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
    calls_tell(c);
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
