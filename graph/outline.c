/* outline: see outline.h. */
#include "graph/outline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define READ_BYTES 16384

struct reader {
    yaml_parser_t parser;
    yaml_event_t  event;
    bool          held;         /* event is to be deleted */
    int           count;
    int          *line, *column;
    struct error *e;
};

static int
refuse(struct reader *r, yaml_mark_t mark, const char *what)
{
    *r->line = (int)mark.line + 1;
    *r->column = (int)mark.column + 1;
    return error_set(r->e, ERROR_topology, "%s", what);
}

static int
next(struct reader *r)
{
    if (r->held)
        yaml_event_delete(&r->event);
    r->held = yaml_parser_parse(&r->parser, &r->event);
    if (r->held)
        return 0;
    if (r->parser.error == YAML_READER_ERROR) {
        /* The reader has no mark of its own: the place is near what the scanner saw last. */
        refuse(r, r->parser.mark, "");
        return error_set(r->e, ERROR_topology, "the file is not UTF-8 text: %s at byte %zu",
                         r->parser.problem, r->parser.problem_offset);
    }
    refuse(r, r->parser.problem_mark, "");
    return error_set(r->e, ERROR_topology, "%s%s%s",
                     r->parser.problem ? r->parser.problem : "not YAML",
                     r->parser.context ? " " : "", r->parser.context ? r->parser.context : "");
}

void
outline_free(struct outline *y)
{
    if (!y)
        return;
    for (int i = 0; i < y->count; i++) {
        outline_free(y->items[i]);
        if (y->keys)
            outline_free(y->keys[i]);
    }
    free(y->items);
    free(y->keys);
    free(y->text);
    free(y);
}

static struct outline *
made(struct reader *r, enum outline_kind kind)
{
    struct outline *y = xalloc(sizeof(*y));

    y->kind = kind;
    y->line = (int)r->event.start_mark.line + 1;
    y->column = (int)r->event.start_mark.column + 1;
    return y;
}

/* What no event may carry. */
static int
allowed(struct reader *r)
{
    const yaml_event_t *v = &r->event;
    const yaml_char_t  *anchor = NULL, *tag = NULL;

    if (v->type == YAML_ALIAS_EVENT)
        return refuse(r, v->start_mark, "aliases (*name) are not supported: write the value again");
    if (v->type == YAML_SCALAR_EVENT) {
        anchor = v->data.scalar.anchor;
        tag = v->data.scalar.tag;
    } else if (v->type == YAML_SEQUENCE_START_EVENT) {
        anchor = v->data.sequence_start.anchor;
        tag = v->data.sequence_start.tag;
    } else if (v->type == YAML_MAPPING_START_EVENT) {
        anchor = v->data.mapping_start.anchor;
        tag = v->data.mapping_start.tag;
    }
    if (anchor)
        return refuse(r, v->start_mark, "anchors (&name) are not supported: write the value again");
    if (tag)
        return refuse(r, v->start_mark, "tags (!name) are not supported");
    if (++r->count > OUTLINE_NODES_MAX)
        return refuse(r, v->start_mark, "the file holds too many values");
    return 0;
}

static struct outline *
scalar(struct reader *r)
{
    const char  *text = (const char *)r->event.data.scalar.value;
    size_t       length = r->event.data.scalar.length;
    struct outline *y;

    if (strlen(text) != length) {
        refuse(r, r->event.start_mark, "a value holds a NUL character");
        return NULL;
    }
    y = made(r, OUTLINE_scalar);
    y->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    y->text = xtext(text);
    return y;
}

static struct outline *value(struct reader *r, int depth);

static void
append(struct outline *to, struct outline *key, struct outline *item)
{
    bool   full = (to->count & (to->count - 1)) == 0;      /* at 0, 1, 2, 4 ...: the room doubles */
    size_t room = (to->count ? (size_t)to->count * 2 : 1) * sizeof(struct outline *);

    if (full)
        to->items = xresize(to->items, room);
    to->items[to->count] = item;
    if (key) {
        if (full)
            to->keys = xresize(to->keys, room);
        to->keys[to->count] = key;
    }
    to->count++;
}

static struct outline *
key_of(struct reader *r, const struct outline *mapping)
{
    struct outline *key;
    char        *what;

    if (r->event.type != YAML_SCALAR_EVENT) {
        refuse(r, r->event.start_mark, "a key must be one word");
        return NULL;
    }
    if (mapping->count >= OUTLINE_KEYS_MAX) {
        refuse(r, r->event.start_mark, "a mapping holds too many keys");
        return NULL;
    }
    key = scalar(r);
    if (key && outline_find(mapping, key->text)) {
        what = xprint("key '%.60s' is there twice", key->text);
        refuse(r, r->event.start_mark, what);
        free(what);
        outline_free(key);
        return NULL;
    }
    return key;
}

/* The event in hand starts the value; on success the event in hand is its last. */
static struct outline *
value(struct reader *r, int depth)
{
    yaml_event_type_t end = r->event.type == YAML_MAPPING_START_EVENT ? YAML_MAPPING_END_EVENT
                                                                      : YAML_SEQUENCE_END_EVENT;
    struct outline      *y;

    if (allowed(r) != 0)
        return NULL;
    if (r->event.type == YAML_SCALAR_EVENT)
        return scalar(r);
    if (depth >= OUTLINE_DEPTH_MAX) {
        refuse(r, r->event.start_mark, "values are nested too deep");
        return NULL;
    }
    y = made(r, end == YAML_MAPPING_END_EVENT ? OUTLINE_mapping : OUTLINE_sequence);
    for (;;) {
        struct outline *key = NULL, *item;

        if (next(r) != 0)
            break;
        if (r->event.type == end)
            return y;
        if (y->kind == OUTLINE_mapping) {
            if (allowed(r) != 0 || !(key = key_of(r, y)))
                break;
            if (next(r) != 0) {
                outline_free(key);
                break;
            }
        }
        item = value(r, depth + 1);
        if (!item) {
            outline_free(key);
            break;
        }
        append(y, key, item);
    }
    outline_free(y);
    return NULL;
}

static struct outline *
whole(struct reader *r)
{
    struct outline *y;

    if (next(r) != 0 || next(r) != 0)       /* stream start, then document start or stream end */
        return NULL;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        y = xalloc(sizeof(*y));
        y->kind = OUTLINE_mapping;
        y->line = y->column = 1;
        return y;
    }
    if (next(r) != 0)
        return NULL;
    y = value(r, 0);
    if (y && (next(r) != 0 || next(r) != 0)) {      /* document end, stream end */
        outline_free(y);
        return NULL;
    }
    if (y && r->event.type != YAML_STREAM_END_EVENT) {
        refuse(r, r->event.start_mark, "a second document begins here; a topology is one");
        outline_free(y);
        return NULL;
    }
    return y;
}

struct outline *
outline_read(const char *path, int *line, int *column, struct error *e)
{
    struct reader r = {.line = line, .column = column, .e = e};
    struct outline  *y = NULL;
    FILE         *f = fopen(path, "rbe");
    struct buffer text = {0};
    size_t        got;

    *line = *column = 0;
    if (!f) {
        error_set(e, ERROR_topology, "%s", strerror(errno));
        return NULL;
    }
    do {
        buffer_reserve(&text, READ_BYTES);
        got = fread(text.at + text.length, 1, READ_BYTES, f);
        text.length += got;
    } while (got > 0 && text.length <= OUTLINE_BYTES_MAX);
    if (ferror(f))
        error_set(e, ERROR_topology, "%s", strerror(errno));
    else if (text.length > OUTLINE_BYTES_MAX)
        error_set(e, ERROR_topology, "the file is above %d bytes", OUTLINE_BYTES_MAX);
    else if (!yaml_parser_initialize(&r.parser))
        error_set(e, ERROR_internal, "libyaml cannot start");
    else {
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.at, text.length);
        y = whole(&r);
        if (r.held)
            yaml_event_delete(&r.event);
        yaml_parser_delete(&r.parser);
    }
    fclose(f);
    buffer_free(&text);
    return y;
}

struct outline *
outline_find(const struct outline *mapping, const char *key)
{
    for (int i = 0; mapping->kind == OUTLINE_mapping && i < mapping->count; i++)
        if (strcmp(mapping->keys[i]->text, key) == 0)
            return mapping->items[i];
    return NULL;
}
