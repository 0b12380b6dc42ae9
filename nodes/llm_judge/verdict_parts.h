/* verdict_parts: what the readers of the forms share: finding JSON, and naming steps. */
#ifndef NODES_LLM_JUDGE_VERDICT_PARTS_H
#define NODES_LLM_JUDGE_VERDICT_PARTS_H

#include <jansson.h>

#include "nodes/llm_judge/verdict.h"

/* Does a parsed value hold the verdict? The part that does, or NULL. */
typedef json_t *(*verdict_holder)(json_t *value);

/* The last value in the text of which `holder` finds a part; objects beat arrays. The part is
 * borrowed from *root, which the caller gives back. NULL: none. */
json_t *verdict_find(struct span text, verdict_holder holder, json_t **root);

/* The first member of these names (NULL-terminated) that is not null, or NULL. */
json_t *verdict_member(const json_t *object, const char *const *names);

/* A whole number as a number or as text, which may have words before it ("step_3", "+1"): false
 * where it is none. */
bool verdict_whole(const json_t *value, int64_t *out);

/* A reason, fit for one line. */
struct span verdict_reason(const json_t *text, struct arena *arena);

/* Indexes as they are written become indexes into [0, ask->count): they count from ask->first, from
 * 0, or from one more than either. `exact`: each step must be named once. -> ERROR_input. */
int verdict_place(int64_t *indexes, int64_t named, const struct verdict_ask *ask, bool exact,
                  struct error *e);

/* Which step each entry of an array speaks of, as indexes into [0, count). -> ERROR_input where
 * there are not ask->count of them, each of another step. */
int verdict_entries(const json_t *steps, const struct verdict_ask *ask, int64_t *place,
                    struct error *e);

/* Where a word stands last before `end` in any case, from `from` on; NULL: nowhere. */
const char *verdict_last(const char *from, const char *end, const char *word);

/* The readers: fill `out`, whose arrays are there and empty. */
int verdict_steps(struct span text, const struct verdict_ask *ask, struct verdict *out,
                  struct arena *arena, struct error *e);
int verdict_first_error(struct span text, const struct verdict_ask *ask, struct verdict *out,
                        struct arena *arena, struct error *e);
int verdict_all_errors(struct span text, const struct verdict_ask *ask, struct verdict *out,
                       struct arena *arena, struct error *e);
int verdict_agent(struct span text, const struct verdict_ask *ask, struct verdict *out,
                  struct arena *arena, struct error *e);
int verdict_score(struct span text, const struct verdict_ask *ask, struct verdict *out,
                  struct arena *arena, struct error *e);

#endif
