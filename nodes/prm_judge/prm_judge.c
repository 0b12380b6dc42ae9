/* prm_judge: the kind. A process reward model scores every step of a response, in this process
 * (local.c) or behind a server (server.c). A classifier of sequences gives one score for the
 * response, read at its last token and said of its last step. */
#include "nodes/prm_judge/prm_judge.h"

#include <string.h>

#include "nodes/judge.h"

static const char *const backend_names[] = {"local", "http", NULL};
static const char *const response_names[] = {"none", "product", "minimum", "last", NULL};
static const char *const api_names[] = {"pooling", "embeddings", NULL};
static const char *const request_names[] = {"auto", "ids", "text", "messages", NULL};
static const char *const activation_names[] = {"probabilities", "logits", NULL};

static const struct option prm_judge_options[] = {
    OPT_CHOICE(struct prm_options, backend, FIXED, "local", backend_names,
               "local: the model runs in this process; http: a server runs it, vLLM's /pooling"),
    OPT_MODEL(struct prm_options, model, FIXED, "",
              "local: folder with a Hugging Face checkpoint, a process reward model, a value "
              "model, a classifier of tokens or sequences or, for math_shepherd, a language model, "
              "and its tokenizer; http: the model's name at the server"),
    OPT_FLOAT(struct prm_options, threshold, LIVE, "0.5", 0, 1,
              "score at which the metrics count a step as correct; votes keep the score "
              "(consensus has thresholds of its own)"),
    OPT_CHOICE(struct prm_options, response, FIXED, "none", response_names,
               "score of the whole response, from those of its steps: product or minimum for "
               "models of human or judged labels, last for those of Monte Carlo ones (2501.07301)"),
    OPT_GROUP("how a response is put"),
    OPT_CHOICE(struct prm_options, convention, FIXED, "auto", convention_names,
               "plain: as it stands, scored at each step's last token; qwen: Qwen2.5-Math-PRM; "
               "skywork: Skywork-o1-Open-PRM; math_shepherd: a language model that says + or - at "
               "a tag; auto: local, told from the model's files"),
    OPT_TEXT(struct prm_options, system, FIXED, CONVENTION_SYSTEM, "qwen: the system message"),
    OPT_TEXT(struct prm_options, step_tag, FIXED, "",
             "what follows a step, one token; empty: the convention's own"),
    OPT_TEXT(struct prm_options, good_token, FIXED, "+", "math_shepherd: the word for correct"),
    OPT_TEXT(struct prm_options, bad_token, FIXED, "-", "math_shepherd: the word for wrong"),
    OPT_BOOL(struct prm_options, embeddings, FIXED, "false",
             "local: votes carry the final hidden state of each step, for the learner's "
             "label_noise"),
    OPT_GROUP("backend http: what is asked"),
    OPT_CHOICE(struct prm_options, api, FIXED, "pooling", api_names,
               "pooling: POST url/pooling; embeddings: POST url/embeddings, of old vLLM (url ends "
               "with /v1)"),
    OPT_CHOICE(struct prm_options, request, FIXED, "auto", request_names,
               "what is sent: token ids, the whole text, or chat messages; auto: ids with a "
               "tokenizer, else messages for qwen, text for math_shepherd"),
    OPT_PATH(struct prm_options, tokenizer, FIXED, "",
             "folder with the model's tokenizer.json: ids are sent, so that the tags are surely "
             "tokens, and a server that answers for each token is understood"),
    OPT_TEXT(struct prm_options, task, FIXED, "",
             "vLLM's task: token_classify, before that encode, reward; empty: not sent"),
    OPT_CHOICE(struct prm_options, activation, FIXED, "probabilities", activation_names,
               "what the server's rows hold; logits: use_activation false is sent, and softmax or "
               "sigmoid taken here"),
    OPT_GROUP("backend http: calls"),
    REMOTE_OPTIONS(struct prm_options),
    OPT_END,
};

const char *
prm_model_name(const struct prm_options *o)
{
    const char *slash = o->backend == PRM_local ? strrchr(o->model, '/') : NULL;

    return slash && slash[1] ? slash + 1 : o->model;
}

void
prm_vote_begin(struct vote *vote, int64_t steps, struct arena *arena)
{
    size_t count = (size_t)steps;

    vote->scores = (struct f32s){steps, arena_take(arena, count * sizeof(float) + 1)};
    vote->said = (struct u8s){steps, arena_take(arena, count + 1)};
    memset(vote->scores.at, 0, count * sizeof(float));
    memset(vote->said.at, 0, count);
}

void
prm_vote_response(struct vote *vote, enum prm_response how, struct arena *arena)
{
    double product = 1, least = 1, last = 0;
    bool any = false;

    for (int64_t i = 0; i < vote->said.count; i++) {
        if (!vote->said.at[i])
            continue;
        last = (double)vote->scores.at[i];
        product *= last;
        least = last < least ? last : least;
        any = true;
    }
    if (how == PRM_response_none || !any)
        return;
    vote->response = (struct f32s){1, arena_take(arena, sizeof(float))};
    vote->response.at[0] = (float)(how == PRM_response_product   ? product
                                   : how == PRM_response_minimum ? least
                                                                 : last);
}

static int
prm_check(struct check *c, struct error *e)
{
    const struct prm_options *o = c->options;

    return o->backend == PRM_http ? prm_server_check(c, o, e) : prm_local_check(c, o, e);
}

static int
prm_probe(const void *options, struct buffer *told, struct error *e)
{
    const struct prm_options *o = options;

    return o->backend == PRM_http ? prm_server_probe(o, told, e) : 0;
}

static int
prm_start(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);
    const struct prm_options *o = node_options(n);

    judge->convention = convention_make((enum convention_kind)o->convention, o->system, o->step_tag,
                                        o->good_token, o->bad_token);
    if (o->backend == PRM_http)
        judge->server = prm_server_open(n, e);
    else
        judge->local = prm_local_open(n, e);
    return judge->server || judge->local ? 0 : e->code;
}

static int
prm_take(struct node *n, struct unit *u, struct error *e)
{
    struct prm_judge *judge = node_state(n);

    return judge->server ? prm_server_take(judge->server, u, e)
                         : prm_local_take(judge->local, u, e);
}

static int
prm_ready(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);

    return judge->server ? prm_server_ready(judge->server, e) : 0;
}

static int
prm_pump(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);

    return judge->local ? prm_local_pump(judge->local, e) : PUMP_IDLE;
}

/* What was paid for is written down before the vote is. */
static int
prm_flush(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);

    return judge->server ? prm_server_flush(judge->server, e) : 0;
}

static int
prm_changed(struct node *n, const char *option, struct error *e)
{
    struct prm_judge *judge = node_state(n);

    (void)option;
    return judge->server ? prm_server_changed(judge->server, e) : 0;
}

static void
prm_stop(struct node *n)
{
    struct prm_judge *judge = node_state(n);

    prm_server_close(judge->server);
    prm_local_close(judge->local);
    judge->server = NULL;
    judge->local = NULL;
}

const struct node_kind node_prm_judge = {
    .name = "prm_judge",
    .summary = "a process reward model scores every step, in this process or over HTTP",
    .state_size = sizeof(struct prm_judge),
    .options_size = sizeof(struct prm_options),
    .ports = judge_ports,
    .options = prm_judge_options,
    .check = prm_check,
    .probe = prm_probe,
    .start = prm_start,
    .take = prm_take,
    .pump = prm_pump,
    .ready = prm_ready,
    .flush = prm_flush,
    .changed = prm_changed,
    .stop = prm_stop,
};
