/* export: what a run labelled, for other trainers, in the order of ordinals. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/export.h"
#include "commands/flags.h"
#include "graph/control.h"
#include "graph/tap.h"

static const char about[] =
    "Writes the labelled steps of a run, and with formats that want whole answers also the answers that needed no labels,\n"
    "as JSON lines in the order of ordinals. Works while the run lives and afterwards.\n\n"
    "  jsonl         the messages as they are, as a sink writes them\n"
    "  trl-stepwise  {\"prompt\",\"completions\",\"labels\"}: TRL's stepwise supervision (PRMTrainer)\n"
    "  verl          {\"data_source\",\"prompt\",\"ability\",\"reward_model\",\"extra_info\",\"responses\"}, one answer a row\n"
    "  openrlhf      {\"input\",\"output\",\"label\",\"reward\",\"steps\",\"step_labels\"}\n\n"
    "NODE/PORT names the outputs to write; else they are those that reach an end of the graph. Parquet: no library of\n"
    "Debian's writes it from C; where the datasets package is installed,\n"
    "  python3 -c \"import datasets as d; d.load_dataset('json', data_files='x.jsonl')['train'].to_parquet('x.parquet')\"";

/* ---- sources: pages of one port of one replica ---- */

struct source {
    int      node, replica, port;
    json_t  *rows;          /* of the page in hand */
    size_t   at;
    json_t  *next;          /* where the next page begins; JSON null: nowhere; NULL: not asked yet */
};

static int
page_take(struct talk *t, struct source *s, struct error *e)
{
    const struct plan_node *n = &t->plan.nodes[s->node];
    json_t *request = json_pack("{s:s,s:s}", "ask", "outbox", "port", n->kind->ports[s->port].name), *reply = NULL;
    int     rc;

    if (s->next)
        json_object_set(request, "from", s->next);
    rc = export_ask(t, s->node, s->replica, request, &reply, e);
    json_decref(request);
    json_decref(s->rows);
    json_decref(s->next);
    s->at = 0;
    s->rows = rc == 0 && reply ? json_incref(json_object_get(reply, "rows")) : json_array();
    s->next = rc == 0 && reply ? json_incref(json_object_get(reply, "next")) : json_null();
    json_decref(reply);
    return rc;
}

/* The row the source is at; NULL: it has no more. */
static int
row_at(struct talk *t, struct source *s, json_t **row, struct error *e)
{
    int rc = 0;

    while (rc == 0 && (!s->next || (s->at >= json_array_size(s->rows) && !json_is_null(s->next))))
        rc = page_take(t, s, e);
    *row = json_array_get(s->rows, s->at);
    return rc;
}

static void
sources_add(struct talk *t, struct source **sources, int *count, int node, int port)
{
    for (int r = 0; r < plan_replicas(&t->plan.nodes[node]); r++) {
        *sources = xresize(*sources, ((size_t)*count + 1) * sizeof(**sources));
        (*sources)[(*count)++] = (struct source){.node = node, .replica = r, .port = port};
    }
}

/* Does the port reach an end of the graph: a learner, a sink? */
static bool
reaches_end(const struct plan *p, int node, int port)
{
    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++)
            if (p->nodes[i].links[k].node == node && p->nodes[i].links[k].output == port &&
                plan_is_terminal(p, i))
                return true;
    return false;
}

static int
sources_usual(struct talk *t, bool whole, struct source **sources, int *count, struct error *e)
{
    const char *labelled = NULL;

    for (int n = 0; n < t->plan.node_count; n++) {
        const struct port *ports = t->plan.nodes[n].kind->ports;

        for (int i = 0; ports[i].direction != PORT_END; i++) {
            bool wanted = ports[i].message == MESSAGE_labelled ||
                          (whole && ports[i].message == MESSAGE_rollout);

            if (ports[i].direction != PORT_OUT || !wanted || !reaches_end(&t->plan, n, i))
                continue;
            if (ports[i].message == MESSAGE_labelled && labelled)
                return error_set(e, ERROR_usage, "both '%s' and '%s' label: say which, NODE/PORT", labelled,
                                 t->plan.nodes[n].id);
            if (ports[i].message == MESSAGE_labelled)
                labelled = t->plan.nodes[n].id;
            sources_add(t, sources, count, n, i);
        }
    }
    return *count > 0 ? 0
                      : error_set(e, ERROR_usage, "no labelled output of this run reaches a sink or learner; name one, "
                                                  "NODE/PORT");
}

static int
sources_named(struct talk *t, const struct words *words, struct source **sources, int *count,
              struct error *e)
{
    for (int i = 1; i < words->count; i++) {
        const char *slash = strchr(words->at[i], '/');
        char       *id = span_copy(span_of(words->at[i], slash ? (size_t)(slash - words->at[i]) : strlen(words->at[i])));
        int         node, rc = talk_node(t, id, &node, e);
        int         port = rc == 0 ? tap_port(&t->plan.nodes[node], slash ? slash + 1 : "out", e) : rc;

        free(id);
        if (port < 0)
            return port;
        enum message m = t->plan.nodes[node].kind->ports[port].message;
        if (m != MESSAGE_labelled && m != MESSAGE_rollout)
            return error_set(e, ERROR_usage, "'%s' sends '%s'; labelled messages and rollouts can be exported",
                             words->at[i], message_name(m));
        sources_add(t, sources, count, node, port);
    }
    return 0;
}

/* ---- writing ---- */

static int
row_write(struct talk *t, const struct export_how *how, const struct source *s, const json_t *row,
          struct export_count *count, FILE *out, struct error *e)
{
    const char *text = json_string_value(json_object_get(row, "body"));
    enum message m = t->plan.nodes[s->node].kind->ports[s->port].message;
    json_t      *body;

    if (json_object_get(row, "closed"))
        return 0;
    count->read++;
    body = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    if (!body) {
        count->left++;
        return 0;
    }
    json_t *line = export_line(how, m, t->plan.nodes[s->node].id, row, body);
    json_decref(body);
    if (!line) {
        count->left++;
        return 0;
    }
    int rc = json_dumpf(line, out, JSON_COMPACT) == 0 && putc('\n', out) != EOF
                 ? 0 : error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "cannot write: %s", strerror(errno));
    json_decref(line);
    count->written += rc == 0;
    return rc;
}

static int
export_all(struct talk *t, const struct export_how *how, struct source *sources, int source_count,
           FILE *out, struct export_count *count, struct error *e)
{
    for (;;) {
        struct source *best = NULL;
        json_t        *best_row = NULL;
        json_int_t     least = 0;

        for (int i = 0; i < source_count; i++) {
            json_t *row;
            int     rc = row_at(t, &sources[i], &row, e);

            if (rc != 0)
                return rc;
            json_int_t ordinal = json_integer_value(json_object_get(row, "ordinal"));
            if (row && (!best || ordinal < least)) {
                best = &sources[i];
                best_row = row;
                least = ordinal;
            }
        }
        if (!best)
            return 0;
        int rc = row_write(t, how, best, best_row, count, out, e);
        if (rc != 0)
            return rc;
        best->at++;
    }
}

static int
choice(const char *flag, const char *word, const char *const *names, int *out, struct error *e)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], word) == 0) {
            *out = i;
            return 0;
        }
    const char *near = nearest(word, names);
    return error_set(e, ERROR_usage, "--%s '%.40s' is none of its words%s%s%s", flag, word,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int
export_run(const struct words *words, struct export_how *how, const char *path, struct error *e)
{
    struct talk         t;
    struct source      *sources = NULL;
    struct export_count count = {0};
    int                 n = 0;
    FILE               *out = stdout;
    int                 rc = talk_open(&t, words->at[0], e);

    if (rc == 0)
        rc = words->count > 1 ? sources_named(&t, words, &sources, &n, e)
                              : sources_usual(&t, how->format != EXPORT_stepwise, &sources, &n, e);
    if (rc == 0 && !how->data_source)
        how->data_source = t.plan.name;
    if (rc == 0 && path && !(out = fopen(path, "wxe")))
        rc = error_set(e, ERROR_file, "'%s': %s", path, strerror(errno));
    if (rc == 0)
        rc = export_all(&t, how, sources, n, out, &count, e);
    if (rc == 0 && (path ? fclose(out) : fflush(out)) != 0)
        rc = error_set(e, ERROR_file, "cannot write: %s", strerror(errno));
    if (rc == 0)
        fprintf(stderr, "sluice export: %lld rows of %lld messages; %lld left out\n", (long long)count.written,
                (long long)count.read, (long long)count.left);
    for (int i = 0; i < n; i++) {
        json_decref(sources[i].rows);
        json_decref(sources[i].next);
    }
    free(sources);
    talk_close(&t);
    return rc;
}

int
command_export(int argc, char **argv)
{
    static const char *const formats[] = {"jsonl", "trl-stepwise", "verl", "openrlhf", NULL};
    static const char *const unknowns[] = {"cut", "skip", "correct", "incorrect", NULL};
    const char       *format = "jsonl", *unknown = "cut", *path = NULL;
    struct export_how how = {.ability = "math"};
    struct words      words;
    struct error      e = {0};
    const struct flag flags[] = {
        {FLAG_text, 0, "format", "F", &format, "jsonl, trl-stepwise, verl or openrlhf"},
        {FLAG_text, 'o', "out", "FILE", &path, "a new file; else standard output"},
        {FLAG_text, 0, "unknown", "WORD", &unknown,
         "trl-stepwise: a step labelled unknown ends the row before it (cut), leaves the row out (skip), or counts as correct or incorrect"},
        {FLAG_text, 0, "data-source", "NAME", &how.data_source, "verl: data_source; else the run's name"},
        {FLAG_text, 0, "ability", "NAME", &how.ability, "verl: ability; else math"},
        {.kind = FLAG_end},
    };
    int code = flags_read(flags, "export RUN [NODE/PORT ...] [--format F] [flags]", about, argc, argv, 1,
                          FLAGS_WORDS_MAX, &words);

    if (code >= 0)
        return code;
    int rc = choice("format", format, formats, &how.format, &e);
    if (rc == 0)
        rc = choice("unknown", unknown, unknowns, &how.unknown, &e);
    if (rc == 0)
        rc = export_run(&words, &how, path, &e);
    return rc == 0 ? 0 : talk_fail("export", &e);
}
