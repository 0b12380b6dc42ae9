/* letter: dead letters as JSON, for `sluice dead`. How they are written and retried is in
 * graph/dead.c. */
#ifndef GRAPH_LETTER_H
#define GRAPH_LETTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/message.h"
#include "graph/plan.h"
#include "graph/store.h"

#define LETTER_LIST_MAX 1000    /* headers in one answer */

/* The header of a row of TABLE_dead (a new reference) and its bodies, which borrow from the row; NULL when the row is not
 * one. The only reader of what graph/dead.c writes. */
json_t *letter_header(struct span row, struct span *bodies);
/* {"letters":[headers, oldest first],"more":bool} into `reply`; `from`: the first number wanted. */
void letter_list(struct store *s, uint64_t from, json_t *reply);
/* The header, with the bodies of its inputs as JSON objects of their messages, or the bytes of a
 * line as text. -> ERROR_usage */
int letter_show(struct store *s, const struct plan *p, int node, uint64_t number, json_t *reply,
                struct error *e);
/* The answer to {"ask":"dead","do":"list"|"show","id":N,"from":N}; retry and drop are the node's
 * own business. */
int letter_answer(struct store *s, const struct plan *p, int node, const json_t *request,
                  json_t *reply, struct error *e);
/* A packed message as a JSON object; a text that says why when it is none. New. */
json_t *letter_body(enum message m, struct span body);

#endif
