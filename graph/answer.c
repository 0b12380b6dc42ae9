/* answer: one function per question. */
#include "graph/answer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/account.h"
#include "graph/letter.h"
#include "graph/look.h"
#include "graph/metrics.h"
#include "graph/tap.h"
#include "graph/trace.h"

static json_t *
number(uint64_t v)
{
    return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static void
why_fill(struct answer_to *a, const char *state, char *why, size_t room)
{
    struct node *n = a->n;
    const char *refused = inlets_why(a->inlets), *diverged = outlet_why(a->outlet);
    if (n->paused[0])
        snprintf(why, room, "%s", n->paused);
    else if (refused || diverged)
        snprintf(why, room, "%s", refused ? refused : diverged);
    else if (n->why[0])
        snprintf(why, room, "%s", n->why);
    else if (strcmp(state, "blocked") == 0)
        outlet_blocker(a->outlet, why, room);
    else if (n->held > 0)
        snprintf(why, room, "%lld dead letters hold their place", (long long)n->held);
    else if (n->hand.count > 0)
        snprintf(why, room, "%lld messages in hand", (long long)n->hand.count);
    else if (n->parked > 0)
        snprintf(why, room, "%lld messages wait for %s", (long long)n->parked,
                 n->whole ? "the rest of their group" : "another input");
    else if (strcmp(state, "starved") == 0)
        snprintf(why, room, "waiting for input");
}

static int
status(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    struct node *n = a->n;
    const char *state = node_state_name(n);
    char why[300] = "";
    json_t *metrics = json_object();
    (void)request;
    (void)e;
    why_fill(a, state, why, sizeof(why));
    if (!n->finished && strstr(why, "stores have diverged"))
        state = "paused";               /* until a person has put back what is missing */
    n->counts[METRIC_in_flight] = n->hand.count + unit_waiting(n);
    n->counts[METRIC_parked] = n->parked;
    for (int m = 0; m < METRIC_count; m++)
        if (n->counts[m] != 0)
            json_object_set_new(metrics, metric_row((enum metric)m)->name, json_integer(n->counts[m]));
    json_object_set_new(reply, "id", json_string(n->self->id));
    json_object_set_new(reply, "replica", json_integer(n->replica));
    json_object_set_new(reply, "kind", json_string(n->kind->name));
    json_object_set_new(reply, "pid", json_integer(getpid()));
    json_object_set_new(reply, "state", json_string(state));
    json_object_set_new(reply, "why", json_string(why) );
    json_object_set_new(reply, "epoch", number(store_epoch(n->store)));
    json_object_set_new(reply, "in", json_integer(n->counts[METRIC_received]));
    json_object_set_new(reply, "out", json_integer(n->counts[METRIC_sent]));
    json_object_set_new(reply, "in_flight", json_integer(n->counts[METRIC_in_flight]));
    json_object_set_new(reply, "dead", json_integer(n->counts[METRIC_dead]));
    json_object_set_new(reply, "held", json_integer(n->held));
    json_object_set_new(reply, "position", number(n->terminal ? n->settled_committed
                                                              : node_upstream_position(n)));
    json_object_set_new(reply, "emitted", number(n->emitted_end));
    json_object_set_new(reply, "store_bytes", json_integer(store_used(n->store)));
    json_object_set_new(reply, "revision", number(n->plan->revision));
    json_object_set_new(reply, "ended", json_boolean(n->ended));
    json_object_set_new(reply, "finished", json_boolean(n->finished));
    json_object_set_new(reply, "draining", json_boolean(n->draining));
    json_object_set_new(reply, "upstream_finished", json_boolean(n->upstream_finished));
    json_object_set_new(reply, "metrics", metrics);
    look_report(n->store, reply);
    return 0;
}

/* A failed commit is the end of the process; the asker hears it too. */
static int
commit(struct answer_to *a, struct error *e)
{
    int rc = node_flush(a->n, e);
    if (rc != 0) {
        a->failed = rc;
        a->error = *e;
    }
    return rc;
}

static int
audit(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    struct node *n = a->n;
    struct account account;
    (void)request;
    int rc = commit(a, e);
    if (rc == 0) {
        rc = account_read(&account, n->store, n->plan, n->index, e);
        if (rc == 0) {
            json_t *books = account_json(&account);
            json_object_update(reply, books);
            json_decref(books);
        }
        account_free(&account);
    }
    return rc;
}

static int
trace(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    return trace_answer(a->n->store, a->n->plan, a->n->index, request, reply, e);
}

static int
tap(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    return tap_answer(a->n, request, reply, e);
}

/* What is not committed may still be undone: it is committed first. */
static int
outbox(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    int rc = commit(a, e);
    return rc != 0 ? rc : outbox_answer(a->n->store, a->n->plan, a->n->index, request, reply, e);
}

/* Listing and showing only read; a retry or drop is durable before it is answered. */
static int
dead(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    json_t *id = json_object_get(request, "id");
    uint64_t letter = (uint64_t)json_integer_value(id);
    bool retry = what && strcmp(what, "retry") == 0, drop = what && strcmp(what, "drop") == 0;
    if (!retry && !drop)
        return letter_answer(a->n->store, a->n->plan, a->n->index, request, reply, e);
    if (!json_is_integer(id))
        return error_set(e, ERROR_input, "dead %s wants an id", what);
    int rc = retry ? dead_retry(a->n, letter, e) : dead_drop(a->n, letter, e);
    return rc != 0 ? rc : commit(a, e);
}

static int
set(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    const char *option = json_string_value(json_object_get(request, "option"));
    const char *value = json_string_value(json_object_get(request, "value"));
    (void)reply;
    if (!option || !value)
        return error_set(e, ERROR_input, "set wants an option and a value, both text");
    return node_set_option(a->n, option, value, e);
}

static int
stop(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    (void)request;
    (void)reply;
    int rc = commit(a, e);
    if (rc == 0)
        a->n->stopping = true;
    return rc;
}

static int
leave(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    (void)request;
    (void)reply;
    if (!a->n->finished)
        return error_set(e, ERROR_input, "node '%s' has not finished", a->n->self->id);
    int rc = commit(a, e);
    if (rc == 0)
        a->n->leave = true;
    return rc;
}

static int
drain(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    (void)reply;
    (void)e;
    a->n->draining = !json_is_false(json_object_get(request, "on"));
    a->n->why[0] = 0;
    a->n->pump_wanted = true;
    return 0;
}

/* The source commits the final sizes in its pump, before we answer. */
static int
end(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    struct node *n = a->n;
    (void)request;
    (void)reply;
    if (!n->kind->source)
        return error_set(e, ERROR_input, "node '%s' is not a source: it ends when its inputs do", n->self->id);
    if (n->ended)
        return 0;
    n->end_asked = true;
    store_set_number(n->store, "end asked", 1);
    node_touch(n);
    int rc = n->started && n->kind->pump ? n->kind->pump(n, e) : 0;
    if (rc < 0) {
        a->failed = rc;
        a->error = *e;
        return rc;
    }
    n->pump_wanted = true;
    return commit(a, e);
}

static int
hold(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    struct node *n = a->n;
    (void)request;
    if (!n->kind->source)
        return error_set(e, ERROR_input, "node '%s' is not a source", n->self->id);
    if (n->ended || n->finishing)
        return error_set(e, ERROR_input, "node '%s' has ended: no row of replicas can follow", n->self->id);
    if (!n->hold) {
        n->hold = true;
        n->hold_at = n->emitted_end;
        store_set_number(n->store, "hold", 1);
        store_set_number(n->store, "hold at", n->hold_at);
        node_touch(n);
    }
    json_object_set_new(reply, "hold_at", number(n->hold_at));
    return commit(a, e);
}

static int
resume(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    struct node *n = a->n;
    (void)request;
    (void)reply;
    n->hold = false;
    n->pump_wanted = true;
    store_set_number(n->store, "hold", 0);
    node_touch(n);
    return commit(a, e);
}

static int
copy(struct answer_to *a, json_t *request, json_t *reply, struct error *e)
{
    const char *folder = json_string_value(json_object_get(request, "folder"));
    if (!folder || folder[0] != '/')
        return error_set(e, ERROR_input, "copy wants an absolute folder");
    int rc = audit(a, request, reply, e);
    return rc != 0 ? rc : store_copy(a->n->store, folder, e);
}

static const struct {
    const char *ask;
    int (*answer)(struct answer_to *a, json_t *request, json_t *reply, struct error *e);
} asks[] = {
    {"status", status}, {"audit", audit}, {"trace", trace}, {"dead", dead}, {"set", set},
    {"stop", stop}, {"leave", leave}, {"drain", drain}, {"end", end}, {"hold", hold},
    {"resume", resume}, {"copy", copy}, {"tap", tap}, {"outbox", outbox},
};

int
answer_control(void *own, const char *ask, json_t *request, json_t *reply, struct error *e)
{
    for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++)
        if (strcmp(ask, asks[i].ask) == 0)
            return asks[i].answer(own, request, reply, e);
    return error_set(e, ERROR_input, "a node does not answer '%.40s'", ask);
}
