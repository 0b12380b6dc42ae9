/* The cache: found by whoever asks the same, bounded, whole after kills and on a full disk. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/remote/cache.h"
#include "nodes/remote/cache_file.h"
#include "nodes/remote/shared.h"

#define PLENTY (1LL << 30)

struct folder {
    char dir[64], cache[96], other[96];
};

static int
setup(void **state)
{
    struct folder *f = xalloc(sizeof(*f));

    strcpy(f->dir, "/tmp/sluice-cache-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->cache, sizeof(f->cache), "%s/critic.cache", f->dir);
    snprintf(f->other, sizeof(f->other), "%s/other.cache", f->dir);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct folder *f = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static struct cache *
open_it(const char *folder)
{
    struct error e = {0};
    struct cache *c = cache_open(folder, &e);

    if (!c)
        fail_msg("%s", e.text);
    return c;
}

static struct cache_key
key_of(int question)
{
    char text[32];
    struct cache_key key;

    snprintf(text, sizeof(text), "question %d", question);
    cache_key("/chat/completions", 0, span_of(NULL, 0), span_text(text), &key);
    return key;
}

/* An answer of about `bytes` that is a function of the question. */
static void
body_of(int question, size_t bytes, struct buffer *body)
{
    uint64_t x = (uint64_t)question * 0x9e3779b97f4a7c15ULL + 1;

    buffer_clear(body);
    buffer_print(body, "{\"question\":%d,\"text\":\"", question);
    while (body->length < bytes) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        buffer_print(body, "%016llx", (unsigned long long)x);
    }
    buffer_text(body, "\"}");
}

static void
put(struct cache *c, int question, size_t bytes)
{
    struct buffer body = {0};
    struct cache_key key = key_of(question);
    struct cache_answer a = {.model = span_text("m"),
                             .tokens_in = 10,
                             .tokens_out = (uint64_t)question,
                             .money = 7,
                             .time = 1000 + question,
                             .payer = 5,
                             .ordinal = 6};

    body_of(question, bytes, &body);
    a.body = buffer_span(&body);
    cache_put(c, &key, &a);
    buffer_free(&body);
}

static void
flush(struct cache *c, int64_t limit)
{
    struct error e = {0};

    if (cache_flush(c, limit, &e) != 0)
        fail_msg("%s", e.text);
}

static bool
has(struct cache *c, int question, size_t bytes)
{
    struct buffer body = {0};
    struct cache_key key = key_of(question);
    struct cache_answer a;
    bool found = cache_find(c, &key, &a);

    if (found) {
        body_of(question, bytes, &body);
        assert_int_equal(a.body.length, body.length);
        assert_memory_equal(a.body.at, body.at, body.length);
        assert_true(span_is(a.model, "m"));
        assert_int_equal(a.tokens_in, 10);
        assert_int_equal(a.tokens_out, question);
        assert_int_equal(a.money, 7);
        assert_int_equal(a.time, 1000 + question);
    }
    buffer_free(&body);
    return found;
}

static struct cache_sums
sums_of(struct cache *c)
{
    struct cache_sums sums;
    struct error e = {0};

    if (cache_sums(c, &sums, &e) != 0)
        fail_msg("%s", e.text);
    return sums;
}

static void
an_answer_is_found_by_what_was_asked(void **state)
{
    struct folder *f = *state;
    struct cache *c = open_it(f->cache);
    struct cache_key a, b;

    assert_false(has(c, 1, 20));
    put(c, 1, 20);
    put(c, 2, 20000);
    assert_true(has(c, 1, 20)); /* before it is written, too */
    flush(c, PLENTY);
    assert_true(has(c, 1, 20) && has(c, 2, 20000));
    assert_false(has(c, 3, 20));
    cache_close(c);
    c = open_it(f->cache);
    assert_true(has(c, 1, 20) && has(c, 2, 20000));
    cache_close(c);
    cache_key("/pooling", 0, span_of(NULL, 0), span_text("x"), &a);
    cache_key("/poolingx", 0, span_of(NULL, 0), span_text(""), &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    cache_key("/pooling", 1, span_of(NULL, 0), span_text("x"), &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    cache_key("/pooling", 0, span_text("x"), span_text(""), &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
}

static void
the_oldest_go_when_it_is_full(void **state)
{
    struct folder *f = *state;
    struct cache *c = open_it(f->cache);
    struct cache_sums gone, sums;
    struct error e = {0};
    int64_t each;

    put(c, 0, 300);
    flush(c, PLENTY);
    each = sums_of(c).bytes;
    for (int i = 1; i < 40; i++) {
        put(c, i, 300);
        flush(c, 10 * each + each / 2);
    }
    assert_in_range(sums_of(c).answers, 9, 10);
    assert_false(has(c, 29, 300));
    assert_true(has(c, 31, 300) && has(c, 39, 300));
    put(c, 99, 100000); /* larger than all that may be kept: it pushes nothing out */
    flush(c, 10 * each + each / 2);
    assert_true(has(c, 39, 300));
    assert_false(has(c, 99, 100000));
    assert_int_equal(cache_prune(c, -1, 1000 + 35, &gone, &e), 0);
    assert_false(has(c, 34, 300));
    assert_true(has(c, 35, 300));
    assert_int_equal(sums_of(c).answers, 5);
    assert_int_equal(cache_prune(c, 0, 0, &gone, &e), 0);
    assert_int_equal(gone.answers, 5);
    sums = sums_of(c);
    assert_int_equal(sums.answers, 0);
    assert_int_equal(sums.bytes, 0);
    cache_close(c);
}

static void
what_is_of_no_use_is_forgotten(void **state)
{
    struct folder *f = *state;
    struct cache *c = open_it(f->cache);
    struct cache_key one = key_of(1), two = key_of(2);

    put(c, 1, 100);
    flush(c, PLENTY);
    put(c, 2, 100);
    cache_forget(c, &one);
    cache_forget(c, &two);
    cache_forget(c, &two);
    assert_false(has(c, 1, 100) || has(c, 2, 100));
    assert_int_equal(sums_of(c).answers, 0);
    assert_int_equal(sums_of(c).bytes, 0);
    put(c, 1, 100);
    flush(c, PLENTY);
    assert_true(has(c, 1, 100));
    cache_close(c);
}

/* ---- several processes ---- */

static void
writes_for_ever(const char *folder, int from)
{
    struct cache *c = cache_open(folder, NULL);

    for (int i = from; c; i++) {
        put(c, i, 700);
        if (cache_flush(c, PLENTY, NULL) != 0)
            break;
    }
    _exit(3);
}

static void
kills_of_writers_leave_whole_answers(void **state)
{
    struct folder *f = *state;

    for (int round = 0; round < 6; round++) {
        pid_t pids[2];
        struct cache *c;
        int64_t goal;
        for (int i = 0; i < 2; i++) {
            pids[i] = fork();
            if (pids[i] == 0)
                writes_for_ever(f->cache, 10000 * i + 100 * round);
        }
        c = open_it(f->cache);
        goal = sums_of(c).answers + 10;
        while (sums_of(c).answers < goal)
            ;
        for (int i = 0; i < 2; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
        cache_close(c);
    }
    struct cache *c = open_it(f->cache);
    struct cache_sums sums = sums_of(c), gone;
    int64_t found = 0;
    struct error e = {0};
    for (int i = 0; i < 30000; i++)
        found += has(c, i, 700);
    assert_int_equal(found, sums.answers);
    assert_int_equal(cache_prune(c, 0, 0, &gone, &e), 0);
    assert_int_equal(gone.bytes, sums.bytes);
    cache_close(c);
}

/* A file that may not grow is a disk that is full. */
static int
fills_the_disk(const char *folder)
{
    struct rlimit small = {1 << 18, 1 << 18};
    struct cache *c = cache_open(folder, NULL);
    struct error e = {0};
    int rc = 0, kept = 0;

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    while (c && rc == 0 && kept < 1000) {
        put(c, kept, 4000);
        rc = cache_flush(c, PLENTY, &e);
        kept += rc == 0;
    }
    if (rc != ERROR_space || kept < 2)
        return 1;
    for (int i = 0; i < kept; i++)
        if (!has(c, i, 4000))
            return 2;
    return has(c, kept, 4000) ? 3 : 0; /* what could not be written is gone */
}

static void
a_full_disk_costs_only_what_does_not_fit(void **state)
{
    struct folder *f = *state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fills_the_disk(f->cache));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    struct cache *c = open_it(f->cache);
    assert_true(has(c, 0, 4000));
    put(c, 5000, 4000);
    flush(c, PLENTY);
    assert_true(has(c, 5000, 4000));
    cache_close(c);
}

static void
a_damaged_cache_is_an_error_and_no_crash(void **state)
{
    struct folder *f = *state;
    char command[300];
    struct error e = {0};
    struct cache *c = open_it(f->cache);

    for (int i = 0; i < 50; i++)
        put(c, i, 3000);
    flush(c, PLENTY);
    cache_close(c);
    for (int block = 2; block < 20; block += 3) { /* pages of rows; the two first are LMDB's own */
        snprintf(command, sizeof(command),
                 "dd if=/dev/urandom of=%s/data.mdb bs=4096 seek=%d count=1 conv=notrunc 2>/dev/null",
                 f->cache, block);
        assert_int_equal(system(command), 0);
        pid_t pid = fork();
        int status = 0;
        if (pid == 0) { /* LMDB may assert where its own pages lie */
            c = cache_open(f->cache, NULL);
            for (int i = 0; c && i < 50; i++)
                has(c, i, 3000);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
    snprintf(command, sizeof(command), "head -c 9000 </dev/urandom >%s/data.mdb", f->cache);
    assert_int_equal(system(command), 0);
    assert_null(cache_open(f->cache, &e));
    assert_int_equal(e.code, ERROR_store);
}

/* ---- files ---- */

static FILE *
file_of(const char *text)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    fputs(text, file);
    return file;
}

static void
an_export_is_the_same_cache_when_imported(void **state)
{
    struct folder *f = *state;
    struct cache *c = open_it(f->cache), *d = open_it(f->other);
    FILE *file = tmpfile(), *again = tmpfile();
    struct error e = {0};
    int64_t answers = 0;
    char a[4096], b[4096];
    size_t n;

    for (int i = 0; i < 600; i++)
        put(c, i, 50 + 13 * (size_t)(i % 100));
    flush(c, PLENTY);
    put(d, 3, 50 + 13 * 3); /* one is there already */
    flush(d, PLENTY);
    assert_int_equal(cache_export(c, file, &answers, &e), 0);
    assert_int_equal(answers, 600);
    if (cache_import(d, file, "f", PLENTY, &answers, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(answers, 600);
    assert_int_equal(sums_of(d).answers, 600);
    for (int i = 0; i < 600; i++)
        assert_true(has(d, i, 50 + 13 * (size_t)(i % 100)));
    cache_close(d);
    assert_int_equal(system("true"), 0);
    snprintf(a, sizeof(a), "rm -r %s", f->other);
    assert_int_equal(system(a), 0);
    d = open_it(f->other);
    assert_int_equal(cache_import(d, file, "f", PLENTY, &answers, &e), 0);
    assert_int_equal(cache_export(d, again, &answers, &e), 0);
    rewind(file);
    rewind(again);
    while ((n = fread(a, 1, sizeof(a), file)) > 0) {
        assert_int_equal(fread(b, 1, n, again), n);
        assert_memory_equal(a, b, n);
    }
    assert_int_equal(fread(b, 1, 1, again), 0);
    fclose(file);
    fclose(again);
    cache_close(c);
    cache_close(d);
}

/* A model may write a NUL into its answer; that one answer must not make the whole export useless. */
static void
an_answer_with_a_nul_is_exported_and_imported(void **state)
{
    static const char body[] = "{\"content\":\"a\\u0000b\"}";
    struct folder *f = *state;
    struct cache *c = open_it(f->cache), *d = open_it(f->other);
    struct cache_answer a = {.model = span_text("m"), .body = span_text(body)}, found;
    struct cache_key key = {{7}};
    FILE *file = tmpfile();
    struct error e = {0};
    int64_t answers = 0;

    cache_put(c, &key, &a);
    flush(c, PLENTY);
    assert_int_equal(cache_export(c, file, &answers, &e), 0);
    if (cache_import(d, file, "f", PLENTY, &answers, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(answers, 1);
    assert_true(cache_find(d, &key, &found) && span_is(found.body, body));
    fclose(file);
    cache_close(c);
    cache_close(d);
}

#define HEAD "{\"sluice_cache\":1}\n"
#define KEY  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ROW(K, M, T, I, U, A)                                                                      \
    "{\"key\":" K ",\"model\":" M ",\"time\":" T ",\"tokens_in\":" I                               \
    ",\"tokens_out\":0,\"usd\":" U ",\"answer\":" A "}\n"
#define GOOD ROW("\"" KEY "\"", "\"m\"", "1", "1", "0", "\"{}\"")

static void
a_hostile_file_is_refused_whole(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "line 1"},
        {"{}\n", "line 1"},
        {GOOD, "line 1"},
        {HEAD GOOD "{", "f:3:"},
        {HEAD GOOD "[]\n", "f:3: not a JSON object"},
        {HEAD GOOD ROW("\"00\"", "\"m\"", "1", "1", "0", "\"{}\""), "f:3: 'key'"},
        {HEAD ROW("\"" KEY "0\"", "\"m\"", "1", "1", "0", "\"{}\""), "'key'"},
        {HEAD ROW("7", "\"m\"", "1", "1", "0", "\"{}\""), "'key'"},
        {HEAD ROW("\"" KEY "\"", "3", "1", "1", "0", "\"{}\""), "'model'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "-1", "1", "0", "\"{}\""), "'time'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1.5", "0", "\"{}\""), "'tokens_in'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "99999999999999999999", "0", "\"{}\""), "f:2:"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1", "-0.5", "\"{}\""), "'usd'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1", "1e300", "\"{}\""), "'usd'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1", "0", "\"{\""), "'answer'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1", "0", "{}"), "'answer'"},
        {HEAD ROW("\"" KEY "\"", "\"m\"", "1", "1", "0", "\"{}\\u0000\""), "f:2:"},
        {HEAD "{\"key\":\"" KEY "\",\"key\":\"" KEY "\"}\n", "duplicate"},
    };
    struct folder *f = *state;
    struct cache *c = open_it(f->cache);

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        FILE *file = file_of(bad[i].text);
        struct error e = {0};
        int64_t answers;
        if (cache_import(c, file, "f", PLENTY, &answers, &e) != ERROR_input)
            fail_msg("'%s' was taken", bad[i].text);
        if (!strstr(e.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.text, bad[i].says);
        assert_int_equal(sums_of(c).answers, 0);
        fclose(file);
    }
    cache_close(c);
}

static void
noise_in_a_file_never_crashes(void **state)
{
    struct folder *f = *state;
    struct cache *c = open_it(f->cache);
    uint64_t x = 88172645463325252ULL;

    for (int i = 0; i < 400; i++) {
        char text[600] = HEAD GOOD GOOD;
        size_t n = strlen(text);
        FILE *file = tmpfile();
        int64_t answers;
        for (int k = 0; k < 4; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            text[sizeof(HEAD) - 1 + x % (n - sizeof(HEAD))] = (char)(x >> 32);
        }
        fwrite(text, 1, n, file);
        cache_import(c, file, "f", PLENTY, &answers, NULL);
        fclose(file);
    }
    cache_close(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_is_found_by_what_was_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_go_when_it_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_of_no_use_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(kills_of_writers_leave_whole_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_only_what_does_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_cache_is_an_error_and_no_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_with_a_nul_is_exported_and_imported, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_export_is_the_same_cache_when_imported, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_hostile_file_is_refused_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_in_a_file_never_crashes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
