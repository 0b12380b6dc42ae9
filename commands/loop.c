/* loop: `sluice loop TOPOLOGY --rounds N`: sample, train, begin again with what came out. The
 * command line, and the order of a loop's parts; the parts are in loop_*.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "commands/loop.h"
#include "commands/talk.h"
#include "graph/run.h"
#include "graph/supervisor.h"
#include "kernels/sampler.h"

static const char about[] =
    "In each round the current policy answers prompts, the answers go through TOPOLOGY as its "
    "rollouts, and the learner's\n"
    "final checkpoint is the next round's policy and reference. The reader's `path` and the "
    "learner's `model` are set by the\n"
    "loop; the first policy is the learner's own model, or --start. What a round draws depends on "
    "--seed, the records of the\n"
    "rounds before and nothing else: killed anywhere and given again, the same command goes on to "
    "the same bytes; with more\n"
    "--rounds it goes further. Ending in good order: ^C or SIGTERM. A loop's own DIR in place of "
    "TOPOLOGY shows its table.\n"
    "A round takes the disk of a run: its stores, rollouts and checkpoints stay in DIR/round-N.\n"
    "\n"
    "--choose   uniform: any. vade: Thompson sampling of prompts near a pass rate of 1/3 (arXiv "
    "2511.18902; the decays 0.2 and\n"
    "           0.999 are INFERRED from its figure). mopps: of prompts near --target "
    "(thu-rllab/MoPPS). dppo: leaves prompts of\n"
    "           low historical |advantage| out by Bernoulli draws and weighs the others up, "
    "\"weight\" in the rollouts (arXiv\n"
    "           2603.04135; the probabilities are RECONSTRUCTED).\n"
    "--extra-*  additional sampling and additional iterations of GDEPO (arXiv 2601.06795; "
    "RECONSTRUCTED from its prose): a group\n"
    "           with no right answer is drawn again, and the first with one stands for its prompt; "
    "groups solved so are put\n"
    "           into the stream --extra-epochs times more, which adds to the optimiser's steps.\n"
    "--start    given several times: the checkpoint whose entropy lies in --start-entropy, "
    "nearest its middle, is taken (ring-\n"
    "           lite, arXiv 2506.14731), measured on answers to the first prompts, nats per token.";

/* "0.3..0.5" */
static int
range_read(const char *text, double *low, double *high)
{
    const char *dots = strstr(text, "..");
    char *first = dots ? xprint("%.*s", (int)(dots - text), text) : xtext(""), *end, *end_high;
    int rc;

    *low = strtod(first, &end);
    *high = strtod(dots ? dots + 2 : "", &end_high);
    rc = *first && !*end && dots && dots[2] && !*end_high && *low >= 0 && *high >= *low ? 0 : -1;
    free(first);
    return rc;
}

static int
choice_check(struct loop *l, struct error *e)
{
    struct choose_how *c = &l->choose;
    int method = choose_method_of(l->method);

    if (method < 0)
        return error_set(e, ERROR_usage, "--choose '%s': all, uniform, vade, mopps or dppo",
                         l->method);
    c->method = (enum choose_method)method;
    c->seed = (uint64_t)l->seed;
    if (c->method == CHOOSE_all && c->count)
        return error_set(e, ERROR_usage,
                         "--choose all takes every prompt; --prompts-per-round needs another");
    if (!c->count && c->method != CHOOSE_all && c->method != CHOOSE_dppo)
        return error_set(e, ERROR_usage, "--choose %s needs --prompts-per-round", l->method);
    if (c->decay < 0)
        c->decay = c->method == CHOOSE_vade ? 0.2 : 0.5;
    if (c->decay > 1 || c->target > 1)
        return error_set(e, ERROR_usage, "--decay and --target lie between 0 and 1");
    if (c->rate > CHOOSE_RATE_MAX)
        return error_set(e, ERROR_usage, "--prune-rate must lie between 0 and %g",
                         CHOOSE_RATE_MAX);
    return 0;
}

static int
flags_check(struct loop *l, const char *entropy, struct error *e)
{
    int mode = verify_mode_of(l->verify);

    if (!l->prompts_file)
        return error_set(e, ERROR_usage, "--prompts FILE is needed");
    if (l->rounds < 1 || l->rounds > CHOOSE_ROUNDS_MAX)
        return error_set(e, ERROR_usage, "--rounds N is needed, between 1 and %d",
                         CHOOSE_ROUNDS_MAX);
    if (l->samples < 1 || l->samples > SAMPLER_SAMPLES_MAX || l->eval_samples < 1 ||
        l->eval_samples > SAMPLER_SAMPLES_MAX)
        return error_set(e, ERROR_usage, "--samples and --eval-samples lie between 1 and %d",
                         SAMPLER_SAMPLES_MAX);
    if (l->max_tokens < 1 || l->max_tokens > SAMPLER_TOKENS_MAX)
        return error_set(e, ERROR_usage, "--max-tokens must lie between 1 and %d",
                         SAMPLER_TOKENS_MAX);
    if (l->temperature > SAMPLER_TEMPERATURE_MAX || l->rows > SAMPLER_ROWS_MAX)
        return error_set(e, ERROR_usage, "--temperature is at most %g, --rows %d",
                         SAMPLER_TEMPERATURE_MAX, SAMPLER_ROWS_MAX);
    if (l->extra_samples > LOOP_EXTRA_MAX || l->extra_epochs > LOOP_EXTRA_MAX)
        return error_set(e, ERROR_usage, "--extra-samples-max and --extra-epochs are at most %d",
                         LOOP_EXTRA_MAX);
    if (l->extra_epochs && !l->extra_samples)
        return error_set(e, ERROR_usage, "--extra-epochs needs --extra-samples-max: without, no "
                                         "prompt is first unsolved and then solved");
    if (mode < 0)
        return error_set(e, ERROR_usage, "--verify '%s': " VERIFY_WORDS, l->verify);
    l->mode = (enum verify_mode)mode;
    if (strcmp(l->on_pause, "wait") != 0 && strcmp(l->on_pause, "exit") != 0)
        return error_set(e, ERROR_usage, "--on-pause takes wait or exit, not '%s'", l->on_pause);
    if (entropy && l->starts.count < 2)
        return error_set(e, ERROR_usage, "--start-entropy chooses among several --start");
    if (range_read(entropy ? entropy : "0.3..0.5", &l->entropy_low, &l->entropy_high) != 0)
        return error_set(e, ERROR_usage, "--start-entropy '%s': two numbers, as 0.3..0.5", entropy);
    return choice_check(l, e);
}

static void
loop_free(struct loop *l)
{
    lock_drop(&l->lock);
    plan_free(&l->plan);
    prompts_free(&l->prompts);
    prompts_free(&l->eval_prompts);
    free(l->format_found);
    free(l->system_found);
    free(l->reader_found);
    free(l->learner_found);
    free(l->start);
    free(l->dir);
}

/* Everything that can be wrong before anything is made. */
static int
prepare(struct loop *l, struct error *e)
{
    int rc = loop_check(l, e);

    if (rc == 0)
        rc = prompts_read(&l->prompts, l->prompts_file, 1, e);
    if (rc == 0 && l->eval_file)
        rc = prompts_read(&l->eval_prompts, l->eval_file, 1, e);
    if (rc == 0 && l->prompts.count > CHOOSE_PROMPTS_MAX)
        rc = error_set(e, ERROR_limit, "%s: more than %d prompts", l->prompts_file,
                       CHOOSE_PROMPTS_MAX);
    return rc;
}

/* The rows of the rounds [first, last] that are done. */
static int
show(const char *dir, int64_t first, int64_t last, bool text, struct error *e)
{
    bool there = true;
    int rc = 0;

    for (int64_t n = first; n <= last && rc == 0 && (there || n == 1); n++)
        rc = table_show(dir, n, text, &there, e);
    return rc;
}

/* After a round, on a terminal, where the run drew over its own lines: the whole table again. */
static int
show_round(const struct loop *l, int64_t round, struct error *e)
{
    bool text = l->text || !talk_json_wanted(l->json), whole = text && isatty(STDOUT_FILENO);

    if (text && (whole ? round || l->eval_file : round == 0))
        table_head(l->eval_file != NULL);
    return show(l->dir, whole ? 0 : round, round, text, e);
}

/* -> 0; positive: an exit code, said; or an error. */
static int
loop_run(struct loop *l, struct error *e)
{
    char *made = NULL;
    json_t *candidates = NULL;
    bool begun;
    int rc = prepare(l, e);

    if (rc == 0 && !l->given_dir)
        l->given_dir = made = xprint("%s/%s-loop", RUN_FOLDER, l->plan.name);
    if (rc == 0)
        rc = records_open(l, &begun, e);
    stage_signals();
    if (rc == 0 && !begun && l->starts.count > 1)
        rc = loop_start(l, &candidates, e);
    if (rc == 0 && !begun)
        rc = records_begin(l, candidates, e);
    for (int64_t n = 0; n <= l->rounds && rc == 0; n++) {
        rc = n ? loop_round(l, n, e) : loop_before(l, e);
        if (rc == 0)
            rc = show_round(l, n, e);
    }
    free(made);
    return rc;
}

/* `sluice loop DIR` */
static int
show_all(const struct loop *l, const char *dir, bool *is_loop, struct error *e)
{
    char *path = xprint("%s/loop.json", dir), *held = xprint("%s/round-0/round.json", dir);
    bool text = l->text || !talk_json_wanted(l->json);
    int rc = 0;

    *is_loop = records_is(path);
    if (*is_loop && text)
        table_head(records_is(held));
    if (*is_loop)
        rc = show(dir, 0, CHOOSE_ROUNDS_MAX, text, e);
    free(held);
    free(path);
    return rc;
}

static int
loop_end(const struct loop *l, int rc, const struct error *e)
{
    int code = rc > 0 ? rc : error_exit(rc);

    if (stage_signal()) {
        fprintf(stderr, "%ssluice loop: stopped; the same command goes on in '%s'\n",
                isatty(STDERR_FILENO) ? "\r\033[K" : "", l->dir);
        return 128 + stage_signal();
    }
    if (rc < 0 && e->text[0])
        fprintf(stderr, "sluice loop: %s\n", e->text);
    return code;
}

int
command_loop(int argc, char **argv)
{
    struct loop l = {.samples = 16, .temperature = 1, .max_tokens = 512, .verify = "numeric",
                     .method = "all", .eval_samples = 8, .on_pause = "wait",
                     .grace = SUPERVISOR_GRACE, .lock = {-1},
                     .choose = {.target = 0.5, .rate = 0.5, .decay = -1}};
    const char *entropy = NULL;
    long per_round = 0;
    const struct flag flags[] = {
        {FLAG_count, 0, "rounds", "N", &l.rounds, "rounds in all (needed); more go further"},
        {FLAG_text, 0, "run", "DIR", &l.given_dir, "where the loop lives (runs/<name>-loop)"},
        {FLAG_text, 0, "prompts", "FILE", &l.prompts_file,
         "prompts with answers, JSON lines (needed)"},
        {FLAG_count, 0, "samples", "G", &l.samples, "answers of each prompt: a group (16)"},
        {FLAG_number, 0, "temperature", "T", &l.temperature, "of the draws (1)"},
        {FLAG_count, 0, "max-tokens", "N", &l.max_tokens, "of an answer (512)"},
        {FLAG_count, 0, "seed", "N", &l.seed, "another seed, other draws (0)"},
        {FLAG_text, 0, "verify", "HOW", &l.verify, VERIFY_WORDS ", as in sluice sample"},
        {FLAG_text, 0, "prompt-format", "NAME", &l.prompt_format,
         "as in sluice sample; the learner's own option, which it may not contradict"},
        {FLAG_text, 0, "system", "TEXT", &l.system, "likewise"},
        {FLAG_count, 0, "rows", "N", &l.rows, "answers drawn at a time; the speed only (64)"},
        {FLAG_count, 0, "prompts-per-round", "B", &per_round, "prompts of a round; 0: all (0)"},
        {FLAG_text, 0, "choose", "HOW", &l.method, "all, uniform, vade, mopps or dppo (all)"},
        {FLAG_number, 0, "decay", "L", &l.choose.decay,
         "vade, mopps: what a sampled prompt's old counts keep (0.2; 0.5, a number of ours)"},
        {FLAG_number, 0, "target", "P", &l.choose.target, "mopps: pass rate sought (0.5)"},
        {FLAG_number, 0, "prune-rate", "R", &l.choose.rate, "dppo: share left out (0.5)"},
        {FLAG_count, 0, "extra-samples-max", "K", &l.extra_samples,
         "GDEPO: an unsolved prompt's group is drawn up to K times again (0)"},
        {FLAG_count, 0, "extra-epochs", "D", &l.extra_epochs,
         "GDEPO: groups solved so are repeated D times in the stream (0)"},
        {FLAG_many, 0, "start", "MODEL", &l.starts,
         "the first policy; given several times: chosen by entropy"},
        {FLAG_text, 0, "start-entropy", "LOW..HIGH", &entropy, "the entropy sought (0.3..0.5)"},
        {FLAG_text, 0, "eval-prompts", "FILE", &l.eval_file,
         "held-out prompts: pass rate before the first and after each round"},
        {FLAG_count, 0, "eval-samples", "N", &l.eval_samples, "answers of each of those (8)"},
        {FLAG_text, 0, "reader", "NODE", &l.reader, "which reader, where there are several"},
        {FLAG_text, 0, "learner", "NODE", &l.learner, "which learner is the policy, likewise"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &l.sets, "override an option in every round"},
        {FLAG_number, 0, "grace", "SECONDS", &l.grace, "patience of a drain (30)"},
        {FLAG_text, 0, "on-pause", "wait|exit", &l.on_pause, "as in sluice run"},
        {FLAG_on, 0, "json", NULL, &l.json, "JSON lines on a terminal too"},
        {FLAG_on, 0, "table", NULL, &l.text, "the table where there is no terminal"},
        {.kind = FLAG_end},
    };
    struct words words;
    struct error e = {0};
    bool shown = false;
    int code = flags_read(flags, "loop TOPOLOGY --rounds N --prompts FILE [--run DIR] | DIR", about,
                          argc, argv, 1, 1, &words),
        rc;

    if (code >= 0)
        return code;
    l.topology = words.at[0];
    l.choose.count = per_round;
    rc = show_all(&l, words.at[0], &shown, &e);
    if (!shown && rc == 0)
        rc = flags_check(&l, entropy, &e);
    if (!shown && rc == 0)
        rc = loop_run(&l, &e);
    code = loop_end(&l, rc, &e);
    loop_free(&l);
    return code;
}
