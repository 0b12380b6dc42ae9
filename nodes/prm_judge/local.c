/* local: the model in this process. The response is read once; its steps are scored at the places
 * that the convention names. Units wait in a ring; pump() takes one response after the other, so
 * that a score depends on nothing but its own response. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/model_config.h"
#include "nodes/judge.h"
#include "nodes/origin.h"
#include "nodes/prm_judge/prm_judge.h"
#include "nodes/scorer.h"

#define LABELS        2
#define SLICE_SECONDS 0.05 /* pump() begins no further response after so long */
#define UNITS_IN_HAND 64
#define VECTORS_MAX   (1 << 20) /* numbers of one vote: a message has a bound of its own */

struct prm_local {
    struct node *node;
    const struct prm_options *options;
    const struct convention *convention;
    struct scorer scorer;
    struct convention_text text;
    struct tokens tokens, piece;
    struct unit *units[UNITS_IN_HAND]; /* a ring, in order of arrival */
    int first, count;
};

/* How many labels the scorer is to ask for: none of a language model. */
static int64_t
labels_of(const struct model_config *config)
{
    return config->head == MODEL_HEAD_language ? 0 : LABELS;
}

int
prm_local_check(struct check *c, const struct prm_options *o, struct error *e)
{
    struct convention convention = convention_make((enum convention_kind)o->convention, o->system,
                                                   o->step_tag, o->good_token, o->bad_token);
    struct model_config config;
    struct tokenizer *t = NULL;
    struct error why;

    if (!o->model[0])
        return check_fail(c, "model", e, "backend local needs the folder of a model");
    if (o->model[0] != '/')
        return check_fail(c, "model", e, "there is no folder '%s' beside the topology", o->model);
    if (model_config_read(&config, o->model, &why) != 0 ||
        scorer_check(o->model, labels_of(&config), &t, &why) != 0)
        return check_fail(c, "model", e, "%s", why.text);
    int rc = convention_resolve(&convention, o->model, &config, t, &why);
    tokenizer_close(t);
    return rc != 0 ? check_fail(c, o->convention ? "convention" : "model", e, "%s", why.text) : 0;
}

struct prm_local *
prm_local_open(struct node *n, struct error *e)
{
    struct prm_judge *judge = node_state(n);
    const struct prm_options *o = node_options(n);
    struct prm_local *l = xalloc(sizeof(*l));
    struct model_config config;
    int rc = origin_check(n, o->model, e);

    l->node = n;
    l->options = o;
    l->convention = &judge->convention;
    if (rc == 0)
        rc = model_config_read(&config, o->model, e);
    if (rc == 0)
        rc = scorer_open(&l->scorer, o->model, labels_of(&config), e);
    if (rc == 0)
        rc = convention_resolve(&judge->convention, o->model, &l->scorer.model.config,
                                l->scorer.tokenizer, e);
    if (rc != 0) {
        prm_local_close(l);
        return NULL;
    }
    node_set_in_flight(n, UNITS_IN_HAND);
    return l;
}

int
prm_local_take(struct prm_local *l, struct unit *u, struct error *e)
{
    if (l->count == UNITS_IN_HAND)
        return error_set(e, ERROR_internal, "more than %d units in hand", UNITS_IN_HAND);
    l->units[(l->first + l->count++) % UNITS_IN_HAND] = u;
    node_wake(l->node);
    return 0;
}

/* Ids and places; ERROR_limit when the model does not take so many. */
static int
encode(struct prm_local *l, const struct steps *steps, int64_t *places, struct error *e)
{
    int rc = convention_encode(l->convention, l->scorer.tokenizer, steps, &l->text, &l->piece,
                               &l->tokens, places, e);

    if (rc == 0 && l->tokens.count > scorer_length_max(&l->scorer))
        rc = error_set(e, ERROR_limit,
                       "prompt and response have %" PRId64 " tokens, the model takes %" PRId64,
                       l->tokens.count, scorer_length_max(&l->scorer));
    return rc;
}

/* The final hidden states of the steps that are spoken of; zeros for the others. A response of so
 * many steps that they would not fit goes without. */
static void
embed(struct prm_local *l, const int64_t *places, struct vote *vote, struct arena *arena)
{
    int64_t count = vote->said.count, width = l->scorer.model.config.hidden_size, asked = 0;
    size_t row = (size_t)width * sizeof(float);

    if (count > VECTORS_MAX / width) {
        node_log(l->node, LOG_warning,
                 "%" PRId64 " steps of %" PRId64 " numbers are too many: no embeddings", count,
                 width);
        return;
    }
    vote->embeddings = (struct f32s){count * width, arena_take(arena, (size_t)count * row + 1)};
    for (int64_t i = 0; i < count; i++) {
        float *at = vote->embeddings.at + i * width;

        if (places[i] >= 0)
            memcpy(at, scorer_hidden(&l->scorer, asked++), row);
        else
            memset(at, 0, row);
    }
}

/* Fills the vote; a step without a place is not spoken of. */
static void
score(struct prm_local *l, const int64_t *places, int64_t count, struct vote *vote,
      struct arena *arena)
{
    const struct convention *c = l->convention;
    bool words = c->kind == CONVENTION_math_shepherd;
    int64_t *asking = arena_take(arena, (size_t)count * sizeof(*asking) + 1), asked = 0;
    float *scores = arena_take(arena, (size_t)count * sizeof(*scores) + 1);

    prm_vote_begin(vote, count, arena);
    vote->tokens_in = (uint64_t)l->tokens.count;
    for (int64_t i = 0; i < count; i++)
        if (places[i] >= 0)
            asking[asked++] = places[i];
    scorer_begin(&l->scorer);
    scorer_add(&l->scorer, &l->tokens, NULL, asking, asked);
    scorer_run(&l->scorer, words ? c->bad_id : 0,
               words ? c->good_id : l->scorer.model.head_rows - 1, scores);
    asked = 0;
    for (int64_t i = 0; i < count; i++)
        if (places[i] >= 0) {
            vote->scores.at[i] = scores[asked++];
            vote->said.at[i] = 1;
        }
    if (l->options->embeddings && asked > 0)
        embed(l, places, vote, arena);
    prm_vote_response(vote, (enum prm_response)l->options->response, arena);
}

static void
judge(struct prm_local *l, struct unit *u)
{
    struct steps steps;
    struct arena arena = {0};
    struct vote vote = {.model = span_text(prm_model_name(l->options))};
    struct error why;
    int64_t *places = NULL;
    int rc = judge_read(u, &steps, &arena, &why);

    if (rc == 0) {
        places = arena_take(&arena, (size_t)steps.ends.count * sizeof(*places) + 1);
        rc = encode(l, &steps, places, &why);
    }
    if (rc != 0) {
        judge_dead(l->node, u, &vote, "%s", why.text);
    } else {
        score(l, places, steps.ends.count, &vote, &arena);
        judge_vote(l->node, u, &vote, l->options->threshold);
    }
    arena_free(&arena);
}

int
prm_local_pump(struct prm_local *l, struct error *e)
{
    double from = node_now(l->node);

    (void)e;
    while (l->count > 0 && node_now(l->node) - from < SLICE_SECONDS) {
        struct unit *u = l->units[l->first];
        l->first = (l->first + 1) % UNITS_IN_HAND;
        l->count--;
        judge(l, u);
    }
    if (l->count)
        node_why(l->node, "computing: %d responses in hand", l->count);
    else
        node_why(l->node, NULL);
    return l->count ? PUMP_AGAIN : PUMP_IDLE;
}

void
prm_local_close(struct prm_local *l)
{
    if (!l)
        return;
    scorer_close(&l->scorer);
    convention_text_free(&l->text);
    tokens_free(&l->tokens);
    tokens_free(&l->piece);
    free(l);
}
