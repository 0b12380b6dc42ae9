/* agreement: how far voters agree, as counters and what is made of them.
 *
 * A voter says of a step that it is wrong, that it is correct, or nothing. For every pair of voters
 * a table of 3 x 3 counts steps by what the two said; a profile counts steps by how many voters
 * called them correct and how many wrong. Counters are whole numbers and adding commutes: arrival
 * order, restarts and replicas (whose counters are added) change nothing. From them:
 *
 *   Cohen's kappa of a pair (Cohen 1960): (p_o - p_e) / (1 - p_e) over the steps that both spoke
 *     of; p_o the share they agree on, p_e = sum over words of the product of their own shares.
 *   Fleiss' kappa (Fleiss 1971): (P - P_e) / (1 - P_e) over the steps that all n voters spoke of; P
 *     the mean share of agreeing pairs of voters on a step, P_e = sum of squared shares of words.
 *   Krippendorff's alpha, nominal: 1 - D_o / D_e over every word on steps that at least two voters
 *     spoke of; the one that abstentions do not silence.
 *
 * Each is NaN where it is not defined: no such step, or every word the same (0 / 0). */
#ifndef NODES_AGREEMENT_H
#define NODES_AGREEMENT_H

#include <stdint.h>

#include <jansson.h>

#include "base/error.h"

#define AGREEMENT_VOTERS_MAX 16 /* in voter-id order; later ones are not counted */
#define AGREEMENT_PAIRS_MAX  (AGREEMENT_VOTERS_MAX * (AGREEMENT_VOTERS_MAX - 1) / 2)
#define AGREEMENT_VERSION    1

enum agreement_word { AGREEMENT_wrong, AGREEMENT_correct, AGREEMENT_silent, AGREEMENT_WORDS };

struct agreement {
    uint32_t version, voters;
    uint64_t steps;
    /* Pair (a, b), a < b, stands at agreement_pair(); [a's word][b's word]. */
    uint64_t pairs[AGREEMENT_PAIRS_MAX][AGREEMENT_WORDS][AGREEMENT_WORDS];
    uint64_t profile[AGREEMENT_VOTERS_MAX + 1][AGREEMENT_VOTERS_MAX + 1]; /* [correct][wrong] */
};

/* `voters` above the maximum counts the first so many. */
void agreement_init(struct agreement *g, int voters);
int agreement_pair(const struct agreement *g, int a, int b); /* a < b */
/* One step; words (voters). */
void agreement_add(struct agreement *g, const uint8_t *words);
/* The counters of another, of as many voters, are added. */
void agreement_merge(struct agreement *g, const struct agreement *other);

double agreement_observed(const struct agreement *g, int a, int b); /* p_o; NaN */
double agreement_cohen(const struct agreement *g, int a, int b);
double agreement_fleiss(const struct agreement *g);
double agreement_alpha(const struct agreement *g);

/* {"voters":[id ...],"steps":n,"fleiss":x,"alpha":x,"pairs":[{"a","b","table":[[3] [3] [3]],
 * "observed","cohen"} ...],"profile":[[correct,wrong,steps] ...]}: new. A NaN is null. */
json_t *agreement_json(const struct agreement *g, const char *const *names);
/* The counters of such an object, which may come from anywhere. -> ERROR_input. */
int agreement_parse(struct agreement *g, const json_t *json, struct error *e);

#endif
