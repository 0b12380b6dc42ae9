/* address: what `listen:` of a node says: where its replicas take their consumers.
 *
 *   (nothing)                a socket in the run's private folder
 *   tcp://HOST:PORT          encrypted; lets in the keys of the node's consumers in this run only
 *   tcp+plain://HOST:PORT    neither encrypted nor checked: loopback only, open to every local user
 *   tcp+insecure://HOST:PORT the same on any interface, asked for by this name
 *
 * HOST is a numeric IPv4 address, [IPv6] or localhost; replica r listens at PORT + r. */
#ifndef GRAPH_ADDRESS_H
#define GRAPH_ADDRESS_H

#include <stdbool.h>

#include "base/error.h"

#define ADDRESS_HOST_MAX 48

enum address_kind { ADDRESS_private, ADDRESS_curve, ADDRESS_plain };

struct address {
    enum address_kind kind;
    bool six;                    /* IPv6 */
    int port;                    /* of replica 0 */
    char host[ADDRESS_HOST_MAX]; /* numeric, in its usual form, without brackets */
};

/* `listen` may be NULL or "". Ports of replicas 0 ... replicas-1 must exist. -> ERROR_topology. */
int address_read(const char *listen, int replicas, struct address *a, struct error *e);
/* What ZeroMQ binds or connects for a replica; free(). */
char *address_endpoint(const struct address *a, int replica);
/* Would both want one port? */
bool address_overlap(const struct address *a, int a_replicas, const struct address *b,
                     int b_replicas);
/* Heartbeats, limits of the handshake, reconnecting, of open files: before bind or connect. */
void address_tune(const struct address *a, void *socket);
#endif
