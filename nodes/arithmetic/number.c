/* number: digits, and what may and may not be glued to them. */
#include "nodes/arithmetic/number.h"

#include <string.h>

#include "nodes/arithmetic/characters.h"

#define DIGITS_MAX 36 /* of one number: 127 bits hold 38 */

/* Units that people write without a space; letters that could be variables are not among them. */
static const char *const glued_units[] = {"km",  "cm", "mm", "kg",  "mg",  "lb",   "lbs",
                                          "oz",  "ft", "hr", "hrs", "min", "mins", "sec",
                                          "mph", "ml", "mL", "MB",  "GB",  "kb",   NULL};

/* Bytes of a currency sign at `at` that a number follows. */
static size_t
currency_at(struct span text, size_t at)
{
    static const char *const signs[] = {"\\$", "$", "€", "£", "¥", NULL};

    if (is_digit(byte(text, at)) || is_letter(byte(text, at)) || byte(text, at) == ' ')
        return 0;
    for (int k = 0; signs[k]; k++) {
        size_t n = strlen(signs[k]);
        if (starts(text, at, signs[k]) &&
            (is_digit(byte(text, at + n)) ||
             (byte(text, at + n) == '.' && is_digit(byte(text, at + n + 1)))))
            return n;
    }
    return 0;
}

/* Bytes of a separator of thousands at `at`: exactly three digits follow. */
static size_t
thousands_at(struct span text, size_t at)
{
    static const char *const signs[] = {",", "{,}", ",\\!", "\\,", NULL};

    for (int k = 0; signs[k]; k++) {
        size_t to = at + strlen(signs[k]);
        if (starts(text, at, signs[k]) && is_digit(byte(text, to)) &&
            is_digit(byte(text, to + 1)) && is_digit(byte(text, to + 2)) &&
            !is_digit(byte(text, to + 3)))
            return strlen(signs[k]);
    }
    return 0;
}

/* The end of all letters, digits and points that hang together at `at`. */
static size_t
run_end(struct span text, size_t at)
{
    size_t from = at;

    while (at < text.length && at - from < TOKEN_BYTES_MAX &&
           (is_digit(text.at[at]) || is_letter(text.at[at]) || text.at[at] == '_' ||
            (strchr(".:,'", text.at[at]) && text.at[at] && is_digit(byte(text, at + 1)))))
        at++;
    return at;
}

/* May a letter follow? A unit may, and an x that is a sign of multiplication (3x4, 3x(2)). */
static bool
letters_fit(struct span text, size_t at)
{
    char next = byte(text, at + 1);
    size_t end = at;

    if ((byte(text, at) == 'x' || byte(text, at) == 'X') &&
        (is_digit(next) || next == '(' || next == '$' ||
         (next == ' ' && (is_digit(byte(text, at + 2)) || byte(text, at + 2) == '$'))))
        return true;
    while (is_letter(byte(text, end)) && end - at < 8)
        end++;
    if (is_digit(byte(text, end)) || byte(text, end) == '_')
        return false;
    for (int k = 0; glued_units[k]; k++)
        if (strlen(glued_units[k]) == end - at &&
            memcmp(text.at + at, glued_units[k], end - at) == 0)
            return true;
    return false;
}

/* Is what stands behind the digits free of them? */
static bool
ends_well(struct span text, size_t at)
{
    char next = byte(text, at), second = byte(text, at + 1);

    if (is_letter(next))
        return letters_fit(text, at);
    if (next == '_' || next == '\'' || is_digit(next))
        return false;
    if ((next == ':' || next == '.') && is_digit(second))
        return false;
    return !(next == ',' && is_digit(second) && is_digit(byte(text, at + 2)) &&
             is_digit(byte(text, at + 3)));
}

static size_t
percent_at(struct span text, size_t at)
{
    return byte(text, at) == '%'      ? 1
           : starts(text, at, "\\%")  ? 2
           : starts(text, at, " \\%") ? 3
                                      : 0;
}

enum number_found
number_read(struct span text, size_t at, struct number *n, size_t *end)
{
    wide mantissa = 0, scale = 1;
    size_t start, skip;
    int digits = 0, lead = 0;

    *n = (struct number){.currency = currency_at(text, at) > 0};
    start = at += currency_at(text, at);
    if (!is_digit(byte(text, at)) && !(byte(text, at) == '.' && is_digit(byte(text, at + 1))))
        return NUMBER_none;
    for (;;) {
        if (is_digit(byte(text, at)) && digits < DIGITS_MAX) {
            mantissa = mantissa * 10 + (text.at[at++] - '0');
            digits++;
            lead++;
        } else if (lead >= 1 && lead <= 3 && (skip = thousands_at(text, at)) > 0) {
            at += skip;
            lead = 0;
        } else {
            break;
        }
    }
    if (byte(text, at) == '.' && is_digit(byte(text, at + 1)))
        for (at++; is_digit(byte(text, at)) && digits < DIGITS_MAX; at++) {
            mantissa = mantissa * 10 + (text.at[at] - '0');
            scale *= 10;
            n->decimals++;
            digits++;
        }
    if (n->decimals > 0)
        at += starts(text, at, "...") ? 3 : starts(text, at, "…") ? strlen("…") : 0;
    *end = at;
    bool padded = byte(text, start) == '0' && is_digit(byte(text, start + 1)); /* a time, a code */
    if (padded || !ends_well(text, at)) {
        *end = run_end(text, start);
        if (*end <= at)
            *end = at;
        return NUMBER_part;
    }
    fraction_make(mantissa, scale, &n->value);
    n->percent = percent_at(text, at) > 0;
    *end = at + percent_at(text, at);
    return NUMBER_read;
}
