/* llm_judge: the kind. A language model scores every step of a response, either behind an
 * OpenAI-compatible server (remote.c) or in this process (local.c). */
#include "nodes/llm_judge/llm_judge.h"

#include <string.h>

#include "nodes/judge.h"
#include "nodes/origin.h"
#include "nodes/remote/probe.h"

static const char *const backend_names[] = {"http", "local", NULL};
static const char *const format_names[] = {"text", "json", "schema", NULL};
static const char *const limit_names[] = {"max_tokens", "max_completion_tokens", NULL};

static const struct option llm_judge_options[] = {
    OPT_CHOICE(struct llm_options, backend, FIXED, "http", backend_names,
               "http: an OpenAI-compatible server; local: a small decoder in this process"),
    OPT_MODEL(
        struct llm_options, model, FIXED, "",
        "http: the model's name at the server; local: a folder with a Hugging Face checkpoint"),
    OPT_PATH(struct llm_options, prompt, FIXED, "",
             "template file (a copy of examples/prompts/all_steps.txt, or one_step.txt for local, "
             "to start "
             "from): {{problem}} {{answer}} {{response}} {{count}}, {{#steps}} ... {{/steps}} "
             "around {{index}} "
             "{{number}} {{step}} {{previous}}, chat messages {{#system}} {{#user}} "
             "{{#assistant}}; local: one step "
             "is judged, no chat messages; default: built in"),
    OPT_FLOAT(struct llm_options, threshold, FIXED, "0.5", 0, 1,
              "score at which the metrics count a step as correct; votes keep the score"),
    OPT_GROUP("backend http: what is asked"),
    OPT_FLOAT(struct llm_options, temperature, FIXED, "0", -1, 2, "of the judge; -1: not sent"),
    OPT_INT(struct llm_options, max_tokens, FIXED, "4096", 0, 1e6, "of one answer; 0: not sent"),
    OPT_CHOICE(struct llm_options, limit_field, FIXED, "max_tokens", limit_names,
               "the name under which max_tokens is sent; reasoning models want the second"),
    OPT_INT(struct llm_options, seed, FIXED, "-1", -1, 9e15,
            "sent for servers that heed it; -1: not sent"),
    OPT_CHOICE(struct llm_options, format, FIXED, "text", format_names,
               "response_format sent: none, json_object, or json_schema of the verdict"),
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

static struct prompt *
open_prompt(const struct llm_options *o, struct error *e)
{
    enum prompt_scope scope = o->backend == LLM_http ? PROMPT_all : PROMPT_step;

    if (o->prompt[0])
        return prompt_open(o->prompt, scope, e);
    return prompt_new(span_text(scope == PROMPT_all ? prompt_default_all : prompt_default_step),
                      scope, e);
}

static int
llm_check(struct check *c, struct error *e)
{
    const struct llm_options *o = c->options;
    struct error why;
    struct prompt *prompt = open_prompt(o, &why);

    if (!prompt)
        return check_fail(c, "prompt", e, "%s", why.text);
    prompt_free(prompt);
    return o->backend == LLM_http ? remote_check(c, o, e) : local_check(c, o, e);
}

static int
llm_probe(const void *options, struct buffer *told, struct error *e)
{
    const struct llm_options *o = options;

    return o->backend == LLM_http ? remote_probe(&o->remote, o->model, told, e) : 0;
}

static int
llm_start(struct node *n, struct error *e)
{
    struct llm_judge *judge = node_state(n);
    const struct llm_options *o = node_options(n);

    int rc = o->prompt[0] ? origin_check(n, o->prompt, e) : 0;
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

    return judge->remote ? remote_take(judge->remote, u, e) : local_take(judge->local, u, e);
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
    .pump = llm_pump,
    .ready = llm_ready,
    .flush = llm_flush,
    .changed = llm_changed,
    .stop = llm_stop,
};
