/* s2r: see s2r.h. */
#include "nodes/learner/s2r.h"

#include <stdlib.h>
#include <string.h>

#include "nodes/spans.h"

#define STEP_VERIFIES 1 /* in the field kinds of messages.def */

/* Length of the marker that stands at `at`, one of the alternatives; 0: none. */
static size_t
marker_at(struct span text, size_t at, const char *markers)
{
    while (*markers) {
        size_t length = strcspn(markers, "|");

        if (length > 0 && length <= text.length - at && memcmp(text.at + at, markers, length) == 0)
            return length;
        markers += length + (markers[length] == '|');
    }
    return 0;
}

void
s2r_mask(const char *verify, const char *retry, struct span response, const struct tokens *t,
         int64_t from, uint8_t *marks)
{
    uint8_t *masked = xarray(response.length + 1, 1);
    size_t length;
    int solving = 1;

    for (size_t at = 0; at < response.length; at++) {
        if ((length = marker_at(response, at, verify)) > 0) {
            solving = 0;
        } else if ((length = marker_at(response, at, retry)) > 0) {
            for (size_t i = 0; i < at; i++)
                masked[i] = masked[i] ? 1 : 0; /* a solve before it is no longer the last */
            solving = 1;
        } else {
            masked[at] = (uint8_t)(solving ? 2 : 0);
            continue;
        }
        at += length - 1;
    }
    for (int64_t i = from; i < t->count; i++)
        if (masked[t->starts[i]] == 1)
            marks[i - from] |= SAMPLE_masked;
    free(masked);
}

static bool
says(struct span text, const char *words)
{
    return memmem(text.at, text.length, words, strlen(words)) != NULL;
}

bool
s2r_verdict(struct span verify)
{
    static const char opening[] = "Therefore, the answer is ";
    static const struct {
        const char *word;
        bool correct;
    } closings[] = {{"correct.", true}, {"incorrect.", false}};
    int found = -1;

    for (size_t at = 0; at < verify.length; at++) {
        size_t end = at + sizeof(opening) - 1;

        if (marker_at(verify, at, opening) == 0)
            continue;
        for (int k = 0; k < 2; k++)
            if (marker_at(verify, end, closings[k].word) > 0)
                found = closings[k].correct;
    }
    if (found >= 0)
        return found;
    if (says(verify, "is incorrect") || says(verify, "cannot verify"))
        return false;
    return says(verify, "is correct") || says(verify, "verified") || says(verify, "is indeed");
}

/* The step without the white space before it. */
static struct span
step_text(const struct sample_source *source, int64_t step)
{
    const char *text = source->rollout->response.at;
    uint64_t at = step > 0 ? source->ends[step - 1] : 0, end = source->ends[step];

    while (at < end && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    return span_of(text + at, end - at);
}

/* Does the step verify? The segmenter's word goes before the markers. */
static bool
verifies(const char *verify, const struct sample_source *source, int64_t step, struct span text)
{
    return source->kinds ? source->kinds[step] == STEP_VERIFIES : marker_at(text, 0, verify) > 0;
}

void
s2r_rewards(const char *verify, const struct sample_source *source, const struct tokens *t,
            int64_t from, uint8_t *marks)
{
    int64_t *step = xarray((size_t)t->count + 1, sizeof(*step));

    spans_steps(t, source->ends, source->steps, step);
    for (int64_t i = from; i < t->count; i++) {
        uint8_t *m = &marks[i - from];
        int label, judged;
        struct span text;

        if (!(*m & SAMPLE_begins) || step[i] < 1)
            continue;
        text = step_text(source, step[i]);
        if (!verifies(verify, source, step[i], text))
            continue;
        label = source->labels[step[i] - 1] + 1;
        judged = label == SAMPLE_unknown                              ? SAMPLE_unknown
                 : s2r_verdict(text) == (label == SAMPLE_correct) ? SAMPLE_correct
                                                                      : SAMPLE_incorrect;
        *m = (uint8_t)((*m & ~(SAMPLE_judged << SAMPLE_judged_shift)) | SAMPLE_rewarded |
                       judged << SAMPLE_judged_shift);
    }
    free(step);
}
