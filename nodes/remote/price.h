/* price: what a model's tokens cost, and the arithmetic of money.
 *
 * Prices are US dollars for 1e6 tokens, as providers print them. They are written in the topology
 * (price_in, price_out) or, for many models at once, in a price table: a JSON file
 *
 *   {
 *     "gpt-4o-mini": {"in": 0.15, "out": 0.6, "cached_in": 0.075},
 *     "Qwen/Qwen2.5-72B-Instruct": {"in": 0, "out": 0}
 *   }
 *
 * by the model's name as it is sent to the server. "cached_in" is the price of those tokens read
 * that the server says it had cached; without it they cost as much as others. A model that the
 * server gives away says so with zeros: a model that is not in the table has no price.
 *
 * Money is counted in billionths of a US dollar, as integers, and each call is rounded up: a sum
 * never depends on the order of its parts, and is never below what was charged. */
#ifndef NODES_REMOTE_PRICE_H
#define NODES_REMOTE_PRICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define PRICE_FILE_BYTES_MAX (1 << 20)
#define PRICE_MAX            1e6         /* US dollars for 1e6 tokens */
#define PRICE_USD            1000000000LL /* units of money in a US dollar */

struct price {
    bool known;
    double in, out, cached_in; /* US dollars for 1e6 tokens */
};

/* The row of `model` in a price table. A model without a row: 0 and known is false. -> ERROR_file,
 * ERROR_input with file:line:column. */
int price_read(const char *path, const char *model, struct price *p, struct error *e);

/* What so many tokens cost, rounded up; `cached` of `in` were cached at the server. */
int64_t price_of(const struct price *p, uint64_t in, uint64_t cached, uint64_t out);

#endif
