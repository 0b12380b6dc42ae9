/* A trainer whose head is on a device: every objective's loss and gradients are near those of the
 * processor, the same bits in any batches, and after a step the weights. On the simulated device
 * (make simt), or the one that SLUICE_CUDA's library finds; without any the tests are skipped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/device.h"
#include "tests/on_device.h"
#include "tests/steps.h"

static void
open_there(struct trainer *t, const char *objective)
{
    struct head_device_options o = {.rows = STEPS_SAMPLES * STEPS_LENGTH,
                                    .unit_rows = STEPS_LENGTH};
    struct error e = {0};

    steps_open(t, objective, 0.5);
    if (trainer_device(t, "cuda:0", &o, &e) < 0)
        fail_msg("%s", e.text);
}

static double
loss(struct trainer *t, const struct sample *samples, int64_t batch)
{
    double value = steps_loss(t, samples, STEPS_SAMPLES, batch);

    if (t->broken || t->failure.code)
        fail_msg("%s: %s%s", t->objective->name, t->failure.text, t->fault.text);
    return value;
}

static double
norm_apart(int64_t count, const float *a, const float *b)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum);
}

/* Factors of a logit and its slope have 8 bits: a gradient is off by a few 2^-8 of its norm, more
 * where what it sums nearly cancels. */
static void
near_the_processor(const char *objective)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];
    struct trainer here, there;
    int64_t decoder; /* the head comes last and is the device's */
    double a, b, norm, apart;

    steps_samples(made, samples);
    steps_open(&here, objective, 0.5);
    open_there(&there, objective);
    decoder = here.model.head;
    a = loss(&here, samples, 4);
    b = loss(&there, samples, 4);
    assert_true(there.learnt == here.learnt && there.report.tokens == here.report.tokens);
    if (!(fabs(a - b) <= 0.01 * (1 + fabs(a))))
        fail_msg("%s: a loss of %g, not %g", objective, b, a);
    norm = adamw_norm(here.grads, decoder);
    apart = norm_apart(decoder, here.grads, there.grads);
    if (!(apart <= 0.03 * norm + 1e-4))
        fail_msg("%s: gradients of norm %g are %g apart", objective, norm, apart);
    a = trainer_end(&here, 1, 1e-3);
    b = trainer_end(&there, 1, 1e-3);
    if (!(fabs(a - b) <= 0.02 * a + 1e-4))
        fail_msg("%s: a norm of %g, not %g", objective, b, a);
    trainer_free(&here);
    trainer_free(&there);
}

/* The names of ranknet and tract too, the class head's bias, an objective's every scope. */
static void
every_objective_is_near_the_processor(void **state)
{
    (void)state;
    if (!on_device())
        return;
    for (int i = 0; objective_at(i); i++)
        near_the_processor(objective_at(i)->name);
}

/* Also where the samples are coupled, the batches come twice and the objective runs here. */
static void
the_loss_does_not_depend_on_the_batches(void **state)
{
    static const int64_t batches[] = {1, 4};
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];

    (void)state;
    if (!on_device())
        return;
    steps_samples(made, samples);
    for (int i = 0; objective_at(i); i++) {
        struct trainer t;
        float *grads;
        double whole, parts;
        size_t bytes;

        open_there(&t, objective_at(i)->name);
        bytes = (size_t)t.model.count * sizeof(float);
        grads = xalloc(bytes);
        whole = loss(&t, samples, STEPS_SAMPLES);
        memcpy(grads, t.grads, bytes);
        for (size_t k = 0; k < sizeof(batches) / sizeof(batches[0]); k++) {
            parts = loss(&t, samples, batches[k]);
            if (whole != parts || memcmp(grads, t.grads, bytes) != 0)
                fail_msg("%s: %.17g in one batch, %.17g in several", t.objective->name, whole,
                         parts);
        }
        free(grads);
        trainer_free(&t);
    }
}

/* A reference made by the trainer itself, whatever the batch: every ratio is exactly one. */
static void
the_reference_is_the_model_to_the_bit(void **state)
{
    static const char *const names[] = {"bcpg", "grpo", "gspo", "dpo"};
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];

    (void)state;
    if (!on_device())
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct trainer t;

        steps_samples(made, samples);
        open_there(&t, names[i]);
        for (int k = 0; k < STEPS_SAMPLES; k++) {
            trainer_reference(&t, &t.model, &samples[k], 1, made[k].reference);
            memcpy(made[k].logps, made[k].reference, sizeof(made[k].logps));
        }
        loss(&t, samples, 4);
        assert_true(t.report.ratio_largest == 0);
        if (t.report.importance > 0)
            assert_true(t.report.importance_largest == 1);
        trainer_free(&t);
    }
}

/* Weights that are trained, frozen ones, and a skipped step between. */
static void
steps_train_and_leave_what_is_frozen(void **state)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];
    float *before;
    struct trainer t;
    double first;

    (void)state;
    if (!on_device())
        return;
    steps_samples(made, samples);
    open_there(&t, "sft");
    t.groups = xarray((size_t)t.model.tensor_count, 1);
    t.groups[0] = ADAMW_frozen; /* the embedding */
    before = xarray((size_t)t.model.tensors[0].count, sizeof(float));
    memcpy(before, t.model.params, (size_t)t.model.tensors[0].count * sizeof(float));
    first = loss(&t, samples, 4);
    for (int step = 1; step <= 8; step++) {
        loss(&t, samples, 4);
        t.report.loss = step == 3 ? NAN : t.report.loss;
        assert_true(isfinite(trainer_end(&t, step, 1e-2)) == (step != 3));
    }
    assert_true(loss(&t, samples, 4) < 0.9 * first);
    assert_memory_equal(before, t.model.params,
                        (size_t)t.model.tensors[0].count * sizeof(float));
    assert_int_equal(trainer_moments(&t, &t.failure), 0);
    assert_true(adamw_norm(t.m, t.model.tensors[0].count) == 0);
    assert_true(adamw_norm(t.m, t.model.count) > 0);
    free(before);
    trainer_free(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_objective_is_near_the_processor),
        cmocka_unit_test(the_loss_does_not_depend_on_the_batches),
        cmocka_unit_test(the_reference_is_the_model_to_the_bit),
        cmocka_unit_test(steps_train_and_leave_what_is_frozen),
    };

    on_device_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
