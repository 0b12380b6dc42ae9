/* config.json: of every family, in the dialects of transformers 4 and 5; what is refused and in
 * which words; what is written is read again. */
#include "kernels/model_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIZES                                                                                      \
    "\"vocab_size\": 11, \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": "   \
    "2, "                                                                                          \
    "\"num_attention_heads\": 4"
#define PLAIN "{\"model_type\": \"qwen2\", " SIZES

static char root[64];

static int
make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_model_config.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int
remove_root(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static const char *
path_of(const char *name)
{
    static char paths[64][200]; /* more than one test asks for */
    static int next;
    char *path = paths[next++ % 64];

    snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
    return path;
}

static void
put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void
must(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

static void
refused(const char *text, const char *reason)
{
    struct model_config c;
    struct error e = {0};

    if (model_config_parse(&c, span_text(text), &e) == 0)
        fail_msg("accepted: %s", text);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
}

static void
test_config_read(void **state)
{
    struct model_config c;
    struct error e = {0};

    (void)state;
    must(model_config_parse(&c, span_text(PLAIN "}"), &e), &e);
    assert_int_equal(c.num_key_value_heads, 4);
    assert_int_equal(c.head_dim, 2);
    assert_int_equal(c.tie_word_embeddings, 0);
    assert_int_equal(c.num_labels, 0);
    assert_int_equal(c.eos_token_id, -1);
    assert_true(c.rope_theta > 9999.9 && c.rope_theta < 10000.1);
    must(model_config_parse(
             &c,
             span_text(
                 PLAIN
                 ", \"num_key_value_heads\": 2, \"head_dim\": 6, \"rope_theta\": 5, "
                 "\"rope_parameters\": "
                 "{\"rope_theta\": 1000000, \"rope_type\": \"default\"}, \"tie_word_embeddings\": "
                 "true, "
                 "\"eos_token_id\": [7, 8], \"bos_token_id\": null, \"pad_token_id\": 3, "
                 "\"rms_norm_eps\": 1e-5, "
                 "\"sliding_window\": 4096, \"use_sliding_window\": false, \"rope_scaling\": null, "
                 "\"architectures\": [\"Qwen2ForTokenClassification\"], "
                 "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}}"),
             &e),
         &e);
    assert_int_equal(c.num_key_value_heads, 2);
    assert_int_equal(c.head_dim, 6);
    assert_true(c.rope_theta > 999999 && c.rope_theta < 1000001);
    assert_int_equal(c.tie_word_embeddings, 1);
    assert_int_equal(c.eos_token_id, 7);
    assert_int_equal(c.bos_token_id, -1);
    assert_int_equal(c.pad_token_id, 3);
    assert_int_equal(c.num_labels, 3);
    must(model_config_parse(&c,
                            span_text(PLAIN ", \"rope_theta\": 500.5, \"rope_scaling\": "
                                            "{\"type\": \"default\"}}"),
                            &e),
         &e);
    assert_true(c.rope_theta > 500.4 && c.rope_theta < 500.6);
}

static void
test_config_refused(void **state)
{
    (void)state;
    refused("", "JSON");
    refused("[]", "object");
    refused("{" SIZES "}", "'model_type'");
    refused("{\"model_type\": \"gemma3\", " SIZES "}", "'gemma3'");
    refused("{\"model_type\": \"gemma3\", " SIZES "}", "qwen2, qwen3, llama, mistral");
    refused(PLAIN ", \"quantization_config\": {\"bits\": 4}}", "quantization_config");
    refused(PLAIN ", \"architectures\": [\"Qwen2ForRewardModel\"]}", "Qwen2ForRewardModel");
    refused(PLAIN ", \"architectures\": [\"LlamaForCausalLM\"]}", "Qwen2 followed by");
    refused(PLAIN ", \"mlp_bias\": true}", "mlp_bias");
    refused(PLAIN ", \"hidden_act\": \"gelu\"}", "'gelu'");
    refused(PLAIN ", \"rope_scaling\": {\"type\": \"longrope\", \"factor\": 4}}", "'longrope'");
    refused(PLAIN ", \"rope_parameters\": {\"rope_type\": \"mrope\"}}", "llama3 and yarn are");
    refused(PLAIN ", \"rope_parameters\": {\"rope_type\": 3}}", "rope_type");
    refused(PLAIN ", \"rope_scaling\": 3}", "rope_scaling");
    refused(PLAIN ", \"rope_parameters\": {\"rope_type\": \"llama3\"}}", "factor");
    refused(PLAIN ", \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, "
                  "\"low_freq_factor\": 4, \"high_freq_factor\": 1}}",
            "high_freq_factor");
    refused(PLAIN ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": -1}}", "factor");
    refused(PLAIN ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, "
                  "\"attention_factor\": 0}}",
            "attention_factor");
    refused(PLAIN ", \"partial_rotary_factor\": 0.5}", "partial_rotary_factor");
    refused(PLAIN ", \"use_sliding_window\": true, \"max_window_layers\": 1, "
                  "\"sliding_window\": null}",
            "sliding_window");
    refused(PLAIN ", \"layer_types\": [\"chunked_attention\", \"full_attention\"]}",
            "chunked_attention");
    refused(PLAIN ", \"num_key_value_heads\": 3}", "num_key_value_heads");
    refused(PLAIN ", \"num_key_value_heads\": 0}", "num_key_value_heads");
    refused(PLAIN ", \"head_dim\": 3}", "head_dim");
    refused(PLAIN ", \"rms_norm_eps\": \"small\"}", "rms_norm_eps");
    refused(PLAIN ", \"tie_word_embeddings\": 1}", "tie_word_embeddings");
    refused(PLAIN ", \"eos_token_id\": \"x\"}", "eos_token_id");
    refused(PLAIN ", \"vocab_size\": 11}", "twice");
    refused("{\"model_type\": \"qwen2\"}", "vocab_size");
    refused("{\"model_type\": \"qwen2\", \"vocab_size\": 4000000000, \"hidden_size\": 8, "
            "\"intermediate_size\": 12, \"num_hidden_layers\": 2, \"num_attention_heads\": 4}",
            "vocab_size");
    refused("{\"model_type\": \"qwen2\", \"vocab_size\": 10, \"hidden_size\": -8, "
            "\"intermediate_size\": 12, \"num_hidden_layers\": 2, \"num_attention_heads\": 4}",
            "hidden_size");
}

static struct model_config
small_config(int64_t labels, int tied)
{
    struct model_config c = model_config_default();

    c.vocab_size = 11, c.hidden_size = 8, c.intermediate_size = 12, c.num_hidden_layers = 2;
    c.num_attention_heads = 4, c.num_key_value_heads = 2, c.max_position_embeddings = 64;
    c.num_labels = labels, c.tie_word_embeddings = tied, c.eos_token_id = 1;
    return c;
}

static void
test_config_written(void **state)
{
    struct model_config c = small_config(2, 1), again;
    struct buffer text = {0};
    struct error e = {0};

    (void)state;
    c.rms_norm_eps = 1e-6, c.rope_theta = 1234567.5, c.head_dim = 6;
    must(model_config_check(&c, &e), &e);
    model_config_write(&c, &text);
    must(model_config_parse(&again, buffer_span(&text), &e), &e);
    assert_memory_equal(&c.rope_theta, &again.rope_theta, sizeof(double));
    assert_memory_equal(&c.rms_norm_eps, &again.rms_norm_eps, sizeof(double));
    assert_int_equal(again.head_dim, 6);
    assert_int_equal(again.num_labels, 2);
    assert_int_equal(again.eos_token_id, 1);
    assert_int_equal(again.bos_token_id, -1);
    assert_int_equal(again.tie_word_embeddings, 1);
    assert_int_equal(again.max_position_embeddings, 64);
    buffer_free(&text);
}

static void
window_of(const char *text, int64_t positions, int64_t usable)
{
    struct model_config c;
    struct error e = {0};

    must(model_config_parse(&c, span_text(text), &e), &e);
    assert_int_equal(c.max_position_embeddings, positions);
    assert_int_equal(c.positions_usable, usable);
}

/* Attention that slides is full attention up to its window, and that far it is used. */
static void
test_windows(void **state)
{
    (void)state;
    window_of(PLAIN ", \"sliding_window\": 100}", 32768, 32768);
    window_of(PLAIN ", \"sliding_window\": 100, \"use_sliding_window\": true}", 32768, 32768);
    window_of(PLAIN ", \"sliding_window\": 100, \"use_sliding_window\": true, "
                    "\"max_window_layers\": 1}",
              32768, 100);
    window_of(PLAIN ", \"sliding_window\": 100, \"layer_types\": [\"full_attention\", "
                    "\"sliding_attention\"]}",
              32768, 100);
    window_of(PLAIN ", \"sliding_window\": 100, \"use_sliding_window\": true, "
                    "\"max_window_layers\": 0, \"layer_types\": [\"full_attention\"]}",
              32768, 32768);
    window_of(PLAIN ", \"sliding_window\": 100, \"use_sliding_window\": true, "
                    "\"max_window_layers\": 0, \"max_position_embeddings\": 90}",
              90, 90);
    window_of("{\"model_type\": \"mistral\", " SIZES "}", 131072, 4096);
    window_of("{\"model_type\": \"mistral\", \"sliding_window\": 8, " SIZES "}", 131072, 8);
    window_of("{\"model_type\": \"mistral\", \"sliding_window\": null, " SIZES "}", 131072, 131072);
    window_of("{\"model_type\": \"llama\", \"sliding_window\": 8, " SIZES "}", 2048, 2048);
    window_of("{\"model_type\": \"qwen3\", " SIZES "}", 32768, 32768);
}

/* What is written of any config is read again as the same, in numbers and in text. */
static void
test_families_written(void **state)
{
    static const char *const names[] = {
        "qwen2",       "qwen2_yarn", "qwen2_prm",    "qwen3",   "qwen3_sharded",
        "qwen3_token", "llama",      "llama_linear", "mistral", "mistral_sequence"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *dir = xprint("tests/golden/models/%s", names[i]);
        struct buffer text = {0}, twice = {0};
        struct model_config c, again;
        struct error e = {0};

        must(model_config_read(&c, dir, &e), &e);
        model_config_write(&c, &text);
        must(model_config_parse(&again, buffer_span(&text), &e), &e);
        model_config_write(&again, &twice);
        assert_int_equal(text.length, twice.length);
        assert_memory_equal(text.at, twice.at, text.length);
        assert_int_equal(c.head, again.head);
        assert_int_equal(c.positions_usable, again.positions_usable);
        assert_int_equal(c.output_bias, again.output_bias);
        assert_int_equal(c.rope_scaling.type, again.rope_scaling.type);
        for (int64_t j = 0; j < c.head_dim / 2; j++) {
            double f = rope_frequency(&c.rope_scaling, c.rope_theta, c.head_dim, j);
            double g = rope_frequency(&again.rope_scaling, c.rope_theta, c.head_dim, j);

            assert_memory_equal(&f, &g, sizeof(f));
        }
        assert_memory_equal(&c.rope_scaling.attention_factor, &again.rope_scaling.attention_factor,
                            sizeof(double));
        buffer_free(&text);
        buffer_free(&twice);
        free(dir);
    }
}

/* config.json as the hub has them (their keys and values; vocabularies and layers as they are). */
static const struct {
    const char *name, *text;
    int64_t head_dim, kv_heads, usable, labels;
    enum rope_type rope;
    int biased, tied;
} hub[] = {
    {"Qwen2.5-7B-Instruct",
     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"attention_dropout\": 0.0, \"bos_token_id\": "
     "151643, \"eos_token_id\": 151645, \"hidden_act\": \"silu\", \"hidden_size\": 3584, "
     "\"initializer_range\": 0.02, \"intermediate_size\": 18944, \"max_position_embeddings\": "
     "32768, "
     "\"max_window_layers\": 28, \"model_type\": \"qwen2\", \"num_attention_heads\": 28, "
     "\"num_hidden_layers\": 28, \"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-06, "
     "\"rope_theta\": 1000000.0, \"sliding_window\": 131072, \"tie_word_embeddings\": false, "
     "\"torch_dtype\": \"bfloat16\", \"transformers_version\": \"4.43.1\", \"use_cache\": true, "
     "\"use_sliding_window\": false, \"vocab_size\": 152064}",
     128, 4, 32768, 0, ROPE_default, 1, 0},
    {"Qwen2.5-7B-Instruct with the YaRN of its card",
     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"hidden_size\": 3584, \"intermediate_size\": "
     "18944, "
     "\"max_position_embeddings\": 32768, \"model_type\": \"qwen2\", \"num_attention_heads\": 28, "
     "\"num_hidden_layers\": 28, \"num_key_value_heads\": 4, \"rope_theta\": 1000000.0, "
     "\"rope_scaling\": {\"factor\": 4.0, \"original_max_position_embeddings\": 32768, \"type\": "
     "\"yarn\"}, \"use_sliding_window\": false, \"vocab_size\": 152064}",
     128, 4, 32768, 0, ROPE_yarn, 1, 0},
    {"Qwen2.5-Math-PRM-7B",
     "{\"architectures\": [\"Qwen2ForProcessRewardModel\"], \"auto_map\": {\"AutoModel\": "
     "\"modeling_qwen2_rm.Qwen2ForProcessRewardModel\"}, \"hidden_size\": 3584, "
     "\"intermediate_size\": 18944, \"max_position_embeddings\": 4096, \"model_type\": \"qwen2\", "
     "\"num_attention_heads\": 28, \"num_hidden_layers\": 28, \"num_key_value_heads\": 4, "
     "\"rope_theta\": 10000.0, \"sliding_window\": 4096, \"use_sliding_window\": false, "
     "\"vocab_size\": 152064}",
     128, 4, 4096, 2, ROPE_default, 1, 0},
    {"Qwen3-0.6B",
     "{\"architectures\": [\"Qwen3ForCausalLM\"], \"attention_bias\": false, \"bos_token_id\": "
     "151643, "
     "\"eos_token_id\": 151645, \"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": "
     "1024, "
     "\"intermediate_size\": 3072, \"max_position_embeddings\": 40960, \"max_window_layers\": 28, "
     "\"model_type\": \"qwen3\", \"num_attention_heads\": 16, \"num_hidden_layers\": 28, "
     "\"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-06, \"rope_scaling\": null, \"rope_theta\": "
     "1000000, \"sliding_window\": null, \"tie_word_embeddings\": true, \"use_sliding_window\": "
     "false, "
     "\"vocab_size\": 151936}",
     128, 8, 40960, 0, ROPE_default, 0, 1},
    {"Llama-3.2-1B",
     "{\"architectures\": [\"LlamaForCausalLM\"], \"attention_bias\": false, \"bos_token_id\": "
     "128000, "
     "\"eos_token_id\": [128001, 128008, 128009], \"head_dim\": 64, \"hidden_size\": 2048, "
     "\"intermediate_size\": 8192, \"max_position_embeddings\": 131072, \"mlp_bias\": false, "
     "\"model_type\": \"llama\", \"num_attention_heads\": 32, \"num_hidden_layers\": 16, "
     "\"num_key_value_heads\": 8, \"pretraining_tp\": 1, \"rms_norm_eps\": 1e-05, "
     "\"rope_scaling\": "
     "{\"factor\": 32.0, \"high_freq_factor\": 4.0, \"low_freq_factor\": 1.0, "
     "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}, \"rope_theta\": "
     "500000.0, "
     "\"tie_word_embeddings\": true, \"vocab_size\": 128256}",
     64, 8, 131072, 0, ROPE_llama3, 0, 1},
    {"Mistral-7B-v0.1",
     "{\"architectures\": [\"MistralForCausalLM\"], \"bos_token_id\": 1, \"eos_token_id\": 2, "
     "\"hidden_act\": \"silu\", \"hidden_size\": 4096, \"intermediate_size\": 14336, "
     "\"max_position_embeddings\": 32768, \"model_type\": \"mistral\", \"num_attention_heads\": "
     "32, "
     "\"num_hidden_layers\": 32, \"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": "
     "10000.0, \"sliding_window\": 4096, \"tie_word_embeddings\": false, \"vocab_size\": 32000}",
     128, 8, 4096, 0, ROPE_default, 0, 0},
};

static void
test_hub(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hub) / sizeof(hub[0]); i++) {
        struct model_config c;
        struct error e = {0};

        if (model_config_parse(&c, span_text(hub[i].text), &e))
            fail_msg("%s: %s", hub[i].name, e.text);
        assert_int_equal(c.head_dim, hub[i].head_dim);
        assert_int_equal(c.num_key_value_heads, hub[i].kv_heads);
        assert_int_equal(c.positions_usable, hub[i].usable);
        assert_int_equal(c.num_labels, hub[i].labels);
        assert_int_equal(c.head, hub[i].labels ? MODEL_HEAD_process : MODEL_HEAD_language);
        assert_int_equal(c.rope_scaling.type, hub[i].rope);
        assert_int_equal(c.attention_bias, hub[i].biased);
        assert_int_equal(c.output_bias, 0);
        assert_int_equal(c.tie_word_embeddings, hub[i].tied);
    }
}

static void
test_stops(void **state)
{
    struct model_stops stops;
    struct error e = {0};

    (void)state;
    mkdir(path_of("stops"), 0777);
    put(path_of("stops/config.json"), "{\"eos_token_id\": 5}");
    must(model_stops_read(&stops, path_of("stops"), &e), &e);
    assert_int_equal(stops.count, 1);
    put(path_of("stops/generation_config.json"), "{\"eos_token_id\": [7, 5, 9]}");
    must(model_stops_read(&stops, path_of("stops"), &e), &e);
    assert_int_equal(stops.count, 3);
    assert_true(stops.ids[0] == 5 && stops.ids[1] == 7 && stops.ids[2] == 9);
    put(path_of("stops/generation_config.json"), "{\"eos_token_id\": -1}");
    assert_int_equal(model_stops_read(&stops, path_of("stops"), &e), ERROR_model);
    put(path_of("stops/generation_config.json"), "{");
    assert_int_equal(model_stops_read(&stops, path_of("stops"), &e), ERROR_model);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_read),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_config_written),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_hub),
        cmocka_unit_test(test_families_written),
        cmocka_unit_test(test_stops),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
