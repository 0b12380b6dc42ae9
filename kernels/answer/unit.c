/* unit: a table, and a product of its rows. */
#include "kernels/answer/unit.h"

#include <string.h>
#include <strings.h>

#define FACTOR_MAX (INT64_C(1) << 31) /* a unit beyond it is unknown, so products fit */
#define POWER_MAX  4

static const struct row {
    const char *name;
    enum unit_dimension dimension;
    int64_t over, under;
} rows[] = {
#define UNIT(name, dimension, over, under) {name, UNIT_##dimension, over, under},
#include "kernels/answer/unit.def"
#undef UNIT
};

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
named(const char *name, struct span word)
{
    size_t length;

    if (word.length == 0 || (word.at[0] | 32) != (name[0] | 32))
        return false;
    length = strlen(name);
    if (length == 1)
        return span_is(word, name);
    if (word.length < length || strncasecmp(name, word.at, length) != 0)
        return false;
    word.at += length;
    word.length -= length;
    return word.length == 0 || (word.length == 1 && word.at[0] == 's') ||
           (word.length == 2 && memcmp(word.at, "es", 2) == 0);
}

static int
row_of(struct span word)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (named(rows[i].name, word))
            return (int)i;
    return -1;
}

bool
unit_is(struct span word)
{
    return row_of(word) >= 0;
}

void
unit_start(struct unit *u)
{
    *u = (struct unit){.known = true, .over = 1, .under = 1, .row = -1};
}

/* Takes the last unit POWER more times, below the line where it stands there. */
static void
multiply(struct unit *u, int power)
{
    const struct row *row = &rows[u->row];

    if (power < 0 || power > POWER_MAX) {
        u->known = false;
        return;
    }
    for (int i = 0; i < power && u->known; i++) {
        int64_t over = u->below ? row->under : row->over, under = u->below ? row->over : row->under;

        u->power[row->dimension] += u->below ? -1 : 1;
        u->known = over < FACTOR_MAX / u->over && under < FACTOR_MAX / u->under;
        if (u->known) {
            u->over *= over;
            u->under *= under;
        }
    }
}

static void
read_word(struct unit *u, struct span word)
{
    if (span_is(word, "per")) {
        u->below = true;
        return;
    }
    if (span_is(word, "square") || span_is(word, "sq")) {
        u->pending = 2;
        return;
    }
    if (span_is(word, "cubic")) {
        u->pending = 3;
        return;
    }
    if (span_is(word, "squared") || span_is(word, "cubed")) {
        unit_raise(u, word.at[0] == 's' ? 2 : 3);
        return;
    }
    u->row = row_of(word);
    if (u->row < 0 || rows[u->row].dimension == UNIT_other) {
        u->row = -1;
        u->known = false;
        return;
    }
    multiply(u, u->pending ? u->pending : 1);
    u->pending = 0;
}

void
unit_read(struct unit *u, struct span text)
{
    for (size_t i = 0; i < text.length;) {
        size_t start = i;

        while (i < text.length && is_letter(text.at[i]))
            i++;
        if (i > start) {
            read_word(u, span_of(text.at + start, i - start));
            continue;
        }
        if (text.at[i] == '/')
            u->below = true;
        else if (text.at[i] >= '2' && text.at[i] <= '3')
            unit_raise(u, text.at[i] - '0');
        else if (!strchr(" .^{}\\*-", text.at[i]))
            u->known = false;
        i++;
    }
}

void
unit_raise(struct unit *u, int power)
{
    if (u->row < 0)
        u->known = false;
    else
        multiply(u, power - 1);
}

void
unit_divide(struct unit *u)
{
    u->below = true;
}

bool
unit_agree(const struct unit *a, const struct unit *b, bool *scale)
{
    *scale = false;
    if (!a || !b)
        return true;
    if (a->base || b->base)
        return a->base == b->base;
    if (!a->known || !b->known)
        return true;
    *scale = memcmp(a->power, b->power, sizeof(a->power)) == 0;
    return *scale;
}
