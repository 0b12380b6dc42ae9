/* probe: one GET for each server, one after the other. */
#include "nodes/remote/probe.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/one_line.h"
#include "nodes/remote/endpoints.h"
#include "nodes/remote/url.h"

/* The url of the list: beside the path of the calls, if the user wrote that; below /v1 where the url
 * names a server alone (vLLM answers /pooling there, and lists its models below /v1). */
static char *
models_url(const char *url)
{
    static const char *const calls[] = {"/chat/completions", "/pooling", "/embeddings", NULL};
    size_t length = strlen(url);
    char *base = xtext(url), *out;
    const char *host;

    while (length && base[length - 1] == '/')
        base[--length] = 0;
    for (const char *const *c = calls; *c; c++) {
        size_t n = strlen(*c);
        if (length >= n && strcmp(base + length - n, *c) == 0)
            base[length -= n] = 0;
    }
    host = strstr(base, "://");
    out = url_join(base, host && !strchr(host + 3, '/') ? "/v1/models" : "/models");
    free(base);
    return out;
}

static int
get(struct http *h, const char *url, struct http_answer *a, struct error *e)
{
    int rc = http_get(h, url, NULL, e);

    if (rc == 0)
        rc = http_begin(h, e);
    while (rc == 0 && !http_next(h, a)) {
        struct pollfd fd = {.fd = http_fd(h), .events = POLLIN};
        poll(&fd, 1, 1000);
        rc = http_step(h, e);
    }
    return rc;
}

/* The entry of the model, by its id. */
static const json_t *
find_model(const json_t *list, const char *model)
{
    const json_t *entry;
    size_t i;

    json_array_foreach(list, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "id"));
        if (id && strcmp(id, model) == 0)
            return entry;
    }
    return NULL;
}

static int
unknown_model(const char *url, const char *model, const json_t *list, struct error *e)
{
    struct buffer names = {0};
    struct arena arena = {0};
    const json_t *entry;
    size_t i;
    int rc;

    json_array_foreach(list, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "id"));
        struct span clean = one_line(span_text(id), 80, &arena);
        if (id && i < PROBE_MODELS_MAX)
            buffer_print(&names, "%s%.*s", i ? ", " : "", (int)clean.length, clean.at);
    }
    if (json_array_size(list) > PROBE_MODELS_MAX)
        buffer_text(&names, ", ...");
    rc = error_set(e, ERROR_remote, "%s does not know the model '%s'; it has %.*s", url, model,
                   (int)names.length, names.at ? names.at : "");
    buffer_free(&names);
    arena_free(&arena);
    return rc;
}

/* A list came. */
static int
read_list(const char *url, const char *model, const json_t *json, struct buffer *told,
          struct error *e)
{
    const json_t *list = json_object_get(json, "data"), *entry = find_model(list, model), *length;

    if (json_array_size(list) == 0) {
        buffer_print(told, "%s answers, and lists no models\n", url);
        return 0;
    }
    if (!entry)
        return unknown_model(url, model, list, e);
    buffer_print(told, "%s answers and knows '%s'", url, model);
    length = json_object_get(entry, "max_model_len");
    if (json_is_integer(length))
        buffer_print(told, ", %" PRId64 " tokens of context", (int64_t)json_integer_value(length));
    buffer_text(told, "\n");
    return 0;
}

static int
probe_one(struct http *h, const char *url, const char *model, struct buffer *told, struct error *e)
{
    char *list = models_url(url);
    struct http_answer a;
    struct reply r;
    int rc = get(h, list, &a, e);

    free(list);
    if (rc != 0)
        return rc;
    reply_read(&a, &r);
    if (r.outcome == REPLY_json)
        rc = read_list(url, model, r.json, told, e);
    else if (!a.too_big && (a.status == 404 || a.status == 405 || a.status / 100 == 2))
        buffer_print(told, "%s answers, and lists no models\n", url);
    else
        rc = error_set(e, ERROR_remote, "%s: %s", url, r.why);
    json_decref(r.json);
    return rc;
}

int
remote_probe(const struct remote_options *o, const char *model, struct buffer *told,
             struct error *e)
{
    char key[REMOTE_KEY_MAX];
    struct endpoints servers = {0};
    struct error next;
    int rc = remote_key(o, key, e);
    struct http_settings s = remote_http(o, key);
    struct http *h = NULL;

    s.timeout_seconds = fmin(s.timeout_seconds, PROBE_SECONDS);
    if (rc == 0)
        rc = endpoints_set(&servers, &o->url, 1, NULL, e);
    if (rc == 0 && !(h = http_open(&s, e)))
        rc = e->code;
    explicit_bzero(key, sizeof(key));
    for (int i = 0; h && i < servers.count; i++) {
        int code = probe_one(h, servers.at[i].url, model, told, &next);
        if (code != 0)
            buffer_print(told, "%s\n", next.text);
        if (code != 0 && rc == 0)
            *e = next, rc = code;
    }
    http_close(h);
    endpoints_free(&servers);
    return rc;
}
