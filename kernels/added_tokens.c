#include "kernels/added_tokens.h"

#include "kernels/tokenizer.h"
#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>

static int
compare(struct span a, struct span b)
{
    int order = memcmp(a.at, b.at, a.length < b.length ? a.length : b.length);

    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static struct span
keep(struct added_tokens *a, struct span text)
{
    char *copy = arena_take(&a->strings, text.length + 1);

    memcpy(copy, text.at, text.length);
    return span_of(copy, text.length);
}

static int
read_one(struct added_tokens *a, const json_t *json, const struct normalizer *n, struct error *e)
{
    struct added_token *t = &a->all[a->count];
    const json_t *id = json_object_get(json, "id"), *content = json_object_get(json, "content");
    const json_t *flag = json_object_get(json, "normalized");
    struct rewrite_chain chain = {0};
    struct span normalised;
    int rc = 0;

    if (!json_is_string(content))
        return error_set(e, ERROR_model, "added token %d: 'content' must be a string", a->count);
    t->content = keep(a, span_of(json_string_value(content), json_string_length(content)));
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= TOKENIZER_VOCAB_MAX)
        return error_set(e, ERROR_model,
                         "added token '%.80s': its id must be an integer from 0 to %d",
                         t->content.at, TOKENIZER_VOCAB_MAX - 1);
    t->id = (int32_t)json_integer_value(id);
    t->single_word = json_is_true(json_object_get(json, "single_word"));
    t->lstrip = json_is_true(json_object_get(json, "lstrip"));
    t->rstrip = json_is_true(json_object_get(json, "rstrip"));
    t->special = json_is_true(json_object_get(json, "special"));
    t->normalized = flag ? json_is_true(flag) : !t->special;
    t->pattern = t->content;
    if (t->normalized && n->count) {
        rc = normalizer_run(n, t->content, &chain, &normalised, e);
        if (rc == 0)
            t->pattern = keep(a, normalised);
        rewrite_chain_free(&chain);
    }
    a->count++;
    return rc;
}

/* qsort has no context argument, and glibc's qsort_r is the portable-enough one. */
static int
by_pattern(const void *x, const void *y, void *context)
{
    const struct added_token *all = context;
    const int *i = x, *k = y;
    int order = compare(all[*i].pattern, all[*k].pattern);

    return order ? order : (*i > *k) - (*i < *k);
}

int
added_tokens_read(struct added_tokens *a, const json_t *list, const struct normalizer *n,
                  struct error *e)
{
    size_t i;
    json_t *one;

    *a = (struct added_tokens){0};
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(e, ERROR_model, "'added_tokens' must be a list");
    if (json_array_size(list) > ADDED_TOKENS_MAX)
        return error_set(e, ERROR_limit, "%zu added tokens; at most %d", json_array_size(list),
                         ADDED_TOKENS_MAX);
    a->all = xarray(json_array_size(list) + 1, sizeof(*a->all));
    for (int set = 0; set < 2; set++)
        a->sets[set] = xarray(json_array_size(list) + 1, sizeof(int));
    json_array_foreach(list, i, one)
    {
        int set, rc = read_one(a, one, n, e);

        if (rc) {
            added_tokens_free(a);
            return rc;
        }
        set = a->all[a->count - 1].normalized;
        if (a->all[a->count - 1].pattern.length) {
            a->sets[set][a->set_counts[set]++] = a->count - 1;
            a->begins[set][(unsigned char)a->all[a->count - 1].pattern.at[0]] = 1;
        }
    }
    for (int set = 0; set < 2; set++)
        qsort_r(a->sets[set], (size_t)a->set_counts[set], sizeof(int), by_pattern, a->all);
    return 0;
}

void
added_tokens_free(struct added_tokens *a)
{
    free(a->all);
    free(a->sets[0]);
    free(a->sets[1]);
    arena_free(&a->strings);
    *a = (struct added_tokens){0};
}

void
added_stretches_free(struct added_stretches *s)
{
    free(s->at);
    *s = (struct added_stretches){0};
}

static void
add(struct added_stretches *s, size_t start, size_t end, int32_t id)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 16;
        s->at = xresize(s->at, s->room * sizeof(*s->at));
    }
    s->at[s->count++] = (struct added_stretch){start, end, id};
}

/* The longest token of the set that TEXT[at ...] begins with: narrows the sorted range byte by
 * byte. */
static const struct added_token *
longest(const struct added_tokens *a, int set, struct span text, size_t at)
{
    const struct added_token *found = NULL;
    int low = 0, high = a->set_counts[set];

    for (size_t k = 0; low < high && at + k < text.length; k++) {
        unsigned char c = (unsigned char)text.at[at + k];
        int first = low, last;

        for (int top = high; first < top;) { /* the first whose byte k is c or more */
            int middle = first + (top - first) / 2;
            struct span p = a->all[a->sets[set][middle]].pattern;

            if (p.length <= k || (unsigned char)p.at[k] < c)
                first = middle + 1;
            else
                top = middle;
        }
        last = first;
        for (int top = high; last < top;) { /* the first whose byte k is more */
            int middle = last + (top - last) / 2;
            struct span p = a->all[a->sets[set][middle]].pattern;

            if ((unsigned char)p.at[k] <= c)
                last = middle + 1;
            else
                top = middle;
        }
        low = first, high = last;
        if (low < high && a->all[a->sets[set][low]].pattern.length == k + 1)
            found = &a->all[a->sets[set][low]];
    }
    return found;
}

/* \w of the reference's regular expressions here, which are Rust's. */
static int
is_word(uint32_t c)
{
    return unicode_flags()[c] & UNICODE_rust_word;
}

static int
stands_alone(struct span text, size_t start, size_t end)
{
    size_t ignored;

    return (start == 0 || !is_word(unicode_before(text, start, &ignored))) &&
           (end == text.length || !is_word(unicode_at(text, end, &ignored)));
}

/* The end of the foreign bytes that a match would hold, in the text being cut; 0: none. */
static size_t
guarded(const struct added_token *t, size_t start, size_t end, const struct added_scope *scope)
{
    const struct tokenizer_guard *g = scope->guard;
    int found = t->special;
    int64_t from = (int64_t)start, to = (int64_t)end, low = 0, high;

    if (!g)
        return 0;
    for (int i = 0; i < g->id_count; i++)
        found |= g->ids[i] == t->id;
    if (!found)
        return 0;
    if (scope->chain) {
        from = (int64_t)(scope->base + rewrite_chain_start(scope->chain, start));
        to = (int64_t)(scope->base + rewrite_chain_end(scope->chain, end));
    }
    for (high = g->range_count; low < high;) { /* the first that ends behind the match's start */
        int64_t middle = (low + high) / 2;

        if (g->ranges[middle].end <= from)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == g->range_count || g->ranges[low].start >= to)
        return 0;
    /* the foreign bytes are not looked at again; what follows them is, were it in the match */
    return scope->chain ? start + 1 : (size_t)(g->ranges[low].end < to ? g->ranges[low].end : to);
}

void
added_tokens_cut(const struct added_tokens *a, int normalised, struct span text,
                 const struct added_scope *scope, struct added_stretches *out)
{
    size_t plain = 0, at = 0, length, before;

    out->count = 0;
    while (a->set_counts[normalised] && at < text.length) {
        const struct added_token *t;
        size_t start, end, foreign;

        while (at < text.length && !a->begins[normalised][(unsigned char)text.at[at]])
            at++;
        start = at;
        t = at < text.length ? longest(a, normalised, text, at) : NULL;

        if (!t) {
            at++;
            continue;
        }
        end = at = at + t->pattern.length; /* a match that is given up below is not tried again */
        foreign = guarded(t, start, end, scope);
        if (foreign) {
            at = foreign;
            continue;
        }
        if ((t->special && !scope->special) || (t->single_word && !stands_alone(text, start, end)))
            continue;
        while (t->lstrip && start > plain && unicode_is_space(unicode_before(text, start, &before)))
            start = before;
        while (t->rstrip && end < text.length && unicode_is_space(unicode_at(text, end, &length)))
            end += length;
        start = start < plain ? plain : start; /* inside the spaces that the last token took */
        end = end < start ? start : end;
        if (plain < start)
            add(out, plain, start, -1);
        add(out, start, end, t->id);
        plain = end;
    }
    if (plain < text.length)
        add(out, plain, text.length, -1);
}
