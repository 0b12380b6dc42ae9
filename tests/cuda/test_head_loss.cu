/* The loss in one call: statistics are those of sluice_head_statistics, coefficients and report
 * those of objective_run() on them, slopes those of the definition, for every objective and in
 * every way of going through the rows; the whole is the slope of the whole. */
#include "tests/cuda/loss_case.h"

#include "kernels/cuda/context.cuh"

/* ---- every objective, every way ---- */

struct way {
    const char *name;
    struct sluice_options options;
    enum sluice_type type;
    enum bits logp;
    int exact;                          /* slopes from logits in float32 */
};

static const struct way ways[] = {
    {"one chunk", {SLUICE_logits_float32, 0, 0, 0}, SLUICE_float32, SAME, 1},
    {"rounded", {SLUICE_logits_bfloat16, 0, 0, 0}, SLUICE_float32, ROUNDED, 0},
    {"chunks that hold units", {SLUICE_logits_float32, 15, 0, 0}, SLUICE_bfloat16, SAME, 1},
    {"two passes", {SLUICE_logits_float32, 5, 0, 0}, SLUICE_float32, SAME, 1},
    {"kept", {SLUICE_logits_float32, 5, 0, 1}, SLUICE_float32, SAME, 0},
    {"rounded, two passes", {SLUICE_logits_bfloat16, 5, 0, 0}, SLUICE_float32, ROUNDED, 0},
};
#define WAYS (int)(sizeof ways / sizeof *ways)

static const struct way fused[] = {
    {"fused", {SLUICE_logits_fused, 15, 0, 0}, SLUICE_float32, CLOSE, 0},
    {"fused, two passes", {SLUICE_logits_fused, 5, 0, 0}, SLUICE_float32, CLOSE, 0},
};

static void
run_some(const struct way *w, int count, const char *name, int masked, double kl, double entropy)
{
    struct loss_case l;

    loss_begin(&l, name, masked, kl, entropy);
    for (int i = 0; i < count; i++, w++) {
        struct answer a;

        run(&l, &w->options, w->type, &a);
        compare(&l, &a, w->logp, w->exact ? 0x1p-14 : rounded(&l));
        answer_free(&a);
    }
    loss_end(&l);
}

/* Each kind of objective in every way, the others in two: chunks of units, and two passes. */
CHECK(every_objective)
{
    static const char *const kinds[] = {"sft", "grpo", "bcpg_nsa", "dpo", "kto", "tract"};
    const struct objective *o;

    for (int i = 0; (o = objective_at(i)) != NULL; i++) {
        int all = 0;

        printf("# %s\n", o->name);
        for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++)
            all |= strcmp(kinds[n], o->name) == 0;
        run_some(all ? ways : ways + 2, all ? WAYS : 2, o->name, i % 3, 0, 0);
    }
}

CHECK(kl_terms_and_the_entropy_bonus)
{
    run_some(ways, 2, "grpo", 1, 0.02, 0.01);
    run_some(ways + 2, 2, "gspo", 0, 0.02, 0);
    run_some(ways + 3, 2, "bcpg_nsa", 1, 0, 0.01);
    run_some(ways + 1, 1, "sft", 1, 0, 0.05);
}

/* Statistics and tiles from our own product; the coefficients of a token's objective from them. */
CHECK(fused_logits)
{
    if (device_compute() / 10 != 9)
        check_skip("compute capability %d", device_compute());
    run_some(fused, 2, "grpo", 3, 0.02, 0.01);
    run_some(fused, 2, "bcpg_nsa", 0, 0, 0);
}

CHECK(half_the_rows_masked)
{
    run_some(ways + 2, 2, "grpo", 2, 0, 0);
    run_some(ways + 2, 2, "bcpg_nsa", 2, 0, 0);
}

/* Units of both lengths in a batch without gaps, where slices of x and dx themselves are used. */
CHECK(long_units_next_to_short_ones)
{
    run_some(ways, WAYS, "bcpg_nsa", DENSE, 0, 0);
    run_some(ways + 3, 2, "grpo", DENSE, 0, 0);
    run_some(ways + 3, 2, "dpo", DENSE, 0, 0);
}

/* Long units without a gradient: their rows of dx are zeros, not what was there. */
CHECK(long_units_that_count_for_nothing)
{
    struct loss_case l;

    loss_begin(&l, "bcpg_nsa", DENSE, 0, 0);
    for (int i = 0; i < SAMPLES; i++)
        l.sample[i].weight = l.sample[i].count > 4 ? 0 : 1;
    for (int i = 3; i < 5; i++) {
        struct answer a;

        run(&l, &ways[i].options, SLUICE_float32, &a);
        compare(&l, &a, ways[i].logp, ways[i].exact ? 0x1p-14 : rounded(&l));
        answer_free(&a);
    }
    loss_end(&l);
}

/* ---- the same bits ---- */

static void
same_again(const char *name)
{
    struct loss_case l;

    loss_begin(&l, name, 1, 0, 0);
    for (int i = 0; i < WAYS; i++) {
        struct answer a, b;

        run(&l, &ways[i].options, SLUICE_float32, &a);
        run(&l, &ways[i].options, SLUICE_float32, &b);
        MUST_SAME((const double *)&a.report, (const double *)&b.report, sizeof a.report / 8);
        MUST_SAME((float *)a.out.dx, (float *)b.out.dx, ROWS * HIDDEN);
        MUST_SAME(a.out.dweight, b.out.dweight, VOCAB * HIDDEN);
        MUST_SAME(a.out.dbias, b.out.dbias, VOCAB);
        answer_free(&a);
        answer_free(&b);
    }
    loss_end(&l);
}

CHECK(the_same_call_gives_the_same_bits)
{
    same_again("grpo");
    same_again("bcpg_nsa");
}

/* log p, coefficients, report and dx of a row do not depend on the chunk: dX is a product of the
 * row's slopes alone, by one algorithm for all chunks of a capacity. */
CHECK(chunks_change_no_bits_of_the_loss)
{
    static const char *const names[] = {"grpo", "bcpg_nsa", "kto"};
    static const int64_t chunks[] = {1, 7, 14, 20, 48, 1000};

    for (size_t n = 0; n < 3; n++) {
        struct loss_case l;
        struct answer all;

        loss_begin(&l, names[n], 1, 0, 0);
        run(&l, &ways[0].options, SLUICE_float32, &all);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            struct sluice_options o = {};
            struct answer a;

            o.chunk_rows = chunks[i];
            run(&l, &o, SLUICE_float32, &a);
            MUST_SAME(a.logp, all.logp, ROWS);
            MUST_SAME(a.lse, all.lse, ROWS);
            MUST_SAME(a.c, all.c, ROWS);
            MUST_SAME((const double *)&a.report, (const double *)&all.report,
                      sizeof a.report / 8);
            answer_free(&a);
        }
        answer_free(&all);
        loss_end(&l);
    }
}

/* Where policy and behaviour are the same weights, every ratio is 1 to the last bit. */
CHECK(the_ratio_of_a_policy_to_itself_is_exactly_one)
{
    static const int64_t chunks[] = {0, 3, 15};
    struct loss_case l;
    float *logp, *lse;
    const struct sluice_options plain = {};

    loss_begin(&l, "grpo", 1, 0, 0);
    logp = (float *)device_room(ROWS * 4);
    lse = (float *)device_room(ROWS * 4);
    MUST_OK(sluice_head_statistics(sluice(), &l.k.head, &l.k.in, &plain, logp, lse, NULL));
    l.device.behaviour = l.device.reference = logp;
    for (int i = 0; i < 3; i++) {
        struct sluice_options o = {};
        struct answer a;

        o.chunk_rows = chunks[i];
        run(&l, &o, SLUICE_float32, &a);
        MUST(a.report.tokens > 10);
        MUST(a.report.importance == a.report.tokens);
        MUST(a.report.importance_largest == 1);
        MUST(a.report.ratio == 0 && a.report.ratio_largest == 0 && a.report.kl == 0);
        MUST(a.report.clipped == 0);
        answer_free(&a);
    }
    loss_end(&l);
}

/* ---- the slope of the whole ---- */

/* The loss of the host, from x in double. */
static double
whole_loss(const struct loss_case *l, const double *x)
{
    float logp[ROWS] = {0}, lse[ROWS] = {0}, entropy[ROWS] = {0}, c[ROWS], e[ROWS], h[ROWS];
    struct objective_output out = {c, e, h, NULL, 0};
    struct objective_report report = {};
    struct objective_batch b = l->host;
    const struct head_case *k = &l->k;
    double z[VOCAB];

    for (int64_t row = 0; row < ROWS; row++) {
        double p, s, n;

        if (k->targets[row] < 0)
            continue;
        for (int64_t v = 0; v < VOCAB; v++) {
            z[v] = 0;
            for (int64_t i = 0; i < HIDDEN; i++)
                z[v] += x[row * HIDDEN + i] * case_weight(k, v, i);
        }
        case_softmax(z, VOCAB, k->targets[row], &p, &s, &n);
        logp[row] = (float)p;
        lse[row] = (float)s;
        entropy[row] = (float)n;
    }
    b.logp = logp;
    b.lse = lse;
    b.entropy = entropy;
    objective_run(l->objective, &b, &l->settings, &l->step, &out, &report);
    return report.loss;
}

static void
slope_of_whole(const char *name, double kl, double entropy)
{
    const double step = 0x1p-7;
    double x[ROWS * HIDDEN];
    const struct sluice_options o = {SLUICE_logits_float32, 0, 0, 0};
    struct loss_case l;
    struct answer a;
    uint64_t seed = 4;
    double moved = 0;

    loss_begin(&l, name, 0, kl, entropy);
    run(&l, &o, SLUICE_float32, &a);
    for (int64_t i = 0; i < ROWS * HIDDEN; i++)
        x[i] = case_x(&l.k, i / HIDDEN, i % HIDDEN);
    for (int n = 0; n < 30; n++) {
        int64_t at = check_below(&seed, ROWS * HIDDEN);
        double old = x[at], up, down;

        x[at] = old + step;
        up = whole_loss(&l, x);
        x[at] = old - step;
        down = whole_loss(&l, x);
        x[at] = old;
        moved = fmax(moved, fabs(((float *)a.out.dx)[at]));
        MUST_NEAR(((float *)a.out.dx)[at], (up - down) / (2 * step), 4e-4 + 0.02 * fabs(up - down)
                                                                          / (2 * step));
    }
    MUST(moved > 1e-3);
    answer_free(&a);
    loss_end(&l);
}

CHECK(dx_is_the_slope_of_the_whole_loss)
{
    slope_of_whole("sft", 0, 0);
    slope_of_whole("sft", 0, 0.1);
    slope_of_whole("bcpg_nsa", 0, 0);
    slope_of_whole("kimi", 0, 0);
    slope_of_whole("dpo", 0, 0);
    slope_of_whole("copg", 0, 0);
}

/* ---- the edges ---- */

CHECK(a_batch_where_nothing_counts_gives_zeros)
{
    static const char *const names[] = {"grpo", "bcpg_nsa", "kto", "tract"};

    for (size_t n = 0; n < 4; n++)
        for (int i = 0; i < WAYS; i++) {
            struct loss_case l;
            struct answer a;

            loss_begin(&l, names[n], 0, 0, 0);
            memset(l.mask, 0, sizeof l.mask);
            l.device.mask = (const uint8_t *)device(l.mask, sizeof l.mask);
            for (int s = 0; s < SAMPLES; s++)
                l.sample[s].named_row = -1;
            run(&l, &ways[i].options, ways[i].type, &a);
            for (int64_t at = 0; at < ROWS * HIDDEN; at++)
                MUST(case_dx(&a.out, at / HIDDEN, at % HIDDEN) == 0);
            MUST_SAME(a.out.dweight, a.out.before, VOCAB * HIDDEN);
            MUST(a.report.tokens == 0 && a.report.policy == 0);
            answer_free(&a);
            loss_end(&l);
        }
}

CHECK(a_batch_without_rows_or_samples_is_no_error)
{
    struct objective_report report = {};
    struct sluice_outcome d = {};
    struct sluice_slopes none = {};
    const struct sluice_options plain = {};
    struct loss_case l;

    d.report = &report;
    loss_begin(&l, "bcpg_nsa", 0, 0, 0);
    l.device.samples = 0;
    MUST_OK(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &none));
    l.k.in.rows = l.device.rows = 0;
    MUST_OK(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, NULL));
    MUST_OK(sluice_head_loss(sluice(), &l.k.head, &l.k.in, NULL, &l.call, NULL, NULL));
    MUST(report.samples == 0 && report.loss == 0);
    loss_end(&l);
}

CHECK(bad_numbers_are_told_and_the_report_is_left_alone)
{
    const struct sluice_options plain = {};
    struct loss_case l;
    struct sluice_outcome d = {};
    struct objective_report report = {};
    struct case_out out;

    loss_begin(&l, "grpo", 0, 0, 0);
    report.loss = 7;
    d.report = &report;
    case_out_begin(&l.k, &out, SLUICE_float32, 0, 0);
    l.behaviour[3] = NAN;
    l.device.behaviour = (const float *)device(l.behaviour, sizeof l.behaviour);
    MUST_FAIL(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes),
              SLUICE_nonfinite, "row 3");
    MUST_EQUAL(sluice_cuda_error_row(), 3);
    MUST(report.loss == 7);
    l.behaviour[3] = -1;
    l.device.behaviour = (const float *)device(l.behaviour, sizeof l.behaviour);
    l.k.weight[20 * l.k.weight_stride] = 0x7fc0;
    case_upload(&l.k);
    MUST_FAIL(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes),
              SLUICE_nonfinite, "logit");
    MUST_EQUAL(sluice_cuda_error_row(), 1);
    l.k.weight[20 * l.k.weight_stride] = 0;
    l.k.targets[2] = VOCAB;
    case_upload(&l.k);
    MUST_FAIL(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes),
              SLUICE_argument, "row 2");
    l.k.targets[2] = 0;
    case_upload(&l.k);
    MUST_OK(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes));
    l.device.rows = ROWS - 1;
    MUST_FAIL(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes),
              SLUICE_argument, "47 rows");
    l.device.rows = ROWS;
    l.call.name = "no_such";
    MUST_FAIL(sluice_head_loss(sluice(), &l.k.head, &l.k.in, &plain, &l.call, &d, &out.slopes),
              SLUICE_argument, "no_such");
    case_out_free(&out);
    loss_end(&l);
}

#ifdef SLUICE_SIMT
/* A call on a device that is lost at its n-th launch, and on one that has no more than some bytes:
 * its status. */
static int
run_badly(const char *variable, int64_t value, const struct sluice_options *o)
{
    char text[32], words[SLUICE_TEXT_MAX];
    struct sluice_outcome d = {};
    struct loss_case l;
    struct case_out out;
    int rc;

    loss_begin(&l, "bcpg_nsa", 3, 0, 0);
    case_out_begin(&l.k, &out, SLUICE_bfloat16, 0, 0);
    snprintf(text, sizeof text, "%lld", (long long)value);
    setenv(variable, text, 1);
    rc = sluice_head_loss(sluice(), &l.k.head, &l.k.in, o, &l.call, &d, &out.slopes);
    snprintf(words, sizeof words, "%s", sluice_cuda_error());
    unsetenv(variable);
    MUST(rc == 0 || words[0] != '\0');
    case_out_free(&out);
    loss_end(&l);
    sluice_close();
    return rc;
}

CHECK(a_device_lost_at_any_launch_is_told)
{
    int n = 0, rc = SLUICE_lost;

    while (rc == SLUICE_lost && n < 500)
        rc = run_badly("SLUICE_SIMT_LOSE", ++n, &ways[3].options);
    MUST_EQUAL(rc, 0);
    MUST(n > 10);
}

/* From nothing upwards: the words until all fits, and nothing is left behind. */
CHECK(too_little_memory_is_told)
{
    int64_t bytes = 100000, tries = 0;
    int rc = SLUICE_memory;

    for (; rc == SLUICE_memory && bytes < INT64_C(1) << 30; bytes += 8000 + bytes / 3, tries++)
        rc = run_badly("SLUICE_SIMT_MEMORY", bytes, &ways[4].options);
    MUST_EQUAL(rc, 0);
    MUST(tries > 3);
}
#endif
