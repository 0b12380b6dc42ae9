/* The learner with its head on a device: the loss falls, the first step stands at the reference,
 * the same bytes come out each time and after kills, the numbers are those of the processor but for
 * bfloat16, objectives of every scope. On the simulated device (make simt), or the one that
 * SLUICE_CUDA's library finds; without any the tests are skipped. */
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
#include "kernels/model_file.h"
#include "tests/lessons.h"
#include "tests/on_device.h"
#include "tests/tiny_model.h"

#define COUNT 16

static double
last(struct harness *h, const char *name)
{
    size_t length;
    char *text = lesson_file(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    char *at = NULL;
    double value;

    for (char *next = text; (next = strstr(next, key)) != NULL; next++)
        at = next;
    assert_non_null(at);
    value = atof(at + strlen(key));
    free(text);
    free(key);
    return value;
}

/* Steps whose numbers are written; 0: no file yet. */
static int
last_step(struct harness *h)
{
    const char *id = node_id(harness_node(h));
    char *path = xprint("%s/checkpoints/%s/metrics.jsonl", harness_dir(h), id);
    FILE *f = fopen(path, "re");
    int lines = 0, c;

    free(path);
    while (f && (c = fgetc(f)) != EOF)
        lines += c == '\n';
    if (f)
        fclose(f);
    return lines;
}

/* ---- against the processor ---- */

/* bfloat16 keeps 8 bits: each factor of a logit is off by up to 2^-8 of itself, each slope too. The
 * first step's numbers follow, those of a few more steps as well. */
static void
near(const char *objective, const char *name, double value, double wanted, double scale)
{
    if (!(fabs(value - wanted) <= scale / 64 * (fabs(wanted) + 1)))
        fail_msg("%s: %s is %g on the device, %g on the processor", objective, name, value, wanted);
}

static void
same_as_the_processor(const char *objective, const char *file)
{
    const char *const own = file ? "objective_file" : NULL;
    const char *const cpu[] = {"device", "cpu", "batch_tokens", "64", "epochs", "2", own, file,
                               NULL};
    const char *const cuda[] = {"device", "cuda:0", "batch_tokens", "64", "epochs", "2", own, file,
                                NULL};
    static const char *const first[] = {"loss", "grad_norm", "logp/mean", NULL};
    struct harness *h[2];

    free(lesson_trained(objective, cpu, COUNT, &h[0]).at);
    free(lesson_trained(objective, cuda, COUNT, &h[1]).at);
    for (int i = 0; first[i]; i++)
        if (lesson_measures(h[0], first[i]))
            near(objective, first[i], lesson_metric(h[1], first[i]), lesson_metric(h[0], first[i]),
                 1);
    near(objective, "the last loss", last(h[1], "loss"), last(h[0], "loss"), 2);
    if (lesson_measures(h[1], "s/largest"))
        assert_true(lesson_metric(h[1], "s/largest") == 0);
    harness_close(h[0]);
    harness_close(h[1]);
}

static void
objectives_of_every_scope_are_those_of_the_processor(void **state)
{
    static const char *const names[] = {"sft", "grpo", "bcpg_nsa", "opmd", "dpo", "kto",
                                        "token_class"};
    char *file;

    (void)state;
    if (!on_device())
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        same_as_the_processor(names[i], NULL);
    file = realpath(OBJECTIVE_FILES "/clip_free.so", NULL);
    assert_non_null(file);
    same_as_the_processor("bcpg", file);
    free(file);
}

static void
the_loss_falls(void **state)
{
    static const char *const options[] = {"device", "cuda:0", "epochs", "8", NULL};
    struct harness *h;

    (void)state;
    if (!on_device())
        return;
    free(lesson_trained("sft", options, COUNT, &h).at);
    assert_true(last(h, "loss") < 0.9 * lesson_metric(h, "loss"));
    harness_close(h);
}

/* ---- bytes ---- */

static struct harness *
fed(const char *objective, const char *const *options)
{
    struct harness *h = lesson_open(lesson_both, objective, options, NULL);
    struct lesson_made m;

    for (uint64_t i = 0; i < COUNT; i++) {
        lesson_make(&m, i);
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    return h;
}

/* Killed again and again, each life a little longer. */
static struct harness *
killed(const char *objective, const char *const *options, int *crashes)
{
    struct harness *h = fed(objective, options);
    double seconds = 0.002;

    for (*crashes = 0;; ++*crashes, seconds *= 1.4) {
        struct error e = {0};

        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
        if (harness_finished(h))
            return h;
        harness_crash(h);
    }
}

static void
same_file(struct harness *a, struct harness *b, const char *name)
{
    struct lesson_bytes x, y;

    x.at = lesson_file(a, name, &x.length);
    y.at = lesson_file(b, name, &y.length);
    if (!lesson_same(x, y))
        fail_msg("%s differs", name);
    free(x.at);
    free(y.at);
}

/* One run, the same again, and one that is killed; returns how often it was. */
static int
same_bytes(const char *objective, const char *const *options)
{
    struct harness *one, *two = fed(objective, options), *three;
    int crashes;

    free(lesson_trained(objective, options, COUNT, &one).at);
    lesson_run(two);
    three = killed(objective, options, &crashes);
    same_file(one, two, "model.safetensors");
    same_file(one, three, "model.safetensors");
    same_file(one, three, "manifest.json");
    if (lesson_measures(one, "s/largest"))
        assert_true(lesson_metric(one, "s/largest") == 0);
    harness_close(one);
    harness_close(two);
    harness_close(three);
    return crashes;
}

static void
bytes_are_the_same_again_and_after_kills(void **state)
{
    static const char *const plain[] = {"device", "cuda:0", "checkpoint_steps", "1", "epochs", "2",
                                        NULL};
    static const char *const apart[] = {"device",           "cuda:0", "batch_tokens", "32",
                                        "checkpoint_steps", "1",      "rounding",     "stochastic",
                                        NULL};
    static const char *const stream[] = {"device", "cuda:0", "checkpoint_steps", "1", "follow",
                                         "true",   "window", "8",                "passes", "2",
                                         "rounding", "stochastic", NULL};
    int crashes = 0;

    (void)state;
    if (!on_device())
        return;
    crashes += same_bytes("bcpg_nsa", plain);
    crashes += same_bytes("dpo", apart);
    crashes += same_bytes("bcpg", stream); /* its reference is not the model that is trained */
    assert_true(crashes > 0);
}

/* What the manifest says of the device, and whether a life on another one is told of. */
static void
the_manifest_names_device_and_products(void **state)
{
    static const char *const options[] = {"device", "auto", NULL};
    struct harness *h;
    size_t length;
    char *text;

    (void)state;
    if (!on_device())
        return;
    free(lesson_trained("sft", options, COUNT, &h).at);
    text = lesson_file(h, "manifest.json", &length);
    assert_non_null(strstr(text, "\"device\": \"cuda:0 "));
    assert_non_null(strstr(text, "cuBLASLt"));
    assert_non_null(strstr(text, "algorithm "));
    free(text);
    harness_close(h);
}

/* auto on a machine whose device is gone when training goes on: the processor takes over. */
static void
training_goes_on_without_a_device_that_is_gone(void **state)
{
    static const char *const options[] = {"device", "auto", "checkpoint_steps", "1", "epochs", "20",
                                          NULL};
    struct error e = {0};
    struct harness *h;
    size_t length;
    char *text;

    (void)state;
    if (!on_fibers())
        return;
    h = fed("sft", options);
    for (double seconds = 0.01; last_step(h) < 1; seconds *= 1.5)
        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
    assert_false(harness_finished(h));
    setenv("SLUICE_SIMT_DEVICES", "0", 1);
    harness_crash(h);
    lesson_run(h);
    unsetenv("SLUICE_SIMT_DEVICES");
    assert_true(last(h, "step") == 40);
    text = lesson_file(h, "manifest.json", &length);
    assert_non_null(strstr(text, "\"device\": \"cpu\""));
    free(text);
    harness_close(h);
}

/* ---- bad input ---- */

static void
refused(const char *objective, const char *const *options, const char *words)
{
    struct error e = {0};

    assert_null(lesson_open(lesson_both, objective, options, &e));
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
}

static void
check_reads_the_device(void **state)
{
    static const char *const no_number[] = {"device", "cuda:x", NULL};
    static const char *const other[] = {"device", "gpu", NULL};
    static const char *const idle[] = {"device", "cpu", "keep_logits", "true", NULL};

    (void)state;
    refused("sft", no_number, "cuda:x");
    refused("sft", other, "none of auto, cpu, cuda:N");
    refused("sft", idle, "it is about a device");
}

/* The learner's error as its first pump gives it. */
static void
fails(const char *objective, const char *const *options, int code, const char *words)
{
    struct harness *h = fed(objective, options);
    struct error e = {0};

    assert_true(harness_run(h, LESSON_SECONDS, &e) < 0);
    if (e.code != code || !strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    harness_close(h);
}

static void
a_device_that_is_not_there_or_does_not_suit_ends_it_at_once(void **state)
{
    static const char *const absent[] = {"device", "cuda:63", NULL};
    static const char *const fused[] = {"device", "cuda:0", "logits", "fused", NULL};

    (void)state;
    if (!on_device())
        return;
    fails("sft", absent, ERROR_device, "63");
    fails("token_class", fused, ERROR_topology, "fused logits"); /* its head has a bias */
}

static void
memory_that_is_not_there_ends_it_at_once(void **state)
{
    static const char *const small[] = {"device", "cuda:0", "batch_tokens", "16777216", NULL};

    (void)state;
    if (!on_fibers())
        return;
    setenv("SLUICE_SIMT_MEMORY", "1000000", 1);
    fails("sft", small, ERROR_topology, "head_memory");
    unsetenv("SLUICE_SIMT_MEMORY");
}

/* The base model with an embedding of 2 that is no number: rollouts 4 to 7 alone (1+1=2) have it.
 */
static char *
broken_model(void)
{
    char *path = xprint("%s-broken", lesson_base);
    int64_t two = 1 + (strchr(LESSON_CHARACTERS, '2') - LESSON_CHARACTERS);
    struct error e = {0};
    struct model m;

    if (model_open(&m, lesson_base, &e) < 0)
        fail_msg("%s", e.text);
    m.params[m.embed + two * m.config.hidden_size] = NAN;
    if (model_save(&m, path, lesson_base, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&m);
    return path;
}

/* The step is not applied, and the error names the rollout; skipped, kills still change nothing. */
static void
a_number_that_is_not_finite_names_the_rollout(void **state)
{
    char *path;
    struct error e = {0};
    struct harness *h;

    (void)state;
    if (!on_device())
        return;
    path = broken_model();
    h = fed("sft",
            (const char *const[]){"device", "cuda:0", "model", path, "shuffle", "false", NULL});
    assert_true(harness_run(h, LESSON_SECONDS, &e) < 0);
    if (!strstr(e.text, "step 1 was not applied: rollout 4, token ") ||
        !strstr(e.text, "a logit is NaN or infinite, first in rollout 4"))
        fail_msg("'%s'", e.text);
    harness_close(h);
    same_bytes("sft", (const char *const[]){"device", "cuda:0", "model", path, "epochs", "3",
                                            "batch_rollouts", "4", "checkpoint_steps", "1",
                                            "rounding", "stochastic", "on_nonfinite", "skip",
                                            NULL});
    tiny_model_remove(path);
    free(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objectives_of_every_scope_are_those_of_the_processor),
        cmocka_unit_test(the_loss_falls),
        cmocka_unit_test(bytes_are_the_same_again_and_after_kills),
        cmocka_unit_test(the_manifest_names_device_and_products),
        cmocka_unit_test(training_goes_on_without_a_device_that_is_gone),
        cmocka_unit_test(check_reads_the_device),
        cmocka_unit_test(a_number_that_is_not_finite_names_the_rollout),
        cmocka_unit_test(a_device_that_is_not_there_or_does_not_suit_ends_it_at_once),
        cmocka_unit_test(memory_that_is_not_there_ends_it_at_once),
    };

    on_device_begin();
    return cmocka_run_group_tests(tests, lesson_begin, lesson_end);
}
