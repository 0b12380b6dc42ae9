/* judge: what the kinds that judge have in common: reading the steps of a unit, and answering it
 * with a vote.
 *
 * A judge never withholds its answer. What it cannot judge it abstains on, and where that is a
 * fault rather than a choice the steps go to the dead letters too, with the same reason. */
#ifndef NODES_JUDGE_H
#define NODES_JUDGE_H

#include <stdint.h>

#include "graph/node.h"

enum judge_port { JUDGE_IN, JUDGE_VOTES };

/* The ports of every judge: steps in, votes out. */
extern const struct port judge_ports[];

/* Unpacks the unit's steps and checks that they tile the response. Text borrows from the unit, the
 * rest from the arena. -> ERROR_input, ERROR_version: for judge_dead(). */
int judge_read(const struct unit *u, struct steps *out, struct arena *arena, struct error *e);

/* Sends the vote (the voter's id is filled in), counts what it says of the steps with scores of at
 * least THRESHOLD as correct, and ends the unit. The vote's arrays hold COUNT steps unless it
 * abstains. */
void judge_vote(struct node *n, struct unit *u, struct vote *vote, double threshold);

/* Abstains with a reason and puts the steps into the dead letters with the same reason. Fields of
 * `vote` that say what it cost are kept. Ends the unit. */
void judge_dead(struct node *n, struct unit *u, struct vote *vote, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
