/* answers: what a model directory says to prompts: opened, asked, decoded, handed on in the order
 * of the prompts. */
#ifndef COMMANDS_ANSWERS_H
#define COMMANDS_ANSWERS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "kernels/verify.h"
#include "kernels/chat.h"
#include "kernels/model.h"
#include "kernels/model_config.h"
#include "kernels/tokenizer.h"
#include "nodes/prompts.h"

/* A language model with its tokenizer and stop tokens. */
struct speaker {
    struct model model;
    struct tokenizer *tokenizer;
    struct model_stops stops;
    struct chat_template chat; /* raw unless speaker_format() said otherwise */
    const char *system;
};

int speaker_open(struct speaker *s, const char *dir, struct error *e);
void speaker_close(struct speaker *s);

/* How prompts are put: FORMAT as chat_template_open() takes it for DIR, with SYSTEM before them (""
 * or NULL: none). */
int speaker_format(struct speaker *s, const char *dir, const char *format, const char *system,
                   struct error *e);

/* PROMPT as the model is given it: in raw, special tokens in it are meant; a prompt without tokens is the
 * BOS. Characters that the vocabulary lacks are an error. The ids are malloc'ed. */
int speaker_prompt(struct speaker *s, struct span text, int32_t **ids, int64_t *count,
                   struct error *e);

struct answers_how {
    const char *label; /* of the progress on a terminal, "sample" */
    const char *prompt_format, *system; /* for speaker_format() */
    double temperature;
    long samples, seed, max_tokens, rows;
};

struct answer {
    int64_t prompt; /* index into the prompts */
    int sample;
    struct span text;
    bool cut; /* at max_tokens or the model's positions: its end is not the model's word */
};

/* Calls `each` for every sample of every prompt, prompts in order and samples within. Its negative
 * return ends it; the text is valid during the call. An answer is a function of the model, `how` less rows and samples, the prompt's
 * `number` and the sample's: prompts may be some of a file's. */
int answers_make(struct speaker *s, const struct answers_how *how, const struct prompts *prompts,
                 int (*each)(void *context, const struct answer *a, struct error *e), void *context,
                 struct error *e);

/* An answer as a rollout: {"id": "PROMPT/SAMPLE", "prompt", "response", "finish_reason", "answer",
 * "reward"}, the last two where the prompt has an answer; finish_reason is "length" where it was
 * cut, else "stop". `sample` stands in the id. NULL when it is not valid UTF-8. */
json_t *answers_line(const struct prompt *p, int sample, const struct answer *a,
                     enum verify_mode mode);

#endif
