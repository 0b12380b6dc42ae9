/* The sampler: answers depend on nothing but seed, prompt and number; draws follow the model's own
 * probabilities. */
#include "kernels/sampler.h"

#include "base/memory.h"
#include "kernels/decoder.h"
#include "kernels/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 21

static struct model
small_model(int64_t positions)
{
    struct model_config c = model_config_default();
    struct model m;
    struct error e = {0};

    c.vocab_size = VOCAB, c.hidden_size = 16, c.intermediate_size = 24, c.num_hidden_layers = 2;
    c.num_attention_heads = 4, c.num_key_value_heads = 2, c.max_position_embeddings = positions;
    c.tie_word_embeddings = 0, c.initializer_range = 0.3;
    if (model_init(&m, &c, &e))
        fail_msg("%s", e.text);
    model_randomise(&m, 3);
    return m;
}

static const int32_t ids[][5] = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9}, {1, 2}, {20}};
static const int64_t lengths[] = {3, 1, 5, 2, 1};

#define PROMPTS 5

static void
fill_prompts(struct sampler_prompt *prompts)
{
    for (int i = 0; i < PROMPTS; i++)
        prompts[i] = (struct sampler_prompt){ids[i], lengths[i], (uint64_t)i};
}

/* Answers by (prompt number, sample), as text, for comparison. */
struct heap {
    const struct sampler_prompt *prompts;
    char text[PROMPTS][64][400];
    int calls, stop_after;
};

static int
keep(void *context, const struct sampler_answer *a)
{
    struct heap *h = context;
    char *text = h->text[h->prompts[a->prompt].number][a->sample];

    assert_string_equal(text, "");
    strcpy(text, a->stopped ? "!" : ".");
    for (int64_t i = 0; i < a->count && i < 90; i++)
        sprintf(text + strlen(text), " %d", a->ids[i]);
    return ++h->calls == h->stop_after ? ERROR_input : 0;
}

static struct heap *
run(const struct model *m, struct sampler_options o, const struct sampler_prompt *prompts,
    int64_t count)
{
    struct heap *h = xalloc(sizeof(*h));
    struct error e = {0};

    h->prompts = prompts;
    if (sampler_run(m, &o, prompts, count, keep, h, &e))
        fail_msg("%s", e.text);
    assert_int_equal(h->calls, count * o.samples);
    return h;
}

static const int64_t stops[] = {0, 7};

static void
test_batch(void **state)
{
    struct model m = small_model(64);
    struct sampler_prompt prompts[PROMPTS], turned[PROMPTS];
    struct sampler_options o = {.seed = 9,
                                .temperature = 1,
                                .max_tokens = 20,
                                .samples = 7,
                                .rows = 64,
                                .stop_ids = stops,
                                .stop_count = 2};
    static const int rows[] = {1, 2, 3, 5, 7, 8, 16};
    struct heap *h, *other;
    int stopped = 0;

    (void)state;
    fill_prompts(prompts);
    h = run(&m, o, prompts, PROMPTS);
    for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
        o.rows = rows[k];
        other = run(&m, o, prompts, PROMPTS);
        assert_memory_equal(h->text, other->text, sizeof(h->text));
        free(other);
    }
    for (int i = 0; i < PROMPTS; i++) /* another order, and alone */
        turned[i] = prompts[PROMPTS - 1 - i];
    other = run(&m, o, turned, PROMPTS);
    assert_memory_equal(h->text, other->text, sizeof(h->text));
    free(other);
    other = run(&m, o, prompts + 2, 1);
    assert_memory_equal(h->text[2], other->text[2], sizeof(h->text[2]));
    free(other);
    o.seed = 10;
    other = run(&m, o, prompts, PROMPTS);
    assert_memory_not_equal(h->text, other->text, sizeof(h->text));
    assert_string_not_equal(h->text[0][0], h->text[0][1]);
    for (int i = 0; i < PROMPTS * 7; i++)
        stopped += h->text[i / 7][i % 7][0] == '!';
    assert_true(stopped > 0 && stopped < PROMPTS * 7);
    free(other);
    free(h);
    model_free(&m);
}

/* Temperature 0: the same as running the decoder on the whole text each time. */
static void
test_greedy(void **state)
{
    struct model m = small_model(12);
    struct sampler_prompt prompts[PROMPTS];
    struct sampler_options o = {.max_tokens = 50, .samples = 2};
    struct decoder *d = decoder_new(&m, 16, 0);
    struct heap *h;

    (void)state;
    fill_prompts(prompts);
    h = run(&m, o, prompts, PROMPTS);
    for (int p = 0; p < PROMPTS; p++) {
        int32_t text[16];
        int64_t n = lengths[p];
        char want[400] = ".";

        memcpy(text, ids[p], (size_t)n * sizeof(*text));
        while (n < 12) { /* the model's positions */
            struct batch b = {n, text, 1, (int64_t[]){0, n}, NULL};
            const float *hidden = decoder_forward(d, &m, &b) + (n - 1) * 16;
            double top = -INFINITY;
            int32_t best = 0;

            for (int32_t v = 0; v < VOCAB; v++) {
                double z = 0;

                for (int k = 0; k < 16; k++)
                    z += (double)hidden[k] * (double)m.params[m.head + v * 16 + k];
                if (z > top)
                    top = z, best = v;
            }
            text[n++] = best;
            sprintf(want + strlen(want), " %d", best);
        }
        assert_string_equal(h->text[p][0], want);
        assert_string_equal(h->text[p][1], want);
    }
    free(h);
    decoder_free(d);
    model_free(&m);
}

static int
count_first(void *context, const struct sampler_answer *a)
{
    ((int *)context)[a->ids[0]]++;
    return 0;
}

/* Chi-square of first tokens against the softmax at two temperatures: 20 degrees of freedom,
 * 0.9999: 52.4. */
static void
test_distribution(void **state)
{
    static const double temperatures[] = {1, 0.5};
    struct model m = small_model(64);
    struct sampler_prompt prompt = {ids[0], lengths[0], 0};
    struct decoder *d = decoder_new(&m, 16, 0);
    struct batch b = {3, ids[0], 1, (int64_t[]){0, 3}, NULL};

    (void)state;
    for (int t = 0; t < 2; t++) {
        struct sampler_options o = {
            .seed = 1, .temperature = temperatures[t], .max_tokens = 1, .samples = 20000};
        const float *hidden = decoder_forward(d, &m, &b) + 2 * 16;
        struct error e = {0};
        int seen[VOCAB] = {0};
        double p[VOCAB], sum = 0, chi = 0;

        for (int v = 0; v < VOCAB; v++) {
            double z = 0;

            for (int k = 0; k < 16; k++)
                z += (double)hidden[k] * (double)m.params[m.head + v * 16 + k];
            p[v] = exp(z / temperatures[t]);
            sum += p[v];
        }
        assert_int_equal(sampler_run(&m, &o, &prompt, 1, count_first, seen, &e), 0);
        for (int v = 0; v < VOCAB; v++) {
            double expected = 20000 * p[v] / sum;

            chi += (seen[v] - expected) * (seen[v] - expected) / expected;
        }
        if (!(chi < 52.4))
            fail_msg("chi-square %g at temperature %g", chi, temperatures[t]);
    }
    decoder_free(d);
    model_free(&m);
}

static void
refused(const struct model *m, struct sampler_options o, struct sampler_prompt p, int code,
        const char *reason)
{
    struct heap *h = xalloc(sizeof(*h));
    struct error e = {0};

    h->prompts = &p;
    assert_int_equal(sampler_run(m, &o, &p, 1, keep, h, &e), code);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
    free(h);
}

static int
accept(void *context, const struct sampler_answer *a)
{
    (void)context;
    (void)a;
    return 0;
}

static void
test_refused(void **state)
{
    const struct sampler_options good = {.temperature = 1, .max_tokens = 4, .samples = 1};
    const struct sampler_prompt prompt = {ids[2], 5, 0};
    struct sampler_options o;
    struct sampler_prompt p;
    struct model m = small_model(5);

    (void)state;
    refused(&m, good, prompt, ERROR_input, "positions");
    p = (struct sampler_prompt){ids[0], 0, 0};
    refused(&m, good, p, ERROR_input, "no tokens");
    p = (struct sampler_prompt){(int32_t[]){VOCAB}, 1, 0};
    refused(&m, good, p, ERROR_input, "vocabulary");
    p = (struct sampler_prompt){(int32_t[]){-1}, 1, 0};
    refused(&m, good, p, ERROR_input, "vocabulary");
    p = (struct sampler_prompt){ids[1], 1, SAMPLER_NUMBER_MAX};
    refused(&m, good, p, ERROR_limit, "number");
    p.number = 0;
    o = good, o.temperature = NAN;
    refused(&m, o, p, ERROR_usage, "temperature");
    o = good, o.temperature = -1;
    refused(&m, o, p, ERROR_usage, "temperature");
    o = good, o.max_tokens = 0;
    refused(&m, o, p, ERROR_usage, "max_tokens");
    o = good, o.samples = 0;
    refused(&m, o, p, ERROR_usage, "samples");
    m.config.positions_usable = 4; /* as a sliding window makes it: an answer must not pass it */
    refused(&m, good, (struct sampler_prompt){ids[1], 1, 0}, ERROR_input, "slide");
    o = good, o.max_tokens = 3;
    assert_int_equal(sampler_run(&m, &o, &(struct sampler_prompt){ids[1], 1, 0}, 1, accept, NULL,
                                 &(struct error){0}), 0);
    m.config.positions_usable = 5;
    m.params[m.final_norm] = NAN;
    refused(&m, good, p, ERROR_model, "not finite");
    model_free(&m);
}

/* The caller may stop in the middle; its code comes back. */
static void
test_stop(void **state)
{
    struct model m = small_model(64);
    struct sampler_prompt prompts[PROMPTS];
    struct sampler_options o = {.temperature = 1, .max_tokens = 4, .samples = 3};
    struct heap *h = xalloc(sizeof(*h));

    (void)state;
    fill_prompts(prompts);
    h->prompts = prompts, h->stop_after = 2;
    assert_int_equal(sampler_run(&m, &o, prompts, PROMPTS, keep, h, NULL), ERROR_input);
    assert_int_equal(h->calls, 2);
    assert_int_equal(sampler_run(&m, &o, prompts, 0, keep, h, NULL), 0);
    free(h);
    model_free(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
