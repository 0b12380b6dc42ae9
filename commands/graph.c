/* graph: `sluice graph TOPOLOGY`: a topology as text, as Graphviz or as Mermaid. */
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "graph/plan.h"

static const char about[] =
    "Draws a topology: each node with what it sends and who reads it. With --dot for Graphviz\n"
    "(sluice graph t.yaml --dot | dot -Tsvg), with --mermaid for Markdown.";

/* Who reads output `port` of `node`: " reader.input, ..."; returns how many. */
static int
readers(const struct plan *p, int node, int port, struct buffer *out)
{
    int count = 0;

    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++) {
            const struct plan_link *l = &p->nodes[i].links[k];

            if (l->node != node || l->output != port)
                continue;
            buffer_print(out, "%s%s.%s", count++ ? ", " : "", p->nodes[i].id,
                         p->nodes[i].kind->ports[l->port].name);
        }
    return count;
}

static void
draw_text(const struct plan *p)
{
    printf("%s\n", p->name);
    for (int i = 0; i < p->node_count; i++) {
        const struct plan_node *n = &p->nodes[i];
        int                     last = -1;

        printf("\n%s  %s", n->id, n->kind->name);
        printf(plan_replicas(n) > 1 ? " x %d\n" : "\n", plan_replicas(n));
        for (int k = 0; n->kind->ports[k].direction != PORT_END; k++)
            if (n->kind->ports[k].direction == PORT_OUT)
                last = k;
        for (int k = 0; k <= last; k++) {
            struct buffer who = {0};

            if (n->kind->ports[k].direction != PORT_OUT)
                continue;
            if (readers(p, i, k, &who) == 0)
                buffer_text(&who, "nobody");
            printf("%s %s (%s) ──▶ %.*s\n", k == last ? " └─" : " ├─", n->kind->ports[k].name,
                   message_name(n->kind->ports[k].message), (int)who.length, who.at);
            buffer_free(&who);
        }
    }
}

/* Node ids are a-z, 0-9, _ and -: safe inside quotes. */
static void
draw_dot(const struct plan *p)
{
    printf("digraph sluice {\n    rankdir=LR;\n    node [shape=box, fontname=\"sans-serif\"];\n");
    for (int i = 0; i < p->node_count; i++) {
        const struct plan_node *n = &p->nodes[i];

        printf("    \"%s\" [label=\"%s\\n%s", n->id, n->id, n->kind->name);
        printf(plan_replicas(n) > 1 ? " x %d\"];\n" : "\"];\n", plan_replicas(n));
    }
    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++) {
            const struct plan_link *l = &p->nodes[i].links[k];

            printf("    \"%s\" -> \"%s\" [label=\"%s\"];\n", p->nodes[l->node].id, p->nodes[i].id,
                   p->nodes[l->node].kind->ports[l->output].name);
        }
    printf("}\n");
}

/* Mermaid takes "end" and other words of its own as ids badly: nodes are numbered. */
static void
draw_mermaid(const struct plan *p)
{
    printf("flowchart LR\n");
    for (int i = 0; i < p->node_count; i++) {
        const struct plan_node *n = &p->nodes[i];

        printf("    n%d[\"%s<br/>%s", i, n->id, n->kind->name);
        printf(plan_replicas(n) > 1 ? " x %d\"]\n" : "\"]\n", plan_replicas(n));
    }
    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++) {
            const struct plan_link *l = &p->nodes[i].links[k];

            printf("    n%d -- %s --> n%d\n", l->node,
                   p->nodes[l->node].kind->ports[l->output].name, i);
        }
}

int
command_graph(int argc, char **argv)
{
    bool              dot = false, mermaid = false;
    struct many       sets = {0};
    const struct flag flags[] = {
        {FLAG_on, 0, "dot", NULL, &dot, "Graphviz"},
        {FLAG_on, 0, "mermaid", NULL, &mermaid, "Mermaid"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &sets, "override an option; may be repeated"},
        {.kind = FLAG_end},
    };
    struct words  words;
    struct plan   plan;
    struct buffer problems = {0};
    struct error  e = {0};
    int code = flags_read(flags, "graph TOPOLOGY [flags]", about, argc, argv, 1, 1, &words), rc;

    if (code >= 0)
        return code;
    rc = topology_read(words.at[0], sets.count, sets.at, &plan, &problems, &e);
    if (rc != 0)
        fwrite(problems.at, 1, problems.length, stderr);
    else if (dot)
        draw_dot(&plan);
    else if (mermaid)
        draw_mermaid(&plan);
    else
        draw_text(&plan);
    buffer_free(&problems);
    plan_free(&plan);
    return error_exit(rc);
}
