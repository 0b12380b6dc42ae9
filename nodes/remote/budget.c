/* budget: one number in the node's durable state. */
#include "nodes/remote/budget.h"

#include <string.h>

static const char key[] = "spent";

static void
keep(struct budget *b)
{
    node_put(b->node, span_text(key), span_of(&b->spent, sizeof(b->spent)));
}

void
budget_load(struct budget *b, struct node *n)
{
    struct span value;

    b->node = n;
    b->spent = 0;
    if (node_get(n, span_text(key), &value) && value.length == sizeof(b->spent))
        memcpy(&b->spent, value.at, sizeof(b->spent));
}

bool
budget_reserve(struct budget *b, int64_t most, int64_t limit)
{
    if (most > limit - b->spent)
        return false;
    b->spent += most;
    keep(b);
    return true;
}

void
budget_settle(struct budget *b, int64_t aside, int64_t cost)
{
    if (aside == cost)
        return;
    b->spent += cost - aside;
    keep(b);
}
