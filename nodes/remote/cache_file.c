/* cache_file: one JSON line for each answer, checked on the way in. */
#include "nodes/remote/cache_file.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/remote/price.h"

#define BATCH_BYTES (4 << 20) /* of answers in one transaction */
#define USD_MAX     1e9

static const char first_line[] = "{\"sluice_cache\":1}";

/* ---- out ---- */

struct out {
    FILE *file;
    int64_t answers;
    bool failed;
};

static bool
export_one(void *own, const struct cache_key *key, const struct cache_answer *a, int64_t bytes)
{
    struct out *out = own;
    char hex[2 * CACHE_KEY_BYTES + 1];
    json_t *answer = json_stringn(a->body.at ? a->body.at : "", a->body.length);
    json_t *model = json_stringn(a->model.at ? a->model.at : "", a->model.length);
    json_t *row;

    (void)bytes;
    for (int i = 0; i < CACHE_KEY_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", key->at[i]);
    /* What is not UTF-8 is no JSON, and so no answer that a judge could use. */
    row = answer && model ? json_pack("{s:s,s:O,s:I,s:I,s:I,s:f,s:O}", "key", hex, "model", model,
                                      "time", (json_int_t)a->time, "tokens_in",
                                      (json_int_t)a->tokens_in, "tokens_out",
                                      (json_int_t)a->tokens_out, "usd",
                                      (double)a->money / (double)PRICE_USD, "answer", answer)
                          : NULL;
    if (row) {
        out->failed = json_dumpf(row, out->file, JSON_COMPACT) != 0 || putc('\n', out->file) < 0;
        out->answers++;
    }
    json_decref(row);
    json_decref(answer);
    json_decref(model);
    return !out->failed;
}

int
cache_export(struct cache *c, FILE *file, int64_t *answers, struct error *e)
{
    struct out out = {.file = file};
    int rc;

    out.failed = fprintf(file, "%s\n", first_line) < 0;
    rc = cache_scan(c, export_one, &out, e);
    *answers = out.answers;
    if (rc == 0 && (out.failed || fflush(file) != 0))
        rc = error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "the export: %s",
                       strerror(errno));
    return rc;
}

/* ---- in ---- */

struct line {
    struct buffer text; /* without its end */
    int64_t number;
    const char *name;
};

/* -> 1 a line, 0 the end, or an error. */
static int
line_next(FILE *in, struct line *l, struct error *e)
{
    char part[65536];

    buffer_clear(&l->text);
    l->number++;
    while (fgets(part, sizeof(part), in)) {
        size_t n = strlen(part); /* a NUL cuts a line short, and then it is no JSON */
        bool whole = n > 0 && part[n - 1] == '\n';
        buffer_add(&l->text, part, n - whole);
        if (l->text.length > (size_t)CACHE_LINE_MAX)
            return error_set(e, ERROR_input, "%s:%lld: a line has at most %lld bytes", l->name,
                             (long long)l->number, (long long)CACHE_LINE_MAX);
        if (whole)
            return 1;
    }
    if (ferror(in))
        return error_set(e, ERROR_file, "%s: %s", l->name, strerror(errno));
    return l->text.length > 0;
}

static bool
key_read(const char *hex, struct cache_key *key)
{
    if (!hex || strlen(hex) != 2 * CACHE_KEY_BYTES ||
        strspn(hex, "0123456789abcdef") != 2 * CACHE_KEY_BYTES)
        return false;
    for (int i = 0; i < CACHE_KEY_BYTES; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        key->at[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return true;
}

/* A count that is there and not negative. */
static bool
count_read(const json_t *row, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(row, name);

    *out = json_integer_value(v);
    return json_is_integer(v) && *out >= 0;
}

/* The answer's spans are the row's. -> NULL, or what is wrong. */
static const char *
answer_of(const json_t *row, struct cache_key *key, struct cache_answer *a)
{
    const json_t *answer = json_object_get(row, "answer"), *model = json_object_get(row, "model");
    const json_t *usd = json_object_get(row, "usd");
    int64_t in, out;
    json_t *body;

    *a = (struct cache_answer){.payer = 0};
    if (!key_read(json_string_value(json_object_get(row, "key")), key))
        return "'key' is not 64 hex digits";
    if (!json_is_string(model) || json_string_length(model) > CACHE_MODEL_MAX)
        return "'model' is not a model's name";
    if (!count_read(row, "time", &a->time) || !count_read(row, "tokens_in", &in) ||
        !count_read(row, "tokens_out", &out))
        return "'time', 'tokens_in' and 'tokens_out' are whole numbers of at least 0";
    if (!json_is_number(usd) || !(json_number_value(usd) >= 0 && json_number_value(usd) <= USD_MAX))
        return "'usd' is not an amount of money";
    /* With the same tolerance as the judge that used it: text of a model may hold "\\u0000". */
    body = json_is_string(answer) ? json_loadb(json_string_value(answer),
                                               json_string_length(answer), JSON_ALLOW_NUL, NULL)
                                  : NULL;
    if (!json_is_object(body)) {
        json_decref(body);
        return "'answer' is not the text of a JSON object";
    }
    json_decref(body);
    a->model = span_of(json_string_value(model), json_string_length(model));
    a->body = span_of(json_string_value(answer), json_string_length(answer));
    a->tokens_in = (uint64_t)in;
    a->tokens_out = (uint64_t)out;
    a->money = llround(json_number_value(usd) * (double)PRICE_USD);
    return NULL;
}

/* One line. `c` NULL: only checked. */
static int
line_take(struct cache *c, const struct line *l, size_t *waiting, struct error *e)
{
    json_error_t where;
    json_t *row = json_loadb(l->text.at, l->text.length, JSON_REJECT_DUPLICATES, &where);
    struct cache_answer a;
    struct cache_key key;
    const char *why = json_is_object(row) ? answer_of(row, &key, &a) : "not a JSON object";
    int rc = 0;

    if (!row)
        rc = error_set(e, ERROR_input, "%s:%lld:%d: %s", l->name, (long long)l->number,
                       where.column, where.text);
    else if (why)
        rc = error_set(e, ERROR_input, "%s:%lld: %s", l->name, (long long)l->number, why);
    else if (c) {
        cache_put(c, &key, &a);
        *waiting += a.body.length;
    }
    json_decref(row);
    return rc;
}

static int
pass(struct cache *c, FILE *in, struct line *l, int64_t limit, int64_t *answers, struct error *e)
{
    size_t waiting = 0;
    int rc;

    rewind(in);
    l->number = 0;
    *answers = 0;
    rc = line_next(in, l, e);
    if (rc >= 0 && (rc == 0 || !span_is(buffer_span(&l->text), first_line)))
        return error_set(e, ERROR_input, "%s: is not an export of a cache: line 1 is not %s",
                         l->name, first_line);
    while (rc > 0 && (rc = line_next(in, l, e)) > 0) {
        if (l->text.length == 0)
            continue;
        int taken = line_take(c, l, &waiting, e);
        if (taken == 0 && waiting >= BATCH_BYTES) {
            taken = cache_flush(c, limit, e);
            waiting = 0;
        }
        if (taken != 0)
            return taken;
        ++*answers;
    }
    return rc == 0 && c ? cache_flush(c, limit, e) : rc;
}

int
cache_import(struct cache *c, FILE *in, const char *name, int64_t limit,
             int64_t *answers, struct error *e)
{
    struct line line = {.name = name};
    int rc = pass(NULL, in, &line, limit, answers, e);

    if (rc == 0)
        rc = pass(c, in, &line, limit, answers, e);
    buffer_free(&line.text);
    return rc;
}
