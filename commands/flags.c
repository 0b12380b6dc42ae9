/* flags: long flags with "--name value" or "--name=value", one-letter flags, and words in any
 * order. */
#include "commands/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/option.h"

#define FLAGS_MAX 32

static void
flags_help(const struct flag *flags, const char *usage, const char *about)
{
    printf("usage: sluice %s\n\n%s\n", usage, about);
    for (const struct flag *f = flags; f->kind != FLAG_end; f++) {
        char left[64];
        int n = f->letter ? snprintf(left, sizeof left, "  -%c, --%s", f->letter, f->name)
                          : snprintf(left, sizeof left, "      --%s", f->name);
        if (f->value != NULL)
            snprintf(left + n, sizeof left - (size_t)n, " %s", f->value);
        printf("%s%-29s %s\n", f == flags ? "\n" : "", left, f->help);
    }
}

static const struct flag *
flag_find(const struct flag *flags, const char *word, const char **value)
{
    *value = NULL;
    for (const struct flag *f = flags; f->kind != FLAG_end; f++) {
        size_t n = strlen(f->name);
        if (word[1] == '-' && strncmp(word + 2, f->name, n) == 0 &&
            (word[2 + n] == 0 || word[2 + n] == '=')) {
            if (word[2 + n] == '=')
                *value = word + 3 + n;
            return f;
        }
        if (word[1] != '-' && f->letter != 0 && word[1] == f->letter && word[2] == 0)
            return f;
    }
    return NULL;
}

static int
flag_unknown(const struct flag *flags, const char *command, const char *word)
{
    const char *names[FLAGS_MAX + 1] = {NULL};
    for (int i = 0; i < FLAGS_MAX && flags[i].kind != FLAG_end; i++)
        names[i] = flags[i].name;
    const char *near = word[1] == '-' ? nearest(word + 2, names) : NULL;
    fprintf(stderr, "sluice %s: unknown flag '%s'%s%s%s\n", command, word,
            near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
    return 2;
}

/* False: the value is not of the flag's kind. */
static bool
flag_put(const struct flag *f, const char *value)
{
    char *end = NULL;
    switch (f->kind) {
    case FLAG_on:
        *(bool *)f->into = true;
        return true;
    case FLAG_text:
        *(const char **)f->into = value;
        return true;
    case FLAG_number:
        *(double *)f->into = strtod(value, &end);
        return *value != 0 && *end == 0 && *(double *)f->into >= 0 && *(double *)f->into < 1e12;
    case FLAG_count:
        *(long *)f->into = strtol(value, &end, 10);
        return *value != 0 && *end == 0 && *(long *)f->into >= 0;
    case FLAG_many: {
        struct many *m = f->into;
        if (m->count >= FLAGS_MANY_MAX)
            return false;
        m->at[m->count++] = (char *)value;
        return true;
    }
    case FLAG_end:
        break;
    }
    return false;
}

int
flags_read(const struct flag *flags, const char *usage, const char *about, int argc, char **argv,
           int least, int most, struct words *words)
{
    int name = (int)strcspn(usage, " ");
    char command[32];
    snprintf(command, sizeof command, "%.*s", name, usage);
    memset(words, 0, sizeof *words);
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value;
        if (only_words || word[0] != '-' || word[1] == 0) {
            if (words->count >= most) {
                fprintf(stderr, "sluice %s: '%s' is one word too many\nusage: sluice %s\n", command,
                        word, usage);
                return 2;
            }
            words->at[words->count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            flags_help(flags, usage, about);
            return 0;
        }
        const struct flag *f = flag_find(flags, word, &value);
        if (f == NULL)
            return flag_unknown(flags, command, word);
        if (f->kind != FLAG_on && value == NULL)
            value = i + 1 < argc ? argv[++i] : NULL;
        if ((f->kind != FLAG_on && value == NULL) || (f->kind == FLAG_on && value != NULL) ||
            !flag_put(f, value)) {
            fprintf(stderr, "sluice %s: --%s %s\n", command, f->name,
                    f->kind == FLAG_on     ? "takes no value"
                    : value == NULL        ? "needs a value"
                    : f->kind == FLAG_many ? "was given too often"
                                           : "needs a number of at least 0");
            return 2;
        }
    }
    if (words->count >= least)
        return -1;
    fprintf(stderr, "usage: sluice %s\n", usage);
    return 2;
}
