/* The decoder, head and objectives against transformers and torch: hidden states, statistics,
 * losses, and the gradient of every weight, for tied and untied models and a token classifier;
 * AdamW against torch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/isa.h"
#include "kernels/objective.h"
#include "tests/golden.h"

static struct golden golden;

/* A case of the file, run forward. Rows are all tokens; a row's target is the next token of its
 * sequence. */
struct run {
    const char     *name;
    struct model    model;
    struct decoder *decoder;
    struct head_work *work;
    struct batch    batch;
    int32_t         ids[64], targets[64];
    int64_t         starts[8];
    const float    *hidden;
    float           logp[64], lse[64], entropy[64], c[64], e[64], h[64];
    float          *grads, *dhidden;
};

static void
load_model(struct run *r, int tied, int64_t labels)
{
    struct model_config config = model_config_default();
    struct error e;

    config.vocab_size = 37;
    config.hidden_size = 24;
    config.intermediate_size = 20;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.max_position_embeddings = 64;
    config.tie_word_embeddings = tied;
    config.num_labels = labels;
    assert_int_equal(model_init(&r->model, &config, &e), 0);
    for (int i = 0; i < r->model.tensor_count; i++) {
        const struct model_tensor *t = &r->model.tensors[i];
        const struct golden_part *p = golden_find(&golden, "%s/param/%s", r->name, t->name);

        assert_int_equal(p->count, t->count);
        for (int64_t j = 0; j < t->count; j++)
            r->model.params[t->offset + j] = (float)p->values[j];
    }
}

static void
run_begin(struct run *r, const char *name, int tied, int64_t labels)
{
    const struct golden_part *ids, *lengths;

    memset(r, 0, sizeof *r);
    r->name = name;
    load_model(r, tied, labels);
    ids = golden_find(&golden, "%s/ids", name);
    lengths = golden_find(&golden, "%s/lengths", name);
    for (int64_t i = 0; i < ids->count; i++)
        r->ids[i] = (int32_t)ids->values[i];
    for (int64_t s = 0; s < lengths->count; s++)
        r->starts[s + 1] = r->starts[s] + (int64_t)lengths->values[s];
    r->batch = (struct batch){ids->count, r->ids, lengths->count, r->starts, NULL};
    for (int64_t s = 0; s < lengths->count; s++)
        for (int64_t t = r->starts[s]; t < r->starts[s + 1]; t++)
            r->targets[t] = t + 1 < r->starts[s + 1] ? r->ids[t + 1] : -1;
    r->decoder = decoder_new(&r->model, 64, 1);
    r->work = head_work_new();
    r->grads = xarray((size_t)r->model.count, sizeof *r->grads);
    r->dhidden = xarray(64 * 24, sizeof *r->dhidden);
    r->hidden = decoder_forward(r->decoder, &r->model, &r->batch);
}

static void
run_end(struct run *r)
{
    decoder_free(r->decoder);
    head_work_free(r->work);
    model_free(&r->model);
    free(r->grads);
    free(r->dhidden);
}

/* Within `tolerance` of the largest of the section: float32 sums of its terms differ by no more. */
static void
compare(const struct golden_part *p, const float *values, double tolerance)
{
    double largest = 0;

    for (int64_t i = 0; i < p->count; i++)
        largest = fmax(largest, fabs(p->values[i]));
    for (int64_t i = 0; i < p->count; i++)
        if (!(fabs((double)values[i] - p->values[i]) <= tolerance * largest + 1e-9))
            fail_msg("%s[%lld]: %.9g, golden %.9g (largest %.3g)", p->name, (long long)i,
                     (double)values[i], p->values[i], largest);
}

static void
compare_rows(struct run *r, const char *what, const float *values)
{
    float rows[64];
    int64_t n = 0;

    for (int64_t t = 0; t < r->batch.tokens; t++)
        if (r->targets[t] >= 0)
            rows[n++] = values[t];
    assert_int_equal(n, golden_find(&golden, "%s/%s", r->name, what)->count);
    compare(golden_find(&golden, "%s/%s", r->name, what), rows, 4e-6);
}

static void
scatter_rows(struct run *r, const char *what, float *values)
{
    const struct golden_part *p = golden_find(&golden, "%s/%s", r->name, what);
    int64_t n = 0;

    for (int64_t t = 0; t < r->batch.tokens; t++)
        values[t] = r->targets[t] >= 0 ? (float)p->values[n++] : 0.0f;
    assert_int_equal(n, p->count);
}

/* Backward from c, e, h; every gradient against the golden ones of `loss`. */
static void
compare_gradients(struct run *r, const char *loss, int all)
{
    struct head head = head_of(&r->model);
    struct head_gradient g = {.c = r->c, .e = all ? r->e : NULL, .h = all ? r->h : NULL};

    memset(r->grads, 0, (size_t)r->model.count * sizeof *r->grads);
    head_backward(r->work, &head, r->batch.tokens, r->hidden, r->targets, r->lse, r->entropy, &g,
                  r->dhidden, r->grads + r->model.head,
                  r->model.head_bias < 0 ? NULL : r->grads + r->model.head_bias);
    decoder_backward(r->decoder, &r->model, r->dhidden, r->grads);
    for (int i = 0; i < r->model.tensor_count; i++) {
        const struct model_tensor *t = &r->model.tensors[i];

        /* k_proj.bias moves all scores of a query alike: its gradient is 0 but for rope's turn. */
        compare(golden_find(&golden, "%s/%s/grad/%s", r->name, loss, t->name), r->grads + t->offset,
                2e-5);
    }
}

static void
compare_loss(struct run *r, const char *loss, double value)
{
    double wanted = golden_find(&golden, "%s/%s/loss", r->name, loss)->values[0];

    if (!(fabs(value - wanted) <= 3e-6 * fmax(1.0, fabs(wanted))))
        fail_msg("%s/%s: loss %.9g, golden %.9g", r->name, loss, value, wanted);
}

static double
objective_loss(struct run *r, const char *name, const float *reference, const float *weight,
               struct objective_sample *samples, int64_t count)
{
    const struct objective *o = objective_find(name);
    struct objective_settings settings = objective_settings_none();
    struct objective_batch b = {.rows = r->batch.tokens, .logp = r->logp, .reference = reference,
                                .weight = weight, .samples = count, .sample = samples};
    struct objective_output out = {.c = r->c, .e = r->e, .h = r->h};
    struct objective_report report = {0};
    struct objective_step step = {0};
    struct error e;

    if (reference != NULL)
        settings.tau = golden_find(&golden, "%s/tau", r->name)->values[0];
    assert_non_null(o);
    assert_int_equal(objective_settings_fill(o, &settings, &e), 0);
    objective_advantages(&b, &settings, samples);
    assert_int_equal(objective_check(o, &b, &settings, &e), 0);
    objective_measure(o, &b, &settings, &step);
    objective_run(o, &b, &settings, &step, &out, &report);
    return report.loss;
}

static void
language(const char *name, int tied)
{
    struct objective_sample samples[4];
    const struct golden_part *reward;
    float reference[64], weight[64];
    struct head head;
    struct run r;

    run_begin(&r, name, tied, 0);
    head = head_of(&r.model);
    compare(golden_find(&golden, "%s/hidden", name), r.hidden, 4e-6);
    head_statistics(r.work, &head, r.batch.tokens, r.hidden, r.targets, r.logp, r.lse, r.entropy);
    compare_rows(&r, "logp", r.logp);
    compare_rows(&r, "lse", r.lse);
    compare_rows(&r, "entropy", r.entropy);

    reward = golden_find(&golden, "%s/reward", name);
    for (int i = 0; i < 4; i++)
        samples[i] = (struct objective_sample){
            .first = r.starts[i],
            .count = r.starts[i + 1] - r.starts[i] - 1,
            .group = i / 2,
            .group_size = 2,
            .weight = 1,
            .reward = reward->values[i],
            .mean = 0.5 * (reward->values[i & 2] + reward->values[(i & 2) + 1]),
        };
    compare_loss(&r, "sft", objective_loss(&r, "sft", NULL, NULL, samples, 4));
    compare_gradients(&r, "sft", 0);
    scatter_rows(&r, "reference", reference);
    scatter_rows(&r, "weight", weight);
    compare_loss(&r, "bcpg_nsa", objective_loss(&r, "bcpg_nsa", reference, weight, samples, 4));
    compare_gradients(&r, "bcpg_nsa", 1);
    scatter_rows(&r, "c", r.c);
    scatter_rows(&r, "e", r.e);
    scatter_rows(&r, "h", r.h);
    compare_gradients(&r, "mixed", 1);
    run_end(&r);
}

static void
tied_is_transformers(void **state)
{
    (void)state;
    language("tied", 1);
}

static void
untied_is_transformers(void **state)
{
    (void)state;
    language("untied", 0);
}

static void
classes_are_transformers(void **state)
{
    struct objective_sample samples[64];
    const struct golden_part *labels;
    struct head head;
    struct run r;
    int64_t count = 0;

    (void)state;
    run_begin(&r, "class", 1, 3);
    head = head_of(&r.model);
    labels = golden_find(&golden, "class/labels");
    for (int64_t t = 0; t < r.batch.tokens; t++) {
        r.targets[t] = labels->values[t] < 0 ? -1 : (int32_t)labels->values[t];
        if (r.targets[t] >= 0)
            samples[count++] = (struct objective_sample){.first = t, .count = 1, .group_size = 1, .weight = 1};
    }
    head_statistics(r.work, &head, r.batch.tokens, r.hidden, r.targets, r.logp, r.lse, NULL);
    compare_loss(&r, "token_class", objective_loss(&r, "token_class", NULL, NULL, samples, count));
    compare_gradients(&r, "token_class", 0);
    run_end(&r);
}

static void
adamw_is_torch(void **state)
{
    const struct golden_part *start = golden_find(&golden, "adamw/start");
    struct adamw a = {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
    float p[64], g[64], m[64] = {0}, v[64] = {0};

    (void)state;
    for (int64_t i = 0; i < start->count; i++)
        p[i] = (float)start->values[i];
    for (int step = 0; step < 5; step++) {
        const struct golden_part *grad = golden_find(&golden, "adamw/grad%d", step);

        for (int64_t i = 0; i < grad->count; i++)
            g[i] = (float)grad->values[i];
        adamw_update(&a, start->count, 1, step + 1, 1.0, p, g, m, v);
        compare(golden_find(&golden, "adamw/param%d", step), p, 1e-6);
    }
}

/* Every test on every instruction set that this machine has. */
static int
golden_begin(void **state)
{
    (void)state;
    golden_open(&golden, "tests/golden/decoder.bin");
    return 0;
}

static int
golden_end(void **state)
{
    (void)state;
    golden_close(&golden);
    return 0;
}

int
main(void)
{
    static const char *const sets[] = {"avx512", "avx2", "scalar"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tied_is_transformers),
        cmocka_unit_test(untied_is_transformers),
        cmocka_unit_test(classes_are_transformers),
        cmocka_unit_test(adamw_is_torch),
    };
    int failed = 0;

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (isa_use(sets[i]) == 0)
            failed += cmocka_run_group_tests(tests, golden_begin, golden_end);
    return failed;
}
