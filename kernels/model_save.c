/* Saving: a directory made aside, as its source lay or as a new one, and put in place in one step.
 */
#include "kernels/model_file.h"

#include "kernels/document.h"
#include "kernels/durable.h"
#include "kernels/model_config.h"
#include "kernels/model_source.h"
#include "kernels/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES_MAX (256 << 20) /* of one tokenizer file */
#define INDEX_NAME     "model.safetensors.index.json"

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
        "tokenizer.model",
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
write_text(const char *dir, const char *name, struct span text, struct error *e)
{
    char *path = xprint("%s/%s", dir, name);
    int rc = durable_write(path, &text, 1, e);

    free(path);
    return rc;
}

/* The tensors that the source holds in FILE, with their types. Returns how many. */
static int
sources_of(const struct model *m, int file, struct safetensors_source *out,
           enum safetensors_type *types)
{
    const struct model_source *s = m->source;
    int n = 0;

    for (int i = 0; i < s->count; i++) {
        const struct model_tensor *t = &m->tensors[s->tensors[i].tensor];

        if (s->tensors[i].file != file)
            continue;
        types[n] = s->tensors[i].type;
        out[n++] = (struct safetensors_source){
            s->tensors[i].name, t->dims, {t->shape[0], t->shape[1]}, m->params + t->offset};
    }
    return n;
}

/* The index as it was: its total_size counts tensors that were not kept, too, which no reader
 * minds; but it must not name them. */
static int
write_index(const struct model *m, const char *dir, struct error *e)
{
    const struct model_source *s = m->source;
    json_t *index = json_loads(s->index, 0, NULL), *map = json_object_get(index, "weight_map");
    json_t *kept = json_object();
    char *text;
    int rc;

    for (int i = 0; i < s->count; i++)
        json_object_set(kept, s->tensors[i].name, json_object_get(map, s->tensors[i].name));
    if (json_object_size(kept) == json_object_size(map)) {
        rc = write_text(dir, INDEX_NAME, span_text(s->index), e);
    } else {
        json_object_set(index, "weight_map", kept);
        text = json_dumps(index, JSON_INDENT(2) | JSON_SORT_KEYS);
        rc = write_text(dir, INDEX_NAME, span_text(text), e);
        free(text);
    }
    json_decref(kept);
    json_decref(index);
    return rc;
}

/* As the source lay. */
static int
write_source(const struct model *m, const char *dir, struct safetensors_source *sources,
             struct error *e)
{
    const struct model_source *s = m->source;
    enum safetensors_type *types = xarray((size_t)s->count, sizeof(*types));
    int rc = write_text(dir, "config.json", span_text(s->config), e);

    if (rc == 0 && s->generation)
        rc = write_text(dir, "generation_config.json", span_text(s->generation), e);
    if (rc == 0 && s->index)
        rc = write_index(m, dir, e);
    for (int i = 0; i < s->file_count && rc == 0; i++) {
        char *path = xprint("%s/%s", dir, s->files[i]);
        int count = sources_of(m, i, sources, types);

        if (count > 0)
            rc = safetensors_write_as(path, sources, types, count, e);
        free(path);
    }
    free(types);
    return rc;
}

/* A model made here: one file in float32. */
static int
write_fresh(const struct model *m, const char *dir, struct safetensors_source *sources,
            struct error *e)
{
    struct buffer text = {0};
    char *weights = xprint("%s/model.safetensors", dir);
    int rc;

    for (int i = 0; i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];

        sources[i] = (struct safetensors_source){
            t->name, t->dims, {t->shape[0], t->shape[1]}, m->params + t->offset};
    }
    model_config_write(&m->config, &text);
    rc = write_text(dir, "config.json", buffer_span(&text), e);
    if (rc == 0)
        rc = safetensors_write(weights, sources, m->tensor_count, e);
    buffer_free(&text);
    free(weights);
    return rc;
}

static int
write_files(const struct model *model, const char *dir, struct error *e)
{
    int count = model->source ? model->source->count : model->tensor_count;
    struct safetensors_source *sources = xarray((size_t)count, sizeof(*sources));
    int rc =
        model->source ? write_source(model, dir, sources, e) : write_fresh(model, dir, sources, e);

    free(sources);
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
