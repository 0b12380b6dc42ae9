/* s2r: what S2R (arXiv 2502.12853) reads in a response: where it verifies and where it solves
 * again, told by markers, and what a verify says. Markers are alternatives parted by |. */
#ifndef NODES_LEARNER_S2R_H
#define NODES_LEARNER_S2R_H

#include "nodes/learner/sample.h"

/* A response is solve, verify, solve ... in turn: verify begins at a verify marker, a solve at a
 * retry marker. Every solve but the last gets SAMPLE_masked; markers do not. marks: of the response
 * tokens [from, t->count). */
void s2r_mask(const char *verify, const char *retry, struct span response, const struct tokens *t,
              int64_t from, uint8_t *marks);

/* Does a verify say that what it verifies is correct? The last "Therefore, the answer is correct."
 * or "... incorrect."; else "is incorrect" or "cannot verify" anywhere: no; else "is correct",
 * "verified" or "is indeed" anywhere: yes; else no. */
bool s2r_verdict(struct span verify);

/* A step that the segmenter calls one that verifies, or, where it does not tell them apart, that
 * begins with a verify marker, white space before it aside, is right where its verdict
 * is the label of the step before: its first token gets SAMPLE_rewarded, and SAMPLE_correct,
 * SAMPLE_incorrect or, where that label is unknown, SAMPLE_unknown as what it is judged by. The
 * first step verifies nothing. marks as above, filled from the source's labels. */
void s2r_rewards(const char *verify, const struct sample_source *source, const struct tokens *t,
                 int64_t from, uint8_t *marks);

#endif
