/* remote: judging over HTTP. Every unit in hand is a call in one of three states: ready to go, in
 * flight, or waiting for its next try. At most `in_flight` units are in hand or answered and not
 * yet committed (node_urgent), so at most so many calls fly, and a kill repeats at most so many.
 *
 * Three kinds of trouble (chat.h): what passes is tried again for ever, each call with its own
 * back-off; what a person must mend holds the whole stage, which then sends one call at a time to
 * see; what cannot be used is tried `tries` times, then the judge abstains. Whatever the trouble,
 * status says it. */
#include "nodes/llm_judge/llm_judge.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "nodes/judge.h"
#include "nodes/llm_judge/budget.h"
#include "nodes/llm_judge/chat.h"
#include "nodes/llm_judge/http.h"
#include "nodes/llm_judge/verdict.h"

#define TOKENS_UNKNOWN 4096 /* of an answer, where max_tokens sets no bound */

enum call_state { CALL_ready, CALL_flying, CALL_waiting, CALL_cleared };

struct call {
    struct unit *unit;
    struct steps steps;
    struct arena arena;
    struct buffer body; /* the request */
    enum call_state state;
    double not_before; /* of CALL_waiting, on node_now()'s clock */
    int failures;      /* transient ones in a row */
    int spoiled;       /* answers that were no use */
    uint64_t tokens_in, tokens_out;
    int64_t aside;     /* of the budget, for the try at hand */
    int64_t settled;   /* what earlier tries cost */
    struct call *next; /* in order of arrival */
};

struct remote {
    struct node *node;
    const struct llm_options *options;
    struct http *http;
    struct prompt *prompt;
    struct prompt_messages messages;
    struct chat_answer answer;
    struct call *calls, **last;
    char *url;
    double limited_until; /* a server that asked for it gets no call before */
    double refused_until; /* while refused: when to try one call again */
    struct budget budget;
    bool over_budget;
    int refused;            /* refusals in a row; 0: none */
    char why[CHAT_WHY_MAX]; /* the last trouble */
};

/* ---- setting up ---- */

/* {url}/chat/completions, whether or not the url ends in a slash or holds the whole path already.
 */
static char *
completions_url(const char *url)
{
    static const char tail[] = "/chat/completions";
    size_t length = strlen(url), n = sizeof(tail) - 1;

    while (length && url[length - 1] == '/')
        length--;
    if (length >= n && memcmp(url + length - n, tail, n) == 0)
        n = 0;
    return xprint("%.*s%.*s", (int)length, url, (int)n, tail);
}

int
remote_check(struct check *c, const struct llm_options *o, struct error *e)
{
    struct error why;

    if (!o->url[0])
        return check_fail(c, "url", e,
                          "backend http needs the url of a server, e.g. http://localhost:8000/v1");
    if (http_check(o->url, &why) != 0)
        return check_fail(c, "url", e, "%s", why.text);
    if (!o->model[0])
        return check_fail(c, "model", e,
                          "backend http needs the name of a model that the server knows");
    if (o->model[0] == '/')
        return check_fail(c, "model", e,
                          "'%s' is a folder beside the topology, and backend http needs the"
                          " name of a model that the server knows",
                          o->model);
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
key_of(struct node *n, const struct llm_options *o)
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
settings_of(const struct remote *r)
{
    const struct llm_options *o = r->options;

    return (struct http_settings){
        .url = r->url,
        .secret = key_of(r->node, o),
        .timeout_seconds = o->timeout,
        .connect_seconds = o->connect_timeout,
        .answer_bytes_max = o->max_response_bytes,
        .connections = (int)o->in_flight,
    };
}

struct remote *
remote_open(struct node *n, struct error *e)
{
    struct remote *r = xalloc(sizeof(*r));
    struct llm_judge *judge = node_state(n);
    struct http_settings settings;

    r->node = n;
    r->options = node_options(n);
    r->prompt = judge->prompt;
    r->last = &r->calls;
    r->url = completions_url(r->options->url);
    settings = settings_of(r);
    r->http = http_open(&settings, e);
    if (!r->http) {
        remote_close(r);
        return NULL;
    }
    budget_load(&r->budget, n);
    node_set_in_flight(n, (int)r->options->in_flight);
    node_watch(n, http_fd(r->http));
    return r;
}

static void
call_free(struct call *c)
{
    arena_free(&c->arena);
    buffer_free(&c->body);
    free(c);
}

void
remote_close(struct remote *r)
{
    if (!r)
        return;
    http_close(r->http);
    while (r->calls) {
        struct call *next = r->calls->next;
        call_free(r->calls);
        r->calls = next;
    }
    prompt_messages_free(&r->messages);
    buffer_free(&r->answer.content);
    free(r->url);
    free(r);
}

/* ---- what status says ---- */

static void
tell_why(struct remote *r)
{
    double now = node_now(r->node);
    int flying = http_flying(r->http), waiting = 0;

    for (struct call *c = r->calls; c; c = c->next)
        waiting += c->state != CALL_flying;
    if (r->refused)
        node_why(r->node, "the server refuses (%s); trying one call every %.0f s at most", r->why,
                 CHAT_REFUSED_MAX);
    else if (r->over_budget)
        node_why(
            r->node,
            "over budget: %.4f of %.4f USD are spent or set aside; a higher budget_usd goes on",
            (double)r->budget.spent / 1e6, r->options->budget_usd);
    else if (r->limited_until > now && waiting)
        node_why(r->node, "rate-limited for %.0f s more (%s)", ceil(r->limited_until - now),
                 r->why);
    else if (waiting && flying)
        node_why(r->node, "waiting for %d judge calls; %d more to be tried again (%s)", flying,
                 waiting, r->why);
    else if (waiting)
        node_why(r->node, "%d judge calls to be tried again (%s)", waiting, r->why);
    else if (flying)
        node_why(r->node, "waiting for %d judge calls", flying);
    else
        node_why(r->node, NULL);
}

/* ---- sending ---- */

static int
post(struct remote *r, struct call *c, struct error *e)
{
    XXH128_hash_t hash;
    char name[80];

    hash = XXH3_128bits(c->body.at, c->body.length);
    snprintf(name, sizeof(name), "sluice-%016" PRIx64 "%016" PRIx64 "-%" PRIu64 "-%d",
             (uint64_t)hash.high64, (uint64_t)hash.low64, c->unit->ordinal, c->spoiled);
    c->state = CALL_flying;
    return http_post(r->http, buffer_span(&c->body), name, c, e);
}

static int64_t
millionths(const struct llm_options *o, uint64_t tokens_in, uint64_t tokens_out)
{
    return (int64_t)ceil((double)tokens_in * o->price_in + (double)tokens_out * o->price_out);
}

/* May this call be paid for? What it may cost at most is set aside: no tokenizer gives more tokens
 * than bytes. */
static bool
afford(struct remote *r, struct call *c)
{
    const struct llm_options *o = r->options;
    uint64_t out = o->max_tokens > 0 ? (uint64_t)o->max_tokens : TOKENS_UNKNOWN;
    int64_t most = millionths(o, c->body.length, out);

    if (o->budget_usd <= 0 || c->aside > 0)
        return true;
    r->over_budget = !budget_reserve(&r->budget, most, (int64_t)(o->budget_usd * 1e6));
    if (!r->over_budget)
        c->aside = most;
    return !r->over_budget;
}

/* The try at hand ended with an answer: its share of the budget becomes what it cost. */
static void
settle(struct remote *r, struct call *c)
{
    int64_t cost = millionths(r->options, c->tokens_in, c->tokens_out) - c->settled;

    if (r->options->budget_usd > 0 || c->aside > 0)
        budget_settle(&r->budget, c->aside, cost);
    c->settled += cost;
    c->aside = 0;
}

/* Marks the calls that may go now; when the next may go later goes to *next. How many were marked.
 */
static int
clear_calls(struct remote *r, double now, double *next)
{
    double stage = fmax(r->limited_until, r->refused ? r->refused_until : 0);
    int out = http_flying(r->http), cleared = 0;

    r->over_budget = false;
    for (struct call *c = r->calls; c; c = c->next) {
        double when = fmax(stage, c->state == CALL_waiting ? c->not_before : 0);
        if (c->state == CALL_flying)
            continue;
        if (out + cleared >= r->options->in_flight || (r->refused && out + cleared > 0))
            break; /* the end of a call in flight brings us here again */
        if (when > now) {
            *next = fmin(*next, when);
            continue;
        }
        if (!afford(r, c))
            break;
        c->state = CALL_cleared;
        cleared++;
    }
    return cleared;
}

/* Sends what may go now, and sets the timer for what may go later. */
static int
send_calls(struct remote *r, struct error *e)
{
    double now = node_now(r->node), next = INFINITY;
    int cleared = clear_calls(r, now, &next), rc = 0;

    if (cleared && r->options->budget_usd > 0)
        rc = node_commit(r->node, e); /* what is set aside must outlive a kill */
    for (struct call *c = r->calls; c && rc == 0; c = c->next)
        if (c->state == CALL_cleared)
            rc = post(r, c, e);
    node_timer(r->node, isfinite(next) ? fmax(next - now, 0.001) : -1);
    tell_why(r);
    return rc;
}

/* ---- answering ---- */

static void
unlink_call(struct remote *r, struct call *c)
{
    struct call **link = &r->calls;

    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    if (!c->next)
        r->last = link;
}

static struct vote
vote_of(struct remote *r, const struct call *c)
{
    return (struct vote){
        .model = span_text(llm_model_name(r->options)),
        .tokens_in = c->tokens_in,
        .tokens_out = c->tokens_out,
        .usd = ((double)c->tokens_in * r->options->price_in +
                (double)c->tokens_out * r->options->price_out) /
               1e6,
    };
}

static void
finish(struct remote *r, struct call *c, const struct verdict *v)
{
    struct vote vote = vote_of(r, c);
    int64_t count = c->steps.ends.count;

    vote.scores = (struct f32s){count, v->scores};
    vote.said = (struct u8s){count, v->said};
    vote.reasons = (struct spans){count, v->reasons};
    node_count(r->node, METRIC_calls, 1);
    judge_vote(r->node, c->unit, &vote, r->options->threshold);
    node_urgent(r->node);
    unlink_call(r, c);
    call_free(c);
}

static void
give_up(struct remote *r, struct call *c, const char *why)
{
    struct vote vote = vote_of(r, c);

    node_count(r->node, METRIC_calls, 1);
    judge_dead(r->node, c->unit, &vote, "%s", why);
    node_urgent(r->node);
    unlink_call(r, c);
    call_free(c);
}

/* This answer was no use; another may be. */
static void
spoiled(struct remote *r, struct call *c, const char *why)
{
    snprintf(r->why, sizeof(r->why), "%s", why);
    c->failures = 0;
    c->state = CALL_ready;
    if (++c->spoiled < r->options->tries)
        node_count(r->node, METRIC_calls_failed, 1);
    else
        give_up(r, c, why);
}

static void
use_content(struct remote *r, struct call *c)
{
    struct verdict verdict;
    struct error e;

    if (verdict_read(buffer_span(&r->answer.content), c->steps.ends.count, &verdict, &c->arena,
                     &e) == 0) {
        finish(r, c, &verdict);
        return;
    }
    node_log(r->node, LOG_info, "ordinal %" PRIu64 ": answer %d of %" PRId64 ": %s",
             c->unit->ordinal, c->spoiled + 1, r->options->tries, e.text);
    spoiled(r, c, e.text);
}

/* A hash spread over [0,1), so that calls that failed together do not come back together. */
static double
spread(const struct call *c)
{
    uint64_t x =
        c->unit->ordinal * 0x9e3779b97f4a7c15ULL + (uint64_t)c->failures * 0xbf58476d1ce4e5b9ULL;

    x ^= x >> 31;
    x *= 0x94d049bb133111ebULL;
    return (double)(x >> 11) / 9007199254740992.0;
}

static void
try_later(struct remote *r, struct call *c)
{
    const struct chat_answer *a = &r->answer;
    double now = node_now(r->node);

    c->failures++;
    c->state = CALL_waiting;
    c->not_before =
        now + (a->wait_seconds >= 0 ? a->wait_seconds : chat_back_off(c->failures, spread(c)));
    if (a->limited && a->wait_seconds >= 0)
        r->limited_until = fmax(r->limited_until, now + a->wait_seconds);
    if (c->failures == 1)
        node_log(r->node, LOG_info, "ordinal %" PRIu64 ": %s; trying again", c->unit->ordinal,
                 a->why);
}

/* The stage waits until someone mends it: 1, 2, 4 ... seconds between single calls. Answers to
 * calls that were in flight together count once. */
static void
wait_for_person(struct remote *r, struct call *c)
{
    double now = node_now(r->node);

    c->state = CALL_ready;
    if (r->refused && now < r->refused_until)
        return;
    if (!r->refused)
        node_log(r->node, LOG_error, "the server refuses: %s; waiting until it is mended",
                 r->answer.why);
    r->refused_until =
        now + fmax(fmin(exp2(fmin(r->refused, 30)), CHAT_REFUSED_MAX), r->answer.wait_seconds);
    r->refused++;
}

static void
use_answer(struct remote *r, const struct http_answer *got)
{
    struct call *c = got->own;
    struct chat_answer *a = &r->answer;

    chat_read(got, a);
    c->tokens_in += a->tokens_in;
    c->tokens_out += a->tokens_out;
    if (a->outcome == CHAT_content || a->outcome == CHAT_spoiled || a->outcome == CHAT_hopeless)
        settle(r, c);
    if (a->why[0])
        snprintf(r->why, sizeof(r->why), "%s", a->why);
    if (a->outcome == CHAT_again || a->outcome == CHAT_refused)
        node_count(r->node, METRIC_calls_failed, 1);
    if (r->refused && a->outcome != CHAT_refused && a->outcome != CHAT_again) {
        node_log(r->node, LOG_info, "the server answers again");
        r->refused = 0;
    }
    switch (a->outcome) {
    case CHAT_content:
        use_content(r, c);
        break;
    case CHAT_again:
        try_later(r, c);
        break;
    case CHAT_refused:
        wait_for_person(r, c);
        break;
    case CHAT_spoiled:
        spoiled(r, c, a->why);
        break;
    case CHAT_hopeless:
        give_up(r, c, a->why);
        break;
    }
}

/* A response without a byte is worth no call: nothing is said of its steps. */
static void
finish_empty(struct remote *r, struct call *c)
{
    struct vote vote = vote_of(r, c);
    int64_t count = c->steps.ends.count;

    vote.scores = (struct f32s){count, arena_take(&c->arena, (size_t)count * sizeof(float) + 1)};
    vote.said = (struct u8s){count, arena_take(&c->arena, (size_t)count + 1)};
    judge_vote(r->node, c->unit, &vote, r->options->threshold);
    call_free(c);
}

/* ---- the node's callbacks ---- */

int
remote_take(struct remote *r, struct unit *u, struct error *e)
{
    struct call *c = xalloc(sizeof(*c));
    struct chat_request request;
    struct error why;
    struct vote vote = {.model = span_text(llm_model_name(r->options))};
    int rc;

    c->unit = u;
    rc = judge_read(u, &c->steps, &c->arena, &why);
    if (rc == 0 && c->steps.rollout.response.length == 0) {
        finish_empty(r, c);
        return 0;
    }
    if (rc == 0) {
        struct prompt_values values = {.problem = c->steps.rollout.prompt,
                                       .response = c->steps.rollout.response,
                                       .answer = c->steps.rollout.answer,
                                       .ends = c->steps.ends.at,
                                       .count = c->steps.ends.count};
        prompt_render(r->prompt, &values, &r->messages);
        request = (struct chat_request){r->options->model,
                                        &r->messages,
                                        r->options->temperature,
                                        r->options->max_tokens,
                                        (enum chat_limit)r->options->limit_field,
                                        r->options->seed,
                                        (enum chat_format)r->options->format};
        rc = chat_write(&request, &c->body, &why);
    }
    if (rc != 0) {
        judge_dead(r->node, u, &vote, "%s", why.text);
        call_free(c);
        return 0;
    }
    *r->last = c;
    r->last = &c->next;
    return send_calls(r, e);
}

int
remote_ready(struct remote *r, struct error *e)
{
    struct http_answer got;
    int rc = http_step(r->http, e);

    while (rc == 0 && http_next(r->http, &got))
        use_answer(r, &got);
    return rc ? rc : send_calls(r, e);
}

/* Live options: new ones hold from the next call on. */
int
remote_changed(struct remote *r, struct error *e)
{
    struct http_settings settings;

    free(r->url);
    r->url = completions_url(r->options->url);
    settings = settings_of(r);
    http_settings_change(r->http, &settings);
    node_set_in_flight(r->node, (int)r->options->in_flight);
    return send_calls(r, e);
}
