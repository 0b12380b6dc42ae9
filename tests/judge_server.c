/* judge_server: libmicrohttpd with a thread for each connection; all shared state under one mutex.
 */
#include "tests/judge_server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <microhttpd.h>
#include <xxhash.h>

#include "base/memory.h"
#include "tests/pooling_answer.h"
#include "tests/judge_marks.h"

#define BODY_BYTES_MAX (64 << 20)
#define STEPS_MAX      4096
#define HUGE_BYTES     (4 << 20)
#define STALL_SECONDS  2.0

struct judge_server {
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *script, *script_at, *then, *key, *last;
    int ledger;
    double latency;
    int flaky, rude;
    int calls, repeated, inside, most;
    bool stopping;
    uint64_t *seen; /* a table by hash, at most half full; 0: free */
    size_t seen_room, seen_count;
};

struct call {
    struct buffer body;
    int number; /* in the ledger; 0: it did not arrive whole */
};

/* ---- a verdict from a request ---- */

static uint64_t
hash(const char *at, size_t length)
{
    return XXH3_64bits(at, length);
}

/* Is every "a op b = c" in the text true? -1: there is none. */
static int
arithmetic_holds(const char *at, const char *end)
{
    int found = -1;

    for (; at < end; at++) {
        long long a, b, c;
        char op;
        int used = 0;
        if ((*at < '0' || *at > '9') && *at != '-')
            continue;
        if (sscanf(at, "%lld %c %lld = %lld%n", &a, &op, &b, &c, &used) != 4 || at + used > end ||
            !strchr("+-*", op))
            continue;
        found = found == 0 ? 0 : c == (op == '+' ? a + b : op == '-' ? a - b : a * b);
        at += used - 1;
    }
    return found;
}

/* Fills the verdict {"steps":[...]} for the <step_i> blocks of the prompt. */
static json_t *
verdict_of(const char *prompt, int more)
{
    json_t *steps = json_array();
    int count = 0;

    const char *first = strstr(prompt, "<step_");
    int from_step = first ? atoi(first + 6) : 0; /* of a window */

    for (const char *at = prompt; count < STEPS_MAX; count++) {
        char open[32], close[32];
        const char *from, *to;
        double share;
        int right;

        snprintf(open, sizeof(open), "<step_%d>\n", from_step + count);
        snprintf(close, sizeof(close), "\n</step_%d>", from_step + count);
        from = strstr(at, open);
        to = from ? strstr(from, close) : NULL;
        if (!to)
            break;
        from += strlen(open);
        right = arithmetic_holds(from, to) != 0;
        share = (double)(hash(prompt, (size_t)(to - prompt)) >> 40) / (double)(1 << 24);
        if (share < 1.0 / 16)
            right = !right;
        json_array_append_new(steps, json_pack("{s:i, s:s, s:s, s:f}", "i", from_step + count, "reason",
                                               right ? "it follows" : "it does not follow", "label",
                                               right ? "correct" : "incorrect", "score",
                                               right ? 0.75 + share / 4 : share / 4));
        at = to;
    }
    if (more > 0)
        json_array_append_new(steps, json_pack("{s:i, s:s}", "i", from_step + count, "label", "correct"));
    else if (more < 0 && count > 0)
        json_array_remove(steps, (size_t)count - 1);
    return json_pack("{s:o}", "steps", steps);
}

/* The text of the last message of a request, borrowed from it. */
static const char *
prompt_of(const json_t *request)
{
    const json_t *messages = json_object_get(request, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *text = json_string_value(json_object_get(last, "content"));

    return text ? text : "";
}

/* A completion with these words, or with null. Takes nothing, gives text to free(). */
static char *
completion(const char *words, size_t tokens_in)
{
    json_t *content = words ? json_string(words) : json_null();
    json_t *body = json_pack("{s:s, s:s, s:[{s:i, s:s, s:{s:s, s:o}}], s:{s:I, s:I}}", "id",
                             "chatcmpl-test", "object", "chat.completion", "choices", "index", 0,
                             "finish_reason", "stop", "message", "role", "assistant", "content",
                             content, "usage", "prompt_tokens", (json_int_t)tokens_in,
                             "completion_tokens", (json_int_t)(words ? strlen(words) / 4 + 1 : 0));
    char *text = json_dumps(body, JSON_COMPACT);

    json_decref(body);
    return text;
}

static char *
answer_text(const char *word, struct span request_text)
{
    json_t *request = json_loadb(request_text.at, request_text.length, 0, NULL), *verdict;
    char *text;
    const char *prompt = prompt_of(request);

    if (json_object_get(request, "encoding_format")) {
        text = pooling_answer(word, request);
        json_decref(request);
        return text;
    }
    int more = strcmp(word, "few") == 0 ? -1 : strcmp(word, "many") == 0;
    char *json, *words = NULL;

    if (strcmp(word, "marks") == 0 || strcmp(word, "letters") == 0) {
        text = judge_marks(prompt, word[0] == 'l');
        json_decref(request);
        return text;
    }
    verdict = verdict_of(prompt, more);
    json = json_dumps(verdict, JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (strcmp(word, "fenced") == 0)
        words = xprint("Let me see: {not json} and [1, 2].\n```json\n%s\n```\nThat is my verdict.",
                       json);
    else if (strcmp(word, "prose") == 0)
        words = xtext("I think that all of it is fine.");
    else if (strcmp(word, "huge") == 0)
        words = xprint("%*s%s", HUGE_BYTES, "", json);
    else if (strcmp(word, "null") != 0)
        words = xtext(json);
    text = strcmp(word, "garbage") == 0 ? xtext("\x1f\x8b<html>\xff{{{ it is not here")
           : strcmp(word, "empty") == 0 ? xtext("")
                                        : completion(words, strlen(prompt) / 4 + 1);
    json_decref(verdict);
    json_decref(request);
    free(json);
    free(words);
    return text;
}

/* What a server may charge for a call that arrived whole: all that it read, and the whole answer,
 * even where that is cut off or nobody waits for it. An error costs nothing. */
static void
charge_of(const char *word, struct span request, json_int_t *read, json_int_t *written)
{
    static const char *const cut_off[] = {"half", "nothing", "hang", NULL};
    static const char *const errors[] = {"context", "quota", "redirect", "echo", NULL};
    json_t *body, *usage;
    char *text;

    *read = *written = 0;
    for (const char *const *w = errors; *w; w++)
        if (strcmp(*w, word) == 0)
            return;
    if (atoi(word) >= 100)
        return;
    for (const char *const *w = cut_off; *w; w++)
        word = strcmp(*w, word) == 0 ? "ok" : word;
    text = answer_text(word, request);
    body = json_loads(text, 0, NULL);
    usage = json_object_get(body, "usage");
    *read = json_integer_value(json_object_get(usage, "prompt_tokens"));
    *written = json_integer_value(json_object_get(usage, "completion_tokens"));
    json_decref(body);
    free(text);
}

/* ---- answering ---- */

static enum MHD_Result
reply(struct MHD_Connection *connection, unsigned status, char *text, const char *header,
      const char *value)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result rc;

    MHD_add_response_header(r, "Content-Type", "application/json");
    if (header)
        MHD_add_response_header(r, header, value);
    rc = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return rc;
}

static ssize_t
half_of(void *own, uint64_t at, char *to, size_t room)
{
    const char *text = own;
    size_t half = strlen(text) / 2;

    if (at >= half)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (room > half - at)
        room = half - (size_t)at;
    memcpy(to, text + at, room);
    return (ssize_t)room;
}

static enum MHD_Result
reply_half(struct MHD_Connection *connection, char *text)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(strlen(text), 4096, half_of, text, free);
    enum MHD_Result rc = MHD_queue_response(connection, 200, r);

    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result
reply_error(struct MHD_Connection *connection, unsigned status, const char *code,
            const char *message, const char *retry_after)
{
    json_t *body =
        json_pack("{s:{s:s, s:s, s:s}}", "error", "message", message, "type", "test", "code", code);
    char *text = json_dumps(body, JSON_COMPACT);

    json_decref(body);
    return reply(connection, status, text, retry_after ? "Retry-After" : NULL, retry_after);
}

static enum MHD_Result
add_line(void *own, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct buffer *lines = own;
    size_t from = lines->length;

    (void)kind;
    buffer_print(lines, "%s: %s\n", name, value ? value : "");
    for (char *at = lines->at + from; *at != ':'; at++)
        *at = (char)tolower((unsigned char)*at);
    return MHD_YES;
}

static enum MHD_Result
reply_headers(struct MHD_Connection *connection)
{
    struct buffer lines = {0};
    enum MHD_Result rc;

    MHD_get_connection_values(connection, MHD_HEADER_KIND, add_line, &lines);
    buffer_add(&lines, "", 1);
    rc = reply(connection, 200, completion(lines.at, 1), NULL, NULL);
    buffer_free(&lines);
    return rc;
}

static enum MHD_Result
reply_rested(struct MHD_Connection *connection, char *text)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result rc;

    MHD_add_response_header(r, "x-ratelimit-remaining-requests", "0");
    MHD_add_response_header(r, "x-ratelimit-reset-requests", "30s");
    rc = MHD_queue_response(connection, 200, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result
answer(struct MHD_Connection *connection, const char *word, struct span body)
{
    const char *key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    const char *colon = strchr(word, ':');
    int status = atoi(word);

    if (strcmp(word, "nothing") == 0 || strcmp(word, "hang") == 0 || strcmp(word, "stall") == 0)
        return MHD_NO;
    if (strcmp(word, "rested") == 0)
        return reply_rested(connection, answer_text("ok", body));
    if (strcmp(word, "headers") == 0)
        return reply_headers(connection);
    if (strcmp(word, "half") == 0)
        return reply_half(connection, answer_text("ok", body));
    if (strcmp(word, "context") == 0)
        return reply_error(connection, 400, "context_length_exceeded",
                           "This model's maximum context length is 128 tokens.", NULL);
    if (strcmp(word, "quota") == 0)
        return reply_error(connection, 429, "insufficient_quota",
                           "You exceeded your current quota.", NULL);
    if (strcmp(word, "redirect") == 0)
        return reply(connection, 302, xtext("{}"), "Location", "http://127.0.0.1:1/elsewhere");
    if (strcmp(word, "echo") == 0) {
        char *message = xprint("Incorrect API key provided: %s", key ? key : "none");
        enum MHD_Result rc = reply_error(connection, 401, "invalid_api_key", message, NULL);
        free(message);
        return rc;
    }
    if (strcmp(word, "format") == 0 && memmem(body.at, body.length, "response_format", 15))
        return reply_error(connection, 500, "", "1 validation error: body response_format type", NULL);
    if (status >= 100 && status < 600)
        return reply_error(connection, (unsigned)status, "scripted", "scripted by the test",
                           colon ? colon + 1 : NULL);
    return reply(connection, 200, answer_text(word, body), NULL, NULL);
}

/* ---- a call ---- */

static void
seen_put(uint64_t *table, size_t room, uint64_t key)
{
    size_t i = key % room;

    while (table[i] && table[i] != key)
        i = (i + 1) % room;
    table[i] = key;
}

/* Has this key been here before? Remembers it. Under the lock. */
static bool
seen_before(struct judge_server *s, uint64_t key)
{
    size_t i;

    key |= key == 0;
    if (s->seen_count * 2 >= s->seen_room) {
        size_t room = s->seen_room ? s->seen_room * 4 : 1024;
        uint64_t *table = xarray(room, sizeof(*table));
        for (i = 0; i < s->seen_room; i++)
            if (s->seen[i])
                seen_put(table, room, s->seen[i]);
        free(s->seen);
        s->seen = table;
        s->seen_room = room;
    }
    i = key % s->seen_room;
    while (s->seen[i] && s->seen[i] != key)
        i = (i + 1) % s->seen_room;
    if (s->seen[i])
        return true;
    s->seen[i] = key;
    s->seen_count++;
    return false;
}

/* The word for this call, copied. Under the lock. */
static char *
next_word(struct judge_server *s, const char *authorization, uint64_t key, bool repeated)
{
    static const char *const flaws[] = {"500", "503", "408", "429:0", "half", "nothing", "stall"};
    static const char *const rude[] = {"garbage", "empty", "null", "prose", "few", "many"};
    char *word;

    if (s->key) {
        char *wanted = xprint("Bearer %s", s->key);
        bool good = authorization && strcmp(authorization, wanted) == 0;
        free(wanted);
        if (!good)
            return xtext("401");
    }
    if (s->script_at && *s->script_at) {
        size_t length = strcspn(s->script_at, ",");
        word = span_copy(span_of(s->script_at, length));
        s->script_at += length + (s->script_at[length] == ',');
        return word;
    }
    if ((int)(key % 100) < s->rude)
        return xtext(rude[key / 100 % 6]);
    if (!repeated && (int)(key % 100) < s->rude + s->flaky)
        return xtext(flaws[key / 100 % 7]);
    return xtext(s->then);
}

/* Waits `seconds` or until the server stops. Under the lock. */
static void
linger(struct judge_server *s, double seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (!s->stopping && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT)
        continue;
}

static void
write_ledger(struct judge_server *s, const char *format, ...)
{
    char line[400];
    struct timespec now;
    va_list values;
    int length;

    clock_gettime(CLOCK_REALTIME, &now);
    length = snprintf(line, sizeof(line), "{\"at\":%" PRId64 ",",
                      (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    va_start(values, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length, format, values);
    va_end(values);
    if (s->ledger >= 0 && write(s->ledger, line, (size_t)length) != length)
        abort();
}

static enum MHD_Result
whole_call(struct judge_server *s, struct MHD_Connection *connection, struct call *c)
{
    struct span body = buffer_span(&c->body);
    const char *authorization =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    const char *idempotency =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Idempotency-Key");
    uint64_t request = hash(body.at, body.length), key_hash;
    char key[160], *word;
    json_int_t read, written;
    bool repeated;
    enum MHD_Result rc;

    snprintf(key, sizeof(key), "%.120s", idempotency ? idempotency : "");
    if (!idempotency || strpbrk(key, "\"\\"))
        snprintf(key, sizeof(key), "%016" PRIx64, request);
    pthread_mutex_lock(&s->lock);
    key_hash = hash(key, strlen(key));
    repeated = seen_before(s, key_hash);
    s->calls++;
    s->repeated += repeated;
    s->inside++;
    s->most = s->inside > s->most ? s->inside : s->most;
    free(s->last);
    s->last = span_copy(body);
    word = next_word(s, authorization, key_hash, repeated);
    c->number = s->calls;
    charge_of(word, body, &read, &written);
    write_ledger(s,
                 "\"call\":%d,\"key\":\"%s\",\"answer\":\"%s\",\"repeated\":%s,\"read\":%lld,"
                 "\"written\":%lld}\n",
                 c->number, key, word, repeated ? "true" : "false", (long long)read,
                 (long long)written);
    pthread_cond_broadcast(&s->changed);
    linger(s, strcmp(word, "hang") == 0    ? 3600
              : strcmp(word, "stall") == 0 ? STALL_SECONDS
                                           : s->latency * (double)(request >> 40) / (1 << 24));
    s->inside--;
    pthread_mutex_unlock(&s->lock);
    rc = answer(connection, word, body);
    free(word);
    return rc;
}

/* GET /v1/models: one model, m. No call, no ledger. */
static enum MHD_Result
list_models(struct judge_server *s, struct MHD_Connection *connection)
{
    const char *authorization =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    char *wanted = xprint("Bearer %s", s->key ? s->key : "");
    bool good = !s->key || (authorization && strcmp(authorization, wanted) == 0);

    free(wanted);
    if (!good)
        return reply_error(connection, 401, "invalid_api_key", "no such key", NULL);
    return reply(connection, 200,
                 xtext("{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\","
                       "\"max_model_len\":4096}]}"),
                 NULL, NULL);
}

static enum MHD_Result
told(void *own, struct MHD_Connection *connection, const char *url, const char *method,
     const char *version, const char *data, size_t *length, void **of_call)
{
    struct judge_server *s = own;
    struct call *c = *of_call;

    (void)version;
    if (!c) {
        *of_call = xalloc(sizeof(*c));
        return MHD_YES;
    }
    if (*length) {
        if (c->body.length + *length > BODY_BYTES_MAX)
            return MHD_NO;
        buffer_add(&c->body, data, *length);
        *length = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") == 0 && strcmp(url, "/v1/models") == 0)
        return list_models(s, connection);
    if (strcmp(method, "POST") != 0 ||
        (strcmp(url, "/v1/chat/completions") != 0 && strcmp(url, "/pooling") != 0 &&
         strcmp(url, "/v1/embeddings") != 0))
        return reply_error(connection, 404, "not_found", "no such path", NULL);
    return whole_call(s, connection, c);
}

static void
ended(void *own, struct MHD_Connection *connection, void **of_call,
      enum MHD_RequestTerminationCode why)
{
    struct judge_server *s = own;
    struct call *c = *of_call;

    (void)connection;
    if (c && c->number && why == MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        pthread_mutex_lock(&s->lock);
        write_ledger(s, "\"answered\":%d}\n", c->number);
        pthread_mutex_unlock(&s->lock);
    }
    if (c)
        buffer_free(&c->body);
    free(c);
}

/* ---- a life ---- */

struct judge_server *
judge_server_start(const struct judge_server_options *o, struct error *e)
{
    struct judge_server *s = xalloc(sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    pthread_condattr_t monotonic;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->script = o->script ? xtext(o->script) : NULL;
    s->script_at = s->script;
    s->then = xtext(o->then ? o->then : "ok");
    s->key = o->key ? xtext(o->key) : NULL;
    s->latency = o->latency_seconds;
    s->flaky = o->flaky_percent;
    s->rude = o->rude_percent;
    s->ledger = o->ledger ? open(o->ledger, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (o->ledger && s->ledger < 0)
        error_set(e, ERROR_file, "%s: %s", o->ledger, strerror(errno));
    else
        s->daemon =
            MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0,
                             NULL, NULL, told, s, MHD_OPTION_SOCK_ADDR, &address,
                             MHD_OPTION_NOTIFY_COMPLETED, ended, s, MHD_OPTION_END);
    if (s->daemon)
        return s;
    if (!o->ledger || s->ledger >= 0)
        error_set(e, ERROR_remote, "no server on port %d: %s", o->port, strerror(errno));
    judge_server_stop(s);
    return NULL;
}

void
judge_server_stop(struct judge_server *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (s->ledger >= 0)
        close(s->ledger);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->script);
    free(s->then);
    free(s->key);
    free(s->last);
    free(s->seen);
    free(s);
}

int
judge_server_port(const struct judge_server *s)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info ? info->port : 0;
}

static int
read_count(struct judge_server *s, const int *count)
{
    int value;

    pthread_mutex_lock(&s->lock);
    value = *count;
    pthread_mutex_unlock(&s->lock);
    return value;
}

int
judge_server_calls(struct judge_server *s)
{
    return read_count(s, &s->calls);
}

int
judge_server_repeated(struct judge_server *s)
{
    return read_count(s, &s->repeated);
}

int
judge_server_most(struct judge_server *s)
{
    return read_count(s, &s->most);
}

void
judge_server_then(struct judge_server *s, const char *word)
{
    pthread_mutex_lock(&s->lock);
    free(s->then);
    s->then = xtext(word);
    s->script_at = NULL;
    pthread_mutex_unlock(&s->lock);
}

char *
judge_server_last(struct judge_server *s)
{
    char *copy;

    pthread_mutex_lock(&s->lock);
    copy = s->last ? xtext(s->last) : NULL;
    pthread_mutex_unlock(&s->lock);
    return copy;
}

int
judge_server_wait(struct judge_server *s, int calls, double seconds)
{
    struct timespec until;
    int enough;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds + 1;
    pthread_mutex_lock(&s->lock);
    while (s->calls < calls && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT)
        continue;
    enough = s->calls >= calls;
    pthread_mutex_unlock(&s->lock);
    return enough;
}
