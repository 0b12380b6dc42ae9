/* verify: finds the number an answer ends in and compares decimals digit by digit, so that neither
 * rounding nor length can make two different numbers equal. */
#include "kernels/verify.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/answer/answer.h"
#include "kernels/answer/classic.h"

/* A decimal inside a text: its digits keep their commas, leading and trailing zeros until compared.
 */
struct decimal {
    struct span text;            /* from the sign to the last digit */
    struct span whole, fraction; /* digits; whole may hold separators of thousands */
    bool negative;
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct span
trim(struct span s)
{
    while (s.length && is_space(s.at[0]))
        s.at++, s.length--;
    while (s.length && is_space(s.at[s.length - 1]))
        s.length--;
    return s;
}

/* Length of the minus sign that ends at TEXT[end]: ASCII, or U+2212 in UTF-8; 0 when there is none.
 */
static size_t
minus_before(struct span text, size_t end)
{
    if (end >= 1 && text.at[end - 1] == '-')
        return 1;
    if (end >= 3 && memcmp(text.at + end - 3, "\xe2\x88\x92", 3) == 0)
        return 3;
    return 0;
}

/* A minus makes a number negative unless something stands right before it: "10-3" is a subtraction.
 */
static void
take_sign(struct span text, size_t start, struct decimal *d)
{
    size_t at = start, minus;
    char before;

    if (at && text.at[at - 1] == '$')
        at--;
    if (at && text.at[at - 1] == '\\')
        at--;
    minus = minus_before(text, at);
    if (!minus)
        return;
    before = at > minus ? text.at[at - minus - 1] : ' ';
    if (is_digit(before) || is_letter(before) || before == ')' || before == '}')
        return;
    d->negative = true;
    d->text.length += (size_t)(d->text.at - (text.at + at - minus));
    d->text.at = text.at + at - minus;
}

/* Bytes of the separator of thousands at TEXT[at]: a comma, or LaTeX's {,} and ,\! that leave no
 * gap; 0: there is none, or not exactly three digits follow it. */
static size_t
separator(struct span text, size_t at)
{
    static const char *const signs[] = {",", "{,}", ",\\!"};
    size_t length = 0, left = text.length - at;

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (left > strlen(signs[i]) && memcmp(text.at + at, signs[i], strlen(signs[i])) == 0)
            length = strlen(signs[i]);
    if (!length || left < length + 3)
        return 0;
    for (size_t i = 0; i < 3; i++)
        if (!is_digit(text.at[at + length + i]))
            return 0;
    return left > length + 3 && is_digit(text.at[at + length + 3]) ? 0 : length;
}

/* The next decimal at or after *AT; moves *AT past it. */
static bool
next_decimal(struct span text, size_t *at, struct decimal *d)
{
    size_t i = *at, start;

    while (i < text.length && !is_digit(text.at[i]))
        i++;
    if (i == text.length)
        return false;
    *d = (struct decimal){0};
    start = i;
    /* ".5", but not the end of "1.2.5" */
    if (i > *at && text.at[i - 1] == '.' && (i < 2 || !is_digit(text.at[i - 2]))) {
        start = i - 1;
        d->whole = span_of(text.at + start, 0);
        i = start;
    } else {
        while (i < text.length && is_digit(text.at[i]))
            i++;
        if (i - start <= 3) /* 1 to 3 digits, then groups */
            for (size_t length; (length = separator(text, i)) > 0;)
                i += length + 3;
        d->whole = span_of(text.at + start, i - start);
    }
    if (i + 1 < text.length && text.at[i] == '.' && is_digit(text.at[i + 1])) {
        size_t point = i++;

        while (i < text.length && is_digit(text.at[i]))
            i++;
        d->fraction = span_of(text.at + point + 1, i - point - 1);
    }
    d->text = span_of(text.at + start, i - start);
    take_sign(text, start, d);
    *at = i;
    return true;
}

/* The last occurrence of WORD before END; text.length when there is none. */
static size_t
find_last(struct span text, size_t end, const char *word)
{
    size_t length = strlen(word);

    for (size_t i = end; i-- > 0;)
        if (text.length - i >= length && memcmp(text.at + i, word, length) == 0)
            return i;
    return text.length;
}

/* The inside of the last \boxed{...} whose braces close. Braces are matched from each \boxed
 * forward, once: the scan ends at the next \boxed already tried, so hostile nesting stays linear.
 */
static bool
find_boxed(struct span text, struct span *inside)
{
    size_t end = text.length;

    for (;;) {
        size_t at = find_last(text, end, "\\boxed{"), start, depth = 1;

        if (at == text.length)
            return false;
        start = at + 7;
        for (size_t i = start; i < end + 7 && i < text.length; i++) {
            depth += text.at[i] == '{';
            depth -= text.at[i] == '}';
            if (depth == 0) {
                *inside = span_of(text.at + start, i - start);
                return true;
            }
        }
        end = at;
    }
}

/* The 2 of "25 m^2" is no answer. */
static bool
is_exponent(struct span text, size_t at)
{
    return at >= 2 && text.at[at - 1] == '^' && is_letter(text.at[at - 2]);
}

static bool
number_of(struct span text, struct decimal *d)
{
    struct decimal next;
    struct span inside;
    size_t at = 0, marker;
    bool found = false;

    if (find_boxed(text, &inside)) { /* two numbers in a box are a fraction, a tuple or a hedge */
        found = next_decimal(inside, &at, d);
        return found && !next_decimal(inside, &at, &next);
    }
    marker = find_last(text, text.length, "####");
    if (marker != text.length) {
        at = marker + 4;
        return next_decimal(text, &at, d);
    }
    while (next_decimal(text, &at, &next)) {
        if (found && is_exponent(text, (size_t)(next.text.at - text.at)))
            continue;
        *d = next;
        found = true;
    }
    return found;
}

/* The next digit of a whole part, separators left out; -1 at the end. */
static int
digit_at(struct span digits, size_t *i)
{
    while (*i < digits.length && !is_digit(digits.at[*i]))
        ++*i;
    return *i < digits.length ? digits.at[(*i)++] : -1;
}

static size_t
skip_zeros(struct span digits)
{
    size_t i = 0;

    while (i < digits.length && (digits.at[i] == '0' || !is_digit(digits.at[i])))
        i++;
    return i;
}

static size_t
drop_zeros(struct span digits)
{
    size_t length = digits.length;

    while (length && digits.at[length - 1] == '0')
        length--;
    return length;
}

static bool
same_value(const struct decimal *a, const struct decimal *b)
{
    size_t i = skip_zeros(a->whole), j = skip_zeros(b->whole);
    size_t fraction = drop_zeros(a->fraction);
    bool zero = i == a->whole.length && fraction == 0;

    for (;;) {
        int x = digit_at(a->whole, &i), y = digit_at(b->whole, &j);

        if (x != y)
            return false;
        if (x < 0)
            break;
    }
    if (fraction != drop_zeros(b->fraction) ||
        (fraction && memcmp(a->fraction.at, b->fraction.at, fraction) != 0))
        return false;
    return zero || a->negative == b->negative;
}

int
verify_answer(enum verify_mode mode, struct span response, struct span gold)
{
    struct decimal a, b;

    if (mode == VERIFY_math)
        return answer_same(response, gold);
    if (mode == VERIFY_choice)
        return answer_choice(response, gold);
    if (mode == VERIFY_hendrycks)
        return classic_hendrycks(response, gold);
    if (mode == VERIFY_dapo)
        return classic_dapo(response, gold);
    if (mode == VERIFY_exact) {
        response = trim(response);
        gold = trim(gold);
        return response.length == gold.length &&
               (gold.length == 0 || memcmp(response.at, gold.at, gold.length) == 0);
    }
    return number_of(response, &a) && number_of(gold, &b) && same_value(&a, &b);
}

struct span
verify_number(struct span text)
{
    struct decimal d;

    return number_of(text, &d) ? d.text : (struct span){NULL, 0};
}

int
verify_mode_of(const char *word)
{
    static const char *const names[] = {
#define VERIFY(name, meaning) #name,
#include "kernels/verify.def"
#undef VERIFY
    };

    for (int i = 0; i < VERIFY_modes; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}
