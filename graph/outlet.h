/* outlet: the sending half of a process: one ROUTER, and for each lane at most one session with its consumer. */
#ifndef GRAPH_OUTLET_H
#define GRAPH_OUTLET_H

#include "graph/wire.h"

struct outlet;

/* Binds at the socket path (mode 0600). -> NULL with ERROR_wire. */
struct outlet *outlet_open(struct node *n, const char *path, struct error *e);
void           outlet_close(struct outlet *o);      /* NULL: nothing */
void          *outlet_socket(struct outlet *o);     /* for zmq_poll */
void           outlet_receive(struct outlet *o);    /* all that is there */
/* Send what may be sent: committed, within credit. Returns whether something could not go and is to be tried soon. */
bool           outlet_push(struct outlet *o);
void           outlet_beat(struct outlet *o);       /* once a second */
/* One line on what is wrong with a consumer ("stores have diverged ..."), or NULL. */
const char    *outlet_why(struct outlet *o);
/* Which consumer holds us up, for status: fills `text`. */
void           outlet_blocker(struct outlet *o, char *text, size_t room);
#endif
