/* learning: see learning.h. */
#include "tests/learning.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/model_file.h"
#include "kernels/tokenizer.h"
#include "tests/tiny_model.h"

#define OPTIONS_MAX 60

char learning_folder[] = "/tmp/sluice-learning-XXXXXX", learning_base[64];

void
learning_model(const char *dir)
{
    struct tokenizer *t;
    struct error e = {0};
    struct model m, made;

    tiny_model_make(dir, 0, 5);
    t = tokenizer_open(dir, &e);
    assert_non_null(t);
    assert_int_equal(model_open(&m, dir, &e), 0);
    m.config.eos_token_id = tokenizer_id(t, TINY_SPECIAL);
    assert_int_equal(model_init(&made, &m.config, &e), 0); /* of no source: the config is written */
    memcpy(made.params, m.params, (size_t)m.count * sizeof(float));
    if (model_save(&made, dir, dir, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&m);
    model_free(&made);
    tokenizer_close(t);
}

int
learning_setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(learning_folder));
    snprintf(learning_base, sizeof(learning_base), "%s/base", learning_folder);
    learning_model(learning_base);
    return 0;
}

int
learning_teardown(void **state)
{
    (void)state;
    tiny_model_remove(learning_folder);
    return 0;
}

struct harness *
learning_start(const char *const *more, struct error *e)
{
    static const char *const links[] = {"passed", "rollouts", NULL};
    const char *options[OPTIONS_MAX] = {"model",          learning_base, "lr",           "3e-3",
                                        "batch_rollouts", "8",           "batch_tokens", "64",
                                        "objective",      "bcpg",        "tau",          "0.05"};
    int n = 12;

    if (more && strcmp(more[0], "model") == 0) {
        options[1] = more[1];
        more += 2;
    }
    for (int i = 0; more && more[i]; i += 2) {
        if (strcmp(more[i], "objective") == 0) { /* whose tau is its own */
            options[9] = more[i + 1];
            options[10] = "correct_above";
            options[11] = "0.5";
            continue;
        }
        options[n++] = more[i];
        options[n++] = more[i + 1];
    }
    options[n] = NULL;
    return harness_open("learner", links, options, e);
}

void
learning_refused(const char *const *more, const char *words)
{
    struct error e = {0};

    assert_null(learning_start(more, &e));
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
}

struct harness *
learning_fed(const char *const *more, uint64_t count)
{
    struct harness *h = learning_start(more, NULL);

    for (uint64_t i = 0; i < count; i++) {
        char prompt[32], response[32], id[24];
        int a = (int)(i / LEARNING_GROUP % 5), wrong = i % LEARNING_GROUP >= 2;

        snprintf(id, sizeof(id), "r%" PRIu64, i);
        snprintf(prompt, sizeof(prompt), "%d+%d=", a, a);
        snprintf(response, sizeof(response), "%d%s", 2 * a, wrong ? "-x" : "");
        harness_give(h, 0, i, i / LEARNING_GROUP * LEARNING_GROUP, LEARNING_GROUP,
                     &(struct rollout){.id = span_text(id),
                                       .prompt = span_text(prompt),
                                       .response = span_text(response),
                                       .reward = !wrong,
                                       .group_mean = 0.5,
                                       .group_std = 0.5});
    }
    harness_end(h);
    return h;
}

void
learning_run(struct harness *h)
{
    struct error e = {0};

    if (harness_run(h, LEARNING_SECONDS, &e) < 0)
        fail_msg("%s", e.text);
}

struct harness *
learning_trained(const char *const *more, uint64_t count)
{
    struct harness *h = learning_fed(more, count);

    learning_run(h);
    assert_true(harness_finished(h));
    return h;
}

int
learning_killed(struct harness *h)
{
    double seconds = 0.0005;
    int crashes = 0;

    for (;; crashes++) {
        struct error e = {0};

        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
        if (harness_finished(h))
            return crashes;
        harness_crash(h);
        seconds *= 1.15;
    }
}

char *
learning_path(struct harness *h, const char *name)
{
    return xprint("%s/checkpoints/%s/%s", harness_dir(h), node_id(harness_node(h)), name);
}

char *
learning_text(struct harness *h, const char *name, size_t *length)
{
    char *path = learning_path(h, name), *text;
    FILE *f = fopen(path, "rb");

    if (!f)
        fail_msg("no file %s", path);
    fseek(f, 0, SEEK_END);
    *length = (size_t)ftell(f);
    rewind(f);
    text = xalloc(*length + 1);
    assert_int_equal(fread(text, 1, *length, f), *length);
    fclose(f);
    free(path);
    return text;
}

bool
learning_has(struct harness *h, const char *name)
{
    char *path = learning_path(h, name);
    bool there = access(path, F_OK) == 0;

    free(path);
    return there;
}

void
learning_same(struct harness *a, struct harness *b, const char *name)
{
    size_t x, y;
    char *one = learning_text(a, name, &x), *two = learning_text(b, name, &y);

    if (x != y || memcmp(one, two, x) != 0)
        fail_msg("%s differs", name);
    free(one);
    free(two);
}

void
learning_open(struct harness *h, const char *name, struct model *m)
{
    char *path = learning_path(h, name);
    struct error e = {0};

    if (model_open(m, path, &e) < 0)
        fail_msg("%s", e.text);
    free(path);
}
