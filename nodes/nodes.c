/* nodes: the registry made from nodes.def. */
#include <string.h>

#include "graph/node.h"

#define NODE(kind) extern const struct node_kind node_##kind;
#include "nodes/nodes.def"
#undef NODE

static const struct node_kind *const kinds[] = {
#define NODE(kind) &node_##kind,
#include "nodes/nodes.def"
#undef NODE
    NULL,
};

const struct node_kind *
node_kind_at(int index)
{
    int count = (int)(sizeof(kinds) / sizeof(kinds[0])) - 1;
    return index >= 0 && index < count ? kinds[index] : NULL;
}

const struct node_kind *
node_kind_find(const char *name)
{
    for (int i = 0; kinds[i]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}
