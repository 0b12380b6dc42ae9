/* loop_check: what must hold before anything of a loop is made: the topology as `sluice check`
 * checks it, with each start model; one reader that ends and gets whole groups; one learner that
 * ends. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/loop.h"
#include "graph/outline.h"

/* The text of a scalar under a key, "" when there is none. */
static const char *
word_of(const struct outline *map, const char *key)
{
    const struct outline *y = map->kind == OUTLINE_mapping ? outline_find(map, key) : NULL;

    return y && y->kind == OUTLINE_scalar ? y->text : "";
}

/* The id of the one node of a kind. The tree is enough: without values that only the loop gives
 * (the reader's path) the topology need not pass its own check. */
static int
find_one(const struct loop *l, const struct outline *root, const char *kind, const char *purpose,
         char **id, struct error *e)
{
    const struct outline *nodes = outline_find(root, "nodes");
    struct buffer names = {0};
    int count = 0, rc = 0;

    for (int i = 0; nodes && nodes->kind == OUTLINE_sequence && i < nodes->count; i++) {
        if (strcmp(word_of(nodes->items[i], "kind"), kind) != 0)
            continue;
        if (count++ == 0)
            *id = xtext(word_of(nodes->items[i], "id"));
        buffer_print(&names, "%s%s", count > 1 ? ", " : "", word_of(nodes->items[i], "id"));
    }
    if (count > 1)
        rc = error_set(e, ERROR_topology, "%s: %d nodes of kind %s (%.*s): say with --%s which %s",
                       l->topology, count, kind, (int)names.length, names.at, kind, purpose);
    if (count == 0)
        rc = error_set(e, ERROR_topology, "%s: no node of kind %s, which %s", l->topology, kind,
                       purpose);
    buffer_free(&names);
    return rc;
}

static int
find_nodes(struct loop *l, struct error *e)
{
    int line = 0, column = 0, rc = 0;
    struct outline *root = outline_read(l->topology, &line, &column, e);

    if (!root)
        return line ? error_wrap(e, "%s:%d:%d", l->topology, line, column)
                    : error_wrap(e, "%s", l->topology);
    if (!l->reader)
        rc = find_one(l, root, "reader", "reads the rollouts", &l->reader_found, e);
    if (rc == 0 && !l->learner)
        rc = find_one(l, root, "learner", "is the policy", &l->learner_found, e);
    outline_free(root);
    l->reader = l->reader ? l->reader : l->reader_found;
    l->learner = l->learner ? l->learner : l->learner_found;
    return rc;
}

/* The topology with what the loop sets. The topology's own file stands in for the rollouts, which
 * are not there yet: a file that can be read. model NULL: its own. */
static int
read_plan(struct loop *l, const char *model, struct error *e)
{
    char *file = xtext(l->topology);
    char *path = xprint("%s.path=%s", l->reader, basename(file));
    char *start = xprint("%s.model=%s", l->learner, model ? model : "");
    char **sets = xarray((size_t)l->sets.count + 2, sizeof(*sets));
    struct buffer problems = {0};
    int count = 0, rc;

    for (int i = 0; i < l->sets.count; i++)
        sets[count++] = l->sets.at[i];
    sets[count++] = path;
    if (model)
        sets[count++] = start;
    plan_free(&l->plan);
    l->plan = (struct plan){0};
    rc = topology_read(l->topology, count, sets, &l->plan, &problems, e);
    if (rc && problems.length && e) {
        fwrite(problems.at, 1, problems.length, stderr);
        e->text[0] = 0;
    }
    buffer_free(&problems);
    free(sets);
    free(start);
    free(path);
    free(file);
    return rc;
}

/* ---- what a loop needs of its two nodes ---- */

static int
node_of(const struct loop *l, const char *id, const char *kind, struct error *e)
{
    int n = plan_find(&l->plan, id);

    if (n < 0)
        return error_set(e, ERROR_usage, "%s has no node '%s'", l->topology, id);
    if (strcmp(l->plan.nodes[n].kind->name, kind) != 0)
        return error_set(e, ERROR_usage, "'%s' is a %s, not a %s", id,
                         l->plan.nodes[n].kind->name, kind);
    return n;
}

/* Refuses an option's value, at its place in the file. */
static int
refuse(const struct loop *l, int node, const char *option, struct error *e, const char *why)
{
    const struct plan_node *n = &l->plan.nodes[node];
    int line = n->line, column = n->column;

    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, option) == 0 && n->options[i].line) {
            line = n->options[i].line;
            column = n->options[i].column;
        }
    return error_set(e, ERROR_topology, "%s:%d:%d: node '%s': option '%s': %s", l->topology, line,
                     column, n->id, option, why);
}

static const void *
field_of(const struct plan_node *n, const void *options, const char *name)
{
    return (const char *)options + option_find(n->kind->options, name)->offset;
}

/* The rollouts that the loop writes have these fields, and no others. */
static int
check_fields(const struct loop *l, int node, const void *options, struct error *e)
{
    static const char *const allowed[][3] = {
        {"group_by", "prompt", "none"},       {"prompt_field", "", "prompt"},
        {"response_field", "", "response"},   {"answer_field", "", "answer"},
        {"reward_field", "", "reward"},       {"id_field", "id", "none"},
        {"finish_field", "finish_reason", "none"},
    };

    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
        const char *value =
            *(const char *const *)field_of(&l->plan.nodes[node], options, allowed[i][0]);
        char *why;

        if (!*value || strcmp(value, allowed[i][1]) == 0 || strcmp(value, allowed[i][2]) == 0)
            continue;
        why = xprint("the loop's rollouts have no field '%.100s', only id, prompt, response, "
                     "finish_reason, answer and reward", value);
        refuse(l, node, allowed[i][0], e, why);
        free(why);
        return ERROR_topology;
    }
    return 0;
}

static int
check_reader(const struct loop *l, struct error *e)
{
    int node = node_of(l, l->reader, "reader", e), rc;
    const struct plan_node *n = &l->plan.nodes[node < 0 ? 0 : node];
    void *options;
    int64_t size;

    if (node < 0)
        return node;
    options = xalloc(n->kind->options_size);
    rc = plan_options(&l->plan, node, options, e);
    if (rc) {
        free(options);
        return rc;
    }
    size = *(const int64_t *)field_of(n, options, "group_size");
    rc = check_fields(l, node, options, e);
    if (rc == 0 && *(const bool *)field_of(n, options, "follow"))
        rc = refuse(l, node, "follow", e, "a round's rollouts have an end; a loop needs a reader "
                                          "that does not follow");
    else if (rc == 0 && size && size != l->samples) {
        char *why = xprint("%lld, but the loop draws --samples %ld of each prompt", (long long)size,
                           l->samples);

        rc = refuse(l, node, "group_size", e, why);
        free(why);
    } else if (rc == 0 && !size && l->extra_epochs)
        rc = refuse(l, node, "group_size", e,
                    "--extra-epochs repeats groups, which are told apart by their size alone: "
                    "say group_size");
    options_fini(n->kind->options, options);
    free(options);
    return rc;
}

/* Prompts are put to the policy as training puts them: by the learner's options. A flag that was
 * given must say the same. */
static int
check_prompts(struct loop *l, int node, const void *options, struct error *e)
{
    const struct plan_node *n = &l->plan.nodes[node];
    const char *format = option_find(n->kind->options, "prompt_format")
                             ->choices[*(const int *)field_of(n, options, "prompt_format")];
    const char *system = *(const char *const *)field_of(n, options, "system");
    bool differs = l->prompt_format && strcmp(l->prompt_format, format) != 0;

    if (differs || (l->system && strcmp(l->system, system) != 0)) {
        char *why = xprint("'%.100s', but --%s says '%.100s': sampling and training put prompts "
                           "alike", differs ? format : system, differs ? "prompt-format" : "system",
                           differs ? l->prompt_format : l->system);

        refuse(l, node, differs ? "prompt_format" : "system", e, why);
        free(why);
        return ERROR_topology;
    }
    if (!l->prompt_format)
        l->prompt_format = l->format_found = xtext(format);
    if (!l->system)
        l->system = l->system_found = xtext(system);
    return 0;
}

/* *model: the learner's own, absolute; the caller's. */
static int
check_learner(struct loop *l, char **model, struct error *e)
{
    int node = node_of(l, l->learner, "learner", e), rc;
    const struct plan_node *n = &l->plan.nodes[node < 0 ? 0 : node];
    void *options;

    if (node < 0)
        return node;
    options = xalloc(n->kind->options_size);
    rc = plan_options(&l->plan, node, options, e);
    if (rc) {
        free(options);
        return rc;
    }
    if (*(const bool *)field_of(n, options, "follow"))
        rc = refuse(l, node, "follow", e, "a round ends with its final checkpoint; a loop needs a "
                                          "learner that does not follow");
    else if (strcmp(option_find(n->kind->options, "objective")
                        ->choices[*(const int *)field_of(n, options, "objective")],
                    "token_class") == 0)
        rc = refuse(l, node, "objective", e, "it makes a classifier, which answers no prompt");
    else
        rc = check_prompts(l, node, options, e);
    if (rc == 0 && model) {
        const char *own = *(const char *const *)field_of(n, options, "model");

        *model = *own ? realpath(own, NULL) : NULL;
        if (!*model)
            rc = refuse(l, node, "model", e,
                        "there is no model to sample from: name one here or with --start");
    }
    options_fini(n->kind->options, options);
    free(options);
    return rc;
}

static int
check_plan(struct loop *l, char **model, struct error *e)
{
    int rc = check_reader(l, e);

    return rc ? rc : check_learner(l, model, e);
}

int
loop_check(struct loop *l, struct error *e)
{
    struct stat info;
    int rc = find_nodes(l, e);

    for (int i = 0; i < l->sets.count && rc == 0; i++) {
        size_t n = strcspn(l->sets.at[i], "=");
        char *path = xprint("%s.path", l->reader), *model = xprint("%s.model", l->learner);
        bool reserved = strncmp(l->sets.at[i], path, n) == 0 && strlen(path) == n;

        if (reserved || (strncmp(l->sets.at[i], model, n) == 0 && strlen(model) == n))
            rc = error_set(e, ERROR_usage, "--set %.*s: the loop sets that itself%s", (int)n,
                           l->sets.at[i], reserved ? "" : "; --start names the first model");
        free(path);
        free(model);
    }
    if (rc == 0 && l->starts.count == 0) {
        rc = read_plan(l, NULL, e);
        if (rc == 0)
            rc = check_plan(l, &l->start, e);
        if (rc == 0)
            rc = read_plan(l, l->start, e); /* as every round will have it */
    }
    for (int i = 0; i < l->starts.count && rc == 0; i++) {
        char *model = realpath(l->starts.at[i], NULL);

        if (!model || stat(model, &info) != 0 || !S_ISDIR(info.st_mode))
            rc = error_set(e, ERROR_usage, "--start %s: no such folder", l->starts.at[i]);
        if (rc == 0)
            rc = read_plan(l, model, e);
        if (rc == 0)
            rc = check_plan(l, NULL, e);
        if (rc == 0 && l->starts.count == 1)
            l->start = xtext(model);
        free(model);
    }
    return rc;
}
