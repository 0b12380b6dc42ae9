/* The tokenizer against what Hugging Face tokenizers gave for the same files
 * (tools/golden_tokenizer.py), its refusals, its own writer, and damaged files. */
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
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "tests/golden/tokenizer/"

static const char *const names[] = {
    "qwen",   "gpt2",    "llama", "deepseek", "starcoder", "prefix",
    "invert", "unknown", "fused", "fallback", "dropping",
};

#define NAMES (sizeof(names) / sizeof(names[0]))

static json_t *
load(const char *name, const char *suffix)
{
    char path[200];
    json_error_t e;
    json_t *json;

    snprintf(path, sizeof(path), FOLDER "%s%s", name, suffix);
    json = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!json)
        fail_msg("%s: %s", path, e.text);
    return json;
}

static struct tokenizer *
open_golden(const char *name)
{
    char path[200];
    struct buffer text = {0};
    struct error e = {0};
    struct tokenizer *t;

    snprintf(path, sizeof(path), FOLDER "%s.json", name);
    assert_int_equal(document_load(path, 1 << 20, &text, &e), 0);
    t = tokenizer_parse(buffer_span(&text), &e);
    if (!t)
        fail_msg("%s: %s", name, e.text);
    buffer_free(&text);
    return t;
}

static void
show(const char *name, struct span text, const char *what, const struct tokens *got,
     const json_t *want)
{
    char *list = json_dumps(want, JSON_COMPACT);

    print_error("%s, %s of '%.*s'\n  want %s\n  got ", name, what, (int)text.length, text.at, list);
    for (int64_t i = 0; i < got->count; i++)
        print_error(" %d(%lld,%lld)", got->ids[i], (long long)got->starts[i],
                    (long long)got->ends[i]);
    print_error("\n");
    free(list);
}

static int
check_ids(const char *name, struct tokenizer *t, struct span text, int flags, const json_t *want,
          const json_t *offsets)
{
    struct tokens out = {0};
    struct error e = {0};
    int bad;

    if (tokenizer_encode(t, text, flags, &out, &e))
        fail_msg("%s: %s", name, e.text);
    bad = (size_t)out.count != json_array_size(want);
    for (int64_t i = 0; i < out.count && !bad; i++)
        bad = out.ids[i] != json_integer_value(json_array_get(want, (size_t)i));
    if (bad)
        show(name, text, "ids", &out, want);
    for (int64_t i = 0; i < out.count && !bad && offsets; i++)
        if (out.starts[i] != json_integer_value(json_array_get(offsets, (size_t)(2 * i))) ||
            out.ends[i] != json_integer_value(json_array_get(offsets, (size_t)(2 * i + 1)))) {
            show(name, text, "offsets", &out, offsets);
            bad = 1;
        }
    tokens_free(&out);
    return bad;
}

static int
check_decode(const char *name, struct tokenizer *t, const json_t *list, int skip, struct span want)
{
    size_t count = json_array_size(list);
    int32_t *ids = xarray(count + 1, sizeof(*ids));
    struct buffer out = {0};
    int bad;

    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    tokenizer_decode(t, ids, (int64_t)count, skip, &out);
    bad = out.length != want.length || (want.length && memcmp(out.at, want.at, want.length));
    if (bad)
        print_error("%s decodes '%.*s'\n  want '%.*s'\n", name, (int)out.length,
                    out.at ? out.at : "", (int)want.length, want.at);
    buffer_free(&out);
    free(ids);
    return bad;
}

static struct span
text_of(const json_t *json)
{
    return span_of(json_string_value(json), json_string_length(json));
}

static void
test_golden(void **state)
{
    json_t *texts = load("texts", ".json");
    int bad = 0;

    (void)state;
    for (size_t n = 0; n < NAMES; n++) {
        struct tokenizer *t = open_golden(names[n]);
        json_t *expected = load(names[n], ".expected.json"), *one;
        size_t i;

        json_array_foreach(json_object_get(expected, "cases"), i, one)
        {
            const json_t *ids = json_object_get(one, "ids"), *plain = json_object_get(one, "plain");
            const json_t *template = json_object_get(one, "template");
            const json_t *decoded = json_object_get(one, "decoded"),
                         *skipped = json_object_get(one, "skipped");
            struct span text = text_of(json_array_get(texts, i));

            bad += check_ids(names[n], t, text, TOKENIZER_SPECIAL, ids,
                             json_object_get(one, "offsets"));
            bad += check_ids(names[n], t, text, 0, plain ? plain : ids, NULL);
            bad += check_ids(names[n], t, text, TOKENIZER_SPECIAL | TOKENIZER_TEMPLATE,
                             template ? template : ids, NULL);
            decoded = decoded ? decoded : json_array_get(texts, i);
            bad += check_decode(names[n], t, ids, 0, text_of(decoded));
            bad += check_decode(names[n], t, ids, 1, text_of(skipped ? skipped : decoded));
        }
        json_array_foreach(json_object_get(expected, "decodes"), i, one) bad += check_decode(
            names[n], t, json_object_get(one, "ids"), 0, text_of(json_object_get(one, "text")));
        json_decref(expected);
        tokenizer_close(t);
    }
    json_decref(texts);
    assert_int_equal(bad, 0);
}

/* What every encoding must obey: offsets are in order, inside the text, and on character
 * boundaries. */
static void
test_offsets(void **state)
{
    json_t *texts = load("texts", ".json"), *one;
    struct tokens out = {0};
    struct error e = {0};
    size_t k;

    (void)state;
    for (size_t n = 0; n < NAMES; n++) {
        struct tokenizer *t = open_golden(names[n]);

        json_array_foreach(texts, k, one)
        {
            struct span text = text_of(one);
            int64_t last = 0;

            assert_int_equal(tokenizer_encode(t, text, 0, &out, &e), 0);
            for (int64_t i = 0; i < out.count; i++) {
                assert_true(out.starts[i] <= out.ends[i] && out.ends[i] <= (int64_t)text.length);
                assert_true(out.ends[i] >= last);
                assert_true(out.starts[i] == (int64_t)text.length ||
                            (text.at[out.starts[i]] & 0xc0) != 0x80);
                last = out.ends[i];
            }
            if (strcmp(names[n], "qwen") == 0) /* no byte is left out */
                assert_true(last == (int64_t)text.length);
        }
        tokenizer_close(t);
    }
    tokens_free(&out);
    json_decref(texts);
}

static void
refused(const char *json, const char *reason)
{
    struct error e = {0};
    struct tokenizer *t = tokenizer_parse(span_text(json), &e);

    if (t)
        fail_msg("accepted: %s", json);
    if (!strstr(e.text, reason))
        fail_msg("'%s' lacks '%s'", e.text, reason);
}

#define MODEL(more)                                                                                \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]" more "}"

static void
test_refused(void **state)
{
    (void)state;
    refused("", "JSON");
    refused("[]", "object");
    refused("{}", "model");
    refused("{\"model\":{\"type\":\"WordPiece\"}}", "'WordPiece'");
    refused("{\"normalizer\":{\"type\":\"Precompiled\"}," MODEL("") "}",
            "normalizer: Precompiled: 'precompiled_charsmap'");
    refused("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}," MODEL(
                "") "}",
            "'Nmt'");
    refused("{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"
            "," MODEL("") "}",
            "empty string");
    refused("{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," MODEL("") "}",
            "pre_tokenizer: type 'UnicodeScripts'");
    refused("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}," MODEL("") "}",
            "one character");
    refused("{\"post_processor\":{\"type\":\"Odd\"}," MODEL("") "}", "'Odd'");
    refused("{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL("") "}", "'cls'");
    refused("{\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"z\",9]}"
            "," MODEL("") "}",
            "no token has id 9");
    refused("{\"decoder\":{\"type\":\"CTC\"}," MODEL("") "}", "decoder: type 'CTC'");
    refused("{" MODEL(",\"dropout\":0.1") "}", "dropout");
    refused(
        "{" MODEL(",\"end_of_word_suffix\":\"12345678901234567890123456789012345678901234567890123"
                  "456789012345\"") "}",
        "end_of_word_suffix");
    refused("{" MODEL(",\"unk_token\":\"u\"") "}", "'u'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "same id");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "'a'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", "'a'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "twice");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}",
            "'ab'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "merge 0");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", "vocab");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":"
            "\"Isolated\"}," MODEL("") "}",
            "pattern");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[[:alpha:]]\"},"
            "\"behavior\":\"Isolated\"}," MODEL("") "}",
            "'[:'");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?{x})\"},"
            "\"behavior\":\"Isolated\"}," MODEL("") "}",
            "pattern");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
            "\"Odd\"}," MODEL("") "}",
            "'Odd'");
    refused("{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
            "{\"type\":\"Digits\"}]}," MODEL("") "}",
            "last");
    refused("{\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]," MODEL("") "}", "'b'");
    refused("{\"added_tokens\":[{\"id\":7,\"content\":\"a\"}]," MODEL("") "}", "'a'");
    refused("{\"added_tokens\":[{\"id\":7}]," MODEL("") "}", "content");
    refused("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
            "\"id\":\"x\"}}]}," MODEL("") "}",
            "'x'");
}

static void
test_bad_text(void **state)
{
    static const char *const bad[] = {
        "\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    struct tokenizer *t = open_golden("qwen");
    struct tokens out = {0};
    struct error e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(tokenizer_encode(t, span_text(bad[i]), 0, &out, &e), ERROR_input);
    assert_int_equal(tokenizer_encode(t, (struct span){NULL, 0}, 0, &out, &e), 0);
    assert_int_equal(out.count, 0);
    tokens_free(&out);
    tokenizer_close(t);
}

/* decode(encode(text)) is the text, but for what the normalizer did; else the first byte is named.
 */
static void
test_round_trips(void **state)
{
    static const struct {
        const char *name, *text;
        int64_t where; /* -1: it comes back */
    } cases[] = {
        {"qwen", "Hello <think> 19\n", -1},
        {"qwen", "e\xcc\x81 \xe2\x84\xab", -1}, /* NFC is no loss */
        {"qwen", "a  <left>", 1},               /* lstrip took the blanks */
        {"qwen", "e\xcc\x81 <right>  b", 11},   /* the bytes given, not the normalised ones */
        {"qwen", "<|endoftext|>", -1},
        {"gpt2", "no blank in front", -1}, /* add_prefix_space */
        {"gpt2", " a blank in front", -1},
        {"invert", "a b", 1},                /* Removed */
        {"unknown", "the \xe2\x82\xac", -1}, /* no decoder */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokenizer *t = open_golden(cases[i].name);
        struct tokens out = {0};
        struct error e = {0};
        int64_t where = -1;
        int back;

        assert_int_equal(tokenizer_encode(t, span_text(cases[i].text), 0, &out, &e), 0);
        back = tokenizer_round_trips(t, span_text(cases[i].text), 0, &out, &where);
        if (where != cases[i].where || back != (where < 0))
            fail_msg("%s '%s': byte %lld, not %lld", cases[i].name, cases[i].text, (long long)where,
                     (long long)cases[i].where);
        tokens_free(&out);
        tokenizer_close(t);
    }
}

/* A pattern that explodes is given up with a reason, not waited for. */
static void
test_explosion(void **state)
{
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+"
                               "a+)+b\"},\"behavior\":\"Isolated\"}," MODEL("") "}";
    struct error e = {0};
    struct tokens out = {0};
    struct tokenizer *t = tokenizer_parse(span_text(json), &e);
    char text[64];

    (void)state;
    assert_non_null(t);
    memset(text, 'a', sizeof(text));
    text[62] = 'c', text[63] = 'b'; /* without a b the pattern is not even tried */
    assert_int_equal(tokenizer_encode(t, span_of(text, sizeof(text)), 0, &out, &e), ERROR_model);
    assert_non_null(strstr(e.text, "gave up"));
    tokens_free(&out);
    tokenizer_close(t);
}

/* Long pieces and long runs stay fast: a megabyte without a cut, merged all the way. */
static void
test_long(void **state)
{
    static const char *const units[] = {
        "a", " ", "\n", "the ", "\xcc\x81", "\xea\xb0\x80", "<|endoftext|>", "<", "?"};
    struct tokenizer *t = open_golden("qwen"), *whole = open_golden("fused");
    struct tokenizer *deepseek = open_golden("deepseek"); /* regular expressions, in three steps */
    size_t length = 1 << 20;
    uint32_t random = 1;
    char *text = xalloc(length);
    struct tokens out = {0};
    struct error e = {0};

    (void)state;
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        size_t unit = strlen(units[u]), used = length / unit * unit;

        for (size_t i = 0; i < used; i++)
            text[i] = units[u][i % unit];
        for (size_t i = 0; i < used && *units[u] == '?'; i++) /* one word of a million letters */
            text[i] = (char)('a' + ((random = random * 1664525 + 1013904223) >> 24) % 26);
        assert_int_equal(tokenizer_encode(t, span_of(text, used), 1, &out, &e), 0);
        assert_int_equal(out.ends[out.count - 1], used);
        assert_int_equal(tokenizer_encode(whole, span_of(text, used), 1, &out, &e), 0);
        if (tokenizer_encode(deepseek, span_of(text, used), 1, &out, &e))
            fail_msg("%s: %s", units[u], e.text);
        assert_int_equal(out.ends[out.count - 1], used);
    }
    free(text);
    tokens_free(&out);
    tokenizer_close(t);
    tokenizer_close(whole);
    tokenizer_close(deepseek);
}

static void
test_queries(void **state)
{
    struct tokenizer *t = open_golden("qwen");
    int32_t id = tokenizer_id(t, "<|endoftext|>");

    (void)state;
    assert_true(id >= 0);
    assert_string_equal(tokenizer_token(t, id), "<|endoftext|>");
    assert_int_equal(tokenizer_is_special(t, id), 1);
    assert_int_equal(tokenizer_is_special(t, tokenizer_id(t, "<think>")), 0);
    assert_int_equal(tokenizer_id(t, "no such token"), -1);
    assert_null(tokenizer_token(t, -1));
    assert_null(tokenizer_token(t, (int32_t)tokenizer_size(t)));
    assert_int_equal(tokenizer_is_special(t, 1 << 30), 0);
    tokenizer_close(t);
}

static void
test_write_bytes(void **state)
{
    static const char *const specials[] = {"<|end|>", "<|pad|>"};
    static const char letters[] = "0123456789+-= \n\"\\wait,\xc3\xa9";
    char dir[] = "/tmp/test_tokenizer.XXXXXX", path[80];
    struct error e = {0};
    struct tokens out = {0};
    struct buffer back = {0}, golden = {0}, written = {0};
    struct tokenizer *t;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(tokenizer_write_bytes(dir, span_text("aba"), specials, 2, NULL, &e),
                     ERROR_usage);
    assert_int_equal(tokenizer_write_bytes(dir, span_text("ab"), specials, 2, "<|x|>", &e),
                     ERROR_usage);
    assert_int_equal(tokenizer_write_bytes(dir, span_text("0123456789+-= \n\"\\wait,\xc3\xa9"),
                                           specials, 2, "<|end|>", &e),
                     0);
    t = tokenizer_open(dir, &e);
    if (!t)
        fail_msg("%s", e.text);
    assert_int_equal(tokenizer_size(t), 2 + (int64_t)strlen(letters));
    assert_int_equal(tokenizer_id(t, "<|end|>"), 0);
    assert_int_equal(
        tokenizer_encode(t, span_text("1+2=3\nwait<|end|>"), TOKENIZER_SPECIAL, &out, &e), 0);
    assert_int_equal(out.count, 11);
    assert_int_equal(out.ids[0], 3);
    assert_int_equal(out.ids[10], 0);
    tokenizer_decode(t, out.ids, out.count, 1, &back);
    assert_true(span_is(buffer_span(&back), "1+2=3\nwait"));
    assert_int_equal(tokenizer_encode(t, span_text("1?\xc3\xa9x"), 0, &out, &e), 0);
    assert_int_equal(out.count, 3);
    assert_int_equal(out.dropped, 2);
    /* the reference library read this file and agreed (tools/golden_tokenizer.py checks it again)
     */
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    assert_int_equal(document_load(path, 1 << 20, &written, &e), 0);
    assert_int_equal(document_load(FOLDER "bytes.json", 1 << 20, &golden, &e), 0);
    assert_int_equal(written.length, golden.length);
    assert_memory_equal(written.at, golden.at, golden.length);
    unlink(path);
    snprintf(path, sizeof(path), "%s/tokenizer_config.json", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    tokens_free(&out);
    buffer_free(&back);
    buffer_free(&written);
    buffer_free(&golden);
    tokenizer_close(t);
}

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Damaged files are read or refused with a reason; what was read still encodes and decodes safely.
 */
static void
test_damage(void **state)
{
    static const char *const from[] = {"qwen", "invert", "fallback", "llama"};
    static const char sample[] =
        "Hello <think> it's 12,345 caf\xc3\xa9 e\xcc\x81 <|endoftext|>  \n x";
    uint64_t seed = 77;

    (void)state;
    for (size_t n = 0; n < 4; n++) {
        char path[100];
        struct buffer good = {0};
        struct error e = {0};

        snprintf(path, sizeof(path), FOLDER "%s.json", from[n]);
        assert_int_equal(document_load(path, 1 << 20, &good, &e), 0);
        for (int round = 0; round < 150; round++) {
            char *bad = xalloc(good.length);
            size_t length = next_random(&seed) % 8 ? good.length : next_random(&seed) % good.length;
            struct tokenizer *t;

            memcpy(bad, good.at, length);
            for (uint64_t k = 1 + next_random(&seed) % 6; k && length > 2000; k--) {
                size_t at = next_random(&seed) %
                            (k % 2 ? 2000 : length); /* the first part is the richest */

                bad[at] = next_random(&seed) % 3 ? good.at[next_random(&seed) % good.length]
                                                 : (char)(32 + next_random(&seed) % 95);
            }
            t = tokenizer_parse(span_of(bad, length), &e);
            if (t) {
                struct tokens out = {0};
                struct buffer back = {0};

                if (tokenizer_encode(t, span_text(sample), TOKENIZER_SPECIAL | TOKENIZER_TEMPLATE,
                                     &out, &e) == 0)
                    tokenizer_decode(t, out.ids, out.count, 0, &back);
                buffer_free(&back);
                tokens_free(&out);
                tokenizer_close(t);
            } else {
                assert_true(e.text[0]);
            }
            free(bad);
        }
        buffer_free(&good);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_explosion),
        cmocka_unit_test(test_long),        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_write_bytes), cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
