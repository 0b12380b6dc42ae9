/* equation: sides joined by relations, followed through a text.
 *
 * A chain (a = b = c) is read side by side. It goes on where the next formula begins with '='
 * (3 + 4 \\ = 7), and where the same name is given a value again: "Total = 52 + 24. Total = 76." So
 * an equation remembers its last side, and under which name. */
#ifndef NODES_ARITHMETIC_EQUATION_H
#define NODES_ARITHMETIC_EQUATION_H

#include <stdint.h>

#include "nodes/arithmetic/arithmetic.h"
#include "nodes/arithmetic/compare.h"

#define EQUATION_NAME_TOKENS_MAX 24

/* A side in both readings of its percentages. */
struct both {
    struct side as[2]; /* by enum side_mode */
};

/* The last side of the last equation, and what it was called. */
struct last {
    bool there;    /* nothing but units and breaks came after it */
    bool broken;   /* a break came: words are not its unit any more */
    bool close;    /* nothing came after it but the end of its formula, and the name that
                    * is read now */
    uint64_t name; /* 0: none */
    struct both side;
};

/* Reads the equation that begins at `at` and counts its comparisons. NAME: of the name that was
 * given to it by a relation right before `at`, else 0. FOLLOWS: a word stands before it. -> the end
 * of its last operand; `at` when there is none. */
size_t equation_read(struct span text, size_t at, uint64_t name, bool follows, struct last *last,
                     struct arithmetic *out);

/* Goes on with the last side at a relation that begins a formula. -> the end of its last operand,
 * or `at`. */
size_t equation_go_on(struct span text, size_t at, struct last *last, struct arithmetic *out);

#endif
