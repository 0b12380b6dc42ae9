/* sat: where a text is cut by a Segment-any-Text model (arXiv 2406.16678), as wtpsplit does it.
 *
 * The text is tokenised without special tokens; chunks of `block` tokens begin every `stride`
 * tokens, the last one ending with the text; each is read between <s> and </s>; a token's logit is
 * the average over the chunks that hold it, weighted alike or by a hat, w_k = 1 - |x_k| with x from
 * -(1 - 1/B) to 1 - 1/B (wtpsplit, extract.py). p = sigmoid(the logit of label 0) belongs to the
 * token's last character, every other character has p = 0.
 *
 * Without lengths: a cut after each character with p > threshold, moved behind the white space that
 * follows, and after each line feed. With min_length or max_length (in characters) the cuts maximise
 * the product of prior(length) p(cut) (utils/constraints.py): the threshold and line feeds do not
 * count, max_length is kept, min_length where that can be. Paragraphs end where p >
 * paragraph_threshold; within them sentences are cut as said, without the line feeds.
 *
 * wtpsplit sums in float16; here it is float32. The same text gives the same cuts, whatever was cut
 * before, the threads, the machine. */
#ifndef NODES_SAT_H
#define NODES_SAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define SAT_BLOCK_MAX  510      /* tokens of a chunk, without <s> and </s> */
#define SAT_LENGTH_MAX 100000   /* max_length */
#define SAT_TOKENS_MAX (1 << 20) /* of a text */

enum sat_weighting { SAT_uniform, SAT_hat };
enum sat_paragraphs { SAT_paragraphs_off, SAT_paragraphs_split, SAT_paragraphs_whole };
enum sat_prior { SAT_prior_uniform, SAT_prior_gaussian, SAT_prior_lognormal, SAT_prior_polynomial };

struct sat_options {
    double  threshold;              /* 0: by the model: see sat_threshold() */
    double  paragraph_threshold;
    int64_t stride, block;
    enum sat_weighting weighting;
    enum sat_paragraphs paragraphs; /* off; sentences within paragraphs; paragraphs alone */
    bool    line_feeds;             /* cut after line feeds too */
    bool    drop_spaces;            /* the model does not see the spaces ' ' */
    int64_t min_length, max_length; /* characters; 0: no bound */
    enum sat_prior prior;
    double  target, spread;         /* of the prior, characters */
};

struct sat;
struct threads;

/* Is DIR such a model, is TOKENIZER (NULL: DIR) a tokenizer for it, do the options fit? Reads no
 * weights. `option` is set to the one to blame. -> ERROR_model, ERROR_topology */
int sat_check(const char *dir, const char *tokenizer, const struct sat_options *o,
              const char **option, struct error *e);

struct sat *sat_open(const char *dir, const char *tokenizer, const struct sat_options *o,
                     int threads, struct error *e);
void sat_close(struct sat *s);

/* What threshold 0 means for a model of that folder: 0.25 for the -sm models (one label), 0.025 for
 * a model with limited lookahead, else 0.01. */
double sat_threshold(const char *dir, int64_t labels, int64_t lookahead);

/* Append the end of every piece, uint64_t each, ascending; the last is text.length. An empty text
 * has none. -> ERROR_input: not UTF-8; ERROR_limit: more than SAT_TOKENS_MAX tokens. */
int sat_cut(struct sat *s, struct span text, struct buffer *ends, struct error *e);

/* The same in slices, for a caller with other things to do: begin, then read until it says that
 * nothing is left, then sat_cut of the same text (the same bytes in memory), which reads no more. */
int  sat_begin(struct sat *s, struct span text, struct error *e);
bool sat_read(struct sat *s);

/* Tokens of the texts so far, and tokens read: those of overlapping chunks and each <s> and </s>
 * are read too, and are what it costs. */
int64_t sat_tokens(const struct sat *s);
int64_t sat_tokens_read(const struct sat *s);

#endif
