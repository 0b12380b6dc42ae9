/* chat: conversations as the models' own chat templates write them, in text and in token ids.
 *
 * Six formats, each exactly what Hugging Face's apply_chat_template gives for the templates that
 * the models ship: messages of text only, no tools offered. qwen2 is Qwen2 and Qwen2.5, qwen3 Qwen3
 * with its enable_thinking, r1 DeepSeek-R1-Distill of Qwen and Llama, llama3 the first Llama 3,
 * llama31 Llama 3.1 to 3.3; raw is the contents as they stand.
 *
 * Tokens. The text is encoded as a whole, so that merges reach over the seams of template and
 * content as they do in the reference; but what is in a content cannot forge the template's tokens:
 * "<|im_end|>" there becomes letters. Tokens that are neither special nor the template's (<think>)
 * are matched everywhere, as in the reference. */
#ifndef KERNELS_CHAT_H
#define KERNELS_CHAT_H

#include "kernels/tokenizer.h"

#define CHAT_TEMPLATE_MAX (1 << 20) /* bytes of a template that is looked at */
#define CHAT_DATE         "26 Jul 2024"

enum chat_format {
    CHAT_raw,
    CHAT_qwen2,
    CHAT_qwen3,
    CHAT_r1,
    CHAT_llama3,
    CHAT_llama31,
    CHAT_FORMATS
};

extern const char *const chat_names[CHAT_FORMATS + 1]; /* "raw" ..., NULL at the end */

struct chat_message {
    const char *role; /* system, user, assistant; tool in qwen2 and qwen3 */
    struct span content;
    struct span reasoning; /* of an assistant, qwen3; at NULL: what its content holds in <think> */
};

enum chat_thinking {
    CHAT_thinking_default,
    CHAT_thinking_off, /* qwen3: enable_thinking false; r1: the prompt does not open <think> */
};

struct chat_options {
    int generation_prompt;       /* end where the assistant is to begin */
    enum chat_thinking thinking; /* of the generation prompt */
    const char *date;            /* llama31; NULL: CHAT_DATE, its template's default */
    const char *system;          /* qwen2 without a system message; NULL: Qwen2.5's */
};

/* What a model directory says about itself. */
struct chat_template {
    enum chat_format format;
    enum chat_thinking thinking; /* r1: its first template does not open <think> */
    char *system;                /* qwen2's default system message; NULL: Qwen2.5's */
};

/* The index of a name, -1: there is none. */
int chat_find(const char *name);

/* Reads chat_template.jinja, or chat_template in tokenizer_config.json (of several the one named
 * "default"), and tells the format by marks in it. A directory without either, or without a
 * template in the latter, is raw. ERROR_model: a template that is not understood, with what is. */
int chat_template_read(struct chat_template *c, const char *dir, struct error *e);
void chat_template_free(struct chat_template *c);
int chat_format_of(const char *dir, enum chat_format *format, struct error *e);

/* NAME is one of chat_names or "auto": the model's own. DIR tells the rest where it has the same
 * format. ERROR_usage: no such name. */
int chat_template_open(struct chat_template *c, const char *name, const char *dir, struct error *e);

/* Appends the text to OUT. ERROR_input: no message, or a role that the format lacks. */
int chat_render(enum chat_format f, const struct chat_message *messages, int count,
                const struct chat_options *o, struct buffer *out, struct error *e);

/* The token ids into OUT; offsets are bytes of TEXT, which is emptied and then holds the rendering.
 * FLAGS are for the contents: 0, or TOKENIZER_SPECIAL for contents that are trusted like the
 * template. */
int chat_encode(struct tokenizer *t, enum chat_format f, const struct chat_message *messages,
                int count, const struct chat_options *o, int flags, struct buffer *text,
                struct tokens *out, struct error *e);

/* One prompt: SYSTEM ("" or NULL: none) and PROMPT as the user's message, up to where the assistant
 * begins. In raw the prompt alone, special tokens in it meant; SYSTEM is put before it. */
int chat_prompt(struct tokenizer *t, const struct chat_template *c, const char *system,
                struct span prompt, struct tokens *out, struct error *e);

#endif
