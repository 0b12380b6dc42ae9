/* trace: one rollout through the graph: what every process knows of it, put together for people. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/control.h"
#include "graph/store.h"
#include "graph/trace.h"

#define TRACE_TRIES 60      /* looks at a process between living and not */

static const char about[] =
    "Shows one rollout on its way: its text with the steps coloured by label, every vote with\n"
    "scores and reasons, labels, weights, closings, dead letters. The rollout is named by\n"
    "ordinal or by its id.";

/* ---- collecting ---- */

/* What one process answers to the request, from itself or from its store; NULL with an error, or
 * with none when it has no store. */
static json_t *
trace_take(struct talk *t, int node, int replica, const json_t *request, struct error *e)
{
    char *path = place_store(&t->place, t->plan.nodes[node].id, replica);
    char *lock = place_store_lock(&t->place, t->plan.nodes[node].id, replica);
    json_t *answer = NULL;
    bool done = false;
    for (int i = 0; i < TRACE_TRIES && !done; i++) {
        struct error unread = {0};
        struct store *s = store_peek(path, lock, &unread);
        if (s != NULL) {
            answer = json_object();
            trace_answer(s, &t->plan, node, request, answer, &unread);
            store_close(s);
            done = true;
        } else if (unread.code == ERROR_locked) {
            unread.code = 0;
            done = talk_process(t, node, replica, json_deep_copy(request), TALK_ASK_MS, &answer,
                                &unread) != ERROR_wire;
            if (!done)
                talk_nap();
        } else {
            done = true;
            if (unread.code == ERROR_file)
                unread.code = 0;        /* never started */
        }
        if (done ? unread.code != 0 : i + 1 == TRACE_TRIES)
            error_set(e, unread.code ? unread.code : ERROR_remote, "%s", unread.text);
    }
    free(path);
    free(lock);
    return answer;
}

static int
ordinal_of(struct talk *t, const char *name, uint64_t *ordinal, struct error *e)
{
    char *end;
    errno = 0;
    *ordinal = strtoull(name, &end, 10);
    if (name[0] >= '0' && name[0] <= '9' && *end == 0 && errno == 0 && *ordinal < INT64_MAX)
        return 0;
    json_t *request = json_pack("{s:s,s:s}", "ask", "trace", "id", name);
    bool found = false;
    for (int n = 0; n < t->plan.node_count && !found; n++)
        for (int r = 0;
             r < plan_replicas(&t->plan.nodes[n]) && !found && t->plan.nodes[n].kind->source; r++) {
            json_t *answer = trace_take(t, n, r, request, NULL);
            const json_t *at = json_object_get(answer, "ordinal");
            found = json_is_integer(at);
            *ordinal = (uint64_t)json_integer_value(at);
            json_decref(answer);
        }
    json_decref(request);
    return found ? 0
                 : error_set(e, ERROR_usage, "no rollout with the id '%s' was emitted in this run",
                             name);
}

static int
collect(struct talk *t, uint64_t ordinal, json_t **report, struct error *e)
{
    struct error own = {0};
    json_t *nodes = json_array(),
           *request = json_pack("{s:s,s:I}", "ask", "trace", "ordinal", (json_int_t)ordinal);
    for (int n = 0; n < t->plan.node_count && own.code == 0; n++)
        for (int r = 0; r < plan_replicas(&t->plan.nodes[n]) && own.code == 0; r++) {
            json_t *answer = trace_take(t, n, r, request, &own);
            if (answer == NULL)
                continue;
            json_object_del(answer, "ok");
            json_object_set_new(answer, "id", json_string(t->plan.nodes[n].id));
            json_object_set_new(answer, "replica", json_integer(r));
            json_object_set_new(answer, "kind", json_string(t->plan.nodes[n].kind->name));
            json_array_append_new(nodes, answer);
        }
    json_decref(request);
    *report = json_pack("{s:I,s:o}", "ordinal", (json_int_t)ordinal, "nodes", nodes);
    return own.code == 0 ? 0 : error_set(e, own.code, "%s", own.text);
}

/* Has any process settled it, or does it hold anything of it? */
static bool
is_known(const json_t *report)
{
    json_t *node;
    size_t i;
    json_array_foreach(json_object_get(report, "nodes"), i,
                       node) if (json_is_true(json_object_get(node, "settled")) ||
                                 json_array_size(json_object_get(node, "sent")) > 0 ||
                                 json_array_size(json_object_get(node, "kept")) > 0 ||
                                 json_array_size(json_object_get(node, "dead")) > 0) return true;
    return false;
}

/* ---- showing ---- */

static void
print_text(const char *text, const char *indent)
{
    for (const char *c = text; *c != 0; c++) {
        if (*c == '\n')
            printf("\n%s", c[1] ? indent : "");
        else
            putchar(((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f ? '?' : *c);
    }
}

/* A text with lines of its own; the last one is ended if it does not end itself. */
static void
print_whole(const char *text)
{
    size_t length = text ? strlen(text) : 0;
    printf("  ");
    print_text(text ? text : "", "  ");
    printf("%s", length > 0 && text[length - 1] == '\n' ? "" : "\n");
}

/* The body of the first message of this kind that any process sent. */
static const json_t *
body_find(const json_t *report, const char *message)
{
    json_t *node, *row;
    size_t i, k;
    json_array_foreach(json_object_get(report, "nodes"), i, node)
        json_array_foreach(json_object_get(node, "sent"), k, row) {
            const char *name = json_string_value(json_object_get(row, "message"));
            const json_t *body = json_object_get(row, "body");
            if (name != NULL && strcmp(name, message) == 0 && json_is_object(body))
                return body;
        }
    return NULL;
}

/* Every vote on one step. */
static void
votes_show(const json_t *report, size_t step)
{
    json_t *node, *row;
    size_t i, k;
    json_array_foreach(json_object_get(report, "nodes"), i, node)
        json_array_foreach(json_object_get(node, "sent"), k, row) {
            const json_t *body = json_object_get(row, "body");
            const char *message = json_string_value(json_object_get(row, "message"));
            const char *abstain = json_string_value(json_object_get(body, "abstain"));
            if (message == NULL || strcmp(message, "vote") != 0 || !json_is_object(body) ||
                (abstain && abstain[0]))
                continue;
            printf("      %s: ", json_string_value(json_object_get(node, "id")));
            if (json_integer_value(json_array_get(json_object_get(body, "said"), step)) == 0)
                printf("says nothing");
            else
                printf("%.3f",
                       json_number_value(json_array_get(json_object_get(body, "scores"), step)));
            const char *reason =
                json_string_value(json_array_get(json_object_get(body, "reasons"), step));
            if (reason != NULL && reason[0]) {
                printf(", ");
                print_text(reason, "        ");
            }
            putchar('\n');
        }
}

static void
abstained_show(const json_t *report)
{
    json_t *node, *row;
    size_t i, k;
    json_array_foreach(json_object_get(report, "nodes"), i, node)
        json_array_foreach(json_object_get(node, "sent"), k, row) {
        const char *abstain =
            json_string_value(json_object_get(json_object_get(row, "body"), "abstain"));
        if (abstain != NULL && abstain[0]) {
            printf("  %s abstains: ", json_string_value(json_object_get(node, "id")));
            print_text(abstain, "    ");
            putchar('\n');
            }
        }
}

/* What each learner does with a gem: the weight of the objective that knows gems. */
static void
weights_show(const struct talk *t, const char *label)
{
    for (int n = 0; n < t->plan.node_count; n++) {
        const struct plan_node *node = &t->plan.nodes[n];
        const struct option *row = option_find(node->kind->options, "beta");
        const char *beta = row ? row->standard : NULL, *objective = "bcpg_nsa", *noise = "none";
        if (strcmp(node->kind->name, "learner") != 0)
            continue;
        for (int o = 0; o < node->option_count; o++) {
            if (strcmp(node->options[o].name, "beta") == 0 && node->options[o].count == 1)
                beta = node->options[o].values[0];
            if (strcmp(node->options[o].name, "objective") == 0 && node->options[o].count == 1)
                objective = node->options[o].values[0];
            if (strcmp(node->options[o].name, "label_noise") == 0 && node->options[o].count == 1)
                noise = node->options[o].values[0];
        }
        bool knows = strstr(objective, "nsa") != NULL;
        printf(", weight %s%s in %s", knows && strcmp(label, "correct") == 0 && beta ? beta : "1",
               strcmp(noise, "none") == 0 ? "" : " or less (label_noise)", node->id);
    }
}

static void
steps_show(const struct talk *t, const json_t *report, const json_t *body, bool colour)
{
    static const char *const names[] = {"incorrect", "correct", "unknown"};
    static const char *const colours[] = {"\033[31m", "\033[32m", "\033[33m"};
    const char *response =
        json_string_value(json_object_get(json_object_get(body, "rollout"), "response"));
    const json_t *labels = json_object_get(body, "labels");
    size_t length = response ? strlen(response) : 0, begin = 0, i;
    json_t *end;
    json_array_foreach(json_object_get(body, "ends"), i, end) {
        size_t stop = (size_t)json_integer_value(end);
        const json_t *label = json_array_get(labels, i);
        json_int_t which = json_is_integer(label) ? json_integer_value(label) : 2;
        if (stop > length || stop < begin || which < 0 || which > 2)
            break;
        char *text = span_copy(span_of(response + begin, stop - begin));
        printf("  [%zu] ", i + 1);
        if (labels != NULL) {
            printf(
                "%s (yes: %lld of %lld)", names[which],
                (long long)json_integer_value(json_array_get(json_object_get(body, "agree"), i)),
                (long long)json_integer_value(json_array_get(json_object_get(body, "counted"), i)));
            if (json_integer_value(json_array_get(json_object_get(body, "ties"), i)) == 1)
                printf(", level");
            weights_show(t, names[which]);
        } else {
            printf("not labelled yet");
        }
        switch (json_integer_value(json_array_get(json_object_get(body, "kinds"), i))) {
        case 1: printf(", verifies"); break;
        case 2: printf(", solves once more"); break;
        }
        printf("\n      %s", colour && labels ? colours[which] : "");
        print_text(text, "      ");
        printf("%s%s", colour && labels ? "\033[0m" : "",
               stop > begin && response[stop - 1] == '\n' ? "" : "\n");
        votes_show(report, i);
        free(text);
        begin = stop;
    }
}

/* Closings, what is kept, dead letters, and where it is settled: one line each. */
static void
ways_show(const json_t *report)
{
    json_t *node, *row;
    size_t i, k;
    json_array_foreach(json_object_get(report, "nodes"), i, node) {
        const char *id = json_string_value(json_object_get(node, "id"));
        int replica = (int)json_integer_value(json_object_get(node, "replica"));
        bool settled = json_is_true(json_object_get(node, "settled"));
        if (!settled && json_array_size(json_object_get(node, "sent")) +
                                json_array_size(json_object_get(node, "kept")) +
                                json_array_size(json_object_get(node, "dead")) ==
                            0)
            continue;
        printf("  %s.%d:%s", id, replica, settled ? " settled" : "");
        json_array_foreach(json_object_get(node, "sent"), k, row) {
            const char *closing = json_string_value(json_object_get(row, "closing"));
            printf("%s %s %s%s%s", settled || k ? "," : "",
                   json_string_value(json_object_get(row, "port")), closing ? "closed (" : "sent",
                   closing ? closing : "", closing ? ")" : "");
        }
        json_array_foreach(json_object_get(node, "kept"), k, row)
            printf(" keeps what %s sent;", json_string_value(json_object_get(row, "from")));
        json_array_foreach(json_object_get(node, "dead"), k, row) {
            printf(" dead letter %lld: ",
                   (long long)json_integer_value(json_object_get(row, "id")));
            print_text(json_string_value(json_object_get(row, "reason")), "    ");
        }
        putchar('\n');
    }
}

static void
show(const struct talk *t, const json_t *report)
{
    const json_t *labelled = body_find(report, "labelled"), *steps = body_find(report, "steps");
    const json_t *rollout = body_find(report, "rollout");
    const json_t *body = labelled ? labelled : steps;
    if (rollout == NULL)
        rollout = json_object_get(body, "rollout");
    printf("ordinal %lld", (long long)json_integer_value(json_object_get(report, "ordinal")));
    if (rollout != NULL) {
        printf(": %s, reward %g, group mean %.3f\nprompt:\n",
               json_string_value(json_object_get(rollout, "id")),
               json_number_value(json_object_get(rollout, "reward")),
               json_number_value(json_object_get(rollout, "group_mean")));
        const char *answer = json_string_value(json_object_get(rollout, "answer"));
        print_whole(json_string_value(json_object_get(rollout, "prompt")));
        if (answer && *answer)
            printf("expected: %s\n", answer);
        printf("response:\n");
        if (body == NULL)
            print_whole(json_string_value(json_object_get(rollout, "response")));
    } else {
        putchar('\n');
    }
    if (body != NULL)
        steps_show(t, report, body, talk_colour());
    abstained_show(report);
    printf("ways:\n");
    ways_show(report);
}

int
command_trace(int argc, char **argv)
{
    bool json = false;
    const struct flag flags[] = {{FLAG_on, 0, "json", NULL, &json, "as JSON"}, {.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "trace RUN ORDINAL|ID [--json]", about, argc, argv, 2, 2, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    json_t *report = NULL;
    uint64_t ordinal = 0;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = ordinal_of(&t, words.at[1], &ordinal, &e);
    if (rc == 0)
        rc = collect(&t, ordinal, &report, &e);
    if (rc == 0 && !is_known(report))
        rc = error_set(&e, ERROR_usage,
                       "no process of this run knows ordinal %llu: it was not emitted (yet)",
                       (unsigned long long)ordinal);
    if (rc == 0 && json) {
        json_dumpf(report, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (rc == 0) {
        show(&t, report);
    }
    json_decref(report);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("trace", &e);
}
