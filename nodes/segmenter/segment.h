/* segment: cutting a response into steps that tile it byte for byte.
 *
 * line       a step ends after each line feed
 * paragraph  after each run of blank lines
 * sentence   after . ! ? and their CJK forms where a new sentence plainly begins, and after a line
 *            feed
 * marker     before each match of any of the user's patterns (PCRE2, UTF, multi-line); without
 *            patterns, where a line or sentence begins with an opener (openers.h)
 * sat        where a Segment-any-Text model says (sat.h)
 *
 * Whatever the method: no cut lies within code or a formula (verbatim.h), unless `intact` is off;
 * white space alone is no step (it stays with the step before it, or opens the
 * first one); a step shorter than bytes_min is joined with what follows, a short last one with what
 * came before; a step longer than bytes_max is cut at a line feed or a space where there is one in
 * its second half, else between two characters, never inside one: outside of code and formulas where
 * that can be, else within, for bytes_max goes before all else. An empty response has no steps.
 */
#ifndef NODES_SEGMENT_H
#define NODES_SEGMENT_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "nodes/segmenter/verbatim.h"

#define SEGMENT_PATTERNS_MAX 64
/* The smallest bytes_max that leaves room to cut between characters. */
#define SEGMENT_BYTES_MAX_FLOOR 16
/* Backtracking steps of one search: a hostile response cannot hang a node. */
#define SEGMENT_MATCH_LIMIT 1000000

enum segment_method {
    SEGMENT_line,
    SEGMENT_paragraph,
    SEGMENT_sentence,
    SEGMENT_marker,
    SEGMENT_given, /* not cut here: the steps came with the rollout */
    SEGMENT_sat
};

struct segment {
    enum segment_method method;
    int64_t             bytes_min, bytes_max;   /* 0: no bound */
    bool                intact;                 /* no cut within code and formulas */
    struct segment_markers *markers;            /* SEGMENT_marker with patterns */
    struct sat         *sat;                    /* SEGMENT_sat; the caller's, set after init */
    struct verbatim     verbatim;               /* of the response at hand */
};

/* Compile the patterns (marker; none: the openers). intact is set. -> ERROR_topology: "pattern 2, '(a': missing closing parenthesis at offset
 * 2". */
int segment_init(struct segment *s, enum segment_method method, int pattern_count,
                 const char *const *patterns, int64_t bytes_min, int64_t bytes_max,
                 struct error *e);
void segment_fini(struct segment *s);

/* Append the end of every step, uint64_t each, ascending; the last is text.length. `text` is UTF-8.
 * -> ERROR_limit when a pattern needs more than SEGMENT_MATCH_LIMIT; ERROR_input when text is not
 * UTF-8 (patterns and sat only). */
int  segment_cut(struct segment *s, struct span text, struct buffer *ends, struct error *e);

#endif
