/* rates: the share of a model's answers to each prompt that are right. */
#ifndef COMMANDS_RATES_H
#define COMMANDS_RATES_H

#include "kernels/verify.h"
#include "commands/answers.h"

/* Draws how->samples answers to each prompt, all of which have answers, and writes the shares to
 * RATES (prompts->count), each an exact count over the samples. */
int rates_measure(struct speaker *s, const struct answers_how *how, const struct prompts *prompts,
                  enum verify_mode mode, double *rates, struct error *e);

#endif
