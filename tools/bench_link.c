/* bench_link: the durable link between two processes at records of 1 KB, 1000 in a transaction, every transaction
 * synced on both sides, counted when the consumer has committed; next to a bare LMDB batch append of the same
 * records in the same folder. Turns are interleaved; medians. Prints records/s of both and "ratio R".
 * Usage: bench_link [FOLDER [RECORDS [ROUNDS]]]; the folder is made and removed. */
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "graph/control.h"
#include "graph/runner.h"

#define BODY  1024
#define BATCH 1000
#define ROUNDS_MAX 15

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_link: %s: %s\n", what, why);
    exit(1);
}

/* ---- the two kinds ---- */

static const struct option no_options[] = {OPT_END};
static const struct port pour_ports[] = {{PORT_OUT, "out", MESSAGE_any, 0, "records"}, {.direction = PORT_END}};
static const struct port drink_ports[] = {{PORT_IN, "in", MESSAGE_any, 0, "records"}, {.direction = PORT_END}};

struct pour {
    uint64_t next;
};

static int
pour_pump(struct node *n, struct error *e)
{
    struct pour *s = node_state(n);
    char body[BODY];
    (void)e;
    if (s->next >= node_seed(n)) {
        node_finish(n);
        return PUMP_IDLE;
    }
    memset(body, (int)s->next, sizeof(body));
    for (int i = 0; i < 100 && s->next < node_seed(n); i++, s->next++) {
        if (!node_may_emit(n, s->next, 1))
            return PUMP_IDLE;
        memcpy(body, &s->next, sizeof(s->next));
        node_emit(n, 0, s->next, s->next, 1, span_of(body, sizeof(body)));
    }
    return PUMP_AGAIN;
}

static int
drink_take(struct node *n, struct unit *u, struct error *e)
{
    uint64_t v = 0;
    if (u->inputs[0].body.length == BODY)
        memcpy(&v, u->inputs[0].body.at, sizeof(v));
    if (v != u->ordinal)
        return error_set(e, ERROR_internal, "record %llu holds %llu", (unsigned long long)u->ordinal,
                         (unsigned long long)v);
    unit_done(n, u);
    return 0;
}

static const struct node_kind pour = {.name = "pour", .state_size = sizeof(struct pour), .options_size = 1,
    .ports = pour_ports, .options = no_options, .source = true, .pump = pour_pump};
static const struct node_kind drink = {.name = "drink", .state_size = 1, .options_size = 1, .ports = drink_ports,
    .options = no_options, .terminal = true, .take = drink_take};

static int
node_main(char **argv)
{
    static char *count[] = {"1000"}, *level[] = {"warning"};
    struct plan_option options[] = {{"commit_count", 1, count, 0, 0}, {"log_level", 1, level, 0, 0}};
    struct plan_row row = {0, 1};
    struct plan_link link = {0, 0, 0};
    struct plan_node nodes[2] = {
        {.id = "pour", .kind = &pour, .row_count = 1, .rows = &row, .options = options, .option_count = 2, .listen = ""},
        {.id = "drink", .kind = &drink, .row_count = 1, .rows = &row, .options = options, .option_count = 2,
         .listen = "", .links = &link, .link_count = 1}};
    struct plan plan = {.name = "bench", .seed = strtoull(argv[4], NULL, 10), .run_id = "bench", .folder = "/",
                        .file = "/bench", .max_lead = 1ULL << 40, .node_count = 2, .nodes = nodes};
    struct place place;
    struct error e = {0};
    int rc = place_open(&place, argv[2], &e);
    struct runner_setup s = {&plan, atoi(argv[3]), 0, &place, NULL, false};
    if (rc == 0)
        rc = runner_run(&s, &e);
    if (rc != 0)
        fprintf(stderr, "bench_link: node %s: %s\n", argv[3], e.text);
    return rc != 0;
}

/* ---- measuring ---- */

static pid_t
start(const char *folder, const char *node, const char *records)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/proc/self/exe", "bench_link", "--node", folder, node, records, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static json_int_t
position(const char *path)
{
    json_t *request = json_pack("{s:s}", "ask", "status"), *reply = NULL;
    json_int_t at = -1;
    if (control_ask(path, request, 5000, &reply, NULL) == 0)
        at = json_integer_value(json_object_get(reply, "position"));
    json_decref(reply);
    json_decref(request);
    return at;
}

static void
clean(const char *folder)
{
    char *command = xprint("rm -rf '%s'", folder);
    if (system(command) != 0)
        fail("remove", folder);
    free(command);
}

static void
pause_a_little(void)
{
    struct timespec t = {0, 2000000};
    nanosleep(&t, NULL);
}

/* Records per second from the start of the producer to the consumer's commit of the last one. */
static double
link_rate(const char *base, long records)
{
    char text[32], *folder = xprint("%s/link", base);
    struct place place;
    struct error e = {0};
    snprintf(text, sizeof(text), "%ld", records);
    mkdir(folder, 0777);
    if (place_open(&place, folder, &e) != 0)
        fail("place", e.text);
    char *control = place_control(&place, 1, 0);
    pid_t consumer = start(folder, "1", text);
    while (position(control) < 0)
        pause_a_little();
    double begin = now();
    pid_t producer = start(folder, "0", text);
    while (position(control) < records)
        pause_a_little();
    double seconds = now() - begin;
    kill(producer, SIGKILL);
    kill(consumer, SIGKILL);
    waitpid(producer, NULL, 0);
    waitpid(consumer, NULL, 0);
    clean(folder);
    clean(place.sockets);
    place_close(&place);
    free(control);
    free(folder);
    return (double)records / seconds;
}

static void
must(int rc)
{
    if (rc != 0)
        fail("LMDB", mdb_strerror(rc));
}

static double
bare_rate(const char *base, long records)
{
    char body[BODY] = {0}, *folder = xprint("%s/bare", base);
    MDB_env *env;
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    mkdir(folder, 0777);
    must(mdb_env_create(&env));
    must(mdb_env_set_mapsize(env, 64ULL << 30));
    must(mdb_env_open(env, folder, 0, 0666));
    double begin = now();
    for (long i = 0; i < records; i++) {
        unsigned char key[8];
        MDB_val k = {8, key}, v = {BODY, body};
        if (i % BATCH == 0) {
            must(mdb_txn_begin(env, NULL, 0, &txn));
            must(mdb_dbi_open(txn, NULL, 0, &dbi));
        }
        store_u64(key, (uint64_t)i);
        memcpy(body, &i, sizeof(i));
        must(mdb_put(txn, dbi, &k, &v, MDB_APPEND));
        if (i % BATCH == BATCH - 1 || i == records - 1)
            must(mdb_txn_commit(txn));
    }
    double seconds = now() - begin;
    mdb_env_close(env);
    clean(folder);
    free(folder);
    return (double)records / seconds;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--node") == 0)
        return node_main(argv);
    char template[] = "/tmp/sluice-bench-XXXXXX";
    const char *base = argc > 1 ? argv[1] : mkdtemp(template);
    long records = argc > 2 ? atol(argv[2]) : 200000;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    double link[ROUNDS_MAX], bare[ROUNDS_MAX], ratio[ROUNDS_MAX];
    if (!base || records < BATCH || rounds < 1 || rounds > ROUNDS_MAX)
        fail("usage", "bench_link [FOLDER [RECORDS [ROUNDS]]]");
    mkdir(base, 0777);
    for (int i = 0; i < rounds; i++) {
        bare[i] = bare_rate(base, records);
        link[i] = link_rate(base, records);
        ratio[i] = link[i] / bare[i];
        printf("bare %8.0f records/s   link %8.0f records/s   %.3f\n", bare[i], link[i], ratio[i]);
    }
    clean(base);
    qsort(link, (size_t)rounds, sizeof(double), by_size);
    qsort(bare, (size_t)rounds, sizeof(double), by_size);
    qsort(ratio, (size_t)rounds, sizeof(double), by_size);
    printf("bare LMDB append  %.0f records/s\ndurable link      %.0f records/s\nratio %.3f\n", bare[rounds / 2],
           link[rounds / 2], ratio[rounds / 2]);
    return 0;
}
