/* status: one look at a run: from its supervisor, from its processes, or from their stores. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/jury.h"
#include "commands/progress.h"
#include "commands/talk.h"
#include "graph/look.h"

static const char about[] =
    "Shows each process of a run: its state, why it waits, what went in and out, and how far the\n"
    "voters of a consensus agree. Works with the supervisor dead and on a finished run. RUN defaults\n"
    "to the newest run under runs/.";

static void
show(const json_t *status)
{
    const json_t *supervisor = json_object_get(status, "supervisor"),
                 *pid = json_object_get(supervisor, "pid");
    const char *why = json_string_value(json_object_get(status, "why"));
    printf("%s: %s%s%s", json_string_value(json_object_get(status, "run")),
           json_string_value(json_object_get(status, "state")), why[0] ? ": " : "", why);
    if (json_is_integer(pid))
        printf(" (supervisor %lld, epoch %lld)\n", (long long)json_integer_value(pid),
               (long long)json_integer_value(json_object_get(supervisor, "epoch")));
    else
        puts(strcmp(json_string_value(json_object_get(status, "state")), "done") == 0
                 ? ""
                 : " (no supervisor lives)");
    progress_table(status, talk_colour());
    jury_print(status);
}

int
command_status(int argc, char **argv)
{
    bool json = false;
    const struct flag flags[] = {{FLAG_on, 0, "json", NULL, &json, "as JSON"}, {.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "status [RUN] [--json]", about, argc, argv, 0, 1, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    char *dir;
    json_t *status = NULL;
    int rc = run_find(words.at[0], &dir, &e);
    if (rc == 0)
        rc = look_run(dir, &status, &e);
    if (rc == 0 && talk_json_wanted(json)) {
        json_object_del(status, "why");
        json_dumpf(status, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (rc == 0) {
        show(status);
    }
    json_decref(status);
    free(dir);
    return rc == 0 ? 0 : talk_fail("status", &e);
}
