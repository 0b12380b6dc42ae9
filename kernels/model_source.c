#include "kernels/model_source.h"

#include <stdlib.h>

static char *
copy_text(const char *text)
{
    return text ? xtext(text) : NULL;
}

struct model_source *
model_source_copy(const struct model_source *from)
{
    struct model_source *s;

    if (!from)
        return NULL;
    s = xalloc(sizeof(*s));
    *s = *from;
    s->tensors = xarray((size_t)from->count + 1, sizeof(*s->tensors));
    s->files = xarray((size_t)from->file_count + 1, sizeof(*s->files));
    for (int i = 0; i < from->count; i++) {
        s->tensors[i] = from->tensors[i];
        s->tensors[i].name = xtext(from->tensors[i].name);
    }
    for (int i = 0; i < from->file_count; i++)
        s->files[i] = xtext(from->files[i]);
    s->index = copy_text(from->index);
    s->config = copy_text(from->config);
    s->generation = copy_text(from->generation);
    return s;
}

void
model_source_free(struct model_source *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->count; i++)
        free(s->tensors[i].name);
    for (int i = 0; i < s->file_count; i++)
        free(s->files[i]);
    free(s->tensors);
    free(s->files);
    free(s->index);
    free(s->config);
    free(s->generation);
    free(s);
}
