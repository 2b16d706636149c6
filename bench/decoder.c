/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder alone: a file in memory to batches, on one thread; for NDJSON also yajl on the same bytes
 * to the same columns, and the same events as line protocol. Prints the median of several repetitions of each, in
 * turns.
 *
 *      decoder [-t ndjson|json|csv|lines] [-r REPETITIONS] [-f FIELDS] [-p PIECE] FILE
 */
#include "config.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "decode/decode.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_YAJL
#include <yajl/yajl_parse.h>
#endif

#define REPETITIONS_MAX 99
#define RECORD_MAX      (1u << 20)
#define DEPTH_MAX       64u

struct input {
    char *bytes;
    size_t size;
    size_t piece; /* bytes handed over at a time */
    enum decode_format format;
};

/* What a run gives; the same for both, or they did not do the same job. */
struct result {
    double seconds;
    uint64_t rows, rejected;
    uint64_t sum; /* of the columns' contents */
};

static void die(const char *what)
{
    fprintf(stderr, "decoder: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    return (double)clock_monotonic_us() * 1e-6;
}

static void read_file(const char *path, struct input *in)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    in->size = (size_t)st.st_size;
    in->bytes = malloc(in->size + 1);
    if (!in->bytes)
        die(path);
    for (size_t at = 0; at < in->size;) {
        ssize_t n = read(fd, in->bytes + at, in->size - at);
        if (n <= 0)
            die(path);
        at += (size_t)n;
    }
    close(fd);
}

/* W1's stream, with all of its fields or the first `n`. */
static struct schema *make_schema(size_t n)
{
    static const struct {
        const char *name;
        enum weir_type type;
    } field[] = {{"symbol", WEIR_STRING},
                 {"price", WEIR_FLOAT},
                 {"qty", WEIR_INT},
                 {"side", WEIR_STRING},
                 {"venue", WEIR_STRING}};
    struct schema *s = NULL;
    if (n > sizeof field / sizeof field[0])
        n = sizeof field / sizeof field[0];
    if (schema_new(n + 1, "ts", &s) < 0)
        die("schema");
    for (size_t i = 0; i < n; i++)
        if (schema_set(s, i + 1, field[i].name, field[i].type) < 0)
            die("schema");
    return s;
}

/* Cheap enough to be part of every run: the ends of columns, and a value here and there. */
static void add_batch(struct result *res, const struct batch *b)
{
    uint64_t sum = b->n_rows;
    for (size_t c = 0; c < b->schema->n; c++) {
        const struct column *col = &b->column[c];
        if (col->type == WEIR_STRING) {
            size_t size = (size_t)col->offsets[b->n_rows];
            sum = sum * 31 + size + (unsigned char)col->bytes[size / 2];
            continue;
        }
        for (uint32_t row = 0; row < b->n_rows; row += 64) {
            uint64_t v;
            memcpy(&v, (const char *)col->values + (size_t)row * 8, 8);
            sum = sum * 31 + v;
        }
    }
    res->rows += b->n_rows;
    res->sum += sum;
}

/* The rows as line protocol: strings as tags, all else as fields. */
static void put_lines(struct buffer *to, const struct batch *b)
{
    const struct schema *s = b->schema;
    for (uint32_t row = 0; row < b->n_rows; row++) {
        char before = ' ';
        buffer_puts(to, "w1");
        for (size_t c = 1; c < s->n; c++) {
            const struct column *col = &b->column[c];
            if (col->type != WEIR_STRING)
                continue;
            buffer_printf(to, ",%s=", s->column[c].name);
            buffer_put(to, col->bytes + col->offsets[row],
                       (size_t)(col->offsets[row + 1] - col->offsets[row]));
        }
        for (size_t c = 1; c < s->n; c++) {
            const struct column *col = &b->column[c];
            if (col->type == WEIR_STRING)
                continue;
            buffer_printf(to, "%c%s=", before, s->column[c].name);
            before = ',';
            if (col->type == WEIR_FLOAT)
                buffer_put_json_double(to, ((const double *)col->values)[row]);
            else
                buffer_printf(to, "%lldi",
                              (long long)((const int64_t *)col->values)[row]);
        }
        buffer_printf(to, " %lld000\n",
                      (long long)((const int64_t *)b->column[0].values)[row]);
    }
}

/* `lines`: NULL, or where the rows are put as line protocol. */
static void run_decoder(const struct input *in, const struct schema *s, struct batch *b,
                        struct result *res, struct buffer *lines)
{
    struct decode_options o = {.schema = s,
                               .time_unit = DECODE_MS,
                               .record_max = RECORD_MAX,
                               .depth_max = DEPTH_MAX,
                               .max_future_skew_us = INT64_MAX};
    struct decoder *d = NULL;
    if (decoder_new(&o, in->format, &d) < 0)
        die("decoder_new");
    decoder_reset(d, clock_now_us());
    for (size_t at = 0; at < in->size;) {
        size_t n = in->size - at < in->piece ? in->size - at : in->piece;
        const char *p = in->bytes + at;
        at += n;
        while (decoder_feed(d, &p, &n, b) == DECODE_FULL) {
            add_batch(res, b);
            if (lines)
                put_lines(lines, b);
            batch_clear(b);
        }
    }
    while (decoder_finish(d, b) == DECODE_FULL) {
        add_batch(res, b);
        if (lines)
            put_lines(lines, b);
        batch_clear(b);
    }
    add_batch(res, b);
    if (lines)
        put_lines(lines, b);
    batch_clear(b);
    res->rejected = decoder_stats(d)->rejected;
    decoder_free(d);
}

static void run_weir(const struct input *in, const struct schema *s, struct batch *b,
                     struct result *res)
{
    run_decoder(in, s, b, res, NULL);
}

#ifdef HAVE_YAJL

struct yajl_side {
    const struct schema *schema;
    struct batch *batch;
    struct result *result;
    int column;     /* of the key before, or -1 */
    unsigned depth; /* open objects and arrays */
    uint64_t unset; /* a bit for each column that this row has not set yet */
};

/* The column that a value goes to, or NULL. */
static struct column *take_column(struct yajl_side *y)
{
    if (y->depth != 1 || y->column < 0)
        return NULL;
    y->unset &= ~(UINT64_C(1) << y->column);
    return &y->batch->column[y->column];
}

static int on_integer(void *user, long long v)
{
    struct yajl_side *y = user;
    struct column *col = take_column(y);
    if (!col)
        return 1;
    if (col->type == WEIR_FLOAT)
        ((double *)col->values)[y->batch->n_rows] = (double)v;
    else
        ((int64_t *)col->values)[y->batch->n_rows] = y->column == 0 ? v * 1000 : v;
    return 1;
}

static int on_double(void *user, double v)
{
    struct yajl_side *y = user;
    struct column *col = take_column(y);
    if (col)
        ((double *)col->values)[y->batch->n_rows] = v;
    return 1;
}

static int on_string(void *user, const unsigned char *text, size_t size)
{
    struct yajl_side *y = user;
    struct batch *b = y->batch;
    struct column *col = take_column(y);
    if (!col)
        return 1;
    if (col->bytes_room - (size_t)col->offsets[b->n_rows] < size &&
        batch_bytes(b, (size_t)y->column, size) < 0)
        return 0;
    memcpy(col->bytes + col->offsets[b->n_rows], text, size);
    col->offsets[b->n_rows + 1] = col->offsets[b->n_rows] + (int32_t)size;
    return 1;
}

static int on_request_id(void *user, const unsigned char *key, size_t size)
{
    struct yajl_side *y = user;
    if (y->depth != 1)
        return 1;
    y->column = -1;
    for (size_t c = 0; c < y->schema->n; c++) {
        const char *name = y->schema->column[c].name;
        if (strncmp(name, (const char *)key, size) == 0 && name[size] == '\0') {
            y->column = (int)c;
            break;
        }
    }
    return 1;
}

static int on_open(void *user)
{
    struct yajl_side *y = user;
    if (y->depth++ > 0)
        return 1;
    y->unset = (UINT64_C(1) << y->schema->n) - 1;
    if (y->batch->n_rows == y->batch->room && batch_grow(y->batch) < 0) {
        add_batch(y->result, y->batch);
        batch_clear(y->batch);
    }
    return 1;
}

/* null, or missing. */
static int put_null(struct batch *b, size_t c)
{
    struct column *col = &b->column[c];
    if (col->type == WEIR_STRING)
        col->offsets[b->n_rows + 1] = col->offsets[b->n_rows];
    else
        ((int64_t *)col->values)[b->n_rows] = 0;
    return batch_set_null(b, c) == 0;
}

static int on_close(void *user)
{
    struct yajl_side *y = user;
    if (--y->depth > 0)
        return 1;
    for (; y->unset; y->unset &= y->unset - 1)
        if (!put_null(y->batch, (size_t)__builtin_ctzll(y->unset)))
            return 0;
    y->batch->n_rows++;
    return 1;
}

static void run_yajl(const struct input *in, const struct schema *s, struct batch *b,
                     struct result *res)
{
    static const yajl_callbacks callbacks = {.yajl_integer = on_integer,
                                             .yajl_double = on_double,
                                             .yajl_string = on_string,
                                             .yajl_map_key = on_request_id,
                                             .yajl_start_map = on_open,
                                             .yajl_start_array = on_open,
                                             .yajl_end_map = on_close,
                                             .yajl_end_array = on_close};
    struct yajl_side y = {.schema = s, .batch = b, .result = res, .column = -1};
    yajl_handle h = yajl_alloc(&callbacks, NULL, &y);
    if (!h)
        die("yajl");
    yajl_config(h, yajl_allow_multiple_values, 1);
    for (size_t at = 0; at < in->size && res->rejected == 0;) {
        size_t n = in->size - at < in->piece ? in->size - at : in->piece;
        if (yajl_parse(h, (const unsigned char *)in->bytes + at, n) != yajl_status_ok)
            res->rejected++;
        at += n;
    }
    if (yajl_complete_parse(h) != yajl_status_ok)
        res->rejected++;
    add_batch(res, b);
    batch_clear(b);
    yajl_free(h);
}

#endif

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct result *)a)->seconds,
           y = ((const struct result *)b)->seconds;
    return (x > y) - (x < y);
}

typedef void run_fn(const struct input *, const struct schema *, struct batch *,
                    struct result *);

static void timed(run_fn *run, const struct input *in, const struct schema *s,
                  struct batch *b, struct result *res)
{
    *res = (struct result){0};
    double begin = now();
    run(in, s, b, res);
    res->seconds = now() - begin;
}

/* Returns the median seconds. bench/run reads the name and the first figure. */
static double report(const char *name, const struct input *in, struct result *res,
                     size_t n)
{
    qsort(res, n, sizeof *res, by_seconds);
    const struct result *m = &res[n / 2];
    double size = (double)in->size;
    printf("%s %7.1f MB/s [%.1f to %.1f] %7.3f M events/s  "
           "%llu rows, %llu rejected\n",
           name, size / m->seconds / 1e6, size / res[n - 1].seconds / 1e6,
           size / res[0].seconds / 1e6, (double)m->rows / m->seconds / 1e6,
           (unsigned long long)m->rows, (unsigned long long)m->rejected);
    return m->seconds;
}

#ifndef HAVE_YAJL
#define run_yajl run_weir
#endif

static int compare(const struct input *in, const struct schema *s, struct batch *b,
                   size_t repetitions)
{
    struct result weir[REPETITIONS_MAX], yajl[REPETITIONS_MAX], lines[REPETITIONS_MAX];
    struct buffer text = {0};
    run_decoder(in, s, b, &(struct result){0}, &text); /* touches all memory once */
    const struct input as_lines = {.bytes = text.data,
                                   .size = text.size,
                                   .piece = in->piece,
                                   .format = DECODE_LINES};
    if (text.error)
        die("line protocol");
    for (size_t i = 0; i < repetitions; i++) {
        timed(run_weir, in, s, b, &weir[i]);
        timed(run_yajl, in, s, b, &yajl[i]);
        timed(run_weir, &as_lines, s, b, &lines[i]);
    }
    bool agree = weir[0].rows == yajl[0].rows && weir[0].sum == yajl[0].sum &&
                 weir[0].rows == lines[0].rows && weir[0].sum == lines[0].sum;
    double ours = report("weir", in, weir, repetitions);
#ifdef HAVE_YAJL
    double theirs = report("yajl", in, yajl, repetitions);
    printf("ratio %.2f\n", theirs / ours);
#endif
    printf("lines to weir %.2f\n",
           ours / report("lines", &as_lines, lines, repetitions));
    buffer_free(&text);
    if (agree)
        return 0;
    fprintf(stderr, "decoder: they do not agree\n");
    return 1;
}

static int measure(const struct input *in, const struct schema *s, struct batch *b,
                   size_t repetitions)
{
    struct result weir[REPETITIONS_MAX];
    timed(run_weir, in, s, b, &weir[0]);
    for (size_t i = 0; i < repetitions; i++)
        timed(run_weir, in, s, b, &weir[i]);
    report("weir", in, weir, repetitions);
    return 0;
}

static int run(const struct input *in, const struct schema *s, size_t repetitions)
{
    struct batch *b = NULL;
    if (batch_new(s, BATCH_ROWS_MAX, &b) < 0)
        die("batch_new");
    int failed = in->format == DECODE_NDJSON ? compare(in, s, b, repetitions)
                                             : measure(in, s, b, repetitions);
    batch_unref(b);
    return failed;
}

static bool parse_format(const char *text, enum decode_format *ret)
{
    static const char *const name[] = {"ndjson", "json", "csv", "lines"};
    for (enum decode_format f = DECODE_NDJSON; f < DECODE_FORMATS; f++) {
        if (strcmp(text, name[f]) == 0) {
            *ret = f;
            return true;
        }
    }
    return false;
}

static size_t number_or_die(const char *text, size_t max)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *end || v == 0 || v > max) {
        fprintf(stderr, "decoder: '%s' is not a number from 1 to %zu\n", text, max);
        exit(64);
    }
    return (size_t)v;
}

int main(int argc, char **argv)
{
    struct input in = {.piece = 1u << 20};
    size_t repetitions = 5, fields = 5;
    bool usage = false;
    int option;
    while ((option = getopt(argc, argv, "t:r:f:p:")) != -1) {
        if (option == 'r')
            repetitions = number_or_die(optarg, REPETITIONS_MAX);
        else if (option == 'f')
            fields = number_or_die(optarg, 5);
        else if (option == 'p')
            in.piece = number_or_die(optarg, SIZE_MAX);
        else if (option != 't' || !parse_format(optarg, &in.format))
            usage = true;
    }
    if (usage || optind != argc - 1) {
        fprintf(stderr, "usage: decoder [-t ndjson|json|csv|lines] [-r REPETITIONS] "
                        "[-f FIELDS] [-p PIECE] FILE\n");
        return 64;
    }
    hash_setup();
    read_file(argv[optind], &in);
    struct schema *s = make_schema(fields);
    int failed = run(&in, s, repetitions);
    schema_free(s);
    free(in.bytes);
    return failed;
}
