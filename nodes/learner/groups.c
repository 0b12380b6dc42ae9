/* groups: see groups.h. */
#include "nodes/learner/groups.h"

#include <fnmatch.h>

/* Puts what the patterns match into `group`. */
static int
apply(const struct model *model, const struct texts *patterns, enum adamw_group group,
      unsigned char *groups, struct error *e)
{
    for (int k = 0; k < patterns->count; k++) {
        int found = 0;

        for (int i = 0; i < model->tensor_count; i++)
            if (fnmatch(patterns->at[k], model->tensors[i].name, 0) == 0) {
                groups[i] = (unsigned char)group;
                found = 1;
            }
        if (!found)
            return error_set(e, ERROR_topology,
                             "'%.100s' matches no tensor of the model; they are named like '%s'",
                             patterns->at[k], model->tensors[0].name);
    }
    return 0;
}

int
groups_make(const struct model *model, const struct texts *no_decay, const struct texts *freeze,
            unsigned char *groups, bool *frozen, struct error *e)
{
    int rc;

    for (int i = 0; i < model->tensor_count; i++)
        groups[i] = model->tensors[i].decay ? ADAMW_decay : ADAMW_plain;
    *frozen = false;
    rc = apply(model, no_decay, ADAMW_plain, groups, e);
    if (rc < 0)
        return rc;
    *frozen = true;
    rc = apply(model, freeze, ADAMW_frozen, groups, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < model->tensor_count; i++)
        if (groups[i] != ADAMW_frozen)
            return 0;
    return error_set(e, ERROR_topology, "every tensor is frozen: nothing is left to train");
}
