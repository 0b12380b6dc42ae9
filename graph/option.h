/* option: the settings of a node kind as one table, read by the YAML check, `sluice help KIND`, the
 * manual and the JSON schema alike. A row is a kind of value, a field of the kind's options struct, a
 * default written as a user would write it, a range, whether it may change while a run lives, and help.
 *
 *   static const struct option tally_options[] = {
 *       OPT_INT(struct tally_options, window, FIXED, "100", 1, 1e9, "samples in one report"),
 *       OPT_TIME(struct tally_options, warn_after, LIVE, "30s", 0, 3600, "silence worth a warning"),
 *       OPT_CHOICE(struct tally_options, on_empty, FIXED, "skip", empty_names, "what to do with an empty row"),
 *       OPT_END
 *   };
 *
 * FIXED: a change could change a byte of a checkpoint; refused on an existing run. LIVE: `sluice set`.
 * A row cannot lie about its field: a wrong C type does not compile. A default of NULL makes an option
 * required, except for OPT_TEXT, OPT_PATH, OPT_MODEL, OPT_NAMED, OPT_TEXTS, OPT_PAIRS where "" means unset.
 *
 * Two rows hold no value. OPT_GROUP("schedule") is a heading over the rows below it, in help and manual.
 * OPT_ALIAS("learning_rate", "lr") stands below row lr and is its name in other programs: no value may be
 * given by it, but who writes it is told the row's, and help and manual show it. */
#ifndef GRAPH_OPTION_H
#define GRAPH_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

#define OPTION_TEXTS_MAX 1024    /* elements of one list */

enum option_kind {
    OPTION_end,
    OPTION_int,         /* int64_t; 64, 1e6, 10k */
    OPTION_float,       /* double; where the default is "auto", auto too: NaN */
    OPTION_bool,        /* bool; true false yes no */
    OPTION_text,        /* const char *, owned by the options */
    OPTION_path,        /* const char *; relative to the topology's folder, resolved by the check; may be a glob */
    OPTION_choice,      /* int: index into choices */
    OPTION_time,        /* double, seconds; 200ms 30s 5m 2h 1d */
    OPTION_size,        /* int64_t, bytes; 512 64KiB 1MB 2GiB */
    OPTION_texts,       /* struct texts; a YAML list, or one scalar for a list of one */
    OPTION_rule,        /* const char * that the kind's own check understands, e.g. "mean>=0.5" */
    OPTION_model,       /* const char *; a folder where the topology's folder has it (then resolved like a path),
                         * else a name that a server knows, as written */
    OPTION_named,       /* const char *; a file where the topology's folder has it (then resolved like a path), else
                         * a name that the kind knows, as written */
    OPTION_pairs,       /* struct texts of name=value; a YAML mapping {name: value}, or one scalar name=value */
    OPTION_group,       /* no value: help is a heading */
    OPTION_alias,       /* no value: name is what others call the row whose name is in help */
};

enum option_change { FIXED, LIVE };

struct texts {
    int          count;
    const char **at;    /* owned by the options */
};

struct option {
    enum option_kind   kind;
    enum option_change change;
    const char        *name;
    size_t             offset;
    const char        *standard;    /* the default as the user would write it; NULL: required */
    double             min, max;
    const char *const *choices;     /* NULL-terminated, OPTION_choice */
    const char        *help;
};

/* The offset of field F, refused by the compiler unless F has type T. */
#define OPTION_FIELD(S, F, T) (offsetof(S, F) + 0 * sizeof(char[_Generic(&((S *)0)->F, T *: 1)]))
#define OPTION_ROW(K, S, F, T, CH, D, LO, HI, NAMES, H) \
    {OPTION_##K, CH, #F, OPTION_FIELD(S, F, T), D, LO, HI, NAMES, H}

#define OPT_INT(S, F, CH, D, LO, HI, H)   OPTION_ROW(int, S, F, int64_t, CH, D, LO, HI, NULL, H)
#define OPT_FLOAT(S, F, CH, D, LO, HI, H) OPTION_ROW(float, S, F, double, CH, D, LO, HI, NULL, H)
#define OPT_BOOL(S, F, CH, D, H)          OPTION_ROW(bool, S, F, bool, CH, D, 0, 1, NULL, H)
#define OPT_TEXT(S, F, CH, D, H)          OPTION_ROW(text, S, F, const char *, CH, D, 0, 0, NULL, H)
#define OPT_PATH(S, F, CH, D, H)          OPTION_ROW(path, S, F, const char *, CH, D, 0, 0, NULL, H)
#define OPT_CHOICE(S, F, CH, D, NAMES, H) OPTION_ROW(choice, S, F, int, CH, D, 0, 0, NAMES, H)
#define OPT_TIME(S, F, CH, D, LO, HI, H)  OPTION_ROW(time, S, F, double, CH, D, LO, HI, NULL, H)
#define OPT_SIZE(S, F, CH, D, LO, HI, H)  OPTION_ROW(size, S, F, int64_t, CH, D, LO, HI, NULL, H)
#define OPT_TEXTS(S, F, CH, D, H)         OPTION_ROW(texts, S, F, struct texts, CH, D, 0, 0, NULL, H)
#define OPT_PAIRS(S, F, CH, D, H)         OPTION_ROW(pairs, S, F, struct texts, CH, D, 0, 0, NULL, H)
#define OPT_RULE(S, F, CH, D, H)          OPTION_ROW(rule, S, F, const char *, CH, D, 0, 0, NULL, H)
#define OPT_MODEL(S, F, CH, D, H)         OPTION_ROW(model, S, F, const char *, CH, D, 0, 0, NULL, H)
#define OPT_NAMED(S, F, CH, D, H)         OPTION_ROW(named, S, F, const char *, CH, D, 0, 0, NULL, H)
#define OPT_GROUP(H)                      {.kind = OPTION_group, .name = "", .standard = "", .help = H}
#define OPT_ALIAS(A, F)                   {.kind = OPTION_alias, .name = A, .standard = "", .help = F}
#define OPT_END                           {.kind = OPTION_end}

/* Fill every field with its default; required ones stay zero. -> 0 or ERROR_topology (a bad row). */
int options_init(const struct option *table, void *options, struct error *e);

/* Read one value as the user wrote it. For OPTION_texts and OPTION_pairs call once per element: each call appends, the first
 * one replaces the default.
 * -> ERROR_topology: "option 'in_flight': 0 is below 1", "option 'in_flihgt' is unknown; did you mean 'in_flight'?" */
int options_set(const struct option *table, void *options, const char *name, const char *value,
                struct error *e);

/* The user wrote an empty list or mapping: OPTION_texts and OPTION_pairs only. */
int options_clear(const struct option *table, void *options, const char *name, struct error *e);

/* Does the row have a value? Headings and aliases have none. */
bool option_valued(const struct option *o);

/* Does it hold many values: OPTION_texts or OPTION_pairs? */
bool option_listed(const struct option *o);

/* May the number be "auto"? */
bool option_auto(const struct option *o);

/* Do two structs of one table hold the same value in this row? */
bool option_same(const struct option *row, const void *a, const void *b);

/* Every required option has a value? `set` tells which rows were given (one byte per row). */
int options_complete(const struct option *table, const unsigned char *set, struct error *e);

void options_fini(const struct option *table, void *options);   /* frees texts */

const struct option *option_find(const struct option *table, const char *name);     /* NULL: none */
int  option_count(const struct option *table);     /* rows, those without a value too */
void options_help(const struct option *table, FILE *out);       /* `sluice help KIND` */

const char *option_kind_name(enum option_kind kind);            /* "int", "time" ... */
void options_manual(const struct option *table, FILE *out);     /* Markdown table */
void options_schema(const struct option *table, struct buffer *out);    /* members of a JSON schema's "properties" */
/* A bound as a user would write it, in the largest unit that leaves at least 1: "1h", "64KiB". */
void option_bound(const struct option *row, double value, char *text, size_t room);
const char *option_nearest(const struct option *table, const char *name);   /* did-you-mean: of an alias its row, else among the rows; or NULL */

/* The nearest name in a NULL-terminated list for a did-you-mean, or NULL when none is near. */
const char *nearest(const char *word, const char *const *names);

#endif
