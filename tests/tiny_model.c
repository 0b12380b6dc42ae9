/* tiny_model: see tiny_model.h. */
#define _XOPEN_SOURCE 700
#include "tests/tiny_model.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/model.h"
#include "kernels/model_config.h"
#include "kernels/model_file.h"
#include "kernels/tokenizer.h"

static int
remove_one(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    (void)s;
    (void)kind;
    (void)where;
    return remove(path);
}

void
tiny_model_remove(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
tiny_model_make(const char *folder, int64_t labels, uint64_t seed)
{
    tiny_model_make_head(folder, labels ? MODEL_HEAD_token : MODEL_HEAD_language, labels, seed);
}

void
tiny_model_make_head(const char *folder, enum model_head head, int64_t labels, uint64_t seed)
{
    static const char *const specials[] = {TINY_SPECIAL};
    char *tokens = xprint("%s.tokens", folder);
    struct error e = {0};
    struct model m;
    struct model_config config = model_config_default();

    config.vocab_size = 64;
    config.hidden_size = 24;
    config.intermediate_size = 40;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.max_position_embeddings = TINY_POSITIONS;
    config.initializer_range = 0.3; /* large, so that scores spread */
    config.tie_word_embeddings = labels == 0;
    config.head = head;
    config.num_labels = labels;
    mkdir(tokens, 0700);
    if (tokenizer_write_bytes(tokens, span_text(TINY_CHARACTERS), specials, 1, TINY_SPECIAL, &e) !=
            0 ||
        model_init(&m, &config, &e) != 0)
        fail_msg("%s", e.text);
    model_randomise(&m, seed);
    if (model_save(&m, folder, tokens, &e) != 0)
        fail_msg("%s", e.text);
    model_free(&m);
    tiny_model_remove(tokens);
    free(tokens);
}
