/* llm_judge: the kind. A language model scores every step of a response, either behind an
 * OpenAI-compatible server (remote.c) or in this process (local.c). */
#include "nodes/llm_judge/llm_judge.h"

#include <string.h>

#include "nodes/judge.h"
#include "nodes/origin.h"

static const char *const backend_names[] = {"http", "local", NULL};
static const char *const format_names[] = {"text", "json", "schema", NULL};
static const char *const limit_names[] = {"max_tokens", "max_completion_tokens", NULL};

static const struct option llm_judge_options[] = {
    OPT_CHOICE(struct llm_options, backend, FIXED, "http", backend_names,
               "http: an OpenAI-compatible server; local: a small decoder in this process"),
    OPT_TEXT(
        struct llm_options, url, LIVE, "",
        "http: where the server is, e.g. http://localhost:8000/v1; /chat/completions is added"),
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
    OPT_TEXT(struct llm_options, api_key_env, FIXED, "",
             "http: name of the environment variable that holds the key; the key itself is never "
             "written down"),
    OPT_INT(struct llm_options, in_flight, LIVE, "16", 1, 4096,
            "http: calls in flight at once at most"),
    OPT_TIME(struct llm_options, timeout, LIVE, "10m", 0.01, 86400, "http: for one call in all"),
    OPT_TIME(struct llm_options, connect_timeout, LIVE, "5s", 0.01, 600,
             "http: to reach the server"),
    OPT_INT(struct llm_options, tries, FIXED, "3", 1, 100,
            "http: answers without a usable verdict before the judge abstains"),
    OPT_SIZE(struct llm_options, max_response_bytes, LIVE, "4MiB", 256, 268435456,
             "http: a larger answer counts as one without a verdict"),
    OPT_FLOAT(struct llm_options, temperature, FIXED, "0", -1, 2,
              "http: of the judge; -1: not sent"),
    OPT_INT(struct llm_options, max_tokens, FIXED, "4096", 0, 1e6,
            "http: of one answer; 0: not sent"),
    OPT_CHOICE(struct llm_options, limit_field, FIXED, "max_tokens", limit_names,
               "http: the name under which max_tokens is sent; reasoning models want the second"),
    OPT_INT(struct llm_options, seed, FIXED, "-1", -1, 9e15,
            "http: sent for servers that heed it; -1: not sent"),
    OPT_CHOICE(struct llm_options, format, FIXED, "text", format_names,
               "http: response_format sent: none, json_object, or json_schema of the verdict"),
    OPT_FLOAT(struct llm_options, price_in, LIVE, "0", 0, 1e6,
              "http: US dollars for 1e6 tokens read"),
    OPT_FLOAT(struct llm_options, price_out, LIVE, "0", 0, 1e6,
              "http: US dollars for 1e6 tokens written"),
    OPT_FLOAT(struct llm_options, budget_usd, LIVE, "0", 0, 1e9,
              "http: US dollars that each replica may spend; then the stream pauses; 0: no bound"),
    OPT_TEXT(struct llm_options, yes_token, FIXED, " yes",
             "local: the token that says a step is correct"),
    OPT_TEXT(struct llm_options, no_token, FIXED, " no", "local: the token that says it is not"),
    OPT_FLOAT(struct llm_options, threshold, FIXED, "0.5", 0, 1,
              "score at which the metrics count a step as correct; votes keep the score"),
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
    .start = llm_start,
    .take = llm_take,
    .pump = llm_pump,
    .ready = llm_ready,
    .changed = llm_changed,
    .stop = llm_stop,
};
