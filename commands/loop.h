/* loop: rounds of sampling and training: the state shared by the files loop*.c, and their parts.
 *
 *   DIR/loop.json        what was asked for and what was decided before the first round
 *   DIR/given/plan.json  the topology as it was checked then
 *   DIR/round-N/
 *     attempt-K.jsonl    answers while they are drawn: whole prompts in order; K > 0: again, those
 *                        unsolved so far. Removed once rollouts.jsonl is there
 *     prompts.jsonl      what became of each prompt, and what is remembered of it after this round
 *     rollouts.jsonl     the round's stream
 *     run                the run of the topology on it
 *     eval.json          right answers to the held-out prompts after it
 *     round.json         the figures; written last: a round with it is done
 *   DIR/round-0            eval.json and round.json of the model before the first round
 *
 * Every file but the attempts is written aside, synced and renamed; what a round is made of is a
 * function of the files of the rounds before it, so a loop that was killed anywhere goes on to the
 * same bytes (round.json holds seconds, which differ). */
#ifndef COMMANDS_LOOP_H
#define COMMANDS_LOOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/verify.h"
#include "commands/choose.h"
#include "commands/flags.h"
#include "nodes/prompts.h"
#include "graph/lock.h"
#include "graph/plan.h"

#define LOOP_VERSION         2
#define LOOP_EXTRA_MAX       100 /* further attempts at a prompt; copies of a group */
#define LOOP_ENTROPY_PROMPTS 64  /* prompts by which start checkpoints are compared */

struct speaker;

struct loop {
    /* as asked for */
    const char *topology, *given_dir, *prompts_file, *eval_file, *verify, *method, *on_pause;
    const char *reader, *learner; /* ids; found when not given */
    const char *prompt_format, *system; /* NULL: the learner's, which they may not contradict */
    long rounds, samples, max_tokens, seed, rows, extra_samples, extra_epochs, eval_samples;
    double temperature, grace;
    struct many sets, starts;
    double entropy_low, entropy_high;
    struct choose_how choose;
    enum verify_mode mode;
    bool json, text;
    /* found out */
    char *dir;   /* absolute */
    char *start; /* the model of the first round, absolute */
    char *reader_found, *learner_found, *format_found, *system_found;
    struct lock lock;
    struct plan plan; /* the topology with the start model and a stand-in for the rollouts */
    struct prompts prompts, eval_prompts;
};

/* What became of the prompts in one round; arrays by a prompt's number. */
struct outcome {
    struct choose_draw *draws;
    int64_t *correct;  /* right ones among the first `samples` answers */
    int *attempts;     /* groups of answers drawn: 1 and the further attempts; 0: not chosen */
    int *stands;       /* the attempt whose group went into the stream */
    struct choose_memory *memory; /* after the round */
};

void outcome_new(struct outcome *o, int64_t count);
void outcome_free(struct outcome *o);

/* ---- loop_check.c ---- */
/* Finds reader and learner, checks the topology with every start model, and what a loop needs of
 * it. Problems of the topology are printed; then e->text is empty. */
int loop_check(struct loop *l, struct error *e);

/* ---- loop_records.c ---- */
/* Begins DIR or goes on with it: the same settings and the same topology, or ERROR_usage,
 * ERROR_topology. *begun: loop.json is there, and l->start is what it says. */
int records_open(struct loop *l, bool *begun, struct error *e);
/* Writes loop.json with the start model; `candidates` (taken) tells how it was chosen, or NULL. */
int records_begin(struct loop *l, json_t *candidates, struct error *e);
char *records_path(const struct loop *l, int64_t round, const char *name); /* DIR/round-N/name */
/* The model that round N samples from: the start, or what round N - 1 made. The caller's. */
char *records_policy(const struct loop *l, int64_t round);
bool records_is(const char *path);
int records_write(const char *path, const json_t *json, struct error *e);
int records_read(const char *path, json_t **json, struct error *e);
/* XXH3 of every *.safetensors in a folder, in the order of their names, as 16 hex digits. */
int records_model_hash(const char *dir, char hash[17], struct error *e);
int records_file_hash(const char *file, char hash[17], struct error *e);
/* prompts.jsonl of a round; round 0 is all zero. */
int records_outcome_read(const struct loop *l, int64_t round, struct outcome *o, struct error *e);
int records_outcome_write(const struct loop *l, int64_t round, const struct outcome *o,
                         struct error *e);

/* ---- loop_sample.c, in a process of its own ---- */
/* Opens a policy that is given prompts as the learner is trained on them. */
int loop_speaker(const struct loop *l, struct speaker *s, const char *policy, struct error *e);
int loop_sample(const struct loop *l, int64_t round, struct error *e);
/* In the loop's: removes the attempts once the stream is there. */
void loop_sample_tidy(const struct loop *l, int64_t round);

/* ---- loop_start.c ---- */
/* Measures the entropy of every start model and chooses; *candidates tells. */
int loop_start(struct loop *l, json_t **candidates, struct error *e);

/* ---- loop_stage.c ---- */
void stage_signals(void); /* from now on SIGINT and SIGTERM go to the stage, and are remembered */
int stage_signal(void);   /* the first that came; 0: none */
/* Runs WORK in a process of its own, so that its memory is given back and its death is not ours.
 * It writes to files; only its error comes back. */
int stage_work(int (*work)(void *own, struct error *e), void *own, struct error *e);
/* Runs this program with other words; standard output goes to the file `log` unless NULL. -> its
 * exit code (128 + signal), or an error of ours. */
int stage_self(char *const *words, const char *log, struct error *e);

/* ---- loop_round.c ---- */
/* Carries a round to its end, or finds it done. -> 0; positive: an exit code to leave with, said;
 * or an error. */
int loop_round(struct loop *l, int64_t round, struct error *e);
/* The pass rate before the first round, where held-out prompts were given. */
int loop_before(struct loop *l, struct error *e);

/* ---- loop_table.c ---- */
void table_head(bool held);
/* The row of a round that is done (0: before the first); *there: it is. text: of the table, else a
 * JSON line. */
int table_show(const char *dir, int64_t round, bool text, bool *there, struct error *e);

#endif
