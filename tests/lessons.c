/* lessons: see lessons.h. */
#include "tests/lessons.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "kernels/model.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"
#include "tests/tiny_model.h"

static char folder[] = "/tmp/sluice-samples-XXXXXX";
char lesson_base[128];
static char tokens[128];

int
lesson_begin(void **state)
{
    static const char *const specials[] = {"<|endoftext|>"};
    struct model_config config = model_config_default();
    struct model model;
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(lesson_base, sizeof(lesson_base), "%s/base", folder);
    snprintf(tokens, sizeof(tokens), "%s/tokens", folder);
    assert_int_equal(mkdir(tokens, 0777), 0);
    if (tokenizer_write_bytes(tokens, span_text(LESSON_CHARACTERS), specials, 1, specials[0], &e) <
        0)
        fail_msg("%s", e.text);
    strcpy(config.family, "qwen2");
    config.vocab_size = (1 + (int)strlen(LESSON_CHARACTERS));
    config.hidden_size = 16;
    config.intermediate_size = 32;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.max_position_embeddings = 128;
    config.initializer_range = 0.2;
    config.eos_token_id = 0;
    config.tie_word_embeddings = 0; /* so that a gradient's bits do not know the batches */
    if (model_init(&model, &config, &e) < 0)
        fail_msg("%s", e.text);
    model_randomise(&model, 5);
    if (model_save(&model, lesson_base, tokens, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&model);
    return 0;
}

int
lesson_end(void **state)
{
    (void)state;
    tiny_model_remove(folder);
    return 0;
}

/* ---- a learner and its rollouts ---- */

const char *const lesson_both[] = {"labelled", "gems", "passed", "steps", NULL};
const char *const lesson_passed[] = {"passed", "rollouts", NULL};

struct harness *
lesson_open(const char *const *links, const char *objective, const char *const *more,
            struct error *e)
{
    const char *options[48] = {"model",          lesson_base, "lr",        "3e-3",
                               "batch_rollouts", "8",         "objective", objective};
    int n = 8;

    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    return harness_open("learner", links, options, e);
}

struct rollout *
lesson_make(struct lesson_made *m, uint64_t i)
{
    struct rollout *r = &m->labelled.rollout;
    int a = (int)(i / LESSON_GROUP % 5), right = i % LESSON_GROUP < 2;

    memset(m, 0, sizeof(*m));
    snprintf(m->id, sizeof(m->id), "r%" PRIu64, i);
    snprintf(m->prompt, sizeof(m->prompt), "%d+%d=", a, a);
    snprintf(m->response, sizeof(m->response), "%d+%d\n%d%.*s", a, a, 2 * a, (int)(i % 3), "xxx");
    *r = (struct rollout){.id = span_text(m->id),
                          .prompt = span_text(m->prompt),
                          .response = span_text(m->response),
                          .reward = right,
                          .group_mean = 0.5,
                          .group_std = 0.5};
    m->ends[0] = 4;
    m->ends[1] = strlen(m->response);
    m->labels[0] = 1;
    m->labelled.ends = (struct u64s){2, m->ends};
    m->labelled.labels = (struct u8s){2, m->labels};
    return r;
}

/* Wrong answers with labels on link 0, correct ones on link 1; with one link all as they are. */
void
lesson_give(struct harness *h, struct lesson_made *m, uint64_t i, bool labels)
{
    uint64_t first = i / LESSON_GROUP * LESSON_GROUP;

    if (!labels) {
        harness_give(h, 0, i, first, LESSON_GROUP, &m->labelled.rollout);
    } else if (i % LESSON_GROUP < 2) {
        harness_give_closing(h, 0, i, first, LESSON_GROUP, "routed");
        harness_give(h, 1, i, first, LESSON_GROUP, &m->labelled.rollout);
    } else {
        harness_give(h, 0, i, first, LESSON_GROUP, &m->labelled);
        harness_give_closing(h, 1, i, first, LESSON_GROUP, "routed");
    }
}

void
lesson_run(struct harness *h)
{
    struct error e = {0};

    if (harness_run(h, LESSON_SECONDS, &e) < 0)
        fail_msg("%s", e.text);
}

char *
lesson_file(struct harness *h, const char *name, size_t *length)
{
    char *path = xprint("%s/checkpoints/final/%s", harness_dir(h), name), *text;
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

struct lesson_bytes
lesson_weights(struct harness *h)
{
    struct lesson_bytes w;

    assert_true(harness_finished(h));
    w.at = lesson_file(h, "model.safetensors", &w.length);
    return w;
}

bool
lesson_same(struct lesson_bytes a, struct lesson_bytes b)
{
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

bool
lesson_measures(struct harness *h, const char *name)
{
    size_t length;
    char *text = lesson_file(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    bool there = strstr(text, key) != NULL;

    free(text);
    free(key);
    return there;
}

double
lesson_metric(struct harness *h, const char *name)
{
    size_t length;
    char *text = lesson_file(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    char *at = strstr(text, key);
    double value = at ? atof(at + strlen(key)) : NAN;

    if (!at)
        fail_msg("no %s in %s", name, text);
    free(text);
    free(key);
    return value;
}

struct lesson_bytes
lesson_trained(const char *objective, const char *const *options, uint64_t count,
               struct harness **kept)
{
    struct harness *h = lesson_open(lesson_both, objective, options, NULL);
    struct lesson_bytes w;
    struct lesson_made m;

    for (uint64_t i = 0; i < count; i++) {
        lesson_make(&m, i);
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    lesson_run(h);
    w = lesson_weights(h);
    if (kept)
        *kept = h;
    else
        harness_close(h);
    return w;
}

void
lesson_dead(struct harness *h, int index, const char *words)
{
    char text[400];

    assert_true(harness_dead_count(h) > index);
    harness_dead_text(h, index, text, sizeof(text));
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
}
