/* An objective for the structs of another version. */
#include <sluice/objective_kind.h>

const struct objective sluice_objective = {.abi = OBJECTIVE_ABI + 1, .name = "late"};
