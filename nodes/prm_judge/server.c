/* server: the model behind a server. A response becomes a request of one text, of ids or of
 * messages, and the rows that come back become scores. A server whose rows are not the steps that
 * were asked about is asked again as often as `tries` says, then the judge abstains. */
#include <stdlib.h>
#include <string.h>

#include "nodes/judge.h"
#include "nodes/origin.h"
#include "nodes/prm_judge/prm_judge.h"
#include "nodes/remote/endpoints.h"
#include "nodes/remote/probe.h"
#include "nodes/remote/purse.h"

#define TOKENS_WRITTEN 1 /* a scoring model writes none, and 0 would mean that no bound is known */

struct judging {
    struct judging *next, **link;
    struct unit *unit;
    struct steps steps;
    struct arena arena;
    int64_t *places; /* (steps) */
    int64_t tokens;  /* ids that were sent; 0: text */
};

struct prm_server {
    struct node *node;
    const struct prm_options *options;
    struct pooling pooling;
    struct calls *calls;
    struct tokenizer *tokenizer; /* NULL: the server tokenises */
    struct convention_text text; /* of the call at hand, as is what follows */
    struct tokens tokens, piece;
    struct buffer body;
    struct judging *judgings; /* in hand */
};

/* ---- setting up ---- */

/* What is sent where the topology leaves it open. */
static enum pooling_request
request_of(const struct prm_options *o)
{
    if (o->request != POOLING_auto)
        return (enum pooling_request)o->request;
    if (o->tokenizer[0])
        return POOLING_ids;
    return o->convention == CONVENTION_qwen ? POOLING_messages : POOLING_text;
}

static int
check_request(struct check *c, const struct prm_options *o, struct error *e)
{
    enum pooling_request request = request_of(o);

    if (o->convention == CONVENTION_auto)
        return check_fail(c, "convention", e,
                          "backend http cannot look into the model: say qwen, skywork, "
                          "math_shepherd or plain");
    if (request == POOLING_ids && !o->tokenizer[0])
        return check_fail(c, "tokenizer", e,
                          "to send ids the folder of the model's tokenizer is needed");
    if (request != POOLING_ids && o->convention != CONVENTION_qwen &&
        o->convention != CONVENTION_math_shepherd)
        return check_fail(c, "tokenizer", e,
                          "convention %s is read at tokens: it needs the folder of the model's "
                          "tokenizer",
                          convention_names[o->convention]);
    if (request == POOLING_messages && o->convention != CONVENTION_qwen)
        return check_fail(c, "request", e, "messages are convention qwen's");
    return 0;
}

/* The bytes of a url without slashes and this path at its end. */
static size_t
without(const char *url, const char *path)
{
    size_t length = strlen(url), n = strlen(path);

    while (length > 0 && url[length - 1] == '/')
        length--;
    return length > n && memcmp(url + length - n, path, n) == 0 ? length - n : length;
}

static int
check_url(struct check *c, const struct prm_options *o, struct error *e)
{
    struct endpoints servers = {0};
    bool under = false;

    if (endpoints_set(&servers, &o->remote.url, 1, NULL, NULL) != 0)
        return 0; /* remote_options_check() has told */
    for (int i = 0; i < servers.count; i++)
        under = under || without(servers.at[i].url, "/v1") < without(servers.at[i].url, "");
    endpoints_free(&servers);
    return under && o->api == POOLING_pooling
               ? check_fail(c, "url", e,
                            "/pooling does not lie under /v1: say the url without it, e.g. "
                            "http://localhost:8000")
               : 0;
}

/* The tokenizer, where ids are sent, and the convention's ids of it. */
static int
open_tokenizer(const struct prm_options *o, struct convention *c, struct tokenizer **t,
               struct error *e)
{
    *t = NULL;
    if (request_of(o) != POOLING_ids)
        return 0;
    *t = tokenizer_open(o->tokenizer, e);
    return *t ? convention_resolve(c, o->tokenizer, NULL, *t, e) : ERROR_model;
}

int
prm_server_check(struct check *c, const struct prm_options *o, struct error *e)
{
    struct convention convention = convention_make((enum convention_kind)o->convention, o->system,
                                                   o->step_tag, o->good_token, o->bad_token);
    struct tokenizer *t = NULL;
    struct error why;
    int rc = remote_options_check(c, &o->remote, e);

    if (rc < 0)
        return rc;
    if (!o->model[0])
        return check_fail(c, "model", e,
                          "backend http needs the name of a model that the server knows");
    if (o->embeddings)
        return check_fail(c, "embeddings", e,
                          "a server gives scores alone; embeddings need backend: local");
    rc = check_request(c, o, e);
    if (rc == 0)
        rc = check_url(c, o, e);
    if (rc == 0 && open_tokenizer(o, &convention, &t, &why) != 0)
        rc = check_fail(c, "tokenizer", e, "%s", why.text);
    if (t)
        tokenizer_close(t);
    return rc == 0 ? purse_check(c, &o->remote, o->model, TOKENS_WRITTEN, e) : rc;
}

int
prm_server_probe(const struct prm_options *o, struct buffer *told, struct error *e)
{
    struct remote_options lists = o->remote;
    struct endpoints servers = {0};
    struct buffer urls = {0};
    int rc = endpoints_set(&servers, &o->remote.url, 1, NULL, e);

    for (int i = 0; i < servers.count; i++) {
        const char *url = servers.at[i].url;
        bool pooling = o->api == POOLING_pooling;

        buffer_print(&urls, "%.*s%s ", (int)without(url, pooling ? "/pooling" : "/embeddings"), url,
                     pooling ? "/v1" : "");
    }
    buffer_add(&urls, "", 1);
    lists.url = (struct texts){1, (const char *[]){urls.at}};
    if (rc == 0)
        rc = remote_probe(&lists, o->model, told, e);
    buffer_free(&urls);
    endpoints_free(&servers);
    return rc;
}

struct prm_server *
prm_server_open(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);
    const struct prm_options *o = node_options(n);
    struct prm_server *s = xalloc(sizeof(*s));
    int rc = o->tokenizer[0] ? origin_check(n, o->tokenizer, e) : 0;

    s->node = n;
    s->options = o;
    s->pooling = (struct pooling){o->model, o->task, &judge->convention, request_of(o),
                                  (enum pooling_activation)o->activation};
    if (rc == 0)
        rc = open_tokenizer(o, &judge->convention, &s->tokenizer, e);
    if (rc == 0)
        s->calls = calls_open(n, &o->remote, o->model, e);
    if (!s->calls) {
        prm_server_close(s);
        return NULL;
    }
    return s;
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
prm_server_close(struct prm_server *s)
{
    if (!s)
        return;
    calls_close(s->calls);
    while (s->judgings)
        judging_free(s->judgings);
    if (s->tokenizer)
        tokenizer_close(s->tokenizer);
    convention_text_free(&s->text);
    tokens_free(&s->tokens);
    tokens_free(&s->piece);
    buffer_free(&s->body);
    free(s);
}

/* ---- asking ---- */

static bool
any_place(const struct judging *j)
{
    for (int64_t i = 0; i < j->steps.ends.count; i++)
        if (j->places[i] >= 0)
            return true;
    return false;
}

/* The request, in s->body. A prompt that is ChatML already cannot be one message of a chat: it goes
 * as text. */
static int
write_request(struct prm_server *s, struct judging *j, struct error *e)
{
    const struct convention *c = s->pooling.convention;
    struct pooling p = s->pooling;
    struct span prompt = j->steps.rollout.prompt;
    int rc = 0;

    buffer_clear(&s->body);
    if (p.request == POOLING_ids) {
        rc = convention_encode(c, s->tokenizer, &j->steps, &s->text, &s->piece, &s->tokens,
                               j->places, e);
        j->tokens = s->tokens.count;
    } else if (convention_forged(c, &j->steps)) {
        rc = error_set(e, ERROR_input,
                       "the prompt or the response holds '%s', which the server would take for the "
                       "end of a step",
                       c->tag);
    } else {
        convention_write(c, &j->steps, &s->text, j->places);
        if (p.request == POOLING_messages && convention_is_chat(prompt))
            p.request = POOLING_text;
    }
    return rc == 0 ? pooling_write(&p, prompt, &s->text, &s->tokens, &s->body, e) : rc;
}

int
prm_server_take(struct prm_server *s, struct unit *u, struct error *e)
{
    struct judging *j = xalloc(sizeof(*j));
    struct vote vote = {.model = span_text(prm_model_name(s->options))};
    struct error why;
    int rc;

    j->unit = u;
    rc = judge_read(u, &j->steps, &j->arena, &why);
    if (rc == 0) {
        j->places = arena_take(&j->arena, (size_t)j->steps.ends.count * sizeof(*j->places) + 1);
        rc = write_request(s, j, &why);
    }
    if (rc != 0 || !any_place(j)) {
        if (rc != 0) {
            judge_dead(s->node, u, &vote, "%s", why.text);
        } else { /* nothing but white space is worth no call */
            prm_vote_begin(&vote, j->steps.ends.count, &j->arena);
            judge_vote(s->node, u, &vote, s->options->threshold);
        }
        judging_free(j);
        return 0;
    }
    j->next = s->judgings;
    j->link = &s->judgings;
    if (j->next)
        j->next->link = &j->next;
    s->judgings = j;
    calls_ask(s->calls,
              &(struct ask){.path = s->options->api == POOLING_pooling ? "/pooling" : "/embeddings",
                            .body = buffer_span(&s->body),
                            .ordinal = u->ordinal,
                            .tokens_in = j->tokens,
                            .tokens_out = TOKENS_WRITTEN,
                            .own = j});
    return calls_send(s->calls, e);
}

/* ---- answering ---- */

static struct vote
vote_of(const struct prm_server *s, const struct calls_answer *a)
{
    return (struct vote){.model = span_text(prm_model_name(s->options)),
                         .tokens_in = a->tokens_in,
                         .tokens_out = a->tokens_out,
                         .usd = a->usd};
}

static void
give_up(struct prm_server *s, struct calls_answer *a, const char *why)
{
    struct judging *j = a->own;
    struct vote vote = vote_of(s, a);

    judge_dead(s->node, j->unit, &vote, "%s", why);
    calls_done(s->calls, a);
    judging_free(j);
}

static void
finish(struct prm_server *s, struct calls_answer *a, const float *scores)
{
    struct judging *j = a->own;
    struct vote vote = vote_of(s, a);
    int64_t at = 0;

    prm_vote_begin(&vote, j->steps.ends.count, &j->arena);
    for (int64_t i = 0; i < j->steps.ends.count; i++)
        if (j->places[i] >= 0) {
            vote.scores.at[i] = scores[at++];
            vote.said.at[i] = 1;
        }
    prm_vote_response(&vote, (enum prm_response)s->options->response, &j->arena);
    judge_vote(s->node, j->unit, &vote, s->options->threshold);
    calls_done(s->calls, a);
    judging_free(j);
}

static void
use_answer(struct prm_server *s, struct calls_answer *a)
{
    struct judging *j = a->own;
    float *scores;
    struct error why;

    if (a->end != CALLS_answered) {
        give_up(s, a, a->why);
        return;
    }
    scores = arena_take(&j->arena, (size_t)j->steps.ends.count * sizeof(*scores) + 1);
    if (pooling_read(&s->pooling, a->json, j->places, j->steps.ends.count, j->tokens, scores,
                     &why) == 0)
        finish(s, a, scores);
    else if (!calls_again(s->calls, a, (struct span){0}, why.text))
        give_up(s, a, why.text);
}

int
prm_server_ready(struct prm_server *s, struct error *e)
{
    struct calls_answer a;
    int rc = calls_step(s->calls, e);

    while (rc == 0 && calls_next(s->calls, &a))
        use_answer(s, &a);
    return rc ? rc : calls_send(s->calls, e);
}

int
prm_server_flush(struct prm_server *s, struct error *e)
{
    return calls_flush(s->calls, e);
}

int
prm_server_changed(struct prm_server *s, struct error *e)
{
    return calls_changed(s->calls, e);
}
