/* Objectives on the device: for every row of objective.def, under settings and batches drawn at
 * random, the bits of c, e, h, entries and every number of the report are those of objective_run()
 * on the host. That c is the slope of the loss is tests/test_objective_slopes.c's, by finite
 * differences, on the same functions; equal bits carry it over. */
#include "tests/cuda/objective_batch.cuh"

/* ---- every objective ---- */

static void
compare(const struct objective *o, const struct likeness *k, uint64_t *seed)
{
    struct batch t;
    struct there d;
    struct answer a, b;

    batch_new(&t, k, seed);
    draw_settings(o, &t, seed);
    run_host(o, &t, &b);
    send(o, &t, &d);
    answer_new(&a, &t);
    MUST_OK(sluice_objective_run(sluice(), &d.o, d.logp, d.lse, d.entropy, d.named_logits, d.c,
                                 d.e, d.h, a.entries, &a.entry_count, &a.report));
    receive(&t, &d, &a);
    same_answer(o->name, &t, &a, &b);
    forget();
    answer_free(&a);
    answer_free(&b);
    batch_free(&t);
}

static void
compare_all(const struct likeness *k, int times, uint64_t seed)
{
    for (int i = 0; objective_at(i) != NULL; i++)
        for (int n = 0; n < times; n++)
            compare(objective_at(i), k, &seed);
}

CHECK(every_objective_has_the_hosts_bits)
{
    const struct likeness k = {8, 4, 0, 25, 10, 1, 0, 1};

    compare_all(&k, 12, 1);
}

CHECK(rows_have_advantages_of_their_own)
{
    const struct likeness k = {6, 3, 1, 20, 30, 0, 1, 0};

    compare_all(&k, 5, 2);
}

CHECK(nothing_but_rows_and_samples)
{
    const struct likeness k = {6, 3, 1, 9, 0, 0, 0, 0};

    compare_all(&k, 4, 3);
}

CHECK(groups_of_one)
{
    const struct likeness k = {5, 1, 0, 12, 10, 1, 0, 0};

    compare_all(&k, 3, 4);
}

CHECK(all_rows_are_masked)
{
    const struct likeness k = {4, 2, 0, 9, 100, 1, 0, 1};

    compare_all(&k, 2, 5);
}

CHECK(no_samples_and_empty_samples)
{
    const struct likeness none = {0, 1, 0, 0, 0, 1, 0, 0}, empty = {3, 3, 0, 0, 0, 1, 0, 0};

    compare_all(&none, 1, 6);
    compare_all(&empty, 1, 7);
}

CHECK(a_sample_of_thousands_of_rows)
{
    const struct likeness k = {3, 3, 1500, 4000, 10, 1, 0, 1};

    compare_all(&k, 1, 8);
}

CHECK(samples_end_where_tiles_end)
{
    for (int64_t rows = 255; rows <= 257; rows++) {
        const struct likeness k = {2, 2, rows, rows, 0, 1, 0, 1};

        compare_all(&k, 1, 9 + (uint64_t)rows);
    }
}

CHECK(many_samples_in_large_groups)
{
    const struct likeness k = {270, 260, 0, 2, 10, 1, 0, 1};
    const char *const names[] = {"opmd", "dpo", "kto", "ranknet"};
    uint64_t seed = 10;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        compare(objective_find(names[i]), &k, &seed);
}

/* One response's steps, of one row and of hundreds. */
CHECK(ratios_of_steps)
{
    const struct objective *o = objective_find("rloo");
    uint64_t seed = 11;

    for (int n = 0; n < 6; n++) {
        const struct likeness k = {3, 3, 200, 700, 10 * n, n % 2, n % 3, 1};
        struct batch t;
        struct there d;
        struct answer a, b;

        batch_new(&t, &k, &seed);
        for (int64_t row = 0; row < t.rows; row++)
            t.begins[row] = check_below(&seed, n < 3 ? 3 : 300) == 0;
        do {
            draw_settings(o, &t, &seed);
        } while (t.settings.ratio != OBJECTIVE_ratio_step);
        run_host(o, &t, &b);
        send(o, &t, &d);
        answer_new(&a, &t);
        MUST_OK(sluice_objective_run(sluice(), &d.o, d.logp, NULL, d.entropy, NULL, d.c, NULL, d.h,
                                     NULL, NULL, &a.report));
        host(a.c, d.c, t.rows * (int64_t)sizeof(float));
        same_floats("rloo", "c", a.c, b.c, t.rows);
        same_report("rloo", &a.report, &b.report);
        forget();
        answer_free(&a);
        answer_free(&b);
        batch_free(&t);
    }
}

/* ---- a row at a time, and a piece at a time ---- */

/* As a row kernel does it: coefficients in any order, then the report. */
static void
compare_rows(const struct objective *o, const struct likeness *k, uint64_t *seed)
{
    struct objective_view *view;
    struct launch l = {};
    struct batch t;
    struct there d;
    struct answer a, b;
    int64_t *order, entries;
    void *at;

    batch_new(&t, k, seed);
    draw_settings(o, &t, seed);
    run_host(o, &t, &b);
    send(o, &t, &d);
    answer_new(&a, &t);
    order = shuffled(t.rows, seed);
    at = device(order, t.rows * (int64_t)sizeof *order);
    MUST_OK(objective_open(sluice(), &d.o, t.rows, d.logp, d.lse, d.entropy, d.named_logits, d.c,
                           d.e, d.h, &view, NULL));
    l.blocks = (t.rows + 63) / 64;
    l.threads = 64;
    MUST_OK(launch(sluice(), "coefficients", l, coefficients_kernel,
                   objective_view_on_device(view), t.rows, (const int64_t *)at, d.logp, d.lse,
                   d.entropy, d.c, d.e, d.h));
    receive(&t, &d, &a);
    same_floats(o->name, "c", a.c, b.c, t.rows);
    same_floats(o->name, "h", a.h, b.h, t.rows);
    MUST_OK(objective_close(sluice(), view, a.entries, &entries, &a.report));
    same_report(o->name, &a.report, &b.report);
    receive(&t, &d, &a);
    same_floats(o->name, "c after the report", a.c, b.c, t.rows);
    objective_view_free(view);
    forget();
    free(order);
    answer_free(&a);
    answer_free(&b);
    batch_free(&t);
}

CHECK(a_row_at_a_time_in_any_order)
{
    const struct likeness k = {8, 4, 0, 30, 15, 1, 0, 0}, own = {4, 2, 3, 30, 0, 0, 1, 0};
    uint64_t seed = 20;

    for (int i = 0; objective_at(i) != NULL; i++) {
        const struct objective *o = objective_at(i);

        if (o->scope != OBJECTIVE_token || (o->needs & OBJECTIVE_needs_named))
            continue;
        for (int n = 0; n < 6; n++)
            compare_rows(o, n % 2 ? &k : &own, &seed);
    }
}

/* Groups one after the other, as chunks of rows come. */
CHECK(a_group_at_a_time)
{
    const struct likeness k = {12, 3, 0, 20, 10, 1, 0, 1};
    uint64_t seed = 21;

    for (int i = 0; objective_at(i) != NULL; i++) {
        const struct objective *o = objective_at(i);
        struct objective_view *view;
        struct batch t;
        struct there d;
        struct answer a, b;

        if (o->scope == OBJECTIVE_step)
            continue;
        batch_new(&t, &k, &seed);
        draw_settings(o, &t, &seed);
        run_host(o, &t, &b);
        send(o, &t, &d);
        answer_new(&a, &t);
        MUST_OK(objective_open(sluice(), &d.o, t.rows, d.logp, d.lse, d.entropy, d.named_logits,
                               d.c, d.e, d.h, &view, NULL));
        for (int64_t from = 0; from < k.samples; from += k.group)
            MUST_OK(objective_solve(sluice(), view, from, from + k.group));
        MUST_OK(objective_close(sluice(), view, a.entries, &a.entry_count, &a.report));
        receive(&t, &d, &a);
        same_answer(o->name, &t, &a, &b);
        objective_view_free(view);
        forget();
        answer_free(&a);
        answer_free(&b);
        batch_free(&t);
    }
}

/* ---- which rows the head is asked for ---- */

/* Do the loss or the report look at the row? By the words of objective_kind.h, not its code. */
static int
looked_at(const struct objective *o, const struct batch *t, int64_t row)
{
    for (int64_t i = 0; i < t->b.samples; i++) {
        const struct objective_sample *s = &t->sample[i];
        int out = (o->needs & OBJECTIVE_correct_only) != 0 && !s->correct;
        int named = (o->needs & OBJECTIVE_needs_named) != 0 && row == s->named_row;

        if (row < s->first || row >= s->first + s->count)
            continue;
        if (out)
            return 0;
        if (named)
            return 1;
        if (t->b.mask != NULL && t->mask[row] == 0)
            return 0;
        return !(o->needs & OBJECTIVE_likelihood) || t->b.weight == NULL || t->weight[row] != 0.0f;
    }
    return 0;
}

CHECK(rows_without_a_part_are_not_wanted)
{
    const struct likeness k = {8, 4, 0, 25, 30, 1, 0, 0};
    uint64_t seed = 30;

    for (int i = 0; objective_at(i) != NULL; i++) {
        const struct objective *o = objective_at(i);
        struct objective_view *view;
        struct answer b;
        struct batch t;
        struct there d;
        uint8_t *wanted, *back;

        batch_new(&t, &k, &seed);
        draw_settings(o, &t, &seed);
        run_host(o, &t, &b);
        send(o, &t, &d);
        MUST_OK(objective_open(sluice(), &d.o, t.rows, d.logp, d.lse, d.entropy, d.named_logits,
                               d.c, d.e, d.h, &view, &wanted));
        back = (uint8_t *)check_room(t.rows);
        host(back, wanted, t.rows);
        for (int64_t row = 0; row < t.rows; row++) {
            MUST_EQUAL(back[row], looked_at(o, &t, row));
            MUST(back[row] || (b.c[row] == 0.0f && b.e[row] == 0.0f && b.h[row] == 0.0f));
        }
        objective_view_free(view);
        forget();
        free(back);
        answer_free(&b);
        batch_free(&t);
    }
}

/* Entries on the device: sorted by row, and where each row's begin. */
CHECK(named_entries_are_found_by_row)
{
    const struct likeness k = {9, 3, 0, 12, 10, 1, 0, 0};
    const struct objective *o = objective_find("ranknet");
    const struct objective_entry *entries;
    struct objective_view *view;
    struct answer a;
    struct batch t;
    struct there d;
    const int64_t *first;
    int64_t count, *back;
    uint64_t seed = 31;

    batch_new(&t, &k, &seed);
    draw_settings(o, &t, &seed);
    run_host(o, &t, &a);
    send(o, &t, &d);
    MUST_OK(objective_open(sluice(), &d.o, t.rows, d.logp, d.lse, d.entropy, d.named_logits, d.c,
                           d.e, d.h, &view, NULL));
    MUST_OK(objective_solve(sluice(), view, 0, k.samples));
    objective_view_entries(view, &entries, &first, &count);
    MUST_EQUAL(count, a.entry_count);
    back = (int64_t *)check_room((t.rows + 1) * (int64_t)sizeof *back);
    host(back, first, (t.rows + 1) * (int64_t)sizeof *back);
    MUST_EQUAL(back[0], 0);
    MUST_EQUAL(back[t.rows], count);
    for (int64_t i = 0; i < count; i++)
        MUST(i >= back[a.entries[i].row] && i < back[a.entries[i].row + 1]);
    objective_view_free(view);
    free(back);
    answer_free(&a);
    batch_free(&t);
}

/* ---- the quantile of entropies ---- */

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
naive_quantile(const struct batch *t, const struct objective_sample *s)
{
    double *h = (double *)check_room((s->count + 2) * (int64_t)sizeof *h), at, quantile;
    int64_t count = 0, below;

    for (int64_t row = s->first; row < s->first + s->count; row++)
        if (t->b.mask == NULL || t->mask[row])
            h[count++] = (double)t->entropy[row];
    qsort(h, (size_t)count, sizeof *h, by_size);
    at = 0.8 * (double)(count - 1);
    below = (int64_t)at;
    quantile = count == 0 ? 0.0 : h[below];
    if (below + 1 < count)
        quantile += (at - (double)below) * (h[below + 1] - h[below]);
    free(h);
    return quantile;
}

static void
compare_quantiles(const struct likeness *k, int64_t kinds, uint64_t *seed)
{
    const struct objective *o = objective_find("aspo");
    struct objective_sums *sums;
    struct objective_view *view;
    struct answer b;
    struct batch t;
    struct there d;

    batch_new(&t, k, seed);
    for (int64_t row = 0; row < t.rows && kinds > 0; row++)
        t.entropy[row] = 1e-3f * (float)check_below(seed, kinds);
    draw_settings(o, &t, seed);
    run_host(o, &t, &b);
    send(o, &t, &d);
    MUST_OK(objective_open(sluice(), &d.o, t.rows, d.logp, d.lse, d.entropy, NULL, d.c, d.e, d.h,
                           &view, NULL));
    MUST_OK(objective_solve(sluice(), view, 0, k->samples));
    sums = (struct objective_sums *)check_room(k->samples * (int64_t)sizeof *sums);
    host(sums, view->v.sums, k->samples * (int64_t)sizeof *sums);
    for (int64_t i = 0; i < k->samples; i++) {
        double naive = naive_quantile(&t, &t.sample[i]);

        MUST_SAME(&sums[i].surprise, &naive, 1);
    }
    objective_view_free(view);
    forget();
    free(sums);
    answer_free(&b);
    batch_free(&t);
}

CHECK(quantiles_of_entropies_are_exact)
{
    const struct likeness few = {40, 4, 0, 12, 20, 0, 0, 0}, many = {3, 3, 900, 2100, 5, 0, 0, 0};
    uint64_t seed = 60;

    for (int64_t kinds = 0; kinds < 6; kinds++) {
        compare_quantiles(&few, kinds, &seed);
        compare_quantiles(&many, kinds * 7, &seed);
    }
}
