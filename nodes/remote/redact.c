/* redact: as it stands, and with the escapes that some servers write into JSON. */
#include "nodes/remote/redact.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void
redact_form(char *text, size_t length, const char *form)
{
    size_t n = strlen(form);
    char *at = text;

    while ((at = memmem(at, length - (size_t)(at - text), form, n)) != NULL)
        memset(at, '*', n);
}

void
redact(char *text, size_t length, const char *secret)
{
    char *form, *to;

    if (strlen(secret) < REDACT_MIN || !length)
        return;
    redact_form(text, length, secret);
    if (!strchr(secret, '/'))
        return;
    to = form = xalloc(2 * strlen(secret) + 1);
    for (const char *at = secret; *at; *to++ = *at++)
        if (*at == '/')
            *to++ = '\\';
    redact_form(text, length, form);
    explicit_bzero(form, strlen(form));
    free(form);
}

void
redact_cut(char *value, size_t room, const char *secret)
{
    size_t length = strlen(value), n = strlen(secret);

    redact(value, length, secret);
    if (length + 1 == room && n >= REDACT_MIN)
        memset(value + length - (n < length ? n : length), '*', n < length ? n : length);
}
