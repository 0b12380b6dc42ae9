/* An objective that does nothing. */
#include <sluice/objective_kind.h>

const struct objective sluice_objective = {.abi = OBJECTIVE_ABI, .name = "idle"};
