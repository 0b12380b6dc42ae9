/* letter: rows of the dead table are the length of a JSON header (u32), the header, then the
 * bodies. */
#include "graph/letter.h"

#include <stdlib.h>
#include <string.h>

json_t *
letter_body(enum message m, struct span body)
{
    struct arena arena = {0};
    struct buffer text = {0};
    struct error e = {0};
    void *message = m == MESSAGE_any ? NULL : xalloc(message_size(m));
    json_t *json = NULL;
    if (message == NULL)
        error_set(&e, ERROR_input, "(%zu bytes of an unknown message)", body.length);
    else if (message_read(m, body, message, &arena, &e) == 0) {
        message_json(m, message, &text);
        json = json_loadb(text.at, text.length, JSON_ALLOW_NUL, NULL);
    }
    if (json == NULL)
        json = json_string(e.code ? e.text : "(its text is not JSON)");
    free(message);
    buffer_free(&text);
    arena_free(&arena);
    return json ? json : json_string("(unreadable)");
}

json_t *
letter_header(struct span row, struct span *bodies)
{
    uint32_t length;
    if (row.length < 4)
        return NULL;
    memcpy(&length, row.at, 4);
    if (length > row.length - 4)
        return NULL;
    *bodies = span_of(row.at + 4 + length, row.length - 4 - length);
    return json_loadb(row.at + 4, length, 0, NULL);
}

struct listing {
    json_t *rows;
    bool    more;
};

static bool
list_visit(void *own, struct span key, struct span value)
{
    struct listing *l = own;
    struct span bodies;
    (void)key;
    if (json_array_size(l->rows) >= LETTER_LIST_MAX) {
        l->more = true;
        return false;
    }
    json_t *header = letter_header(value, &bodies);
    if (header != NULL)
        json_array_append_new(l->rows, header);
    return true;
}

void
letter_list(struct store *s, uint64_t from, json_t *reply)
{
    struct listing l = {json_array(), false};
    unsigned char key[8];
    store_u64(key, from);
    store_scan(s, TABLE_dead, span_of(key, 8), list_visit, &l);
    json_object_set_new(reply, "letters", l.rows);
    json_object_set_new(reply, "more", json_boolean(l.more));
}

/* Bytes of a line as text; what is not UTF-8 is shown as '?'. */
static json_t *
text_json(struct span bytes)
{
    json_t *text = json_stringn(bytes.at, bytes.length);
    if (text != NULL)
        return text;
    char *clean = span_copy(bytes);
    for (size_t i = 0; i < bytes.length; i++)
        if ((unsigned char)clean[i] > 0x7e ||
            ((unsigned char)clean[i] < 0x20 && clean[i] != '\n' && clean[i] != '\t'))
            clean[i] = '?';
    text = json_string(clean);
    free(clean);
    return text;
}

int
letter_show(struct store *s, const struct plan *p, int node, uint64_t number, json_t *reply,
            struct error *e)
{
    const struct plan_node *n = &p->nodes[node];
    unsigned char key[8];
    struct span value, bodies;
    json_t *row;
    size_t i, at = 0;
    store_u64(key, number);
    json_t *header =
        store_get(s, TABLE_dead, span_of(key, 8), &value) ? letter_header(value, &bodies) : NULL;
    if (header == NULL)
        return error_set(e, ERROR_usage, "'%s' has no dead letter %llu", n->id,
                         (unsigned long long)number);
    json_t *inputs = json_object_get(header, "inputs");
    if (inputs == NULL)
        json_object_set_new(header, "bytes", text_json(bodies));
    json_array_foreach(inputs, i, row) {
        json_int_t link = json_integer_value(json_object_get(row, "link"));
        json_int_t size = json_integer_value(json_object_get(row, "size"));
        if (link < 0 || link >= n->link_count || size < 0 || (size_t)size > bodies.length - at)
            break;
        const struct plan_link *l = &n->links[link];
        json_object_set_new(row, "port", json_string(n->kind->ports[l->port].name));
        if (!json_is_true(json_object_get(row, "closing")))
            json_object_set_new(row, "body",
                                letter_body(p->nodes[l->node].kind->ports[l->output].message,
                                            span_of(bodies.at + at, (size_t)size)));
        at += (size_t)size;
    }
    json_object_set_new(reply, "letter", header);
    return 0;
}

int
letter_answer(struct store *s, const struct plan *p, int node, const json_t *request, json_t *reply,
              struct error *e)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    json_int_t from = json_integer_value(json_object_get(request, "from"));
    if (what != NULL && strcmp(what, "show") == 0)
        return letter_show(s, p, node, (uint64_t)id, reply, e);
    if (what == NULL || strcmp(what, "list") != 0)
        return error_set(e, ERROR_usage,
                         "dead letters can be listed, shown, retried, dropped; not '%s'",
                         what ? what : "");
    letter_list(s, from < 0 ? 0 : (uint64_t)from, reply);
    return 0;
}
