/* sluice sample and sluice eval on a small model on disk: same bytes whatever the batch, the two
 * agree on rewards, margins against a plain softmax, intervals against known values, and every
 * refusal. */
#include "commands/commands.h"

#include "commands/interval.h"
#include "kernels/decoder.h"
#include "kernels/document.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LETTERS "0123456789+-= \n"

static char root[64];

static const char *
in_root(const char *name)
{
    static char paths[64][160];
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
make_model(const char *dir, uint64_t seed)
{
    static const char *const specials[] = {"<eos>"};
    struct model_config c = model_config_default();
    struct model m;
    struct error e = {0};

    c.vocab_size = 16, c.hidden_size = 16, c.intermediate_size = 24, c.num_hidden_layers = 1;
    c.num_attention_heads = 2, c.num_key_value_heads = 1, c.max_position_embeddings = 40;
    c.initializer_range = 0.4, c.eos_token_id = 0;
    mkdir(in_root("tokens"), 0777);
    if (tokenizer_write_bytes(in_root("tokens"), span_text(LETTERS), specials, 1, "<eos>", &e) ||
        model_init(&m, &c, &e))
        fail_msg("%s", e.text);
    model_randomise(&m, seed);
    if (model_save(&m, dir, in_root("tokens"), &e))
        fail_msg("%s", e.text);
    model_free(&m);
}

static int
set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_sample.XXXXXX");
    if (!mkdtemp(root))
        return -1;
    make_model(in_root("model"), 1);
    make_model(in_root("other"), 2);
    put(in_root("prompts.jsonl"), "{\"prompt\": \"1+2=\", \"answer\": \"3\", \"id\": \"a\"}\n"
                                  "{\"prompt\": \"4-1=\", \"answer\": 5, \"extra\": [1]}\n\n"
                                  "{\"prompt\": \"7=\", \"answer\": \"7\"}\n{\"prompt\": \"9\", "
                                  "\"answer\": \"#### 1.0\", \"id\": 12}\n");
    return 0;
}

static int
tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

/* Runs a command with standard output and error in files. */
static int
call(int (*command)(int, char **), ...)
{
    char *argv[32] = {"command"};
    int argc = 1, rc, out = dup(1), err = dup(2);
    va_list args;

    va_start(args, command);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    fflush(stdout);
    assert_non_null(freopen(in_root("stdout"), "w", stdout));
    assert_non_null(freopen(in_root("stderr"), "w", stderr));
    rc = command(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    return rc;
}

static char *
slurp(const char *path)
{
    struct buffer b = {0};
    struct error e = {0};

    if (document_load(path, 1 << 24, &b, &e))
        fail_msg("%s", e.text);
    buffer_add(&b, "", 1);
    return b.at;
}

static void
says(const char *file, const char *words)
{
    char *text = slurp(in_root(file));

    if (!strstr(text, words))
        fail_msg("'%s' lacks '%s'", text, words);
    free(text);
}

#define SAMPLE(...)                                                                                \
    call(command_sample, in_root("model"), "--prompts", in_root("prompts.jsonl"), __VA_ARGS__, NULL)
#define EVAL(...) call(command_eval, in_root("model"), __VA_ARGS__, NULL)

static void
test_sample(void **state)
{
    char *one, *two, *line, *rest;
    int count = 0, cut = 0;

    (void)state;
    assert_int_equal(
        SAMPLE("--samples", "5", "--seed", "3", "--max-tokens", "8", "--out", in_root("one")), 0);
    assert_int_equal(SAMPLE("--samples", "5", "--seed", "3", "--max-tokens", "8", "--rows", "2"),
                     0);
    one = slurp(in_root("one"));
    two = slurp(in_root("stdout"));
    assert_string_equal(one, two);
    free(two);
    for (line = strtok_r(one, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        static const char *const ids[] = {"a", "1", "2", "12"};
        json_t *json = json_loads(line, 0, NULL);
        const char *finish;
        size_t length;
        char id[16];

        assert_non_null(json);
        snprintf(id, sizeof(id), "%s/%d", ids[count / 5], count % 5);
        assert_string_equal(json_string_value(json_object_get(json, "id")), id);
        assert_true(json_is_string(json_object_get(json, "prompt")));
        assert_true(json_is_string(json_object_get(json, "response")));
        assert_true(json_is_string(json_object_get(json, "answer")));
        assert_true(json_is_integer(json_object_get(json, "reward")));
        assert_in_range(json_integer_value(json_object_get(json, "reward")), 0, 1);
        /* A token is a character, so what has all eight was cut off. */
        finish = json_string_value(json_object_get(json, "finish_reason"));
        length = json_string_length(json_object_get(json, "response"));
        assert_non_null(finish);
        assert_string_equal(finish, length == 8 ? "length" : "stop");
        cut += length == 8;
        count++;
        json_decref(json);
    }
    assert_int_equal(count, 20);
    assert_true(cut > 0 && cut < 20);
    free(one);
    assert_int_equal(
        SAMPLE("--samples", "5", "--seed", "4", "--max-tokens", "8", "--out", in_root("three")), 0);
    one = slurp(in_root("one"));
    two = slurp(in_root("three"));
    assert_string_not_equal(one, two);
    free(one);
    free(two);
    assert_int_equal(access(in_root("one.part"), F_OK), -1);
}

static double
number(const char *path)
{
    char *text = slurp(in_root("stdout")), *copy = xtext(path), *rest, *key;
    json_t *json = json_loads(text, 0, NULL), *at = json;
    double value;

    assert_non_null(json);
    for (key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    assert_true(json_is_number(at));
    value = json_number_value(at);
    json_decref(json);
    free(copy);
    free(text);
    return value;
}

/* eval's rate is the mean of the rewards that sample writes for the same draws. */
static void
test_eval(void **state)
{
    char *text, *at;
    int rewards = 0;
    double mean, other;

    (void)state;
    assert_int_equal(
        SAMPLE("--samples", "200", "--seed", "3", "--max-tokens", "4", "--out", in_root("many")),
        0);
    text = slurp(in_root("many"));
    for (at = text; (at = strstr(at, "\"reward\":1")); at++)
        rewards++;
    free(text);
    assert_true(rewards > 0 && rewards < 800);
    assert_int_equal(EVAL("--prompts", in_root("prompts.jsonl"), "--samples", "200", "--seed", "3",
                          "--max-tokens", "4", "--json", "--against", in_root("other")),
                     0);
    mean = number("pass_rate");
    assert_true(fabs(mean - rewards / 800.0) < 1e-12);
    other = number("against.pass_rate");
    assert_true(fabs(number("gain.mean") - (mean - other)) < 1e-9);
    assert_true(number("interval.0") <= mean && mean <= number("interval.1"));
    assert_true(number("gain.interval.0") <= mean - other &&
                mean - other <= number("gain.interval.1"));
    assert_int_equal(EVAL("--prompts", in_root("prompts.jsonl"), "--samples", "3", "--max-tokens",
                          "4", "--against", in_root("model")),
                     0);
    says("stdout", "gain +0.000 [+0.000, +0.000]");
    says("stdout", "(4 prompts x 3 samples)");
}

/* log p of a response's tokens and the stop token, by a softmax in double. */
static double
plain_likelihood(const struct model *m, const int32_t *ids, int64_t count, int64_t context)
{
    struct decoder *d = decoder_new(m, 64, 0);
    struct batch b = {count, ids, 1, (int64_t[]){0, count}, NULL};
    const float *hidden = decoder_forward(d, m, &b);
    double sum = 0;

    for (int64_t t = context - 1; t + 1 < count; t++) {
        double z[16], total = 0;

        for (int v = 0; v < 16; v++) {
            z[v] = 0;
            for (int k = 0; k < 16; k++)
                z[v] += (double)hidden[t * 16 + k] * (double)m->params[m->head + v * 16 + k];
            total += exp(z[v]);
        }
        sum += z[ids[t + 1]] - log(total);
    }
    decoder_free(d);
    return sum / (double)(count - context);
}

static void
test_margin(void **state)
{
    /* ids: "<eos>" 0, "0".."9" 1..10, "+" 11, "-" 12, "=" 13 */
    static const int32_t right[] = {2, 11, 2, 13, 3, 0}, wrong[] = {2, 11, 2, 13, 5, 5, 0},
                         third[] = {2, 11, 2, 13, 6, 0};
    struct model m;
    struct error e = {0};
    double expected;

    (void)state;
    put(in_root("rollouts.jsonl"),
        "{\"prompt\": \"1+1=\", \"response\": \"2\", \"reward\": 1}\n"
        "{\"prompt\": \"1+1=\", \"response\": \"44\", \"reward\": 0}\n"
        "{\"prompt\": \"1+1=\", \"response\": \"5\", \"answer\": \"2\"}\n"
        "{\"prompt\": \"3=\", \"response\": \"3\", \"reward\": true}\n"
        "{\"prompt\": \"1+1=\", \"response\": \"1111111111111111111111111111111111111111\", "
        "\"reward\": 0}\n"
        "{\"prompt\": \"1+1=\", \"response\": \"letters\", \"reward\": 0}\n");
    assert_int_equal(EVAL("--rollouts", in_root("rollouts.jsonl"), "--json"), 0);
    assert_int_equal(model_open(&m, in_root("model"), &e), 0);
    expected = plain_likelihood(&m, right, 6, 4) -
               (plain_likelihood(&m, wrong, 7, 4) + plain_likelihood(&m, third, 6, 4)) / 2;
    model_free(&m);
    assert_true(fabs(number("margin") - expected) < 1e-5);
    assert_int_equal((int)number("prompts"), 1);
    assert_int_equal((int)number("rollouts"), 4);
    assert_int_equal((int)number("skipped"), 2);
    assert_int_equal(EVAL("--rollouts", in_root("rollouts.jsonl"), "--against", in_root("model")),
                     0);
    says("stdout", "gain +0.0000");
    says("stdout", "2 skipped");
}

/* --prompt-format: auto is raw where the model has no template; a template's letters are not in this
 * model's vocabulary, which shows that it was put. */
static void
test_prompt_format(void **state)
{
    char *one, *two;

    (void)state;
    assert_int_equal(SAMPLE("--max-tokens", "6", "--out", in_root("raw")), 0);
    assert_int_equal(SAMPLE("--max-tokens", "6", "--prompt-format", "auto"), 0);
    one = slurp(in_root("raw"));
    two = slurp(in_root("stdout"));
    assert_string_equal(one, two);
    free(one);
    free(two);
    assert_int_equal(SAMPLE("--prompt-format", "qwen2", "--system", "1"), 1);
    says("stderr", "the vocabulary lacks");
    assert_int_equal(EVAL("--prompts", in_root("prompts.jsonl"), "--prompt-format", "qwen2"), 1);
    says("stderr", "the vocabulary lacks");
    assert_int_equal(SAMPLE("--prompt-format", "chatml"), 2);
    says("stderr", "raw, auto, qwen2");
    assert_int_equal(SAMPLE("--system", "Be brief."), 2);
    says("stderr", "needs a prompt format");
    assert_int_equal(EVAL("--prompts", in_root("prompts.jsonl"), "--system", "x"), 2);
    put(in_root("model/chat_template.jinja"), "{{ '[INST]' }}");
    assert_int_equal(SAMPLE("--prompt-format", "auto"), 1);
    says("stderr", "its chat template ('{{ '[INST]");
    assert_int_equal(SAMPLE("--max-tokens", "6"), 0); /* raw does not look at it */
    unlink(in_root("model/chat_template.jinja"));
}

static void
test_refused(void **state)
{
    char bad[160];

    (void)state;
    strcpy(bad, in_root("bad.jsonl")); /* in_root's own room is used again */
    assert_int_equal(call(command_sample, in_root("model"), NULL), 2);
    says("stderr", "--prompts");
    assert_int_equal(SAMPLE("--verify", "odd"), 2);
    says("stderr", "'odd'");
    assert_int_equal(SAMPLE("--samples", "0"), 2);
    assert_int_equal(SAMPLE("--max-tokens", "0"), 2);
    assert_int_equal(SAMPLE("--temperature", "1000"), 2);
    assert_int_equal(SAMPLE("--rows", "1000000"), 2);
    assert_int_equal(call(command_eval, in_root("model"), NULL), 2);
    assert_int_equal(
        call(command_sample, in_root("none"), "--prompts", in_root("prompts.jsonl"), NULL), 1);
    says("stderr", "none");
    put(bad, "{\"prompt\": \"1\"}\n{\"prompt\": \"2\", \n");
    assert_int_equal(
        call(command_sample, in_root("model"), "--prompts", bad, "--out", in_root("out"), NULL), 1);
    says("stderr", "bad.jsonl:2: not JSON");
    put(bad, "{\"text\": \"1\"}\n");
    assert_int_equal(call(command_sample, in_root("model"), "--prompts", bad, NULL), 1);
    says("stderr", "bad.jsonl:1: 'prompt' is missing");
    put(bad, "{\"prompt\": \"1\", \"id\": \"x\"}\n{\"prompt\": \"1\", \"id\": \"x\"}\n");
    assert_int_equal(call(command_sample, in_root("model"), "--prompts", bad, NULL), 1);
    says("stderr", "'x' appeared before");
    put(bad, "{\"prompt\": \"1 abc\"}\n");
    assert_int_equal(
        call(command_sample, in_root("model"), "--prompts", bad, "--out", in_root("out"), NULL), 1);
    says("stderr", "lacks 3 characters");
    put(bad, "{\"prompt\": \"\"}\n");
    assert_int_equal(call(command_sample, in_root("model"), "--prompts", bad, NULL), 1);
    says("stderr", "no tokens");
    put(bad, "{\"prompt\": \"1111111111222222222233333333334444444444\"}\n");
    assert_int_equal(call(command_sample, in_root("model"), "--prompts", bad, NULL), 1);
    says("stderr", "bad.jsonl:1: the prompt has 40 tokens; the model has 40 positions");
    put(bad, "\n");
    assert_int_equal(call(command_sample, in_root("model"), "--prompts", bad, NULL), 1);
    says("stderr", "holds no prompt");
    put(bad, "{\"prompt\": \"1\"}\n");
    assert_int_equal(EVAL("--prompts", bad), 1);
    says("stderr", "'answer' is missing");
    assert_int_equal(EVAL("--rollouts", bad), 1);
    says("stderr", "'response'");
    assert_int_equal(EVAL("--prompts", in_root("absent")), 1);
    assert_int_equal(EVAL("--prompts", root), 1);
    assert_int_equal(access(in_root("out"), F_OK), -1);
    assert_int_equal(access(in_root("out.part"), F_OK), -1);
}

static void
near(double a, double b, double by)
{
    if (!(fabs(a - b) <= by))
        fail_msg("%.9g is not %.9g", a, b);
}

static void
test_interval(void **state)
{
    static const double values[] = {0.5, 0.25, 0.75, 1, 0}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                        none[10];
    struct interval i;

    (void)state;
    /* quantiles of Student's distribution, from tables */
    near(interval_student(1), 12.7062047, 1e-6);
    near(interval_student(2), 4.3026527, 1e-6);
    near(interval_student(3), 3.1824463, 0.02);
    near(interval_student(4), 2.7764451, 0.003);
    near(interval_student(10), 2.2281389, 1e-4);
    near(interval_student(30), 2.0422725, 1e-5);
    near(interval_student(499), 1.9647293, 1e-6);
    i = interval_of(values, 5);
    near(i.mean, 0.5, 1e-12);
    near(i.high, 0.5 + 2.7764451 * sqrt(0.15625 / 5), 0.001);
    near(i.low, 1 - i.high, 1e-12);
    i = interval_rate(ones, 10);
    near(i.low, 0.691503, 1e-6); /* Clopper-Pearson, 10 of 10 */
    near(i.high, 1, 0);
    i = interval_rate(none, 10);
    near(i.high, 1 - 0.691503, 1e-6);
    near(i.low, 0, 0);
    i = interval_rate((double[]){0.9, 0.0}, 2);
    near(i.low, 0, 0);
    near(i.high, 1, 0);
    assert_true(isinf(interval_of(values, 1).high));
    assert_true(isnan(interval_of(values, 0).mean));
    i = interval_share(8, 10); /* Wilson's, worked out by hand */
    near(i.mean, 0.8, 1e-12);
    near(i.low, 0.49016247153664183, 1e-12);
    near(i.high, 0.9433178485456247, 1e-12);
    i = interval_share(0, 10);
    near(i.low, 0, 0);
    near(i.high, 0.2775327998628892, 1e-12);
    near(interval_share(22, 22).high, 1, 0);
    near(interval_share(22, 22).low, 0.8513451253913791, 1e-12);
    assert_true(isnan(interval_share(0, 0).mean));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),   cmocka_unit_test(test_eval),
        cmocka_unit_test(test_margin),   cmocka_unit_test(test_prompt_format),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_interval),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
