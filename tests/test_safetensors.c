/* safetensors: every malformed case of the reference, its own bytes written again, and random
 * damage. */
#include "kernels/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A header and TAIL zero bytes, in a block of exactly that size so that an overread is seen. */
static struct span
file_of(const char *header, size_t tail)
{
    uint64_t length = strlen(header);
    char *at = calloc(1, 8 + length + tail);

    assert_non_null(at);
    memcpy(at, &length, 8);
    memcpy(at + 8, header, length);
    return span_of(at, 8 + length + tail);
}

static void
release(struct span file)
{
    free((void *)(uintptr_t)file.at);
}

static void
refused(struct span file, const char *reason, const char *about)
{
    struct safetensors s;
    struct error e = {0};

    assert_int_not_equal(safetensors_parse(&s, file, &e), 0);
    if (!strstr(e.text, reason) || !strstr(e.text, about))
        fail_msg("'%s' lacks '%s' or '%s'", e.text, reason, about);
}

static void
refuse(const char *header, size_t tail, const char *reason, const char *about)
{
    struct span file = file_of(header, tail);

    refused(file, reason, about);
    release(file);
}

static void
test_malformed(void **state)
{
    char many[4000] = "{";

    (void)state;
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 18,
           "MetadataIncompleteBuffer", "16");
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 14,
           "MetadataIncompleteBuffer", "14");
    refused(span_of(NULL, 0), "HeaderTooSmall", "0 bytes");
    refused(span_of("\1\0\0\0\0\0\0", 7), "HeaderTooSmall", "7 bytes");
    refused(span_of("\xff\xff\xff\xff\0\0\0\0{}", 10), "HeaderTooLarge", "4294967295");
    refused(span_of("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "HeaderTooLarge", "bytes");
    refused(span_of("\x3c\0\0\0\0\0\0\0{}", 10), "InvalidHeaderLength", "60");
    refused(span_of("\1\0\0\0\0\0\0\0\xff", 9), "header", "UTF-8");
    refused(span_of("\1\0\0\0\0\0\0\0{", 9), "header", "JSON");
    refused(span_of("\0\0\0\0\0\0\0\0", 8), "header", "JSON");
    refuse("[]", 0, "InvalidHeaderDeserialization", "object");
    refuse("{} x", 0, "header", "JSON");
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,20]}}", 20,
           "TensorInvalidInfo", "'a'");
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,3],\"data_offsets\":[0,16]}}", 16,
           "TensorInvalidInfo", "[2, 3]");
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,18446744073709551614],\"data_offsets\":[0,16]}}",
           16, "ValidationOverflow", "'a'");
    refuse("{\"a\":{\"dtype\":\"I32\",\"shape\":[2,9223372036854775807],\"data_offsets\":[0,16]}}",
           16, "ValidationOverflow", "'a'");
    refuse(
        "{\"a\":{\"dtype\":\"I32\",\"shape\":[4611686018427387904,2,2],\"data_offsets\":[0,16]}}",
        16, "ValidationOverflow", "'a'");
    refuse("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "MisalignedSlice",
           "'a'");
    for (int i = 0; i < 10; i++)
        sprintf(many + strlen(many),
                "%s\"w%d\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}", i ? "," : "",
                i);
    strcat(many, "}");
    refuse(many, 16, "InvalidOffset", "'w1'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "InvalidOffset",
           "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
           12, "InvalidOffset", "'b'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
           4, "InvalidOffset", "'b'");
}

static void
test_mistyped(void **state)
{
    (void)state;
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
           "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
           4, "twice", "'a'");
    refuse("{\"a\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "unknown dtype",
           "'a'");
    refuse("{\"a\":{\"dtype\":7,\"shape\":[],\"data_offsets\":[0,4]}}", 4, "dtype", "'a'");
    refuse("{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "dtype", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "shape", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
           "9 dimensions", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, "data_offsets", "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4,8]}}", 4, "data_offsets",
           "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[-4,0]}}", 4, "data_offsets",
           "'a'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":1}}", 4,
           "unknown key", "'a'");
    refuse("{\"a\":[]}", 0, "object", "'a'");
    refuse("{\"__metadata__\":[]}", 0, "__metadata__", "object");
    refuse("{\"__metadata__\":{\"k\":1}}", 0, "__metadata__", "'k'");
    refuse("{\"a\":[[[[[[[[[[]]]]]]]]]]}", 0, "deeper", "header");
}

static void
test_valid(void **state)
{
    static const char *const headers[] = {
        "{}",
        "  {}",
        "{}   \t\r\n",
        "{\"__metadata__\":{\"format\":\"pt\"}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[0,0]}}",
    };
    const struct safetensors_entry *entry;
    struct safetensors s;
    struct error e = {0};
    struct span file;

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        file = file_of(headers[i], 0);
        assert_int_equal(safetensors_parse(&s, file, &e), 0);
        safetensors_close(&s);
        release(file);
    }
    /* the reference's own valid case */
    file = file_of("{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16);
    assert_int_equal(file.at[0], '<');
    assert_int_equal(safetensors_parse(&s, file, &e), 0);
    entry = safetensors_find(&s, "test");
    assert_non_null(entry);
    assert_int_equal(entry->rank, 2);
    assert_int_equal(entry->elements, 4);
    assert_null(safetensors_find(&s, "tess"));
    assert_int_equal(safetensors_floats(entry, (float[4]){0}, &e), ERROR_model);
    assert_non_null(strstr(e.text, "I32"));
    safetensors_close(&s);
    release(file);
}

/* Unaligned, in another order than by name, and in the two half formats. */
static void
test_floats(void **state)
{
    struct span file = file_of("{\"b\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[0,14]},"
                               "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[14,18]}, "
                               "\"c\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[18,22]}}",
                               22);
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff,
                                      0xfc00, 0x7e00, 0x3f80, 0xc2f7};
    static const float expected[] = {1, -2, 0x1p-24f, -1023 * 0x1p-24f, 65504, -INFINITY};
    struct safetensors s;
    struct error e = {0};
    float out[7], c = 1.25f;
    char *data = (char *)(uintptr_t)file.at + file.length - 22;

    (void)state;
    memcpy(data, halves, 18);
    memcpy(data + 18, &c, 4);
    assert_int_equal(safetensors_parse(&s, file, &e), 0);
    assert_string_equal(s.entries[0].name, "a");
    assert_int_equal(safetensors_floats(safetensors_find(&s, "b"), out, &e), 0);
    assert_memory_equal(out, expected, sizeof(expected));
    assert_true(isnan(out[6]));
    assert_int_equal(safetensors_floats(safetensors_find(&s, "a"), out, &e), 0);
    assert_true(out[0] == 1.0f && out[1] == -123.5f);
    assert_int_equal(safetensors_floats(safetensors_find(&s, "c"), out, &e), 0);
    assert_true(out[0] == 1.25f);
    safetensors_close(&s);
    release(file);
}

static void
slurp(const char *path, char *bytes, size_t room, size_t *length)
{
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    *length = fread(bytes, 1, room, f);
    fclose(f);
}

/* What safetensors 0.8.0 of Python writes for these two tensors. */
static const char reference_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],"
    "\"data_offsets\":[0,16]},\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[3],"
    "\"data_offsets\":[16,28]}}";

static void
test_write(void **state)
{
    static const float norm[] = {0, 1, 2}, a[] = {1.5f, -2, 0.25f, 3e38f};
    struct safetensors_source sources[] = {{"model.norm.weight", 1, {3}, norm},
                                           {"a.weight", 2, {2, 2}, a}};
    struct safetensors_source twice[] = {sources[0], sources[0]};
    char dir[] = "/tmp/test_safetensors.XXXXXX", path[64], bytes[400], again[400];
    size_t length, length2;
    uint64_t header;
    struct safetensors s;
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.safetensors", dir);
    assert_int_equal(safetensors_write(path, sources, 2, &e), 0);
    slurp(path, bytes, sizeof(bytes), &length);
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(length, 8 + header + 28);
    assert_memory_equal(bytes + 8, reference_header, sizeof(reference_header) - 1);
    for (size_t i = 8 + sizeof(reference_header) - 1; i < 8 + header; i++)
        assert_int_equal(bytes[i], ' ');
    assert_memory_equal(bytes + 8 + header, a, sizeof(a));
    assert_memory_equal(bytes + 8 + header + sizeof(a), norm, sizeof(norm));
    sources[0] = sources[1], sources[1] = twice[0]; /* another order, the same bytes */
    assert_int_equal(safetensors_write(path, sources, 2, &e), 0);
    slurp(path, again, sizeof(again), &length2);
    assert_int_equal(length, length2);
    assert_memory_equal(bytes, again, length);
    assert_int_equal(safetensors_write(path, twice, 2, &e), ERROR_internal);
    assert_int_equal(safetensors_open(&s, path, &e),
                     0); /* a failed write left the file as it was */
    assert_int_equal(s.count, 2);
    assert_string_equal(s.entries[1].name, "model.norm.weight");
    safetensors_close(&s);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(safetensors_open(&s, path, &e), ERROR_file);
    assert_int_equal(safetensors_open(&s, dir, &e), ERROR_file);
    snprintf(path, sizeof(path), "%s/none/x", dir);
    assert_int_equal(safetensors_write(path, sources, 2, &e), ERROR_file);
    assert_int_equal(rmdir(dir), 0); /* and nothing lies beside it */
}

/* VALUES written as TYPE: the bits that the file holds. */
static void
bits_as(enum safetensors_type type, const float *values, int64_t count, uint16_t *bits)
{
    char dir[] = "/tmp/test_safetensors.XXXXXX", path[64];
    struct safetensors_source source = {"x", 1, {count}, values};
    struct safetensors s;
    struct error e = {0};

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x", dir);
    assert_int_equal(safetensors_write_as(path, &source, &type, 1, &e), 0);
    assert_int_equal(safetensors_open(&s, path, &e), 0);
    assert_int_equal(s.entries[0].type, type);
    assert_int_equal(s.entries[0].bytes, 2 * count);
    memcpy(bits, s.entries[0].data, s.entries[0].bytes);
    float *taken = malloc((size_t)count * sizeof(*taken)), *read = malloc((size_t)count * sizeof(*read));

    assert_int_equal(safetensors_take(&s, &s.entries[0], taken, &e), 0);
    assert_int_equal(safetensors_floats(&s.entries[0], read, &e), 0); /* pages given back are there */
    assert_memory_equal(taken, read, (size_t)count * sizeof(*read));
    free(taken);
    free(read);
    safetensors_close(&s);
    unlink(path);
    rmdir(dir);
}

/* Every number of two bytes to float32 and back; every midpoint of two neighbours, which goes to
 * the even one; and the floats next to it, which go to their own side. */
static void
rounds_as(enum safetensors_type type, uint32_t infinity)
{
    enum { N = 1 << 16 };
    static uint16_t all[N], bits[3 * N];
    static float floats[N], near[3 * N];
    struct safetensors_entry entry = {"x", type, 1, {N}, N, (const char *)all, sizeof(all)};
    struct error e = {0};
    int64_t n = 0;

    for (uint32_t i = 0; i < N; i++)
        all[i] = (uint16_t)i;
    assert_int_equal(safetensors_floats(&entry, floats, &e), 0);
    bits_as(type, floats, N, bits);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t size = i & 0x7fff;

        if (size <= infinity)
            assert_int_equal(bits[i], i);
        else
            assert_true((bits[i] & 0x7fff) > infinity); /* a NaN stays one */
    }
    for (uint32_t i = 0; i + 1 < infinity; i++) {
        float middle = (float)(((double)floats[i] + (double)floats[i + 1]) / 2);

        near[n++] = nextafterf(middle, -INFINITY);
        near[n++] = middle;
        near[n++] = nextafterf(middle, INFINITY);
    }
    bits_as(type, near, n, bits);
    for (uint32_t i = 0; i + 1 < infinity; i++) {
        assert_int_equal(bits[3 * i], i);
        assert_int_equal(bits[3 * i + 1], i + (i & 1));
        assert_int_equal(bits[3 * i + 2], i + 1);
    }
}

static void
test_rounding(void **state)
{
    static const float large[] = {65519.996f, 65520.0f, 3.4e38f, -65520.0f, -1e-8f, INFINITY, -NAN};
    static const float brains[] = {3.39e38f, 3.4e38f, -INFINITY};
    uint16_t bits[7];

    (void)state;
    rounds_as(SAFETENSORS_F16, 0x7c00);
    rounds_as(SAFETENSORS_BF16, 0x7f80);
    bits_as(SAFETENSORS_F16, large, 7, bits);
    assert_int_equal(bits[0], 0x7bff);
    assert_int_equal(bits[1], 0x7c00);
    assert_int_equal(bits[2], 0x7c00);
    assert_int_equal(bits[3], 0xfc00);
    assert_int_equal(bits[4], 0x8000);
    assert_int_equal(bits[5], 0x7c00);
    assert_true((bits[6] & 0x7fff) > 0x7c00);
    bits_as(SAFETENSORS_BF16, brains, 3, bits);
    assert_int_equal(bits[0], 0x7f7f);
    assert_int_equal(bits[1], 0x7f80);
    assert_int_equal(bits[2], 0xff80);
}

/* What safetensors 0.8.0 of Python writes of these: wider types first, then names. */
static void
test_write_types(void **state)
{
    static const char wanted[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"c\":{\"dtype\":\"F32\",\"shape\":[1],"
        "\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[4,10]},"
        "\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[10,12]}}";
    static const float x[] = {1, -2, 0.5f};
    struct safetensors_source sources[] = {{"a", 1, {1}, x}, {"b", 1, {3}, x}, {"c", 1, {1}, x}};
    enum safetensors_type types[] = {SAFETENSORS_F16, SAFETENSORS_BF16, SAFETENSORS_F32};
    char path[] = "/tmp/test_safetensors.XXXXXX", bytes[400];
    struct error e = {0};
    uint64_t header;
    size_t length;

    (void)state;
    close(mkstemp(path));
    assert_int_equal(safetensors_write_as(path, sources, types, 3, &e), 0);
    slurp(path, bytes, sizeof(bytes), &length);
    memcpy(&header, bytes, 8);
    assert_memory_equal(bytes + 8, wanted, sizeof(wanted) - 1);
    assert_memory_equal(bytes + 8 + header, "\0\0\x80\x3f\x80\x3f\0\xc0\0\x3f\0\x3c", 12);
    assert_int_equal(length, 8 + header + 12);
    types[1] = SAFETENSORS_I64;
    assert_int_equal(safetensors_write_as(path, sources, types, 3, &e), ERROR_internal);
    unlink(path);
}

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Damaged headers: read or refused with a reason, never a crash; what is read stays inside the
 * file. */
static void
test_damage(void **state)
{
    static const char alphabet[] = "{}[]\",:0123456789-e.\\u \xc3\xff_F";
    uint64_t seed = 2026;
    float out[64];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct span file = file_of(reference_header, 28);
        char *at = (char *)(uintptr_t)file.at;
        struct safetensors s;
        struct error e = {0};

        for (uint64_t n = 1 + next_random(&seed) % 4; n; n--)
            at[next_random(&seed) % (file.length - 28)] =
                alphabet[next_random(&seed) % (sizeof(alphabet) - 1)];
        if (next_random(&seed) % 4)
            memcpy(at, &(uint64_t){sizeof(reference_header) - 1}, 8);
        if (safetensors_parse(&s, file, &e) == 0) {
            for (int i = 0; i < s.count; i++)
                (void)safetensors_floats(&s.entries[i], out, &e);
            safetensors_close(&s);
        } else {
            assert_true(e.text[0] && e.code);
        }
        release(file);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_mistyped),
        cmocka_unit_test(test_valid),     cmocka_unit_test(test_floats),
        cmocka_unit_test(test_write),     cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_write_types), cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
