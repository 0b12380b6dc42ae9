/* price: the price table, strictly read, and one product. */
#include "nodes/remote/price.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define UNITS_PER_TOKEN (1e-6 * (double)PRICE_USD) /* for a price of one dollar for 1e6 tokens */

static int
file_read(const char *path, struct buffer *text, struct error *e)
{
    FILE *f = fopen(path, "re");
    size_t n = 0;

    if (!f)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    buffer_reserve(text, PRICE_FILE_BYTES_MAX + 1);
    n = fread(text->at, 1, PRICE_FILE_BYTES_MAX + 1, f);
    text->length = n;
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed)
        return error_set(e, ERROR_file, "%s: cannot be read", path);
    if (n > PRICE_FILE_BYTES_MAX)
        return error_set(e, ERROR_input, "%s: a price table has at most %d bytes", path,
                         PRICE_FILE_BYTES_MAX);
    return 0;
}

static int
row_read(const char *path, const char *model, json_t *row, struct price *p, struct error *e)
{
    const char *name;
    json_t *value;
    bool in = false, out = false, cached = false;

    if (!json_is_object(row))
        return error_set(e, ERROR_input, "%s: the prices of '%s' are not an object", path, model);
    json_object_foreach(row, name, value)
    {
        double v = json_is_number(value) ? json_number_value(value) : -1;
        bool *seen = strcmp(name, "in") == 0          ? &in
                     : strcmp(name, "out") == 0       ? &out
                     : strcmp(name, "cached_in") == 0 ? &cached
                                                      : NULL;
        if (!seen)
            return error_set(e, ERROR_input,
                             "%s: model '%s': '%.60s' is not one of in, out, cached_in", path,
                             model, name);
        if (!(v >= 0 && v <= PRICE_MAX))
            return error_set(e, ERROR_input,
                             "%s: model '%s': '%s' is not a number of US dollars for 1e6 tokens",
                             path, model, name);
        *seen = true;
        *(seen == &in ? &p->in : seen == &out ? &p->out : &p->cached_in) = v;
    }
    if (!in || !out)
        return error_set(e, ERROR_input, "%s: model '%s' has no price '%s'", path, model,
                         in ? "out" : "in");
    if (!cached)
        p->cached_in = p->in;
    p->known = true;
    return 0;
}

int
price_read(const char *path, const char *model, struct price *p, struct error *e)
{
    struct buffer text = {0};
    json_error_t why;
    json_t *table = NULL;
    int rc = file_read(path, &text, e);

    *p = (struct price){0};
    if (rc == 0) {
        table = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, &why);
        if (!table)
            rc = error_set(e, ERROR_input, "%s:%d:%d: %s", path, why.line, why.column, why.text);
        else if (!json_is_object(table))
            rc = error_set(e, ERROR_input, "%s: a price table is an object: model to prices",
                           path);
    }
    if (rc == 0 && json_object_get(table, model))
        rc = row_read(path, model, json_object_get(table, model), p, e);
    json_decref(table);
    buffer_free(&text);
    return rc;
}

int64_t
price_of(const struct price *p, uint64_t in, uint64_t cached, uint64_t out)
{
    double whole, units;

    if (cached > in)
        cached = in;
    whole = (double)(in - cached) * p->in + (double)cached * p->cached_in + (double)out * p->out;
    units = ceil(whole * UNITS_PER_TOKEN);
    return units < 4e18 ? (int64_t)units : (int64_t)4e18;
}
