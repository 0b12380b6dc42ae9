/* Event files of TensorBoard: checksums and records against bytes made by its own writer, and a
 * committed file that its own reader opens (tools/check_events.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/events.h"
#include "nodes/learner/measures.h"

static void
same_hex(const struct buffer *got, const char *wanted)
{
    char *hex = xalloc(2 * got->length + 1);

    for (size_t i = 0; i < got->length; i++)
        sprintf(hex + 2 * i, "%02x", (unsigned char)got->at[i]);
    assert_string_equal(hex, wanted);
    free(hex);
}

static void
checksums(void **state)
{
    static const char zeros[32];

    (void)state;
    assert_int_equal(events_crc("123456789", 9), 0xE3069283u);
    assert_int_equal(events_crc(zeros, 32), 0x8A9136AAu);
    assert_int_equal(events_crc_masked(zeros, 32), 0x0FD7FFFAu);
    assert_int_equal(events_crc_masked("\x1a\x11"
                                       "CRC test, one two",
                                       19),
                     0x5794D08Au);
}

/* What tensorboard's protobuf and record writer made of the same events. */
static void
records(void **state)
{
    struct buffer out = {0};

    (void)state;
    events_begin(&out, 1700000000.5);
    same_hex(&out, "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b"
                   "353110");
    buffer_clear(&out);
    events_add(&out, 1700000000.5, 7, &(struct event_scalar){"loss", 0.25f}, 1);
    same_hex(&out, "1a00000000000000129bd82d0900002040fc54d94110072a0d0a0b0a046c6f7373150000803e"
                   "c576518e");
    buffer_free(&out);
}

/* Values and times change no record's length: a file that is cut and written again keeps places. */
static void
lengths_do_not_depend_on_values(void **state)
{
    struct measures a = {0}, b = {0};
    struct buffer one = {0}, two = {0};

    (void)state;
    for (int i = 0; i < TRAINING_count; i++) {
        measures_set(&a, (enum training)i, 300);
        measures_set(&b, (enum training)i, i == TRAINING_step ? 16383 : -1.5e-7);
    }
    measures_event(&a, 1e9, &one);
    measures_event(&b, 2e9 + 1.0 / 3, &two);
    assert_int_equal(one.length, two.length);
    buffer_free(&one);
    buffer_free(&two);
}

/* What tensorboard's own messages and record writer made of the same numbers
 * (tools/golden_events.py), and its own reader opens (tools/check_events.py). */
static void
the_file_of_tensorboards_own_writer(void **state)
{
    static const char *const tags[] = {"loss", "reward/mean", "lr", "gems/token_share"};
    struct buffer out = {0};
    FILE *file = fopen("tests/golden/" EVENTS_FILE, "rb");
    char *golden = xalloc(1 << 16);
    size_t length;

    (void)state;
    events_begin(&out, 1700000000.5);
    for (int step = 0; step < 20000; step += 1117) {
        struct event_scalar scalars[4];

        for (int i = 0; i < 4; i++)
            scalars[i] = (struct event_scalar){tags[i], (float)((step + 1) / (8.0 * (i + 1)))};
        events_add(&out, 1700000000.5 + step, step, scalars, 4);
    }
    assert_non_null(file);
    length = fread(golden, 1, 1 << 16, file);
    fclose(file);
    assert_int_equal(length, out.length);
    assert_memory_equal(golden, out.at, length);
    free(golden);
    buffer_free(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums),
        cmocka_unit_test(records),
        cmocka_unit_test(lengths_do_not_depend_on_values),
        cmocka_unit_test(the_file_of_tensorboards_own_writer),
    };

    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
