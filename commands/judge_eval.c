/* judge-eval: `sluice judge-eval FILE --judge KIND...`: a topology of its own that judges solutions
 * whose steps people have labelled, and how far judges and people agree. */
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands/cases.h"
#include "commands/commands.h"
#include "commands/flags.h"
#include "commands/interval.h"
#include "commands/loop.h"
#include "commands/panel.h"
#include "commands/scores.h"
#include "commands/verdicts.h"
#include "graph/run.h"

static const char about[] =
    "Has judges judge the steps of labelled solutions and prints how far they agree with the "
    "labels.\n"
    "FILE is ProcessBench's array, JSON lines like PRM800K's or TRL's stepwise ones, or labelled\n"
    "steps as a sink writes them (commands/cases.h). A judge is a kind with its options:\n"
    "  --judge calc_judge --judge llm_judge:url=http://localhost:8000/v1,model=m\n"
    "option=value pairs are separated by commas (\\, within a value), a name given twice is a "
    "list,\n"
    "id= names the judge, replicas= runs it so often. The real nodes run, with what belongs to "
    "them\n"
    "(cache, budgets, retries), in a run of their own: DIR/run with --run DIR, which is kept and\n"
    "which the same command goes on with, else a temporary one.\n"
    "\n"
    "f1 is ProcessBench's: the harmonic mean of acc_error (share of solutions with an error whose\n"
    "first wrong step is named exactly) and acc_correct (share of those without in which no step "
    "is\n"
    "called incorrect). step_precision and step_recall are of the verdict \"incorrect\" on steps "
    "whose\n"
    "label is known, coverage the share of them on which anything was said; flagged_precision is "
    "the\n"
    "share of solutions with a step called incorrect that have an error. ece and brier take a "
    "score\n"
    "as the probability that the step is correct. A measure of nothing is null (-).\n"
    "--json adds 95 % intervals of the shares (Wilson's).";

struct request {
    const char *file, *run, *rule, *quorum, *threshold, *on_pause;
    struct many judges;
    long limit;
    bool json, estimate;
    struct panel panel;
    double above;
};

static int
write_aside(const char *dir, const char *name, const struct buffer *b, struct error *e)
{
    char *path = xprint("%s/%s", dir, name);
    int rc = run_write_file(path, buffer_span(b), e);

    free(path);
    return rc;
}

/* 1: the file is there and holds these bytes; 0: it is not there; else an error. */
static int
holds(const char *dir, const char *name, const struct buffer *b, struct error *e)
{
    char *path = xprint("%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    char *there = xalloc(b->length + 1);
    size_t n = f ? fread(there, 1, b->length + 1, f) : 0;
    int rc = !f ? 0 : n == b->length && memcmp(there, b->at, n) == 0;

    if (f && !rc)
        error_set(e, ERROR_usage, "'%s' holds an evaluation of other solutions", dir);
    if (f)
        fclose(f);
    free(there);
    free(path);
    return f && !rc ? ERROR_usage : rc;
}

/* The folder with the solutions as a reader takes them, and the topology. */
static int
prepare(const struct request *r, const struct cases *c, const char *dir, struct error *e)
{
    struct buffer lines = {0}, yaml = {0};
    char *path = xprint("%s/solutions.jsonl", dir);
    int rc;

    for (int64_t i = 0; i < c->count; i++)
        case_write(&c->at[i], i, &lines);
    panel_topology(&r->panel, path, r->rule, r->quorum, r->threshold, &yaml);
    rc = holds(dir, "solutions.jsonl", &lines, e);
    if (rc == 0)
        rc = write_aside(dir, "solutions.jsonl", &lines, e);
    if (rc >= 0)
        rc = write_aside(dir, "flow.yaml", &yaml, e);
    buffer_free(&lines);
    buffer_free(&yaml);
    free(path);
    return rc < 0 ? rc : 0;
}

/* What the run would cost, printed; nothing is judged. -> 0, an exit code, or an error. */
static int
estimate(const struct request *r, const char *dir, struct error *e)
{
    char *flow = xprint("%s/flow.yaml", dir);
    char *const words[] = {"sluice", "run", flow, "--estimate", r->json ? "--json" : NULL, NULL};
    int rc;

    stage_signals();
    rc = stage_self(words, NULL, e);
    free(flow);
    return rc;
}

/* -> 0, an exit code, or an error. */
static int
judge(const struct request *r, const char *dir, struct error *e)
{
    char *flow = xprint("%s/flow.yaml", dir), *run = xprint("%s/run", dir),
         *log = xprint("%s/run.out", dir);
    char *const words[] = {
        "sluice", "run", flow, "--run", run, "--on-pause", (char *)(uintptr_t)r->on_pause, NULL};
    int rc;

    fprintf(stderr, "sluice judge-eval: judging; to look: sluice status %s\n", run);
    stage_signals();
    rc = stage_self(words, log, e);
    if (rc > 0 && !stage_signal() && run_exists(run))
        fprintf(stderr,
                "sluice judge-eval: the run ended with exit code %d; see %s and `sluice "
                "logs %s --level warning`\n",
                rc, log, run);
    free(flow);
    free(run);
    free(log);
    return rc;
}

/* ---- what came out ---- */

static const struct measure {
    const char *name;
    double (*of)(const struct scores *s);
} measures[] = {
    {"f1", scores_f1},
    {"acc_error", scores_acc_error},
    {"acc_correct", scores_acc_correct},
    {"step_precision", scores_step_precision},
    {"step_recall", scores_step_recall},
    {"coverage", scores_coverage},
    {"flagged_precision", scores_flagged_precision},
    {"flagged_recall", scores_flagged_recall},
    {"ece", scores_ece},
    {"brier", scores_brier},
};

#define MEASURES (sizeof(measures) / sizeof(measures[0]))

static json_t *
interval_json(int64_t part, int64_t whole)
{
    struct interval i = interval_share(part, whole);
    return whole > 0 ? json_pack("[f, f]", i.low, i.high) : json_null();
}

/* 95 %, of the measures that are shares of solutions, and of the steps called incorrect. */
static json_t *
intervals_json(const struct scores *s)
{
    int64_t right = s->table[CASE_incorrect][CASE_incorrect];

    return json_pack("{s:o, s:o, s:o, s:o}", "acc_error", interval_json(s->named, s->erroneous),
                     "acc_correct", interval_json(s->spared, s->correct), "flagged_precision",
                     interval_json(s->flagged_wrong, s->flagged), "step_precision",
                     interval_json(right, right + s->table[CASE_correct][CASE_incorrect]));
}

static void
put_scores(json_t *into, const struct scores *s)
{
    for (size_t i = 0; i < MEASURES; i++) {
        double value = measures[i].of(s);
        json_object_set_new(into, measures[i].name,
                            isfinite(value) ? json_real(value) : json_null());
    }
    json_object_set_new(
        into, "verdicts",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "incorrect_right",
                  (json_int_t)s->table[CASE_incorrect][CASE_incorrect], "incorrect_wrong",
                  (json_int_t)s->table[CASE_correct][CASE_incorrect], "correct_right",
                  (json_int_t)s->table[CASE_correct][CASE_correct], "correct_wrong",
                  (json_int_t)s->table[CASE_incorrect][CASE_correct], "nothing",
                  (json_int_t)(s->steps - s->said), "incorrect_unlabelled", (json_int_t)s->beyond,
                  "solutions_flagged", (json_int_t)s->flagged));
    json_object_set_new(into, "intervals", intervals_json(s));
    json_object_set_new(into, "abstained", json_integer(s->abstained));
    json_object_set_new(into, "cost",
                        json_pack("{s:f, s:I, s:I}", "usd", s->usd, "tokens_in",
                                  (json_int_t)s->tokens_in, "tokens_out",
                                  (json_int_t)s->tokens_out));
}

/* The top of the object is what the whole set says, which for one judge is the judge. */
static void
print_json(const struct request *r, const struct cases *c, const struct scores *s)
{
    const struct scores *all = &s[r->panel.count];
    json_t *top = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "file", r->file, "solutions",
                            (json_int_t)c->count, "skipped", (json_int_t)c->skipped, "erroneous",
                            (json_int_t)all->erroneous, "correct", (json_int_t)all->correct,
                            "steps", (json_int_t)all->steps),
           *list = json_array(), *consensus = json_object();

    put_scores(top, all);
    for (int i = 0; i < r->panel.count; i++) {
        json_t *one =
            json_pack("{s:s, s:s}", "judge", r->panel.at[i].id, "kind", r->panel.at[i].kind);
        put_scores(one, &s[i]);
        json_array_append_new(list, one);
    }
    if (r->rule)
        json_object_set_new(consensus, "rule", json_string(r->rule));
    put_scores(consensus, all);
    json_object_set_new(top, "judges", list);
    json_object_set_new(top, "consensus", consensus);
    json_dumpf(top, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(top);
}

static void
print_share(int64_t part, int64_t whole)
{
    char text[48];

    snprintf(text, sizeof(text), "%lld of %lld", (long long)part, (long long)whole);
    printf(" %13s", text);
}

/* The figures that are no measures; `what` counts the rows. False: there are no more. */
static bool
print_counts(int what, const struct scores *s, int count)
{
    static const char *const names[] = {"incorrect, rightly", "solutions flagged", "abstained",
                                        "US dollars", "tokens"};

    if (what >= (int)(sizeof(names) / sizeof(names[0])))
        return false;
    printf("%-18s", names[what]);
    for (int i = 0; i < count; i++) {
        const int64_t *called = s[i].table[CASE_incorrect];
        if (what == 0)
            print_share(called[CASE_incorrect],
                        called[CASE_incorrect] + s[i].table[CASE_correct][CASE_incorrect]);
        else if (what == 1)
            print_share(s[i].flagged, s[i].erroneous + s[i].correct);
        else if (what == 2)
            printf(" %13lld", (long long)s[i].abstained);
        else if (what == 3)
            printf(" %13.4f", s[i].usd);
        else
            printf(" %13lld", (long long)(s[i].tokens_in + s[i].tokens_out));
    }
    putchar('\n');
    return true;
}

/* A column for each judge, and for the consensus where it is not the one judge's word. */
static void
print_text(const struct request *r, const struct cases *c, const struct scores *s)
{
    const struct scores *all = &s[r->panel.count];
    int count = r->panel.count + (r->panel.count > 1 || r->rule);

    printf("%lld solutions (%lld with an error, %lld without), %lld steps with a known label\n\n",
           (long long)c->count, (long long)all->erroneous, (long long)all->correct,
           (long long)all->steps);
    printf("%-18s", "");
    for (int i = 0; i < count; i++)
        printf(" %13.13s", i < r->panel.count ? r->panel.at[i].id : "consensus");
    putchar('\n');
    for (size_t m = 0; m < MEASURES; m++) {
        printf("%-18s", measures[m].name);
        for (int i = 0; i < count; i++) {
            double value = measures[m].of(&s[i]);
            if (isfinite(value))
                printf(" %13.3f", value);
            else
                printf(" %13s", "-");
        }
        putchar('\n');
    }
    for (int what = 0; print_counts(what, s, count); what++)
        ;
}

static int
report(const struct request *r, const struct cases *c, const char *dir, struct error *e)
{
    char *path = xprint("%s/run/" PANEL_SINK ".jsonl", dir);
    struct scores scores[PANEL_JUDGES_MAX + 1] = {0};
    struct verdicts v;
    int rc = verdicts_read(&v, path, c, &r->panel, r->above, e);

    free(path);
    if (rc < 0)
        return rc;
    if (v.answered != c->count)
        fprintf(stderr,
                "sluice judge-eval: %lld of %lld solutions did not come out of the run; "
                "they count as abstained: sluice dead %s/run\n",
                (long long)(c->count - v.answered), (long long)c->count, dir);
    for (int k = 0; k < v.voters; k++)
        for (int64_t i = 0; i < c->count; i++)
            scores_add(&scores[k], &c->at[i], &v.at[k * c->count + i]);
    verdicts_free(&v);
    if (r->json)
        print_json(r, c, scores);
    else
        print_text(r, c, scores);
    return 0;
}

/* ---- the folder ---- */

static int
remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

/* An absolute path of the folder; a temporary one where none was named. The caller's. */
static char *
folder_open(const char *named, struct error *e)
{
    const char *where = getenv("TMPDIR");
    char *dir = named ? xtext(named)
                      : xprint("%s/sluice-judge-eval.XXXXXX", where && *where ? where : "/tmp");
    bool made = named ? mkdir(dir, 0777) == 0 || errno == EEXIST : mkdtemp(dir) != NULL;
    char *whole = made ? realpath(dir, NULL) : NULL;

    if (!whole)
        error_set(e, ERROR_file, "cannot make the folder '%s': %s", dir, strerror(errno));
    free(dir);
    return whole;
}

static bool
has_run(const char *dir)
{
    char *run = xprint("%s/run", dir);
    bool has = run_exists(run);

    free(run);
    return has;
}

static int
evaluate(struct request *r, struct error *e)
{
    struct cases c;
    char *dir = NULL;
    int rc = cases_read(&c, r->file, e);

    if (rc < 0)
        return rc;
    if (r->limit > 0 && c.count > r->limit)
        c.count = r->limit;
    dir = folder_open(r->run, e);
    rc = dir ? prepare(r, &c, dir, e) : ERROR_file;
    if (rc == 0)
        rc = r->estimate ? estimate(r, dir, e) : judge(r, dir, e);
    if (rc == 0 && !r->estimate)
        rc = report(r, &c, dir, e);
    if (dir && !r->run && (rc == 0 || stage_signal() || !has_run(dir)))
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
    cases_free(&c);
    return rc;
}

static int
read_request(struct request *r, struct error *e)
{
    char *end;
    int rc = 0;

    if (r->judges.count == 0)
        return error_set(e, ERROR_usage, "--judge KIND[:option=value,...] is needed");
    r->above = r->threshold ? strtod(r->threshold, &end) : 0.5;
    if (r->threshold && (end == r->threshold || *end || !(r->above >= 0 && r->above <= 1)))
        return error_set(e, ERROR_usage, "--threshold '%s': a number from 0 to 1", r->threshold);
    if (strcmp(r->on_pause, "wait") != 0 && strcmp(r->on_pause, "exit") != 0)
        return error_set(e, ERROR_usage, "--on-pause takes wait or exit, not '%s'", r->on_pause);
    for (int i = 0; i < r->judges.count && rc == 0; i++)
        rc = panel_add(&r->panel, r->judges.at[i], e);
    return rc;
}

int
command_judge_eval(int argc, char **argv)
{
    static struct request r = {.on_pause = "wait"};
    const struct flag flags[] = {
        {FLAG_many, 0, "judge", "KIND[:OPTION=VALUE,...]", &r.judges, "a judge; may be repeated"},
        {FLAG_text, 0, "rule", "RULE", &r.rule,
         "of the consensus: all, any, majority, mean>=T ..."},
        {FLAG_text, 0, "quorum", "N", &r.quorum,
         "judges that must say something of a step, else it is unknown (all)"},
        {FLAG_text, 0, "threshold", "T", &r.threshold, "a score at or above it is correct (0.5)"},
        {FLAG_count, 0, "limit", "N", &r.limit, "only the first N solutions"},
        {FLAG_text, 0, "run", "DIR", &r.run, "keep the run in DIR/run; again: go on with it"},
        {FLAG_on, 0, "estimate", NULL, &r.estimate, "print what it would cost, judge nothing"},
        {FLAG_text, 0, "on-pause", "wait|exit", &r.on_pause,
         "a full disk or a spent budget: wait for it, or exit 75"},
        {FLAG_on, 0, "json", NULL, &r.json, "one JSON object"},
        {.kind = FLAG_end},
    };
    struct words words;
    struct error e = {0};
    int code = flags_read(flags, "judge-eval FILE --judge KIND[:OPTION=VALUE,...]", about, argc,
                          argv, 1, 1, &words),
        rc;

    if (code >= 0)
        return code;
    r.file = words.at[0];
    rc = read_request(&r, &e);
    if (rc == 0)
        rc = evaluate(&r, &e);
    panel_free(&r.panel);
    if (rc < 0)
        fprintf(stderr, "sluice judge-eval: %s\n", e.text);
    return rc < 0 ? error_exit(rc) : rc;
}
