/* answer: one gold against the places of a response, most explicit first. */
#include "kernels/answer/answer.h"

#include <string.h>

#include "kernels/answer/compare.h"
#include "kernels/answer/extract.h"
#include "kernels/answer/parse.h"
#include "kernels/answer/words.h"

#define GOLD_WORDS_MAX 100 /* bytes of a gold that is words and no solution */

struct reading {
    struct expressions all;
    struct span gold;         /* its text */
    struct expression *tree;  /* NULL: it is words */
    struct expression *comma; /* 3,5 read as 3.5; NULL: it cannot be */
    struct span words;
    char choice;              /* 0: none */
};

/* The tree of a text; NULL: not all of it, or (not whole) not its beginning, is mathematics. */
static struct expression *
read_tree(struct expressions *all, struct span text, bool whole)
{
    struct latex l;
    struct expression *e;
    int taken;

    if (text.length > ANSWER_BYTES_MAX || !latex_read(&l, text, &all->arena))
        return NULL;
    e = parse_answer(all, &l, &taken);
    return whole && taken < l.count ? NULL : e;
}

/* "3,5" is read as 3.5 too where the gold is one number. */
static struct expression *
decimal_comma(struct expressions *all, struct span text)
{
    char *copy = arena_take(&all->arena, text.length + 1);
    int commas = 0;

    if (text.length > 32)
        return NULL;
    for (size_t i = 0; i < text.length; i++) {
        bool comma = text.at[i] == ',';

        if (!comma && !(text.at[i] >= '0' && text.at[i] <= '9') && !(i == 0 && text.at[i] == '-'))
            return NULL;
        commas += comma;
        copy[i] = comma ? '.' : text.at[i];
    }
    return commas == 1 ? read_tree(all, span_of(copy, text.length), true) : NULL;
}

static bool
same_words(struct span a, struct span b)
{
    return a.length > 0 && a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

/* A gold that is mathematics is its own text to the byte, another in its words. */
static bool
same_text(struct reading *r, struct span text)
{
    if (r->tree)
        return same_words(r->gold, text);
    return same_words(r->words, words_of(text, &r->all.arena));
}

/* 1: the same, 0: another answer, -1: no answer was found here. */
static int
try_place(struct reading *r, const struct extract_place *place)
{
    struct expression *e;

    if (same_text(r, place->text))
        return 1;
    if (r->choice) {
        char c = words_choice(place->text, false, &r->all.arena);

        if (c)
            return c == r->choice;
    }
    e = read_tree(&r->all, place->text, place->whole);
    if (!e)
        return place->last ? 0 : -1;
    if (!r->tree)
        return place->last ? 0 : -1;
    if (compare_answers(&r->all, r->tree, e) ||
        (r->comma && compare_answers(&r->all, r->comma, e)))
        return 1;
    if (r->tree->kind == EXPRESSION_number) {
        e = decimal_comma(&r->all, place->text);
        if (e && compare_answers(&r->all, r->tree, e))
            return 1;
    }
    return 0;
}

static void
read_gold(struct reading *r, struct span gold)
{
    struct extract x;

    r->gold = extract_gold(gold, &r->all.arena);
    r->words = words_of(r->gold, &r->all.arena);
    r->choice = words_choice(r->gold, true, &r->all.arena);
    r->tree = read_tree(&r->all, r->gold, true);
    r->comma = r->tree && r->tree->kind == EXPRESSION_list ? decimal_comma(&r->all, r->gold) : NULL;
    if (r->tree || (!memchr(r->gold.at, '$', r->gold.length) && r->gold.length < GOLD_WORDS_MAX))
        return;
    extract_answer(&x, gold, &r->all.arena); /* a solution, not an answer */
    for (int i = 0; i < x.count && !r->tree; i++) {
        r->tree = read_tree(&r->all, x.at[i].text, x.at[i].whole);
        r->gold = x.at[i].text;
    }
}

bool
answer_same(struct span response, struct span gold)
{
    struct reading r = {.gold = gold};
    struct extract x;
    int verdict = -1;

    read_gold(&r, gold);
    extract_answer(&x, response, &r.all.arena);
    if (r.words.length)
        for (int i = 0; i < x.count && verdict < 0; i++)
            verdict = try_place(&r, &x.at[i]);
    if (verdict < 0 && r.choice)
        verdict = words_last_choice(response, &r.all.arena) == r.choice;
    if (verdict < 0 && r.words.length && response.length <= ANSWER_BYTES_MAX)
        verdict = same_text(&r, extract_bare(response));
    expressions_free(&r.all);
    return verdict > 0;
}

bool
answer_choice(struct span response, struct span gold)
{
    struct reading r = {.gold = gold};
    struct extract x;
    char choice = 0;
    bool same;

    read_gold(&r, gold);
    extract_answer(&x, response, &r.all.arena);
    for (int i = 0; i < x.count && !choice; i++) {
        choice = words_choice(x.at[i].text, false, &r.all.arena);
        if (x.at[i].last && !choice)
            choice = '?';
    }
    if (!choice)
        choice = words_last_choice(response, &r.all.arena);
    same = r.choice && choice == r.choice;
    expressions_free(&r.all);
    return same;
}

struct span
answer_text(struct span response, struct arena *arena)
{
    struct extract x;

    extract_answer(&x, response, arena);
    return x.count ? x.at[0].text : (struct span){NULL, 0};
}
