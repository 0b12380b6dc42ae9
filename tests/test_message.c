/* Messages: every message of messages.def, whatever its fields, keeps what it holds, refuses every
 * truncation, survives every flipped byte, and has the bytes that are in schemas/golden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph/message.h"
#include "graph/message_table.h"

static struct error e;

/* ---- a filler for any message ---- */

static uint64_t seed;

static uint64_t
roll(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t
roll_number(void)
{
    uint64_t bits = roll(); /* one after the other: C does not order two calls in one expression */

    return bits >> roll() % 64;
}

static struct span
roll_text(struct arena *a)
{
    static const char *const pieces[] = {"a",  "\n", "é",     "日",       "\xf0\x9f\x92\x8e",
                                         "\"", "\\", " wait", "3 + 4 = 7"};
    struct buffer            b = {0};
    struct span              s;

    for (uint64_t n = roll() % 9; n > 0; n--)
        buffer_text(&b, pieces[roll() % (sizeof(pieces) / sizeof(pieces[0]))]);
    s = span_of(memcpy(arena_take(a, b.length + 1), b.at ? b.at : "", b.length), b.length);
    buffer_free(&b);
    return s;
}

static void
fill(enum message m, char *out, struct arena *a)
{
    for (const struct field *f = message_row(m)->fields; f->kind != FIELD_end; f++) {
        void       *at = out + f->offset;
        int64_t     n = (int64_t)(roll() % 5);
        struct u8s *array = at;     /* all arrays share this shape */

        switch (f->kind) {
        case FIELD_u64: *(uint64_t *)at = roll_number(); continue;
        case FIELD_f64: *(double *)at = ((double)roll_number() - 1e6) / 3; continue;
        case FIELD_text: *(struct span *)at = roll_text(a); continue;
        case FIELD_nest: fill(f->inner, at, a); continue;
        default: break;
        }
        array->count = n;
        array->at = arena_take(a, (size_t)n * sizeof(struct span));
        for (int64_t i = 0; i < n; i++) {
            switch (f->kind) {
            case FIELD_u64s: ((uint64_t *)(void *)array->at)[i] = roll_number(); break;
            case FIELD_u32s: ((uint32_t *)(void *)array->at)[i] = (uint32_t)roll_number(); break;
            case FIELD_u8s: array->at[i] = (uint8_t)roll(); break;
            case FIELD_f32s: ((float *)(void *)array->at)[i] = (float)roll_number() / 3; break;
            default: ((struct span *)(void *)array->at)[i] = roll_text(a); break;
            }
        }
    }
}

static bool
same_span(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static bool
same(enum message m, const char *x, const char *y)
{
    static const size_t sizes[] = {
        [FIELD_u64s] = 8, [FIELD_u8s] = 1, [FIELD_u32s] = 4, [FIELD_f32s] = 4};

    for (const struct field *f = message_row(m)->fields; f->kind != FIELD_end; f++) {
        const void *a = x + f->offset, *b = y + f->offset;
        const struct u8s *p = a, *q = b;

        if (f->kind == FIELD_u64 || f->kind == FIELD_f64) {
            if (memcmp(a, b, 8) != 0)
                return false;
        } else if (f->kind == FIELD_text) {
            if (!same_span(*(const struct span *)a, *(const struct span *)b))
                return false;
        } else if (f->kind == FIELD_nest) {
            if (!same(f->inner, a, b))
                return false;
        } else if (f->kind == FIELD_texts) {
            const struct texts_field { int64_t count; struct span *at; } *s = a, *t = b;

            if (s->count != t->count)
                return false;
            for (int64_t i = 0; i < s->count; i++)
                if (!same_span(s->at[i], t->at[i]))
                    return false;
        } else if (p->count != q->count ||
                   (p->count && memcmp(p->at, q->at, (size_t)p->count * sizes[f->kind]) != 0)) {
            return false;
        }
    }
    return true;
}

/* Bytes in a block of exactly their size, so that ASan sees one byte read too many. */
static struct span
exact(const void *bytes, size_t length)
{
    char *p = malloc(length ? length : 1);

    assert_non_null(p);
    if (length)
        memcpy(p, bytes, length);
    return span_of(p, length);
}

static int
read_bytes(enum message m, const void *bytes, size_t length, void *out, struct arena *a)
{
    struct span s = exact(bytes, length);
    int         rc = message_read(m, s, out, a, &e);

    if (rc == 0) {      /* walk what was read while its bytes live */
        struct buffer b = {0};

        message_json(m, out, &b);
        message_write(m, out, &b);
        buffer_free(&b);
    }
    free((void *)s.at);
    return rc;
}

static void
packed(enum message m, struct buffer *b, struct arena *a)
{
    void *in = arena_take(a, message_size(m));

    fill(m, in, a);
    message_write(m, in, b);
}

#define EACH(m) (enum message m = (enum message)1; m < MESSAGE_count; m++)

/* ---- claims ---- */

static void
every_message_comes_back_as_it_went(void **state)
{
    (void)state;
    for EACH (m)
        for (int i = 0; i < 200; i++) {
            struct arena  a = {0};
            struct buffer b = {0}, again = {0};
            void *in = arena_take(&a, message_size(m)), *out = arena_take(&a, message_size(m));

            seed = (uint64_t)m * 1000 + (uint64_t)i;
            fill(m, in, &a);
            message_write(m, in, &b);
            assert_int_equal(message_read(m, buffer_span(&b), out, &a, &e), 0);
            assert_true(same(m, in, out));
            message_write(m, out, &again);
            assert_true(same_span(buffer_span(&b), buffer_span(&again)));
            buffer_free(&b);
            buffer_free(&again);
            arena_free(&a);
        }
}

static void
every_truncation_is_refused(void **state)
{
    (void)state;
    for EACH (m) {
        struct arena  a = {0};
        struct buffer b = {0};
        void         *out = arena_take(&a, message_size(m));

        seed = m;
        packed(m, &b, &a);
        for (size_t n = 0; n < b.length; n++)
            assert_int_equal(read_bytes(m, b.at, n, out, &a), ERROR_input);
        assert_int_equal(read_bytes(m, b.at, b.length, out, &a), 0);
        buffer_add(&b, "\0", 1);
        assert_int_equal(read_bytes(m, b.at, b.length, out, &a), ERROR_input);
        buffer_free(&b);
        arena_free(&a);
    }
}

static void
every_flipped_byte_is_read_or_refused(void **state)
{
    (void)state;
    for EACH (m)
        for (int round = 0; round < 4; round++) {
            struct arena  a = {0};
            struct buffer b = {0};
            void         *out = malloc(message_size(m));

            assert_non_null(out);
            seed = (uint64_t)m * 7 + (uint64_t)round;
            packed(m, &b, &a);
            for (size_t i = 0; i < b.length; i++)
                for (int k = 1; k < 256; k += round == 0 ? 1 : 51) {
                    struct arena inner = {0};
                    int          rc;

                    b.at[i] ^= (char)k;
                    rc = read_bytes(m, b.at, b.length, out, &inner);
                    assert_true(rc == 0 || rc == ERROR_input || rc == ERROR_version);
                    b.at[i] ^= (char)k;
                    arena_free(&inner);
                }
            free(out);
            buffer_free(&b);
            arena_free(&a);
        }
}

static void
refused(enum message m, const char *bytes, size_t length, int code, const char *words)
{
    struct arena a = {0};
    void        *out = arena_take(&a, message_size(m));

    assert_int_equal(read_bytes(m, bytes, length, out, &a), code);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    arena_free(&a);
}
#define REFUSED(m, bytes, code, words) refused(MESSAGE_##m, bytes, sizeof(bytes) - 1, code, words)

static void
hostile_counts_and_depths_are_refused_before_they_cost(void **state)
{
    char  *deep = malloc(100000), *wide = malloc(3000 * 70);
    size_t n = 0;

    (void)state;
    REFUSED(rollout, "", ERROR_input, "cut off");
    REFUSED(rollout, "\xdd\xff\x00\x00\x00", ERROR_input, "elements");
    REFUSED(rollout, "\xdd\x00\x10\x00\x00", ERROR_input, "cut off");
    REFUSED(rollout, "\xdf\xff\xff\xff\xff", ERROR_input, "elements");
    REFUSED(rollout, "\xdb\xff\xff\xff\xff", ERROR_input, "cut off");
    REFUSED(rollout, "\xc6\xff\xff\xff\xff", ERROR_input, "cut off");
    REFUSED(rollout, "\xc9\xff\xff\xff\xff\x01", ERROR_input, "cut off");
    REFUSED(rollout, "\xc1", ERROR_input, "0xc1");
    REFUSED(rollout, "\x80\x80", ERROR_input, "after the end");
    assert_true(deep && wide);
    memset(deep, 0x91, 100000);
    refused(MESSAGE_rollout, deep, 100000, ERROR_input, "deeper than 16");
    /* many headers that each promise 65535 elements */
    for (int i = 0; i < 70000; i++, n += 3)
        memcpy(wide + n, "\xdc\xff\xff", 3);
    refused(MESSAGE_rollout, wide, n, ERROR_input, "");
    free(deep);
    free(wide);
}

static void
wrong_types_are_refused_by_field(void **state)
{
    (void)state;
    REFUSED(rollout, "\x90", ERROR_input, "message 'rollout': not a rollout: not a map");
    REFUSED(rollout, "\x81\xa2id\x05", ERROR_input, "message 'rollout': field 'id': not text");
    REFUSED(rollout, "\x81\xa2id\xa2\xff\xfe", ERROR_input, "field 'id': text that is not UTF-8");
    REFUSED(rollout, "\x81\xa6reward\xa1x", ERROR_input, "field 'reward': not a number");
    REFUSED(rollout, "\x81\xa6reward\xcb\x7f\xf8\0\0\0\0\0\0", ERROR_input, "not a finite number");
    REFUSED(rollout, "\x82\xa2id\xa1x\xa2id\xa1y", ERROR_input, "field 'id' is there twice");
    REFUSED(steps, "\x81\xa7rollout\x01", ERROR_input, "field 'rollout': not a rollout");
    REFUSED(steps, "\x81\xa7rollout\x81\xa6prompt\xc0", ERROR_input,
            "field 'rollout': field 'prompt': not text");
    REFUSED(steps,
            "\x81\xa4"
            "ends\x93\x01\x02\xff",
            ERROR_input, "field 'ends': element 2: not a whole");
    REFUSED(vote, "\x81\xa4said\x91\xcd\x01\x00", ERROR_input,
            "field 'said': element 0: 256 is above 255");
    REFUSED(vote, "\x81\xa6scores\x91\xcb\x7f\xef\0\0\0\0\0\0", ERROR_input,
            "too large for float32");
    REFUSED(vote, "\x81\xa6scores\xa1x", ERROR_input, "field 'scores': not an array");
    REFUSED(rollout, "\x81\xa1v\x02", ERROR_version, "version 2; this program reads up to 1");
    REFUSED(rollout, "\x81\xa1v\x00", ERROR_input, "not a version");
}

static void
missing_fields_read_as_nothing(void **state)
{
    struct arena  a = {0};
    struct vote   v;
    struct steps  s;

    (void)state;
    assert_int_equal(message_read(MESSAGE_vote, span_of("\x80", 1), &v, &a, &e), 0);
    assert_true(v.voter.length == 0 && v.scores.count == 0 && v.usd == 0 && v.unknown_count == 0);
    assert_int_equal(message_read(MESSAGE_steps, span_of("\x81\xa7rollout\x80", 10), &s, &a, &e),
                     0);
    assert_true(s.rollout.reward == 0 && s.ends.count == 0);
    arena_free(&a);
}

/* What a program in another language may write: integers for numbers, arrays for bytes. */
static void
other_spellings_of_a_value_are_read(void **state)
{
    static const char bytes[] =
        "\x83\xa3usd\xff\xa6scores\x92\x01\xca\x3f\0\0\0\xa4said\x92\x01\xcd\x00\x00";
    struct arena      a = {0};
    struct vote       v;

    (void)state;
    assert_int_equal(message_read(MESSAGE_vote, span_of(bytes, sizeof(bytes) - 1), &v, &a, &e), 0);
    assert_true(v.usd == -1 && v.scores.count == 2 && v.scores.at[0] == 1 &&
                v.scores.at[1] == 0.5f);
    assert_true(v.said.count == 2 && v.said.at[0] == 1 && v.said.at[1] == 0);
    arena_free(&a);
}

static void
unknown_fields_are_passed_on_byte_for_byte(void **state)
{
    /* a wasteful integer and a key that is no text: kept as they came, at both depths */
    static const char pairs[] = "\xa3new\xcf\0\0\0\0\0\0\0\x07\x05\x92\xc0\xc3";
    struct buffer     in = {0}, out = {0}, json = {0};
    struct arena      a = {0};
    struct steps      s;

    (void)state;
    buffer_text(&in, "\x84\xa7rollout\x83\xa2id\xa1r");
    buffer_add(&in, pairs, sizeof(pairs) - 1);
    buffer_text(&in, "\xa1v\x01");
    buffer_add(&in, pairs, sizeof(pairs) - 1);
    assert_int_equal(message_read(MESSAGE_steps, buffer_span(&in), &s, &a, &e), 0);
    assert_int_equal(s.unknown_count, 2);
    assert_int_equal(s.rollout.unknown_count, 2);
    message_write(MESSAGE_steps, &s, &out);
    assert_memory_equal(out.at + out.length - (sizeof(pairs) - 1), pairs, sizeof(pairs) - 1);
    message_json(MESSAGE_steps, &s, &json);
    buffer_add(&json, "", 1);
    assert_string_equal(
        json.at,
        "{\"rollout\":{\"id\":\"r\",\"prompt\":\"\",\"response\":\"\",\"answer\":\"\",\"reward\":0,"
        "\"group_mean\":0,\"group_std\":0,\"source\":\"\",\"logps\":[],\"token_ids\":[],"
        "\"weight\":0,\"finish\":\"\",\"injected\":0,\"given_ends\":[],\"new\":7,\"5\":[null,true]},"
        "\"ends\":[],\"kinds\":[],\"new\":7,\"5\":[null,true]}");
    assert_int_equal(message_read(MESSAGE_steps, buffer_span(&out), &s, &a, &e), 0);
    assert_int_equal(s.rollout.unknown_count, 2);
    buffer_free(&in);
    buffer_free(&out);
    buffer_free(&json);
    arena_free(&a);
}

/* One example of each message, its bytes committed: a change of the encoding is a change of every
 * store. */
static void
encodings_equal_the_committed_ones(void **state)
{
    const char *rewrite = getenv("SLUICE_GOLDEN_WRITE");

    (void)state;
    for EACH (m) {
        char         *path = xprint("schemas/golden/%s.hex", message_name(m));
        struct buffer b = {0}, hex = {0}, want = {0};
        struct arena  a = {0};
        char          room[4096];
        size_t        n;
        FILE         *f;

        seed = 42 + (uint64_t)message_row(m)->id;
        packed(m, &b, &a);
        for (size_t i = 0; i < b.length; i++)
            buffer_print(&hex, "%02x%s", (unsigned char)b.at[i],
                         i % 32 == 31 || i + 1 == b.length ? "\n" : "");
        f = fopen(path, rewrite ? "w+" : "r");
        if (!f)
            fail_msg("%s is missing", path);
        if (rewrite)
            fwrite(hex.at, 1, hex.length, f);
        rewind(f);
        while ((n = fread(room, 1, sizeof(room), f)) > 0)
            buffer_add(&want, room, n);
        fclose(f);
        if (!same_span(buffer_span(&hex), buffer_span(&want)))
            fail_msg("%s: the encoding of '%s' changed", path, message_name(m));
        free(path);
        buffer_free(&b);
        buffer_free(&hex);
        buffer_free(&want);
        arena_free(&a);
    }
}

static void
the_table_keeps_its_rules(void **state)
{
    (void)state;
    for EACH (m) {
        const struct message_row *r = message_row(m);
        int                       fields = 0;

        assert_true(r->id > 0 && *r->meaning);
        assert_int_equal(message_find(r->name), m);
        for (enum message k = (enum message)1; k < m; k++)
            assert_int_not_equal(message_row(k)->id, r->id);
        for (const struct field *f = r->fields; f->kind != FIELD_end; f++, fields++)
            assert_true(*f->meaning && strcmp(f->name, "v") != 0);
        assert_in_range(fields, 1, 64);
    }
    assert_int_equal(message_find("rolout"), MESSAGE_any);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back_as_it_went),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_read_or_refused),
        cmocka_unit_test(hostile_counts_and_depths_are_refused_before_they_cost),
        cmocka_unit_test(wrong_types_are_refused_by_field),
        cmocka_unit_test(missing_fields_read_as_nothing),
        cmocka_unit_test(other_spellings_of_a_value_are_read),
        cmocka_unit_test(unknown_fields_are_passed_on_byte_for_byte),
        cmocka_unit_test(encodings_equal_the_committed_ones),
        cmocka_unit_test(the_table_keeps_its_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
