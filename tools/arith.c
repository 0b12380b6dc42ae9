/* arith: everything about the world of examples/arith that is not Sluice: chains of three additions and
 * subtractions ("7+5-3+8=?"), answers line by line with slips and corrections, and the truth about a step.
 *
 *   arith prompts SET SEED COUNT         prompts of a set (sft judge stream validation held_out), as JSONL
 *   arith sft SEED COUNT                 worked answers to train the base policy on, some with slips
 *   arith verdicts LABELLED              the steps of a sink's labelled messages as prompts with verdict y or n
 *   arith tokenizer FOLDER               the tokenizer of this world: a character a token
 *   arith score VOTES|LABELLED ...       precision and recall of each judge and of the consensus
 *
 * The sets share no prompt: a prompt belongs to the set its hash names. Everything is a function of the seed.
 *
 * Truth of a step "A op B=C": A is the value the step before ended with (for the first: the first operand; for a
 * "wait" line: what the corrected line began with), op and B are the prompt's, and the equation holds. So a
 * step that goes on soundly from a wrong value is correct: it is what a gem is. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/tokenizer.h"

#define OPERATIONS 3
#define SLIP_SHARE 0.30         /* of the lines of a worked answer */
#define CORRECTED_SHARE 0.5     /* of the slips */
#define TEXT_MAX 256
#define STEPS_MAX 64
#define VOTERS_MAX 8

struct chain {
    int first;
    int sign[OPERATIONS];       /* +1 or -1 */
    int operand[OPERATIONS];
};

static const char *const sets[] = {"sft", "judge", "stream", "validation", "held_out", NULL};
static const int set_share[] = {60, 15, 10, 5, 10};     /* percent of all prompts */

/* A fixed mix of 64 bits (splitmix64's finaliser). */
static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

struct dice {
    uint64_t key, index;
};

static double
roll(struct dice *d)
{
    return (double)(mix(d->key ^ mix(d->index++)) >> 11) / 9007199254740992.0;
}

static int
pick(struct dice *d, int count)
{
    return (int)(roll(d) * count);
}

static struct chain
chain_draw(struct dice *d)
{
    struct chain c = {.first = 1 + pick(d, 9)};

    for (int i = 0; i < OPERATIONS; i++) {
        c.sign[i] = pick(d, 2) ? 1 : -1;
        c.operand[i] = 1 + pick(d, 9);
    }
    return c;
}

static int
chain_set(const struct chain *c)
{
    uint64_t key = (uint64_t)c->first;
    int      at, i;

    for (i = 0; i < OPERATIONS; i++)
        key = key * 32 + (uint64_t)(c->sign[i] > 0 ? c->operand[i] : c->operand[i] + 16);
    at = (int)(mix(key) % 100);
    for (i = 0; at >= set_share[i]; i++)
        at -= set_share[i];
    return i;
}

static int
chain_answer(const struct chain *c)
{
    int v = c->first;

    for (int i = 0; i < OPERATIONS; i++)
        v += c->sign[i] * c->operand[i];
    return v;
}

static void
chain_prompt(const struct chain *c, char *text)
{
    int n = sprintf(text, "%d", c->first);

    for (int i = 0; i < OPERATIONS; i++)
        n += sprintf(text + n, "%c%d", c->sign[i] > 0 ? '+' : '-', c->operand[i]);
    sprintf(text + n, "=?\n");
}

/* Reads "7+5-3+8=?\n". */
static bool
chain_parse(const char *text, struct chain *c)
{
    char s[OPERATIONS];
    int  n = 0;

    if (sscanf(text, "%1d%c%1d%c%1d%c%1d=?%n", &c->first, &s[0], &c->operand[0], &s[1],
               &c->operand[1], &s[2], &c->operand[2], &n) != 7 || n == 0)
        return false;
    for (int i = 0; i < OPERATIONS; i++)
        c->sign[i] = s[i] == '+' ? 1 : -1;
    return true;
}

/* A worked answer: a line per operation, some wrong, half of the wrong ones taken back at once. */
static void
chain_work(const struct chain *c, struct dice *d, char *text)
{
    int v = c->first, n = 0;

    for (int i = 0; i < OPERATIONS; i++) {
        int right = v + c->sign[i] * c->operand[i], said = right;
        char sign = c->sign[i] > 0 ? '+' : '-';

        if (roll(d) < SLIP_SHARE) {
            int by = 1 + pick(d, 3);
            said = right + (pick(d, 2) ? by : -by);
        }
        n += sprintf(text + n, "%d%c%d=%d\n", v, sign, c->operand[i], said);
        if (said != right && roll(d) < CORRECTED_SHARE) {
            n += sprintf(text + n, "wait %d%c%d=%d\n", v, sign, c->operand[i], right);
            said = right;
        }
        v = said;
    }
}

static void
print_line(json_t *o)
{
    json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(o);
}

static int
command_prompts(const char *set, uint64_t seed, long count)
{
    struct dice d = {.key = mix(seed * 2 + 1)};
    char       *seen = calloc(1, 1 << 20);      /* one bit for each chain that can be */
    int         wanted = 0;

    while (sets[wanted] && strcmp(sets[wanted], set) != 0)
        wanted++;
    if (!sets[wanted] || !seen) {
        fprintf(stderr, "arith: there is no set '%s'\n", set);
        free(seen);
        return 2;
    }
    for (long n = 0, tries = 0; n < count;) {
        struct chain c = chain_draw(&d);
        char         text[TEXT_MAX], id[64], answer[16];
        uint64_t     key = (uint64_t)c.first;

        for (int i = 0; i < OPERATIONS; i++)
            key = key * 18 + (uint64_t)(c.operand[i] - 1 + (c.sign[i] > 0 ? 0 : 9));
        if (++tries > 100 * count + 1000000) {
            fprintf(stderr, "arith: the set '%s' has fewer than %ld prompts\n", set, count);
            free(seen);
            return 1;
        }
        if (chain_set(&c) != wanted || (seen[key / 8] >> (key % 8) & 1))
            continue;
        seen[key / 8] |= (char)(1 << (key % 8));
        chain_prompt(&c, text);
        snprintf(id, sizeof(id), "%s-%ld", set, n++);
        snprintf(answer, sizeof(answer), "%d", chain_answer(&c));
        print_line(json_pack("{ss ss ss}", "id", id, "prompt", text, "answer", answer));
    }
    free(seen);
    return 0;
}

static int
command_sft(uint64_t seed, long count)
{
    struct dice d = {.key = mix(seed * 2)};

    for (long n = 0; n < count;) {
        struct chain c = chain_draw(&d);
        char         prompt[TEXT_MAX], text[TEXT_MAX], id[64], answer[16];

        if (chain_set(&c) != 0)
            continue;
        chain_prompt(&c, prompt);
        chain_work(&c, &d, text);
        snprintf(id, sizeof(id), "sft-%ld", n++);
        snprintf(answer, sizeof(answer), "%d", chain_answer(&c));
        print_line(json_pack("{ss ss ss ss si}", "id", id, "prompt", prompt, "response", text,
                             "answer", answer, "reward", 1));
    }
    return 0;
}

/* The truth of every step of a response; the steps end at ends[]. */
static void
truth(const char *prompt, const char *response, json_t *ends, bool *correct)
{
    struct chain c;
    bool         known = chain_parse(prompt, &c);
    size_t       from = 0;
    int          op = 0, value = known ? c.first : 0, before = value;

    for (size_t k = 0; k < json_array_size(ends) && k < STEPS_MAX; k++) {
        size_t to = (size_t)json_integer_value(json_array_get(ends, k));
        char   line[TEXT_MAX] = "", sign;
        int    a, b, r, n = 0;
        bool   again;

        correct[k] = false;
        if (to - from < sizeof(line))
            memcpy(line, response + from, to - from);
        from = to;
        again = strncmp(line, "wait ", 5) == 0;
        if (!known || sscanf(line + (again ? 5 : 0), "%d%c%d=%d%n", &a, &sign, &b, &r, &n) != 4)
            continue;
        if (again && op > 0)
            op--, value = before;
        if (op < OPERATIONS && a == value && sign == (c.sign[op] > 0 ? '+' : '-') &&
            b == c.operand[op] && r == a + c.sign[op] * b && line[n + (again ? 5 : 0)] == '\n')
            correct[k] = true;
        before = value;
        value = r;
        op++;
    }
}

static json_t *
next_line(FILE *in, const char *path, int number)
{
    static char *line;
    static size_t room;
    json_error_t why;
    json_t      *o;

    if (getline(&line, &room, in) < 0)
        return NULL;
    o = json_loads(line, 0, &why);
    if (!o) {
        fprintf(stderr, "arith: %s:%d: %s\n", path, number, why.text);
        exit(1);
    }
    return o;
}

static FILE *
must_open(const char *path)
{
    FILE *in = fopen(path, "r");

    if (!in) {
        perror(path);
        exit(1);
    }
    return in;
}

/* Each judged step becomes a question to the critic: all up to the step, "?", and the verdict. */
static int
command_verdicts(const char *path)
{
    FILE   *in = must_open(path);
    json_t *o;
    long    n = 0;

    for (int number = 1; (o = next_line(in, path, number)); number++) {
        json_t     *rollout = json_object_get(o, "rollout"), *ends = json_object_get(o, "ends");
        json_t     *labels = json_object_get(o, "labels");
        const char *prompt = json_string_value(json_object_get(rollout, "prompt"));
        const char *response = json_string_value(json_object_get(rollout, "response"));

        for (size_t k = 0; k < json_array_size(ends); k++) {
            int  label = (int)json_integer_value(json_array_get(labels, k));
            int  end = (int)json_integer_value(json_array_get(ends, k));
            char text[2 * TEXT_MAX], id[64];

            if (label > 1 || end >= TEXT_MAX)
                continue;
            snprintf(text, sizeof(text), "%s%.*s?", prompt, end, response);
            snprintf(id, sizeof(id), "verdict-%ld", n++);
            print_line(json_pack("{ss ss ss si}", "id", id, "prompt", text, "response",
                                 label ? "y" : "n", "reward", 1));
        }
        json_decref(o);
    }
    fclose(in);
    return 0;
}

struct tally {
    char name[64];
    long both, said, real, steps;   /* correct and called so; called correct; correct; all judged */
};

static struct tally *
tally_of(struct tally *all, int *count, const char *name)
{
    for (int i = 0; i < *count; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    if (*count == VOTERS_MAX)
        exit(1);
    snprintf(all[*count].name, sizeof(all[0].name), "%s", name);
    return &all[(*count)++];
}

/* What each ordinal's rollout says, learnt from the consensus' sink, to judge the votes by. */
static json_t *
read_truth(const char *path, struct tally *all, int *count)
{
    FILE         *in = must_open(path);
    json_t       *known = json_object(), *o;
    struct tally *t = tally_of(all, count, "consensus");

    for (int number = 1; (o = next_line(in, path, number)); number++) {
        json_t *rollout = json_object_get(o, "rollout"), *ends = json_object_get(o, "ends");
        json_t *labels = json_object_get(o, "labels"), *list = json_array();
        bool    correct[STEPS_MAX];
        char    key[32];

        truth(json_string_value(json_object_get(rollout, "prompt")),
              json_string_value(json_object_get(rollout, "response")), ends, correct);
        for (size_t k = 0; k < json_array_size(ends) && k < STEPS_MAX; k++) {
            bool yes = json_integer_value(json_array_get(labels, k)) == 1;
            t->steps++;
            t->said += yes;
            t->real += correct[k];
            t->both += yes && correct[k];
            json_array_append_new(list, json_boolean(correct[k]));
        }
        snprintf(key, sizeof(key), "%lld", (long long)json_integer_value(json_object_get(o, "ordinal")));
        json_object_set_new(known, key, list);
        json_decref(o);
    }
    fclose(in);
    return known;
}

static int
command_score(int argc, char **argv)
{
    struct tally all[VOTERS_MAX] = {0};
    int          count = 0;
    json_t      *known = read_truth(argv[0], all, &count), *o;

    for (int i = 1; i < argc; i++) {
        FILE *in = must_open(argv[i]);

        for (int number = 1; (o = next_line(in, argv[i], number)); number++) {
            const char   *voter = json_string_value(json_object_get(o, "voter"));
            struct tally *t = tally_of(all, &count, voter ? voter : "?");
            char          key[32];
            json_t       *real, *scores = json_object_get(o, "scores"), *said = json_object_get(o, "said");

            snprintf(key, sizeof(key), "%lld", (long long)json_integer_value(json_object_get(o, "ordinal")));
            real = json_object_get(known, key);
            for (size_t k = 0; k < json_array_size(real); k++) {
                bool correct = json_is_true(json_array_get(real, k));
                bool yes = json_integer_value(json_array_get(said, k)) &&
                           json_number_value(json_array_get(scores, k)) >= 0.5;
                t->steps++;
                t->said += yes;
                t->real += correct;
                t->both += yes && correct;
            }
            json_decref(o);
        }
        fclose(in);
    }
    printf("%-16s %9s %9s   of steps called correct: truly so; of steps truly correct: called so\n", "judge", "precision",
           "recall");
    for (int i = count; i-- > 0;) {
        struct tally *t = &all[i];
        printf("%-16s %9.3f %9.3f\n", t->name, t->said ? (double)t->both / (double)t->said : 0.0,
               t->real ? (double)t->both / (double)t->real : 0.0);
    }
    printf("%-16s %9.3f %9s   calling every step correct (%ld of %ld are)\n", "(chance)",
           all[0].steps ? (double)all[0].real / (double)all[0].steps : 0.0, "1.000", all[0].real, all[0].steps);
    json_decref(known);
    return 0;
}

static int
command_tokenizer(const char *folder)
{
    static const char *const special[] = {"<eos>"};
    struct error e = {0};

    if (tokenizer_write_bytes(folder, span_text("0123456789+-=?\n waityn"), special, 1, special[0], &e) != 0) {
        fprintf(stderr, "arith: %s\n", e.text);
        return 1;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "prompts") == 0 && argc == 5)
        return command_prompts(argv[2], strtoull(argv[3], NULL, 10), strtol(argv[4], NULL, 10));
    if (strcmp(what, "sft") == 0 && argc == 4)
        return command_sft(strtoull(argv[2], NULL, 10), strtol(argv[3], NULL, 10));
    if (strcmp(what, "verdicts") == 0 && argc == 3)
        return command_verdicts(argv[2]);
    if (strcmp(what, "tokenizer") == 0 && argc == 3)
        return command_tokenizer(argv[2]);
    if (strcmp(what, "score") == 0 && argc >= 3)
        return command_score(argc - 2, argv + 2);
    fprintf(stderr, "usage: arith prompts SET SEED COUNT | sft SEED COUNT | verdicts LABELLED | tokenizer FOLDER |"
                    " score LABELLED [VOTES ...]\n");
    return 2;
}
