#include "kernels/rewrite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
rewrite_clear(struct rewrite *r)
{
    buffer_clear(&r->text);
    r->edit_count = 0;
}

void
rewrite_free(struct rewrite *r)
{
    buffer_free(&r->text);
    free(r->edits);
    *r = (struct rewrite){0};
}

void
rewrite_keep(struct rewrite *r, struct span same)
{
    buffer_add(&r->text, same.at, same.length);
}

static void
push_edit(struct rewrite *r, struct rewrite_edit edit)
{
    if (r->edit_count == r->edit_room) {
        r->edit_room = r->edit_room ? 2 * r->edit_room : 16;
        r->edits = xresize(r->edits, r->edit_room * sizeof(*r->edits));
    }
    r->edits[r->edit_count++] = edit;
}

void
rewrite_edit(struct rewrite *r, struct span source, size_t from, size_t to, struct span with)
{
    size_t start = r->text.length;

    buffer_add(&r->text, with.at, with.length);
    if (with.length == to - from &&
        (with.length == 0 || memcmp(with.at, source.at + from, with.length) == 0))
        return;
    push_edit(r, (struct rewrite_edit){start, r->text.length, from, to});
}

size_t
rewrite_next(const struct rewrite *r)
{
    const struct rewrite_edit *last = r->edit_count ? &r->edits[r->edit_count - 1] : NULL;

    return last ? last->to + (r->text.length - last->end) : r->text.length;
}

void
rewrite_align(struct rewrite *r, struct span source, size_t from, size_t to, struct span with)
{
    if (from == rewrite_next(r)) {
        rewrite_edit(r, source, from, to, with);
        return;
    }
    push_edit(r, (struct rewrite_edit){r->text.length, r->text.length + with.length, from, to});
    buffer_add(&r->text, with.at, with.length);
}

/* The last edit that starts before AT (or at it, where AT_TOO); NULL: none. */
static const struct rewrite_edit *
edit_before(const struct rewrite *r, size_t at, int at_too)
{
    size_t low = 0, high = r->edit_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (r->edits[middle].start < at || (at_too && r->edits[middle].start == at))
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &r->edits[low - 1] : NULL;
}

size_t
rewrite_start(const struct rewrite *r, size_t at)
{
    const struct rewrite_edit *edit = edit_before(r, at, 1);

    if (!edit)
        return at;
    return at < edit->end ? edit->from : edit->to + (at - edit->end);
}

size_t
rewrite_end(const struct rewrite *r, size_t at)
{
    const struct rewrite_edit *edit = edit_before(r, at, 0);

    if (!edit)
        return at;
    return at <= edit->end ? edit->to : edit->to + (at - edit->end);
}

struct rewrite *
rewrite_chain_add(struct rewrite_chain *c)
{
    assert(c->count < REWRITE_CHAIN_MAX);
    rewrite_clear(&c->at[c->count]);
    return &c->at[c->count++];
}

size_t
rewrite_chain_start(const struct rewrite_chain *c, size_t at)
{
    for (int i = c->count - 1; i >= 0; i--)
        at = rewrite_start(&c->at[i], at);
    return at;
}

size_t
rewrite_chain_end(const struct rewrite_chain *c, size_t at)
{
    for (int i = c->count - 1; i >= 0; i--)
        at = rewrite_end(&c->at[i], at);
    return at;
}

void
rewrite_chain_free(struct rewrite_chain *c)
{
    for (int i = 0; i < REWRITE_CHAIN_MAX; i++)
        rewrite_free(&c->at[i]);
    c->count = 0;
}
