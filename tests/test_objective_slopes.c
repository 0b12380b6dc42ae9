/* Every objective, with every choice it has, against the naive loss of its paper: the value, and c,
 * e, h and the named entries against central differences in double. Then what holds for all of
 * them: batches add up, a masked token is as if it were not there, the first step of a policy that
 * is its own reference, hard numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/naive_objective.h"

#define ROWS    NAIVE_ROWS
#define SAMPLES NAIVE_SAMPLES
#define GROUPS  5
#define H       1e-5

struct result {
    float c[ROWS], e[ROWS], h[ROWS];
    struct objective_entry entries[SAMPLES * NAIVE_NAMES];
    int64_t entry_count;
    struct objective_report report;
    struct objective_step step;
};

static struct objective_settings
fill(const struct objective *o, struct objective_settings s)
{
    struct error e;

    if (isnan(s.constant))
        s.constant = 50;
    if (objective_settings_fill(o, &s, &e) < 0)
        fail_msg("%s", e.text);
    return s;
}

static void
measure(struct naive *n, const struct objective *o, const struct objective_settings *s,
        struct result *r)
{
    memset(r, 0, sizeof *r);
    objective_measure(o, &n->batch, s, &r->step);
    r->step.groups = GROUPS;
}

static void
run(struct naive *n, const struct objective *o, const struct objective_settings *s,
    struct result *r)
{
    struct objective_output out = {.c = r->c, .e = r->e, .h = r->h, .entries = r->entries};
    struct error e;

    naive_batch(n);
    objective_advantages(&n->batch, s, n->sample);
    measure(n, o, s, r);
    if (objective_check(o, &n->batch, s, &e) < 0)
        fail_msg("%s: %s", o->name, e.text);
    objective_run(o, &n->batch, s, &r->step, &out, &r->report);
    r->entry_count = out.entry_count;
}

static double
slope(struct naive *n, const char *name, const struct objective_settings *s, double *at)
{
    double kept = *at, above, below;

    *at = kept + H;
    above = naive_loss(n, name, s);
    *at = kept - H;
    below = naive_loss(n, name, s);
    *at = kept;
    return (above - below) / (2 * H);
}

static void
same(const char *what, const char *of, const char *part, int row, double value, double wanted,
     double loss)
{
    if (!(fabs(value - wanted) <= 3e-6 * fabs(wanted) + 2e-9 * (1 + fabs(loss))))
        fail_msg("%s, %s: %s of row %d is %.9g, the slope %.9g", of, what, part, row, value,
                 wanted);
}

/* One choice of settings. Returns rows with a coefficient. */
static int
check(struct naive *n, const struct objective *o, struct objective_settings s, const char *what)
{
    static struct result r;
    double loss;
    int some = 0;

    s = fill(o, s);
    run(n, o, &s, &r);
    loss = naive_loss(n, o->name, &s);
    if (!(fabs(r.report.loss - loss) <= 1e-9 * (1 + fabs(loss))))
        fail_msg("%s, %s: loss %.12g, naive %.12g", o->name, what, r.report.loss, loss);
    for (int t = 0; t < ROWS; t++) {
        same(what, o->name, "c", t, (double)r.c[t], slope(n, o->name, &s, &n->logp[t]), loss);
        if (r.e[t] != 0 || (o->needs & OBJECTIVE_needs_lse))
            same(what, o->name, "e", t, (double)r.e[t], slope(n, o->name, &s, &n->lse[t]), loss);
        if (r.h[t] != 0 || s.entropy_weight != 0)
            same(what, o->name, "h", t, (double)r.h[t], slope(n, o->name, &s, &n->entropy[t]),
                 loss);
        some += r.c[t] != 0;
    }
    for (int i = 0; i < SAMPLES && o->needs & OBJECTIVE_needs_named; i++)
        for (int k = 0; k < NAIVE_NAMES; k++) {
            double sum = 0;

            for (int64_t j = 0; j < r.entry_count; j++)
                if (r.entries[j].row == n->sample[i].named_row
                    && r.entries[j].column == n->columns[k])
                    sum += (double)r.entries[j].value;
            same(what, o->name, "g", (int)n->sample[i].named_row, sum,
                 slope(n, o->name, &s, &n->named[i][k]), loss);
        }
    return some;
}

static void
check_aggregations(struct naive *n, const struct objective *o)
{
    static const char *const names[] = {"sequence_mean", "sequence_sum", "token_mean", "constant"};

    for (int a = 0; a < 4; a++) {
        struct objective_settings s = objective_settings_none();

        if (!(o->aggregations >> a & 1))
            continue;
        s.aggregation = (enum objective_aggregation)a;
        check(n, o, s, names[a]);
        s.budget = 40;
        if (a == OBJECTIVE_constant)
            check(n, o, s, "budget");
    }
}

static void
check_advantages(struct naive *n, const struct objective *o)
{
    static const char *const names[] = {"reward", "mean", "mean_std", "leave_one_out", "gdepo",
                                        "given"};
    struct objective_settings s = objective_settings_none();

    for (int a = 0; a < 6 && (int)o->standard.advantages >= 0; a++) {
        s.advantages = (enum objective_advantages)a;
        for (int i = 0; i < SAMPLES; i++)
            n->sample[i].advantage = 0.3 * (i % 5) - 0.7;
        check(n, o, s, names[a]);
    }
    if ((int)o->standard.advantages < 0)
        return;
    n->with_rows = 1;
    check(n, o, s, "advantages of rows");
    n->with_rows = 0;
    for (int k = OBJECTIVE_k1; k <= OBJECTIVE_k3; k++) {
        s = objective_settings_none();
        s.kl = (enum objective_kl)k;
        s.kl_in_reward = 1;
        s.kl_weight = 0.3;
        check(n, o, s, "KL in the reward");
    }
}

static void
check_terms(struct naive *n, const struct objective *o)
{
    static const char *const names[] = {"entropy", "k1", "k2", "k3"};

    for (int k = 0; k < 4 && !(o->needs & OBJECTIVE_needs_classes); k++) {
        struct objective_settings s = objective_settings_none();

        s.kl = (enum objective_kl)k;
        s.kl_weight = 0.3;
        s.entropy_weight = k % 2 ? 0 : 0.05;
        check(n, o, s, names[k]);
    }
}

static void
check_choices(struct naive *n, const struct objective *o)
{
    struct objective_settings s = objective_settings_none();

    for (int k = 0; k < 4 && (int)o->standard.ratio >= 0; k++) {
        static const char *const names[] = {"token ratio", "sequence ratio", "geometric ratio",
                                            "ratio of steps"};

        s.ratio = (enum objective_ratio)k;
        if (k == 3 ? strcmp(o->name, "rloo") == 0 : strcmp(o->name, "ipo") != 0 || k > 0)
            check(n, o, s, names[k]);
    }
    s = objective_settings_none();
    for (int k = 0; k < 4 && o->standard.variant >= 0; k++) {
        static const char *const names[] = {"variant 0", "variant 1", "variant 2", "variant 3"};

        s.variant = k;
        if (k < 2 || strcmp(o->name, "ranknet") == 0)
            check(n, o, s, names[k]);
    }
    s = objective_settings_none();
    if (!isnan(o->standard.clip_low)) {
        s.clip_low = 0.1;
        s.clip_high = 0.3;
        check(n, o, s, "another clip");
    }
    if (!isnan(o->standard.clip_dual)) {
        s.clip_dual = 1.5;
        check(n, o, s, "dual clip");
    }
    s = objective_settings_none();
    if (!isnan(o->standard.tau)) {
        s.tau = 0.7;
        check(n, o, s, "another tau");
    }
}

static void
coefficients_are_slopes(void **state)
{
    static struct naive n;

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++) {
        const struct objective *o = objective_at(k);

        naive_make(&n, 0.4, 1);
        check_aggregations(&n, o);
        check_advantages(&n, o);
        check_terms(&n, o);
        check_choices(&n, o);
        naive_plain(&n);
        check(&n, o, objective_settings_none(), "plain");
        naive_make(&n, 4, 2);
        check(&n, o, objective_settings_none(), "far");
        check_choices(&n, o);
        naive_make(&n, 1, 3);
        if (check(&n, o, objective_settings_none(), "own settings") < 8)
            fail_msg("%s: nothing to see", o->name);
    }
}

/* A step cut where the scope allows: the same bits, sums that add up. */
static void
batches_add_up(void **state)
{
    static struct naive n;
    static struct result whole, part;

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++) {
        const struct objective *o = objective_at(k);
        struct objective_settings s = objective_settings_none();
        struct objective_step again = {0};
        struct objective_report sums = {0};
        float c[ROWS] = {0}, e[ROWS] = {0}, h[ROWS] = {0};
        int64_t entries = 0;

        naive_make(&n, 0.6, 4);
        if (!(o->needs & OBJECTIVE_needs_classes)) {
            s.kl = OBJECTIVE_k3;
            s.entropy_weight = 0.01;
        }
        s = fill(o, s);
        run(&n, o, &s, &whole);
        for (int i = 0, to; i < SAMPLES; i = to) {
            struct objective_output out = {.c = part.c, .e = part.e, .h = part.h,
                                           .entries = part.entries};
            struct objective_batch b = n.batch;

            for (to = i + 1; to < SAMPLES && o->scope >= OBJECTIVE_group; to++)
                if (o->scope == OBJECTIVE_group && n.sample[to].group != n.sample[i].group)
                    break;
            b.samples = to - i;
            b.sample = &n.sample[i];
            b.named_logits += i * NAIVE_NAMES;
            objective_measure(o, &b, &s, &again);
            objective_run(o, &b, &s, &whole.step, &out, &sums);
            for (int t = 0; t < ROWS; t++) {
                c[t] += part.c[t];
                e[t] += part.e[t];
                h[t] += part.h[t];
            }
            for (int64_t j = 0; j < out.entry_count; j++, entries++)
                assert_memory_equal(&part.entries[j], &whole.entries[entries],
                                    sizeof part.entries[j]);
        }
        assert_memory_equal(c, whole.c, sizeof c);
        assert_memory_equal(e, whole.e, sizeof e);
        assert_memory_equal(h, whole.h, sizeof h);
        assert_int_equal(entries, whole.entry_count);
        assert_true(fabs(again.tokens - whole.step.tokens) < 1e-9);
        assert_true(again.samples == whole.step.samples);
        assert_true(fabs(sums.loss - whole.report.loss) <= 1e-12 * (1 + fabs(sums.loss)));
        assert_true(sums.tokens == whole.report.tokens && sums.samples == whole.report.samples);
        assert_true(sums.clipped == whole.report.clipped);
    }
}

/* The world without the masked rows; kept[t]: where row t went. */
static void
compact(const struct naive *n, struct naive *less, int *kept)
{
    int64_t to = 0;

    *less = *n;
    for (int t = 0; t < ROWS; t++) {
        int inside = 0;

        for (int i = 0; i < SAMPLES; i++)
            inside |= t >= n->sample[i].first && t < n->sample[i].first + n->sample[i].count;
        kept[t] = -1;
        if (inside && !n->mask[t])
            continue;
        kept[t] = (int)to;
        less->logp[to] = n->logp[t];
        less->lse[to] = n->lse[t];
        less->entropy[to] = n->entropy[t];
        less->reference[to] = n->reference[t];
        less->behaviour[to] = n->behaviour[t];
        less->weight[to] = n->weight[t];
        less->mask[to++] = 1;
    }
    for (int i = 0; i < SAMPLES; i++) {
        struct objective_sample *s = &less->sample[i];
        int64_t count = 0, first = -1;

        for (int64_t t = n->sample[i].first; t < n->sample[i].first + n->sample[i].count; t++)
            if (kept[t] >= 0) {
                first = count++ == 0 ? kept[t] : first;
            }
        s->count = count;
        s->first = count ? first : i == 0 ? 0 : s[-1].first + s[-1].count;
        s->named_row = s->named_row < 0 ? -1 : kept[s->named_row];
    }
}

static void
a_masked_token_is_not_there(void **state)
{
    static struct naive n, less;
    static struct result a, b;
    int kept[ROWS];

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++) {
        const struct objective *o = objective_at(k);
        struct objective_settings s = fill(o, objective_settings_none());

        naive_make(&n, 0.6, 5);
        for (int i = 0; i < SAMPLES; i++)
            if (n.sample[i].named_row >= 0 && n.sample[i].count > 0 && i != 7)
                n.mask[n.sample[i].named_row] = 1;
        n.sample[7].named_row = -1;
        compact(&n, &less, kept);
        run(&n, o, &s, &a);
        run(&less, o, &s, &b);
        for (int t = 0; t < ROWS; t++) {
            assert_true((kept[t] < 0 ? 0.0f : b.c[kept[t]]) == a.c[t]);
            assert_true((kept[t] < 0 ? 0.0f : b.e[kept[t]]) == a.e[t]);
        }
        assert_true(a.report.loss == b.report.loss && a.report.tokens == b.report.tokens);
    }
}

/* Of the step that begins at row t of sample s: its end, and the log of its geometric ratio. */
static int64_t
step_end(const struct naive *n, const struct objective_sample *s, int64_t t, double *log_ratio)
{
    int64_t end = t;

    for (*log_ratio = 0; end < s->first + s->count && (end == t || !n->begins[end]); end++)
        *log_ratio += n->logp[end] - n->behaviour[end];
    *log_ratio /= (double)(end - t);
    return end;
}

/* S2R's process-level loss as printed (2502.12853): the mean over a response's actions of
 * -min(r A, clip(r) A), then over responses. Action k of a response has A = (-1)^k (k + 1) / 2. */
static double
s2r_loss(const struct naive *n)
{
    double loss = 0;

    for (int i = 0; i < SAMPLES; i++) {
        const struct objective_sample *s = &n->sample[i];
        double sum = 0, log_ratio, k = 0;

        for (int64_t t = s->first; t < s->first + s->count; k++) {
            double a = (fmod(k, 2) > 0 ? -1 : 1) * (k + 1) / 2, r;

            t = step_end(n, s, t, &log_ratio);
            r = exp(log_ratio);
            sum -= fmin(r * a, fmin(fmax(r, 0.8), 1.2) * a);
        }
        loss += k > 0 ? sum / k / ((double)s->group_size * GROUPS) : 0;
    }
    return loss;
}

/* rloo with ratio step and sequence_mean is that loss, each token of a step of n, one of k in a
 * response of m, having A m / (k n). */
static void
steps_make_s2rs_loss(void **state)
{
    static struct naive n;
    static struct result r;
    const struct objective *o = objective_find("rloo");
    struct objective_settings s = objective_settings_none();
    double log_ratio;

    (void)state;
    s.ratio = OBJECTIVE_ratio_step;
    s.aggregation = OBJECTIVE_sequence_mean;
    s = fill(o, s);
    naive_make(&n, 1, 9);
    naive_plain(&n);
    n.with_rows = 1;
    for (int i = 0; i < SAMPLES; i++) {
        const struct objective_sample *a = &n.sample[i];
        double k = 0, steps = 0;

        for (int64_t t = a->first; t < a->first + a->count; steps++)
            t = step_end(&n, a, t, &log_ratio);
        for (int64_t t = a->first, end; t < a->first + a->count; t = end, k++) {
            end = step_end(&n, a, t, &log_ratio);
            for (int64_t u = t; u < end; u++)
                n.row_advantage[u] = (fmod(k, 2) > 0 ? -1 : 1) * (k + 1) / 2 * (double)a->count
                                     / (steps * (double)(end - t));
        }
    }
    run(&n, o, &s, &r);
    assert_true(fabs(r.report.loss - s2r_loss(&n)) < 1e-6 && r.report.clipped > 5);
    for (int t = 0; t < ROWS; t++) {
        double kept = n.logp[t], above, below;

        n.logp[t] = kept + H;
        above = s2r_loss(&n);
        n.logp[t] = kept - H;
        below = s2r_loss(&n);
        n.logp[t] = kept;
        assert_true(fabs((double)r.c[t] - (above - below) / (2 * H)) < 1e-7);
    }
}

/* The policy is its reference and its behaviour: ratios are exactly 1, S exactly 0. */
static void
the_first_step_is_exact(void **state)
{
    static struct naive n;
    static struct result r;

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++) {
        const struct objective *o = objective_at(k);
        struct objective_settings s = objective_settings_none();

        naive_make(&n, 1, 6);
        memcpy(n.reference, n.logp, sizeof n.logp);
        memcpy(n.behaviour, n.logp, sizeof n.logp);
        if (!(o->needs & OBJECTIVE_needs_classes))
            s.kl = OBJECTIVE_k3;
        s = fill(o, s);
        run(&n, o, &s, &r);
        assert_true(r.report.importance == r.report.tokens);
        assert_true(r.report.importance_largest == 1.0);
        assert_true(r.report.ratio == 0.0 && r.report.ratio_largest == 0.0);
        assert_true(r.report.kl == 0.0 && r.report.kl_loss == 0.0);
        assert_true(r.report.pull == 0.0);
        assert_true(r.report.clipped == 0.0);
        assert_true(r.report.tokens > 20);
    }
}

static void
all_finite(const struct objective *o, const struct result *r, const char *what)
{
    for (int t = 0; t < ROWS; t++)
        if (!isfinite(r->c[t]) || !isfinite(r->e[t]) || !isfinite(r->h[t]))
            fail_msg("%s, %s: row %d is not finite", o->name, what, t);
    for (int64_t j = 0; j < r->entry_count; j++)
        if (!isfinite(r->entries[j].value))
            fail_msg("%s, %s: a named entry is not finite", o->name, what);
    if (!isfinite(r->report.loss))
        fail_msg("%s, %s: the loss is not finite", o->name, what);
}

/* S of -1e4 and of 1e4, log ratios of hundreds, logits of thousands, equal logits. */
static void
hard_numbers_stay_finite(void **state)
{
    static const double far[] = {-1700, 1700, -30, 30};
    static struct naive n;
    static struct result r;

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++)
        for (int hard = 0; hard < 4; hard++)
            for (int variant = 0; variant < 4; variant++) {
                const struct objective *o = objective_at(k);
                struct objective_settings s = objective_settings_none();

                naive_make(&n, 1, 7);
                for (int t = 0; t < ROWS; t++) {
                    n.behaviour[t] = far[hard] < 0 ? -0.5 : -0.5 - far[hard];
                    n.reference[t] = n.behaviour[t];
                    n.logp[t] = n.behaviour[t] + far[hard];
                }
                for (int i = 0; i < SAMPLES; i++)
                    for (int j = 0; j < NAIVE_NAMES; j++)
                        n.named[i][j] = hard == 0 ? 1 : (j % 3 - 1) * 2000.0;
                for (int t = 0; t < ROWS; t++)
                    n.lse[t] = hard == 0 ? 3 : 2001;
                if (o->standard.variant >= 0)
                    s.variant = strcmp(o->name, "ranknet") == 0 ? variant : variant % 2;
                s = fill(o, s);
                run(&n, o, &s, &r);
                all_finite(o, &r, "far");
            }
}

/* Nothing to learn: no samples, one empty one, one that is all masked. */
static void
nothing_to_learn(void **state)
{
    static struct naive n;
    static struct result r;

    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++)
        for (int what = 0; what < 3; what++) {
            const struct objective *o = objective_at(k);
            struct objective_settings s = fill(o, objective_settings_none());
            struct objective_output out = {.c = r.c, .e = r.e, .h = r.h, .entries = r.entries};

            naive_make(&n, 1, 8);
            naive_batch(&n);
            n.sample[7].named_row = -1;
            n.batch.samples = what > 0;
            n.batch.sample = what == 1 ? &n.sample[5] : &n.sample[7];
            memset(&r.step, 0, sizeof r.step);
            memset(&r.report, 0, sizeof r.report);
            objective_measure(o, &n.batch, &s, &r.step);
            objective_run(o, &n.batch, &s, &r.step, &out, &r.report);
            for (int t = 0; t < ROWS; t++)
                assert_true(r.c[t] == 0 && r.e[t] == 0 && r.h[t] == 0);
            assert_true(r.report.loss == 0 && r.report.tokens == 0 && r.report.samples == 0);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coefficients_are_slopes),
        cmocka_unit_test(batches_add_up),
        cmocka_unit_test(a_masked_token_is_not_there),
        cmocka_unit_test(steps_make_s2rs_loss),
        cmocka_unit_test(the_first_step_is_exact),
        cmocka_unit_test(hard_numbers_stay_finite),
        cmocka_unit_test(nothing_to_learn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
