/* The reference's tables at points where versions differ, UTF-8 back and forth, and rewritten
 * texts' way back. */
#include "kernels/unicode.h"

#include "kernels/nfc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static enum unicode_category
category(uint32_t c)
{
    return (enum unicode_category)(unicode_flags()[c] & UNICODE_category);
}

static void
the_tables_are_the_reference_s(void **state)
{
    int64_t letters = 0, spaces = 0;

    (void)state;
    for (uint32_t c = 0; c < UNICODE_END; c++) {
        const char *name = unicode_category_name(category(c));

        letters += name[0] == 'L';
        spaces += unicode_is_space(c);
        if (unicode_is_space(c) && c > ' ' && c != 0x85)
            assert_int_equal(name[0], 'Z'); /* the scanners rely on it */
        if (name[0] == 'Z')
            assert_true(unicode_is_space(c));
    }
    assert_int_equal(letters, 141028); /* Unicode 16 */
    assert_int_equal(spaces, 25);
    assert_int_equal(category(0xa7dc), UNICODE_Lu);  /* new in 16 */
    assert_int_equal(category(0x1171e), UNICODE_Mc); /* Mn in 14 */
    assert_int_equal(category(0xd800), UNICODE_Cs);
    assert_int_equal(category(0x10ffff), UNICODE_Cn);
    assert_true(unicode_flags()[0xa7dc] & UNICODE_newer);
    assert_true(unicode_flags()[0xbd] & UNICODE_word);
    assert_false(unicode_flags()[0xbd] & UNICODE_word_inside);
    assert_true(unicode_flags()[0x200d] & UNICODE_rust_word); /* the joiners are \w in Rust */
    assert_true(unicode_flags()['$'] & UNICODE_punctuation);  /* all of ASCII's signs are */
    assert_false(unicode_flags()[0x20ac] & UNICODE_punctuation);
    assert_true(unicode_flags()[0x898] & UNICODE_inert); /* a mark of Unicode 14 */
    assert_false(unicode_flags()[0x301] & UNICODE_inert);
}

static void
lower_case_is_one_character_at_a_time(void **state)
{
    static const uint32_t pairs[][2] = {
        {'A', 'a'},      {'Z', 'z'},      {'[', '['},           {0xc0, 0xe0},
        {0xd7, 0xd7},    {0x100, 0x101},  {0x101, 0x101},       {0x3a3, 0x3c3},
        {0x1e9e, 0xdf},  {0x2126, 0x3c9}, {0x10400, 0x10428},   {0x16ea0, 0x16ebb},
        {0xa7dc, 0x19b}, {0x1c5, 0x1c6},  {0x10ffff, 0x10ffff},
    };
    uint32_t out[2];

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_equal(unicode_lower(pairs[i][0], out), 1);
        assert_int_equal(out[0], pairs[i][1]);
    }
    assert_int_equal(unicode_lower(0x130, out), 2);
    assert_true(out[0] == 'i' && out[1] == 0x307);
}

static void
utf8_there_and_back(void **state)
{
    static const char *const bad[] = {"\xff",         "a\xc3",
                                      "\xc0\x80",     "\xed\xa0\x80",
                                      "\xe0\x9f\xbf", "\xf4\x90\x80\x80",
                                      "\xe2\x82",     "\x80",
                                      "12345678\xc3", "1234567890123456\xff"};
    struct buffer b = {0};
    size_t length, start;

    (void)state;
    for (uint32_t c = 0; c < UNICODE_END; c += c < 0x3000 ? 1 : 0x35) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        buffer_clear(&b);
        unicode_add(&b, c);
        assert_int_equal(unicode_at(buffer_span(&b), 0, &length), c);
        assert_int_equal(length, b.length);
        assert_int_equal(unicode_before(buffer_span(&b), b.length, &start), c);
        assert_int_equal(start, 0);
        assert_true(unicode_is_utf8(buffer_span(&b)));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(unicode_is_utf8(span_text(bad[i])));
    assert_true(unicode_is_utf8(span_of("", 0)));
    buffer_free(&b);
}

static void
forms(enum nfc_form form, const char *text, const char *want)
{
    struct rewrite r = {0};

    nfc_normalise(&r, form, span_text(text));
    if (!span_is(buffer_span(&r.text), want))
        fail_msg("form %d of '%s': '%.*s', not '%s'", (int)form, text, (int)r.text.length,
                 r.text.at, want);
    rewrite_free(&r);
}

static void
the_four_forms(void **state)
{
    (void)state;
    forms(NFC_composed, "e\xcc\x81 \xe2\x84\xab", "\xc3\xa9 \xc3\x85");
    forms(NFC_decomposed, "abcdefghij\xc3\xa9", "abcdefghij\x65\xcc\x81");
    forms(NFC_compatible_composed, "\xef\xac\x81\xc2\xa0\xc2\xbd",
          "fi 1\xe2\x81\x84"
          "2");
    forms(NFC_compatible_decomposed, "\xef\xbc\xa1\xc3\x80", "AA\xcc\x80");
    forms(NFC_decomposed, "\xea\xb0\x81", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8");
    forms(NFC_composed, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");
    /* a mark that the reference's version does not know stays where it is, and stops the others */
    forms(NFC_composed, "a\xcc\x81", "\xc3\xa1");
    forms(NFC_composed, "a\xe0\xa2\x98\xcc\xa3\xcc\x81", "a\xe0\xa2\x98\xcc\xa3\xcc\x81");
    forms(NFC_composed, "a\xe0\xa2\x98\xcc\x81\xcc\xa3", "a\xe0\xa2\x98\xcc\xa3\xcc\x81");
    forms(NFC_decomposed, "\xf0\x91\xa4\xb8", "\xf0\x91\xa4\xb8"); /* U+11938, of Unicode 13 */
    forms(NFC_composed, "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0", "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0");
}

static void
the_way_back_through_edits(void **state)
{
    static const char source[] = "abcdefgh";
    struct span s = span_text(source);
    struct rewrite_chain chain = {0};
    struct rewrite *r = rewrite_chain_add(&chain);

    (void)state;
    rewrite_keep(r, span_of(source, 2));        /* ab */
    rewrite_edit(r, s, 2, 3, span_text("XYZ")); /* c -> XYZ */
    rewrite_edit(r, s, 3, 5, span_of("", 0));   /* de is gone */
    rewrite_edit(r, s, 5, 6, span_text("f"));   /* nothing changed: no edit */
    rewrite_keep(r, span_of(source + 6, 2));    /* gh */
    assert_true(span_is(buffer_span(&r->text), "abXYZfgh"));
    assert_int_equal(r->edit_count, 2);
    assert_int_equal(rewrite_start(r, 1), 1);
    for (size_t at = 2; at < 5; at++) { /* X, Y and Z are c */
        assert_int_equal(rewrite_start(r, at), 2);
        assert_int_equal(rewrite_end(r, at + 1), 3);
    }
    assert_int_equal(rewrite_start(r, 5), 5); /* f begins behind what is gone */
    assert_int_equal(rewrite_end(r, 6), 6);
    r = rewrite_chain_add(&chain); /* and once more: "abXYZfgh" -> "_bXYZfg" */
    rewrite_edit(r, span_text("abXYZfgh"), 0, 1, span_text("_"));
    rewrite_keep(r, span_text("bXYZfg"));
    rewrite_edit(r, span_text("abXYZfgh"), 7, 8, span_of("", 0));
    assert_int_equal(rewrite_chain_start(&chain, 0), 0);
    assert_int_equal(rewrite_chain_end(&chain, 1), 1);
    assert_int_equal(rewrite_chain_start(&chain, 3), 2);
    assert_int_equal(rewrite_chain_end(&chain, 7), 7);
    rewrite_chain_free(&chain);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_are_the_reference_s),
        cmocka_unit_test(lower_case_is_one_character_at_a_time),
        cmocka_unit_test(utf8_there_and_back),
        cmocka_unit_test(the_four_forms),
        cmocka_unit_test(the_way_back_through_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
