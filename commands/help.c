/* help: `sluice help`: commands and kinds; `sluice help KIND`: its ports and options. */
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "graph/node.h"
#include "graph/node_options.h"
#include "kernels/objective.h"

static void
overview(void)
{
    const char *group = NULL;

    printf("sluice streams rollouts of a language model through judges into a learner.\n\n"
           "  sluice COMMAND [...], sluice COMMAND --help, sluice help KIND\n");
    for (int i = 0; command_at(i); i++) {
        const struct command *c = command_at(i);

        if (!c->run || !*c->group)
            continue;
        if (!group || strcmp(group, c->group) != 0)
            printf("\n%s\n", c->group);
        group = c->group;
        printf("  %-10s %s\n", c->name, c->summary);
    }
    printf("\nkinds of nodes\n");
    for (int i = 0; node_kind_at(i); i++)
        printf("  %-10s %s\n", node_kind_at(i)->name, node_kind_at(i)->summary);
    printf("\nexit codes: 0 done, 1 failed, 2 usage, 75 paused, 78 bad topology\n");
}

static void
kind_help(const struct node_kind *k)
{
    printf("%s: %s\n\nports\n", k->name, k->summary);
    for (const struct port *p = k->ports; p->direction != PORT_END; p++)
        printf("  %-3s %-10s %-9s %s%s%s\n", p->direction == PORT_IN ? "in" : "out", p->name,
               message_name(p->message), p->help, p->flags & PORT_MANY ? "; one or more links" : "",
               p->flags & PORT_OPTIONAL ? "; may stay unlinked" : "");
    printf("\noptions (in `with:`)\n");
    options_help(k->options, stdout);
    if (strcmp(k->name, "learner") == 0) {
        printf("\nobjectives (their own settings hold where the topology says nothing)\n");
        objective_help(stdout);
    }
    printf("\noptions of every node\n");
    options_help(node_common_options, stdout);
}

static void
objective_page(const struct objective *o)
{
    printf("an objective of a learner (`sluice help learner` has all of them, and the options)\n\n");
    objective_help_row(o, stdout);
}

static int
unknown(const char *word)
{
    const char *names[128];
    const char *near;
    int         n = 0;

    for (int i = 0; node_kind_at(i) && n < 100; i++)
        names[n++] = node_kind_at(i)->name;
    for (int i = 0; command_at(i) && n < 127; i++)
        if (command_at(i)->run)
            names[n++] = command_at(i)->name;
    names[n] = NULL;
    near = nearest(word, names);
    fprintf(stderr, near ? "sluice help: there is no kind or command '%s'; did you mean '%s'?\n"
                         : "sluice help: there is no kind or command '%s'\n", word, near);
    return 2;
}

int
command_help(int argc, char **argv)
{
    const struct flag       flags[] = {{.kind = FLAG_end}};
    struct words            words;
    const struct node_kind *kind;
    int code = flags_read(flags, "help [KIND|OBJECTIVE|COMMAND]",
                          "An overview; the ports and options of a kind of node; or what an objective is.", argc, argv, 0,
                          1, &words);

    if (code >= 0)
        return code;
    if (words.count == 0) {
        overview();
        return 0;
    }
    kind = node_kind_find(words.at[0]);
    if (kind) {
        kind_help(kind);
        return 0;
    }
    for (int i = 0; command_at(i); i++)
        if (command_at(i)->run && strcmp(command_at(i)->name, words.at[0]) == 0)
            return command_at(i)->run(2, (char *[]){(char *)words.at[0], "--help", NULL});
    if (objective_find(words.at[0])) {
        objective_page(objective_find(words.at[0]));
        return 0;
    }
    return unknown(words.at[0]);
}
