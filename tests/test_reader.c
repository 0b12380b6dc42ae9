/* reader: the same messages from the same input, whatever happens to the process; and clear words
 * about bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "graph/core.h"
#include "tests/harness.h"

static char folder[64];

static const char *
in_folder(const char *name)
{
    static char paths[16][200];
    static int  at;
    char       *p = paths[at++ % 16];
    snprintf(p, 200, "%s/%s", folder, name);
    return p;
}

static void
write_bytes(const char *name, const char *mode, const void *bytes, size_t length)
{
    FILE *f = fopen(in_folder(name), mode);
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    fclose(f);
}

static void
write_text(const char *name, const char *mode, const char *text)
{
    write_bytes(name, mode, text, strlen(text));
}

/* Everything the node has sent so far, one line per message, appended to `out`. */
static void
collect(struct harness *h, struct buffer *out)
{
    struct harness_message m;
    struct arena           arena = {0};

    while (harness_take(h, "out", &m)) {
        struct rollout r;
        buffer_print(out, "%llu %llu+%u ", (unsigned long long)m.ordinal,
                     (unsigned long long)m.first, m.size);
        if (m.closing) {
            buffer_print(out, "closed %s\n", m.reason);
            continue;
        }
        arena_clear(&arena);
        assert_int_equal(message_read(MESSAGE_rollout, m.body, &r, &arena, NULL), 0);
        buffer_print(out, "%.*s %.*s %g %.4g %.4g %.*s\n", (int)r.id.length, r.id.at,
                     (int)r.response.length, r.response.at, r.reward, r.group_mean, r.group_std,
                     (int)r.source.length, r.source.at);
    }
    arena_free(&arena);
}

static void
expect(struct harness *h, const char *text)
{
    struct buffer got = {0};
    collect(h, &got);
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, text);
    buffer_free(&got);
}

static struct harness *
open_reader(const char *const *options)
{
    return harness_open("reader", NULL, options, NULL);
}

static void
run_to_end(struct harness *h)
{
    struct error e = {0};
    if (harness_run(h, 20, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(harness_finished(h));
}

static void
ask_end(struct harness *h)
{
    struct node *n = harness_node(h);
    store_set_number(n->store, "end asked", 1);
    n->end_asked = true;
    node_touch(n);
}

static bool
has_dead(struct harness *h, const char *words)
{
    char why[600];
    for (int i = 0; i < harness_dead_count(h); i++) {
        harness_dead_text(h, i, why, sizeof(why));
        if (strstr(why, words))
            return true;
    }
    return false;
}

/* Groups nearly all wrong get stored correct answers in place of wrong ones, in the order of the
 * file; their numbers count them; others stay as they are. */
static void
correct_rollouts_are_injected_into_wrong_groups(void **state)
{
    const char *options[] = {"path",        in_folder("in.jsonl"),     "group_size",      "3",
                             "inject_path", in_folder("stored.jsonl"), "inject_accuracy", "0.34",
                             "inject_most", "0",                       NULL};
    const char *none[] = {"path",        in_folder("in.jsonl"),     "group_by", "none",
                          "inject_path", in_folder("stored.jsonl"), NULL};
    const char *broken[] = {"path", in_folder("in.jsonl"), "inject_path", in_folder("broken.jsonl"),
                            NULL};
    static const char want[] = "0 0+3 a x1 1 1 0 stored.jsonl:1\n"
                               "1 0+3 b B 1 1 0 in.jsonl:50\n"
                               "2 0+3 c x2 1 1 0 stored.jsonl:4\n"
                               "3 3+3 d y 1 0.3333 0.4714 stored.jsonl:3\n"
                               "4 3+3 e E 0 0.3333 0.4714 in.jsonl:200\n"
                               "5 3+3 f F 0 0.3333 0.4714 in.jsonl:250\n";
    struct error e = {0};
    struct harness *h;

    (void)state;
    write_text("in.jsonl", "w",
               "{\"id\":\"a\",\"prompt\":\"P\",\"response\":\"A\",\"reward\":0}\n"
               "{\"id\":\"b\",\"prompt\":\"P\",\"response\":\"B\",\"reward\":1}\n"
               "{\"id\":\"c\",\"prompt\":\"P\",\"response\":\"C\",\"reward\":0}\n"
               "{\"id\":\"d\",\"prompt\":\"Q\",\"response\":\"D\",\"reward\":0}\n"
               "{\"id\":\"e\",\"prompt\":\"Q\",\"response\":\"E\",\"reward\":0}\n"
               "{\"id\":\"f\",\"prompt\":\"Q\",\"response\":\"F\",\"reward\":0}\n");
    write_text("stored.jsonl", "w",
               "{\"prompt\":\"P\",\"response\":\"x1\",\"reward\":1}\n"
               "{\"prompt\":\"P\",\"response\":\"wrong\",\"reward\":0}\n"
               "{\"prompt\":\"Q\",\"response\":\"y\",\"reward\":1}\n"
               "{\"prompt\":\"P\",\"responses\":[\"x2\",\"x3\"],\"rewards\":[1,1]}\n");
    write_text("broken.jsonl", "w", "{\"prompt\":\"P\",\"reward\":1}\n");
    h = open_reader(options);
    run_to_end(h);
    expect(h, want);
    harness_close(h);
    assert_null(harness_open("reader", NULL, none, &e));
    assert_non_null(strstr(e.text, "group_by none"));
    assert_null(harness_open("reader", NULL, broken, &e));
    assert_non_null(strstr(e.text, "broken.jsonl line 1: no response"));
}

static void
groups_end_by_size_and_carry_their_statistics(void **state)
{
    const char     *options[] = {"path", in_folder("a.jsonl"), "group_size", "2", NULL};
    struct harness *h;

    (void)state;
    write_text("a.jsonl", "w",
               "{\"id\":\"x1\",\"prompt\":\"x\",\"response\":\"r\",\"reward\":0}\n"
               "{\"id\":\"y1\",\"prompt\":\"y\",\"response\":\"r\",\"reward\":1}\n"
               "{\"id\":\"y2\",\"prompt\":\"y\",\"response\":\"r\",\"reward\":1}\n"
               "{\"prompt\":\"z\",\"response\":\"r\",\"reward\":3}\n"
               "{\"id\":\"x2\",\"prompt\":\"x\",\"response\":\"r\",\"reward\":1}");
    h = open_reader(options);
    run_to_end(h);
    expect(h, "0 0+2 y1 r 1 1 0 a.jsonl:51\n1 0+2 y2 r 1 1 0 a.jsonl:102\n"
              "2 2+2 x1 r 0 0.5 0.5 a.jsonl:0\n3 2+2 x2 r 1 0.5 0.5 a.jsonl:194\n"
              "4 4+1 a.jsonl:153 r 3 3 0 a.jsonl:153\n");
    harness_close(h);
}

static void
groups_end_by_change_of_key_or_by_their_maximum(void **state)
{
    const char *by_key[] = {"path", in_folder("a.jsonl"), NULL};
    const char *by_field[] = {"path", in_folder("a.jsonl"), "group_by", "g", "drop_equal", "true",
                              NULL};
    const char *alone[] = {"path", in_folder("a.jsonl"), "group_by", "none", NULL};
    const char *most[] = {"path", in_folder("a.jsonl"), "group_size", "3", "open_groups_max", "2",
                          NULL};
    struct harness *h;

    (void)state;
    write_text("a.jsonl", "w",
               "{\"id\":1,\"prompt\":\"x\",\"g\":1,\"response\":\"r\",\"reward\":0}\n"
               "{\"id\":2,\"prompt\":\"x\",\"g\":1,\"response\":\"r\",\"reward\":0}\n"
               "{\"id\":3,\"prompt\":\"y\",\"g\":2,\"response\":\"r\",\"reward\":1}\n"
               "{\"id\":4,\"prompt\":\"z\",\"g\":2,\"response\":\"r\",\"reward\":0}\n"
               "{\"id\":5,\"prompt\":\"x\",\"g\":2,\"response\":\"r\",\"reward\":0}\n");
    h = open_reader(by_key);
    run_to_end(h);
    expect(h, "0 0+2 1 r 0 0 0 a.jsonl:0\n1 0+2 2 r 0 0 0 a.jsonl:54\n2 2+1 3 r 1 1 0 a.jsonl:108\n"
              "3 3+1 4 r 0 0 0 a.jsonl:162\n4 4+1 5 r 0 0 0 a.jsonl:216\n");
    harness_close(h);
    h = open_reader(by_field);
    run_to_end(h);
    expect(h, "0 0+2 closed equal\n1 0+2 closed equal\n2 2+3 3 r 1 0.3333 0.4714 a.jsonl:108\n"
              "3 2+3 4 r 0 0.3333 0.4714 a.jsonl:162\n4 2+3 5 r 0 0.3333 0.4714 a.jsonl:216\n");
    harness_close(h);
    h = open_reader(alone);
    run_to_end(h);
    struct buffer got = {0};
    collect(h, &got);
    buffer_add(&got, "", 1);
    assert_non_null(strstr(got.at, "1 1+1 2 r"));
    assert_non_null(strstr(got.at, "4 4+1 5 r"));
    buffer_free(&got);
    harness_close(h);
    h = open_reader(most);      /* z opens a third group: the oldest, x, ends with two */
    run_to_end(h);
    expect(h, "0 0+2 1 r 0 0 0 a.jsonl:0\n1 0+2 2 r 0 0 0 a.jsonl:54\n2 2+1 3 r 1 1 0 a.jsonl:108\n"
              "3 3+1 4 r 0 0 0 a.jsonl:162\n4 4+1 5 r 0 0 0 a.jsonl:216\n");
    harness_close(h);
}

static void
bad_lines_are_dead_letters_and_good_ones_go_on(void **state)
{
    const char *options[] = {
        "path", in_folder("bad.jsonl"), "line_bytes_max", "2000", "verify", "numeric", NULL};
    struct harness *h;
    static char     huge[5000];
    char            where[300];

    (void)state;
    memset(huge, 'x', sizeof(huge) - 2);
    huge[sizeof(huge) - 2] = '\n';
    write_text("bad.jsonl", "w",
               "{\"id\":\"a\",\"prompt\":\"p\",\"response\":\"r\",\"reward\":1}\n");
    write_text("bad.jsonl", "a", "{\"prompt\":\"p\",\"response\n");
    write_text("bad.jsonl", "a", "\n");
    write_text("bad.jsonl", "a", huge);
    write_text("bad.jsonl", "a", "{\"prompt\":\"\xff\",\"response\":\"r\",\"reward\":1}\n");
    write_text("bad.jsonl", "a", "{\"prompt\":\"p\",\"reward\":1}\n");
    write_text("bad.jsonl", "a", "{\"prompt\":[7],\"response\":\"r\",\"reward\":1}\n");
    write_text("bad.jsonl", "a", "{\"prompt\":\"p\",\"response\":\"r\",\"reward\":NaN}\n");
    write_text("bad.jsonl", "a",
               "{\"id\":\"a\",\"prompt\":\"p\",\"response\":\"twice\",\"reward\":1}\n");
    write_text("bad.jsonl", "a", "{\"prompt\":\"p\",\"responses\":[\"#### 7\",5],\"answer\":7}\n");
    write_text("bad.jsonl", "a", "{\"id\":\"z\",\"prompt\":\"p\",\"response\":\"r\",\"reward\":0}");
    h = open_reader(options);
    run_to_end(h);
    struct buffer got = {0};
    collect(h, &got);
    buffer_add(&got, "", 1);
    assert_non_null(strstr(got.at, "0 0+3 a r 1 0.6667"));
    assert_non_null(strstr(got.at, "1 0+3 bad.jsonl:"));
    assert_non_null(strstr(got.at, "2 0+3 z r 0"));
    buffer_free(&got);
    assert_int_equal(harness_dead_count(h), 9);
    assert_true(has_dead(h, "truncated JSON") || has_dead(h, "malformed JSON"));
    assert_true(has_dead(h, "an empty line"));
    assert_true(has_dead(h, "a line of 4998 bytes; line_bytes_max is 2000"));
    assert_true(has_dead(h, "not UTF-8"));
    assert_true(has_dead(h, "no response"));
    assert_true(has_dead(h, "message 0"));
    assert_true(has_dead(h, "NaN"));
    assert_true(has_dead(h, "the id 'a' was read before"));
    assert_true(has_dead(h, "neither text nor messages"));
    snprintf(where, sizeof(where), "%s", in_folder("bad.jsonl"));
    harness_close(h);
}

/* Files of every format with groups of four that lie across them, in an order that keeps many open.
 */
static void
make_many(int rollouts)
{
    struct buffer text[3] = {{0}};

    for (int i = 0; i < rollouts; i++) {
        int group = i % 97 + 97 * (i / 388), part = 3 * i / rollouts;
        buffer_print(
            &text[part],
            "{\"id\":\"r%d\",\"prompt\":\"prompt %d\",\"response\":\"answer %d\",\"reward\":%d}\n",
            i, group, i, i % 3 == 0);
        if (i % 211 == 0)
            buffer_text(&text[part], "broken\n");
    }
    write_bytes("many-1.jsonl", "w", text[0].at, text[0].length);
    size_t room = ZSTD_compressBound(text[1].length);
    char  *z = xalloc(room);
    write_bytes("many-2.jsonl.zst", "w", z, ZSTD_compress(z, room, text[1].at, text[1].length, 1));
    gzFile g = gzopen(in_folder("many-3.jsonl.gz"), "w");
    assert_int_equal(gzwrite(g, text[2].at, (unsigned)text[2].length), text[2].length);
    gzclose(g);
    free(z);
    for (int i = 0; i < 3; i++)
        buffer_free(&text[i]);
}

static void
a_crash_anywhere_changes_no_message(void **state)
{
    const char *options[] = {"path", in_folder("many-*"), "group_size", "4", "commit_count", "50",
                             NULL};
    struct buffer  calm = {0};
    struct harness *h;

    (void)state;
    make_many(9000);
    h = open_reader(options);
    run_to_end(h);
    collect(h, &calm);
    int dead = harness_dead_count(h);
    assert_int_equal(dead, 43);
    harness_close(h);
    for (int every = 1; every <= 3; every++) {
        struct buffer wild = {0};
        struct error  e = {0};
        h = open_reader(options);
        for (int i = 0; i < 40 && !harness_finished(h); i++) {
            for (int k = 0; k < every && !harness_finished(h); k++)
                assert_true(node_step(harness_node(h), false, k % 2, &e) >= 0);
            if (i % 3 == 2)
                harness_restart(h);
            else
                harness_crash(h);
            if (i % 5 == 4)     /* some progress that lasts */
                for (int k = 0; k < 3; k++)
                    assert_true(node_step(harness_node(h), false, true, &e) >= 0);
        }
        run_to_end(h);
        collect(h, &wild);
        assert_int_equal(wild.length, calm.length);
        assert_memory_equal(wild.at, calm.at, calm.length);
        assert_int_equal(harness_dead_count(h), dead);
        harness_close(h);
        buffer_free(&wild);
    }
    buffer_free(&calm);
}

static void
bodies_of_open_groups_leave_memory(void **state)
{
    const char *options[] = {
        "path", in_folder("big.jsonl"), "group_size", "40", "commit_count", "1000000", NULL};
    static char    body[1000001];
    struct buffer  line = {0}, got = {0};
    struct harness *h;
    struct error   e = {0};

    (void)state;
    memset(body, 'b', 1000000);
    write_text("big.jsonl", "w", "");
    for (int i = 0; i < 40; i++) {
        buffer_clear(&line);
        buffer_print(&line, "{\"id\":%d,\"prompt\":\"p\",\"response\":\"%s\",\"reward\":%d}\n", i,
                     body, i % 2);
        write_bytes("big.jsonl", "a", line.at, line.length);
    }
    h = open_reader(options);
    for (int i = 0; i < 6; i++)
        assert_true(node_step(harness_node(h), false, false, &e) >= 0);
    harness_restart(h);
    run_to_end(h);
    struct harness_message m;
    for (int i = 0; i < 40; i++) {
        assert_true(harness_take(h, "out", &m));
        assert_int_equal(m.ordinal, i);
        assert_int_equal(m.size, 40);
        assert_true(m.body.length > 1000000);
    }
    harness_close(h);
    buffer_free(&line);
    buffer_free(&got);
}

static void
a_changed_input_is_refused_by_name(void **state)
{
    static const char *const line = "{\"prompt\":\"p\",\"response\":\"r\",\"reward\":1}\n";
    static const struct {
        const char *mode, *text, *words;
    } changes[] = {
        {"a", "{}\n", "grew since the run began"},
        {"w", "{\"prompt\":\"q\",\"response\":\"r\",\"reward\":1}\n",
         "changed since the run began"},
        {"w", "{}\n", "shrank since the run began"},
        {NULL, NULL, "a recorded input is gone"},
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char     *options[] = {"path", in_folder("c*.jsonl"), NULL};
        struct error    e = {0};
        write_text("c1.jsonl", "w", line);
        struct harness *h = open_reader(options);
        if (changes[i].mode)
            write_text("c1.jsonl", changes[i].mode, changes[i].text);
        else
            unlink(in_folder("c1.jsonl"));
        assert_true(harness_restart_try(h, &e) < 0);
        if (!strstr(e.text, "c1.jsonl") || !strstr(e.text, changes[i].words))
            fail_msg("'%s' does not say '%s'", e.text, changes[i].words);
        harness_close(h);
        unlink(in_folder("c1.jsonl"));
    }
}

static void
a_truncated_zst_gives_what_came_before(void **state)
{
    const char     *options[] = {"path", in_folder("t.jsonl.zst"), "group_by", "none", NULL};
    struct buffer   text = {0}, got = {0};
    struct harness *h;

    (void)state;
    for (int i = 0; i < 20000; i++)
        buffer_print(&text, "{\"id\":\"r%d\",\"prompt\":\"p\",\"response\":\"%u\",\"reward\":1}\n",
                     i, (unsigned)i * 2654435761u);
    size_t room = ZSTD_compressBound(text.length);
    char  *z = xalloc(room);
    size_t length = ZSTD_compress(z, room, text.at, text.length, 1);
    write_bytes("t.jsonl.zst", "w", z, length / 2);
    h = open_reader(options);
    harness_run(h, 0.02, NULL);
    harness_crash(h);
    run_to_end(h);
    collect(h, &got);
    buffer_add(&got, "", 1);
    assert_non_null(strstr(got.at, "\n999 999+1 r999 "));
    assert_int_equal(harness_dead_count(h), 1);
    assert_true(has_dead(h, "ends in the middle of a frame"));
    harness_restart(h);
    assert_int_equal(harness_dead_count(h), 1);
    harness_close(h);
    buffer_free(&text);
    buffer_free(&got);
    free(z);
}

static void
a_followed_file_gives_what_the_whole_gives(void **state)
{
    const char    *whole[] = {"path", in_folder("w.jsonl"), NULL};
    const char    *follow[] = {"path", in_folder("f*.jsonl"), "follow", "true", NULL};
    struct buffer  text = {0}, a = {0}, b = {0};
    struct harness *h;

    (void)state;
    for (int i = 0; i < 500; i++)
        buffer_print(&text, "{\"id\":\"r%d\",\"prompt\":\"%d\",\"response\":\"r\",\"reward\":%d}\n",
                     i, i / 5, i % 2);
    write_bytes("w.jsonl", "w", text.at, text.length);
    h = open_reader(whole);
    run_to_end(h);
    collect(h, &a);
    harness_close(h);
    h = open_reader(follow);    /* there is no file yet */
    size_t at = 0;
    for (int piece = 0; piece < 5; piece++) {
        size_t length = piece == 4 ? text.length - at : text.length / 5 + 7;
        write_bytes("f1.jsonl", piece ? "a" : "w", text.at + at, length);
        at += length;
        harness_clock(h, 1);
        harness_run(h, 5, NULL);
        assert_false(harness_finished(h));
        if (piece % 2)
            harness_crash(h);
        else
            harness_restart(h);
    }
    ask_end(h);
    harness_run(h, 5, NULL);
    write_text("f1.jsonl", "a", "after the end\n");
    harness_crash(h);
    run_to_end(h);
    collect(h, &b);
    for (size_t i = 0; i + 7 < b.length; i++)   /* the name of the file is all that differs */
        if (memcmp(b.at + i, " f1.jsonl", 9) == 0) {
            memmove(b.at + i + 1, b.at + i + 2, b.length - i - 2);
            b.length--;
            b.at[i + 1] = 'w';
        }
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.at, b.at, a.length);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
    unlink(in_folder("f1.jsonl"));
    buffer_free(&text);
    buffer_free(&a);
    buffer_free(&b);
}

static void
the_order_of_pieces_is_the_input(void **state)
{
    const char    *follow[] = {"path", in_folder("g*.jsonl"), "follow", "true", NULL};
    struct harness *h;

    (void)state;
    write_text("g2.jsonl", "w", "{\"id\":1,\"prompt\":\"a\",\"response\":\"r\",\"reward\":0}\n");
    h = open_reader(follow);
    harness_run(h, 5, NULL);
    write_text("g1.jsonl", "w",
               "{\"id\":2,\"prompt\":\"b\",\"response\":\"r\",\"reward\":0}\n"); /* sorts before,
                                                                                    comes after */
    harness_clock(h, 1);
    harness_run(h, 5, NULL);
    write_text("g2.jsonl", "a", "{\"id\":3,\"prompt\":\"c\",\"response\":\"r\",\"reward\":0}\n");
    harness_clock(h, 1);
    harness_run(h, 5, NULL);
    harness_restart(h);
    ask_end(h);
    run_to_end(h);
    expect(h,
           "0 0+1 1 r 0 0 0 g2.jsonl:0\n1 1+1 2 r 0 0 0 g1.jsonl:0\n2 2+1 3 r 0 0 0 g2.jsonl:48\n");
    struct span value;
    assert_true(node_get(harness_node(h), span_text("piece/0000000000000001"), &value) &&
                span_is(value, "0 0 48"));
    assert_true(node_get(harness_node(h), span_text("piece/0000000000000002"), &value) &&
                span_is(value, "1 0 48"));
    assert_true(node_get(harness_node(h), span_text("piece/0000000000000003"), &value) &&
                span_is(value, "0 48 96"));
    harness_close(h);
    unlink(in_folder("g1.jsonl"));
    unlink(in_folder("g2.jsonl"));
}

static void
a_followed_file_may_only_grow(void **state)
{
    static const char *const line = "{\"prompt\":\"p\",\"response\":\"r\",\"reward\":1}\n";
    const char              *follow[] = {"path", in_folder("h.jsonl"), "follow", "true", NULL};

    (void)state;
    for (int change = 0; change < 3; change++) {
        struct error e = {0};
        write_text("h.jsonl", "w", line);
        struct harness *h = open_reader(follow);
        harness_run(h, 5, NULL);
        write_text("h.jsonl", "a", line);
        harness_clock(h, 1);
        harness_run(h, 5, NULL);
        /* A group of size unknown is open: nothing was emitted, but what was read is recorded. */
        if (change == 0) {
            write_text("h.jsonl", "w", line);
            harness_clock(h, 1);
            assert_true(harness_run(h, 5, &e) < 0);
            assert_non_null(strstr(e.text, "shrank"));
        } else if (change == 1) {
            write_text("h2.jsonl", "w", line);
            rename(in_folder("h2.jsonl"), in_folder("h.jsonl"));
            harness_clock(h, 1);
            assert_true(harness_run(h, 5, &e) < 0);
            assert_non_null(strstr(e.text, "was replaced"));
        } else {
            ask_end(h);
            harness_run(h, 5, NULL);
            write_text("h.jsonl", "w", "{\"prompt\":\"q\",\"response\":\"r\",\"reward\":1}\n");
            write_text("h.jsonl", "a", line);
            assert_true(harness_restart_try(h, &e) < 0 || harness_finished(h));
        }
        assert_true(change == 2 || strstr(e.text, "h.jsonl"));
        harness_close(h);
        unlink(in_folder("h.jsonl"));
    }
}

static void
a_pipe_is_spooled_and_survives_crashes(void **state)
{
    const char    *options[] = {"path", in_folder("fifo"), NULL};
    struct harness *h;

    (void)state;
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    h = open_reader(options);
    harness_run(h, 1, NULL);
    assert_false(harness_finished(h));
    int out = open(in_folder("fifo"), O_WRONLY | O_NONBLOCK);
    assert_true(out >= 0);
    static const char *const lines[] = {
        "{\"id\":1,\"prompt\":\"a\",\"response\":\"r\",\"rew",
        "ard\":0}\n{\"id\":2,\"prompt\":\"b\",\"response\":\"r\",\"reward\":0}\n",
        "{\"id\":3,\"prompt\":\"c\",\"response\":\"r\",\"reward\":0}"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write(out, lines[i], strlen(lines[i])), strlen(lines[i]));
        harness_run(h, 5, NULL);
        harness_crash(h);
        harness_run(h, 5, NULL);
    }
    assert_false(harness_finished(h));
    close(out);
    harness_run(h, 5, NULL);
    run_to_end(h);
    expect(h, "0 0+1 1 r 0 0 0 node.spool:0\n1 1+1 2 r 0 0 0 node.spool:48\n2 2+1 3 r 0 0 0 "
              "node.spool:96\n");
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
    unlink(in_folder("fifo"));
}

/* Standard input becomes a pipe that holds `text`; -> its writing end, closed when `whole`. */
static int
give_stdin(const char *text, bool whole)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
    dup2(ends[0], 0);
    close(ends[0]);
    if (whole) {
        close(ends[1]);
        return -1;
    }
    return ends[1];
}

static void
a_pipe_given_again_goes_on_where_it_broke(void **state)
{
    static const char *const one =
        "{\"id\":1,\"prompt\":\"a\",\"response\":\"r\",\"reward\":0}\n{\"id\":2,";
    static const char *const all = "{\"id\":1,\"prompt\":\"a\",\"response\":\"r\",\"reward\":0}\n"
                                   "{\"id\":2,\"prompt\":\"b\",\"response\":\"r\",\"reward\":0}\n";
    const char *options[] = {"path", in_folder("-"), NULL};
    int         kept = dup(0), out = give_stdin(one, false);

    (void)state;
    struct harness *h = open_reader(options);
    harness_run(h, 5, NULL);
    int none = open("/dev/null", O_RDONLY);
    dup2(none, 0);              /* it broke */
    close(none);
    close(out);
    harness_restart(h);
    harness_run(h, 5, NULL);
    assert_false(harness_finished(h));
    give_stdin("something else altogether, and longer than what was there, so that it can be told "
               "apart from it",
               true);
    harness_restart(h);
    harness_run(h, 5, NULL);
    assert_false(harness_finished(h));
    give_stdin(all, true);
    harness_restart(h);
    run_to_end(h);
    expect(h, "0 0+1 1 r 0 0 0 node.spool:0\n1 1+1 2 r 0 0 0 node.spool:48\n");
    harness_close(h);
    dup2(kept, 0);
    close(kept);
}

static void
bad_options_are_refused(void **state)
{
    mkdir(in_folder("d"), 0700);
    const char *bad[][8] = {
        {NULL},
        {"path", in_folder("missing.jsonl"), NULL},
        {"path", in_folder("d"), NULL},
        {"path", in_folder("a.jsonl"), "group_by", "", NULL},
        {"path", in_folder("a.jsonl"), "group_by", "none", "group_size", "4", NULL},
        {"path", in_folder("a.jsonl"), "verify", "maybe", NULL},
        {"path", in_folder("a.jsonl"), "group_size", "-1", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};
        if (harness_open("reader", NULL, bad[i], &e))
            fail_msg("options %zu were not refused", i);
    }
    rmdir(in_folder("d"));
}

static int
begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sluice-reader-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int
finish(void **state)
{
    static const char *const names[] = {"a.jsonl",          "bad.jsonl",       "many-1.jsonl",
                                        "many-2.jsonl.zst", "many-3.jsonl.gz", "big.jsonl",
                                        "t.jsonl.zst",      "w.jsonl",         "in.jsonl",
                                        "stored.jsonl",     "broken.jsonl"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_end_by_size_and_carry_their_statistics),
        cmocka_unit_test(correct_rollouts_are_injected_into_wrong_groups),
        cmocka_unit_test(groups_end_by_change_of_key_or_by_their_maximum),
        cmocka_unit_test(bad_lines_are_dead_letters_and_good_ones_go_on),
        cmocka_unit_test(a_crash_anywhere_changes_no_message),
        cmocka_unit_test(bodies_of_open_groups_leave_memory),
        cmocka_unit_test(a_changed_input_is_refused_by_name),
        cmocka_unit_test(a_truncated_zst_gives_what_came_before),
        cmocka_unit_test(a_followed_file_gives_what_the_whole_gives),
        cmocka_unit_test(the_order_of_pieces_is_the_input),
        cmocka_unit_test(a_followed_file_may_only_grow),
        cmocka_unit_test(a_pipe_is_spooled_and_survives_crashes),
        cmocka_unit_test(a_pipe_given_again_goes_on_where_it_broke),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
