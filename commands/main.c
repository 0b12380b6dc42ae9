/* main: finds the sub-command and calls it, nothing else. A command that no file defines is not in
 * the table. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "graph/option.h"

#define COMMAND(name, group, summary) \
    extern __attribute__((weak)) int command_##name(int argc, char **argv);
#include "commands/commands.def"
#undef COMMAND

static const struct command rows[] = {
#define COMMAND(name, group, summary) {#name, group, summary, command_##name},
#define COMMAND_AS(name, word, group, summary) {word, group, summary, command_##name},
#include "commands/commands.def"
#undef COMMAND
};

#define ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

static int
unknown(const char *name)
{
    const char *names[ROWS + 1];
    const char *near;
    int         n = 0;

    for (int i = 0; i < ROWS; i++)
        if (rows[i].run && *rows[i].group)
            names[n++] = rows[i].name;
    names[n] = NULL;
    near = nearest(name, names);
    fprintf(stderr, "sluice: there is no command '%s'", name);
    if (near)
        fprintf(stderr, "; did you mean '%s'?\n", near);
    else
        fprintf(stderr, "; see sluice help\n");
    return 2;
}

const struct command *
command_at(int index)
{
    return index >= 0 && index < ROWS ? &rows[index] : NULL;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";

    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (int i = 0; i < ROWS; i++)
        if (rows[i].run && strcmp(rows[i].name, name) == 0) {
            int rc = argc > 1 ? rows[i].run(argc - 1, argv + 1)
                              : rows[i].run(1, (char *[]){"help", NULL});

            if (fflush(stdout) != 0 && rc == 0) {
                perror("sluice: standard output");
                return 1;
            }
            return argc > 1 ? rc : 2;
        }
    return unknown(name);
}
