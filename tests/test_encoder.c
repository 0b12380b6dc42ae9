/* The encoder against transformers (tools/golden_sat.py), its independence of batch and threads, and
 * what a directory must hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/encoder.h"
#include "kernels/isa.h"
#include "kernels/threads.h"

#define FOLDER "tests/golden/sat/"

static const char *const names[] = {"plain", "lookahead", "split"};

static json_t *
load(void)
{
    json_error_t e;
    json_t *json = json_load_file(FOLDER "expected.json", JSON_ALLOW_NUL, &e);

    if (!json)
        fail_msg("%s", e.text);
    return json;
}

static struct encoder *
open_golden(const char *name)
{
    char path[100];
    struct error e = {0};
    struct encoder *m;

    snprintf(path, sizeof(path), FOLDER "%s", name);
    m = encoder_open(path, &e);
    if (!m)
        fail_msg("%s", e.text);
    return m;
}

static int64_t
ids_of(const json_t *list, int32_t *ids)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int64_t)json_array_size(list);
}

static void
logits_are_those_of_transformers(void **state)
{
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    json_t *expected = load(), *one;
    double worst = 0;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(expected, "logits"), i, one)
    {
        struct encoder *m =
            open_golden(json_string_value(json_object_get(one, "model")));
        int64_t labels = encoder_configuration(m)->labels, starts[2] = {0};
        int32_t ids[200];
        float got[200 * 5], other[200 * 5];
        const json_t *want = json_object_get(one, "logits");

        starts[1] = ids_of(json_object_get(one, "ids"), ids);
        struct batch b = {starts[1], ids, 1, starts, NULL};
        encoder_run(m, &b, labels, got);
        for (int64_t k = 0; k < starts[1] * labels; k++) {
            double w = json_number_value(json_array_get(want, (size_t)k));
            double off = fabs((double)got[k] - w) / (1 + fabs(w));

            worst = off > worst ? off : worst;
        }
        encoder_run(m, &b, 1, other); /* fewer labels: the same bits */
        for (int64_t k = 0; k < starts[1]; k++)
            assert_memory_equal(&other[k], &got[k * labels], sizeof(float));
        encoder_close(m);
        for (int k = 0; k < 3; k++) { /* packed weights belong to the set of instructions */
            const char *now = isa_now()->name;

            if (isa_use(sets[k]) != 0)
                continue;
            m = open_golden(json_string_value(json_object_get(one, "model")));
            encoder_run(m, &b, labels, other);
            assert_memory_equal(got, other, (size_t)(starts[1] * labels) * sizeof(float));
            encoder_close(m);
            assert_int_equal(isa_use(now), 0);
        }
    }
    json_decref(expected);
    if (worst > 1e-5)
        fail_msg("a logit is off by %g", worst);
}

/* Every sequence alone, and all of them in one batch by three threads. */
static void
a_token_does_not_know_its_neighbours(void **state)
{
    json_t *expected = load(), *one;
    struct threads *threads = threads_new(3);

    (void)state;
    for (size_t n = 0; n < 3; n++) {
        struct encoder *m = open_golden(names[n]);
        int32_t ids[1000];
        int64_t starts[20] = {0}, count = 0;
        float alone[1000], together[1000];
        size_t i;

        json_array_foreach(json_object_get(expected, "logits"), i, one)
        {
            int64_t from = starts[count];
            int64_t length = ids_of(json_object_get(one, "ids"), ids + from), ends[2] = {0, length};
            struct batch b = {length, ids + from, 1, ends, NULL};

            encoder_run(m, &b, 1, alone + from);
            starts[++count] = from + length;
        }
        struct batch all = {starts[count], ids, count, starts, NULL};
        encoder_threads(m, threads);
        encoder_run(m, &all, 1, together);
        assert_memory_equal(alone, together, (size_t)starts[count] * sizeof(float));
        encoder_close(m);
    }
    threads_free(threads);
    json_decref(expected);
}

/* The golden model "plain" with one key of its config another; what encoder_check says. */
static void
expect_refused(const char *key, const char *value, const char *reason)
{
    char folder[] = "/tmp/sluice_encoder_XXXXXX", path[200], target[300], *here = realpath(".", NULL);
    json_t *config = json_load_file(FOLDER "plain/config.json", 0, NULL);
    struct encoder_config c;
    struct error e = {0};

    assert_non_null(mkdtemp(folder));
    if (strcmp(value, "gone") == 0)
        json_object_del(config, key);
    else
        json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL));
    snprintf(path, sizeof(path), "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    snprintf(target, sizeof(target), "%s/" FOLDER "plain/model.safetensors", here);
    assert_int_equal(symlink(target, path), 0);
    assert_true(encoder_check(folder, &c, &e) < 0);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
    assert_null(encoder_open(folder, &e));
    unlink(path);
    snprintf(path, sizeof(path), "%s/config.json", folder);
    unlink(path);
    rmdir(folder);
    json_decref(config);
    free(here);
}

static void
what_is_missing_is_named(void **state)
{
    (void)state;
    expect_refused("num_hidden_layers", "3",
                   "tensor 'roberta.encoder.layer.2.attention.self.query.weight' is missing");
    expect_refused("num_hidden_layers", "1", "too many is roberta.encoder.layer.1.");
    expect_refused("hidden_size", "16", "roberta.embeddings.word_embeddings.weight");
    expect_refused("id2label", "{\"0\":\"a\",\"1\":\"b\"}", "'classifier.weight' has shape [1, 32]");
    expect_refused("num_attention_heads", "5", "'num_attention_heads'");
    expect_refused("model_type", "\"bert\"", "model_type 'bert'");
    expect_refused("architectures", "[\"XLMRobertaModel\"]", "'XLMRobertaModel'");
    expect_refused("hidden_act", "\"relu\"", "'hidden_act'");
    expect_refused("vocab_size", "gone", "'vocab_size' is missing");
    expect_refused("vocab_size", "-5", "'vocab_size'");
    expect_refused("layer_norm_eps", "0", "layer_norm_eps");
    expect_refused("pad_token_id", "100000", "'pad_token_id'");
    expect_refused("lookahead", "-7", "'lookahead'");
    expect_refused("max_position_embeddings", "3", "'max_position_embeddings'");
    expect_refused("is_decoder", "true", "'is_decoder'");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(a_token_does_not_know_its_neighbours),
        cmocka_unit_test(what_is_missing_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
