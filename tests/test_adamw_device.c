/* The optimiser's step on a device (a simulated one) beside the processor's: the same weights and
 * moments, the head's gradient from the device, the others' from the host. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/adamw_device.h"
#include "kernels/cast.h"
#include "kernels/random.h"

enum form { FORM_tied, FORM_untied, FORM_token, FORM_count };

struct pair {
    struct device       *device;
    struct adamw_device *there;
    struct model         model;         /* params: the processor's */
    float               *grads, *m, *v; /* the processor's: the whole gradient */
    float               *part;          /* of it, what the host has on its side */
    float               *back;          /* (count): what came down */
};

static void
fill(float *x, int64_t n, uint64_t seed, double size)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(size * random_normal(seed, RANDOM_test, (uint64_t)i));
}

static void
make_model(struct model *m, enum form form)
{
    struct model_config c = model_config_default();
    struct error e;

    c.vocab_size = 37;
    c.hidden_size = 12;
    c.intermediate_size = 10;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 2;
    c.num_key_value_heads = 2;
    c.head_dim = 6;
    c.tie_word_embeddings = form == FORM_tied;
    c.num_labels = form == FORM_token ? 5 : 0;
    if (model_init(m, &c, &e) != 0)
        fail_msg("%s", e.text);
    model_randomise(m, 7);
}

static int64_t
head_count(const struct model *m)
{
    return m->head_rows * m->config.hidden_size;
}

/* grads becomes the sum of the host's part and the device's, which is put where the head's calls
 * would have left it. An untied head has no part on the host. */
static void
put_grads(struct pair *p, uint64_t seed)
{
    const struct model *m = &p->model;
    int64_t count = head_count(m);
    float *whole = xarray((size_t)m->count, sizeof *whole);
    struct sluice_slopes slopes = {0};
    struct error e;

    fill(p->part, m->count, seed, 0.1);
    fill(whole, m->count, seed + 1, 0.1);
    memcpy(p->grads, p->part, (size_t)m->count * sizeof(float));
    for (int64_t i = m->head; i < m->head + count; i++)
        p->grads[i] = m->head == m->embed ? whole[i] + p->part[i] : whole[i];
    assert_int_equal(adamw_device_begin(p->there, &e), 0);
    adamw_device_slopes(p->there, &slopes);
    assert_int_equal(slopes.dweight_stride, m->config.hidden_size);
    assert_int_equal(device_upload(p->device, slopes.dweight, whole + m->head,
                                   count * (int64_t)sizeof(float), &e), 0);
    assert_int_equal(slopes.dbias != NULL, m->head_bias >= 0);
    if (m->head_bias >= 0) {
        memcpy(p->grads + m->head_bias, whole + m->head_bias, (size_t)m->head_rows * sizeof(float));
        assert_int_equal(device_upload(p->device, slopes.dbias, whole + m->head_bias,
                                       m->head_rows * (int64_t)sizeof(float), &e), 0);
    }
    free(whole);
}

/* The model stays where it is: the device's side borrows it. */
static void
pair_open(struct pair *p, enum form form, enum sluice_rounding rounding)
{
    struct error e;
    char *library = realpath(DEVICE_SIMULATED, NULL);

    memset(p, 0, sizeof *p);
    assert_non_null(library);
    setenv("SLUICE_CUDA", library, 1);
    free(library);
    make_model(&p->model, form);
    if (device_open("cuda:0", &p->device, &e) != 0 ||
        adamw_device_new(p->device, &p->model, rounding, 99, &p->there, &e) != 0)
        fail_msg("%s", e.text);
    float **const arrays[] = {&p->grads, &p->m, &p->v, &p->part, &p->back};
    for (int i = 0; i < 5; i++)
        *arrays[i] = xarray((size_t)p->model.count, sizeof(float));
    fill(p->m, p->model.count, 21, 0.01);
    fill(p->v, p->model.count, 22, 0.01);
    for (int64_t i = 0; i < p->model.count; i++)
        p->v[i] = fabsf(p->v[i]);
    if (adamw_device_load(p->there, p->model.params, p->m, p->v, 3, &e) != 0)
        fail_msg("%s", e.text);
}

static void
pair_close(struct pair *p)
{
    adamw_device_free(p->there);
    device_close(p->device);
    model_free(&p->model);
    free(p->grads);
    free(p->m);
    free(p->v);
    free(p->part);
    free(p->back);
}

/* |a - b| <= tolerance |b| for all; 0: the same bits. */
static void
compare(const char *what, const float *a, const float *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 &&
            !(fabs((double)a[i] - (double)b[i]) <= tolerance * fabs((double)b[i])))
            fail_msg("%s[%lld] is %a, not %a", what, (long long)i, (double)a[i], (double)b[i]);
}

static void
compare_all(struct pair *p, double tolerance)
{
    const struct model *m = &p->model;
    const float *const wanted[] = {m->params, p->m, p->v};
    static const char *const names[] = {"params", "m", "v"};
    struct error e;

    for (int k = 0; k < 3; k++) {
        assert_int_equal(adamw_device_read(p->there, k == 0 ? p->back : NULL,
                                           k == 1 ? p->back : NULL, k == 2 ? p->back : NULL, &e),
                         0);
        compare(names[k], p->back, wanted[k], m->count, tolerance);
    }
}

/* The bfloat16 weights are the rounding of the device's params at that step. */
static void
compare_head(struct pair *p, enum cast_rounding rounding, int64_t step)
{
    const struct model *m = &p->model;
    struct sluice_head head = adamw_device_head(p->there);
    int64_t count = head.vocab * head.weight_stride, draws = (head_count(m) + 7) / 8 * 8;
    uint16_t *got = xarray((size_t)count, 2), *wanted = xarray((size_t)count, 2);
    struct error e;

    assert_int_equal(head.hidden, m->config.hidden_size);
    assert_int_equal(head.vocab, m->head_rows);
    assert_int_equal(head.weight_stride, 16);       /* 12 columns in whole 16 bytes */
    assert_int_equal(adamw_device_read(p->there, p->back, NULL, NULL, &e), 0);
    assert_int_equal(device_download(p->device, got, head.weight, count * 2, &e), 0);
    cast_rows(head.vocab, head.hidden, p->back + m->head, head.weight_stride, wanted, rounding, 99,
              (uint64_t)(step * draws));
    assert_memory_equal(got, wanted, (size_t)count * 2);
    if (head.bias != NULL) {
        assert_int_equal(device_download(p->device, p->part, head.bias,
                                         m->head_rows * (int64_t)sizeof(float), &e), 0);
        assert_memory_equal(p->part, p->back + m->head_bias, (size_t)m->head_rows * sizeof(float));
    }
    free(got);
    free(wanted);
}

static void
steps(struct pair *p, struct adamw *options, double tolerance)
{
    struct error e;

    for (int64_t step = 4; step < 7; step++) {
        double here, there = -1;

        options->lr = 0.01 / (double)step;
        put_grads(p, 100 + (uint64_t)step);
        if (adamw_device_step(p->there, options, step, p->part, &there, &e) != 0)
            fail_msg("%s", e.text);
        here = adamw_step(options, &p->model, step, p->grads, p->m, p->v);
        assert_true(fabs(there - here) <= 1e-14 * here);    /* sums of some 1e3 squares */
        compare_all(p, tolerance);
    }
}

/* Without clipping nothing depends on the norm: the bits are the processor's. */
static void
a_step_has_the_processors_bits(void **state)
{
    (void)state;
    for (enum form form = FORM_tied; form < FORM_count; form++) {
        struct pair p;
        struct adamw options = adamw_default();

        pair_open(&p, form, SLUICE_nearest);
        options.clip = 0;
        options.weight_decay = 0.1;
        compare_all(&p, 0);
        compare_head(&p, CAST_nearest, 3);
        steps(&p, &options, 0);
        compare_head(&p, CAST_nearest, 6);
        pair_close(&p);
    }
}

/* The scale may differ in its last bit, weights and moments in some of theirs. */
static void
clipping_is_the_processors(void **state)
{
    struct pair p;
    struct adamw options = adamw_default();

    (void)state;
    pair_open(&p, FORM_tied, SLUICE_nearest);
    options.clip = 0.5;
    steps(&p, &options, 1e-5);
    pair_close(&p);
}

static void
what_is_frozen_keeps_its_bits(void **state)
{
    for (enum form form = FORM_tied; form < FORM_count; form++) {
        struct pair p;
        struct adamw options = adamw_default();
        unsigned char *groups;
        float *before;

        (void)state;
        pair_open(&p, form, SLUICE_nearest);
        groups = xalloc((size_t)p.model.tensor_count);
        before = xarray((size_t)p.model.count, sizeof(float));
        for (int i = 0; i < p.model.tensor_count; i++)
            groups[i] = (unsigned char)(i % 3 == 1   ? ADAMW_frozen
                                        : i % 3 == 2 ? ADAMW_decay
                                                     : ADAMW_plain);
        memcpy(before, p.model.params, (size_t)p.model.count * sizeof(float));
        options.groups = groups;
        options.clip = 0;
        options.weight_decay = 0.3;
        steps(&p, &options, 0);
        assert_int_equal(adamw_device_read(p.there, p.back, NULL, NULL, NULL), 0);
        for (int i = 1; i < p.model.tensor_count; i += 3)
            assert_memory_equal(before + p.model.tensors[i].offset,
                                p.back + p.model.tensors[i].offset,
                                (size_t)p.model.tensors[i].count * sizeof(float));
        free(before);
        free(groups);
        pair_close(&p);
    }
}

static void
rounding_draws_anew_at_each_step(void **state)
{
    struct pair p;
    struct adamw options = adamw_default();
    struct error e;

    (void)state;
    pair_open(&p, FORM_untied, SLUICE_stochastic);
    compare_head(&p, CAST_stochastic, 3);
    steps(&p, &options, 1e-5);
    compare_head(&p, CAST_stochastic, 6);
    /* who starts again from that step has the same weights */
    assert_int_equal(adamw_device_read(p.there, p.model.params, p.m, p.v, &e), 0);
    assert_int_equal(adamw_device_load(p.there, p.model.params, p.m, p.v, 6, &e), 0);
    compare_all(&p, 0);
    compare_head(&p, CAST_stochastic, 6);
    assert_int_equal(adamw_device_load(p.there, p.model.params, NULL, NULL, 0, &e), 0);
    memset(p.m, 0, (size_t)p.model.count * sizeof(float));
    memset(p.v, 0, (size_t)p.model.count * sizeof(float));
    compare_all(&p, 0);
    compare_head(&p, CAST_stochastic, 0);
    pair_close(&p);
}

static void
a_gradient_that_is_not_finite_changes_nothing(void **state)
{
    static const char name[] = "model.layers.1.mlp.up_proj.weight";
    struct pair p;
    struct adamw options = adamw_default();
    double norm = 0;
    struct error e;

    (void)state;
    pair_open(&p, FORM_tied, SLUICE_nearest);
    options.lr = 0.1;
    put_grads(&p, 5);
    p.part[model_find(&p.model, name)->offset + 3] = NAN;
    assert_int_equal(adamw_device_step(p.there, &options, 4, p.part, &norm, &e), 0);
    assert_true(isnan(norm));
    compare_all(&p, 0);
    compare_head(&p, CAST_nearest, 3);
    assert_string_equal(adamw_device_blame(p.there, &options), name);
    put_grads(&p, 6);
    assert_int_equal(adamw_device_step(p.there, &options, 4, p.part, &norm, &e), 0);
    assert_true(isfinite(norm));
    assert_null(adamw_device_blame(p.there, &options));
    pair_close(&p);
}

static void
too_little_memory_is_told_before_it_is_taken(void **state)
{
    struct pair p;
    struct adamw_device *another = (struct adamw_device *)1;
    struct error e = {0};
    char room[40];

    (void)state;
    pair_open(&p, FORM_tied, SLUICE_nearest);
    snprintf(room, sizeof room, "%lld",
             (long long)(2 * adamw_device_bytes(&p.model)) - 1000);
    setenv("SLUICE_SIMT_MEMORY", room, 1);
    assert_int_equal(adamw_device_new(p.device, &p.model, SLUICE_nearest, 0, &another, &e),
                     ERROR_memory);
    unsetenv("SLUICE_SIMT_MEMORY");
    assert_null(another);
    assert_non_null(strstr(e.text, "GiB are free"));
    assert_non_null(strstr(e.text, "`device: cpu`"));
    pair_close(&p);
}

/* The device dies at each of the step's launches in turn. */
static void
a_device_lost_in_a_step_is_told(void **state)
{
    struct adamw options = adamw_default();
    int told = 0;

    (void)state;
    for (int launch = 1; launch < 40; launch += 3) {
        struct pair p;
        char number[16];
        double norm;
        struct error e = {0};
        int rc;

        pair_open(&p, FORM_tied, SLUICE_nearest);
        put_grads(&p, 5);
        snprintf(number, sizeof number, "%d", launch);
        setenv("SLUICE_SIMT_LOSE", number, 1);
        rc = adamw_device_step(p.there, &options, 4, p.part, &norm, &e);
        assert_true(rc == 0 || rc == ERROR_lost);
        told += rc == ERROR_lost;
        if (rc == ERROR_lost)
            assert_null(adamw_device_blame(p.there, &options));
        unsetenv("SLUICE_SIMT_LOSE");
        pair_close(&p);
    }
    assert_true(told >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_has_the_processors_bits),
        cmocka_unit_test(clipping_is_the_processors),
        cmocka_unit_test(what_is_frozen_keeps_its_bits),
        cmocka_unit_test(rounding_draws_anew_at_each_step),
        cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
        cmocka_unit_test(too_little_memory_is_told_before_it_is_taken),
        cmocka_unit_test(a_device_lost_in_a_step_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
