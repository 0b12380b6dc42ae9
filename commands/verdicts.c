/* verdicts: two passes over the sink's lines: which ordinal is which solution, then what was said.
 */
#include "commands/verdicts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/prompts.h"

struct reading {
    struct verdicts *v;
    const struct cases *cases;
    const struct panel *panel;
    double threshold;
    int64_t *solution; /* by ordinal; -1: not known */
    int64_t ordinals;
};

static int
take_ordinal(const struct reading *r, const json_t *line, int64_t *ordinal, struct error *e)
{
    const json_t *v = json_object_get(line, "ordinal");

    *ordinal = json_integer_value(v);
    if (!json_is_integer(v) || *ordinal < 0 || *ordinal >= r->ordinals)
        return error_set(e, ERROR_input, "its ordinal is none of the %lld solutions",
                         (long long)r->ordinals);
    return 0;
}

static int
parse(struct span text, json_t **line, struct error *e)
{
    json_error_t why;

    *line = json_loadb(text.at, text.length, JSON_ALLOW_NUL, &why);
    return *line ? 0 : error_set(e, ERROR_input, "it is no JSON: %s", why.text);
}

static int
note_solution(void *context, int64_t number, struct span text, struct error *e)
{
    struct reading *r = context;
    json_t *line;
    int64_t ordinal;
    int rc = parse(text, &line, e);

    (void)number;
    if (rc != 0)
        return rc;
    const char *id = json_string_value(json_object_get(json_object_get(line, "rollout"), "id"));
    if (id) {
        rc = take_ordinal(r, line, &ordinal, e);
        int64_t solution = strtoll(id, NULL, 10);
        if (rc == 0 && (solution < 0 || solution >= r->cases->count))
            rc = error_set(e, ERROR_input, "'%.40s' is none of the solutions", id);
        if (rc == 0)
            r->solution[ordinal] = solution;
    }
    json_decref(line);
    return rc;
}

static int
voter_of(const struct reading *r, const json_t *line)
{
    const char *from = json_string_value(json_object_get(line, "from"));

    for (int i = 0; from && i < r->panel->count; i++)
        if (strcmp(r->panel->at[i].id, from) == 0)
            return i;
    return from && strcmp(from, PANEL_CONSENSUS) == 0 ? r->panel->count : -1;
}

static float
score_at(const json_t *list, size_t i)
{
    const json_t *v = json_array_get(list, i);
    return json_is_number(v) ? (float)json_number_value(v) : NAN;
}

/* A vote: scores and whether they were said; of the consensus: labels, and the means behind them.
 */
static void
take_opinion(const struct reading *r, const json_t *line, bool consensus, struct opinion *o)
{
    const json_t *scores = json_object_get(line, consensus ? "means" : "scores"),
                 *marks = json_object_get(line, consensus ? "labels" : "said");
    size_t count = json_array_size(marks);
    const char *abstain = json_string_value(json_object_get(line, "abstain"));

    if (abstain && abstain[0])
        return;
    o->scores = arena_take(&r->v->arena, sizeof(float) * (count + 1));
    o->verdicts = arena_take(&r->v->arena, count + 1);
    o->count = (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        json_int_t mark = json_integer_value(json_array_get(marks, i));
        o->scores[i] = score_at(scores, i);
        if (consensus)
            o->verdicts[i] = mark == 0 ? CASE_incorrect : mark == 1 ? CASE_correct : CASE_unknown;
        else if (!mark || !(o->scores[i] >= 0 && o->scores[i] <= 1))
            o->verdicts[i] = CASE_unknown;
        else
            o->verdicts[i] = (double)o->scores[i] >= r->threshold ? CASE_correct : CASE_incorrect;
    }
}

static int
note_opinion(void *context, int64_t number, struct span text, struct error *e)
{
    struct reading *r = context;
    json_t *line;
    int64_t ordinal;
    int rc = parse(text, &line, e), voter;

    (void)number;
    if (rc != 0)
        return rc;
    voter = voter_of(r, line);
    rc = take_ordinal(r, line, &ordinal, e);
    if (rc == 0 && voter >= 0 && r->solution[ordinal] >= 0) {
        struct verdicts *v = r->v;
        struct opinion *o = &v->at[voter * v->solutions + r->solution[ordinal]];
        take_opinion(r, line, voter == r->panel->count, o);
        o->usd = json_number_value(json_object_get(line, "usd"));
        o->tokens_in = json_integer_value(json_object_get(line, "tokens_in"));
        o->tokens_out = json_integer_value(json_object_get(line, "tokens_out"));
        v->answered += voter == r->panel->count;
    }
    json_decref(line);
    return rc;
}

int
verdicts_read(struct verdicts *v, const char *path, const struct cases *c, const struct panel *p,
              double threshold, struct error *e)
{
    struct reading r = {v, c, p, threshold, NULL, c->count};
    size_t voters = (size_t)p->count + 1;
    int rc;

    *v = (struct verdicts){.voters = (int)voters, .solutions = c->count};
    v->at = xarray(voters * (size_t)c->count, sizeof(*v->at));
    r.solution = xarray((size_t)c->count, sizeof(*r.solution));
    memset(r.solution, 0xff, sizeof(*r.solution) * (size_t)c->count);
    rc = prompts_lines(path, note_solution, &r, e);
    if (rc == 0)
        rc = prompts_lines(path, note_opinion, &r, e);
    free(r.solution);
    for (int64_t i = 0; i < c->count; i++) {
        struct opinion *all = &v->at[(int64_t)(voters - 1) * c->count + i];
        for (size_t k = 0; k + 1 < voters; k++) {
            const struct opinion *one = &v->at[(int64_t)k * c->count + i];
            all->usd += one->usd;
            all->tokens_in += one->tokens_in;
            all->tokens_out += one->tokens_out;
        }
    }
    if (rc < 0)
        verdicts_free(v);
    return rc;
}

void
verdicts_free(struct verdicts *v)
{
    free(v->at);
    arena_free(&v->arena);
    *v = (struct verdicts){0};
}
