/* Sharded checkpoints that are damaged or contradict themselves: each refused with its own words,
 * none crashes, and what a refused checkpoint had loaded is freed. The good one is
 * tests/golden/models/qwen3_sharded, as transformers wrote it. */
#include "kernels/model_shards.h"

#include "kernels/document.h"
#include "kernels/durable.h"
#include "kernels/model_file.h"
#include "kernels/model_source.h"
#include "tests/tiny_model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOOD  "tests/golden/models/qwen3_sharded"
#define INDEX "model.safetensors.index.json"

static char root[64];

static void
must(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

static struct buffer
get(const char *dir, const char *name)
{
    char *path = xprint("%s/%s", dir, name);
    struct buffer b = {0};
    struct error e = {0};

    must(document_load(path, 1 << 24, &b, &e), &e);
    free(path);
    return b;
}

static void
put(const char *name, struct span bytes)
{
    char *path = xprint("%s/%s", root, name);
    struct error e = {0};

    must(durable_write(path, &bytes, 1, &e), &e);
    free(path);
}

/* A fresh copy of the good checkpoint in `root`. */
static int
copy_good(void **state)
{
    DIR *d = opendir(GOOD);
    struct dirent *row;

    (void)state;
    strcpy(root, "/tmp/test_model_shards.XXXXXX");
    if (!d || !mkdtemp(root))
        return -1;
    while ((row = readdir(d))) {
        struct buffer b;

        if (row->d_name[0] == '.' || strcmp(row->d_name, "golden.bin") == 0)
            continue;
        b = get(GOOD, row->d_name);
        put(row->d_name, buffer_span(&b));
        buffer_free(&b);
    }
    closedir(d);
    return 0;
}

static int
remove_copy(void **state)
{
    (void)state;
    tiny_model_remove(root);
    return 0;
}

static void
again(void)
{
    tiny_model_remove(root);
    copy_good(NULL);
}

/* NAME's bytes with the first FROM replaced by TO. */
static void
replace(const char *name, const char *from, const char *to)
{
    struct buffer b = get(root, name), out = {0};
    const char *at = memmem(b.at, b.length, from, strlen(from));
    size_t before;

    if (!at)
        fail_msg("%s lacks %s", name, from);
    before = (size_t)(at - b.at);
    buffer_add(&out, b.at, before);
    buffer_text(&out, to);
    buffer_add(&out, at + strlen(from), b.length - before - strlen(from));
    put(name, buffer_span(&out));
    buffer_free(&b);
    buffer_free(&out);
}

static void
refused(const char *a, const char *b)
{
    struct model m;
    struct error e = {0};

    if (model_open(&m, root, &e) == 0)
        fail_msg("opened; expected '%s'", a);
    if (!strstr(e.text, a) || !strstr(e.text, b))
        fail_msg("'%s' lacks '%s' or '%s'", e.text, a, b);
    model_free(&m);
}

static void
opened(void **state)
{
    struct model_shards s;
    struct error e = {0};
    int file;

    (void)state;
    must(model_shards_open(&s, root, &e), &e);
    assert_int_equal(s.count, 4);
    assert_non_null(model_shards_find(&s, "model.norm.weight", &file));
    assert_true(file >= 0 && file < 4);
    assert_null(model_shards_find(&s, "model.norm.bias", &file));
    assert_int_equal(file, -1);
    model_shards_close(&s);
}

/* Every shard cut anywhere is refused, and says which. */
static void
truncated(void **state)
{
    struct buffer b = get(root, "model-00002-of-00004.safetensors");

    (void)state;
    for (size_t length = 0; length < b.length; length += 1 + length / 7) {
        put("model-00002-of-00004.safetensors", span_of(b.at, length));
        refused("model-00002-of-00004.safetensors",
                length > 2000 ? "MetadataIncompleteBuffer" : "");
    }
    put("model-00002-of-00004.safetensors", span_of(b.at, b.length - 1));
    refused("model-00002-of-00004.safetensors", "MetadataIncompleteBuffer");
    buffer_free(&b);
}

static void
missing(void **state)
{
    char *path = xprint("%s/model-00003-of-00004.safetensors", root);

    (void)state;
    unlink(path);
    refused("model-00003-of-00004.safetensors", "No such file");
    free(path);
}

static void
outside(void **state)
{
    static const char *const names[] = {"../x.safetensors", "/etc/passwd", "", ".",
                                        ".hidden",          "a/b"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *text = xprint("\"%s\"", names[i]);

        replace(INDEX, "\"model-00002-of-00004.safetensors\"", text);
        refused("is no file of this directory", names[i]);
        again();
        free(text);
    }
}

/* The second shard's tensors in a fifth file too. */
static void
twice(void **state)
{
    struct buffer b = get(root, "model-00002-of-00004.safetensors");
    struct model_shards s;
    struct error e = {0};

    (void)state;
    put("model-00005-of-00005.safetensors", buffer_span(&b));
    must(model_shards_open(&s, root, &e), &e); /* a file that nothing names is nobody's */
    model_shards_close(&s);
    replace(INDEX, "\"model-00002-of-00004.safetensors\"", "\"model-00005-of-00005.safetensors\"");
    refused("is in 'model-00002-of-00004.safetensors' and in 'model-00005-of-00005.safetensors'",
            "tensor '");
    buffer_free(&b);
}

static void
disagreeing_index(void **state)
{
    (void)state;
    replace(INDEX, "\"model.norm.weight\"", "\"model.norm.wait\"");
    refused("model.norm.wait", "is not in");
    again();
    replace(INDEX, "\"model-00001-of-00004.safetensors\"", "7");
    refused("has no file name", "tensor '");
    again();
    replace(INDEX, "\"weight_map\"", "\"weights\"");
    refused("'weight_map' must be an object", INDEX);
    again();
    put(INDEX, span_text("{\"weight_map\": {\"a\": \"model-00001-of-00004.safetensors\""));
    refused(INDEX, "JSON");
    again();
    put(INDEX, span_text("{\"weight_map\": {}}"));
    refused("is missing", "model.embed_tokens.weight");
}

/* The config says one thing, the files another: the tensor and both shapes are named. */
static void
contradicting_config(void **state)
{
    static const char *const rows[][3] = {
        {"\"head_dim\": 10", "\"head_dim\": 8",
         "q_proj.weight' has shape [40, 24]; the config "
         "implies [32, 24]"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
         "k_proj.weight' has shape [20, 24]; the config implies [40, 24]"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads"},
        {"\"head_dim\": 10", "\"head_dim\": 9", "head_dim: 9 is odd"},
        {"\"vocab_size\": 40", "\"vocab_size\": 41",
         "embed_tokens.weight' has shape [40, 24]; the config implies [41, 24]"},
        {"\"intermediate_size\": 32", "\"intermediate_size\": 30",
         "gate_proj.weight' has shape [32, 24]; the config implies [30, 24]"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "tensor 'model.layers.2.input_layernorm.weight' is missing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "is not part of a qwen3 model"},
        {"\"attention_bias\": true", "\"attention_bias\": false", "is not part of a qwen3 model"},
        {"\"model_type\": \"qwen3\"", "\"model_type\": \"llama\"", "'Qwen3ForCausalLM'"},
        {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "differs from the"},
        {"\"rope_type\": \"yarn\"", "\"rope_type\": \"longrope\"", "'longrope'"},
        {"\"hidden_size\": 24", "\"hidden_size\": 24, \"quantization_config\": {}", "quantised"},
        {"Qwen3ForCausalLM", "Qwen3ForTokenClassification", "'score.weight' is missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        replace("config.json", rows[i][0], rows[i][1]);
        refused(root, rows[i][2]);
        again();
    }
}

/* A type that is no weight's: the same bytes called integers. */
static void
other_types(void **state)
{
    (void)state;
    replace("model-00001-of-00004.safetensors", "\"dtype\":\"BF16\"", "\"dtype\":\"I16\" ");
    refused("holds I16; F32, F16 and BF16 are understood", "tensor '");
}

/* Bytes changed at random: opened or refused with a reason. */
static void
damaged(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int round = 0; round < 300; round++) {
        static const char *const names[] = {"config.json", INDEX,
                                            "model-00001-of-00004.safetensors",
                                            "model-00004-of-00004.safetensors"};
        const char *name = names[round % 4];
        struct buffer b = get(GOOD, name);
        struct error e = {0};
        struct model m;

        for (int k = 0; k < 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            b.at[(seed >> 33) % (b.length < 1500 ? b.length : 1500)] = (char)(seed >> 20);
        }
        put(name, buffer_span(&b));
        buffer_free(&b);
        if (model_open(&m, root, &e))
            assert_true(e.text[0] != 0);
        model_free(&m);
        b = get(GOOD, name);
        put(name, buffer_span(&b));
        buffer_free(&b);
    }
}

/* lm_head.weight of a process reward model's files is left out when they are written again, and the
 * index does not name it any more. */
static void
ignored_tensors_are_not_written(void **state)
{
    struct model m;
    struct error e = {0};
    struct model_shards s;
    struct buffer index = {0}, b;
    static const float zeros[40 * 24];
    struct safetensors_source head = {"lm_head.weight", 2, {40, 24}, zeros};
    char *path = xprint("%s/extra.safetensors", root), *saved = xprint("%s/again", root);
    const char *one = "tests/golden/models/qwen2_prm";

    (void)state;
    b = get(one, "config.json");
    put("config.json", buffer_span(&b));
    buffer_free(&b);
    b = get(one, "model.safetensors");
    put("whole.safetensors", buffer_span(&b));
    buffer_free(&b);
    must(safetensors_write(path, &head, 1, &e), &e);
    must(model_open(&m, one, &e), &e);
    buffer_text(&index, "{\"weight_map\": {\"lm_head.weight\": \"extra.safetensors\"");
    for (int i = 0; i < m.tensor_count; i++)
        buffer_print(&index, ", \"%s\": \"whole.safetensors\"", m.tensors[i].name);
    buffer_text(&index, "}}");
    put(INDEX, buffer_span(&index));
    model_free(&m);
    must(model_open(&m, root, &e), &e);
    must(model_save(&m, saved, NULL, &e), &e);
    model_free(&m);
    must(model_shards_open(&s, saved, &e), &e);
    assert_int_equal(s.count, 1);
    model_shards_close(&s);
    must(model_open(&m, saved, &e), &e);
    model_free(&m);
    buffer_free(&index);
    free(path);
    free(saved);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opened, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(truncated, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(missing, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(outside, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(twice, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(disagreeing_index, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(contradicting_config, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(other_types, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(damaged, copy_good, remove_copy),
        cmocka_unit_test_setup_teardown(ignored_tensors_are_not_written, copy_good, remove_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
