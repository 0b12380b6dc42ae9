/* check: `sluice check TOPOLOGY`: every error of a topology, before anything is started. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "graph/message_table.h"
#include "graph/plan.h"

static const char about[] =
    "Reads a topology and everything it names, and prints every error as file:line:column.\n"
    "Nothing is started and no store is opened. Exit code 0 when it can run, 78 when it cannot.";

/* The rollout by which --plan measures: what a message of each kind takes in a store. */
#define TYPICAL_PROMPT   256
#define TYPICAL_RESPONSE 1024
#define TYPICAL_STEPS    8
#define TYPICAL_WORD     32

/* Fill a message as it is for the typical rollout: reals and arrays as long as steps, text by its
 * name. */
static void
typical(enum message m, char *out, struct arena *arena)
{
    for (const struct field *f = message_row(m)->fields; f->kind != FIELD_end; f++) {
        void       *at = out + f->offset;
        size_t      length = strcmp(f->name, "response") == 0 ? TYPICAL_RESPONSE
                             : strcmp(f->name, "prompt") == 0 ? TYPICAL_PROMPT : TYPICAL_WORD;
        struct u8s *array = at;     /* all arrays share this shape */

        switch (f->kind) {
        case FIELD_nest: typical(f->inner, at, arena); break;
        case FIELD_text: *(struct span *)at = span_of(arena_take(arena, length), length); break;
        case FIELD_u64:
        case FIELD_f64: break;
        default:
            array->count = TYPICAL_STEPS;
            array->at = arena_take(arena, TYPICAL_STEPS * sizeof(struct span));
            break;
        }
    }
}

static int64_t
typical_bytes(enum message m)
{
    struct arena  arena = {0};
    struct buffer packed = {0};
    void         *in = arena_take(&arena, message_size(m));
    int64_t       bytes;

    typical(m, in, &arena);
    message_write(m, in, &packed);
    bytes = (int64_t)packed.length;
    buffer_free(&packed);
    arena_free(&arena);
    return bytes;
}

/* What a port sends, also through ports that take anything. -> MESSAGE_any when nobody says. */
static enum message
sent(const struct plan *p, int node, int port)
{
    const struct plan_node *n = &p->nodes[node];

    if (n->kind->ports[port].message == MESSAGE_any && n->link_count > 0)
        return sent(p, n->links[0].node, n->links[0].output);
    return n->kind->ports[port].message;
}

static bool
is_read(const struct plan *p, int node, int port)
{
    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++)
            if (p->nodes[i].links[k].node == node && p->nodes[i].links[k].output == port)
                return true;
    return false;
}

static const struct plan_option *
given(const struct plan_node *n, const char *name)
{
    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0)
            return &n->options[i];
    return NULL;
}

/* Every option of a table with its value and where that was written. */
static void
print_options(const struct plan *p, const struct plan_node *n, const struct option *table)
{
    const char *file = strrchr(p->file, '/') ? strrchr(p->file, '/') + 1 : p->file;

    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        const struct plan_option *g = given(n, o->name);
        struct buffer             text = {0};

        for (int i = 0; g && i < g->count; i++)
            buffer_print(&text, "%s%s", i ? ", " : "", g->values[i]);
        if (!g)
            buffer_text(&text, o->standard && *o->standard ? o->standard : "-");
        for (size_t i = 0; i < text.length; i++)
            if ((unsigned char)text.at[i] < ' ')
                text.at[i] = ' ';
        printf("    %-20s %-28.*s ", o->name, (int)text.length, text.length ? text.at : "");
        if (!g)
            printf("default");
        else if (g->line)
            printf("%s:%d:%d", file, g->line, g->column);
        else
            printf("--set");
        printf("%s\n", o->change == LIVE ? ", live" : "");
        buffer_free(&text);
    }
}

/* -> bytes its outputs keep per rollout. */
static int64_t
print_node(const struct plan *p, int index)
{
    const struct plan_node *n = &p->nodes[index];
    int64_t                 total = 0;

    printf("\n%s: %s", n->id, n->kind->name);
    if (plan_replicas(n) > 1)
        printf(", %d replicas", plan_replicas(n));
    printf("%s%s%s\n", plan_is_terminal(p, index) ? ", terminal" : "",
           *n->listen ? ", listens on " : "", n->listen);
    for (int i = 0; i < n->link_count; i++) {
        const struct plan_link *l = &n->links[i];
        const struct plan_node *from = &p->nodes[l->node];

        printf("  %s <- %s/%s (%s)\n", n->kind->ports[l->port].name, from->id,
               from->kind->ports[l->output].name,
               message_name(from->kind->ports[l->output].message));
    }
    for (int i = 0; n->kind->ports[i].direction != PORT_END; i++)
        if (n->kind->ports[i].direction == PORT_OUT && is_read(p, index, i)) {
            enum message m = sent(p, index, i);
            int64_t      bytes = m == MESSAGE_any ? 0 : typical_bytes(m);

            printf("  %s -> %s, %lld bytes per rollout kept\n", n->kind->ports[i].name,
                   message_name(m), (long long)bytes);
            total += bytes;
        }
    print_options(p, n, n->kind->options);
    print_options(p, n, node_common_options);
    return total;
}

static void
print_plan(const struct plan *p)
{
    int     processes = 0;
    int64_t bytes = 0;

    for (int i = 0; i < p->node_count; i++)
        processes += plan_replicas(&p->nodes[i]);
    printf("%s: %d nodes, %d processes, seed %llu, max_lead %llu\n", p->name, p->node_count,
           processes, (unsigned long long)p->seed, (unsigned long long)p->max_lead);
    for (int i = 0; i < p->node_count; i++)
        bytes += print_node(p, i);
    printf("\nkept in stores: at most %lld bytes per rollout, for a prompt of %d bytes, a response "
           "of %d and %d steps\n",
           (long long)bytes, TYPICAL_PROMPT, TYPICAL_RESPONSE, TYPICAL_STEPS);
}

/* Asks the servers that nodes will call; a line for each, or for what is wrong where it was written. */
static int
probe(const struct plan *p)
{
    int worst = 0;

    for (int i = 0; i < p->node_count; i++) {
        const struct plan_node   *n = &p->nodes[i];
        const struct plan_option *url = given(n, "url");
        struct buffer             told = {0};
        struct error              e = {0};
        void                     *options;
        int                       rc;

        if (!n->kind->probe)
            continue;
        options = xalloc(n->kind->options_size);
        rc = plan_options(p, i, options, &e);
        if (rc == 0)
            rc = n->kind->probe(options, &told, &e);
        for (char *line = told.at; line && line < told.at + told.length;) {
            char *end = memchr(line, '\n', (size_t)(told.at + told.length - line));
            printf("%s: %.*s\n", n->id, (int)(end - line), line);
            line = end + 1;
        }
        if (rc != 0) {
            fprintf(stderr, "%s:%d:%d: node '%s': %s\n", p->file, url ? url->line : n->line,
                    url ? url->column : n->column, n->id, e.text);
            worst = rc;
        }
        buffer_free(&told);
        options_fini(n->kind->options, options);
        free(options);
    }
    return worst;
}

int
command_check(int argc, char **argv)
{
    bool              show = false, online = false;
    struct many       sets = {0};
    const struct flag flags[] = {
        {FLAG_on, 0, "plan", NULL, &show,
         "print the resolved plan: options, where they come from, links"},
        {FLAG_on, 0, "online", NULL, &online,
         "also ask the servers that nodes will call whether they answer, with the key, and know the model; costs nothing"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &sets, "override an option; may be repeated"},
        {.kind = FLAG_end},
    };
    struct words  words;
    struct plan   plan;
    struct buffer problems = {0};
    struct error  e = {0};
    int code = flags_read(flags, "check TOPOLOGY [flags]", about, argc, argv, 1, 1, &words), rc;

    if (code >= 0)
        return code;
    rc = topology_read(words.at[0], sets.count, sets.at, &plan, &problems, &e);
    if (rc != 0) {
        fwrite(problems.at, 1, problems.length, stderr);
    } else if (show) {
        print_plan(&plan);
    } else {
        printf("%s: %d nodes, no problem found\n", words.at[0], plan.node_count);
    }
    if (rc == 0 && online)
        rc = probe(&plan);
    buffer_free(&problems);
    plan_free(&plan);
    return error_exit(rc);
}
