/* expand: see expand.h. */
#include "graph/expand.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 128

static bool
secret(const char *name)
{
    static const char *const words[] = {"KEY", "TOKEN", "SECRET"};
    char                     upper[NAME_BYTES_MAX + 1];
    size_t                   n = strlen(name);

    for (size_t i = 0; i <= n; i++)
        upper[i] = (char)toupper((unsigned char)name[i]);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(upper, words[i]))
            return true;
    return false;
}

/* `p` is after "${". -> the text after "}", or NULL. */
static const char *
one(const char *p, struct buffer *out, struct error *e)
{
    char        name[NAME_BYTES_MAX + 1];
    const char *value, *end = strchr(p, '}');
    size_t      n = 0;
    char        mode = 0;

    if (!end) {
        error_set(e, ERROR_topology, "'${%.40s' has no '}'", p);
        return NULL;
    }
    while (n < NAME_BYTES_MAX && (isalnum((unsigned char)p[n]) || p[n] == '_'))
        n++;
    memcpy(name, p, n);
    name[n] = 0;
    if (n == 0 || isdigit((unsigned char)name[0]) || n == NAME_BYTES_MAX) {
        error_set(e, ERROR_topology, "'${%.*s}' names no variable",
                  (int)(end - p > 60 ? 60 : end - p), p);
        return NULL;
    }
    if (p[n] == ':' && (p[n + 1] == '-' || p[n + 1] == '+'))
        mode = p[n + 1];
    if ((!mode && p + n != end) || (mode && memmem(p, (size_t)(end - p), "${", 2))) {
        error_set(e, ERROR_topology, "'${%s...': write ${NAME}, ${NAME:-default} or ${NAME:+word}",
                  name);
        return NULL;
    }
    value = getenv(name);
    if (mode == '+') {
        if (value && *value)
            buffer_add(out, p + n + 2, (size_t)(end - p) - n - 2);
        return end + 1;
    }
    if (secret(name)) {
        error_set(e, ERROR_topology,
                  "${%s}: a secret may not be written into a run's plan; options that "
                  "need one take the variable's name (api_key_env)",
                  name);
        return NULL;
    }
    if (mode == '-' && !(value && *value)) {
        buffer_add(out, p + n + 2, (size_t)(end - p) - n - 2);
        return end + 1;
    }
    if (!value) {
        error_set(e, ERROR_topology,
                  "${%s}: the variable is not set and has no default (${%s:-...})", name, name);
        return NULL;
    }
    buffer_text(out, value);
    return end + 1;
}

int
expand(const char *text, struct buffer *out, struct error *e)
{
    const char *p = text;

    while (p) {
        const char *dollar = strstr(p, "${");

        if (out->length > EXPAND_BYTES_MAX)
            return error_set(e, ERROR_topology, "a value is above %d bytes", EXPAND_BYTES_MAX);
        if (!dollar) {
            buffer_text(out, p);
            return 0;
        }
        if (dollar > p && dollar[-1] == '$') {
            buffer_add(out, p, (size_t)(dollar - p) - 1);
            buffer_text(out, "${");
            p = dollar + 2;
            continue;
        }
        buffer_add(out, p, (size_t)(dollar - p));
        p = one(dollar + 2, out, e);
    }
    return ERROR_topology;
}
