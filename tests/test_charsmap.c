/* charsmap: what the double array says and what a damaged one does. Against the reference:
 * test_tokenizer_fuzz.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "kernels/charsmap.h"
#include "kernels/unicode.h"

/* "a" becomes "bb": unit 0 leads to 0x40 (offset 0x40), 0x40 ^ 'a' = 0x21 is labelled 'a', has a
 * value and offset 2, at 0x21 ^ 2 = 0x23. */
#define UNITS 0x80

static void
encode(const unsigned char *bytes, size_t count, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < count; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16 | (uint32_t)(i + 1 < count ? bytes[i + 1] : 0) << 8 |
                     (uint32_t)(i + 2 < count ? bytes[i + 2] : 0);

        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < count ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < count ? digits[v & 63] : '=';
    }
    *out = 0;
}

static size_t
make(unsigned char *blob)
{
    uint32_t words[1 + UNITS] = {4 * UNITS};

    words[1] = 0x40 << 10;
    words[1 + 0x21] = 'a' | 1 << 8 | 2 << 10;
    words[1 + 0x23] = 0x80000000u;
    memcpy(blob, words, sizeof(words));
    memcpy(blob + sizeof(words), "bb", 3);
    return sizeof(words) + 3;
}

static void
strings_become_what_the_array_says(void **state)
{
    unsigned char blob[600];
    char text[900];
    struct charsmap m;
    struct rewrite r = {0};
    struct span becomes;
    struct error e = {0};

    (void)state;
    encode(blob, make(blob), text);
    assert_int_equal(charsmap_read(&m, span_text(text), &e), 0);
    assert_true(charsmap_find(&m, span_text("ax"), &becomes) && span_is(becomes, "bb"));
    assert_false(charsmap_find(&m, span_text("xa"), &becomes));
    charsmap_run(&m, span_text("xa a\xcc\x81 y"), &r); /* a cluster becomes what its 'a' does */
    assert_true(span_is(buffer_span(&r.text), "xbb bb y"));
    assert_int_equal(rewrite_start(&r, 2), 1);
    assert_int_equal(rewrite_start(&r, 4), 3);
    assert_int_equal(rewrite_end(&r, 6), 6);
    rewrite_free(&r);
    charsmap_free(&m);
}

/* Every byte of a blob as many others: refused, or every text still becomes valid UTF-8. */
static void
damaged_arrays_do_no_harm(void **state)
{
    unsigned char blob[600];
    char text[900];
    size_t count = make(blob);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        unsigned char was = blob[i];
        for (int k = 0; k < 9; k++) {
            struct charsmap m;
            struct rewrite r = {0};
            struct error e = {0};

            blob[i] = k < 8 ? (unsigned char)(was ^ 1 << k) : 0xff;
            encode(blob, count, text);
            if (charsmap_read(&m, span_text(text), &e) != 0)
                continue;
            charsmap_run(&m, span_text("abc a\xcc\x81 \xf0\x9f\x98\x80 a"), &r);
            assert_true(unicode_is_utf8(buffer_span(&r.text)));
            rewrite_free(&r);
            charsmap_free(&m);
        }
        blob[i] = was;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_become_what_the_array_says),
        cmocka_unit_test(damaged_arrays_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
