/* The loss of rows in one launch next to its parts: statistics, the objective, slopes. */
#include "rows_trial.h"

#include "kernels/cuda/objective.cuh"

extern "C" {
#include "kernels/objective.h"
}

/* An objective on the rows of a trial: one response, of which every other row counts. */
struct told {
    struct objective_settings settings;
    struct objective_step     step;
    struct objective_sample   sample;
    struct objective_batch    there;    /* arrays on the device */
    struct sluice_objective   o;
    float   *reference, *behaviour;
    uint8_t *mask;
};

static void
tell(struct told *d, const struct trial *t, const char *name, double entropy_weight)
{
    const struct objective *o = objective_find(name);
    int64_t rows = 2 * t->rows;
    struct objective_batch b = {};
    struct error e;
    uint64_t seed = 5;

    MUST(o != NULL);
    memset(d, 0, sizeof *d);
    d->settings = objective_settings_none();
    d->settings.entropy_weight = entropy_weight;
    if (o->standard.advantages != OBJECTIVE_advantages_none)
        d->settings.advantages = OBJECTIVE_given;
    if (objective_settings_fill(o, &d->settings, &e) < 0)
        check_fail(__FILE__, __LINE__, "%s: %s", name, e.text);
    d->reference = (float *)check_room(rows * 4);
    d->behaviour = (float *)check_room(rows * 4);
    d->mask = (uint8_t *)check_room(rows);
    for (int64_t i = 0; i < t->rows; i++) {
        d->reference[2 * i + 1] = (float)(t->logp[i] + 0.2 * check_normal(&seed));
        d->behaviour[2 * i + 1] = (float)(t->logp[i] + 0.2 * check_normal(&seed));
        d->mask[2 * i + 1] = 1;
    }
    d->sample = (struct objective_sample){.first = 0, .count = rows, .group = 0, .group_size = 1,
                                          .reward = 1, .mean = 0.5, .std = 0.5, .advantage = 0.7,
                                          .weight = 1, .correct = 1, .injected = 0,
                                          .named_row = -1, .score = 0, .rank = {}};
    b.rows = rows;
    b.mask = d->mask;
    b.samples = 1;
    b.sample = &d->sample;
    objective_measure(o, &b, &d->settings, &d->step);
    d->there = b;
    d->there.reference = (const float *)device(d->reference, rows * 4);
    d->there.behaviour = (const float *)device(d->behaviour, rows * 4);
    d->there.mask = (const uint8_t *)device(d->mask, rows);
    d->o = (struct sluice_objective){name, &d->settings, &d->step, &d->there};
}

static void
told_free(struct told *d)
{
    free(d->reference);
    free(d->behaviour);
    free(d->mask);
}

/* What a call leaves. */
struct left {
    uint16_t *slopes;
    float    *logp, *lse, *entropy, *c, *h;
};

static struct left
take(const struct trial *t, const struct held *d)
{
    int64_t bytes = t->rows * t->stride * (d->z.form == ROW_float32 ? 4 : 2);
    struct left l = {(uint16_t *)check_room(bytes), fetch(t, d->a.logp), fetch(t, d->a.lse),
                     fetch(t, d->a.entropy), fetch(t, d->a.c), fetch(t, d->a.h)};

    host(l.slopes, d->z.at, bytes);
    return l;
}

static void
left_free(struct left *l)
{
    void *all[] = {l->slopes, l->logp, l->lse, l->entropy, l->c, l->h};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void
must_be_alike(const struct trial *t, enum row_form form, const struct left *a, const struct left *b)
{
    int64_t stride = t->stride * (form == ROW_float32 ? 2 : 1);

    for (int64_t i = 0; i < t->rows; i++) {
        int64_t place = t->place[i];

        MUST_SAME(a->logp + place, b->logp + place, 1);
        MUST_SAME(a->lse + place, b->lse + place, 1);
        MUST_SAME(a->entropy + place, b->entropy + place, 1);
        MUST_SAME(a->c + place, b->c + place, 1);
        MUST_SAME(a->h + place, b->h + place, 1);
        MUST_SAME(a->slopes + i * stride, b->slopes + i * stride, (t->vocab + 7) / 8 * 8);
    }
}

/* rows_loss on the device, or its three parts. */
static struct left
run(struct trial *t, enum row_form form, const char *name, double entropy_weight, int parts)
{
    struct held d = hold(t, form, 0, NULL);
    struct objective_view *view = NULL;
    struct told told;
    struct left l;

    tell(&told, t, name, entropy_weight);
    d.a.entries = NULL;
    d.a.entry_first = NULL;
    d.a.e = NULL;
    if (parts) {
        MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
        MUST_OK(sluice_objective_run(sluice(), &told.o, d.a.logp, d.a.lse, d.a.entropy, NULL, d.a.c,
                                     NULL, d.a.h, NULL, NULL, NULL));
        MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
    } else {
        MUST_OK(objective_open(sluice(), &told.o, 2 * t->rows, d.a.logp, d.a.lse, d.a.entropy, NULL,
                               d.a.c, NULL, d.a.h, &view, NULL));
        MUST_OK(rows_loss(sluice(), &d.z, d.place, &d.a, view));
    }
    must_be_sound();
    l = take(t, &d);
    if (!parts) {
        must_be_statistics(t, &d);
        for (int64_t i = 0; i < t->rows; i++) {
            t->c[2 * i + 1] = l.c[2 * i + 1];
            t->h[2 * i + 1] = l.h[2 * i + 1];
            t->e[2 * i + 1] = 0;
        }
        memset(t->entry_first, 0, (size_t)(2 * t->rows + 1) * 8);
        must_be_slopes(t, d.z.at, t->stride * (form == ROW_float32 ? 2 : 1), 0);
    }
    objective_view_free(view);
    told_free(&told);
    return l;
}

/* With clusters and without: the same bytes as the parts, and the definition's slopes. */
CHECK(the_loss_in_one_launch_is_that_of_its_parts)
{
    static const struct { int64_t rows, vocab; const char *name; double entropy; } cases[] = {
        {3, 1, "sft", 0}, {5, 33, "grpo", 0.01}, {4, 1000, "sft", 0}, {9, 257, "grpo", 0},
        {3, 19201, "grpo", 0.01}, {5, 40004, "rft", 0}, {2, 78000, "grpo", 0.02},
    };

    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++)
        for (int bfloat16 = 0; bfloat16 < 2; bfloat16++) {
            enum row_form form = bfloat16 ? ROW_bfloat16 : ROW_float32;
            struct trial t = trial_new(cases[k].rows, cases[k].vocab, bfloat16, (uint64_t)(40 + k));
            struct left one[2], parts;

            compute("80");
            one[0] = run(&t, form, cases[k].name, cases[k].entropy, 0);
            compute("90");
            one[1] = run(&t, form, cases[k].name, cases[k].entropy, 0);
            parts = run(&t, form, cases[k].name, cases[k].entropy, 1);
            must_be_alike(&t, form, &one[0], &parts);
            must_be_alike(&t, form, &one[1], &parts);
            left_free(&one[0]);
            left_free(&one[1]);
            left_free(&parts);
            trial_free(&t);
        }
    compute(NULL);
}

/* Clusters take several rows, one after the other. */
CHECK(a_cluster_goes_from_row_to_row)
{
    struct trial t = trial_new(90, 19500, 0, 78);
    struct left one = run(&t, ROW_float32, "grpo", 0.01, 0);
    struct left parts = run(&t, ROW_float32, "grpo", 0.01, 1);

    must_be_alike(&t, ROW_float32, &one, &parts);
    left_free(&one);
    left_free(&parts);
    trial_free(&t);
}

/* What the loss finds wrong with a row it tells, and it goes on. */
CHECK(the_loss_tells_of_a_bad_row)
{
    struct trial t = trial_new(3, 300, 0, 9);
    struct objective_view *view = NULL;
    struct told told;
    struct held d;

    t.held[t.stride + 7] = NAN;
    d = hold(&t, ROW_float32, 0, NULL);
    tell(&told, &t, "grpo", 0);
    MUST_OK(objective_open(sluice(), &told.o, 2 * t.rows, d.a.logp, d.a.lse, d.a.entropy, NULL,
                           d.a.c, d.a.e, d.a.h, &view, NULL));
    d.a.entries = NULL;
    MUST_OK(rows_loss(sluice(), &d.z, d.place, &d.a, view));
    must_fail_at(FAULT_logits, 3);
    objective_view_free(view);
    told_free(&told);
    trial_free(&t);
}
