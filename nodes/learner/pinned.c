/* pinned: where the trainer computes, and what of it decides the bits: the device and the
 * algorithms that were chosen for its products. The store and every checkpoint's manifest say so as
 * one text, the name of the device and then a line for each algorithm, and training that goes on
 * there is given them before its first product. */
#include <stdlib.h>
#include <string.h>

#include "nodes/learner/learner.h"

static struct span
pinned_key(void)
{
    return span_of("d", 1);
}

static struct span
first_line(struct span text)
{
    const char *end = text.length > 0 ? memchr(text.at, '\n', text.length) : NULL;

    return span_of(text.at, end ? (size_t)(end - text.at) : text.length);
}

/* What comes after it. */
static struct span
other_lines(struct span text)
{
    size_t first = first_line(text).length;

    return first < text.length ? span_of(text.at + first + 1, text.length - first - 1)
                               : span_of(text.at, 0);
}

static int
compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Appends the algorithms: the line that says whose they are, then one for each product, which stand
 * in the order of their first use and are sorted here: a life that begins in the middle of training
 * meets them in another order. */
static int
put_algorithms(struct head_device *device, struct buffer *out, struct error *e)
{
    struct buffer text = {0};
    int rc = head_device_algorithms(device, &text, e);
    char **lines = xarray(text.length + 1, sizeof(*lines)), *next = NULL;
    size_t count = 0;

    buffer_add(&text, "", 1);
    for (char *line = strtok_r(text.at, "\n", &next); line; line = strtok_r(NULL, "\n", &next))
        lines[count++] = line;
    if (count > 1)
        qsort(lines + 1, count - 1, sizeof(*lines), compare_lines);
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s\n", lines[i]);
    free(lines);
    buffer_free(&text);
    return rc;
}

int
pinned_text(struct learner *l, struct buffer *out, struct error *e)
{
    struct head_device *device = l->trainer.device;

    buffer_print(out, "%s\n", device ? head_device_name(device) : "cpu");
    return device ? put_algorithms(device, out, e) : 0;
}

int
pinned_keep(struct learner *l, struct error *e)
{
    struct buffer now = {0};
    int rc = pinned_text(l, &now, e);

    if (rc == 0 && (now.length != l->pinned.length ||
                    memcmp(now.at, l->pinned.at, now.length) != 0)) {
        buffer_free(&l->pinned);
        l->pinned = now;
        node_put(l->node, pinned_key(), buffer_span(&now));
        return 0;
    }
    buffer_free(&now);
    return rc;
}

/* The device of before is another, or refuses what it is told. */
static void
tell_change(struct learner *l, const char *now, const char *why)
{
    struct span was = first_line(buffer_span(&l->pinned));

    node_log(l->node, LOG_warning,
             "training was on '%.*s' and goes on with '%s'%s%s: last bits may differ from a run"
             " that stayed", (int)was.length, was.at, now, why ? ": " : "", why ? why : "");
}

/* `pinned` is what an earlier life, or another run's checkpoint, wrote. */
static int
go_on(struct learner *l, struct error *e)
{
    struct head_device *device = l->trainer.device;
    const char *now = device ? head_device_name(device) : "cpu";
    struct span was = buffer_span(&l->pinned), lines = other_lines(was);
    struct error why = {0};
    int same, rc = 0;

    if (was.length == 0)
        return 0;
    same = span_is(first_line(was), now);
    if (device && lines.length > 0)
        rc = head_device_algorithms_set(device, lines, &why);
    if (rc < 0 && rc != ERROR_version) {
        *e = why;
        return rc;
    }
    if (!same || rc < 0)
        tell_change(l, now, same ? why.text : NULL);
    return 0;
}

int
pinned_open(struct learner *l, struct error *e)
{
    const struct learner_options *o = l->options;
    struct span kept;
    struct head_device_options there = {
        .logits = (enum sluice_logits)o->logits,
        .memory = o->head_memory,
        .keep = o->keep_logits,
        .rounding = (enum sluice_rounding)o->rounding,
        .seed = node_seed(l->node),
        .rows = o->batch_tokens > l->rules.max_tokens ? o->batch_tokens : l->rules.max_tokens,
        .unit_rows = l->rules.max_tokens,
        .step = l->progress.step,
        .others = l->initial != NULL,
    };
    int rc = trainer_device(&l->trainer, o->device, &there, e);

    if (rc < 0)
        return rc;
    if (node_get(l->node, pinned_key(), &kept)) {
        buffer_clear(&l->pinned);
        buffer_add(&l->pinned, kept.at, kept.length);
    }
    if (l->trainer.device)
        node_log(l->node, LOG_info, "the head, the loss and the optimiser compute on %s",
                 head_device_name(l->trainer.device));
    rc = go_on(l, e);
    return rc == 0 ? pinned_keep(l, e) : rc;
}
