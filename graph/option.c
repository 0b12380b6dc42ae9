/* option: reads values into options structs. What a kind of value is lives in one row of kinds[];
 * how tables are shown (help, manual, JSON schema) is in option_page.c. */
#include "graph/option.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX  64    /* longer words get no did-you-mean */
#define UNITS_MAX 12

struct unit {
    const char *name;
    double      factor;
};

static const struct unit counts[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {NULL, 0}};
static const struct unit times[] = {
    {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"", 1},      {"B", 1},           {"KB", 1e3},         {"MB", 1e6},
    {"GB", 1e9},  {"TB", 1e12},       {"KiB", 1024},       {"MiB", 1048576},
    {"GiB", 1073741824.0}, {"TiB", 1099511627776.0},       {NULL, 0},
};

/* Marks a list that still holds its default: the first element a user gives replaces it. */
static const char default_list[] = "default";

/* ---- numbers and units ---- */

/* Digits, sign, point and exponent: no hexadecimal, no "inf", no leading space. */
static int
number(const char *value, double *out, const char **rest)
{
    const char *p = value;
    char       *end;

    p += *p == '-' || *p == '+';
    if (!isdigit((unsigned char)*p) && !(*p == '.' && isdigit((unsigned char)p[1])))
        return -1;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
        return -1;
    errno = 0;
    *out = strtod(value, &end);
    *rest = end;
    return isfinite(*out) ? 0 : -1;
}

static int
scaled(const struct unit *units, const char *value, double *out)
{
    const char *rest;

    if (number(value, out, &rest) != 0)
        return -1;
    while (*rest == ' ')
        rest++;
    if (*rest == 0 && *out == 0)
        return 0;
    for (const struct unit *u = units; u->name; u++)
        if (strcasecmp(rest, u->name) == 0) {
            *out *= u->factor;
            return 0;
        }
    return -1;
}

void
option_bound(const struct option *o, double value, char *text, size_t room)
{
    const struct unit *units = o->kind == OPTION_time ? times : sizes;
    const struct unit *best = NULL;

    if (o->kind == OPTION_time || o->kind == OPTION_size)
        for (const struct unit *u = units; u->name; u++)
            if (fabs(value) >= u->factor && (!best || u->factor > best->factor))
                best = u;
    snprintf(text, room, "%.15g%s", best ? value / best->factor : value, best ? best->name : "");
}

static int
within(const struct option *o, const char *value, double v, struct error *e)
{
    char text[40];

    if (v < o->min) {
        option_bound(o, o->min, text, sizeof(text));
        return error_set(e, ERROR_topology, "%s is below %s", value, text);
    }
    if (v > o->max) {
        option_bound(o, o->max, text, sizeof(text));
        return error_set(e, ERROR_topology, "%s is above %s", value, text);
    }
    return 0;
}

bool
option_auto(const struct option *o)
{
    return o->kind == OPTION_float && o->standard && strcmp(o->standard, "auto") == 0;
}

/* ---- one reader per kind ---- */

static int
read_int(const struct option *o, void *field, const char *value, struct error *e)
{
    char     *end;
    long long v;
    double    d;
    int       rc;

    errno = 0;
    v = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end || isspace((unsigned char)*value)) {
        if (scaled(counts, value, &d) != 0 || floor(d) != d || fabs(d) > 9007199254740992.0)
            return error_set(e, ERROR_topology, "'%.60s' is not a whole number", value);
        v = (long long)d;
    }
    rc = within(o, value, (double)v, e);
    if (rc == 0)
        *(int64_t *)field = v;
    return rc;
}

static int
read_float(const struct option *o, void *field, const char *value, struct error *e)
{
    const char *rest;
    double      v;
    int         rc;

    if (strcmp(value, "auto") == 0 && option_auto(o)) {
        *(double *)field = NAN;
        return 0;
    }
    if (number(value, &v, &rest) != 0 || *rest)
        return error_set(e, ERROR_topology, "'%.60s' is not a number%s", value,
                         option_auto(o) ? " or auto" : "");
    rc = within(o, value, v, e);
    if (rc == 0)
        *(double *)field = v;
    return rc;
}

static int
read_bool(const struct option *o, void *field, const char *value, struct error *e)
{
    (void)o;
    if (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0)
        *(bool *)field = true;
    else if (strcmp(value, "false") == 0 || strcmp(value, "no") == 0)
        *(bool *)field = false;
    else
        return error_set(e, ERROR_topology, "'%.60s' is not true, false, yes or no", value);
    return 0;
}

static int
read_text(const struct option *o, void *field, const char *value, struct error *e)
{
    const char **text = field;

    (void)o;
    (void)e;
    free((void *)*text);
    *text = xtext(value);
    return 0;
}

static int
read_choice(const struct option *o, void *field, const char *value, struct error *e)
{
    char        list[400] = "";
    const char *near;

    for (int i = 0; o->choices[i]; i++) {
        size_t used = strlen(list);

        if (strcmp(o->choices[i], value) == 0) {
            *(int *)field = i;
            return 0;
        }
        snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", o->choices[i]);
    }
    near = nearest(value, o->choices);
    if (near)
        return error_set(e, ERROR_topology, "'%.60s' is not one of %s; did you mean '%s'?", value,
                         list, near);
    return error_set(e, ERROR_topology, "'%.60s' is not one of %s", value, list);
}

static int
read_time(const struct option *o, void *field, const char *value, struct error *e)
{
    double v;
    int    rc;

    if (scaled(times, value, &v) != 0)
        return error_set(e, ERROR_topology,
                         "'%.60s' is not a time; write a number and one of us ms s m h d", value);
    rc = within(o, value, v, e);
    if (rc == 0)
        *(double *)field = v;
    return rc;
}

static int
read_size(const struct option *o, void *field, const char *value, struct error *e)
{
    double v;
    int    rc;

    if (scaled(sizes, value, &v) != 0 || fabs(v) > 9.2e18)
        return error_set(e, ERROR_topology, "'%.60s' is not a size; write a number and one of "
                         "B KB MB GB TB KiB MiB GiB TiB", value);
    rc = within(o, value, v, e);
    if (rc == 0)
        *(int64_t *)field = (int64_t)v;
    return rc;
}

static void
texts_free(struct texts *t)
{
    for (int i = 0; i < t->count; i++)
        free((void *)t->at[i]);
    free(t->at);
    *t = (struct texts){0};
}

/* at[count] is NULL, or default_list while the elements are the table's. */
static int
read_texts(const struct option *o, void *field, const char *value, struct error *e)
{
    struct texts *t = field;

    (void)o;
    if (t->at && t->at[t->count] == default_list)
        texts_free(t);
    if (t->count >= OPTION_TEXTS_MAX)
        return error_set(e, ERROR_topology, "more than %d elements", OPTION_TEXTS_MAX);
    t->at = xresize(t->at, ((size_t)t->count + 2) * sizeof(*t->at));
    t->at[t->count++] = xtext(value);
    t->at[t->count] = NULL;
    return 0;
}

static int
read_pair(const struct option *o, void *field, const char *value, struct error *e)
{
    const char *equals = strchr(value, '=');

    if (!equals || equals == value)
        return error_set(e, ERROR_topology, "'%.60s' is not {name: value}", value);
    return read_texts(o, field, value, e);
}

static const struct kind {
    const char *name;
    int (*read)(const struct option *o, void *field, const char *value, struct error *e);
    bool owned;     /* the field is text to free */
} kinds[] = {
    [OPTION_int] = {"int", read_int, false},
    [OPTION_float] = {"float", read_float, false},
    [OPTION_bool] = {"bool", read_bool, false},
    [OPTION_text] = {"text", read_text, true},
    [OPTION_path] = {"path", read_text, true},
    [OPTION_choice] = {"choice", read_choice, false},
    [OPTION_time] = {"time", read_time, false},
    [OPTION_size] = {"size", read_size, false},
    [OPTION_texts] = {"list", read_texts, false},
    [OPTION_rule] = {"rule", read_text, true},
    [OPTION_model] = {"model", read_text, true},
    [OPTION_named] = {"name", read_text, true},
    [OPTION_pairs] = {"map", read_pair, false},
};

const char *
option_kind_name(enum option_kind kind)
{
    return kind > OPTION_end && (size_t)kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind].name
                                                                                : "";
}

/* ---- tables ---- */

bool
option_valued(const struct option *o)
{
    return o->kind != OPTION_group && o->kind != OPTION_alias;
}

bool
option_listed(const struct option *o)
{
    return o->kind == OPTION_texts || o->kind == OPTION_pairs;
}

int
option_count(const struct option *table)
{
    int n = 0;

    while (table && table[n].kind != OPTION_end)
        n++;
    return n;
}

const struct option *
option_find(const struct option *table, const char *name)
{
    for (const struct option *o = table; o && o->kind != OPTION_end; o++)
        if (option_valued(o) && strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

const char *
option_nearest(const struct option *table, const char *name)
{
    const char **names = xarray((size_t)option_count(table) + 1, sizeof(*names));
    const char  *near = NULL;
    int          n = 0;

    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        if (option_valued(o))
            names[n++] = o->name;
        else if (o->kind == OPTION_alias && strcmp(o->name, name) == 0)
            near = o->help;
    }
    if (!near)
        near = nearest(name, names);
    free(names);
    return near;
}

static int
read_row(const struct option *o, void *options, const char *value, struct error *e)
{
    int rc = kinds[o->kind].read(o, (char *)options + o->offset, value, e);

    return rc == 0 ? 0 : error_wrap(e, "option '%s'", o->name);
}

int
options_init(const struct option *table, void *options, struct error *e)
{
    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        void *field = (char *)options + o->offset;
        int   rc;

        if (!option_valued(o))
            continue;
        if (kinds[o->kind].owned)
            *(const char **)field = NULL;
        if (option_listed(o))
            *(struct texts *)field = (struct texts){0};
        if (!o->standard || (option_listed(o) && !*o->standard))
            continue;
        rc = read_row(o, options, o->standard, e);
        if (rc != 0)
            return error_wrap(e, "default");
        if (option_listed(o)) {
            struct texts *t = field;
            t->at[t->count] = default_list;
        }
    }
    return 0;
}

int
options_set(const struct option *table, void *options, const char *name, const char *value,
            struct error *e)
{
    const struct option *o = option_find(table, name);
    const char          *near;

    if (o)
        return read_row(o, options, value, e);
    near = option_nearest(table, name);
    if (near)
        return error_set(e, ERROR_topology, "option '%.60s' is unknown; did you mean '%s'?", name,
                         near);
    return error_set(e, ERROR_topology, "option '%.60s' is unknown", name);
}

int
options_clear(const struct option *table, void *options, const char *name, struct error *e)
{
    const struct option *o = option_find(table, name);

    if (!o || !option_listed(o))
        return error_set(e, ERROR_topology, "option '%.60s': an empty list where one value belongs",
                         name);
    texts_free((struct texts *)((char *)options + o->offset));
    return 0;
}

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool
option_same(const struct option *row, const void *a, const void *b)
{
    const void         *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    const struct texts *s = x, *t = y;

    switch (row->kind) {
    case OPTION_bool: return *(const bool *)x == *(const bool *)y;
    case OPTION_choice: return *(const int *)x == *(const int *)y;
    case OPTION_int:
    case OPTION_size: return *(const int64_t *)x == *(const int64_t *)y;
    case OPTION_float:
    case OPTION_time:
        return *(const double *)x == *(const double *)y ||
               (isnan(*(const double *)x) && isnan(*(const double *)y));
    case OPTION_texts:
    case OPTION_pairs:
        if (s->count != t->count)
            return false;
        for (int i = 0; i < s->count; i++)
            if (!same_text(s->at[i], t->at[i]))
                return false;
        return true;
    case OPTION_group:
    case OPTION_alias: return true;
    default: return same_text(*(const char *const *)x, *(const char *const *)y);
    }
}

int
options_complete(const struct option *table, const unsigned char *set, struct error *e)
{
    for (int i = 0; i < option_count(table); i++)
        if (!table[i].standard && !set[i])
            return error_set(e, ERROR_topology, "option '%s' is missing: %s", table[i].name,
                             table[i].help);
    return 0;
}

void
options_fini(const struct option *table, void *options)
{
    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        void *field = (char *)options + o->offset;

        if (!option_valued(o))
            continue;
        if (option_listed(o))
            texts_free(field);
        if (kinds[o->kind].owned) {
            free((void *)*(const char **)field);
            *(const char **)field = NULL;
        }
    }
}

/* ---- did you mean ---- */

/* Edits that turn a into b: insert, delete, change, or swap two neighbours; each costs 1. */
static int
distance(const char *a, const char *b)
{
    int rows[3][WORD_MAX + 1];
    int la = (int)strlen(a), lb = (int)strlen(b);

    for (int j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (int i = 1; i <= la; i++) {
        int *now = rows[i % 3], *up = rows[(i + 2) % 3], *upup = rows[(i + 1) % 3];

        now[0] = i;
        for (int j = 1; j <= lb; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);

            if (up[j] + 1 < best)
                best = up[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                upup[j - 2] + 1 < best)
                best = upup[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *
nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    int         length = (int)strnlen(word, WORD_MAX + 1);
    int         least = length <= 2 ? 2 : length <= 5 ? 3 : length / 3 + 2;    /* exclusive */

    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (; *names; names++) {
        int d = strnlen(*names, WORD_MAX + 1) > WORD_MAX ? least : distance(word, *names);

        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}
