/* pattern: what a Split, a Replace or a pre-tokenizer with a fixed rule looks for in a text: a
 * regular expression, a string, or characters with a flag.
 *
 * The reference's regular expressions are Oniguruma's with Ruby's syntax, ours PCRE2's. Patterns
 * are translated where the two agree in meaning: white space, \w, \b, \d, \h, general categories
 * and Han through the tables of unicode.h, so that the Unicode version is the reference's; classes
 * with classes inside or "&&" are computed; (?m) is PCRE2's s. They are refused, with the words
 * that are not understood, where the two would differ: POSIX classes, \R, \X, \G and their like,
 * x{n}+. Other scripts and properties are PCRE2's own (Unicode 14 in 10.42; the reference has 16),
 * and (?i) does not fold one character to several. */
#ifndef KERNELS_PATTERN_H
#define KERNELS_PATTERN_H

#include "base/error.h"
#include "base/memory.h"

#define PATTERN_SOURCE_MAX (1 << 13) /* bytes of a pattern as given: each may cost a set */
#define PATTERN_BYTES_MAX  (1 << 20) /* of a pattern, translated */

struct pattern;

struct pattern *pattern_regex(const char *text, struct error *e);   /* NULL: ERROR_model */
struct pattern *pattern_literal(struct span text, struct error *e); /* must not be empty */
struct pattern *pattern_flag(uint16_t flag);                        /* each character with it */
struct pattern *pattern_space(void);                                /* each white space */
void pattern_free(struct pattern *p);

/* A walk over the matches from left to right. Set .from to where it begins and .last to SIZE_MAX.
 */
struct pattern_walk {
    size_t from;       /* where the next search begins */
    size_t last;       /* where the last match ended */
    size_t start, end; /* the match */
};

#define PATTERN_WALK ((struct pattern_walk){.last = SIZE_MAX})

/* The next match in TEXT (valid UTF-8) into *w: 1, or 0 when there is none, or ERROR_model when a
 * regular expression gives up. A match may be empty, but not right after another one, as in the
 * reference. */
int pattern_next(const struct pattern *p, struct span text, struct pattern_walk *w,
                 struct error *e);

/* The translation of a regular expression, for tests: appended to OUT, terminated. */
int pattern_translate(const char *text, struct buffer *out, struct error *e);

#endif
