/* remote_options: what a user says of the servers that judge, shared by all kinds that call some.
 *
 * A kind has `struct remote_options remote` among its options and REMOTE_OPTIONS(struct its_options)
 * among its rows. */
#ifndef NODES_REMOTE_OPTIONS_H
#define NODES_REMOTE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "graph/node.h"
#include "nodes/remote/http.h"

#define REMOTE_KEY_MAX    4096 /* bytes of a key */
#define REMOTE_BODY_MAX   65536
#define REMOTE_HEADER_MAX 8192

struct remote_options {
    struct texts url, headers;
    const char *api_key_env, *api_key_file, *api_key_header, *body, *ca_file, *prices, *cache;
    int http_version;
    int64_t in_flight, tries, max_response_bytes, rpm, tpm, budget_tokens, cache_bytes;
    double timeout, connect_timeout, price_in, price_out, budget_usd;
};

extern const char *const remote_http_versions[];

#define REMOTE_ROW(K, S, F, T, CH, D, LO, HI, NAMES, H)                                            \
    {                                                                                              \
        OPTION_##K, CH, #F, offsetof(S, remote) + OPTION_FIELD(struct remote_options, F, T), D,    \
            LO, HI, NAMES, H                                                                       \
    }

/* clang-format off */
#define REMOTE_OPTIONS(S)                                                                          \
    REMOTE_ROW(texts, S, url, struct texts, LIVE, "", 0, 0, NULL,                                  \
        "where the server is, e.g. http://localhost:8000/v1; the path of the call is added;"       \
        " several servers of one model share the calls, and one that fails is left alone"),        \
    REMOTE_ROW(text, S, api_key_env, const char *, FIXED, "", 0, 0, NULL,                          \
        "name of the environment variable that holds the key; the key itself is never written"     \
        " down"),                                                                                  \
    REMOTE_ROW(path, S, api_key_file, const char *, FIXED, "", 0, 0, NULL,                         \
        "file that holds the key, readable by its owner alone (mode 0600); read again where the"   \
        " server refuses the key"),                                                                \
    REMOTE_ROW(text, S, api_key_header, const char *, FIXED, "Authorization", 0, 0, NULL,          \
        "header that carries the key: Authorization says \"Bearer KEY\"; another, such as api-key," \
        " the key alone"),                                                                         \
    REMOTE_ROW(texts, S, headers, struct texts, FIXED, "", 0, 0, NULL,                             \
        "further headers, each \"Name: value\"; they are written down: never a key"),              \
    REMOTE_ROW(text, S, body, const char *, FIXED, "", 0, 0, NULL,                                 \
        "a JSON object whose fields every request gets too, or instead of its own, e.g."           \
        " '{\"top_k\": 1}'"),                                                                      \
    REMOTE_ROW(int, S, in_flight, int64_t, LIVE, "16", 1, HTTP_CONNECTIONS_MAX, NULL,              \
        "calls in flight at once at most; halved where a server says that it is too much, and"     \
        " grown again"),                                                                           \
    REMOTE_ROW(int, S, rpm, int64_t, LIVE, "0", 0, 1e9, NULL,                                      \
        "requests per minute of each replica at most; 0: no bound but the server's own"),          \
    REMOTE_ROW(int, S, tpm, int64_t, LIVE, "0", 0, 1e12, NULL,                                     \
        "tokens per minute of each replica at most, max_tokens counted until the answer says"      \
        " less; 0: no bound but the server's own"),                                                \
    REMOTE_ROW(time, S, timeout, double, LIVE, "10m", 0.01, 86400, NULL,                           \
        "for one call in all"),                                                                    \
    REMOTE_ROW(time, S, connect_timeout, double, LIVE, "5s", 0.01, 600, NULL,                      \
        "to reach the server"),                                                                    \
    REMOTE_ROW(choice, S, http_version, int, LIVE, "auto", 0, 0, remote_http_versions,             \
        "auto: HTTP/2 where the server offers it over TLS, else 1.1"),                             \
    REMOTE_ROW(path, S, ca_file, const char *, FIXED, "", 0, 0, NULL,                              \
        "certificates that vouch for the server, in PEM; default: the system's"),                  \
    REMOTE_ROW(int, S, tries, int64_t, FIXED, "3", 1, 100, NULL,                                   \
        "answers without a usable verdict before the judge abstains"),                             \
    REMOTE_ROW(size, S, max_response_bytes, int64_t, LIVE, "4MiB", 256, 268435456, NULL,           \
        "a larger answer counts as one without a verdict"),                                        \
    REMOTE_ROW(float, S, price_in, double, LIVE, "0", 0, 1e6, NULL,                                \
        "US dollars for 1e6 tokens read"),                                                         \
    REMOTE_ROW(float, S, price_out, double, LIVE, "0", 0, 1e6, NULL,                               \
        "US dollars for 1e6 tokens written"),                                                      \
    REMOTE_ROW(float, S, budget_usd, double, LIVE, "0", 0, 1e9, NULL,                              \
        "US dollars that all replicas together may spend; then the stream pauses, and goes on"     \
        " when it is raised; 0: no bound"),                                                        \
    REMOTE_ROW(int, S, budget_tokens, int64_t, LIVE, "0", 0, 1e15, NULL,                           \
        "the same in tokens, read and written; 0: no bound"),                                      \
    REMOTE_ROW(path, S, prices, const char *, LIVE, "", 0, 0, NULL,                                \
        "price table instead of price_in and price_out: a JSON object, from a model's name to"     \
        " {\"in\": 0.15, \"out\": 0.6, \"cached_in\": 0.075}, US dollars for 1e6 tokens"),   \
    REMOTE_ROW(path, S, cache, const char *, LIVE, "", 0, 0, NULL,                                 \
        "folder of the answers that were paid for, to be shared by runs; default: inside the run," \
        " and a replay takes it along"),                                                           \
    REMOTE_ROW(size, S, cache_bytes, int64_t, LIVE, "1GiB", 0, 34359738368, NULL,                  \
        "kept of such answers at most, the oldest go first; 0: none is kept or looked up")
/* clang-format on */

/* Is everything right with these options? As node_kind.check(). */
int remote_options_check(struct check *c, const struct remote_options *o, struct error *e);

/* The key, from file or environment, in KEY (terminated; REMOTE_KEY_MAX bytes); empty where none
 * is asked for. -> ERROR_file, ERROR_input: why there is none, without a byte of it. */
int remote_key(const struct remote_options *o, char *key, struct error *e);

/* What http needs; it borrows from `o` and `key`. */
struct http_settings remote_http(const struct remote_options *o, const char *key);

/* The fields of option `body`, to decref; NULL where there are none. -> ERROR_topology. */
int remote_body(const struct remote_options *o, json_t **fields, struct error *e);

#endif
