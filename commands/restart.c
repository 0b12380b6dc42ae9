/* restart: one node, or one replica of it, starts anew; the other processes keep their pids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/talk.h"

#define RESTART_SECONDS 60.0    /* for the new process to answer */

static const char about[] =
    "Stops the processes of NODE (of all nodes without one) in good order and starts them\n"
    "again; the others are not touched. Also starts a node that `sluice stop RUN NODE` stopped.";

/* Has every replica named in the reply another pid now, and answered? */
static bool
all_new(const json_t *status, const char *id, const json_t *before)
{
    json_t *row, *was;
    size_t i, k;
    json_array_foreach(before, k, was) {
        bool good = false;
        json_array_foreach(json_object_get(status, "nodes"), i, row) {
            const json_t *pid = json_object_get(row, "pid");
            const char *state = json_string_value(json_object_get(row, "state"));
            bool finished = strcmp(state, "finished") == 0;
            if (strcmp(json_string_value(json_object_get(row, "id")), id) == 0 &&
                json_equal(json_object_get(row, "replica"), json_object_get(was, "replica")) &&
                (finished ||
                 (json_is_integer(pid) && !json_equal(pid, json_object_get(was, "pid")) &&
                  strcmp(state, "starting") != 0 && strcmp(state, "stopping") != 0)))
                good = true;
        }
        if (!good)
            return false;
    }
    return true;
}

static int
restart(struct talk *t, const char *id, long replica, struct error *e)
{
    json_t *reply = NULL, *request = json_pack("{s:s,s:s}", "ask", "restart", "node", id);
    if (replica >= 0)
        json_object_set_new(request, "replica", json_integer(replica));
    int rc = talk_supervisor(t, request, &reply, e);
    double until = talk_now() + RESTART_SECONDS;
    bool done = false;
    while (rc == 0 && !done) {
        json_t *status = NULL;
        rc = talk_supervisor(t, json_pack("{s:s}", "ask", "status"), &status, e);
        if (rc == 0)
            done = all_new(status, id, json_object_get(reply, "processes"));
        json_decref(status);
        if (rc == 0 && !done && talk_now() > until)
            rc = error_set(e, ERROR_remote, "'%s' has not answered for %.0f s; see `sluice logs`",
                           id, RESTART_SECONDS);
        if (!done)
            talk_nap();
    }
    json_decref(reply);
    return rc;
}

int
command_restart(int argc, char **argv)
{
    long replica = -1;
    const struct flag flags[] = {
        {FLAG_count, 0, "replica", "R", &replica, "this replica only"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code =
        flags_read(flags, "restart RUN [NODE] [--replica R]", about, argc, argv, 1, 2, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    int node = -1, rc = talk_open(&t, words.at[0], &e);
    if (rc == 0 && words.at[1] != NULL)
        rc = talk_node(&t, words.at[1], &node, &e);
    for (int n = 0; rc == 0 && n < t.plan.node_count; n++)
        if (words.at[1] == NULL || n == node)
            rc = restart(&t, t.plan.nodes[n].id, replica, &e);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("restart", &e);
}
