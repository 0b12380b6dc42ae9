/* replay: a node and all below it again, with other options, into a new run (P8). What lies above
 * serves what it sent before, from copies of its stores; the old run stays as it was. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/flags.h"
#include "commands/replant.h"
#include "commands/start.h"
#include "commands/talk.h"
#include "graph/supervisor.h"

static const char about[] =
    "Runs NODE and everything below it again, with the options given by --set, in a run of its\n"
    "own: a judge's prompt, a consensus rule or an objective costs only its own work. The nodes\n"
    "above serve what they sent, up to the last group that all of them sent completely, from\n"
    "copies of their stores. RUN is not changed and may be running. Given again with the same\n"
    "NEW, it continues.";

/* What makes NEW this replay and no other. */
static json_t *
recipe_make(const struct talk *t, const char *node, const struct many *sets)
{
    json_t *list = json_array();
    for (int i = 0; i < sets->count; i++)
        json_array_append_new(list, json_string(sets->at[i]));
    return json_pack("{s:s,s:s,s:s,s:o}", "run", t->dir, "run_id", t->plan.run_id, "node", node,
                     "set", list);
}

/* Is NEW already this replay? 1 yes, 0 there is nothing, ERROR_usage another run. */
static int
recipe_look(const char *into, const json_t *recipe, struct error *e)
{
    if (!run_exists(into))
        return 0;
    char *path = xprint("%s/replay.json", into);
    json_t *kept = json_load_file(path, 0, NULL);
    bool same = kept != NULL && json_equal(kept, recipe);
    json_decref(kept);
    free(path);
    return same ? 1 : error_set(e, ERROR_usage, "'%s' holds another run", into);
}

static int
recipe_write(const char *dir, const json_t *recipe, struct error *e)
{
    char *path = xprint("%s/replay.json", dir), *text = json_dumps(recipe, JSON_INDENT(1));
    int rc = text ? run_write_file(path, span_text(text), e)
                  : error_set(e, ERROR_internal, "the replay is not JSON");
    free(text);
    free(path);
    return rc;
}

/* Copy, cut, adopt, and only then write the plan: a replay that was cut short is no run and is made
 * anew. */
static int
replay_make(struct talk *t, int node, const struct many *sets, const char *into,
            const json_t *recipe, struct error *e)
{
    struct plan plan = {0};
    char *dir = NULL, *topology = xprint("%s/topology.yaml", t->dir);
    int rc = replant_plan(&t->plan, node, sets->count, sets->at, &plan, e);
    if (rc == 0)
        rc = start_run_id(&plan.run_id, e);
    if (rc == 0)
        rc = run_make(plan.name, into, &dir, e);
    if (rc == 0)
        rc = replant_stores(t, &plan, dir, e);
    if (rc == 0)
        rc = recipe_write(dir, recipe, e);
    if (rc == 0)
        rc = run_begin(dir, &plan, topology, e);
    for (int n = 0; rc == 0 && n < plan.node_count; n++)
        if (plan.nodes[n].serve)
            fprintf(stderr, "sluice replay: %s serves %llu ordinals\n", plan.nodes[n].id,
                    (unsigned long long)plan.nodes[n].cut);
    plan_free(&plan);
    free(topology);
    free(dir);
    return rc;
}

int
command_replay(int argc, char **argv)
{
    const char *into = NULL, *on_pause = "wait";
    struct many sets = {0};
    bool idle = false;
    struct start how = {.grace = SUPERVISOR_GRACE, .ready_fd = -1};
    const struct flag flags[] = {
        {FLAG_text, 0, "into", "NEW", &into, "directory of the new run (needed)"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &sets,
         "an option of NODE or of a node below it; may be repeated"},
        {FLAG_on, 0, "no-run", NULL, &idle, "make the new run, do not start it"},
        {FLAG_on, 'd', "detach", NULL, &how.detach, "supervise in the background"},
        {FLAG_number, 0, "grace", "SECONDS", &how.grace, "patience of a drain"},
        {FLAG_text, 0, "on-pause", "wait|exit", &on_pause, "as in sluice run"},
        {FLAG_on, 0, "json", NULL, &how.json, "progress as JSON lines"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "replay RUN NODE --into NEW [--set NODE.OPTION=VALUE]", about,
                          argc, argv, 2, 2, &words);
    if (code >= 0)
        return code;
    if (into == NULL) {
        fprintf(stderr, "sluice replay: --into NEW is needed\n");
        return 2;
    }
    how.pause_exits = strcmp(on_pause, "exit") == 0;
    if (!how.pause_exits && strcmp(on_pause, "wait") != 0) {
        fprintf(stderr, "sluice replay: --on-pause takes wait or exit, not '%s'\n", on_pause);
        return 2;
    }
    struct error e = {0};
    struct talk t;
    json_t *recipe = NULL;
    int node, rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = talk_node(&t, words.at[1], &node, &e);
    if (rc == 0) {
        recipe = recipe_make(&t, words.at[1], &sets);
        rc = recipe_look(into, recipe, &e);
    }
    if (rc == 0)
        rc = replay_make(&t, node, &sets, into, recipe, &e);
    json_decref(recipe);
    talk_close(&t);
    if (rc < 0)
        return talk_fail("replay", &e);
    if (idle)
        return 0;
    struct lock lock = {-1};
    char *dir = NULL;
    rc = run_find(into, &dir, &e);
    if (rc == 0)
        rc = run_lock(dir, &lock, &e);
    code = rc == 0 ? start_run(dir, &lock, &how) : talk_fail("replay", &e);
    lock_drop(&lock);
    free(dir);
    return code;
}
