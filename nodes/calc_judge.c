/* calc_judge: computes the arithmetic that a step writes down. A step in which every equation holds
 * scores 1, one with an equation that does not hold scores 0, and on a step without any, or of
 * which it is not sure (nodes/arithmetic), the judge says nothing. */
#include <stdio.h>

#include "graph/node.h"
#include "nodes/arithmetic/arithmetic.h"

enum { PORT_in, PORT_votes };

struct calc_judge_options {
    bool reasons, confirm;
};

struct calc_judge {
    struct arena arena;
    struct buffer body;
};

static const struct option calc_judge_options[] = {
    OPT_BOOL(struct calc_judge_options, reasons, FIXED, "true",
             "say for each wrong step which equation fails and what its value is"),
    OPT_BOOL(
        struct calc_judge_options, confirm, FIXED, "true",
        "score 1 where all equations hold; false: say nothing there, because a step with right "
        "sums may be wrong in other ways"),
    OPT_END};

static const struct port calc_judge_ports[] = {
    [PORT_in] = {PORT_IN, "in", MESSAGE_steps, 0, "steps to judge"},
    [PORT_votes] = {PORT_OUT, "votes", MESSAGE_vote, 0,
                    "1 where all equations hold, 0 where one fails, else nothing said"},
    {.direction = PORT_END}};

#define QUOTE_BYTES_MAX 200 /* of an equation quoted in a reason */

static struct span
reason_of(struct arena *arena, const struct arithmetic *a)
{
    struct span quote = a->first_wrong;
    size_t room = QUOTE_BYTES_MAX + 100;
    char *text = arena_take(arena, room);

    if (quote.length > QUOTE_BYTES_MAX) {
        quote.length = QUOTE_BYTES_MAX;
        while (quote.length > 0 && ((unsigned char)quote.at[quote.length] & 0xc0) == 0x80)
            quote.length--;
    }
    int n = snprintf(text, room, "%.*s: it is %s", (int)quote.length, quote.at, a->value);
    return span_of(text, n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1);
}

static void
judge(const struct steps *steps, const struct calc_judge_options *o, struct vote *v,
      struct arena *arena)
{
    int64_t count = steps->ends.count;
    uint64_t from = 0;

    v->scores = (struct f32s){count, arena_take(arena, sizeof(float) * (size_t)count)};
    v->said = (struct u8s){count, arena_take(arena, (size_t)count)};
    v->reasons = (struct spans){o->reasons ? count : 0,
                                arena_take(arena, sizeof(struct span) * (size_t)count)};
    for (int64_t i = 0; i < count; i++) {
        struct arithmetic a;
        uint64_t to = steps->ends.at[i];

        arithmetic_check(span_of(steps->rollout.response.at + from, to - from), &a);
        v->said.at[i] = a.wrong > 0 || (a.right > 0 && o->confirm);
        v->scores.at[i] = v->said.at[i] && a.wrong == 0 ? 1 : 0;
        v->reasons.at[i] = a.wrong > 0 ? reason_of(arena, &a) : span_text("");
        from = to;
    }
}

static bool
steps_tile(const struct steps *s)
{
    uint64_t last = 0;

    for (int64_t i = 0; i < s->ends.count; i++) {
        if (s->ends.at[i] <= last)
            return false;
        last = s->ends.at[i];
    }
    return last == s->rollout.response.length;
}

static int
calc_judge_take(struct node *n, struct unit *u, struct error *e)
{
    struct calc_judge *s = node_state(n);
    const struct calc_judge_options *o = node_options(n);
    struct steps steps;
    struct vote vote = {.voter = span_text(node_id(n)), .model = span_text("arithmetic")};
    struct error why;
    int64_t tally[3] = {0};

    (void)e;
    arena_clear(&s->arena);
    buffer_clear(&s->body);
    if (message_read(MESSAGE_steps, u->inputs[0].body, &steps, &s->arena, &why) != 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    if (!steps_tile(&steps)) {
        unit_dead(n, u, "the steps do not tile the response");
        return 0;
    }
    judge(&steps, o, &vote, &s->arena);
    for (int64_t i = 0; i < vote.said.count; i++)
        tally[!vote.said.at[i] ? 2 : vote.scores.at[i] > 0]++;
    node_count(n, METRIC_steps_wrong, tally[0]);
    node_count(n, METRIC_steps_correct, tally[1]);
    node_count(n, METRIC_steps_unknown, tally[2]);
    message_write(MESSAGE_vote, &vote, &s->body);
    if (node_linked(n, PORT_votes))
        node_send(n, u, PORT_votes, buffer_span(&s->body));
    unit_done(n, u);
    return 0;
}

static void
calc_judge_stop(struct node *n)
{
    struct calc_judge *s = node_state(n);

    arena_free(&s->arena);
    buffer_free(&s->body);
}

const struct node_kind node_calc_judge = {
    .name = "calc_judge",
    .summary = "votes on steps by computing the arithmetic written in them",
    .state_size = sizeof(struct calc_judge),
    .options_size = sizeof(struct calc_judge_options),
    .ports = calc_judge_ports,
    .options = calc_judge_options,
    .take = calc_judge_take,
    .stop = calc_judge_stop,
};
