/* segmenter: cuts wrong responses into steps for the judges; correct ones go straight on. */
#include "graph/node.h"
#include "nodes/segment.h"
#include "nodes/spans.h"

enum { PORT_in, PORT_steps, PORT_passed };

struct segmenter_options {
    int          method;
    struct texts patterns;
    int64_t      min_bytes, max_bytes;
    double       correct_above;
    bool         all;
};

struct segmenter {
    struct segment segment;
    struct arena   arena;
    struct buffer  ends, body;
};

static const char *const method_names[] = {"line", "paragraph", "sentence", "marker", "given", NULL};

static const struct option segmenter_options[] = {
    OPT_CHOICE(struct segmenter_options, method, FIXED, "paragraph", method_names,
               "where a step ends: after a line, a blank line or a sentence, or before a match of "
               "`patterns`; given: as the input gives them (the reader's steps_field)"),
    OPT_TEXTS(struct segmenter_options, patterns, FIXED, "",
              "method marker: regular expressions (PCRE2); each match begins a step"),
    OPT_SIZE(struct segmenter_options, min_bytes, FIXED, "0", 0, 1e9,
             "a shorter step is joined with the next one, a short last one with the one before; 0: "
             "no bound"),
    OPT_SIZE(
        struct segmenter_options, max_bytes, FIXED, "0", 0, 1e9,
        "a longer step is cut at a line feed or space, else between two characters; 0: no bound"),
    OPT_FLOAT(struct segmenter_options, correct_above, FIXED, "0.5", -1e30, 1e30,
              "a response with a higher reward is correct: it leaves on `passed`, unsegmented"),
    OPT_BOOL(struct segmenter_options, all, FIXED, "false",
             "segment correct responses too and send them on `steps` instead of `passed`: for "
             "training judges"),
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
    return segment_init(s, (enum segment_method)o->method, o->patterns.count, o->patterns.at,
                        o->min_bytes, o->max_bytes, e);
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
    return 0;
}

static int
segmenter_start(struct node *n, struct error *e)
{
    struct segmenter *s = node_state(n);
    return segment_of(node_options(n), &s->segment, e);
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

static int
segmenter_take(struct node *n, struct unit *u, struct error *e)
{
    struct segmenter               *s = node_state(n);
    const struct segmenter_options *o = node_options(n);
    struct steps                    steps = {0};
    struct error                    why;
    int                             rc;

    (void)e;
    arena_clear(&s->arena);
    buffer_clear(&s->ends);
    buffer_clear(&s->body);
    if (message_read(MESSAGE_rollout, u->inputs[0].body, &steps.rollout, &s->arena, &why) != 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    if (steps.rollout.reward > o->correct_above && !o->all) {
        if (node_linked(n, PORT_passed))
            node_send(n, u, PORT_passed, u->inputs[0].body);
        if (node_linked(n, PORT_steps))
            node_close(n, u, PORT_steps, "routed");
        unit_done(n, u);
        return 0;
    }
    rc = o->method == SEGMENT_given
             ? take_given(&steps.rollout, &s->ends, &why)
             : segment_cut(&s->segment, steps.rollout.response, &s->ends, &why);
    if (rc != 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    steps.ends.at = (uint64_t *)(void *)s->ends.at;
    steps.ends.count = (int64_t)(s->ends.length / sizeof(uint64_t));
    node_count(n, METRIC_steps, steps.ends.count);
    message_write(MESSAGE_steps, &steps, &s->body);
    if (node_linked(n, PORT_steps))
        node_send(n, u, PORT_steps, buffer_span(&s->body));
    if (node_linked(n, PORT_passed))
        node_close(n, u, PORT_passed, "routed");
    unit_done(n, u);
    return 0;
}

static void
segmenter_stop(struct node *n)
{
    struct segmenter *s = node_state(n);

    segment_fini(&s->segment);
    arena_free(&s->arena);
    buffer_free(&s->ends);
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
    .stop = segmenter_stop,
};
