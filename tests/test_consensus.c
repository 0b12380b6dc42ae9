/* consensus: the rule on its own, then joining votes in any order of arrival. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>

#include "graph/core.h"
#include "graph/look.h"
#include "kernels/random.h"
#include "nodes/consensus/agreement.h"
#include "nodes/consensus/consensus.h"
#include "tests/harness.h"

static enum consensus_label
label(const char *rule, int quorum, int count, const float *scores)
{
    struct consensus_how h = {.threshold = 0.5, .quorum = quorum};
    struct error         e = {0};
    uint32_t             agree;
    float                mean;

    if (consensus_rule_read(rule, &h, &e) != 0)
        fail_msg("%s", e.text);
    return consensus_label(&h, scores, count, &agree, &mean);
}

static void
rules_label_as_they_say(void **state)
{
    const float yes_no[] = {1, 0.5f, 0.2f}, all[] = {1, 0.5f};

    (void)state;
    assert_int_equal(label("all", 1, 2, all), LABEL_correct);
    assert_int_equal(label("all", 1, 3, yes_no), LABEL_incorrect);
    assert_int_equal(label("any", 1, 3, yes_no), LABEL_correct);
    assert_int_equal(label("any", 1, 1, yes_no + 2), LABEL_incorrect);
    assert_int_equal(label("majority", 1, 3, yes_no), LABEL_correct);
    assert_int_equal(label("majority", 1, 2, yes_no + 1), LABEL_unknown);
    assert_int_equal(label("majority", 1, 1, yes_no + 2), LABEL_incorrect);
    assert_int_equal(label("mean", 1, 3, yes_no), LABEL_correct);
    assert_int_equal(label("first_error_match", 1, 2, all), LABEL_correct);
    assert_int_equal(label("first_error_match", 1, 3, yes_no), LABEL_unknown);
    assert_int_equal(label("mean>=0.5", 1, 3, yes_no), LABEL_correct);
    assert_int_equal(label("mean >= 0.6", 1, 3, yes_no), LABEL_incorrect);
    assert_int_equal(label("any", 3, 2, all), LABEL_unknown);
    assert_int_equal(label("all", 0, 0, all), LABEL_unknown);
}

static void
rules_and_quorums_are_read_strictly(void **state)
{
    static const char *const bad_rules[] = {
        "", "most", "meant", "mean>", "mean>=", "mean>=2", "mean>=x", "mean>=0.5x", "All"};
    static const char *const bad_quorums[] = {
        "", "0", "4", "-1", "two", "2x", "99999999999999999999"};
    struct consensus_how     h = {0};
    struct error             e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad_rules) / sizeof(bad_rules[0]); i++)
        assert_int_equal(consensus_rule_read(bad_rules[i], &h, &e), ERROR_topology);
    for (size_t i = 0; i < sizeof(bad_quorums) / sizeof(bad_quorums[0]); i++)
        assert_int_equal(consensus_quorum_read(bad_quorums[i], 3, &h, &e), ERROR_topology);
    assert_int_equal(consensus_quorum_read("all", 3, &h, &e), 0);
    assert_int_equal(h.quorum, 3);
    assert_int_equal(consensus_quorum_read("2", 3, &h, &e), 0);
    assert_int_equal(h.quorum, 2);
}

#define N (-1.0f) /* nothing said */

/* Labels of a response as text: c, w, u; a tie is t. scores (voters, steps), N for silence. */
static void
expect_labels(const struct consensus_how *h, int voters, int64_t steps, const float *scores,
              const char *labels)
{
    const float            *at[4];
    const uint8_t          *said[4] = {0};
    uint8_t                 label_of[8], ties[8];
    uint32_t                agree[8], counted[8];
    float                   means[8], share[8];
    struct consensus_votes  in = {voters, steps, at, said};
    struct consensus_labels out = {
        .labels = label_of, .ties = ties, .agree = agree, .counted = counted, .means = means,
        .agreement = share};

    for (int v = 0; v < voters; v++)
        at[v] = scores + v * steps;
    consensus_judge(h, &in, &out);
    for (int64_t j = 0; j < steps; j++) {
        char found = ties[j] ? 't' : "wcu"[label_of[j]];
        float most = agree[j] > counted[j] - agree[j] ? agree[j] : counted[j] - agree[j];

        assert_true(share[j] == (counted[j] ? most / (float)counted[j] : 0));
        if (found != labels[j] || (ties[j] && label_of[j] != LABEL_unknown))
            fail_msg("step %lld: %c, not %c", (long long)j, found, labels[j]);
    }
}

static void
level_votes_are_ties_and_unknown(void **state)
{
    const float          scores[] = {1, 1, 0, N, N, 1, 0, 0, N, 1, N, N, 1, N, 0}; /* 3 voters */
    const int64_t        weights[] = {100000, 200000, 300000}, light[] = {0, 0, 0};
    struct consensus_how h = {.rule = CONSENSUS_majority, .threshold = 0.5, .quorum = 1};

    (void)state;
    expect_labels(&h, 3, 5, scores, "ctwut");
    h.quorum = 2;
    expect_labels(&h, 3, 5, scores, "ctwut");
    h.quorum = 3;
    expect_labels(&h, 3, 5, scores, "uuwuu");
    h.quorum = 1;
    h.rule = CONSENSUS_all;
    expect_labels(&h, 3, 5, scores, "cwwuw");
    h.rule = CONSENSUS_weighted;
    expect_labels(&h, 3, 5, scores, "ctwut"); /* without weights: a majority */
    h.weights = weights;
    expect_labels(&h, 3, 5, scores, "cwtuw"); /* 0.1 + 0.2 is level with 0.3 */
    h.weights = light;
    expect_labels(&h, 3, 5, scores, "tttut");
}

static void
each_voter_may_have_a_threshold(void **state)
{
    const float          scores[] = {0.6f, 0.8f, 0.6f, 0.8f};
    const double         thresholds[] = {0.7, 0.5};
    struct consensus_how h = {.rule = CONSENSUS_all, .threshold = 0.5, .quorum = 1};

    (void)state;
    expect_labels(&h, 2, 2, scores, "cc");
    h.thresholds = thresholds;
    expect_labels(&h, 2, 2, scores, "wc");
    h.rule = CONSENSUS_first_error_match;
    expect_labels(&h, 2, 2, scores, "uu");
}

static void
first_errors_must_match(void **state)
{
    struct consensus_how h = {.rule = CONSENSUS_first_error_match, .threshold = 0.5, .quorum = 2};
    const float          same[] = {1, 1, 0, 1, 1, 1, 0, 0}, none[] = {1, 1, 1, 1, 1, 1};
    const float          other[] = {1, 0, 1, 1, 1, 0}, one[] = {1, 1, 1, 1, 0, 1};
    const float          early[] = {1, 0, N, 1, 0, 1}, silent[] = {N, 0, 0, 1, 0, 1};
    const float          first[] = {0, 1, 0, 0};

    (void)state;
    expect_labels(&h, 2, 4, same, "ccwu");
    expect_labels(&h, 2, 3, none, "ccc");
    expect_labels(&h, 2, 3, other, "uuu");
    expect_labels(&h, 2, 3, one, "uuu"); /* one finds none, one finds one */
    expect_labels(&h, 2, 3, early, "cwu"); /* what is said after the first error does not count */
    expect_labels(&h, 2, 3, silent, "uuu"); /* an error before it may have been passed over */
    expect_labels(&h, 2, 2, first, "wu");
    h.quorum = 1;
    expect_labels(&h, 2, 3, silent, "cwu");
    expect_labels(&h, 2, 3, (const float[]){N, N, N, N, N, N}, "uuu");
}

/* The label of one step said once more, as the header puts it. */
static char
plain_label(const struct consensus_how *h, int voters, const float *scores, int steps, int j)
{
    double  sum = 0;
    int64_t yes = 0, no = 0, yes_weight = 0, no_weight = 0;

    for (int v = 0; v < voters; v++) {
        float s = scores[v * steps + j];

        if (!(s >= 0 && s <= 1))
            continue;
        sum += (double)s;
        yes += (double)s >= h->thresholds[v];
        no += (double)s < h->thresholds[v];
        *((double)s >= h->thresholds[v] ? &yes_weight : &no_weight) += h->weights[v];
    }
    if (yes + no == 0 || yes + no < h->quorum)
        return 'u';
    if (h->rule == CONSENSUS_weighted)
        return yes_weight == no_weight ? 't' : yes_weight > no_weight ? 'c' : 'w';
    if (h->rule == CONSENSUS_majority)
        return yes == no ? 't' : yes > no ? 'c' : 'w';
    if (h->rule == CONSENSUS_mean)
        return sum / (double)(yes + no) >= h->mean_min ? 'c' : 'w';
    return (h->rule == CONSENSUS_all ? no == 0 : yes > 0) ? 'c' : 'w';
}

static void
random_votes_are_labelled_as_the_rules_say(void **state)
{
    static const enum consensus_rule rules[] = {CONSENSUS_all, CONSENSUS_any, CONSENSUS_majority,
                                                CONSENSUS_weighted, CONSENSUS_mean};
    static const float values[] = {0, 0.25f, 0.5f, 0.75f, 1, N, 2, NAN};
    static const double thresholds[] = {0.5, 0.25, 0.75, 0.5};
    static const int64_t weights[] = {1, 2, 3, 3};
    uint64_t draw = 0;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        int voters = 1 + i % 4, steps = 1 + i / 4 % 6;
        struct consensus_how h = {.rule = rules[i % 5], .mean_min = 0.5, .threshold = 0.5,
                                  .quorum = 1 + i / 7 % voters, .thresholds = thresholds,
                                  .weights = weights};
        float scores[24];
        char labels[9] = "";

        for (int k = 0; k < voters * steps; k++)
            scores[k] = values[random_bits(11, RANDOM_test, draw++) % 8];
        for (int j = 0; j < steps; j++)
            labels[j] = plain_label(&h, voters, scores, steps, j);
        expect_labels(&h, voters, steps, scores, labels);
    }
}

static void
values_of_voters_are_read_strictly(void **state)
{
    static const char *const names[] = {"alpha", "zeta"};
    static const char *const bad[] = {"", "=1", "alpha", "alpha=", "alpha=x", "alpha=-1", "alpha=2",
                                      "beta=1", "alph=1", "alpha=nan", "alpha=0.5x", "alpha =1"};
    struct error             e = {0};
    double                   value;
    int                      voter;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (consensus_value_read(bad[i], names, 2, 1, &voter, &value, &e) != ERROR_topology)
            fail_msg("'%s' was not refused", bad[i]);
    assert_int_equal(consensus_value_read("zeta=0.25", names, 2, 1, &voter, &value, &e), 0);
    assert_int_equal(voter, 1);
    assert_true(value == 0.25);
}

static const char *const links[] = {"steps", "cutter", "votes", "zeta", "votes", "alpha", NULL};
static uint64_t          two_ends[] = {1, 2};

static struct steps
two_steps(void)
{
    struct steps s = {.ends = {2, two_ends}};
    s.rollout.response = span_text("ab");
    s.rollout.id = span_text("r");
    return s;
}

static void
give_vote(struct harness *h, int link, uint64_t ordinal, const float *scores, const char *said,
          int count)
{
    struct vote v = {.voter = span_text("v"), .scores = {count, (float *)(uintptr_t)scores},
                     .said = {count, (uint8_t *)(uintptr_t)said}};
    harness_give(h, link, ordinal, 0, 6, &v);
}

static void
expect(struct harness *h, uint64_t ordinal, const char *labels, const uint32_t *counted, float mean)
{
    struct harness_message m;
    struct arena           arena = {0};
    struct labelled        l;

    assert_true(harness_take(h, "out", &m));
    assert_int_equal(m.ordinal, ordinal);
    assert_false(m.closing);
    assert_int_equal(message_read(MESSAGE_labelled, m.body, &l, &arena, NULL), 0);
    assert_int_equal(l.labels.count, 2);
    assert_memory_equal(l.labels.at, labels, 2);
    assert_int_equal(l.counted.at[0], counted[0]);
    assert_int_equal(l.counted.at[1], counted[1]);
    assert_true(l.means.at[0] == mean);
    assert_true(span_is(l.rollout.id, "r"));
    arena_free(&arena);
}

static void
votes_join_whatever_their_order(void **state)
{
    static const char *const options[] = {"rule", "any", "quorum", "1", NULL};
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const float              zeta[] = {0.1f, 0.9f}, alpha[] = {0.7f, 0};
    struct harness          *h = harness_open("consensus", links, options, NULL);
    struct steps             s = two_steps();

    (void)state;
    for (uint64_t o = 0; o < 6; o++) {
        for (int k = 0; k < 3; k++) {
            if (orders[o][k] == 0)
                harness_give(h, 0, o, 0, 6, &s);
            else
                give_vote(h, orders[o][k], o, orders[o][k] == 1 ? zeta : alpha,
                          orders[o][k] == 1 ? "\1\1" : "\1\0", 2);
            if (k == 1 && o % 2)
                harness_crash(h);
        }
    }
    harness_run(h, 5, NULL);
    struct harness_message first, next;
    char                   copy[1000];
    assert_true(harness_take(h, "out", &first));
    assert_true(first.body.length < sizeof(copy));
    memcpy(copy, first.body.at, first.body.length);
    first.body.at = copy;
    for (int o = 1; o < 6; o++) {
        assert_true(harness_take(h, "out", &next));
        assert_int_equal(next.body.length, first.body.length);
        assert_memory_equal(next.body.at, copy, first.body.length);
    }
    assert_false(harness_take(h, "out", &next));
    harness_close(h);
}

static void
silence_lowers_the_count_below_quorum(void **state)
{
    struct harness *h =
        harness_open("consensus", links, NULL, NULL); /* rule all, quorum all: both voters */
    const float     one[] = {1, 1}, bad[] = {NAN, 2}, outside[] = {-1, 1.5f};
    struct steps    s = two_steps();
    struct vote     abstains = {.voter = span_text("v"), .abstain = span_text("too long")};

    (void)state;
    for (uint64_t o = 0; o < 5; o++) {
        harness_give(h, 0, o, 0, 6, &s);
        give_vote(h, 1, o, one, "\1\1", 2);
    }
    give_vote(h, 2, 0, one, "\1\0", 2);
    harness_give(h, 2, 1, 0, 6, &abstains);
    harness_give_closing(h, 2, 2, 0, 6, "dead");
    give_vote(h, 2, 3, bad, "\1\1", 2);
    give_vote(h, 2, 4, outside, "\1\1", 2);
    harness_run(h, 5, NULL);
    expect(h, 0, "\1\2", (const uint32_t[]){2, 1}, 1);
    expect(h, 1, "\2\2", (const uint32_t[]){1, 1}, 1);
    expect(h, 2, "\2\2", (const uint32_t[]){1, 1}, 1);
    expect(h, 3, "\2\2", (const uint32_t[]){1, 1}, 1);
    expect(h, 4, "\2\2", (const uint32_t[]){1, 1}, 1);
    assert_int_equal(harness_dead_count(h),
                     1); /* the vote with a NaN: the message itself is refused */
    harness_close(h);
}

static void
a_vote_for_other_steps_is_a_dead_letter_and_an_abstention(void **state)
{
    static const char *const options[] = {"quorum", "1", NULL};
    struct harness          *h = harness_open("consensus", links, options, NULL);
    const float              one[] = {1, 1, 1};
    struct steps             s = two_steps();
    char                     why[300];

    (void)state;
    harness_give(h, 0, 0, 0, 6, &s);
    give_vote(h, 1, 0, one, "\1\1\1", 3);
    give_vote(h, 2, 0, one, "\1\1", 2);
    harness_give(h, 0, 1, 0, 6, &s);
    harness_give_bytes(h, 1, 1, 0, 6, span_text("\xdf\xff\xff\xff\xff"));
    give_vote(h, 2, 1, one, "\1\1", 2);
    harness_run(h, 5, NULL);
    expect(h, 0, "\1\1", (const uint32_t[]){1, 1}, 1);
    expect(h, 1, "\1\1", (const uint32_t[]){1, 1}, 1);
    assert_int_equal(harness_dead_count(h), 2);
    harness_dead_text(h, 0, why, sizeof(why));
    assert_non_null(strstr(why, "3 scores for 2 steps"));
    harness_close(h);
}

/* The runtime keeps the first vote on an ordinal and counts the others as doubled. */
static void
a_second_vote_and_a_late_one_change_nothing(void **state)
{
    static const char *const options[] = {"rule", "any", NULL};
    struct harness          *h = harness_open("consensus", links, options, NULL);
    const float              yes[] = {1, 1}, no[] = {0, 0};
    struct steps             s = two_steps();
    struct harness_message   m;

    (void)state;
    give_vote(h, 1, 0, no, "\1\1", 2);
    give_vote(h, 1, 0, yes, "\1\1", 2); /* before the others */
    harness_give(h, 0, 0, 0, 6, &s);
    give_vote(h, 2, 0, no, "\1\1", 2);
    harness_run(h, 5, NULL);
    give_vote(h, 2, 0, yes, "\1\1", 2); /* after the label was given */
    harness_run(h, 5, NULL);
    harness_crash(h);
    give_vote(h, 1, 0, yes, "\1\1", 2);
    harness_run(h, 5, NULL);
    expect(h, 0, "\0\0", (const uint32_t[]){2, 2}, 0);
    assert_false(harness_take(h, "out", &m));
    harness_close(h);
}

static void
responses_and_vectors_are_joined(void **state)
{
    static const char *const options[] = {"quorum", "1", NULL};
    struct harness          *h = harness_open("consensus", links, options, NULL);
    float                    one[] = {1, 1}, vectors[] = {1, 2, 3, 4};
    float                    high = 0.9f, low = 0.4f, far = 7;
    struct steps             s = two_steps();
    struct vote zeta = {.scores = {2, one}, .said = {2, (uint8_t *)(uintptr_t) "\1\1"}};
    struct vote alpha = zeta;
    struct harness_message m;
    struct arena           arena = {0};
    struct labelled        l;

    (void)state;
    zeta.response = (struct f32s){1, &high};
    zeta.embeddings = (struct f32s){4, vectors};
    alpha.response = (struct f32s){1, &low};
    alpha.embeddings = (struct f32s){3, vectors}; /* not so many for each of two steps */
    for (uint64_t o = 0; o < 2; o++) {
        harness_give(h, 0, o, 0, 6, &s);
        harness_give(h, 1, o, 0, 6, &zeta);
        harness_give(h, 2, o, 0, 6, &alpha);
        alpha.response = (struct f32s){1, &far};
    }
    harness_run(h, 5, NULL);
    for (int o = 0; o < 2; o++) {
        assert_true(harness_take(h, "out", &m));
        assert_int_equal(message_read(MESSAGE_labelled, m.body, &l, &arena, NULL), 0);
        assert_int_equal(l.response.count, 1);
        assert_true(l.response.at[0] ==
                    (o == 0 ? (float)(((double)high + (double)low) / 2) : high));
        assert_int_equal(l.embeddings.count, 4);
        assert_memory_equal(l.embeddings.at, vectors, sizeof(vectors));
        assert_int_equal(l.ties.count, 0);
    }
    arena_free(&arena);
    harness_close(h);
}

/* The agreement that the store tells, as status shows it. */
static struct agreement
told(struct harness *h)
{
    struct agreement g;
    json_t          *status = json_object();
    const json_t    *agreement;

    look_report(harness_node(h)->store, status);
    agreement = json_object_get(json_object_get(status, "report"), "agreement");
    assert_string_equal(json_string_value(json_array_get(json_object_get(agreement, "voters"), 0)),
                        "alpha");
    assert_int_equal(agreement_parse(&g, agreement, NULL), 0);
    json_decref(status);
    return g;
}

static void
agreement_is_counted_once_whatever_crashes(void **state)
{
    static const char *const options[] = {"rule", "majority", "quorum", "1", NULL};
    const float              zeta[] = {0.1f, 0.9f}, alpha[] = {0.7f, 0};
    struct steps             s = two_steps();

    (void)state;
    for (int crashes = 0; crashes < 2; crashes++) {
        struct harness  *h = harness_open("consensus", links, options, NULL);
        struct agreement g;

        for (uint64_t o = 0; o < 6; o++) {
            harness_give(h, 0, o, 0, 6, &s);
            give_vote(h, 1 + (int)o % 2, o, o % 2 ? alpha : zeta, o % 2 ? "\1\0" : "\1\1", 2);
            give_vote(h, 2 - (int)o % 2, o, o % 2 ? zeta : alpha, o % 2 ? "\1\1" : "\1\0", 2);
            if (o % 2 == 1)
                harness_run(h, 5, NULL);
            if (crashes)
                harness_crash(h);
        }
        harness_run(h, 5, NULL);
        g = told(h);
        assert_int_equal(g.steps, 12);
        assert_int_equal(g.pairs[0][AGREEMENT_correct][AGREEMENT_wrong], 6); /* alpha, then zeta */
        assert_int_equal(g.pairs[0][AGREEMENT_silent][AGREEMENT_correct], 6);
        assert_int_equal(g.profile[1][1], 6);
        assert_int_equal(harness_node(h)->counts[METRIC_ties], 6);
        harness_restart(h);
        assert_int_equal(told(h).steps, 12);
        harness_close(h);
    }
}

static void
what_every_input_closed_stays_closed(void **state)
{
    struct harness        *h = harness_open("consensus", links, NULL, NULL);
    struct harness_message m;

    (void)state;
    for (int k = 0; k < 3; k++)
        harness_give_closing(h, k, 0, 0, 6, "routed");
    harness_run(h, 5, NULL);
    assert_true(harness_take(h, "out", &m) && m.closing);
    assert_string_equal(m.reason, "routed");
    harness_close(h);
}

static void
bad_options_are_refused(void **state)
{
    static const char *const bad[][4] = {
        {"rule", "most", NULL}, {"quorum", "3", NULL}, {"threshold", "2", NULL},
        {"thresholds", "beta=0.5", NULL}, {"thresholds", "alpha=1.5", NULL},
        {"weights", "alpha=2", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};
        if (harness_open("consensus", links, bad[i], &e))
            fail_msg("options %zu were not refused", i);
    }
}

static void
kinds_of_steps_pass_through(void **state)
{
    static const char *const options[] = {"rule", "any", "quorum", "1", NULL};
    static uint8_t           kinds[] = {0, 2};
    const float              scores[] = {1, 0};
    struct harness          *h = harness_open("consensus", links, options, NULL);
    struct steps             s = two_steps();
    struct harness_message   m;
    struct arena             arena = {0};
    struct labelled          l;

    (void)state;
    s.kinds.at = kinds;
    s.kinds.count = 2;
    harness_give(h, 0, 0, 0, 1, &s);
    give_vote(h, 1, 0, scores, "\1\1", 2);
    give_vote(h, 2, 0, scores, "\1\1", 2);
    harness_run(h, 5, NULL);
    assert_true(harness_take(h, "out", &m));
    assert_int_equal(message_read(MESSAGE_labelled, m.body, &l, &arena, NULL), 0);
    assert_int_equal(l.kinds.count, 2);
    assert_memory_equal(l.kinds.at, kinds, 2);
    arena_free(&arena);
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_label_as_they_say),
        cmocka_unit_test(level_votes_are_ties_and_unknown),
        cmocka_unit_test(each_voter_may_have_a_threshold),
        cmocka_unit_test(first_errors_must_match),
        cmocka_unit_test(random_votes_are_labelled_as_the_rules_say),
        cmocka_unit_test(values_of_voters_are_read_strictly),
        cmocka_unit_test(rules_and_quorums_are_read_strictly),
        cmocka_unit_test(votes_join_whatever_their_order),
        cmocka_unit_test(silence_lowers_the_count_below_quorum),
        cmocka_unit_test(a_vote_for_other_steps_is_a_dead_letter_and_an_abstention),
        cmocka_unit_test(a_second_vote_and_a_late_one_change_nothing),
        cmocka_unit_test(responses_and_vectors_are_joined),
        cmocka_unit_test(agreement_is_counted_once_whatever_crashes),
        cmocka_unit_test(what_every_input_closed_stays_closed),
        cmocka_unit_test(kinds_of_steps_pass_through),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
