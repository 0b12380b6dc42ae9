/* one_line: what JSON strings become, next to jansson's own. One-line copies are in test_verdict.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "nodes/one_line.h"

/* The two must agree on whether it is UTF-8, and on every byte. */
static void
compare(struct span text)
{
    json_t *theirs = json_stringn(text.at ? text.at : "", text.length);
    char *want = theirs ? json_dumps(theirs, JSON_ENCODE_ANY) : NULL;
    struct buffer out = {0};

    buffer_text(&out, "kept");
    assert_int_equal(json_string_write(text, &out), theirs != NULL);
    buffer_add(&out, "", 1);
    assert_memory_equal(out.at, "kept", 4);
    assert_string_equal(out.at + 4, want ? want : "");
    free(want);
    json_decref(theirs);
    buffer_free(&out);
}

static void
strings_are_written_as_jansson_writes_them(void **state)
{
    static const char *const texts[] = {"",
                                        "plain",
                                        "a \"quote\" and a \\ and a /",
                                        "\b\f\n\r\t\x01\x1f\x7f",
                                        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                        "\xc0\xaf",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "cut \xe2\x82",
                                        "\xff"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        compare(span_text(texts[i]));
    compare(span_of("a\0b", 3));
}

static void
so_are_random_bytes(void **state)
{
    static const char bytes[] = "aZ \"\\\n\t\x01\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff/";
    char text[24];

    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        size_t length = i % sizeof(text);
        for (size_t k = 0; k < length; k++) {
            uint64_t x = (i * 24 + k + 1) * 0x9e3779b97f4a7c15ULL;
            x ^= x >> 29;
            text[k] = bytes[(x * 0xbf58476d1ce4e5b9ULL >> 32) % (sizeof(bytes) - 1)];
        }
        compare(span_of(text, length));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_written_as_jansson_writes_them),
        cmocka_unit_test(so_are_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
