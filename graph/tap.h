/* tap: messages of a process as JSON for those who look: what passes on a port now (`sluice tap`), and what it holds of
 * a port by ordinal (`sluice export`).
 *
 * Both read what is committed in the outbox, when they are asked and no more than a bounded piece, so a port that is looked
 * at costs its process nothing where the messages are made. Who asks too seldom to keep up with what passes is told how
 * many messages it was not shown. */
#ifndef GRAPH_TAP_H
#define GRAPH_TAP_H

#include <jansson.h>

#include "base/error.h"
#include "graph/plan.h"
#include "graph/store.h"

#define TAP_ROWS_MAX    256             /* messages in one answer ... */
#define TAP_BYTES_MAX   (1LL << 20)     /* ... or so many bytes of packed bodies; a larger message goes alone ... */
#define TAP_MESSAGE_MAX (4LL << 20)     /* ... and one above this is shown without its body: a reply has a limit */
#define TAP_LAG_MAX     2048            /* messages behind; then the oldest are passed over */

struct node;

/* The answer to {"ask":"tap","port":"votes","from":[N, ...],"all":bool}: {"next":[N, ...],"dropped":N,"ended":bool,"rows":
 * [{"ordinal","first","size","closed"?,"body"?}]}; a body is the message's JSON as text. `from` is the `next` of the answer
 * before; without it what passes from now on is meant, or with `all` everything so far. With `all` nothing is passed over. */
int tap_answer(struct node *n, const json_t *request, json_t *reply, struct error *e);

/* The answer to {"ask":"outbox","port":"out","from":ORDINAL}: {"next":ORDINAL or null,"rows":[as above, by ordinal]}. */
int outbox_answer(struct store *s, const struct plan *p, int node, const json_t *request, json_t *reply,
                  struct error *e);

/* -> index of the output port, or ERROR_usage with a did-you-mean. */
int tap_port(const struct plan_node *n, const char *port, struct error *e);

#endif
