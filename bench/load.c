/* SPDX-License-Identifier: Apache-2.0
 *
 * Load generator: cuts a file of NDJSON at line ends into requests, posts them in the
 * file's order over some connections from one thread, checks every answer, and says how
 * long it took and what it cost the client itself.
 *
 *      file, mapped -> next chunk -> whichever connection is free -> answer checked
 *                                     | 429, 503: the same chunk again after
 * Retry-After when all are answered: the line given by --last, in a request of its own
 */
#include "config.h"

#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define CONNECTIONS_MAX 1024
#define SILENCE_MAX_US                                                                 \
    INT64_C(60000000) /* nothing from the server for so long: give up */

struct options {
    char host[256], port[8];
    const char *path_of_file, *stream, *source, *last;
    unsigned connections;
    size_t request_size;
    double rate;     /* events/s; 0: no limit */
    uint64_t repeat; /* times that the file is posted */
    bool gzip, durable;
};

/* A connection and the chunk it is busy with. */
struct worker {
    struct client client;
    bool busy, last_sent, wants_out;
    const char *chunk; /* plain bytes */
    size_t size, n_events;
    uint64_t begin; /* of the chunk, in bytes of all repetitions */
    char *packed;   /* gzip: room for one compressed chunk */
    size_t packed_room;
    int64_t started_us; /* of the first attempt: latency counts the retries */
    int64_t retry_us;   /* 0, or when to send the chunk again */
    char headers[256];
};

struct load {
    struct options options;
    struct addrinfo *address;
    const char *data;
    size_t size, offset;          /* of the file */
    uint64_t repeats_left, taken; /* files after this one; bytes handed out of all */
    struct worker worker[CONNECTIONS_MAX];
    unsigned n_busy;
    bool all_answered; /* the whole file; --last may go */
    int epoll;
    char path[256];
    int64_t begin_us;
    uint64_t n_requests, n_events, n_retries;
    uint64_t n_started; /* events handed to connections, for the rate */
    uint32_t *latency_us;
    size_t n_latencies, latency_room;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

__attribute__((format(printf, 2, 3))) static int fail(int err, const char *format, ...)
{
    va_list args;
    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return err;
}

/* In blocks that a byte can count, so that the compiler makes vector code of it. */
static size_t count_lines(const char *p, size_t size)
{
    size_t n = 0, i = 0;
    for (; i + 128 <= size; i += 128) {
        uint8_t in_block = 0;
        for (size_t k = 0; k < 128; k++)
            in_block = (uint8_t)(in_block + (p[i + k] == '\n'));
        n += in_block;
    }
    for (; i < size; i++)
        n += p[i] == '\n';
    return n + (size > 0 && p[size - 1] != '\n');
}

/* ---- One connection
 * ------------------------------------------------------------------------- */

static int worker_watch(struct load *l, struct worker *w, int operation)
{
    w->wants_out = w->busy && w->retry_us == 0 && client_wants_out(&w->client);
    struct epoll_event e = {.events = EPOLLIN | (w->wants_out ? EPOLLOUT : 0),
                            .data.ptr = w};
    return epoll_ctl(l->epoll, operation, w->client.fd, &e) == 0 ? 0 : -errno;
}

static int worker_open(struct load *l, struct worker *w)
{
    int err = client_open(&w->client, l->address);
    if (err)
        return fail(err, "http://%s:%s: %s", l->options.host, l->options.port,
                    strerror(-err));
    return worker_watch(l, w, EPOLL_CTL_ADD);
}

/* gzip of the chunk into w->packed; the room grows to what zlib may need. */
static int worker_pack(struct worker *w, size_t *ret_size)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return -ENOMEM;
    size_t room = deflateBound(&z, w->size);
    if (room > w->packed_room) {
        free(w->packed);
        w->packed = malloc(room);
        w->packed_room = w->packed ? room : 0;
    }
    if (w->packed) {
        z.next_in = (Bytef *)(uintptr_t)w->chunk;
        z.avail_in = (uInt)w->size;
        z.next_out = (Bytef *)w->packed;
        z.avail_out = (uInt)w->packed_room;
        deflate(&z, Z_FINISH);
        *ret_size = z.total_out;
    }
    deflateEnd(&z);
    return w->packed ? 0 : -ENOMEM;
}

static int worker_post(struct load *l, struct worker *w)
{
    const char *body = w->chunk;
    size_t size = w->size;
    w->retry_us = 0;
    if (l->options.gzip) {
        int err = worker_pack(w, &size);
        if (err)
            return fail(err, "compressing: %s", strerror(-err));
        body = w->packed;
    }
    return client_post(&w->client, l->options.host, l->path, w->headers, body, size);
}

static int worker_start(struct load *l, struct worker *w, const char *chunk,
                        size_t size)
{
    w->begin = l->taken;
    l->taken += size;
    w->chunk = chunk;
    w->size = size;
    w->n_events = count_lines(chunk, size);
    w->started_us = now_us();
    w->busy = true;
    l->n_busy++;
    l->n_started += w->n_events;
    return worker_post(l, w);
}

static int load_latency(struct load *l, int64_t us)
{
    if (l->n_latencies == l->latency_room) {
        size_t room = l->latency_room ? l->latency_room * 2 : 65536;
        uint32_t *p = realloc(l->latency_us, room * sizeof *p);
        if (!p)
            return -ENOMEM;
        l->latency_us = p;
        l->latency_room = room;
    }
    l->latency_us[l->n_latencies++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    return 0;
}

/* The answer is there: count it, or have the chunk sent again. */
static int worker_answered(struct load *l, struct worker *w)
{
    struct client *c = &w->client;
    if (c->status == 429 || c->status == 503) {
        l->n_retries++;
        w->retry_us = now_us() +
                      (c->retry_after_s ? c->retry_after_s * INT64_C(1000000) : 100000);
        return 0;
    }
    const char *accepted = strstr(client_answer_body(c), "\"accepted\":");
    uint64_t n = accepted ? strtoull(accepted + strlen("\"accepted\":"), NULL, 10) : 0;
    if (c->status != 200 || n != w->n_events)
        return fail(-EPROTO, "%zu events posted, answer %u: %.2000s", w->n_events,
                    c->status, client_answer_body(c));
    if (l->options.durable && !strstr(accepted, "\"durable\":true"))
        return fail(-EPROTO, "not durable: %.2000s", client_answer_body(c));
    w->busy = false;
    l->n_busy--;
    l->n_requests++;
    l->n_events += n;
    return load_latency(l, now_us() - w->started_us);
}

/* Goes on with what the connection is busy with, as far as that is possible without
 * waiting. */
static int worker_go(struct load *l, struct worker *w)
{
    int done = client_go(&w->client);
    if (done < 0)
        return fail(done, "connection: %s %.2000s", strerror(-done), w->client.answer);
    if (done == 1) {
        int err = worker_answered(l, w);
        if (err)
            return err;
        if (w->client.closing) {
            client_close(&w->client);
            return worker_open(l, w);
        }
    }
    bool wants_out = w->busy && w->retry_us == 0 && client_wants_out(&w->client);
    return wants_out == w->wants_out ? 0 : worker_watch(l, w, EPOLL_CTL_MOD);
}

/* ---- All of them
 * ---------------------------------------------------------------------------- */

/* At least request_size bytes, up to the end of their last line; less at the end of the
 * file. */
static size_t load_cut(struct load *l, const char **ret_chunk)
{
    size_t left = l->size - l->offset, size = l->options.request_size;
    const char *p = l->data + l->offset;
    if (size < left) {
        const char *end = memchr(p + size - 1, '\n', left - size + 1);
        size = end ? (size_t)(end + 1 - p) : left;
    } else {
        size = left;
    }
    l->offset += size;
    if (l->offset == l->size && l->repeats_left > 0) {
        l->repeats_left--;
        l->offset = 0;
    }
    *ret_chunk = p;
    return size;
}

/* When the rate lets the next request go; 0: now. */
static int64_t load_gate_us(const struct load *l)
{
    if (l->options.rate <= 0)
        return 0;
    return l->begin_us + (int64_t)((double)l->n_started / l->options.rate * 1e6);
}

/* Gives work to a free connection. Each connection sends --last, as each holds the watermark
 * back. */
static int worker_feed(struct load *l, struct worker *w)
{
    const struct options *o = &l->options;
    if (l->offset < l->size) {
        const char *chunk;
        if (load_gate_us(l) > now_us())
            return 0;
        size_t size = load_cut(l, &chunk);
        return worker_start(l, w, chunk, size);
    }
    l->all_answered |= l->n_busy == 0;
    if (!o->last || !l->all_answered || w->last_sent)
        return 0;
    w->last_sent = true;
    return worker_start(l, w, o->last, strlen(o->last));
}

static bool load_done(const struct load *l)
{
    unsigned last_left = 0;
    if (l->options.last)
        for (unsigned i = 0; i < l->options.connections; i++)
            last_left += !l->worker[i].last_sent;
    return l->offset == l->size && l->n_busy == 0 && last_left == 0;
}

static int load_feed_all(struct load *l, int64_t *ret_wake_us)
{
    int64_t now = now_us(), wake = now + SILENCE_MAX_US;
    for (unsigned i = 0; i < l->options.connections; i++) {
        struct worker *w = &l->worker[i];
        int err = 0;
        bool posted = false;
        if (w->busy && w->retry_us > 0 && w->retry_us <= now) {
            err = worker_post(l, w);
            posted = true;
        } else if (!w->busy) {
            err = worker_feed(l, w);
            posted = w->busy;
        }
        if (err == 0 && posted)
            err = worker_go(l, w);
        if (err)
            return err;
        if (w->busy && w->retry_us > 0 && w->retry_us < wake)
            wake = w->retry_us;
        if (posted && !w->busy)
            wake = now; /* answered already: there is more to give out */
        else if (!w->busy && l->offset < l->size && load_gate_us(l) < wake)
            wake = load_gate_us(l);
    }
    *ret_wake_us = wake;
    return 0;
}

static int load_run(struct load *l)
{
    struct epoll_event event[64];
    for (;;) {
        int64_t wake_us;
        int err = load_feed_all(l, &wake_us);
        if (err || load_done(l))
            return err;
        int64_t wait_us = wake_us - now_us();
        int n = epoll_wait(l->epoll, event, 64,
                           wait_us > 0 ? (int)(wait_us / 1000 + 1) : 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && wait_us >= SILENCE_MAX_US - 1000000)
            return fail(-ETIMEDOUT, "no answer for 60 s");
        for (int i = 0; i < n; i++) {
            struct worker *w = event[i].data.ptr;
            if (!w->busy || w->retry_us > 0)
                return fail(-ECONNRESET, "the server closed an idle connection");
            err = worker_go(l, w);
            if (err)
                return err;
        }
    }
}

static int load_open(struct load *l)
{
    const struct options *o = &l->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int gai = getaddrinfo(o->host, o->port, &hints, &l->address);
    if (gai)
        return fail(-EHOSTUNREACH, "%s:%s: %s", o->host, o->port, gai_strerror(gai));
    snprintf(l->path, sizeof l->path, "/api/v1/streams/%s/events", o->stream);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        return fail(-errno, "epoll: %s", strerror(errno));
    for (unsigned i = 0; i < o->connections; i++) {
        struct worker *w = &l->worker[i];
        int n = snprintf(w->headers, sizeof w->headers,
                         "Content-Type: application/x-ndjson\r\n%s",
                         o->gzip ? "Content-Encoding: gzip\r\n" : "");
        if (o->source)
            snprintf(w->headers + n, sizeof w->headers - (size_t)n,
                     "Weir-Source: %.64s-%u\r\n", o->source, i + 1);
        int err = worker_open(l, w);
        if (err)
            return err;
    }
    return 0;
}

static int load_map(struct load *l)
{
    const char *path = l->options.path_of_file;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail(-errno, "%s: %s", path, strerror(errno));
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE,
                       fd, 0);
        if (p == MAP_FAILED)
            return fail(-errno, "%s: %s", path, strerror(errno));
        l->data = p;
        l->size = (size_t)st.st_size;
    }
    close(fd);
    return 0;
}

static void load_close(struct load *l)
{
    for (unsigned i = 0; i < l->options.connections; i++) {
        client_close(&l->worker[i].client);
        free(l->worker[i].packed);
    }
    if (l->address)
        freeaddrinfo(l->address);
    if (l->size > 0)
        munmap((void *)(uintptr_t)l->data, l->size);
    free(l->latency_us);
}

/* ---- Report
 * --------------------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static double latency_ms(const struct load *l, double quantile)
{
    size_t i = (size_t)(quantile * (double)(l->n_latencies - 1));
    return (double)l->latency_us[i] / 1e3;
}

/* One line of name=value; began is CLOCK_MONOTONIC, for who measures on. */
static void load_report(struct load *l, int64_t end_us, double cpu)
{
    double seconds = 1e-6 * (double)(end_us - l->begin_us);
    qsort(l->latency_us, l->n_latencies, sizeof *l->latency_us, compare_u32);
    printf("requests=%llu events=%llu retries=%llu bytes=%llu seconds=%.6f "
           "events_per_s=%.0f "
           "p50_ms=%.3f p99_ms=%.3f max_ms=%.3f cpu_s=%.6f began_s=%.6f\n",
           (unsigned long long)l->n_requests, (unsigned long long)l->n_events,
           (unsigned long long)l->n_retries, (unsigned long long)l->taken, seconds,
           (double)l->n_events / seconds, latency_ms(l, 0.5), latency_ms(l, 0.99),
           latency_ms(l, 1), cpu, 1e-6 * (double)l->begin_us);
}

/* ---- Command line
 * --------------------------------------------------------------------------- */

static int usage(FILE *to, int status)
{
    fputs(
        "usage: load -s STREAM [-u http://HOST:PORT] [-c CONNECTIONS] [-b BYTES] "
        "[OPTIONS] FILE\n"
        "Posts the lines of FILE to a stream of a weir server, in requests of about "
        "BYTES.\n"
        "  -u, --url URL         default http://127.0.0.1:8080\n"
        "  -s, --stream STREAM\n"
        "  -c, --connections N   default 2, at most 1024\n"
        "  -b, --bytes BYTES     default 1000000, at most 1e9\n"
        "      --gzip            compress the requests\n"
        "      --durable         every answer has to say that the events are on disk\n"
        "      --repeat N        post the file so many times, at most 1e6\n"
        "      --source NAME     connection k posts as source NAME-k\n"
        "      --rate N          at most so many events a second\n"
        "      --last LINE       an event to post after all others are answered, on "
        "every\n"
        "                        connection\n",
        to);
    return status;
}

static bool parse_url(const char *url, struct options *o)
{
    const char *host = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    const char *colon = strrchr(host, ':');
    if (!colon || (size_t)(colon - host) >= sizeof o->host)
        return false;
    memcpy(o->host, host, (size_t)(colon - host));
    o->host[colon - host] = '\0';
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits >= sizeof o->port)
        return false;
    memcpy(o->port, colon + 1, digits);
    o->port[digits] = '\0';
    return true;
}

static bool parse_option(int letter, struct options *o)
{
    switch (letter) {
    case 'u':
        return parse_url(optarg, o);
    case 's':
        o->stream = optarg;
        return strlen(optarg) <= 64;
    case 'c':
        o->connections = (unsigned)strtoul(optarg, NULL, 10);
        return o->connections >= 1 && o->connections <= CONNECTIONS_MAX;
    case 'b':
        o->request_size = (size_t)strtod(optarg, NULL);
        return o->request_size >= 1 && o->request_size <= 1000000000;
    case 't':
        o->repeat = strtoull(optarg, NULL, 10);
        return o->repeat >= 1 && o->repeat <= 1000000;
    case 'd':
        o->durable = true;
        return true;
    case 'z':
        o->gzip = true;
        return true;
    case 'n':
        o->source = optarg;
        return true;
    case 'r':
        o->rate = strtod(optarg, NULL);
        return o->rate > 0;
    case 'l':
        o->last = optarg;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"url", required_argument, NULL, 'u'},
        {"stream", required_argument, NULL, 's'},
        {"connections", required_argument, NULL, 'c'},
        {"bytes", required_argument, NULL, 'b'},
        {"gzip", no_argument, NULL, 'z'},
        {"durable", no_argument, NULL, 'd'},
        {"repeat", required_argument, NULL, 't'},
        {"source", required_argument, NULL, 'n'},
        {"rate", required_argument, NULL, 'r'},
        {"last", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    static struct load l = {.options = {.host = "127.0.0.1",
                                        .port = "8080",
                                        .connections = 2,
                                        .repeat = 1,
                                        .request_size = 1000000}};
    for (int o; (o = getopt_long(argc, argv, "u:s:c:b:h", long_options, NULL)) != -1;)
        if (!parse_option(o, &l.options))
            return o == 'h' ? usage(stdout, 0) : usage(stderr, 64);
    if (!l.options.stream || optind + 1 != argc)
        return usage(stderr, 64);
    l.options.path_of_file = argv[optind];
    l.repeats_left = l.options.repeat - 1;
    int err = load_map(&l);
    if (err)
        return 66;
    err = load_open(&l);
    if (err) {
        load_close(&l);
        return 69;
    }
    double cpu = cpu_s(); /* without the mapping and the connecting */
    l.begin_us = now_us();
    err = load_run(&l);
    if (err == 0 && l.n_latencies > 0)
        load_report(&l, now_us(), cpu_s() - cpu);
    load_close(&l);
    return err ? 1 : 0;
}
