/* inlet: the receiving half of a process: one DEALER for each feed. */
#ifndef GRAPH_INLET_H
#define GRAPH_INLET_H

#include <zmq.h>

#include "graph/place.h"
#include "graph/wire.h"

struct inlets;

struct inlets *inlets_open(struct node *n, const struct place *place, struct error *e);
void           inlets_close(struct inlets *s);      /* NULL: nothing */
int            inlets_items(struct inlets *s, zmq_pollitem_t *items);   /* fills, returns how many (2 per feed) */
int            inlets_count(struct inlets *s);
/* Everything that is there, bounded. Returns how many frames were read. */
int            inlets_receive(struct inlets *s);
/* HELLO where needed, ACK after commits, BEAT, ENDED. */
void           inlets_tell(struct inlets *s);
const char    *inlets_why(struct inlets *s);        /* what a producer refused, or NULL */
double         inlets_due(struct inlets *s);        /* seconds until inlets_tell() is needed */
#endif
