#include "commands/rates.h"

struct grading {
    const struct prompts *prompts;
    enum verify_mode mode;
    double *right;
};

static int
grade(void *context, const struct answer *a, struct error *e)
{
    struct grading *g = context;

    (void)e;
    g->right[a->prompt] += verify_answer(g->mode, a->text, g->prompts->at[a->prompt].answer);
    return 0;
}

int
rates_measure(struct speaker *s, const struct answers_how *how, const struct prompts *prompts,
              enum verify_mode mode, double *rates, struct error *e)
{
    struct grading g = {prompts, mode, rates};
    int rc;

    for (int64_t i = 0; i < prompts->count; i++)
        rates[i] = 0;
    rc = answers_make(s, how, prompts, grade, &g, e);
    for (int64_t i = 0; i < prompts->count; i++)
        rates[i] /= (double)how->samples;
    return rc;
}
