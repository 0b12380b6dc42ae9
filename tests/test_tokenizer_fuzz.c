/* Thousands of random strings against what Hugging Face tokenizers gave
 * (tools/golden_tokenizer_parts.py, tools/golden_unigram.py): the three pattern families, each with
 * our hand-written scanner and with the regular expression, every other part of a tokenizer.json in
 * many mixtures, and Unigram with its precompiled charsmap. */
#include "kernels/tokenizer.h"

#include "kernels/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define FOLDER   "tests/golden/tokenizer/"
#define TEXT_MAX (64 << 20)

static json_t *entries;

static json_t *
load(const char *path)
{
    struct buffer packed = {0};
    struct error e = {0};
    unsigned long long size;
    char *text;
    json_error_t why;
    json_t *json = NULL;

    if (document_load(path, TEXT_MAX, &packed, &e))
        return NULL;
    size = ZSTD_getFrameContentSize(packed.at, packed.length);
    if (size <= TEXT_MAX) {
        text = xalloc((size_t)size);
        if (ZSTD_decompress(text, (size_t)size, packed.at, packed.length) == size)
            json = json_loadb(text, (size_t)size, JSON_ALLOW_NUL, &why);
        free(text);
    }
    buffer_free(&packed);
    return json;
}

static int
set_up(void **state)
{
    json_t *more = load(FOLDER "unigram.json.zst");
    int rc;

    (void)state;
    entries = load(FOLDER "fuzz.json.zst");
    rc = entries && more ? json_array_extend(entries, more) : -1;
    json_decref(more);
    return rc;
}

static int
tear_down(void **state)
{
    (void)state;
    json_decref(entries);
    return 0;
}

static struct span
text_of(const json_t *json)
{
    return span_of(json_string_value(json), json_string_length(json));
}

static struct tokenizer *
open_json(const json_t *json, const char *name)
{
    char *text = json_dumps(json, JSON_COMPACT);
    struct error e = {0};
    struct tokenizer *t = tokenizer_parse(span_text(text), &e);

    if (!t)
        fail_msg("%s: %s", name, e.text);
    free(text);
    return t;
}

static int
same_ids(const struct tokens *got, const json_t *want)
{
    if ((size_t)got->count != json_array_size(want))
        return 0;
    for (int64_t i = 0; i < got->count; i++)
        if (got->ids[i] != json_integer_value(json_array_get(want, (size_t)i)))
            return 0;
    return 1;
}

static int
same_offsets(const struct tokens *got, const json_t *want)
{
    for (int64_t i = 0; i < got->count && want; i++)
        if (got->starts[i] != json_integer_value(json_array_get(want, (size_t)(2 * i))) ||
            got->ends[i] != json_integer_value(json_array_get(want, (size_t)(2 * i + 1))))
            return 0;
    return 1;
}

static int
check_case(const char *name, struct tokenizer *t, const json_t *one, struct tokens *out)
{
    struct span text = text_of(json_object_get(one, "text"));
    const json_t *ids = json_object_get(one, "ids"), *back = json_object_get(one, "decoded");
    const json_t *template = json_object_get(one, "template");
    struct span want = text_of(back ? back : json_object_get(one, "text"));
    struct buffer decoded = {0};
    struct error e = {0};
    const char *bad = NULL;

    if (tokenizer_encode(t, text, TOKENIZER_SPECIAL | TOKENIZER_TEMPLATE, out, &e) ||
        !same_ids(out, template ? template : ids))
        bad = "template";
    if (tokenizer_encode(t, text, TOKENIZER_SPECIAL, out, &e) || !same_ids(out, ids))
        bad = "ids";
    else if (!same_offsets(out, json_object_get(one, "offsets")))
        bad = "offsets";
    tokenizer_decode(t, out->ids, out->count, 0, &decoded);
    if (!bad && (decoded.length != want.length ||
                 (want.length && memcmp(decoded.at, want.at, want.length))))
        bad = "decoded";
    if (bad)
        print_error("%s: %s of '%.*s' %s\n", name, bad, (int)text.length, text.at, e.text);
    buffer_free(&decoded);
    return bad != NULL;
}

static int
check_entry(const char *name, struct tokenizer *t, const json_t *entry, int64_t *cases)
{
    struct tokens out = {0};
    json_t *one;
    size_t i;
    int bad = 0;

    json_array_foreach(json_object_get(entry, "cases"), i, one)
    {
        bad += check_case(name, t, one, &out);
        ++*cases;
    }
    tokens_free(&out);
    tokenizer_close(t);
    return bad;
}

static void
every_string_is_encoded_and_decoded_as_the_reference_does(void **state)
{
    json_t *entry;
    size_t i;
    int64_t cases = 0;
    int bad = 0;

    (void)state;
    json_array_foreach(entries, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));

        bad +=
            check_entry(name, open_json(json_object_get(entry, "tokenizer"), name), entry, &cases);
    }
    assert_int_equal(bad, 0);
    assert_true(cases >= 6000);
}

/* The same pattern in a group is not one that the scanner knows. */
static void
the_regular_expressions_agree_with_the_scanners(void **state)
{
    int64_t cases = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        json_t *entry = json_array_get(entries, i), *json = json_object_get(entry, "tokenizer");
        const char *name = json_string_value(json_object_get(entry, "name"));
        json_t *steps, *split, *level;
        const char *pattern;
        char *grouped;

        json = json_deep_copy(json);
        steps = json_object_get(json, "pre_tokenizer");
        if (strcmp(name, "gpt2") == 0) { /* ByteLevel's own pattern, written out */
            level = json_copy(steps);
            json_object_set_new(level, "use_regex", json_false());
            split =
                json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern", "Regex",
                          "(?:'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                          "\\s+(?!\\S)|\\s+)",
                          "behavior", "Isolated");
            json_object_set_new(
                json, "pre_tokenizer",
                json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", split, level));
        } else {
            split = json_object_get(json_array_get(json_object_get(steps, "pretokenizers"), 0),
                                    "pattern");
            pattern = json_string_value(json_object_get(split, "Regex"));
            grouped = xprint("(?:%s)", pattern);
            json_object_set_new(split, "Regex", json_string(grouped));
            free(grouped);
        }
        assert_int_equal(check_entry(name, open_json(json, name), entry, &cases), 0);
        json_decref(json);
    }
    assert_int_equal(cases, 3600);
}

/* A tokenizer.json with one value of its parts replaced: refused in words, or it still encodes. */
static void
try_damaged(const json_t *whole, const json_t *cases, int64_t *accepted, int64_t *tried)
{
    char *text = json_dumps(whole, JSON_COMPACT);
    struct error e = {0};
    struct tokenizer *t = tokenizer_parse(span_text(text), &e);
    struct tokens out = {0};
    struct buffer back = {0};

    ++*tried;
    if (!t)
        assert_true(e.code < 0 && e.text[0]);
    for (size_t i = 0; t && i < 3; i++) {
        struct span one = text_of(json_object_get(json_array_get(cases, i), "text"));

        if (tokenizer_encode(t, one, TOKENIZER_SPECIAL | TOKENIZER_TEMPLATE, &out, &e) == 0)
            tokenizer_decode(t, out.ids, out.count, 0, &back);
        for (int64_t k = 0; k < out.count; k++)
            assert_true(out.starts[k] <= out.ends[k] && out.ends[k] <= (int64_t)one.length);
    }
    *accepted += t != NULL;
    tokenizer_close(t);
    tokens_free(&out);
    buffer_free(&back);
    free(text);
}

/* Every value below PART, one after the other, as every other kind of value. */
static void
damage(json_t *whole, json_t *part, const json_t *cases, int64_t *accepted, int64_t *tried)
{
    static const char *const others[] = {
        "null", "true", "-1", "1e300", "\"\"", "\"\\u2581x\"", "[]", "{}", "[[1]]", "\"(\"",
    };
    size_t count = json_is_array(part) ? json_array_size(part) : json_object_size(part);
    void *at = json_object_iter(part);

    for (size_t i = 0; i < count; i++) {
        const char *key = at ? json_object_iter_key(at) : NULL;
        json_t *value = json_incref(at ? json_object_iter_value(at) : json_array_get(part, i));

        for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
            json_t *other = json_loads(others[k], JSON_DECODE_ANY, NULL);

            if (at)
                json_object_set_new(part, key, other);
            else
                json_array_set_new(part, i, other);
            try_damaged(whole, cases, accepted, tried);
        }
        if (at)
            json_object_set(part, key, value);
        else
            json_array_set(part, i, value);
        damage(whole, value, cases, accepted, tried);
        json_decref(value);
        at = at ? json_object_iter_next(part, json_object_key_to_iter(key)) : NULL;
    }
}

static void
damaged_parts_are_refused_or_harmless(void **state)
{
    static const char *const parts[] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};
    static const char *const wanted[] = {
        "qwen2", "llama2", "metaspace first",    "suffix", "prefix",
        "lower", "nfkd",   "punctuation removed", "unigram hub", "unigram converted"};
    int64_t accepted = 0, tried = 0;
    json_t *entry;
    size_t i;

    (void)state;
    json_array_foreach(entries, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        json_t *json;

        for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++) {
            if (strcmp(name, wanted[k]))
                continue;
            json = json_deep_copy(json_object_get(entry, "tokenizer"));
            for (int p = 0; p < 4; p++)
                damage(json, json_object_get(json, parts[p]), json_object_get(entry, "cases"),
                       &accepted, &tried);
            json_decref(json);
        }
    }
    assert_true(tried > 1000 && accepted > 100 && accepted < tried);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_string_is_encoded_and_decoded_as_the_reference_does),
        cmocka_unit_test(the_regular_expressions_agree_with_the_scanners),
        cmocka_unit_test(damaged_parts_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
