/* talk: what every command that talks to a run needs: which run, its plan, who answers. */
#ifndef COMMANDS_TALK_H
#define COMMANDS_TALK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "commands/commands.h"
#include "graph/place.h"
#include "graph/plan.h"
#include "graph/run.h"

#define TALK_ASK_MS   5000      /* for an answer that needs no work */
#define TALK_WORK_MS  60000 /* for one that needs a commit, a copy, or waits for a busy process */

struct talk {
    char        *dir;       /* absolute */
    struct plan  plan;
    struct place place;
};

/* `given` NULL: the newest run under runs/. */
int  talk_open(struct talk *t, const char *given, struct error *e);
void talk_close(struct talk *t);

/* Ask the supervisor. -> ERROR_usage "no supervisor ..." when none lives. `request` is taken. */
int talk_supervisor(struct talk *t, json_t *request, json_t **reply, struct error *e);
/* Ask one process. `request` is taken. -> ERROR_wire: nobody answered; ERROR_remote: it refused. */
int talk_process(struct talk *t, int node, int replica, json_t *request, int timeout_ms,
                 json_t **reply, struct error *e);
/* Does the process hold its store now? */
bool talk_lives(struct talk *t, int node, int replica);
/* -> ERROR_usage with a did-you-mean. */
int talk_node(struct talk *t, const char *id, int *node, struct error *e);

/* Wait without polling anything expensive: a short nap between two looks. */
void talk_nap(void);
double talk_now(void);

/* Print "sluice COMMAND: text" and return the exit code that belongs to the error. */
int talk_fail(const char *command, const struct error *e);
bool talk_json_wanted(bool flag);       /* --json, or standard output is not a terminal */
bool talk_colour(void);                 /* a terminal, and NO_COLOR is not set */

#endif
