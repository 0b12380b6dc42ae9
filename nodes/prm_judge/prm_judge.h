/* prm_judge: a process reward model's opinion of every step; what the two backends share.
 *
 * local.c runs the model in this process, server.c asks a server for it (nodes/remote), one call
 * for each response. How a response is put to the model is convention.h; what a server answers
 * pooling.h. prm_judge.c holds the kind, its options and the choice between the two. */
#ifndef NODES_PRM_JUDGE_PRM_JUDGE_H
#define NODES_PRM_JUDGE_PRM_JUDGE_H

#include "graph/node.h"
#include "nodes/prm_judge/convention.h"
#include "nodes/prm_judge/pooling.h"
#include "nodes/remote/calls.h"

enum prm_backend { PRM_local, PRM_http };
enum prm_response {
    PRM_response_none,
    PRM_response_product,
    PRM_response_minimum,
    PRM_response_last
};

struct prm_options {
    int backend, convention, response, api, request, activation;
    const char *model, *system, *step_tag, *good_token, *bad_token, *tokenizer, *task;
    double threshold;
    bool embeddings;
    struct remote_options remote; /* of backend http */
};

struct prm_judge {
    struct convention convention;
    struct prm_local *local; /* one of the two */
    struct prm_server *server;
};

/* The name a vote carries: the model as written, or the last part of a folder's path. */
const char *prm_model_name(const struct prm_options *o);

/* Room for the scores of so many steps, of which nothing is said yet. */
void prm_vote_begin(struct vote *vote, int64_t steps, struct arena *arena);

/* Fills vote->response from the steps that a score was given for, in their order: the product, the
 * smallest or the last score; nothing where there is none. */
void prm_vote_response(struct vote *vote, enum prm_response how, struct arena *arena);

/* Each backend: check() as node.h says; open in start(); take() owns the unit from then on. */
int prm_local_check(struct check *c, const struct prm_options *o, struct error *e);
struct prm_local *prm_local_open(struct node *n, struct error *e);
int prm_local_take(struct prm_local *l, struct unit *u, struct error *e);
int prm_local_pump(struct prm_local *l, struct error *e);
void prm_local_close(struct prm_local *l);

/* As node_kind.probe(). /pooling lies beside /v1, where the list of models is. */
int prm_server_probe(const struct prm_options *o, struct buffer *told, struct error *e);
int prm_server_check(struct check *c, const struct prm_options *o, struct error *e);
struct prm_server *prm_server_open(struct node *n, struct error *e);
int prm_server_take(struct prm_server *s, struct unit *u, struct error *e);
int prm_server_ready(struct prm_server *s, struct error *e);
int prm_server_flush(struct prm_server *s, struct error *e);
int prm_server_changed(struct prm_server *s, struct error *e);
void prm_server_close(struct prm_server *s);

#endif
