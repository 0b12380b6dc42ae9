/* Model directories made here: round trips, contradictions, shards, and the memory they take. */
#include "kernels/model_file.h"

#include "kernels/document.h"
#include "kernels/model_config.h"
#include "kernels/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
    strcpy(root, "/tmp/test_model_file.XXXXXX");
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

static struct buffer
get(const char *path)
{
    struct buffer b = {0};
    struct error e = {0};

    if (document_load(path, 1 << 24, &b, &e))
        fail_msg("%s", e.text);
    return b;
}

static void
same_file(const char *a, const char *b)
{
    struct buffer x = get(a), y = get(b);

    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.at, y.at, x.length);
    buffer_free(&x);
    buffer_free(&y);
}

static void
must(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
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

static struct model
small_model(int64_t labels, int tied)
{
    struct model_config c = small_config(labels, tied);
    struct model m;
    struct error e = {0};

    must(model_init(&m, &c, &e), &e);
    model_randomise(&m, 5);
    return m;
}

static void
test_round_trip(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct model m = small_model(kind == 2 ? 2 : 0, kind == 0), again;
        struct error e = {0};
        char one[200], two[200];

        snprintf(one, sizeof(one), "%s/one%d", root, kind);
        snprintf(two, sizeof(two), "%s/two%d/", root, kind);
        must(model_save(&m, one, NULL, &e), &e);
        must(model_open(&again, one, &e), &e);
        assert_int_equal(m.count, again.count);
        assert_memory_equal(m.params, again.params, (size_t)m.count * sizeof(float));
        assert_int_equal(again.config.num_labels, kind == 2 ? 2 : 0);
        must(model_save(&again, two, NULL, &e), &e);
        two[strlen(two) - 1] = 0;
        for (int i = 0; i < 2; i++) {
            const char *file = i ? "config.json" : "model.safetensors";
            char a[300], b[300];

            snprintf(a, sizeof(a), "%s/%s", one, file);
            snprintf(b, sizeof(b), "%s/%s", two, file);
            same_file(a, b);
        }
        model_free(&m);
        model_free(&again);
    }
}

static void
test_save_replaces(void **state)
{
    struct model m = small_model(0, 1), again;
    struct error e = {0};
    const char *dir = path_of("place"), *from = path_of("tokens");

    (void)state;
    mkdir(from, 0777);
    assert_int_equal(model_save(&m, dir, from, &e), ERROR_file); /* no tokenizer.json there */
    assert_int_equal(access(dir, F_OK), -1);
    put(path_of("tokens/tokenizer.json"), "{}");
    mkdir(path_of("place.part"), 0777); /* left by a killed process */
    put(path_of("place.part/junk"), "x");
    must(model_save(&m, dir, from, &e), &e);
    assert_int_equal(access(path_of("place/tokenizer.json"), F_OK), 0);
    m.params[0] += 1;
    must(model_save(&m, dir, NULL, &e), &e);
    assert_int_equal(access(path_of("place.part"), F_OK), -1);
    assert_int_equal(access(path_of("place/junk"), F_OK), -1);
    must(model_open(&again, dir, &e), &e);
    assert_memory_equal(m.params, again.params, (size_t)m.count * sizeof(float));
    model_free(&again);
    put(path_of("file"), "x");
    assert_int_equal(model_save(&m, path_of("file"), NULL, &e), ERROR_file);
    assert_int_equal(model_save(&m, path_of("no/where"), NULL, &e), ERROR_file);
    model_free(&m);
}

/* Writes M's tensors but the one named LEFT_OUT, with EXTRA (when it has a name) beside them. */
static void
write_tensors(const struct model *m, const char *path, const char *left_out,
              struct safetensors_source extra)
{
    struct safetensors_source sources[64];
    struct error e = {0};
    int n = 0;

    for (int i = 0; i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];

        if (!left_out || strcmp(left_out, t->name))
            sources[n++] = (struct safetensors_source){
                t->name, t->dims, {t->shape[0], t->shape[1]}, m->params + t->offset};
    }
    if (extra.name)
        sources[n++] = extra;
    must(safetensors_write(path, sources, n, &e), &e);
}

static void
open_refused(const char *dir, const char *a, const char *b)
{
    struct model m;
    struct error e = {0};

    if (model_open(&m, dir, &e) == 0)
        fail_msg("opened; expected '%s'", a);
    if (!strstr(e.text, a) || !strstr(e.text, b))
        fail_msg("'%s' lacks '%s' or '%s'", e.text, a, b);
}

static void
test_contradictions(void **state)
{
    static const float zeros[4096];
    static const char last[] = "model.layers.1.mlp.down_proj.weight";
    const struct safetensors_source none = {0};
    struct model m = small_model(0, 1), opened;
    struct error e = {0};
    const char *dir = path_of("odd"), *weights = path_of("odd/model.safetensors");

    (void)state;
    must(model_save(&m, dir, NULL, &e), &e);
    write_tensors(&m, weights, last, none);
    open_refused(dir, last, "missing");
    write_tensors(&m, weights, last, (struct safetensors_source){last, 2, {12, 8}, zeros});
    open_refused(dir, "[12, 8]", "[8, 12]");
    write_tensors(&m, weights, last, (struct safetensors_source){last, 1, {96}, zeros});
    open_refused(dir, "[96]", last);
    write_tensors(&m, weights, NULL,
                  (struct safetensors_source){"model.q_norm.weight", 1, {8}, zeros});
    open_refused(dir, "model.q_norm.weight", "not part");
    write_tensors(&m, weights, NULL,
                  (struct safetensors_source){"lm_head.weight", 2, {11, 8}, zeros});
    open_refused(dir, "lm_head.weight", "tie_word_embeddings");
    write_tensors(&m, weights, NULL,
                  (struct safetensors_source){"lm_head.weight", 2, {11, 8}, m.params + m.embed});
    must(model_open(&opened, dir, &e), &e);
    model_free(&opened);
    write_tensors(
        &m, weights, NULL,
        (struct safetensors_source){"model.layers.0.self_attn.rotary_emb.inv_freq", 1, {1}, zeros});
    must(model_open(&opened, dir, &e), &e);
    model_free(&opened);
    /* a config that asks for more than the file holds is refused before memory is */
    put(path_of("odd/config.json"),
        "{\"model_type\": \"qwen2\", \"vocab_size\": 4000000, \"hidden_size\": 65536, "
        "\"intermediate_size\": 12, \"num_hidden_layers\": 2, \"num_attention_heads\": 4}");
    open_refused(dir, "embed_tokens", "[4000000, 65536]");
    put(path_of("odd/config.json"),
        PLAIN ", \"num_key_value_heads\": 2, \"num_hidden_layers\": 3}");
    open_refused(dir, "config.json", "num_hidden_layers");
    put(path_of("odd/config.json"), PLAIN ", \"num_key_value_heads\": 2}");
    open_refused(dir, "lm_head.weight", "missing");
    unlink(path_of("odd/model.safetensors"));
    open_refused(dir, "model.safetensors", "No such file");
    open_refused(path_of("absent"), "config.json", "No such file");
    model_free(&m);
}

static void
test_shards(void **state)
{
    struct model m = small_model(0, 0), opened;
    struct error e = {0};
    struct buffer index = {0};
    const char *dir = path_of("shards");
    struct safetensors_source half[64];
    int n = 0;

    (void)state;
    must(model_save(&m, dir, NULL, &e), &e);
    unlink(path_of("shards/model.safetensors"));
    buffer_text(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int part = 0; part < 2; part++) {
        n = 0;
        for (int i = part; i < m.tensor_count; i += 2) {
            const struct model_tensor *t = &m.tensors[i];

            half[n++] = (struct safetensors_source){
                t->name, t->dims, {t->shape[0], t->shape[1]}, m.params + t->offset};
            buffer_print(&index, "%s\"%s\": \"part%d.safetensors\"", part + i ? ", " : "", t->name,
                         part);
        }
        must(safetensors_write(
                 path_of(part ? "shards/part1.safetensors" : "shards/part0.safetensors"), half, n,
                 &e),
             &e);
    }
    buffer_add(&index, "}}", 3);
    put(path_of("shards/model.safetensors.index.json"), index.at);
    must(model_open(&opened, dir, &e), &e);
    assert_memory_equal(m.params, opened.params, (size_t)m.count * sizeof(float));
    model_free(&opened);
    unlink(path_of("shards/part1.safetensors"));
    open_refused(dir, "part1.safetensors", "No such file");
    put(path_of("shards/model.safetensors.index.json"),
        "{\"weight_map\": {\"a\": \"../x.safetensors\"}}");
    open_refused(dir, "../x.safetensors", "no file of this");
    put(path_of("shards/model.safetensors.index.json"),
        "{\"weight_map\": {\"a\": \"part0.safetensors\"}}");
    open_refused(dir, "'a' is not in", "part0");
    put(path_of("shards/model.safetensors.index.json"), "{}");
    open_refused(dir, "weight_map", "object");
    buffer_free(&index);
    model_free(&m);
}

/* Other names (a base model's export, classifier for score), and types that differ from tensor to
 * tensor: opened, and written as they were. */
static void
test_names_and_types(void **state)
{
    static const enum safetensors_type kinds[] = {SAFETENSORS_BF16, SAFETENSORS_F32,
                                                  SAFETENSORS_F16};

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct model m = small_model(kind ? 3 : 0, 1), opened;
        struct error e = {0};
        enum safetensors_type types[64];
        struct safetensors_source sources[64];
        char *dir = xprint("%s/names%d", root, kind), *again = xprint("%s.again", dir);
        char *weights = xprint("%s/model.safetensors", dir);
        char *written = xprint("%s/model.safetensors", again), *names[64];

        must(model_save(&m, dir, NULL, &e), &e);
        for (int i = 0; i < m.tensor_count; i++) {
            const struct model_tensor *t = &m.tensors[i];
            const char *bare = t->name + (strncmp(t->name, "model.", 6) == 0 ? 6 : 0);

            names[i] = strncmp(bare, "score.", 6) == 0 ? xprint("classifier.%s", bare + 6)
                                                       : xtext(kind ? t->name : bare);
            types[i] = kinds[i % 3];
            for (int64_t k = t->offset; k < t->offset + t->count; k++)
                m.params[k] = (float)(k % 200 - 100) / 64; /* the same in all three types */
            sources[i] = (struct safetensors_source){
                names[i], t->dims, {t->shape[0], t->shape[1]}, m.params + t->offset};
        }
        must(safetensors_write_as(weights, sources, types, m.tensor_count, &e), &e);
        must(model_open(&opened, dir, &e), &e);
        assert_memory_equal(m.params, opened.params, (size_t)m.count * sizeof(float));
        assert_int_equal(model_exact(&opened), 0);
        must(model_save(&opened, again, NULL, &e), &e);
        same_file(weights, written);
        for (int i = 0; i < m.tensor_count; i++)
            free(names[i]);
        model_free(&m);
        model_free(&opened);
        free(dir);
        free(again);
        free(weights);
        free(written);
    }
}

/* The tokenizer's files and the sampling defaults go along, from where they are. */
static void
test_files_beside(void **state)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja",   "vocab.json",
        "merges.txt",        "generation_config.json"};
    struct model m = small_model(0, 1), opened;
    struct error e = {0};
    char path[300], other[300];

    (void)state;
    must(model_save(&m, path_of("beside"), NULL, &e), &e);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/beside/%s", root, names[i]);
        put(path, names[i]);
    }
    put(path_of("beside/config.json"),
        PLAIN ", \"num_key_value_heads\": 2, \"max_position_embeddings\": 64, "
              "\"tie_word_embeddings\":true, \"a key\": [\"of others\"]}");
    must(model_open(&opened, path_of("beside"), &e), &e);
    must(model_save(&opened, path_of("beside2"), path_of("beside"), &e), &e);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/beside/%s", root, names[i]);
        snprintf(other, sizeof(other), "%s/beside2/%s", root, names[i]);
        same_file(path, other);
    }
    same_file(path_of("beside/config.json"), path_of("beside2/config.json"));
    must(model_save(&opened, path_of("beside3"), NULL, &e), &e);
    same_file(path_of("beside/generation_config.json"), path_of("beside3/generation_config.json"));
    model_free(&opened);
    model_free(&m);
}

/* Grown by so many bytes at the most while STEP ran in a process of its own. */
static double
growth_of(int (*step)(void))
{
    int ends[2], status;
    double grown = 0;

    assert_int_equal(pipe(ends), 0);
    if (fork() == 0) {
        struct rusage before, after;

        getrusage(RUSAGE_SELF, &before);
        status = step();
        getrusage(RUSAGE_SELF, &after);
        grown = (double)(after.ru_maxrss - before.ru_maxrss) * 1024;
        _exit(status || write(ends[1], &grown, sizeof(grown)) != sizeof(grown));
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &grown, sizeof(grown)), sizeof(grown));
    close(ends[0]);
    wait(&status);
    assert_int_equal(status, 0);
    return grown;
}

static char large[200];
#define LARGE_FLOATS (2.0 * 16384 * 512 + 2.0 * 512 * (4 * 512 + 3 * 64))

static int
open_large(void)
{
    struct model m;
    struct error e = {0};

    return model_open(&m, large, &e) || m.count < LARGE_FLOATS;
}

static int
save_large(void)
{
    struct model m;
    struct error e = {0};

    return model_open(&m, large, &e) || model_save(&m, path_of("again"), NULL, &e);
}

/* 75 MB of float32, from a file of as many bytes and from one of half: what is held is the
 * parameters and a little, never the file beside them; nor is there a copy when it is saved. */
static void
test_one_copy(void **state)
{
    struct model_config c = small_config(0, 0);
    struct model m;
    struct error e = {0};
    enum safetensors_type types[64];
    struct safetensors_source sources[64];

    (void)state;
    snprintf(large, sizeof(large), "%s", path_of("large"));
    c.vocab_size = 16384, c.hidden_size = 512, c.intermediate_size = 64;
    c.num_attention_heads = c.num_key_value_heads = 8;
    must(model_init(&m, &c, &e), &e);
    for (int64_t i = 0; i < m.count; i++)
        m.params[i] = (float)(i % 1021) / 1024;
    must(model_save(&m, large, NULL, &e), &e);
    assert_true(m.tensor_count < 64);
    for (int i = 0; i < m.tensor_count; i++) {
        const struct model_tensor *t = &m.tensors[i];

        types[i] = SAFETENSORS_BF16;
        sources[i] = (struct safetensors_source){
            t->name, t->dims, {t->shape[0], t->shape[1]}, m.params + t->offset};
    }
    for (int half = 0; half < 2; half++) {
        double opened, saved;

        if (half)
            must(safetensors_write_as(path_of("large/model.safetensors"), sources, types,
                                      m.tensor_count, &e),
                 &e);
        opened = growth_of(open_large);
        saved = growth_of(save_large);
        if (opened > 1.25 * 4 * LARGE_FLOATS || saved > 1.25 * 4 * LARGE_FLOATS)
            fail_msg("%.0f MB of parameters, %.0f MB held to open, %.0f MB to save",
                     4e-6 * LARGE_FLOATS, opened * 1e-6, saved * 1e-6);
        print_message("%.0f MB of parameters: %.0f MB held to open, %.0f MB to save\n",
                      4e-6 * LARGE_FLOATS, opened * 1e-6, saved * 1e-6);
    }
    model_free(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_save_replaces),
        cmocka_unit_test(test_contradictions), cmocka_unit_test(test_shards),
        cmocka_unit_test(test_one_copy),       cmocka_unit_test(test_names_and_types),
        cmocka_unit_test(test_files_beside),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
