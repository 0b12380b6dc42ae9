/* The table of objectives and what is chosen for one: by hand on a group of two, the numbers to
 * log, settings that are filled or refused, needs, advantages, batches that are refused. Slopes are
 * test_objective_slopes.c's, outside values test_objective_golden.c's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/naive_objective.h"

static struct objective_settings
settings_of(const struct objective *o, double tau)
{
    struct objective_settings s = objective_settings_none();
    struct error e;

    s.constant = 10;
    if (!isnan(tau))
        s.tau = tau;
    if (objective_settings_fill(o, &s, &e) < 0)
        fail_msg("%s", e.text);
    return s;
}

static int
near(double a, double b)
{
    return fabs(a - b) < 1e-7;
}

/* S_1 = 0.5, S_2 = 0.5; c = -(1/(G |y|)) (b (r - mean) - tau S) */
static void
bcpg_by_hand(void **state)
{
    float logp[3] = {-1, -2, -0.5f}, reference[3] = {-1.5f, -2, -1}, weight[3] = {0.5f, 1, 1}, c[3];
    struct objective_sample sample[2] = {
        {.first = 0, .count = 2, .reward = 0, .mean = 0.5, .group_size = 2, .weight = 1},
        {.first = 2, .count = 1, .reward = 1, .mean = 0.5, .group_size = 2, .weight = 1},
    };
    struct objective_batch b = {.rows = 3, .logp = logp, .reference = reference, .weight = weight,
                                .samples = 2, .sample = sample};
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {0};
    const struct objective *o = objective_find("bcpg_nsa");
    struct objective_settings s = settings_of(o, 0.03);

    (void)state;
    objective_advantages(&b, &s, sample);
    objective_measure(o, &b, &s, &step);
    assert_true(step.groups == 1.0 && step.tokens == 3 && step.samples == 2);
    objective_run(o, &b, &s, &step, &out, &report);
    assert_true(near((double)c[0], -0.25 * (0.5 * -0.5 - 0.03 * 0.5)));
    assert_true(near((double)c[1], -0.25 * (1.0 * -0.5 - 0.03 * 0.5)));
    assert_true(near((double)c[2], -0.5 * (1.0 * 0.5 - 0.03 * 0.5)));
    assert_true(near(report.policy, -0.25 * (-0.25 * -1 + -0.5 * -2) - 0.5 * (0.5 * -0.5)));
    assert_true(near(report.pull, 0.015 * (0.25 * 0.25 + 0.5 * 0.25)));
    assert_true(report.loss == report.policy + report.pull);
    assert_true(report.samples == 2 && report.tokens == 3 && report.ratio == 1.0);
    assert_true(report.ratio_largest == 0.5 && near(report.logp, -3.5));
    assert_true(near(report.advantage, 1.0));
    assert_true(near(report.kl, 2 * (exp(-0.5) + 0.5 - 1)));
    b.weight = NULL;
    objective_run(objective_find("bcpg"), &b, &s, &step, &out, &report);
    assert_true(near((double)c[0], -0.25 * (-0.5 - 0.03 * 0.5)));
}

/* Two tokens of ratio e and 1/e: one beyond the clip where A pushes, one where it does not. */
static void
clips_are_counted(void **state)
{
    float logp[2] = {-1, -2}, behaviour[2] = {-2, -1}, c[2];
    struct objective_sample sample = {.count = 2, .group_size = 1, .weight = 1, .advantage = 1};
    struct objective_batch b = {.rows = 2, .logp = logp, .behaviour = behaviour, .samples = 1,
                                .sample = &sample};
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {.groups = 1, .tokens = 2, .samples = 1};
    const struct objective *o = objective_find("grpo");
    struct objective_settings s = settings_of(o, NAN);

    (void)state;
    objective_run(o, &b, &s, &step, &out, &report);
    assert_true(c[0] == 0 && near((double)c[1], -0.5 * exp(-1)));
    assert_true(report.clipped == 1);
    assert_true(near(report.importance, exp(1) + exp(-1)));
    assert_true(near(report.importance_largest, exp(1)));
    sample.advantage = -1;
    report = (struct objective_report){0};
    objective_run(o, &b, &s, &step, &out, &report);
    assert_true(near((double)c[0], 0.5 * exp(1)) && c[1] == 0 && report.clipped == 1);
}

static void
rft_leaves_wrong_ones_out(void **state)
{
    static struct naive n;
    float c[NAIVE_ROWS];
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {0};
    const struct objective *o = objective_find("rft");
    struct objective_settings s = settings_of(o, NAN);
    double sum = 0;

    (void)state;
    naive_make(&n, 1, 3);
    naive_plain(&n);
    naive_batch(&n);
    objective_measure(o, &n.batch, &s, &step);
    objective_run(o, &n.batch, &s, &step, &out, &report);
    for (int i = 0; i < NAIVE_SAMPLES; i++)
        for (int64_t t = n.sample[i].first; t < n.sample[i].first + n.sample[i].count; t++) {
            assert_true((c[t] < 0) == n.sample[i].correct);
            sum += (double)c[t];
        }
    assert_true(fabs(sum + 1) < 1e-6);
    assert_true(report.tokens == 37 && report.samples == 6);    /* 6 + 5 + 0 + 7 + 8 + 6 + 5 */
}

/* ---- settings ---- */

static void
every_row_is_complete(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *page = open_memstream(&text, &size);

    (void)state;
    objective_help(page);
    objective_manual(page);
    fclose(page);
    for (int k = 0; objective_at(k) != NULL; k++) {
        const struct objective *o = objective_at(k);
        struct objective_settings s = settings_of(o, NAN);
        struct objective_output out = {0};
        struct objective_report report = {0};

        assert_ptr_equal(objective_find(o->name), o);
        assert_true(o->abi == OBJECTIVE_ABI && *o->summary && *o->source && o->run != NULL);
        assert_true(!isnan(s.tau) && !isnan(s.kl_weight) && s.aggregation >= 0);
        assert_true(o->aggregations == 0 || o->aggregations >> s.aggregation & 1);
        if (strstr(text, o->name) == NULL || strstr(text, o->summary) == NULL)
            fail_msg("%s is not on the page", o->name);
        objective_run(o, &(struct objective_batch){0}, &s, &(struct objective_step){0}, &out,
                      &report);
        assert_true(report.loss == 0);
    }
    assert_non_null(strstr(text, "RECONSTRUCTED: the default of tau"));
    assert_null(objective_find("ppo"));
    assert_null(objective_at(-1));
    free(text);
}

static void
refused(const char *name, struct objective_settings s, const char *word)
{
    struct error e = {0};

    if (objective_settings_fill(objective_find(name), &s, &e) != ERROR_model)
        fail_msg("%s is not refused for its %s", name, word);
    if (strstr(e.text, word) == NULL || strstr(e.text, name) == NULL)
        fail_msg("'%s' does not name %s and %s", e.text, name, word);
}

static void
choices_that_do_not_belong_are_refused(void **state)
{
    struct objective_settings s;

    (void)state;
    for (int k = 0; k < 7; k++) {
        const struct { const char *name; double *at; } numbers[] = {
            {"tau", &s.tau}, {"clip_low", &s.clip_low}, {"clip_high", &s.clip_high},
            {"clip_dual", &s.clip_dual}, {"soften_positive", &s.soften_positive},
            {"soften_negative", &s.soften_negative}, {"lambda", &s.lambda},
        };

        s = objective_settings_none();
        *numbers[k].at = 0.5;
        refused("sft", s, numbers[k].name);
        s = objective_settings_none();
        *numbers[k].at = -0.5;
        refused(k == 0 ? "bcpg" : k < 4 ? "grpo" : k < 6 ? "sapo" : "tract", s, numbers[k].name);
    }
    s = objective_settings_none();
    s.tau = 0;
    refused("tbrm", s, "tau");
    s = objective_settings_none();
    s.advantages = OBJECTIVE_mean;
    refused("dpo", s, "advantages");
    s = objective_settings_none();
    s.ratio = OBJECTIVE_ratio_token;
    refused("grpo", s, "ratio");
    s = objective_settings_none();
    s.variant = 1;
    refused("grpo", s, "variants");
    s = objective_settings_none();
    s.aggregation = OBJECTIVE_token_mean;
    refused("kto", s, "aggregated");
    s = objective_settings_none();
    s.kl = OBJECTIVE_k2;
    refused("token_class", s, "no KL");
    s.kl_in_reward = 1;
    refused("copg", s, "reward");
    s = objective_settings_none();
    refused("dr_grpo", s, "constant");
    s.entropy_weight = INFINITY;
    refused("grpo", s, "entropy_weight");
}

static void
needs_follow_the_settings(void **state)
{
    const struct objective *o = objective_find("reinforce");
    struct objective_settings s = settings_of(o, NAN);

    (void)state;
    assert_true(objective_needs(o, &s) & OBJECTIVE_needs_group);
    s.advantages = OBJECTIVE_reward;
    assert_false(objective_needs(o, &s)
                 & (OBJECTIVE_needs_group | OBJECTIVE_needs_reference | OBJECTIVE_needs_entropy));
    s.kl = OBJECTIVE_k3;
    assert_true(objective_needs(o, &s) & OBJECTIVE_needs_reference);
    assert_false(objective_needs(o, &s) & OBJECTIVE_needs_behaviour);
    s.kl_in_reward = 1;
    assert_true(objective_needs(o, &s) & OBJECTIVE_needs_behaviour);
    s.entropy_weight = 0.1;
    assert_true(objective_needs(o, &s) & OBJECTIVE_needs_entropy);
}

/* A ranking loss has the weight its own trainers give it, unless told. */
static void
lambda_follows_the_variant(void **state)
{
    static const double wanted[] = {10, 1, 0.1, 1};
    const struct objective *o = objective_find("ranknet");

    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        struct objective_settings s = objective_settings_none();
        struct error e;

        s.variant = variant;
        assert_int_equal(objective_settings_fill(o, &s, &e), 0);
        assert_true(s.lambda == wanted[variant]);
        s = objective_settings_none();
        s.variant = variant;
        s.lambda = 3;
        assert_int_equal(objective_settings_fill(o, &s, &e), 0);
        assert_true(s.lambda == 3);
    }
}

/* A proof that is right has a positive advantage whatever its reward says. */
static void
gdepo_takes_the_sign_from_correctness(void **state)
{
    struct objective_sample sample[2] = {
        {.reward = 0.2, .mean = 0.5, .std = 0.3, .group_size = 2, .correct = 1},
        {.reward = 0.8, .mean = 0.5, .std = 0.3, .group_size = 2, .correct = 0},
    };
    struct objective_batch b = {.samples = 2, .sample = sample};
    struct objective_settings s = settings_of(objective_find("grpo"), NAN);

    (void)state;
    s.advantages = OBJECTIVE_gdepo;
    objective_advantages(&b, &s, sample);
    assert_true(fabs(sample[0].advantage - 0.3 / (0.3 * sqrt(2) + 1e-6)) < 1e-12);
    assert_true(fabs(sample[1].advantage + sample[0].advantage) < 1e-12);
}

/* ---- check ---- */

static void
bad(struct naive *n, const char *name, const char *word)
{
    const struct objective *o = objective_find(name);
    struct objective_settings s = settings_of(o, NAN);
    struct error e = {0};

    assert_int_equal(objective_check(o, &n->batch, &s, &e), ERROR_input);
    if (strstr(e.text, word) == NULL)
        fail_msg("%s: '%s' does not say '%s'", name, e.text, word);
}

static void
begin(struct naive *n)
{
    naive_make(n, 1, 3);
    naive_batch(n);
}

static void
bad_batches_are_refused(void **state)
{
    static struct naive n;
    int64_t row;

    (void)state;
    begin(&n);
    row = n.sample[2].first;
    n.batch.mask = NULL;
    n.batch.reference = NULL;
    bad(&n, "bcpg", "reference");
    n.batch.behaviour = NULL;
    bad(&n, "grpo", "behaviour");
    n.batch.lse = NULL;
    bad(&n, "tract", "logsumexp");
    n.batch.named_logits = NULL;
    bad(&n, "ranknet", "named logits");
    begin(&n);
    n.batch.named_values = NULL;
    bad(&n, "tract", "worth");
    begin(&n);
    n.batch.entropy = NULL;
    bad(&n, "aspo", "entropies");
    begin(&n);
    n.sample[2].first = n.sample[1].first;
    bad(&n, "sft", "rows");
    begin(&n);
    n.sample[12].count = INT64_MAX;
    bad(&n, "sft", "rows");
    begin(&n);
    n.sample[0].group_size = 0;
    bad(&n, "bcpg", "group of 0");
    begin(&n);
    n.sample[0].reward = NAN;
    bad(&n, "bcpg", "reward");
    begin(&n);
    n.sample[4].group = 0;
    bad(&n, "dpo", "group");
    begin(&n);
    n.sample[0].weight = -1;
    bad(&n, "sft", "weight");
    begin(&n);
    n.sample[2].named_row = n.sample[1].first;
    bad(&n, "tract", "named row");
    begin(&n);
    n.sample[2].rank[0] = 6;
    bad(&n, "ranknet", "rank 6");
    begin(&n);
    n.f_named[2 * NAIVE_NAMES] = NAN;
    bad(&n, "ranknet", "named logit 0");
    begin(&n);
    n.f_mask[row] = 1;
    n.f_reference[row] = -INFINITY;
    bad(&n, "bcpg", "reference log probability");
    n.f_mask[row] = 0;      /* what is not there may be anything */
    struct objective_settings s = settings_of(objective_find("bcpg"), NAN);
    struct error e;
    assert_int_equal(objective_check(objective_find("bcpg"), &n.batch, &s, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bcpg_by_hand),
        cmocka_unit_test(clips_are_counted),
        cmocka_unit_test(rft_leaves_wrong_ones_out),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(choices_that_do_not_belong_are_refused),
        cmocka_unit_test(needs_follow_the_settings),
        cmocka_unit_test(lambda_follows_the_variant),
        cmocka_unit_test(gdepo_takes_the_sign_from_correctness),
        cmocka_unit_test(bad_batches_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
