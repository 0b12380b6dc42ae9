/* llm_judge with backend local, and prm_judge: scores against a plain computation of the same, and
 * the same bytes whatever the order, the batch, the neighbours and the crashes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"
#include "nodes/spans.h"
#include "tests/harness.h"
#include "tests/tiny_model.h"

#define UNITS     12
#define STEPS_MAX 48

static const char *const links[] = {"in", "steps", NULL};
static char folder[] = "/tmp/sluice-judges-XXXXXX";
static char *critic, *prm, *template;

static int
make_models(void **state)
{
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    critic = xprint("%s/critic", folder);
    prm = xprint("%s/prm", folder);
    template = xprint("%s/critic.txt", folder);
    tiny_model_make(critic, 0, 3);
    tiny_model_make(prm, 2, 4);
    f = fopen(template, "w");
    assert_non_null(f);
    fputs("{{problem}}{{previous}}{{step}}?\n", f);
    fclose(f);
    return 0;
}

static int
remove_models(void **state)
{
    (void)state;
    tiny_model_remove(folder);
    free(critic);
    free(prm);
    free(template);
    return 0;
}

static struct harness *
open_judge(const char *kind)
{
    const char *local[] = {"backend",   "local", "model",    critic, "prompt", template,
                           "yes_token", "y",     "no_token", "n",    NULL};
    const char *reward[] = {"model", prm, NULL};

    return harness_open(kind, links, strcmp(kind, "llm_judge") == 0 ? local : reward, NULL);
}

/* Rollout i: 1 to 5 lines; rollout 7 has so many that its questions fill several batches. */
struct sample {
    char prompt[32], response[1200];
    uint64_t ends[STEPS_MAX];
    struct steps steps;
};

static void
make_sample(struct sample *s, int i)
{
    int count = i == 7 ? STEPS_MAX : 1 + i % 5;
    uint64_t length = 0;

    memset(s, 0, sizeof(*s));
    snprintf(s->prompt, sizeof(s->prompt), "%d+%d-3=?", i, 7 * i % 10);
    for (int k = 0; k < count; k++) {
        int wrote = snprintf(s->response + length, sizeof(s->response) - length,
                             i == 7 ? "%d\n" : "%d+%d=wait\n", i * 37 % 10 + k, k);
        length += (uint64_t)wrote;
        s->ends[k] = length;
    }
    s->steps = (struct steps){
        .rollout = {.prompt = span_text(s->prompt), .response = span_text(s->response)},
        .ends = {count, s->ends}};
}

static void
give(struct harness *h, int i)
{
    struct sample s;

    make_sample(&s, i);
    harness_give(h, 0, (uint64_t)i, (uint64_t)i, 1, &s.steps);
}

/* Takes every vote there is into votes[ordinal]; how many came. */
static int
collect(struct harness *h, struct buffer *votes)
{
    struct harness_message m;
    int count = 0;

    while (harness_take(h, "votes", &m)) {
        assert_true(m.ordinal < UNITS && !m.closing);
        assert_int_equal(votes[m.ordinal].length, 0);
        buffer_add(&votes[m.ordinal], m.body.at, m.body.length);
        count++;
    }
    return count;
}

static void
run(struct harness *h)
{
    struct error e = {0};

    if (harness_run(h, 10, &e) != 0)
        fail_msg("%s", e.text);
}

static void
expect_same(struct buffer *a, struct buffer *b)
{
    for (int i = 0; i < UNITS; i++) {
        assert_true(a[i].length > 0);
        assert_int_equal(a[i].length, b[i].length);
        assert_memory_equal(a[i].at, b[i].at, a[i].length);
        buffer_clear(&b[i]);
    }
}

static void
same_bytes(const char *kind)
{
    struct buffer all[UNITS] = {0}, other[UNITS] = {0};
    struct harness *h = open_judge(kind);

    for (int i = 0; i < UNITS; i++)
        give(h, i);
    run(h);
    assert_int_equal(collect(h, all), UNITS);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
    h = open_judge(kind);
    for (int i = UNITS - 1; i >= 0; i--) { /* one at a time, from behind */
        give(h, i);
        run(h);
        assert_int_equal(collect(h, other), 1);
    }
    harness_close(h);
    expect_same(all, other);
    for (int i = 0; i < UNITS; i++) { /* each in a process of its own */
        h = open_judge(kind);
        give(h, i);
        run(h);
        assert_int_equal(collect(h, other), 1);
        harness_close(h);
    }
    expect_same(all, other);
    h = open_judge(kind);
    for (int i = 0; i < UNITS; i++) { /* killed after every arrival */
        struct error e = {0};
        give(h, i);
        assert_int_equal(harness_run(h, 0, &e), 0);
        harness_crash(h);
    }
    run(h);
    assert_int_equal(collect(h, other), UNITS);
    harness_close(h);
    expect_same(all, other);
    for (int i = 0; i < UNITS; i++) {
        buffer_free(&all[i]);
        buffer_free(&other[i]);
    }
}

static void
llm_votes_are_the_same_bytes_in_any_batch(void **state)
{
    (void)state;
    same_bytes("llm_judge");
}

static void
prm_votes_are_the_same_bytes_in_any_batch(void **state)
{
    (void)state;
    same_bytes("prm_judge");
}

/* p(1) of two logits of the last token of `text`, said plainly: one sequence, sums in double. Of a
 * single label, class_0 and class_1 are the same and the other logit is 0. */
static double
plain_score(struct model *m, struct tokenizer *t, const char *text, int64_t class_0,
            int64_t class_1)
{
    struct tokens tokens = {0};
    struct error e = {0};
    struct decoder *d;
    struct batch b = {.sequences = 1};
    struct head head = head_of(m);
    const float *hidden;
    double z[2] = {0};

    assert_int_equal(tokenizer_encode(t, span_text(text), 0, &tokens, &e), 0);
    b.tokens = tokens.count;
    b.ids = tokens.ids;
    b.starts = (int64_t[]){0, tokens.count};
    d = decoder_new(m, tokens.count, 0);
    hidden = decoder_forward(d, m, &b) + (tokens.count - 1) * head.hidden;
    for (int64_t k = 0; k < head.hidden; k++) {
        z[0] += (double)hidden[k] * head.weight[class_0 * head.hidden + k];
        z[1] += (double)hidden[k] * head.weight[class_1 * head.hidden + k];
    }
    if (head.bias) {
        z[0] += head.bias[class_0];
        z[1] += head.bias[class_1];
    }
    decoder_free(d);
    tokens_free(&tokens);
    return 1 / (1 + exp(class_0 == class_1 ? -z[1] : z[0] - z[1]));
}

static void
plain(const char *kind, const char *dir, const char *tail, const char *no, const char *yes)
{
    struct error e = {0};
    struct model m;
    struct tokenizer *t = tokenizer_open(dir, &e);
    struct buffer votes[UNITS] = {0};
    struct harness *h = open_judge(kind);
    struct arena arena = {0};
    double least = 1, most = 0;

    assert_non_null(t);
    assert_int_equal(model_open(&m, dir, &e), 0);
    for (int i = 0; i < UNITS; i++)
        give(h, i);
    run(h);
    assert_int_equal(collect(h, votes), UNITS);
    for (int i = 0; i < UNITS; i++) {
        struct sample s;
        struct vote v;
        make_sample(&s, i);
        assert_int_equal(message_read(MESSAGE_vote, buffer_span(&votes[i]), &v, &arena, &e), 0);
        assert_int_equal(v.scores.count, s.steps.ends.count);
        assert_true(v.abstain.length == 0 && v.tokens_in > 0);
        for (int64_t k = 0; k < v.scores.count; k++) {
            char text[1400];
            double wanted;
            snprintf(text, sizeof(text), "%s%.*s%s", s.prompt, (int)s.ends[k], s.response, tail);
            wanted = plain_score(&m, t, text, no ? tokenizer_id(t, no) : 0,
                                 yes ? tokenizer_id(t, yes) : 1);
            assert_true(v.said.at[k] == 1);
            assert_true(fabs(v.scores.at[k] - wanted) < 1e-5);
            least = fmin(least, wanted);
            most = fmax(most, wanted);
        }
    }
    assert_true(most - least > 0.1); /* the scores are not all alike, or this shows nothing */
    for (int i = 0; i < UNITS; i++)
        buffer_free(&votes[i]);
    arena_free(&arena);
    model_free(&m);
    tokenizer_close(t);
    harness_close(h);
}

static void
llm_scores_are_the_verdicts_after_the_question(void **state)
{
    (void)state;
    plain("llm_judge", critic, "?", "n", "y");
}

/* The expected mark of the last token of `text`, renormalised: softmax of all logits, in double. */
static void
plain_mark(struct model *m, struct tokenizer *t, const char *text, double *score, double *outside)
{
    struct tokens tokens = {0};
    struct error e = {0};
    struct head head = head_of(m);
    double sum = 0, mean = 0, mass = 0;

    assert_int_equal(tokenizer_encode(t, span_text(text), 0, &tokens, &e), 0);
    struct batch b = {.tokens = tokens.count, .ids = tokens.ids, .sequences = 1,
                      .starts = (int64_t[]){0, tokens.count}};
    struct decoder *d = decoder_new(m, tokens.count, 0);
    const float *hidden = decoder_forward(d, m, &b) + (tokens.count - 1) * head.hidden;
    for (int64_t v = 0; v < head.vocab; v++) {
        const char *name = tokenizer_token(t, (int32_t)v);
        double z = head.bias ? head.bias[v] : 0;
        for (int64_t k = 0; k < head.hidden; k++)
            z += (double)hidden[k] * head.weight[v * head.hidden + k];
        sum += exp(z);
        if (name && name[0] >= '1' && name[0] <= '5' && !name[1]) {
            mean += (name[0] - '0') * exp(z);
            mass += exp(z);
        }
    }
    *score = (mean / mass - 1) / 4;
    *outside = 1 - mass / sum;
    decoder_free(d);
    tokens_free(&tokens);
}

static void
llm_scores_are_the_expected_marks_among_all_tokens(void **state)
{
    const char *options[] = {"backend", "local", "model",       critic, "scoring", "expected",
                             "prompt",  NULL,    "renormalise", "true", NULL};
    char *path = xprint("%s/marks.txt", folder);
    FILE *f = fopen(path, "w");
    struct error e = {0};
    struct model m;
    struct tokenizer *t = tokenizer_open(critic, &e);
    struct buffer votes[UNITS] = {0};
    struct arena arena = {0};
    struct harness *h;

    (void)state;
    assert_non_null(f);
    fputs("{{@form score}}\n{{problem}}{{previous}}{{step}}?\n", f);
    fclose(f);
    options[7] = path;
    assert_int_equal(model_open(&m, critic, &e), 0);
    h = harness_open("llm_judge", links, options, NULL);
    for (int i = 0; i < UNITS; i++)
        give(h, i);
    run(h);
    assert_int_equal(collect(h, votes), UNITS);
    for (int i = 0; i < UNITS; i++) {
        struct sample s;
        struct vote v;
        make_sample(&s, i);
        assert_int_equal(message_read(MESSAGE_vote, buffer_span(&votes[i]), &v, &arena, &e), 0);
        assert_int_equal(v.outside.count, s.steps.ends.count);
        for (int64_t k = 0; k < v.scores.count; k++) {
            char text[1400];
            double score, outside;
            snprintf(text, sizeof(text), "%s%.*s?", s.prompt, (int)s.ends[k], s.response);
            plain_mark(&m, t, text, &score, &outside);
            assert_true(v.said.at[k] == 1 && outside < 1);
            assert_true(fabs((double)v.scores.at[k] - score) < 1e-5);
            assert_true(fabs((double)v.outside.at[k] - outside) < 1e-5);
        }
        buffer_free(&votes[i]);
    }
    arena_free(&arena);
    model_free(&m);
    tokenizer_close(t);
    harness_close(h);
    free(path);
}

static void
prm_scores_are_class_one_at_step_ends(void **state)
{
    (void)state;
    plain("prm_judge", prm, "", NULL, NULL);
}

/* A head of two layers is scored through both. */
static void
prm_scores_with_the_process_reward_head(void **state)
{
    char *token = prm;

    (void)state;
    prm = xprint("%s/process", folder);
    tiny_model_make_head(prm, MODEL_HEAD_process, 2, 6);
    plain("prm_judge", prm, "", NULL, NULL);
    free(prm);
    prm = token;
}

/* A classifier of sequences says one thing of a response: at its end, of its last step. */
static void
sequence_classifier(int64_t labels)
{
    char *token = prm;
    struct error e = {0};
    struct buffer votes[UNITS] = {0};
    struct arena arena = {0};
    struct tokenizer *t;
    struct harness *h;
    struct model m;

    prm = xprint("%s/sequence%d", folder, (int)labels);
    tiny_model_make_head(prm, MODEL_HEAD_sequence, labels, 7);
    t = tokenizer_open(prm, &e);
    assert_int_equal(model_open(&m, prm, &e), 0);
    h = open_judge("prm_judge");
    for (int i = 0; i < UNITS; i++)
        give(h, i);
    run(h);
    assert_int_equal(collect(h, votes), UNITS);
    for (int i = 0; i < UNITS; i++) {
        char text[1400];
        struct sample s;
        struct vote v;
        int64_t last;

        make_sample(&s, i);
        last = s.steps.ends.count - 1;
        assert_int_equal(message_read(MESSAGE_vote, buffer_span(&votes[i]), &v, &arena, &e), 0);
        for (int64_t k = 0; k <= last; k++)
            assert_int_equal(v.said.at[k], k == last);
        snprintf(text, sizeof(text), "%s%s", s.prompt, s.response);
        assert_true(fabs(v.scores.at[last] - plain_score(&m, t, text, 0, labels - 1)) < 1e-5);
        buffer_free(&votes[i]);
    }
    harness_close(h);
    arena_free(&arena);
    model_free(&m);
    tokenizer_close(t);
    free(prm);
    prm = token;
}

static void
prm_scores_a_response_with_a_sequence_classifier(void **state)
{
    (void)state;
    sequence_classifier(1);
    sequence_classifier(2);
}

/* One steps message in, its vote out. */
static struct vote
one(struct harness *h, const struct steps *steps, struct buffer *body, struct arena *arena)
{
    struct harness_message m;
    struct vote v;
    struct error e = {0};

    harness_give(h, 0, 0, 0, 1, steps);
    run(h);
    assert_true(harness_take(h, "votes", &m));
    buffer_clear(body);
    buffer_add(body, m.body.at, m.body.length);
    assert_int_equal(message_read(MESSAGE_vote, buffer_span(body), &v, arena, &e), 0);
    return v;
}

static void
what_a_model_cannot_read_is_abstained_on(void **state)
{
    static const char *const kinds[] = {"llm_judge", "prm_judge"};
    struct buffer text = {0}, body = {0};
    struct arena arena = {0};

    (void)state;
    for (int i = 0; i < TINY_POSITIONS + 1; i++)
        buffer_text(&text, "7");
    for (int k = 0; k < 2; k++) {
        uint64_t end = text.length;
        struct steps steps = {.rollout = {.prompt = span_text("1"), .response = buffer_span(&text)},
                              .ends = {1, &end}};
        struct harness *h = open_judge(kinds[k]);
        struct vote v = one(h, &steps, &body, &arena);
        assert_non_null(memmem(v.abstain.at, v.abstain.length, "tokens, the model takes 512", 27));
        assert_int_equal(harness_dead_count(h), 1);
        harness_close(h);
        h = open_judge(kinds[k]);
        end = 3; /* beyond the response */
        steps.rollout.response = span_text("ab");
        v = one(h, &steps, &body, &arena);
        assert_true(v.abstain.length > 0);
        assert_int_equal(harness_dead_count(h), 1);
        harness_close(h);
    }
    buffer_free(&text);
    buffer_free(&body);
    arena_free(&arena);
}

static void
one_question_too_long_leaves_the_others(void **state)
{
    struct buffer text = {0}, body = {0};
    struct arena arena = {0};
    uint64_t ends[] = {3, 3 + TINY_POSITIONS};
    struct steps steps = {.ends = {2, ends}, .rollout = {.prompt = span_text("1")}};
    struct harness *h = open_judge("llm_judge");
    struct vote v;

    (void)state;
    for (int i = 0; i < TINY_POSITIONS + 3; i++)
        buffer_text(&text, "7");
    steps.rollout.response = buffer_span(&text);
    v = one(h, &steps, &body, &arena);
    assert_int_equal(v.abstain.length, 0);
    assert_true(v.said.at[0] == 1 && v.said.at[1] == 0);
    assert_non_null(memmem(v.reasons.at[1].at, v.reasons.at[1].length, "the model takes 512", 19));
    harness_close(h);
    buffer_free(&text);
    buffer_free(&body);
    arena_free(&arena);
}

static void
a_response_cannot_forge_a_special_token(void **state)
{
    struct buffer body = {0};
    struct arena arena = {0};
    uint64_t end = 10;
    struct steps steps = {
        .rollout = {.prompt = span_text("1"), .response = span_text("ok " TINY_SPECIAL)},
        .ends = {1, &end}};
    struct harness *h = open_judge("llm_judge");
    struct vote v = one(h, &steps, &body, &arena);

    (void)state;
    assert_non_null(memmem(v.abstain.at, v.abstain.length, "special token '<|end|>'", 23));
    harness_close(h);
    h = open_judge("prm_judge"); /* reads it as text, which the tiny vocabulary knows letters of */
    v = one(h, &steps, &body, &arena);
    assert_true(v.abstain.length == 0 && v.said.at[0] == 1);
    harness_close(h);
    buffer_free(&body);
    arena_free(&arena);
}

static void
steps_without_a_token_are_not_spoken_of(void **state)
{
    struct buffer body = {0};
    struct arena arena = {0};
    uint64_t ends[] = {2, 4};
    struct steps steps = {.rollout = {.prompt = span_text("1"), .response = span_text("XXab")},
                          .ends = {2, ends}};
    struct harness *h = open_judge("prm_judge");
    struct vote v = one(h, &steps, &body, &arena);

    (void)state;
    assert_int_equal(v.abstain.length, 0);
    assert_true(v.said.at[0] == 0 && v.said.at[1] == 1);
    harness_close(h);
    h = open_judge("llm_judge");
    steps = (struct steps){.rollout = {.prompt = span_text("1")}};
    v = one(h, &steps, &body, &arena);
    assert_true(v.abstain.length == 0 && v.scores.count == 0);
    harness_close(h);
    buffer_free(&body);
    arena_free(&arena);
}

static void
models_that_do_not_fit_are_refused_by_check(void **state)
{
    const struct {
        const char *kind, *options[10], *words;
    } rows[] = {
        {"prm_judge", {"model", critic, NULL}, "not a reward model"},
        {"prm_judge", {"model", folder, NULL}, "config.json"},
        {"llm_judge", {"backend", "local", "model", prm, NULL}, "not a language model"},
        {"llm_judge", {"backend", "local", "model", critic, NULL}, "is not one token"},
        {"llm_judge",
         {"backend", "local", "model", critic, "yes_token", "y", "no_token", "no"},
         "no_token"},
        {"llm_judge",
         {"backend", "local", "model", critic, "yes_token", "y", "no_token", "y"},
         "same token"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error e = {0};
        if (harness_open(rows[i].kind, links, rows[i].options, &e))
            fail_msg("row %zu was not refused", i);
        if (!strstr(e.text, rows[i].words))
            fail_msg("row %zu: '%s'", i, e.text);
    }
}

/* Flips one byte near the end of a file, without changing its size; flipping it again puts it back. */
static void
flip(const char *dir, const char *name)
{
    char *path = xprint("%s%s", dir, name);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    fputc(byte ^ 1, f);
    fclose(f);
    free(path);
}

static void
what_a_run_began_with_may_not_change(void **state)
{
    const struct { const char *kind, *dir, *name; } rows[] = {
        {"prm_judge", prm, "/model.safetensors"},
        {"llm_judge", critic, "/model.safetensors"},
        {"llm_judge", template, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error e = {0};
        struct harness *h = open_judge(rows[i].kind);
        flip(rows[i].dir, rows[i].name);
        flip(rows[i].dir, rows[i].name);        /* other time, same bytes */
        harness_restart(h);
        flip(rows[i].dir, rows[i].name);
        assert_true(harness_restart_try(h, &e) < 0);
        assert_non_null(strstr(e.text, "is not the file that this run began with"));
        harness_close(h);
        flip(rows[i].dir, rows[i].name);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llm_scores_are_the_verdicts_after_the_question),
        cmocka_unit_test(llm_scores_are_the_expected_marks_among_all_tokens),
        cmocka_unit_test(prm_scores_are_class_one_at_step_ends),
        cmocka_unit_test(prm_scores_with_the_process_reward_head),
        cmocka_unit_test(prm_scores_a_response_with_a_sequence_classifier),
        cmocka_unit_test(llm_votes_are_the_same_bytes_in_any_batch),
        cmocka_unit_test(prm_votes_are_the_same_bytes_in_any_batch),
        cmocka_unit_test(what_a_model_cannot_read_is_abstained_on),
        cmocka_unit_test(one_question_too_long_leaves_the_others),
        cmocka_unit_test(a_response_cannot_forge_a_special_token),
        cmocka_unit_test(steps_without_a_token_are_not_spoken_of),
        cmocka_unit_test(what_a_run_began_with_may_not_change),
        cmocka_unit_test(models_that_do_not_fit_are_refused_by_check),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
