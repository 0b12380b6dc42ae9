/* events: see events.h. */
#include "nodes/learner/events.h"

#include <string.h>

#define CRC_POLYNOMIAL 0x82F63B78u
#define CRC_MASK       0xA282EAD8u

/* Keys of protobuf fields: number << 3 | type; 0 varint, 1 eight bytes, 2 counted bytes, 5 four. */
enum event_key {
    EVENT_wall_time = 1 << 3 | 1,
    EVENT_step = 2 << 3 | 0,
    EVENT_file_version = 3 << 3 | 2,
    EVENT_summary = 5 << 3 | 2,
    SUMMARY_value = 1 << 3 | 2,
    VALUE_tag = 1 << 3 | 2,
    VALUE_simple_value = 2 << 3 | 5,
};

uint32_t
events_crc(const void *bytes, size_t length)
{
    static uint32_t table[256]; /* filled at the first call; nodes have one thread */
    const unsigned char *p = bytes;
    uint32_t crc = ~0u;

    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        uint32_t row = i;

        for (int bit = 0; bit < 8; bit++)
            row = row >> 1 ^ (row & 1 ? CRC_POLYNOMIAL : 0);
        table[i] = row;
    }
    for (size_t i = 0; i < length; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
    return ~crc;
}

uint32_t
events_crc_masked(const void *bytes, size_t length)
{
    uint32_t crc = events_crc(bytes, length);

    return (crc >> 15 | crc << 17) + CRC_MASK;
}

static void
put_little(struct buffer *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);

        buffer_add(out, &byte, 1);
    }
}

static void
put_varint(struct buffer *out, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        put_little(out, (value & 127) | 128, 1);
    put_little(out, value, 1);
}

static void
put_bytes(struct buffer *out, enum event_key key, struct span bytes)
{
    put_varint(out, key);
    put_varint(out, bytes.length);
    buffer_add(out, bytes.at, bytes.length);
}

static void
put_double(struct buffer *out, enum event_key key, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_varint(out, key);
    put_little(out, bits, 8);
}

static void
put_float(struct buffer *out, enum event_key key, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_varint(out, key);
    put_little(out, bits, 4);
}

static void
put_record(struct buffer *out, struct span data)
{
    size_t start = out->length;

    put_little(out, data.length, 8);
    put_little(out, events_crc_masked(out->at + start, 8), 4);
    buffer_add(out, data.at, data.length);
    put_little(out, events_crc_masked(data.at, data.length), 4);
}

void
events_begin(struct buffer *out, double time)
{
    struct buffer event = {0};

    put_double(&event, EVENT_wall_time, time);
    put_bytes(&event, EVENT_file_version, span_text("brain.Event:2"));
    put_record(out, buffer_span(&event));
    buffer_free(&event);
}

void
events_add(struct buffer *out, double time, int64_t step, const struct event_scalar *scalars,
           int count)
{
    struct buffer event = {0}, summary = {0}, value = {0};

    for (int i = 0; i < count; i++) {
        buffer_clear(&value);
        put_bytes(&value, VALUE_tag, span_text(scalars[i].tag));
        put_float(&value, VALUE_simple_value, scalars[i].value);
        put_bytes(&summary, SUMMARY_value, buffer_span(&value));
    }
    put_double(&event, EVENT_wall_time, time);
    if (step != 0) { /* protobuf leaves out what has its default */
        put_varint(&event, EVENT_step);
        put_varint(&event, (uint64_t)step);
    }
    put_bytes(&event, EVENT_summary, buffer_span(&summary));
    put_record(out, buffer_span(&event));
    buffer_free(&event);
    buffer_free(&summary);
    buffer_free(&value);
}
