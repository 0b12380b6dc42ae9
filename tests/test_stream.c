/* stream: lines and their offsets, whatever the file is compressed with and however it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "nodes/reader/stream.h"

static char path[64];

static void
write_file(const void *bytes, size_t length, const char *mode)
{
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    fclose(f);
}

static struct buffer
zstd_frame(const char *text)
{
    struct buffer b = {0};
    buffer_reserve(&b, ZSTD_compressBound(strlen(text)));
    b.length = ZSTD_compress(b.at, b.room, text, strlen(text), 3);
    return b;
}

static struct buffer
gzip_member(const char *text)
{
    struct buffer b = {0};
    z_stream      z = {0};
    deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    buffer_reserve(&b, deflateBound(&z, strlen(text)) + 32);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)strlen(text);
    z.next_out = (Bytef *)b.at;
    z.avail_out = (uInt)b.room;
    deflate(&z, Z_FINISH);
    b.length = z.total_out;
    deflateEnd(&z);
    return b;
}

static struct stream *
open_at(uint64_t offset, int64_t line_max, bool whole)
{
    struct stream_how how = {STREAM_auto, line_max, whole};
    struct stream    *s;
    struct error      e = {0};
    if (stream_open(&s, path, &how, offset, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

static uint64_t
size_of_file(void)
{
    FILE *f = fopen(path, "r");
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    fclose(f);
    return (uint64_t)n;
}

static int
next(struct stream *s, bool final, struct stream_line *line)
{
    struct error e = {0};
    int          rc = stream_next(s, size_of_file(), final, line, &e);
    if (rc < 0)
        fail_msg("%s", e.text);
    return rc;
}

static void
expect_line(struct stream *s, bool final, const char *text, uint64_t offset)
{
    struct stream_line line;
    assert_int_equal(next(s, final, &line), STREAM_line);
    assert_int_equal(line.offset, offset);
    if (!span_is(line.text, text))
        fail_msg("'%.*s' is not '%s'", (int)line.text.length, line.text.at, text);
}

static void
three_lines(bool from_second)
{
    struct stream_line line;
    struct stream     *s = open_at(from_second ? 4 : 0, 1000, false);
    if (!from_second)
        expect_line(s, true, "one", 0);
    expect_line(s, true, "", 4);
    expect_line(s, true, "three", 6);
    assert_int_equal(next(s, true, &line), STREAM_end);
    assert_int_equal(next(s, true, &line), STREAM_end);
    stream_close(s);
}

static void
lines_have_offsets_in_every_format(void **state)
{
    struct buffer a = zstd_frame("one\n\r"), b = zstd_frame("\nthree"), c = gzip_member("one\n\r"),
                  d = gzip_member("\nthree");

    (void)state;
    write_file("one\n\r\nthree", 11, "w");
    three_lines(false);
    three_lines(true);
    write_file(a.at, a.length, "w");
    write_file("\x50\x2a\x4d\x18\x02\x00\x00\x00zz", 10, "a");      /* a frame to skip */
    write_file(b.at, b.length, "a");
    three_lines(false);
    three_lines(true);
    write_file(c.at, c.length, "w");
    write_file(d.at, d.length, "a");
    write_file("\0\0\0", 3, "a");
    three_lines(false);
    three_lines(true);
    buffer_free(&a);
    buffer_free(&b);
    buffer_free(&c);
    buffer_free(&d);
}

static void
truncated_and_corrupt_files_give_what_came_before(void **state)
{
    struct buffer text = {0};

    (void)state;
    for (int i = 0; i < 20000; i++)
        buffer_print(&text, "line %d %u\n", i, (unsigned)i * 2654435761u);
    buffer_add(&text, "", 1);
    for (int format = 0; format < 2; format++) {
        struct buffer      z = format ? gzip_member(text.at) : zstd_frame(text.at);
        struct stream_line line;
        struct stream     *s;
        int                lines = 0, rc;
        write_file(z.at, z.length * 2 / 3, "w");
        s = open_at(0, 1000, false);
        while ((rc = next(s, true, &line)) == STREAM_line)
            lines++;
        assert_int_equal(rc, STREAM_broken);
        assert_non_null(strstr(line.why, "middle of a frame"));
        assert_true(lines > 1000 && lines < 20000);
        assert_int_equal(next(s, true, &line), STREAM_end);
        stream_close(s);
        memset(z.at + z.length / 2, 0x55, 200);
        write_file(z.at, z.length, "w");
        s = open_at(0, 1000, false);
        while ((rc = next(s, true, &line)) == STREAM_line || rc == STREAM_long)
            ;
        assert_int_equal(rc, STREAM_broken);
        assert_int_equal(next(s, true, &line), STREAM_end);
        stream_close(s);
        buffer_free(&z);
    }
    buffer_free(&text);
}

static void
a_long_line_is_passed_over_without_being_held(void **state)
{
    struct buffer      b = {0};
    struct stream_line line;
    struct stream     *s;

    (void)state;
    buffer_text(&b, "first\n");
    buffer_reserve(&b, 100000000);
    memset(b.at + b.length, 'x', 100000000);
    b.length += 100000000;
    buffer_text(&b, "\nlast\n");
    write_file(b.at, b.length, "w");
    buffer_free(&b);
    s = open_at(0, 1 << 20, false);
    expect_line(s, true, "first", 0);
    assert_int_equal(next(s, true, &line), STREAM_long);
    assert_int_equal(line.offset, 6);
    assert_int_equal(line.length, 100000000);
    assert_int_equal(line.text.length, STREAM_HEAD_BYTES);
    expect_line(s, true, "last", 100000007);
    assert_int_equal(next(s, true, &line), STREAM_end);
    stream_close(s);
    write_file("0123456789\nok\n", 14, "w");        /* one that fits the buffer and not the bound */
    s = open_at(0, 9, false);
    assert_int_equal(next(s, true, &line), STREAM_long);
    assert_int_equal(line.length, 10);
    expect_line(s, true, "ok", 11);
    stream_close(s);
}

static void
a_growing_file_yields_whole_lines(void **state)
{
    struct stream_line line;
    struct stream     *s;

    (void)state;
    write_file("", 0, "w");
    s = open_at(0, 1000, true);
    assert_int_equal(next(s, false, &line), STREAM_wait);
    write_file("o", 1, "a");
    assert_int_equal(next(s, false, &line), STREAM_wait);
    write_file("ne\ntw", 5, "a");
    expect_line(s, false, "one", 0);
    assert_int_equal(next(s, false, &line), STREAM_wait);
    assert_int_equal(stream_hashed(s), 6);
    assert_int_equal(stream_hash(s), XXH64("one\ntw", 6, 0));
    write_file("o\nthree", 7, "a");
    expect_line(s, false, "two", 4);
    assert_int_equal(next(s, false, &line), STREAM_wait);
    expect_line(s, true, "three", 8);
    assert_int_equal(next(s, true, &line), STREAM_end);
    stream_close(s);
}

static void
a_growing_compressed_file_yields_whole_frames(void **state)
{
    (void)state;
    for (int format = 0; format < 2; format++) {
        struct buffer      a = format ? gzip_member("one\ntw") : zstd_frame("one\ntw");
        struct buffer b = format ? gzip_member("o\nthree\nfour") : zstd_frame("o\nthree\nfour");
        struct stream_line line;
        struct stream     *s;
        write_file("", 0, "w");
        s = open_at(0, 1000, true);
        for (size_t i = 0; i < a.length; i++) {
            assert_int_equal(next(s, false, &line), STREAM_wait);
            write_file(a.at + i, 1, "a");
        }
        expect_line(s, false, "one", 0);
        for (size_t i = 0; i < b.length; i++) {
            assert_int_equal(next(s, false, &line), STREAM_wait);
            write_file(b.at + i, 1, "a");
        }
        expect_line(s, false, "two", 4);
        expect_line(s, false, "three", 8);
        assert_int_equal(next(s, false, &line), STREAM_wait);
        write_file(a.at, a.length / 2, "a");
        assert_int_equal(next(s, false, &line), STREAM_wait);
        int rc = next(s, true, &line);
        while (rc == STREAM_line)
            rc = next(s, true, &line);
        assert_int_equal(rc, STREAM_broken);
        stream_close(s);
        buffer_free(&a);
        buffer_free(&b);
    }
}

static void
a_file_that_shrinks_is_an_error(void **state)
{
    struct stream_line line;
    struct stream     *s;
    struct error       e = {0};

    (void)state;
    write_file("one\ntwo\n", 8, "w");
    s = open_at(0, 1000, false);
    assert_int_equal(stream_next(s, 20, true, &line, &e), STREAM_line);
    assert_int_equal(stream_next(s, 20, true, &line, &e), STREAM_line);
    assert_int_equal(stream_next(s, 20, true, &line, &e), ERROR_input);
    assert_non_null(strstr(e.text, "shrank to 8 bytes"));
    stream_close(s);
    s = open_at(0, 1000, false);
    assert_int_equal(stream_prime(s, 9, &e), ERROR_input);
    stream_close(s);
}

static int
begin(void **state)
{
    (void)state;
    strcpy(path, "/tmp/sluice-stream-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}

static int
finish(void **state)
{
    (void)state;
    return unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_offsets_in_every_format),
        cmocka_unit_test(truncated_and_corrupt_files_give_what_came_before),
        cmocka_unit_test(a_long_line_is_passed_over_without_being_held),
        cmocka_unit_test(a_growing_file_yields_whole_lines),
        cmocka_unit_test(a_growing_compressed_file_yields_whole_frames),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
