/* exec: a node whose work a program does. This file is that program too: called with "actor" it
 * speaks the protocol and does to each question what the response's first word says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <msgpack.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/core.h"
#include "tests/harness.h"

static char self[4096];     /* this program's path */

/* ---- the actor ---- */

static void
answer(json_int_t ask, const char *outputs)
{
    printf("{\"ask\":%lld,%s}\n", (long long)ask, outputs);
    fflush(stdout);
}

static void
flood(void)
{
    for (int i = 0; i < 100000; i++)
        fprintf(stderr, "line %d of a program that talks too much\n", i);
}

/* What it can see of its parent: open files above the three, and what is in the environment. */
static void
answer_seen(json_int_t ask)
{
    DIR *dir = opendir("/proc/self/fd");
    char text[200];
    int  files = -1;        /* less the folder itself */

    while (dir && readdir(dir))
        files++;
    closedir(dir);
    const char *asked = getenv("EXEC_ASKED");
    snprintf(text, sizeof(text),
             "\"outputs\":{\"votes\":{\"scores\":[1],\"reasons\":[\"%d files, planted %s, asked %s\"]}}",
             files - 2 - 3, getenv("EXEC_PLANTED_KEY") ? "seen" : "unseen", asked ? asked : "unset");
    answer(ask, text);
}

static void
act(const char *word, json_int_t ask, json_int_t attempt)
{
    static const char *const plain[][2] = {
        {"GOOD", "\"outputs\":{\"votes\":{\"scores\":[0.75]}}"},
        {"NULL", "\"outputs\":{\"votes\":{\"scores\":[null],\"usd\":0.5}}"},
        {"BADSCORE", "\"outputs\":{\"votes\":{\"scores\":[7]}}"},
        {"BADCOUNT", "\"outputs\":{\"votes\":{\"scores\":[1,1]}}"},
        {"BADPORT", "\"outputs\":{\"vote\":{\"scores\":[1]}}"},
        {"BADTYPE", "\"outputs\":{\"votes\":{\"scores\":\"high\"}}"},
        {"FORGE", "\"outputs\":{\"votes\":{\"scores\":[1],\"voter\":\"other\"}}"},
        {"CLOSE", "\"close\":{\"votes\":\"not my kind\"}"},
        {"NOTHING", "\"outputs\":{}"},
        {"DEAD", "\"dead\":\"this is beyond me\""},
        {"ABSTAIN", "\"outputs\":{\"votes\":{\"abstain\":\"too hard\"}}"},
    };
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (strcmp(word, plain[i][0]) == 0)
            answer(ask, plain[i][1]);
    if (strcmp(word, "SECOND") == 0)        /* fails once */
        answer(ask, attempt == 0 ? "\"outputs\":7" : "\"outputs\":{\"votes\":{\"scores\":[1]}}");
    if (strcmp(word, "EXIT") == 0)
        exit(3);
    if (strcmp(word, "LEAVE") == 0)
        exit(0);
    if (strcmp(word, "CRASH") == 0) {
        fprintf(stderr, "about to crash with %s\n", getenv("EXEC_SECRET") ? getenv("EXEC_SECRET") : "");
        abort();
    }
    if (strcmp(word, "TELLS") == 0) {
        char dead[200];
        snprintf(dead, sizeof(dead), "\"dead\":\"denied: %s\"", getenv("EXEC_SECRET"));
        answer(ask, dead);
    }
    if (strcmp(word, "KILLED") == 0 && attempt == 0) {
        char *once = getenv("EXEC_ONCE");
        if (access(once, F_OK) == 0) {
            unlink(once);
            raise(SIGKILL);
        }
        answer(ask, plain[0][1]);
    }
    if (strcmp(word, "HANG") == 0)
        pause();
    if (strcmp(word, "JUNK") == 0)
        printf("\xff\xfe not JSON\n"), fflush(stdout);
    if (strcmp(word, "STRANGER") == 0)
        answer(999999, plain[0][1]);
    if (strcmp(word, "TWICE") == 0)
        answer(ask, plain[0][1]), answer(ask, plain[0][1]);
    if (strcmp(word, "LONG") == 0) {
        for (int i = 0; i < 100000; i++)
            printf("no end of it ");
        fflush(stdout);
        pause();
    }
    if (strcmp(word, "SHUT") == 0)
        close(1), pause();
    if (strcmp(word, "SEEN") == 0)
        answer_seen(ask);
    if (strcmp(word, "FLOOD") == 0)
        flood(), answer(ask, plain[0][1]);
}

/* Keeps a question until the next comes, and answers that first; the last waits for the end. */
static int
reversed(void)
{
    char      *line = NULL;
    size_t     room = 0;
    json_int_t kept = -1;

    while (getline(&line, &room, stdin) > 0) {
        json_t *m = json_loads(line, 0, NULL);

        if (json_object_get(m, "hello"))
            puts("{\"ready\":1}"), fflush(stdout);
        json_int_t ask = json_integer_value(json_object_get(m, "ask"));
        if (ask > 0 && kept < 0) {
            kept = ask;
        } else if (ask > 0) {
            answer(ask, "\"outputs\":{\"votes\":{\"scores\":[1]}}");
            answer(kept, "\"outputs\":{\"votes\":{\"scores\":[0]}}");
            kept = -1;
        }
        json_decref(m);
    }
    free(line);
    return 0;
}

static bool
read_whole(void *to, size_t length)
{
    return fread(to, 1, length, stdin) == length;
}

/* The value of a field of a map, or NULL. */
static const msgpack_object *
value(const msgpack_object *map, const char *name)
{
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++)
        if (map->via.map.ptr[i].key.via.str.size == strlen(name) &&
            memcmp(map->via.map.ptr[i].key.via.str.ptr, name, strlen(name)) == 0)
            return &map->via.map.ptr[i].val;
    return NULL;
}

static void
write_framed(const msgpack_sbuffer *b)
{
    unsigned char header[4] = {(unsigned char)(b->size >> 24), (unsigned char)(b->size >> 16),
                               (unsigned char)(b->size >> 8), (unsigned char)b->size};

    fwrite(header, 1, 4, stdout);
    fwrite(b->data, 1, b->size, stdout);
    fflush(stdout);
}

static void
put(msgpack_packer *p, const char *text)
{
    msgpack_pack_str(p, strlen(text));
    msgpack_pack_str_body(p, text, strlen(text));
}

/* The other protocol: every step scores 0.5, and the reason is what message the input said it was. */
static int
packed_actor(void)
{
    unsigned char header[4];
    static char   bytes[1 << 20];

    while (read_whole(header, 4)) {
        size_t           length = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
        msgpack_unpacked u;
        msgpack_sbuffer  b;
        msgpack_packer   p;
        size_t           at = 0;

        if (length > sizeof(bytes) || !read_whole(bytes, length))
            return 1;
        msgpack_unpacked_init(&u);
        msgpack_unpack_next(&u, bytes, length, &at);
        msgpack_sbuffer_init(&b);
        msgpack_packer_init(&p, &b, msgpack_sbuffer_write);
        if (value(&u.data, "hello")) {
            msgpack_pack_map(&p, 1);
            put(&p, "ready"), msgpack_pack_int(&p, 1);
        } else {
            const msgpack_object *message = value(&value(&u.data, "inputs")->via.array.ptr[0], "message");

            msgpack_pack_map(&p, 2);
            put(&p, "ask"), msgpack_pack_uint64(&p, value(&u.data, "ask")->via.u64);
            put(&p, "outputs"), msgpack_pack_map(&p, 1);
            put(&p, "votes"), msgpack_pack_map(&p, 2);
            put(&p, "scores"), msgpack_pack_array(&p, 1), msgpack_pack_float(&p, 0.5f);
            put(&p, "reasons"), msgpack_pack_array(&p, 1), msgpack_pack_object(&p, *message);
        }
        write_framed(&b);
        msgpack_sbuffer_destroy(&b);
        msgpack_unpacked_destroy(&u);
    }
    return 0;
}

static int
actor(const char *mode)
{
    char  *line = NULL;
    size_t room = 0;

    if (strcmp(mode, "stillborn") == 0)
        fprintf(stderr, "no model here\n"), exit(1);
    if (strcmp(mode, "packed") == 0)
        return packed_actor();
    if (strcmp(mode, "reversed") == 0)
        return reversed();
    if (strcmp(mode, "mute") == 0)
        pause();
    if (strcmp(mode, "deaf") == 0)
        puts("{\"ready\":1}"), fflush(stdout), pause();
    if (strcmp(mode, "old") == 0)
        puts("{\"ready\":0}"), fflush(stdout), pause();
    while (getline(&line, &room, stdin) > 0) {
        json_t *m = json_loads(line, 0, NULL), *inputs = json_object_get(m, "inputs");
        json_t *body = json_object_get(json_array_get(inputs, 0), "body");
        json_t *rollout = json_object_get(body, "rollout");
        char    word[40] = "";

        if (json_object_get(m, "hello"))
            puts("{\"ready\":1}"), fflush(stdout);
        const char *response = json_string_value(json_object_get(rollout ? rollout : body, "response"));
        if (response)
            sscanf(response, "%39s", word);
        if (strcmp(mode, "maker") == 0 && response)
            answer(json_integer_value(json_object_get(m, "ask")), word[0] == 'E'
                   ? "\"outputs\":{\"re\":{\"reward\":0.5},\"cut\":{\"ends\":[4]}}"
                   : "\"outputs\":{\"re\":{\"reward\":0.5},\"cut\":{\"ends\":[1,2]},\"marked\":{\"ends\":[1,2],\"labels\":[true,2]}}");
        else if (response)
            act(word, json_integer_value(json_object_get(m, "ask")),
                json_integer_value(json_object_get(m, "attempt")));
        json_decref(m);
    }
    free(line);
    return 0;
}

/* ---- helpers ---- */

static const char *const links[] = {"in", "steps", NULL};

static struct harness *
open_actor(const char *mode, const char *const *more)
{
    const char *options[24] = {"command", self, "command", "actor", "command", mode, "timeout", "300ms"};
    int         n = 8;

    for (; more && *more; more++)
        options[n++] = *more;
    return harness_open("exec", links, options, NULL);
}

/* One step: the whole response. */
static void
give(struct harness *h, uint64_t ordinal, const char *response)
{
    uint64_t     ends[] = {strlen(response)};
    struct steps s = {.ends = {1, ends}, .rollout.response = span_text(response)};

    harness_give(h, 0, ordinal, ordinal, 1, &s);
}

static struct arena arena;

static bool
take_from(struct harness *h, const char *port, struct harness_message *m)
{
    for (int i = 0; i < 100; i++) {
        if (harness_take(h, port, m))
            return true;
        harness_run(h, 0.1, NULL);
    }
    return false;
}

static bool
take(struct harness *h, struct harness_message *m, struct vote *v)
{
    bool took = take_from(h, "votes", m);

    if (took && !m->closing)
        assert_int_equal(message_read(MESSAGE_vote, m->body, v, &arena, NULL), 0);
    return took;
}

/* The next vote abstains for a reason that says so, and a dead letter says it too. */
static void
abstains(struct harness *h, const char *why, int dead)
{
    struct harness_message m;
    struct vote            v;
    char                   text[1000];

    assert_true(take(h, &m, &v));
    assert_false(m.closing);
    if (!strstr(v.abstain.at ? v.abstain.at : "", why))
        fail_msg("'%.*s' does not say '%s'", (int)v.abstain.length, v.abstain.at, why);
    assert_int_equal(v.scores.count, 0);
    assert_int_equal(harness_dead_count(h), dead);
    harness_dead_text(h, dead - 1, text, sizeof(text));
    assert_non_null(strstr(text, why));
}

static void
scores(struct harness *h, uint64_t ordinal, float score)
{
    struct harness_message m;
    struct vote            v;

    assert_true(take(h, &m, &v));
    if (m.closing || v.abstain.length > 0)
        fail_msg("ordinal %d: %s%.*s", (int)m.ordinal, m.closing ? m.reason : "", (int)v.abstain.length, v.abstain.at);
    assert_int_equal(m.ordinal, ordinal);
    assert_int_equal(v.scores.count, 1);
    assert_true(v.said.at[0] == 1 && v.scores.at[0] == score);
    assert_true(span_is(v.voter, "node"));
}

/* ---- tests ---- */

static void
an_answer_becomes_a_vote_of_this_node(void **state)
{
    struct harness        *h = open_actor("", NULL);
    struct harness_message m;
    struct vote            v;

    (void)state;
    give(h, 4, "GOOD");
    scores(h, 4, 0.75f);
    give(h, 5, "FORGE");
    scores(h, 5, 1);
    give(h, 6, "NULL");
    assert_true(take(h, &m, &v) && v.said.count == 1 && v.said.at[0] == 0 && v.usd == 0.5);
    give(h, 7, "ABSTAIN");
    assert_true(take(h, &m, &v) && span_is(v.abstain, "too hard"));
    give(h, 8, "CLOSE");
    assert_true(take(h, &m, &v) && m.closing);
    assert_string_equal(m.reason, "not my kind");
    give(h, 9, "NOTHING");
    assert_true(take(h, &m, &v) && m.closing);
    assert_string_equal(m.reason, "filtered");
    assert_int_equal(harness_dead_count(h), 0);
    give(h, 10, "DEAD");
    abstains(h, "this is beyond me", 1);
    harness_close(h);
}

static void
an_answer_that_cannot_be_used_is_asked_again_then_given_up(void **state)
{
    static const char *const bad[][2] = {
        {"BADSCORE", "after 3 attempts: an answer that cannot be used: output 'votes': score 0 is 7, not in [0, 1]"},
        {"BADCOUNT", "field 'scores' has 2 elements for 1 steps"},
        {"BADPORT", "'outputs': there is no output 'vote'"},
        {"BADTYPE", "field 'scores': not an array"},
    };
    struct harness *h = open_actor("", NULL);

    (void)state;
    for (int i = 0; i < 4; i++) {
        give(h, (uint64_t)i, bad[i][0]);
        abstains(h, bad[i][1], i + 1);
    }
    give(h, 4, "SECOND");
    scores(h, 4, 1);
    harness_close(h);
}

static void
a_program_that_fails_is_started_again_and_its_message_given_up(void **state)
{
    static const char *const bad[][2] = {
        {"EXIT", "after 2 attempts: its program ended (exit code 3)"},
        {"LEAVE", "its program ended (exit code 0)"},
        {"CRASH", "its program ended (SIGABRT): about to crash with"},
        {"HANG", "its program did not answer in 0.3 s"},
        {"JUNK", "its program wrote what is no answer: not JSON"},
        {"STRANGER", "its program wrote what is no answer, nobody asked it that"},
        {"LONG", "a line of more than 100000 bytes"},
        {"SHUT", "its program closed its output"},
    };
    static const char *const more[] = {"attempts", "2", "message_bytes", "100KB", NULL};
    struct harness          *h = open_actor("", more);

    (void)state;
    for (int i = 0; i < 8; i++) {
        give(h, (uint64_t)(2 * i), bad[i][0]);
        abstains(h, bad[i][1], i + 1);
        give(h, (uint64_t)(2 * i + 1), "GOOD");
        scores(h, (uint64_t)(2 * i + 1), 0.75f);
    }
    harness_close(h);
}

static void
neighbours_of_a_bad_message_are_not_blamed(void **state)
{
    static const char *const more[] = {"attempts", "2", "in_flight", "16", NULL};
    struct harness          *h = open_actor("", more);
    struct harness_message   m;
    struct vote              v;
    int                      good = 0, given_up = 0;

    (void)state;
    for (uint64_t i = 0; i < 16; i++)
        give(h, i, i % 5 == 3 ? "CRASH" : "GOOD");
    for (int i = 0; i < 16; i++) {
        assert_true(take(h, &m, &v));
        if (v.abstain.length == 0)
            good++;
        else
            given_up += m.ordinal % 5 == 3;
    }
    assert_int_equal(good, 13);
    assert_int_equal(given_up, 3);
    assert_int_equal(harness_dead_count(h), 3);
    harness_close(h);
}

static void
a_kill_from_outside_blames_nobody(void **state)
{
    static const char *const more[] = {"attempts", "1", "env", "EXEC_ONCE", NULL};
    char                     once[] = "/tmp/sluice-exec-XXXXXX";
    struct harness          *h;

    (void)state;
    close(mkstemp(once));
    setenv("EXEC_ONCE", once, 1);
    h = open_actor("", more);
    give(h, 0, "KILLED");
    scores(h, 0, 0.75f);
    assert_int_equal(access(once, F_OK), -1);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

/* More than a pipe holds: written in pieces, as the program reads. */
static void
large_messages_pass_in_pieces(void **state)
{
    static const char *const more[] = {"timeout", "20s", NULL};
    struct harness          *h = open_actor("", more);
    char                    *text = malloc((3 << 20) + 1);

    (void)state;
    memset(text, 'x', 3 << 20);
    memcpy(text, "GOOD ", 5);
    text[3 << 20] = 0;
    for (uint64_t i = 0; i < 6; i++)
        give(h, i, text);
    for (uint64_t i = 0; i < 6; i++)
        scores(h, i, 0.75f);
    harness_close(h);
    free(text);
}

static void
a_program_that_never_reads_is_given_up_on(void **state)
{
    static const char *const more[] = {"attempts", "2", "timeout", "200ms", NULL};
    struct harness          *h = open_actor("deaf", more);
    char                    *text = malloc((1 << 20) + 1);

    (void)state;
    memset(text, 'x', 1 << 20);
    text[1 << 20] = 0;
    give(h, 0, text);
    abstains(h, "after 2 attempts: its program did not answer in 0.2 s", 1);
    harness_close(h);
    free(text);
}

static void
answers_may_come_in_any_order(void **state)
{
    static const char *const more[] = {"in_flight", "2", "timeout", "20s", NULL};
    struct harness          *h = open_actor("reversed", more);

    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        give(h, i, "anything");
    scores(h, 1, 1);
    scores(h, 0, 0);
    scores(h, 3, 1);
    scores(h, 2, 0);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
a_secret_it_was_given_is_blotted_out_of_what_is_kept(void **state)
{
    static const char *const more[] = {"env", "EXEC_SECRET", "attempts", "1", NULL};
    struct harness          *h;
    char                     text[1000];

    (void)state;
    setenv("EXEC_SECRET", "planted-7f3a", 1);
    h = open_actor("", more);
    give(h, 0, "CRASH");
    abstains(h, "about to crash with ************", 1);
    harness_dead_text(h, 0, text, sizeof(text));
    assert_null(strstr(text, "planted-7f3a"));
    give(h, 1, "TELLS");
    abstains(h, "denied: ************", 2);
    harness_close(h);
    unsetenv("EXEC_SECRET");
}

static void
an_answer_given_twice_ends_the_program_and_loses_nothing(void **state)
{
    struct harness *h = open_actor("", NULL);

    (void)state;
    give(h, 0, "TWICE");
    scores(h, 0, 0.75f);
    give(h, 1, "GOOD");
    scores(h, 1, 0.75f);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
a_program_that_cannot_start_pauses_the_node(void **state)
{
    static const char *const modes[] = {"stillborn", "mute", "old"};
    static const char *const whys[] = {"no model here", "not ready after 0.2 s", "does not speak version 1"};
    static const char *const more[] = {"start_timeout", "200ms", NULL};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct harness        *h = open_actor(modes[i], more);
        struct harness_message m;

        give(h, 0, "GOOD");
        for (int k = 0; k < 200 && !strstr(harness_node(h)->why, whys[i]); k++)
            harness_run(h, 0.05, NULL);
        assert_false(harness_take(h, "votes", &m));
        assert_int_equal(harness_dead_count(h), 0);
        if (!strstr(harness_node(h)->why, whys[i]))
            fail_msg("'%s' does not say '%s'", harness_node(h)->why, whys[i]);
        harness_close(h);
    }
}

static void
it_gets_no_file_and_no_secret_of_ours(void **state)
{
    static const char *const more[] = {"env", "EXEC_ASKED", NULL};
    struct harness          *h;
    struct harness_message   m;
    struct vote              v;
    int                      extra = dup(0);     /* without close-on-exec */

    (void)state;
    setenv("EXEC_PLANTED_KEY", "planted-secret", 1);
    setenv("EXEC_ASKED", "given", 1);
    h = open_actor("", more);
    give(h, 0, "SEEN");
    assert_true(take(h, &m, &v));
    assert_true(v.reasons.count == 1);
    if (!span_is(v.reasons.at[0], "0 files, planted unseen, asked given"))
        fail_msg("'%.*s'", (int)v.reasons.at[0].length, v.reasons.at[0].at);
    harness_close(h);
    close(extra);
}

static void
a_flood_on_standard_error_holds_nothing_up(void **state)
{
    static const char *const more[] = {"timeout", "10s", NULL};
    struct harness          *h = open_actor("", more);

    (void)state;
    give(h, 0, "FLOOD");
    scores(h, 0, 0.75f);
    harness_close(h);
}

static void
what_was_in_hand_is_asked_again_after_a_crash_of_the_node(void **state)
{
    static const char *const more[] = {"timeout", "60s", NULL};
    struct harness          *h = open_actor("", more);

    (void)state;
    give(h, 0, "HANG");
    give(h, 1, "GOOD");
    harness_run(h, 0.1, NULL);
    harness_crash(h);
    harness_close(h);
    h = open_actor("", more);
    give(h, 1, "GOOD");
    harness_crash(h);
    scores(h, 1, 0.75f);
    harness_end(h);
    harness_run(h, 0.2, NULL);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
fields_left_out_are_the_inputs(void **state)
{
    static const char *const in[] = {"raw", "rollouts", NULL};
    const char *const options[] = {"command", self, "command", "actor", "command", "maker", "in", "raw=rollout",
                                   "out", "re=rollout", "out", "cut=steps", "out", "marked=labelled", "attempts", "1", NULL};
    struct harness        *h = harness_open("exec", in, options, NULL);
    struct rollout         r = {.id = span_text("x"), .prompt = span_text("p"), .reward = 1, .response = span_text("ab c")};
    struct harness_message m;
    struct rollout         re;
    struct steps           s;
    struct labelled        l;

    (void)state;
    harness_give(h, 0, 3, 3, 1, &r);
    /* The steps do not reach the end of the response: nothing is sent of an answer that is half good. */
    assert_true(take_from(h, "re", &m) && m.closing);
    assert_int_equal(harness_dead_count(h), 1);
    assert_true(harness_take(h, "cut", &m) && m.closing && harness_take(h, "marked", &m) && m.closing);
    r.response = span_text("E bc");
    harness_give(h, 0, 4, 4, 1, &r);
    assert_true(take_from(h, "re", &m) && !m.closing);
    assert_int_equal(message_read(MESSAGE_rollout, m.body, &re, &arena, NULL), 0);
    assert_true(re.reward == 0.5 && span_is(re.prompt, "p") && span_is(re.response, "E bc"));
    assert_true(harness_take(h, "cut", &m) && !m.closing);
    assert_int_equal(message_read(MESSAGE_steps, m.body, &s, &arena, NULL), 0);
    assert_true(s.ends.count == 1 && s.ends.at[0] == 4 && span_is(s.rollout.id, "x"));
    assert_true(harness_take(h, "marked", &m) && m.closing);
    assert_string_equal(m.reason, "filtered");
    r.response = span_text("ab");
    harness_give(h, 0, 5, 5, 1, &r);
    assert_true(take_from(h, "marked", &m) && !m.closing);
    assert_int_equal(message_read(MESSAGE_labelled, m.body, &l, &arena, NULL), 0);
    assert_true(l.labels.count == 2 && l.counted.at[0] == 1 && l.agree.at[0] == 1 && l.counted.at[1] == 0);
    harness_close(h);
}

static void
msgpack_is_spoken_too(void **state)
{
    static const char *const more[] = {"protocol", "msgpack", NULL};
    struct harness          *h = open_actor("packed", more);
    struct harness_message   m;
    struct vote              v;

    (void)state;
    for (uint64_t i = 0; i < 20; i++)
        give(h, i, "anything \xe2\x82\xac");
    for (int i = 0; i < 20; i++) {
        assert_true(take(h, &m, &v));
        assert_true(v.scores.at[0] == 0.5f && v.said.at[0] == 1 && span_is(v.reasons.at[0], "steps"));
    }
    harness_close(h);
    h = open_actor("", more);       /* a program that speaks the other one is not ready for us */
    give(h, 0, "GOOD");
    for (int i = 0; i < 3; i++)
        harness_run(h, 0.1, NULL);
    assert_false(harness_take(h, "votes", &m));
    harness_close(h);
}

static void
refused(const char *option, const char *value, const char *why)
{
    const char  *options[] = {"command", self, option, value, NULL};
    struct error e = {0};

    assert_null(harness_open("exec", links, options, &e));
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void
wrong_options_are_refused(void **state)
{
    const char  *options[] = {"command", "no-such-program-anywhere", NULL};
    struct error e = {0};

    (void)state;
    assert_null(harness_open("exec", links, options, &e));
    assert_non_null(strstr(e.text, "'no-such-program-anywhere' is no program here (PATH was searched)"));
    refused("folder", "nowhere", "cannot be entered");
    refused("files", "no.py", "cannot be read");
    refused("env", "KEY=value", "name variables");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_becomes_a_vote_of_this_node),
        cmocka_unit_test(an_answer_that_cannot_be_used_is_asked_again_then_given_up),
        cmocka_unit_test(a_program_that_fails_is_started_again_and_its_message_given_up),
        cmocka_unit_test(neighbours_of_a_bad_message_are_not_blamed),
        cmocka_unit_test(a_kill_from_outside_blames_nobody),
        cmocka_unit_test(large_messages_pass_in_pieces),
        cmocka_unit_test(a_program_that_never_reads_is_given_up_on),
        cmocka_unit_test(answers_may_come_in_any_order),
        cmocka_unit_test(a_secret_it_was_given_is_blotted_out_of_what_is_kept),
        cmocka_unit_test(an_answer_given_twice_ends_the_program_and_loses_nothing),
        cmocka_unit_test(a_program_that_cannot_start_pauses_the_node),
        cmocka_unit_test(it_gets_no_file_and_no_secret_of_ours),
        cmocka_unit_test(a_flood_on_standard_error_holds_nothing_up),
        cmocka_unit_test(what_was_in_hand_is_asked_again_after_a_crash_of_the_node),
        cmocka_unit_test(fields_left_out_are_the_inputs),
        cmocka_unit_test(msgpack_is_spoken_too),
        cmocka_unit_test(wrong_options_are_refused),
    };
    if (argc > 2 && strcmp(argv[1], "actor") == 0)
        return actor(argv[2]);
    signal(SIGPIPE, SIG_IGN);       /* as the runner does */
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
