/* learner: the node that trains. Every rollout that arrives, with labels on its steps or without,
 * becomes a sample in the store under its ordinal; training reads them in ordinal order, never as
 * they came. Samples of one input wait for its end; a stream without end (`follow`) is trained in
 * windows. */
#include "nodes/learner/learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/device.h"
#include "kernels/model_config.h"
#include "kernels/safetensors.h"
#include "kernels/sampler.h"
#include "nodes/learner/groups.h"
#include "nodes/learner/manifest.h"
#include "nodes/origin.h"

static const struct port learner_ports[] = {
    [LEARNER_labelled] = {PORT_IN, "labelled", MESSAGE_labelled, PORT_OPTIONAL,
                          "rollouts whose steps have labels"},
    [LEARNER_passed] = {PORT_IN, "passed", MESSAGE_rollout, PORT_OPTIONAL,
                        "rollouts as they are: correct ones, or a reader's"},
    {.direction = PORT_END},
};

/* ---- check ---- */

static int
check_groups(struct check *c, const struct learner_options *o, const struct model_config *config,
             struct error *e)
{
    struct model model = {0}; /* names alone: no weights */
    struct error why = {0};
    bool frozen = false;
    int rc = model_lay(&model, config, &why);

    if (rc == 0) {
        unsigned char *groups = xarray((size_t)model.tensor_count, 1);

        rc = groups_make(&model, &o->no_decay, &o->freeze, groups, &frozen, &why);
        free(groups);
        model_free(&model);
    }
    return rc < 0 ? check_fail(c, frozen ? "freeze" : "no_decay", e, "%s", why.text) : 0;
}

static int
check_model(struct check *c, const struct learner_options *o, const struct objective *objective,
            struct error *e)
{
    struct model_config config;
    struct tokenizer *t;
    struct error why = {0};
    bool fresh = !o->model[0];
    int64_t size;
    int names;

    if (fresh && (!o->width || !o->layers || !o->heads))
        return check_fail(c, "model", e,
                          "without a model, width, layers and heads say what to make");
    if (!fresh && (o->width || o->layers || o->heads || o->kv_heads || o->intermediate))
        return check_fail(c, "width", e, "sizes are for a fresh model; '%s' has its own", o->model);
    if (fresh && !o->tokenizer[0])
        return check_fail(c, "tokenizer", e, "a fresh model needs a folder with a tokenizer.json");
    t = tokenizer_open(initial_tokenizer(o), &why);
    if (!t)
        return check_fail(c, o->tokenizer[0] ? "tokenizer" : "model", e, "%s", why.text);
    size = tokenizer_size(t);
    names = settings_names(o, objective, t, NULL, &why);
    tokenizer_close(t);
    if (names < 0)
        return check_fail(c, "objective", e, "%s", why.text);
    if (initial_config(o, &config, &why) < 0)
        return check_fail(c, fresh ? "width" : "model", e, "%s", why.text);
    if (size > config.vocab_size)
        return check_fail(c, o->tokenizer[0] ? "tokenizer" : "model", e,
                          "the tokenizer has %lld tokens, the model knows %lld", (long long)size,
                          (long long)config.vocab_size);
    if (!learner_classes(objective) && o->eos && config.eos_token_id < 0)
        return check_fail(c, "eos", e,
                          "the model names no stop token%s%s; say eos: false or name one",
                          fresh ? " " : "", fresh ? o->eos_token : "");
    if (check_groups(c, o, &config, e) < 0)
        return ERROR_topology;
    if (!fresh) {
        struct safetensors file;
        char *path = xprint("%s/model.safetensors", o->model);
        bool there = access(path, F_OK) == 0;
        int rc = there ? safetensors_open(&file, path, &why) : 0;

        free(path);
        if (rc < 0)
            return check_fail(c, "model", e, "%s", why.text);
        if (there)
            safetensors_close(&file);
    }
    return 0;
}

static int
check_prompts(struct check *c, const struct learner_options *o, struct error *e)
{
    struct chat_template chat;
    struct error why = {0};
    int rc = chat_template_open(&chat, learner_prompt_formats[o->prompt_format], initial_tokenizer(o),
                                &why);

    if (rc < 0)
        return check_fail(c, "prompt_format", e, "%s", why.text);
    if (chat.format == CHAT_raw && o->system[0])
        rc = check_fail(c, "system", e, "a system message needs a prompt_format with one; this is raw");
    chat_template_free(&chat);
    return rc;
}

static int
check_course(struct check *c, const struct learner_options *o, struct error *e)
{
    if (o->follow && o->epochs)
        return check_fail(c, "epochs", e, "follow trains in windows: say passes, not epochs");
    if (c->endless && !o->follow && o->epochs)
        return check_fail(c, "epochs", e,
                          "the reader follows its input, which may never end: say follow and passes");
    if (o->follow && !o->window)
        return check_fail(c, "follow", e,
                          "follow needs a window: how many samples are trained at a time");
    if (!o->follow && o->passes)
        return check_fail(c, "passes", e, "passes belong to follow: say epochs");
    if (!o->follow && o->window)
        return check_fail(c, "window", e, "a window belongs to follow");
    if (o->follow && o->schedule != SCHEDULE_constant && !o->schedule_steps)
        return check_fail(c, "schedule", e, "%s on a stream without end needs schedule_steps",
                          schedule_names[o->schedule]);
    if (o->decay_steps && o->schedule != SCHEDULE_wsd)
        return check_fail(c, "decay_steps", e, "decay_steps belongs to schedule: wsd");
    if (o->follow && o->resume_from[0])
        return check_fail(c, "resume_from", e,
                          "windows cannot be taken up from a folder; a stopped run goes on by"
                          " itself");
    if (o->lr_min > o->lr)
        return check_fail(c, "lr_min", e, "%g is above lr, %g", o->lr_min, o->lr);
    return 0;
}

/* What may be said of a device; whether there is one is known where the run is. */
static int
check_device(struct check *c, const struct learner_options *o, struct error *e)
{
    struct error why = {0};

    if (device_choice_check(o->device, &why) < 0)
        return check_fail(c, "device", e, "%s", why.text);
    if (strcmp(o->device, "cpu") != 0)
        return 0;
    if (o->logits != SLUICE_logits_automatic || o->keep_logits || o->rounding != SLUICE_nearest)
        return check_fail(c, o->keep_logits ? "keep_logits" : o->rounding ? "rounding" : "logits", e,
                          "it is about a device; this learner has device: cpu");
    return 0;
}

static int
learner_check(struct check *c, struct error *e)
{
    const struct learner_options *o = c->options;
    struct error why = {0};
    const struct objective *objective = settings_objective(o, &why);
    bool labelled = false;
    int rc;

    for (int i = 0; i < c->link_count; i++)
        labelled = labelled || c->links[i].port == LEARNER_labelled;
    if (strcmp(c->node, "final") == 0)
        return check_fail(c, NULL, e, "a learner needs another id: checkpoints/final is what leads to the final model");
    if (!objective)
        return check_fail(c, "objective_file", e, "%s", why.text);
    if (c->link_count == 0)
        return check_fail(c, NULL, e, "link at least one of labelled and passed");
    if (!labelled && (objective->needs & (OBJECTIVE_needs_classes | OBJECTIVE_needs_labels)))
        return check_fail(c, "objective", e, "%s learns from labels of steps: link labelled, e.g. to a consensus",
                          objective->name);
    rc = settings_check(c, o, objective, labelled, e);
    if (rc == 0)
        rc = check_course(c, o, e);
    if (rc == 0)
        rc = evaluate_check(c, o, learner_classes(objective), e);
    if (rc == 0)
        rc = check_device(c, o, e);
    if (rc == 0)
        rc = check_model(c, o, objective, e);
    return rc < 0 ? rc : check_prompts(c, o, e);
}

/* ---- life ---- */

static int
load_progress(struct learner *l, struct error *e)
{
    struct span value;

    if (!node_get(l->node, span_of("p", 1), &value)) {
        int rc = 0;

        l->resuming = l->options->resume_from[0] != 0;
        if (l->resuming)
            rc = manifest_read(l, l->options->resume_from, &l->progress, e);
        l->saved = l->progress; /* its steps are not this run's work */
        return rc;
    }
    if (value.length == sizeof(l->progress))
        memcpy(&l->progress, value.at, sizeof(l->progress));
    if (l->progress.version != LEARNER_PROGRESS_VERSION)
        return error_set(e, ERROR_version,
                         "the learner's progress in the store is of another version");
    l->saved = l->progress;
    return 0;
}

/* What is written, and what is evaluated on. */
static int
open_files(struct learner *l, struct error *e)
{
    const struct progress *p = &l->progress;
    int rc = nonfinite_check(l, e);

    if (rc == 0)
        rc = output_open(&l->output, node_run_dir(l->node), node_id(l->node),
                         initial_tokenizer(l->options), p->metrics_length,
                         l->options->tensorboard ? p->events_length : -1, e);
    if (rc == 0)
        rc = output_clean(&l->output, p->kept, p->kept_count, e);
    return rc == 0 && !p->final_written ? evaluate_open(l, &l->evaluation, e) : rc;
}

static int
learner_start(struct node *n, struct error *e)
{
    struct learner *l = node_state(n);
    const struct learner_options *o = node_options(n);
    bool classes;
    int rc;

    l->node = n;
    l->options = o;
    l->objective = settings_objective(o, e);
    if (!l->objective)
        return e->code;
    rc = settings_read(o, l->objective, &l->settings, e);
    if (rc < 0)
        return rc;
    classes = learner_classes(l->objective);
    l->output.metrics.fd = l->output.events.fd = -1;
    rc = o->objective_file[0] ? origin_check(n, o->objective_file, e) : 0;
    if (rc == 0 && o->model[0])
        rc = origin_check(n, o->model, e);
    if (rc == 0 && o->tokenizer[0])
        rc = origin_check(n, o->tokenizer, e);
    if (rc < 0)
        return rc;
    rc = initial_config(o, &l->config, e);
    if (rc < 0)
        return error_wrap(e, "model");
    l->tokenizer = tokenizer_open(initial_tokenizer(o), e);
    if (!l->tokenizer)
        return e->code;
    l->rules = (struct sample_rules){.tokenizer = l->tokenizer,
                                     .vocab = l->config.vocab_size,
                                     .bos = l->config.bos_token_id,
                                     .max_tokens = o->max_tokens < l->config.max_position_embeddings
                                                       ? o->max_tokens
                                                       : l->config.max_position_embeddings,
                                     .eos = o->eos && !classes ? l->config.eos_token_id : -1,
                                     .stop = l->config.eos_token_id,
                                     .labels = classes ? l->config.num_labels : 2,
                                     .correct_above = o->correct_above,
                                     .system = o->system,
                                     .recorded = learner_recorded(l)};
    if (o->mask == SETTINGS_mask_s2r) {
        l->rules.verify_marks = o->s2r_verify;
        l->rules.retry_marks = o->s2r_retry;
    }
    if (settings_process(o) && o->s2r_verify[0])
        l->rules.verdict_marks = o->s2r_verify;
    l->select = settings_select(o);
    l->baselines.rules = settings_baseline(o);
    rc = settings_names(o, l->objective, l->tokenizer, &l->rules.names, e);
    if (rc == 0)
        rc = chat_template_open(&l->rules.chat, learner_prompt_formats[o->prompt_format],
                                initial_tokenizer(o), e);
    if (rc < 0)
        return rc;
    rc = load_progress(l, e);
    if (rc == 0)
        rc = open_files(l, e);
    if (rc == 0 && o->follow)
        rc = round_scan(l, e);
    if (rc < 0)
        return rc;
    l->phase = l->progress.final_written ? PHASE_done : PHASE_wait;
    node_set_in_flight(n, LEARNER_IN_FLIGHT);
    round_withhold(l);
    return 0;
}

/* Which input brings data; the message is read into `source`. A text in *why: the unit cannot be a
 * sample. */
static int
read_source(struct learner *l, const struct unit *u, struct labelled *labelled,
            struct sample_source *source, struct error *why)
{
    const struct input *data = NULL;
    int rc;

    for (int i = 0; i < u->input_count; i++) {
        const struct input *input = &u->inputs[i];

        if (input->closing)
            continue;
        if (data)
            return error_set(why, ERROR_input,
                             "data on two inputs that exclude each other: from '%s' and from '%s'",
                             data->from, input->from);
        data = input;
    }
    memset(labelled, 0, sizeof(*labelled));
    *source = (struct sample_source){.rollout = &labelled->rollout};
    if (data->port == LEARNER_passed)
        return message_read(MESSAGE_rollout, data->body, &labelled->rollout, &l->messages, why);
    rc = message_read(MESSAGE_labelled, data->body, labelled, &l->messages, why);
    if (rc < 0)
        return rc;
    if (labelled->labels.count != labelled->ends.count)
        return error_set(why, ERROR_input, "%lld labels for %lld steps",
                         (long long)labelled->labels.count, (long long)labelled->ends.count);
    source->ends = labelled->ends.at;
    source->labels = labelled->labels.at;
    source->steps = labelled->ends.count;
    if (labelled->kinds.count == labelled->ends.count)
        source->kinds = labelled->kinds.at;
    return 0;
}

/* What the label noise filter needs of the steps, where the labels count. */
static void
put_vectors(struct learner *l, const struct unit *u, const struct labelled *labelled,
            const struct sample *sample)
{
    char room[LEARNER_KEY_MAX];

    if (!l->options->label_noise || (sample->correct && !learner_classes(l->objective)))
        return;
    buffer_clear(&l->vectors);
    noise_write(labelled, &l->rules.response, sample_skip(&l->rules), &l->vectors);
    if (l->vectors.length > 0)
        node_put(l->node, learner_key(room, 'n', u->ordinal), buffer_span(&l->vectors));
}

static int
learner_take(struct node *n, struct unit *u, struct error *e)
{
    struct learner *l = node_state(n);
    struct labelled labelled;
    struct sample_source source;
    struct sample sample;
    struct entry entry;
    struct error why = {0};
    char room[LEARNER_KEY_MAX];
    int64_t gems = 0;
    int rc;

    arena_clear(&l->messages);
    buffer_clear(&l->record);
    rc = read_source(l, u, &labelled, &source, &why);
    if (rc == 0)
        rc = sample_make(&l->rules, &source, u, &l->record, &gems, &why);
    if (rc < 0) {
        unit_dead(n, u, "%s", why.text);
        return 0;
    }
    rc = sample_peek(buffer_span(&l->record), u->ordinal, &sample, e);
    if (rc < 0)
        return rc;
    l->lacks_behaviour = l->lacks_behaviour || (learner_recorded(l) && !sample.logps && !sample.injected);
    node_put(n, learner_key(room, 's', u->ordinal), buffer_span(&l->record));
    put_vectors(l, u, &labelled, &sample);
    node_count(n, METRIC_gems, gems);
    if (l->lacks_behaviour)
        node_wake(n);
    entry = (struct entry){u->ordinal, u->first, u->size, (uint32_t)sample.count};
    unit_done(n, u);
    if (l->options->follow) {
        entries_add(&l->entries, &entry);
        round_withhold(l);
        node_wake(n);
    }
    return 0;
}

static int
learner_pump(struct node *n, struct error *e)
{
    struct learner *l = node_state(n);
    int rc = round_pump(l, e);

    /* Closings settle ordinals without a word to the kind: look again soon. */
    if (rc == PUMP_IDLE && round_follow_waits(l) && l->entries.count > 0)
        node_timer(n, 0.1);
    return rc;
}

static int
learner_ready(struct node *n, struct error *e)
{
    struct learner *l = node_state(n);

    (void)e;
    round_withhold(l);
    node_wake(n);
    return 0;
}

static int
learner_ended(struct node *n, struct error *e)
{
    struct learner *l = node_state(n);
    int rc = 0;

    l->ended = true;
    if (l->progress.final_written) {
        node_finish(n);
        return 0;
    }
    if (!l->options->follow)
        rc = round_scan(l, e);
    node_wake(n);
    return rc;
}

static void
learner_stop(struct node *n)
{
    struct learner *l = node_state(n);

    round_free(l);
    sample_rules_free(&l->rules);
    if (l->tokenizer)
        tokenizer_close(l->tokenizer);
    output_close(&l->output);
    arena_free(&l->messages);
    buffer_free(&l->record);
}

const struct node_kind node_learner = {
    .name = "learner",
    .summary = "trains a policy or a judge on what arrives and writes Hugging Face checkpoints",
    .state_size = sizeof(struct learner),
    .options_size = sizeof(struct learner_options),
    .ports = learner_ports,
    .options = learner_option_table,
    .terminal = true,
    .check = learner_check,
    .start = learner_start,
    .take = learner_take,
    .pump = learner_pump,
    .ready = learner_ready,
    .ended = learner_ended,
    .stop = learner_stop,
};
