/* The table of rotary positions, and the frequencies behind it. */
#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/isa.h"

#define ROPE_FACTOR_MAX 1e6
#define ROPE_LENGTH_MAX 1e9
#define PI              3.14159265358979323846

static const char *const type_names[] = {"default", "linear", "llama3", "yarn"};

const char *
rope_type_name(enum rope_type type)
{
    return (unsigned)type < sizeof type_names / sizeof *type_names ? type_names[type] : "?";
}

static int
check_number(const char *key, double value, double low, double high, struct error *e)
{
    if (value >= low && value <= high)
        return 0;
    return error_set(e, ERROR_model, "rope scaling: %s: %g is missing or not in %g..%g", key, value,
                     low, high);
}

int
rope_scaling_check(const struct rope_scaling *s, struct error *e)
{
    const double least = 1e-6;
    int status;

    if (s->type == ROPE_default)
        return 0;
    status = check_number("factor", s->factor, least, ROPE_FACTOR_MAX, e);
    if (status != 0 || s->type == ROPE_linear)
        return status;
    status = check_number("original_max_position_embeddings", s->original, 1, ROPE_LENGTH_MAX, e);
    if (status != 0)
        return status;
    if (s->type == ROPE_llama3) {
        status = check_number("low_freq_factor", s->low_freq_factor, least, ROPE_FACTOR_MAX, e);
        return status != 0 ? status
                           : check_number("high_freq_factor", s->high_freq_factor,
                                          s->low_freq_factor * 1.000001, ROPE_FACTOR_MAX, e);
    }
    status = check_number("beta_fast", s->beta_fast, least, ROPE_FACTOR_MAX, e);
    if (status == 0)
        status = check_number("beta_slow", s->beta_slow, least, ROPE_FACTOR_MAX, e);
    return status != 0 ? status
                       : check_number("attention_factor", s->attention_factor, least,
                                      ROPE_FACTOR_MAX, e);
}

static double
llama3_frequency(const struct rope_scaling *s, double f)
{
    double wave = 2 * PI / f, low = s->low_freq_factor, high = s->high_freq_factor, smooth;

    if (wave < s->original / high)
        return f;
    if (wave > s->original / low)
        return f / s->factor;
    smooth = (s->original / wave - low) / (high - low);
    return (1 - smooth) * f / s->factor + smooth * f;
}

/* The element of a head that turns `rotations` times over the original length. */
static double
yarn_element(const struct rope_scaling *s, double rotations, double theta, int64_t dim)
{
    return (double)dim * log(s->original / (rotations * 2 * PI)) / (2 * log(theta));
}

static double
yarn_frequency(const struct rope_scaling *s, double theta, int64_t dim, int64_t j, double f)
{
    double low = yarn_element(s, s->beta_fast, theta, dim);
    double high = yarn_element(s, s->beta_slow, theta, dim), ramp;

    if (!s->exact_range) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)dim - 1);
    if (fabs(high - low) <= 0)
        high += 0.001;
    ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return f / s->factor * ramp + f * (1 - ramp);
}

double
rope_frequency(const struct rope_scaling *scaling, double theta, int64_t dim, int64_t j)
{
    double f = pow(theta, -2.0 * (double)j / (double)dim);

    switch (scaling == NULL ? ROPE_default : scaling->type) {
    case ROPE_linear:
        return f / scaling->factor;
    case ROPE_llama3:
        return llama3_frequency(scaling, f);
    case ROPE_yarn:
        return yarn_frequency(scaling, theta, dim, j, f);
    case ROPE_default:
        break;
    }
    return f;
}

void
rope_init(struct rope *r, int64_t positions, int64_t dim, double theta,
          const struct rope_scaling *scaling)
{
    int64_t half = dim / 2;
    int     yarn = scaling != NULL && scaling->type == ROPE_yarn;
    float   grow = yarn ? (float)scaling->attention_factor : 1.0f;

    r->positions = positions;
    r->dim = dim;
    r->cosine = xarray((size_t)(positions * half), sizeof *r->cosine);
    r->sine = xarray((size_t)(positions * half), sizeof *r->sine);
    for (int64_t j = 0; j < half; j++) {
        float frequency = (float)rope_frequency(scaling, theta, dim, j);

        for (int64_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;

            r->cosine[p * half + j] = (float)cos((double)angle) * grow;
            r->sine[p * half + j] = (float)sin((double)angle) * grow;
        }
    }
}

void
rope_free(struct rope *r)
{
    free(r->cosine);
    free(r->sine);
    *r = (struct rope){0};
}

void
rope_turn(const struct rope *r, int64_t position, int64_t heads, int back, float *x)
{
    int64_t at = position * (r->dim / 2);

    isa_now()->rotate(heads, r->dim, back ? -1.0f : 1.0f, r->cosine + at, r->sine + at, x);
}
