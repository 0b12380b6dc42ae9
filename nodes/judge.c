/* judge: the shared beginning and end of every judgement. */
#include "nodes/judge.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "nodes/spans.h"

#define REASON_MAX 600 /* bytes of an abstention's reason */

const struct port judge_ports[] = {
    [JUDGE_IN] = {PORT_IN, "in", MESSAGE_steps, 0, "responses cut into steps"},
    [JUDGE_VOTES] = {PORT_OUT, "votes", MESSAGE_vote, 0, "one opinion for each response"},
    {.direction = PORT_END},
};

int
judge_read(const struct unit *u, struct steps *out, struct arena *arena, struct error *e)
{
    int rc = message_read(MESSAGE_steps, u->inputs[0].body, out, arena, e);

    if (rc == 0)
        rc = spans_check(out->ends.at, out->ends.count, out->rollout.response.length, e);
    return rc;
}

static void
send_vote(struct node *n, struct unit *u, struct vote *vote)
{
    struct buffer body = {0};

    vote->voter = span_text(node_id(n));
    message_write(MESSAGE_vote, vote, &body);
    node_send(n, u, JUDGE_VOTES, buffer_span(&body));
    buffer_free(&body);
    node_count(n, METRIC_tokens_in, (int64_t)vote->tokens_in);
    node_count(n, METRIC_tokens_out, (int64_t)vote->tokens_out);
    node_count(n, METRIC_usd, (int64_t)(vote->usd * 1e6 + 0.5));
    unit_done(n, u);
}

void
judge_vote(struct node *n, struct unit *u, struct vote *vote, double threshold)
{
    int64_t correct = 0, wrong = 0, unknown = 0;

    assert(vote->abstain.length == 0 && vote->scores.count == vote->said.count);
    for (int64_t i = 0; i < vote->said.count; i++) {
        if (!vote->said.at[i])
            unknown++;
        else if (vote->scores.at[i] >= (float)threshold)
            correct++;
        else
            wrong++;
    }
    node_count(n, METRIC_steps_correct, correct);
    node_count(n, METRIC_steps_wrong, wrong);
    node_count(n, METRIC_steps_unknown, unknown);
    send_vote(n, u, vote);
}

void
judge_dead(struct node *n, struct unit *u, struct vote *vote, const char *format, ...)
{
    char reason[REASON_MAX], where[32];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(where, sizeof(where), "ordinal %" PRIu64, u->ordinal);
    node_dead(n, where, u->inputs[0].body, "abstained: %s", reason);
    node_log(n, LOG_warning, "ordinal %" PRIu64 ": abstained: %s", u->ordinal, reason);
    node_count(n, METRIC_abstained, 1);
    vote->abstain = span_text(reason);
    vote->scores.count = vote->said.count = vote->reasons.count = 0;
    vote->outside.count = vote->agreement.count = vote->response.count = 0;
    send_vote(n, u, vote);
}
