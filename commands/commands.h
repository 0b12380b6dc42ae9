/* commands: every sub-command of `sluice`, declared from the rows of commands.def. Each stands in
 * commands/<name>.c, is given argv beginning with its own name, understands --help, and returns the
 * exit code of the process. */
#ifndef COMMANDS_COMMANDS_H
#define COMMANDS_COMMANDS_H

#define COMMAND(name, group, summary) int command_##name(int argc, char **argv);
#include "commands/commands.def"
#undef COMMAND

/* The row at `index` that this program has, or NULL past the last. */
struct command {
    const char *name, *group, *summary;
    int (*run)(int argc, char **argv);      /* NULL: not in this program */
};
const struct command *command_at(int index);

#endif
