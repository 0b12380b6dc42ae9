/* Tests of links over tcp: addresses, key files, a graph killed on both sides of its links, and
 * strangers at the port. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "graph/address.h"
#include "graph/control.h"
#include "graph/curve.h"
#include "graph/wire.h"
#include "tests/linked.h"

#define PORTS_EACH 8 /* of one test */

/* ---- addresses ---- */

static void
expect_address(const char *listen, enum address_kind kind, const char *endpoint)
{
    struct address a;
    struct error e = {0};
    if (address_read(listen, 3, &a, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(a.kind, kind);
    char *got = address_endpoint(&a, 2);
    assert_string_equal(got, endpoint);
    free(got);
}

static void
addresses_are_read_strictly(void **state)
{
    static const char *const bad[] = {
        "tcp",
        "tcp:",
        "tcp://",
        "tcp://:80",
        "tcp://1.2.3.4",
        "tcp://1.2.3.4:",
        "tcp://1.2.3.4:x",
        "tcp://1.2.3.4:80 ",
        "tcp://1.2.3.4:-1",
        "tcp://1.2.3.4:0",
        "tcp://1.2.3.4:65534",
        "tcp://1.2.3.4:123456",
        "tcp://1.2.3:80",
        "tcp://*:80",
        "tcp://0.0.0.0:80",
        "tcp://[::]:80",
        "tcp://[::1:80",
        "tcp://::1:80",
        "tcp://[]:80",
        "tcp://[",
        "tcp://host:80",
        "ipc:///tmp/x",
        "tcp+plain://10.1.1.1:80",
        "tcp+plain://[fe80::1]:80",
        "tcp+plain://[::]:80",
        "tcp+insecure://0.0.0.0:80",
        "TCP://1.2.3.4:80",
    };
    struct address a, b;
    struct error e;
    (void)state;
    expect_address("tcp://127.0.0.1:5600", ADDRESS_curve, "tcp://127.0.0.1:5602");
    expect_address("tcp://localhost:65533", ADDRESS_curve, "tcp://127.0.0.1:65535");
    expect_address("tcp://10.1.2.3:1", ADDRESS_curve, "tcp://10.1.2.3:3");
    expect_address("tcp://[0:0::1]:80", ADDRESS_curve, "tcp://[::1]:82");
    expect_address("tcp+plain://127.3.2.1:80", ADDRESS_plain, "tcp://127.3.2.1:82");
    expect_address("tcp+plain://[::1]:80", ADDRESS_plain, "tcp://[::1]:82");
    expect_address("tcp+insecure://10.1.2.3:80", ADDRESS_plain, "tcp://10.1.2.3:82");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (address_read(bad[i], 3, &a, &e) != ERROR_topology)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(address_read("", 3, &a, &e), 0);
    assert_int_equal(a.kind, ADDRESS_private);
    address_read("tcp://127.0.0.1:80", 1, &a, &e);
    address_read("tcp+plain://localhost:81", 1, &b, &e);
    assert_false(address_overlap(&a, 1, &b, 1));
    assert_true(address_overlap(&a, 2, &b, 1));
    assert_false(address_overlap(&b, 64, &a, 1));
}

/* ---- a graph at free ports ---- */

/* Ports below those the system gives away, and none of them taken at this moment. */
static int
free_ports(void)
{
    static int turn;
    for (;; turn++) {
        int base = 20000 + (int)(((unsigned)getpid() * 131 + (unsigned)turn * PORTS_EACH) % 12000),
            k;
        for (k = 0; k < PORTS_EACH; k++) {
            struct sockaddr_in a = {.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)(base + k)),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
            close(fd);
            if (rc != 0)
                break;
        }
        if (k == PORTS_EACH) {
            turn++;
            return base;
        }
    }
}

static void
open_tcp(struct linked *l, int total, int replicas)
{
    struct plan plan;
    struct plan_node nodes[LINKED_nodes];
    struct error e = {0};
    linked_open(l, total, replicas);
    l->port = free_ports();
    linked_plan(&plan, nodes, l);
    if (curve_make(&plan, l->dir, &e) != 0)
        fail_msg("%s", e.text);
}

static char *
key_file(const struct linked *l, const char *name)
{
    return xprint("%s/keys/%s", l->dir, name);
}

static void
read_key(const struct linked *l, const char *name, char text[64])
{
    char *path = key_file(l, name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    text[fread(text, 1, 63, f)] = 0;
    fclose(f);
    free(path);
}

static void
write_key(const struct linked *l, const char *name, const char *text)
{
    char *path = key_file(l, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    free(path);
}

static int
make_again(const struct linked *l, struct error *e)
{
    struct plan plan;
    struct plan_node nodes[LINKED_nodes];
    linked_plan(&plan, nodes, l);
    *e = (struct error){0};
    return curve_make(&plan, l->dir, e);
}

static void
keys_are_made_once_and_kept_private(void **state)
{
    struct linked l;
    struct stat st;
    struct error e;
    char first[64], second[64];
    (void)state;
    open_tcp(&l, 10, 1);
    read_key(&l, "relay.secret", first);
    assert_int_equal(make_again(&l, &e), 0);
    read_key(&l, "relay.secret", second);
    assert_string_equal(first, second);
    char *secret = key_file(&l, "relay.secret"), *public = key_file(&l, "relay.public");
    assert_int_equal(stat(secret, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    read_key(&l, "relay.public", first);
    unlink(public); /* as a maker that died between the two leaves it */
    assert_int_equal(make_again(&l, &e), 0);
    read_key(&l, "relay.public", second);
    assert_string_equal(first, second);
    chmod(secret, 0640);
    assert_int_equal(make_again(&l, &e), ERROR_file);
    assert_non_null(strstr(e.text, "open to others"));
    chmod(secret, 0600);
    static const char *const bad[] = {"", "short\n",
                                      "0123456789012345678901234567890123456789\nmore",
                                      "\"123456789012345678901234567890123456789\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        write_key(&l, "relay.secret", bad[i]);
        assert_int_equal(make_again(&l, &e), ERROR_file);
        assert_non_null(strstr(e.text, "is not a key"));
    }
    unlink(secret);
    assert_int_equal(symlink(public, secret), 0);
    assert_int_equal(make_again(&l, &e), ERROR_file);
    unlink(secret);
    char *folder = xprint("%s/keys", l.dir);
    chmod(folder, 0755);
    assert_int_equal(make_again(&l, &e), ERROR_file);
    assert_non_null(strstr(e.text, "closed to others"));
    free(folder);
    free(secret);
    free(public);
    linked_close(&l);
}

static void
progress(struct linked *l, int64_t least)
{
    while (linked_status(l, LINKED_numbers, 0, "out") < least)
        ;
}

static void
kills_on_both_sides_lose_nothing(void **state)
{
    static const int victims[][2] = {{LINKED_relay, 1},
                                     {LINKED_numbers, 0},
                                     {LINKED_tally, 0},
                                     {LINKED_relay, 0},
                                     {LINKED_numbers, 0}};
    struct linked l;
    (void)state;
    open_tcp(&l, 30000, 2);
    linked_start_all(&l);
    for (int i = 0; i < 5; i++) {
        progress(&l, 4000 * (i + 1));
        linked_kill(&l, victims[i][0], victims[i][1]);
        linked_start(&l, victims[i][0], victims[i][1]);
    }
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

/* ---- strangers ---- */

static void *
dealer(int ms)
{
    int zero = 0;
    void *s = zmq_socket(control_context(), ZMQ_DEALER);
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_RCVTIMEO, &ms, sizeof(ms));
    return s;
}

static void
say_hello(void *s, int port, const char *consumer)
{
    struct wire_frame f = {.kind = WIRE_hello,
                           .version = WIRE_VERSION,
                           .run = span_text("linked-run"),
                           .node = span_text("numbers"),
                           .consumer = span_text(consumer),
                           .upto = 4096,
                           .bytes = 1 << 20};
    struct buffer b = {0};
    char endpoint[64];
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", port);
    assert_int_equal(zmq_connect(s, endpoint), 0);
    wire_write(&f, &b);
    assert_true(zmq_send(s, b.at, b.length, 0) >= 0);
    buffer_free(&b);
}

static void
expect_nothing(void *s)
{
    char byte;
    assert_int_equal(zmq_recv(s, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    zmq_close(s);
}

static void *
with_key(const struct linked *l, const char *public, const char *secret)
{
    char server[64];
    void *s = dealer(700);
    read_key(l, "numbers.public", server);
    server[CURVE_KEY - 1] = 0;
    assert_int_equal(zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, server, CURVE_KEY), 0);
    assert_int_equal(zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, public, CURVE_KEY), 0);
    assert_int_equal(zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, secret, CURVE_KEY), 0);
    return s;
}

/* Bytes that mean nothing, until the other side has had enough of them or of waiting. */
static void
send_garbage(int port, const char *begin, size_t length, bool flood)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {0, 300000};
    char chunk[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    memset(chunk, 0xff, sizeof(chunk));
    ssize_t n = send(fd, begin, length, MSG_NOSIGNAL);
    for (int i = 0; flood && i < 64 && n > 0; i++)
        n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
    n = recv(fd, chunk, sizeof(chunk), 0);
    close(fd);
}

static int64_t
counted(struct linked *l, const char *metric)
{
    json_t *reply = linked_ask(l, LINKED_numbers, 0, "status");
    int64_t n = json_integer_value(json_object_get(json_object_get(reply, "metrics"), metric));
    json_decref(reply);
    return n;
}

static void
strangers_get_nothing_and_harm_nothing(void **state)
{
    struct linked l;
    char public[CURVE_KEY], secret[CURVE_KEY], kept[64], own[CURVE_KEY];
    (void)state;
    open_tcp(&l, 4000, 1);
    linked_start(&l, LINKED_numbers, 0); /* all its records wait for consumers */
    progress(&l, 1);

    void *s = dealer(700); /* no keys at all */
    say_hello(s, l.port, "relay");
    expect_nothing(s);

    zmq_curve_keypair(public, secret); /* the producer's public key is known, ours is not */
    s = with_key(&l, public, secret);
    say_hello(s, l.port, "relay");
    expect_nothing(s);
    while (counted(&l, "refused") <
           1) /* told with the next beat; the test's own time limit ends this */
        ;
    int64_t before = counted(&l, "refused");

    read_key(&l, "tally.secret", kept); /* a consumer in another's name */
    kept[CURVE_KEY - 1] = 0;
    zmq_curve_public(own, kept);
    s = with_key(&l, own, kept);
    say_hello(s, l.port, "relay");
    expect_nothing(s);
    assert_true(counted(&l, "refused") > before);
    s = with_key(&l, own,
                 kept); /* ... and in its own: it is answered, so the way is the right one */
    say_hello(s, l.port, "tally");
    char answer[1000];
    assert_true(zmq_recv(s, answer, sizeof(answer), 0) > 0);
    zmq_close(s);

    read_key(&l, "numbers.public", kept); /* a key that only listens: no consumer's */
    kept[CURVE_KEY - 1] = 0;
    read_key(&l, "numbers.secret", answer);
    answer[CURVE_KEY - 1] = 0;
    s = with_key(&l, kept, answer);
    say_hello(s, l.port, "relay");
    expect_nothing(s);

    send_garbage(l.port, "GET / HTTP/1.1\r\n\r\n", 18, false);
    send_garbage(l.port, "\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 33,
                 true);
    send_garbage(l.port, "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 33,
                 true);
    send_garbage(l.port, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, true);
    send_garbage(l.port, "", 0, true);

    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

/* More connections than the soft limit of open files; the node goes to the hard one by itself. */
static void
many_silent_strangers_do_not_bring_a_node_down(void **state)
{
    enum { STRANGERS = 600 };
    struct rlimit before, few;
    struct linked l;
    int fds[STRANGERS];
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    if (before.rlim_max < 4 * STRANGERS) {
        print_message("# SKIP the hard limit of open files is low\n");
        skip();
    }
    open_tcp(&l, 2000, 1);
    few = (struct rlimit){STRANGERS / 2, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    linked_start(&l, LINKED_numbers, 0);
    few.rlim_cur = 2 * STRANGERS;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    progress(&l, 1);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)l.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fds[i], (struct sockaddr *)&a, sizeof(a)) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    for (int i = 0; i < 200; i++) /* each question needs files of the node's own */
        linked_status(&l, LINKED_numbers, 0, "out");
    linked_start(&l, LINKED_relay, 0);
    linked_start(&l, LINKED_tally, 0);
    linked_finish(&l);
    linked_verify(&l);
    for (int i = 0; i < STRANGERS; i++)
        close(fds[i]);
    setrlimit(RLIMIT_NOFILE, &before);
    linked_close(&l);
}

static void
a_key_that_was_wrong_is_mended_without_a_restart(void **state)
{
    struct linked l;
    char public[CURVE_KEY], secret[CURVE_KEY], kept[64];
    (void)state;
    open_tcp(&l, 2000, 1);
    read_key(&l, "relay.secret", kept);
    zmq_curve_keypair(public, secret);
    write_key(&l, "relay.secret", secret);
    linked_start(&l, LINKED_numbers, 0);
    progress(&l, 1);
    linked_start(&l, LINKED_relay, 0);
    linked_why(&l, LINKED_relay, 0, "does not know our key");
    write_key(&l, "relay.secret", kept);
    linked_kill(&l, LINKED_numbers, 0); /* back while the relay waits to try again */
    linked_start(&l, LINKED_numbers, 0);
    while (linked_status(&l, LINKED_relay, 0, "in") == 0)
        ;
    /* The relay listens with the wrong key it read at its start: consumers must not believe it. */
    linked_start(&l, LINKED_tally, 0);
    linked_why(&l, LINKED_tally, 0, "has other keys");
    linked_kill(&l, LINKED_relay, 0);
    linked_start(&l, LINKED_relay, 0);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

static void
a_port_in_use_pauses(void **state)
{
    struct linked l;
    (void)state;
    open_tcp(&l, 100, 1);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)l.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 1), 0);
    linked_start(&l, LINKED_numbers, 0);
    int status = linked_wait(&l, LINKED_numbers, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
    close(fd);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

int
main(int argc, char **argv)
{
    int rc = linked_main(argc, argv);
    if (rc >= 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_strictly),
        cmocka_unit_test(keys_are_made_once_and_kept_private),
        cmocka_unit_test(kills_on_both_sides_lose_nothing),
        cmocka_unit_test(strangers_get_nothing_and_harm_nothing),
        cmocka_unit_test(many_silent_strangers_do_not_bring_a_node_down),
        cmocka_unit_test(a_key_that_was_wrong_is_mended_without_a_restart),
        cmocka_unit_test(a_port_in_use_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
