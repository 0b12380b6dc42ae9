/* Tests of the wire against strangers: hostile frames on both sockets, other runs, other epochs, stores that have
 * diverged, second owners; and of replicas that change, replays, full disks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "graph/control.h"
#include "graph/wire.h"
#include "tests/linked.h"

static uint64_t seed = 3;

static uint64_t
dice(uint64_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed >> 33) % below;
}

/* ---- frames alone ---- */

static void
full_frame(struct wire_frame *f)
{
    *f = (struct wire_frame){.kind = WIRE_hello, .version = 1, .pe = 300, .ce = 70000, .replica = 1, .link = 2,
        .consumer_replica = 3, .generation = 4, .head = 1ULL << 40, .low = 200, .upto = 4296, .bytes = 8 << 20,
        .position = 77, .last = 9, .ended = true, .run = span_text("linked-run"), .node = span_text("numbers"),
        .consumer = span_text("relay"), .why = span_text("because")};
    intervals_add(&f->ranges, 300, 301);
    intervals_add(&f->ranges, 1000, 70000);
}

static void
frames_come_back_as_they_went(void **state)
{
    struct wire_frame f, g;
    struct buffer b = {0}, c = {0};
    struct error e = {0};
    (void)state;
    full_frame(&f);
    wire_write(&f, &b);
    assert_int_equal(wire_read(buffer_span(&b), &g, &e), 0);
    wire_write(&g, &c);
    assert_int_equal(b.length, c.length);
    assert_memory_equal(b.at, c.at, b.length);
    assert_int_equal(g.ranges.count, 2);
    assert_true(g.ended);
    wire_free(&g);
    for (size_t cut = 0; cut < b.length; cut++) {
        assert_int_equal(wire_read(span_of(b.at, cut), &g, &e), ERROR_wire);
        wire_free(&g);
    }
    wire_free(&f);
    buffer_free(&b);
    buffer_free(&c);
}

static void
make_data(struct buffer *b)
{
    struct record r = {.seq = 5, .ordinal = 50, .first = 48, .size = 4, .body = span_text("body")};
    size_t begin = wire_data_begin(1, 2, b);
    wire_data_add(&r, b);
    r = (struct record){.seq = 6, .ordinal = 1ULL << 33, .first = 1ULL << 33, .size = 4, .reason = span_text("dead")};
    wire_data_add(&r, b);
    wire_data_end(begin, 2, b);
}

static int
read_all(struct span bytes)
{
    struct wire_frame f;
    struct record r;
    struct error e = {0};
    int count = 0, rc = wire_read(bytes, &f, &e);
    while (rc == 0 && (rc = wire_next(&f, &r, &e)) == 1) {
        count++;
        rc = 0;
    }
    wire_free(&f);
    return rc < 0 ? rc : count;
}

static void
records_come_back_as_they_went(void **state)
{
    struct buffer b = {0};
    struct wire_frame f;
    struct record r;
    struct error e = {0};
    (void)state;
    make_data(&b);
    assert_int_equal(wire_read(buffer_span(&b), &f, &e), 0);
    assert_int_equal(wire_next(&f, &r, &e), 1);
    assert_int_equal(r.ordinal, 50);
    assert_true(span_is(r.body, "body") && !r.reason.at);
    assert_int_equal(wire_next(&f, &r, &e), 1);
    assert_true(span_is(r.reason, "dead") && r.body.length == 0);
    assert_int_equal(wire_next(&f, &r, &e), 0);
    wire_free(&f);
    for (size_t cut = 0; cut < b.length; cut++)
        assert_true(read_all(span_of(b.at, cut)) < 0);
    buffer_free(&b);
}

static void
mutate(struct buffer *b)
{
    for (uint64_t k = 0, times = 1 + dice(4); k < times; k++)
        b->at[dice(b->length)] = dice(3) ? (char)dice(256) : (char)0xdd;
    if (dice(3) == 0)
        b->length = 1 + dice(b->length);
}

static void
mutations_are_survived(void **state)
{
    (void)state;
    for (int i = 0; i < 40000; i++) {
        struct buffer b = {0};
        if (i % 2) {
            make_data(&b);
        } else {
            struct wire_frame f;
            full_frame(&f);
            wire_write(&f, &b);
            wire_free(&f);
        }
        mutate(&b);
        read_all(buffer_span(&b));
        buffer_free(&b);
    }
}

/* ---- strangers at the sockets ---- */

static const char depth_bomb[] = "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91";
static const struct span bombs[] = {
    {"", 0}, {"\xdd\xff\xff\xff\xff", 5}, {"\xdf\xff\xff\xff\xff", 5}, {"\xc6\xff\xff\xff\xff", 5},
    {"\x81\xa1k\x63", 4}, {"\x82\xa1k\x01\xa6ranges\xdd\x7f\xff\xff\xff", 14}, {depth_bomb, 22}, {"\xc1", 1},
    {"\x81\xa1k\xa1k", 5}, {"\x84\xa1k\x05\xa2pe\x01\xa2" "ce\x01\xa4recs\xdd\x00\xff\xff\xff", 21},
};
#define BOMBS (sizeof(bombs) / sizeof(bombs[0]))

static void *
stranger_open(int type, const char *path, bool bind)
{
    char *endpoint = xprint("ipc://%s", path);
    int zero = 0, ms = 4000;
    void *s = zmq_socket(control_context(), type);
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_RCVTIMEO, &ms, sizeof(ms));
    assert_int_equal(bind ? zmq_bind(s, endpoint) : zmq_connect(s, endpoint), 0);
    free(endpoint);
    return s;
}

static void
send_one(void *s, const struct wire_frame *f)
{
    struct buffer b = {0};
    wire_write(f, &b);
    assert_true(zmq_send(s, b.at, b.length, 0) >= 0);
    buffer_free(&b);
}

/* The next frame's kind; its `why` in `text`. */
static enum wire_kind
receive_one(void *s, char *text, size_t room)
{
    struct wire_frame f;
    zmq_msg_t m;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, s, 0) < 0)
        fail_msg("no answer: %s", zmq_strerror(errno));
    assert_int_equal(wire_read(span_of(zmq_msg_data(&m), zmq_msg_size(&m)), &f, NULL), 0);
    snprintf(text, room, "%.*s", (int)f.why.length, f.why.at ? f.why.at : "");
    enum wire_kind kind = (enum wire_kind)f.kind;
    wire_free(&f);
    zmq_msg_close(&m);
    return kind;
}

static void
expect_refusal(void *s, struct wire_frame f, const char *part)
{
    char why[300];
    send_one(s, &f);
    assert_int_equal(receive_one(s, why, sizeof(why)), WIRE_refused);
    if (!strstr(why, part))
        fail_msg("'%s' does not say '%s'", why, part);
}

static void
a_producer_survives_strangers(void **state)
{
    struct linked l;
    char why[300];
    (void)state;
    linked_open(&l, 2000, 1);
    linked_start(&l, LINKED_numbers, 0);
    json_decref(linked_ask(&l, LINKED_numbers, 0, "status"));
    char *path = place_data(&l.place, LINKED_numbers, 0);
    void *s = stranger_open(ZMQ_DEALER, path, false);
    for (size_t i = 0; i < BOMBS; i++)
        assert_true(zmq_send(s, bombs[i].at, bombs[i].length, 0) >= 0);
    for (int i = 0; i < 3000; i++) {
        struct buffer b = {0};
        struct wire_frame f;
        full_frame(&f);
        wire_write(&f, &b);
        mutate(&b);
        zmq_send(s, b.at, b.length, ZMQ_DONTWAIT);
        wire_free(&f);
        buffer_free(&b);
    }
    assert_true(zmq_send(s, "a", 1, ZMQ_SNDMORE) >= 0 && zmq_send(s, "b", 1, 0) >= 0);
    json_decref(linked_ask(&l, LINKED_numbers, 0, "status"));
    zmq_close(s);
    s = stranger_open(ZMQ_DEALER, path, false);
    struct wire_frame hello = {.kind = WIRE_hello, .version = WIRE_VERSION, .run = span_text("linked-run"),
        .node = span_text("numbers"), .consumer = span_text("relay"), .ce = 1};
    struct wire_frame f = hello;
    f.run = span_text("other-run");
    expect_refusal(s, f, "another run");
    f = hello;
    f.version = 99;
    expect_refusal(s, f, "wire version 99");
    f = hello;
    f.node = span_text("relay");
    expect_refusal(s, f, "this is node 'numbers'");
    f = hello;
    f.consumer = span_text("nobody");
    expect_refusal(s, f, "no lane");
    f = hello;
    f.link = 1ULL << 60;
    expect_refusal(s, f, "no lane");
    f = hello;
    f.generation = 3;
    expect_refusal(s, f, "generation 3");
    f = hello;
    f.low = 1ULL << 50;
    expect_refusal(s, f, "diverged");
    struct wire_frame ack = {.kind = WIRE_ack, .pe = 9, .ce = 9, .low = 5};
    send_one(s, &ack);
    assert_int_equal(receive_one(s, why, sizeof(why)), WIRE_stale);
    zmq_close(s);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    free(path);
    linked_close(&l);
}

/* A false producer in front of relay: takes its HELLO, welcomes it and sends rubbish. */
static void
a_consumer_survives_strangers(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 2000, 1);
    char *path = place_data(&l.place, LINKED_numbers, 0);
    void *s = stranger_open(ZMQ_ROUTER, path, true);
    linked_start(&l, LINKED_relay, 0);
    for (size_t i = 0; i < BOMBS + 40; i++) {
        struct wire_frame f, welcome = {.kind = WIRE_welcome, .pe = 1, .head = 100};
        struct buffer b = {0}, c = {0};
        zmq_msg_t id, m;
        zmq_msg_init(&id);
        zmq_msg_init(&m);
        do {                                    /* its HELLO, again after each refusal; beats are not */
            assert_true(zmq_msg_recv(&id, s, 0) >= 0 && zmq_msg_recv(&m, s, 0) >= 0);
            assert_int_equal(wire_read(span_of(zmq_msg_data(&m), zmq_msg_size(&m)), &f, NULL), 0);
            welcome.ce = f.ce;
            wire_free(&f);
        } while (f.kind != WIRE_hello);
        wire_write(&welcome, &b);
        zmq_send(s, zmq_msg_data(&id), zmq_msg_size(&id), ZMQ_SNDMORE);
        zmq_send(s, b.at, b.length, 0);
        if (i < BOMBS)
            buffer_add(&c, bombs[i].at, bombs[i].length);
        while (i >= BOMBS && read_all(buffer_span(&c)) >= 0) {  /* until it is really broken */
            buffer_clear(&c);
            make_data(&c);
            mutate(&c);
        }
        zmq_send(s, zmq_msg_data(&id), zmq_msg_size(&id), ZMQ_SNDMORE);
        zmq_send(s, c.at, c.length, 0);
        struct wire_frame stale = {.kind = WIRE_stale, .pe = 1, .ce = welcome.ce};      /* so that it says HELLO at once */
        buffer_clear(&b);
        wire_write(&stale, &b);
        zmq_send(s, zmq_msg_data(&id), zmq_msg_size(&id), ZMQ_SNDMORE);
        zmq_send(s, b.at, b.length, 0);
        zmq_msg_close(&id);
        zmq_msg_close(&m);
        buffer_free(&b);
        buffer_free(&c);
    }
    assert_true(linked_status(&l, LINKED_relay, 0, "in") == 0);
    zmq_close(s);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    free(path);
    linked_close(&l);
}

static void
a_control_socket_survives_strangers(void **state)
{
    struct linked l;
    char *deep = xalloc(20001);
    (void)state;
    linked_open(&l, 2000, 1);
    linked_start(&l, LINKED_numbers, 0);
    json_decref(linked_ask(&l, LINKED_numbers, 0, "status"));
    char *path = place_control(&l.place, LINKED_numbers, 0);
    void *s = stranger_open(ZMQ_DEALER, path, false);
    memset(deep, '[', 20000);
    const char *const texts[] = {"", "{", "[]", "7", "{\"ask\":7}", "{\"ask\":\"fly\"}", "\xff\xfe", deep,
        "{\"ask\":\"set\",\"option\":\"commit_count\",\"value\":\"-1\"}", "{\"ask\":\"dead\",\"do\":\"retry\",\"id\":99}",
        "{\"ask\":\"leave\"}", "{\"ask\":\"copy\",\"folder\":\"x\"}", "{\"ask\":\"trace\"}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char reply[1000];
        assert_true(zmq_send(s, texts[i], strlen(texts[i]), 0) >= 0);
        int length = zmq_recv(s, reply, sizeof(reply) - 1, 0);
        assert_true(length > 0 && length < (int)sizeof(reply));
        reply[length] = 0;
        if (!strstr(reply, "\"ok\":false"))
            fail_msg("'%.80s' was answered '%s'", texts[i], reply);
    }
    assert_true(zmq_send(s, "a", 1, ZMQ_SNDMORE) >= 0 && zmq_send(s, "b", 1, 0) >= 0);
    zmq_close(s);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    free(path);
    free(deep);
    linked_close(&l);
}

static void
a_second_process_of_one_node_is_refused(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 2000, 1);
    linked_start(&l, LINKED_numbers, 0);
    json_decref(linked_ask(&l, LINKED_numbers, 0, "status"));
    pid_t first = l.pids[LINKED_numbers][0];
    linked_start(&l, LINKED_numbers, 0);
    int status = linked_wait(&l, LINKED_numbers, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    l.pids[LINKED_numbers][0] = first;
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

static void
shell(const char *format, const char *a, const char *b)
{
    char command[1000];
    snprintf(command, sizeof(command), format, a, b);
    assert_int_equal(system(command), 0);
}

static void
progress(struct linked *l, int64_t position)
{
    while (linked_status(l, LINKED_tally, 0, "position") < position)
        ;
}

/* Stops `node`, keeps its store, lets the run go on, puts the old store back: both ends must say so. */
static void
copied_back(int node, int peer, const char *id)
{
    struct linked l;
    linked_open(&l, 100000, 1);
    linked_start_all(&l);
    progress(&l, 400);
    kill(l.pids[node][0], SIGTERM);
    assert_int_equal(linked_wait(&l, node, 0), 0);
    char *store = place_store(&l.place, id, 0), *copy = xprint("%s/old", l.dir);
    shell("cp -r '%s' '%s'", store, copy);
    linked_start(&l, node, 0);
    progress(&l, 4000 + linked_status(&l, LINKED_tally, 0, "position"));
    linked_kill(&l, node, 0);
    kill(l.pids[peer][0], SIGTERM);     /* what was acknowledged is durable at the peer */
    assert_int_equal(linked_wait(&l, peer, 0), 0);
    linked_start(&l, peer, 0);
    shell("rm -rf '%s'%s", store, "");
    shell("mv '%s' '%s'", copy, store);
    linked_start(&l, node, 0);
    linked_why(&l, node, 0, "diverged");
    linked_why(&l, peer, 0, "diverged");
    free(store);
    free(copy);
    linked_close(&l);
}

static void
a_consumers_store_copied_back_is_refused(void **state)
{
    (void)state;
    copied_back(LINKED_tally, LINKED_numbers, "tally");
}

static void
a_producers_store_copied_back_is_refused(void **state)
{
    (void)state;
    copied_back(LINKED_numbers, LINKED_relay, "numbers");
}

/* ---- replicas, replay, disk ---- */

static void
replicas_grow_in_the_middle(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 12000, 2);
    linked_start_all(&l);
    progress(&l, 2000);
    json_t *reply = linked_ask(&l, LINKED_numbers, 0, "hold");
    l.later_first = (int)json_integer_value(json_object_get(reply, "hold_at"));
    json_decref(reply);
    assert_true(l.later_first >= 2000 && l.later_first % 4 == 0);
    for (int i = 0; i < LINKED_nodes; i += 2) {
        kill(l.pids[i][0], SIGTERM);
        assert_int_equal(linked_wait(&l, i, 0), 0);
    }
    l.later = 3;
    linked_start_all(&l);
    assert_int_equal(linked_status(&l, LINKED_numbers, 0, "emitted"), l.later_first);
    json_decref(linked_ask(&l, LINKED_numbers, 0, "resume"));
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

static void
stored_outputs_are_served_again_below_a_cut(void **state)
{
    struct linked l, again;
    struct error e = {0};
    (void)state;
    linked_open(&l, 8000, 2);
    linked_start_all(&l);
    progress(&l, 5000);
    linked_open(&again, 4000, 1);
    char *stores = xprint("%s/stores", again.dir);
    shell("mkdir '%s'%s", stores, "");
    char *to = place_store(&again.place, "numbers", 0), *lock = place_store_lock(&again.place, "numbers", 0);
    char *path = place_control(&l.place, LINKED_numbers, 0);
    json_t *request = json_pack("{s:s,s:s}", "ask", "copy", "folder", to);
    if (control_ask(path, request, 20000, NULL, &e) != 0)
        fail_msg("%s", e.text);
    json_decref(request);
    if (store_adopt(to, lock, "linked-run", 1, &e) != 0)
        fail_msg("%s", e.text);
    again.cut = 4000;
    linked_start_all(&again);
    linked_kill(&again, LINKED_numbers, 0);
    linked_start(&again, LINKED_numbers, 0);
    linked_finish(&again);
    linked_verify(&again);
    linked_finish(&l);              /* the old run stays as it was */
    linked_verify(&l);
    linked_close(&again);
    linked_close(&l);
    free(stores);
    free(to);
    free(lock);
    free(path);
}

static void
a_nearly_full_disk_pauses(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 2000, 1);
    setenv("SLUICE_DISK_RESERVE", "1000000000000000", 1);
    linked_start(&l, LINKED_numbers, 0);
    linked_why(&l, LINKED_numbers, 0, "disk: ");
    assert_int_equal(linked_status(&l, LINKED_numbers, 0, "out"), 0);
    linked_kill(&l, LINKED_numbers, 0);
    unsetenv("SLUICE_DISK_RESERVE");
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

static void
a_full_disk_ends_with_75_and_loses_nothing(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 20000, 1);
    if (mount("tmpfs", l.dir, "tmpfs", 0, "size=3m") != 0) {
        print_message("# SKIP cannot mount a tmpfs: %s\n", strerror(errno));
        linked_close(&l);
        skip();
    }
    setenv("SLUICE_DISK_RESERVE", "0", 1);
    linked_start(&l, LINKED_numbers, 0);
    int status = linked_wait(&l, LINKED_numbers, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
    assert_int_equal(mount("tmpfs", l.dir, "tmpfs", MS_REMOUNT, "size=200m"), 0);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    unsetenv("SLUICE_DISK_RESERVE");
    umount2(l.dir, MNT_DETACH);
    linked_close(&l);
}

int
main(int argc, char **argv)
{
    int rc = linked_main(argc, argv);
    if (rc >= 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back_as_they_went),
        cmocka_unit_test(records_come_back_as_they_went),
        cmocka_unit_test(mutations_are_survived),
        cmocka_unit_test(a_producer_survives_strangers),
        cmocka_unit_test(a_consumer_survives_strangers),
        cmocka_unit_test(a_control_socket_survives_strangers),
        cmocka_unit_test(a_second_process_of_one_node_is_refused),
        cmocka_unit_test(a_consumers_store_copied_back_is_refused),
        cmocka_unit_test(a_producers_store_copied_back_is_refused),
        cmocka_unit_test(replicas_grow_in_the_middle),
        cmocka_unit_test(stored_outputs_are_served_again_below_a_cut),
        cmocka_unit_test(a_nearly_full_disk_pauses),
        cmocka_unit_test(a_full_disk_ends_with_75_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
