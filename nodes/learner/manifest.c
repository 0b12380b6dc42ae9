/* manifest: see manifest.h. */
#include "nodes/learner/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MANIFEST_FORMAT    1
#define TOPOLOGY_BYTES_MAX (16 << 20)

/* A JSON value of an option that can change a byte of the checkpoint; NULL for the others and for
 * paths. */
static json_t *
option_value(const struct option *row, const void *options)
{
    const char *field = (const char *)options + row->offset;

    if (row->change != FIXED)
        return NULL;
    switch (row->kind) {
    case OPTION_int:
    case OPTION_size:
        return json_integer(*(const int64_t *)(const void *)field);
    case OPTION_float:
    case OPTION_time:
        if (isnan(*(const double *)(const void *)field))
            return json_string("auto");
        return json_real(*(const double *)(const void *)field);
    case OPTION_bool:
        return json_boolean(*(const bool *)(const void *)field);
    case OPTION_text:
        return json_string(*(const char *const *)(const void *)field);
    case OPTION_choice:
        return json_string(row->choices[*(const int *)(const void *)field]);
    default:
        return NULL;
    }
}

static json_t *
hash_text(uint64_t hash)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, hash);
    return json_string(text);
}

/* The hash of RUN/topology.yaml; null where there is none. */
static json_t *
topology_hash(const char *run_dir)
{
    char *path = xprint("%s/topology.yaml", run_dir);
    FILE *file = fopen(path, "re");
    char *text = file ? xalloc(TOPOLOGY_BYTES_MAX) : NULL;
    size_t length = file ? fread(text, 1, TOPOLOGY_BYTES_MAX, file) : 0;
    json_t *hash = file ? hash_text(XXH3_64bits(text, length)) : json_null();

    if (file)
        fclose(file);
    free(text);
    free(path);
    return hash;
}

void
manifest_write(struct learner *l, struct buffer *out)
{
    const struct progress *p = &l->progress;
    json_t *root = json_object(), *options = json_object();
    char *text;

    for (const struct option *row = learner_option_table; row->kind != OPTION_end; row++) {
        json_t *value = option_value(row, l->options);

        if (value)
            json_object_set_new(options, row->name, value);
    }
    json_object_set_new(root, "format", json_integer(MANIFEST_FORMAT));
    json_object_set_new(root, "node", json_string(node_id(l->node)));
    json_object_set_new(root, "topology_xxh3", topology_hash(node_run_dir(l->node)));
    json_object_set_new(root, "seed", json_integer((json_int_t)node_seed(l->node)));
    json_object_set_new(root, "options", options);
    json_object_set_new(root, "parameters", json_integer(l->trainer.model.count));
    json_object_set_new(root, "initial_xxh3", hash_text(p->initial_hash));
    json_object_set_new(root, "input_samples", json_integer(p->input_samples));
    json_object_set_new(root, "input_groups", json_integer(p->input_groups));
    json_object_set_new(root, "input_xxh3", hash_text(p->input_hash));
    json_object_set_new(root, "steps", json_integer(p->step));
    json_object_set_new(root, "steps_skipped", json_integer(p->skipped));
    json_object_set_new(root, "trained_tokens", json_integer(p->trained_tokens));
    json_object_set_new(root, "windows", json_integer(l->options->follow ? p->rounds : 0));
    json_object_set_new(root, "device", json_string("cpu"));
    text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    buffer_text(out, text);
    buffer_text(out, "\n");
    free(text);
    json_decref(root);
}
