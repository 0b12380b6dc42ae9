/* manifest: see manifest.h. */
#include "nodes/learner/manifest.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/version.h"
#include "kernels/isa.h"

#define MANIFEST_FORMAT    2
#define TOPOLOGY_BYTES_MAX (16 << 20)

static json_t *
texts_value(const struct texts *texts)
{
    json_t *list = json_array();

    for (int i = 0; i < texts->count; i++)
        json_array_append_new(list, json_string(texts->at[i]));
    return list;
}

/* What was left to the objective has no number yet. */
static json_t *
real_value(double value)
{
    return isnan(value) ? json_string("auto") : json_real(value);
}

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
        return real_value(*(const double *)(const void *)field);
    case OPTION_bool:
        return json_boolean(*(const bool *)(const void *)field);
    case OPTION_text:
        return json_string(*(const char *const *)(const void *)field);
    case OPTION_choice:
        return json_string(row->choices[*(const int *)(const void *)field]);
    case OPTION_texts:
    case OPTION_pairs:
        return texts_value((const struct texts *)(const void *)field);
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

/* RUN/topology.yaml and its hash; nulls where there is none. */
static void
put_topology(json_t *root, const char *run_dir)
{
    char *path = xprint("%s/topology.yaml", run_dir);
    FILE *file = fopen(path, "re");
    char *text = file ? xalloc(TOPOLOGY_BYTES_MAX) : NULL;
    size_t length = file ? fread(text, 1, TOPOLOGY_BYTES_MAX, file) : 0;

    json_object_set_new(root, "topology", file ? json_stringn(text, length) : json_null());
    json_object_set_new(root, "topology_xxh3",
                        file ? hash_text(XXH3_64bits(text, length)) : json_null());
    if (file)
        fclose(file);
    free(text);
    free(path);
}

/* What computed it: the program, the libraries whose version can change a number, the device and
 * what is pinned there (pinned.c; the text is cut up). The number of threads can change nothing. */
static json_t *
made_by(char *pinned)
{
    char pcre[64] = "", *next = NULL, *device = strtok_r(pinned, "\n", &next);
    json_t *made, *lines = json_array();

    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    made = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "sluice", SLUICE_VERSION, "compiler",
                     __VERSION__, "libc", gnu_get_libc_version(), "pcre2", pcre, "utf8proc",
                     utf8proc_version(), "device", device, "kernels", isa_now()->name);
    for (char *line; (line = strtok_r(NULL, "\n", &next));)
        json_array_append_new(lines, json_string(line));
    if (json_array_size(lines) > 0)
        json_object_set(made, "products", lines);
    json_decref(lines);
    return made;
}

static json_t *
progress_value(const struct progress *p)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "step", (json_int_t)p->step, "rounds",
                     (json_int_t)p->rounds, "pass", (json_int_t)p->pass, "batch",
                     (json_int_t)p->batch, "window_end", (json_int_t)p->window_end, "evaluated",
                     (json_int_t)p->evaluated);
}

static json_t *
computed_on(struct learner *l, struct error *e)
{
    struct buffer pinned = {0};
    json_t *made = NULL;

    if (pinned_text(l, &pinned, e) == 0) {
        buffer_add(&pinned, "", 1);
        made = made_by(pinned.at);
    }
    buffer_free(&pinned);
    return made;
}

int
manifest_write(struct learner *l, struct buffer *out, struct error *e)
{
    const struct progress *p = &l->progress;
    json_t *root, *options, *made = computed_on(l, e);
    char *text;

    if (!made)
        return e->code;
    root = json_object();
    options = json_object();

    for (const struct option *row = learner_option_table; row->kind != OPTION_end; row++) {
        json_t *value = option_value(row, l->options);

        if (value)
            json_object_set_new(options, row->name, value);
    }
    json_object_set_new(root, "format", json_integer(MANIFEST_FORMAT));
    json_object_set_new(root, "node", json_string(node_id(l->node)));
    put_topology(root, node_run_dir(l->node));
    json_object_set_new(root, "seed", json_integer((json_int_t)node_seed(l->node)));
    json_object_set_new(root, "options", options);
    json_object_set_new(root, "made_by", made);
    json_object_set_new(root, "progress", progress_value(p));
    json_object_set_new(root, "parameters", json_integer(l->trainer.model.count));
    json_object_set_new(root, "initial_xxh3", hash_text(p->initial_hash));
    json_object_set_new(root, "input_samples", json_integer(p->input_samples));
    json_object_set_new(root, "input_groups", json_integer(p->input_groups));
    json_object_set_new(root, "input_xxh3", hash_text(p->input_hash));
    json_object_set_new(root, "steps", json_integer(p->step));
    json_object_set_new(root, "steps_skipped", json_integer(p->skipped));
    json_object_set_new(root, "trained_tokens", json_integer(p->trained_tokens));
    json_object_set_new(root, "windows", json_integer(l->options->follow ? p->rounds : 0));
    text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    buffer_text(out, text);
    buffer_text(out, "\n");
    free(text);
    json_decref(root);
    return 0;
}

/* ---- reading ---- */

/* The file may say anything; a run that trained one number a nanosecond would take a month to
 * reach it. */
#define COUNT_MAX ((json_int_t)1 << 51)

static int
within(json_int_t value, json_int_t low, json_int_t high)
{
    return value >= low && value <= high;
}

static int
read_fields(const json_t *root, struct progress *p, struct error *e)
{
    const char *input, *initial;
    json_int_t step, rounds, pass, batch, window_end, evaluated, samples, groups, tokens, skipped;
    json_error_t why;

    if (json_unpack_ex((json_t *)(uintptr_t)root, &why, 0,
                       "{s:{s:I,s:I,s:I,s:I,s:I,s:I},s:s,s:s,s:I,s:I,s:I,s:I}", "progress", "step",
                       &step, "rounds", &rounds, "pass", &pass, "batch", &batch, "window_end",
                       &window_end, "evaluated", &evaluated, "input_xxh3", &input, "initial_xxh3",
                       &initial, "input_samples", &samples, "input_groups", &groups,
                       "trained_tokens", &tokens, "steps_skipped", &skipped) != 0)
        return error_set(e, ERROR_topology, "%s", why.text);
    if (rounds != 0 || !within(step, 1, COUNT_MAX) || !within(pass, 0, COUNT_MAX) ||
        !within(batch, 0, step) || !within(evaluated, 0, step + 1) || !within(skipped, 0, step) ||
        !within(tokens, 0, COUNT_MAX) || !within(samples, 1, COUNT_MAX))
        return error_set(e, ERROR_topology, "its progress makes no sense");
    *p = (struct progress){.version = LEARNER_PROGRESS_VERSION,
                           .step = step,
                           .rounds = rounds,
                           .pass = pass,
                           .batch = batch,
                           .window_end = (uint64_t)window_end,
                           .evaluated = evaluated,
                           .input_hash = strtoull(input, NULL, 16),
                           .initial_hash = strtoull(initial, NULL, 16),
                           .input_samples = samples,
                           .input_groups = groups,
                           .trained_tokens = tokens,
                           .skipped = skipped};
    return 0;
}

/* Options and seed that decide which sample stands where. */
static int
check_order(const struct learner *l, const json_t *root, struct error *e)
{
    static const char *const names[] = {"batch_rollouts", "shuffle", "follow", "max_tokens", "eos"};
    const json_t *options = json_object_get(root, "options");

    if (json_integer_value(json_object_get(root, "seed")) != (json_int_t)node_seed(l->node))
        return error_set(e, ERROR_topology, "it was made with another seed");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *value = option_value(option_find(learner_option_table, names[i]), l->options);
        int same = json_equal(value, json_object_get(options, names[i]));

        json_decref(value);
        if (!same)
            return error_set(e, ERROR_topology,
                             "it was made with another '%s': the samples stood in another order",
                             names[i]);
    }
    return 0;
}

/* What made_by() said of the device, as pinned.c has it; nothing where it did not. */
static void
read_pinned(const json_t *root, struct buffer *out)
{
    const json_t *made = json_object_get(root, "made_by");
    const json_t *lines = json_object_get(made, "products");
    const char *device = json_string_value(json_object_get(made, "device"));

    buffer_clear(out);
    if (!device)
        return;
    buffer_print(out, "%s\n", device);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));

        buffer_print(out, "%s\n", line ? line : "");
    }
}

int
manifest_read(struct learner *l, const char *dir, struct progress *p, struct error *e)
{
    char *path = xprint("%s/%s", dir, CHECKPOINT_MANIFEST);
    char *optimiser = xprint("%s/%s", dir, CHECKPOINT_OPTIMISER);
    json_error_t why;
    json_t *root = NULL;
    int rc = 0;

    if (access(optimiser, R_OK) != 0)
        rc = error_set(e, ERROR_topology, "there is no %s, as step-N folders have it",
                       CHECKPOINT_OPTIMISER);
    else if ((root = json_load_file(path, 0, &why)) == NULL)
        rc = error_set(e, ERROR_topology, "%s: %s", CHECKPOINT_MANIFEST, why.text);
    else if ((rc = check_order(l, root, e)) == 0)
        rc = read_fields(root, p, e);
    if (rc == 0)
        read_pinned(root, &l->pinned);
    json_decref(root);
    if (rc < 0)
        error_wrap(e, "'%s' is no checkpoint to go on from", dir);
    free(path);
    free(optimiser);
    return rc;
}
