/* interview_vote: what k votes in windows say together. Sums go in the order of the questions,
 * which is that of votes and then of steps, whatever was answered first. */
#include <string.h>

#include "nodes/llm_judge/interview.h"

/* Of one step. */
struct opinion {
    double sum, outside;
    int said, sides[2]; /* votes below the threshold, and the others */
    struct span reasons[2];
};

static bool
is_first_error(const struct interview *iv)
{
    return prompt_form(iv->prompt) == FORM_first_error;
}

/* The first step that a vote calls wrong; the number of steps: none. */
static int64_t
first_wrong(const struct interview *iv, int vote)
{
    int64_t first = iv->steps[0].ends.count;

    for (const struct question *q = iv->first; q; q = q->next)
        for (int64_t i = q->from; q->state == QUESTION_answered && q->vote == vote && i < q->to;
             i++)
            if (i < first && q->verdict.said[i - q->from] && q->verdict.scores[i - q->from] < 0.5f)
                first = i;
    return first;
}

static void
add_opinion(struct opinion *o, const struct question *q, int64_t k, double threshold)
{
    const struct verdict *v = &q->verdict;
    int side = v->scores[k] >= (float)threshold;

    o->sum += (double)v->scores[k];
    o->outside += q->outside ? (double)q->outside[k] : 0;
    o->said++;
    if (o->sides[side]++ == 0)
        o->reasons[side] = v->reasons[k];
}

/* `until`: the last step that the question's vote speaks of. */
static void
add_question(const struct interview *iv, const struct question *q, int64_t until,
             struct opinion *opinions, struct vote *vote)
{
    for (int64_t i = q->from; i < q->to; i++) {
        const struct verdict *v = &q->verdict;
        if (q->state == QUESTION_lost)
            vote->reasons.at[i] = q->why;
        else if (!v->said[i - q->from])
            vote->reasons.at[i] = v->reasons[i - q->from];
        else if (i <= until)
            add_opinion(&opinions[i], q, i - q->from, iv->options->threshold);
    }
}

/* The mean of the scores of the response, windows weighed by their steps. */
static void
rate(const struct interview *iv, struct vote *vote)
{
    double sum = 0, weight = 0;

    for (const struct question *q = iv->first; q; q = q->next)
        if (q->state == QUESTION_answered && q->verdict.rated) {
            sum += (double)q->verdict.response * (double)(q->to - q->from);
            weight += (double)(q->to - q->from);
        }
    if (weight > 0) {
        float *response = arena_take(iv->arena, sizeof(*response));
        *response = (float)(sum / weight);
        vote->response = (struct f32s){1, response};
    }
}

static void
fill_step(const struct interview *iv, const struct opinion *o, int64_t i, struct vote *vote)
{
    double mean = o->said ? o->sum / o->said : 0;
    int side;

    if (o->said == 0)
        return;
    vote->said.at[i] = 1;
    vote->scores.at[i] = (float)mean;
    side = vote->scores.at[i] >= (float)iv->options->threshold;
    vote->reasons.at[i] = o->reasons[side];
    if (vote->agreement.count)
        vote->agreement.at[i] = (float)o->sides[side] / (float)o->said;
    if (vote->outside.count)
        vote->outside.at[i] = (float)(o->outside / o->said);
}

static void
add_questions(const struct interview *iv, struct opinion *opinions, struct vote *vote)
{
    int64_t until = iv->steps[0].ends.count;
    int of = -1;

    for (const struct question *q = iv->first; q; q = q->next) {
        if (is_first_error(iv) && q->vote != of) {
            of = q->vote;
            until = first_wrong(iv, of);
        }
        add_question(iv, q, until, opinions, vote);
    }
}

/* In the form first_error nothing is said after the step that the votes together call wrong. */
static void
stop_at_error(const struct interview *iv, struct vote *vote)
{
    bool stopped = false;

    for (int64_t i = 0; i < vote->said.count; i++) {
        if (stopped) {
            vote->said.at[i] = 0;
            vote->scores.at[i] = 0;
            vote->reasons.at[i] = span_of(NULL, 0);
            if (vote->agreement.count)
                vote->agreement.at[i] = 0;
        } else {
            stopped = vote->said.at[i] && vote->scores.at[i] < (float)iv->options->threshold;
        }
    }
}

static bool
vote_on_steps(const struct interview *iv, struct vote *vote, const char **why)
{
    int64_t count = iv->steps[0].ends.count;
    struct opinion *opinions = arena_take(iv->arena, (size_t)count * sizeof(*opinions) + 1);
    const struct question *lost = NULL;
    bool answered = false;

    if (iv->options->votes > 1)
        vote->agreement =
            (struct f32s){count, arena_take(iv->arena, (size_t)count * sizeof(float) + 1)};
    if (iv->options->scoring == LLM_expected)
        vote->outside =
            (struct f32s){count, arena_take(iv->arena, (size_t)count * sizeof(float) + 1)};
    for (const struct question *q = iv->first; q; q = q->next) {
        answered |= q->state == QUESTION_answered;
        lost = !lost && q->state == QUESTION_lost ? q : lost;
    }
    add_questions(iv, opinions, vote);
    for (int64_t i = 0; i < count; i++)
        fill_step(iv, &opinions[i], i, vote);
    if (is_first_error(iv))
        stop_at_error(iv, vote);
    rate(iv, vote);
    if (!answered && lost)
        *why = lost->why.at;
    return answered || !lost;
}

static bool
vote_on_place(const struct interview *iv, int which, struct vote *vote, const char **why)
{
    const struct question *lost = NULL;
    double sum = 0;
    int votes = 0;
    float *response;

    for (int k = 0; k < iv->options->votes; k++) {
        const struct scoring_ranking *r = &iv->rankings[k];
        for (int place = 0; r->done && iv->count > 1 && place < iv->count; place++)
            if (r->order[place] == which) {
                sum += 1 - (double)place / (iv->count - 1);
                votes++;
            }
    }
    for (const struct question *q = iv->first; q; q = q->next)
        lost = !lost && q->state == QUESTION_lost ? q : lost;
    if (votes > 0) {
        response = arena_take(iv->arena, sizeof(*response));
        *response = (float)(sum / votes);
        vote->response = (struct f32s){1, response};
    } else if (lost) {
        *why = lost->why.at;
    }
    return votes > 0 || !lost;
}

bool
interview_vote(const struct interview *iv, int which, struct vote *vote, const char **why)
{
    size_t count = (size_t)iv->steps[which].ends.count;

    vote->scores = (struct f32s){(int64_t)count, arena_take(iv->arena, count * sizeof(float) + 1)};
    vote->said = (struct u8s){(int64_t)count, arena_take(iv->arena, count + 1)};
    vote->reasons =
        (struct spans){(int64_t)count, arena_take(iv->arena, count * sizeof(struct span) + 1)};
    return prompt_form(iv->prompt) == FORM_rank ? vote_on_place(iv, which, vote, why)
                                                : vote_on_steps(iv, vote, why);
}
