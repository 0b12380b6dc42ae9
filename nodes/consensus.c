/* consensus: joins the steps of a rollout with every vote on them and labels each step. */
#include "nodes/consensus.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"

enum { PORT_steps, PORT_votes, PORT_out };

struct consensus_options {
    const char *rule;
    const char *quorum;
    double      threshold;
    double      correct_above;
};

struct consensus {
    struct consensus_how how;
    int                  voter_count;
    int *voters; /* link indices of the votes, by id of the node that votes */
    struct arena         arena;
    struct buffer        body;
};

static const struct option consensus_options[] = {
    OPT_RULE(
        struct consensus_options, rule, FIXED, "all",
        "when a step is correct: all, any, majority of the voters, or mean>=T of their scores"),
    OPT_RULE(struct consensus_options, quorum, FIXED, "all",
             "voters that must have given a score on a step, a number or all; below it the step is "
             "unknown"),
    OPT_FLOAT(struct consensus_options, threshold, FIXED, "0.5", 0, 1,
              "a score at or above it is a yes"),
    OPT_FLOAT(struct consensus_options, correct_above, FIXED, "0.5", -1e30, 1e30,
              "a response with a higher reward is correct: its steps are not counted as gems"),
    OPT_END
};

static const struct port consensus_ports[] = {
    [PORT_steps] = {PORT_IN, "steps", MESSAGE_steps, 0, "the steps that were judged"},
    [PORT_votes] = {PORT_IN, "votes", MESSAGE_vote, PORT_MANY, "one link per voter"},
    [PORT_out] = {PORT_OUT, "out", MESSAGE_labelled, 0, "steps with their labels"},
    {.direction = PORT_END}
};

int
consensus_rule_read(const char *text, struct consensus_how *h, struct error *e)
{
    static const char *const names[] = {"all", "any", "majority"};
    char                     word[64];
    size_t                   n = 0;

    for (const char *p = text; *p && n + 1 < sizeof(word); p++)
        if (*p != ' ')
            word[n++] = *p;
    word[n] = 0;
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, names[i]) == 0) {
            h->rule = (enum consensus_rule)i;
            return 0;
        }
    }
    if (strncmp(word, "mean>=", 6) == 0 && word[6]) {
        char *end;
        h->rule = CONSENSUS_mean;
        h->mean_min = strtod(word + 6, &end);
        if (!*end && h->mean_min >= 0 && h->mean_min <= 1)
            return 0;
        return error_set(e, ERROR_topology, "'%s': the mean is compared with a number from 0 to 1",
                         text);
    }
    return error_set(e, ERROR_topology, "'%s' is no rule; it is all, any, majority or mean>=T",
                     text);
}

int
consensus_quorum_read(const char *text, int voters, struct consensus_how *h, struct error *e)
{
    char *end;
    long  n;

    if (strcmp(text, "all") == 0) {
        h->quorum = voters;
        return 0;
    }
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end)
        return error_set(e, ERROR_topology, "'%s' is neither a number of voters nor 'all'", text);
    if (n < 1 || n > voters)
        return error_set(e, ERROR_topology, "%ld is outside 1 to %d, the number of voters", n,
                         voters);
    h->quorum = (int)n;
    return 0;
}

enum consensus_label
consensus_label(const struct consensus_how *h, const float *scores, int count, uint32_t *agree,
                float *mean)
{
    double   sum = 0;
    uint32_t yes = 0;
    bool     correct = false;

    for (int i = 0; i < count; i++) {
        sum += (double)scores[i];
        yes += (double)scores[i] >= h->threshold;
    }
    *agree = yes;
    *mean = count > 0 ? (float)(sum / count) : 0;
    if (count == 0 || count < h->quorum)
        return LABEL_unknown;
    switch (h->rule) {
    case CONSENSUS_all:      correct = yes == (uint32_t)count; break;
    case CONSENSUS_any:      correct = yes > 0; break;
    case CONSENSUS_majority: correct = 2 * yes > (uint32_t)count; break;
    case CONSENSUS_mean:     correct = sum / count >= h->mean_min; break;
    }
    return correct ? LABEL_correct : LABEL_incorrect;
}

static int
how_of(const struct consensus_options *o, int voters, struct consensus_how *h, const char **option,
       struct error *e)
{
    *h = (struct consensus_how){.threshold = o->threshold};
    *option = "rule";
    if (consensus_rule_read(o->rule, h, e) != 0)
        return ERROR_topology;
    *option = "quorum";
    return consensus_quorum_read(o->quorum, voters, h, e);
}

static int
consensus_check(struct check *c, struct error *e)
{
    struct consensus_how h;
    const char          *option;
    struct error         why;
    int                  voters = 0;

    for (int i = 0; i < c->link_count; i++)
        voters += c->links[i].port == PORT_votes;
    if (how_of(c->options, voters, &h, &option, &why) != 0)
        return check_fail(c, option, e, "%s", why.text);
    return 0;
}

static int
consensus_start(struct node *n, struct error *e)
{
    struct consensus *s = node_state(n);
    const char       *option;

    s->voters = xarray((size_t)node_link_count(n), sizeof(int));
    for (int i = 0; i < node_link_count(n); i++) {
        int k = s->voter_count;
        if (node_link(n, i)->port != PORT_votes)
            continue;
        for (; k > 0 && strcmp(node_link(n, s->voters[k - 1])->from, node_link(n, i)->from) > 0;
             k--)
            s->voters[k] = s->voters[k - 1];
        s->voters[k] = i;
        s->voter_count++;
    }
    if (how_of(node_options(n), s->voter_count, &s->how, &option, e) != 0)
        return error_wrap(e, "option '%s'", option);
    return 0;
}

static const struct input *
input_of(const struct unit *u, int link)
{
    for (int i = 0; i < u->input_count; i++)
        if (u->inputs[i].link == link)
            return &u->inputs[i];
    return NULL;
}

/* Read one voter's vote; false when it says nothing at all: closed, abstaining, or not to be
 * understood. What cannot be understood is kept as a dead letter, and the voter counts as
 * abstaining. */
static bool
read_vote(struct node *n, const struct unit *u, int link, int64_t steps, struct vote *v,
          struct arena *arena)
{
    const struct input *in = input_of(u, link);
    struct error        why = {0};
    char                where[200];

    if (!in || in->closing)
        return false;
    if (message_read(MESSAGE_vote, in->body, v, arena, &why) == 0) {
        if (v->abstain.length > 0)
            return false;
        if (v->scores.count == steps && v->said.count == steps)
            return true;
        error_set(&why, ERROR_input, "the vote has %lld scores for %lld steps",
                  (long long)v->scores.count, (long long)steps);
    }
    snprintf(where, sizeof(where), "%s:%llu", in->from, (unsigned long long)u->ordinal);
    node_dead(n, where, in->body, "%s; %s counts as abstaining", why.text, in->from);
    return false;
}

/* Label every step; the arrays of `out` are the arena's. */
static void
label_steps(struct node *n, struct consensus *s, const struct vote *votes, const bool *voted,
            struct labelled *out, bool wrong)
{
    int64_t steps = out->ends.count, tally[3] = {0};
    float  *scores = arena_take(&s->arena, sizeof(float) * (size_t)(s->voter_count + 1));

    out->labels = (struct u8s){steps, arena_take(&s->arena, (size_t)steps)};
    out->agree = (struct u32s){steps, arena_take(&s->arena, sizeof(uint32_t) * (size_t)steps)};
    out->counted = (struct u32s){steps, arena_take(&s->arena, sizeof(uint32_t) * (size_t)steps)};
    out->means = (struct f32s){steps, arena_take(&s->arena, sizeof(float) * (size_t)steps)};
    for (int64_t j = 0; j < steps; j++) {
        int count = 0;
        for (int v = 0; v < s->voter_count; v++) {
            if (!voted[v] || !votes[v].said.at[j])
                continue;
            float score = votes[v].scores.at[j];
            if (score >= 0 && score <= 1)       /* NaN and what lies outside is nothing said */
                scores[count++] = score;
        }
        out->counted.at[j] = (uint32_t)count;
        out->labels.at[j] =
            (uint8_t)consensus_label(&s->how, scores, count, &out->agree.at[j], &out->means.at[j]);
        tally[out->labels.at[j]]++;
    }
    node_count(n, METRIC_steps_correct, tally[LABEL_correct]);
    node_count(n, METRIC_steps_wrong, tally[LABEL_incorrect]);
    node_count(n, METRIC_steps_unknown, tally[LABEL_unknown]);
    if (wrong)
        node_count(n, METRIC_gems, tally[LABEL_correct]);
}

static int
consensus_take(struct node *n, struct unit *u, struct error *e)
{
    struct consensus               *s = node_state(n);
    const struct consensus_options *o = node_options(n);
    const struct input             *in = NULL;
    struct steps                    steps;
    struct error                    why;

    (void)e;
    arena_clear(&s->arena);
    buffer_clear(&s->body);
    for (int i = 0; i < u->input_count && !in; i++)
        if (u->inputs[i].port == PORT_steps)
            in = &u->inputs[i];
    if (!in || in->closing) {
        if (node_linked(n, PORT_out))
            node_close(n, u, PORT_out, in ? in->reason : "filtered");
        unit_done(n, u);
        return 0;
    }
    if (message_read(MESSAGE_steps, in->body, &steps, &s->arena, &why) != 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    struct vote *votes = arena_take(&s->arena, sizeof(*votes) * (size_t)(s->voter_count + 1));
    bool        *voted = arena_take(&s->arena, sizeof(*voted) * (size_t)(s->voter_count + 1));
    int          abstained = 0;
    for (int v = 0; v < s->voter_count; v++) {
        voted[v] = read_vote(n, u, s->voters[v], steps.ends.count, &votes[v], &s->arena);
        abstained += !voted[v];
    }
    node_count(n, METRIC_abstained, abstained);

    struct labelled out = {
        .rollout = steps.rollout, .ends = steps.ends, .kinds = steps.kinds};
    label_steps(n, s, votes, voted, &out, !(steps.rollout.reward > o->correct_above));
    message_write(MESSAGE_labelled, &out, &s->body);
    if (node_linked(n, PORT_out))
        node_send(n, u, PORT_out, buffer_span(&s->body));
    unit_done(n, u);
    return 0;
}

static void
consensus_stop(struct node *n)
{
    struct consensus *s = node_state(n);

    free(s->voters);
    arena_free(&s->arena);
    buffer_free(&s->body);
}

const struct node_kind node_consensus = {
    .name = "consensus",
    .summary = "joins steps with the votes on them and labels each step by a rule",
    .state_size = sizeof(struct consensus),
    .options_size = sizeof(struct consensus_options),
    .ports = consensus_ports,
    .options = consensus_options,
    .check = consensus_check,
    .start = consensus_start,
    .take = consensus_take,
    .stop = consensus_stop,
};
