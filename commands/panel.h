/* panel: judges given on the command line, and the topology that has them judge given steps.
 *
 *   --judge KIND[:option=value,...]
 *
 * An option named twice is a list; "\," is a comma within a value; `id` and `replicas` are keys of
 * the node. Paths start at the current folder. Judges without an id are named by their kind, the
 * second of a kind kind_2 and so on. */
#ifndef COMMANDS_PANEL_H
#define COMMANDS_PANEL_H

#include "base/error.h"
#include "base/memory.h"

#define PANEL_JUDGES_MAX  32
#define PANEL_OPTIONS_MAX 64 /* of one judge, elements of lists counted one by one */

#define PANEL_SINK      "verdicts" /* <run>/verdicts.jsonl: what every judge and the consensus say */
#define PANEL_CONSENSUS "consensus"

struct panel_option {
    char *name, *value;
};

struct panel_judge {
    char *kind, *id, *replicas; /* replicas NULL: one */
    int count;
    struct panel_option options[PANEL_OPTIONS_MAX];
};

struct panel {
    int count;
    struct panel_judge at[PANEL_JUDGES_MAX];
};

/* Adds the judge that `text` describes. -> ERROR_usage. */
int panel_add(struct panel *p, const char *text, struct error *e);
void panel_free(struct panel *p);

/* YAML: reader of the file CASES, segmenter, the judges, consensus, sink. The last three: options
 * of the consensus, NULL for its own defaults. */
void panel_topology(const struct panel *p, const char *cases, const char *rule, const char *quorum,
                    const char *threshold, struct buffer *out);

#endif
