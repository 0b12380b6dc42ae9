#include "kernels/model_file.h"

#include "kernels/document.h"
#include "kernels/durable.h"
#include "kernels/model_config.h"
#include "kernels/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARDS_MAX     4096
#define COPY_BYTES_MAX (256 << 20) /* of one tokenizer file */

static const struct document_limits index_limits = {
    .bytes = 256 << 20,
    .values = (size_t)SAFETENSORS_TENSORS_MAX * 2,
    .depth = 16,
};

/* The weight files of a directory: one, or as many as the index names. */
struct shards {
    struct safetensors *files;
    char **names;
    int count;
    json_t *map; /* tensor name to file name; NULL without an index */
};

static void
shards_close(struct shards *s)
{
    for (int i = 0; i < s->count; i++) {
        safetensors_close(&s->files[i]);
        free(s->names[i]);
    }
    free(s->files);
    free(s->names);
    json_decref(s->map);
    *s = (struct shards){0};
}

static int
shard_find(const struct shards *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->names[i], name) == 0)
            return i;
    return -1;
}

static int
shard_add(struct shards *s, const char *dir, const char *name, struct error *e)
{
    char *path;
    int rc;

    if (s->count == SHARDS_MAX)
        return error_set(e, ERROR_limit, "%s: more than %d weight files", dir, SHARDS_MAX);
    if (strchr(name, '/') || name[0] == '.')
        return error_set(e, ERROR_model,
                         "%s/model.safetensors.index.json: '%.200s' is no file of this "
                         "directory",
                         dir, name);
    s->files = xresize(s->files, ((size_t)s->count + 1) * sizeof(*s->files));
    s->names = xresize(s->names, ((size_t)s->count + 1) * sizeof(*s->names));
    path = xprint("%s/%s", dir, name);
    rc = safetensors_open(&s->files[s->count], path, e);
    if (rc == 0)
        s->names[s->count++] = xtext(name);
    free(path);
    return rc;
}

static int
shards_from_index(struct shards *s, const char *dir, const char *path, struct error *e)
{
    json_t *index = document_read(path, &index_limits, e), *map, *file;
    const char *tensor;
    int rc = index ? 0 : ERROR_model;

    map = json_object_get(index, "weight_map");
    if (index && !json_is_object(map))
        rc = error_set(e, ERROR_model, "%s: 'weight_map' must be an object", path);
    s->map = rc ? NULL : json_incref(map);
    json_decref(index);
    if (rc)
        return rc;
    json_object_foreach(s->map, tensor, file)
    {
        const char *name = json_string_value(file);
        int at;

        if (!name)
            return error_set(e, ERROR_model, "%s: tensor '%.200s' has no file name", path, tensor);
        at = shard_find(s, name);
        if (at < 0 && shard_add(s, dir, name, e))
            return ERROR_model;
        at = at < 0 ? s->count - 1 : at;
        if (!safetensors_find(&s->files[at], tensor))
            return error_set(e, ERROR_model, "%s: tensor '%.200s' is not in '%s'", path, tensor,
                             name);
    }
    return 0;
}

static int
shards_open(struct shards *s, const char *dir, struct error *e)
{
    char *path = xprint("%s/model.safetensors.index.json", dir);
    int rc;

    *s = (struct shards){0};
    rc = access(path, F_OK) == 0 ? shards_from_index(s, dir, path, e)
                                 : shard_add(s, dir, "model.safetensors", e);
    free(path);
    if (rc)
        shards_close(s);
    return rc;
}

static const struct safetensors_entry *
shards_find(const struct shards *s, const char *tensor)
{
    const char *file = json_string_value(json_object_get(s->map, tensor));
    int at = s->map ? (file ? shard_find(s, file) : -1) : 0;

    return at < 0 ? NULL : safetensors_find(&s->files[at], tensor);
}

/* The tensor NAME with exactly this shape. */
static int
require(const struct shards *s, const char *name, int rank, const int64_t *shape,
        const struct safetensors_entry **found, struct error *e)
{
    const struct safetensors_entry *entry = shards_find(s, name);
    char wanted[100], held[200];

    safetensors_shape(shape, rank, wanted, sizeof(wanted));
    if (!entry)
        return error_set(e, ERROR_model,
                         "tensor '%s' is missing; the config implies it with shape %s", name,
                         wanted);
    safetensors_shape(entry->shape, entry->rank, held, sizeof(held));
    if (strcmp(wanted, held))
        return error_set(e, ERROR_model, "tensor '%s' has shape %s; the config implies %s", name,
                         held, wanted);
    *found = entry;
    return 0;
}

/* The tensors that fix every size, before a config may ask for memory: what they agree on, the file
 * holds. */
static int
check_sizes(const struct shards *s, const struct model_config *c, struct error *e)
{
    const struct safetensors_entry *entry;
    int64_t embed[2] = {c->vocab_size, c->hidden_size}, labels[2] = {c->num_labels, c->hidden_size};
    struct {
        const char *name;
        int64_t shape[2];
    } parts[] = {
        {"self_attn.q_proj", {c->num_attention_heads * c->head_dim, c->hidden_size}},
        {"self_attn.k_proj", {c->num_key_value_heads * c->head_dim, c->hidden_size}},
        {"mlp.gate_proj", {c->intermediate_size, c->hidden_size}},
    };
    char name[MODEL_NAME_MAX];

    if (require(s, "model.embed_tokens.weight", 2, embed, &entry, e))
        return ERROR_model;
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
        for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
            snprintf(name, sizeof(name), "model.layers.%lld.%s.weight", (long long)i,
                     parts[k].name);
            if (require(s, name, 2, parts[k].shape, &entry, e))
                return ERROR_model;
        }
    if (c->num_labels)
        return require(s, "score.weight", 2, labels, &entry, e);
    return c->tie_word_embeddings ? 0 : require(s, "lm_head.weight", 2, embed, &entry, e);
}

/* Is ENTRY, which the model has no place for, one that a checkpoint may carry? A tied head must be
 * the embedding, else the config contradicts the file. */
static int
check_extra(const struct safetensors_entry *entry, const struct model *m, struct error *e)
{
    static const char suffix[] = ".rotary_emb.inv_freq";
    size_t length = strlen(entry->name), tail = sizeof(suffix) - 1;
    float *values;
    int rc;

    if (length > tail && strcmp(entry->name + length - tail, suffix) == 0)
        return 0;
    if (strcmp(entry->name, "lm_head.weight") == 0) {
        if (m->config.num_labels)
            return 0;
        if (entry->elements != m->config.vocab_size * m->config.hidden_size)
            return error_set(e, ERROR_model,
                             "tensor 'lm_head.weight' has another size than the embedding "
                             "it is tied to");
        values = xarray((size_t)entry->elements + 1, sizeof(*values));
        rc = safetensors_floats(entry, values, e);
        if (rc == 0 &&
            memcmp(values, m->params + m->embed, (size_t)entry->elements * sizeof(*values)))
            rc = error_set(e, ERROR_model,
                           "tensor 'lm_head.weight' differs from the embedding, though "
                           "tie_word_embeddings is true");
        free(values);
        return rc;
    }
    return error_set(e, ERROR_model, "tensor '%.200s' is not part of a %s model of this config",
                     entry->name, m->config.family);
}

static int
load(struct model *m, const struct shards *s, struct error *e)
{
    for (int i = 0; i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];
        const struct safetensors_entry *entry;

        if (require(s, t->name, t->dims, t->shape, &entry, e) ||
            safetensors_floats(entry, m->params + t->offset, e))
            return ERROR_model;
    }
    for (int i = 0; i < s->count; i++)
        for (int k = 0; k < s->files[i].count; k++) {
            const struct safetensors_entry *entry = &s->files[i].entries[k];

            if (!model_find(m, entry->name) && check_extra(entry, m, e))
                return ERROR_model;
        }
    return 0;
}

int
model_open(struct model *model, const char *dir, struct error *e)
{
    struct model_config config;
    struct shards shards;
    int rc = model_config_read(&config, dir, e);

    *model = (struct model){0};
    if (rc)
        return rc;
    rc = shards_open(&shards, dir, e);
    if (rc)
        return rc;
    rc = check_sizes(&shards, &config, e);
    if (rc == 0)
        rc = model_init(model, &config, e);
    if (rc == 0) {
        rc = load(model, &shards, e);
        if (rc)
            model_free(model);
    }
    if (rc) {
        error_wrap(e, "%s", dir);
        *model = (struct model){0};
    }
    shards_close(&shards);
    return rc;
}

/* Removes a directory of ours and the files in it; a directory inside it stays and makes that fail.
 */
static int
remove_directory(const char *dir, struct error *e)
{
    DIR *d = opendir(dir);
    struct dirent *entry;

    if (!d)
        return errno == ENOENT ? 0 : error_set(e, ERROR_file, "%s: %s", dir, strerror(errno));
    while ((entry = readdir(d)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
    return rmdir(dir) ? error_set(e, ERROR_file, "%s: cannot be removed: %s", dir, strerror(errno))
                      : 0;
}

static int
copy_tokenizer(const char *from, const char *to, struct error *e)
{
    static const char *const files[] = {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "generation_config.json",
        "merges.txt",
        "vocab.json",
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && rc == 0; i++) {
        char *source = xprint("%s/%s", from, files[i]), *target = xprint("%s/%s", to, files[i]);
        struct buffer bytes = {0};
        struct span part;

        if (i == 0 || access(source, F_OK) == 0) {
            rc = document_load(source, COPY_BYTES_MAX, &bytes, e);
            part = buffer_span(&bytes);
            if (rc == 0)
                rc = durable_write(target, &part, 1, e);
        }
        buffer_free(&bytes);
        free(source);
        free(target);
    }
    return rc;
}

static int
write_files(const struct model *model, const char *dir, struct error *e)
{
    struct safetensors_source *sources = xarray((size_t)model->tensor_count, sizeof(*sources));
    struct buffer text = {0};
    struct span part;
    char *config = xprint("%s/config.json", dir), *weights = xprint("%s/model.safetensors", dir);
    int rc;

    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];

        sources[i] = (struct safetensors_source){
            t->name, t->dims, {t->shape[0], t->shape[1]}, model->params + t->offset};
    }
    model_config_write(&model->config, &text);
    part = buffer_span(&text);
    rc = durable_write(config, &part, 1, e);
    if (rc == 0)
        rc = safetensors_write(weights, sources, model->tensor_count, e);
    buffer_free(&text);
    free(sources);
    free(config);
    free(weights);
    return rc;
}

/* ASIDE becomes DIR; a DIR that exists is exchanged, so that a complete one is there at every
 * instant. */
static int
publish(const char *aside, const char *dir, struct error *e)
{
    struct stat info;

    if (rename(aside, dir) == 0)
        return durable_sync_parent(dir, e);
    if (stat(dir, &info) == 0 && !S_ISDIR(info.st_mode))
        return error_set(e, ERROR_file, "%s: is not a directory", dir);
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, dir, RENAME_EXCHANGE))
        return error_set(e, ERROR_file, "%s: cannot be replaced: %s", dir, strerror(errno));
    if (durable_sync_parent(dir, e))
        return ERROR_file;
    return remove_directory(aside, e);
}

int
model_save(const struct model *model, const char *dir, const char *copy_tokenizer_from,
           struct error *e)
{
    char *place = xtext(dir), *aside;
    int rc;

    for (size_t n = strlen(place); n > 1 && place[n - 1] == '/'; n--)
        place[n - 1] = 0;
    aside = xprint("%s.part", place);
    rc = remove_directory(aside, e); /* what a killed process left */
    if (rc == 0 && mkdir(aside, 0777))
        rc = error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "%s: %s", aside,
                       strerror(errno));
    if (rc == 0)
        rc = write_files(model, aside, e);
    if (rc == 0 && copy_tokenizer_from)
        rc = copy_tokenizer(copy_tokenizer_from, aside, e);
    if (rc == 0)
        rc = durable_sync(aside, e);
    if (rc == 0)
        rc = publish(aside, place, e);
    if (rc)
        remove_directory(aside, NULL);
    free(aside);
    free(place);
    return rc;
}
