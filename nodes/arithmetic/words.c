/* words: the lists. */
#include "nodes/arithmetic/words.h"

#include <string.h>
#include <strings.h>

static const char *const quantity[] = {
    "of",    "times", "plus",   "minus",   "over",     "twice",   "half",   "double", "triple",
    "x",     "by",    "thrice", "squared", "than",     "percent", "sqrt",   "log",    "ln",
    "sin",   "cos",   "tan",    "exp",     "mod",      "gcd",     "lcm",    "max",    "min",
    "floor", "ceil",  "abs",    "root",    "negative", "base",    "modulo", NULL};

static const char *const doubtful[] = {"dozen", "dozens", "pair", "pairs",   "couple", "score",
                                       "gross", "am",     "pm",   "o'clock", NULL};

static const char *const indexed[] = {
    "week",     "day",      "month", "year",     "step",    "part",     "phase",     "page",
    "chapter",  "grade",    "level", "class",    "room",    "group",    "team",      "case",
    "round",    "game",     "test",  "stage",    "problem", "question", "equation",  "option",
    "figure",   "table",    "lap",   "quarter",  "number",  "no",       "method",    "scenario",
    "box",      "bag",      "house", "floor",    "trip",    "player",   "person",    "child",
    "store",    "shop",     "row",   "section",  "unit",    "set",      "batch",     "hour",
    "minute",   "line",     "item",  "term",     "side",    "machine",  "january",   "february",
    "march",    "april",    "may",   "june",     "july",    "august",   "september", "october",
    "november", "december", "eq",    "exercise", "example", "note",     NULL};

static const char *const unit_ends[] = {"and",       "or",
                                        "the",       "is",
                                        "are",       "was",
                                        "were",      "has",
                                        "had",       "have",
                                        "for",       "in",
                                        "on",        "at",
                                        "to",        "from",
                                        "with",      "by",
                                        "than",      "then",
                                        "so",        "but",
                                        "if",        "because",
                                        "since",     "of",
                                        "that",      "which",
                                        "who",       "when",
                                        "where",     "while",
                                        "as",        "it",
                                        "this",      "he",
                                        "she",       "they",
                                        "we",        "you",
                                        "her",       "his",
                                        "their",     "after",
                                        "before",    "during",
                                        "until",     "more",
                                        "less",      "fewer",
                                        "times",     "plus",
                                        "minus",     "multiplied",
                                        "divided",   "equals",
                                        "equal",     "makes",
                                        "gives",     "totals",
                                        "percent",   "off",
                                        "also",      "will",
                                        "can",       "would",
                                        "should",    "does",
                                        "do",        "did",
                                        "not",       "rounded",
                                        "about",     "approximately",
                                        "out",       "into",
                                        "over",      "under",
                                        "thus",      "therefore",
                                        "hence",     "now",
                                        "next",      "finally",
                                        "first",     "second",
                                        "third",     "let",
                                        "let's",     "between",
                                        "squared",   "cubed",
                                        "factorial", "mod",
                                        "modulo",    "twice",
                                        "half",      "remainder",
                                        "if",        "however",
                                        "i",         "an",
                                        "a",         NULL};

static const char *const denied[] = {"if",          "suppose",   "not",     "isn't",      "false",
                                     "wrong",       "incorrect", "mistake", "mistakenly", "cannot",
                                     "incorrectly", "instead",   NULL};

static const char *const about[] = {"about",      "approximately", "approx",   "roughly",
                                    "around",     "nearly",        "almost",   "rounded",
                                    "rounding",   "nearest",       "estimate", "estimated",
                                    "estimation", "truncated",     NULL};

static const char *const more[] = {"more", "less", "fewer", NULL};

static const char *const goes_on[] = {
    "times", "of",        "percent", "than",       "off",     "out",       "plus", "minus",
    "half",  "remainder", "r",       "multiplied", "divided", "over",      "or",   "to",
    "twice", "squared",   "cubed",   "mod",        "modulo",  "factorial", NULL};

/* Each row: the unit's names, which family, which place in it. */
static const struct {
    const char *names;
    int family, place;
} units[] = {
    {"second seconds sec secs", 0, 1},
    {"minute minutes min mins", 0, 2},
    {"hour hours hr hrs hourly mph kph", 0, 3},
    {"day days daily", 0, 4},
    {"week weeks weekly workweek", 0, 5},
    {"month months monthly", 0, 6},
    {"year years yearly annually yr yrs", 0, 7},
    {"decade decades", 0, 8},
    {"century centuries", 0, 9},
    {"dollar dollars usd bucks", 1, 1},
    {"cent cents penny pennies ¢", 1, 2},
    {"quarter quarters", 1, 3},
    {"dime dimes", 1, 4},
    {"nickel nickels", 1, 5},
    {"mm millimeter millimeters", 2, 1},
    {"cm centimeter centimeters", 2, 2},
    {"m meter meters metre metres", 2, 3},
    {"km kilometer kilometers kilometre kilometres", 2, 4},
    {"inch inches", 2, 5},
    {"foot feet ft", 2, 6},
    {"yard yards", 2, 7},
    {"mile miles", 2, 8},
    {"mg milligram milligrams", 3, 1},
    {"gram grams", 3, 2},
    {"kg kilogram kilograms kilo kilos", 3, 3},
    {"ounce ounces oz", 3, 4},
    {"pound pounds lb lbs", 3, 5},
    {"ton tons tonne tonnes", 3, 6},
    {"ml milliliter milliliters", 4, 1},
    {"liter liters litre litres", 4, 2},
    {"cup cups", 4, 3},
    {"pint pints", 4, 4},
    {"quart quarts", 4, 5},
    {"gallon gallons", 4, 6},
    {"teaspoon teaspoons tsp", 4, 7},
    {"tablespoon tablespoons tbsp", 4, 8},
    {"kb kilobyte kilobytes", 5, 1},
    {"mb megabyte megabytes", 5, 2},
    {"gb gigabyte gigabytes", 5, 3},
};

#define FAMILY_money 1
#define PLACE_dollar 1

bool
words_quantity(const struct token *t)
{
    return token_among(t, quantity) || words_letter(t);
}

bool
words_letter(const struct token *t)
{
    size_t n = 1;

    if (t->kind != TOKEN_word || t->word.length == 0)
        return false;
    if ((unsigned char)t->word.at[0] >= 0xc0)
        while (n < t->word.length && ((unsigned char)t->word.at[n] & 0xc0) == 0x80)
            n++;
    return n == t->word.length;
}

bool
words_doubt(const struct token *t)
{
    return token_among(t, doubtful);
}

bool
words_index(const struct token *t)
{
    struct token one = *t;

    if (one.word.length > 1 && (one.word.at[one.word.length - 1] | 32) == 's')
        one.word.length--; /* Weeks 1-2 */
    return token_among(t, indexed) || token_among(&one, indexed);
}

bool
words_end_unit(const struct token *t)
{
    return token_among(t, unit_ends);
}

bool
words_about(const struct token *t)
{
    return token_among(t, about);
}

bool
words_rounds(const struct token *t, const struct token *next)
{
    static const char *const rounds[] = {"round", "rounds", "rounded", NULL};
    static const char *const ways[] = {"to", "up", "down", "off", NULL};

    return token_among(t, rounds) && token_among(next, ways);
}

bool
words_deny(const struct token *t)
{
    return token_among(t, denied);
}

bool
words_goes_on(const struct token *t)
{
    return token_among(t, goes_on);
}

bool
words_more(const struct token *t)
{
    return token_among(t, more);
}

int64_t
words_scale(const struct token *t)
{
    return token_is(t, "hundred")    ? 100
           : token_is(t, "thousand") ? 1000
           : token_is(t, "million")  ? 1000000
           : token_is(t, "billion")  ? 1000000000
                                     : 0;
}

char
words_operator(const struct token *t, const struct token *next, bool *two)
{
    *two = token_is(next, "by");
    if (*two)
        return token_is(t, "multiplied") ? '*' : token_is(t, "divided") ? '/' : 0;
    return token_is(t, "plus") ? '+' : token_is(t, "minus") ? '-' : token_is(t, "times") ? '*' : 0;
}

/* third, thirds -> 3; 0: no such word. */
static int
denominator_of(struct span word)
{
    static const char *const names[] = {"half",    "third",  "quarter", "fifth", "sixth",
                                        "seventh", "eighth", "ninth",   "tenth", "fourth"};
    static const int values[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 4};

    for (int k = 0; k < 10; k++) {
        size_t n = strlen(names[k]);
        bool plural = word.length == n + 1 && (word.at[n] == 's' || word.at[n] == 'S');
        if ((word.length == n || plural) && strncasecmp(word.at, names[k], n) == 0)
            return values[k];
    }
    return 0;
}

static int
count_of(struct span word)
{
    static const char *const names[] = {"one", "two", "three", "four", "five", "six", "seven"};

    for (int k = 0; k < 7; k++)
        if (word.length == strlen(names[k]) && strncasecmp(word.at, names[k], word.length) == 0)
            return k + 1;
    return 0;
}

bool
words_fraction(const struct token *t, const struct token *next, int *numerator, int *denominator,
               bool *two)
{
    const char *hyphen;

    *two = false;
    if (t->kind != TOKEN_word)
        return false;
    *numerator = 1;
    if (token_is(t, "half") && (*denominator = 2) != 0)
        return true;
    hyphen = memchr(t->word.at, '-', t->word.length);
    if (hyphen) {
        size_t n = (size_t)(hyphen - t->word.at);
        *numerator = count_of(span_of(t->word.at, n));
        *denominator = denominator_of(span_of(hyphen + 1, t->word.length - n - 1));
        return *numerator > 0 && *denominator > 0;
    }
    *numerator = count_of(t->word);
    *denominator = next->kind == TOKEN_word ? denominator_of(next->word) : 0;
    *two = true;
    return *numerator > 0 && *denominator > 0;
}

/* ---- units ---- */

static void
note(struct units *u, int family, int place)
{
    u->mixed |= u->seen[family] != 0 && u->seen[family] != place;
    u->seen[family] = (unsigned char)place;
}

/* Is the word one of the names, which spaces part? */
static bool
is_name(const char *names, struct span word)
{
    while (*names) {
        size_t n = strcspn(names, " ");
        if (n == word.length && strncasecmp(names, word.at, n) == 0)
            return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

static void
add_word(struct units *u, struct span word)
{
    for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++)
        if (is_name(units[k].names, word))
            note(u, units[k].family, units[k].place);
}

void
units_add(struct units *u, const struct token *t)
{
    size_t from = 0;

    for (size_t i = 0; i <= t->word.length; i++) {
        if (i < t->word.length && !strchr(" /-.", t->word.at[i]))
            continue;
        add_word(u, span_of(t->word.at + from, i - from));
        from = i + 1;
    }
}

void
units_add_currency(struct units *u)
{
    note(u, FAMILY_money, PLACE_dollar);
}

void
units_merge(struct units *into, const struct units *from)
{
    into->mixed |= from->mixed;
    for (int k = 0; k < UNITS_FAMILIES; k++)
        if (from->seen[k])
            note(into, k, from->seen[k]);
}
