/* llm_judge: a language model's opinion of every step; what the two backends share.
 *
 * remote.c asks a server over HTTP (nodes/remote) what an interview (interview.h) wants to know;
 * local.c runs a small decoder in this process, one question for each step. llm_judge.c holds the
 * kind, its options and the choice between the two. */
#ifndef NODES_LLM_JUDGE_LLM_JUDGE_H
#define NODES_LLM_JUDGE_LLM_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/node.h"
#include "nodes/llm_judge/prompt.h"
#include "nodes/remote/calls.h"

enum llm_backend { LLM_http, LLM_local };
enum llm_scoring { LLM_verdict, LLM_expected, LLM_rank };

struct llm_options {
    int backend, scoring, format, limit_field;
    const char *model, *prompt, *yes_token, *no_token;
    int64_t votes, window_steps, window_context;
    int64_t max_tokens, seed, top_logprobs;
    bool renormalise, continue_message;
    double temperature, threshold;
    struct remote_options remote; /* of backend http */
};

struct llm_judge {
    struct prompt *prompt;
    struct remote *remote; /* one of the two */
    struct local *local;
};

/* The name a vote carries: the model as written, or the last part of a folder's path. */
const char *llm_model_name(const struct llm_options *o);

/* Each backend: check() as node.h says; open in start(); take() owns the units from then on: one,
 * or those of a group that are to be ranked. */
int remote_check(struct check *c, const struct llm_options *o, struct error *e);
struct remote *remote_open(struct node *n, struct error *e);
int remote_take(struct remote *r, struct unit *const *units, int count, struct error *e);
int remote_ready(struct remote *r, struct error *e);
int remote_flush(struct remote *r, struct error *e);
int remote_changed(struct remote *r, struct error *e);
void remote_close(struct remote *r);

int local_check(struct check *c, const struct llm_options *o, struct error *e);
struct local *local_open(struct node *n, struct error *e);
int local_take(struct local *l, struct unit *u, struct error *e);
int local_pump(struct local *l, struct error *e);
void local_close(struct local *l);

#endif
