/* drain: sources stop reading, what is in flight flows out, then the run stops in good order. */
#include <stdio.h>
#include <stdlib.h>

#include "commands/flags.h"
#include "commands/talk.h"

static const char about[] =
    "Asks the sources to stop reading, waits until everything they emitted has been settled at\n"
    "every terminal, and stops the run in good order. No partial window is trained. `sluice\n"
    "run` goes on from there.";

int
command_drain(int argc, char **argv)
{
    double grace = -1;
    bool leave = false;
    const struct flag flags[] = {
        {FLAG_number, 0, "grace", "SECONDS", &grace,
         "patience before what still flows is stopped too"},
        {FLAG_on, 0, "no-wait", NULL, &leave, "only begin it"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "drain [RUN] [--grace S]", about, argc, argv, 0, 1, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0) {
        json_t *reply = NULL, *request = json_pack("{s:s}", "ask", "drain");
        if (grace >= 0)
            json_object_set_new(request, "grace", json_real(grace));
        rc = talk_supervisor(&t, request, &reply, &e);
        json_decref(reply);
    }
    while (rc == 0 && !leave && run_supervisor(t.dir) != 0)
        talk_nap();     /* bounded by the supervisor's own patience */
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("drain", &e);
}
