/* judge_marks: see judge_marks.h. */
#include "tests/judge_marks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"

static int
count_x(const char *from, const char *to)
{
    int count = 0;

    for (; from < to; from++)
        count += *from == 'x';
    return count;
}

static void
add_token(json_t *content, struct buffer *words, const char *token, json_t *top)
{
    buffer_text(words, token);
    json_array_append_new(content, json_pack("{s:s, s:f, s:n, s:o}", "token", token, "logprob", 0.0,
                                             "bytes", "top_logprobs", top));
}

static json_t *
candidate(const char *token, double p)
{
    return json_pack("{s:s, s:f}", "token", token, "logprob", log(p));
}

/* "Score of step N: 5" with p(5) = 0.75, p(4) = 0.125, or 1 and 2 where it is wrong. */
static void
add_mark(json_t *content, struct buffer *words, char *label, bool wrong)
{
    json_t *top = json_array();

    add_token(content, words, label, json_array());
    json_array_append_new(top, candidate(wrong ? "1" : "5", 0.75));
    json_array_append_new(top, candidate(wrong ? "2" : "4", 0.125));
    json_array_append_new(top, candidate("perhaps", 0.125));
    add_token(content, words, wrong ? "1" : "5", top);
    add_token(content, words, "\n", json_array());
    free(label);
}

static void
add_marks(const char *prompt, json_t *content, struct buffer *words)
{
    bool any = false;

    for (const char *at = strstr(prompt, "<step_"); at; at = strstr(at + 1, "<step_")) {
        const char *end = strstr(at, "</step_");
        if (!end)
            break;
        bool wrong = count_x(at, end) > 0;
        any |= wrong;
        add_mark(content, words, xprint("Score of step %d: ", atoi(at + 6)), wrong);
    }
    add_mark(content, words, xtext("Overall score: "), any);
}

static void
add_letter(const char *prompt, json_t *content, struct buffer *words)
{
    json_t *top = json_array();
    const char *at = prompt;
    int best = 0, least = -1;

    for (int i = 0; i < 26; i++) {
        char open[8] = {'\n', '[', (char)('A' + i), ']', '\n'}, letter[2] = {(char)('A' + i)};
        char close[16] = {'[', 'e', 'n', 'd', ' ', 'o', 'f', ' ', (char)('A' + i), ']'};
        const char *from = strstr(at, open), *to = from ? strstr(from, close) : NULL;
        if (!to)
            break;
        int x = count_x(from, to);
        json_array_append_new(top, candidate(letter, 0.5 / (1 << (x < 20 ? x : 20))));
        if (least < 0 || x < least) {
            least = x;
            best = i;
        }
        at = to;
    }
    add_token(content, words, (const char[]){(char)('A' + best), 0}, top);
}

char *
judge_marks(const char *prompt, bool letters)
{
    json_t *content = json_array(), *body;
    struct buffer words = {0};
    char *text;

    if (letters)
        add_letter(prompt, content, &words);
    else
        add_marks(prompt, content, &words);
    body =
        json_pack("{s:[{s:{s:s%}, s:{s:o}, s:s}], s:{s:i, s:i}}", "choices", "message", "content",
                  words.at, words.length, "logprobs", "content", content, "finish_reason", "stop",
                  "usage", "prompt_tokens", 100, "completion_tokens", 10);
    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    buffer_free(&words);
    return text;
}
