/* prm_judge: a reward model in this process. The response is read once; a process reward model or
 * classifier of tokens with two labels (0 wrong, 1 right) gives, at the token of each step
 * (spans.h), the score of the step: softmax(logits)[1], as the PRMs in use do (Qwen2.5-Math-PRM,
 * arXiv 2501.07301). The learner trains such models with objective token_class on the same tokens.
 * A classifier of sequences gives one score for the response, read at its last token and said of
 * its last step: softmax(logits)[1] of two labels, sigmoid(logit) of one. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/judge.h"
#include "nodes/origin.h"
#include "nodes/scorer.h"
#include "nodes/spans.h"

#define LABELS        2
#define SLICE_SECONDS 0.05 /* pump() begins no further response after so long */
#define UNITS_IN_HAND 64

static const char *const backend_names[] = {"local", NULL};

struct prm_options {
    int backend;
    const char *model;
    double threshold;
};

static const struct option prm_judge_options[] = {
    OPT_CHOICE(struct prm_options, backend, FIXED, "local", backend_names, "where the model runs"),
    OPT_PATH(struct prm_options, model, FIXED, NULL,
             "folder with a Hugging Face checkpoint: a process reward model, or a classifier of "
             "tokens or sequences with two labels, and its tokenizer"),
    OPT_FLOAT(struct prm_options, threshold, LIVE, "0.5", 0, 1,
              "score at which the metrics count a step as correct; votes keep the score"),
    OPT_END,
};

struct prm_judge {
    struct scorer scorer;
    struct tokens prompt, response;
    struct unit *units[UNITS_IN_HAND]; /* a ring, in order of arrival */
    int first, count;
};

static const char *
model_name(const struct prm_options *o)
{
    const char *slash = strrchr(o->model, '/');

    return slash && slash[1] ? slash + 1 : o->model;
}

static int
prm_check(struct check *c, struct error *e)
{
    const struct prm_options *o = c->options;
    struct error why;

    if (scorer_check(o->model, LABELS, NULL, &why) != 0)
        return check_fail(c, "model", e, "%s", why.text);
    return 0;
}

static int
prm_start(struct node *n, struct error *e)
{
    struct prm_judge *p = node_state(n);
    const struct prm_options *o = node_options(n);

    node_set_in_flight(n, UNITS_IN_HAND);
    int rc = origin_check(n, o->model, e);
    return rc < 0 ? rc : scorer_open(&p->scorer, o->model, LABELS, e);
}

static int
prm_take(struct node *n, struct unit *u, struct error *e)
{
    struct prm_judge *p = node_state(n);

    if (p->count == UNITS_IN_HAND)
        return error_set(e, ERROR_internal, "more than %d units in hand", UNITS_IN_HAND);
    p->units[(p->first + p->count++) % UNITS_IN_HAND] = u;
    node_wake(n);
    return 0;
}

/* Ids of prompt and response; ERROR_limit when the model does not take so many. */
static int
encode(struct prm_judge *p, const struct rollout *r, struct error *e)
{
    int rc = tokenizer_encode(p->scorer.tokenizer, r->prompt, SPANS_PROMPT_FLAGS, &p->prompt, e);

    if (rc == 0)
        rc = tokenizer_encode(p->scorer.tokenizer, r->response, SPANS_RESPONSE_FLAGS, &p->response,
                              e);
    if (rc == 0 && p->prompt.count + p->response.count > scorer_length_max(&p->scorer))
        rc = error_set(e, ERROR_limit,
                       "prompt and response have %" PRId64 " tokens, the model takes %" PRId64,
                       p->prompt.count + p->response.count, scorer_length_max(&p->scorer));
    return rc;
}

/* Where the scores of the steps are read, in ids of prompt and response; -1: a step is not spoken
 * of. */
static void
places_of(const struct prm_judge *p, const struct steps *steps, int64_t *places)
{
    int64_t count = steps->ends.count, tokens = p->prompt.count + p->response.count;

    if (p->scorer.model.config.head == MODEL_HEAD_sequence) {
        for (int64_t i = 0; i < count; i++)
            places[i] = i == count - 1 ? tokens - 1 : -1;
        return;
    }
    spans_tokens(&p->response, steps->ends.at, count, places);
    for (int64_t i = 0; i < count; i++)
        places[i] += places[i] >= 0 ? p->prompt.count : 0;
}

/* Fills scores and said; a step without a token is not spoken of. */
static void
score(struct prm_judge *p, const struct steps *steps, struct vote *vote, struct arena *arena)
{
    int64_t count = steps->ends.count, asked = 0;
    int64_t *places = arena_take(arena, (size_t)count * sizeof(*places) + 1);
    int64_t *asking = arena_take(arena, (size_t)count * sizeof(*asking) + 1);
    float *scores = arena_take(arena, (size_t)count * sizeof(*scores) + 1);

    vote->scores = (struct f32s){count, arena_take(arena, (size_t)count * sizeof(float) + 1)};
    vote->said = (struct u8s){count, arena_take(arena, (size_t)count + 1)};
    vote->tokens_in = (uint64_t)(p->prompt.count + p->response.count);
    places_of(p, steps, places);
    for (int64_t i = 0; i < count; i++)
        if (places[i] >= 0)
            asking[asked++] = places[i];
    scorer_begin(&p->scorer);
    scorer_add(&p->scorer, &p->prompt, &p->response, asking, asked);
    scorer_run(&p->scorer, 0, p->scorer.model.head_rows - 1, scores);
    asked = 0;
    for (int64_t i = 0; i < count; i++)
        if (places[i] >= 0) {
            vote->scores.at[i] = scores[asked++];
            vote->said.at[i] = 1;
        }
}

static void
judge(struct node *n, struct prm_judge *p, struct unit *u)
{
    const struct prm_options *o = node_options(n);
    struct steps steps;
    struct arena arena = {0};
    struct vote vote = {.model = span_text(model_name(o))};
    struct error why;
    int rc = judge_read(u, &steps, &arena, &why);

    if (rc == 0)
        rc = encode(p, &steps.rollout, &why);
    if (rc != 0) {
        judge_dead(n, u, &vote, "%s", why.text);
    } else {
        score(p, &steps, &vote, &arena);
        judge_vote(n, u, &vote, o->threshold);
    }
    arena_free(&arena);
}

static int
prm_pump(struct node *n, struct error *e)
{
    struct prm_judge *p = node_state(n);
    double from = node_now(n);

    (void)e;
    while (p->count > 0 && node_now(n) - from < SLICE_SECONDS) {
        struct unit *u = p->units[p->first];
        p->first = (p->first + 1) % UNITS_IN_HAND;
        p->count--;
        judge(n, p, u);
    }
    if (p->count)
        node_why(n, "computing: %d responses in hand", p->count);
    else
        node_why(n, NULL);
    return p->count ? PUMP_AGAIN : PUMP_IDLE;
}

static void
prm_stop(struct node *n)
{
    struct prm_judge *p = node_state(n);

    scorer_close(&p->scorer);
    tokens_free(&p->prompt);
    tokens_free(&p->response);
}

const struct node_kind node_prm_judge = {
    .name = "prm_judge",
    .summary = "a process reward model scores every step, in this process",
    .state_size = sizeof(struct prm_judge),
    .options_size = sizeof(struct prm_options),
    .ports = judge_ports,
    .options = prm_judge_options,
    .check = prm_check,
    .start = prm_start,
    .take = prm_take,
    .pump = prm_pump,
    .stop = prm_stop,
};
