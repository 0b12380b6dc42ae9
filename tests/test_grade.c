/* grade: rewards from a program. This file is that program too: called with "grade" it reads one
 * response and does what its first word says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "graph/core.h"
#include "nodes/child.h"
#include "tests/harness.h"

static char self[4096], folder[] = "/tmp/sluice-grade-XXXXXX";

/* ---- the program ---- */

static bool
has_network(void)
{
    struct ifaddrs *all = NULL;
    bool            found = false;

    if (getifaddrs(&all) == 0)
        for (struct ifaddrs *i = all; i; i = i->ifa_next)
            found |= i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET;
    freeifaddrs(all);
    return found;
}

static int
act(const char *word, const char *answer)
{
    if (strcmp(word, "RIGHT") == 0)
        return puts("1"), 0;
    if (strcmp(word, "SLOWLY") == 0)
        return poll(NULL, 0, 300), puts("1"), 0;
    if (strcmp(word, "WRONG") == 0)
        return puts("0"), 0;
    if (strcmp(word, "PART") == 0)
        return puts(" 0.25 \n"), 0;
    if (strcmp(word, "ANSWER") == 0)
        return puts(answer), 0;
    if (strcmp(word, "NET") == 0)
        return puts(has_network() ? "1" : "0"), 0;
    if (strcmp(word, "ENV") == 0)
        return puts(getenv("GRADE_PLANTED_KEY") ? "1" : "0"), 0;
    if (strcmp(word, "CRASH") == 0)
        abort();
    for (volatile long i = 0; strcmp(word, "SPIN") == 0; i++)
        ;
    if (strcmp(word, "SLEEP") == 0)
        pause();
    if (strcmp(word, "MEMORY") == 0) {
        char *p = malloc(600u << 20);
        if (!p)
            return fprintf(stderr, "no memory\nfor so much"), 5;
        memset(p, 1, 600u << 20);
        return puts("1"), 0;
    }
    for (int i = 0; strcmp(word, "FLOOD") == 0 && i < 100000; i++)
        puts("1 1 1 1 1 1 1 1 1 1");
    if (strcmp(word, "WORDS") == 0)
        return puts("quite right"), 0;
    if (strcmp(word, "NAN") == 0)
        return puts("nan"), 0;
    if (strcmp(word, "SILENT") == 0)
        return 0;
    if (strcmp(word, "FILE") == 0) {
        FILE *f = tmpfile();
        static char block[1 << 20];
        for (int i = 0; f && i < 200 && fwrite(block, sizeof(block), 1, f) == 1; i++)
            ;
        return puts("1"), 0;
    }
    if (strcmp(word, "ORPHAN") == 0) {      /* what it leaves behind holds its output open */
        if (fork() == 0)
            pause();
        return puts("1"), 0;
    }
    if (strcmp(word, "KILLED") == 0) {
        char *once = getenv("GRADE_ONCE");
        if (once && access(once, F_OK) == 0)
            unlink(once), raise(SIGKILL);
        return puts("1"), 0;
    }
    if (strcmp(word, "TELLS") == 0)
        return fprintf(stderr, "denied: %s\n", getenv("grade_api_key")), 4;
    return fprintf(stderr, "what is '%s'?\n", word), 3;
}

static int
program(void)
{
    json_t *o = json_loadf(stdin, 0, NULL);
    char    word[40] = "";

    sscanf(json_string_value(json_object_get(o, "response")), "%39s", word);
    int code = act(word, json_string_value(json_object_get(o, "answer")));
    json_decref(o);
    return code;
}

/* ---- helpers ---- */

#ifdef __SANITIZE_ADDRESS__     /* whose shadow needs more than any limit that would be one */
static const bool limited = false;
#else
static const bool limited = true;
#endif

/* Lines of single responses, each a word; the id is the word. */
static void
write_words(const char *const *words)
{
    char  path[100];
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; words[i]; i++)
        fprintf(f, "{\"id\":\"%d\",\"prompt\":\"p%d\",\"response\":\"%s\",\"answer\":\"0.125\"}\n", i, i, words[i]);
    fclose(f);
}

static struct harness *
open_grader(const char *const *more)
{
    static char path[100];
    const char *options[32] = {"path", path, "group_by", "none", "verify", "exec", "verify_command", self,
                               "verify_command", "grade"};
    int         n = 10;

    if (!limited) {
        options[n++] = "verify_memory";
        options[n++] = "900TB";
    }
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    for (; more && *more; more++)
        options[n++] = *more;
    return harness_open("reader", NULL, options, NULL);
}

static void
run(struct harness *h)
{
    struct error e = {0};

    for (int i = 0; i < 400 && !harness_finished(h); i++) {
        struct pollfd p = {.fd = harness_node(h)->fd, .events = POLLIN};
        poll(&p, 1, 50);
        if (harness_run(h, 1, &e) < 0)
            fail_msg("%s", e.text);
    }
    assert_true(harness_finished(h));
}

/* "id reward" of everything sent, in order. */
static void
expect(struct harness *h, const char *text)
{
    struct harness_message m;
    struct buffer          got = {0};
    struct arena           arena = {0};
    struct rollout         r;

    while (harness_take(h, "out", &m)) {
        assert_int_equal(message_read(MESSAGE_rollout, m.body, &r, &arena, NULL), 0);
        buffer_print(&got, "%.*s=%g ", (int)r.id.length, r.id.at, r.reward);
    }
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, text);
    buffer_free(&got);
    arena_free(&arena);
}

static void
has_dead(struct harness *h, int index, const char *words)
{
    char why[1000];

    harness_dead_text(h, index, why, sizeof(why));
    if (!strstr(why, words))
        fail_msg("'%s' does not say '%s'", why, words);
}

/* ---- tests ---- */

static void
what_it_prints_is_the_reward_in_the_order_of_the_input(void **state)
{
    static const char *const words[] = {"SLOWLY", "RIGHT", "WRONG", "PART", "ANSWER", "ENV", NULL};
    static const char *const more[] = {"verify_jobs", "4", NULL};
    struct harness          *h;

    (void)state;
    setenv("GRADE_PLANTED_KEY", "secret", 1);
    write_words(words);
    h = open_grader(more);
    run(h);
    expect(h, "0=1 1=1 2=0 3=0.25 4=0.125 5=0 ");
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
limits_end_it_with_reward_zero(void **state)
{
    static const char *const words[] = {"SPIN", "SLEEP", "FLOOD", "FILE", "ORPHAN", "RIGHT", NULL};
    static const char *const more[] = {"verify_jobs", "8", "verify_timeout", "500ms", NULL};
    struct harness          *h;

    (void)state;
    write_words(words);
    h = open_grader(more);
    run(h);
    expect(h, "0=0 1=0 2=0 3=0 4=1 5=1 ");
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
no_verdict_is_a_dead_letter_with_its_last_words(void **state)
{
    static const char *const words[] = {"MEMORY", "WORDS", "NAN", "SILENT", "UNKNOWN", "CRASH", "RIGHT", NULL};
    static const char *const more[] = {"verify_jobs", "1", "verify_memory", "400MiB", NULL};
    static const char *const any[] = {"verify_jobs", "1", NULL};
    struct harness          *h;

    (void)state;
    write_words(limited ? words : words + 1);
    h = open_grader(limited ? more : any);
    run(h);
    expect(h, limited ? "6=1 " : "5=1 ");
    assert_int_equal(harness_dead_count(h), limited ? 6 : 5);
    if (limited)
        has_dead(h, 0, "the program gave no verdict (exit code 5): for so much");
    has_dead(h, limited, "what it printed is not one number");
    has_dead(h, limited + 1, "what it printed is not one number");
    has_dead(h, limited + 2, "it printed nothing");
    has_dead(h, limited + 3, "exit code 3): what is 'UNKNOWN'?");
    has_dead(h, limited + 4, "(SIGABRT)");
    harness_close(h);
}

static void
a_secret_in_its_last_words_is_blotted_out(void **state)
{
    static const char *const words[] = {"TELLS", NULL};
    static const char *const more[] = {"verify_env", "grade_api_key", NULL};
    struct harness          *h;

    (void)state;
    setenv("grade_api_key", "planted-7f3a", 1);
    write_words(words);
    h = open_grader(more);
    run(h);
    has_dead(h, 0, "denied: ************");
    harness_close(h);
    unsetenv("grade_api_key");
}

static void
it_has_no_network_unless_it_is_left_to_it(void **state)
{
    static const char *const words[] = {"NET", NULL};
    static const char *const more[] = {"verify_network", "true", NULL};
    struct harness          *h;

    (void)state;
    if (!child_can_isolate() || !has_network())
        skip();
    write_words(words);
    h = open_grader(NULL);
    run(h);
    expect(h, "0=0 ");
    harness_close(h);
    h = open_grader(more);
    run(h);
    expect(h, "0=1 ");
    harness_close(h);
}

static void
after_a_crash_what_was_not_sent_is_graded_again(void **state)
{
    static const char *const words[] = {"RIGHT", "WRONG", "SLOWLY", "RIGHT", "SLOWLY", "PART", "WRONG", NULL};
    struct harness          *h;
    struct harness_message   m;

    (void)state;
    write_words(words);
    h = open_grader(NULL);
    for (int crashes = 0; crashes < 3; crashes++) {
        for (int i = 0; i < 3; i++) {
            struct pollfd p = {.fd = harness_node(h)->fd, .events = POLLIN};
            poll(&p, 1, 100);
            harness_run(h, 0.05, NULL);
        }
        harness_crash(h);
    }
    run(h);
    expect(h, "0=1 1=0 2=1 3=1 4=1 5=0.25 6=0 ");
    assert_false(harness_take(h, "out", &m));
    harness_close(h);
}

static void
a_kill_from_outside_is_no_verdict(void **state)
{
    static const char *const words[] = {"KILLED", "RIGHT", NULL};
    static const char *const more[] = {"verify_env", "GRADE_ONCE", NULL};
    char                     once[100];
    struct harness          *h;

    (void)state;
    snprintf(once, sizeof(once), "%s/once", folder);
    fclose(fopen(once, "w"));
    setenv("GRADE_ONCE", once, 1);
    write_words(words);
    h = open_grader(more);
    run(h);
    expect(h, "0=1 1=1 ");
    assert_int_equal(access(once, F_OK), -1);
    harness_close(h);
}

static void
lines_without_work_keep_their_place(void **state)
{
    char            path[100];
    struct harness *h;

    (void)state;
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    FILE *f = fopen(path, "w");
    fputs("{\"id\":\"a\",\"prompt\":\"p\",\"response\":\"SLOWLY\",\"answer\":\"\"}\n"
          "{\"id\":\"b\",\"prompt\":\"p\",\"response\":\"x\",\"reward\":7}\n"
          "not JSON\n\n"
          "{\"id\":\"c\",\"prompt\":\"p\",\"responses\":[\"RIGHT\",\"WRONG\",\"UNKNOWN\",\"PART\"]}\n"
          "{\"id\":\"d\",\"prompt\":\"p\",\"response\":\"WRONG\"}", f);
    fclose(f);
    h = open_grader(NULL);
    run(h);
    expect(h, "a=1 b=7 c/0=1 c/1=0 c/3=0.25 d=0 ");
    assert_int_equal(harness_dead_count(h), 3);
    has_dead(h, 0, "malformed JSON");
    has_dead(h, 1, "an empty line");
    has_dead(h, 2, "gave no verdict");
    harness_close(h);
}

/* A file that breaks off ends after its last whole line, also when verdicts are still to come, and after a crash. */
static void
a_broken_file_loses_no_line_before_the_break(void **state)
{
    char            path[100];
    static char     filler[200000];
    struct harness *h;

    (void)state;
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    for (size_t i = 0; i + 1 < sizeof(filler); i++)
        filler[i] = (char)('a' + rand() % 26);
    gzFile f = gzopen(path, "wb");
    for (int i = 0; i < 5; i++)
        gzprintf(f, "{\"id\":\"%d\",\"prompt\":\"p\",\"response\":\"SLOWLY\"}\n", i);
    gzwrite(f, filler, sizeof(filler) - 1);
    gzclose(f);
    assert_int_equal(truncate(path, 60000), 0);
    h = open_grader(NULL);
    harness_run(h, 0.1, NULL);
    harness_crash(h);
    run(h);
    expect(h, "0=1 1=1 2=1 3=1 4=1 ");
    assert_int_equal(harness_dead_count(h), 1);
    has_dead(h, 0, "ends in the middle of a frame");
    harness_close(h);
}

static void
wrong_options_are_refused(void **state)
{
    char         path[100];
    const char  *none[] = {"path", path, "verify", "exec", NULL};
    const char  *idle[] = {"path", path, "verify_command", self, NULL};
    const char  *gone[] = {"path", path, "verify", "exec", "verify_command", "./no-such-program", NULL};
    struct error e = {0};

    (void)state;
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    assert_null(harness_open("reader", NULL, none, &e));
    assert_non_null(strstr(e.text, "option 'verify': exec needs verify_command"));
    assert_null(harness_open("reader", NULL, idle, &e));
    assert_non_null(strstr(e.text, "with verify: exec only"));
    assert_null(harness_open("reader", NULL, gone, &e));
    assert_non_null(strstr(e.text, "'./no-such-program' is no program here"));
}

static int
clean(void **state)
{
    char path[100];

    (void)state;
    snprintf(path, sizeof(path), "%s/in.jsonl", folder);
    unlink(path);
    return rmdir(folder);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_prints_is_the_reward_in_the_order_of_the_input),
        cmocka_unit_test(limits_end_it_with_reward_zero),
        cmocka_unit_test(no_verdict_is_a_dead_letter_with_its_last_words),
        cmocka_unit_test(a_secret_in_its_last_words_is_blotted_out),
        cmocka_unit_test(it_has_no_network_unless_it_is_left_to_it),
        cmocka_unit_test(after_a_crash_what_was_not_sent_is_graded_again),
        cmocka_unit_test(a_kill_from_outside_is_no_verdict),
        cmocka_unit_test(lines_without_work_keep_their_place),
        cmocka_unit_test(a_broken_file_loses_no_line_before_the_break),
        cmocka_unit_test(wrong_options_are_refused),
    };
    if (argc > 1 && strcmp(argv[1], "grade") == 0)
        return program();
    signal(SIGPIPE, SIG_IGN);
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0 || !mkdtemp(folder))
        return 1;
    return cmocka_run_group_tests(tests, NULL, clean);
}
