/* prompt_shipped: the files of examples/prompts, as they stand there, in the program. The assembler
 * reads them (paths start at the repository's root, where make runs), so that what is shipped and
 * what is built in cannot differ. */
#include <string.h>

#include "nodes/llm_judge/prompt.h"

#define SHIPPED(name)                                                                              \
    extern const char prompt_##name[], prompt_##name##_end[];                                      \
    __asm__(".pushsection .rodata\n"                                                               \
            ".global prompt_" #name "\nprompt_" #name ":\n"                                        \
            ".incbin \"examples/prompts/" #name ".txt\"\n"                                         \
            ".global prompt_" #name "_end\nprompt_" #name "_end:\n"                                \
            ".byte 0\n.popsection\n");
#include "nodes/llm_judge/prompt_shipped.def"
#undef SHIPPED

const char *const prompt_shipped_names[] = {
#define SHIPPED(name) #name,
#include "nodes/llm_judge/prompt_shipped.def"
#undef SHIPPED
    NULL,
};

struct span
prompt_shipped(const char *name)
{
    static const struct {
        const char *at, *end;
    } texts[] = {
#define SHIPPED(name) {prompt_##name, prompt_##name##_end},
#include "nodes/llm_judge/prompt_shipped.def"
#undef SHIPPED
    };

    for (int i = 0; prompt_shipped_names[i]; i++)
        if (strcmp(prompt_shipped_names[i], name) == 0)
            return span_of(texts[i].at, (size_t)(texts[i].end - texts[i].at));
    return span_of(NULL, 0);
}
