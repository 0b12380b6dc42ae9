/* url: the URLs that we would call. */
#ifndef NODES_REMOTE_URL_H
#define NODES_REMOTE_URL_H

#include "base/error.h"

/* Is this a URL we would call: http or https, a host, no user or password in it? -> ERROR_topology.
 */
int url_check(const char *url, struct error *e);

/* The url of a server with a path such as "/chat/completions", whether or not the url ends in a
 * slash or holds the path already; free() it. */
char *url_join(const char *url, const char *path);

/* The part that names the server, "https://host:8000"; free() it. NULL where it is no URL. */
char *url_server(const char *url);

#endif
