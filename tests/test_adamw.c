/* AdamW's step over a model (clipping, decay, norm), the schedules, and the model's layout and
 * first values. The update itself is compared with torch in test_golden. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/schedule.h"
#include "tests/sets.h"

static struct model_config
small_config(void)
{
    struct model_config c = model_config_default();

    c.vocab_size = 11;
    c.hidden_size = 8;
    c.intermediate_size = 12;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    return c;
}

static void
layout_is_dense(void **state)
{
    struct model_config c = small_config();
    struct model m, again;
    struct error e;
    int64_t next = 0;

    (void)state;
    c.tie_word_embeddings = 0;
    assert_int_equal(model_init(&m, &c, &e), 0);
    assert_int_equal(m.config.head_dim, 2);
    for (int i = 0; i < m.tensor_count; i++) {
        assert_int_equal(m.tensors[i].offset, next);
        assert_int_equal(m.tensors[i].count, m.tensors[i].shape[0] * m.tensors[i].shape[1]);
        assert_int_equal(m.tensors[i].decay, m.tensors[i].dims == 2);
        next += m.tensors[i].count;
    }
    assert_int_equal(m.count, next);
    assert_int_equal(model_find(&m, "model.layers.1.self_attn.k_proj.weight")->shape[0], 4);
    assert_int_equal(model_find(&m, "model.layers.1.mlp.down_proj.weight")->shape[1], 12);
    assert_int_equal(model_find(&m, "lm_head.weight")->offset, m.head);
    assert_null(model_find(&m, "model.layers.0.self_attn.o_proj.bias"));
    model_randomise(&m, 3);
    model_copy(&again, &m);
    sets_same("copy", m.count, again.params, m.params);
    model_randomise(&again, 3);
    sets_same("same seed", m.count, again.params, m.params);
    model_randomise(&again, 4);
    assert_memory_not_equal(again.params, m.params, (size_t)m.count * sizeof(float));
    model_free(&again);
    model_free(&m);
    c.num_labels = 3;
    assert_int_equal(model_init(&m, &c, &e), 0);
    assert_null(model_find(&m, "lm_head.weight"));
    assert_int_equal(model_find(&m, "score.bias")->offset, m.head_bias);
    assert_int_equal(m.head_rows, 3);
    model_free(&m);
}

static void
bad_configs_are_refused(void **state)
{
    struct model_config c;
    struct error e;

    (void)state;
#define REFUSED(change, code) \
    c = small_config(); \
    change; \
    assert_int_equal(model_init(&(struct model){0}, &c, &e), code)
    REFUSED(c.vocab_size = 0, ERROR_model);
    REFUSED(c.hidden_size = -8, ERROR_model);
    REFUSED(c.hidden_size = INT64_MAX, ERROR_model);
    REFUSED(c.num_attention_heads = 3, ERROR_model);
    REFUSED(c.num_key_value_heads = 3, ERROR_model);
    REFUSED(c.head_dim = 3, ERROR_model);
    REFUSED(c.head_dim = INT64_MAX, ERROR_model);
    REFUSED(c.rope_theta = NAN, ERROR_model);
    REFUSED(c.rms_norm_eps = 0, ERROR_model);
    REFUSED(c.eos_token_id = 11, ERROR_model);
    REFUSED(memcpy(c.family, "gpt", 4), ERROR_model);
    REFUSED((c.hidden_size = 65536, c.intermediate_size = 262144, c.num_hidden_layers = 500,
             c.num_attention_heads = 512, c.num_key_value_heads = 512), ERROR_limit);
}

static void
norm_and_clipping(void **state)
{
    struct model_config c = small_config();
    struct adamw a = adamw_default();
    struct model m, kept;
    struct error e;
    double squares = 0, norm;

    (void)state;
    assert_int_equal(model_init(&m, &c, &e), 0);
    model_randomise(&m, 1);
    model_copy(&kept, &m);
    float *g = sets_floats(m.count, 2, 3), *m1 = xarray((size_t)m.count, sizeof *m1);
    float *v1 = xarray((size_t)m.count, sizeof *v1);

    for (int64_t i = 0; i < m.count; i++)
        squares += (double)g[i] * (double)g[i];
    a.lr = 0.1;
    a.clip = 0.5;
    norm = adamw_step(&a, &m, 1, g, m1, v1);
    assert_true(fabs(norm - sqrt(squares)) < 1e-12 * norm);
    for (int64_t i = 0; i < m.count; i++)       /* the first moment holds the clipped gradient */
        assert_true(fabs((double)m1[i] - 0.1 * (double)g[i] * 0.5 / norm) < 1e-7);
    /* Decay without a gradient: matrices shrink by 1 - lr decay, the rest stays to the bit. */
    memset(g, 0, (size_t)m.count * sizeof *g);
    memset(m1, 0, (size_t)m.count * sizeof *m1);
    memcpy(m.params, kept.params, (size_t)m.count * sizeof *g);
    a.weight_decay = 0.5;
    adamw_step(&a, &m, 1, g, m1, v1);
    for (int i = 0; i < m.tensor_count; i++)
        for (int64_t j = 0; j < m.tensors[i].count; j++) {
            float before = kept.params[m.tensors[i].offset + j];

            assert_true(m.params[m.tensors[i].offset + j] ==
                        (m.tensors[i].decay ? before * 0.95f : before));
        }
    /* A gradient that is not finite changes nothing. */
    memcpy(m.params, kept.params, (size_t)m.count * sizeof *g);
    g[7] = NAN;
    assert_true(isnan(adamw_step(&a, &m, 2, g, m1, v1)));
    sets_same("params", m.count, m.params, kept.params);
    free(g);
    free(m1);
    free(v1);
    model_free(&m);
    model_free(&kept);
}

static void
schedules(void **state)
{
    struct schedule s = {SCHEDULE_cosine, 1.0, 0.1, 4, 14, 0, SCHEDULE_decay_linear};

    (void)state;
    assert_true(schedule_lr(&s, 1) == 0.25 && schedule_lr(&s, 4) == 1.0);
    assert_true(fabs(schedule_lr(&s, 9) - 0.55) < 1e-12);       /* half way */
    assert_true(schedule_lr(&s, 14) == 0.1 && schedule_lr(&s, 1000) == 0.1);
    for (int64_t step = 5; step <= 14; step++)
        assert_true(schedule_lr(&s, step) < schedule_lr(&s, step - 1));
    s.kind = SCHEDULE_constant;
    assert_true(schedule_lr(&s, 2) == 0.5 && schedule_lr(&s, 5) == 1.0 &&
                schedule_lr(&s, 99) == 1.0);
    s.warmup = 0;
    assert_true(schedule_lr(&s, 1) == 1.0);
    assert_int_equal(schedule_find("cosine"), SCHEDULE_cosine);
    assert_int_equal(schedule_find("constant"), SCHEDULE_constant);
    assert_int_equal(schedule_find("linear"), SCHEDULE_linear);
    assert_int_equal(schedule_find("square"), -1);
    s = (struct schedule){SCHEDULE_wsd, 1.0, 0.0, 4, 14, 100, SCHEDULE_decay_linear};
    assert_true(schedule_lr(&s, 4) == 1.0 && schedule_lr(&s, 9) == 0.5); /* nothing stable */
}

/* Every row of tests/golden/schedule.txt: transformers' rate of that step. */
static void
schedules_are_those_of_transformers(void **state)
{
    FILE *file = fopen("tests/golden/schedule.txt", "r");
    char kind[16], shape[16];
    struct schedule s = {0};
    long long warmup, total, decay, step;
    double wanted;
    int rows = 0;

    (void)state;
    assert_non_null(file);
    while (fscanf(file, "%15s %lld %lld %lld %15s %lf %lf %lld %lf", kind, &warmup, &total, &decay,
                  shape, &s.lr, &s.lr_min, &step, &wanted) == 9) {
        s.kind = (enum schedule_kind)schedule_find(kind);
        s.warmup = warmup;
        s.total = total;
        s.decay = decay;
        for (int i = 0; schedule_decay_names[i]; i++)
            if (strcmp(schedule_decay_names[i], shape) == 0)
                s.shape = (enum schedule_decay)i;
        if (fabs(schedule_lr(&s, step) - wanted) > 1e-12 * s.lr)
            fail_msg("%s, step %lld: %.17g, not %.17g", kind, step, schedule_lr(&s, step), wanted);
        rows++;
    }
    fclose(file);
    assert_true(rows > 250);
}

/* Frozen tensors keep their bits and have no share in the norm; plain ones do not decay. */
static void
groups(void **state)
{
    struct model_config c = small_config();
    struct adamw a = adamw_default();
    struct model m, kept;
    unsigned char group[64] = {0};
    struct error e;
    double squares = 0;

    (void)state;
    assert_int_equal(model_init(&m, &c, &e), 0);
    model_randomise(&m, 1);
    model_copy(&kept, &m);
    float *g = sets_floats(m.count, 2, 3), *m1 = xarray((size_t)m.count, sizeof *m1);
    float *v1 = xarray((size_t)m.count, sizeof *v1), *average = xarray((size_t)m.count, sizeof *v1);

    for (int i = 0; i < m.tensor_count; i++) {
        group[i] = i % 3 == 0 ? ADAMW_frozen : i % 3 == 1 ? ADAMW_decay : ADAMW_plain;
        for (int64_t j = 0; j < m.tensors[i].count; j++)
            squares += i % 3 ? pow((double)g[m.tensors[i].offset + j], 2) : 0;
    }
    g[0] = NAN;     /* of a frozen tensor: nobody looks */
    a.groups = group;
    a.lr = 0.1;
    a.weight_decay = 0.5;
    memcpy(average, m.params, (size_t)m.count * sizeof *average);
    assert_true(fabs(adamw_step(&a, &m, 1, g, m1, v1) - sqrt(squares)) < 1e-9);
    adamw_average(m.count, 0.9, m.params, average);
    for (int i = 0; i < m.tensor_count; i++)
        for (int64_t j = m.tensors[i].offset; j < m.tensors[i].offset + m.tensors[i].count; j++) {
            double before = (double)kept.params[j], now = (double)m.params[j];

            if (group[i] == ADAMW_frozen)
                assert_true(m.params[j] == kept.params[j] && average[j] == kept.params[j] &&
                            m1[j] == 0 && v1[j] == 0);
            else        /* the first step is lr in the gradient's direction */
                assert_true(fabs(now - before * (group[i] == ADAMW_decay ? 0.95 : 1)) < 0.1001);
            assert_true(fabs((double)average[j] - (0.9 * before + 0.1 * now)) < 1e-6);
        }
    free(g);
    free(m1);
    free(v1);
    free(average);
    model_free(&m);
    model_free(&kept);
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_dense),
        cmocka_unit_test(bad_configs_are_refused),
        cmocka_unit_test(norm_and_clipping),
        cmocka_unit_test(schedules),
        cmocka_unit_test(schedules_are_those_of_transformers),
        cmocka_unit_test(groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    return sets_run(run);
}
