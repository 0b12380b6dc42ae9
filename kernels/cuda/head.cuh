/* head: what the files of the head share: how a call is laid out in memory, and what is done to a
 * chunk of rows.
 *
 *      head_plan.cu    which logits, how many rows of a chunk, what memory; takes it
 *      head_chunk.cu   a chunk: x, logits, statistics, slopes and their products
 *      head.cu         statistics, backward
 *      head_named.cu   named logits
 *      head_loss.cu    the loss */
#ifndef KERNELS_CUDA_HEAD_CUH
#define KERNELS_CUDA_HEAD_CUH

#include "kernels/cuda/rows.cuh"

#define HEAD_CHUNK_MOST  4096       /* rows of a chunk, unless the caller says */
#define HEAD_CHUNK_STEP  128
#define HEAD_MEMORY      1280000000 /* bytes of logits, unless the caller says */
#define HEAD_VOCAB_STEP  64         /* logits' stride is a multiple of it */
#define HEAD_HIDDEN_STEP 8          /* and that of gathered x: 16 bytes */
#define HEAD_ROWS_MOST   (INT64_C(1) << 28)     /* of a call: no product of sizes overflows */
#define HEAD_SIDE_MOST   INT32_MAX  /* hidden, vocab */

/* What a call of the head works on. */
struct head_shape {
    int64_t rows, hidden, vocab;
    enum sluice_logits form;        /* never automatic */
    int64_t capacity;               /* rows of a chunk that memory holds: the same for any `rows` */
    int64_t chunk;                  /* min(capacity, rows), at least 1 */
};

/* Work space beside logits and kept rows: SCRATCH_head, in this order, each 256-byte aligned. */
struct head_space {
    int64_t *place, *live;          /* (rows): rows with a part; with a gradient */
    uint8_t *wanted;                /* (rows) */
    float   *logp, *lse, *entropy;  /* (rows) */
    float   *c, *e, *h;             /* (rows) */
    int64_t *entry_first;           /* (rows + 1) */
    float   *chosen;                /* (chunk) */
    void    *x;                     /* (chunk, x_stride) bfloat16 */
    float   *dx;                    /* (chunk, dx_stride) */
};

struct head_call {
    struct sluice_cuda         *s;
    const struct sluice_head   *head;
    const struct sluice_rows   *rows;
    const struct sluice_slopes *slopes;     /* NULL: none */
    struct head_shape  shape;
    struct head_space  space;
    void              *logits;      /* SCRATCH_logits: (chunk, logits_stride) of the form's type */
    unsigned char     *kept;        /* SCRATCH_kept: (count, logits_stride) bfloat16; NULL */
    int64_t            logits_stride, x_stride, dx_stride;
    const int64_t     *place;       /* the device's: rows in work, in order ... */
    int64_t            count;       /* ... so many; all of them where count is rows */
    struct row_arrays  a;
    const int64_t     *x_place;     /* space.x holds the rows of so many places from here on */
    int64_t            x_count;
    int                logp_unknown;    /* a.logp is to be made again from a.lse */
    int                dx_zeroed;   /* rows of dx without a part are zeros already */
};

/* ---- head_plan.cu ---- */

/* Sizes, strides, pointers: SLUICE_argument. */
int head_check(const struct sluice_head *head, const struct sluice_rows *rows,
               const struct sluice_slopes *slopes);
/* SLUICE_argument where the options make no sense or fused logits cannot be had. exact: where the
 * form is the library's choice it is float32, for ratios. */
int head_shape_of(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
                  const struct sluice_options *o, int exact, struct head_shape *out);
/* The same in float32, whatever the options say: logits with a bias, and those that are kept. */
int head_shape_float32(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
                       const struct sluice_options *o, struct head_shape *out);
void head_plan_of(const struct head_shape *shape, int64_t kept_rows, int passes,
                  struct sluice_plan *out);
/* Takes the memory of a call; fills in its shape, space, logits, kept (kept_rows > 0) and strides.
 * Taken again with another form or with kept rows, space->place is where it was, as it was. */
int head_take(struct head_call *call, const struct head_shape *shape, int64_t kept_rows);

/* ---- head_chunk.cu: rows [at, at + count) of call->place ---- */

/* Rows of a chunk where so many rows are to be cut into as few chunks as can be: about equal ones,
 * as products of few rows are slow. */
int64_t head_step(const struct head_call *call, int64_t count);
/* Logits of a form with statistics to come; fused ones have them written then. */
int head_logits(struct head_call *call, int64_t at, int64_t count, struct row_logits *z);
/* The same, and the statistics. */
int head_read(struct head_call *call, int64_t at, int64_t count, struct row_logits *z);
/* From slopes in z to dx, dweight, dbias. */
int head_back(struct head_call *call, int64_t at, int64_t count, const struct row_logits *z);
/* For all chunks of call->place: logits, slopes from call->a, products. */
int head_back_all(struct head_call *call);
/* Makes dx zeros where no row had a part. */
int head_back_end(struct head_call *call);
int head_wants_slopes(const struct head_call *call);

/* ---- head.cu ---- */

/* Checks the arguments and takes the memory of a call; sets all but statistics and coefficients.
 * exact: the form is float32 where the options leave it to the library. */
int head_open(struct head_call *call, struct sluice_cuda *s, const struct sluice_head *head,
              const struct sluice_rows *rows, const struct sluice_options *o, int exact,
              const struct sluice_slopes *slopes);
/* The rows with a part, into place, which becomes the call's. Waits. */
int head_place(struct head_call *call, const uint8_t *wanted, int64_t *place);
/* Zeros all arrays of call->a: kernels write those of call->place alone. */
int head_zero(struct head_call *call);
/* Copies entries (host, sorted by row) to the device; fills in a.entries and a.entry_first. */
int head_entries(struct head_call *call, const struct objective_entry *entries, int64_t count);
/* From the coefficients of call->a to the slopes, for rows that have any. Waits. */
int head_back_live(struct head_call *call);
/* The end of a call that came to rc: where all went well so far, one line for the first row that
 * did not on the device, and what of it. Waits. */
int head_done(struct sluice_cuda *s, int rc, enum fault *what);
int head_upload(struct sluice_cuda *s, void *to, const void *from, int64_t bytes);

/* ---- head_named.cu ---- */

/* out: of the device, (count, named); NULL: *result is work space that holds them. */
int head_named_into(struct sluice_cuda *s, const struct sluice_head *head,
                    const struct sluice_rows *rows, int64_t count, const int64_t *row,
                    int64_t named, const int32_t *column, float *out, float **result);

#endif
