/* option_page: an option table as people and tools see it: `sluice help KIND`, the Markdown manual,
 * and the JSON schema of topologies. */
#include <string.h>

#include "graph/option.h"
#include "graph/text.h"

#define HELP_COLUMNS 100

static bool
has_range(const struct option *o)
{
    return o->kind == OPTION_int || o->kind == OPTION_float || o->kind == OPTION_time ||
           o->kind == OPTION_size;
}

/* "skip|fail", "1..1000", "0..1h", or nothing. */
static void
accepted(const struct option *o, struct buffer *out)
{
    char low[40], high[40];

    if (o->kind == OPTION_choice)
        for (int i = 0; o->choices[i]; i++)
            buffer_print(out, "%s%s", i ? "|" : "", o->choices[i]);
    if (has_range(o)) {
        option_bound(o, o->min, low, sizeof(low));
        option_bound(o, o->max, high, sizeof(high));
        buffer_print(out, "%s%s..%s", option_auto(o) ? "auto|" : "", low, high);
    }
}

static const char *
standard_text(const struct option *o)
{
    if (!o->standard)
        return "required";
    return *o->standard ? o->standard : "unset";
}

/* A default may hold a newline or a tab (a marker, a template): shown as an escape. */
static void
one_line(struct buffer *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            buffer_text(out, "\\n");
        else if (*text == '\t')
            buffer_text(out, "\\t");
        else
            buffer_add(out, text, 1);
    }
}

/* Words in lines of HELP_COLUMNS, each indented; a longer word has a line of its own. */
static void
wrapped(FILE *out, const char *text, int indent)
{
    int at = 0;

    while (*text) {
        int length = (int)strcspn(text, " ");

        if (at == 0 || at + 1 + length > HELP_COLUMNS) {
            fprintf(out, "%s%*s", at ? "\n" : "", indent, "");
            at = indent;
        } else {
            putc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", length, text);
        at += length;
        text += length + (text[length] == ' ');
    }
    putc('\n', out);
}

/* What a row means, and after it what others call it; ends with a NUL. */
static void
meaning(const struct option *o, struct buffer *out)
{
    const char *before = " (elsewhere: ";

    buffer_text(out, o->help);
    for (const struct option *alias = o + 1; alias->kind == OPTION_alias; alias++) {
        buffer_print(out, "%s%s", before, alias->name);
        before = ", ";
    }
    buffer_add(out, ")", o[1].kind == OPTION_alias);
    buffer_add(out, "", 1);
}

static void
help_row(const struct option *o, int wide, FILE *out)
{
    struct buffer values = {0}, usual = {0}, text = {0};

    accepted(o, &values);
    one_line(&usual, standard_text(o));
    meaning(o, &text);
    fprintf(out, "  %-*s  %-6s %s%.*s%s%s%.*s\n", wide, o->name, option_kind_name(o->kind),
            o->standard && *o->standard ? "default " : "", (int)usual.length, usual.at,
            o->change == LIVE ? ", live" : "", values.length ? ", " : "", (int)values.length,
            values.length ? values.at : "");
    wrapped(out, text.at, wide + 4);
    buffer_free(&values);
    buffer_free(&usual);
    buffer_free(&text);
}

void
options_help(const struct option *table, FILE *out)
{
    int wide = 0;

    for (int i = 0; i < option_count(table); i++)
        if (option_valued(&table[i]) && (int)strlen(table[i].name) > wide)
            wide = (int)strlen(table[i].name);
    for (int i = 0; i < option_count(table); i++) {
        if (table[i].kind == OPTION_group)
            fprintf(out, "%s %s\n", i ? "\n" : "", table[i].help);
        else if (option_valued(&table[i]))
            help_row(&table[i], wide, out);
    }
}

static void
manual_row(const struct option *o, FILE *out)
{
    struct buffer values = {0}, usual = {0}, text = {0};

    accepted(o, &values);
    one_line(&usual, standard_text(o));
    meaning(o, &text);
    for (size_t k = 0; k < values.length; k++)
        if (values.at[k] == '|')
            values.at[k] = ' ';
    fprintf(out, "| `%s` | %s | ", o->name, option_kind_name(o->kind));
    fprintf(out, o->standard && *o->standard ? "`%.*s` | " : "%.*s | ", (int)usual.length,
            usual.at);
    fprintf(out, "%.*s | %s | %s |\n", (int)values.length, values.length ? values.at : "",
            o->change == LIVE ? "live" : "fixed", text.at);
    buffer_free(&values);
    buffer_free(&usual);
    buffer_free(&text);
}

void
options_manual(const struct option *table, FILE *out)
{
    static const char head[] =
        "| option | value | default | accepts | change | meaning |\n|---|---|---|---|---|---|\n";

    if (option_count(table) == 0 || table[0].kind != OPTION_group)
        fputs(head, out);
    for (int i = 0; i < option_count(table); i++) {
        if (table[i].kind == OPTION_group)
            fprintf(out, "%s**%s**\n\n%s", i ? "\n" : "", table[i].help, head);
        else if (option_valued(&table[i]))
            manual_row(&table[i], out);
    }
}

/* What a value may look like in YAML. Numbers and times are also accepted as text because of
 * ${NAME}. */
static void
schema_type(const struct option *o, struct buffer *out)
{
    switch (o->kind) {
    case OPTION_int:
    case OPTION_float:
        buffer_print(out, "\"anyOf\":[{\"type\":\"%s\",\"minimum\":",
                     o->kind == OPTION_int ? "integer" : "number");
        text_number(out, o->min);
        buffer_text(out, ",\"maximum\":");
        text_number(out, o->max);
        buffer_print(out,
                     "},{\"type\":\"string\",\"pattern\":"
                     "\"^[+-]?[0-9.]+([eE][+-]?[0-9]+)?[kMG]?$%s|[$][{]\"}]",
                     option_auto(o) ? "|^auto$" : "");
        break;
    case OPTION_bool:
        buffer_text(out, "\"type\":[\"boolean\",\"string\"]");
        break;
    case OPTION_choice:
        buffer_text(out, "\"anyOf\":[{\"enum\":[");
        for (int i = 0; o->choices[i]; i++) {
            if (i)
                buffer_text(out, ",");
            text_json(out, span_text(o->choices[i]));
        }
        buffer_text(out, "]},{\"type\":\"string\",\"pattern\":\"[$][{]\"}]");
        break;
    case OPTION_texts:
        buffer_text(
            out, "\"anyOf\":[{\"type\":\"string\"},"
                 "{\"type\":\"array\",\"items\":{\"type\":[\"string\",\"number\",\"boolean\"]}}]");
        break;
    case OPTION_pairs:
        buffer_text(out, "\"anyOf\":[{\"type\":\"string\"},"
                         "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}]");
        break;
    case OPTION_time:
        buffer_text(out, "\"anyOf\":[{\"const\":0},{\"type\":\"string\",\"pattern\":"
                         "\"^[0-9.eE+-]+ *(us|ms|s|m|h|d)$|[$][{]\"}]");
        break;
    case OPTION_size:
        buffer_text(out, "\"anyOf\":[{\"type\":\"integer\",\"minimum\":");
        text_number(out, o->min);
        buffer_text(out, "},{\"type\":\"string\",\"pattern\":"
                         "\"^[0-9.eE+-]+ *([KMGT]i?)?B$|[$][{]\"}]");
        break;
    default:
        buffer_text(out, "\"type\":[\"string\",\"number\",\"boolean\"]");
        break;
    }
}

void
options_schema(const struct option *table, struct buffer *out)
{
    bool first = true;

    for (int i = 0; i < option_count(table); i++) {
        const struct option *o = &table[i];

        if (!option_valued(o))
            continue;
        buffer_text(out, !first ? ",\n        " : "\n        ");
        first = false;
        text_json(out, span_text(o->name));
        buffer_text(out, ": {");
        schema_type(o, out);
        if (o->standard && *o->standard) {
            buffer_text(out, ",\"default\":");
            text_json(out, span_text(o->standard));
        }
        buffer_text(out, ",\"description\":");
        text_json(out, span_text(o->help));
        buffer_text(out, "}");
    }
}
