/* http_headers: what the headers of an answer ask of us. */
#ifndef NODES_REMOTE_HTTP_HEADERS_H
#define NODES_REMOTE_HTTP_HEADERS_H

#include <curl/curl.h>

#include "nodes/remote/http.h"

/* Fills retry_after, should_retry, requests, tokens and location of an answer that ended. */
void http_headers_read(CURL *easy, struct http_answer *a);

#endif
