/* Tests of audit: books that are right, and each way in which they can be wrong, named with its
 * first ordinal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/account.h"
#include "graph/audit.h"
#include "graph/core.h"

/* reader -> segmenter (2 replicas) -> sink on both ports. Groups of one ordinal: even ones go to
 * replica 0. */
struct world {
    char         dir[64];
    struct place place;
    struct plan  plan;
};

enum { READER, STEPS, SINK };

static void
file_write(const char *dir, const char *name, const char *text)
{
    char *path = xprint("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static int
setup(void **state)
{
    struct world *w = xalloc(sizeof *w);
    struct error e = {0};
    struct buffer problems = {0};
    strcpy(w->dir, "/tmp/sluice-audit-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    file_write(w->dir, "rollouts.jsonl", "{}\n");
    file_write(w->dir, "flow.yaml",
               "name: books\nnodes:\n"
               "  - {id: rollouts, kind: reader, with: {path: rollouts.jsonl, group_size: 1}}\n"
               "  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, replicas: 2}\n"
               "  - {id: out, kind: sink, inputs: {in: [steps/passed, steps/steps]}}\n");
    char *flow = xprint("%s/flow.yaml", w->dir), *stores = xprint("%s/stores", w->dir);
    if (topology_read(flow, 0, NULL, &w->plan, &problems, &e) != 0)
        fail_msg("%s", e.text);
    free(w->plan.run_id);
    w->plan.run_id = xtext("run-1");
    mkdir(stores, 0777);
    setenv("XDG_RUNTIME_DIR", w->dir, 1);
    assert_int_equal(place_open(&w->place, w->dir, &e), 0);
    buffer_free(&problems);
    free(flow);
    free(stores);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    place_close(&w->place);
    plan_free(&w->plan);
    free(w);
    return 0;
}

static struct store *
book_open(struct world *w, int node, int replica)
{
    struct error e = {0};
    struct store_identity id = {"run-1", w->plan.nodes[node].id, replica};
    char *path = place_store(&w->place, id.node, replica),
         *lock = place_store_lock(&w->place, id.node, replica);
    struct store *s = store_open(path, lock, &id, 1 << 30, &e);
    if (s == NULL)
        fail_msg("%s", e.text);
    free(path);
    free(lock);
    return s;
}

static void
book_close(struct store *s)
{
    struct error e = {0};
    if (store_commit(s, &e) != 0)
        fail_msg("%s", e.text);
    store_close(s);
}

/* Every number of [0, end) with number % 2 == parity (parity 2: all), but for `without`. */
static void
book_set(struct store *s, enum set_kind kind, unsigned which, int parity, uint64_t end,
         uint64_t without)
{
    struct set set;
    set_open(&set, s, kind, which);
    for (uint64_t i = 0; i < end; i++)
        if ((parity == 2 || (int)(i % 2) == parity) && i != without)
            set_add(&set, i, i + 1);
    set_flush(&set);
    set_close(&set);
}

static void
book_count(struct store *s, const char *name, uint64_t count)
{
    unsigned char value[8];
    store_u64(value, count);
    store_put(s, TABLE_counts, span_text(name), span_of(value, 8));
}

static void
book_park(struct store *s, uint64_t ordinal, unsigned char link)
{
    unsigned char key[9];
    store_u64(key, ordinal);
    key[8] = link;
    store_put(s, TABLE_park, span_of(key, 9), span_text("0123456789abcd"));
}

static const uint64_t nothing = UINT64_MAX;

struct wrong {          /* ordinals left out, or `nothing` */
    uint64_t settled, received, sent, emitted;
    uint64_t steps_end; /* how far replica 1 of the segmenter goes */
    bool     parks;     /* the sink parks 50, which came on link 0 only */
};
#define RIGHT {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 80, true}

/* The reader emitted 100, the segmenter settled 80, the sink 50; ordinal 50 lies at the sink's
 * door. */
static void
books_write(struct world *w, const struct wrong *x)
{
    struct store *s = book_open(w, READER, 0);
    book_set(s, SET_sent, 0, 2, 100, x->emitted);
    book_close(s);
    for (int r = 0; r < 2; r++) {
        uint64_t end = r == 0 ? 80 : x->steps_end;
        s = book_open(w, STEPS, r);
        book_set(s, SET_received, 0, r, end, x->received);
        book_set(s, SET_settled, 0, r, end, x->settled);
        book_set(s, SET_sent, 1, r, end, x->sent);
        book_set(s, SET_sent, 2, r, end, nothing);
        book_count(s, "samples",
                   (end + (r == 0)) / 2 - (x->settled % 2 == (uint64_t)r && x->settled < end));
        book_close(s);
    }
    s = book_open(w, SINK, 0);
    book_set(s, SET_received, 0, 2, 51, nothing);
    book_set(s, SET_received, 1, 2, 50, nothing);
    book_set(s, SET_settled, 0, 2, 50, nothing);
    book_count(s, "samples", 45);
    book_count(s, "closed:filtered", 3);
    book_count(s, "closed:dead", 2);
    if (x->parks)
        book_park(s, 50, 0);
    book_close(s);
}

static json_t *
audit_it(struct world *w)
{
    struct error e = {0};
    json_t *report = NULL;
    if (audit_run(&w->place, &w->plan, &report, &e) != 0)
        fail_msg("%s", e.text);
    return report;
}

/* Not ok, and some problem holds the words. */
static void
audit_says(struct world *w, const char *words)
{
    json_t *report = audit_it(w), *line;
    bool said = false;
    size_t i;
    assert_true(json_is_false(json_object_get(report, "ok")));
    json_array_foreach(json_object_get(report, "problems"), i, line)
        said = said || strstr(json_string_value(line), words) != NULL;
    if (!said) {
        json_dumpf(report, stderr, JSON_INDENT(1));
        fail_msg("no problem says '%s'", words);
    }
    json_decref(report);
}

static void
right_books_are_ok(void **state)
{
    struct wrong x = RIGHT;
    books_write(*state, &x);
    json_t *report = audit_it(*state);
    json_int_t read, steps, out, samples, filtered;
    assert_true(json_is_true(json_object_get(report, "ok")));
    assert_int_equal(json_unpack(report, "{s:I,s:{s:{s:I},s:{s:I,s:I,s:{s:I}}}}", "read", &read,
                                 "nodes", "steps", "in_flight", &steps, "out", "in_flight", &out,
                                 "samples", &samples, "closed", "filtered", &filtered),
                     0);
    assert_int_equal(read, 100);
    assert_int_equal(steps, 20);
    assert_int_equal(out, 50);
    assert_int_equal(samples, 45);
    assert_int_equal(filtered, 3);
    json_decref(report);
}

static void
nothing_started_is_ok(void **state)
{
    json_t *report = audit_it(*state);
    assert_true(json_is_true(json_object_get(report, "ok")));
    assert_int_equal(json_integer_value(json_object_get(report, "read")), 0);
    json_decref(report);
}

static void
an_ordinal_that_arrived_and_is_gone_is_missing(void **state)
{
    struct wrong x = RIGHT;
    x.settled = 33;
    books_write(*state, &x);
    audit_says(*state, "ordinal 33 from 'rollouts' is missing");
}

static void
a_parked_ordinal_must_really_be_there(void **state)
{
    struct wrong x = RIGHT;
    x.parks = false;
    books_write(*state, &x);
    audit_says(*state, "ordinal 50 from 'steps' is missing");
}

static void
an_ordinal_settled_but_not_sent_is_named(void **state)
{
    struct wrong x = RIGHT;
    x.sent = 40;
    books_write(*state, &x);
    audit_says(*state, "ordinal 40 is settled but was never sent on");
}

static void
an_ordinal_that_nobody_sent_is_named(void **state)
{
    struct wrong x = RIGHT;
    x.emitted = 7;
    books_write(*state, &x);
    audit_says(*state, "link rollouts/out -> steps: ordinal 7 was received but never sent");
}

static void
an_ordinal_at_two_replicas_is_doubled(void **state)
{
    struct wrong x = RIGHT;
    books_write(*state, &x);
    struct store *s = book_open(*state, STEPS, 1);
    struct set set;
    set_open(&set, s, SET_settled, 0);
    set_add(&set, 12, 13);
    set_flush(&set);
    set_close(&set);
    set_open(&set, s, SET_received, 0);
    set_add(&set, 12, 13);
    set_flush(&set);
    set_close(&set);
    book_close(s);
    audit_says(*state, "ordinal 12 is doubled: two replicas");
}

static void
an_ordinal_settled_and_parked_is_doubled(void **state)
{
    struct wrong x = RIGHT;
    books_write(*state, &x);
    struct store *s = book_open(*state, SINK, 0);
    book_park(s, 20, 1);
    book_close(s);
    audit_says(*state, "ordinal 20 from 'steps' is doubled");
}

static void
counters_must_be_the_sizes_of_the_sets(void **state)
{
    struct wrong x = RIGHT;
    books_write(*state, &x);
    struct store *s = book_open(*state, SINK, 0);
    book_count(s, "samples", 46);
    book_close(s);
    audit_says(*state, "46 samples and 5 closings are not the 50 ordinals");
}

static void
what_came_twice_is_told(void **state)
{
    struct wrong x = RIGHT;
    books_write(*state, &x);
    struct store *s = book_open(*state, SINK, 0);
    store_set_number(s, "doubled", 2);
    book_close(s);
    audit_says(*state, "2 ordinals arrived twice");
}

static void
books_survive_json(void **state)
{
    struct world *w = *state;
    struct wrong x = RIGHT;
    struct error e = {0};
    struct account a, b;
    books_write(w, &x);
    struct store *s = book_open(w, SINK, 0);
    assert_int_equal(account_read(&a, s, &w->plan, SINK, &e), 0);
    store_close(s);
    json_t *json = account_json(&a);
    assert_int_equal(account_parse(&b, json, &w->plan, SINK, &e), 0);
    json_t *again = account_json(&b);
    assert_true(json_equal(json, again));
    json_object_del(json, "settled");
    account_free(&b);
    assert_int_equal(account_parse(&b, json, &w->plan, SINK, &e), ERROR_input);
    json_decref(json);
    json_decref(again);
    account_free(&a);
}

int
main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(right_books_are_ok),
        WITH(nothing_started_is_ok),
        WITH(an_ordinal_that_arrived_and_is_gone_is_missing),
        WITH(a_parked_ordinal_must_really_be_there),
        WITH(an_ordinal_settled_but_not_sent_is_named),
        WITH(an_ordinal_that_nobody_sent_is_named),
        WITH(an_ordinal_at_two_replicas_is_doubled),
        WITH(an_ordinal_settled_and_parked_is_doubled),
        WITH(counters_must_be_the_sizes_of_the_sets),
        WITH(what_came_twice_is_told),
        WITH(books_survive_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
