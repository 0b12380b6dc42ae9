/* Which algorithm serves which kind of product, as text: a first line that says of which device and
 * library, then a line for each kind. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gemm_kind.cuh"

#define TEXT_MAX  (1 << 20)         /* bytes of a text that is read */
#define LINE_ROOM 512               /* and of one of its lines */
#define HEX       (2 * sizeof(cublasLtMatmulAlgo_t))
#define SIDE_MAX  (1ll << 40)       /* of a matrix's sides */

static const char *const forms[] = {"nt", "nn", "tn"};
static const char *const types[] = {"float32", "bfloat16"};

void
gemm_kind_words(const struct gemm_kind *k, char *text, size_t room)
{
    snprintf(text, room, "%s columns %" PRId64 " %s %" PRId64 " out %s add %d aligned %d %d %d "
             "chunk %" PRId64, forms[k->form], k->columns, k->form == GEMM_tn ? "rows" : "inner",
             k->other, types[k->out_type], k->add, k->alignment[GEMM_left],
             k->alignment[GEMM_right], k->alignment[GEMM_out], k->chunk);
}

static int
first_line(struct sluice_cuda *s, char *text, size_t room)
{
    cudaDeviceProp p;
    int rc = fail_cuda(cudaGetDeviceProperties(&p, s->device), "reading the device's properties");

    if (rc == 0)
        snprintf(text, room, "sluice products 1 cublaslt %" PRId64 " capability %d.%d "
                 "multiprocessors %d device %s", gemm_library_version(), s->major, s->minor,
                 s->multiprocessors, p.name);
    return rc;
}

/* ---- written ---- */

struct writer {
    char  *at;
    size_t room, length;
};

static void
write_line(struct writer *w, const char *line)
{
    size_t n = strlen(line);

    if (w->length + n + 1 < w->room) {
        memcpy(w->at + w->length, line, n);
        w->at[w->length + n] = '\n';
        w->at[w->length + n + 1] = '\0';
    }
    w->length += n + 1;
}

SLUICE_API int
sluice_cuda_algorithms(struct sluice_cuda *s, char *text, size_t room, size_t *length)
{
    struct writer w = {text, room, 0};
    char line[LINE_ROOM];
    struct gemm *g;
    int rc;

    fail_clear();
    if (length == NULL || (text == NULL && room > 0))
        return fail(SLUICE_argument, "there is no place for the text of the products: NULL");
    rc = context_enter(s);
    if (rc == 0)
        rc = gemm_of(s, &g);
    if (rc == 0)
        rc = first_line(s, line, sizeof line);
    if (rc != 0)
        return rc;
    if (room > 0)
        text[0] = '\0';
    write_line(&w, line);
    for (int64_t i = 0; i < g->count; i++) {
        const unsigned char *bytes = (const unsigned char *)&g->kinds[i].algorithm;
        char *end;

        gemm_kind_words(&g->kinds[i], line, sizeof line);
        end = line + strlen(line);
        end += sprintf(end, " algorithm ");
        for (size_t n = 0; n < HEX / 2; n++)
            end += sprintf(end, "%02x", bytes[n]);
        write_line(&w, line);
    }
    *length = w.length;
    if (w.length < room)
        return 0;
    if (room > 0)
        text[0] = '\0';
    return fail(SLUICE_argument, "the text of the products takes %zu bytes, there is room for %zu",
                w.length + 1, room);
}

/* ---- read ---- */

static int
choice(const char *word, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

static int
is_alignment(int64_t value, int64_t least)
{
    return value >= least && value <= GEMM_ALIGNMENT && (value & (value - 1)) == 0;
}

static int
read_hex(const char *hex, unsigned char *out)
{
    if (strlen(hex) != HEX || strspn(hex, "0123456789abcdef") != HEX)
        return -1;
    for (size_t i = 0; i < HEX / 2; i++) {
        unsigned byte = 0;

        sscanf(hex + 2 * i, "%2x", &byte);
        out[i] = (unsigned char)byte;
    }
    return 0;
}

/* A line into a kind: 0, or -1 where it is none. Whatever it says, written again it is the line. */
static int
read_line(const char *line, struct gemm_kind *k)
{
    char form[4], other[8], out[12], hex[HEX + 2], again[LINE_ROOM];
    int  form_is, out_is, end = 0;

    memset(k, 0, sizeof *k);
    if (sscanf(line, "%3s columns %13" SCNd64 " %7s %13" SCNd64 " out %11s add %1d aligned %2d %2d "
               "%2d chunk %13" SCNd64 " algorithm %129s%n", form, &k->columns, other, &k->other,
               out, &k->add, &k->alignment[GEMM_left], &k->alignment[GEMM_right],
               &k->alignment[GEMM_out], &k->chunk, hex, &end) != 11 || line[end] != '\0')
        return -1;
    form_is = choice(form, forms, 3);
    out_is = choice(out, types, 2);
    if (form_is < 0 || out_is < 0 || read_hex(hex, (unsigned char *)&k->algorithm) != 0)
        return -1;
    k->form = (enum gemm_form)form_is;
    k->out_type = (enum sluice_type)out_is;
    if (k->columns < 1 || k->columns > SIDE_MAX  || k->other < 1 || k->other > SIDE_MAX
        || k->chunk < 1 || k->chunk > SIDE_MAX  || k->add < 0 || k->add > 1
        || !is_alignment(k->alignment[GEMM_left], 2) || !is_alignment(k->alignment[GEMM_right], 2)
        || !is_alignment(k->alignment[GEMM_out], k->out_type == SLUICE_float32 ? 4 : 2))
        return -1;
    gemm_kind_words(k, again, sizeof again);
    return strncmp(again, line, strlen(again)) == 0 ? 0 : -1;
}

static int
read_kind(struct gemm *g, const char *line, int64_t number)
{
    struct gemm_kind k;

    if (read_line(line, &k) != 0)
        return fail(SLUICE_argument, "products, line %" PRId64 ": no kind of product and its "
                    "algorithm: '%.80s'", number, line);
    for (int64_t i = 0; i < g->count; i++)
        if (gemm_kind_same(&g->kinds[i], &k))
            return fail(SLUICE_argument, "products, line %" PRId64 ": that kind has an algorithm "
                        "already: '%.80s'", number, line);
    if (gemm_kind_check(g, &k) != 0)
        return fail(SLUICE_argument, "products, line %" PRId64 ": cuBLASLt refuses the algorithm: "
                    "'%.80s'", number, line);
    if (g->count == GEMM_KINDS_MAX)
        return fail(SLUICE_argument, "products, line %" PRId64 ": more than %d kinds", number,
                    GEMM_KINDS_MAX);
    return gemm_kind_add(g, &k);
}

static int
read_first(struct sluice_cuda *s, const char *line)
{
    char own[LINE_ROOM];
    int rc = first_line(s, own, sizeof own);

    if (rc == 0 && strcmp(own, line) != 0)
        return fail(SLUICE_argument, "the products were chosen on another device or cuBLASLt: "
                    "'%.150s', here it is '%.150s'", line, own);
    return rc;
}

static int
read_all(struct sluice_cuda *s, struct gemm *g, const char *text)
{
    int64_t number = 1;
    int rc = 0;

    for (const char *at = text; rc == 0 && *at != '\0'; number++) {
        size_t n = strcspn(at, "\n");
        char line[LINE_ROOM];

        if (n >= sizeof line)
            return fail(SLUICE_argument, "products, line %" PRId64 ": longer than %d characters",
                        number, LINE_ROOM);
        memcpy(line, at, n);
        line[n] = '\0';
        rc = number == 1 ? read_first(s, line) : read_kind(g, line, number);
        at += n + (at[n] == '\n');
    }
    return rc;
}

SLUICE_API int
sluice_cuda_algorithms_set(struct sluice_cuda *s, const char *text)
{
    struct gemm *g;
    int rc;

    fail_clear();
    if (text == NULL)
        return fail(SLUICE_argument, "there is no text of products: NULL");
    if (strnlen(text, TEXT_MAX) == TEXT_MAX)
        return fail(SLUICE_argument, "the text of the products is longer than %d bytes", TEXT_MAX);
    rc = context_enter(s);
    if (rc == 0)
        rc = gemm_of(s, &g);
    if (rc != 0)
        return rc;
    if (g->ran)
        return fail(SLUICE_argument, "the context has run products already: their algorithms can "
                    "be set before the first one alone");
    g->count = 0;
    rc = read_all(s, g, text);
    if (rc != 0)
        g->count = 0;               /* all or none */
    return rc;
}
