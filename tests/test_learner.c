/* The learner alone: what it trains on, that only ordinals decide the bits, and what it refuses. A
 * character tokenizer and a model of a few thousand weights are made here. */
#include <dirent.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "kernels/model.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"
#include "tests/harness.h"

#define GROUP   4
#define SECONDS 30.0

static char folder[] = "/tmp/sluice-learner-XXXXXX";
static char base[128], tokenizer[128];

/* ---- fixtures ---- */

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
    snprintf(tokenizer, sizeof(tokenizer), "%s/tokenizer", folder);
    assert_int_equal(mkdir(tokenizer, 0777), 0);
    if (tokenizer_write_bytes(tokenizer, span_text("0123456789+-= \nax"), specials, 1, specials[0],
                              &e) < 0)
        fail_msg("%s", e.text);
    strcpy(config.family, "qwen2");
    config.vocab_size = 18;
    config.hidden_size = 16;
    config.intermediate_size = 32;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.max_position_embeddings = 256;
    config.eos_token_id = 0;
    if (model_init(&model, &config, &e) < 0)
        fail_msg("%s", e.text);
    model_randomise(&model, 5);
    if (model_save(&model, base, tokenizer, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&model);
    return 0;
}

static int
remove_base(void **state)
{
    char command[160];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static char *
file_text(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    char *text;

    if (!f)
        fail_msg("no file %s", path);
    fseek(f, 0, SEEK_END);
    *length = (size_t)ftell(f);
    rewind(f);
    text = xalloc(*length + 1);
    assert_int_equal(fread(text, 1, *length, f), *length);
    fclose(f);
    return text;
}

static char *
final_text(struct harness *h, const char *name, size_t *length)
{
    char *path = xprint("%s/checkpoints/final/%s", harness_dir(h), name),
         *text = file_text(path, length);

    free(path);
    return text;
}

/* The final weights of a finished learner, and close it. */
static char *
weights(struct harness *h, size_t *length)
{
    char *text;

    assert_true(harness_finished(h));
    text = final_text(h, "model.safetensors", length);
    harness_close(h);
    return text;
}

static void
same(char *a, size_t a_length, char *b, size_t b_length)
{
    assert_int_equal(a_length, b_length);
    assert_true(memcmp(a, b, a_length) == 0);
    free(a);
    free(b);
}

static void
different(char *a, size_t a_length, char *b, size_t b_length)
{
    assert_int_equal(a_length, b_length);
    assert_false(memcmp(a, b, a_length) == 0);
    free(a);
    free(b);
}

/* A number of one line of metrics.jsonl: the first line that has it, or the last. */
static double
metric(struct harness *h, const char *name, int last)
{
    size_t length;
    char *path = xprint("%s/checkpoints/final/../metrics.jsonl", harness_dir(h));
    char *text = file_text(path, &length), *key = xprint("\"%s\":", name), *at = NULL, *next = text;
    double value;

    while ((next = strstr(next, key))) {
        at = next;
        next += strlen(key);
        if (!last)
            break;
    }
    assert_non_null(at);
    value = atof(at + strlen(key));
    free(path);
    free(text);
    free(key);
    return value;
}

/* ---- data: rollout `i`; two of four are right. Wrong answers have a right first step. ---- */

struct made {
    char prompt[32], response[64], id[24];
    uint64_t ends[2];
    uint8_t labels[2];
    struct rollout rollout;
    struct labelled labelled;
};

static bool
is_right(uint64_t i)
{
    return i % GROUP < 2;
}

static void
make(struct made *m, uint64_t i, const char *wrong)
{
    int a = (int)(i / GROUP % 5), b = (int)(i / GROUP % 3);

    memset(m, 0, sizeof(*m));
    snprintf(m->id, sizeof(m->id), "r%" PRIu64, i);
    snprintf(m->prompt, sizeof(m->prompt), "%d+%d=", a, b);
    snprintf(m->response, sizeof(m->response), "%d+%d\n%d%s", a, b, a + b,
             is_right(i) ? "" : wrong);
    m->rollout = (struct rollout){.id = span_text(m->id),
                                  .prompt = span_text(m->prompt),
                                  .response = span_text(m->response),
                                  .reward = is_right(i),
                                  .group_mean = 0.5,
                                  .group_std = 0.5};
    m->ends[0] = 4;
    m->ends[1] = strlen(m->response);
    m->labels[0] = 1;
    m->labelled.rollout = m->rollout;
    m->labelled.ends = (struct u64s){2, m->ends};
    m->labelled.labels = (struct u8s){2, m->labels};
}

static const char *const both_links[] = {"labelled", "gems", "passed", "steps", NULL};
static const char *const passed_link[] = {"passed", "rollouts", NULL};

/* Link 0 labelled, 1 passed. */
static void
give(struct harness *h, uint64_t i, const char *wrong)
{
    struct made m;
    uint64_t first = i / GROUP * GROUP;

    make(&m, i, wrong);
    if (is_right(i)) {
        harness_give_closing(h, 0, i, first, GROUP, "routed");
        harness_give(h, 1, i, first, GROUP, &m.rollout);
    } else {
        harness_give(h, 0, i, first, GROUP, &m.labelled);
        harness_give_closing(h, 1, i, first, GROUP, "routed");
    }
}

static void
give_passed(struct harness *h, uint64_t i, const char *wrong)
{
    struct made m;

    make(&m, i, wrong);
    harness_give(h, 0, i, i / GROUP * GROUP, GROUP, &m.rollout);
}

static void
run(struct harness *h)
{
    struct error e = {0};

    if (harness_run(h, SECONDS, &e) < 0)
        fail_msg("%s", e.text);
}

#define OPTIONS_MAX 40

/* The base model, quick settings, and those given. */
static struct harness *
start(const char *const *links, const char *const *more)
{
    const char *options[OPTIONS_MAX] = {"model",          base, "lr",           "3e-3",
                                        "batch_rollouts", "8",  "batch_tokens", "64"};
    int n = 8;

    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    return harness_open("learner", links, options, NULL);
}

static const char *const nsa[] = {"objective", "bcpg_nsa", "tau", "0.05", "epochs", "2", NULL};

static char *
trained(const char *const *options, uint64_t count, size_t *length)
{
    struct harness *h = start(both_links, options);

    for (uint64_t i = 0; i < count; i++)
        give(h, i, "x");
    harness_end(h);
    run(h);
    return weights(h, length);
}

/* ---- tests ---- */

static void
sft_lowers_the_loss(void **state)
{
    static const char *const options[] = {"objective", "sft", "epochs", "20", NULL};
    struct harness *h = start(passed_link, options);

    (void)state;
    for (uint64_t i = 0; i < 32; i++)
        give_passed(h, i, "x");
    harness_end(h);
    run(h);
    assert_true(harness_finished(h));
    assert_true(metric(h, "loss", 0) > 2.0);
    assert_true(metric(h, "loss", 1) < 0.7 * metric(h, "loss", 0));
    assert_true(metric(h, "step", 1) == 20 * 4);
    harness_close(h);
}

static void
a_fresh_model_is_made_from_sizes(void **state)
{
    const char *options[] = {"tokenizer", tokenizer, "width",     "16", "layers",         "1",
                             "heads",     "2",       "positions", "64", "objective",      "sft",
                             "lr",        "1e-2",    "epochs",    "10", "batch_rollouts", "8",
                             NULL};
    struct harness *h = harness_open("learner", passed_link, options, NULL);
    struct model model;
    struct error e = {0};
    char *path;

    (void)state;
    for (uint64_t i = 0; i < 16; i++)
        give_passed(h, i, "x");
    harness_end(h);
    run(h);
    assert_true(metric(h, "loss", 1) < metric(h, "loss", 0));
    path = xprint("%s/checkpoints/final", harness_dir(h));
    if (model_open(&model, path, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(model.config.hidden_size, 16);
    assert_int_equal(model.config.vocab_size, 18);
    model_free(&model);
    free(path);
    harness_close(h);
}

static void
arrival_order_changes_nothing(void **state)
{
    size_t a, b;
    char *plain, *mixed;
    struct harness *h = start(both_links, nsa);

    (void)state;
    plain = trained(nsa, 48, &a);
    for (uint64_t i = 0; i < 48; i++) { /* 29 and 48 have no common factor: a permutation */
        give(h, i * 29 % 48, "x");
        if (i % 7 == 0)
            run(h);
    }
    harness_end(h);
    run(h);
    mixed = weights(h, &b);
    same(plain, a, mixed, b);
}

/* Kills at many places: each life is a little longer than the one before, so that it ends. */
static void
crashes_change_nothing(void **state)
{
    static const char *const options[] = {"objective", "bcpg_nsa",         "tau", "0.05", "epochs",
                                          "3",         "checkpoint_steps", "1",   NULL};
    size_t a, b;
    char *plain = trained(options, 48, &a), *killed;
    struct harness *h = start(both_links, options);
    double seconds = 0.001;
    int crashes = 0;

    (void)state;
    for (uint64_t i = 0; i < 48; i++)
        give(h, i, "x");
    harness_end(h);
    while (!harness_finished(h)) {
        struct error e = {0};

        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
        if (harness_finished(h))
            break;
        harness_crash(h);
        crashes++;
        seconds *= 1.15;
    }
    assert_true(crashes > 3);
    killed = weights(h, &b);
    same(plain, a, killed, b);
}

static void
a_restart_in_good_order_changes_nothing(void **state)
{
    size_t a, b;
    char *plain = trained(nsa, 24, &a), *again;
    struct harness *h = start(both_links, nsa);

    (void)state;
    for (uint64_t i = 0; i < 24; i++) {
        give(h, i, "x");
        if (i == 11) {
            run(h);
            harness_restart(h);
        }
    }
    harness_end(h);
    run(h);
    harness_restart(h);
    run(h);
    again = weights(h, &b);
    same(plain, a, again, b);
}

static void
rft_does_not_see_wrong_answers(void **state)
{
    static const char *const options[] = {"objective", "rft", "epochs", "2", NULL};
    char *text[2];
    size_t length[2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct harness *h = start(both_links, options);

        for (uint64_t i = 0; i < 24; i++)
            give(h, i, k ? "a" : "xx");
        harness_end(h);
        run(h);
        text[k] = weights(h, &length[k]);
    }
    same(text[0], length[0], text[1], length[1]);
}

static void
beta_one_is_bcpg(void **state)
{
    static const char *const one[] = {"objective", "bcpg_nsa", "beta", "1", "epochs", "2", NULL};
    static const char *const half[] = {"objective", "bcpg_nsa", "beta", "0.5", "epochs", "2", NULL};
    static const char *const bcpg[] = {"objective", "bcpg", "epochs", "2", NULL};
    size_t a, b, c, d;
    char *x = trained(one, 24, &a), *y = trained(bcpg, 24, &b), *z = trained(half, 24, &c),
         *w = trained(bcpg, 24, &d);

    (void)state;
    same(x, a, y, b);
    different(z, c, w, d);
}

static void
the_first_step_is_at_the_reference(void **state)
{
    struct harness *h = start(both_links, nsa);

    (void)state;
    for (uint64_t i = 0; i < 24; i++)
        give(h, i, "x");
    harness_end(h);
    run(h);
    assert_true(metric(h, "s/largest", 0) == 0);
    assert_true(metric(h, "s/largest", 1) > 0);
    assert_true(metric(h, "pull", 0) == 0);
    assert_true(metric(h, "gems/token_share", 0) > 0.1);
    harness_close(h);
}

static void
token_class_learns_labels(void **state)
{
    static const char *const options[] = {"objective", "token_class", "epochs", "30", NULL};
    struct harness *h = start(both_links, options);
    struct model model;
    struct error e = {0};
    char *path;

    (void)state;
    for (uint64_t i = 0; i < 48; i++)
        give(h, i, "x");
    harness_end(h);
    run(h);
    assert_true(fabs(metric(h, "loss", 0) - log(2)) < 0.2);
    assert_true(metric(h, "loss", 1) < 0.2);
    path = xprint("%s/checkpoints/final", harness_dir(h));
    if (model_open(&model, path, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(model.config.num_labels, 2);
    model_free(&model);
    free(path);
    harness_close(h);
}

static const char *const windows[] = {
    "objective", "bcpg_nsa",         "tau", "0.05", "follow", "true", "window", "10", "passes",
    "2",         "checkpoint_steps", "1",   NULL};

static void
windows_are_the_same_in_pieces(void **state)
{
    size_t a, b;
    char *joined = trained(windows, 44, &a), *pieces, *early;
    struct harness *h = start(both_links, windows);
    double seconds = 0.002;

    (void)state;
    for (uint64_t i = 0; i < 44; i++) {
        give(h, i ^ 1, "x");
        if (i % 9 == 8) {
            struct error e = {0};

            if (harness_run(h, seconds, &e) < 0)
                fail_msg("%s", e.text);
            harness_crash(h);
            seconds *= 1.5;
        }
        if (i == 30) {
            run(h);
            early = xprint("%s/checkpoints", harness_dir(h));
            assert_int_equal(access(early, F_OK), 0);
            free(early);
        }
    }
    harness_end(h);
    run(h);
    assert_true(metric(h, "window", 1) == 4); /* 12, 12, 12, 8 */
    pieces = weights(h, &b);
    same(joined, a, pieces, b);
}

/* The reference is the model the run began from: another one in its place is refused. */
static void
a_model_that_changed_is_refused(void **state)
{
    char *copy = xprint("%s/copy", folder);
    const char *options[] = {"model",  copy, "objective",        "bcpg_nsa", "follow", "true",
                             "window", "8",  "checkpoint_steps", "1",        NULL};
    struct harness *h;
    struct model model;
    struct error e = {0};

    (void)state;
    if (model_open(&model, base, &e) < 0 || model_save(&model, copy, tokenizer, &e) < 0)
        fail_msg("%s", e.text);
    h = harness_open("learner", both_links, options, NULL);
    for (uint64_t i = 0; i < 12; i++)
        give(h, i, "x");
    run(h);
    model.params[7] += 1;
    if (model_save(&model, copy, tokenizer, &e) < 0)
        fail_msg("%s", e.text);
    model_free(&model);
    assert_true(harness_restart_try(h, &e) < 0);
    assert_non_null(strstr(e.text, "model.safetensors: is not the file that this run began with"));
    harness_close(h);
    free(copy);
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

static void
bad_samples_are_dead_letters_and_the_rest_trains(void **state)
{
    static const char *const options[] = {"objective", "bcpg_nsa", "max_tokens", "40", NULL};
    struct harness *h = start(both_links, options);
    struct made m;
    char longer[64];
    int n = 0;

    (void)state;
    make(&m, 2, "x"); /* data on both inputs */
    harness_give(h, 0, 2, 0, GROUP, &m.labelled);
    harness_give(h, 1, 2, 0, GROUP, &m.rollout);
    run(h);
    dead(h, n++, "exclude each other");

    make(&m, 3, "x"); /* too long */
    memset(longer, '7', sizeof(longer));
    m.rollout.response = span_of(longer, sizeof(longer));
    harness_give_closing(h, 0, 3, 0, GROUP, "routed");
    harness_give(h, 1, 3, 0, GROUP, &m.rollout);
    run(h);
    dead(h, n++, "allow 40");

    make(&m, 6, "x"); /* characters the tokenizer lacks, in the prompt: nothing of the response */
    m.rollout.prompt = m.rollout.response = span_text("zq");
    harness_give_closing(h, 0, 6, 4, GROUP, "routed");
    harness_give(h, 1, 6, 4, GROUP, &m.rollout);
    run(h);
    harness_dead_text(h, n, longer, sizeof(longer));
    assert_int_equal(strncmp(longer, "the prompt has 2 characters", 27), 0);
    dead(h, n++, "tokenizer lacks");

    make(&m, 7, "x");
    m.rollout.reward = NAN;
    harness_give_closing(h, 0, 7, 4, GROUP, "routed");
    harness_give(h, 1, 7, 4, GROUP, &m.rollout);
    run(h);
    dead(h, n++, "not a finite number");

    make(&m, 10, "x"); /* steps that do not tile */
    m.ends[1]--;
    harness_give(h, 0, 10, 8, GROUP, &m.labelled);
    harness_give_closing(h, 1, 10, 8, GROUP, "routed");
    run(h);
    dead(h, n++, "step");

    make(&m, 11, "x");
    m.labelled.labels.count = 1;
    harness_give(h, 0, 11, 8, GROUP, &m.labelled);
    harness_give_closing(h, 1, 11, 8, GROUP, "routed");
    run(h);
    dead(h, n++, "1 labels for 2 steps");

    for (uint64_t i = 0; i < 12; i++)
        if (i % GROUP < 2)
            give(h, i, "x");
    harness_end(h);
    run(h);
    assert_int_equal(harness_dead_count(h), n);
    assert_true(metric(h, "samples", 1) == 6);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
an_empty_input_ends_with_the_initial_model(void **state)
{
    static const char *const options[] = {"objective", "sft", NULL};
    struct harness *h = start(passed_link, options);
    char *path = xprint("%s/model.safetensors", base), *before, *after;
    size_t a, b;

    (void)state;
    harness_end(h);
    run(h);
    before = file_text(path, &a);
    after = weights(h, &b);
    same(before, a, after, b);
    free(path);
}

/* Weights that explode: the steps after it are skipped and said, and the process ends with one
 * line. */
static void
a_broken_model_is_not_trained_further(void **state)
{
    static const char *const options[] = {
        "objective",    "sft", "lr",     "1",  "clip",         "0",    "eps", "1e-30",
        "weight_decay", "10",  "epochs", "30", "on_nonfinite", "skip", NULL};
    struct harness *h = start(passed_link, options);
    struct error e = {0};

    (void)state;
    for (uint64_t i = 0; i < 16; i++)
        give_passed(h, i, "x");
    harness_end(h);
    assert_true(harness_run(h, SECONDS, &e) < 0);
    assert_non_null(strstr(e.text, "steps in a row were skipped"));
    assert_false(harness_finished(h));
    harness_close(h);
}

/* A kill between the rename of a checkpoint and the commit that names it leaves a folder nobody
 * names. */
static void
orphans_are_removed(void **state)
{
    struct harness *h = start(both_links, nsa);
    char *dir = xprint("%s/checkpoints", harness_dir(h)), *inner, *orphan, *half, *file;
    DIR *d = opendir(dir);
    struct dirent *row;

    (void)state;
    assert_non_null(d);
    for (row = readdir(d); row && row->d_name[0] == '.'; row = readdir(d))
        ;
    assert_non_null(row);
    inner = xprint("%s/%s", dir, row->d_name);
    closedir(d);
    orphan = xprint("%s/step-99", inner);
    half = xprint("%s/step-7.making", inner);
    file = xprint("%s/model.safetensors", half);
    assert_int_equal(mkdir(orphan, 0777) | mkdir(half, 0777), 0);
    fclose(fopen(file, "w"));
    harness_crash(h);
    assert_int_not_equal(access(orphan, F_OK), 0);
    assert_int_not_equal(access(half, F_OK), 0);
    for (uint64_t i = 0; i < 16; i++)
        give(h, i, "x");
    harness_end(h);
    run(h);
    assert_true(harness_finished(h));
    free(dir);
    free(inner);
    free(orphan);
    free(half);
    free(file);
    harness_close(h);
}

static void
refused(const char *const *links, const char *const *options, const char *words)
{
    struct error e = {0};
    struct harness *h = harness_open("learner", links, options, &e);

    assert_null(h);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
}

static void
check_refuses_what_cannot_work(void **state)
{
    const char *mixture[] = {"model",  base, "objective", "sft", "follow", "true",
                             "window", "8",  "epochs",    "2",   NULL};
    const char *no_window[] = {"model", base, "objective", "sft", "follow", "true", NULL};
    const char *passes[] = {"model", base, "objective", "sft", "passes", "2", NULL};
    const char *nothing[] = {"objective", "sft", NULL};
    const char *missing[] = {"model", "/nonexistent/model", "objective", "sft", NULL};
    const char *unlabelled[] = {"model", base, "objective", "bcpg_nsa", NULL};
    const char *classes[] = {"model", base, "objective", "token_class", NULL};
    const char *sizes[] = {"model", base, "objective", "sft", "width", "64", NULL};
    const char *lr[] = {"model", base, "objective", "sft", "lr", "1e-5", "lr_min", "1e-3", NULL};

    (void)state;
    refused(passed_link, mixture, "not epochs");
    refused(passed_link, no_window, "window");
    refused(passed_link, passes, "epochs");
    refused(passed_link, nothing, "width");
    refused(passed_link, missing, "/nonexistent/model");
    refused(passed_link, unlabelled, "labelled");
    refused(passed_link, classes, "labelled");
    refused(passed_link, sizes, "fresh");
    refused(passed_link, lr, "above lr");
}

static void
the_manifest_is_the_same_for_the_same_input(void **state)
{
    char *text[2];
    size_t length[2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct harness *h = start(both_links, nsa);

        for (uint64_t i = 0; i < 16; i++)
            give(h, k ? 15 - i : i, "x");
        harness_end(h);
        run(h);
        text[k] = final_text(h, "manifest.json", &length[k]);
        assert_non_null(strstr(text[k], "\"input_samples\": 16"));
        assert_null(strstr(text[k], folder));
        harness_close(h);
    }
    same(text[0], length[0], text[1], length[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_lowers_the_loss),
        cmocka_unit_test(a_fresh_model_is_made_from_sizes),
        cmocka_unit_test(arrival_order_changes_nothing),
        cmocka_unit_test(crashes_change_nothing),
        cmocka_unit_test(a_restart_in_good_order_changes_nothing),
        cmocka_unit_test(rft_does_not_see_wrong_answers),
        cmocka_unit_test(beta_one_is_bcpg),
        cmocka_unit_test(the_first_step_is_at_the_reference),
        cmocka_unit_test(token_class_learns_labels),
        cmocka_unit_test(windows_are_the_same_in_pieces),
        cmocka_unit_test(a_model_that_changed_is_refused),
        cmocka_unit_test(bad_samples_are_dead_letters_and_the_rest_trains),
        cmocka_unit_test(an_empty_input_ends_with_the_initial_model),
        cmocka_unit_test(orphans_are_removed),
        cmocka_unit_test(a_broken_model_is_not_trained_further),
        cmocka_unit_test(check_refuses_what_cannot_work),
        cmocka_unit_test(the_manifest_is_the_same_for_the_same_input),
    };

    return cmocka_run_group_tests_name("learner", tests, make_base, remove_base);
}
