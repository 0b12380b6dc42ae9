/* The numbers of a safetensors file: to float32 in memory, and from there to a file whose bytes
 * depend on the tensors alone. */
#include "kernels/safetensors.h"

#include "kernels/durable.h"

#include <stdlib.h>
#include <string.h>

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

static int
by_name(const void *a, const void *b)
{
    const struct safetensors_source *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static size_t
bytes_of(const struct safetensors_source *source)
{
    size_t bytes = sizeof(float);

    for (int i = 0; i < source->rank; i++)
        bytes *= (size_t)source->shape[i];
    return bytes;
}

/* The reference writer's own text: no blanks but the padding at the end. Names are ours and plain.
 */
static void
write_header(const struct safetensors_source **order, int count, struct buffer *out)
{
    size_t at = 0;

    buffer_add(out, "\0\0\0\0\0\0\0\0", 8);
    buffer_text(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < count; i++) {
        const struct safetensors_source *source = order[i];

        buffer_print(out, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", source->name);
        for (int k = 0; k < source->rank; k++)
            buffer_print(out, "%s%lld", k ? "," : "", (long long)source->shape[k]);
        buffer_print(out, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes_of(source));
        at += bytes_of(source);
    }
    buffer_text(out, "}");
    while (out->length % 8)
        buffer_text(out, " ");
    at = out->length - 8;
    memcpy(out->at, &at, 8);
}

static int
check_names(const struct safetensors_source **order, int count, struct error *e)
{
    for (int i = 0; i < count; i++) {
        for (const char *c = order[i]->name; *c; c++)
            if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127 || *c == '"' || *c == '\\')
                return error_set(e, ERROR_internal, "tensor name '%s' is not plain ASCII",
                                 order[i]->name);
        if (i && strcmp(order[i - 1]->name, order[i]->name) == 0)
            return error_set(e, ERROR_internal, "tensor '%s' is given twice", order[i]->name);
    }
    return 0;
}

int
safetensors_write(const char *path, const struct safetensors_source *sources, int count,
                  struct error *e)
{
    const struct safetensors_source **order = xarray((size_t)count + 1, sizeof(*order));
    struct span *parts = xarray((size_t)count + 1, sizeof(*parts));
    struct buffer header = {0};
    int rc;

    for (int i = 0; i < count; i++)
        order[i] = &sources[i];
    qsort(order, (size_t)count, sizeof(*order), by_name);
    rc = check_names(order, count, e);
    if (rc == 0) {
        write_header(order, count, &header);
        parts[0] = buffer_span(&header);
        for (int i = 0; i < count; i++)
            parts[i + 1] = span_of(order[i]->data, bytes_of(order[i]));
        rc = durable_write(path, parts, count + 1, e);
    }
    buffer_free(&header);
    free(parts);
    free(order);
    return rc;
}
