/* Evaluation while training: every number against its definition computed another way on the same
 * weights, when it happens, and that it changes nothing. */
#include <inttypes.h>
#include <jansson.h>
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

#include "kernels/verify.h"
#include "commands/answers.h"
#include "commands/margin.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/model_file.h"
#include "tests/learning.h"

#define GROUP  4
#define GROUPS 5 /* held out */

static char rollouts[128], prompts[128];

/* ---- files ---- */

static void
write_files(void)
{
    FILE *r = fopen(rollouts, "w"), *p = fopen(prompts, "w");

    assert_non_null(r);
    assert_non_null(p);
    for (int g = 0; g < GROUPS; g++) {
        fprintf(p, "{\"prompt\":\"%d+%d=\",\"answer\":%d}\n", g, g, 2 * g);
        for (int k = 0; k < GROUP - (g == 4 ? 2 : 0); k++) { /* the last has no wrong one */
            int wrong = k >= 2;

            fprintf(r, "{\"prompt\":\"%d+%d=\",\"response\":\"%d%s\",\"reward\":%d", g, g, 2 * g,
                    wrong ? "-x" : "", !wrong);
            if (wrong && g % 2) /* "2-" is right, "x" is not */
                fprintf(r, ",\"ends\":[2,3],\"labels\":[1,0]");
            fprintf(r, "}\n");
        }
    }
    fprintf(r,
            "{\"prompt\":\"1\",\"response\":\"\\u4e2d\",\"reward\":true}\n"); /* no such tokens */
    fclose(r);
    fclose(p);
}

static int
make_world(void **state)
{
    int rc = learning_setup(state);

    snprintf(rollouts, sizeof(rollouts), "%s/rollouts.jsonl", learning_folder);
    snprintf(prompts, sizeof(prompts), "%s/prompts.jsonl", learning_folder);
    write_files();
    return rc;
}

/* 24 rollouts: 3 steps. */
static struct harness *
fed(const char *const *more)
{
    return learning_fed(more, 24);
}

static void
finish(struct harness *h)
{
    learning_run(h);
    assert_true(harness_finished(h));
}

/* The number `name` of the evaluation after `step`; *lines: how many such lines there are. */
static double
number(struct harness *h, int step, const char *name, int *lines)
{
    char *path = learning_path(h, "metrics.jsonl"), room[4096];
    FILE *file = fopen(path, "r");
    double value = NAN;

    assert_non_null(file);
    for (*lines = 0; fgets(room, sizeof(room), file);) {
        json_t *row = json_loads(room, 0, NULL);

        if (json_integer_value(json_object_get(row, "step")) == step &&
            !json_object_get(row, "loss")) {
            (*lines)++;
            if (json_object_get(row, name))
                value = json_number_value(json_object_get(row, name));
        }
        json_decref(row);
    }
    fclose(file);
    free(path);
    return value;
}

static void
near(double got, double wanted, const char *what)
{
    if (!(fabs(got - wanted) <= 1e-6 * (1 + fabs(wanted))))
        fail_msg("%s: %.12g, not %.12g", what, got, wanted);
}

/* ---- the same numbers another way ---- */

struct truth {
    double kl, entropy, logp, gems, tokens, gem_tokens;
};

/* log p and entropy of the last count - context tokens, one sequence alone. */
static void
score(const struct model *m, const struct margin_rollout *r, float *logp, float *entropy)
{
    struct decoder *d = decoder_new(m, r->count, 0);
    struct head_work *work = head_work_new();
    struct head head = head_of(m);
    int32_t *targets = xarray((size_t)r->count, sizeof(*targets));
    float *lse = xarray((size_t)r->count, sizeof(*lse));

    for (int64_t k = 0; k < r->count; k++)
        targets[k] = k + 1 < r->count ? r->ids[k + 1] : -1;
    head_statistics(
        work, &head, r->count,
        decoder_forward(d, m, &(struct batch){r->count, r->ids, 1, (int64_t[]){0, r->count}, NULL}),
        targets, logp, lse, entropy);
    decoder_free(d);
    head_work_free(work);
    free(targets);
    free(lse);
}

static struct truth
truth_of(const struct margin *m, const struct model *now, const struct model *initial)
{
    struct truth t = {0};
    float logp[512], entropy[512], before[512], unused[512];

    for (int64_t i = 0; i < m->count; i++) {
        const struct margin_rollout *r = &m->at[i];
        int gems = !r->correct && r->group % 2;

        score(now, r, logp, entropy);
        score(initial, r, before, unused);
        for (int64_t k = r->context - 1; k + 1 < r->count; k++) {
            double ratio = exp((double)before[k] - (double)logp[k]);

            t.kl += ratio - 1 - ((double)before[k] - (double)logp[k]);
            t.entropy += (double)entropy[k];
            t.logp += (double)logp[k];
            t.tokens++;
            if (gems && k < r->context + 1) { /* two characters, a token each */
                t.gems += (double)logp[k];
                t.gem_tokens++;
            }
        }
    }
    return t;
}

static int
grade(void *context, const struct answer *a, struct error *e)
{
    char gold[8];

    (void)e;
    snprintf(gold, sizeof(gold), "%d", (int)(2 * a->prompt));
    *(double *)context += verify_answer(VERIFY_numeric, a->text, span_text(gold));
    return 0;
}

static const char *const all[] = {"eval_rollouts",
                                  rollouts,
                                  "eval_prompts",
                                  prompts,
                                  "eval_samples",
                                  "6",
                                  "eval_max_tokens",
                                  "7",
                                  "eval_every",
                                  "2",
                                  "checkpoint_steps",
                                  "1",
                                  NULL};

static void
check_numbers(struct harness *h, int step, const char *initial, const char *dir, const char *format)
{
    struct answers_how how = {.label = "x", .temperature = 1, .samples = 6, .max_tokens = 7};
    struct speaker s, first;
    struct prompts given;
    struct margin m;
    struct truth t;
    struct error e = {0};
    double values[GROUPS], mean = 0, passed = 0;
    int lines;
    int64_t n;

    how.seed = (long)node_seed(harness_node(h));
    if (speaker_open(&s, dir, &e) < 0 || speaker_open(&first, initial, &e) < 0 ||
        speaker_format(&s, dir, format, "", &e) < 0 || margin_read(&m, &s, rollouts, &e) < 0 ||
        prompts_read(&given, prompts, 1, &e) < 0)
        fail_msg("%s", e.text);
    margin_measure(&m, &s, "test");
    n = margin_values(&m, values);
    assert_int_equal(n, GROUPS - 1);
    for (int64_t i = 0; i < n; i++)
        mean += values[i] / (double)n;
    t = truth_of(&m, &s.model, &first.model);
    near(number(h, step, "eval/margin", &lines), mean, "margin");
    assert_int_equal(lines, 1);
    near(number(h, step, "eval/kl", &lines), t.kl / t.tokens, "kl");
    near(number(h, step, "eval/entropy", &lines), t.entropy / t.tokens, "entropy");
    near(number(h, step, "eval/logp", &lines), t.logp / t.tokens, "logp");
    near(number(h, step, "eval/gems_logp", &lines), t.gems / t.gem_tokens, "gems");
    near(number(h, step, "eval/rollouts", &lines), GROUP * GROUPS - 2, "rollouts");
    if (answers_make(&s, &how, &given, grade, &passed, &e) < 0)
        fail_msg("%s", e.text);
    near(number(h, step, "eval/pass_rate", &lines), passed / (6 * GROUPS), "pass rate");
    margin_free(&m);
    prompts_free(&given);
    speaker_close(&s);
    speaker_close(&first);
}

/* ---- tests ---- */

static void
every_number_is_its_definition(void **state)
{
    struct harness *h = fed(all);
    char *final, *second;
    int lines;

    (void)state;
    finish(h);
    final = learning_path(h, "final");
    second = learning_path(h, "step-2");
    check_numbers(h, 0, learning_base, learning_base, "raw");
    check_numbers(h, 2, learning_base, second, "raw");
    check_numbers(h, 3, learning_base, final, "raw");
    number(h, 1, "eval/kl", &lines);
    assert_int_equal(lines, 0);
    assert_true(number(h, 0, "eval/kl", &lines) == 0); /* the initial model, to the bit */
    assert_true(number(h, 3, "eval/kl", &lines) > 0);
    assert_true(number(h, 3, "eval/pass_rate", &lines) > 0); /* something was right */
    free(final);
    free(second);
    harness_close(h);
}

/* A model whose tokens are the printable characters: enough for a chat template. */
static void
chat_model(const char *dir)
{
    static const char *const specials[] = {"<|im_end|>"};
    struct model_config config = model_config_default();
    char characters[100] = "\n", *tokens = xprint("%s.tokens", dir);
    struct error e = {0};
    struct model m;

    for (int c = ' '; c <= '~'; c++)
        characters[1 + c - ' '] = (char)c;
    assert_int_equal(mkdir(tokens, 0700), 0);
    if (tokenizer_write_bytes(tokens, span_text(characters), specials, 1, specials[0], &e) < 0)
        fail_msg("%s", e.text);
    config.vocab_size = 2 + (int)strlen(characters);
    config.hidden_size = 16;
    config.intermediate_size = 24;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.max_position_embeddings = 512;
    config.initializer_range = 0.3;
    config.eos_token_id = 0;
    if (model_init(&m, &config, &e) < 0)
        fail_msg("%s", e.text);
    model_randomise(&m, 5);
    if (model_save(&m, dir, tokens, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&m);
    free(tokens);
}

/* Held-out prompts go through the template that training puts its prompts into. */
static void
prompts_are_put_as_in_training(void **state)
{
    char *dir = xprint("%s/chat", learning_folder);
    int lines;
    const char *options[] = {"model",
                             dir,
                             "prompt_format",
                             "qwen2",
                             "eval_rollouts",
                             rollouts,
                             "eval_prompts",
                             prompts,
                             "eval_samples",
                             "6",
                             "eval_max_tokens",
                             "7",
                             NULL};
    struct harness *h, *raw;

    (void)state;
    chat_model(dir);
    h = fed(options);
    finish(h);
    check_numbers(h, 0, dir, dir, "qwen2");
    options[3] = "raw";
    raw = fed(options);
    finish(raw);
    assert_true(fabs(number(h, 0, "eval/logp", &lines) - number(raw, 0, "eval/logp", &lines)) >
                1e-4);
    free(dir);
    harness_close(h);
    harness_close(raw);
}

/* Lines without times, those of evaluations too. */
static char *
steady_lines(struct harness *h)
{
    size_t length;
    char *text = learning_text(h, "metrics.jsonl", &length), *out = xalloc(length + 1), *to = out;

    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        char *end = strstr(line, ",\"tokens_per_second\"");

        assert_non_null(end);
        memcpy(to, line, (size_t)(end - line));
        to += end - line;
        *to++ = '\n';
    }
    free(text);
    return out;
}

static void
kills_and_evaluation_change_nothing(void **state)
{
    struct harness *h = fed(all), *killed = fed(all), *plain = fed(NULL);
    char *one, *two;

    (void)state;
    finish(h);
    finish(plain);
    assert_true(learning_killed(killed) > 3);
    learning_same(h, killed, "final/model.safetensors");
    learning_same(h, plain, "final/model.safetensors");
    one = steady_lines(h);
    two = steady_lines(killed);
    assert_string_equal(one, two);
    free(one);
    free(two);
    harness_close(h);
    harness_close(killed);
    harness_close(plain);
}

/* Windows of a stream: between them too, and the last is not done twice at the end. */
static void
windows_are_evaluated_between(void **state)
{
    const char *const options[] = {
        "follow",           "true", "window",        "8",      "passes", "2", "eval_every", "2",
        "checkpoint_steps", "1",    "eval_rollouts", rollouts, NULL};
    struct harness *h = fed(options), *killed = fed(options); /* 3 windows of 2 steps */
    char *one, *two;
    int lines;

    (void)state;
    finish(h);
    assert_true(learning_killed(killed) > 3);
    learning_same(h, killed, "final/model.safetensors");
    one = steady_lines(h);
    two = steady_lines(killed);
    assert_string_equal(one, two);
    for (int step = 0; step <= 6; step++) {
        number(h, step, "eval/kl", &lines);
        assert_int_equal(lines, step % 2 == 0);
    }
    free(one);
    free(two);
    harness_close(h);
    harness_close(killed);
}

/* From a checkpoint of another run the KL is still that to the initial model. */
static void
a_checkpoint_taken_over_knows_the_initial_model(void **state)
{
    struct harness *h = fed(all), *other;
    char *link, *from;
    int lines;

    (void)state;
    finish(h);
    link = learning_path(h, "step-2");
    from = realpath(link, NULL);
    assert_non_null(from);
    const char *again[] = {"eval_rollouts", rollouts, "eval_every", "2", "resume_from", from, NULL};

    other = fed(again);
    finish(other);
    assert_true(number(other, 3, "eval/kl", &lines) == number(h, 3, "eval/kl", &lines));
    assert_true(number(other, 2, "eval/kl", &lines) == number(h, 2, "eval/kl", &lines));
    free(link);
    free(from);
    harness_close(h);
    harness_close(other);
}

static void
what_cannot_be_evaluated_is_refused(void **state)
{
    char bad[160];
    FILE *f;
    const char *nothing[] = {"eval_every", "2", NULL};
    const char *missing[] = {"eval_prompts", "/nonexistent/prompts", NULL};
    const char *lines[] = {"eval_rollouts", bad, NULL};
    const char *answers[] = {"eval_prompts", rollouts, NULL};

    (void)state;
    snprintf(bad, sizeof(bad), "%s/bad.jsonl", learning_folder);
    learning_refused(nothing, "eval_rollouts or eval_prompts");
    learning_refused(missing, "/nonexistent/prompts");
    learning_refused(answers, "'answer' is missing");
    f = fopen(bad, "w");
    fputs("{\"prompt\":\"1\",\"response\":\"2\",\"reward\":1}\n{\"prompt\":\"1\",\"response\":"
          "\"2\"}\n",
          f);
    fclose(f);
    learning_refused(lines, "bad.jsonl:2: neither 'reward' nor 'answer'");
    f = fopen(bad, "w");
    fputs("{\"prompt\":\"1\",\"response\":\"23\",\"reward\":1,\"ends\":[1,2],\"labels\":[3,0]}\n",
          f);
    fclose(f);
    learning_refused(lines, "'labels' holds something");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_its_definition),
        cmocka_unit_test(prompts_are_put_as_in_training),
        cmocka_unit_test(kills_and_evaluation_change_nothing),
        cmocka_unit_test(windows_are_evaluated_between),
        cmocka_unit_test(a_checkpoint_taken_over_knows_the_initial_model),
        cmocka_unit_test(what_cannot_be_evaluated_is_refused),
    };

    return cmocka_run_group_tests_name("evaluate", tests, make_world, learning_teardown);
}
