/* spans: the maps between steps and tokens at the boundaries where they do not nest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/chat.h"
#include "kernels/document.h"
#include "nodes/spans.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))

/* Tokens and ends in, both maps out, compared with what the rule says. */
static void
expect(const int64_t *starts, const int64_t *ends, int64_t tokens, const uint64_t *steps,
       int64_t count, const int64_t *last, const int64_t *step)
{
    struct tokens t = {.starts = (int64_t *)(uintptr_t)starts,
                       .ends = (int64_t *)(uintptr_t)ends,
                       .count = tokens};
    int64_t got[32];

    assert_true(tokens <= COUNT(got) && count <= COUNT(got));
    spans_tokens(&t, steps, count, got);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(got[i], last[i]);
    spans_steps(&t, steps, count, got);
    for (int64_t i = 0; i < tokens; i++)
        assert_int_equal(got[i], step[i]);
}

static void
tokens_that_nest_in_steps(void **state)
{
    (void)state;
    expect((int64_t[]){0, 2, 4, 6}, (int64_t[]){2, 4, 6, 9}, 4, (uint64_t[]){4, 9}, 2,
           (int64_t[]){1, 3}, (int64_t[]){0, 0, 1, 1});
}

static void
a_token_across_a_boundary_belongs_to_the_first_step_and_ends_it(void **state)
{
    (void)state;
    /* "ab.|\nc": the token ".\n" begins in step 0 and holds its last byte. */
    expect((int64_t[]){0, 2, 4}, (int64_t[]){2, 4, 5}, 3, (uint64_t[]){3, 5}, 2, (int64_t[]){1, 2},
           (int64_t[]){0, 0, 1});
}

static void
one_token_across_many_steps_is_the_token_of_each(void **state)
{
    (void)state;
    expect((int64_t[]){0, 1, 7}, (int64_t[]){1, 7, 8}, 3, (uint64_t[]){2, 3, 5, 8}, 4,
           (int64_t[]){1, 1, 1, 2}, (int64_t[]){0, 0, 3});
}

static void
a_character_in_byte_tokens_ends_at_the_last_of_them(void **state)
{
    (void)state;
    /* A three-byte character in two tokens that both span it, then a letter; the step ends after
     * the character. */
    expect((int64_t[]){0, 0, 3}, (int64_t[]){3, 3, 4}, 3, (uint64_t[]){3, 4}, 2, (int64_t[]){1, 2},
           (int64_t[]){0, 0, 1});
    /* A step that ends inside the character (a hostile cut) still has a token. */
    expect((int64_t[]){0, 0, 3}, (int64_t[]){3, 3, 4}, 3, (uint64_t[]){1, 4}, 2, (int64_t[]){1, 2},
           (int64_t[]){0, 0, 1});
}

static void
dropped_characters_and_tokens_without_bytes(void **state)
{
    (void)state;
    /* Bytes 0-1 and 4-5 have no token; token 0 is a template's, without bytes. */
    expect((int64_t[]){0, 2, 6}, (int64_t[]){0, 4, 7}, 3, (uint64_t[]){2, 5, 6, 7}, 4,
           (int64_t[]){-1, 1, 1, 2}, (int64_t[]){-1, 1, 3});
    expect(NULL, NULL, 0, (uint64_t[]){3}, 1, (int64_t[]){-1}, NULL);
}

static void
tokens_beyond_the_last_step_belong_to_none(void **state)
{
    (void)state;
    expect((int64_t[]){0, 2}, (int64_t[]){2, 4}, 2, (uint64_t[]){2}, 1, (int64_t[]){0},
           (int64_t[]){0, -1});
}

static void
every_split_of_a_text_agrees_with_the_rule_said_slowly(void **state)
{
    (void)state;
    /* 8 bytes: every way to cut them into tokens against every way to cut them into steps. */
    for (unsigned tokens_cut = 0; tokens_cut < 128; tokens_cut++) {
        int64_t starts[8], ends[8], n = 0;
        for (int b = 0; b < 8; b++) {
            if (b == 0 || (tokens_cut >> (b - 1) & 1))
                starts[n++] = b;
            ends[n - 1] = b + 1;
        }
        for (unsigned steps_cut = 0; steps_cut < 128; steps_cut++) {
            uint64_t steps[8];
            int64_t count = 0, last[8], step[8];
            for (int b = 1; b <= 8; b++)
                if (b == 8 || (steps_cut >> (b - 1) & 1))
                    steps[count++] = (uint64_t)b;
            for (int64_t i = 0; i < count; i++)
                for (int64_t t = 0; t < n; t++)
                    if (starts[t] <= (int64_t)steps[i] - 1 && (int64_t)steps[i] - 1 < ends[t])
                        last[i] = t;
            for (int64_t t = 0; t < n; t++)
                for (int64_t i = count - 1; i >= 0; i--)
                    if (starts[t] < (int64_t)steps[i])
                        step[t] = i;
            expect(starts, ends, n, steps, count, last, step);
        }
    }
}

/* ---- the same with texts and a tokenizer ---- */

static struct tokenizer *
open_golden(const char *path)
{
    struct buffer text = {0};
    struct error e = {0};
    struct tokenizer *t;

    assert_int_equal(document_load(path, 1 << 20, &text, &e), 0);
    t = tokenizer_parse(buffer_span(&text), &e);
    assert_non_null(t);
    buffer_free(&text);
    return t;
}

/* The rule, word by word, for every step and token of TEXT cut at ENDS. */
static void
obeys(struct tokenizer *t, const char *text, const uint64_t *ends, int64_t count)
{
    struct tokens tokens = {0};
    struct error e = {0};
    int64_t last[16], step[256];

    assert_int_equal(tokenizer_encode(t, span_text(text), SPANS_RESPONSE_FLAGS, &tokens, &e), 0);
    assert_true(tokens.count <= COUNT(step) && count <= COUNT(last));
    spans_tokens(&tokens, ends, count, last);
    spans_steps(&tokens, ends, count, step);
    for (int64_t k = 0; k < tokens.count; k++)
        for (int64_t i = 0; i < count; i++) {
            int64_t from = i ? (int64_t)ends[i - 1] : 0, byte = tokens.starts[k];
            int64_t end = (int64_t)ends[i] - 1;

            if (byte >= from && byte < (int64_t)ends[i] && tokens.ends[k] > byte)
                assert_int_equal(step[k], i); /* the step that holds its first byte */
            if (byte <= end && end < tokens.ends[k])
                assert_true(last[i] >= k); /* no later than the last that holds the step's last */
            if (last[i] == k)
                assert_true(byte <= end);
        }
    tokens_free(&tokens);
}

static void
steps_of_real_texts_at_awkward_places(void **state)
{
    static const struct {
        const char *text;
        uint64_t ends[6];
        int64_t count;
    } cases[] = {
        /* a token across two steps, then across three: "loaves" is one, cut inside */
        {"12 loaves in", {5, 12}, 2},
        {"12 loaves in", {4, 5, 6, 12}, 4},
        /* a blank that the next word's token takes along */
        {"so 19\n\nWait", {5, 6, 7, 11}, 4},
        {"the the", {4, 7}, 2},
        /* characters that are byte tokens, cut before, after and inside */
        {"\xf0\x9f\xa6\x99x", {4, 5}, 2},
        {"a\xf0\x9f\xa6\x99x", {1, 5, 6}, 3},
        {"a\xf0\x9f\xa6\x99x", {1, 2, 3, 4, 5, 6}, 6},
        /* added tokens: special ones are letters here, the others one token; one takes its blanks
         */
        {"a<|endoftext|>b", {3, 15}, 2},
        {"<think>so</think>", {7, 9, 17}, 3},
        {"<think>so</think>", {3, 8, 12, 17}, 4},
        {"a  <left>  b", {2, 9, 12}, 3},
        /* characters that NFC changed: the letter and its mark are one */
        {"cafe\xcc\x81 q\xcc\x87\xcc\xa3", {4, 6, 8, 10, 12}, 5},
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab!", {3, 6, 9, 10}, 4},
    };
    struct tokenizer *t = open_golden("tests/golden/tokenizer/qwen.json");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error e = {0};

        if (spans_check(cases[i].ends, cases[i].count, strlen(cases[i].text), &e))
            fail_msg("%zu: %s", i, e.text);
        obeys(t, cases[i].text, cases[i].ends, cases[i].count);
    }
    tokenizer_close(t);
}

/* Exactly which, where it is easy to say. */
static void
places_that_one_can_point_at(void **state)
{
    struct tokenizer *t = open_golden("tests/golden/tokenizer/qwen.json");
    struct tokens tokens = {0};
    struct error e = {0};
    int64_t last[8], step[64], n;

    (void)state;
    /* <think> is one token: the steps inside of it share it, and it belongs to the first */
    assert_int_equal(tokenizer_encode(t, span_text("<think>x"), 0, &tokens, &e), 0);
    assert_int_equal(tokens.count, 2);
    spans_tokens(&tokens, (uint64_t[]){3, 7, 8}, 3, last);
    spans_steps(&tokens, (uint64_t[]){3, 7, 8}, 3, step);
    assert_true(last[0] == 0 && last[1] == 0 && last[2] == 1);
    assert_true(step[0] == 0 && step[1] == 2); /* step 1 owns no token */
    /* a llama: four bytes in more than one token, each spanning all of it; the last ends the step
     */
    assert_int_equal(tokenizer_encode(t, span_text("\xf0\x9f\xa6\x99"), 0, &tokens, &e), 0);
    n = tokens.count;
    assert_true(n > 1);
    for (int64_t i = 0; i < n; i++)
        assert_true(tokens.starts[i] == 0 && tokens.ends[i] == 4);
    spans_tokens(&tokens, (uint64_t[]){1, 4}, 2, last);
    spans_steps(&tokens, (uint64_t[]){1, 4}, 2, step);
    assert_true(last[0] == n - 1 && last[1] == n - 1 && step[n - 1] == 0);
    /* e and its accent are one character after NFC: a step that ends between them has the token */
    assert_int_equal(tokenizer_encode(t, span_text("e\xcc\x81"), 0, &tokens, &e), 0);
    spans_tokens(&tokens, (uint64_t[]){1, 3}, 2, last);
    assert_true(tokens.starts[0] == 0 && tokens.ends[tokens.count - 1] == 3);
    assert_true(last[0] == tokens.count - 1 && last[1] == tokens.count - 1);
    /* an empty response has no token, and its one empty step none */
    assert_int_equal(tokenizer_encode(t, span_text(""), 0, &tokens, &e), 0);
    spans_tokens(&tokens, (uint64_t[]){0}, 1, last);
    assert_true(tokens.count == 0 && last[0] == -1);
    tokens_free(&tokens);
    tokenizer_close(t);
}

/* Tokens that a post-processor adds have no bytes: they belong to no step and end none. */
static void
tokens_of_a_template_belong_to_no_step(void **state)
{
    struct tokenizer *t = open_golden("tests/golden/tokenizer/llama.json");
    struct tokens tokens = {0};
    struct error e = {0};
    int64_t last[2], step[64];

    (void)state;
    assert_int_equal(tokenizer_encode(t, span_text("the the"), TOKENIZER_TEMPLATE, &tokens, &e), 0);
    assert_true(tokens.count >= 4 && tokens.count < 64);
    spans_tokens(&tokens, (uint64_t[]){3, 7}, 2, last);
    spans_steps(&tokens, (uint64_t[]){3, 7}, 2, step);
    assert_true(step[0] == -1 && step[tokens.count - 1] == -1);
    assert_true(step[1] == 0 && last[0] >= 1 && last[1] == tokens.count - 2);
    tokens_free(&tokens);
    tokenizer_close(t);
}

/* In a chat format the offsets are those of the rendered text: steps of an answer that stands in it
 * are found by adding where it begins. */
static void
steps_of_an_answer_inside_a_rendered_conversation(void **state)
{
    static const char answer[] = "48 / 2 = 24\n\\boxed{72}";
    struct tokenizer *t = open_golden("tests/golden/tokenizer/chat.json");
    struct chat_message m[] = {{.role = "user", .content = span_text("How many?")},
                               {.role = "assistant", .content = span_text(answer)}};
    struct chat_options o = {0};
    struct buffer text = {0};
    struct tokens tokens = {0};
    struct error e = {0};
    uint64_t begin, ends[3];
    int64_t last[3], step[256];

    (void)state;
    assert_int_equal(chat_encode(t, CHAT_qwen3, m, 2, &o, 0, &text, &tokens, &e), 0);
    begin =
        (uint64_t)((const char *)memmem(text.at, text.length, answer, strlen(answer)) - text.at);
    ends[0] = begin, ends[1] = begin + 12, ends[2] = begin + strlen(answer);
    assert_true(tokens.count < COUNT(step));
    spans_tokens(&tokens, ends, 3, last);
    spans_steps(&tokens, ends, 3, step);
    assert_int_equal(step[tokens.count - 1], -1); /* the end of the turn: beyond the last step */
    assert_true(last[1] > last[0] && last[2] > last[1]);
    assert_true(tokens.starts[last[2]] < (int64_t)ends[2] &&
                tokens.ends[last[2]] >= (int64_t)ends[2]);
    for (int64_t k = 0; k < tokens.count; k++)
        if (tokens.ids[k] == tokenizer_id(t, "<|im_end|>"))
            assert_true(step[k] <= 0); /* the template's, before the answer or after it */
    tokens_free(&tokens);
    buffer_free(&text);
    tokenizer_close(t);
}

static void
steps_that_do_not_tile_are_refused(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(spans_check((uint64_t[]){3, 9}, 2, 9, NULL), 0);
    assert_int_equal(spans_check(NULL, 0, 0, NULL), 0);
    assert_int_equal(spans_check((uint64_t[]){0}, 1, 0, NULL), 0);
    assert_int_equal(spans_check((uint64_t[]){3, 3, 9}, 3, 9, &e), ERROR_input);
    assert_non_null(strstr(e.text, "step 1 ends at byte 3"));
    assert_int_equal(spans_check((uint64_t[]){5, 3, 9}, 3, 9, &e), ERROR_input);
    assert_int_equal(spans_check((uint64_t[]){3, 8}, 2, 9, &e), ERROR_input);
    assert_non_null(strstr(e.text, "byte 8 of a response of 9"));
    assert_int_equal(spans_check((uint64_t[]){3, UINT64_MAX}, 2, 9, &e), ERROR_input);
    assert_int_equal(spans_check(NULL, 0, 9, &e), ERROR_input);
    assert_int_equal(spans_check((uint64_t[]){0, 9}, 2, 9, &e), ERROR_input);
}

static void
a_step_is_its_bytes(void **state)
{
    struct span text = span_text("one\ntwo");

    (void)state;
    assert_true(span_is(spans_at(text, (uint64_t[]){4, 7}, 0), "one\n"));
    assert_true(span_is(spans_at(text, (uint64_t[]){4, 7}, 1), "two"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_that_nest_in_steps),
        cmocka_unit_test(a_token_across_a_boundary_belongs_to_the_first_step_and_ends_it),
        cmocka_unit_test(one_token_across_many_steps_is_the_token_of_each),
        cmocka_unit_test(a_character_in_byte_tokens_ends_at_the_last_of_them),
        cmocka_unit_test(dropped_characters_and_tokens_without_bytes),
        cmocka_unit_test(tokens_beyond_the_last_step_belong_to_none),
        cmocka_unit_test(every_split_of_a_text_agrees_with_the_rule_said_slowly),
        cmocka_unit_test(steps_of_real_texts_at_awkward_places),
        cmocka_unit_test(places_that_one_can_point_at),
        cmocka_unit_test(tokens_of_a_template_belong_to_no_step),
        cmocka_unit_test(steps_of_an_answer_inside_a_rendered_conversation),
        cmocka_unit_test(steps_that_do_not_tile_are_refused),
        cmocka_unit_test(a_step_is_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
