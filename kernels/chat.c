#include "kernels/chat.h"

#include <stdlib.h>
#include <string.h>

#define QWEN_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

const char *const chat_names[CHAT_FORMATS + 1] = {
    "raw", "qwen2", "qwen3", "r1", "llama3", "llama31", NULL,
};

/* The text, and which bytes of it are contents. */
struct writer {
    struct buffer *text;
    struct tokenizer_range *ranges;
    int64_t count, room;
};

static void
put(struct writer *w, const char *literal)
{
    buffer_text(w->text, literal);
}

static void
put_content(struct writer *w, struct span s)
{
    struct tokenizer_range *last = w->count ? &w->ranges[w->count - 1] : NULL;

    if (!s.length)
        return;
    if (last && last->end == (int64_t)w->text->length) {
        last->end += (int64_t)s.length;
    } else {
        if (w->count == w->room) {
            w->room = w->room ? 2 * w->room : 16;
            w->ranges = xresize(w->ranges, (size_t)w->room * sizeof(*w->ranges));
        }
        w->ranges[w->count++] = (struct tokenizer_range){
            (int64_t)w->text->length, (int64_t)w->text->length + (int64_t)s.length};
    }
    buffer_add(w->text, s.at, s.length);
}

static int
is_role(const struct chat_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

/* What stands before the first WORD, all of S where it lacks it. */
static struct span
before_first(struct span s, const char *word)
{
    const char *found = memmem(s.at, s.length, word, strlen(word));

    return found ? span_of(s.at, (size_t)(found - s.at)) : s;
}

static struct span
after_last(struct span s, const char *word)
{
    size_t length = strlen(word);
    const char *found;

    while ((found = memmem(s.at, s.length, word, length)) != NULL)
        s = span_of(found + length, s.length - (size_t)(found - s.at) - length);
    return s;
}

static int
has(struct span s, const char *word)
{
    return memmem(s.at, s.length, word, strlen(word)) != NULL;
}

static struct span
strip_lines(struct span s, int left, int right)
{
    while (left && s.length && s.at[0] == '\n')
        s = span_of(s.at + 1, s.length - 1);
    while (right && s.length && s.at[s.length - 1] == '\n')
        s.length--;
    return s;
}

/* Bytes of a white space of Python's str.strip() at the start of S (or its end): 0, none. */
static size_t
space_bytes(struct span s, int at_end)
{
    static const char *const wide[] = {
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
        "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
        "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
        "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
    };
    unsigned char c = s.length ? (unsigned char)s.at[at_end ? s.length - 1 : 0] : 'x';

    if ((c >= 9 && c <= 13) || (c >= 28 && c <= 32))
        return 1;
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        size_t n = strlen(wide[i]);

        if (s.length >= n && memcmp(s.at + (at_end ? s.length - n : 0), wide[i], n) == 0)
            return n;
    }
    return 0;
}

static struct span
trim(struct span s)
{
    size_t n;

    while ((n = space_bytes(s, 0)) > 0)
        s = span_of(s.at + n, s.length - n);
    while ((n = space_bytes(s, 1)) > 0)
        s.length -= n;
    return s;
}

/* <|im_start|>role\ncontent<|im_end|>\n */
static void
put_turn(struct writer *w, const char *role, struct span content)
{
    put(w, "<|im_start|>");
    put(w, role);
    put(w, "\n");
    put_content(w, content);
    put(w, "<|im_end|>\n");
}

/* Results of tools that follow each other are one turn of the user. */
static void
put_tool(struct writer *w, const struct chat_message *messages, int count, int i)
{
    if (i == 0 || !is_role(&messages[i - 1], "tool"))
        put(w, "<|im_start|>user");
    put(w, "\n<tool_response>\n");
    put_content(w, messages[i].content);
    put(w, "\n</tool_response>");
    if (i + 1 == count || !is_role(&messages[i + 1], "tool"))
        put(w, "<|im_end|>\n");
}

static void
render_qwen2(struct writer *w, const struct chat_message *messages, int count,
             const struct chat_options *o)
{
    if (!is_role(&messages[0], "system"))
        put_turn(w, "system", span_text(o->system ? o->system : QWEN_SYSTEM));
    for (int i = 0; i < count; i++) {
        if (is_role(&messages[i], "tool"))
            put_tool(w, messages, count, i);
        else
            put_turn(w, messages[i].role, messages[i].content);
    }
    if (o->generation_prompt)
        put(w, "<|im_start|>assistant\n");
}

static int
is_tool_response(struct span s)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";

    return s.length >= sizeof(close) - 1 && memcmp(s.at, open, sizeof(open) - 1) == 0 &&
           memcmp(s.at + s.length - (sizeof(close) - 1), close, sizeof(close) - 1) == 0;
}

/* The last message that asks something: reasoning after it is kept. */
static int
last_query(const struct chat_message *messages, int count)
{
    for (int i = count - 1; i >= 0; i--)
        if (is_role(&messages[i], "user") && !is_tool_response(messages[i].content))
            return i;
    return count - 1;
}

static void
put_answer(struct writer *w, const struct chat_message *m, int after_query, int is_last)
{
    struct span content = m->content, reasoning = m->reasoning;

    if (!reasoning.at && has(content, "</think>")) {
        reasoning = strip_lines(before_first(content, "</think>"), 0, 1);
        reasoning = strip_lines(after_last(reasoning, "<think>"), 1, 0);
        content = strip_lines(after_last(content, "</think>"), 1, 0);
    }
    put(w, "<|im_start|>assistant\n");
    if (after_query && (is_last || reasoning.length)) {
        put(w, "<think>\n");
        put_content(w, strip_lines(reasoning, 1, 1));
        put(w, "\n</think>\n\n");
        content = strip_lines(content, 1, 0);
    }
    put_content(w, content);
    put(w, "<|im_end|>\n");
}

static void
render_qwen3(struct writer *w, const struct chat_message *messages, int count,
             const struct chat_options *o)
{
    int query = last_query(messages, count);

    for (int i = 0; i < count; i++) {
        if (is_role(&messages[i], "tool"))
            put_tool(w, messages, count, i);
        else if (is_role(&messages[i], "assistant"))
            put_answer(w, &messages[i], i > query, i + 1 == count);
        else
            put_turn(w, messages[i].role, messages[i].content);
    }
    if (o->generation_prompt)
        put(w, "<|im_start|>assistant\n");
    if (o->generation_prompt && o->thinking == CHAT_thinking_off)
        put(w, "<think>\n\n</think>\n\n");
}

static void
render_r1(struct writer *w, const struct chat_message *messages, int count,
          const struct chat_options *o)
{
    put(w, "<｜begin▁of▁sentence｜>");
    for (int i = count - 1; i >= 0; i--)
        if (is_role(&messages[i], "system")) {
            put_content(w, messages[i].content);
            break;
        }
    for (int i = 0; i < count; i++) {
        if (is_role(&messages[i], "user")) {
            put(w, "<｜User｜>");
            put_content(w, messages[i].content);
        } else if (is_role(&messages[i], "assistant")) {
            put(w, "<｜Assistant｜>");
            put_content(w, after_last(messages[i].content, "</think>"));
            put(w, "<｜end▁of▁sentence｜>");
        }
    }
    if (o->generation_prompt)
        put(w, o->thinking == CHAT_thinking_off ? "<｜Assistant｜>" : "<｜Assistant｜><think>\n");
}

static void
put_header(struct writer *w, const char *role)
{
    put(w, "<|start_header_id|>");
    put(w, role);
    put(w, "<|end_header_id|>\n\n");
}

static void
render_llama(struct writer *w, const struct chat_message *messages, int count,
             const struct chat_options *o, int dated)
{
    int first = 0;

    put(w, "<|begin_of_text|>");
    if (dated) {
        put_header(w, "system");
        put(w, "Cutting Knowledge Date: December 2023\nToday Date: ");
        put(w, o->date ? o->date : CHAT_DATE);
        put(w, "\n\n");
        if (is_role(&messages[0], "system"))
            put_content(w, trim(messages[first++].content));
        put(w, "<|eot_id|>");
    }
    for (int i = first; i < count; i++) {
        put_header(w, messages[i].role);
        put_content(w, trim(messages[i].content));
        put(w, "<|eot_id|>");
    }
    if (o->generation_prompt)
        put_header(w, "assistant");
}

static int
check(enum chat_format f, const struct chat_message *messages, int count, struct error *e)
{
    int tools = f == CHAT_qwen2 || f == CHAT_qwen3;

    if (count < 1)
        return error_set(e, ERROR_input, "a conversation without a message");
    for (int i = 0; f != CHAT_raw && i < count; i++)
        if (!is_role(&messages[i], "system") && !is_role(&messages[i], "user") &&
            !is_role(&messages[i], "assistant") && !(tools && is_role(&messages[i], "tool")))
            return error_set(e, ERROR_input,
                             "message %d has the role '%.40s'; %s knows system, user%s assistant%s",
                             i + 1, messages[i].role, chat_names[f], tools ? "," : " and",
                             tools ? " and tool" : "");
    return 0;
}

static int
render(struct writer *w, enum chat_format f, const struct chat_message *messages, int count,
       const struct chat_options *o, struct error *e)
{
    int rc = check(f, messages, count, e);

    if (rc < 0)
        return rc;
    switch (f) {
    case CHAT_qwen2:
        render_qwen2(w, messages, count, o);
        break;
    case CHAT_qwen3:
        render_qwen3(w, messages, count, o);
        break;
    case CHAT_r1:
        render_r1(w, messages, count, o);
        break;
    case CHAT_llama3:
    case CHAT_llama31:
        render_llama(w, messages, count, o, f == CHAT_llama31);
        break;
    default:
        for (int i = 0; i < count; i++)
            put_content(w, messages[i].content);
    }
    return 0;
}

int
chat_render(enum chat_format f, const struct chat_message *messages, int count,
            const struct chat_options *o, struct buffer *out, struct error *e)
{
    struct writer w = {.text = out};
    int rc = render(&w, f, messages, count, o, e);

    free(w.ranges);
    return rc;
}

/* The tokens that a format's templates write, special or not (R1's <｜User｜> is not). */
static int
guarded_ids(const struct tokenizer *t, enum chat_format f, int32_t ids[8])
{
    static const char *const tokens[CHAT_FORMATS][8] = {
        [CHAT_qwen2] = {"<|im_start|>", "<|im_end|>"},
        [CHAT_qwen3] = {"<|im_start|>", "<|im_end|>"},
        [CHAT_r1] = {"<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>",
                     "<｜end▁of▁sentence｜>"},
        [CHAT_llama3] = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                         "<|eot_id|>"},
        [CHAT_llama31] = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                          "<|eot_id|>"},
    };
    int count = 0;

    for (int i = 0; i < 8 && tokens[f][i]; i++) {
        ids[count] = tokenizer_id(t, tokens[f][i]);
        count += ids[count] >= 0;
    }
    return count;
}

int
chat_encode(struct tokenizer *t, enum chat_format f, const struct chat_message *messages, int count,
            const struct chat_options *o, int flags, struct buffer *text, struct tokens *out,
            struct error *e)
{
    struct writer w = {.text = text};
    struct tokenizer_guard guard = {0};
    int32_t ids[8];
    int rc;

    buffer_clear(text);
    rc = render(&w, f, messages, count, o, e);
    if (rc == 0 && !(flags & TOKENIZER_SPECIAL)) {
        guard = (struct tokenizer_guard){w.ranges, w.count, ids, guarded_ids(t, f, ids)};
        rc = tokenizer_encode_guarded(t, buffer_span(text), TOKENIZER_SPECIAL, &guard, out, e);
    } else if (rc == 0) {
        rc = tokenizer_encode(t, buffer_span(text), TOKENIZER_SPECIAL, out, e);
    }
    free(w.ranges);
    return rc;
}

int
chat_prompt(struct tokenizer *t, const struct chat_template *c, const char *system,
            struct span prompt, struct tokens *out, struct error *e)
{
    struct chat_message messages[2] = {{.role = "system", .content = span_text(system)},
                                       {.role = "user", .content = prompt}};
    struct chat_options o = {.generation_prompt = 1, .thinking = c->thinking, .system = c->system};
    struct buffer text = {0};
    int first = !system || !*system;
    int rc = chat_encode(t, c->format, messages + first, 2 - first, &o,
                         c->format == CHAT_raw ? TOKENIZER_SPECIAL : 0, &text, out, e);

    buffer_free(&text);
    return rc;
}
