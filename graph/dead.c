/* dead: messages that could not be handled, with the reason and their bytes. A row is the length of a JSON header
 * (u32), the header, then the bodies one after another, with sizes in the header. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/core.h"
#include "graph/letter.h"

static uint64_t
next_number(struct node *n)
{
    uint64_t next = store_number(n->store, "dead next", 1);
    store_set_number(n->store, "dead next", next + 1);
    return next;
}

static json_t *
text_value(const char *text)
{
    json_t *v = json_string(text);
    return v ? v : json_string("(not UTF-8)");
}

static void
row_write(struct node *n, uint64_t number, json_t *header, struct span bodies)
{
    unsigned char key[8];
    char *text = json_dumps(header, JSON_COMPACT);
    uint32_t length = (uint32_t)strlen(text);
    store_u64(key, number);
    char *at = store_room(n->store, TABLE_dead, span_of(key, 8), 4 + length + bodies.length);
    if (at) {
        memcpy(at, &length, 4);
        memcpy(at + 4, text, length);
        if (bodies.length > 0)
            memcpy(at + 4 + length, bodies.at, bodies.length);
    }
    free(text);
    node_touch(n);
}

void
dead_add(struct node *n, struct work *w, const char *reason, bool hold)
{
    struct buffer bodies = {0};
    json_t *inputs = json_array();
    for (int k = 0; k < w->unit.input_count; k++) {
        const struct input *in = &w->inputs[k];
        json_t *row = json_pack("{s:i,s:s,s:b,s:I}", "link", in->link, "from", in->from, "closing",
                                in->closing, "size", (json_int_t)(in->closing ? 0 : in->body.length));
        if (in->closing)
            json_object_set_new(row, "reason", text_value(in->reason));
        else
            buffer_add(&bodies, in->body.at, in->body.length);
        json_array_append_new(inputs, row);
    }
    uint64_t number = w->retry && hold ? w->retry - 1 : next_number(n);
    json_t *header = json_pack("{s:I,s:I,s:I,s:I,s:b,s:I,s:o}", "id", (json_int_t)number, "ordinal",
        (json_int_t)w->unit.ordinal, "first", (json_int_t)w->unit.first, "group_size",
        (json_int_t)w->unit.size, "held", hold, "time", (json_int_t)time(NULL), "inputs", inputs);
    json_object_set_new(header, "reason", text_value(reason));
    row_write(n, number, header, buffer_span(&bodies));
    json_decref(header);
    buffer_free(&bodies);
}

void
dead_add_bytes(struct node *n, const char *where, struct span bytes, const char *reason)
{
    uint64_t number = next_number(n);
    if (bytes.length > (size_t)DEAD_BYTES_MAX)
        bytes.length = (size_t)DEAD_BYTES_MAX;
    json_t *header = json_pack("{s:I,s:b,s:I,s:I}", "id", (json_int_t)number, "held", 0, "time",
                               (json_int_t)time(NULL), "size", (json_int_t)bytes.length);
    json_object_set_new(header, "where", text_value(where));
    json_object_set_new(header, "reason", text_value(reason));
    row_write(n, number, header, bytes);
    json_decref(header);
    node_count(n, METRIC_dead, 1);
}

/* A held row as a unit again; NULL with an error. */
static struct work *
work_of_row(struct node *n, uint64_t number, struct error *e)
{
    unsigned char key[8];
    struct span value, bodies;
    store_u64(key, number);
    json_t *header = NULL;
    if (store_get(n->store, TABLE_dead, span_of(key, 8), &value))
        header = letter_header(value, &bodies);
    if (!header) {
        error_set(e, ERROR_input, "there is no dead letter %llu", (unsigned long long)number);
        return NULL;
    }
    json_t *inputs = json_object_get(header, "inputs");
    if (!json_is_true(json_object_get(header, "held")) || (int)json_array_size(inputs) > n->link_count) {
        error_set(e, ERROR_input, "dead letter %llu does not hold its place (on_dead: close): its closing was "
                  "sent; use replay", (unsigned long long)number);
        json_decref(header);
        return NULL;
    }
    struct work *w = work_new(n);
    w->retry = number + 1;
    w->unit.ordinal = (uint64_t)json_integer_value(json_object_get(header, "ordinal"));
    w->unit.first = (uint64_t)json_integer_value(json_object_get(header, "first"));
    w->unit.size = (uint32_t)json_integer_value(json_object_get(header, "group_size"));
    w->unit.inputs = w->inputs;
    w->unit.input_count = (int)json_array_size(inputs);
    buffer_add(&w->copy, bodies.at, bodies.length);
    size_t at = 0;
    for (int k = 0; k < w->unit.input_count; k++) {
        json_t *row = json_array_get(inputs, (size_t)k);
        int link = (int)json_integer_value(json_object_get(row, "link"));
        const char *reason = json_string_value(json_object_get(row, "reason"));
        size_t size = (size_t)json_integer_value(json_object_get(row, "size"));
        w->inputs[k] = n->links[link >= 0 && link < n->link_count ? link : 0];
        w->inputs[k].closing = json_is_true(json_object_get(row, "closing"));
        if (w->inputs[k].closing) {
            snprintf(w->reasons[k], sizeof(w->reasons[k]), "%s", reason ? reason : "");
            w->inputs[k].reason = w->reasons[k];
        }
        if (size > w->copy.length - at)
            size = w->copy.length - at;
        w->inputs[k].body = span_of(w->copy.at ? w->copy.at + at : "", size);
        at += size;
    }
    json_decref(header);
    return w;
}

static bool
in_hand(const struct node *n, uint64_t number)
{
    for (const struct work *w = n->hand.first; w; w = w->next)
        if (w->retry == number + 1)
            return true;
    for (const struct work *w = n->queue.first; w; w = w->next)
        if (w->retry == number + 1)
            return true;
    return false;
}

int
dead_retry(struct node *n, uint64_t number, struct error *e)
{
    if (in_hand(n, number))
        return error_set(e, ERROR_input, "dead letter %llu is being retried", (unsigned long long)number);
    struct work *w = work_of_row(n, number, e);
    if (!w)
        return e ? e->code : ERROR_input;
    works_add(&n->queue, w);
    return 0;
}

int
dead_drop(struct node *n, uint64_t number, struct error *e)
{
    unsigned char key[8];
    struct span value, bodies;
    store_u64(key, number);
    if (in_hand(n, number))
        return error_set(e, ERROR_input, "dead letter %llu is being retried", (unsigned long long)number);
    if (!store_get(n->store, TABLE_dead, span_of(key, 8), &value))
        return error_set(e, ERROR_input, "there is no dead letter %llu", (unsigned long long)number);
    json_t *header = letter_header(value, &bodies);
    bool held = json_is_true(json_object_get(header, "held"));
    json_decref(header);
    node_touch(n);
    if (!held) {
        store_delete(n->store, TABLE_dead, span_of(key, 8));
        return 0;
    }
    struct work *w = work_of_row(n, number, e);
    if (!w)
        return ERROR_input;
    for (int p = 0; p < n->port_count; p++)
        if (n->ports[p].linked)
            node_close(n, &w->unit, p, "dead");
    unit_settle_dead(n, w);
    return 0;
}

static bool
held_visit(void *own, struct span key, struct span value)
{
    struct span bodies;
    json_t *header = letter_header(value, &bodies);
    (void)key;
    *(int64_t *)own += json_is_true(json_object_get(header, "held"));
    json_decref(header);
    return true;
}

int64_t
dead_held(struct node *n)
{
    int64_t count = 0;
    store_scan(n->store, TABLE_dead, span_of(NULL, 0), held_visit, &count);
    return count;
}
