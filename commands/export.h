/* export: one message as the row of another trainer's data. The field names are those the trainers read:
 *   TRL       docs/source/dataset_formats.md, "Stepwise supervision"
 *   verl      docs/preparation/prepare_data.rst; `responses` as its generation writes it
 *   OpenRLHF  flags --input_key, --output_key, --label_key of its datasets */
#ifndef COMMANDS_EXPORT_H
#define COMMANDS_EXPORT_H

#include "commands/talk.h"

enum export_format { EXPORT_jsonl, EXPORT_stepwise, EXPORT_verl, EXPORT_openrlhf };
enum export_unknown { EXPORT_cut, EXPORT_skip, EXPORT_correct, EXPORT_incorrect };

struct export_how {
    int         format, unknown;        /* enums above */
    const char *data_source, *ability;
};

struct export_count {
    int64_t read, written, left;
};

/* `m` is labelled or rollout, `row` the outbox's ({"ordinal","first","size"}), `body` the message. New; NULL: this message
 * gives no row (no steps, an unknown step, no text). */
json_t *export_line(const struct export_how *how, enum message m, const char *from, const json_t *row,
                    const json_t *body);

/* A process's answer to the request, from itself or from its store; *reply NULL: it has no store. */
int export_ask(struct talk *t, int node, int replica, const json_t *request, json_t **reply, struct error *e);

#endif
