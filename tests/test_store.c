/* Tests of interval, set, store and lock: what is durable, and who may touch it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/lock.h"
#include "graph/set.h"
#include "graph/store.h"

static const struct store_identity me = {"run-1", "steps", 0};

struct folder {
    char dir[64], store[96], lock[96];
};

static int
setup(void **state)
{
    struct folder *f = xalloc(sizeof(*f));
    strcpy(f->dir, "/tmp/sluice-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->store, sizeof(f->store), "%s/s", f->dir);
    snprintf(f->lock, sizeof(f->lock), "%s/s.lock", f->dir);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct folder *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static struct store *
open_it(struct folder *f)
{
    struct error e = {0};
    struct store *s = store_open(f->store, f->lock, &me, 1 << 30, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static uint64_t seed = 1;

static uint64_t
dice(uint64_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed >> 33) % below;
}

static void
intervals_agree_with_bits(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct intervals s = {0};
        unsigned char bits[300] = {0};
        for (int i = 0; i < 60; i++) {
            uint64_t a = dice(290), b = a + dice(10);
            bool fresh = true;
            for (uint64_t v = a; v < b; v++) {
                fresh &= !bits[v];
                bits[v] = 1;
            }
            assert_int_equal(intervals_add(&s, a, b), fresh);
        }
        uint64_t total = 0;
        for (uint64_t v = 0; v < 300; v++) {
            total += bits[v];
            assert_int_equal(intervals_has(&s, v), bits[v]);
            uint64_t gap = v;
            while (gap < 300 && bits[gap])
                gap++;
            assert_int_equal(intervals_gap(&s, v), gap);
        }
        assert_int_equal(intervals_total(&s), total);
        for (int64_t i = 1; i < s.count; i++)
            assert_true(s.at[i - 1].end < s.at[i].start);
        intervals_free(&s);
    }
}

static void
sets_agree_with_bits_through_commits(void **state)
{
    struct store *s = open_it(*state);
    unsigned char bits[400] = {0};
    struct set a, other;
    set_open(&a, s, SET_mark, 3);
    set_open(&other, s, SET_mark, 4);
    for (int i = 0; i < 900; i++) {
        uint64_t from = dice(395), to = from + dice(4);
        for (uint64_t v = from; v < to; v++)
            bits[v] = 1;
        set_add(&a, from, to);
        set_add(&other, 1000 + dice(50), 1060);
        if (dice(5) == 0) {
            set_flush(&a);
            set_flush(&other);
        }
        if (dice(50) == 0)
            assert_int_equal(store_commit(s, NULL), 0);
        if (dice(20) == 0) {
            set_flush(&a);
            set_close(&a);
            set_open(&a, s, SET_mark, 3);
        }
        uint64_t low = 0;
        while (low < 400 && bits[low])
            low++;
        assert_int_equal(a.low, low);
        uint64_t v = dice(400);
        assert_int_equal(set_has(&a, v), bits[v]);
    }
    set_flush(&a);
    struct intervals rows = {0};
    assert_true(set_read(s, SET_mark, 3, 0, 1000, &rows));
    for (uint64_t v = 0; v < 400; v++)
        assert_int_equal(intervals_has(&rows, v), bits[v]);
    intervals_free(&rows);
    set_close(&a);
    set_close(&other);
    store_close(s);
}

static void
what_is_committed_is_there_and_what_is_not_is_not(void **state)
{
    struct store *s = open_it(*state);
    struct span v;
    store_put(s, TABLE_state, span_text("a"), span_text("1"));
    assert_true(store_get(s, TABLE_state, span_text("a"), &v));
    assert_false(store_get_committed(s, TABLE_state, span_text("a"), &v));
    assert_int_equal(store_commit(s, NULL), 0);
    assert_true(store_get_committed(s, TABLE_state, span_text("a"), &v));
    store_put(s, TABLE_state, span_text("b"), span_text("2"));
    store_close(s);
    s = open_it(*state);
    assert_int_equal(store_epoch(s), 2);
    assert_true(store_get(s, TABLE_state, span_text("a"), &v));
    assert_true(span_is(v, "1"));
    assert_false(store_get(s, TABLE_state, span_text("b"), &v));
    store_close(s);
}

static void
another_owner_waits_outside(void **state)
{
    struct folder *f = *state;
    struct error e = {0};
    struct store *s = open_it(f);
    assert_null(store_peek(f->store, f->lock, &e));
    assert_int_equal(e.code, ERROR_locked);
    struct lock_holder h;
    assert_true(lock_held(f->lock, &h));
    assert_int_equal(h.pid, getpid());
    assert_int_equal(h.start, lock_start_time(getpid()));
    pid_t child = fork();
    if (child == 0)
        _exit(store_open(f->store, f->lock, &me, 1 << 30, &e) ? 0 : e.code == ERROR_locked ? 7 : 8);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 7);
    store_close(s);
    assert_false(lock_held(f->lock, &h));
    s = store_peek(f->store, f->lock, &e);
    assert_non_null(s);
    assert_int_equal(store_number(s, "epoch", 0), 1);
    store_close(s);
}

static void
a_reader_is_not_taken_for_the_owner(void **state)
{
    struct folder *f = *state;
    struct error e = {0};
    struct lock_holder h;
    store_close(open_it(f));
    struct store *one = store_peek(f->store, f->lock, &e), *two = store_peek(f->store, f->lock, &e);
    assert_non_null(one);
    assert_non_null(two);               /* readers do not shut each other out */
    assert_false(lock_held(f->lock, &h));
    pid_t child = fork();
    if (child == 0) {                   /* an owner waits for them, then owns it */
        store_close(one);
        store_close(two);
        struct store *s = store_open(f->store, f->lock, &me, 1 << 30, &e);
        _exit(s && lock_held(f->lock, &h) && h.pid == getpid() ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    assert_int_equal(store_number(one, "epoch", 0), 1);
    store_close(one);
    store_close(two);
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void
stores_of_others_are_refused_by_name(void **state)
{
    struct folder *f = *state;
    struct error e = {0};
    store_close(open_it(f));
    struct store_identity run = {"run-2", "steps", 0}, node = {"run-1", "prm", 0}, replica = {"run-1", "steps", 1};
    assert_null(store_open(f->store, f->lock, &run, 1 << 30, &e));
    assert_non_null(strstr(e.text, "belongs to run 'run-1', not to run 'run-2'"));
    assert_null(store_open(f->store, f->lock, &node, 1 << 30, &e));
    assert_non_null(strstr(e.text, "belongs to node 'steps'"));
    assert_null(store_open(f->store, f->lock, &replica, 1 << 30, &e));
    struct store *s = open_it(f);
    store_set_number(s, "version", 99);
    assert_int_equal(store_commit(s, NULL), 0);
    store_close(s);
    assert_null(store_open(f->store, f->lock, &me, 1 << 30, &e));
    assert_int_equal(e.code, ERROR_version);
    assert_non_null(strstr(e.text, "version 99"));
}

static void
a_newer_epoch_fences_the_old(void **state)
{
    struct store *s = open_it(*state);
    struct error e = {0};
    store_set_number(s, "epoch", 17);       /* as if another incarnation had written it */
    assert_int_equal(store_commit(s, NULL), 0);
    store_put(s, TABLE_state, span_text("a"), span_text("1"));
    assert_int_equal(store_commit(s, &e), ERROR_fenced);
    store_close(s);
}

/* Without the check the test dies by SIGBUS. */
static void
a_file_cut_short_is_an_error(void **state)
{
    struct folder *f = *state;
    struct error e = {0};
    char file[128], text[4000] = "x";
    struct stat st;
    struct store *s = open_it(f);
    for (int i = 0; i < 300; i++) {
        unsigned char key[8];
        store_u64(key, (uint64_t)i);
        store_put(s, TABLE_state, span_of(key, 8), span_of(text, sizeof(text)));
    }
    assert_int_equal(store_commit(s, &e), 0);
    store_close(s);
    snprintf(file, sizeof(file), "%s/data.mdb", f->store);
    assert_int_equal(stat(file, &st), 0);
    for (off_t size = st.st_size / 2 / 4096 * 4096; size >= 8192; size = size / 2 / 4096 * 4096) {
        struct error peeked = {0}, opened = {0};
        assert_int_equal(truncate(file, size), 0);
        s = store_peek(f->store, f->lock, &peeked);
        int64_t rows = 0;
        for (int i = 0; s && i < 300; i++) {
            unsigned char key[8];
            struct span v;
            store_u64(key, (uint64_t)i);
            rows += store_get(s, TABLE_state, span_of(key, 8), &v) && v.length == sizeof(text) && *(const char *)v.at == 'x';
        }
        store_close(s);
        assert_in_range(rows, 0, 299);
        assert_int_equal(truncate(file, size), 0);
        store_close(store_open(f->store, f->lock, &me, 1 << 30, &opened));
        if (size == 8192) {
            assert_int_equal(opened.code, ERROR_store);
            assert_non_null(strstr(opened.text, f->store));
        }
    }
}

static void
a_copy_can_be_given_to_another_run(void **state)
{
    struct folder *f = *state;
    struct error e = {0};
    char copy[128], lock[128];
    struct span v;
    struct store *s = open_it(f);
    snprintf(copy, sizeof(copy), "%s/copy", f->dir);
    snprintf(lock, sizeof(lock), "%s/copy.lock", f->dir);
    store_put(s, TABLE_state, span_text("a"), span_text("1"));
    assert_int_equal(store_copy(s, copy, &e), 0);
    store_close(s);
    struct store_identity other = {"run-2", "steps", 0};
    assert_int_equal(store_adopt(copy, lock, "run-2", 5, &e), 0);
    s = store_open(copy, lock, &other, 1 << 30, &e);
    assert_non_null(s);
    assert_int_equal(store_number(s, "generation", 0), 5);
    assert_true(store_get(s, TABLE_state, span_text("a"), &v));
    store_close(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_agree_with_bits),
        cmocka_unit_test_setup_teardown(sets_agree_with_bits_through_commits, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_committed_is_there_and_what_is_not_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(another_owner_waits_outside, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_is_not_taken_for_the_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(stores_of_others_are_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cut_short_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_epoch_fences_the_old, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_can_be_given_to_another_run, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
