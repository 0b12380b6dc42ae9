/* end: the input of a following reader ends here. The reader commits the final sizes before it
 * answers. */
#include <stdio.h>
#include <stdlib.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/control.h"
#include "graph/look.h"

#define END_SECONDS 60.0    /* for a reader that is being restarted */

static const char about[] =
    "Tells the sources of a run (or only NODE) that their input ends at its present size. When\n"
    "this returns, that is committed: what is appended later is not read, and a kill changes\n"
    "nothing about it.";

/* Has it ended already, and left? */
static bool
finished(struct talk *t, int node)
{
    json_t *status = look_peek(&t->place, &t->plan, node, 0);
    bool done = json_is_true(json_object_get(status, "finished"));
    json_decref(status);
    return done;
}

/* One source. Where nobody answers it is being restarted, as long as a supervisor lives; a refusal
 * stands. */
static int
end_one(struct talk *t, int node, struct error *e)
{
    double until = talk_now() + END_SECONDS;
    char *path = place_control(&t->place, node, 0);
    json_t *request = json_pack("{s:s}", "ask", "end");
    struct control_call call;
    for (;;) {
        call = (struct control_call){.path = path, .request = request};
        control_ask_all(&call, 1, TALK_WORK_MS);
        bool answered = call.reply != NULL;
        json_decref(call.reply);
        if (call.error.code == 0 || answered || finished(t, node) || talk_now() > until ||
            run_supervisor(t->dir) == 0)
            break;
        talk_nap();
    }
    free(path);
    json_decref(request);
    if (call.error.code == 0 || finished(t, node))
        return 0;
    return error_set(e, call.error.code, "%s: %s", t->plan.nodes[node].id, call.error.text);
}

int
command_end(int argc, char **argv)
{
    const struct flag flags[] = {{.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "end [RUN [NODE]]", about, argc, argv, 0, 2, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    int only = -1, ended = 0, rc = talk_open(&t, words.at[0], &e);
    if (rc == 0 && words.at[1] != NULL)
        rc = talk_node(&t, words.at[1], &only, &e);
    for (int n = 0; rc == 0 && n < t.plan.node_count; n++)
        if (t.plan.nodes[n].kind->source && !t.plan.nodes[n].serve && (only < 0 || only == n)) {
            rc = end_one(&t, n, &e);
            ended++;
        }
    if (rc == 0 && ended == 0)
        rc = error_set(&e, ERROR_usage,
                       only >= 0 ? "'%s' is not a source" : "run '%s' has no source that reads",
                       only >= 0 ? words.at[1] : t.dir);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("end", &e);
}
