/* steps: see steps.h. */
#include "tests/steps.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/random.h"

static const struct sample_names names = {
    .kind = SAMPLE_names_rank, .count = 3, .column = {2, 3, 5}, .value = {1, 2, 3}};

void
steps_samples(struct steps_made *made, struct sample *samples)
{
    for (int i = 0; i < STEPS_SAMPLES; i++) {
        int count = STEPS_LENGTH - i % 3, context = 1 + i % 4;

        for (int j = 0; j < count; j++) {
            made[i].ids[j] =
                (int32_t)(random_bits(3, RANDOM_test, (uint64_t)(i * STEPS_LENGTH + j)) % 11);
            made[i].marks[j] = (uint8_t)(1 + j % 3);
            if (j % 4 == 3)
                made[i].marks[j] |= (uint8_t)((1 + j / 4 % 2) << SAMPLE_judged_shift);
            made[i].logps[j] = -2.4f + 0.02f * (float)j;
            made[i].reference[j] =
                -2.4f + 0.3f * (float)random_unit(4, RANDOM_test, (uint64_t)(i * STEPS_LENGTH + j));
        }
        samples[i] = (struct sample){.ordinal = (uint64_t)i,
                                     .first = (uint64_t)(i / 3 * 4),
                                     .group_size = 4,
                                     .reward = i % 2,
                                     .mean = 0.25,
                                     .std = 0.4,
                                     .weight = 1,
                                     .named = i % 3,
                                     .correct = i % 2,
                                     .count = count,
                                     .context = context,
                                     .ids = made[i].ids,
                                     .logps = made[i].logps,
                                     .marks = made[i].marks,
                                     .reference = made[i].reference};
    }
}

void
steps_open(struct trainer *t, const char *objective, double beta)
{
    struct model_config config = model_config_default();
    struct model *model = xalloc(sizeof(*model));
    struct error e = {0};

    strcpy(config.family, "qwen2");
    config.vocab_size = 11;
    config.hidden_size = 8;
    config.intermediate_size = 12;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.max_position_embeddings = 32;
    config.tie_word_embeddings = 0;
    config.initializer_range = 0.4; /* large enough that every part has a slope */
    memset(t, 0, sizeof(*t));
    t->objective = objective_find(objective);
    config.num_labels = t->objective->needs & OBJECTIVE_needs_classes ? 2 : 0;
    if (model_init(model, &config, &e) < 0)
        fail_msg("%s", e.text);
    model_randomise(model, 9);
    t->settings = objective_settings_none();
    t->settings.constant = 16;
    if (!isnan(t->objective->standard.tau))
        t->settings.tau = 0.3;
    if (objective_settings_fill(t->objective, &t->settings, &e) < 0)
        fail_msg("%s", e.text);
    t->rules = (struct pack_rules){.classes = config.num_labels > 0,
                                   .correct_only = t->objective->needs & OBJECTIVE_correct_only,
                                   .beta = beta,
                                   .wrong = 1,
                                   .correction = 1,
                                   .behaviour = true,
                                   .recorded = true};
    if (t->objective->needs & OBJECTIVE_needs_named)
        t->rules.names = &names;
    t->adamw = adamw_default();
    trainer_init(t, &model);
}

double
steps_loss(struct trainer *t, const struct sample *samples, int64_t count, int64_t batch)
{
    struct sample step[STEPS_SAMPLES];
    int64_t place[STEPS_SAMPLES], kept;

    memcpy(step, samples, (size_t)count * sizeof(*step));
    trainer_advantages(t, step, count);
    kept = trainer_begin(t, step, count);
    for (int64_t i = 0; i < kept; i++)
        place[i] = i;
    if (trainer_needs_statistics(t, (kept + batch - 1) / batch)) {
        trainer_gather(t, step, kept);
        for (int64_t i = 0; i < kept; i += batch)
            trainer_statistics(t, step + i, place + i, kept - i < batch ? kept - i : batch);
    }
    for (int64_t i = 0; i < kept; i += batch)
        trainer_batch(t, step + i, place + i, kept - i < batch ? kept - i : batch);
    return t->report.loss;
}
