/* number: a number as it is written in text: 1,200 .5 $3.20 20% 10{,}000, without a sign. */
#ifndef NODES_ARITHMETIC_NUMBER_H
#define NODES_ARITHMETIC_NUMBER_H

#include "nodes/arithmetic/token.h"

enum number_found {
    NUMBER_none, /* no number begins here */
    NUMBER_read,
    NUMBER_part /* digits that are part of something else: 3x 9:30 1st 0930 1.2.3 */
};

/* *end: behind it; for NUMBER_part behind all that hangs together. */
enum number_found number_read(struct span text, size_t at, struct number *n, size_t *end);

#endif
