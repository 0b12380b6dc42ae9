/* Opening: the config says which tensors there must be; each is found in the files under one of the
 * names it may have, and converted straight from the mapping into its place. */
#include "kernels/model_file.h"

#include "kernels/document.h"
#include "kernels/model_config.h"
#include "kernels/model_shards.h"
#include "kernels/model_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A directory being opened. prefix is what the names of the decoder's tensors lack: "model." in the
 * export of a base model, else "". */
struct opening {
    const char *dir;
    struct model_shards shards;
    size_t prefix;
    struct model_source *source;
    char **used; /* of each file, for each of its tensors: is it one of the model's? */
};

/* The tensor of the model's NAME: under this name, without the prefix, or as classifier.*. Returns
 * the name that was found, or that would be. */
static const struct safetensors_entry *
find(const struct opening *o, const char *name, int *file, char *stored, size_t room)
{
    size_t skip = strncmp(name, "model.", 6) == 0 ? o->prefix : 0;
    const struct safetensors_entry *entry;

    snprintf(stored, room, "%s", name + skip);
    entry = model_shards_find(&o->shards, stored, file);
    if (!entry && strncmp(name, "score.", 6) == 0) {
        char other[MODEL_NAME_MAX];

        snprintf(other, sizeof(other), "classifier.%s", name + 6);
        entry = model_shards_find(&o->shards, other, file);
        if (entry)
            snprintf(stored, room, "%s", other);
    }
    return entry;
}

/* The tensor T of the model with exactly its shape, in a type that is understood. */
static int
require(const struct opening *o, const struct model_tensor *t, struct model_stored *stored,
        const struct safetensors_entry **found, struct error *e)
{
    const struct safetensors_entry *entry;
    char name[MODEL_NAME_MAX], wanted[100], held[200];

    entry = find(o, t->name, &stored->file, name, sizeof(name));
    safetensors_shape(t->shape, t->dims, wanted, sizeof(wanted));
    if (!entry)
        return error_set(e, ERROR_model,
                         "tensor '%s' is missing; the config implies it with shape %s", name,
                         wanted);
    safetensors_shape(entry->shape, entry->rank, held, sizeof(held));
    if (strcmp(wanted, held))
        return error_set(e, ERROR_model, "tensor '%s' has shape %s; the config implies %s", name,
                         held, wanted);
    if (entry->type != SAFETENSORS_F32 && entry->type != SAFETENSORS_F16 &&
        entry->type != SAFETENSORS_BF16)
        return error_set(e, ERROR_model, "tensor '%s' holds %s; F32, F16 and BF16 are understood",
                         name, safetensors_type_name(entry->type));
    stored->name = xtext(name);
    stored->type = entry->type;
    *found = entry;
    return 0;
}

/* All tensors, before a config may ask for memory: what they agree on, the files hold. */
static int
find_all(struct opening *o, const struct model *m, const struct safetensors_entry **entries,
         struct error *e)
{
    struct model_source *s = o->source;

    for (int i = 0; i < m->tensor_count; i++) {
        int rc = require(o, &m->tensors[i], &s->tensors[i], &entries[i], e);

        if (rc)
            return rc;
        s->tensors[i].tensor = i;
        s->count = i + 1;
        o->used[s->tensors[i].file][entries[i] - o->shards.files[s->tensors[i].file].entries] = 1;
    }
    return 0;
}

/* lm_head.weight beside a tied embedding must be it, else the config contradicts the file. */
static int
check_tied(const struct safetensors_entry *entry, const struct model *m, struct error *e)
{
    const struct model_config *c = &m->config;
    size_t width = (size_t)c->hidden_size;
    size_t row_bytes = entry->elements ? entry->bytes / (size_t)c->vocab_size : 0;
    float *row;
    int rc = 0;

    if (entry->rank != 2 || entry->shape[0] != c->vocab_size || entry->shape[1] != c->hidden_size)
        return error_set(e, ERROR_model,
                         "tensor 'lm_head.weight' has another size than the embedding "
                         "it is tied to");
    row = xarray(width, sizeof(*row));
    for (int64_t i = 0; i < c->vocab_size && rc == 0; i++) {
        struct safetensors_entry part = *entry;

        part.data += (size_t)i * row_bytes;
        part.bytes = row_bytes;
        part.elements = c->hidden_size;
        rc = safetensors_floats(&part, row, e);
        if (rc == 0 && memcmp(row, m->params + m->embed + i * c->hidden_size, width * sizeof(*row)))
            rc = error_set(e, ERROR_model,
                           "tensor 'lm_head.weight' differs from the embedding, though "
                           "tie_word_embeddings is true");
    }
    free(row);
    return rc;
}

/* Is ENTRY, which the model has no place for, one that a checkpoint may carry? Of those only a
 * second name of a tied embedding is written back, in the embedding's type: they stay equal. */
static int
check_extra(struct opening *o, int file, const struct safetensors_entry *entry,
            const struct model *m, struct error *e)
{
    static const char suffix[] = ".rotary_emb.inv_freq";
    size_t length = strlen(entry->name), tail = sizeof(suffix) - 1;
    int rc;

    if (length > tail && strcmp(entry->name + length - tail, suffix) == 0)
        return 0;
    if (strcmp(entry->name, "lm_head.weight"))
        return error_set(e, ERROR_model, "tensor '%.200s' is not part of a %s model of this config",
                         entry->name, m->config.family);
    if (m->config.num_labels)
        return 0;
    rc = check_tied(entry, m, e);
    if (rc == 0)
        o->source->tensors[o->source->count++] =
            (struct model_stored){xtext(entry->name), file, 0, o->source->tensors[0].type};
    return rc;
}

static int
check_extras(struct opening *o, const struct model *m, struct error *e)
{
    int rc = 0;

    for (int i = 0; i < o->shards.count; i++)
        for (int k = 0; k < o->shards.files[i].count && rc == 0; k++)
            if (!o->used[i][k])
                rc = check_extra(o, i, &o->shards.files[i].entries[k], m, e);
    return rc;
}

static int
load(struct opening *o, struct model *m, struct error *e)
{
    const struct safetensors_entry **entries = xarray((size_t)m->tensor_count, sizeof(*entries));
    int rc = find_all(o, m, entries, e);

    if (rc == 0)
        rc = model_allocate(m, e);
    for (int i = 0; i < m->tensor_count && rc == 0; i++)
        rc = safetensors_take(&o->shards.files[o->source->tensors[i].file], entries[i],
                              m->params + m->tensors[i].offset, e);
    free(entries);
    return rc ? rc : check_extras(o, m, e);
}

static void
mark_begin(struct opening *o)
{
    o->used = xarray((size_t)o->shards.count, sizeof(*o->used));
    for (int i = 0; i < o->shards.count; i++)
        o->used[i] = xarray((size_t)o->shards.files[i].count + 1, 1);
}

static void
mark_end(struct opening *o)
{
    for (int i = 0; i < o->shards.count; i++)
        free(o->used[i]);
    free(o->used);
}

/* The text of DIR/NAME; NULL where there is none and it is not required. */
static int
read_text(const char *dir, const char *name, int required, char **text, struct error *e)
{
    char *path = xprint("%s/%s", dir, name);
    struct buffer b = {0};
    int rc = 0;

    *text = NULL;
    if (required || access(path, F_OK) == 0) {
        rc = document_load(path, MODEL_CONFIG_BYTES_MAX, &b, e);
        if (rc == 0)
            *text = span_copy(buffer_span(&b));
    }
    buffer_free(&b);
    free(path);
    return rc;
}

/* Names of files and the texts beside them: what model_save writes again. */
static int
remember(struct opening *o, const struct model *m, struct error *e)
{
    struct model_source *s = o->source;
    int rc = read_text(o->dir, "config.json", 1, &s->config, e);

    if (rc == 0)
        rc = read_text(o->dir, "generation_config.json", 0, &s->generation, e);
    s->tensors = xarray((size_t)m->tensor_count + 1, sizeof(*s->tensors)); /* one twice, if tied */
    s->files = xarray((size_t)o->shards.count, sizeof(*s->files));
    for (; s->file_count < o->shards.count; s->file_count++)
        s->files[s->file_count] = xtext(o->shards.names[s->file_count]);
    s->index = o->shards.map ? span_copy(buffer_span(&o->shards.index)) : NULL;
    return rc;
}

static int
open_files(struct opening *o, struct model *m, const struct model_config *config, struct error *e)
{
    int file, rc = model_lay(m, config, e);

    if (rc)
        return rc;
    o->source = m->source = xalloc(sizeof(*m->source));
    rc = remember(o, m, e);
    if (rc == 0 && !model_shards_find(&o->shards, "model.embed_tokens.weight", &file) &&
        model_shards_find(&o->shards, "embed_tokens.weight", &file))
        o->prefix = 6;
    if (rc == 0)
        rc = load(o, m, e);
    if (rc)
        model_free(m);
    return rc;
}

int
model_open(struct model *model, const char *dir, struct error *e)
{
    struct model_config config;
    struct opening o = {.dir = dir};
    int rc = model_config_read(&config, dir, e);

    *model = (struct model){0};
    if (rc)
        return rc;
    rc = model_shards_open(&o.shards, dir, e);
    if (rc)
        return rc;
    mark_begin(&o);
    rc = open_files(&o, model, &config, e);
    mark_end(&o);
    if (rc)
        error_wrap(e, "%s", dir);
    model_shards_close(&o.shards);
    return rc;
}
