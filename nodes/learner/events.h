/* events: the bytes of a TensorBoard event file: scalars by name and step.
 *
 * A file is a row of records: u64 length, u32 masked CRC-32C of those 8 bytes, the data, u32
 * masked CRC-32C of the data, all little-endian (TFRecord). The data is a protobuf message Event:
 * wall_time = 1 (double), step = 2 (varint), and either file_version = 3 (the first record:
 * "brain.Event:2") or summary = 5 with a value {tag = 1, simple_value = 2} for each scalar
 * (tensorboard 70b76c9, compat/proto/event.proto and summary.proto). simple_value is the shape
 * that every reader of such files takes.
 *
 * A record's length depends on its step and tags alone, never on a value or the time: a file that
 * was cut and written again keeps its records' places, and a reader that follows it stays in step.
 */
#ifndef NODES_LEARNER_EVENTS_H
#define NODES_LEARNER_EVENTS_H

#include <stdint.h>

#include "base/memory.h"

#define EVENTS_FILE "events.out.tfevents.sluice" /* readers look for "tfevents" in the name */

struct event_scalar {
    const char *tag;
    float value;
};

/* CRC-32C (Castagnoli, reflected), and as records carry it: rotated by 15 bits, plus a constant. */
uint32_t events_crc(const void *bytes, size_t length);
uint32_t events_crc_masked(const void *bytes, size_t length);

/* The first record of a file. Times are seconds since 1970. */
void events_begin(struct buffer *out, double time);

/* One record with all scalars of a step. */
void events_add(struct buffer *out, double time, int64_t step, const struct event_scalar *scalars,
                int count);

#endif
