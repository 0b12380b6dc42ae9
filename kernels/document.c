#include "kernels/document.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Depth and number of values of TEXT, without judging its grammar. */
static int
measure(struct span text, const struct document_limits *limits, struct error *e)
{
    size_t values = 0;
    int depth = 0, quoted = 0;

    for (size_t i = 0; i < text.length; i++) {
        char c = text.at[i];

        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = 0;
        } else if (c == '"') {
            quoted = 1;
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > limits->depth)
                return error_set(e, ERROR_model, "JSON nests deeper than %d at byte %zu",
                                 limits->depth, i);
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',') {
            values++;
        }
    }
    if (values > limits->values)
        return error_set(e, ERROR_model, "JSON holds more than %zu values", limits->values);
    return 0;
}

/* The string literal that ends at TEXT[end), quotes left out: the key a duplicate was found at. */
static struct span
string_before(struct span text, size_t end)
{
    size_t start;

    while (end && text.at[end - 1] != '"')
        end--;
    if (end)
        end--;
    start = end;
    while (start && text.at[start - 1] != '"')
        start--;
    return span_of(text.at + start, end - start);
}

json_t *
document_parse(struct span text, const struct document_limits *limits, struct error *e)
{
    json_error_t why;
    json_t *json;

    if (text.length > limits->bytes) {
        error_set(e, ERROR_model, "JSON of %zu bytes; at most %zu", text.length, limits->bytes);
        return NULL;
    }
    if (measure(text, limits, e))
        return NULL;
    json = json_loadb(text.at ? text.at : "", text.length, JSON_REJECT_DUPLICATES | limits->flags,
                      &why);
    if (json)
        return json;
    if (json_error_code(&why) == json_error_duplicate_key && why.position >= 0) {
        size_t end = (size_t)why.position < text.length ? (size_t)why.position : text.length;
        struct span key = string_before(text, end);

        error_set(e, ERROR_model, "key '%.*s' appears twice",
                  (int)(key.length > 200 ? 200 : key.length), key.at);
    } else if (json_error_code(&why) == json_error_invalid_utf8) {
        error_set(e, ERROR_model, "not UTF-8 (byte %d)", why.position);
    } else {
        error_set(e, ERROR_model, "not JSON: %s (line %d, column %d)", why.text, why.line,
                  why.column);
    }
    return NULL;
}

int
document_load(const char *path, size_t bytes_max, struct buffer *out, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    int rc = 0;

    if (fd < 0)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        rc = error_set(e, ERROR_file, "%s: not a regular file", path);
    else if ((uint64_t)info.st_size > bytes_max)
        rc = error_set(e, ERROR_limit, "%s: %lld bytes; at most %zu", path, (long long)info.st_size,
                       bytes_max);
    while (rc == 0) {
        ssize_t got;

        buffer_reserve(out, 65536);
        got = read(fd, out->at + out->length, 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
        if (got <= 0)
            break;
        out->length += (size_t)got;
        if (out->length > bytes_max)
            rc = error_set(e, ERROR_limit, "%s: grew above %zu bytes", path, bytes_max);
    }
    close(fd);
    return rc;
}

json_t *
document_read(const char *path, const struct document_limits *limits, struct error *e)
{
    struct buffer text = {0};
    json_t *json = NULL;

    if (document_load(path, limits->bytes, &text, e) == 0) {
        json = document_parse(buffer_span(&text), limits, e);
        if (!json)
            error_wrap(e, "%s", path);
    }
    buffer_free(&text);
    return json;
}

void
document_quote(struct buffer *out, struct span text)
{
    buffer_add(out, "\"", 1);
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];

        if (c == '"' || c == '\\')
            buffer_print(out, "\\%c", c);
        else if (c == '\n')
            buffer_text(out, "\\n");
        else if (c == '\t')
            buffer_text(out, "\\t");
        else if (c == '\r')
            buffer_text(out, "\\r");
        else if (c < 0x20 || c == 0x7f)
            buffer_print(out, "\\u%04x", c);
        else
            buffer_add(out, text.at + i, 1);
    }
    buffer_add(out, "\"", 1);
}
