/* budget: the money that this process may spend on calls, kept in the node's store.
 *
 * What a call may cost at most is set aside and committed before the call goes out, and settled to
 * what it did cost together with its answer. So a kill can never spend more than was set aside:
 * what was aside for a call without an answer stays spent. Amounts are millionths of a US dollar.
 * Each replica has a budget of its own. */
#ifndef NODES_REMOTE_BUDGET_H
#define NODES_REMOTE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/node.h"

struct budget {
    struct node *node;
    int64_t spent; /* what is set aside included */
};

void budget_load(struct budget *b, struct node *n);

/* Sets `most` aside if spent and `most` stay within `limit`; durable with the next commit. */
bool budget_reserve(struct budget *b, int64_t most, int64_t limit);

/* What was set aside cost so much; part of the current transaction. */
void budget_settle(struct budget *b, int64_t aside, int64_t cost);

#endif
