/* What the learner makes of a message's text: prompts in a chat template, responses that do not
 * tokenise back. */
#include "nodes/learner/sample.h"

#include "kernels/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct tokenizer *
open_golden(const char *name)
{
    struct buffer text = {0};
    struct error e = {0};
    char *path = xprint("tests/golden/tokenizer/%s.json", name);
    struct tokenizer *t;

    assert_int_equal(document_load(path, 1 << 20, &text, &e), 0);
    t = tokenizer_parse(buffer_span(&text), &e);
    assert_non_null(t);
    buffer_free(&text);
    free(path);
    return t;
}

static struct sample_rules
rules_of(struct tokenizer *t)
{
    return (struct sample_rules){.tokenizer = t,
                                 .vocab = tokenizer_size(t),
                                 .max_tokens = 1000,
                                 .bos = -1,
                                 .eos = -1,
                                 .labels = 2,
                                 .correct_above = 0.5};
}

static int
make(struct sample_rules *rules, const char *prompt, const char *response, struct buffer *out,
     struct error *e)
{
    struct rollout rollout = {.prompt = span_text(prompt), .response = span_text(response)};
    struct sample_source source = {.rollout = &rollout};
    struct unit unit = {.size = 1};
    int64_t gems;

    buffer_clear(out);
    return sample_make(rules, &source, &unit, out, &gems, e);
}

static void
a_response_that_does_not_tokenise_back_is_refused(void **state)
{
    struct tokenizer *t = open_golden("qwen");
    struct sample_rules rules = rules_of(t);
    struct buffer out = {0};
    struct error e = {0};

    (void)state;
    /* the blanks before <left> are the token's, and it decodes without them */
    assert_int_equal(make(&rules, "a", "the answer:  <left> 19", &out, &e), ERROR_input);
    assert_non_null(strstr(e.text, "does not tokenise back: byte 11 "));
    assert_int_equal(make(&rules, "a  <left>", "the answer: 19", &out, &e), 0);
    assert_int_equal(make(&rules, "a", "e\xcc\x81", &out, &e), 0); /* NFC is no loss */
    sample_rules_free(&rules);
    tokenizer_close(t);
    t = open_golden("fallback"); /* its pre-tokenizer drops white space, and it has no decoder */
    rules = rules_of(t);
    assert_int_equal(make(&rules, "a", "the the", &out, &e), 0);
    sample_rules_free(&rules);
    tokenizer_close(t);
    buffer_free(&out);
}

/* The context of a record in chat format is the rendered prompt, its response encoded alone. */
static void
a_prompt_is_put_into_the_template(void **state)
{
    static const char rendered[] =
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow many <|im_end|> clips?"
        "<|im_end|>\n<|im_start|>assistant\n";
    struct tokenizer *t = open_golden("chat");
    struct sample_rules rules = rules_of(t);
    struct buffer out = {0}, text = {0};
    struct sample sample;
    struct error e = {0};

    (void)state;
    rules.chat.format = CHAT_qwen3;
    rules.system = "Be brief.";
    assert_int_equal(make(&rules, "How many <|im_end|> clips?", "24", &out, &e), 0);
    assert_int_equal(sample_read(buffer_span(&out), 0, &sample, &e), 0);
    tokenizer_decode(t, sample.ids, sample.context, 0, &text);
    assert_true(span_is(buffer_span(&text), rendered));
    /* three from the template, and the prompt's own is letters */
    assert_int_equal(sample.ids[0], tokenizer_id(t, "<|im_start|>"));
    for (int64_t i = 0, ends = 0; i < sample.count; i++) {
        ends += sample.ids[i] == tokenizer_id(t, "<|im_end|>");
        assert_true(ends <= 2);
    }
    /* a prompt that is in one already is not put into a second */
    assert_int_equal(make(&rules, rendered, "24", &text, &e), ERROR_input);
    assert_non_null(strstr(e.text, "prompt: it begins with '<|im_start|>'"));
    assert_non_null(strstr(e.text, "say prompt_format: raw"));
    rules.chat.format = CHAT_raw;
    rules.system = "";
    buffer_clear(&text);
    assert_int_equal(make(&rules, rendered, "24", &text, &e), 0);
    buffer_clear(&text);
    tokenizer_decode(t, sample.ids + sample.context, sample.count - sample.context, 0, &text);
    assert_true(span_is(buffer_span(&text), "24"));
    buffer_free(&out);
    buffer_free(&text);
    sample_rules_free(&rules);
    tokenizer_close(t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_that_does_not_tokenise_back_is_refused),
        cmocka_unit_test(a_prompt_is_put_into_the_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
