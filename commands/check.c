/* check: `sluice check TOPOLOGY`: every error of a topology, before anything is started. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "graph/plan.h"

static const char about[] =
    "Reads a topology and everything it names, and prints every error as file:line:column. Nothing is\n"
    "started and no store is opened. Exit code 0 when it can run, 78 when it cannot.";

static const struct plan_option *
given(const struct plan_node *n, const char *name)
{
    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0)
            return &n->options[i];
    return NULL;
}

/* Every option of a table with its value and where that was written. */
static void
print_options(const struct plan *p, const struct plan_node *n, const struct option *table)
{
    const char *file = strrchr(p->file, '/') ? strrchr(p->file, '/') + 1 : p->file;

    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        const struct plan_option *g = given(n, o->name);
        struct buffer             text = {0};

        for (int i = 0; g && i < g->count; i++)
            buffer_print(&text, "%s%s", i ? ", " : "", g->values[i]);
        if (!g)
            buffer_text(&text, o->standard && *o->standard ? o->standard : "-");
        for (size_t i = 0; i < text.length; i++)
            if ((unsigned char)text.at[i] < ' ')
                text.at[i] = ' ';
        printf("    %-20s %-28.*s ", o->name, (int)text.length, text.length ? text.at : "");
        if (!g)
            printf("default");
        else if (g->line)
            printf("%s:%d:%d", file, g->line, g->column);
        else
            printf("--set");
        printf("%s\n", o->change == LIVE ? ", live" : "");
        buffer_free(&text);
    }
}

static void
print_node(const struct plan *p, int index)
{
    const struct plan_node *n = &p->nodes[index];

    printf("\n%s: %s", n->id, n->kind->name);
    if (plan_replicas(n) > 1)
        printf(", %d replicas", plan_replicas(n));
    printf("%s%s%s\n", plan_is_terminal(p, index) ? ", terminal" : "", *n->listen ? ", listens on " : "",
           n->listen);
    for (int i = 0; i < n->link_count; i++) {
        const struct plan_link *l = &n->links[i];
        const struct plan_node *from = &p->nodes[l->node];

        printf("  %s <- %s/%s (%s)\n", n->kind->ports[l->port].name, from->id,
               from->kind->ports[l->output].name, message_name(from->kind->ports[l->output].message));
    }
    print_options(p, n, n->kind->options);
    print_options(p, n, node_common_options);
}

static void
print_plan(const struct plan *p)
{
    int processes = 0;

    for (int i = 0; i < p->node_count; i++)
        processes += plan_replicas(&p->nodes[i]);
    printf("%s: %d nodes, %d processes, seed %llu, max_lead %llu\n", p->name, p->node_count, processes,
           (unsigned long long)p->seed, (unsigned long long)p->max_lead);
    for (int i = 0; i < p->node_count; i++)
        print_node(p, i);
}

int
command_check(int argc, char **argv)
{
    bool              show = false;
    struct many       sets = {0};
    const struct flag flags[] = {
        {FLAG_on, 0, "plan", NULL, &show, "print the resolved plan: options, where they come from, links"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &sets, "override an option; may be repeated"},
        {.kind = FLAG_end},
    };
    struct words  words;
    struct plan   plan;
    struct buffer problems = {0};
    struct error  e = {0};
    int           code = flags_read(flags, "check TOPOLOGY [flags]", about, argc, argv, 1, 1, &words), rc;

    if (code >= 0)
        return code;
    rc = topology_read(words.at[0], sets.count, sets.at, &plan, &problems, &e);
    if (rc != 0) {
        fwrite(problems.at, 1, problems.length, stderr);
    } else if (show) {
        print_plan(&plan);
    } else {
        printf("%s: %d nodes, no problem found\n", words.at[0], plan.node_count);
    }
    buffer_free(&problems);
    plan_free(&plan);
    return error_exit(rc);
}
