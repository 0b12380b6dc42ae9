/* noise: see noise.h. */
#include "nodes/learner/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/spans.h"

/* A record: this head, then means, vectors, first, count, judged, labels. Native byte order: a
 * store never leaves its machine. */
struct head {
    uint32_t version, width;
    int64_t steps;
};

static size_t
record_size(int64_t steps, int64_t width)
{
    return sizeof(struct head) + (size_t)steps * (sizeof(float) * (size_t)(1 + width) + 3 * 4 + 1);
}

/* ---- records ---- */

/* Which learnt tokens are whose: arrays (steps). */
static void
place_tokens(const struct labelled *l, const struct tokens *tokens, int64_t skip, int32_t *first,
             int32_t *count, int32_t *judged)
{
    int64_t steps = l->ends.count;
    int64_t *step = xarray((size_t)tokens->count + 1, sizeof(*step));
    int64_t *last = xarray((size_t)steps + 1, sizeof(*last));

    spans_steps(tokens, l->ends.at, steps, step);
    spans_tokens(tokens, l->ends.at, steps, last);
    for (int64_t k = 0; k < steps; k++) {
        first[k] = count[k] = 0;
        judged[k] = last[k] >= skip ? (int32_t)(last[k] - skip) : -1;
    }
    for (int64_t i = skip; i < tokens->count; i++) {
        if (step[i] < 0)
            continue;
        if (count[step[i]] == 0)
            first[step[i]] = (int32_t)(i - skip);
        count[step[i]] = (int32_t)(i - skip) + 1 - first[step[i]];
    }
    free(step);
    free(last);
}

void
noise_write(const struct labelled *l, const struct tokens *tokens, int64_t skip, struct buffer *out)
{
    int64_t steps = l->ends.count, width = steps > 0 ? l->embeddings.count / steps : 0;
    struct head head = {.version = NOISE_VERSION, .width = (uint32_t)width, .steps = steps};
    size_t bytes = (size_t)steps * sizeof(int32_t);
    int32_t *places;

    if (width < 1 || width > NOISE_WIDTH_MAX || l->embeddings.count != steps * width ||
        l->means.count != steps || l->labels.count != steps)
        return;
    places = xarray((size_t)steps, 3 * sizeof(*places));
    place_tokens(l, tokens, skip, places, places + steps, places + 2 * steps);
    buffer_add(out, &head, sizeof(head));
    buffer_add(out, l->means.at, (size_t)steps * sizeof(float));
    buffer_add(out, l->embeddings.at, (size_t)l->embeddings.count * sizeof(float));
    buffer_add(out, places, 3 * bytes);
    buffer_add(out, l->labels.at, (size_t)steps);
    free(places);
}

int
noise_read(struct span bytes, struct noise_record *r, struct error *e)
{
    struct head head = {0};

    if (bytes.length >= sizeof(head))
        memcpy(&head, bytes.at, sizeof(head));
    if (head.version != NOISE_VERSION || head.steps < 1 || head.steps > INT32_MAX ||
        head.width < 1 || head.width > NOISE_WIDTH_MAX ||
        bytes.length != record_size(head.steps, head.width))
        return error_set(e, ERROR_store, "vectors of a sample are damaged in the store");
    *r = (struct noise_record){.steps = head.steps, .width = head.width};
    r->means = (const float *)(const void *)(bytes.at + sizeof(head));
    r->vectors = r->means + r->steps;
    r->first = (const int32_t *)(const void *)(r->vectors + r->steps * r->width);
    r->count = r->first + r->steps;
    r->judged = r->count + r->steps;
    r->labels = (const uint8_t *)(r->judged + r->steps);
    return 0;
}

/* ---- a round ---- */

void
noise_begin(struct noise *n, enum noise_mode mode, bool classes)
{
    noise_free(n);
    n->mode = mode;
    n->classes = classes;
}

/* The length of a step's vector; 0: the step does not count. */
static double
length_of(const struct noise *n, const struct noise_record *r, int64_t step)
{
    const float *q = r->vectors + step * r->width;
    double squares = 0;

    if (r->width != n->width || r->labels[step] > SAMPLE_correct - 1)
        return 0;
    for (int64_t d = 0; d < r->width; d++)
        squares += (double)q[d] * (double)q[d];
    return sqrt(squares);
}

void
noise_look(struct noise *n, const struct noise_record *r)
{
    if (r && !n->prototypes) {
        n->width = r->width;
        n->prototypes = xarray((size_t)n->width, 2 * sizeof(double));
    }
    for (int64_t k = 0; r && k < r->steps; k++) {
        double length = length_of(n, r, k), *sum = n->prototypes + r->labels[k] % 2 * n->width;

        if (!(length > 0))
            continue;
        for (int64_t d = 0; d < n->width; d++)
            sum[d] += (double)r->vectors[k * r->width + d] / length;
        n->counted[r->labels[k]]++;
    }
}

/* Prototypes become directions; what they are divided by before changes nothing. */
static bool
straighten(struct noise *n)
{
    for (int c = 0; c < 2; c++) {
        double *p = n->prototypes + c * n->width, squares = 0;

        for (int64_t d = 0; d < n->width; d++)
            squares += p[d] * p[d];
        if (!(squares > 0))
            return false;
        for (int64_t d = 0; d < n->width; d++)
            p[d] /= sqrt(squares);
    }
    return true;
}

static double
prototype_loss(const struct noise *n, const float *q, double length, int label)
{
    double z[2] = {0, 0}, other;

    for (int c = 0; c < 2; c++) {
        for (int64_t d = 0; d < n->width; d++)
            z[c] += (double)q[d] * n->prototypes[c * n->width + d];
        z[c] /= length * NOISE_TEMPERATURE;
    }
    other = z[1 - label] - z[label];
    return other > 0 ? other + log1p(exp(-other)) : log1p(exp(other));
}

static void
add_step(struct noise *n, double vote, double prototype)
{
    if (n->steps == n->room) {
        n->room = n->room ? 2 * n->room : 1024;
        n->losses = xresize(n->losses, (size_t)n->room * 2 * sizeof(*n->losses));
    }
    n->losses[2 * n->steps] = vote;
    n->losses[2 * n->steps + 1] = prototype;
    n->steps++;
}

void
noise_measure(struct noise *n, const struct noise_record *r)
{
    if (n->samples == 0 && n->width > 0 && !straighten(n))
        n->counted[0] = n->counted[1] = 0;
    if (n->samples + 2 > n->samples_room) {
        n->samples_room = 2 * n->samples + 256;
        n->starts = xresize(n->starts, (size_t)n->samples_room * sizeof(*n->starts));
    }
    n->starts[n->samples++] = n->steps;
    for (int64_t k = 0; r && k < r->steps && n->steps < NOISE_STEPS_MAX; k++) {
        double length = length_of(n, r, k), right;

        if (!(length > 0)) {
            add_step(n, NAN, NAN);
            continue;
        }
        right = r->labels[k] ? (double)r->means[k] : 1 - (double)r->means[k];
        add_step(n, -log(fmax(right, NOISE_SCORE_MIN)),
                 prototype_loss(n, r->vectors + k * r->width, length, r->labels[k]));
    }
    n->starts[n->samples] = n->steps;
}

/* Brings one loss of the steps that count to [0, 1]; false: it is the same everywhere. */
static bool
scale(struct noise *n, int which)
{
    double least = INFINITY, most = -INFINITY;

    for (int64_t i = 0; i < n->steps; i++) {
        least = fmin(least, n->losses[2 * i + which]);
        most = fmax(most, n->losses[2 * i + which]);
    }
    if (!(most - least > 0))
        return false;
    for (int64_t i = 0; i < n->steps; i++)
        n->losses[2 * i + which] = (n->losses[2 * i + which] - least) / (most - least);
    return true;
}

/* Fits the steps that count. */
static void
fit_steps(struct noise *n, int64_t count)
{
    double *points = xarray((size_t)count, 2 * sizeof(*points)), sum = 0;
    int64_t at = 0;
    int clean;

    for (int64_t i = 0; i < n->steps; i++)
        if (!isnan(n->losses[2 * i]))
            memcpy(points + 2 * at++, n->losses + 2 * i, 2 * sizeof(*points));
    mixture_fit(&n->mixture, points, count);
    free(points);
    clean = mixture_nearer(&n->mixture);
    for (int64_t i = 0; i < n->steps; i++) {
        double p;

        if (isnan(n->losses[2 * i]))
            continue;
        p = mixture_posterior(&n->mixture, clean, n->losses + 2 * i);
        p = n->mode == NOISE_hard ? p > 0.5 : p;
        n->weights[i] = (float)p;
        sum += p;
    }
    n->mean = sum / (double)count;
}

bool
noise_fit(struct noise *n, const char **why)
{
    int64_t count = 0;

    for (int64_t i = 0; i < n->steps; i++)
        count += !isnan(n->losses[2 * i]);
    n->weights = xarray((size_t)n->steps + 1, sizeof(*n->weights));
    for (int64_t i = 0; i < n->steps; i++)
        n->weights[i] = 1;
    n->mean = 1;
    *why = NULL;
    if (n->width == 0)
        *why = "no step comes with a vector: say embeddings: true at a prm_judge";
    else if (count < NOISE_STEPS_MIN)
        *why = "too few labelled steps come with a vector";
    else if (n->counted[0] == 0 || n->counted[1] == 0)
        *why = "all steps have one label";
    else if (!scale(n, 0))
        *why = "the votes say the same of every step";
    else if (!scale(n, 1))
        *why = "the vectors of all steps are alike";
    else
        fit_steps(n, count);
    n->fitted = !*why;
    return n->fitted;
}

void
noise_apply(const struct noise *n, int64_t at, const struct noise_record *r, struct sample *s,
            struct arena *arena)
{
    int64_t learnt = s->count - s->context;
    float *soften;

    if (!n->fitted || at >= n->samples || n->starts[at + 1] - n->starts[at] > r->steps)
        return;
    soften = arena_take(arena, (size_t)learnt * sizeof(*soften));
    for (int64_t i = 0; i < learnt; i++)
        soften[i] = 1;
    for (int64_t k = 0; k < n->starts[at + 1] - n->starts[at]; k++) {
        float weight = n->weights[n->starts[at] + k];
        int64_t from = n->classes ? r->judged[k] : r->first[k];
        int64_t to = n->classes ? from + 1 : from + r->count[k];

        for (int64_t i = from < 0 ? to : from; i < to && i < learnt; i++)
            soften[i] = weight;
    }
    s->soften = soften;
}

void
noise_free(struct noise *n)
{
    free(n->prototypes);
    free(n->starts);
    free(n->losses);
    free(n->weights);
    memset(n, 0, sizeof(*n));
}
