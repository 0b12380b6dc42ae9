/* samples: what a rollout carries from the input to the objective, through a whole learner: recorded
 * log-probabilities and ids, choices that do not fit, data that lacks what is needed, and that
 * batches change no bit. */
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
#include "nodes/learner/learner.h"
#include "tests/harness.h"
#include "tests/tiny_model.h"

#define GROUP      4
#define SECONDS    30.0
#define CHARACTERS "0123456789+-= \nax[]>ABC."
#define VOCAB      25
#define LONGEST    40

static char folder[] = "/tmp/sluice-samples-XXXXXX";
static char base[128], tokens[128];

static int
make_base(void **state)
{
    static const char *const specials[] = {"<|endoftext|>"};
    struct model_config config = model_config_default();
    struct model model;
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(base, sizeof(base), "%s/base", folder);
    snprintf(tokens, sizeof(tokens), "%s/tokens", folder);
    assert_int_equal(mkdir(tokens, 0777), 0);
    if (tokenizer_write_bytes(tokens, span_text(CHARACTERS), specials, 1, specials[0], &e) < 0)
        fail_msg("%s", e.text);
    strcpy(config.family, "qwen2");
    config.vocab_size = VOCAB;
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
    if (model_save(&model, base, tokens, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&model);
    return 0;
}

static int
remove_base(void **state)
{
    (void)state;
    tiny_model_remove(folder);
    return 0;
}

/* ---- a learner and its rollouts ---- */

static const char *const both[] = {"labelled", "gems", "passed", "steps", NULL};
static const char *const passed[] = {"passed", "rollouts", NULL};

#define OPTIONS_MAX 48

static struct harness *
start(const char *const *links, const char *objective, const char *const *more, struct error *e)
{
    const char *options[OPTIONS_MAX] = {"model", base, "lr", "3e-3", "batch_rollouts", "8",
                                        "objective", objective};
    int n = 8;

    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    return harness_open("learner", links, options, e);
}

struct made {
    char prompt[16], response[32], id[24];
    float logps[LONGEST];
    uint32_t ids[LONGEST];
    uint64_t ends[2];
    uint8_t labels[2];
    struct labelled labelled;
};

static struct rollout *
make(struct made *m, uint64_t i)
{
    struct rollout *r = &m->labelled.rollout;
    int a = (int)(i / GROUP % 5), right = i % GROUP < 2;

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
static void
give(struct harness *h, struct made *m, uint64_t i, bool labels)
{
    uint64_t first = i / GROUP * GROUP;

    if (!labels) {
        harness_give(h, 0, i, first, GROUP, &m->labelled.rollout);
    } else if (i % GROUP < 2) {
        harness_give_closing(h, 0, i, first, GROUP, "routed");
        harness_give(h, 1, i, first, GROUP, &m->labelled.rollout);
    } else {
        harness_give(h, 0, i, first, GROUP, &m->labelled);
        harness_give_closing(h, 1, i, first, GROUP, "routed");
    }
}

static void
run(struct harness *h)
{
    struct error e = {0};

    if (harness_run(h, SECONDS, &e) < 0)
        fail_msg("%s", e.text);
}

static char *
file_text(struct harness *h, const char *name, size_t *length)
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

/* Bytes of the final weights. */
struct weights_text {
    char *at;
    size_t length;
};

static struct weights_text
weights(struct harness *h)
{
    struct weights_text w;

    assert_true(harness_finished(h));
    w.at = file_text(h, "model.safetensors", &w.length);
    return w;
}

static bool
same(struct weights_text a, struct weights_text b)
{
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

static double
metric(struct harness *h, const char *name)
{
    size_t length;
    char *text = file_text(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    char *at = strstr(text, key);
    double value = at ? atof(at + strlen(key)) : NAN;

    if (!at)
        fail_msg("no %s in %s", name, text);
    free(text);
    free(key);
    return value;
}

static struct weights_text
trained(const char *objective, const char *const *options, uint64_t count, struct harness **kept)
{
    struct harness *h = start(both, objective, options, NULL);
    struct weights_text w;
    struct made m;

    for (uint64_t i = 0; i < count; i++) {
        make(&m, i);
        give(h, &m, i, true);
    }
    harness_end(h);
    run(h);
    w = weights(h);
    if (kept)
        *kept = h;
    else
        harness_close(h);
    return w;
}

static void
dead(struct harness *h, int index, const char *words)
{
    char text[400];

    assert_true(harness_dead_count(h) > index);
    harness_dead_text(h, index, text, sizeof(text));
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
}

/* ---- recorded log-probabilities ---- */

/* What the initial model says, recorded by the sampler, is what the learner would compute: to the
 * bit the same training. */
static void
recorded_logps_stand_for_the_reference(void **state)
{
    static const char *const recorded[] = {"epochs", "3", "behaviour", "recorded", NULL};
    static const char *const initial[] = {"epochs", "3", NULL};
    struct harness *first, *h = start(both, "grpo", recorded, NULL);
    struct weights_text a = trained("grpo", initial, 16, &first), b, c;
    struct made m;

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        struct rollout *r = make(&m, i);
        char room[LEARNER_KEY_MAX];
        struct span value;

        assert_true(node_get(harness_node(first), learner_key(room, 'r', i), &value));
        assert_int_equal(value.length, (strlen(m.response) + 1) * sizeof(float));
        memcpy(m.logps, value.at, value.length);
        r->logps = (struct f32s){(int64_t)strlen(m.response) + 1, m.logps};
        give(h, &m, i, true);
    }
    harness_end(h);
    run(h);
    b = weights(h);
    assert_true(same(a, b));
    assert_true(metric(h, "ratio/max") == 1);
    harness_close(h);
    harness_close(first);

    h = start(both, "grpo", recorded, NULL); /* other log-probabilities: another policy sampled */
    for (uint64_t i = 0; i < 16; i++) {
        struct rollout *r = make(&m, i);

        for (int k = 0; k < LONGEST; k++)
            m.logps[k] = -1 - 0.1f * (float)k;
        r->logps = (struct f32s){(int64_t)strlen(m.response) + 1, m.logps};
        give(h, &m, i, true);
    }
    harness_end(h);
    run(h);
    c = weights(h);
    assert_false(same(a, c));
    assert_true(metric(h, "ratio/max") != 1);
    harness_close(h);
    free(a.at);
    free(b.at);
    free(c.at);
}

/* No later rollout has what the first lacks: an error that no restart mends, and nothing trained. */
static void
missing_logps_stop_the_learner(void **state)
{
    static const char *const options[] = {"behaviour", "recorded", NULL};
    struct harness *h = start(passed, "gspo", options, NULL);
    struct error e = {0};
    struct made m;

    (void)state;
    for (uint64_t i = 0; i < 4; i++) {
        make(&m, i);
        give(h, &m, i, false);
    }
    assert_int_equal(harness_run(h, SECONDS, &e), ERROR_topology);
    assert_non_null(strstr(e.text, "'logps'"));
    assert_non_null(strstr(e.text, "logps_field"));
    assert_non_null(strstr(e.text, "gspo"));
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
recorded_values_that_do_not_fit_are_dead_letters(void **state)
{
    static const char *const options[] = {"behaviour", "recorded", NULL};
    struct harness *h = start(passed, "grpo", options, NULL);
    struct rollout *r;
    struct made m;
    int n = 0;

    (void)state;
    r = make(&m, 0);
    r->logps = (struct f32s){3, m.logps};
    give(h, &m, 0, false);
    run(h);
    dead(h, n++, "'logps' has 3 values, the response 5 tokens and a stop token");

    r = make(&m, 1); /* ids of something else */
    for (size_t k = 0; k < strlen(m.response); k++)
        m.ids[k] = 3;
    r->token_ids = (struct u32s){(int64_t)strlen(m.response), m.ids};
    r->logps = (struct f32s){(int64_t)strlen(m.response), m.logps};
    give(h, &m, 1, false);
    run(h);
    dead(h, n++, "'token_ids' does not decode to the response: they part at byte 0");

    r = make(&m, 2);
    m.ids[0] = 1000;
    r->token_ids = (struct u32s){1, m.ids};
    r->logps = (struct f32s){1, m.logps};
    give(h, &m, 2, false);
    run(h);
    dead(h, n++, "'token_ids': id 1000 lies outside the model's vocabulary of 25");

    r = make(&m, 3);
    r->weight = -1;
    give(h, &m, 3, false);
    run(h);
    dead(h, n++, "'weight' is -1");
    harness_close(h);
}

/* The stop token is learnt where the sampler ended by itself: ids may carry it, log-probabilities
 * may end before it, and an answer that was cut has none. */
static void
the_end_is_learnt_where_it_was_sampled(void **state)
{
    static const struct {
        int stop, logps, cut, learnt;
    } cases[] = {{0, 0, 0, 6}, {1, 6, 0, 6}, {1, 5, 0, 5}, {0, 5, 0, 5}, {0, 0, 1, 5}, {1, 6, 1, 6}};
    static const char *const recorded[] = {"behaviour", "recorded", NULL};
    static const char *const initial[] = {NULL};

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct harness *h = start(passed, "grpo", cases[c].logps ? recorded : initial, NULL);
        struct made m;
        struct rollout *r = make(&m, 0);

        assert_int_equal(r->response.length, 5);
        for (size_t k = 0; k < 5; k++)
            m.ids[k] = (uint32_t)(strchr(CHARACTERS, m.response[k]) - CHARACTERS) + 1;
        if (cases[c].stop || cases[c].logps)
            r->token_ids = (struct u32s){5 + cases[c].stop, m.ids};
        r->logps = (struct f32s){cases[c].logps, m.logps};
        r->finish = span_text(cases[c].cut ? "length" : "stop");
        give(h, &m, 0, false);
        harness_end(h);
        run(h);
        assert_int_equal(harness_dead_count(h), 0);
        assert_int_equal((int)metric(h, "tokens"), cases[c].learnt);
        harness_close(h);
    }
}

/* ---- what the data must have, and what fits ---- */

static void
preferences_need_a_pair(void **state)
{
    struct harness *h = start(passed, "dpo", NULL, NULL);
    struct error e = {0};
    struct made m;

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        if (i % GROUP >= 2) {
            make(&m, i);
            give(h, &m, i, false);
        }
    harness_end(h);
    assert_int_equal(harness_run(h, SECONDS, &e), ERROR_topology);
    assert_non_null(strstr(e.text, "'reward'"));
    assert_non_null(strstr(e.text, "no group has both"));
    harness_close(h);
}

static void
refused(const char *const *links, const char *objective, const char *name, const char *value,
        const char *words)
{
    const char *more[] = {name, value, NULL};
    struct error e = {0};

    assert_null(start(links, objective, more, &e));
    if (!strstr(e.text, words))
        fail_msg("%s, %s: '%s' does not say '%s'", objective, name, e.text, words);
}

static void
choices_that_do_not_belong_are_refused(void **state)
{
    (void)state;
    refused(both, "sft", "tau", "0.1", "sft has no tau");
    refused(both, "bcpg", "clip_low", "0.1", "bcpg has no clip_low");
    refused(both, "grpo", "soften_positive", "2", "grpo has no soften_positive");
    refused(both, "rft", "lambda", "1", "rft has no lambda");
    refused(both, "tbrm", "aggregation", "token_mean", "tbrm is not aggregated as token_mean");
    refused(both, "dpo", "advantages", "mean", "dpo has no advantages");
    refused(both, "grpo", "ratio", "sequence", "grpo has no choice of ratio");
    refused(both, "grpo", "variant", "listnet", "listnet is a variant of ranknet, not of grpo");
    refused(both, "dpo", "beta", "0.5", "dpo weighs no tokens");
    refused(both, "bcpg", "beta", "0.5", "bcpg takes every token alike");
    refused(passed, "grpo", "beta", "0.5", "link labelled");
    refused(passed, "grpo", "advantages", "process", "link labelled");
    refused(both, "bcpg", "behaviour", "recorded", "does not compare with the policy that sampled");
    refused(both, "grpo", "kl_weight", "0.1", "say which");
    refused(both, "grpo", "kl_in", "reward", "there is no KL");
    refused(both, "grpo", "constant_tokens", "100", "belongs to aggregation: constant");
    refused(both, "tbrm", "token_budget", "100", "tbrm cannot divide by a constant");
    refused(both, "gvpo", "prune_completions", "0.5", "compares the answers of a group");
    refused(both, "token_class", "mask", "s2r", "learns classes of steps");
    refused(both, "token_class", "entropy_weight", "0.1", "trains classes");
    refused(both, "grpo", "overlong_length", "100", "above overlong_length");
    refused(both, "tract", "score_digits", "1Z", "the tokenizer does not make 'Z' one token");
    refused(both, "bcpg", "objective_file", "/nonexistent.so", "/nonexistent.so");
}

/* ---- every objective ---- */

/* With the policy at the reference every importance ratio is exactly 1 and every S_i exactly 0. */
static void
the_first_step_is_exactly_at_the_policy_that_sampled(void **state)
{
    (void)state;
    for (int i = 0; objective_at(i); i++) {
        const struct objective *o = objective_at(i);
        struct harness *h;

        if (o->needs & (OBJECTIVE_needs_classes | OBJECTIVE_needs_named))
            continue;
        free(trained(o->name, NULL, 16, &h).at);
        if (o->needs & OBJECTIVE_needs_reference)
            assert_true(metric(h, "s/largest") == 0);
        if (o->needs & OBJECTIVE_needs_behaviour) {
            assert_true(metric(h, "ratio/max") == 1);
            assert_true(metric(h, "ratio/mean") == 1);
        }
        harness_close(h);
    }
}

/* A step in one batch, in many, and packed: the coefficients of every objective are the same bits,
 * and so are the weights. Objectives that couple samples go through the statistics pass. */
static void
batches_change_no_bit(void **state)
{
    static const char *const one[] = {"epochs", "2", "batch_tokens", "4096", NULL};
    static const char *const many[] = {"epochs", "2", "batch_tokens", "40", NULL};
    static const char *const packed[] = {"epochs",      "2", "batch_tokens", "4096",
                                         "pack_window", "8", NULL};

    (void)state;
    for (int i = 0; objective_at(i); i++) {
        const struct objective *o = objective_at(i);
        struct weights_text a, b, c;

        if (o->needs & (OBJECTIVE_needs_classes | OBJECTIVE_needs_named))
            continue;
        a = trained(o->name, one, 16, NULL);
        b = trained(o->name, many, 16, NULL);
        c = trained(o->name, packed, 16, NULL);
        if (!same(a, b) || !same(a, c))
            fail_msg("%s: other weights with other batches", o->name);
        free(a.at);
        free(b.at);
        free(c.at);
    }
}

/* What a sample's tokens have under the initial model does not depend on what they share a batch
 * with. */
static void
references_have_the_same_bits_in_any_batch(void **state)
{
    static const char *const how[][7] = {{"batch_tokens", "4096", NULL},
                                         {"batch_tokens", "17", NULL},
                                         {"batch_tokens", "50", "pack_window", "16", NULL},
                                         {"batch_tokens", "90", "shuffle", "false", NULL}};
    struct harness *h[4];

    (void)state;
    for (int k = 0; k < 4; k++)
        free(trained("bcpg", how[k], 32, &h[k]).at);
    for (uint64_t i = 0; i < 32; i++) {
        char room[LEARNER_KEY_MAX], kept[256];
        struct span value;
        size_t length = 0;

        for (int k = 0; k < 4; k++) {
            assert_true(node_get(harness_node(h[k]), learner_key(room, 'r', i), &value));
            assert_true(value.length > 0 && value.length <= sizeof(kept));
            if (k == 0) {
                memcpy(kept, value.at, value.length);
                length = value.length;
            }
            assert_int_equal(value.length, length);
            assert_memory_equal(kept, value.at, length);
        }
    }
    for (int k = 0; k < 4; k++)
        harness_close(h[k]);
}

/* ---- named logits ---- */

/* Rollout i: prompt and response as given; reward is the gold score. */
static void
give_text(struct harness *h, uint64_t i, const char *prompt, const char *response, double reward)
{
    char id[24];

    snprintf(id, sizeof(id), "r%" PRIu64, i);
    harness_give(h, 0, i, i, 1,
                 &(struct rollout){.id = span_text(id),
                                   .prompt = span_text(prompt),
                                   .response = span_text(response),
                                   .reward = reward,
                                   .group_mean = reward});
}

static double
metric_last(struct harness *h, const char *name)
{
    size_t length;
    char *text = file_text(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    char *at = NULL;
    double value;

    for (char *next = text; (next = strstr(next, key)); next++)
        at = next;
    assert_non_null(at);
    value = atof(at + strlen(key));
    free(text);
    free(key);
    return value;
}

static void
tract_learns_scores(void **state)
{
    static const char *const options[] = {"epochs", "60", "lr", "1e-2", NULL};
    struct harness *h = start(passed, "tract", options, NULL);
    char prompt[16], response[16];

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        int score = 1 + (int)(i % 5);

        snprintf(prompt, sizeof(prompt), "%d+%d=", (int)(i % 5), (int)(i % 5));
        snprintf(response, sizeof(response), "a+x\n%d", score);
        give_text(h, i, prompt, response, score);
    }
    give_text(h, 16, "1+1=", "2.", 3);
    run(h);
    dead(h, 0, "does not end with one of the scores");
    harness_end(h);
    run(h);
    assert_true(metric_last(h, "step") > 100);
    assert_true(metric(h, "loss") > 3); /* likelihood alone begins near log 25 */
    assert_true(metric_last(h, "loss") < 0.3);
    harness_close(h);
}

static void
ranknet_learns_orders(void **state)
{
    static const char *const options[] = {"epochs", "40", "lr", "1e-2", NULL};
    static const char *const orders[2][2] = {{"[A] > [B] > [C]", "[C] > [A] > [B]"},
                                             {"[B] > [A] > [C]", "[C] > [B] > [A]"}};
    struct weights_text w[2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct harness *h = start(passed, "ranknet", options, NULL);

        for (uint64_t i = 0; i < 16; i++)
            give_text(h, i, i % 2 ? "1-1=" : "2+2=", orders[k][i % 2], 1);
        give_text(h, 16, "1+1=", "A = [B]", 1);
        run(h);
        dead(h, 0, "does not rank two identifiers");
        harness_end(h);
        run(h);
        assert_true(metric_last(h, "loss") < 0.2 * metric(h, "loss"));
        w[k] = weights(h);
        harness_close(h);
    }
    assert_false(same(w[0], w[1]));
    free(w[0].at);
    free(w[1].at);
}

/* ---- stages ---- */

static void
weights_of_steps_matter_and_one_is_nothing(void **state)
{
    static const char *const ones[] = {"beta", "1", "wrong_weight", "1", "correction_weight", "1",
                                       NULL};
    static const char *const wrong[] = {"wrong_weight", "0.5", NULL};
    static const char *const gems[] = {"beta", "0.5", NULL};
    struct weights_text a = trained("grpo", NULL, 16, NULL), b = trained("grpo", ones, 16, NULL),
                        c = trained("grpo", wrong, 16, NULL), d = trained("grpo", gems, 16, NULL);

    (void)state;
    assert_true(same(a, b));
    assert_false(same(a, c));
    assert_false(same(a, d));
    assert_false(same(c, d));
    free(a.at);
    free(b.at);
    free(c.at);
    free(d.at);
}

static void
a_mask_of_everything_learns_nothing(void **state)
{
    static const char *const options[] = {"stm_threshold", "1e-9", NULL};
    struct harness *h;
    struct weights_text w = trained("bcpg", options, 16, &h);
    char *path = xprint("%s/model.safetensors", base);
    struct weights_text initial = {xalloc(w.length + 1), w.length};
    FILE *f = fopen(path, "rb");

    (void)state;
    assert_non_null(f);
    assert_int_equal(fread(initial.at, 1, w.length, f), w.length);
    fclose(f);
    assert_true(metric(h, "tokens") == 0);
    assert_true(same(w, initial));
    harness_close(h);
    free(w.at);
    free(initial.at);
    free(path);
}

/* Tokens learnt in the first step, which has 8 answers of 5, 6 and 7 tokens and a stop token. */
static void
stages_choose_tokens(void **state)
{
    static const char *const all[] = {"shuffle", "false", NULL};
    static const char *const budget[] = {"shuffle", "false", "token_budget", "17", NULL};
    static const char *const pruned[] = {"shuffle", "false", "prune_completions", "0.5", NULL};
    static const char *const shaped[] = {"shuffle",         "false", "overlong_length", "7",
                                         "overlong_buffer", "2",     "rlr_base",        "10", NULL};
    struct harness *h;
    struct weights_text a, b;
    double most;

    (void)state;
    a = trained("grpo", all, 16, &h);
    most = metric(h, "tokens");
    harness_close(h);
    free(trained("grpo", budget, 16, &h).at);
    assert_true(metric(h, "tokens") == 17);
    harness_close(h);
    free(trained("grpo", pruned, 16, &h).at);
    assert_true(metric(h, "tokens") < most);
    harness_close(h);
    b = trained("grpo", shaped, 16, NULL);
    assert_false(same(a, b));
    free(a.at);
    free(b.at);
}

/* Crashes in the middle of a step with all stages on: the same bytes. */
static void
stages_survive_crashes(void **state)
{
    static const char *const options[] = {
        "epochs",       "4",    "advantages",  "process", "baseline_min",     "1",
        "stm_threshold", "200", "token_budget", "40",     "prune_completions", "0.3",
        "prune_prompts", "0.3", "pack_window", "8",       "batch_tokens",     "60",
        "checkpoint_steps", "1", NULL};
    struct weights_text plain = trained("grpo", options, 32, NULL), killed;
    struct harness *h = start(both, "grpo", options, NULL);
    double seconds = 0.001;
    struct made m;
    int crashes = 0;

    (void)state;
    for (uint64_t i = 0; i < 32; i++) {
        make(&m, i);
        give(h, &m, i, true);
    }
    harness_end(h);
    while (!harness_finished(h)) {
        struct error e = {0};

        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
        if (harness_finished(h))
            break;
        harness_crash(h);
        crashes++;
        seconds *= 1.2;
    }
    assert_true(crashes > 2);
    killed = weights(h);
    assert_true(same(plain, killed));
    harness_close(h);
    free(plain.at);
    free(killed.at);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_logps_stand_for_the_reference),
        cmocka_unit_test(missing_logps_stop_the_learner),
        cmocka_unit_test(recorded_values_that_do_not_fit_are_dead_letters),
        cmocka_unit_test(the_end_is_learnt_where_it_was_sampled),
        cmocka_unit_test(preferences_need_a_pair),
        cmocka_unit_test(choices_that_do_not_belong_are_refused),
        cmocka_unit_test(the_first_step_is_exactly_at_the_policy_that_sampled),
        cmocka_unit_test(batches_change_no_bit),
        cmocka_unit_test(references_have_the_same_bits_in_any_batch),
        cmocka_unit_test(tract_learns_scores),
        cmocka_unit_test(ranknet_learns_orders),
        cmocka_unit_test(weights_of_steps_matter_and_one_is_nothing),
        cmocka_unit_test(a_mask_of_everything_learns_nothing),
        cmocka_unit_test(stages_choose_tokens),
        cmocka_unit_test(stages_survive_crashes),
    };

    return cmocka_run_group_tests_name("samples", tests, make_base, remove_base);
}
