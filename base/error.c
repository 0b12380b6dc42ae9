#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct row {
    int         code;
    int         exit;
    const char *name;
    const char *meaning;
} rows[] = {
#define ERROR(n, x, m) {ERROR_##n, x, #n, m},
#include "base/errors.def"
#undef ERROR
};

#define ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

static const struct row *
find(int code)
{
    for (int i = 0; i < ROWS; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

/* A newline inside a message would break the promise of one line. */
static void
flatten(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

int
error_set(struct error *e, int code, const char *format, ...)
{
    va_list args;

    if (!e)
        return code;
    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    flatten(e->text);
    return code;
}

int
error_wrap(struct error *e, const char *format, ...)
{
    char    front[ERROR_TEXT_MAX], inner[ERROR_TEXT_MAX];
    va_list args;

    if (!e)
        return ERROR_internal;
    va_start(args, format);
    vsnprintf(front, sizeof(front), format, args);
    va_end(args);
    memcpy(inner, e->text, sizeof(inner));
    if (snprintf(e->text, sizeof(e->text), "%s: %s", front, inner) < 0)
        e->text[0] = 0;
    flatten(e->text);
    return e->code;
}

const char *
error_name(int code)
{
    const struct row *r = find(code);
    return r ? r->name : "none";
}

const char *
error_meaning(int code)
{
    const struct row *r = find(code);
    return r ? r->meaning : "";
}

int
error_exit(int code)
{
    const struct row *r = find(code);
    return code == 0 ? 0 : r ? r->exit : 1;
}

int
error_count(void)
{
    return ROWS;
}

int
error_at(int index)
{
    return rows[index].code;
}
