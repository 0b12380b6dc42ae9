/* The reader follows SafeTensors::deserialize of the reference (safetensors/src/tensor.rs) check by
 * check; the words in capitals and lower case of each error, InvalidOffset and so on, are the
 * reference's. */
#include "kernels/safetensors.h"

#include "kernels/document.h"
#include "kernels/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define LENGTH_BYTES 8 /* of the header's length in front of it */

static const struct document_limits header_limits = {
    .bytes = SAFETENSORS_HEADER_MAX,
    .values = (size_t)SAFETENSORS_TENSORS_MAX * 16,
    .depth = 8,
};

static const struct type_row {
    const char *name;
    int bits;
} types[] = {
#define SAFETENSORS_TYPE(name, bits) {#name, bits},
#include "kernels/safetensors.def"
#undef SAFETENSORS_TYPE
};

/* A tensor with its place, before the checks. */
struct place {
    struct safetensors_entry entry;
    uint64_t begin, end;
};

const char *
safetensors_type_name(enum safetensors_type type)
{
    return (unsigned)type < SAFETENSORS_TYPES ? types[type].name : "?";
}

void
safetensors_shape(const int64_t *shape, int rank, char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "[");

    for (int i = 0; i < rank && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (at < room)
        snprintf(text + at, room - at, "]");
}

/* A count of the header: an integer that is not negative. */
static int
read_count(const json_t *value, const char *what, uint64_t *out, struct error *e)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_set(e, ERROR_model, "%s must be integers that are not negative", what);
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int
read_type(const json_t *value, enum safetensors_type *type, struct error *e)
{
    const char *name = json_string_value(value);

    if (!name)
        return error_set(e, ERROR_model, "dtype must be a string");
    for (int i = 0; i < SAFETENSORS_TYPES; i++)
        if (strcmp(types[i].name, name) == 0) {
            *type = (enum safetensors_type)i;
            return 0;
        }
    return error_set(e, ERROR_model, "unknown dtype '%.40s'", name);
}

static int
read_shape(const json_t *value, struct safetensors_entry *entry, struct error *e)
{
    size_t rank = json_array_size(value);

    if (!json_is_array(value))
        return error_set(e, ERROR_model, "shape must be a list");
    if (rank > SAFETENSORS_RANK_MAX)
        return error_set(e, ERROR_model, "%zu dimensions; at most %d", rank, SAFETENSORS_RANK_MAX);
    for (size_t i = 0; i < rank; i++) {
        uint64_t n = 0;

        if (read_count(json_array_get(value, i), "the numbers of shape", &n, e))
            return ERROR_model;
        entry->shape[i] = (int64_t)n;
    }
    entry->rank = (int)rank;
    return 0;
}

static int
read_place(const char *name, const json_t *value, struct place *p, struct error *e)
{
    const json_t *offsets = json_object_get(value, "data_offsets");
    const char *key;
    json_t *part;

    if (!json_is_object(value))
        return error_set(e, ERROR_model, "tensor '%s': must be an object", name);
    json_object_foreach(
        (json_t *)value, key,
        part) if (strcmp(key, "dtype") && strcmp(key, "shape") &&
                  strcmp(key, "data_offsets")) return error_set(e, ERROR_model,
                                                                "tensor '%s': unknown key '%.40s'",
                                                                name, key);
    if (read_type(json_object_get(value, "dtype"), &p->entry.type, e) ||
        read_shape(json_object_get(value, "shape"), &p->entry, e))
        return error_wrap(e, "tensor '%s'", name);
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return error_set(e, ERROR_model, "tensor '%s': data_offsets must be two integers", name);
    if (read_count(json_array_get(offsets, 0), "data_offsets", &p->begin, e) ||
        read_count(json_array_get(offsets, 1), "data_offsets", &p->end, e))
        return error_wrap(e, "tensor '%s'", name);
    return 0;
}

static int
check_metadata(const json_t *metadata, struct error *e)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return error_set(e, ERROR_model, "__metadata__ must be an object");
    json_object_foreach(
        (json_t *)metadata, key,
        value) if (!json_is_string(value)) return error_set(e, ERROR_model,
                                                            "__metadata__ '%.80s' must be a string",
                                                            key);
    return 0;
}

static int
by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->entry.name, y->entry.name);
}

static int
by_name(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The size that shape and dtype imply against the offsets. START is where the tensor must begin. */
static int
check_place(struct place *p, uint64_t start, struct error *e)
{
    struct safetensors_entry *entry = &p->entry;
    uint64_t bits = 1;
    char shape[200];

    if (p->begin != start || p->end < p->begin)
        return error_set(
            e, ERROR_model,
            "tensor '%s': InvalidOffset: offsets [%llu, %llu] where the next tensor must "
            "begin at %llu (a hole or an overlap)",
            entry->name, (unsigned long long)p->begin, (unsigned long long)p->end,
            (unsigned long long)start);
    safetensors_shape(entry->shape, entry->rank, shape, sizeof(shape));
    for (int i = 0; i < entry->rank; i++)
        if (__builtin_mul_overflow(bits, (uint64_t)entry->shape[i], &bits))
            return error_set(e, ERROR_model, "tensor '%s': ValidationOverflow: shape %s",
                             entry->name, shape);
    entry->elements = (int64_t)bits;
    if (bits > INT64_MAX || __builtin_mul_overflow(bits, (uint64_t)types[entry->type].bits, &bits))
        return error_set(e, ERROR_model, "tensor '%s': ValidationOverflow: shape %s", entry->name,
                         shape);
    if (bits % 8)
        return error_set(e, ERROR_model, "tensor '%s': MisalignedSlice: %llu bits of %s",
                         entry->name, (unsigned long long)bits, types[entry->type].name);
    if (p->end - p->begin != bits / 8)
        return error_set(
            e, ERROR_model,
            "tensor '%s': TensorInvalidInfo: %s of shape %s needs %llu bytes, its offsets "
            "hold %llu",
            entry->name, types[entry->type].name, shape, (unsigned long long)(bits / 8),
            (unsigned long long)(p->end - p->begin));
    entry->bytes = (size_t)(bits / 8);
    return 0;
}

static int
fill(struct safetensors *s, const json_t *header, size_t data, struct error *e)
{
    size_t count = json_object_size(header), n = 0;
    struct place *places;
    uint64_t end = 0;
    const char *name;
    json_t *value;
    int rc = 0;

    if (count > SAFETENSORS_TENSORS_MAX)
        return error_set(e, ERROR_limit, "%zu tensors; at most %d", count, SAFETENSORS_TENSORS_MAX);
    places = xarray(count + 1, sizeof(*places));
    json_object_foreach((json_t *)header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            rc = check_metadata(value, e);
        } else {
            char *copy = arena_take(&s->names, strlen(name) + 1);

            places[n].entry.name = strcpy(copy, name);
            rc = read_place(name, value, &places[n++], e);
        }
        if (rc)
            goto out;
    }
    qsort(places, n, sizeof(*places), by_place);
    for (size_t i = 0; i < n; i++) {
        rc = check_place(&places[i], end, e);
        if (rc)
            goto out;
        end = places[i].end;
    }
    if (end != s->file.length - data) {
        rc = error_set(
            e, ERROR_model,
            "MetadataIncompleteBuffer: the tensors end at byte %llu of the data, the file "
            "holds %zu",
            (unsigned long long)end, s->file.length - data);
        goto out;
    }
    s->entries = xarray(n + 1, sizeof(*s->entries));
    s->count = (int)n;
    for (size_t i = 0; i < n; i++) {
        s->entries[i] = places[i].entry;
        s->entries[i].data = s->file.at + data + places[i].begin;
    }
    qsort(s->entries, n, sizeof(*s->entries), by_name);
out:
    free(places);
    return rc;
}

/* A number above 2^63 stops jansson before any tensor is seen: reads the header again with such
 * numbers as reals, only to name the tensor that holds it. */
static void
name_overflow(struct span text, struct error *e)
{
    struct document_limits wide = header_limits;
    const char *name, *key;
    json_t *header, *tensor, *list, *value;
    size_t i;

    wide.flags = JSON_DECODE_INT_AS_REAL;
    header = document_parse(text, &wide, NULL);
    json_object_foreach(header, name, tensor) json_object_foreach(tensor, key, list)
        json_array_foreach(list, i, value) if (json_real_value(value) >= 9223372036854775808.0)
    {
        error_set(e, ERROR_model, "tensor '%.200s': ValidationOverflow: %s holds %.0f", name, key,
                  json_real_value(value));
        json_decref(header);
        return;
    }
    json_decref(header);
}

static int
parse_header(struct safetensors *s, struct error *e)
{
    struct error why = {0};
    struct span text;
    uint64_t length;
    json_t *header;
    int rc;

    if (s->file.length < LENGTH_BYTES)
        return error_set(e, ERROR_model, "HeaderTooSmall: %zu bytes; a header needs %d",
                         s->file.length, LENGTH_BYTES);
    memcpy(&length, s->file.at, LENGTH_BYTES);
    if (length > SAFETENSORS_HEADER_MAX)
        return error_set(e, ERROR_model, "HeaderTooLarge: %llu bytes; at most %u",
                         (unsigned long long)length, SAFETENSORS_HEADER_MAX);
    if (length > s->file.length - LENGTH_BYTES)
        return error_set(e, ERROR_model,
                         "InvalidHeaderLength: a header of %llu bytes in a file of %zu",
                         (unsigned long long)length, s->file.length);
    text = span_of(s->file.at + LENGTH_BYTES, (size_t)length);
    header = document_parse(text, &header_limits, &why);
    if (!header && strstr(why.text, "too big integer"))
        name_overflow(text, &why);
    if (!header)
        return error_set(e, why.code, "header: %s", why.text);
    if (!json_is_object(header))
        rc = error_set(e, ERROR_model, "header: InvalidHeaderDeserialization: must be an object");
    else
        rc = fill(s, header, LENGTH_BYTES + (size_t)length, e);
    json_decref(header);
    return rc;
}

int
safetensors_parse(struct safetensors *s, struct span file, struct error *e)
{
    int rc;

    *s = (struct safetensors){.file = file};
    rc = parse_header(s, e);
    if (rc)
        safetensors_close(s);
    return rc;
}

int
safetensors_open(struct safetensors *s, const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
    struct stat info;
    void *map = NULL;
    size_t length = 0;

    *s = (struct safetensors){0};
    if (fd < 0)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        rc = error_set(e, ERROR_file, "%s: not a regular file", path);
    else
        length = (size_t)info.st_size;
    if (rc == 0 && length) {
        map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            rc = error_set(e, ERROR_file, "%s: cannot be mapped: %s", path, strerror(errno));
    }
    close(fd);
    if (rc)
        return rc;
    *s = (struct safetensors){.file = span_of(map, length), .mapped = length > 0};
    if (parse_header(s, e)) {
        rc = error_wrap(e, "%s", path);
        safetensors_close(s);
    }
    return rc;
}

void
safetensors_close(struct safetensors *s)
{
    if (s->mapped)
        munmap((void *)(uintptr_t)s->file.at, s->file.length);
    free(s->entries);
    arena_free(&s->names);
    *s = (struct safetensors){0};
}

const struct safetensors_entry *
safetensors_find(const struct safetensors *s, const char *name)
{
    struct safetensors_entry key = {.name = name};

    return s->count ? bsearch(&key, s->entries, (size_t)s->count, sizeof(key), by_name) : NULL;
}
