/* set: a live option, or the number of replicas, of a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/supervisor.h"

#define SET_SECONDS 120.0   /* for a change of replicas: neighbours commit and start again */

static const char about[] =
    "Changes a live option of a run, or NODE.replicas, and records it: a later `sluice run`\n"
    "keeps it. Fixed options could change a checkpoint and are refused; `sluice replay` applies\n"
    "them. Replicas change from the next group on that the reader has not emitted; a message\n"
    "never moves.";

/* Look at the supervisor's status until the change with this number is over. */
static int
change_wait(struct talk *t, json_int_t number, struct error *e)
{
    double until = talk_now() + SET_SECONDS;
    for (;;) {
        json_t *status = NULL;
        int rc = talk_supervisor(t, json_pack("{s:s}", "ask", "status"), &status, e);
        if (rc != 0)
            return rc;
        const json_t *change = json_object_get(status, "change");
        const char *stage = json_string_value(json_object_get(change, "stage"));
        bool over = json_integer_value(json_object_get(change, "number")) != number ||
                    strcmp(stage, "done") == 0;
        bool failed = strcmp(stage, "failed") == 0;
        if (failed)
            rc = error_set(e, ERROR_remote, "%s",
                           json_string_value(json_object_get(change, "error")));
        else if (!over && talk_now() > until)
            rc = error_set(e, ERROR_remote,
                           "the change is not through after %.0f s (stage '%s'); it goes on",
                           SET_SECONDS, stage);
        json_decref(status);
        if (over || rc != 0)
            return rc;
        talk_nap();
    }
}

/* No supervisor: the plan is ours to change under its lock; processes that still live are told. */
static int
set_at_rest(struct talk *t, int node, const char *option, const char *value, struct error *e)
{
    struct lock lock;
    if (strcmp(option, "replicas") == 0)
        return error_set(e, ERROR_usage, "replicas change while the run runs");
    int rc = run_lock(t->dir, &lock, e);
    if (rc != 0)
        return rc;
    rc = change_option(&t->plan, node, option, value, e);
    if (rc == 0)
        rc = plan_write(&t->plan, t->dir, e);
    for (int r = 0; rc == 0 && r < plan_replicas(&t->plan.nodes[node]); r++)
        if (talk_lives(t, node, r)) {
            json_t *reply = NULL;
            rc = talk_process(
                t, node, r,
                json_pack("{s:s,s:s,s:s}", "ask", "set", "option", option, "value", value),
                TALK_ASK_MS, &reply, e);
            json_decref(reply);
        }
    lock_drop(&lock);
    return rc;
}

static int
set(struct talk *t, const char *id, const char *option, const char *value, struct error *e)
{
    int node, rc = talk_node(t, id, &node, e);
    if (rc != 0)
        return rc;
    if (run_supervisor(t->dir) == 0)
        return set_at_rest(t, node, option, value, e);
    json_t *reply = NULL;
    rc = talk_supervisor(
        t,
        json_pack("{s:s,s:s,s:s,s:s}", "ask", "set", "node", id, "option", option, "value", value),
        &reply, e);
    if (rc == 0 && json_object_get(reply, "change") != NULL)
        rc = change_wait(t, json_integer_value(json_object_get(reply, "change")), e);
    json_decref(reply);
    return rc;
}

int
command_set(int argc, char **argv)
{
    const struct flag flags[] = {{.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "set RUN NODE.OPTION=VALUE", about, argc, argv, 2, 2, &words);
    if (code >= 0)
        return code;
    const char *equals = strchr(words.at[1], '='), *dot = strchr(words.at[1], '.');
    if (equals == NULL || dot == NULL || dot > equals || dot == words.at[1] || dot + 1 == equals) {
        fprintf(stderr, "sluice set: '%s' is not NODE.OPTION=VALUE\n", words.at[1]);
        return 2;
    }
    char *id = span_copy(span_of(words.at[1], (size_t)(dot - words.at[1])));
    char *option = span_copy(span_of(dot + 1, (size_t)(equals - dot - 1)));
    struct error e = {0};
    struct talk t;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = set(&t, id, option, equals + 1, &e);
    talk_close(&t);
    free(id);
    free(option);
    return rc == 0 ? 0 : talk_fail("set", &e);
}
