/* sat cuts texts where wtpsplit does (tools/golden_sat.py), whatever came before and however many
 * threads; and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/unicode.h"
#include "nodes/segmenter/sat.h"

#define FOLDER    "tests/golden/sat/"
#define TOKENIZER "tests/golden/sat"

static const struct sat_options defaults = {
    .threshold = 0.25, .paragraph_threshold = 0.5, .stride = 64, .block = 100, .line_feeds = true,
    .target = 70, .spread = 25,
};

static int64_t
integer(const json_t *json, const char *key, int64_t other)
{
    const json_t *value = json_object_get(json, key);

    return value ? json_integer_value(value) : other;
}

static double
number(const json_t *json, const char *key, double other)
{
    const json_t *value = json_object_get(json, key);

    return value ? json_number_value(value) : other;
}

static struct sat_options
options_of(const json_t *j)
{
    static const char *const priors[] = {"uniform", "gaussian", "lognormal", "clipped_polynomial"};
    const char *weighting = json_string_value(json_object_get(j, "weighting"));
    const char *prior = json_string_value(json_object_get(j, "prior_type"));
    const json_t *shape = json_object_get(j, "prior_kwargs");
    struct sat_options o = defaults;

    o.stride = integer(j, "stride", o.stride);
    o.block = integer(j, "block_size", o.block);
    o.threshold = number(j, "threshold", o.threshold);
    o.paragraph_threshold = number(j, "paragraph_threshold", o.paragraph_threshold);
    o.weighting = weighting && strcmp(weighting, "hat") == 0 ? SAT_hat : SAT_uniform;
    o.line_feeds = !json_is_false(json_object_get(j, "split_on_input_newlines"));
    o.drop_spaces = json_is_true(json_object_get(j, "remove_whitespace_before_inference"));
    if (json_is_true(json_object_get(j, "do_paragraph_segmentation")))
        o.paragraphs = SAT_paragraphs_split;
    o.min_length = integer(j, "min_length", 0);
    o.max_length = integer(j, "max_length", 0);
    for (int k = 0; prior && k < 4; k++)
        if (strcmp(prior, priors[k]) == 0)
            o.prior = (enum sat_prior)k;
    o.target = number(shape, "target_length", o.target);
    o.spread = number(shape, "spread", o.spread);
    return o;
}

static struct sat *
open_golden(const char *name, const struct sat_options *o, int threads)
{
    char path[100];
    struct error e = {0};
    struct sat *s;

    snprintf(path, sizeof(path), FOLDER "%s", name);
    s = sat_open(path, TOKENIZER, o, threads, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static int
check_cut(struct sat *s, const json_t *one, const json_t *texts)
{
    const json_t *text = json_array_get(texts, (size_t)integer(one, "text", 0));
    const json_t *want = json_object_get(one, "ends");
    struct buffer ends = {0};
    struct error e = {0};
    const uint64_t *got;
    int bad;

    if (sat_cut(s, span_of(json_string_value(text), json_string_length(text)), &ends, &e))
        fail_msg("%s", e.text);
    got = (const uint64_t *)(const void *)ends.at;
    bad = ends.length / sizeof(*got) != json_array_size(want);
    for (size_t i = 0; i < json_array_size(want) && !bad; i++)
        bad = (json_int_t)got[i] != json_integer_value(json_array_get(want, i));
    if (bad) {
        char *list = json_dumps(one, JSON_COMPACT);

        print_error("%s\n  got", list);
        for (size_t i = 0; i < ends.length / sizeof(*got); i++)
            print_error(" %lld", (long long)got[i]);
        print_error("\n");
        free(list);
    }
    buffer_free(&ends);
    return bad;
}

static void
texts_are_cut_where_wtpsplit_cuts_them(void **state)
{
    json_t *expected = json_load_file(FOLDER "expected.json", JSON_ALLOW_NUL, NULL), *one;
    const json_t *settings = NULL;
    struct sat *s = NULL;
    int bad = 0;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(expected, "cuts"), i, one)
    {
        if (!settings || !json_equal(settings, json_object_get(one, "settings")) ||
            integer(one, "text", 0) == 0) {
            struct sat_options o = options_of(json_object_get(one, "settings"));

            sat_close(s);
            s = open_golden(json_string_value(json_object_get(one, "model")), &o, 1);
            settings = json_object_get(one, "settings");
        }
        bad += check_cut(s, one, json_object_get(expected, "texts"));
    }
    assert_true(i > 500);
    assert_int_equal(bad, 0);
    sat_close(s);
    json_decref(expected);
}

/* Random text: ends rise, the last is the length, no character is cut; three threads and a text in
 * between change nothing. */
static void
any_text_is_tiled_the_same_every_time(void **state)
{
    static const char *const parts[] = {"a",  " ",  "\n", ". ", "é", "漢", "🙂", "Step 1:", "<s>",
                                        "\t", "\r\n", "½", "\xe2\x80\x8b", "e\xcc\x81", "The end"};
    static const struct sat_options others[] = {
        {.threshold = 0.2, .stride = 3, .block = 9, .line_feeds = true},
        {.threshold = 0.2, .stride = 64, .block = 64, .weighting = SAT_hat, .drop_spaces = true},
        {.paragraphs = SAT_paragraphs_whole, .paragraph_threshold = .4, .stride = 8, .block = 30},
        {.stride = 30, .block = 30, .min_length = 4, .max_length = 9},
        {.stride = 30, .block = 30, .min_length = 4},
        {.stride = 30, .block = 30, .max_length = 19, .prior = SAT_prior_gaussian, .target = 9,
         .spread = 4},
    };
    uint64_t x = 88172645463325252ull;

    (void)state;
    for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
        struct sat *s = open_golden("lookahead", &others[k], 1);
        struct sat *t = open_golden("lookahead", &others[k], 3);

        for (int round = 0; round < 60; round++) {
            struct buffer text = {0}, ends = {0}, again = {0};
            struct error e = {0};

            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            for (unsigned i = 0; i < x % 150; i++)
                buffer_text(&text,
                            parts[(x >> (i % 50)) * (i + 7) % (sizeof(parts) / sizeof(parts[0]))]);
            assert_int_equal(sat_cut(s, buffer_span(&text), &ends, &e), 0);
            if (round % 2) { /* in slices, and another text in between that was begun only */
                assert_int_equal(sat_begin(t, span_text("Not this one."), &e), 0);
                assert_int_equal(sat_begin(t, buffer_span(&text), &e), 0);
                while (sat_read(t))
                    ;
            }
            assert_int_equal(sat_cut(t, buffer_span(&text), &again, &e), 0);
            assert_int_equal(ends.length, again.length);
            if (ends.length)
                assert_memory_equal(ends.at, again.at, ends.length);
            const uint64_t *at = (const uint64_t *)(const void *)ends.at;
            uint64_t from = 0;
            for (size_t i = 0; i < ends.length / sizeof(*at); i++) {
                assert_true(at[i] > from);
                assert_true(at[i] == text.length || (text.at[at[i]] & 0xc0) != 0x80);
                from = at[i];
            }
            assert_int_equal(from, text.length);
            buffer_free(&text);
            buffer_free(&ends);
            buffer_free(&again);
        }
        assert_true(sat_tokens_read(s) > 0 && sat_tokens_read(s) == sat_tokens_read(t));
        assert_true(sat_tokens(s) > 0 && sat_tokens(s) < sat_tokens(t));
        sat_close(s);
        sat_close(t);
    }
}

static void
expect_refused(const char *dir, const char *tokenizer, struct sat_options o, const char *option,
               const char *reason)
{
    const char *blamed = NULL;
    struct error e = {0};

    assert_true(sat_check(dir, tokenizer, &o, &blamed, &e) < 0);
    assert_string_equal(blamed, option);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
}

static void
what_does_not_fit_is_refused(void **state)
{
    struct sat_options o = defaults;
    const char *option;
    struct error e = {0};

    (void)state;
    assert_int_equal(sat_check(FOLDER "plain", TOKENIZER, &o, &option, &e), 0);
    expect_refused(FOLDER "plain", NULL, o, "model", "tokenizer.json");
    expect_refused(FOLDER "none", TOKENIZER, o, "model", "config.json");
    expect_refused("tests/golden/models/qwen2_prm", NULL, o, "model", "model_type 'qwen2'");
    expect_refused(FOLDER "plain", "tests/golden/models/qwen2_prm", o, "tokenizer", "");
    o.block = 127;
    expect_refused(FOLDER "plain", TOKENIZER, o, "block_size", "128");
    o = defaults;
    o.stride = 101;
    expect_refused(FOLDER "plain", TOKENIZER, o, "stride", "skipped");
    o = defaults;
    o.min_length = 9, o.max_length = 8;
    expect_refused(FOLDER "plain", TOKENIZER, o, "min_length", "above");
    o = defaults;
    o.prior = SAT_prior_gaussian;
    expect_refused(FOLDER "plain", TOKENIZER, o, "prior", "max_length");
}

static void
a_text_that_is_not_utf8_is_refused(void **state)
{
    struct sat *s = open_golden("plain", &defaults, 1);
    struct buffer ends = {0};
    struct error e = {0};

    (void)state;
    assert_int_equal(sat_cut(s, span_text("a\xff"), &ends, &e), ERROR_input);
    sat_close(s);
}

static void
the_threshold_follows_the_model(void **state)
{
    (void)state;
    assert_true(sat_threshold("models/sat-3l-sm", 111, 48) == 0.25);
    assert_true(sat_threshold("models-sm/sat-3l", 111, 48) == 0.025);
    assert_true(sat_threshold("models/sat-3l-sm/", 111, 48) == 0.25);
    assert_true(sat_threshold("sat", 1, -1) == 0.25);
    assert_true(sat_threshold("sat-12l-no-limited-lookahead", 111, -1) == 0.01);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cut_where_wtpsplit_cuts_them),
        cmocka_unit_test(any_text_is_tiled_the_same_every_time),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_text_that_is_not_utf8_is_refused),
        cmocka_unit_test(the_threshold_follows_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
