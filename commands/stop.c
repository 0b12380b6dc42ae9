/* stop: a run, or one node of it, at once and in good order. Nothing is lost: `sluice run` goes on
 * from there. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/lock.h"

#define STOP_SECONDS 60.0

static const char about[] =
    "Stops the run: every process commits and ends, then the supervisor. With NODE: only its\n"
    "processes, which stay down until `sluice restart RUN NODE`. Without a living supervisor\n"
    "the processes are stopped directly.";

/* The processes of a dead supervisor, one by one. */
static int
stop_unattended(struct talk *t, int only)
{
    int stopped = 0;
    for (int n = 0; n < t->plan.node_count; n++)
        for (int r = 0; r < plan_replicas(&t->plan.nodes[n]); r++) {
            struct lock_holder holder;
            char *lock = place_store_lock(&t->place, t->plan.nodes[n].id, r);
            if ((only < 0 || only == n) && lock_held(lock, &holder) && holder.pid > 0 &&
                lock_start_time(holder.pid) == holder.start && kill(holder.pid, SIGTERM) == 0)
                stopped++;
            free(lock);
        }
    return stopped;
}

static bool
any_lives(struct talk *t, int only)
{
    for (int n = 0; n < t->plan.node_count; n++)
        for (int r = 0; r < plan_replicas(&t->plan.nodes[n]); r++)
            if ((only < 0 || only == n) && talk_lives(t, n, r))
                return true;
    return false;
}

static int
stop(struct talk *t, const char *id, int node, struct error *e)
{
    int rc = 0;
    if (run_supervisor(t->dir) != 0) {
        json_t *reply = NULL, *request = json_pack("{s:s}", "ask", "stop");
        if (id != NULL)
            json_object_set_new(request, "node", json_string(id));
        rc = talk_supervisor(t, request, &reply, e);
        json_decref(reply);
    } else {
        stop_unattended(t, node);
    }
    double until = talk_now() + STOP_SECONDS;
    while (rc == 0 && (any_lives(t, node) || (id == NULL && run_supervisor(t->dir) != 0))) {
        if (talk_now() > until)
            rc = error_set(e, ERROR_remote, "not everything has ended after %.0f s", STOP_SECONDS);
        talk_nap();
    }
    return rc;
}

int
command_stop(int argc, char **argv)
{
    const struct flag flags[] = {{.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "stop [RUN [NODE]]", about, argc, argv, 0, 2, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    int node = -1, rc = talk_open(&t, words.at[0], &e);
    if (rc == 0 && words.at[1] != NULL)
        rc = talk_node(&t, words.at[1], &node, &e);
    if (rc == 0)
        rc = stop(&t, words.at[1], node, &e);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("stop", &e);
}
