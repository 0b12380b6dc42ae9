/* panel: --judge taken apart, and written as YAML. */
#include "commands/panel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/node.h"

/* The next piece of a list with commas, "\," being none; NULL at the end. The caller's. */
static char *
next_piece(const char **at)
{
    struct buffer b = {0};

    if (!**at)
        return NULL;
    for (; **at && **at != ','; ++*at) {
        if (**at == '\\' && (*at)[1] == ',')
            ++*at;
        buffer_add(&b, *at, 1);
    }
    if (**at == ',')
        ++*at;
    buffer_add(&b, "", 1);
    return b.at;
}

/* A path as the user's shell would understand it; a model only where it is a folder here. */
static char *
resolved(const struct node_kind *kind, const char *name, const char *value)
{
    const struct option *row = kind ? option_find(kind->options, name) : NULL;
    char *here, *whole;

    if (!row || !value[0] || value[0] == '/' || strcmp(value, "-") == 0 ||
        (row->kind != OPTION_path && row->kind != OPTION_model) ||
        (row->kind == OPTION_model && access(value, F_OK) != 0))
        return xtext(value);
    here = getcwd(NULL, 0);
    whole = xprint("%s/%s", here ? here : "", value);
    free(here);
    return whole;
}

static int
add_option(struct panel_judge *j, char *piece, struct error *e)
{
    char *equals = strchr(piece, '='), **key;

    if (!equals || equals == piece)
        return error_set(e, ERROR_usage,
                         "--judge %s: '%s' is not option=value; write a comma "
                         "within a value as \\,",
                         j->kind, piece);
    *equals = 0;
    key = strcmp(piece, "id") == 0 ? &j->id : strcmp(piece, "replicas") == 0 ? &j->replicas : NULL;
    if (key) {
        free(*key);
        *key = xtext(equals + 1);
        return 0;
    }
    if (j->count == PANEL_OPTIONS_MAX)
        return error_set(e, ERROR_usage, "--judge %s: more than %d options", j->kind,
                         PANEL_OPTIONS_MAX);
    j->options[j->count++] =
        (struct panel_option){xtext(piece), resolved(node_kind_find(j->kind), piece, equals + 1)};
    return 0;
}

/* A path that is the topology's folder unless it is given is the user's. */
static void
add_folders(struct panel_judge *j)
{
    const struct node_kind *kind = node_kind_find(j->kind);
    const struct option *row = kind ? kind->options : NULL;

    for (; row && row->kind != OPTION_end && j->count < PANEL_OPTIONS_MAX; row++) {
        bool given = false;

        for (int i = 0; i < j->count; i++)
            given |= strcmp(j->options[i].name, row->name) == 0;
        if (row->kind == OPTION_path && !given && row->standard && strcmp(row->standard, ".") == 0)
            j->options[j->count++] =
                (struct panel_option){xtext(row->name), resolved(kind, row->name, ".")};
    }
}

static char *
id_for(const struct panel *p, const char *kind)
{
    int same = 1;

    for (int i = 0; i < p->count; i++)
        same += strcmp(p->at[i].kind, kind) == 0;
    return same == 1 ? xtext(kind) : xprint("%s_%d", kind, same);
}

static int
check_kind(const char *kind, struct error *e)
{
    const char *names[PANEL_JUDGES_MAX * 4 + 1] = {NULL}, *near;
    int n = 0;

    if (node_kind_find(kind))
        return 0;
    for (int i = 0; node_kind_at(i) && n < PANEL_JUDGES_MAX * 4; i++)
        names[n++] = node_kind_at(i)->name;
    near = nearest(kind, names);
    return error_set(e, ERROR_usage, "--judge: there is no kind '%s'%s%s%s", kind,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int
panel_add(struct panel *p, const char *text, struct error *e)
{
    const char *colon = strchr(text, ':'), *at = colon ? colon + 1 : "";
    struct panel_judge *j = &p->at[p->count];
    char *piece;
    int rc;

    if (p->count == PANEL_JUDGES_MAX)
        return error_set(e, ERROR_usage, "more than %d judges", PANEL_JUDGES_MAX);
    *j = (struct panel_judge){
        .kind = span_copy(span_of(text, colon ? (size_t)(colon - text) : strlen(text)))};
    j->id = id_for(p, j->kind);
    p->count++;
    rc = check_kind(j->kind, e);
    while (rc == 0 && (piece = next_piece(&at)) != NULL) {
        rc = add_option(j, piece, e);
        free(piece);
    }
    if (rc == 0)
        add_folders(j);
    return rc;
}

void
panel_free(struct panel *p)
{
    for (int i = 0; i < p->count; i++) {
        struct panel_judge *j = &p->at[i];
        for (int k = 0; k < j->count; k++) {
            free(j->options[k].name);
            free(j->options[k].value);
        }
        free(j->kind);
        free(j->id);
        free(j->replicas);
    }
    *p = (struct panel){0};
}

/* A scalar in double quotes, which YAML reads back as it was whatever is in it. */
static void
quoted(struct buffer *out, const char *text)
{
    buffer_text(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buffer_print(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            buffer_print(out, "\\x%02x", (unsigned char)*text);
        else
            buffer_add(out, text, 1);
    }
    buffer_text(out, "\"");
}

static void
write_option(struct buffer *out, const struct panel_judge *j, int k)
{
    int same = 0;

    for (int i = 0; i < j->count; i++) {
        same += strcmp(j->options[i].name, j->options[k].name) == 0;
        if (same == 1 && i < k && strcmp(j->options[i].name, j->options[k].name) == 0)
            return; /* written with the first of its name */
    }
    buffer_text(out, "      ");
    quoted(out, j->options[k].name);
    buffer_text(out, same > 1 ? ": [" : ": ");
    for (int i = k, first = 1; i < j->count; i++) {
        if (strcmp(j->options[i].name, j->options[k].name) != 0)
            continue;
        buffer_text(out, first ? "" : ", ");
        quoted(out, j->options[i].value);
        first = 0;
    }
    buffer_text(out, same > 1 ? "]\n" : "\n");
}

static void
write_judge(struct buffer *out, const struct panel_judge *j)
{
    buffer_text(out, "  - id: ");
    quoted(out, j->id);
    buffer_text(out, "\n    kind: ");
    quoted(out, j->kind);
    if (j->replicas) {
        buffer_text(out, "\n    replicas: ");
        quoted(out, j->replicas);
    }
    buffer_text(out, "\n    inputs: {in: steps/steps}\n");
    if (j->count > 0)
        buffer_text(out, "    with:\n");
    for (int k = 0; k < j->count; k++)
        write_option(out, j, k);
}

static void
write_links(struct buffer *out, const struct panel *p)
{
    for (int i = 0; i < p->count; i++) {
        char *link = xprint("%s/votes", p->at[i].id);
        buffer_text(out, i > 0 ? ", " : "");
        quoted(out, link);
        free(link);
    }
}

void
panel_topology(const struct panel *p, const char *cases, const char *rule, const char *quorum,
               const char *threshold, struct buffer *out)
{
    const char *const names[] = {"rule", "quorum", "threshold"};
    const char *const values[] = {rule, quorum, threshold};

    buffer_text(out, "name: judge-eval\nseed: 1\nnodes:\n"
                     "  - id: solutions\n    kind: reader\n"
                     "    with: {group_by: none, steps_field: steps, path: ");
    quoted(out, cases);
    buffer_text(out, "}\n  - id: steps\n    kind: segmenter\n    inputs: {in: solutions/out}\n"
                     "    with: {method: given, all: true}\n");
    for (int i = 0; i < p->count; i++)
        write_judge(out, &p->at[i]);
    buffer_text(out, "  - id: " PANEL_CONSENSUS "\n    kind: consensus\n"
                     "    inputs: {steps: steps/steps, votes: [");
    write_links(out, p);
    buffer_text(out, "]}\n    with: {");
    for (int i = 0, some = 0; i < 3; i++) {
        if (!values[i])
            continue;
        buffer_print(out, "%s%s: ", some++ ? ", " : "", names[i]);
        quoted(out, values[i]);
    }
    buffer_text(out, "}\n  - id: " PANEL_SINK "\n    kind: sink\n    inputs: {in: [");
    write_links(out, p);
    buffer_text(out, ", " PANEL_CONSENSUS "/out]}\n");
}
