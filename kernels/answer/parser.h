/* parser: what parse.c and parse_primary.c share. Every parse_ function gives a node, having moved
 * past its tokens, or NULL with the place undefined: who goes on after a NULL restores it. */
#ifndef KERNELS_ANSWER_PARSER_H
#define KERNELS_ANSWER_PARSER_H

#include "kernels/answer/parse.h"
#include "kernels/answer/unit.h"

struct parser {
    struct expressions *all;
    struct latex *l;
    int at;
    int depth;    /* of groups */
    int brackets; /* of those, the ones without braces: no unit stands inside a fraction */
    int bars;     /* open | */
};

static inline struct token *
parser_token(struct parser *p)
{
    return &p->l->at[p->at];
}

static inline bool
parser_sees(struct parser *p, int kind)
{
    return parser_token(p)->kind == kind;
}

static inline bool
parser_takes(struct parser *p, int kind)
{
    bool takes = parser_sees(p, kind);

    p->at += takes;
    return takes;
}

struct expression *parse_list(struct parser *p);
struct expression *parse_relation(struct parser *p);
struct expression *parse_sum(struct parser *p);
struct expression *parse_product(struct parser *p);
struct expression *parse_unary(struct parser *p);
struct expression *parse_primary(struct parser *p);

/* { anything }, one token, or the one digit that TeX would take when `digit`. */
struct expression *parse_argument(struct parser *p, bool digit);

/* Whether a run of letters is a product of symbols: short, and not a word. */
bool parser_product(struct span word);

/* The exact number of a token; NULL when it is too long. */
struct expression *parse_number(struct expressions *all, const struct token *t);

#endif
