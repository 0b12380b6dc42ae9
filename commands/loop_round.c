/* loop_round: one round: a stream sampled from the policy, a run of the topology on it, the pass
 * rate of what came out, the figures. Each part is found done by the file it leaves. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/interval.h"
#include "commands/loop.h"
#include "commands/rates.h"
#include "commands/talk.h"
#include "graph/run.h"

#define WORDS_FIXED 16 /* of the run's command line, without the --set of the user */

struct job {
    const struct loop *loop;
    int64_t round;
    const char *model, *path; /* of an evaluation */
};

/* ---- sampling ---- */

static int
sample_work(void *own, struct error *e)
{
    const struct job *job = own;

    return loop_sample(job->loop, job->round, e);
}

static int
sample(const struct loop *l, int64_t round, struct error *e)
{
    char *path = records_path(l, round, "rollouts.jsonl");
    struct job job = {.loop = l, .round = round};
    int rc = records_is(path) ? 0 : stage_work(sample_work, &job, e);

    if (rc == 0)
        loop_sample_tidy(l, round);
    free(path);
    return rc;
}

/* ---- the run ---- */

/* Did the run in DIR come to its end? A run that was drained ends well and is not done. */
static int
run_is_done(const char *dir, struct error *e)
{
    struct run_state state;
    int rc = run_state_read(dir, &state, e);

    if (rc)
        return rc;
    if (state.phase != RUN_done)
        rc = error_set(e, ERROR_paused, "the run was left %s", run_phase_name(state.phase));
    run_state_free(&state);
    return rc;
}

/* -> 0; positive: how the run ended; or an error. */
static int
train(const struct loop *l, int64_t round, struct error *e)
{
    char *dir = records_path(l, round, "run"), *log = records_path(l, round, "run.log");
    char *stream = records_path(l, round, "rollouts.jsonl"), *policy = records_policy(l, round);
    char *path = xprint("%s.path=%s", l->reader, stream);
    char *model = xprint("%s.model=%s", l->learner, policy), *grace = xprint("%g", l->grace);
    char **words = xarray((size_t)l->sets.count * 2 + WORDS_FIXED, sizeof(*words));
    const char *const fixed[] = {"sluice",  "run",   l->topology,  "--run",    dir,
                                 "--set",   path,    "--set",      model,      "--grace",
                                 grace,     "--on-pause", l->on_pause};
    int count = 0, rc;

    for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
        words[count++] = (char *)(uintptr_t)fixed[i];
    for (int i = 0; i < l->sets.count; i++) {
        words[count++] = (char *)(uintptr_t)"--set";
        words[count++] = l->sets.at[i];
    }
    rc = stage_self(words, talk_json_wanted(l->json) ? log : NULL, e);
    if (rc == 0)
        rc = run_is_done(dir, e);
    if (rc > 0 && !stage_signal())
        fprintf(stderr, "sluice loop: round %lld: the run ended with exit code %d; "
                        "`sluice logs %s --level warning` tells more\n", (long long)round, rc, dir);
    free(words);
    free(grace);
    free(model);
    free(path);
    free(policy);
    free(stream);
    free(log);
    free(dir);
    return rc;
}

/* ---- held-out prompts ---- */

static int
eval_work(void *own, struct error *e)
{
    const struct job *job = own;
    const struct loop *l = job->loop;
    const struct prompts *p = &l->eval_prompts;
    struct answers_how how = {.label = "held out",
                              .temperature = l->temperature,
                              .samples = l->eval_samples,
                              .seed = l->seed,
                              .max_tokens = l->max_tokens,
                              .rows = l->rows};
    double *rates = xarray((size_t)p->count, sizeof(*rates));
    json_t *right = json_array(), *json;
    struct speaker s;
    int rc = loop_speaker(l, &s, job->model, e);

    if (rc == 0) {
        rc = rates_measure(&s, &how, p, l->mode, rates, e);
        speaker_close(&s);
    }
    for (int64_t i = 0; i < p->count; i++)
        json_array_append_new(right,
                              json_integer(llround(rates[i] * (double)l->eval_samples)));
    json = json_pack("{s:I, s:o}", "samples", (json_int_t)l->eval_samples, "right", right);
    if (rc == 0)
        rc = records_write(job->path, json, e);
    json_decref(json);
    free(rates);
    return rc;
}

static int
evaluate(const struct loop *l, const char *model, const char *path, struct error *e)
{
    struct job job = {.loop = l, .model = model, .path = path};

    return records_is(path) ? 0 : stage_work(eval_work, &job, e);
}

static int
rates_read(const struct loop *l, const char *path, double *rates, struct error *e)
{
    json_t *json;
    int rc = records_read(path, &json, e);
    const json_t *right = json_object_get(json, "right");
    int64_t n = l->eval_prompts.count;

    if (rc)
        return rc;
    if ((int64_t)json_array_size(right) != n)
        rc = error_set(e, ERROR_input, "%s: not of these held-out prompts", path);
    for (int64_t i = 0; i < n; i++)
        rates[i] = (double)json_integer_value(json_array_get(right, (size_t)i)) /
                   (double)l->eval_samples;
    json_decref(json);
    return rc;
}

static json_t *
json_interval(struct interval i)
{
    return isfinite(i.low) ? json_pack("[f, f]", i.low, i.high) : json_null();
}

/* {"pass_rate", "interval"} and, after a round, the paired gain over what was before the first. */
static int
held_out(const struct loop *l, const char *path, bool paired, json_t **out, struct error *e)
{
    int64_t n = l->eval_prompts.count;
    double *now = xarray((size_t)n, sizeof(*now)), *then = xarray((size_t)n, sizeof(*then));
    char *before = records_path(l, 0, "eval.json");
    int rc = rates_read(l, path, now, e);

    if (rc == 0 && paired)
        rc = rates_read(l, before, then, e);
    if (rc == 0) {
        struct interval own = interval_rate(now, n), gain;

        *out = json_pack("{s:f, s:o}", "pass_rate", own.mean, "interval", json_interval(own));
        for (int64_t i = 0; i < n && paired; i++)
            now[i] -= then[i];
        gain = interval_of(now, n);
        if (paired)
            json_object_set_new(*out, "gain", json_pack("{s:f, s:o}", "mean", gain.mean,
                                                        "interval", json_interval(gain)));
    }
    free(before);
    free(then);
    free(now);
    return rc;
}

/* ---- the figures ---- */

static int
add_stream(const struct loop *l, int64_t round, json_t *row, struct error *e)
{
    struct outcome o;
    double *rates;
    int64_t n = 0, groups = 0, solved = 0, later = 0, extra = 0;
    struct interval rate;
    int rc = records_outcome_read(l, round, &o, e);

    if (rc)
        return rc;
    rates = xarray((size_t)l->prompts.count, sizeof(*rates));
    for (int64_t i = 0; i < l->prompts.count; i++) {
        if (!o.draws[i].chosen)
            continue;
        rates[n++] = (double)o.correct[i] / (double)l->samples;
        solved += o.correct[i] > 0;
        later += o.stands[i] > 0;
        extra += o.attempts[i] - 1;
        groups += 1 + (o.stands[i] > 0) * l->extra_epochs;
    }
    rate = interval_rate(rates, n);
    json_object_update_new(
        row, json_pack("{s:I, s:I, s:f, s:o, s:I, s:I, s:I, s:I}", "prompts", (json_int_t)n,
                       "samples", (json_int_t)l->samples, "pass_rate", rate.mean, "interval",
                       json_interval(rate), "solved", (json_int_t)solved, "solved_later",
                       (json_int_t)later, "extra_samples", (json_int_t)(extra * l->samples),
                       "rollouts", (json_int_t)(groups * l->samples)));
    free(rates);
    outcome_free(&o);
    return 0;
}

struct metrics {
    json_t *first, *last;
    int64_t steps, tokens;
};

static int
take_metrics(void *context, int64_t number, struct span text, struct error *e)
{
    struct metrics *m = context;
    json_t *line = json_loadb(text.at, text.length, 0, NULL);

    (void)number;
    if (!json_is_object(line)) {
        json_decref(line);
        return error_set(e, ERROR_input, "not a line of metrics");
    }
    if (!json_object_get(line, "step")) { /* of an evaluation, or what else is written there */
        json_decref(line);
        return 0;
    }
    m->steps++;
    m->tokens += json_integer_value(json_object_get(line, "tokens"));
    if (!m->first)
        m->first = json_incref(line);
    json_decref(m->last);
    m->last = line;
    return 0;
}

static int
add_training(const struct loop *l, int64_t round, json_t *row, struct error *e)
{
    char *at = xprint("%s/round-%lld/run/checkpoints/%s", l->dir, (long long)round, l->learner);
    char *metrics = xprint("%s/metrics.jsonl", at), *final = xprint("%s/final", at), hash[17];
    struct metrics m = {0};
    struct stat info;
    int rc = 0;

    if (stat(metrics, &info) == 0 && info.st_size > 0)
        rc = prompts_lines(metrics, take_metrics, &m, e);
    if (rc == 0)
        rc = records_model_hash(final, hash, e);
    if (rc == 0) {
        json_t *from = json_object_get(m.first, "loss"), *to = json_object_get(m.last, "loss");

        json_object_update_new(
            row, json_pack("{s:I, s:I, s:O*, s:O*, s:s, s:s}", "steps", (json_int_t)m.steps,
                           "tokens", (json_int_t)m.tokens, "loss_first", from, "loss_last", to,
                           "checkpoint", final, "xxh3", hash));
    }
    json_decref(m.first);
    json_decref(m.last);
    free(final);
    free(metrics);
    free(at);
    return rc;
}

struct seconds {
    double began, sampled, trained, ended;
};

static int
figures(const struct loop *l, int64_t round, const struct seconds *t, struct error *e)
{
    char *path = records_path(l, round, "round.json"), *eval = records_path(l, round, "eval.json");
    char *policy = records_policy(l, round);
    json_t *row = json_pack("{s:I, s:s}", "round", (json_int_t)round, "policy", policy), *held;
    int rc = add_stream(l, round, row, e);

    if (rc == 0)
        rc = add_training(l, round, row, e);
    if (rc == 0 && l->eval_file && (rc = held_out(l, eval, true, &held, e)) == 0)
        json_object_set_new(row, "held_out", held);
    if (rc == 0) {
        json_object_set_new(row, "seconds",
                            json_pack("{s:f, s:f, s:f}", "sampling", t->sampled - t->began,
                                      "training", t->trained - t->sampled, "evaluation",
                                      t->ended - t->trained));
        rc = records_write(path, row, e);
    }
    json_decref(row);
    free(policy);
    free(eval);
    free(path);
    return rc;
}

static int
folder_make(const struct loop *l, int64_t round, struct error *e)
{
    char *folder = records_path(l, round, "");
    int rc = 0;

    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        rc = error_set(e, ERROR_file, "cannot make '%s': %s", folder, strerror(errno));
    free(folder);
    return rc;
}

int
loop_before(struct loop *l, struct error *e)
{
    char *done = records_path(l, 0, "round.json"), *eval = records_path(l, 0, "eval.json");
    json_t *held = NULL, *row;
    int rc = 0;

    if (l->eval_file && !records_is(done)) {
        rc = folder_make(l, 0, e);
        if (rc == 0)
            rc = evaluate(l, l->start, eval, e);
        if (rc == 0)
            rc = held_out(l, eval, false, &held, e);
        row = json_pack("{s:i, s:s, s:o*}", "round", 0, "policy", l->start, "held_out", held);
        if (rc == 0)
            rc = records_write(done, row, e);
        json_decref(row);
        if (rc)
            error_wrap(e, "before the first round");
    }
    free(eval);
    free(done);
    return rc;
}

int
loop_round(struct loop *l, int64_t round, struct error *e)
{
    char *done = records_path(l, round, "round.json"), *eval = records_path(l, round, "eval.json");
    char *made = records_policy(l, round + 1);
    struct seconds t = {.began = talk_now()};
    int rc = 0;

    if (!records_is(done)) {
        rc = folder_make(l, round, e);
        if (rc == 0)
            rc = sample(l, round, e);
        t.sampled = talk_now();
        if (rc == 0)
            rc = train(l, round, e);
        t.trained = talk_now();
        if (rc == 0 && l->eval_file)
            rc = evaluate(l, made, eval, e);
        t.ended = talk_now();
        if (rc == 0)
            rc = figures(l, round, &t, e);
        if (rc < 0)
            error_wrap(e, "round %lld", (long long)round);
    }
    free(made);
    free(eval);
    free(done);
    return rc;
}
