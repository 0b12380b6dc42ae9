/* talk: finding a run and asking its processes. */
#include "commands/talk.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "graph/control.h"
#include "graph/lock.h"

#define NAP_MS 30

int
talk_open(struct talk *t, const char *given, struct error *e)
{
    memset(t, 0, sizeof *t);
    int rc = run_find(given, &t->dir, e);
    if (rc == 0)
        rc = place_open(&t->place, t->dir, e);
    if (rc == 0)
        rc = plan_load(&t->plan, t->dir, e);
    return rc;
}

void
talk_close(struct talk *t)
{
    free(t->dir);
    place_close(&t->place);
    plan_free(&t->plan);
    memset(t, 0, sizeof *t);
}

int
talk_supervisor(struct talk *t, json_t *request, json_t **reply, struct error *e)
{
    int rc;
    char *recipe = xprint("%s/replay.json", t->dir);
    bool replay = access(recipe, F_OK) == 0;
    free(recipe);
    if (run_supervisor(t->dir) == 0 && replay) {
        rc = error_set(e, ERROR_usage, "run '%s' has no living supervisor; the `sluice replay` that made it, given again, "
                       "continues it", t->dir);
    } else if (run_supervisor(t->dir) == 0) {
        rc = error_set(e, ERROR_usage,
                       "run '%s' has no living supervisor; `sluice run %s --run %s` continues it",
                       t->dir, t->plan.file, t->dir);
    } else {
        char *path = place_supervisor(&t->place);
        rc = control_ask(path, request, TALK_ASK_MS, reply, e);
        free(path);
    }
    json_decref(request);
    return rc;
}

int
talk_process(struct talk *t, int node, int replica, json_t *request, int timeout_ms, json_t **reply,
             struct error *e)
{
    char *path = place_control(&t->place, node, replica);
    struct control_call call = {.path = path, .request = request};
    control_ask_all(&call, 1, timeout_ms);
    free(path);
    json_decref(request);
    *reply = call.error.code == 0 ? call.reply : NULL;
    if (call.error.code == 0)
        return 0;
    int code = call.reply != NULL ? ERROR_remote : ERROR_wire;
    json_decref(call.reply);
    return error_set(e, code, "%s.%d: %s", t->plan.nodes[node].id, replica, call.error.text);
}

bool
talk_lives(struct talk *t, int node, int replica)
{
    struct lock_holder holder;
    char *path = place_store_lock(&t->place, t->plan.nodes[node].id, replica);
    bool lives = lock_held(path, &holder);
    free(path);
    return lives;
}

int
talk_node(struct talk *t, const char *id, int *node, struct error *e)
{
    const char *names[PLAN_NODES_MAX + 1] = {NULL};
    *node = plan_find(&t->plan, id);
    if (*node >= 0)
        return 0;
    for (int i = 0; i < t->plan.node_count; i++)
        names[i] = t->plan.nodes[i].id;
    const char *near = nearest(id, names);
    return error_set(e, ERROR_usage, "run '%s' has no node '%s'%s%s%s", t->dir, id,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

void
talk_nap(void)
{
    poll(NULL, 0, NAP_MS);
}

double
talk_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int
talk_fail(const char *command, const struct error *e)
{
    fprintf(stderr, "sluice %s: %s\n", command, e->text);
    return error_exit(e->code);
}

bool
talk_json_wanted(bool flag)
{
    return flag || !isatty(STDOUT_FILENO);
}

bool
talk_colour(void)
{
    return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
}
