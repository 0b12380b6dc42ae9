/* Topologies: what is accepted becomes the plan it says, in one order; what is not is refused at
 * its place in words. The kinds here are the test's own, so that this test stands when kinds
 * change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "graph/expand.h"
#include "graph/plan.h"

/* ---- kinds ---- */

struct source_options {
    const char *path;
    bool        follow;
};

struct judge_options {
    int64_t      in_flight;
    double       threshold;
    const char  *model;
    int          mode;
    struct texts words;
    double       wait;
};

static const char *const modes[] = {"line", "paragraph", NULL};

static const struct option source_options[] = {
    OPT_PATH(struct source_options, path, FIXED, NULL, "where the rollouts are"),
    OPT_BOOL(struct source_options, follow, FIXED, "no", "wait for more"),
    OPT_END,
};
static const struct option judge_options[] = {
    OPT_INT(struct judge_options, in_flight, LIVE, "64", 1, 1000, "calls at once"),
    OPT_FLOAT(struct judge_options, threshold, FIXED, "0.5", 0, 1, "correct from here on"),
    OPT_PATH(struct judge_options, model, FIXED, "", "a model"),
    OPT_CHOICE(struct judge_options, mode, FIXED, "line", modes, "how to cut"),
    OPT_TEXTS(struct judge_options, words, FIXED, "wait", "words"),
    OPT_TIME(struct judge_options, wait, LIVE, "1s", 0, 60, "patience"),
    OPT_END,
};

static int
judge_check(struct check *c, struct error *e)
{
    const struct judge_options *o = c->options;

    if (*o->model && access(o->model, R_OK) != 0)
        return check_fail(c, "model", e, "'%s' cannot be read", o->model);
    if (c->endless && o->threshold == 1)
        return check_fail(c, "threshold", e, "1 never ends on an endless stream");
    if (o->in_flight == 13)
        return check_fail(c, NULL, e, "13 brings bad luck");
    return 0;
}

#define IN(name, message, flags)  {PORT_IN, name, MESSAGE_##message, flags, "takes " #message}
#define OUT(name, message)        {PORT_OUT, name, MESSAGE_##message, 0, "gives " #message}
#define STOP                      {.direction = PORT_END}

static const struct port source_ports[] = {OUT("out", rollout), STOP};
static const struct port cut_ports[] = {IN("in", rollout, 0), OUT("steps", steps),
                                        OUT("passed", rollout), STOP};
static const struct port judge_ports[] = {IN("in", steps, 0), OUT("votes", vote), STOP};
static const struct port join_ports[] = {IN("steps", steps, 0), IN("votes", vote, PORT_MANY),
                                         OUT("out", labelled), STOP};
static const struct port end_ports[] = {IN("labelled", labelled, PORT_OPTIONAL),
                                        IN("passed", rollout, PORT_OPTIONAL), STOP};
static const struct port loop_ports[] = {IN("in", any, PORT_MANY), OUT("out", any), STOP};

#define JUDGE                                                                                      \
    .options = judge_options, .options_size = sizeof(struct judge_options), .check = judge_check
static const struct node_kind kinds[] = {
    {.name = "reader", .summary = "s", .ports = source_ports, .options = source_options,
     .options_size = sizeof(struct source_options), .source = true},
    {.name = "segmenter", .summary = "s", .ports = cut_ports, JUDGE},
    {.name = "judge", .summary = "s", .ports = judge_ports, JUDGE},
    {.name = "consensus", .summary = "s", .ports = join_ports, JUDGE},
    {.name = "learner", .summary = "s", .ports = end_ports, JUDGE, .terminal = true},
    {.name = "loop", .summary = "s", .ports = loop_ports, JUDGE},
};

const struct node_kind *
node_kind_at(int index)
{
    return index >= 0 && index < (int)(sizeof(kinds) / sizeof(kinds[0])) ? &kinds[index] : NULL;
}

const struct node_kind *
node_kind_find(const char *name)
{
    for (int i = 0; node_kind_at(i); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* ---- reading text as a file ---- */

static char          folder[] = "/tmp/sluice-topology-XXXXXX";
static char         *file;
static struct plan   plan;
static struct buffer problems;
static struct error  e;

static int
read_sets(const char *text, int count, char *const *sets)
{
    FILE *f;
    int   rc;

    unlink(file);       /* writing over it would make some file systems flush each time */
    f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    buffer_clear(&problems);
    memset(&e, 0, sizeof(e));
    rc = topology_read(file, count, sets, &plan, &problems, &e);
    buffer_add(&problems, "", 1);
    return rc;
}

static void
accept(const char *text)
{
    if (read_sets(text, 0, NULL) != 0)
        fail_msg("refused: %s", problems.at);
}

/* `want`: lines of "line:column: text", without the file. */
static void
refuse_sets(const char *text, int count, char *const *sets, const char *want)
{
    struct buffer got = {0};

    assert_int_equal(read_sets(text, count, sets), ERROR_topology);
    for (char *line = strtok(problems.at, "\n"); line; line = strtok(NULL, "\n")) {
        assert_int_equal(strncmp(line, file, strlen(file)), 0);
        buffer_print(&got, "%s\n", line + strlen(file) + 1);
    }
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, want);
    assert_true(strstr(e.text, file) == e.text);
    assert_int_equal(plan.node_count, 0);
    buffer_free(&got);
}

static void
refuse(const char *text, const char *want)
{
    refuse_sets(text, 0, NULL, want);
}

static int
begin(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    file = xprint("%s/flow.yaml", folder);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    unlink(file);
    rmdir(folder);
    free(file);
    buffer_free(&problems);
    return 0;
}

/* Lines 1 to 6: what most cases need before their own. */
#define TOP                                                                                        \
    "name: t\n"                                                                                    \
    "nodes:\n"                                                                                     \
    "  - {id: r, kind: reader, with: {path: x.jsonl}}\n"                                           \
    "  - {id: s, kind: segmenter, inputs: {in: r/out}}\n"                                          \
    "  - {id: j, kind: judge, inputs: {in: s/steps}}\n"                                            \
    "  - {id: l, kind: learner, inputs: {passed: s/passed, labelled: c/out}}\n"
#define JOIN "  - {id: c, kind: consensus, inputs: {steps: s/steps, votes: j/votes}}\n"

/* ---- claims ---- */

static void
a_topology_becomes_its_plan(void **state)
{
    struct judge_options  o;
    struct source_options s;
    struct node_common    common;
    int                   j, c, l;

    (void)state;
    setenv("STATIC_MODEL", "m", 1);
    accept("seed: 7\nmax_lead: 1k\nnodes:\n"
           "- {id: l, kind: learner, inputs: {passed: s/passed, labelled: c/out}}\n"
           "- {id: c, kind: consensus, inputs: {votes: [k/votes, j/votes], steps: s/steps}}\n"
           "- {id: k, kind: judge, inputs: {in: s/steps}, replicas: 3}\n"
           "- id: j\n  kind: judge\n  inputs: {in: [s/steps]}\n"
           "  with: {in_flight: 9, words: [a, \"\"], wait: \"${STATIC_WAIT:-200ms}\",\n"
           "         commit_count: 1,\n"
           "         on_dead: hold}\n"
           "- {id: s, kind: segmenter, inputs: {in: r/out}, with: {mode: paragraph, words: []}}\n"
           "- {id: r, kind: reader, with: {path: \"data/${STATIC_MODEL}.jsonl\"}}\n");
    assert_string_equal(plan.name, "flow");
    assert_true(plan.seed == 7 && plan.max_lead == 1000 && plan.node_count == 6);
    assert_string_equal(plan.nodes[0].id, "r");
    assert_string_equal(plan.nodes[1].id, "s");
    assert_string_equal(plan.nodes[2].id, "k");     /* ties stand in the order of the file */
    assert_string_equal(plan.nodes[3].id, "j");
    j = plan_find(&plan, "j");
    c = plan_find(&plan, "c");
    l = plan_find(&plan, "l");
    assert_true(plan_is_terminal(&plan, l) && !plan_is_terminal(&plan, c));
    assert_int_equal(plan.nodes[c].link_count, 3);
    assert_int_equal(plan.nodes[c].links[0].port, 0);
    assert_string_equal(plan.nodes[plan.nodes[c].links[1].node].id, "j"); /* votes by producer id */
    assert_string_equal(plan.nodes[plan.nodes[c].links[2].node].id, "k");
    assert_int_equal(plan_replicas(&plan.nodes[plan_find(&plan, "k")]), 3);
    assert_int_equal(plan_options(&plan, j, &o, &e), 0);
    assert_true(o.in_flight == 9 && o.words.count == 2 && o.wait == 0.2 && o.threshold == 0.5);
    options_fini(judge_options, &o);
    assert_int_equal(plan_options(&plan, plan_find(&plan, "s"), &o, &e), 0);
    assert_true(o.mode == 1 && o.words.count == 0);
    options_fini(judge_options, &o);
    assert_int_equal(plan_common(&plan, j, &common, &e), 0);
    assert_true(common.commit_count == 1 && common.on_dead == ON_DEAD_hold &&
                common.commit_interval == 0.02);
    assert_int_equal(plan_options(&plan, 0, &s, &e), 0);
    assert_memory_equal(s.path, plan.folder, strlen(plan.folder));
    assert_string_equal(s.path + strlen(plan.folder), "/data/m.jsonl");
    options_fini(source_options, &s);
    plan_free(&plan);
}

static void
a_set_overrides_what_the_file_says(void **state)
{
    char *sets[] = {"j.in_flight=3", "j.words=a", "j.words=b", "j.replicas=2", "seed=9"};
    char *bad[] = {"j.in_flihgt=3", "j.in_flight=0", "q.x=1", "nothing"};
    struct judge_options o;

    (void)state;
    if (read_sets(TOP JOIN, 5, sets) != 0)
        fail_msg("%s", problems.at);
    assert_int_equal(plan_options(&plan, plan_find(&plan, "j"), &o, &e), 0);
    assert_true(o.in_flight == 3 && o.words.count == 2 && plan.seed == 9);
    assert_int_equal(plan_replicas(&plan.nodes[plan_find(&plan, "j")]), 2);
    options_fini(judge_options, &o);
    plan_free(&plan);
    refuse_sets(TOP JOIN, 4, bad,
                " node 'j': --set: option 'in_flihgt' is unknown; did you mean 'in_flight'?\n"
                " --set 'q.x=1': there is no node 'q'\n"
                " --set 'nothing': write node.option=value\n"
                " node 'j': --set: option 'in_flight': 0 is below 1\n");
}

static void
an_absent_node_takes_its_links_along(void **state)
{
    static const char text[] =
        TOP "  - {id: k, kind: judge, when: \"${STATIC_URL:+yes}\", inputs: {in: s/steps}, with: "
            "{model: \"${STATIC_URL}\"}}\n"
            "  - {id: c, kind: consensus, inputs: {steps: s/steps, votes: [j/votes, k/votes]}}\n";

    (void)state;
    unsetenv("STATIC_URL");
    accept(text);
    assert_int_equal(plan.node_count, 5);
    assert_int_equal(plan.nodes[plan_find(&plan, "c")].link_count, 2);
    plan_free(&plan);
    setenv("STATIC_URL", "/", 1);
    accept(text);
    assert_int_equal(plan.node_count, 6);
    assert_int_equal(plan.nodes[plan_find(&plan, "c")].link_count, 3);
    plan_free(&plan);
    unsetenv("STATIC_URL");
    refuse(TOP "  - {id: c, kind: consensus, when: no, inputs: {steps: s/steps, votes: j/votes}}\n",
           "5:5: node 'j': nobody reads what it sends\n");
    refuse("nodes:\n"
           "- {id: r, kind: reader, with: {path: x}}\n"
           "- {id: s, kind: segmenter, inputs: {in: r/out}}\n"
           "- {id: k, kind: judge, when: '', inputs: {in: s/steps}}\n"
           "- {id: c, kind: consensus, inputs: {steps: s/steps, votes: [k/votes]}}\n"
           "- {id: l, kind: learner, inputs: {labelled: c/out}}\n",
           "5:60: node 'c': input 'votes': every node it reads is absent (when:)\n");
}

static void
keys_are_checked(void **state)
{
    (void)state;
    refuse("nods: []\nseed: -1\n", "1:1: key 'nods' is unknown; did you mean 'nodes'?\n"
                                  "1:1: nodes: a list of nodes belongs here\n"
                                  "2:7: seed: -1 is below 0\n");
    refuse("name: ../x\n", "1:1: nodes: a list of nodes belongs here\n"
                               "1:7: name: '../x': use at most 80 letters, digits, spaces and . _ -, "
                               "not beginning with a dot\n");
    refuse("nodes: []\n", "1:8: nodes: a list of nodes belongs here\n");
    refuse("", "1:1: nodes: a list of nodes belongs here\n");
    refuse("- a\n", "1:1: a list where name, seed and nodes belong\n");
    refuse(TOP JOIN "  - 5\n", "8:5: node: one value where a mapping with id and kind belongs\n");
    refuse(TOP JOIN "  - {id: [x], knid: loop}\n",
           "8:5: node: kind is missing\n"
           "8:10: node: id is missing\n"
           "8:15: node: key 'knid' is unknown; did you mean 'kind'?\n");
    refuse(TOP JOIN "  - {id: X1, kind: juge}\n",
           "8:10: node id 'X1': use a-z, 0-9, _ and -, beginning with a letter\n"
           "8:20: node 'X1': kind 'juge' is unknown; did you mean 'judge'?\n");
    refuse(
        TOP JOIN "  - {id: a123456789012345678901234567890123456789x, kind: learner}\n",
        "8:10: node id 'a123456789012345678901234567890123456789x': longer than 40 characters\n");
    refuse(TOP JOIN "  - {id: l, kind: learner}\n",
           "8:10: node id 'l' is there twice; first at line 6\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, replicas: 2}\n",
           "8:38: node 'm': a learner has one replica, not 2\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, replicas: 65}\n",
           "8:38: node 'm': replicas: 65 is above 64\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, listen: here}\n",
           "8:36: node 'm': listen: 'here': write tcp://ADDRESS:PORT\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, listen: \"tcp://[::1]:40\"}\n",
           "8:36: node 'm': listen: a learner sends to nobody; leave it away\n");
}

static void
options_are_checked(void **state)
{
    (void)state;
    refuse(
        TOP JOIN
        "  - id: m\n    kind: learner\n    with: {in_flihgt: 2, threshold: 1.5, words: {a: 1},\n"
        "           mode: [line], wait: 30, commit_cuont: 1, log_level: loud}\n",
        "10:12: node 'm': option 'in_flihgt' is unknown; did you mean 'in_flight'?\n"
        "10:37: node 'm': option 'threshold': 1.5 is above 1\n"
        "10:49: node 'm': option 'words': a mapping where one value belongs\n"
        "11:18: node 'm': option 'mode': a list where one value belongs\n"
        "11:32: node 'm': option 'wait': '30' is not a time; write a number and one of us ms s m h "
        "d\n"
        "11:36: node 'm': option 'commit_cuont' is unknown; did you mean 'commit_count'?\n"
        "11:64: node 'm': option 'log_level': 'loud' is not one of debug, info, warning, error\n");
    refuse("nodes:\n- {id: r, kind: reader}\n- {id: l, kind: learner, inputs: {passed: r/out}}\n",
           "2:3: node 'r': option 'path' is missing: where the rollouts are\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, with: {model: /nowhere/m}}\n",
           "8:42: node 'm': option 'model': '/nowhere/m' cannot be read\n");
    refuse(TOP JOIN "  - {id: m, kind: learner, with: {in_flight: 13}}\n",
           "8:5: node 'm': 13 brings bad luck\n");
    refuse("nodes:\n- {id: r, kind: reader, with: {path: x, follow: yes}}\n"
           "- {id: p, kind: loop, inputs: {in: r/out}}\n"
           "- {id: l, kind: learner, inputs: {passed: p/out}, with: {threshold: 1}}\n",
           "4:69: node 'l': option 'threshold': 1 never ends on an endless stream\n");
}

static void
links_are_checked(void **state)
{
    (void)state;
    refuse(TOP
           "  - {id: c, kind: consensus, inputs: {steps: t/steps, votes: j/vote, vots: j/votes}}\n",
           "7:46: node 'c': input 'steps': there is no node 't'; did you mean 'r'?\n"
           "7:62: node 'c': input 'votes': node 'j' has no output 'vote'; did you mean 'votes'?\n"
           "7:70: node 'c': there is no input 'vots'; did you mean 'votes'?\n");
    refuse(TOP
           "  - {id: c, kind: consensus, inputs: {steps: s/passed, votes: [j/votes, j/votes]}}\n",
           "7:46: node 'c': input 'steps' takes 'steps', but 's/passed' sends 'rollout'\n"
           "7:73: node 'c': input 'votes': 'j/votes' is linked twice\n");
    refuse(TOP "  - {id: c, kind: consensus, inputs: {steps: [s/steps, s/passed], votes: []}}\n",
           "7:46: node 'c': input 'steps' takes one link, not 2\n"
           "7:74: node 'c': input 'votes': an empty list\n");
    refuse(TOP "  - {id: c, kind: consensus, inputs: {steps: steps, votes: {a: b}}}\n",
           "7:46: node 'c': input 'steps': 'steps' is not node/output\n"
           "7:60: node 'c': input 'votes': a mapping where node/output belongs\n");
    refuse(TOP "  - {id: c, kind: consensus}\n",
           "7:5: node 'c': input 'steps' is missing: takes steps\n"
           "7:5: node 'c': input 'votes' is missing: takes vote\n");
    refuse("nodes:\n- {id: r, kind: reader, inputs: {in: r/out}, with: {path: x}}\n",
           "2:34: node 'r': there is no input 'in'; a reader has none\n");
    refuse("nodes:\n- {id: r, kind: reader, with: {path: x}}\n",
           "2:3: node 'r': nobody reads what it sends\n");
}

static void
a_cycle_is_named_along_the_stream(void **state)
{
    (void)state;
    refuse("nodes:\n- {id: r, kind: reader, with: {path: x}}\n"
           "- {id: a, kind: loop, inputs: {in: [r/out, c/out]}}\n"
           "- {id: b, kind: loop, inputs: {in: a/out}}\n"
           "- {id: c, kind: loop, inputs: {in: b/out}}\n"
           "- {id: d, kind: loop, inputs: {in: c/out}}\n"
           "- {id: l, kind: learner, inputs: {passed: d/out}}\n",
           "3:3: node 'a': a cycle: a -> b -> c -> a\n");
    refuse("nodes:\n- {id: a, kind: loop, inputs: {in: a/out}}\n",
           "2:3: node 'a': a cycle: a -> a\n");
}

static void
two_sources_may_not_meet(void **state)
{
    (void)state;
    refuse("nodes:\n- {id: r1, kind: reader, with: {path: x}}\n- {id: r2, kind: reader, with: "
           "{path: x}}\n"
           "- {id: a, kind: loop, inputs: {in: r1/out}}\n"
           "- {id: b, kind: loop, inputs: {in: [a/out, r2/out]}}\n"
           "- {id: l, kind: learner, inputs: {passed: b/out}}\n",
           "5:3: node 'b': it joins what two sources number: 'r1' and 'r2'\n");
}

static void
hostile_yaml_is_refused_at_its_place(void **state)
{
    struct buffer deep = {0};

    (void)state;
    refuse("a: &x [1]\nb: *x\n", "1:4: anchors (&name) are not supported: write the value again\n");
    refuse("b: *x\n", "1:4: aliases (*name) are not supported: write the value again\n");
    refuse("name: !!str x\n", "1:7: tags (!name) are not supported\n");
    refuse("name: x\nname: y\n", "2:1: key 'name' is there twice\n");
    refuse("name: x\n---\nname: y\n", "2:1: a second document begins here; a topology is one\n");
    refuse("? [a]\n: b\n", "1:3: a key must be one word\n");
    refuse("name: \"a\\0b\"\n", "1:7: a value holds a NUL character\n");
    refuse("name: {a: b\nnodes: [\n",
           "2:6: did not find expected ',' or '}' while parsing a flow mapping\n");
    assert_int_equal(read_sets("name: \xff\xfe\n", 0, NULL), ERROR_topology);
    assert_non_null(strstr(e.text, "not UTF-8"));
    for (int i = 0; i < 100000; i++)
        buffer_text(&deep, "[");
    buffer_add(&deep, "", 1);
    refuse(deep.at, "1:17: values are nested too deep\n");
    buffer_clear(&deep);
    for (int i = 0; i < 70000; i++)
        buffer_text(&deep, "- 1\n");
    buffer_add(&deep, "", 1);
    refuse(deep.at, "65536:3: the file holds too many values\n");
    buffer_clear(&deep);
    for (int i = 0; i < 30000; i++)
        buffer_print(&deep, "k%d: 1\n", i);
    buffer_add(&deep, "", 1);
    refuse(deep.at, "1025:1: a mapping holds too many keys\n");
    buffer_free(&deep);
}

/* Whatever bytes a file holds: a plan or problems, never a crash (the sanitizers watch), never silence. */
static void
any_bytes_are_read_or_refused(void **state)
{
    static const char text[] =
        "seed: 7\n" TOP "  - id: c\n    kind: consensus\n    when: \"${STATIC_NO:-yes}\"\n"
        "    inputs: {steps: s/steps, votes: [j/votes]}\n    with: {words: [a, 'b'], wait: 2s}\n";
    char     room[sizeof(text)];
    uint64_t z = 1;

    (void)state;
    accept(text);
    plan_free(&plan);
    for (size_t n = 0; n < sizeof(text); n++) {
        memcpy(room, text, n);
        room[n] = 0;
        if (read_sets(room, 0, NULL) == 0)
            plan_free(&plan);
        else
            assert_true(e.code == ERROR_topology && problems.length > 1);
    }
    for (int i = 0; i < 3000; i++) {
        memcpy(room, text, sizeof(text));
        for (int k = 0; k <= i % 3; k++) {
            z = z * 6364136223846793005u + 1442695040888963407u;
            room[(z >> 33) % (sizeof(text) - 1)] ^= (char)(1 + (z >> 20) % 255);
        }
        if (read_sets(room, 0, NULL) == 0)
            plan_free(&plan);
        else
            assert_true(e.code == ERROR_topology && problems.length > 1);
    }
}

static void
all_problems_are_told_but_not_without_end(void **state)
{
    struct buffer text = {0};
    int           lines = 0;

    (void)state;
    buffer_text(&text, TOP JOIN);
    for (int i = 0; i < 150; i++)
        buffer_print(&text, "  - {id: n%d, kind: nothing}\n", i);
    buffer_add(&text, "", 1);
    assert_int_equal(read_sets(text.at, 0, NULL), ERROR_topology);
    for (const char *p = problems.at; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 101);
    assert_non_null(strstr(problems.at, "flow.yaml: 50 more problems\n"));
    buffer_free(&text);
}

static void
variables_are_expanded_or_named(void **state)
{
    static const struct { const char *text, *want;
    } good[] = {
        {"a${STATIC_A}b", "aoneboneb"},  {"${STATIC_A}${STATIC_A}", "oneboneonebone"},
        {"${STATIC_NO:-x y}", "x y"},    {"${STATIC_NO:+x}", ""},
        {"${STATIC_A:+yes}", "yes"},     {"${STATIC_KEY:+yes}", "yes"},
        {"$${STATIC_A}", "${STATIC_A}"}, {"$5 $", "$5 $"},
        {"${STATIC_EMPTY}", ""},         {"${STATIC_EMPTY:-d}", "d"},
    };
    static const struct { const char *text, *words;
    } bad[] = {
        {"${STATIC_NO}", "${STATIC_NO}: the variable is not set and has no default"},
        {"${STATIC_KEY}", "a secret may not be written"},
        {"${static_token:-x}", "a secret may not"},
        {"${}", "names no variable"},
        {"${1A}", "names no variable"},
        {"${STATIC_A", "has no '}'"},
        {"${STATIC_A-x}", "write ${NAME}"},
        {"${STATIC_NO:-${STATIC_A}}", "write ${NAME}"},
    };
    struct buffer out = {0};

    (void)state;
    setenv("STATIC_A", "onebone", 1);
    setenv("STATIC_EMPTY", "", 1);
    setenv("STATIC_KEY", "hush-hush", 1);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        buffer_clear(&out);
        if (expand(good[i].text, &out, &e) != 0)
            fail_msg("%s: %s", good[i].text, e.text);
        buffer_add(&out, "", 1);
        assert_string_equal(out.at, good[i].want);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buffer_clear(&out);
        assert_int_equal(expand(bad[i].text, &out, &e), ERROR_topology);
        if (!strstr(e.text, bad[i].words) || strstr(e.text, "hush"))
            fail_msg("'%s' does not say '%s'", e.text, bad[i].words);
    }
    buffer_free(&out);
}

static void
a_plan_comes_back_from_its_file(void **state)
{
    struct plan   back;
    struct buffer out = {0};
    char         *path = xprint("%s/plan.json", folder);
    FILE         *f;

    (void)state;
    accept(TOP JOIN);
    assert_int_equal(plan_write(&plan, folder, &e), 0);
    if (plan_load(&back, folder, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(plan_difference(&plan, &back, &out), 0);
    assert_string_equal(back.nodes[3].id, plan.nodes[3].id);
    assert_string_equal(back.folder, plan.folder);
    plan_free(&back);
    for (int cut = 0; cut < 3; cut++) {
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(cut == 0 ? "{" : cut == 1 ? "{\"version\":1}" : "{\"version\":2}", f);
        fclose(f);
        assert_int_not_equal(plan_load(&back, folder, &e), 0);
    }
    assert_non_null(strstr(e.text, "another version"));
    unlink(path);
    assert_int_equal(plan_load(&back, folder, &e), ERROR_file);
    assert_non_null(strstr(e.text, "is not a run"));
    plan_free(&plan);
    buffer_free(&out);
    free(path);
}

static void
only_what_could_change_a_byte_is_a_difference(void **state)
{
    struct plan   first;
    struct buffer out = {0};

    (void)state;
    accept(TOP JOIN "  - {id: m, kind: learner, with: {threshold: 0.25, wait: 2s, words: [a, b], "
                    "mode: line}}\n");
    first = plan;
    accept(TOP JOIN "  - {id: m, kind: learner, with: {threshold: 25e-2, wait: 3s, words: [a, b], "
                    "commit_count: 5}}\n");
    assert_int_equal(plan_difference(&first, &plan, &out), 0);
    plan_free(&plan);
    accept("seed: 3\n" TOP
           "  - {id: c, kind: consensus, inputs: {steps: s/steps, votes: [j/votes, k/votes]}}\n"
           "  - {id: k, kind: judge, inputs: {in: s/steps}}\n"
           "  - {id: m, kind: learner, with: {words: a, on_dead: hold}}\n");
    assert_int_equal(plan_difference(&first, &plan, &out), 6);
    buffer_add(&out, "", 1);
    assert_string_equal(out.at, "seed: 0 -> 3\n"
                                "node 'c': its inputs differ\n"
                                "node 'm': option 'threshold': '0.25' -> '0.5'\n"
                                "node 'm': option 'words': 'a', 'b' -> 'a'\n"
                                "node 'm': option 'on_dead': 'close' -> 'hold'\n"
                                "node 'k': is new\n");
    plan_free(&plan);
    plan_free(&first);
    buffer_free(&out);
}

static void
groups_are_spread_and_stay(void **state)
{
    struct plan_row  rows[] = {{0, 2}, {1000, 3}};
    struct plan_node n = {.row_count = 2, .rows = rows};
    int              seen[3] = {0};

    (void)state;
    assert_int_equal(plan_replicas(&n), 3);
    for (uint64_t first = 0; first < 1000; first += 16)
        assert_in_range(plan_route(&n, first), 0, 1);
    for (uint64_t first = 1000; first < 49000; first += 16)
        seen[plan_route(&n, first)]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 900, 1100);
    /* part of the format of a run: these may never change */
    assert_int_equal(plan_route(&n, 0), 1);
    assert_int_equal(plan_route(&n, 16), 1);
    assert_int_equal(plan_route(&n, 32), 1);
    assert_int_equal(plan_route(&n, 1024), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topology_becomes_its_plan),
        cmocka_unit_test(a_set_overrides_what_the_file_says),
        cmocka_unit_test(an_absent_node_takes_its_links_along),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(links_are_checked),
        cmocka_unit_test(a_cycle_is_named_along_the_stream),
        cmocka_unit_test(two_sources_may_not_meet),
        cmocka_unit_test(hostile_yaml_is_refused_at_its_place),
        cmocka_unit_test(any_bytes_are_read_or_refused),
        cmocka_unit_test(all_problems_are_told_but_not_without_end),
        cmocka_unit_test(variables_are_expanded_or_named),
        cmocka_unit_test(a_plan_comes_back_from_its_file),
        cmocka_unit_test(only_what_could_change_a_byte_is_a_difference),
        cmocka_unit_test(groups_are_spread_and_stay),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
