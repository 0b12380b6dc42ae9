/* spans: the maps between steps and tokens at the boundaries where they do not nest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

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
        cmocka_unit_test(steps_that_do_not_tile_are_refused),
        cmocka_unit_test(a_step_is_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
