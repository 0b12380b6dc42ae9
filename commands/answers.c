#include "commands/answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/model_file.h"
#include "kernels/sampler.h"

#define SHOW_SECONDS 0.25

int
speaker_open(struct speaker *s, const char *dir, struct error *e)
{
    int rc;

    *s = (struct speaker){0};
    s->tokenizer = tokenizer_open(dir, e);
    if (!s->tokenizer)
        return ERROR_model;
    rc = model_stops_read(&s->stops, dir, e);
    if (rc == 0)
        rc = model_open(&s->model, dir, e);
    if (rc == 0 && s->model.config.num_labels)
        rc = error_set(e, ERROR_model, "%s: a classifier; only a language model answers", dir);
    if (rc)
        speaker_close(s);
    return rc;
}

void
speaker_close(struct speaker *s)
{
    model_free(&s->model);
    tokenizer_close(s->tokenizer);
    chat_template_free(&s->chat);
    *s = (struct speaker){0};
}

int
speaker_format(struct speaker *s, const char *dir, const char *format, const char *system,
               struct error *e)
{
    int rc = chat_template_open(&s->chat, format, dir, e);

    if (rc == 0 && s->chat.format == CHAT_raw && system && *system)
        rc = error_set(e, ERROR_usage,
                       "a system message needs a prompt format with one; this is raw");
    s->system = system;
    return rc;
}

int
speaker_prompt(struct speaker *s, struct span text, int32_t **ids, int64_t *count, struct error *e)
{
    struct tokens tokens = {0};
    int rc = chat_prompt(s->tokenizer, &s->chat, s->system, text, &tokens, e);

    if (rc == 0 && tokens.dropped)
        rc = error_set(e, ERROR_input, "the vocabulary lacks %lld characters of the prompt",
                       (long long)tokens.dropped);
    if (rc == 0 && tokens.count == 0 && s->model.config.bos_token_id < 0)
        rc = error_set(e, ERROR_input, "the prompt has no tokens, and the model no bos_token_id");
    if (rc == 0) {
        *count = tokens.count ? tokens.count : 1;
        *ids = xarray((size_t)*count, sizeof(**ids));
        (*ids)[0] = (int32_t)s->model.config.bos_token_id;
        if (tokens.count)
            memcpy(*ids, tokens.ids, (size_t)tokens.count * sizeof(**ids));
    }
    tokens_free(&tokens);
    return rc;
}

json_t *
answers_line(const struct prompt *p, int sample, const struct answer *a, enum verify_mode mode)
{
    char *id = xprint("%s/%d", p->id, sample);
    json_t *line = json_pack("{s:s, s:s%, s:s%, s:s}", "id", id, "prompt", p->text.at,
                             p->text.length, "response", a->text.at, a->text.length,
                             "finish_reason", a->cut ? "length" : "stop");

    free(id);
    if (line && p->answer.at) {
        json_object_set_new(line, "answer", json_stringn(p->answer.at, p->answer.length));
        json_object_set_new(line, "reward", json_integer(verify_answer(mode, a->text, p->answer)));
    }
    return line;
}

/* Answers come in the order in which they end; they are held until those before them have come. */
struct order {
    struct speaker *speaker;
    const struct answers_how *how;
    struct answer *held; /* by prompt and sample; text.at NULL: not there yet */
    int64_t next, total, ended;
    int (*each)(void *context, const struct answer *a, struct error *e);
    void *context;
    struct error *e;
    double began, shown;
    int terminal;
};

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
show(struct order *o)
{
    double time = o->terminal ? now() : 0;
    double left;

    if (!o->terminal || (time - o->shown < SHOW_SECONDS && o->ended < o->total) ||
        (time - o->began < SHOW_SECONDS))   /* too early to say how long */
        return;
    o->shown = time;
    left = (time - o->began) * (double)(o->total - o->ended) / (double)o->ended;
    if (o->ended < o->total)
        fprintf(stderr, "\r\033[K%s: %lld of %lld answers, %.0f s left", o->how->label,
                (long long)o->ended, (long long)o->total, left);
    else
        fputs("\r\033[K", stderr);
}

static int
take_answer(void *context, const struct sampler_answer *a)
{
    struct order *o = context;
    struct buffer text = {0};
    int rc = 0;

    tokenizer_decode(o->speaker->tokenizer, a->ids, a->count, 1, &text);
    buffer_reserve(&text, 1); /* an empty answer is there too */
    o->held[a->prompt * o->how->samples + a->sample] =
        (struct answer){a->prompt, a->sample, buffer_span(&text), !a->stopped};
    o->ended++;
    show(o);
    while (rc == 0 && o->next < o->total && o->held[o->next].text.at) {
        struct answer *held = &o->held[o->next];

        rc = o->each(o->context, held, o->e);
        free((char *)(uintptr_t)held->text.at);
        held->text.at = NULL;
        o->next++;
    }
    return rc;
}

/* The ids of every prompt, checked against the model before the first answer is drawn. */
static int
encode_prompts(struct speaker *s, const struct prompts *prompts, int32_t **ids,
               struct sampler_prompt *out, struct error *e)
{
    int64_t positions = s->model.config.positions_usable;

    for (int64_t i = 0; i < prompts->count; i++) {
        int64_t count = 0;
        int rc = speaker_prompt(s, prompts->at[i].text, &ids[i], &count, e);

        if (rc == 0 && count >= positions)
            rc = error_set(e, ERROR_input,
                           "the prompt has %lld tokens; the model has %lld positions",
                           (long long)count, (long long)positions);
        if (rc) {
            error_wrap(e, "%s:%lld", prompts->path, (long long)prompts->at[i].line);
            return rc;
        }
        out[i] = (struct sampler_prompt){ids[i], count, (uint64_t)prompts->at[i].number};
    }
    return 0;
}

int
answers_make(struct speaker *s, const struct answers_how *how, const struct prompts *prompts,
             int (*each)(void *context, const struct answer *a, struct error *e), void *context,
             struct error *e)
{
    struct sampler_options options = {.seed = (uint64_t)how->seed,
                                      .temperature = how->temperature,
                                      .max_tokens = how->max_tokens,
                                      .samples = (int)how->samples,
                                      .rows = (int)how->rows,
                                      .stop_ids = s->stops.ids,
                                      .stop_count = s->stops.count};
    struct order o = {.speaker = s,
                      .how = how,
                      .each = each,
                      .context = context,
                      .e = e,
                      .began = now(),
                      .terminal = isatty(STDERR_FILENO)};
    struct sampler_prompt *given;
    int32_t **ids;
    int rc;

    if (how->samples < 1 || how->samples > SAMPLER_SAMPLES_MAX)
        return error_set(e, ERROR_usage, "--samples must lie between 1 and %d",
                         SAMPLER_SAMPLES_MAX);
    if (how->max_tokens < 1 || how->max_tokens > SAMPLER_TOKENS_MAX)
        return error_set(e, ERROR_usage, "--max-tokens must lie between 1 and %d",
                         SAMPLER_TOKENS_MAX);
    if (how->rows > SAMPLER_ROWS_MAX)
        return error_set(e, ERROR_usage, "--rows must lie between 0 and %d", SAMPLER_ROWS_MAX);
    if (how->temperature > SAMPLER_TEMPERATURE_MAX)
        return error_set(e, ERROR_usage, "--temperature must lie between 0 and %g",
                         SAMPLER_TEMPERATURE_MAX);
    o.total = prompts->count * how->samples;
    given = xarray((size_t)prompts->count, sizeof(*given));
    ids = xarray((size_t)prompts->count, sizeof(*ids));
    o.held = xarray((size_t)o.total, sizeof(*o.held));
    rc = encode_prompts(s, prompts, ids, given, e);
    if (rc == 0)
        rc = sampler_run(&s->model, &options, given, prompts->count, take_answer, &o, e);
    for (int64_t i = 0; i < prompts->count; i++)
        free(ids[i]);
    for (int64_t i = o.next; i < o.total; i++)
        free((char *)(uintptr_t)o.held[i].text.at);
    free(o.held);
    free(ids);
    free(given);
    return rc;
}
