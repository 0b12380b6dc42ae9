/* flags: the command line of one sub-command as a table, read and printed by the same rows.
 * (getopt_long's struct option would clash with ours.) */
#ifndef COMMANDS_FLAGS_H
#define COMMANDS_FLAGS_H

#include <stdbool.h>

#define FLAGS_MANY_MAX 256      /* values of a FLAG_many */
#define FLAGS_WORDS_MAX 8       /* words that are not flags */

enum flag_kind { FLAG_end, FLAG_on, FLAG_text, FLAG_number, FLAG_count, FLAG_many };

struct many {
    int   count;
    char *at[FLAGS_MANY_MAX];
};

struct flag {
    enum flag_kind kind;
    char           letter;      /* 0: none */
    const char    *name;        /* without dashes */
    const char    *value;       /* name of the value in the help; NULL for FLAG_on */
    void          *into;        /* bool, const char *, double, long, struct many */
    const char    *help;
};

struct words {
    int         count;
    const char *at[FLAGS_WORDS_MAX];
};

/* `usage` is the line after "usage: sluice ", `about` a paragraph. At least `least` and at most
 * `most` words. Returns -1 to go on; else the exit code: 0 after --help, 2 after a mistake, which
 * was printed. */
int flags_read(const struct flag *flags, const char *usage, const char *about, int argc,
               char **argv, int least, int most, struct words *words);

#endif
