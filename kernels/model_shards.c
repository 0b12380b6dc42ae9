#include "kernels/model_shards.h"

#include "kernels/document.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARDS_MAX 4096

static const struct document_limits index_limits = {
    .bytes = 256 << 20,
    .values = (size_t)SAFETENSORS_TENSORS_MAX * 2,
    .depth = 16,
};

void
model_shards_close(struct model_shards *s)
{
    for (int i = 0; i < s->count; i++) {
        safetensors_close(&s->files[i]);
        free(s->names[i]);
    }
    free(s->files);
    free(s->names);
    json_decref(s->map);
    buffer_free(&s->index);
    *s = (struct model_shards){0};
}

static int
shard_find(const struct model_shards *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->names[i], name) == 0)
            return i;
    return -1;
}

static int
shard_add(struct model_shards *s, const char *dir, const char *name, struct error *e)
{
    char *path;
    int rc;

    if (s->count == SHARDS_MAX)
        return error_set(e, ERROR_limit, "%s: more than %d weight files", dir, SHARDS_MAX);
    if (strchr(name, '/') || name[0] == '.' || name[0] == 0)
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

/* A tensor in two files would be read from one and written to both. */
static int
check_files(const struct model_shards *s, const char *path, struct error *e)
{
    for (int i = 0; i < s->count; i++)
        for (int k = 0; k < s->files[i].count; k++) {
            const char *tensor = s->files[i].entries[k].name;
            const char *named = json_string_value(json_object_get(s->map, tensor));

            if (!named)
                return error_set(e, ERROR_model, "%s: tensor '%.200s' of '%s' is not named", path,
                                 tensor, s->names[i]);
            if (strcmp(named, s->names[i]))
                return error_set(e, ERROR_model, "%s: tensor '%.200s' is in '%s' and in '%s'", path,
                                 tensor, named, s->names[i]);
        }
    return 0;
}

static int
read_index(struct model_shards *s, const char *path, struct error *e)
{
    json_t *index, *map;
    int rc = document_load(path, index_limits.bytes, &s->index, e);

    if (rc)
        return rc;
    index = document_parse(buffer_span(&s->index), &index_limits, e);
    if (!index) {
        error_wrap(e, "%s", path);
        return ERROR_model;
    }
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        rc = error_set(e, ERROR_model, "%s: 'weight_map' must be an object", path);
    s->map = rc ? NULL : json_incref(map);
    json_decref(index);
    return rc;
}

static int
shards_from_index(struct model_shards *s, const char *dir, const char *path, struct error *e)
{
    json_t *file;
    const char *tensor;
    int rc = read_index(s, path, e);

    if (rc)
        return rc;
    json_object_foreach(s->map, tensor, file)
    {
        const char *name = json_string_value(file);
        int at;

        if (!name)
            return error_set(e, ERROR_model, "%s: tensor '%.200s' has no file name", path, tensor);
        at = shard_find(s, name);
        if (at < 0 && (rc = shard_add(s, dir, name, e)) != 0)
            return rc;
        at = at < 0 ? s->count - 1 : at;
        if (!safetensors_find(&s->files[at], tensor))
            return error_set(e, ERROR_model, "%s: tensor '%.200s' is not in '%s'", path, tensor,
                             name);
    }
    return check_files(s, path, e);
}

int
model_shards_open(struct model_shards *s, const char *dir, struct error *e)
{
    char *path = xprint("%s/model.safetensors.index.json", dir);
    int rc;

    *s = (struct model_shards){0};
    rc = access(path, F_OK) == 0 ? shards_from_index(s, dir, path, e)
                                 : shard_add(s, dir, "model.safetensors", e);
    free(path);
    if (rc)
        model_shards_close(s);
    return rc;
}

const struct safetensors_entry *
model_shards_find(const struct model_shards *s, const char *tensor, int *file)
{
    const char *name = json_string_value(json_object_get(s->map, tensor));

    *file = s->map ? (name ? shard_find(s, name) : -1) : 0;
    return *file < 0 ? NULL : safetensors_find(&s->files[*file], tensor);
}
