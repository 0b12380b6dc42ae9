/* The model training begins from, of every family: as it is, or with a new class head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/document.h"
#include "kernels/durable.h"
#include "kernels/model_file.h"
#include "nodes/learner/learner.h"
#include "tests/tiny_model.h"

#define GOLDEN "tests/golden/models/"

/* Options for a model, with the first objective of classes or of none. */
static struct learner_options
options_of(const char *model, int classes)
{
    struct learner_options o = {.model = model,
                                .tokenizer = "",
                                .objective_file = "",
                                .max_tokens = 30,
                                .num_labels = 2};

    while (learner_classes(objective_at(o.objective)) != classes)
        o.objective++;
    return o;
}

static void
refused(const struct learner_options *o, const char *reason)
{
    struct model_config c;
    struct error e = {0};

    if (initial_config(o, &c, &e) == 0)
        fail_msg("%s: accepted", o->model);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
}

static struct model *
begin(const struct learner_options *o)
{
    struct model *m;
    struct error e = {0};

    if (initial_model(o, 3, &m, &e))
        fail_msg("%s: %s", o->model, e.text);
    return m;
}

static void
end(struct model *m)
{
    model_free(m);
    free(m);
}

static void
language_models_and_classifiers(void **state)
{
    static const char *const language[] = {GOLDEN "qwen2", GOLDEN "qwen3_sharded", GOLDEN "llama",
                                           GOLDEN "mistral"};

    (void)state;
    for (size_t i = 0; i < sizeof(language) / sizeof(language[0]); i++) {
        struct learner_options o = options_of(language[i], 0);

        end(begin(&o));
    }
    for (int i = 0; i < 2; i++) {
        struct learner_options o = options_of(i ? GOLDEN "qwen2_prm" : GOLDEN "qwen3_token", 1);
        struct learner_options wrong = options_of(o.model, 0);
        struct model *m = begin(&o);

        assert_int_equal(m->config.head, i ? MODEL_HEAD_process : MODEL_HEAD_token);
        end(m);
        refused(&wrong, "is a classifier");
    }
}

/* The decoder of a language model with a new class head is written as a model of its family, and
 * opens again with the same weights. */
static void
new_class_head(void **state)
{
    char dir[] = "/tmp/test_initial.XXXXXX", *out;
    struct learner_options o = options_of(GOLDEN "qwen3_sharded", 1);
    struct model *m = begin(&o), again, base;
    const struct model_tensor *mine, *theirs;
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    out = xprint("%s/out", dir);
    assert_int_equal(m->config.head, MODEL_HEAD_token);
    assert_int_equal(model_exact(m), 1); /* it is new, and stored in float32 */
    assert_int_equal(model_open(&base, o.model, &e), 0);
    mine = model_find(m, "model.layers.1.self_attn.q_norm.weight");
    theirs = model_find(&base, mine->name);
    assert_memory_equal(m->params + mine->offset, base.params + theirs->offset,
                        (size_t)mine->count * sizeof(float));
    assert_int_equal(model_save(m, out, NULL, &e), 0);
    if (model_open(&again, out, &e))
        fail_msg("%s", e.text);
    assert_string_equal(again.config.family, "qwen3");
    assert_memory_equal(again.params, m->params, (size_t)m->count * sizeof(float));
    model_free(&again);
    model_free(&base);
    end(m);
    tiny_model_remove(dir);
    free(out);
}

static void
what_cannot_be_trained(void **state)
{
    char dir[] = "/tmp/test_initial.XXXXXX", *path, *text, *at;
    struct learner_options o = options_of(GOLDEN "mistral_sequence", 1);
    struct buffer config = {0};
    struct model_config c;
    struct error e = {0};
    struct span whole;

    (void)state;
    refused(&o, "whole sequences");
    assert_non_null(mkdtemp(dir)); /* attention that slides over 16 of 64 positions */
    assert_int_equal(document_load(GOLDEN "mistral/config.json", 1 << 20, &config, &e), 0);
    text = span_copy(buffer_span(&config));
    at = strstr(text, "\"sliding_window\": null");
    assert_non_null(at);
    memcpy(at, "\"sliding_window\":   16", strlen("\"sliding_window\": null"));
    path = xprint("%s/config.json", dir);
    whole = span_text(text);
    assert_int_equal(durable_write(path, &whole, 1, &e), 0);
    o = options_of(dir, 0);
    refused(&o, "slides after 16 tokens");
    o.max_tokens = 16;
    assert_int_equal(initial_config(&o, &c, &e), 0);
    assert_int_equal(c.positions_usable, 16);
    tiny_model_remove(dir);
    buffer_free(&config);
    free(path);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language_models_and_classifiers),
        cmocka_unit_test(new_class_head),
        cmocka_unit_test(what_cannot_be_trained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
