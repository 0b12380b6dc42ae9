/* Objectives on the device and bad input: what is refused before anything runs, and the words for a
 * number that is not finite, with its row. */
#include "tests/cuda/objective_batch.cuh"

struct trial {
    struct batch t;
    struct there d;
    struct answer a;
};

static void
trial_new(struct trial *x, const char *name, uint64_t seed)
{
    const struct likeness k = {6, 3, 4, 12, 0, 1, 0, 0};
    const struct objective *o = objective_find(name);

    batch_new(&x->t, &k, &seed);
    for (int64_t row = 0; row < x->t.rows; row++)
        x->t.weight[row] = 1;
    x->t.settings = objective_settings_none();
    x->t.settings.constant = 10;
    MUST(objective_settings_fill(o, &x->t.settings, NULL) == 0);
    run_host(o, &x->t, &x->a);
}

static void
trial_free(struct trial *x)
{
    forget();
    answer_free(&x->a);
    batch_free(&x->t);
}

static int
trial_run(struct trial *x)
{
    struct there *d = &x->d;

    return sluice_objective_run(sluice(), &d->o, d->logp, d->lse, d->entropy, d->named_logits,
                                d->c, d->e, d->h, x->a.entries, &x->a.entry_count, &x->a.report);
}

/* One number is not finite: its row and what it is are named, and the report stays as it was. */
static void
must_name(const char *name, const char *what, float value)
{
    struct objective_report before;
    struct trial x;
    int64_t row;
    float *column;

    trial_new(&x, name, 40);
    row = x.t.sample[4].first + 2;
    column = strcmp(what, "a weight") == 0                    ? x.t.weight
             : strcmp(what, "entropy") == 0                   ? x.t.entropy
             : strcmp(what, "reference log probability") == 0 ? x.t.reference
             : strcmp(what, "behaviour log probability") == 0 ? x.t.behaviour
                                                              : x.t.logp;
    column[row] = value;
    send(objective_find(name), &x.t, &x.d);
    before = x.a.report;
    MUST_FAIL(trial_run(&x), SLUICE_nonfinite, what);
    MUST_TEXT(sluice_cuda_error(), "sample 4");
    MUST_EQUAL(sluice_cuda_error_row(), row);
    MUST_SAME(&x.a.report, &before, 1);
    column[row] = -1;               /* and the next call is well again */
    forget();
    send(objective_find(name), &x.t, &x.d);
    MUST_OK(trial_run(&x));
    trial_free(&x);
}

CHECK(a_number_that_is_not_finite_is_named)
{
    must_name("sft", "a log probability", NAN);
    must_name("sft", "a weight", -INFINITY);
    must_name("grpo", "behaviour log probability", NAN);
    must_name("bcpg_nsa", "reference log probability", INFINITY);
    must_name("bcpg_nsa", "a log probability", -INFINITY);
    must_name("aspo", "entropy", NAN);
    must_name("kto", "reference log probability", NAN);
    must_name("dpo", "a log probability", NAN);
}

CHECK(a_coefficient_that_is_not_finite_is_named)
{
    struct trial x;

    trial_new(&x, "sft", 41);
    x.t.weight[x.t.sample[3].first + 1] = 3e38f;
    x.t.step.tokens = 1e-3;
    send(objective_find("sft"), &x.t, &x.d);
    MUST_FAIL(trial_run(&x), SLUICE_nonfinite, "a coefficient");
    MUST_EQUAL(sluice_cuda_error_row(), x.t.sample[3].first + 1);
    trial_free(&x);
    trial_new(&x, "ranknet", 42);
    x.t.named_logits[2 * NAMES + 1] = NAN;
    x.t.sample[2].named_row = x.t.sample[2].first;
    send(objective_find("ranknet"), &x.t, &x.d);
    MUST_FAIL(trial_run(&x), SLUICE_nonfinite, "named logit 1");
    MUST_EQUAL(sluice_cuda_error_row(), x.t.sample[2].first);
    trial_free(&x);
}

/* A row kernel's own thread tells of it, too. */
CHECK(coefficients_tell_of_what_is_not_finite)
{
    struct objective_view *view;
    struct launch l = {};
    struct trial x;
    int64_t *order, row, entries;
    uint64_t seed = 43;
    enum fault what;
    void *at;

    trial_new(&x, "grpo", 43);
    x.t.logp[x.t.sample[1].first] = NAN;
    x.t.logp[x.t.sample[1].first + 1] = INFINITY;
    send(objective_find("grpo"), &x.t, &x.d);
    order = shuffled(x.t.rows, &seed);
    at = device(order, x.t.rows * (int64_t)sizeof *order);
    MUST_OK(fault_reset(sluice()));
    MUST_OK(objective_open(sluice(), &x.d.o, x.t.rows, x.d.logp, x.d.lse, x.d.entropy, NULL, x.d.c,
                           x.d.e, x.d.h, &view, NULL));
    l.blocks = 1;
    l.threads = 128;
    MUST(x.t.rows <= 128);
    MUST_OK(launch(sluice(), "coefficients", l, coefficients_kernel,
                   objective_view_on_device(view), x.t.rows, (const int64_t *)at, x.d.logp,
                   x.d.lse, x.d.entropy, x.d.c, x.d.e, x.d.h));
    MUST_OK(fault_read(sluice(), &what, &row));
    MUST_EQUAL(what, FAULT_coefficient);
    MUST_EQUAL(row, x.t.sample[1].first);
    MUST_FAIL(objective_fail(sluice(), view, row), SLUICE_nonfinite, "a log probability");
    MUST_FAIL(objective_close(sluice(), view, NULL, &entries, &x.a.report), SLUICE_nonfinite,
              "a log probability");
    objective_view_free(view);
    MUST_OK(fault_reset(sluice()));
    free(order);
    trial_free(&x);
}

static void
must_refuse(const char *name, const char *words, void (*spoil)(struct trial *x))
{
    struct trial x;

    trial_new(&x, name, 50);
    send(objective_find(name), &x.t, &x.d);
    spoil(&x);
    MUST_FAIL(trial_run(&x), SLUICE_argument, words);
    MUST_EQUAL(sluice_cuda_error_row(), -1);
    trial_free(&x);
}

/* What no enumeration has. */
static void
set_choice(void *choice, int number)
{
    memcpy(choice, &number, sizeof number);
}

#define REFUSED(NAME, WORDS, HOW) \
    must_refuse(NAME, WORDS, [](struct trial *x) { HOW; })

CHECK(what_cannot_be_is_refused_before_anything_runs)
{
    REFUSED("sft", "'one of mine' is not one of the device's", x->d.o.name = "one of mine");
    REFUSED("sft", "'' is not one of the device's", x->d.o.name = NULL);
    REFUSED("sft", "settings", x->d.o.settings = NULL);
    REFUSED("sft", "a step", x->d.o.step = NULL);
    REFUSED("sft", "a batch", x->d.o.batch = NULL);
    REFUSED("sft", "not filled", x->t.settings.tau = NAN);
    REFUSED("sft", "no aggregation", x->t.settings.aggregation = OBJECTIVE_aggregation_none);
    REFUSED("sft", "no aggregation 9", set_choice(&x->t.settings.aggregation, 9));
    REFUSED("sft", "no advantages 77", set_choice(&x->t.settings.advantages, 77));
    REFUSED("sft", "no ratio -2147483648", set_choice(&x->t.settings.ratio, INT32_MIN));
    REFUSED("sft", "no kl 4", set_choice(&x->t.settings.kl, 4));
    REFUSED("sft", "a step of nan groups", x->t.step.groups = NAN);
    REFUSED("sft", "inf tokens", x->t.step.tokens = INFINITY);
    REFUSED("sft", "a step of -1 groups", x->t.step.groups = -1);
    REFUSED("sft", "begin at a float", x->d.logp = (float *)((uintptr_t)x->d.logp + 1));
    REFUSED("sft", "log probabilities", x->d.logp = NULL);
    REFUSED("sft", "log probabilities", x->d.c = NULL);
    REFUSED("grpo", "needs behaviour", x->d.b.behaviour = NULL);
    REFUSED("bcpg", "needs reference", x->d.b.reference = NULL);
    REFUSED("aspo", "needs entropies", x->d.entropy = NULL);
    REFUSED("tbrm", "needs logsumexps", x->d.lse = NULL);
    REFUSED("tbrm", "needs e", x->d.e = NULL);
    REFUSED("sft", "needs reference", x->t.settings.kl = OBJECTIVE_k3; x->d.b.reference = NULL);
    REFUSED("sft", "needs entropies", x->t.settings.entropy_weight = 1; x->d.entropy = NULL);
    REFUSED("sft", "needs h", x->t.settings.entropy_weight = 1; x->d.h = NULL);
    REFUSED("ranknet", "named logits", x->d.b.named = 0);
    REFUSED("ranknet", "named logits", x->d.b.named = OBJECTIVE_NAMED_MAX + 1);
    REFUSED("ranknet", "named logits", x->d.named_logits = NULL);
    REFUSED("tract", "what each name is worth", x->d.b.named_values = NULL);
    REFUSED("ranknet", "named row", x->t.sample[2].named_row = 0);
    REFUSED("ranknet", "rank 7", x->t.sample[2].named_row = x->t.sample[2].first;
            x->t.sample[2].rank[0] = 7);
    REFUSED("sft", "sample 3: rows", x->t.sample[3].first -= 3);
    REFUSED("sft", "sample 5: rows", x->t.sample[5].count = 1000);
    REFUSED("sft", "sample 0: rows", x->t.sample[0].first = -1);
    REFUSED("sft", "sample 1: rows", x->t.sample[1].count = -1);
    REFUSED("sft", "sample 1: rows", x->t.sample[1].count = INT64_MAX);
    REFUSED("sft", "sample 1: group of 0", x->t.sample[1].group_size = 0);
    REFUSED("sft", "sample 1: weight", x->t.sample[1].weight = -1);
    REFUSED("sft", "reward nan", x->t.sample[1].reward = NAN);
    REFUSED("sft", "comes before", x->t.sample[5].group = 0);
    REFUSED("sft", "samples in", x->d.b.samples = -1);
    REFUSED("sft", "samples in", x->d.b.sample = NULL);
}
