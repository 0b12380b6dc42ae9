/* loop_sample: a round's stream. Runs in a process of its own.
 *
 * Attempt 0 draws `samples` answers to each chosen prompt; attempt K draws as many again for those
 * without a right answer so far (GDEPO's additional sampling; how attempts become a group is our
 * reading: the first group with a right answer stands for its prompt, the first of all where there
 * is none, so that groups keep their size). Each attempt has a file of whole prompts in order and a
 * seed of its own; what a kill left of it is kept up to its last whole prompt.
 *
 * Then the groups that stand are written in the prompts' order, and after them, `extra_epochs`
 * times over, those of prompts first unsolved and then solved (GDEPO's additional iterations, a
 * reconstruction: a group that is there twice is two groups, so it adds to the optimiser's steps).
 * Their rollouts' ids end in "+1", "+2" ... */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/answers.h"
#include "commands/loop.h"
#include "kernels/durable.h"
#include "kernels/random.h"

struct sampling {
    const struct loop *loop;
    int64_t round;
    struct speaker speaker;
    bool open;
    struct prompts view; /* the prompts of this attempt, numbers as in the file */
    struct outcome outcome;
    /* of the attempt in hand */
    int attempt;
    int64_t done;  /* prompts of the view that were there already */
    int64_t right; /* of the prompt in hand */
    FILE *file;
    char *path;
};

static int
file_failed(const char *path, struct error *e)
{
    return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file, "%s: %s",
                     path, strerror(errno));
}

static char *
attempt_path(const struct loop *l, int64_t round, int attempt)
{
    char name[32];

    snprintf(name, sizeof(name), "attempt-%d.jsonl", attempt);
    return records_path(l, round, name);
}

/* A prompt of the view has all its answers. */
static void
prompt_ends(struct sampling *s, const struct prompt *p)
{
    struct outcome *o = &s->outcome;

    if (s->attempt == 0)
        o->correct[p->number] = s->right;
    if (s->right > 0)
        o->stands[p->number] = s->attempt;
    o->attempts[p->number] = s->attempt + 1;
    s->right = 0;
}

static bool
unsolved(const struct outcome *o, int64_t i)
{
    return o->draws[i].chosen && o->correct[i] == 0 && o->stands[i] == 0;
}

/* Is LINE that answer? Then counts it. */
static bool
line_take(struct sampling *s, const struct prompt *p, int sample, const char *line, size_t length)
{
    json_t *json = length && line[length - 1] == '\n' ? json_loadb(line, length, 0, NULL) : NULL;
    char *id = xprint("%s/%d", p->id, sample);
    const char *found = json_string_value(json_object_get(json, "id"));
    bool same = found && strcmp(found, id) == 0;

    s->right += same ? json_integer_value(json_object_get(json, "reward")) : 0;
    free(id);
    json_decref(json);
    return same;
}

/* What an earlier process left: counts whole prompts, cuts off the rest. */
static int
attempt_resume(struct sampling *s, struct error *e)
{
    char *line = NULL;
    size_t room = 0;
    long samples = s->loop->samples, whole = 0;
    bool good = true;

    while (good && s->done < s->view.count) {
        const struct prompt *p = &s->view.at[s->done];

        for (int k = 0; k < samples && good; k++) {
            ssize_t n = getline(&line, &room, s->file);

            good = n > 0 && line_take(s, p, (int)(s->attempt * samples) + k, line, (size_t)n);
        }
        if (good) {
            prompt_ends(s, p);
            s->done++;
            whole = ftell(s->file);
        }
    }
    s->right = 0;
    free(line);
    if (whole < 0 || ftruncate(fileno(s->file), whole) != 0 ||
        fseek(s->file, whole, SEEK_SET) != 0)
        return file_failed(s->path, e);
    return 0;
}

int
loop_speaker(const struct loop *l, struct speaker *s, const char *policy, struct error *e)
{
    int rc = speaker_open(s, policy, e);

    if (rc)
        return rc;
    rc = speaker_format(s, policy, l->prompt_format, l->system, e);
    if (rc)
        speaker_close(s);
    return rc;
}

static int
answer_take(void *context, const struct answer *a, struct error *e)
{
    struct sampling *s = context;
    const struct prompt *p = &s->view.at[s->done + a->prompt];
    long samples = s->loop->samples;
    json_t *line = answers_line(p, (int)(s->attempt * samples) + a->sample, a, s->loop->mode);
    int rc = 0;

    if (!line)
        return error_set(e, ERROR_internal, "an answer is not valid UTF-8");
    s->right += json_integer_value(json_object_get(line, "reward"));
    if (json_dumpf(line, s->file, JSON_COMPACT) != 0 || fputc('\n', s->file) == EOF)
        rc = file_failed(s->path, e);
    if (rc == 0 && a->sample + 1 == samples) {
        prompt_ends(s, p);
        if (fflush(s->file) != 0)
            rc = file_failed(s->path, e);
    }
    json_decref(line);
    return rc;
}

/* The attempt's own seed: rounds and attempts are apart, and so is the evaluation, which has the
 * loop's. */
static long
attempt_seed(const struct sampling *s)
{
    uint64_t index = (uint64_t)s->round << 16 | (uint64_t)s->attempt;

    return (long)(random_bits((uint64_t)s->loop->seed, RANDOM_loop, index) >> 1);
}

static int
attempt_make(struct sampling *s, struct error *e)
{
    const struct loop *l = s->loop;
    char *label = s->attempt ? xprint("round %lld, attempt %d", (long long)s->round, s->attempt)
                             : xprint("round %lld", (long long)s->round);
    struct answers_how how = {.label = label,
                              .temperature = l->temperature,
                              .samples = l->samples,
                              .seed = attempt_seed(s),
                              .max_tokens = l->max_tokens,
                              .rows = l->rows};
    int rc = 0;

    s->path = attempt_path(l, s->round, s->attempt);
    s->file = fopen(s->path, "a+e");
    s->done = 0;
    if (!s->file)
        rc = file_failed(s->path, e);
    if (rc == 0 && fseek(s->file, 0, SEEK_SET) == 0)
        rc = attempt_resume(s, e);
    if (rc == 0 && s->done < s->view.count && !s->open) {
        char *policy = records_policy(l, s->round);

        rc = loop_speaker(l, &s->speaker, policy, e);
        s->open = rc == 0;
        free(policy);
    }
    if (rc == 0 && s->done < s->view.count) {
        struct prompts rest = s->view;

        rest.at += s->done;
        rest.count -= s->done;
        rc = answers_make(&s->speaker, &how, &rest, answer_take, s, e);
    }
    if (s->file && fclose(s->file) && rc == 0)
        rc = file_failed(s->path, e);
    free(s->path);
    free(label);
    return rc;
}

/* Attempt after attempt, each for the prompts that are chosen and, but for the first, unsolved. */
static int
attempts_make(struct sampling *s, struct error *e)
{
    const struct prompts *all = &s->loop->prompts;
    int rc = 0;

    s->view = (struct prompts){.path = all->path};
    s->view.at = xarray((size_t)all->count, sizeof(*s->view.at));
    for (s->attempt = 0; s->attempt <= s->loop->extra_samples && rc == 0; s->attempt++) {
        s->view.count = 0;
        for (int64_t i = 0; i < all->count; i++)
            if (s->attempt ? unsolved(&s->outcome, i) : s->outcome.draws[i].chosen)
                s->view.at[s->view.count++] = all->at[i];
        if (s->view.count == 0)
            break;
        rc = attempt_make(s, e);
    }
    free(s->view.at);
    if (s->open)
        speaker_close(&s->speaker);
    return rc;
}

/* ---- the stream ---- */

struct stream_out {
    struct sampling *sampling;
    FILE *attempts[LOOP_EXTRA_MAX + 1];
    FILE *out;
    char *path, *line;
    size_t room;
};

/* A line with the weight of its prompt, and of a copy the number behind its id. */
static int
line_write(struct stream_out *w, size_t length, double weight, int copy, struct error *e)
{
    json_t *json;
    int rc = 0;

    if (weight == 1 && copy == 0)
        return fwrite(w->line, 1, length, w->out) == length ? 0 : file_failed(w->path, e);
    json = json_loadb(w->line, length, 0, NULL);
    if (!json)
        return error_set(e, ERROR_input, "%s: an answer changed while it was read", w->path);
    if (weight != 1)
        json_object_set_new(json, "weight", json_real(weight));
    if (copy) {
        char *id = xprint("%s+%d", json_string_value(json_object_get(json, "id")), copy);

        json_object_set_new(json, "id", json_string(id));
        free(id);
    }
    if (json_dumpf(json, w->out, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0 ||
        fputc('\n', w->out) == EOF)
        rc = file_failed(w->path, e);
    json_decref(json);
    return rc;
}

/* The groups that stand, in order; copy > 0: those of prompts first unsolved and then solved. */
static int
groups_write(struct stream_out *w, int copy, struct error *e)
{
    const struct sampling *s = w->sampling;
    const struct outcome *o = &s->outcome;

    for (int k = 0; k <= LOOP_EXTRA_MAX && w->attempts[k]; k++)
        rewind(w->attempts[k]);
    for (int64_t i = 0; i < s->loop->prompts.count; i++)
        for (int k = 0; k < o->attempts[i]; k++)
            for (long n = 0; n < s->loop->samples; n++) {
                ssize_t length = getline(&w->line, &w->room, w->attempts[k]);
                bool wanted = k == o->stands[i] && (copy == 0 || k > 0);
                int rc = length <= 0 ? file_failed(w->path, e)
                         : wanted    ? line_write(w, (size_t)length, o->draws[i].weight, copy, e)
                                     : 0;

                if (rc)
                    return rc;
            }
    return 0;
}

static int
stream_write(struct sampling *s, const char *aside, struct error *e)
{
    struct stream_out w = {.sampling = s, .path = (char *)(uintptr_t)aside};
    int most = 0, rc = 0;

    for (int64_t i = 0; i < s->loop->prompts.count; i++)
        most = s->outcome.attempts[i] > most ? s->outcome.attempts[i] : most;
    for (int k = 0; k < most && rc == 0; k++) {
        char *path = attempt_path(s->loop, s->round, k);

        w.attempts[k] = fopen(path, "re");
        if (!w.attempts[k])
            rc = file_failed(path, e);
        free(path);
    }
    w.out = rc == 0 ? fopen(aside, "we") : NULL;
    if (rc == 0 && !w.out)
        rc = file_failed(aside, e);
    for (int copy = 0; copy <= s->loop->extra_epochs && rc == 0; copy++)
        rc = groups_write(&w, copy, e);
    if (w.out) {
        if (rc == 0 && (fflush(w.out) != 0 || fsync(fileno(w.out)) != 0))
            rc = file_failed(aside, e);
        if (fclose(w.out) != 0 && rc == 0)
            rc = file_failed(aside, e);
    }
    for (int k = 0; k < most; k++)
        if (w.attempts[k])
            fclose(w.attempts[k]);
    free(w.line);
    return rc;
}

int
loop_sample(const struct loop *l, int64_t round, struct error *e)
{
    struct sampling s = {.loop = l, .round = round};
    struct outcome before;
    char *path = records_path(l, round, "rollouts.jsonl"), *aside = xprint("%s.part", path);
    int rc = records_outcome_read(l, round - 1, &before, e);

    if (rc == 0) {
        outcome_new(&s.outcome, l->prompts.count);
        memcpy(s.outcome.memory, before.memory,
               (size_t)l->prompts.count * sizeof(*before.memory));
        outcome_free(&before);
        choose_draw(&l->choose, round, s.outcome.memory, l->prompts.count, s.outcome.draws);
        rc = attempts_make(&s, e);
        if (rc == 0)
            rc = stream_write(&s, aside, e);
        choose_remember(&l->choose, s.outcome.draws, s.outcome.correct, l->samples,
                        s.outcome.memory, l->prompts.count);
        if (rc == 0) /* first: where rollouts.jsonl is, so is this */
            rc = records_outcome_write(l, round, &s.outcome, e);
        if (rc == 0 && rename(aside, path) != 0)
            rc = file_failed(path, e);
        if (rc == 0)
            rc = durable_sync_parent(path, e);
        outcome_free(&s.outcome);
    }
    free(path);
    free(aside);
    return rc;
}

void
loop_sample_tidy(const struct loop *l, int64_t round)
{
    for (int k = 0; k <= l->extra_samples; k++) {
        char *path = attempt_path(l, round, k);

        unlink(path);
        free(path);
    }
}
