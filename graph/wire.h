/* wire: the frames between an outlet (producer, ROUTER) and an inlet (consumer, DEALER): one part each, one
 * msgpack map, read only after message_check().
 *
 *   HELLO    inlet    version, run, node, replica, link, consumer, consumer_replica, generation, ce, token,
 *                     mark, credit, position, ended
 *   WELCOME  outlet   pe, ce, head, token
 *   REFUSED  outlet   why; the inlet says so in its status and asks again later
 *   STALE    outlet   a frame came from nobody it knows: say HELLO
 *   DATA     outlet   records in ascending sequence; up to WIRE_FRAME_BYTES, a larger record alone
 *   END      outlet   last: how many records the lane holds, for ever
 *   FIN      outlet   the producer has recorded finished
 *   ACK      inlet    mark (after the synced commit), credit, position
 *   ENDED    inlet    the end was committed
 *   BEAT     both     alive; from the inlet with credit and position
 *
 * A token is random and names one incarnation of a producer: WELCOME tells it, the consumer keeps it with what it
 * got, HELLO tells the last one. Numbers from earlier incarnations must lie below the head at which this one
 * opened its store: else the store was copied back, and its numbers would name other messages.
 * pe and ce are the epochs of the producer's and the consumer's stores. A mark is `low` (all below is handled)
 * and ranges above it. Credit is absolute: sequence numbers below `upto`, at most `bytes` outstanding. */
#ifndef GRAPH_WIRE_H
#define GRAPH_WIRE_H

#include "graph/core.h"

#define WIRE_VERSION      1
#define WIRE_FRAME_BYTES  (256 << 10)
#define WIRE_RANGES_MAX   (2 * WINDOW_RECORDS)
#define WIRE_OVERHEAD     (64 << 10)    /* of a frame beside bodies and ranges */
#define WIRE_BEAT_SECONDS 1.0
#define WIRE_SILENCE      5.0           /* seconds; SLUICE_SILENCE for tests */

enum wire_kind {
    WIRE_none, WIRE_hello, WIRE_welcome, WIRE_refused, WIRE_stale, WIRE_data, WIRE_end, WIRE_fin,
    WIRE_ack, WIRE_ended, WIRE_beat, WIRE_kinds,
};

struct wire_frame {
    uint64_t    kind;
    uint64_t    version, pe, ce, replica, link, consumer_replica, generation;
    uint64_t    head, low, upto, bytes, position, last, token;
    bool        ended, end;
    struct span run, node, consumer, why;
    struct intervals ranges;        /* wire_free() */
    int64_t     record_count;       /* of DATA; wire_next() reads them */
    struct span records;
};

/* Append a frame (all but DATA). */
void wire_write(const struct wire_frame *f, struct buffer *out);
/* DATA: begin, add..., end. */
size_t wire_data_begin(uint64_t pe, uint64_t ce, struct buffer *out);
void   wire_data_add(const struct record *r, struct buffer *out);
void   wire_data_end(size_t begin, int64_t count, struct buffer *out);

/* Spans borrow from `bytes`. -> ERROR_wire; wire_free() in any case. */
int  wire_read(struct span bytes, struct wire_frame *f, struct error *e);
void wire_free(struct wire_frame *f);
/* The next record of a DATA frame. -> 1, 0 at the end, ERROR_wire. */
int  wire_next(struct wire_frame *f, struct record *r, struct error *e);
#endif
