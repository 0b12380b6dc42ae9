/* schema: `sluice schema`: what a topology may hold, as JSON Schema, from the same rows that check
 * it; and the manuals in Markdown (--manual), which are committed and compared by a test. */
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "graph/message_table.h"
#include "graph/metrics.h"
#include "graph/node_options.h"
#include "graph/text.h"
#include "graph/topology.h"
#include "kernels/objective.h"

static const char about[] =
    "Prints the JSON schema of topologies. Name it in the first line of a topology and the editor "
    "checks\n"
    "and completes: # yaml-language-server: $schema=../schemas/topology.schema.json";

/* ---- JSON schema ---- */

static void
schema_inputs(struct buffer *out, const struct node_kind *k)
{
    bool first = true;

    if (k->declare) {
        buffer_text(out, "{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/link\"}}");
        return;
    }
    buffer_text(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const struct port *p = k->ports; p->direction != PORT_END; p++) {
        if (p->direction != PORT_IN)
            continue;
        buffer_text(out, first ? "\n        " : ",\n        ");
        first = false;
        text_json(out, span_text(p->name));
        buffer_text(out, ": {\"$ref\":\"#/$defs/link\",\"description\":");
        text_json(out, span_text(p->help));
        buffer_text(out, "}");
    }
    buffer_text(out, "},\"required\":[");
    first = true;
    for (const struct port *p = k->ports; p->direction != PORT_END; p++) {
        if (p->direction != PORT_IN || (p->flags & PORT_OPTIONAL))
            continue;
        buffer_text(out, first ? "" : ",");
        first = false;
        text_json(out, span_text(p->name));
    }
    buffer_text(out, "]}");
}

/* The names of options that have no default; returns how many. */
static int
schema_required(struct buffer *out, const struct option *table)
{
    int count = 0;

    for (int i = 0; i < option_count(table); i++)
        if (!table[i].standard) {
            buffer_text(out, count++ ? "," : "");
            text_json(out, span_text(table[i].name));
        }
    return count;
}

/* A node of one kind: "if kind is k then inputs and with are these". */
static void
schema_kind(struct buffer *out, const struct node_kind *k)
{
    bool with;

    buffer_text(out, "    {\"if\":{\"properties\":{\"kind\":{\"const\":");
    text_json(out, span_text(k->name));
    buffer_text(out, "}},\"required\":[\"kind\"]},\n     \"then\":{\"description\":");
    text_json(out, span_text(k->summary));
    buffer_text(out, ",\"properties\":{\n      \"inputs\": ");
    schema_inputs(out, k);
    buffer_text(
        out,
        ",\n      \"with\": {\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    options_schema(k->options, out);
    if (option_count(k->options) > 0)
        buffer_text(out, ",");
    options_schema(node_common_options, out);
    buffer_text(out, "},\"required\":[");
    with = schema_required(out, k->options) > 0;
    buffer_print(out, "]}},\"required\":[%s%s]}}", k->source ? "" : "\"inputs\"",
                 !with ? "" : k->source ? "\"with\"" : ",\"with\"");
}

static void
schema_node(struct buffer *out)
{
    buffer_text(
        out, "  \"node\": "
             "{\"type\":\"object\",\"required\":[\"id\",\"kind\"],\"additionalProperties\":false,"
             "\"properties\":{");
    options_schema(node_key_options, out);
    buffer_text(
        out, ",\n        \"inputs\": {\"type\":\"object\",\"description\":\"input port: "
             "node/output, or a list\"},"
             "\n        \"with\": {\"type\":\"object\",\"description\":\"options of the kind\"}},\n"
             "   \"allOf\":[\n    {\"properties\":{\"kind\":{\"enum\":[");
    for (int i = 0; node_kind_at(i); i++) {
        if (i)
            buffer_text(out, ",");
        text_json(out, span_text(node_kind_at(i)->name));
    }
    buffer_text(out, "]}}}");
    for (int i = 0; node_kind_at(i); i++) {
        buffer_text(out, ",\n");
        schema_kind(out, node_kind_at(i));
    }
    buffer_text(out, "\n   ]}\n");
}

static void
print_schema(void)
{
    struct buffer out = {0};

    buffer_text(&out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n"
                      " \"title\":\"Sluice topology\",\"type\":\"object\",\"required\":[\"nodes\"],"
                      "\"additionalProperties\":false,\n \"properties\":{");
    options_schema(topology_key_options, &out);
    buffer_print(&out, ",\n        \"nodes\": {\"type\":\"array\",\"minItems\":1,\"maxItems\":%d,"
                       "\"items\":{\"$ref\":\"#/$defs/node\"}}},\n \"$defs\":{\n", PLAN_NODES_MAX);
    buffer_text(
        &out,
        "  \"link\": {\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[^/]+/[^/]+$\"},"
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[^/]+/[^/]+$\"}}]},\n");
    schema_node(&out);
    buffer_text(&out, " }}\n");
    fwrite(out.at, 1, out.length, stdout);
    buffer_free(&out);
}

/* ---- manuals ---- */

/* What a learner writes about its steps. */
static void
manual_training(void)
{
    static const char *const rows[][2] = {
#define TRAINING(id, name, kind, meaning) {name, meaning},
#include "schemas/training.def"
#undef TRAINING
    };

    printf("\n## Training\n\nWhat a learner writes into `RUN/checkpoints/NODE`: a line of "
           "`metrics.jsonl` and a record of the\nTensorBoard event file for each step of training "
           "and each evaluation.\n\n| name | meaning |\n|---|---|\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        printf("| `%s` | %s |\n", rows[i][0], rows[i][1]);
}

static void
manual_schemas(void)
{
    printf("# Messages, metrics and errors\n\nMade by `make manual` from the rows in `schemas/` "
           "and `base/errors.def`; do not edit.\n\n"
           "## Messages\n\nA message is a msgpack map from field name to value, with `v` for the "
           "version. A missing\n"
           "field reads as zero or empty; one we do not know is kept and passed on.\n\n");
    message_manual(stdout);
    printf(
        "## Metrics\n\nCounters are kept in the store and only grow; gauges say what is now.\n\n");
    metrics_manual(stdout);
    manual_training();
    printf("\n## Errors\n\n| name | exit code | meaning |\n|---|---|---|\n");
    for (int i = 0; i < error_count(); i++)
        printf("| %s | %d | %s |\n", error_name(error_at(i)), error_exit(error_at(i)),
               error_meaning(error_at(i)));
}

static void
manual_kind(const struct node_kind *k)
{
    printf("\n## %s\n\n%s\n\n| port | direction | message | meaning |\n|---|---|---|---|\n",
           k->name, k->summary);
    for (const struct port *p = k->ports; p->direction != PORT_END; p++)
        printf("| `%s` | %s | %s | %s%s%s |\n", p->name, p->direction == PORT_IN ? "in" : "out",
               message_name(p->message), p->help, p->flags & PORT_MANY ? "; one or more links" : "",
               p->flags & PORT_OPTIONAL ? "; may stay unlinked" : "");
    printf("\n");
    options_manual(k->options, stdout);
    if (strcmp(k->name, "learner") == 0) {
        printf("\n### Objectives\n\nTheir own settings hold where the topology says nothing; "
               "`reconstructed` says what of one\nwas not read in its paper or code.\n\n");
        objective_manual(stdout);
    }
}

static void
manual_nodes(void)
{
    printf("# Kinds of nodes\n\nMade by `make manual` from the tables in the kinds' own files; do "
           "not edit.\n"
           "A *fixed* option is part of what makes a checkpoint: an existing run refuses another "
           "value. A *live*\n"
           "one may change while the run lives (`sluice set`). Times are written with a unit "
           "(200ms, 30s, 5m, 2h),\n"
           "sizes too (64KiB, 2GiB).\n\n## Keys of a topology\n\n");
    options_manual(topology_key_options, stdout);
    printf("| `nodes` | list | required |  | fixed | the nodes, in any order |\n\n## Keys of a "
           "node\n\n");
    options_manual(node_key_options, stdout);
    printf(
        "| `inputs` | mapping | unset |  | fixed | input port: node/output, or a list of them |\n"
        "| `with` | mapping | unset |  |  | options of the kind, and those of every node |\n"
        "\n## Options of every node\n\n");
    options_manual(node_common_options, stdout);
    for (int i = 0; node_kind_at(i); i++)
        manual_kind(node_kind_at(i));
}

int
command_schema(int argc, char **argv)
{
    const char       *manual = NULL;
    const struct flag flags[] = {
        {FLAG_text, 0, "manual", "schemas|nodes", &manual,
         "instead, the manual of messages or of kinds"},
        {.kind = FLAG_end},
    };
    struct words words;
    int          code = flags_read(flags, "schema [flags]", about, argc, argv, 0, 0, &words);

    if (code >= 0)
        return code;
    if (!manual)
        print_schema();
    else if (strcmp(manual, "schemas") == 0)
        manual_schemas();
    else if (strcmp(manual, "nodes") == 0)
        manual_nodes();
    else {
        fprintf(stderr, "sluice schema: --manual takes schemas or nodes, not '%s'\n", manual);
        return 2;
    }
    return 0;
}
