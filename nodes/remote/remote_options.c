/* remote_options: checks of the shared options, and where the key comes from. */
#include "nodes/remote/remote_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodes/remote/endpoints.h"

const char *const remote_http_versions[] = {[HTTP_auto] = "auto", [HTTP_1] = "1.1", NULL};

/* Letters, digits and the marks that a header's name may hold (RFC 9110, 5.6.2). */
static bool
is_name(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~",
                    text[i]) ||
            !text[i])
            return false;
    return length > 0;
}

/* A header whose value is a secret belongs into the key's options: a topology is copied. */
static bool
is_secret(const char *name, size_t length)
{
    static const char *const names[] = {"authorization",       "api-key", "x-api-key",
                                        "proxy-authorization", "cookie",  NULL};

    for (const char *const *n = names; *n; n++)
        if (strlen(*n) == length && strncasecmp(*n, name, length) == 0)
            return true;
    return false;
}

static bool
is_ours(const char *name, size_t length)
{
    static const char *const names[] = {"content-length", "content-type",    "host",
                                        "connection",     "idempotency-key", "transfer-encoding",
                                        "expect",         "accept-encoding", NULL};

    for (const char *const *n = names; *n; n++)
        if (strlen(*n) == length && strncasecmp(*n, name, length) == 0)
            return true;
    return false;
}

static int
check_header(struct check *c, const struct remote_options *o, const char *header, struct error *e)
{
    size_t name = strcspn(header, ":");

    if (!header[name] || !is_name(header, name) || strlen(header) > REMOTE_HEADER_MAX)
        return check_fail(c, "headers", e, "'%.60s' is not of the form \"Name: value\"", header);
    for (const char *at = header; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return check_fail(c, "headers", e, "'%.*s' holds a control character", (int)name,
                              header);
    if (is_secret(header, name) ||
        (strlen(o->api_key_header) == name && strncasecmp(header, o->api_key_header, name) == 0))
        return check_fail(c, "headers", e,
                          "'%.*s' carries a secret, and a topology is written down; give it by"
                          " api_key_env or api_key_file, with api_key_header",
                          (int)name, header);
    if (is_ours(header, name))
        return check_fail(c, "headers", e, "'%.*s' is set by every call itself", (int)name, header);
    return 0;
}

static int
check_key(struct check *c, const struct remote_options *o, struct error *e)
{
    struct error why;
    char key[REMOTE_KEY_MAX];
    int rc;

    for (const char *at = o->api_key_env; *at; at++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789", *at))
            return check_fail(c, "api_key_env", e,
                              "this is the name of an environment variable that holds"
                              " the key, such as JUDGE_KEY; never the key itself");
    if (!is_name(o->api_key_header, strlen(o->api_key_header)))
        return check_fail(c, "api_key_header", e, "this is no name of a header");
    if (!o->api_key_file[0])
        return 0;
    if (o->api_key_env[0])
        return check_fail(c, "api_key_file", e, "the key comes from api_key_env or from here");
    rc = remote_key(o, key, &why);
    explicit_bzero(key, sizeof(key));
    return rc == 0 ? 0 : check_fail(c, "api_key_file", e, "%s", why.text);
}

int
remote_options_check(struct check *c, const struct remote_options *o, struct error *e)
{
    struct endpoints list = {0};
    struct error why;
    json_t *fields = NULL;
    int rc = endpoints_set(&list, &o->url, 1, NULL, &why);

    endpoints_free(&list);
    if (rc != 0)
        return check_fail(c, "url", e, "%s", why.text);
    rc = remote_body(o, &fields, &why);
    json_decref(fields);
    if (rc != 0)
        return check_fail(c, "body", e, "%s", why.text);
    for (int i = 0; i < o->headers.count; i++)
        if ((rc = check_header(c, o, o->headers.at[i], e)) != 0)
            return rc;
    if (o->ca_file[0] && access(o->ca_file, R_OK) != 0)
        return check_fail(c, "ca_file", e, "%s: %s", o->ca_file, strerror(errno));
    return check_key(c, o, e);
}

/* ---- the key ---- */

/* The file's bytes, terminated. Whoever may read a key may spend its owner's money. */
static int
read_key_file(const char *path, char *key, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc = 0;
    struct stat s;
    ssize_t length = 0;

    if (fd < 0 || fstat(fd, &s) != 0)
        rc = error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        rc = error_set(e, ERROR_file, "%s is not a plain file", path);
    else if (s.st_mode & 077)
        rc = error_set(e, ERROR_file,
                       "%s holds a key and has mode %04o; others may read it: chmod 600", path,
                       (unsigned)(s.st_mode & 07777));
    else if ((length = read(fd, key, REMOTE_KEY_MAX - 1)) < 0)
        rc = error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    key[rc == 0 ? length : 0] = 0;
    return rc;
}

int
remote_key(const struct remote_options *o, char *key, struct error *e)
{
    const char *from = o->api_key_file[0] ? o->api_key_file : o->api_key_env, *held;
    size_t length;
    int rc = 0;

    key[0] = 0;
    if (!from[0])
        return 0;
    if (o->api_key_file[0]) {
        rc = read_key_file(from, key, e);
    } else if ((held = getenv(from)) == NULL || !*held) {
        rc = error_set(e, ERROR_input, "the environment variable %s is not set", from);
    } else if (snprintf(key, REMOTE_KEY_MAX, "%s", held) >= REMOTE_KEY_MAX) {
        rc = error_set(e, ERROR_input, "the environment variable %s is too long for a key", from);
    }
    if (rc != 0)
        return rc;
    length = strlen(key);
    while (o->api_key_file[0] && length && strchr(" \t\r\n", key[length - 1]))
        key[--length] = 0;
    for (const char *at = key; *at && rc == 0; at++)
        if (*at < 0x21 || *at > 0x7e)
            rc = error_set(e, ERROR_input, "%s holds white space or control characters, not a key",
                           from);
    if (rc == 0 && !length)
        rc = error_set(e, ERROR_input, "%s is empty", from);
    if (rc != 0)
        explicit_bzero(key, REMOTE_KEY_MAX);
    return rc;
}

/* ---- for a call ---- */

struct http_settings
remote_http(const struct remote_options *o, const char *key)
{
    return (struct http_settings){
        .secret = key,
        .secret_header = o->api_key_header,
        .headers = o->headers.at,
        .header_count = o->headers.count,
        .ca_file = o->ca_file,
        .timeout_seconds = o->timeout,
        .connect_seconds = o->connect_timeout,
        .answer_bytes_max = o->max_response_bytes,
        .connections = (int)o->in_flight,
        .version = (enum http_version)o->http_version,
    };
}

/* Other values of these would be another question, another price or an answer that we cannot read.
 */
static const char *
field_of_ours(const json_t *fields)
{
    static const char *const names[] = {"model", "messages", "input", "stream", NULL};

    for (const char *const *n = names; *n; n++)
        if (json_object_get(fields, *n))
            return *n;
    return NULL;
}

/* Fields that say how much an answer may be: what is set aside of a budget is reckoned by them, so
 * one that takes the bound away, or that cannot be reckoned with, is refused. */
static const char *
field_out_of_bounds(const json_t *fields)
{
    static const struct {
        const char *name;
        json_int_t most;
    } rows[] = {{"max_tokens", 1000000}, {"max_completion_tokens", 1000000}, {"n", 128}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const json_t *value = json_object_get(fields, rows[i].name);
        json_int_t v = json_integer_value(value);
        if (value && !(json_is_integer(value) && v >= 1 && v <= rows[i].most))
            return rows[i].name;
    }
    return NULL;
}

int
remote_body(const struct remote_options *o, json_t **fields, struct error *e)
{
    json_error_t why;
    const char *ours = NULL, *bad = NULL;

    *fields = NULL;
    if (!o->body[0])
        return 0;
    if (strlen(o->body) > REMOTE_BODY_MAX)
        return error_set(e, ERROR_topology, "more than %d bytes", REMOTE_BODY_MAX);
    *fields = json_loads(o->body, JSON_REJECT_DUPLICATES, &why);
    if (!*fields)
        return error_set(e, ERROR_topology, "not JSON: %s, at column %d", why.text, why.column);
    if (json_is_object(*fields) && !(ours = field_of_ours(*fields)) &&
        !(bad = field_out_of_bounds(*fields)))
        return 0;
    json_decref(*fields);
    *fields = NULL;
    if (ours)
        return error_set(e, ERROR_topology, "field '%s' is set by every call itself", ours);
    if (bad)
        return error_set(e, ERROR_topology, "field '%s' is a whole number of at least 1, and at"
                         " most 1000000 (of n: 128); option max_tokens: 0 sends no bound", bad);
    return error_set(e, ERROR_topology, "a JSON object is wanted, e.g. {\"top_k\": 1}");
}
