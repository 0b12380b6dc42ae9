/* segmenter: cuts wrong responses into steps for the judges; correct ones go straight on. */
#include <string.h>

#include "graph/node.h"
#include "kernels/threads.h"
#include "nodes/segmenter/openers.h"
#include "nodes/origin.h"
#include "nodes/segmenter/sat.h"
#include "nodes/segmenter/segment.h"
#include "nodes/spans.h"

#define UNITS_IN_HAND 64 /* waiting for the model */

enum { PORT_in, PORT_steps, PORT_passed };

struct segmenter_options {
    int          method;
    struct texts patterns;
    bool         intact, tag;
    int64_t      min_bytes, max_bytes;
    double       correct_above;
    bool         all;
    const char  *model, *tokenizer;
    double       threshold, paragraph_threshold;
    int          paragraphs;
    bool         line_feeds, drop_spaces;
    int64_t      stride, block_size;
    int          weighting;
    int64_t      min_length, max_length;
    int          prior;
    double       prior_length, prior_spread;
    int64_t      threads;
};

struct segmenter {
    struct segment segment;
    struct sat    *sat;
    struct arena   arena;
    struct buffer  ends, kinds, body;
    struct unit   *units[UNITS_IN_HAND];    /* a ring, in order of arrival */
    int            first, count;
    bool           reading;                 /* the first of them is at the model */
};

static const char *const method_names[] = {"line", "paragraph", "sentence", "marker", "given", "sat",
                                           NULL};
static const char *const paragraph_names[] = {"off", "split", "whole", NULL};
static const char *const weighting_names[] = {"uniform", "hat", NULL};
static const char *const prior_names[] = {"uniform", "gaussian", "lognormal", "polynomial", NULL};

static const struct option segmenter_options[] = {
    OPT_CHOICE(struct segmenter_options, method, FIXED, "paragraph", method_names,
               "where a step ends: after a line, a blank line or a sentence, before a match of "
               "`patterns` or a word that turns to checking or retrying (marker), or where a "
               "Segment-any-Text model says (sat); given: as the input gives them (the reader's "
               "steps_field)"),
    OPT_TEXTS(struct segmenter_options, patterns, FIXED, "",
              "method marker: regular expressions (PCRE2); each match begins a step. None: a line "
              "or sentence that begins with an opener (\"Wait\", \"Let me check\", \"Alternatively\" "
              "...) does, and `tag` is on"),
    OPT_BOOL(struct segmenter_options, tag, FIXED, "false",
             "tell steps apart by their first words: solve, verify, retry (field `kinds`)"),
    OPT_BOOL(struct segmenter_options, intact, FIXED, "true",
             "never cut within a code fence, inline code, a LaTeX environment or a formula; only "
             "max_bytes goes before that"),
    OPT_SIZE(struct segmenter_options, min_bytes, FIXED, "0", 0, 1e9,
             "a shorter step is joined with the next one, a short last one with the one before; 0: "
             "no bound"),
    OPT_SIZE(struct segmenter_options, max_bytes, FIXED, "0", 0, 1e9,
             "a longer step is cut at a line feed or space, else between two characters, within "
             "code and formulas where there is no other place; 0: no bound"),
    OPT_FLOAT(struct segmenter_options, correct_above, FIXED, "0.5", -1e30, 1e30,
              "a response with a higher reward is correct: it leaves on `passed`, unsegmented"),
    OPT_BOOL(struct segmenter_options, all, FIXED, "false",
             "segment correct responses too and send them on `steps` instead of `passed`: for "
             "training judges"),
    OPT_GROUP("method sat"),
    OPT_PATH(struct segmenter_options, model, FIXED, "",
             "folder with a Segment-any-Text checkpoint (XLM-RoBERTa token classifier)"),
    OPT_PATH(struct segmenter_options, tokenizer, FIXED, "",
             "folder with its tokenizer.json (xlm-roberta-base's), where `model` has none"),
    OPT_FLOAT(struct segmenter_options, threshold, FIXED, "0", 0, 1,
              "cut where the probability of an end is higher; 0: 0.25 for a -sm model, 0.025 for "
              "one with limited lookahead, else 0.01"),
    OPT_CHOICE(struct segmenter_options, paragraphs, FIXED, "off", paragraph_names,
               "first cut where the probability is above paragraph_threshold, then sentences within "
               "(split), or nothing more (whole)"),
    OPT_FLOAT(struct segmenter_options, paragraph_threshold, FIXED, "0.5", 0, 1,
              "where a paragraph ends"),
    OPT_BOOL(struct segmenter_options, line_feeds, FIXED, "true",
             "cut after line feeds too, which the model reads as spaces; not with paragraphs or "
             "lengths"),
    OPT_BOOL(struct segmenter_options, drop_spaces, FIXED, "false",
             "hide the spaces of the text from the model"),
    OPT_INT(struct segmenter_options, stride, FIXED, "256", 1, SAT_BLOCK_MAX,
            "tokens from one chunk to the next; wtpsplit's split() has 64, four times the cost"),
    OPT_INT(struct segmenter_options, block_size, FIXED, "510", 1, SAT_BLOCK_MAX,
            "tokens of a chunk"),
    OPT_CHOICE(struct segmenter_options, weighting, FIXED, "uniform", weighting_names,
               "how overlapping chunks are averaged: alike, or more where a token is in the middle"),
    OPT_INT(struct segmenter_options, min_length, FIXED, "0", 0, SAT_LENGTH_MAX,
            "characters of a step where that can be; with a length the best cuts are searched and "
            "threshold and line_feeds do not count; 0: no bound"),
    OPT_INT(struct segmenter_options, max_length, FIXED, "0", 0, SAT_LENGTH_MAX,
            "characters of a step at most; 0: no bound"),
    OPT_CHOICE(struct segmenter_options, prior, FIXED, "uniform", prior_names,
               "with max_length: which lengths are likely"),
    OPT_FLOAT(struct segmenter_options, prior_length, FIXED, "70", 1, SAT_LENGTH_MAX,
              "the likeliest length, characters"),
    OPT_FLOAT(struct segmenter_options, prior_spread, FIXED, "25", 0.01, SAT_LENGTH_MAX,
              "how far lengths spread around it, characters"),
    OPT_INT(struct segmenter_options, threads, LIVE, "1", 0, THREADS_MAX,
            "threads that compute, the same steps for every number; 0: one for each core; a new "
            "number counts from the next start"),
    OPT_END
};

static const struct port segmenter_ports[] = {
    [PORT_in] = {PORT_IN, "in", MESSAGE_rollout, 0, "rollouts with their rewards"},
    [PORT_steps] = {PORT_OUT, "steps", MESSAGE_steps, 0,
                    "wrong responses, cut into steps; an empty response has none"},
    [PORT_passed] = {PORT_OUT, "passed", MESSAGE_rollout, 0, "correct responses, as they came"},
    {.direction = PORT_END}
};

static int
segment_of(const struct segmenter_options *o, struct segment *s, struct error *e)
{
    int rc = segment_init(s, (enum segment_method)o->method, o->patterns.count, o->patterns.at,
                          o->min_bytes, o->max_bytes, e);

    s->intact = o->intact;
    return rc;
}

static struct sat_options
sat_of(const struct segmenter_options *o)
{
    return (struct sat_options){
        .threshold = o->threshold,
        .paragraph_threshold = o->paragraph_threshold,
        .stride = o->stride,
        .block = o->block_size,
        .weighting = (enum sat_weighting)o->weighting,
        .paragraphs = (enum sat_paragraphs)o->paragraphs,
        .line_feeds = o->line_feeds,
        .drop_spaces = o->drop_spaces,
        .min_length = o->min_length,
        .max_length = o->max_length,
        .prior = (enum sat_prior)o->prior,
        .target = o->prior_length,
        .spread = o->prior_spread,
    };
}

/* The folder, or NULL for an option that is not set. */
static const char *
folder(const char *path)
{
    return path && *path ? path : NULL;
}

static int
check_sat(struct check *c, struct error *e)
{
    const struct segmenter_options *o = c->options;
    struct sat_options              options = sat_of(o);
    const char                     *option;
    struct error                    why;

    if (o->method != SEGMENT_sat && folder(o->model))
        return check_fail(c, "model", e, "only method sat uses a model; the method is %s",
                          method_names[o->method]);
    if (o->method != SEGMENT_sat)
        return 0;
    if (!folder(o->model))
        return check_fail(c, "method", e, "sat needs a `model`");
    if (sat_check(o->model, folder(o->tokenizer), &options, &option, &why) != 0)
        return check_fail(c, option, e, "%s", why.text);
    return 0;
}

static int
segmenter_check(struct check *c, struct error *e)
{
    const struct segmenter_options *o = c->options;
    struct segment                  s;
    struct error                    why;

    if (o->max_bytes > 0 && o->max_bytes < SEGMENT_BYTES_MAX_FLOOR)
        return check_fail(c, "max_bytes", e, "%lld is below %d, the smallest step that can be cut",
                          (long long)o->max_bytes, SEGMENT_BYTES_MAX_FLOOR);
    if (o->max_bytes > 0 && o->min_bytes > o->max_bytes)
        return check_fail(c, "min_bytes", e, "%lld is above max_bytes, %lld",
                          (long long)o->min_bytes, (long long)o->max_bytes);
    if (o->method != SEGMENT_marker && o->patterns.count > 0)
        return check_fail(c, "patterns", e, "only method marker uses patterns; the method is %s",
                          method_names[o->method]);
    if (o->method == SEGMENT_given && (o->min_bytes > 0 || o->max_bytes > 0))
        return check_fail(c, o->min_bytes > 0 ? "min_bytes" : "max_bytes", e,
                          "method given takes the steps as they are");
    if (segment_of(o, &s, &why) != 0)
        return check_fail(c, "patterns", e, "%s", why.text);
    segment_fini(&s);
    return check_sat(c, e);
}

static int
segmenter_start(struct node *n, struct error *e)
{
    struct segmenter               *s = node_state(n);
    const struct segmenter_options *o = node_options(n);
    struct sat_options              options = sat_of(o);
    int                             rc = segment_of(o, &s->segment, e);

    if (rc != 0 || o->method != SEGMENT_sat)
        return rc;
    node_set_in_flight(n, UNITS_IN_HAND);
    rc = origin_check(n, o->model, e);
    if (rc >= 0 && folder(o->tokenizer))
        rc = origin_check(n, o->tokenizer, e);
    if (rc < 0)
        return rc;
    s->sat = sat_open(o->model, folder(o->tokenizer), &options, (int)o->threads, e);
    s->segment.sat = s->sat;
    return s->sat ? 0 : ERROR_model;
}

/* The steps that came with the rollout. */
static int
take_given(const struct rollout *r, struct buffer *ends, struct error *e)
{
    if (r->given_ends.count == 0 && r->response.length > 0)
        return error_set(e, ERROR_input, "the rollout came without steps; see the reader's "
                                         "steps_field");
    buffer_add(ends, r->given_ends.at, sizeof(uint64_t) * (size_t)r->given_ends.count);
    return spans_check(r->given_ends.at, r->given_ends.count, r->response.length, e);
}

/* What each step does, by its first words. */
static void
tag_steps(struct segmenter *s, struct steps *steps)
{
    struct span text = steps->rollout.response;
    uint64_t    from = 0;

    buffer_clear(&s->kinds);
    for (int64_t i = 0; i < steps->ends.count; i++) {
        uint64_t end = steps->ends.at[i];
        uint8_t  kind = (uint8_t)openers_kind(span_of(text.at + from, end - from));

        buffer_add(&s->kinds, &kind, 1);
        from = end;
    }
    steps->kinds.at = (uint8_t *)(void *)s->kinds.at;
    steps->kinds.count = (int64_t)s->kinds.length;
}

/* Cuts a response whose turn it is. */
static void
answer(struct node *n, struct unit *u, const struct rollout *rollout)
{
    struct segmenter               *s = node_state(n);
    const struct segmenter_options *o = node_options(n);
    struct steps                    steps = {.rollout = *rollout};
    struct error                    why;
    int                             rc;

    buffer_clear(&s->ends);
    buffer_clear(&s->body);
    rc = o->method == SEGMENT_given ? take_given(rollout, &s->ends, &why)
                                    : segment_cut(&s->segment, rollout->response, &s->ends, &why);
    if (rc != 0) {
        unit_dead(n, u, "%s", why.text);
        return;
    }
    steps.ends.at = (uint64_t *)(void *)s->ends.at;
    steps.ends.count = (int64_t)(s->ends.length / sizeof(uint64_t));
    if (o->tag || (o->method == SEGMENT_marker && o->patterns.count == 0))
        tag_steps(s, &steps);
    node_count(n, METRIC_steps, steps.ends.count);
    message_write(MESSAGE_steps, &steps, &s->body);
    if (node_linked(n, PORT_steps))
        node_send(n, u, PORT_steps, buffer_span(&s->body));
    if (node_linked(n, PORT_passed))
        node_close(n, u, PORT_passed, "routed");
    unit_done(n, u);
}

static int
segmenter_take(struct node *n, struct unit *u, struct error *e)
{
    struct segmenter               *s = node_state(n);
    const struct segmenter_options *o = node_options(n);
    struct rollout                  rollout;
    struct error                    why;

    arena_clear(&s->arena);
    if (message_read(MESSAGE_rollout, u->inputs[0].body, &rollout, &s->arena, &why) != 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    if (rollout.reward > o->correct_above && !o->all) {
        if (node_linked(n, PORT_passed))
            node_send(n, u, PORT_passed, u->inputs[0].body);
        if (node_linked(n, PORT_steps))
            node_close(n, u, PORT_steps, "routed");
        unit_done(n, u);
        return 0;
    }
    if (!s->sat) {
        answer(n, u, &rollout);
        return 0;
    }
    if (s->count == UNITS_IN_HAND)
        return error_set(e, ERROR_internal, "more than %d units in hand", UNITS_IN_HAND);
    s->units[(s->first + s->count++) % UNITS_IN_HAND] = u;
    node_wake(n);
    return 0;
}

/* A slice of the first response: signals, status and heartbeats come between. */
static int
segmenter_pump(struct node *n, struct error *e)
{
    struct segmenter *s = node_state(n);
    struct unit      *u = s->units[s->first];
    struct rollout    rollout;
    int               rc;

    if (s->count == 0)
        return PUMP_IDLE;
    node_why(n, "computing: %d responses in hand", s->count);
    if (s->reading && sat_read(s->sat))
        return PUMP_AGAIN;
    arena_clear(&s->arena);
    rc = message_read(MESSAGE_rollout, u->inputs[0].body, &rollout, &s->arena, e);
    if (rc != 0)
        return rc;  /* it was read before */
    if (!s->reading) {
        struct error why;

        s->reading = sat_begin(s->sat, rollout.response, &why) == 0;
        if (s->reading)
            return PUMP_AGAIN;
    }
    answer(n, u, &rollout);     /* where it could not begin, it says so again */
    s->reading = false;
    s->first = (s->first + 1) % UNITS_IN_HAND;
    s->count--;
    if (s->count == 0)
        node_why(n, NULL);
    return s->count > 0 ? PUMP_AGAIN : PUMP_IDLE;
}

static void
segmenter_stop(struct node *n)
{
    struct segmenter *s = node_state(n);

    segment_fini(&s->segment);
    sat_close(s->sat);
    arena_free(&s->arena);
    buffer_free(&s->ends);
    buffer_free(&s->kinds);
    buffer_free(&s->body);
}

const struct node_kind node_segmenter = {
    .name = "segmenter",
    .summary = "cuts wrong responses into steps; passes correct ones on",
    .state_size = sizeof(struct segmenter),
    .options_size = sizeof(struct segmenter_options),
    .ports = segmenter_ports,
    .options = segmenter_options,
    .check = segmenter_check,
    .start = segmenter_start,
    .take = segmenter_take,
    .pump = segmenter_pump,
    .stop = segmenter_stop,
};
