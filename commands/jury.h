/* jury: how far the voters of each consensus agree, drawn under the table of `sluice status`. */
#ifndef COMMANDS_JURY_H
#define COMMANDS_JURY_H

#include <jansson.h>

/* One paragraph for each node of the status whose processes report an agreement; replicas are added
 * up. Prints nothing where there is none. */
void jury_print(const json_t *status);

#endif
