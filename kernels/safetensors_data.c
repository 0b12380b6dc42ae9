/* The numbers of a safetensors file: to float32 in memory, and from there to a file, in the types
 * of two bytes rounded to nearest even, whose bytes depend on the tensors alone. */
#include "kernels/safetensors.h"

#include "kernels/durable.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE        65536      /* numbers converted at a time on the way out ... */
#define TAKE         (1 << 20)  /* ... and in */
#define TAKE_OVERLAP 65536      /* bytes, at least a page */

static float
float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* IEEE 754 binary16 to binary32, exactly: every half is a float. */
static float
float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u,
             part = half & 1023u;

    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000u | part << 13);
    if (exponent)
        return float_of_bits(sign | (exponent + 112u) << 23 | part << 13);
    /* subnormal: part * 2^-24, which is exact */
    return (sign ? -1.0f : 1.0f) * (float)part * 0x1p-24f;
}

int
safetensors_floats(const struct safetensors_entry *entry, float *out, struct error *e)
{
    uint16_t half;

    switch (entry->type) {
    case SAFETENSORS_F32:
        memcpy(out, entry->data, entry->bytes);
        return 0;
    case SAFETENSORS_F16:
    case SAFETENSORS_BF16:
        for (int64_t i = 0; i < entry->elements; i++) {
            memcpy(&half, entry->data + 2 * i, 2);
            out[i] = entry->type == SAFETENSORS_F16 ? float_of_half(half)
                                                    : float_of_bits((uint32_t)half << 16);
        }
        return 0;
    default:
        return error_set(e, ERROR_model, "tensor '%s' holds %s; F32, F16 and BF16 are understood",
                         entry->name, safetensors_type_name(entry->type));
    }
}

/* Pages that lie within FROM .. TO of a mapping; those at the ends belong to the neighbours too. */
static void
release(const struct safetensors *s, const char *from, const char *to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)from + page - 1) / page * page;
    uintptr_t last = (uintptr_t)to / page * page;

    if (s->mapped && last > first)
        madvise((void *)first, last - first, MADV_DONTNEED);
}

int
safetensors_take(const struct safetensors *s, const struct safetensors_entry *entry, float *out,
                 struct error *e)
{
    size_t width = entry->elements ? entry->bytes / (size_t)entry->elements : 0;
    struct safetensors_entry part = *entry;
    int rc = 0;

    for (int64_t at = 0; at < entry->elements && rc == 0; at += part.elements) {
        part.data = entry->data + (size_t)at * width;
        part.elements = entry->elements - at < TAKE ? entry->elements - at : TAKE;
        part.bytes = (size_t)part.elements * width;
        rc = safetensors_floats(&part, out + at, e);
        /* from the tensor's beginning: a page that a piece ends in is given back after the next */
        release(s, at == 0 ? part.data : part.data - TAKE_OVERLAP, part.data + part.bytes);
    }
    return rc;
}

static uint32_t
bits_of_float(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* The upper half; what is cut off rounds it to nearest, a tie to even. A NaN stays one. */
static uint16_t
brain_of_float(float value)
{
    uint32_t bits = bits_of_float(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Shifts BITS right by SHIFT, to nearest, a tie to even. */
static uint32_t
shift_even(uint32_t bits, uint32_t shift)
{
    return (bits + (1u << (shift - 1)) - 1u + (bits >> shift & 1u)) >> shift;
}

static uint16_t
half_of_float(float value)
{
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000u, exponent;

    bits &= 0x7fffffffu;
    exponent = bits >> 23;
    if (bits > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (exponent >= 143) /* 2^16 and above, or infinite */
        return (uint16_t)(sign | 0x7c00u);
    if (exponent >= 113) /* a carry may reach infinity, which is right */
        return (uint16_t)(sign | shift_even(bits - (112u << 23), 13));
    if (exponent < 102) /* below half the smallest */
        return (uint16_t)sign;
    return (uint16_t)(sign | shift_even((bits & 0x7fffffu) | 0x800000u, 126u - exponent));
}

/* A tensor on its way to a file, in the order of the file. */
struct outgoing {
    const struct safetensors_source *source;
    enum safetensors_type type;
};

/* The reference's order: the type descending, then the name. */
static int
by_type(const void *a, const void *b)
{
    const struct outgoing *x = a, *y = b;
    int more = (int)y->type - (int)x->type;

    return more ? more : strcmp(x->source->name, y->source->name);
}

static size_t
elements_of(const struct safetensors_source *source)
{
    size_t elements = 1;

    for (int i = 0; i < source->rank; i++)
        elements *= (size_t)source->shape[i];
    return elements;
}

static size_t
bytes_of(const struct outgoing *o)
{
    return elements_of(o->source) * (o->type == SAFETENSORS_F32 ? 4 : 2);
}

/* The reference writer's own text: no blanks but the padding at the end. Names are ours and plain.
 */
static void
write_header(const struct outgoing *order, int count, struct buffer *out)
{
    size_t at = 0;

    buffer_add(out, "\0\0\0\0\0\0\0\0", 8);
    buffer_text(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < count; i++) {
        const struct safetensors_source *source = order[i].source;

        buffer_print(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", source->name,
                     safetensors_type_name(order[i].type));
        for (int k = 0; k < source->rank; k++)
            buffer_print(out, "%s%lld", k ? "," : "", (long long)source->shape[k]);
        buffer_print(out, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes_of(&order[i]));
        at += bytes_of(&order[i]);
    }
    buffer_text(out, "}");
    while (out->length % 8)
        buffer_text(out, " ");
    at = out->length - 8;
    memcpy(out->at, &at, 8);
}

static int
check_name(const char *name, struct error *e)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127 || *c == '"' || *c == '\\')
            return error_set(e, ERROR_internal, "tensor name '%s' is not plain ASCII", name);
    return 0;
}

static int
check_tensors(const struct outgoing *order, int count, struct error *e)
{
    int rc = 0;

    for (int i = 0; i < count && rc == 0; i++) {
        const char *name = order[i].source->name;

        rc = check_name(name, e);
        if (i && strcmp(order[i - 1].source->name, name) == 0)
            rc = error_set(e, ERROR_internal, "tensor '%s' is given twice", name);
        if (order[i].type != SAFETENSORS_F32 && order[i].type != SAFETENSORS_F16 &&
            order[i].type != SAFETENSORS_BF16)
            rc = error_set(e, ERROR_internal, "tensor '%s' cannot be written as %s", name,
                           safetensors_type_name(order[i].type));
    }
    return rc;
}

/* A file on its way out: the header, then every tensor, in pieces where it is converted. */
struct stream {
    const struct outgoing *order;
    int count, tensor;              /* tensor: under way; -1: the header is */
    size_t element;                 /* of the tensor: the next */
    struct span header;
    uint16_t piece[PIECE];
};

static int
next_part(void *context, struct span *part, struct error *e)
{
    struct stream *s = context;
    const struct safetensors_source *source;
    enum safetensors_type type;
    size_t left;

    (void)e;
    if (s->tensor < 0) {
        *part = s->header;
        s->tensor = 0;
        return 1;
    }
    if (s->tensor == s->count)
        return 0;
    source = s->order[s->tensor].source;
    type = s->order[s->tensor].type;
    left = elements_of(source) - s->element;
    if (type == SAFETENSORS_F32) {
        *part = span_of(source->data, bytes_of(&s->order[s->tensor]));
        s->tensor++;
        return 1;
    }
    left = left < PIECE ? left : PIECE;
    for (size_t i = 0; i < left; i++) {
        float value = source->data[s->element + i];

        s->piece[i] = type == SAFETENSORS_F16 ? half_of_float(value) : brain_of_float(value);
    }
    *part = span_of(s->piece, left * sizeof(*s->piece));
    s->element += left;
    if (s->element == elements_of(source)) {
        s->tensor++;
        s->element = 0;
    }
    return 1;
}

int
safetensors_write_as(const char *path, const struct safetensors_source *sources,
                     const enum safetensors_type *types, int count, struct error *e)
{
    struct outgoing *order = xarray((size_t)count + 1, sizeof(*order));
    struct stream *stream = xalloc(sizeof(*stream));
    struct buffer header = {0};
    int rc;

    for (int i = 0; i < count; i++)
        order[i] = (struct outgoing){&sources[i], types ? types[i] : SAFETENSORS_F32};
    qsort(order, (size_t)count, sizeof(*order), by_type);
    rc = check_tensors(order, count, e);
    if (rc == 0) {
        write_header(order, count, &header);
        stream->order = order;
        stream->count = count;
        stream->tensor = -1;
        stream->header = buffer_span(&header);
        rc = durable_write_parts(path, next_part, stream, e);
    }
    buffer_free(&header);
    free(stream);
    free(order);
    return rc;
}

int
safetensors_write(const char *path, const struct safetensors_source *sources, int count,
                  struct error *e)
{
    return safetensors_write_as(path, sources, NULL, count, e);
}
