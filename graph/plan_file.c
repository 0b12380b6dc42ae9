/* plan_file: RUN/plan.json, written aside, fsynced and renamed, and read back with every index
 * checked. */
#include "graph/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLAN_BYTES_MAX (64 << 20)

/* ---- writing ---- */

static json_t *
option_json(const struct plan_option *o)
{
    json_t *values = json_array();

    for (int i = 0; i < o->count; i++)
        json_array_append_new(values, json_string_nocheck(o->values[i]));
    return json_pack("{s:s, s:o, s:i, s:i}", "name", o->name, "values", values, "line", o->line,
                     "column", o->column);
}

static json_t *
node_json(const struct plan_node *n)
{
    json_t *options = json_array(), *links = json_array(), *rows = json_array();

    for (int i = 0; i < n->option_count; i++)
        json_array_append_new(options, option_json(&n->options[i]));
    for (int i = 0; i < n->link_count; i++)
        json_array_append_new(links, json_pack("{s:i, s:i, s:i}", "port", n->links[i].port, "node",
                                               n->links[i].node, "output", n->links[i].output));
    for (int i = 0; i < n->row_count; i++)
        json_array_append_new(rows, json_pack("{s:I, s:i}", "first", (json_int_t)n->rows[i].first,
                                              "count", n->rows[i].count));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:b, s:I, s:s, s:i, s:i}", "id", n->id, "kind",
                     n->kind->name, "options", options, "links", links, "rows", rows, "generation",
                     (json_int_t)n->generation, "serve", n->serve, "cut", (json_int_t)n->cut,
                     "listen", n->listen ? n->listen : "", "line", n->line, "column", n->column);
}

static json_t *
plan_json(const struct plan *p)
{
    json_t *nodes = json_array();

    for (int i = 0; i < p->node_count; i++)
        json_array_append_new(nodes, node_json(&p->nodes[i]));
    return json_pack("{s:i, s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:o}", "version", PLAN_VERSION,
                     "name", p->name, "seed", (json_int_t)p->seed, "run_id",
                     p->run_id ? p->run_id : "", "file", p->file, "folder", p->folder, "max_lead",
                     (json_int_t)p->max_lead, "revision", (json_int_t)p->revision, "nodes", nodes);
}

static int
sync_folder(const char *folder, struct error *e)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return error_set(e, ERROR_file, "'%s': %s", folder, strerror(errno));
    rc = fsync(fd) == 0 ? 0 : error_set(e, ERROR_file, "'%s': fsync: %s", folder, strerror(errno));
    close(fd);
    return rc;
}

static int
write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        text += n;
        length -= (size_t)n;
    }
    return fsync(fd);
}

int
plan_write(const struct plan *p, const char *run_dir, struct error *e)
{
    char   *path = xprint("%s/plan.json", run_dir), *aside = xprint("%s/plan.json.new", run_dir);
    json_t *json = plan_json(p);
    char   *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    int     fd = -1, rc = 0;

    json_decref(json);
    if (!text) {
        rc = error_set(e, ERROR_internal, "the plan of '%s' holds text that is not UTF-8", run_dir);
        goto out;
    }
    fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write_all(fd, text, strlen(text)) != 0 || rename(aside, path) != 0) {
        rc = error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "'%s': %s", path,
                       strerror(errno));
        unlink(aside);
    } else {
        rc = sync_folder(run_dir, e);
    }
    if (fd >= 0)
        close(fd);
out:
    free(text);
    free(path);
    free(aside);
    return rc;
}

/* ---- reading ---- */

/* Sticky: the first thing that is wrong is kept, everything after it reads as zero. */
struct reader {
    const char *bad;
};

static json_int_t
number(struct reader *r, const json_t *o, const char *key, json_int_t low, json_int_t high)
{
    const json_t *v = json_object_get(o, key);

    if (json_is_integer(v) && json_integer_value(v) >= low && json_integer_value(v) <= high)
        return json_integer_value(v);
    if (!r->bad)
        r->bad = key;
    return low;
}

static char *
text(struct reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    if (json_is_string(v))
        return xtext(json_string_value(v));
    if (!r->bad)
        r->bad = key;
    return xtext("");
}

static int
list(struct reader *r, const json_t *o, const char *key, int max, json_t **out)
{
    *out = json_object_get(o, key);
    if (json_is_array(*out) && json_array_size(*out) <= (size_t)max)
        return (int)json_array_size(*out);
    if (!r->bad)
        r->bad = key;
    return 0;
}

static void
read_options(struct reader *r, const json_t *o, struct plan_node *n)
{
    json_t *options;

    n->option_count = list(r, o, "options", 4096, &options);
    n->options = xarray((size_t)n->option_count, sizeof(*n->options));
    for (int i = 0; i < n->option_count; i++) {
        struct plan_option *to = &n->options[i];
        json_t             *from = json_array_get(options, (size_t)i), *values;

        to->name = text(r, from, "name");
        to->line = (int)number(r, from, "line", 0, INT32_MAX);
        to->column = (int)number(r, from, "column", 0, INT32_MAX);
        to->count = list(r, from, "values", OPTION_TEXTS_MAX, &values);
        to->values = xarray((size_t)to->count, sizeof(*to->values));
        for (int k = 0; k < to->count; k++) {
            const char *v = json_string_value(json_array_get(values, (size_t)k));

            to->values[k] = xtext(v ? v : "");
        }
    }
}

/* `at` is the node's own index: links lead to nodes before it. */
static void
read_links(struct reader *r, const json_t *o, struct plan *p, int at)
{
    struct plan_node *n = &p->nodes[at];
    json_t           *links, *rows;

    n->link_count = list(r, o, "links", PLAN_LINKS_MAX, &links);
    n->links = xarray((size_t)n->link_count, sizeof(*n->links));
    for (int i = 0; i < n->link_count; i++) {
        const json_t *from = json_array_get(links, (size_t)i);
        int           ports = 0, outputs = 0;

        n->links[i].node = (int)number(r, from, "node", 0, at - 1);
        if (r->bad)
            return;
        while (n->kind->ports[ports].direction != PORT_END)
            ports++;
        while (p->nodes[n->links[i].node].kind->ports[outputs].direction != PORT_END)
            outputs++;
        n->links[i].port = (int)number(r, from, "port", 0, ports - 1);
        n->links[i].output = (int)number(r, from, "output", 0, outputs - 1);
    }
    n->row_count = list(r, o, "rows", PLAN_ROWS_MAX, &rows);
    n->rows = xarray((size_t)n->row_count, sizeof(*n->rows));
    for (int i = 0; i < n->row_count; i++) {
        const json_t *from = json_array_get(rows, (size_t)i);
        json_int_t    low = i == 0 ? 0 : (json_int_t)n->rows[i - 1].first + 1;

        n->rows[i].first = (uint64_t)number(r, from, "first", low, i == 0 ? 0 : INT64_MAX);
        n->rows[i].count = (int)number(r, from, "count", 1, PLAN_REPLICAS_MAX);
    }
    if (n->row_count == 0 && !r->bad)
        r->bad = "rows";
}

static int
read_node(struct reader *r, const json_t *o, struct plan *p, int at, struct error *e)
{
    struct plan_node *n = &p->nodes[at];
    char             *kind = text(r, o, "kind");

    n->id = text(r, o, "id");
    n->listen = text(r, o, "listen");
    n->generation = (uint64_t)number(r, o, "generation", 0, INT64_MAX);
    n->cut = (uint64_t)number(r, o, "cut", 0, INT64_MAX);
    n->serve = json_is_true(json_object_get(o, "serve"));
    n->line = (int)number(r, o, "line", 0, INT32_MAX);
    n->column = (int)number(r, o, "column", 0, INT32_MAX);
    n->kind = node_kind_find(kind);
    if (!r->bad && !n->kind)
        error_set(e, ERROR_version, "node '%s': this program has no kind '%s'", n->id, kind);
    free(kind);
    if (r->bad || !n->kind)
        return ERROR_version;
    read_options(r, o, n);
    int rc = r->bad ? 0 : plan_declare(p, at, e);
    if (!r->bad && rc == 0)
        read_links(r, o, p, at);
    return rc;
}

static int
plan_from_json(struct plan *p, const json_t *json, struct error *e)
{
    struct reader r = {0};
    json_t       *nodes;
    int           count, rc = 0;

    if (number(&r, json, "version", 0, INT32_MAX) != PLAN_VERSION && !r.bad)
        return error_set(e, ERROR_version, "a plan of another version");
    p->name = text(&r, json, "name");
    p->seed = (uint64_t)number(&r, json, "seed", 0, INT64_MAX);
    p->run_id = text(&r, json, "run_id");
    p->file = text(&r, json, "file");
    p->folder = text(&r, json, "folder");
    p->max_lead = (uint64_t)number(&r, json, "max_lead", 1, INT64_MAX);
    p->revision = (uint64_t)number(&r, json, "revision", 0, INT64_MAX);
    count = list(&r, json, "nodes", PLAN_NODES_MAX, &nodes);
    p->nodes = xarray((size_t)count, sizeof(*p->nodes));
    for (int i = 0; i < count && rc == 0 && !r.bad; i++) {
        p->node_count = i + 1;
        rc = read_node(&r, json_array_get(nodes, (size_t)i), p, i, e);
    }
    if (r.bad)
        return error_set(e, ERROR_file, "field '%s' is missing or wrong", r.bad);
    return rc;
}

int
plan_load(struct plan *p, const char *run_dir, struct error *e)
{
    char        *path = xprint("%s/plan.json", run_dir);
    struct stat  s;
    json_error_t je;
    json_t      *json = NULL;
    int          rc = 0;

    *p = (struct plan){0};
    if (stat(path, &s) != 0) {
        rc = error_set(e, ERROR_file, "'%s' is not a run: plan.json: %s", run_dir, strerror(errno));
    } else if (s.st_size > PLAN_BYTES_MAX) {
        rc = error_set(e, ERROR_file, "'%s' is above %d bytes", path, PLAN_BYTES_MAX);
    } else if (!(json = json_load_file(path, JSON_REJECT_DUPLICATES, &je))) {
        rc = error_set(e, ERROR_file, "'%s':%d:%d: %s", path, je.line, je.column, je.text);
    } else {
        rc = plan_from_json(p, json, e);
        if (rc != 0)
            error_wrap(e, "'%s'", path);
    }
    json_decref(json);
    if (rc != 0)
        plan_free(p);
    free(path);
    return rc;
}
