/* linked: see linked.h. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/account.h"
#include "graph/control.h"
#include "graph/runner.h"
#include "tests/linked.h"

#define GROUP 4

static const struct option no_options[] = {OPT_END};

/* The bytes of an ordinal on a port: known to everyone, of changing length, some large. */
static void
make_body(struct buffer *b, uint64_t ordinal, int port)
{
    uint64_t dice = (ordinal * 2 + (uint64_t)port + 1) * 0x9E3779B97F4A7C15ULL;
    size_t length = (dice >> 40) % 300 + ((dice >> 20) % 500 == 0 ? 300000 : 0);
    buffer_clear(b);
    buffer_print(b, "%llu/%d:", (unsigned long long)ordinal, port);
    size_t head = b->length;
    buffer_reserve(b, length);
    memset(b->at + head, 'a' + (int)(dice % 26), length);
    b->length += length;
}

/* ---- numbers ---- */

enum { NUMBERS_a, NUMBERS_b };
static const struct port numbers_ports[] = {
    [NUMBERS_a] = {PORT_OUT, "a", MESSAGE_any, 0, "numbers"},
    [NUMBERS_b] = {PORT_OUT, "b", MESSAGE_any, 0, "numbers"},
    {.direction = PORT_END},
};

struct numbers {
    uint64_t next, total;
};

static int
numbers_start(struct node *n, struct error *e)
{
    struct numbers *s = node_state(n);
    struct span v;
    (void)e;
    s->total = node_seed(n);
    if (node_get(n, span_text("next"), &v))
        s->next = store_read_u64(v.at);
    return 0;
}

static int
numbers_pump(struct node *n, struct error *e)
{
    struct numbers *s = node_state(n);
    struct buffer b = {0};
    unsigned char v[8];
    (void)e;
    if (s->next >= s->total) {
        node_finish(n);
        return PUMP_IDLE;
    }
    if (!node_may_emit(n, s->next, GROUP))
        return PUMP_IDLE;
    for (uint64_t o = s->next; o < s->next + GROUP; o++) {
        make_body(&b, o, NUMBERS_a);
        if (o % 7 == 3)
            node_emit_close(n, NUMBERS_a, o, s->next, GROUP, "filtered");
        else
            node_emit(n, NUMBERS_a, o, s->next, GROUP, buffer_span(&b));
        make_body(&b, o, NUMBERS_b);
        node_emit(n, NUMBERS_b, o, s->next, GROUP, buffer_span(&b));
    }
    s->next += GROUP;
    store_u64(v, s->next);
    node_put(n, span_text("next"), span_of(v, 8));
    buffer_free(&b);
    return PUMP_AGAIN;
}

static const struct node_kind numbers = {
    .name = "numbers", .state_size = sizeof(struct numbers), .options_size = 1, .ports = numbers_ports,
    .options = no_options, .source = true, .start = numbers_start, .pump = numbers_pump,
};

/* ---- relay: answers later, in another order ---- */

enum { RELAY_in, RELAY_out };
static const struct port relay_ports[] = {
    [RELAY_in] = {PORT_IN, "in", MESSAGE_any, 0, "in"},
    [RELAY_out] = {PORT_OUT, "out", MESSAGE_any, 0, "out"},
    {.direction = PORT_END},
};

struct relay {
    struct unit *held[32];
    int          count;
    uint64_t     dice;
};

static void
relay_let_go(struct node *n, struct relay *s)
{
    s->dice = s->dice * 6364136223846793005ULL + 1442695040888963407ULL;
    int i = (int)((s->dice >> 33) % (unsigned)s->count);
    struct unit *u = s->held[i];
    s->held[i] = s->held[--s->count];
    node_send(n, u, RELAY_out, u->inputs[0].body);
    unit_done(n, u);
}

static int
relay_start(struct node *n, struct error *e)
{
    (void)e;
    node_set_in_flight(n, 32);
    ((struct relay *)node_state(n))->dice = (uint64_t)getpid();
    return 0;
}

static int
relay_take(struct node *n, struct unit *u, struct error *e)
{
    struct relay *s = node_state(n);
    (void)e;
    if (s->count == 32)
        relay_let_go(n, s);
    s->held[s->count++] = u;
    if (s->count == 32)
        relay_let_go(n, s);
    return 0;
}

static int
relay_pump(struct node *n, struct error *e)
{
    struct relay *s = node_state(n);
    (void)e;
    if (s->count > 0)
        relay_let_go(n, s);
    return s->count > 0 ? PUMP_AGAIN : PUMP_IDLE;
}

static const struct node_kind relay = {
    .name = "relay", .state_size = sizeof(struct relay), .options_size = 1, .ports = relay_ports,
    .options = no_options, .start = relay_start, .take = relay_take, .pump = relay_pump,
};

/* ---- tally: merges both and counts how often it saw each ordinal ---- */

enum { TALLY_direct, TALLY_relayed };
static const struct port tally_ports[] = {
    [TALLY_direct] = {PORT_IN, "direct", MESSAGE_any, 0, "straight from numbers"},
    [TALLY_relayed] = {PORT_IN, "relayed", MESSAGE_any, 0, "over relay"},
    {.direction = PORT_END},
};

static int
tally_take(struct node *n, struct unit *u, struct error *e)
{
    struct buffer b = {0};
    struct span v;
    unsigned char key[8], count = 0;
    store_u64(key, u->ordinal);
    if (node_get(n, span_of(key, 8), &v))
        count = (unsigned char)v.at[0];
    count++;
    for (int k = 0; k < 2; k++) {
        make_body(&b, u->ordinal, k == TALLY_direct ? NUMBERS_b : NUMBERS_a);
        bool closed = k == TALLY_relayed && u->ordinal % 7 == 3;
        if (u->inputs[k].closing != closed || (closed && strcmp(u->inputs[k].reason, "filtered") != 0) ||
            (!closed && (u->inputs[k].body.length != b.length ||
                         memcmp(u->inputs[k].body.at, b.at, b.length) != 0)))
            return error_set(e, ERROR_internal, "ordinal %llu came with other bytes on link %d",
                             (unsigned long long)u->ordinal, k);
    }
    buffer_free(&b);
    node_put(n, span_of(key, 8), span_of(&count, 1));
    unit_done(n, u);
    return 0;
}

static const struct node_kind tally = {
    .name = "tally", .state_size = 1, .options_size = 1, .ports = tally_ports, .options = no_options,
    .terminal = true, .take = tally_take,
};

/* ---- the plan, the same in every process ---- */

static char *small[] = {"300"};
static struct plan_option options[] = {{"commit_count", 1, small, 0, 0}};
static char listens[LINKED_nodes][64];
static struct plan_row one_row = {0, 1}, relay_rows[2];
static struct plan_link relay_links[] = {{RELAY_in, LINKED_numbers, NUMBERS_a}};
static struct plan_link tally_links[] = {{TALLY_direct, LINKED_numbers, NUMBERS_b},
                                         {TALLY_relayed, LINKED_relay, RELAY_out}};

void
linked_plan(struct plan *p, struct plan_node *nodes, const struct linked *l)
{
    static const struct node_kind *const kinds[] = {&numbers, &relay, &tally};
    *p = (struct plan){.name = "linked", .seed = (uint64_t)l->total, .run_id = "linked-run", .folder = "/",
                       .file = "/linked.yaml", .max_lead = l->lead > 0 ? (uint64_t)l->lead : 5000, .node_count = LINKED_nodes, .nodes = nodes};
    relay_rows[0] = (struct plan_row){0, l->replicas};
    relay_rows[1] = (struct plan_row){(uint64_t)l->later_first, l->later};
    for (int i = 0; i < LINKED_nodes; i++)
        nodes[i] = (struct plan_node){.id = (char *)kinds[i]->name, .kind = kinds[i], .row_count = 1,
                                      .rows = &one_row, .options = options, .option_count = 1, .listen = ""};
    if (l->port > 0) {
        snprintf(listens[LINKED_numbers], sizeof(listens[0]), "tcp://127.0.0.1:%d", l->port);
        snprintf(listens[LINKED_relay], sizeof(listens[0]), "tcp://127.0.0.1:%d", l->port + 1);
        nodes[LINKED_numbers].listen = listens[LINKED_numbers];
        nodes[LINKED_relay].listen = listens[LINKED_relay];
    }
    nodes[LINKED_relay].rows = relay_rows;
    nodes[LINKED_relay].row_count = l->later > 0 ? 2 : 1;
    nodes[LINKED_numbers].serve = l->cut > 0;
    nodes[LINKED_numbers].cut = (uint64_t)l->cut;
    nodes[LINKED_numbers].generation = l->cut > 0;
    nodes[LINKED_relay].links = relay_links;
    nodes[LINKED_relay].link_count = 1;
    nodes[LINKED_tally].links = tally_links;
    nodes[LINKED_tally].link_count = 2;
}

int
linked_main(int argc, char **argv)
{
    struct plan plan;
    struct plan_node nodes[LINKED_nodes];
    struct place place;
    struct error e = {0};
    struct linked l = {.total = 0};
    if (argc != 6 || strcmp(argv[1], "--linked") != 0)
        return -1;
    if (sscanf(argv[5], "%d,%d,%d,%d,%d,%d,%d", &l.total, &l.replicas, &l.later_first, &l.later, &l.cut,
               &l.lead, &l.port) != 7)
        return 2;
    linked_plan(&plan, nodes, &l);
    int rc = place_open(&place, argv[2], &e);
    if (rc == 0) {
        struct runner_setup s = {&plan, atoi(argv[3]), atoi(argv[4]), &place, NULL, false};
        rc = runner_run(&s, &e);
    }
    if (rc != 0)
        fprintf(stderr, "# %s.%s: %s\n", nodes[atoi(argv[3])].id, argv[4], e.text);
    place_close(&place);
    return rc == 0 ? 0 : error_exit(rc);
}

/* ---- processes ---- */

void
linked_open(struct linked *l, int total, int replicas)
{
    struct error e = {0};
    memset(l, 0, sizeof(*l));
    strcpy(l->dir, "/tmp/sluice-linked-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    l->total = total;
    l->replicas = replicas;
    if (place_open(&l->place, l->dir, &e) != 0)
        fail_msg("%s", e.text);
}

int
linked_replicas(const struct linked *l, int node)
{
    int most = l->later > l->replicas ? l->later : l->replicas;
    return node == LINKED_relay ? most : 1;
}

void
linked_close(struct linked *l)
{
    char command[400];
    for (int i = 0; i < LINKED_nodes; i++)
        for (int r = 0; r < linked_replicas(l, i); r++)
            if (l->pids[i][r] > 0)
                linked_kill(l, i, r);
    snprintf(command, sizeof(command), "rm -rf '%s' '%s'", l->dir, l->place.sockets);
    assert_int_equal(system(command), 0);
    place_close(&l->place);
}

void
linked_start(struct linked *l, int node, int replica)
{
    char n[16], r[16], shape[96];
    snprintf(n, sizeof(n), "%d", node);
    snprintf(r, sizeof(r), "%d", replica);
    snprintf(shape, sizeof(shape), "%d,%d,%d,%d,%d,%d,%d", l->total, l->replicas, l->later_first, l->later, l->cut,
             l->lead, l->port);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);   /* a test that failed leaves nobody behind */
        execl("/proc/self/exe", "linked", "--linked", l->dir, n, r, shape, (char *)NULL);
        _exit(127);
    }
    l->pids[node][replica] = pid;
}

void
linked_start_all(struct linked *l)
{
    for (int i = 0; i < LINKED_nodes; i++)
        for (int r = 0; r < linked_replicas(l, i); r++)
            if (l->pids[i][r] == 0)
                linked_start(l, i, r);
}

int
linked_wait(struct linked *l, int node, int replica)
{
    int status = 0;
    waitpid(l->pids[node][replica], &status, 0);
    l->pids[node][replica] = 0;
    return status;
}

void
linked_kill(struct linked *l, int node, int replica)
{
    kill(l->pids[node][replica], SIGKILL);
    linked_wait(l, node, replica);
}

static void
check_alive(struct linked *l, int node, int replica)
{
    int status;
    if (waitpid(l->pids[node][replica], &status, WNOHANG) > 0) {
        l->pids[node][replica] = 0;
        fail_msg("process %d.%d ended with status %d", node, replica, status);
    }
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

json_t *
linked_ask(struct linked *l, int node, int replica, const char *ask)
{
    char *path = place_control(&l->place, node, replica);
    json_t *request = json_pack("{s:s}", "ask", ask), *reply = NULL;
    struct error e = {0};
    double until = now() + 20;
    while (control_ask(path, request, 2000, &reply, &e) != 0) {
        check_alive(l, node, replica);
        if (now() > until)
            fail_msg("%s", e.text);
        usleep(2000);       /* until its socket is bound */
    }
    json_decref(request);
    free(path);
    return reply;
}

int64_t
linked_status(struct linked *l, int node, int replica, const char *field)
{
    json_t *reply = linked_ask(l, node, replica, "status");
    json_t *v = json_object_get(reply, field);
    int64_t value = json_is_boolean(v) ? json_is_true(v) : json_integer_value(v);
    json_decref(reply);
    return value;
}

void
linked_finish(struct linked *l)
{
    double until = now() + 30;
    for (int i = LINKED_nodes - 1; i >= 0; i--)
        for (int r = 0; r < linked_replicas(l, i); r++)
            while (!linked_status(l, i, r, "finished"))
                if (now() > until) {
                    json_t *s = linked_ask(l, i, r, "status");
                    fail_msg("process %d.%d has not finished: %s", i, r, json_dumps(s, 0));
                }
    for (int i = 0; i < LINKED_nodes; i++)
        for (int r = 0; r < linked_replicas(l, i); r++) {
            json_decref(linked_ask(l, i, r, "leave"));
            assert_int_equal(linked_wait(l, i, r), 0);
        }
}

bool
linked_alive(struct linked *l, int node, int replica)
{
    return kill(l->pids[node][replica], 0) == 0 && waitpid(l->pids[node][replica], NULL, WNOHANG) == 0;
}

void
linked_why(struct linked *l, int node, int replica, const char *part)
{
    double until = now() + 15;
    for (;;) {
        json_t *reply = linked_ask(l, node, replica, "status");
        const char *why = json_string_value(json_object_get(reply, "why"));
        bool found = why && strstr(why, part);
        if (!found && now() > until)
            fail_msg("status of %d.%d does not say '%s': %s", node, replica, part, json_dumps(reply, 0));
        json_decref(reply);
        if (found)
            return;
    }
}

struct verify {
    uint64_t next;
};

static bool
verify_visit(void *own, struct span key, struct span value)
{
    struct verify *v = own;
    if (key.length != 8 || store_read_u64(key.at) != v->next || value.length != 1 || value.at[0] != 1)
        fail_msg("ordinal %llu: key of %zu bytes, seen %d times", (unsigned long long)v->next, key.length,
                 value.length ? value.at[0] : -1);
    v->next++;
    return true;
}

void
linked_verify(struct linked *l)
{
    struct error e = {0};
    struct plan plan;
    struct plan_node nodes[LINKED_nodes];
    struct verify v = {0};
    char *path = place_store(&l->place, "tally", 0), *lock = place_store_lock(&l->place, "tally", 0);
    linked_plan(&plan, nodes, l);
    struct store *s = store_peek(path, lock, &e);
    if (!s)
        fail_msg("%s", e.text);
    store_scan(s, TABLE_state, span_of(NULL, 0), verify_visit, &v);
    assert_int_equal(v.next, l->total);
    struct account a;
    assert_int_equal(account_read(&a, s, &plan, LINKED_tally, &e), 0);
    assert_int_equal(a.settled.count, 1);
    assert_int_equal(a.settled.at[0].start, 0);
    assert_int_equal(a.settled.at[0].end, l->total);
    assert_int_equal(a.samples, l->total);
    assert_int_equal(a.doubled, 0);
    for (int k = 0; k < a.link_count; k++) {
        assert_int_equal(intervals_total(&a.received[k]), l->total);
        assert_int_equal(intervals_total(&a.kept[k]), 0);
    }
    account_free(&a);
    store_close(s);
    free(path);
    free(lock);
}
