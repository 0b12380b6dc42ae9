/* consensus: joins the steps of a rollout with every vote on them and labels each step. How far the
 * voters agree is counted on the way and told to `sluice status`. */
#include "nodes/consensus/consensus.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"
#include "nodes/consensus/agreement.h"

/* Of the store: struct agreement, then the voters' ids, each with its 0. */
#define KEY_AGREEMENT "agreement"

enum { PORT_steps, PORT_votes, PORT_out };

struct consensus_options {
    const char *rule;
    const char *quorum;
    double      threshold;
    double      correct_above;
    struct texts thresholds;
    struct texts weights;
};

struct consensus {
    struct consensus_how how;
    int                  voter_count;
    int *voters; /* link indices of the votes, by id of the node that votes */
    const char **names; /* (voter_count) those ids */
    double      *thresholds;
    int64_t     *weights;
    struct agreement     agreement;
    bool                 counted; /* since the last commit */
    struct arena         arena;
    struct buffer        body;
};

static const struct option consensus_options[] = {
    OPT_RULE(
        struct consensus_options, rule, FIXED, "all",
        "when a step is correct: all, any, majority or weighted majority of the voters (level: "
        "unknown), mean>=T of their scores (mean: the threshold); first_error_match: where all "
        "voters agree on the first wrong step, those before it, else all are unknown (2501.07301)"),
    OPT_RULE(struct consensus_options, quorum, FIXED, "all",
             "voters that must have given a score on a step, a number or all; below it the step is "
             "unknown"),
    OPT_FLOAT(struct consensus_options, threshold, FIXED, "0.5", 0, 1,
              "a score at or above it is a yes"),
    OPT_TEXTS(struct consensus_options, thresholds, FIXED, "",
              "the same for one voter, as VOTER=NUMBER: \"prm=0.7\""),
    OPT_TEXTS(struct consensus_options, weights, FIXED, "",
              "rule weighted: what a voter's word counts, as VOTER=NUMBER to the sixth decimal; "
              "others count 1"),
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

/* Where the values of single voters are kept while they are read. */
struct values {
    const char *const *names;
    int                voters;
    double            *thresholds;
    int64_t           *weights;
};

static int
read_values(const struct texts *given, const struct values *v, bool weights, struct error *e)
{
    double value;
    int    voter;

    for (int i = 0; i < given->count; i++) {
        if (consensus_value_read(given->at[i], v->names, v->voters,
                                 weights ? CONSENSUS_WEIGHT_MAX : 1, &voter, &value, e) != 0)
            return ERROR_topology;
        if (weights)
            v->weights[voter] = llround(value * CONSENSUS_WEIGHT_ONE);
        else
            v->thresholds[voter] = value;
    }
    return 0;
}

/* The options become a rule; blames one of them. */
static int
how_of(const struct consensus_options *o, const struct values *v, struct consensus_how *h,
       const char **option, struct error *e)
{
    *h = (struct consensus_how){
        .threshold = o->threshold, .thresholds = v->thresholds, .weights = v->weights};
    for (int i = 0; i < v->voters; i++) {
        v->thresholds[i] = o->threshold;
        v->weights[i] = CONSENSUS_WEIGHT_ONE;
    }
    *option = "rule";
    if (consensus_rule_read(o->rule, h, e) != 0)
        return ERROR_topology;
    *option = "quorum";
    if (consensus_quorum_read(o->quorum, v->voters, h, e) != 0)
        return ERROR_topology;
    *option = "thresholds";
    if (read_values(&o->thresholds, v, false, e) != 0)
        return ERROR_topology;
    *option = "weights";
    if (o->weights.count > 0 && h->rule != CONSENSUS_weighted)
        return error_set(e, ERROR_topology, "weights belong to rule: weighted");
    return read_values(&o->weights, v, true, e);
}

static int
consensus_check(struct check *c, struct error *e)
{
    struct consensus_how h;
    const char          *option;
    struct error         why;
    struct values        v = {0};
    const char         **names = xarray((size_t)c->link_count + 1, sizeof(*names));

    for (int i = 0; i < c->link_count; i++)
        if (c->links[i].port == PORT_votes)
            names[v.voters++] = c->links[i].from;
    v.names = names;
    v.thresholds = xarray((size_t)v.voters + 1, sizeof(double));
    v.weights = xarray((size_t)v.voters + 1, sizeof(int64_t));
    int rc = how_of(c->options, &v, &h, &option, &why);
    free(names);
    free(v.thresholds);
    free(v.weights);
    return rc != 0 ? check_fail(c, option, e, "%s", why.text) : 0;
}

/* ---- agreement ---- */

/* What an earlier incarnation counted, of the same voters; else counting begins anew. */
static void
load_agreement(struct node *n, struct consensus *s)
{
    struct span   value;
    struct buffer names = {0};
    size_t        size = sizeof(s->agreement);

    agreement_init(&s->agreement, s->voter_count);
    for (int v = 0; v < s->voter_count; v++)
        buffer_add(&names, s->names[v], strlen(s->names[v]) + 1);
    if (node_get(n, span_text(KEY_AGREEMENT), &value) && value.length == size + names.length &&
        memcmp(value.at + size, names.at, names.length) == 0) {
        struct agreement kept;

        memcpy(&kept, value.at, size);
        if (kept.version == AGREEMENT_VERSION && kept.voters == s->agreement.voters)
            s->agreement = kept;
    }
    buffer_free(&names);
}

/* The counters become durable with the labels they were counted for. */
static int
consensus_flush(struct node *n, struct error *e)
{
    struct consensus *s = node_state(n);
    struct buffer     value = {0};
    json_t           *json;
    char             *text;

    (void)e;
    if (!s->counted)
        return 0;
    s->counted = false;
    buffer_add(&value, &s->agreement, sizeof(s->agreement));
    for (int v = 0; v < s->voter_count; v++)
        buffer_add(&value, s->names[v], strlen(s->names[v]) + 1);
    node_put(n, span_text(KEY_AGREEMENT), buffer_span(&value));
    buffer_free(&value);
    json = json_pack("{s:o}", "agreement", agreement_json(&s->agreement, s->names));
    text = json_dumps(json, JSON_COMPACT);
    if (text)
        node_tell(n, span_text(text));
    free(text);
    json_decref(json);
    return 0;
}

static void
count_agreement(struct consensus *s, const struct consensus_votes *votes)
{
    uint8_t words[AGREEMENT_VOTERS_MAX];
    float   score;

    for (int64_t j = 0; j < votes->steps; j++) {
        for (int v = 0; v < (int)s->agreement.voters; v++)
            words[v] = !consensus_said(votes, v, j, &score)    ? AGREEMENT_silent
                       : consensus_yes(&s->how, v, score) ? AGREEMENT_correct
                                                           : AGREEMENT_wrong;
        agreement_add(&s->agreement, words);
    }
    s->counted = s->counted || votes->steps > 0;
}

/* ---- life ---- */

static int
consensus_start(struct node *n, struct error *e)
{
    struct consensus *s = node_state(n);
    const char       *option;
    size_t            room = (size_t)node_link_count(n) + 1;

    s->voters = xarray(room, sizeof(int));
    s->names = xarray(room, sizeof(*s->names));
    s->thresholds = xarray(room, sizeof(*s->thresholds));
    s->weights = xarray(room, sizeof(*s->weights));
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
    for (int v = 0; v < s->voter_count; v++)
        s->names[v] = node_link(n, s->voters[v])->from;
    struct values values = {s->names, s->voter_count, s->thresholds, s->weights};
    if (how_of(node_options(n), &values, &s->how, &option, e) != 0)
        return error_wrap(e, "option '%s'", option);
    load_agreement(n, s);
    if (s->voter_count > AGREEMENT_VOTERS_MAX)
        node_log(n, LOG_info, "status tells how far the first %d of %d voters agree",
                 AGREEMENT_VOTERS_MAX, s->voter_count);
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

/* What the voters said, each array NULL for one that says nothing at all. */
static struct consensus_votes
votes_of(struct consensus *s, const struct vote *votes, const bool *voted, int64_t steps)
{
    size_t                 room = (size_t)s->voter_count + 1;
    const float          **scores = arena_take(&s->arena, room * sizeof(*scores));
    const uint8_t        **said = arena_take(&s->arena, room * sizeof(*said));
    struct consensus_votes in = {s->voter_count, steps, scores, said};

    for (int v = 0; v < s->voter_count; v++) {
        scores[v] = voted[v] ? votes[v].scores.at : NULL;
        said[v] = voted[v] ? votes[v].said.at : NULL;
    }
    return in;
}

/* Label every step; the arrays of `out` are the arena's. */
static void
label_steps(struct node *n, struct consensus *s, const struct consensus_votes *votes,
            struct labelled *out, bool wrong)
{
    size_t                  steps = (size_t)votes->steps;
    int64_t                 tally[3] = {0};
    struct consensus_labels l = {.labels = arena_take(&s->arena, steps + 1),
                                 .ties = arena_take(&s->arena, steps + 1),
                                 .agree = arena_take(&s->arena, sizeof(uint32_t) * steps + 1),
                                 .agreement = arena_take(&s->arena, sizeof(float) * steps + 1),
                                 .counted = arena_take(&s->arena, sizeof(uint32_t) * steps + 1),
                                 .means = arena_take(&s->arena, sizeof(float) * steps + 1)};

    consensus_judge(&s->how, votes, &l);
    out->labels = (struct u8s){votes->steps, l.labels};
    out->agree = (struct u32s){votes->steps, l.agree};
    out->counted = (struct u32s){votes->steps, l.counted};
    out->means = (struct f32s){votes->steps, l.means};
    out->agreement = (struct f32s){votes->steps, l.agreement};
    if (l.tied > 0)
        out->ties = (struct u8s){votes->steps, l.ties};
    for (int64_t j = 0; j < votes->steps; j++)
        tally[l.labels[j]]++;
    node_count(n, METRIC_steps_correct, tally[LABEL_correct]);
    node_count(n, METRIC_steps_wrong, tally[LABEL_incorrect]);
    node_count(n, METRIC_steps_unknown, tally[LABEL_unknown]);
    node_count(n, METRIC_ties, l.tied);
    if (wrong)
        node_count(n, METRIC_gems, tally[LABEL_correct]);
}

/* What votes say beside their scores: the mean of the responses' scores, added in voter-id order,
 * and the vectors of the first voter that gives some. */
static void
join_extras(struct consensus *s, const struct vote *votes, const bool *voted, struct labelled *out)
{
    double sum = 0;
    int    given = 0;

    for (int v = 0; v < s->voter_count; v++) {
        const struct f32s *response = &votes[v].response, *vectors = &votes[v].embeddings;

        if (!voted[v])
            continue;
        if (response->count == 1 && response->at[0] >= 0 && response->at[0] <= 1) {
            sum += (double)response->at[0];
            given++;
        }
        if (out->embeddings.count == 0 && out->ends.count > 0 &&
            vectors->count % out->ends.count == 0)
            out->embeddings = *vectors;
    }
    if (given > 0) {
        float *mean = arena_take(&s->arena, sizeof(*mean));

        *mean = (float)(sum / given);
        out->response = (struct f32s){1, mean};
    }
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
    struct consensus_votes said = votes_of(s, votes, voted, steps.ends.count);
    label_steps(n, s, &said, &out, !(steps.rollout.reward > o->correct_above));
    join_extras(s, votes, voted, &out);
    count_agreement(s, &said);
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
    free(s->names);
    free(s->thresholds);
    free(s->weights);
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
    .flush = consensus_flush,
    .stop = consensus_stop,
};
