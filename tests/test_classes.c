/* The learner with objective token_class on checkpoints that transformers wrote: a process-reward
 * model, a token classifier, and language models of the other families, which get a new class head.
 * Gradients of the heads against golden values: test_models.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/model.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"
#include "tests/lessons.h"
#include "tests/tiny_model.h"

static char folder[] = "/tmp/sluice-classes-XXXXXX";

static int
set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    tiny_model_remove(folder);
    return 0;
}

/* The golden checkpoint with a tokenizer beside it, which those have none of; ids 1 and 2 are what
 * their configurations call bos and eos. */
static char *
with_tokenizer(const char *name)
{
    static const char *const specials[] = {"<pad>", "<bos>", "<eos>"};
    char *dir = xprint("%s/%s", folder, name);
    char *copy = xprint("cp -r tests/golden/models/%s '%s'", name, dir);
    struct error e = {0};

    assert_int_equal(system(copy), 0);
    if (tokenizer_write_bytes(dir, span_text(LESSON_CHARACTERS), specials, 3, specials[2], &e) < 0)
        fail_msg("%s", e.text);
    free(copy);
    return dir;
}

static struct harness *
trained(const char *model)
{
    const char *options[] = {"model",     model,         "lr",     "3e-3", "batch_rollouts", "8",
                             "objective", "token_class", "epochs", "25",   NULL};
    struct harness *h = harness_open("learner", lesson_both, options, NULL);
    struct lesson_made m;

    for (uint64_t i = 0; i < 24; i++) {
        lesson_make(&m, i);
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    lesson_run(h);
    assert_true(harness_finished(h));
    return h;
}

static double
last_loss(struct harness *h)
{
    static const char key[] = "\"loss\":";
    size_t length;
    char *text = lesson_file(h, "../metrics.jsonl", &length), *at = text, *next;
    double value;

    while ((next = strstr(at, key)))
        at = next + strlen(key);
    value = atof(at);
    free(text);
    return value;
}

/* Every tensor that both have was trained; -> how many only the second has. */
static int
all_changed(const struct model *before, const struct model *after)
{
    int fresh = 0;

    for (int i = 0; i < after->tensor_count; i++) {
        const struct model_tensor *now = &after->tensors[i], *then = model_find(before, now->name);

        if (!then) {
            fresh++;
            continue;
        }
        assert_int_equal(now->count, then->count);
        if (memcmp(after->params + now->offset, before->params + then->offset,
                   (size_t)now->count * sizeof(float)) == 0)
            fail_msg("%s was not trained", now->name);
    }
    return fresh;
}

/* `head`: what the checkpoint has or gets; `architecture`: what the result is called; `fresh`: new
 * tensors of its head. */
static void
check_case(const char *name, enum model_head head, const char *architecture, int fresh)
{
    char *dir = with_tokenizer(name), *final, *config, *quoted = xprint("\"%s\"", architecture);
    struct harness *h = trained(dir);
    struct model before, after;
    struct error e = {0};
    double first = lesson_metric(h, "loss"), last = last_loss(h);
    size_t length;

    if (!(first > 0.3 && first < 1.5 && last < 0.3 * first))
        fail_msg("%s: the loss went from %g to %g", name, first, last);
    final = xprint("%s/checkpoints/final", harness_dir(h));
    if (model_open(&before, dir, &e) < 0 || model_open(&after, final, &e) < 0)
        fail_msg("%s: %s", name, e.text);
    assert_int_equal(after.config.head, head);
    assert_int_equal(after.config.num_labels,
                     before.config.num_labels ? before.config.num_labels : 2);
    assert_string_equal(after.config.family, before.config.family);
    assert_int_equal(all_changed(&before, &after), fresh);
    config = lesson_file(h, "config.json", &length);
    if (!strstr(config, quoted))
        fail_msg("%s: no %s in %s", name, quoted, config);
    model_free(&before);
    model_free(&after);
    harness_close(h);
    free(config);
    free(final);
    free(quoted);
    free(dir);
}

static void
a_process_reward_model(void **state)
{
    (void)state;
    check_case("qwen2_prm", MODEL_HEAD_process, "Qwen2ForProcessRewardModel", 0);
}

static void
a_token_classifier(void **state)
{
    (void)state;
    check_case("qwen3_token", MODEL_HEAD_token, "Qwen3ForTokenClassification", 0);
}

static void
language_models_with_a_new_head(void **state)
{
    (void)state;
    check_case("qwen2", MODEL_HEAD_token, "Qwen2ForTokenClassification", 2);
    check_case("llama", MODEL_HEAD_token, "LlamaForTokenClassification", 2);
    check_case("mistral", MODEL_HEAD_token, "MistralForTokenClassification", 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_reward_model),
        cmocka_unit_test(a_token_classifier),
        cmocka_unit_test(language_models_with_a_new_head),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
