/* interview: what is asked about one response (or, to rank them, about the responses of one group),
 * and the votes that follow from the answers. Nothing here touches a socket or a node.
 *
 * A question is one call. A response is asked about `votes` times, each time in windows of
 * `window_steps` steps that show `window_context` steps before them; each response of a vote is
 * then known when the last question is. A ranking of more than PROMPT_LETTERS responses is a chain:
 * the next list is made of the last one's order (scoring.h); every second vote lists the responses
 * in reverse, against the preference for places.
 *
 *   interview_begin(&iv, ...);
 *   while (!interview_done(&iv))
 *       while ((q = interview_next(&iv)))
 *           interview_write(&iv, q, ...) and ask;
 *       an answer: interview_answer(), and where it is no use ask again or interview_lose();
 *       too long a question: interview_shorten(), then write it anew and ask again;
 *       a server without its response_format: interview_simplify(), likewise;
 *   interview_vote(&iv, i, ...) for each response.
 *
 * What a vote says: per step the mean score over the votes that scored it, and in `agreement` the
 * share of those on the same side of the threshold as the mean; a reason comes from the first vote
 * on that side. In the form first_error a vote says nothing of the steps after the first one that
 * it calls wrong, so each step is decided by the votes that came so far, up to the first that they
 * call wrong. The response's score is the mean over votes
 * and windows, these weighed by their steps. In a ranking of n it is the mean over the votes of
 * 1 - place/(n - 1). */
#ifndef NODES_LLM_JUDGE_INTERVIEW_H
#define NODES_LLM_JUDGE_INTERVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "nodes/llm_judge/chat.h"
#include "nodes/llm_judge/llm_judge.h"
#include "nodes/llm_judge/prompt.h"
#include "nodes/llm_judge/scoring.h"
#include "nodes/llm_judge/verdict.h"

#define INTERVIEW_SHORTER_MAX 40  /* times that one question is shortened */
#define INTERVIEW_TEXT_MIN    256 /* bytes that are left of a problem or a ranked response */
#define INTERVIEW_TOKENS_MIN  256 /* that an answer should have; else the question is shortened */

enum question_state { QUESTION_new, QUESTION_asked, QUESTION_answered, QUESTION_lost };

struct question {
    struct question *next;
    enum question_state state;
    int vote;                /* which of the votes: the sample's number */
    int64_t from, to, shown; /* steps: prompt.h */
    int64_t problem_max;     /* bytes shown of the problem ... */
    int64_t response_max;    /* ... and of each ranked response */
    int64_t tokens_max;      /* of its answer */
    enum chat_format format; /* of the answer, as the server may be asked for it */
    int shorter;             /* times it was shortened, or what it was cut from */
    struct verdict verdict;  /* of [from, to) */
    float *outside;          /* (to - from) or NULL */
    struct span why;         /* it is lost: one line */
};

struct interview {
    const struct llm_options *options;
    const struct prompt *prompt;
    const struct steps *steps; /* (count) borrowed */
    int count;
    struct arena *arena; /* borrowed */
    struct question *first, **last;
    struct scoring_ranking *rankings; /* (votes) of FORM_rank */
    enum chat_format format;          /* new questions' */
    int open;
};

/* `count` is 1 unless the prompt's form is rank; all steps belong to one prompt and tile responses
 * of at least a byte. What is borrowed stays until the interview is over; the arena keeps all. */
void interview_begin(struct interview *iv, const struct llm_options *o, const struct prompt *p,
                     enum chat_format format, const struct steps *steps, int count,
                     struct arena *arena);

/* A question that is to be asked now, or NULL. */
struct question *interview_next(struct interview *iv);

/* The request of a question, appended. -> ERROR_input. */
int interview_write(const struct interview *iv, const struct question *q,
                    struct prompt_messages *messages, struct buffer *body, struct error *e);

/* The most tokens its answer may have; 0: unknown. */
int64_t interview_tokens_out(const struct interview *iv, const struct question *q);

/* A completion came. -> ERROR_input: it is no use, the question is still open. */
int interview_answer(struct interview *iv, struct question *q, const json_t *completion,
                     struct error *e);

/* The question passes the model's context; `why` is what the server says. True: it is shorter now
 * (and a second one may be new): write it again. Where only max_tokens is too large, the answer
 * gets the tokens that are left; else fewer steps before those asked about come first, then a
 * window cut in two, then the middle of the problem left out. */
bool interview_shorten(struct interview *iv, struct question *q, const char *why);

/* The server does not know the question's response_format. True: it has a simpler one now, or
 * none. */
bool interview_simplify(struct interview *iv, struct question *q);

/* No answer will come. */
void interview_lose(struct interview *iv, struct question *q, const char *why);

bool interview_done(const struct interview *iv);

/* Scores, reasons and the like into the vote on response `which`; what it cost and who votes is the
 * caller's. False: nothing was answered, and `why` says why not. */
bool interview_vote(const struct interview *iv, int which, struct vote *vote, const char **why);

#endif
