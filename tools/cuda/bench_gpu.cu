/* The kernels and the fused loss on a CUDA device, next to what bounds them: copies, products.
 * Part of tools/gpu_check; tools/bench_gpu runs it and then PyTorch's side.
 *
 *      bench_gpu [--quick] [--seconds N] [--json FILE]
 *
 * --quick: small shapes, which show that it works and no speed. Results are checked in the same run
 * against float64 and told as "ok" and "not ok"; tables follow "==== table". */
#include "tools/cuda/bench_check.cuh"
#include "tools/cuda/bench_rows.cuh"

static void
measure_head(struct bench *b, const char *label, int64_t hidden, double until)
{
    static struct job jobs[JOBS_MAX];
    int64_t stride = (b->vocab + 7) / 8 * 8;
    int count;

    b->label = label;
    b->hidden = hidden;
    b->logits = NULL;
    open_problem(b);
    make_truth(b);
    count = head_jobs(b, b->chunk, jobs);
    for (int i = 0; i < count; i++)
        if (jobs[i].run == run_head)
            look_at_memory(b, &jobs[i], check_job);
    drop_truth();
    b->logits = device_bytes(b, 2 * b->rows * stride);
    run_jobs(b, jobs, count, until);
    printf("==== table\nN = %lld, d = %lld, V = %lld, chunks of %lld\n", (long long)b->rows,
           (long long)b->hidden, (long long)b->vocab, (long long)b->chunk);
    tell_jobs(b, jobs, count);
    close_problem(b);
}

static int
open_device(struct bench *b)
{
    struct sluice_device about;
    int count = 0;

    if (sluice_cuda_count(&count) != 0 || count == 0) {
        printf("ok 1 - bench_gpu # SKIP no CUDA device%s%s\n", *sluice_cuda_error() ? ": " : "",
               sluice_cuda_error());
        return 0;
    }
    must(sluice_cuda_describe(0, &about), "the device");
    must(sluice_cuda_open(0, NULL, &b->s), "the device");
    must(fail_cuda(cudaEventCreate(&b->begin), "events"), "events");
    must(fail_cuda(cudaEventCreate(&b->end), "events"), "events");
    printf("%s, compute %d.%d, %d multiprocessors, driver %d, runtime %d, cuBLASLt %lld, %.1f GB\n",
           about.name, about.major, about.minor, about.multiprocessors, about.driver, about.runtime,
           (long long)about.cublaslt, 1e-9 * (double)about.memory);
    if (b->json != NULL)
        fprintf(b->json, "{\"device\": \"%s\", \"compute\": \"%d.%d\", \"driver\": %d, "
                "\"runtime\": %d, \"cublaslt\": %lld}\n", about.name, about.major, about.minor,
                about.driver, about.runtime, (long long)about.cublaslt);
    return 1;
}

int
main(int argc, char **argv)
{
    static struct bench b;
    double start = seconds_now(), seconds = 200.0;
    int quick = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = 1;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            b.json = fopen(argv[++i], "w");
        else {
            fprintf(stderr, "usage: bench_gpu [--quick] [--seconds N] [--json FILE]\n");
            return 2;
        }
    }
    if (!open_device(&b))
        return 0;
    b.rows = quick ? 64 : 32768;
    b.vocab = quick ? 304 : 151936;
    b.chunk = quick ? 16 : 4096;
    b.chunk_rows = quick ? b.chunk : 0;
    b.rounds = quick ? 1 : ROUNDS_MAX;
    printf("==== table\n");
    measure_ceilings(&b, quick ? 1 << 16 : 8ll << 30, quick ? 32 : 8192, start + 0.1 * seconds);
    measure_rows(&b, quick ? 65536 : 233373696, start + 0.25 * seconds);
    measure_head(&b, "loss at 1536", quick ? 64 : 1536, start + 0.6 * seconds);
    measure_head(&b, "loss at 3584", quick ? 72 : 3584, start + seconds);
    sluice_cuda_close(b.s);
    if (b.json != NULL)
        fclose(b.json);
    printf("%d passed, %d failed in %.0f s\n", b.passed, b.failed, seconds_now() - start);
    return b.failed > 0;
}
