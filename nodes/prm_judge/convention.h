/* convention: how the process reward models in use want to read a response, and where they say what
 * they think of each step.
 *
 *   plain          prompt and response as they stand (nodes/spans.h), read at the token of a step:
 *                  what this program's own learner trains
 *   qwen           Qwen2.5-Math-PRM (arXiv 2501.07301, its model card): a ChatML conversation of
 *                  system, user = prompt, assistant = steps, after each of them the tag <extra_0>;
 *                  read at the tags, the probability of class 1 of two
 *   skywork        Skywork-o1-Open-PRM (its repository's prepare_input): bos, the prompt and "\n",
 *                  then the ids of each line and the id of "\n"; read at the "\n" after a step's
 *                  last line that is not empty, the sigmoid of one value
 *   math_shepherd  peiyi9979/math-shepherd-mistral-7b-prm (openr's inference): "{prompt} Step 1:
 *                  {step} ки\nStep 2: ..."; read at the tags of a language model, the probability
 *                  of "+" against "-"
 *
 * Steps lose the white space around them where a tag stands in its place (the models were given
 * paragraphs without it); a step of nothing else is not put and not spoken of. Texts of prompt and
 * response cannot forge a tag or another special token; a prompt that is ChatML already (the reader
 * writes lists of messages so) is taken as it stands by qwen. */
#ifndef NODES_PRM_JUDGE_CONVENTION_H
#define NODES_PRM_JUDGE_CONVENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/node.h"
#include "kernels/model.h"
#include "kernels/tokenizer.h"

enum convention_kind {
    CONVENTION_auto,
    CONVENTION_plain,
    CONVENTION_qwen,
    CONVENTION_skywork,
    CONVENTION_math_shepherd
};

extern const char *const convention_names[]; /* "auto" ..., NULL at the end */

#define CONVENTION_SYSTEM                                                                          \
    "Please reason step by step, and put your final answer within \\boxed{}."

struct convention {
    enum convention_kind kind; /* never auto once resolved */
    const char *system;        /* qwen */
    const char *tag;           /* what follows a step */
    const char *good, *bad;    /* math_shepherd: the two words at a tag */
    bool last_only; /* plain, a classifier of sequences: read at the end, of the last step */
    int32_t tag_id, good_id, bad_id, bos_id; /* -1: none, or not resolved */
};

/* `kind` with the convention's own tag and words where an option is "". */
struct convention convention_make(enum convention_kind kind, const char *system, const char *tag,
                                  const char *good, const char *bad);

/* For a model of this config and tokenizer, both of folder DIR: tells auto from what they are (a
 * value model is skywork's; a language model with math_shepherd's tag is that; a process reward
 * model whose tokenizer has <extra_0> is qwen's; other classifiers are plain) and finds the ids.
 * config NULL: the model runs elsewhere. skywork's bos is the bos_token of tokenizer_config.json,
 * else the bos_token_id of config.json. -> ERROR_model: the model is none, or lacks what the
 * convention needs. */
int convention_resolve(struct convention *c, const char *dir, const struct model_config *config,
                       struct tokenizer *t, struct error *e);

/* One response as text, for qwen and math_shepherd; reused. */
struct convention_text {
    struct buffer text;
    struct tokenizer_range *ranges; /* of foreign text */
    int64_t range_count, range_room;
    int64_t answer; /* qwen: where the assistant's content begins ... */
    int64_t answer_end; /* ... and ends */
};
/* places (steps): the byte where the tag of each step ends, less 1; -1: the step is not put. */
void convention_write(const struct convention *c, const struct steps *steps,
                      struct convention_text *out, int64_t *places);
void convention_text_free(struct convention_text *t);

/* Is the prompt ChatML already? */
bool convention_is_chat(struct span prompt);

/* Does the prompt or a step hold the tag itself? A server that reads text would take it for one. */
bool convention_forged(const struct convention *c, const struct steps *steps);

/* The ids that the model reads and the places among them where it says what it thinks of each step,
 * -1: nothing of this one. -> ERROR_input: text that is not UTF-8, or a tag that was not made one
 * token. Scratch (text, piece) is the caller's. */
int convention_encode(const struct convention *c, struct tokenizer *t, const struct steps *steps,
                      struct convention_text *text, struct tokens *piece, struct tokens *out,
                      int64_t *places, struct error *e);

#endif
