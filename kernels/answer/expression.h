/* expression: what an answer says, as a tree: numbers exact, symbols by name, and around them the
 * shapes answers come in (lists, sets, tuples and intervals, matrices, relations). All nodes of a
 * verdict belong to one `expressions`, which counts them and the work done on them: an answer is
 * bounded by these counts and never by a clock, so that a verdict is the same on every machine. */
#ifndef KERNELS_ANSWER_EXPRESSION_H
#define KERNELS_ANSWER_EXPRESSION_H

#include <gmp.h>
#include <stdbool.h>

#include "base/memory.h"

#define EXPRESSION_NODES_MAX 8192  /* of both answers together */
#define EXPRESSION_WORK_MAX  60000 /* nodes visited, large numbers and functions counted more */
#define EXPRESSION_BITS_MAX  65536 /* of an exact numerator or denominator */
#define EXPRESSION_DEPTH_MAX 120   /* of a tree; the parser's groups are bounded besides */

enum expression_kind {
    EXPRESSION_number,     /* value */
    EXPRESSION_constant,   /* op: enum constant */
    EXPRESSION_symbol,     /* name */
    EXPRESSION_negate,     /* one item, as the next four */
    EXPRESSION_plus_minus, /* op: +1 for plus or minus, -1 for minus or plus */
    EXPRESSION_percent,
    EXPRESSION_degree,
    EXPRESSION_factorial,
    EXPRESSION_add, /* any number of items, as multiply */
    EXPRESSION_multiply,
    EXPRESSION_divide, /* two items, as power */
    EXPRESSION_power,
    EXPRESSION_call,     /* op: enum function; its arguments */
    EXPRESSION_apply,    /* name: an unknown function, f(x); its arguments */
    EXPRESSION_quantity, /* one item and its unit */
    EXPRESSION_list,     /* 1, 2, 3: items without brackets; op 1: with "or" */
    EXPRESSION_set,      /* {1, 2, 3} */
    EXPRESSION_tuple,    /* op: BRACKET_ bits; of two items it may be an interval */
    EXPRESSION_matrix,   /* op: columns; items row by row */
    EXPRESSION_join,     /* two items: union, intersection, difference */
    EXPRESSION_meet,
    EXPRESSION_without,
    EXPRESSION_relation, /* op: enum relation of the pair, or of the last pair of a chain */
};

enum constant { CONSTANT_pi, CONSTANT_e, CONSTANT_i, CONSTANT_infinity, CONSTANT_reals };

/* Bits, so that a chain can say what it holds. */
enum relation {
    RELATION_equal = 1,
    RELATION_less = 2,
    RELATION_less_equal = 4,
    RELATION_greater = 8,
    RELATION_greater_equal = 16,
    RELATION_unequal = 32,
    RELATION_about = 64,
    RELATION_in = 128,
};

#define BRACKET_closed_low  1 /* [ */
#define BRACKET_closed_high 2 /* ] */

enum function {
#define FUNCTION(name, text) FUNCTION_##name,
#include "kernels/answer/function.def"
#undef FUNCTION
};

struct unit;

struct expression {
    enum expression_kind kind;
    int op;
    int count, depth;           /* of items; of the tree below */
    bool decimal;               /* a number written with a point: it may be rounded */
    bool plain;                 /* a number of bare digits */
    struct span name;           /* borrowed from the answer's text or static */
    struct expression *first, *last; /* the items, by `next` */
    struct expression *next;
    const struct unit *unit;
    int relation;               /* of an item of a relation: how it stands to the item before */
    mpq_t value;
    struct expression *number;  /* the numbers to clear */
};

struct expressions {
    struct arena arena;
    struct expression *numbers;
    int nodes;
    int64_t work;
};

/* A new node; NULL beyond EXPRESSION_NODES_MAX. A number's value is 0. */
struct expression *expression_new(struct expressions *all, enum expression_kind kind, int op);

/* A node with one or two items (b: NULL for one); NULL when a or the node is NULL, or too deep. */
struct expression *expression_of(struct expressions *all, enum expression_kind kind, int op,
                                 struct expression *a, struct expression *b);
struct expression *expression_integer(struct expressions *all, long value);

/* Appends an item. */
void expression_add(struct expression *e, struct expression *item);

/* The same tree with every plus-or-minus taken as `sign` times its own; NULL beyond the bound. */
struct expression *expression_signed(struct expressions *all, const struct expression *e, int sign);

/* Whether the tree holds a node of the kind (and, where name.at is set, that name). */
bool expression_has(const struct expression *e, enum expression_kind kind);
bool expression_has_symbol(const struct expression *e, struct span name);
bool expression_has_decimal(const struct expression *e);

bool expression_same_name(struct span a, struct span b);

/* The same tree, node by node: true of any equal numbers, so 1.0 is 1. */
bool expression_alike(const struct expression *a, const struct expression *b);

/* Counts work; false when it is spent. */
bool expression_spend(struct expressions *all, int64_t work);

void expressions_free(struct expressions *all);

#endif
