/* objective: the table of objectives (kernels/objective.def) and the calls around one: defaults,
 * advantages, checks, the coefficients. What an objective is: kernels/objective_kind.h. */
#ifndef KERNELS_OBJECTIVE_H
#define KERNELS_OBJECTIVE_H

#include <stdio.h>

#include "base/error.h"
#include "kernels/objective_kind.h"

const struct objective *objective_find(const char *name);   /* NULL: unknown */
const struct objective *objective_at(int index);            /* rows of objective.def; NULL: none */

/* A user's own: a shared object built from one C file that defines
 *      const struct objective sluice_objective = { .abi = OBJECTIVE_ABI, ... };
 * ERROR_model names the file and what is wrong with it: not loadable, no such symbol, another ABI,
 * no run(). It stays loaded for the life of the process. */
int objective_load(const char *path, const struct objective **objective, struct error *e);

/* All numbers "not given": NaN; enums -1. */
struct objective_settings objective_settings_none(void);

/* Fills what was not given from the objective's own; ERROR_model where a choice does not belong to
 * the objective (an aggregation it does not have, a clip where it has no ratio). */
int objective_settings_fill(const struct objective *o, struct objective_settings *s,
                            struct error *e);

/* The objective's needs under the settings: plus the reference for a KL term, the entropy for a
 * bonus, groups for advantages that compare. */
unsigned objective_needs(const struct objective *o, const struct objective_settings *s);

/* Fills sample[i].advantage; with `given` leaves it. With kl_in_reward, b must hold whole groups
 * and r_i is first lowered by kl_weight times the sum over its rows of k (behaviour against
 * reference); the group's mean and spread are then those of the samples that are here. */
void objective_advantages(const struct objective_batch *b, const struct objective_settings *s,
                          struct objective_sample *sample);

/* Is everything there that the objective needs, and finite? ERROR_input names sample and row. */
int objective_check(const struct objective *o, const struct objective_batch *b,
                    const struct objective_settings *s, struct error *e);

void objective_measure(const struct objective *o, const struct objective_batch *b,
                       const struct objective_settings *s, struct objective_step *step);

/* After a run: are the entries as many as there is room for, in order, each in the rows of a sample
 * and no sample with more than `named`? A user's own objective may say anything. */
int objective_check_entries(const struct objective *o, const struct objective_batch *b,
                            const struct objective_output *out, struct error *e);

/* Writes out->c, e, h (all rows; zeros outside samples) and entries; adds to report. Advantages
 * must be there (objective_advantages), and weights, 1 where nothing else is meant. */
void objective_run(const struct objective *o, const struct objective_batch *b,
                   const struct objective_settings *s, const struct objective_step *step,
                   struct objective_output *out, struct objective_report *report);

/* The words for numbers of `variant`; ends with a name of NULL. */
struct objective_variant {
    const char *name, *objective;
    int number;
};
extern const struct objective_variant objective_variants[];

/* The table as a page of help, or as Markdown for the manual. */
void objective_help(FILE *out);
void objective_help_row(const struct objective *o, FILE *out);
void objective_manual(FILE *out);

#endif
