/* An objective that calls what nobody has. */
#include <sluice/objective_kind.h>

double sluice_nowhere(double x);

static void
run(const struct objective_batch *b, const struct objective_settings *s,
    const struct objective_step *step, struct objective_output *out,
    struct objective_report *report)
{
    (void)b;
    (void)s;
    (void)step;
    (void)out;
    report->policy = sluice_nowhere(1);
}

const struct objective sluice_objective = {.abi = OBJECTIVE_ABI, .name = "lost", .run = run};
