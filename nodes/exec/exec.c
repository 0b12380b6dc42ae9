/* exec: a program of the user's as a node. The program answers messages over a pipe; store, links, closings and END
 * are this process's, so all promises hold whatever the program does.
 *
 * Who is to blame when it fails. Where one message was with it, that message: it is asked again, and after `attempts` it
 * is given up (a dead letter; where the node votes, an abstention too). Where several were, none is blamed: they are asked
 * again one at a time, until each has been answered or given up. A kill from outside blames nobody, nor does an end in good
 * order (exit code 0) after an answer. A program that cannot be started, or ends before it is ready, is started again for
 * ever with back-off: the stream waits, and status says why. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes/exec/exec.h"
#include "nodes/exec/program.h"
#include "nodes/exec/talk.h"
#include "nodes/origin.h"

#define LEAVE_SECONDS 2.0       /* that a program gets to end when its node does */

/* A unit in hand. */
struct ask {
    struct unit *unit;      /* NULL: a free place */
    uint64_t     number;    /* of the question, as sent; a new one each time */
    int          attempts;  /* that failed with this message alone */
    bool         suspect;   /* was with the program when it failed: asked alone from now on */
    bool         sent;
    double       until;     /* an answer must have come */
    char        *why;       /* of the last failure */
};

struct exec {
    struct program     program;
    const struct port *ports;       /* as declared */
    struct port       *declared;
    struct buffer      greeting, text, body;
    struct talk_kept   kept;
    struct arena       arena;
    struct ask         asks[EXEC_IN_FLIGHT_MAX];
    int                top;         /* places of `asks` ever used */
    int                count;       /* in hand */
    int                with;        /* sent and not answered */
    int                suspects;
    uint64_t           next;        /* number of the next question */
    double             silent_at;   /* something must have been answered */
};

static int
exec_start(struct node *n, struct error *e)
{
    struct exec               *s = node_state(n);
    const struct exec_options *o = node_options(n);
    struct check               c = {.node = node_id(n), .options = o};
    int                        rc = exec_declare(&c, &s->declared, e);

    if (rc != 0)
        return rc;
    s->ports = s->declared;
    s->next = 1;
    for (int i = 0; i < o->files.count && rc == 0; i++) {
        char *path = exec_file(o, o->files.at[i]);

        rc = origin_check(n, path, e);
        free(path);
    }
    if (rc < 0)
        return rc;
    struct talk_self self = {node_id(n), node_replica(n), (int)o->in_flight, node_seed(n), s->ports};
    talk_hello((enum talk_format)o->protocol, &self, &s->greeting);
    struct program_how how = {.child = exec_child(o), .framed = o->protocol == TALK_msgpack,
                              .message_bytes = o->message_bytes,
                              .greeting = buffer_span(&s->greeting)};
    rc = program_init(&s->program, n, &how, e);
    if (rc == 0)
        program_want(&s->program);      /* it may have a model to load; and status shows what is wrong with it */
    node_set_in_flight(n, (int)o->in_flight);
    if (rc == 0)
        node_timer(n, 0);
    return rc;
}

/* ---- what became of a unit ---- */

static void
forget(struct exec *s, struct ask *a)
{
    s->with -= a->sent;
    s->suspects -= a->suspect;
    s->count--;
    free(a->why);
    *a = (struct ask){0};
}

/* Reasons of closings are words: what a program wrote is cut to them. */
static const char *
plain(struct span reason, char text[64])
{
    size_t n = 0;

    for (size_t i = 0; i < reason.length && n < 63; i++)
        if (reason.at[i] >= ' ' && reason.at[i] < 0x7f && reason.at[i] != '"' && reason.at[i] != '\\')
            text[n++] = reason.at[i];
    text[n] = 0;
    return n > 0 ? text : "filtered";
}

static const char *
abstain_text(struct arena *arena, struct span why)
{
    size_t length = why.length < TALK_WHY_MAX ? why.length : TALK_WHY_MAX;
    char  *text = arena_take(arena, length + 1);

    /* It may hold anything; a message holds UTF-8. */
    for (size_t i = 0; i < length; i++)
        text[i] = why.at[i] >= ' ' && why.at[i] < 0x7f ? why.at[i] : '?';
    return text;
}

static bool
votes(struct exec *s, struct node *n)
{
    bool found = false;

    for (int i = 0; s->ports[i].direction != PORT_END; i++)
        found |= s->ports[i].direction == PORT_OUT && s->ports[i].message == MESSAGE_vote &&
                 node_linked(n, i);
    return found;
}

/* The message cannot be handled: a dead letter; where the node votes it abstains, so that the others' votes still count. */
static void
give_up(struct exec *s, struct node *n, struct ask *a, struct span why)
{
    struct unit *u = a->unit;
    char         where[32];
    struct span  bytes = span_of(NULL, 0);

    arena_clear(&s->arena);
    const char *reason = abstain_text(&s->arena, why);
    if (!votes(s, n)) {
        forget(s, a);
        unit_dead(n, u, "%s", reason);
        return;
    }
    for (int i = u->input_count - 1; i >= 0; i--)
        if (!u->inputs[i].closing)
            bytes = u->inputs[i].body;
    snprintf(where, sizeof(where), "ordinal %" PRIu64, u->ordinal);
    node_dead(n, where, bytes, "abstained: %s", reason);
    node_count(n, METRIC_abstained, 1);
    for (int i = 0; s->ports[i].direction != PORT_END; i++) {
        struct vote vote = {.voter = span_text(node_id(n)), .abstain = span_text(reason)};

        if (s->ports[i].direction != PORT_OUT || !node_linked(n, i))
            continue;
        if (s->ports[i].message != MESSAGE_vote) {
            node_close(n, u, i, "dead");
            continue;
        }
        buffer_clear(&s->body);
        message_write(MESSAGE_vote, &vote, &s->body);
        node_send(n, u, i, buffer_span(&s->body));
    }
    forget(s, a);
    unit_done(n, u);
}

static void
count_vote(struct node *n, const struct vote *v)
{
    int64_t tally[3] = {0};

    for (int64_t i = 0; i < v->said.count; i++)
        tally[!v->said.at[i] ? 2 : v->scores.at[i] >= 0.5f]++;
    node_count(n, METRIC_steps_wrong, tally[0]);
    node_count(n, METRIC_steps_correct, tally[1]);
    node_count(n, METRIC_steps_unknown, tally[2]);
    node_count(n, METRIC_abstained, v->abstain.length > 0);
    node_count(n, METRIC_tokens_in, (int64_t)v->tokens_in);
    node_count(n, METRIC_tokens_out, (int64_t)v->tokens_out);
    node_count(n, METRIC_usd, (int64_t)(v->usd * 1e6 + 0.5));
}

/* All bodies first, so that a bad one leaves the unit as it was. -> ERROR_input. */
static int
send_answer(struct exec *s, struct node *n, struct unit *u, const struct talk_answer *t,
            struct error *e)
{
    struct vote vote[TALK_PORTS_MAX];
    size_t      ends[TALK_PORTS_MAX] = {0};
    bool        paid = false;
    char        text[64];

    arena_clear(&s->arena);
    buffer_clear(&s->body);
    for (int i = 0; s->ports[i].direction != PORT_END; i++) {
        struct buffer one = {0};
        int           rc = 0;

        vote[i] = (struct vote){0};
        if (t->outputs[i].given && node_linked(n, i))
            rc = talk_body(s->ports, i, u, node_id(n), t->outputs[i].body, &s->arena, &one, &vote[i], e);
        buffer_add(&s->body, one.at, one.length);
        buffer_free(&one);
        ends[i] = s->body.length;
        if (rc != 0)
            return error_wrap(e, "output '%s'", s->ports[i].name);
    }
    for (int i = 0; s->ports[i].direction != PORT_END; i++) {
        size_t from = i > 0 ? ends[i - 1] : 0;

        if (!node_linked(n, i))
            continue;
        if (ends[i] == from) {
            node_close(n, u, i, plain(t->outputs[i].closed, text));
            continue;
        }
        node_send(n, u, i, span_of(s->body.at + from, ends[i] - from));
        count_vote(n, &vote[i]);
        paid |= vote[i].usd > 0;
    }
    node_count(n, METRIC_calls, 1);
    if (paid)
        node_urgent(n);
    unit_done(n, u);
    return 0;
}

/* ---- asking ---- */

static struct ask *
oldest(struct exec *s, bool suspect)
{
    struct ask *found = NULL;

    for (int i = 0; i < s->top; i++) {
        struct ask *a = &s->asks[i];

        if (a->unit && !a->sent && a->suspect == suspect &&
            (!found || a->unit->ordinal < found->unit->ordinal))
            found = a;
    }
    return found;
}

static void
send_ask(struct exec *s, struct node *n, const struct exec_options *o, struct ask *a)
{
    struct error why = {0};
    int          rc;

    arena_clear(&s->arena);
    buffer_clear(&s->text);
    a->number = s->next++;
    rc = talk_ask((enum talk_format)o->protocol, s->ports, a->unit, a->number, a->attempts, &s->arena,
                  &s->text, &why);
    if (rc == 0 && (int64_t)s->text.length > o->message_bytes)
        rc = error_set(&why, ERROR_input, "a message of %zu bytes; message_bytes is %lld", s->text.length,
                       (long long)o->message_bytes);
    if (rc != 0) {
        give_up(s, n, a, span_text(why.text));
        return;
    }
    if (s->with == 0)
        s->silent_at = node_now(n) + o->timeout;
    a->sent = true;
    s->with++;
    a->until = node_now(n) + o->timeout * s->with;
    program_give(&s->program, buffer_span(&s->text));
}

static void
send_asks(struct exec *s, struct node *n, const struct exec_options *o)
{
    while (s->program.phase == PROGRAM_up && !program_failed(&s->program)) {
        bool        careful = s->suspects > 0;
        struct ask *a = s->with < (careful ? 1 : o->in_flight) ? oldest(s, careful) : NULL;

        if (!a)
            break;
        send_ask(s, n, o, a);
    }
}

/* ---- failures ---- */

/* One message was with it alone: it is asked again, up to `attempts` times. */
static void
blame(struct exec *s, struct node *n, const struct exec_options *o, struct ask *a, const char *why)
{
    char text[TALK_WHY_MAX];

    node_count(n, METRIC_calls_failed, 1);
    a->attempts++;
    free(a->why);
    a->why = xtext(why);
    node_log(n, LOG_warning, "ordinal %" PRIu64 ", attempt %d of %lld: %s", a->unit->ordinal, a->attempts,
             (long long)o->attempts, why);
    if (a->attempts < o->attempts)
        return;
    snprintf(text, sizeof(text), "after %d attempts: %.500s", a->attempts, why);
    give_up(s, n, a, span_text(text));
}

/* The program is ended; what was with it is asked again. `guilty`: what it was asked is to blame. */
static void
fail(struct exec *s, struct node *n, const struct exec_options *o, bool guilty, const char *story)
{
    bool        was_up = s->program.phase == PROGRAM_up;
    struct ask *alone = NULL;
    char        why[PROGRAM_WORDS_MAX + 40];

    snprintf(why, sizeof(why), "%s", story);
    program_end(&s->program, why);
    node_log(n, LOG_warning, "%s%s", why, was_up ? "" : " (before it was ready)");
    for (int i = 0; i < s->top; i++) {
        struct ask *a = &s->asks[i];

        if (!a->unit || !a->sent)
            continue;
        alone = a;
        if (guilty && !a->suspect) {
            a->suspect = true;
            s->suspects++;
        }
        a->sent = false;
    }
    bool single = s->with == 1;
    s->with = 0;
    if (guilty && single)
        blame(s, n, o, alone, why);
}

/* It ended by itself, or its pipes did. */
static void
fail_ended(struct exec *s, struct node *n, const struct exec_options *o)
{
    struct program *p = &s->program;
    bool            good = p->reaped && WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0;
    bool            outside = p->reaped && child_was_killed(p->status);

    fail(s, n, o, !outside && !(good && p->said), p->why);
}

static void
check_times(struct exec *s, struct node *n, const struct exec_options *o)
{
    double now = node_now(n);
    bool   late = s->with > 0 && now >= s->silent_at;
    char   why[100];

    if (s->program.phase == PROGRAM_greeted && now >= s->program.since + o->start_timeout) {
        snprintf(why, sizeof(why), "its program was not ready after %g s", o->start_timeout);
        fail(s, n, o, false, why);
        return;
    }
    for (int i = 0; i < s->top && !late; i++)
        late = s->asks[i].unit && s->asks[i].sent && now >= s->asks[i].until;
    if (!late)
        return;
    snprintf(why, sizeof(why), "its program did not answer in %g s", o->timeout);
    fail(s, n, o, true, why);
}

/* ---- answers ---- */

static struct ask *
ask_find(struct exec *s, uint64_t number)
{
    for (int i = 0; i < s->top; i++)
        if (s->asks[i].unit && s->asks[i].sent && s->asks[i].number == number)
            return &s->asks[i];
    return NULL;
}

/* A usable question with an unusable answer: the program lives on, the question is put again. */
static void
answer_bad(struct exec *s, struct node *n, const struct exec_options *o, struct ask *a,
           const char *why)
{
    char text[TALK_WHY_MAX];

    s->with--;
    a->sent = false;
    snprintf(text, sizeof(text), "an answer that cannot be used: %.500s", why);
    blame(s, n, o, a, text);
}

static void
answer(struct exec *s, struct node *n, const struct exec_options *o, struct span message)
{
    struct talk_answer t;
    struct error       why = {0};
    char               text[TALK_WHY_MAX];
    int rc = talk_answer((enum talk_format)o->protocol, s->ports, message, &s->kept, &t, &why);
    bool greeted = s->program.phase == PROGRAM_greeted;
    struct ask *a = t.ask == UINT64_MAX ? NULL : ask_find(s, t.ask);

    if (rc == 0 && t.ready && greeted) {
        program_ready(&s->program);
        return;
    }
    if (greeted || !a) {
        snprintf(text, sizeof(text), "its program wrote what is no %s%s%.300s: '%.*s'",
                 greeted ? "{\"ready\": 1}" : "answer", rc != 0 ? ": " : "",
                 rc != 0 ? why.text : greeted ? "" : ", nobody asked it that",
                 message.length > 80 ? 80 : (int)message.length, message.at);
        fail(s, n, o, !greeted && s->with > 0, text);
        return;
    }
    s->silent_at = node_now(n) + o->timeout;
    if (rc == 0 && !t.dead.at)
        rc = send_answer(s, n, a->unit, &t, &why);
    if (rc != 0) {
        answer_bad(s, n, o, a, why.text);
        return;
    }
    program_answered(&s->program);
    if (t.dead.at)
        give_up(s, n, a, t.dead);
    else
        forget(s, a);
}

/* ---- the loop ---- */

static void
set_timer(struct exec *s, struct node *n, const struct exec_options *o)
{
    double at = -1, now = node_now(n);

    if (s->program.phase == PROGRAM_greeted)
        at = s->program.since + o->start_timeout;
    if (s->program.phase == PROGRAM_down && s->count > 0)
        at = s->program.next;
    if (s->with > 0)
        at = s->silent_at;
    for (int i = 0; i < s->top && s->with > 0; i++)
        if (s->asks[i].unit && s->asks[i].sent && s->asks[i].until < at)
            at = s->asks[i].until;
    if (s->program.phase != PROGRAM_down && s->program.child.output < 0)
        at = s->program.shut_at + PROGRAM_SHUT_SECONDS;
    node_timer(n, at < 0 ? -1 : at > now ? at - now : 0);
}

static void
say_why(struct exec *s, struct node *n)
{
    const struct program *p = &s->program;

    if (p->phase == PROGRAM_down && s->count > 0)
        node_why(n, "%s; it is started again in %.0f s", p->why[0] ? p->why : "its program is not up",
                 p->next > node_now(n) ? p->next - node_now(n) : 0);
    else if (p->phase == PROGRAM_greeted)
        node_why(n, "waiting for its program to be ready");
    else if (s->with > 0)
        node_why(n, "waiting for %d answers of its program%s", s->with,
                 s->suspects ? ", one at a time" : "");
    else
        node_why(n, NULL);
}

static void
turn(struct exec *s, struct node *n)
{
    const struct exec_options *o = node_options(n);
    struct span                message;

    if (s->count > 0)
        program_want(&s->program);
    program_pump(&s->program);
    while (!s->program.ended && program_take(&s->program, &message))
        answer(s, n, o, message);
    if (program_failed(&s->program))
        fail_ended(s, n, o);
    else
        check_times(s, n, o);
    if (s->count > 0)
        program_want(&s->program);
    send_asks(s, n, o);
    program_push(&s->program);
    set_timer(s, n, o);
    say_why(s, n);
}

static int
exec_take(struct node *n, struct unit *u, struct error *e)
{
    struct exec *s = node_state(n);
    struct ask  *a = s->asks;

    (void)e;
    while (a->unit)
        a++;
    *a = (struct ask){.unit = u};
    if (a - s->asks >= s->top)
        s->top = (int)(a - s->asks) + 1;
    s->count++;
    if (s->program.phase == PROGRAM_up)
        send_asks(s, n, node_options(n));
    node_timer(n, 0);       /* many are taken before one turn writes them all */
    return 0;
}

static int
exec_ready(struct node *n, struct error *e)
{
    (void)e;
    turn(node_state(n), n);
    return 0;
}

static int
exec_changed(struct node *n, const char *option, struct error *e)
{
    const struct exec_options *o = node_options(n);

    (void)option;
    (void)e;
    node_set_in_flight(n, (int)o->in_flight);
    node_timer(n, 0);
    return 0;
}

static void
exec_stop(struct node *n)
{
    struct exec *s = node_state(n);

    if (s->program.n)
        /* What it still computes nobody would hear. */
        program_leave(&s->program, s->with == 0 && s->program.phase == PROGRAM_up ? LEAVE_SECONDS : 0);
    program_fini(&s->program);
    for (int i = 0; i < s->top; i++)
        free(s->asks[i].why);
    buffer_free(&s->greeting);
    buffer_free(&s->text);
    buffer_free(&s->body);
    buffer_free(&s->kept.packed);
    buffer_free(&s->kept.bodies);
    arena_free(&s->arena);
    free(s->declared);
}

const struct node_kind node_exec = {
    .name = "exec",
    .summary = "a program of your own, in any language, asked over a pipe",
    .state_size = sizeof(struct exec),
    .options_size = sizeof(struct exec_options),
    .ports = exec_ports,
    .options = exec_option_rows,
    .declare = exec_declare,
    .check = exec_check,
    .probe = exec_probe,
    .start = exec_start,
    .take = exec_take,
    .ready = exec_ready,
    .changed = exec_changed,
    .stop = exec_stop,
};
