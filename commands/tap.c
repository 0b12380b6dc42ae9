/* tap: messages of one port as JSON lines while they pass. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/control.h"
#include "graph/tap.h"

#define TAP_ASK_MS      200         /* between two questions ... */
#define TAP_FULL_MS     20          /* ... or so long when there was more than one answer holds */
#define TAP_SILENCE_MAX 30.0        /* seconds without a process that answers */

static const char about[] =
    "Prints what passes on an output port as JSON lines: ordinal, group, node, and the message's own fields,\n"
    "or why the ordinal is closed there. Only what is committed is shown. The process is asked over its control\n"
    "socket a few times a second and never waits for a tap: who cannot keep up misses messages, and is told how many.\n"
    "Ends with the port's stream, or when nobody answers for 30 s.";

struct tap {
    struct talk *t;
    const char  *port;
    int          node, replicas;
    bool         all;
    long         most;              /* lines wanted; 0: all */
    long         shown;
    int64_t      missed;
    json_t      *next[PLAN_REPLICAS_MAX];
    bool         ended[PLAN_REPLICAS_MAX];
};

static void
row_print(const struct tap *p, int replica, const json_t *row)
{
    const char *body = json_string_value(json_object_get(row, "body"));
    json_t     *closed = json_object_get(row, "closed");
    char       *reason = closed ? json_dumps(closed, JSON_ENCODE_ANY) : NULL;

    printf("{\"ordinal\":%lld,\"first\":%lld,\"size\":%lld,\"from\":\"%s\",\"replica\":%d,",
           (long long)json_integer_value(json_object_get(row, "ordinal")),
           (long long)json_integer_value(json_object_get(row, "first")),
           (long long)json_integer_value(json_object_get(row, "size")), p->t->plan.nodes[p->node].id,
           replica);
    if (reason)
        printf("\"closed\":%s}\n", reason);
    else if (body && body[0] == '{' && body[1] != '}')
        printf("%s\n", body + 1);
    else
        printf("\"large\":true}\n");
    free(reason);
}

static void
rows_print(struct tap *p, int replica, const json_t *reply)
{
    json_t *row;
    size_t  i;

    json_array_foreach(json_object_get(reply, "rows"), i, row) {
        if (p->most > 0 && p->shown >= p->most)
            break;
        row_print(p, replica, row);
        p->shown++;
    }
    fflush(stdout);
}

/* Ask each replica once. -> how many answered; *more: an answer was full. */
static int
look(struct tap *p, bool *more, struct error *e)
{
    int answered = 0;

    *more = false;
    for (int r = 0; r < p->replicas; r++) {
        json_t *reply = NULL, *request = json_pack("{s:s,s:s,s:b}", "ask", "tap", "port", p->port, "all", p->all);

        if (p->next[r])
            json_object_set(request, "from", p->next[r]);
        int rc = talk_process(p->t, p->node, r, request, TALK_ASK_MS, &reply, e);
        if (rc == ERROR_remote)
            return rc;
        if (rc != 0)
            continue;
        answered++;
        rows_print(p, r, reply);
        json_decref(p->next[r]);
        p->next[r] = json_incref(json_object_get(reply, "next"));
        p->missed += json_integer_value(json_object_get(reply, "dropped"));
        p->ended[r] = json_is_true(json_object_get(reply, "ended")) &&
                      !json_is_true(json_object_get(reply, "more"));
        *more |= json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
    }
    return answered;
}

static bool
all_ended(const struct tap *p)
{
    bool ended = true;

    for (int r = 0; r < p->replicas; r++)
        ended &= p->ended[r];
    return ended;
}

static int
follow(struct tap *p, struct error *e)
{
    double heard = talk_now();
    bool   more, ever = false;

    for (;;) {
        int answered = look(p, &more, e);

        if (answered < 0)
            return answered;
        if (answered > 0) {
            heard = talk_now();
            ever = true;
        }
        if (all_ended(p) || ferror(stdout) || (p->most > 0 && p->shown >= p->most))
            return 0;
        /* A node that has left after its end is not silent: nobody will answer any more. */
        bool lives = false;
        for (int r = 0; r < p->replicas; r++)
            lives |= talk_lives(p->t, p->node, r);
        if (!lives && (ever || run_supervisor(p->t->dir) == 0))
            return ever ? 0 : error_set(e, ERROR_wire,
                                        "'%s' does not run: nothing passes; `sluice export` reads what is stored",
                                        p->t->plan.nodes[p->node].id);
        if (talk_now() - heard > TAP_SILENCE_MAX)
            return error_set(e, ERROR_wire, "'%s' has not answered for %g s", p->t->plan.nodes[p->node].id,
                             TAP_SILENCE_MAX);
        poll(NULL, 0, more ? TAP_FULL_MS : TAP_ASK_MS);
    }
}

/* "critic/votes", or the node alone where it has one output. */
static int
port_read(struct tap *p, const char *word, char **port, struct error *e)
{
    const char *slash = strchr(word, '/');
    char       *id = span_copy(span_of(word, slash ? (size_t)(slash - word) : strlen(word)));
    int         rc = talk_node(p->t, id, &p->node, e);

    free(id);
    if (rc != 0)
        return rc;
    const struct plan_node *n = &p->t->plan.nodes[p->node];
    int outputs = 0, only = 0;
    for (int i = 0; n->kind->ports[i].direction != PORT_END; i++)
        if (n->kind->ports[i].direction == PORT_OUT) {
            outputs++;
            only = i;
        }
    *port = xtext(slash ? slash + 1 : outputs == 1 ? n->kind->ports[only].name : "");
    rc = tap_port(n, *port, e);
    p->port = *port;
    p->replicas = plan_replicas(n);
    return rc < 0 ? rc : 0;
}

int
command_tap(int argc, char **argv)
{
    struct talk  t;
    struct tap   p = {.t = &t};
    char        *port = NULL;
    struct words words;
    struct error e = {0};
    const struct flag flags[] = {
        {FLAG_on, 0, "all", NULL, &p.all, "from the first message on, and miss none"},
        {FLAG_count, 'n', "count", "N", &p.most, "end after N lines"},
        {.kind = FLAG_end},
    };
    int code = flags_read(flags, "tap RUN NODE/PORT [flags]", about, argc, argv, 2, 2, &words);

    if (code >= 0)
        return code;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = port_read(&p, words.at[1], &port, &e);
    if (rc == 0)
        rc = follow(&p, &e);
    if (p.missed > 0)
        fprintf(stderr, "sluice tap: %lld messages passed that were not shown\n", (long long)p.missed);
    for (int r = 0; r < PLAN_REPLICAS_MAX; r++)
        json_decref(p.next[r]);
    free(port);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("tap", &e);
}
