/* sample: `sluice sample MODEL --prompts FILE`: answers of a model as rollouts, one JSON object a
 * line. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/verify.h"
#include "commands/answers.h"
#include "commands/commands.h"
#include "commands/flags.h"
#include "kernels/durable.h"

static const char about[] =
    "Draws answers from a model directory (config.json, model.safetensors, tokenizer.json) to the "
    "prompts of a file: one JSON\n"
    "object a line, {\"prompt\": ..., \"answer\": ..., \"id\": ...}; .gz and .zst are read too. "
    "Prompts are used as they stand, or as --prompt-format puts them.\n"
    "Writes one line for each answer, prompts in order: {\"id\", \"prompt\", \"response\", "
    "\"finish_reason\", \"answer\",\n"
    "\"reward\"}; finish_reason is length where --max-tokens cut it off, else stop; reward is 1 when "
    "--verify says that the\n"
    "response holds the answer, else 0, and absent when the prompt has no answer.\n"
    "An answer depends on the model, --seed, --temperature, the prompt's place in the file and the "
    "sample's number, and on\n"
    "nothing else: more samples or another --rows leave the others as they are.";

struct sampling {
    const struct prompts *prompts;
    const char *path;
    FILE *out;
    enum verify_mode mode;
};

static int
write_failed(const struct sampling *s, struct error *e)
{
    return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file, "%s: %s",
                     s->path, strerror(errno));
}

static int
write_answer(void *context, const struct answer *a, struct error *e)
{
    struct sampling *s = context;
    json_t *line = answers_line(&s->prompts->at[a->prompt], a->sample, a, s->mode);
    int rc = 0;

    if (!line)
        return error_set(e, ERROR_internal, "an answer is not valid UTF-8");
    if (json_dumpf(line, s->out, JSON_COMPACT) != 0 || fputc('\n', s->out) == EOF)
        rc = write_failed(s, e);
    json_decref(line);
    return rc;
}

/* The file is written aside and renamed when all of it is there; without --out the lines go to
 * standard output. */
static int
sample(const char *dir, const char *prompt_file, const char *out, const struct answers_how *how,
       enum verify_mode mode, struct error *e)
{
    struct prompts prompts;
    struct speaker speaker;
    struct sampling s = {.prompts = &prompts, .path = out ? out : "standard output", .mode = mode};
    char *aside = out ? xprint("%s.part", out) : NULL;
    int rc = prompts_read(&prompts, prompt_file, 0, e);

    if (rc == 0) {
        rc = speaker_open(&speaker, dir, e);
        if (rc == 0) {
            rc = speaker_format(&speaker, dir, how->prompt_format, how->system, e);
            if (rc)
                speaker_close(&speaker);
        }
        if (rc == 0) {
            s.out = out ? fopen(aside, "w") : stdout;
            rc = s.out ? answers_make(&speaker, how, &prompts, write_answer, &s, e)
                       : write_failed(&s, e);
            speaker_close(&speaker);
        }
        prompts_free(&prompts);
    }
    if (s.out && rc == 0 && fflush(s.out))
        rc = write_failed(&s, e);
    if (s.out && out) {
        if (rc == 0 && fsync(fileno(s.out)))
            rc = write_failed(&s, e);
        if (fclose(s.out) && rc == 0)
            rc = write_failed(&s, e);
        if (rc == 0 && rename(aside, out))
            rc = write_failed(&s, e);
        if (rc == 0)
            rc = durable_sync_parent(out, e);
        else
            unlink(aside);
    }
    free(aside);
    return rc;
}

int
command_sample(int argc, char **argv)
{
    struct answers_how how = {.label = "sample", .prompt_format = "raw", .temperature = 1, .samples = 1, .max_tokens = 512};
    const char *prompts = NULL, *out = NULL, *verify = "numeric";
    const struct flag flags[] = {
        {FLAG_text, 0, "prompts", "FILE", &prompts, "the prompts, JSON lines"},
        {FLAG_text, 'o', "out", "FILE", &out, "where the rollouts go; else standard output"},
        {FLAG_count, 0, "samples", "N", &how.samples, "answers of each prompt (1)"},
        {FLAG_number, 0, "temperature", "T", &how.temperature,
         "of the draws (1); 0: the most probable token"},
        {FLAG_count, 0, "seed", "N", &how.seed, "another seed, other answers (0)"},
        {FLAG_count, 0, "max-tokens", "N", &how.max_tokens, "of an answer (512)"},
        {FLAG_text, 0, "verify", "HOW", &verify,
         "exact; numeric: the last \\boxed{}, ####, or number; math: likewise, as mathematics; "
         "choice: a letter; hendrycks, dapo: as MATH and DAPO grade (numeric)"},
        {FLAG_text, 0, "prompt-format", "NAME", &how.prompt_format,
         "raw: prompts as they stand; auto: the model's chat template; or qwen2, qwen3, r1, llama3, llama31 (raw)"},
        {FLAG_text, 0, "system", "TEXT", &how.system, "a system message before each prompt"},
        {FLAG_count, 0, "rows", "N", &how.rows,
         "answers drawn at a time; changes the speed only (64)"},
        {.kind = FLAG_end},
    };
    struct words words;
    struct error e = {0};
    int code = flags_read(flags, "sample MODEL --prompts FILE [--out FILE]", about, argc, argv, 1,
                          1, &words),
        rc;

    if (code >= 0)
        return code;
    if (!prompts)
        rc = error_set(&e, ERROR_usage, "--prompts FILE is needed");
    else if (verify_mode_of(verify) < 0)
        rc = error_set(&e, ERROR_usage, "--verify '%s': " VERIFY_WORDS, verify);
    else
        rc = sample(words.at[0], prompts, out, &how, (enum verify_mode)verify_mode_of(verify), &e);
    if (rc)
        fprintf(stderr, "sluice sample: %s\n", e.text);
    return error_exit(rc);
}
