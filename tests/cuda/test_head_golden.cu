/* The loss in one call next to torch.autograd in float64: tests/golden/head_loss.h, which
 * tools/golden_head_loss.py makes from the papers' formulas. Neither kernels/head.c nor an objective
 * of kernels/objectives has a part in what is compared with. */
#include "tests/cuda/check.h"

#include "tests/golden/head_loss.h"

extern "C" {
#include "kernels/objective.h"
}

#define ROWS    GOLDEN_ROWS
#define HIDDEN  GOLDEN_HIDDEN
#define VOCAB   GOLDEN_VOCAB
#define SAMPLES GOLDEN_SAMPLES

struct golden {
    const char   *name;
    const double *loss;
    const float  *dx, *dweight, *dbias;
};

static const struct golden goldens[] = {
    {"grpo", GOLDEN_grpo_loss, GOLDEN_grpo_dx, GOLDEN_grpo_dweight, GOLDEN_grpo_dbias},
    {"tbrm", GOLDEN_tbrm_loss, GOLDEN_tbrm_dx, GOLDEN_tbrm_dweight, GOLDEN_tbrm_dbias},
    {"tract", GOLDEN_tract_loss, GOLDEN_tract_dx, GOLDEN_tract_dweight, GOLDEN_tract_dbias},
};

struct made {
    struct objective_report report;
    float logp[ROWS], dx[ROWS * HIDDEN], dweight[VOCAB * HIDDEN], dbias[VOCAB];
};

static void
make_samples(struct objective_sample *to)
{
    memset(to, 0, SAMPLES * sizeof *to);
    for (int i = 0; i < SAMPLES; i++) {
        const double *from = GOLDEN_samples + 9 * i;

        to[i].first = (int64_t)from[0];
        to[i].count = (int64_t)from[1];
        to[i].group = (int64_t)from[2];
        to[i].group_size = (int64_t)from[3];
        to[i].reward = from[4];
        to[i].advantage = from[5];
        to[i].weight = from[6];
        to[i].named_row = (int64_t)from[7];
        to[i].score = from[8];
    }
}

static struct objective_settings
make_settings(const struct objective *o)
{
    struct objective_settings s = objective_settings_none();
    int tbrm = strcmp(o->name, "tbrm") == 0, grpo = strcmp(o->name, "grpo") == 0;
    struct error e = {};

    if (grpo) {
        s.advantages = OBJECTIVE_given;
        s.clip_low = s.clip_high = GOLDEN_settings[0];
        s.kl = OBJECTIVE_k3;
        s.kl_weight = GOLDEN_settings[1];
    }
    if (grpo || tbrm)
        s.entropy_weight = GOLDEN_settings[2];
    if (tbrm)
        s.tau = GOLDEN_settings[3];
    if (objective_settings_fill(o, &s, &e) != 0)
        check_fail(__FILE__, __LINE__, "%s: %s", o->name, e.text);
    return s;
}

static void
make_batch(struct objective_batch *b, const struct objective_sample *samples)
{
    memset(b, 0, sizeof *b);
    b->rows = ROWS;
    b->samples = SAMPLES;
    b->sample = samples;
    b->mask = GOLDEN_mask;
    b->weight = GOLDEN_token_weight;
    b->behaviour = GOLDEN_behaviour;
    b->reference = GOLDEN_reference;
    b->named = GOLDEN_NAMED;
    b->named_columns = GOLDEN_columns;
    b->named_values = GOLDEN_values;
}

/* What of it is the device's. */
static void
send_batch(struct objective_batch *b)
{
    b->mask = (const uint8_t *)device(b->mask, ROWS);
    b->weight = (const float *)device(b->weight, ROWS * 4);
    b->behaviour = (const float *)device(b->behaviour, ROWS * 4);
    b->reference = (const float *)device(b->reference, ROWS * 4);
}

static void
run(const char *name, const struct sluice_options *o, struct made *m)
{
    const struct objective *kind = objective_find(name);
    struct objective_settings settings = make_settings(kind);
    struct objective_sample samples[SAMPLES];
    struct objective_step step = {};
    struct objective_batch batch;
    struct sluice_head head = {HIDDEN, VOCAB, device(GOLDEN_weight, sizeof GOLDEN_weight), HIDDEN,
                               NULL};
    struct sluice_rows rows = {ROWS, device(GOLDEN_x, sizeof GOLDEN_x), HIDDEN,
                               (const int32_t *)device(GOLDEN_targets, sizeof GOLDEN_targets)};
    struct sluice_objective call = {name, &settings, &step, &batch};
    struct sluice_slopes slopes = {};
    struct sluice_outcome out = {};

    make_samples(samples);
    make_batch(&batch, samples);
    objective_measure(kind, &batch, &settings, &step);
    send_batch(&batch);
    memset(m, 0, sizeof *m);
    slopes.dx = device_room(sizeof m->dx);
    slopes.dx_stride = slopes.dweight_stride = HIDDEN;
    slopes.dx_type = SLUICE_float32;
    slopes.dweight = (float *)device(m->dweight, sizeof m->dweight);
    slopes.dbias = (float *)device(m->dbias, sizeof m->dbias);
    out.logp = (float *)device_room(sizeof m->logp);
    out.report = &m->report;
    MUST_OK(sluice_head_loss(sluice(), &head, &rows, o, &call, &out, &slopes));
    host(m->logp, out.logp, sizeof m->logp);
    host(m->dx, slopes.dx, sizeof m->dx);
    host(m->dweight, slopes.dweight, sizeof m->dweight);
    host(m->dbias, slopes.dbias, sizeof m->dbias);
}

/* The length of a - b in parts of b's. */
static double
apart(const float *a, const float *b, int64_t count)
{
    double square = 0, all = 0;

    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];

        square += d * d;
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(square / all);
}

/* Slopes are rounded to bfloat16: by 2^-8 at most, so a gradient's length is off by less. Rounded
 * logits, |z| < 16, move p_v by 2^-8 16 at most, a few hundredths, on average by far less. */
static void
compare(const struct golden *g, const struct sluice_options *o)
{
    int rounded = o->logits == SLUICE_logits_bfloat16;
    double most = rounded ? 0.04 : 0x1p-8 + (o->keep ? 0x1p-8 : 0);
    double loss = g->loss[0], near = rounded ? 0.05 : 1e-5;
    struct made m;

    run(g->name, o, &m);
    MUST_NEAR(m.report.loss, loss, near * (1 + fabs(loss)));
    for (int row = 0; row < ROWS; row++)
        if (GOLDEN_targets[row] >= 0 && GOLDEN_mask[row] != 0)
            MUST_NEAR(m.logp[row], GOLDEN_logp[row], rounded ? 0.0625 : 1e-5);
    MUST_NEAR(apart(m.dx, g->dx, ROWS * HIDDEN), 0, most);
    MUST_NEAR(apart(m.dweight, g->dweight, VOCAB * HIDDEN), 0, most);
    MUST_NEAR(apart(m.dbias, g->dbias, VOCAB), 0, most);
}

static void
compare_all(const struct sluice_options *options, int count)
{
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        for (int k = 0; k < count; k++)
            compare(&goldens[i], &options[k]);
}

CHECK(one_pass_two_passes_and_kept_logits)
{
    static const struct sluice_options ways[] = {
        {SLUICE_logits_float32, 0, 0, 0},
        {SLUICE_logits_float32, 7, 0, 0},
        {SLUICE_logits_float32, 3, 0, 0},
        {SLUICE_logits_float32, 3, 0, 1},
    };

    compare_all(ways, sizeof ways / sizeof *ways);
}

CHECK(rounded_logits)
{
    static const struct sluice_options ways[] = {
        {SLUICE_logits_bfloat16, 0, 0, 0},
        {SLUICE_logits_bfloat16, 3, 0, 0},
    };

    compare_all(ways, sizeof ways / sizeof *ways);
}

CHECK(fused_logits)
{
    static const struct sluice_options ways[] = {
        {SLUICE_logits_fused, 0, 0, 0},
        {SLUICE_logits_fused, 3, 0, 0},
    };

    if (device_compute() / 10 != 9)
        check_skip("compute capability %d", device_compute());
    compare_all(ways, sizeof ways / sizeof *ways);
}
