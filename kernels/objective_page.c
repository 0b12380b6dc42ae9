/* The table of objectives for people: a page of help, and the manual's Markdown. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "kernels/objective.h"

static const char *const aggregation_names[] = {"sequence_mean", "sequence_sum", "token_mean",
                                                "constant"};
static const char *const advantage_names[] = {"reward", "mean", "mean_std", "leave_one_out",
                                              "gdepo", "given"};
static const char *const ratio_names[] = {"token", "sequence", "geometric", "step"};
static const char *const scope_names[] = {"token", "sequence", "group", "step"};

static const struct {
    unsigned bit;
    const char *name;
} need_names[] = {
    {OBJECTIVE_needs_reference, "reference"}, {OBJECTIVE_needs_behaviour, "behaviour"},
    {OBJECTIVE_needs_entropy, "entropy"},     {OBJECTIVE_needs_group, "groups"},
    {OBJECTIVE_needs_pairs, "pairs"},         {OBJECTIVE_needs_classes, "a class head"},
    {OBJECTIVE_needs_named, "named tokens"},  {OBJECTIVE_needs_labels, "labels of steps"},
};

static void
print_needs(FILE *out, const struct objective *o, const char *none)
{
    const char *between = "";

    for (size_t i = 0; i < sizeof need_names / sizeof *need_names; i++)
        if (o->needs & need_names[i].bit) {
            fprintf(out, "%s%s", between, need_names[i].name);
            between = ", ";
        }
    if (*between == 0)
        fputs(none, out);
}

const struct objective_variant objective_variants[] = {
    {"auto", "", -1},          {"weighted", "ranknet", 0},   {"plain", "ranknet", 1},
    {"listnet", "ranknet", 2}, {"lambdarank", "ranknet", 3}, {"paper", "aspo", 0},
    {"code", "aspo", 1},       {"mean", "opmd", 0},          {"log_mean_exp", "opmd", 1},
    {NULL, NULL, 0},
};

static void
print_variant(FILE *out, const struct objective *o)
{
    for (const struct objective_variant *v = objective_variants; v->name; v++)
        if (v->number == o->standard.variant && strcmp(v->objective, o->name) == 0)
            fprintf(out, ", variant %s", v->name);
}

static void
print_number(FILE *out, const char *name, double value, int shown)
{
    if (shown && !isnan(value))
        fprintf(out, ", %s %g", name, value);
}

static void
print_settings(FILE *out, const struct objective *o)
{
    const struct objective_settings *s = &o->standard;

    fputs(aggregation_names[s->aggregation], out);
    if ((int)s->advantages >= 0)
        fprintf(out, ", advantages %s", advantage_names[s->advantages]);
    if ((int)s->ratio >= 0)
        fprintf(out, ", ratio %s", ratio_names[s->ratio]);
    print_number(out, "tau", s->tau, 1);
    print_number(out, "clip_low", s->clip_low, 1);
    print_number(out, "clip_high", s->clip_high, 1);
    print_number(out, "clip_dual", s->clip_dual, s->clip_dual > 0);
    print_number(out, "soften_positive", s->soften_positive, 1);
    print_number(out, "soften_negative", s->soften_negative, 1);
    print_number(out, "lambda", s->lambda, 1);
    print_variant(out, o);
}

void
objective_help_row(const struct objective *o, FILE *out)
{
    fprintf(out, "  %-12s %s\n  %-12s   %s; needs ", o->name, o->summary, "", o->source);
    print_needs(out, o, "rewards alone");
    fprintf(out, "; ");
    print_settings(out, o);
    if (o->evidence != NULL)
        fprintf(out, "\n  %-12s   RECONSTRUCTED: %s", "", o->evidence);
    fputc('\n', out);
}

void
objective_help(FILE *out)
{
    for (int i = 0; objective_at(i) != NULL; i++)
        objective_help_row(objective_at(i), out);
}

void
objective_manual(FILE *out)
{
    fputs("| objective | what it does | source | own settings | needs | at once | reconstructed |\n"
          "|---|---|---|---|---|---|---|\n", out);
    for (int i = 0; objective_at(i) != NULL; i++) {
        const struct objective *o = objective_at(i);

        fprintf(out, "| `%s` | %s | %s | ", o->name, o->summary, o->source);
        print_settings(out, o);
        fputs(" | ", out);
        print_needs(out, o, "");
        fprintf(out, " | %s | %s |\n", scope_names[o->scope], o->evidence ? o->evidence : "");
    }
}
