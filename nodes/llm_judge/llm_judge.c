/* llm_judge: the kind. A language model scores every step of a response, either behind an
 * OpenAI-compatible server (remote.c) or in this process (local.c). */
#include "nodes/llm_judge/llm_judge.h"

#include <string.h>

#include <xxhash.h>

#include "nodes/judge.h"
#include "nodes/llm_judge/chat.h"
#include "nodes/origin.h"
#include "nodes/remote/probe.h"

static const char *const backend_names[] = {"http", "local", NULL};
static const char *const scoring_names[] = {"verdict", "expected", "rank", NULL};
static const char *const format_names[] = {"text", "json", "object_schema", "schema", NULL};
static const char *const limit_names[] = {"max_tokens", "max_completion_tokens", NULL};

static const struct option llm_judge_options[] = {
    OPT_CHOICE(struct llm_options, backend, FIXED, "http", backend_names,
               "http: an OpenAI-compatible server; local: a small decoder in this process"),
    OPT_MODEL(
        struct llm_options, model, FIXED, "",
        "http: the model's name at the server; local: a folder with a Hugging Face checkpoint"),
    OPT_NAMED(struct llm_options, prompt, FIXED, "",
              "template: bcpg first_error all_errors agent score rank, for a local model one_step "
              "score_step, or a file (a copy of one in examples/prompts to start from; "
              "nodes/llm_judge/prompt.h has the language); default: bcpg, score or rank as scoring "
              "needs, local one_step or score_step"),
    OPT_CHOICE(
        struct llm_options, scoring, FIXED, "verdict", scoring_names,
        "verdict: what the answer says; expected: the mean of the marks 1 to 5 under the "
        "model's probabilities at the mark (RAIL), for templates of the form score; rank: the "
        "responses of a group in the order of the probabilities of their letters (FIRST), as "
        "scores of whole responses, for templates of the form rank"),
    OPT_BOOL(struct llm_options, renormalise, FIXED, "false",
             "expected: divide by the probability of all marks together; else a vote's `outside` "
             "says what they lack"),
    OPT_FLOAT(struct llm_options, threshold, FIXED, "0.5", 0, 1,
              "score at which the metrics count a step as correct; votes keep the score"),
    OPT_GROUP("backend http: what is asked"),
    OPT_INT(struct llm_options, votes, FIXED, "1", 1, 100,
            "times the judge is asked about each response, with seed, seed + 1 ...; scores are "
            "means, and `agreement` says how many were on their side"),
    OPT_INT(struct llm_options, window_steps, FIXED, "0", 0, 1e6,
            "steps asked about in one call; 0: all of a response"),
    OPT_INT(
        struct llm_options, window_context, FIXED, "4", 0, 1e6,
        "steps shown before the ones of a window, for templates with {{#previous}}; fewer where "
        "the model's context is too short"),
    OPT_FLOAT(struct llm_options, temperature, FIXED, "0", -1, 2, "of the judge; -1: not sent"),
    OPT_INT(struct llm_options, max_tokens, FIXED, "4096", 0, 1e6, "of one answer; 0: not sent"),
    OPT_CHOICE(struct llm_options, limit_field, FIXED, "max_tokens", limit_names,
               "the name under which max_tokens is sent; reasoning models want the second"),
    OPT_INT(struct llm_options, seed, FIXED, "-1", -1, 9e15,
            "sent for servers that heed it; -1: not sent"),
    OPT_CHOICE(
        struct llm_options, format, FIXED, "text", format_names,
        "response_format sent: none, json_object, that with a schema (llama-cpp-python), or "
        "json_schema; a server that does not know it is asked for the one before, at last for "
        "none"),
    OPT_INT(struct llm_options, top_logprobs, FIXED, "20", 1, 100,
            "expected, rank: tokens whose probability is asked for at each place; OpenAI and vLLM "
            "allow 20"),
    OPT_BOOL(
        struct llm_options, continue_message, FIXED, "false",
        "a template that ends in {{#assistant}} is continued by vLLM and SGLang where this asks "
        "for it; llama.cpp does so by itself"),
    OPT_GROUP("backend http: calls"),
    REMOTE_OPTIONS(struct llm_options),
    OPT_GROUP("backend local"),
    OPT_TEXT(struct llm_options, yes_token, FIXED, " yes", "the token that says a step is correct"),
    OPT_TEXT(struct llm_options, no_token, FIXED, " no", "the token that says it is not"),
    OPT_END,
};

const char *
llm_model_name(const struct llm_options *o)
{
    const char *slash = o->backend == LLM_local ? strrchr(o->model, '/') : NULL;

    return slash && slash[1] ? slash + 1 : o->model;
}

static const char *
standard_prompt(const struct llm_options *o)
{
    if (o->backend == LLM_local)
        return o->scoring == LLM_expected ? "score_step" : "one_step";
    return o->scoring == LLM_expected ? "score" : o->scoring == LLM_rank ? "rank" : "bcpg";
}

/* A name without a slash is one of ours; the topology's check has made a path of every file's. */
static struct prompt *
open_prompt(const struct llm_options *o, struct error *e)
{
    enum prompt_scope scope = o->backend == LLM_http ? PROMPT_all : PROMPT_step;
    const char *name = o->prompt[0] ? o->prompt : standard_prompt(o);
    struct span text = prompt_shipped(name);
    struct prompt *p;
    const char *near;

    if (strchr(name, '/'))
        return prompt_open(name, scope, e);
    if (!text.at) {
        near = nearest(name, prompt_shipped_names);
        error_set(e, ERROR_topology,
                  "there is no template '%.60s'%s%s%s, and no file beside the topology", name,
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return NULL;
    }
    p = prompt_new(text, scope, e);
    if (!p)
        error_wrap(e, "template '%s'", name);
    return p;
}

/* Do template, scoring and format fit? */
static int
check_scoring(struct check *c, const struct llm_options *o, enum prompt_form form, struct error *e)
{
    if (o->scoring == LLM_expected && form != FORM_score)
        return check_fail(c, "scoring", e, "expected needs a template with {{@form score}}");
    if (o->scoring == LLM_rank && form != FORM_rank)
        return check_fail(c, "scoring", e, "rank needs a template with {{@form rank}}");
    if (o->scoring != LLM_rank && form == FORM_rank)
        return check_fail(c, "prompt", e, "a template with {{@form rank}} needs scoring: rank");
    if (o->backend == LLM_local && o->scoring == LLM_rank)
        return check_fail(c, "scoring", e, "rank needs backend http");
    if (o->backend == LLM_local && (o->votes > 1 || o->window_steps > 0))
        return check_fail(c, o->votes > 1 ? "votes" : "window_steps", e,
                          "a local model is asked once, about one step at a time");
    if (o->scoring != LLM_verdict && o->format != CHAT_text)
        return check_fail(c, "format", e,
                          "a server that is told what to write gives other probabilities: format"
                          " must be text where scoring is %s",
                          scoring_names[o->scoring]);
    if (o->scoring == LLM_rank && o->window_steps > 0)
        return check_fail(c, "window_steps", e, "whole responses are ranked");
    if (o->temperature == 0 && o->votes > (o->scoring == LLM_rank ? 2 : 1))
        return check_fail(c, "votes", e,
                          "at temperature 0 the same question has the same answer: set temperature,"
                          " e.g. 1");
    return 0;
}

static int
llm_check(struct check *c, struct error *e)
{
    const struct llm_options *o = c->options;
    struct error why;
    struct prompt *prompt = open_prompt(o, &why);
    enum prompt_form form;
    int rc;

    if (!prompt)
        return check_fail(c, "prompt", e, "%s", why.text);
    form = prompt_form(prompt);
    prompt_free(prompt);
    rc = check_scoring(c, o, form, e);
    if (rc != 0)
        return rc;
    return o->backend == LLM_http ? remote_check(c, o, e) : local_check(c, o, e);
}

static int
llm_probe(const void *options, struct buffer *told, struct error *e)
{
    const struct llm_options *o = options;

    return o->backend == LLM_http ? remote_probe(&o->remote, o->model, told, e) : 0;
}

/* A newer program may ship another text under the same name: the run keeps the one that it began
 * with, or ends. */
static int
keep_shipped(struct node *n, const struct llm_options *o, struct error *e)
{
    static const char key[] = "template";
    const char *name = o->prompt[0] ? o->prompt : standard_prompt(o);
    struct span text = prompt_shipped(name), value;
    uint64_t hash = XXH3_64bits(text.at, text.length);

    if (!node_get(n, span_text(key), &value))
        node_put(n, span_text(key), span_of(&hash, sizeof(hash)));
    else if (value.length != sizeof(hash) || memcmp(value.at, &hash, sizeof(hash)) != 0)
        return error_set(e, ERROR_model,
                         "this program has another template '%s' than the run began with", name);
    return 0;
}

static int
llm_start(struct node *n, struct error *e)
{
    struct llm_judge *judge = node_state(n);
    const struct llm_options *o = node_options(n);

    int rc =
        strchr(o->prompt, '/') ? origin_check(n, o->prompt, e) : keep_shipped(n, o, e);

    if (rc < 0)
        return rc;
    judge->prompt = open_prompt(o, e);
    if (!judge->prompt)
        return error_wrap(e, "option 'prompt'");
    if (o->backend == LLM_http)
        judge->remote = remote_open(n, e);
    else
        judge->local = local_open(n, e);
    return judge->remote || judge->local ? 0 : e->code;
}

static int
llm_take(struct node *n, struct unit *u, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    return judge->remote ? remote_take(judge->remote, &u, 1, e) : local_take(judge->local, u, e);
}

static bool
llm_whole_groups(const void *options)
{
    const struct llm_options *o = options;

    return o->scoring == LLM_rank;
}

static int
llm_take_group(struct node *n, struct unit *const *units, int count, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    return remote_take(judge->remote, units, count, e);
}

static int
llm_ready(struct node *n, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    return judge->remote ? remote_ready(judge->remote, e) : 0;
}

static int
llm_pump(struct node *n, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    return judge->local ? local_pump(judge->local, e) : PUMP_IDLE;
}

static int
llm_flush(struct node *n, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    return judge->remote ? remote_flush(judge->remote, e) : 0;
}

static int
llm_changed(struct node *n, const char *option, struct error *e)
{
    struct llm_judge *judge = node_state(n);

    (void)option;
    return judge->remote ? remote_changed(judge->remote, e) : 0;
}

static void
llm_stop(struct node *n)
{
    struct llm_judge *judge = node_state(n);

    remote_close(judge->remote);
    local_close(judge->local);
    prompt_free(judge->prompt);
    judge->remote = NULL;
    judge->local = NULL;
    judge->prompt = NULL;
}

const struct node_kind node_llm_judge = {
    .name = "llm_judge",
    .summary = "a language model scores every step, over HTTP or in this process",
    .state_size = sizeof(struct llm_judge),
    .options_size = sizeof(struct llm_options),
    .ports = judge_ports,
    .options = llm_judge_options,
    .check = llm_check,
    .probe = llm_probe,
    .start = llm_start,
    .take = llm_take,
    .whole_groups = llm_whole_groups,
    .take_group = llm_take_group,
    .pump = llm_pump,
    .ready = llm_ready,
    .flush = llm_flush,
    .changed = llm_changed,
    .stop = llm_stop,
};
