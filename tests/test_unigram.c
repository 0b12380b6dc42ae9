/* Unigram: the best path where it can be computed by hand, unknown characters, text that would forge
 * a special token, and what is refused. Against the reference: test_tokenizer_fuzz.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "kernels/tokenizer.h"

#define MODEL(vocab, more)                                                                         \
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"normalized\":false}],"      \
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"<s>\",0],[\"<unk>\",0]," vocab "]"   \
    more "}}"

/* The ids of TEXT, as "2 3@1": id, and where it ends. */
static void
expect(const char *json, const char *text, int flags, const char *want)
{
    struct error e = {0};
    struct tokenizer *t = tokenizer_parse(span_text(json), &e);
    struct tokens out = {0};
    char got[400] = "";

    if (!t)
        fail_msg("%s", e.text);
    assert_int_equal(tokenizer_encode(t, span_text(text), flags, &out, &e), 0);
    for (int64_t i = 0; i < out.count; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%d@%lld", i ? " " : "",
                 out.ids[i], (long long)out.ends[i]);
    assert_string_equal(got, want);
    tokens_free(&out);
    tokenizer_close(t);
}

static void
the_path_with_the_largest_sum_wins(void **state)
{
    static const char json[] =
        MODEL("[\"a\",-1],[\"b\",-1],[\"ab\",-1.5],[\"abc\",-9],[\"c\",-1]", "");

    (void)state;
    expect(json, "abc", 0, "4@2 6@3");
    expect(json, "", 0, "");
    expect(MODEL("[\"a\",-1],[\"b\",-1],[\"ab\",-2]", ""), "ab", 0, "4@2"); /* equal: found first */
    expect(MODEL("[\"a\",-1],[\"b\",-0.5],[\"ab\",-2]", ""), "ab", 0, "2@1 3@2");
}

static void
unknown_characters_are_one_token_or_bytes(void **state)
{
    static const char bytes[] =
        MODEL("[\"a\",-1],[\"<0xC3>\",-1],[\"<0xA9>\",-1],[\"<0xBC>\",-1]", ",\"byte_fallback\":true");

    (void)state;
    expect(MODEL("[\"a\",-1]", ""), "xya\xc3\xa9", 0, "1@2 2@3 1@5");
    expect(bytes, "a\xc3\xa9\xc3\xbc", 0, "2@1 3@5 4@5 3@5 5@5");
    expect(bytes, "\xc3\xa9x", 0, "1@3"); /* x has no byte token: none of it does */
    /* a piece of two characters, neither of which is one: no path goes through it but its own */
    expect(MODEL("[\"xy\",-1]", ""), "xyx", 0, "2@2 1@3");
}

static void
a_text_forges_no_special_token(void **state)
{
    static const char json[] = MODEL("[\"<\",-1],[\"s\",-1],[\">\",-1]", "");

    (void)state;
    expect(json, "<s>", TOKENIZER_SPECIAL, "0@3");
    expect(json, "<s>", 0, "2@1 3@2 4@3");
}

static void
bad_models_are_refused(void **state)
{
    static const struct {
        const char *json, *reason;
    } bad[] = {
        {"{\"model\":{\"type\":\"Unigram\"}}", "'vocab'"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}}", "'unk_id'"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "'unk_id'"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]],\"unk_id\":0}}", "'vocab' 0"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",0]],\"unk_id\":0}}", "twice"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
         "\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":0}}",
         "ByteLevel"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"},"
         "\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":0}}",
         "base64"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"////AAAAAAAA\"},"
         "\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":0}}",
         "does not fit"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};

        assert_null(tokenizer_parse(span_text(bad[i].json), &e));
        if (!strstr(e.text, bad[i].reason))
            fail_msg("'%s' lacks '%s'", e.text, bad[i].reason);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_path_with_the_largest_sum_wins),
        cmocka_unit_test(unknown_characters_are_one_token_or_bytes),
        cmocka_unit_test(a_text_forges_no_special_token),
        cmocka_unit_test(bad_models_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
