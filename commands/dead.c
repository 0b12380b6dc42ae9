/* dead: what could not be handled, with the reason and the bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/letter.h"

#define DEAD_TRIES 60

static const char about[] =
    "Dead letters of a run. list: one line each (default). show: reason and bytes. retry: try\n"
    "again, while on_dead: hold keeps its place (after its closing was sent, a retry is a\n"
    "replay). drop: forget it; one that held its place is closed. NODE and the number are\n"
    "needed for all but list.";

static bool
is_verb(const char *word)
{
    return strcmp(word, "list") == 0 || strcmp(word, "show") == 0 || strcmp(word, "retry") == 0 ||
           strcmp(word, "drop") == 0;
}

/* Ask the process, or read its store when it is down. */
static int
letters_take(struct talk *t, int node, int replica, const json_t *request, json_t **answer,
             struct error *e)
{
    char *path = place_store(&t->place, t->plan.nodes[node].id, replica);
    char *lock = place_store_lock(&t->place, t->plan.nodes[node].id, replica);
    const char *verb = json_string_value(json_object_get(request, "do"));
    bool reads = strcmp(verb, "list") == 0 || strcmp(verb, "show") == 0;
    struct error own = {0};
    int rc = ERROR_locked;
    *answer = NULL;
    for (int i = 0; i < DEAD_TRIES && rc == ERROR_locked; i++) {
        struct store *s = store_peek(path, lock, &own);
        if (s != NULL && reads) {
            *answer = json_object();
            rc = letter_answer(s, &t->plan, node, request, *answer, &own);
        } else if (s != NULL) {
            rc = error_set(&own, ERROR_usage,
                           "%s.%d is down; letters are retried and dropped by the living process",
                           t->plan.nodes[node].id, replica);
        } else if (own.code == ERROR_file) {
            rc = 0;     /* never started: no letters */
        } else if (own.code == ERROR_locked) {
            rc = talk_process(t, node, replica, json_deep_copy(request), TALK_ASK_MS, answer, &own);
            if (rc == ERROR_wire) {
                rc = ERROR_locked;      /* it starts or ends just now */
                talk_nap();
            }
        } else {
            rc = own.code;
        }
        store_close(s);
    }
    free(path);
    free(lock);
    return rc == 0 ? 0 : error_set(e, rc, "%s", own.text);
}

static void
print_line(const char *text)
{
    for (const char *c = text ? text : ""; *c != 0; c++)
        putchar((unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c);
}

static void
list_show(const struct talk *t, int node, int replica, const json_t *answer, bool json)
{
    json_t *row;
    size_t i;
    json_array_foreach(json_object_get(answer, "letters"), i, row) {
        if (json) {
            json_object_set_new(row, "node", json_string(t->plan.nodes[node].id));
            json_object_set_new(row, "replica", json_integer(replica));
            json_dumpf(row, stdout, JSON_COMPACT);
            putchar('\n');
            continue;
        }
        const json_t *ordinal = json_object_get(row, "ordinal");
        printf("%s.%d %lld ", t->plan.nodes[node].id, replica,
               (long long)json_integer_value(json_object_get(row, "id")));
        if (json_is_integer(ordinal))
            printf("ordinal %lld", (long long)json_integer_value(ordinal));
        else
            print_line(json_string_value(json_object_get(row, "where")));
        printf("%s: ", json_is_true(json_object_get(row, "held")) ? " (holds its place)" : "");
        print_line(json_string_value(json_object_get(row, "reason")));
        putchar('\n');
    }
}

static int
list(struct talk *t, int only, bool json, struct error *e)
{
    int rc = 0;
    size_t found = 0;
    for (int n = 0; n < t->plan.node_count && rc == 0; n++)
        for (int r = 0; r < plan_replicas(&t->plan.nodes[n]) && rc == 0 && (only < 0 || only == n);
             r++) {
            json_int_t from = 0;
            for (bool more = true; more && rc == 0;) {
                json_t *answer = NULL, *request = json_pack("{s:s,s:s,s:I}", "ask", "dead", "do",
                                                            "list", "from", from);
                rc = letters_take(t, n, r, request, &answer, e);
                const json_t *rows = json_object_get(answer, "letters");
                const json_t *last = json_array_get(rows, json_array_size(rows) - 1);
                found += json_array_size(rows);
                more = json_is_true(json_object_get(answer, "more")) && last != NULL;
                from = json_integer_value(json_object_get(last, "id")) + 1;
                list_show(t, n, r, answer, json);
                json_decref(answer);
                json_decref(request);
            }
        }
    if (rc == 0 && found == 0 && !json)
        puts("no dead letters");
    return rc;
}

static int
one(struct talk *t, int node, long replica, const char *verb, const char *number, struct error *e)
{
    char *end;
    unsigned long long id = strtoull(number, &end, 10);
    if (number[0] < '0' || number[0] > '9' || *end != 0)
        return error_set(e, ERROR_usage, "'%s' is not the number of a dead letter", number);
    json_t *answer = NULL;
    json_t *request = json_pack("{s:s,s:s,s:I}", "ask", "dead", "do", verb, "id", (json_int_t)id);
    int rc = letters_take(t, node, (int)replica, request, &answer, e);
    if (rc == 0 && strcmp(verb, "show") == 0) {
        const json_t *letter = json_object_get(answer, "letter");
        json_dumpf(letter, stdout, talk_json_wanted(false) ? JSON_COMPACT : JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(answer);
    json_decref(request);
    return rc;
}

static int
dead(struct talk *t, const struct words *words, long replica, bool json, struct error *e)
{
    const char *id = NULL, *verb = "list", *number = NULL;
    int node = -1, i = 1;
    if (i < words->count && !is_verb(words->at[i]))
        id = words->at[i++];
    if (i < words->count)
        verb = words->at[i++];
    if (i < words->count)
        number = words->at[i++];
    if (!is_verb(verb))
        return error_set(e, ERROR_usage, "'%s' is not one of list, show, retry, drop", verb);
    int rc = id ? talk_node(t, id, &node, e) : 0;
    if (rc != 0)
        return rc;
    if (strcmp(verb, "list") == 0)
        return list(t, node, json, e);
    if (node < 0 || number == NULL)
        return error_set(e, ERROR_usage,
                         "%s needs a node and a number: sluice dead RUN NODE %s NUMBER", verb,
                         verb);
    if (replica >= plan_replicas(&t->plan.nodes[node]))
        return error_set(e, ERROR_usage, "'%s' has no replica %ld", id, replica);
    return one(t, node, replica, verb, number, e);
}

int
command_dead(int argc, char **argv)
{
    bool json = false;
    long replica = 0;
    const struct flag flags[] = {
        {FLAG_on, 0, "json", NULL, &json, "JSON lines"},
        {FLAG_count, 0, "replica", "R", &replica, "whose letter is meant (default 0)"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "dead [RUN [NODE] [list|show N|retry N|drop N]]", about, argc,
                          argv, 0, 4, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = dead(&t, &words, replica, talk_json_wanted(json), &e);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("dead", &e);
}
