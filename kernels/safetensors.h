/* safetensors: the file format of tensors, read through a mapping and written the same way every
 * time.
 *
 * The reader makes every check of the reference reader in its order (header length, its bound of
 * 100 MB, UTF-8, JSON, offsets without holes or overlap, overflow, size of every tensor, no byte
 * too few or too many) and refuses duplicate names. Each error says which check failed and for
 * which tensor. The writer puts the header's keys and the tensors in the reference writer's order
 * (a type's width descending, then name), pads the header to 8 bytes, and writes aside, syncs and
 * renames. */
#ifndef KERNELS_SAFETENSORS_H
#define KERNELS_SAFETENSORS_H

#include "base/error.h"
#include "base/memory.h"

#include <stdint.h>

#define SAFETENSORS_HEADER_MAX  100000000u /* bytes, the reference reader's own bound */
#define SAFETENSORS_TENSORS_MAX (1 << 18)
#define SAFETENSORS_RANK_MAX    8

enum safetensors_type {
#define SAFETENSORS_TYPE(name, bits) SAFETENSORS_##name,
#include "kernels/safetensors.def"
#undef SAFETENSORS_TYPE
    SAFETENSORS_TYPES
};

struct safetensors_entry {
    const char *name; /* owned by the file */
    enum safetensors_type type;
    int rank; /* 0 is a scalar */
    int64_t shape[SAFETENSORS_RANK_MAX];
    int64_t elements;
    const char *data; /* unaligned; valid until safetensors_close */
    size_t bytes;
};

struct safetensors {
    struct safetensors_entry *entries; /* sorted by name, bytewise */
    int count;
    struct span file; /* the whole file */
    int mapped;       /* the span is a mapping of our own */
    struct arena names;
};

/* Maps PATH and checks it. On failure nothing is left open. */
int safetensors_open(struct safetensors *s, const char *path, struct error *e);

/* The same over bytes in memory, which stay the caller's and must outlive S. */
int safetensors_parse(struct safetensors *s, struct span file, struct error *e);
void safetensors_close(struct safetensors *s);

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);
const char *safetensors_type_name(enum safetensors_type type); /* "BF16" */

/* Copies an F32, F16 or BF16 tensor into OUT[elements] as float32; another type is ERROR_model. */
int safetensors_floats(const struct safetensors_entry *entry, float *out, struct error *e);

/* The same piece after piece, each piece's pages of a mapped file given back to the system once it
 * is read: at no time is a second copy of the tensor in memory. */
int safetensors_take(const struct safetensors *s, const struct safetensors_entry *entry, float *out,
                     struct error *e);

/* "[2, 3]" into TEXT, for messages. */
void safetensors_shape(const int64_t *shape, int rank, char *text, size_t room);

/* A tensor to write, from float32 in memory: borrowed. */
struct safetensors_source {
    const char *name;
    int rank;
    int64_t shape[SAFETENSORS_RANK_MAX];
    const float *data;
};

/* Writes COUNT float32 tensors, with {"format": "pt"} as metadata, through PATH.part: written,
 * synced, renamed onto PATH, and the directory synced. The bytes depend on the tensors alone, not
 * on their order here; they are those that the reference writes of the same tensors. */
int safetensors_write(const char *path, const struct safetensors_source *sources, int count,
                      struct error *e);

/* The same with a type for each: F32, or F16 and BF16, rounded to nearest even. */
int safetensors_write_as(const char *path, const struct safetensors_source *sources,
                         const enum safetensors_type *types, int count, struct error *e);

#endif
