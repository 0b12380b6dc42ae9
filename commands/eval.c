/* eval: `sluice eval MODEL`: pass rate on prompts, or likelihood margin on rollouts, with
 * intervals; against another model too. */
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/verify.h"
#include "commands/answers.h"
#include "commands/commands.h"
#include "commands/flags.h"
#include "commands/interval.h"
#include "commands/margin.h"
#include "commands/rates.h"

static const char about[] =
    "With --prompts: draws --samples answers to each prompt (as sluice sample does) and prints the "
    "share that --verify finds\n"
    "right. With --rollouts: prints by how much correct solutions are more likely than wrong ones "
    "to the same prompt (mean\n"
    "log-probability per token, nats; {\"prompt\", \"response\", \"reward\"} a line).\n"
    "Intervals are 95 %, clustered by prompt: one number for each prompt (the mean of its samples; "
    "for a margin the mean of its\n"
    "correct minus that of its wrong rollouts), then mean +- t s / sqrt(n) over the n prompts, t "
    "of Student with n - 1 degrees.\n"
    "With --against the gain is paired: the same over the differences prompt by prompt. Where all "
    "prompts agree on 0 or 1 the\n"
    "open end is the exact binomial bound of n prompts.";

struct evaluation {
    const char *prompts, *rollouts, *against;
    struct answers_how how;
    enum verify_mode mode;
    bool json;
};

/* One number for each prompt. */
struct result {
    const char *model;
    double *values;
    int64_t count;
    int64_t skipped, groups, rollouts; /* of a margin */
};

static int
pass_rates(const struct evaluation *v, const struct prompts *prompts, const char *dir,
           struct result *r, struct error *e)
{
    double *rates;
    struct speaker s;
    int rc = speaker_open(&s, dir, e);

    if (rc)
        return rc;
    rc = speaker_format(&s, dir, v->how.prompt_format, v->how.system, e);
    if (rc) {
        speaker_close(&s);
        return rc;
    }
    rates = xarray((size_t)prompts->count, sizeof(*rates));
    rc = rates_measure(&s, &v->how, prompts, v->mode, rates, e);
    speaker_close(&s);
    *r = (struct result){.model = dir, .values = rates, .count = prompts->count};
    return rc;
}

static int
margins(const struct evaluation *v, const char *dir, struct result *r, struct error *e)
{
    struct speaker s;
    struct margin m;
    int rc = speaker_open(&s, dir, e);

    if (rc)
        return rc;
    rc = speaker_format(&s, dir, v->how.prompt_format, v->how.system, e);
    if (rc) {
        speaker_close(&s);
        return rc;
    }
    rc = margin_read(&m, &s, v->rollouts, e);
    if (rc == 0) {
        margin_measure(&m, &s, "eval");
        *r = (struct result){.model = dir,
                             .values = xarray((size_t)m.groups, sizeof(double)),
                             .groups = m.groups,
                             .skipped = m.skipped,
                             .rollouts = m.count};
        r->count = margin_values(&m, r->values);
        margin_free(&m);
        if (r->count == 0)
            rc = error_set(e, ERROR_input, "%s: no prompt has both correct and wrong rollouts",
                           v->rollouts);
    }
    speaker_close(&s);
    return rc;
}

/* ---- printing ---- */

static json_t *
json_interval(struct interval i)
{
    return isfinite(i.low) ? json_pack("[f, f]", i.low, i.high) : json_null();
}

static void
print_json(const struct evaluation *v, const struct result *r, struct interval own,
           struct interval other, struct interval gain)
{
    const char *name = v->rollouts ? "margin" : "pass_rate";
    json_t *line = json_pack("{s:s, s:f, s:o, s:I}", "model", r->model, name, own.mean, "interval",
                             json_interval(own), "prompts", (json_int_t)own.clusters);

    if (v->rollouts) {
        json_object_set_new(line, "rollouts", json_integer(r->rollouts));
        json_object_set_new(line, "skipped", json_integer(r->skipped));
    } else {
        json_object_set_new(line, "samples", json_integer(v->how.samples));
        json_object_set_new(line, "temperature", json_real(v->how.temperature));
        json_object_set_new(line, "seed", json_integer(v->how.seed));
    }
    if (v->against) {
        json_object_set_new(line, "against",
                            json_pack("{s:s, s:f, s:o}", "model", v->against, name, other.mean,
                                      "interval", json_interval(other)));
        json_object_set_new(
            line, "gain",
            json_pack("{s:f, s:o}", "mean", gain.mean, "interval", json_interval(gain)));
    }
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(line);
}

static void
print_text(const struct evaluation *v, const struct result *r, struct interval own,
           struct interval other, struct interval gain)
{
    if (!v->against && v->rollouts)
        printf("margin %+.4f [%+.4f, %+.4f]", own.mean, own.low, own.high);
    else if (!v->against)
        printf("pass rate %.3f [%.3f, %.3f]", own.mean, own.low, own.high);
    else if (v->rollouts)
        printf("before %+.4f  after %+.4f  gain %+.4f [%+.4f, %+.4f]", other.mean, own.mean,
               gain.mean, gain.low, gain.high);
    else
        printf("before %.3f  after %.3f  gain %+.3f [%+.3f, %+.3f]", other.mean, own.mean,
               gain.mean, gain.low, gain.high);
    if (v->rollouts)
        printf("  (nats per token; %lld prompts with both kinds, %lld rollouts%s",
               (long long)own.clusters, (long long)r->rollouts, r->skipped ? "" : ")\n");
    else
        printf("  (%lld prompts x %ld samples)\n", (long long)own.clusters, v->how.samples);
    if (v->rollouts && r->skipped)
        printf(", %lld skipped)\n", (long long)r->skipped);
}

static int
report(const struct evaluation *v, const struct result *r, const struct result *before,
       struct error *e)
{
    struct interval own =
        v->rollouts ? interval_of(r->values, r->count) : interval_rate(r->values, r->count);
    struct interval other = {0}, gain = {0};
    double *differences = xarray((size_t)r->count, sizeof(*differences));
    int rc = 0;

    if (v->against && (before->count != r->count || before->groups != r->groups ||
                       before->rollouts != r->rollouts))
        rc = error_set(e, ERROR_input,
                       "the two models do not read the same rollouts (%lld and %lld)",
                       (long long)r->rollouts, (long long)before->rollouts);
    if (rc == 0 && v->against) {
        other = v->rollouts ? interval_of(before->values, before->count)
                            : interval_rate(before->values, before->count);
        for (int64_t i = 0; i < r->count; i++)
            differences[i] = r->values[i] - before->values[i];
        gain = interval_of(differences, r->count);
    }
    if (rc == 0 && v->json)
        print_json(v, r, own, other, gain);
    else if (rc == 0)
        print_text(v, r, own, other, gain);
    free(differences);
    return rc;
}

static int
evaluate(const struct evaluation *v, const char *dir, struct error *e)
{
    struct prompts prompts = {0};
    struct result after = {0}, before = {0};
    int rc = v->prompts ? prompts_read(&prompts, v->prompts, 1, e) : 0;

    if (rc == 0)
        rc = v->prompts ? pass_rates(v, &prompts, dir, &after, e) : margins(v, dir, &after, e);
    if (rc == 0 && v->against)
        rc = v->prompts ? pass_rates(v, &prompts, v->against, &before, e)
                        : margins(v, v->against, &before, e);
    if (rc == 0)
        rc = report(v, &after, &before, e);
    free(after.values);
    free(before.values);
    prompts_free(&prompts);
    return rc;
}

int
command_eval(int argc, char **argv)
{
    struct evaluation v = {
        .how = {.label = "eval", .prompt_format = "raw", .temperature = 1, .samples = 8, .max_tokens = 512}};
    const char *verify = "numeric";
    const struct flag flags[] = {
        {FLAG_text, 0, "prompts", "FILE", &v.prompts, "prompts with answers, JSON lines"},
        {FLAG_text, 0, "rollouts", "FILE", &v.rollouts, "rollouts with rewards, JSON lines"},
        {FLAG_text, 0, "against", "MODEL", &v.against, "the model before; prints the paired gain"},
        {FLAG_count, 0, "samples", "N", &v.how.samples, "answers of each prompt (8)"},
        {FLAG_number, 0, "temperature", "T", &v.how.temperature,
         "of the draws (1); 0: the most probable token"},
        {FLAG_count, 0, "seed", "N", &v.how.seed, "another seed, other answers (0)"},
        {FLAG_count, 0, "max-tokens", "N", &v.how.max_tokens, "of an answer (512)"},
        {FLAG_text, 0, "verify", "HOW", &verify,
         "exact; numeric: the last \\boxed{}, ####, or number; math: likewise, as mathematics; "
         "choice: a letter; hendrycks, dapo: as MATH and DAPO grade (numeric)"},
        {FLAG_text, 0, "prompt-format", "NAME", &v.how.prompt_format,
         "raw: prompts as they stand; auto: the model's chat template; or qwen2, qwen3, r1, llama3, llama31 (raw)"},
        {FLAG_text, 0, "system", "TEXT", &v.how.system, "a system message before each prompt"},
        {FLAG_count, 0, "rows", "N", &v.how.rows,
         "answers drawn at a time; changes the speed only (64)"},
        {FLAG_on, 0, "json", NULL, &v.json, "one JSON object"},
        {.kind = FLAG_end},
    };
    struct words words;
    struct error e = {0};
    int code = flags_read(flags, "eval MODEL --prompts FILE | --rollouts FILE [--against MODEL]",
                          about, argc, argv, 1, 1, &words),
        rc;

    if (code >= 0)
        return code;
    if (!v.prompts == !v.rollouts)
        rc = error_set(&e, ERROR_usage, "one of --prompts FILE and --rollouts FILE is needed");
    else if (verify_mode_of(verify) < 0)
        rc = error_set(&e, ERROR_usage, "--verify '%s': " VERIFY_WORDS, verify);
    else {
        v.mode = (enum verify_mode)verify_mode_of(verify);
        rc = evaluate(&v, words.at[0], &e);
    }
    if (rc)
        fprintf(stderr, "sluice eval: %s\n", e.text);
    return error_exit(rc);
}
