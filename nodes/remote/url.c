/* url: libcurl's own parser decides what a URL is, so that check and call agree. */
#include "nodes/remote/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/memory.h"

int
url_check(const char *url, struct error *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *user = NULL, *password = NULL;
    int rc = 0;

    if (!u)
        abort();
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        rc = error_set(e, ERROR_topology, "'%.200s' is not a URL such as http://localhost:8000/v1",
                       url);
    if (rc == 0) {
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
        curl_url_get(u, CURLUPART_HOST, &host, 0);
        curl_url_get(u, CURLUPART_USER, &user, 0);
        curl_url_get(u, CURLUPART_PASSWORD, &password, 0);
        if (!scheme || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
            rc = error_set(e, ERROR_topology, "the URL is neither http:// nor https://");
        else if (user || password)
            rc = error_set(e, ERROR_topology,
                           "the URL holds a user name or password, which would be"
                           " written down; put the key into an environment variable (api_key_env)");
        else if (!host || !*host)
            rc = error_set(e, ERROR_topology, "the URL names no host");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(password);
    curl_url_cleanup(u);
    return rc;
}

char *
url_join(const char *url, const char *path)
{
    size_t length = strlen(url), n = strlen(path);

    while (length && url[length - 1] == '/')
        length--;
    if (length >= n && memcmp(url + length - n, path, n) == 0)
        n = 0;
    return xprint("%.*s%.*s", (int)length, url, (int)n, path);
}

char *
url_server(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *out = NULL;

    if (!u)
        abort();
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        out = xprint("%s://%s:%s", scheme, host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return out;
}
