/* What a learner does beside the gradient, and what it leaves: frozen tensors, an average of the
 * weights, schedules, measures, going on from a kept checkpoint, numbers that are not finite. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/core.h"
#include "kernels/model.h"
#include "kernels/model_file.h"
#include "kernels/safetensors.h"
#include "kernels/tokenizer.h"
#include "nodes/learner/events.h"
#include "tests/learning.h"

/* Line `index` of metrics.jsonl, from 0; negative: from the end. NULL past it. */
static json_t *
line_of(struct harness *h, int index)
{
    size_t length;
    char *text = learning_text(h, "metrics.jsonl", &length), *at = text;
    int lines = 0;
    json_t *row = NULL;

    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    index = index < 0 ? lines + index : index;
    for (int i = 0; i < index && at; i++)
        at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    if (index >= 0 && index < lines)
        row = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
    free(text);
    return row;
}

static double
number(struct harness *h, int index, const char *name)
{
    json_t *row = line_of(h, index);
    double value = json_number_value(json_object_get(row, name));

    if (!json_object_get(row, name))
        fail_msg("line %d has no %s", index, name);
    json_decref(row);
    return value;
}

/* ---- groups of tensors, the average ---- */

static void
frozen_tensors_keep_their_bits(void **state)
{
    static const char *const options[] = {
        "freeze", "model.layers.0.*", "no_decay", "model.embed_tokens*", "weight_decay", "0.1",
        NULL};
    static const char *const two[] = {"freeze", "model.embed_tokens*", "freeze",
                                      "model.layers.?.self_attn*", NULL};
    struct harness *h[] = {learning_trained(options, 32), learning_trained(two, 32)};
    struct model before, after[2];
    struct error e = {0};

    (void)state;
    assert_int_equal(model_open(&before, learning_base, &e), 0);
    for (int k = 0; k < 2; k++)
        learning_open(h[k], "final", &after[k]);
    for (int i = 0; i < before.tensor_count; i++) {
        const struct model_tensor *t = &before.tensors[i];
        size_t bytes = (size_t)t->count * sizeof(float);
        int frozen[] = {strstr(t->name, "layers.0.") != NULL,
                        strstr(t->name, "embed") || strstr(t->name, "self_attn")};

        for (int k = 0; k < 2; k++)
            if ((memcmp(before.params + t->offset, after[k].params + t->offset, bytes) == 0) !=
                frozen[k])
                fail_msg("%s is %sfrozen", t->name, frozen[k] ? "" : "not ");
    }
    for (int k = 0; k < 2; k++) {
        model_free(&after[k]);
        harness_close(h[k]);
    }
    model_free(&before);
}

static void
patterns_that_match_nothing_are_refused(void **state)
{
    static const char *const freeze[] = {"freeze", "model.layers.7.*", NULL};
    static const char *const decay[] = {"no_decay", "model.embedding", NULL};
    static const char *const all[] = {"freeze", "*", NULL};

    (void)state;
    learning_refused(freeze, "'model.layers.7.*' matches no tensor");
    learning_refused(decay, "'model.embedding' matches no tensor");
    learning_refused(all, "every tensor is frozen");
}

/* The average after three steps is what its definition says of the kept checkpoints. */
static void
the_average_is_kept_and_exact(void **state)
{
    static const char *const options[] = {"ema", "0.75", "checkpoint_steps", "1", "keep",
                                          "9",   NULL};
    struct harness *h = learning_trained(options, 24), *killed = learning_fed(options, 24);
    struct model m, average, now;
    struct error e = {0};

    (void)state;
    assert_int_equal(model_open(&m, learning_base, &e), 0);
    for (int step = 1; step <= 3; step++) {
        char name[20];

        snprintf(name, sizeof(name), "step-%d", step);
        learning_open(h, name, &now);
        for (int64_t i = 0; i < m.count; i++)
            m.params[i] += 0.25f * (now.params[i] - m.params[i]);
        model_free(&now);
    }
    learning_open(h, "final-ema", &average);
    assert_memory_equal(m.params, average.params, (size_t)m.count * sizeof(float));
    assert_true(learning_killed(killed) > 2);
    learning_same(h, killed, "final-ema/model.safetensors");
    learning_same(h, killed, "final/model.safetensors");
    learning_same(h, killed, "step-2/optimizer.safetensors");
    learning_same(h, killed, "step-2/manifest.json");
    model_free(&average);
    model_free(&m);
    harness_close(h);
    harness_close(killed);
}

static void
the_rate_follows_its_schedule(void **state)
{
    static const char *const options[] = {
        "schedule", "wsd",  "warmup_steps", "2", "decay_share", "0.4",
        "lr_min",   "1e-3", "epochs",       "2", NULL};
    static const char *const endless[] = {"schedule", "linear", "follow", "true",
                                          "window",   "8",      NULL};
    struct harness *h = learning_trained(options, 40); /* 10 steps, the last 4 fall */

    (void)state;
    assert_true(fabs(number(h, 0, "lr") - 1.5e-3) < 1e-12);
    assert_true(fabs(number(h, 5, "lr") - 3e-3) < 1e-12);
    assert_true(fabs(number(h, 7, "lr") - 2e-3) < 1e-12);
    assert_true(fabs(number(h, 9, "lr") - 1e-3) < 1e-12);
    assert_false(learning_has(h, "final-ema"));
    harness_close(h);
    learning_refused(endless, "needs schedule_steps");
}

/* ---- measures ---- */

static void
measures_are_in_both_files(void **state)
{
    static const char *const quiet[] = {"tensorboard", "false", NULL};
    static const char *const names[] = {"step",        "epoch",
                                        "loss",        "policy",
                                        "pull",        "kl",
                                        "lr",          "grad_norm",
                                        "reward/mean", "tokens",
                                        "samples",     "advantage/mean_abs",
                                        "s/largest",   "tokens_per_second",
                                        "seconds"};
    struct harness *h = learning_trained(NULL, 24), *without = learning_trained(quiet, 24);
    size_t length, at = 0;
    char *events;
    int records = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        number(h, 0, names[i]);
    assert_true(number(h, 0, "kl") == 0 && number(h, 2, "kl") > 0);
    assert_true(number(h, 0, "advantage/mean_abs") == 0.5);
    assert_null(line_of(h, 3));
    events = learning_text(h, EVENTS_FILE, &length);
    while (at + 12 <= length) { /* records end to end: a version, then one a step */
        uint64_t size;

        memcpy(&size, events + at, 8);
        at += 16 + size;
        records++;
    }
    assert_int_equal(at, length);
    assert_int_equal(records, 1 + 3);
    free(events);
    assert_false(learning_has(without, EVENTS_FILE));
    learning_same(h, without, "final/model.safetensors");
    harness_close(h);
    harness_close(without);
}

/* ---- going on from a kept checkpoint ---- */

static char *
kept(struct harness *h, int step)
{
    char *link =
        xprint("%s/checkpoints/%s/step-%d", harness_dir(h), node_id(harness_node(h)), step);
    char *path = realpath(link, NULL);

    assert_non_null(path);
    free(link);
    return path;
}

static void
any_kept_checkpoint_leads_to_the_same_bytes(void **state)
{
    static const char *const options[] = {
        "checkpoint_steps", "1",      "keep", "20",  "epochs", "3",
        "schedule",         "cosine", "ema",  "0.9", NULL};
    struct harness *h = learning_trained(options, 40); /* 15 steps */

    (void)state;
    for (int step = 1; step < 15; step += 4) {
        char *from = kept(h, step);
        const char *again[] = {"resume_from", from,       "checkpoint_steps", "2",   "epochs",
                               "3",           "schedule", "cosine",           "ema", "0.9",
                               NULL};
        struct harness *other = learning_fed(again, 40);
        struct error e = {0};

        harness_node(other)->draining = step == 5; /* before it is this run's own */
        harness_run(other, step == 5 ? LEARNING_SECONDS : 0.002, &e);
        if (!harness_finished(other))
            harness_crash(other);
        learning_run(other);
        assert_true(harness_finished(other));
        learning_same(h, other, "final/model.safetensors");
        learning_same(h, other, "final-ema/model.safetensors");
        learning_same(h, other, "final/manifest.json");
        assert_true(number(other, 0, "step") == step + 1);
        assert_true(number(other, -1, "step") == 15);
        assert_true(number(other, 0, "loss") == number(h, step, "loss"));
        learning_same(h, other, "step-14/optimizer.safetensors");
        harness_close(other);
        free(from);
    }
    harness_close(h);
}

static void
another_input_or_order_is_no_place_to_go_on(void **state)
{
    static const char *const options[] = {"checkpoint_steps", "1", "keep", "20", NULL};
    struct harness *h = learning_trained(options, 24), *other;
    char *from = kept(h, 2), *nowhere = xprint("%s/nowhere", learning_folder);
    char *finished = xprint("%s/../final", from);
    const char *resume[] = {"resume_from", from, NULL};
    const char *order[] = {"resume_from", from, "shuffle", "false", NULL};
    const char *missing[] = {"resume_from", nowhere, NULL};
    const char *final[] = {"resume_from", finished, NULL};
    const char *batches[] = {"resume_from", from, "batch_rollouts", "4", NULL};
    const char *windows[] = {"resume_from", from, "follow", "true", "window", "8", NULL};
    struct error e = {0};

    (void)state;
    learning_refused(order, "another 'shuffle'");
    learning_refused(missing, "no checkpoint to go on from");
    learning_refused(final, "there is no optimizer.safetensors, as step-N folders have it");
    learning_refused(batches, "another 'batch_rollouts'");
    learning_refused(windows, "windows");
    other = learning_fed(resume, 28);
    assert_true(harness_run(other, LEARNING_SECONDS, &e) < 0);
    assert_non_null(strstr(e.text, "was trained on another input"));
    harness_close(other);
    harness_close(h);
    free(from);
    free(nowhere);
    free(finished);
}

/* The file's numbers cut to bf16. */
static void
make_bf16(const char *from, const char *to)
{
    struct safetensors file;
    struct error e = {0};
    struct buffer header = {0}, data = {0};
    FILE *out;

    if (safetensors_open(&file, from, &e) < 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < file.count; i++) {
        const struct safetensors_entry *entry = &file.entries[i];
        float *values = xarray((size_t)entry->elements, sizeof(*values));
        char shape[60];
        size_t begin = data.length;

        assert_int_equal(safetensors_floats(entry, values, &e), 0);
        for (int64_t j = 0; j < entry->elements; j++)
            buffer_add(&data, (const char *)&values[j] + 2, 2);
        safetensors_shape(entry->shape, entry->rank, shape, sizeof(shape));
        buffer_print(&header,
                     "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                     i ? ',' : '{', entry->name, shape, begin, data.length);
        free(values);
    }
    safetensors_close(&file);
    buffer_text(&header, "}");
    out = fopen(to, "wb");
    assert_non_null(out);
    fwrite(&(uint64_t){header.length}, 8, 1, out);
    fwrite(header.at, 1, header.length, out);
    fwrite(data.at, 1, data.length, out);
    assert_int_equal(fclose(out), 0);
    buffer_free(&header);
    buffer_free(&data);
}

/* The newest checkpoint is damaged: the run says which one is left, and that one will do. */
static void
a_damaged_checkpoint_is_not_the_end(void **state)
{
    static const char *const once[] = {"checkpoint_steps", "0", "epochs", "12", NULL};
    static const char *const often[] = {"checkpoint_steps", "2", "epochs", "12", NULL};
    struct harness *h = learning_trained(once, 40), *cut = learning_fed(often, 40),
                   *other; /* 60 steps */
    struct error e = {0};
    char *from, *two, *damage;

    (void)state;
    two = xprint("[ $(ls -d %s/checkpoints/*/step-*[0-9] 2>/dev/null | wc -l) = 2 ]",
                 harness_dir(cut));
    damage = xprint("truncate -s -100 $(ls -d %s/checkpoints/*/step-* | sort -V | tail -1)"
                    "/optimizer.safetensors",
                    harness_dir(cut));
    while (system(two) != 0) /* a few slices of 1 ms */
        if (harness_run(cut, 0.001, &e) < 0)
            fail_msg("%s", e.text);
    assert_false(harness_finished(cut));
    assert_int_equal(system(damage), 0);
    harness_crash(cut);
    assert_true(harness_run(cut, LEARNING_SECONDS, &e) < 0);
    assert_int_equal(e.code, ERROR_topology);
    assert_non_null(strstr(e.text, "optimizer.safetensors"));
    from = strstr(e.text, "resume_from=");
    assert_non_null(from);
    from = xtext(from + strlen("resume_from="));
    *strchr(from, ' ') = 0;
    const char *again[] = {"resume_from", from, "epochs", "12", "checkpoint_steps", "0", NULL};

    other = learning_fed(again, 40);
    learning_run(other);
    learning_same(h, other, "final/model.safetensors");
    harness_close(other);
    free(two);
    free(damage);
    free(from);
    harness_close(h);
    harness_close(cut);
}

/* Are all tensors of the file kept in bf16? Or else: are the float32 weights there? */
static void
is_bf16(struct harness *h, const char *name, int all)
{
    char *path = learning_path(h, name);
    struct safetensors file;
    struct error e = {0};

    if (safetensors_open(&file, path, &e) < 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < file.count; i++)
        assert_int_equal(file.entries[i].type == SAFETENSORS_BF16, all);
    assert_int_equal(safetensors_find(&file, "master/model.norm.weight") == NULL, all);
    safetensors_close(&file);
    free(path);
}

/* A model kept in bf16: whatever its own files round, training goes on from the bits it had. */
static void
a_rounded_model_goes_on_exactly(void **state)
{
    char *half = xprint("%s/half", learning_folder),
         *from = xprint("%s/model.safetensors", learning_base);
    char *to = xprint("%s/model.safetensors", half);
    const char *plain[] = {"model", half, "checkpoint_steps", "1", "epochs", "2", NULL};
    struct harness *h, *killed;

    (void)state;
    learning_model(half);
    make_bf16(from, to);
    h = learning_trained(plain, 32);
    killed = learning_fed(plain, 32);
    assert_true(learning_killed(killed) > 2);
    learning_same(h, killed, "final/model.safetensors");
    learning_same(h, killed, "step-7/optimizer.safetensors");
    is_bf16(h, "final/model.safetensors", 1);
    is_bf16(h, "step-7/model.safetensors", 1);
    is_bf16(h, "step-7/optimizer.safetensors", 0);
    harness_close(h);
    harness_close(killed);
    free(half);
    free(from);
    free(to);
}

/* ---- numbers that are not finite ---- */

static const char *const explosive[] = {
    "lr", "1",      "clip", "0",         "eps", "1e-30", "weight_decay",
    "10", "epochs", "30",   "objective", "sft", NULL};

static void
a_bad_step_stops_training_and_is_kept_to_look_at(void **state)
{
    struct harness *h = learning_fed(explosive, 16);
    struct error e = {0}, again = {0};
    char name[40], *path;
    long long step = 0;
    json_t *row;

    (void)state;
    assert_true(harness_run(h, LEARNING_SECONDS, &e) < 0);
    if (sscanf(e.text, "step %lld was not applied", &step) != 1)
        fail_msg("%s", e.text);
    assert_non_null(strstr(e.text, "not finite"));
    assert_non_null(strstr(e.text, "(rollouts "));
    assert_non_null(strstr(e.text, "on_nonfinite=skip"));
    assert_false(learning_has(h, "final"));
    snprintf(name, sizeof(name), "bad-step-%lld.jsonl", step);
    path = learning_path(h, name);
    row = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(row);
    free(path);
    assert_true(json_is_integer(json_object_get(row, "ordinal")));
    assert_true(json_is_number(json_object_get(row, "reward")));
    assert_non_null(json_object_get(row, "logp"));
    json_decref(row);
    assert_true(harness_restart_try(h, &again) < 0); /* at once, with the same words */
    assert_string_equal(again.text, e.text);
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_tensors_keep_their_bits),
        cmocka_unit_test(patterns_that_match_nothing_are_refused),
        cmocka_unit_test(the_average_is_kept_and_exact),
        cmocka_unit_test(the_rate_follows_its_schedule),
        cmocka_unit_test(measures_are_in_both_files),
        cmocka_unit_test(any_kept_checkpoint_leads_to_the_same_bytes),
        cmocka_unit_test(another_input_or_order_is_no_place_to_go_on),
        cmocka_unit_test(a_damaged_checkpoint_is_not_the_end),
        cmocka_unit_test(a_rounded_model_goes_on_exactly),
        cmocka_unit_test(a_bad_step_stops_training_and_is_kept_to_look_at),
    };

    return cmocka_run_group_tests_name("training", tests, learning_setup, learning_teardown);
}
