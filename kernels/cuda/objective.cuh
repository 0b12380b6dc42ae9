/* objective: the objectives of kernels/objectives on the device: the same pure functions, the same
 * sums in the same order, so that c, e, h, entries and report are bit for bit those of
 * kernels/objective_run.c on the same statistics. */
#ifndef KERNELS_CUDA_OBJECTIVE_CUH
#define KERNELS_CUDA_OBJECTIVE_CUH

#include "kernels/cuda/context.cuh"

/* An objective with its batch, on the host and on the device: objective_kernels.cuh. */
struct objective_view;

/* What of an objective is known before any statistic. */
struct objective_shape {
    enum objective_scope scope;
    unsigned needs;                 /* under the settings */
    int      row;                   /* of objective.def */
};
int objective_shape(const struct sluice_objective *o, struct objective_shape *out);

/* Copies samples and settings to the device, finds each row's sample, makes wanted (rows): 1 where
 * the row has a part in the loss or the report (a masked one has none, nor has a wrong response's
 * where only correct ones count). Statistics arrays (rows) and c, e, h, which are zeroed, are
 * borrowed until the view is freed; so are samples. A context has one view at a time. Advantages
 * are the caller's: objective_advantages() of kernels/objective.h, on the host. */
int objective_open(struct sluice_cuda *s, const struct sluice_objective *o, int64_t rows,
                   const float *logp, const float *lse, const float *entropy,
                   const float *named_logits, float *c, float *e, float *h,
                   struct objective_view **out, uint8_t **wanted);
/* Sums, then terms, of the samples [from, to), which are whole units of the scope and whose
 * statistics are there: c, e, h of their rows, and entries. Objectives of scope token without named
 * logits need none: row kernels have objective_coefficients(). */
int objective_solve(struct sluice_cuda *s, struct objective_view *view, int64_t from, int64_t to);
/* Adds the report of all samples, and gives the named logits' entries (host; NULL: not wanted).
 * What was not solved is, first: a row's c, e, h get the bits that objective_coefficients() gave.
 * Waits. SLUICE_nonfinite leaves the report as it was. */
int objective_close(struct sluice_cuda *s, struct objective_view *view,
                    struct objective_entry *entries, int64_t *entry_count,
                    struct objective_report *report);
void objective_view_free(struct objective_view *view);

/* What row kernels are given: objective_device.cuh. */
struct objective_view_device;
const struct objective_view_device *objective_view_on_device(const struct objective_view *view);
/* Of objectives with named logits, known from objective_open() on; the values from
 * objective_solve() on. Device: entries (count), first (rows + 1), as struct row_arrays. */
void objective_view_entries(const struct objective_view *view,
                            const struct objective_entry **entries, const int64_t **first,
                            int64_t *count);
/* SLUICE_nonfinite for a row of FAULT_coefficient, with the words of what is not finite. Waits. */
int objective_fail(struct sluice_cuda *s, const struct objective_view *view, int64_t row);

#endif
