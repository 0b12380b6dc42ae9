/* noise: losses and weights of labelled steps against scikit-learn and PLReMix's formulas
 * (tests/golden/mixture.txt), records, what has no split, and a learner that believes them: the
 * same bytes whatever the order of arrival and the kills. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/random.h"
#include "nodes/learner/noise.h"
#include "tests/learning.h"

#define STEPS_MAX 128
#define WIDTH     6

/* ---- the golden steps ---- */

struct golden_steps {
    int count;
    uint8_t labels[STEPS_MAX];
    float means[STEPS_MAX], vectors[STEPS_MAX * WIDTH];
    double vote[STEPS_MAX], prototype[STEPS_MAX], weight[STEPS_MAX];
};

static void
read_steps(struct golden_steps *g)
{
    FILE *f = fopen("tests/golden/mixture.txt", "r");
    char line[400];
    int width = 0, label;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) && sscanf(line, "steps %d %d", &g->count, &width) != 2)
        continue;
    assert_true(width == WIDTH && g->count <= STEPS_MAX);
    for (int i = 0; i < g->count; i++) {
        assert_int_equal(fscanf(f, "%d %f %lf %lf %lf", &label, &g->means[i], &g->vote[i],
                                &g->prototype[i], &g->weight[i]),
                         5);
        g->labels[i] = (uint8_t)label;
        for (int d = 0; d < WIDTH; d++)
            assert_int_equal(fscanf(f, "%f", &g->vectors[i * WIDTH + d]), 1);
    }
    fclose(f);
}

/* Samples of `each` steps from the golden ones; *left: how many the last has. */
static struct noise_record
part_of(const struct golden_steps *g, int from, int each)
{
    return (struct noise_record){.steps = from + each > g->count ? g->count - from : each,
                                 .width = WIDTH,
                                 .means = g->means + from,
                                 .vectors = g->vectors + from * WIDTH,
                                 .labels = g->labels + from};
}

static void
weigh(struct noise *n, const struct golden_steps *g, int each, enum noise_mode mode)
{
    const char *why = NULL;

    noise_begin(n, mode, false);
    for (int i = 0; i < g->count; i += each) {
        struct noise_record r = part_of(g, i, each);
        noise_look(n, &r);
    }
    for (int i = 0; i < g->count; i += each) {
        struct noise_record r = part_of(g, i, each);
        noise_measure(n, &r);
    }
    if (n->steps > 1) { /* before they are scaled */
        assert_true(fabs(n->losses[0] - g->vote[0]) < 1e-6);
        for (int i = 0; i < g->count; i++)
            assert_true(fabs(n->losses[2 * i + 1] - g->prototype[i]) < 1e-9);
    }
    if (!noise_fit(n, &why))
        fail_msg("%s", why);
}

static void
weights_are_those_of_scikit_learn(void **state)
{
    static struct golden_steps g;
    struct noise n = {0}, other = {0}, hard = {0};
    double sum = 0;

    (void)state;
    read_steps(&g);
    weigh(&n, &g, 7, NOISE_soft);
    weigh(&other, &g, g.count, NOISE_soft); /* all in one sample: the same steps */
    weigh(&hard, &g, 7, NOISE_hard);
    assert_int_equal(n.steps, g.count);
    assert_int_equal(n.samples, (g.count + 6) / 7);
    for (int i = 0; i < g.count; i++) {
        if (!(fabs((double)n.weights[i] - g.weight[i]) < 1e-6))
            fail_msg("step %d: %.9g, golden %.9g", i, (double)n.weights[i], g.weight[i]);
        assert_true(n.weights[i] == other.weights[i]);
        assert_true(hard.weights[i] == (g.weight[i] > 0.5));
        sum += g.weight[i];
    }
    assert_true(fabs(n.mean - sum / g.count) < 1e-6);
    noise_free(&n);
    noise_free(&other);
    noise_free(&hard);
}

/* What cannot be split keeps the weight 1, and says why. */
static void
without_a_split_every_label_is_believed(void **state)
{
    static struct golden_steps g;
    static const char *const words[] = {"too few", "one label", "votes say the same",
                                        "vectors of all steps are alike", "no step comes"};

    (void)state;
    for (int what = 0; what < 5; what++) {
        struct noise n = {0};
        struct noise_record r;
        const char *why;

        read_steps(&g);
        for (int i = 0; i < g.count; i++) {
            if (what == 1)
                g.labels[i] = 1;
            if (what == 2)
                g.means[i] = 0.5f;
            for (int d = 0; what == 3 && d < WIDTH; d++)
                g.vectors[i * WIDTH + d] = d == g.labels[i];
        }
        r = part_of(&g, 0, what == 0 ? NOISE_STEPS_MIN - 1 : g.count);
        noise_begin(&n, NOISE_soft, false);
        noise_look(&n, what == 4 ? NULL : &r);
        noise_measure(&n, what == 4 ? NULL : &r);
        if (noise_fit(&n, &why) || !strstr(why, words[what]))
            fail_msg("%d: %s", what, why ? why : "split");
        for (int64_t i = 0; i < n.steps; i++)
            assert_true(n.weights[i] == 1);
        noise_free(&n);
    }
}

/* Unknown labels, vectors of nothing and of another width do not count and keep the weight 1. */
static void
steps_that_do_not_count_change_nothing(void **state)
{
    static struct golden_steps g;
    struct noise n = {0}, more = {0};
    uint8_t labels[] = {2, 0, 1};
    float means[] = {0.5f, 0.9f, 0.1f}, vectors[3 * WIDTH] = {1, 1, 1, 1, 1, 1};
    struct noise_record odd = {.steps = 3, .width = WIDTH, .means = means, .vectors = vectors,
                               .labels = labels},
                        wide = odd, r;
    const char *why;

    (void)state;
    wide.width = 2;
    read_steps(&g);
    weigh(&n, &g, g.count, NOISE_soft);
    r = part_of(&g, 0, g.count);
    noise_begin(&more, NOISE_soft, false);
    noise_look(&more, &r);
    noise_look(&more, &odd);
    noise_look(&more, NULL);
    noise_look(&more, &wide);
    noise_measure(&more, &r);
    noise_measure(&more, &odd);
    noise_measure(&more, NULL);
    noise_measure(&more, &wide);
    assert_true(noise_fit(&more, &why));
    assert_int_equal(more.steps, g.count + 6);
    for (int64_t i = 0; i < more.steps; i++)
        assert_true(more.weights[i] == (i < g.count ? n.weights[i] : 1));
    noise_free(&n);
    noise_free(&more);
}

/* ---- records ---- */

static void
records_come_back_and_damaged_ones_do_not(void **state)
{
    static uint64_t ends[] = {2, 5, 6};
    static uint8_t labels[] = {0, 1, 2};
    static float means[] = {0.25f, 0.75f, 0.5f}, vectors[] = {1, 2, 3, 4, 5, 6};
    static int32_t ids[] = {7, 7, 7, 7};
    static int64_t starts[] = {0, 1, 3, 4}, stops[] = {1, 3, 4, 6};
    struct labelled l = {.ends = {3, ends}, .labels = {3, labels}, .means = {3, means},
                         .embeddings = {6, vectors}};
    struct tokens tokens = {.ids = ids, .starts = starts, .ends = stops, .count = 4};
    struct buffer out = {0};
    struct noise_record r;
    struct error e = {0};

    (void)state;
    noise_write(&l, &tokens, 1, &out); /* the first token is not learnt */
    assert_int_equal(noise_read(buffer_span(&out), &r, &e), 0);
    assert_int_equal(r.steps, 3);
    assert_int_equal(r.width, 2);
    assert_memory_equal(r.vectors, vectors, sizeof(vectors));
    assert_memory_equal(r.labels, labels, 3);
    assert_int_equal(r.count[0], 1); /* its second token, which reaches into step 2 */
    assert_int_equal(r.first[0], 0);
    assert_int_equal(r.first[1], 1);
    assert_int_equal(r.count[1], 2);
    assert_int_equal(r.count[2], 0); /* no token begins in step 3 */
    assert_int_equal(r.judged[2], 2);
    for (size_t i = 0; i < out.length; i++)
        assert_int_equal(noise_read(span_of(out.at, i), &r, &e), ERROR_store);
    buffer_clear(&out);
    l.embeddings.count = 5;
    noise_write(&l, &tokens, 0, &out);
    l.embeddings.count = 0;
    noise_write(&l, &tokens, 0, &out);
    assert_int_equal(out.length, 0);
    buffer_free(&out);
}

/* ---- in a learner ---- */

#define ROLLOUTS 40

static const char *const links[] = {"labelled", "gems", "passed", "steps", NULL};

static double
drawn(uint64_t index)
{
    return random_unit(3, RANDOM_test, index);
}

/* Two steps in every wrong response; one label in eight is doubted by vote and vector. */
static void
give(struct harness *h, uint64_t i, bool vectors)
{
    uint64_t first = i / LEARNING_GROUP * LEARNING_GROUP, ends[] = {2, 5};
    uint8_t labels[2];
    float means[2], at[2 * 3];
    char prompt[32];
    struct labelled l = {.ends = {2, ends}, .labels = {2, labels}, .means = {2, means}};
    struct rollout r = {
        .reward = i % LEARNING_GROUP < 2, .group_mean = 0.5, .group_std = 0.5};

    snprintf(prompt, sizeof(prompt), "%d+%d=", (int)(first / 4 % 5), (int)(first / 4 % 5));
    r.prompt = span_text(prompt);
    r.response = span_text(r.reward > 0 ? "7" : "3+1=x");
    if (r.reward > 0) {
        harness_give(h, 1, i, first, LEARNING_GROUP, &r);
        harness_give_closing(h, 0, i, first, LEARNING_GROUP, "routed");
        return;
    }
    for (uint64_t k = 0; k < 2; k++) {
        uint64_t draw = 16 * i + 8 * k;
        int truth = drawn(draw) < 0.5;

        labels[k] = (uint8_t)(drawn(draw + 1) < 0.125 ? !truth : truth);
        means[k] = (float)((truth ? 0.35 : 0.05) + 0.6 * drawn(draw + 2));
        for (uint64_t d = 0; d < 3; d++)
            at[3 * k + d] = (float)((d == (uint64_t)truth) + 2.5 * drawn(draw + 3 + d));
    }
    l.rollout = r;
    if (vectors)
        l.embeddings = (struct f32s){6, at};
    harness_give(h, 0, i, first, LEARNING_GROUP, &l);
    harness_give_closing(h, 1, i, first, LEARNING_GROUP, "filtered");
}

static struct harness *
start(const char *noise, const char *objective, bool follow)
{
    const char *options[] = {"model", learning_base, "lr", "3e-3", "batch_rollouts", "8",
                             "batch_tokens", "64", "objective", objective, "label_noise", noise,
                             follow ? "follow" : "epochs", follow ? "true" : "2",
                             "window", follow ? "20" : "0", NULL};

    return harness_open("learner", links, options, NULL);
}

static struct harness *
trained(const char *noise, const char *objective, bool vectors, bool backwards, bool follow)
{
    struct harness *h = start(noise, objective, follow);

    for (uint64_t i = 0; i < ROLLOUTS; i++)
        give(h, backwards ? ROLLOUTS - 1 - i : i, vectors);
    harness_end(h);
    learning_run(h);
    assert_true(harness_finished(h));
    return h;
}

static bool
same_weights(struct harness *a, struct harness *b)
{
    size_t length[2];
    char *text[2] = {learning_text(a, "final/model.safetensors", &length[0]),
                     learning_text(b, "final/model.safetensors", &length[1])};
    bool same = length[0] == length[1] && memcmp(text[0], text[1], length[0]) == 0;

    free(text[0]);
    free(text[1]);
    return same;
}

static void
doubted_labels_weigh_less_whatever_the_order(void **state)
{
    (void)state;
    for (int follow = 0; follow < 2; follow++) {
        struct harness *none = trained("none", "bcpg_nsa", true, false, follow);
        struct harness *soft = trained("soft", "bcpg_nsa", true, false, follow);
        struct harness *back = trained("soft", "bcpg_nsa", true, true, follow);
        struct harness *bare = trained("soft", "bcpg_nsa", false, false, follow);
        struct harness *killed = start("soft", "bcpg_nsa", follow);
        size_t length;
        char *lines = learning_text(soft, "metrics.jsonl", &length);
        double weight;

        for (uint64_t i = 0; i < ROLLOUTS; i++)
            give(killed, i, true);
        harness_end(killed);
        assert_true(learning_killed(killed) > 3);
        assert_false(same_weights(none, soft));
        assert_true(same_weights(soft, back));
        assert_true(same_weights(soft, killed));
        assert_true(same_weights(none, bare)); /* no vectors: every label is believed */
        assert_non_null(strstr(lines, "\"labels/weight\":"));
        weight = atof(strstr(lines, "\"labels/weight\":") + strlen("\"labels/weight\":"));
        assert_true(weight > 0.4 && weight < 0.99);
        free(lines);
        harness_close(none);
        harness_close(soft);
        harness_close(back);
        harness_close(bare);
        harness_close(killed);
    }
}

/* A class head learns a doubted label less, too; hard leaves it out. */
static void
classes_are_weighed_as_well(void **state)
{
    struct harness *none = trained("none", "token_class", true, false, false);
    struct harness *soft = trained("soft", "token_class", true, false, false);
    struct harness *back = trained("soft", "token_class", true, true, false);
    struct harness *hard = trained("hard", "token_class", true, false, false);

    (void)state;
    assert_false(same_weights(none, soft));
    assert_false(same_weights(none, hard));
    assert_false(same_weights(soft, hard));
    assert_true(same_weights(soft, back));
    harness_close(none);
    harness_close(soft);
    harness_close(back);
    harness_close(hard);
}

static void
objectives_without_weights_refuse_it(void **state)
{
    static const char *const passed[] = {"passed", "r", NULL};
    static const char *const rows[][2] = {{"bcpg", "takes every token alike"}};
    struct error e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *options[] = {"model", learning_base, "objective", rows[i][0],
                                 "label_noise", "soft", NULL};

        assert_null(harness_open("learner", links, options, &e));
        if (!strstr(e.text, rows[i][1]))
            fail_msg("%s: %s", rows[i][0], e.text);
    }
    const char *options[] = {"model", learning_base, "objective", "sft", "label_noise", "soft",
                             NULL};
    assert_null(harness_open("learner", passed, options, &e));
    assert_non_null(strstr(e.text, "link labelled"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_scikit_learn),
        cmocka_unit_test(without_a_split_every_label_is_believed),
        cmocka_unit_test(steps_that_do_not_count_change_nothing),
        cmocka_unit_test(records_come_back_and_damaged_ones_do_not),
        cmocka_unit_test(doubted_labels_weigh_less_whatever_the_order),
        cmocka_unit_test(classes_are_weighed_as_well),
        cmocka_unit_test(objectives_without_weights_refuse_it),
    };
    return cmocka_run_group_tests(tests, learning_setup, learning_teardown);
}
