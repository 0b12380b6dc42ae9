/* redact: as it stands, and with every escape that JSON knows: what is read back from a body must
 * not hold the key either. */
#include "nodes/remote/redact.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Bytes that write character `c` at `at`, plain or escaped; 0: another character stands there. Keys
 * are printable ASCII, so the named control characters are none of them. */
static size_t
written(const char *at, size_t left, char c)
{
    char digits[5] = {0};

    if (left > 0 && *at == c && c != '\\')
        return 1;
    if (left < 2 || *at != '\\')
        return left > 0 && *at == c;
    if (at[1] == c && strchr("\"\\/", c))
        return 2;
    if (at[1] != 'u' || left < 6 || !isxdigit((unsigned char)at[2]))
        return *at == c;
    memcpy(digits, at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 &&
                   strtoul(digits, NULL, 16) == (unsigned char)c
               ? 6
               : *at == c;
}

void
redact(char *text, size_t length, const char *secret)
{
    if (strlen(secret) < REDACT_MIN || !length)
        return;
    for (size_t at = 0; at < length; at++) {
        size_t to = at, n;
        const char *c = secret;
        if (text[at] != *secret && text[at] != '\\')
            continue;
        for (; *c && (n = written(text + to, length - to, *c)) > 0; c++)
            to += n;
        if (*c)
            continue;
        memset(text + at, '*', to - at);
        at = to - 1;
    }
}

void
redact_cut(char *value, size_t room, const char *secret)
{
    size_t length = strlen(value), n = strlen(secret);

    redact(value, length, secret);
    if (length + 1 == room && n >= REDACT_MIN)
        memset(value + length - (n < length ? n : length), '*', n < length ? n : length);
}
