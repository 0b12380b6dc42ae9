/* judge_server: a chat-completions server for tests, with every bad manner a judge can meet and a
 * ledger of its own: an append-only file with one JSON line for each call that arrived whole, and
 * one for each answer that left whole, which no node can rewrite:
 *   {"at":T,"call":N,"key":"...","answer":"WORD","repeated":false,"read":R,"written":W}
 *   {"at":T,"answered":N}
 * T is the wall clock in microseconds, as bash's EPOCHREALTIME without its point; "repeated" says
 * that a call of the same key came before; R and W are the tokens it charges. A client that died
 * within a call leaves no "answered".
 *
 * An answer is a word:
 *   marks     marks of the steps in the request, with log-probabilities (tests/judge_marks.h)
 *   letters   one letter of those listed in the request, likewise
 *   format    500 with a validator's words where the request has a response_format, else ok
 *   ok        a verdict on the steps in the request: arithmetic is computed, and one step in
 * sixteen (by hash) is judged wrongly. A function of the request alone. fenced    the same, within
 * chatter and a code fence few many  a verdict with one step too few, too many       prose    words
 * without a verdict garbage   bytes that are no JSON                          empty    200 with no
 * body null      a completion whose content is null              huge     4 MiB of spaces before
 * the verdict half      half a body, then the connection closes         nothing  closed without a
 * byte hang      no byte until the client goes                   context  400, the context is too
 * long quota     429 insufficient_quota                          echo     401, with the key in its
 * message redirect  302                                             NNN      that status; NNN:S
 * with Retry-After S stall     silence for two seconds, then closed
 *   rested    as ok, and x-ratelimit-* headers that allow no call for 30 s
 *   headers   a completion whose content is the request's headers, names in small letters
 *
 * GET /v1/models lists the model m, and is no call.
 * POST /pooling and /v1/embeddings are answered too (tests/pooling_answer.h).
 *
 * The first calls get the words of `script`, in order of arrival; all later ones get `then`. */
#ifndef TESTS_JUDGE_SERVER_H
#define TESTS_JUDGE_SERVER_H

#include "base/error.h"

struct judge_server;

struct judge_server_options {
    int port;               /* on 127.0.0.1; 0: any that is free */
    const char *ledger;     /* NULL: none */
    const char *script;     /* words and commas; NULL: none */
    const char *then;       /* NULL: "ok" */
    const char *key;        /* calls without it get 401; NULL: none is asked for */
    double latency_seconds; /* calls take a share of it, by hash of the request */
    int flaky_percent; /* so many calls (by hash of the key) get 500, 503, 408, 429:0, half, nothing
                        * or stall when first seen: trying again helps */
    int rude_percent;  /* so many (by hash of the key) get garbage, empty, null, prose, few or many
                        * each time: another answer must be asked for */
};

struct judge_server *judge_server_start(const struct judge_server_options *o, struct error *e);
void judge_server_stop(struct judge_server *s);

int judge_server_port(const struct judge_server *s);
int judge_server_calls(struct judge_server *s); /* that arrived whole */
int
judge_server_repeated(struct judge_server *s); /* of those, calls whose key had been seen before */
int judge_server_most(struct judge_server *s); /* in the server at once */
void judge_server_then(struct judge_server *s,
                       const char *word); /* from the next call on; ends the script */
/* The body of the last call, copied; free() it. NULL: no call yet. */
char *judge_server_last(struct judge_server *s);
/* Returns when `calls` have arrived, or after so many seconds: false. */
int judge_server_wait(struct judge_server *s, int calls, double seconds);

#endif
