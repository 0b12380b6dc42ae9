#include "kernels/normalizer.h"

#include "kernels/charsmap.h"
#include "kernels/nfc.h"
#include "kernels/pattern.h"
#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>

struct normalizer_step {
    int (*run)(const struct normalizer_step *s, struct span text, struct rewrite *r,
               struct error *e);
    enum nfc_form form;
    int left, right;         /* Strip */
    struct pattern *pattern; /* Replace */
    struct buffer with;      /* Replace, Prepend */
    struct charsmap charsmap; /* Precompiled */
};

static int
run_form(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    (void)e;
    nfc_normalise(r, s->form, text);
    return 0;
}

static int
run_lowercase(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    struct buffer with = {0};
    uint32_t lower[2];
    size_t length;

    (void)s;
    (void)e;
    for (size_t at = 0; at < text.length; at += length) {
        int count = unicode_lower(unicode_at(text, at, &length), lower);

        buffer_clear(&with);
        for (int i = 0; i < count; i++)
            unicode_add(&with, lower[i]);
        rewrite_edit(r, text, at, at + length, buffer_span(&with));
    }
    buffer_free(&with);
    return 0;
}

static int
run_strip(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    size_t from = 0, to = text.length, length, start;

    (void)e;
    while (s->left && from < to && unicode_is_space(unicode_at(text, from, &length)))
        from += length;
    while (s->right && to > from && unicode_is_space(unicode_before(text, to, &start)))
        to = start;
    rewrite_edit(r, text, 0, from, span_of(text.at, 0));
    rewrite_keep(r, span_of(text.at + from, to - from));
    rewrite_edit(r, text, to, text.length, span_of(text.at, 0));
    return 0;
}

static int
run_accents(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    const uint16_t *flags = unicode_flags();
    size_t length;

    (void)s;
    (void)e;
    for (size_t at = 0; at < text.length; at += length) {
        if (flags[unicode_at(text, at, &length)] & UNICODE_mark)
            rewrite_edit(r, text, at, at + length, span_of(text.at, 0));
        else
            rewrite_keep(r, span_of(text.at + at, length));
    }
    return 0;
}

/* What is put for a match stands for its last character, as in the reference. */
static void
replace(const struct normalizer_step *s, struct span text, size_t from, size_t to,
        struct rewrite *r)
{
    size_t last = from;

    if (to > from)
        (void)unicode_before(text, to, &last);
    rewrite_edit(r, text, from, last, span_of(text.at, 0));
    rewrite_edit(r, text, last, to, buffer_span(&s->with));
}

static int
run_replace(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    struct pattern_walk w = PATTERN_WALK;
    size_t at = 0;
    int rc;

    while ((rc = pattern_next(s->pattern, text, &w, e)) > 0) {
        rewrite_keep(r, span_of(text.at + at, w.start - at));
        replace(s, text, w.start, w.end, r);
        at = w.end;
        if (r->text.length > NORMALIZER_TEXT_MAX)
            return error_set(e, ERROR_limit, "Replace makes more than %d bytes of a text",
                             NORMALIZER_TEXT_MAX);
    }
    rewrite_keep(r, span_of(text.at + at, text.length - at));
    return rc;
}

/* What is put in front belongs to the first character, as in the reference. */
static int
run_prepend(const struct normalizer_step *s, struct span text, struct rewrite *r, struct error *e)
{
    struct buffer with = {0};
    size_t length;

    (void)e;
    if (text.length == 0)
        return 0;
    (void)unicode_at(text, 0, &length);
    buffer_add(&with, s->with.at, s->with.length);
    buffer_add(&with, text.at, length);
    rewrite_edit(r, text, 0, length, buffer_span(&with));
    rewrite_keep(r, span_of(text.at + length, text.length - length));
    buffer_free(&with);
    return 0;
}

static int
run_precompiled(const struct normalizer_step *s, struct span text, struct rewrite *r,
                struct error *e)
{
    charsmap_run(&s->charsmap, text, r);
    if (r->text.length > NORMALIZER_TEXT_MAX)
        return error_set(e, ERROR_limit, "Precompiled makes more than %d bytes of a text",
                         NORMALIZER_TEXT_MAX);
    return 0;
}

static int
read_precompiled(struct normalizer_step *s, const json_t *json, struct error *e)
{
    const json_t *blob = json_object_get(json, "precompiled_charsmap");

    if (!json_is_string(blob))
        return error_set(e, ERROR_model, "Precompiled: 'precompiled_charsmap' must be a text");
    s->run = run_precompiled;
    if (charsmap_read(&s->charsmap, span_of(json_string_value(blob), json_string_length(blob)), e))
        return error_wrap(e, "Precompiled");
    return 0;
}

static int
read_replace(struct normalizer_step *s, const json_t *json, struct error *e)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *content = json_object_get(json, "content");

    if ((!regex && !json_is_string(literal)) || !json_is_string(content))
        return error_set(e, ERROR_model,
                         "Replace: 'pattern' must be a Regex or a String, 'content' a text");
    buffer_add(&s->with, json_string_value(content), json_string_length(content));
    s->pattern =
        regex
            ? pattern_regex(regex, e)
            : pattern_literal(span_of(json_string_value(literal), json_string_length(literal)), e);
    s->run = run_replace;
    if (s->with.length > NORMALIZER_CONTENT_MAX)
        return error_set(e, ERROR_limit, "Replace: a 'content' of more than %d bytes",
                         NORMALIZER_CONTENT_MAX);
    return s->pattern ? 0 : error_wrap(e, "Replace");
}

static int
read_simple(struct normalizer_step *s, const char *type, const json_t *json, struct error *e)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const json_t *text = json_object_get(json, "prepend");

    for (int f = 0; f < 4; f++)
        if (strcmp(type, forms[f]) == 0) {
            s->form = (enum nfc_form)f;
            s->run = run_form;
            return 0;
        }
    s->left = json_is_true(json_object_get(json, "strip_left"));
    s->right = json_is_true(json_object_get(json, "strip_right"));
    if (strcmp(type, "Prepend") == 0 && json_is_string(text)) {
        buffer_add(&s->with, json_string_value(text), json_string_length(text));
        s->run = run_prepend;
        if (s->with.length > NORMALIZER_CONTENT_MAX)
            return error_set(e, ERROR_limit, "Prepend: more than %d bytes", NORMALIZER_CONTENT_MAX);
        return 0;
    }
    s->run = strcmp(type, "Lowercase") == 0      ? run_lowercase
             : strcmp(type, "Strip") == 0        ? run_strip
             : strcmp(type, "StripAccents") == 0 ? run_accents
                                                 : NULL;
    return s->run ? 0
                  : error_set(e, ERROR_model,
                              "type '%.60s' is not understood; NFC, NFD, NFKC, NFKD, Lowercase, "
                              "Strip, StripAccents, Replace, Prepend, Precompiled and Sequence "
                              "are",
                              type);
}

static int
read_step(struct normalizer *n, const json_t *json, int depth, struct error *e)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *parts = json_object_get(json, "normalizers");
    struct normalizer_step *step;
    json_t *part;
    size_t i;

    type = type ? type : "";
    if (strcmp(type, "Sequence") == 0) {
        if (!json_is_array(parts) || depth > 4)
            return error_set(e, ERROR_model, "Sequence: 'normalizers' must be a list");
        json_array_foreach(parts, i, part) if (read_step(n, part, depth + 1, e)) return ERROR_model;
        return 0;
    }
    if (n->count == NORMALIZER_STEPS_MAX)
        return error_set(e, ERROR_limit, "more than %d normalizers", NORMALIZER_STEPS_MAX);
    n->steps = xresize(n->steps, ((size_t)n->count + 1) * sizeof(*n->steps));
    step = &n->steps[n->count++];
    *step = (struct normalizer_step){0};
    if (strcmp(type, "Precompiled") == 0)
        return read_precompiled(step, json, e);
    return strcmp(type, "Replace") == 0 ? read_replace(step, json, e)
                                        : read_simple(step, type, json, e);
}

int
normalizer_read(struct normalizer *n, const json_t *json, struct error *e)
{
    int rc = 0;

    *n = (struct normalizer){0};
    if (json && !json_is_null(json))
        rc = read_step(n, json, 0, e);
    if (rc)
        normalizer_free(n);
    return rc;
}

void
normalizer_free(struct normalizer *n)
{
    for (int i = 0; i < n->count; i++) {
        pattern_free(n->steps[i].pattern);
        buffer_free(&n->steps[i].with);
        charsmap_free(&n->steps[i].charsmap);
    }
    free(n->steps);
    *n = (struct normalizer){0};
}

int
normalizer_run(const struct normalizer *n, struct span text, struct rewrite_chain *chain,
               struct span *out, struct error *e)
{
    chain->count = 0;
    *out = text;
    for (int i = 0; i < n->count; i++) {
        struct rewrite *r = rewrite_chain_add(chain);
        int rc = n->steps[i].run(&n->steps[i], *out, r, e);

        if (rc < 0)
            return rc;
        if (r->edit_count)
            *out = buffer_span(&r->text);
        else
            chain->count--;
    }
    return 0;
}
