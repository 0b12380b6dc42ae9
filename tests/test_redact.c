/* redact: keys in every place, whole, escaped and cut; and words that are no key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "nodes/remote/redact.h"

static void
keys_become_stars(void **state)
{
    static const struct {
        const char *secret, *text, *want;
    } rows[] = {
        {"sk-12345", "sk-12345", "********"},
        {"sk-12345", "a sk-12345sk-12345 b", "a **************** b"},
        {"sk-12345", "sk-1234 sk-12346", "sk-1234 sk-12346"},
        {"sk-/a/b/c", "{\"key\":\"sk-/a/b/c\"}", "{\"key\":\"*********\"}"},
        {"sk-/a/b/c", "{\"key\":\"sk-\\/a\\/b\\/c\"}", "{\"key\":\"************\"}"},
        {"sk-+<b>=", "\\u0073k-\\u002B\\u003cb\\u003E=!", "****************************!"},
        {"sk-12345", "\\u0073k-1234\\u0036 \\u00", "\\u0073k-1234\\u0036 \\u00"},
        {"sk-\\\"678", "{\"sk-\\\\\\\"678\"}", "{\"**********\"}"},
        {"sk-\\\"678", "sk-\\\"678", "********"},
        {"none", "the answer is none of these", "the answer is none of these"},
        {"", "nothing", "nothing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[100];
        snprintf(text, sizeof(text), "%s", rows[i].text);
        redact(text, strlen(text), rows[i].secret);
        assert_string_equal(text, rows[i].want);
    }
    redact(NULL, 0, "sk-12345");
}

static void
a_key_that_was_cut_leaves_nothing(void **state)
{
    char value[16] = "abcdefghsk-1234", whole[20] = "abcdefghsk-1234";

    (void)state;
    redact_cut(value, sizeof(value), "sk-12345");
    assert_string_equal(value, "abcdefg********");
    redact_cut(whole, sizeof(whole), "sk-12345"); /* it was not cut: this is not the key */
    assert_string_equal(whole, "abcdefghsk-1234");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_become_stars),
        cmocka_unit_test(a_key_that_was_cut_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
