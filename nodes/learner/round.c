/* round: training as a machine that moves by one batch a call. A round is what is trained together:
 * every sample once the input has ended, or one window of a stream without end. In each: the
 * reference's log-probabilities of samples that lack them, then the passes, step by step. What is
 * in memory runs ahead of the store and is lost by a kill; the newest checkpoint is where the next
 * process goes on, to the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "nodes/learner/groups.h"
#include "nodes/learner/learner.h"
#include "nodes/learner/manifest.h"

struct span
learner_key(char *room, char kind, uint64_t ordinal)
{
    room[0] = kind;
    for (int i = 0; i < 8; i++)
        room[1 + i] = (char)(ordinal >> (56 - 8 * i));
    return span_of(room, LEARNER_KEY_MAX);
}

static uint64_t
key_ordinal(struct span key)
{
    uint64_t ordinal = 0;

    for (int i = 0; i < 8; i++)
        ordinal = ordinal << 8 | (unsigned char)key.at[1 + i];
    return ordinal;
}

struct scan {
    struct learner *learner;
    struct error *e;
    int rc;
};

static bool
scan_visit(void *own, struct span key, struct span value)
{
    struct scan *scan = own;
    struct sample s;
    struct entry entry;

    if (key.length != LEARNER_KEY_MAX)
        return true;
    scan->rc = sample_peek(value, key_ordinal(key), &s, scan->e);
    entry = (struct entry){s.ordinal, s.first, s.group_size, (uint32_t)s.count};
    if (scan->rc == 0)
        entries_add(&scan->learner->entries, &entry);
    return scan->rc == 0;
}

int
round_scan(struct learner *l, struct error *e)
{
    struct scan scan = {l, e, 0};

    entries_free(&l->entries);
    node_scan(l->node, span_of("s", 1), span_of("s", 1), scan_visit, &scan);
    return scan.rc;
}

static struct model *
model_twin(const struct model *m)
{
    struct model *twin = xalloc(sizeof(*twin));

    model_copy(twin, m);
    return twin;
}

static void
initial_free(struct learner *l)
{
    if (l->initial)
        model_free(l->initial);
    free(l->initial);
    l->initial = NULL;
}

/* What a checkpoint kept beside the weights becomes the trainer's; without one, what training
 * begins with. */
static int
trainer_take(struct learner *l, const struct weights *kept, struct error *e)
{
    const struct learner_options *o = l->options;
    struct trainer *t = &l->trainer;
    size_t bytes = (size_t)t->model.count * sizeof(float);
    bool frozen;

    l->training = true;
    if (kept->m) {
        free(t->m);
        free(t->v);
        t->m = kept->m;
        t->v = kept->v;
    }
    t->ema = kept->ema;
    t->ema_decay = o->ema;
    if (o->ema > 0 && !t->ema) {
        t->ema = xaligned(bytes);
        memcpy(t->ema, t->model.params, bytes);
    }
    t->groups = xarray((size_t)t->model.tensor_count, 1);
    return groups_make(&t->model, &o->no_decay, &o->freeze, t->groups, &frozen, e);
}

/* The newest checkpoint, or the one to begin with. One that is damaged will be so at the next start
 * too: the run ends (exit 78) with a word about what else there is. */
static int
load_kept(struct learner *l, struct weights *kept, struct error *e)
{
    const struct progress *p = &l->progress;
    const char *id = node_id(l->node);
    bool ema = l->options->ema > 0;
    struct error why = {0};
    int rc = l->resuming ? checkpoint_read(l->options->resume_from, kept, ema, &why)
                         : output_load(&l->output, p->step, kept, ema, &why);

    if (rc == ERROR_model && !l->resuming && p->kept_count > 1)
        return error_set(e, ERROR_topology,
                         "%.500s; `sluice replay RUN %s --set %s.resume_from=%s/step-%lld"
                         " --into NEW` goes on from the one before",
                         why.text, id, id, l->output.dir, (long long)p->kept[p->kept_count - 2]);
    return rc < 0 ? error_set(e, rc == ERROR_model ? ERROR_topology : rc, "%s", why.text) : 0;
}

/* Open the trainer at the newest checkpoint, or at the initial model. */
static int
open_trainer(struct learner *l, struct error *e)
{
    const struct learner_options *o = l->options;
    struct trainer *t = &l->trainer;
    struct model *start = NULL;
    struct weights kept = {0};
    bool resumed = l->progress.step > 0;
    bool reference = (learner_needs_reference(l) && (o->follow || l->resuming)) ||
                     (l->resuming && l->evaluation);
    uint64_t hash = 0;
    int rc = 0;

    if (!resumed || reference)
        rc = initial_model(o, node_seed(l->node), &start, e);
    if (rc < 0)
        return rc;
    if (start)
        hash = XXH3_64bits(start->params, (size_t)start->count * sizeof(float));
    if (start && resumed && hash != l->progress.initial_hash) {
        model_free(start);
        free(start);
        return error_set(e, ERROR_model, "'%s' has other weights than when this %s began", o->model,
                         l->resuming ? "checkpoint's training" : "run");
    }
    l->progress.initial_hash = start ? hash : l->progress.initial_hash;
    if (reference)
        l->initial = resumed ? start : model_twin(start);
    if (resumed) {
        rc = load_kept(l, &kept, e);
        start = xalloc(sizeof(*start));
        *start = kept.model;
    }
    if (rc == 0 &&
        start->head_rows != (learner_classes(l->objective) ? l->config.num_labels : l->config.vocab_size)) {
        model_free(start);
        rc = error_set(e, ERROR_model,
                       "the checkpoint of step %lld is of another shape than the model",
                       (long long)l->progress.step);
    }
    if (rc < 0) {
        kept.model.params = NULL;
        weights_free(&kept);
        free(start);
        return rc;
    }
    t->objective = l->objective;
    t->settings = l->settings;
    t->rules = (struct pack_rules){
        .classes = learner_classes(l->objective),
        .correct_only = l->objective->needs & OBJECTIVE_correct_only,
        .beta = settings_beta(o, l->objective),
        .wrong = o->wrong_weight,
        .correction = o->correction_weight,
        .behaviour = learner_needs_behaviour(l),
        .recorded = learner_recorded(l),
        .names = l->rules.names.kind == SAMPLE_names_none ? NULL : &l->rules.names};
    t->adamw = (struct adamw){.beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .eps = o->eps,
                              .weight_decay = o->weight_decay,
                              .clip = o->clip};
    trainer_init(t, &start);
    rc = trainer_take(l, &kept, e);
    return rc == 0 ? pinned_open(l, e) : rc;
}

/* ---- checkpoints ---- */

static void
put_progress(struct learner *l)
{
    struct progress *p = &l->progress;

    p->version = LEARNER_PROGRESS_VERSION;
    p->metrics_length = l->output.metrics.length;
    if (l->output.events.fd >= 0)
        p->events_length = l->output.events.length;
    node_count(l->node, METRIC_trained_tokens, p->trained_tokens - l->saved.trained_tokens);
    node_count(l->node, METRIC_train_steps, p->step - l->saved.step);
    node_put(l->node, span_of("p", 1), span_of(p, sizeof(*p)));
    l->saved = *p;
    l->saved_at = node_now(l->node);
}

struct weights
round_weights(const struct learner *l)
{
    const struct trainer *t = &l->trainer;

    return (struct weights){.model = t->model, .m = t->m, .v = t->v, .ema = t->ema};
}

static int
save_folder(struct learner *l, struct error *e)
{
    struct weights now = round_weights(l);
    struct buffer manifest = {0};
    int rc = trainer_moments(&l->trainer, e);

    if (rc == 0)
        rc = manifest_write(l, &manifest, e);
    if (rc == 0)
        rc = output_save(&l->output, l->progress.step, &now, buffer_span(&manifest), e);
    buffer_free(&manifest);
    return rc;
}

/* Progress becomes durable: the directory first, then the store's word for it, then the old ones
 * go. */
int
round_save(struct learner *l, struct error *e)
{
    struct progress *p = &l->progress;
    int64_t gone[LEARNER_KEEP_MAX], gone_count = 0, keep = l->options->keep;
    bool made = p->kept_count > 0 && p->kept[p->kept_count - 1] == p->step;
    int rc = 0;

    if (p->step > 0 && !made) {
        rc = save_folder(l, e);
        while (p->kept_count >= keep) {
            gone[gone_count++] = p->kept[0];
            memmove(p->kept, p->kept + 1, (size_t)--p->kept_count * sizeof(p->kept[0]));
        }
        p->kept[p->kept_count++] = p->step;
    }
    if (rc == 0)
        rc = output_sync(&l->output, e);
    if (rc == 0)
        rc = pinned_keep(l, e);
    if (rc < 0)
        return rc;
    put_progress(l);
    rc = node_commit(l->node, e);
    for (int64_t i = 0; i < gone_count && rc == 0; i++)
        rc = output_remove(&l->output, gone[i], e);
    return rc;
}

bool
round_save_due(const struct learner *l)
{
    const struct learner_options *o = l->options;

    if (o->checkpoint_steps > 0 && l->progress.step % o->checkpoint_steps == 0)
        return true;
    return node_now(l->node) - l->saved_at >= o->checkpoint_every;
}

/* ---- rounds ---- */

/* Has the input recorded what the manifest says of it: a chain of hashes over the round's samples.
 */
static int
hash_input(struct learner *l, struct progress *p, struct error *e)
{
    char room[LEARNER_KEY_MAX];
    struct span value;

    for (int64_t i = 0; i < l->round_count; i++) {
        const struct entry *entry = &l->entries.at[i];

        if (!node_get(l->node, learner_key(room, 's', entry->ordinal), &value))
            return error_set(e, ERROR_store, "sample %llu is gone from the store",
                             (unsigned long long)entry->ordinal);
        p->input_hash = XXH3_64bits_withSeed(room, sizeof(room), p->input_hash);
        p->input_hash = XXH3_64bits_withSeed(value.at, value.length, p->input_hash);
        if (node_get(l->node, learner_key(room, 'n', entry->ordinal), &value))
            p->input_hash = XXH3_64bits_withSeed(value.at, value.length, p->input_hash);
        p->input_groups += i == 0 || entry->first != entry[-1].first;
    }
    p->input_samples += l->round_count;
    return 0;
}

int64_t
round_passes(const struct learner *l)
{
    int64_t given = l->options->follow ? l->options->passes : l->options->epochs;

    return given > 0 ? given : 1;
}

/* The steps of the pass that progress stands in; number: of the permutation. */
void
round_pass(struct learner *l, struct pass *pass, int64_t which)
{
    const struct learner_options *o = l->options;

    pass_make(pass, &l->entries, l->round_count, o->batch_rollouts, o->shuffle, node_seed(l->node),
              (uint64_t)(l->progress.rounds * round_passes(l) + which));
}

static void
set_schedule(struct learner *l)
{
    const struct learner_options *o = l->options;
    struct pass pass = {0};
    int64_t total = o->schedule_steps;

    for (int64_t i = 0; total == 0 && !o->follow && i < round_passes(l); i++) {
        round_pass(l, &pass, i);
        l->schedule.total += pass.steps;
    }
    pass_free(&pass);
    if (total > 0 || o->follow)
        l->schedule.total = total;
    l->schedule.decay = o->decay_steps > 0
                            ? o->decay_steps
                            : (int64_t)ceil(o->decay_share * (double)l->schedule.total);
    l->schedule.shape = (enum schedule_decay)o->decay_shape;
    l->schedule.kind = (enum schedule_kind)o->schedule;
    l->schedule.lr = o->lr;
    l->schedule.lr_min = o->lr_min;
    l->schedule.warmup = o->warmup_steps;
}

/* From another run's folder: is the input the one it was trained on, and its place in the order one
 * of this run's? */
static int
check_place(struct learner *l, struct error *e)
{
    const struct progress *p = &l->progress;
    const char *from = l->options->resume_from;
    struct progress found = {0};
    struct pass pass = {0};
    int rc = hash_input(l, &found, e);

    if (rc < 0)
        return rc;
    if (found.input_hash != p->input_hash || found.input_samples != p->input_samples)
        return error_set(e, ERROR_topology, "'%s' was trained on another input", from);
    if (p->rounds == 0 && p->pass < round_passes(l))
        round_pass(l, &pass, p->pass);
    if (p->batch > pass.steps || pass.steps == 0)
        rc = error_set(e, ERROR_topology, "'%s' stands in epoch %lld, step %lld of it: this run has"
                       " no such place", from, (long long)p->pass + 1, (long long)p->batch);
    pass_free(&pass);
    return rc;
}

/* The references are there: the folder becomes this run's own first checkpoint and is needed no
 * more, nor is the initial model. */
static int
take_over(struct learner *l, struct error *e)
{
    int rc = evaluate_reference(l, e);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = round_save(l, e);
    if (rc == 0) {
        l->resuming = false;
        initial_free(l);
    }
    return rc;
}

/* What can be trained now? Sets the phase; stays in PHASE_wait when there is nothing yet. */
static int
begin_round(struct learner *l, struct error *e)
{
    const struct learner_options *o = l->options;
    struct progress *p = &l->progress;
    bool resumed = o->follow ? p->window_end > 0 : p->step > 0;
    int rc = 0;

    if (o->follow && !resumed) {
        l->round_count = entries_window(&l->entries, o->window, node_position(l->node), l->ended,
                                        &p->window_end);
        if (l->round_count == 0)
            p->window_end = 0;
    } else if (o->follow) {
        l->round_count = 0;
        while (l->round_count < l->entries.count &&
               l->entries.at[l->round_count].ordinal < p->window_end)
            l->round_count++;
    } else {
        l->round_count = l->ended && p->rounds == 0 ? l->entries.count : 0;
    }
    if (l->round_count == 0) {
        l->phase = l->ended ? PHASE_final : PHASE_wait;
        return 0;
    }
    if (!l->training) {
        rc = open_trainer(l, e);
        if (rc < 0)
            return rc;
        set_schedule(l);
        l->saved_at = node_now(l->node);
    }
    if (settings_process(o))
        rc = data_baselines(l, e);
    if (rc == 0)
        rc = data_check(l, e);
    if (rc < 0)
        return rc;
    l->reference_at = 0;
    l->pass_open = false;
    l->phase = learner_needs_reference(l) ? PHASE_reference : PHASE_train;
    if (o->label_noise)
        data_noise_begin(l);
    if (l->resuming)
        return check_place(l, e);
    return resumed ? 0 : hash_input(l, p, e);
}

/* A window's samples leave the store with the progress that says so. */
int
round_end(struct learner *l, struct error *e)
{
    struct progress *p = &l->progress;
    char room[LEARNER_KEY_MAX];

    p->rounds++;
    p->pass = p->batch = 0;
    p->window_end = 0;
    pass_free(&l->pass);
    l->pass_open = false;
    l->phase = PHASE_wait;
    if (!l->options->follow)
        return 0;
    for (int64_t i = 0; i < l->round_count; i++) {
        node_delete(l->node, learner_key(room, 's', l->entries.at[i].ordinal));
        node_delete(l->node, learner_key(room, 'r', l->entries.at[i].ordinal));
        node_delete(l->node, learner_key(room, 'n', l->entries.at[i].ordinal));
    }
    entries_drop(&l->entries, l->round_count);
    l->round_count = 0;
    node_why(l->node, NULL);
    round_withhold(l);
    return round_save(l, e);
}

static int
finish(struct learner *l, struct error *e)
{
    struct buffer manifest = {0};
    struct weights now;
    int rc = trainer_moments(&l->trainer, e);

    if (rc < 0)
        return rc;
    if (l->progress.input_samples == 0)
        node_log(l->node, LOG_warning,
                 "the input ended without a sample: the final model is the initial one");
    else if (l->progress.trained_tokens == 0)
        node_log(l->node, LOG_warning,
                 "no token had a part in the loss (all masked, pruned or of the wrong kind): the "
                 "final model has learnt nothing");
    node_why(l->node, "writing the final checkpoint");
    now = round_weights(l);
    rc = manifest_write(l, &manifest, e);
    if (rc == 0)
        rc = output_final(&l->output, &now, buffer_span(&manifest), e);
    buffer_free(&manifest);
    if (rc == 0)
        rc = output_sync(&l->output, e);
    if (rc < 0)
        return rc;
    l->progress.final_written = 1;
    put_progress(l);
    node_finish(l->node);
    node_why(l->node, NULL);
    l->phase = PHASE_done;
    return node_commit(l->node, e);
}

/* Between two steps, where the trainer is this run's own: is an evaluation due? */
static bool
evaluates(const struct learner *l)
{
    return l->training && !l->resuming && !l->samples && l->phase != PHASE_reference &&
           l->phase != PHASE_noise && l->phase != PHASE_done &&
           evaluate_due(l, l->phase == PHASE_final);
}

int
round_pump(struct learner *l, struct error *e)
{
    int rc = 0;

    if (l->lacks_behaviour)
        return data_lacks_behaviour(l, e);
    if (l->phase == PHASE_wait)
        rc = begin_round(l, e);
    if (rc == 0 && l->phase == PHASE_final && !l->training)
        rc = open_trainer(l, e);
    if (rc == 0 && l->training)
        trainer_threads(&l->trainer, (int)l->options->threads);
    if (rc < 0 || l->phase == PHASE_done || (l->phase == PHASE_wait && !evaluates(l)))
        return rc < 0 ? rc : PUMP_IDLE;
    if (node_draining(l->node) && !l->samples) {
        if (l->training && l->progress.step > l->saved.step)
            rc = round_save(l, e);
        node_why(l->node, "draining: training goes on when the run does");
        return rc < 0 ? rc : PUMP_IDLE;
    }
    if (evaluates(l))
        rc = evaluate_pump(l, e);
    else if (l->phase == PHASE_noise)
        rc = data_noise(l, e);
    else if (l->phase == PHASE_reference)
        rc = step_reference(l, e);
    else if (l->phase == PHASE_train && l->resuming)
        rc = take_over(l, e);
    else if (l->phase == PHASE_train)
        rc = step_train(l, e);
    else
        rc = finish(l, e);
    return rc < 0 ? rc : PUMP_AGAIN;
}

void
round_withhold(struct learner *l)
{
    const struct learner_options *o = l->options;
    int most = (int)o->max_windows;

    if (o->follow)
        node_set_in_flight(
            l->node, entries_windows(&l->entries, o->window, node_position(l->node), most) < most
                         ? LEARNER_IN_FLIGHT
                         : 0);
}

bool
round_follow_waits(const struct learner *l)
{
    return l->options->follow && l->phase == PHASE_wait && !l->ended;
}

void
round_free(struct learner *l)
{
    evaluate_free(l->evaluation);
    if (l->training)
        trainer_free(&l->trainer);
    initial_free(l);
    pass_free(&l->pass);
    baselines_free(&l->baselines);
    noise_free(&l->noise);
    buffer_free(&l->vectors);
    buffer_free(&l->pinned);
    arena_free(&l->arena);
    entries_free(&l->entries);
}
