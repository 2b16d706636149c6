/* SPDX-License-Identifier: Apache-2.0 */
#include "source/pull.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READY_LOOK_MS 20
#define PIECE_ROWS    16384u /* that are expected of what is read at once */

struct source_pulls {
    size_t n;
    struct pull pull[];
};

bool pull_stops(const struct pull *p)
{
    return atomic_load_explicit(&p->stop, memory_order_relaxed);
}

void pull_wait(const struct pull *p, int fd, int timeout_ms)
{
    struct pollfd at[2] = {{.fd = p->stopper, .events = POLLIN},
                           {.fd = fd, .events = POLLIN}};
    poll(at, fd >= 0 ? 2 : 1, timeout_ms);
}

void pull_say(struct pull *p, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    metric_add(&p->errors, 1);
    logger_error("source", "stream '%s': %s", p->stream->name, text);
}

int pull_fail(struct pull *p, int result, const char *format, ...)
{
    struct error error = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    pthread_mutex_lock(&p->lock);
    p->fault = error;
    pthread_mutex_unlock(&p->lock);
    pull_say(p, "%s; nothing more is read of its source before the next start",
             error.text);
    return result;
}

void pull_waits(struct pull *p, const char *format, ...)
{
    struct error error = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    pthread_mutex_lock(&p->lock);
    bool same = !strcmp(p->waits.text, error.text);
    p->waits = error;
    pthread_mutex_unlock(&p->lock);
    if (!same && error.text[0])
        pull_say(p, "%s; tried again until it can be read", error.text);
}

void pull_away(struct pull *p, const char *text)
{
    pthread_mutex_lock(&p->lock);
    error_set(&p->away, 0, "%s", text);
    pthread_mutex_unlock(&p->lock);
}

bool pull_has_failed(struct pull *p, struct error *ret)
{
    pthread_mutex_lock(&p->lock);
    bool failed = p->fault.text[0];
    if (failed)
        *ret = p->fault;
    pthread_mutex_unlock(&p->lock);
    return failed;
}

static const struct kind {
    const char *name, *unit; /* NULL: nobody can say how much there is to read */
    void (*run)(struct pull *p);
    int (*try)(const struct config_source *config, struct error *error);
    int (*open)(struct pull *p, struct error *error);
} kinds[] = {
    [CONFIG_SOURCE_FILE] = {"file", "bytes", tail_run, tail_try, NULL},
    [CONFIG_SOURCE_KAFKA] = {"kafka", "messages", kafka_run, kafka_try, kafka_open},
    [CONFIG_SOURCE_MQTT] = {"mqtt", NULL, mqtt_run, mqtt_try, mqtt_open},
};

/* Has failed, or has not begun. */
static bool is_in_trouble(struct pull *p, struct error *ret)
{
    pthread_mutex_lock(&p->lock);
    *ret = p->fault.text[0] ? p->fault : p->waits;
    pthread_mutex_unlock(&p->lock);
    return ret->text[0];
}

bool source_state(const struct source_stream *s, struct source_state *ret)
{
    struct pull *p = s->pull;
    if (!p)
        return false;
    ret->kind = kinds[p->config->kind].name;
    ret->unit = kinds[p->config->kind].unit;
    ret->lag = atomic_load_explicit(&p->lag, memory_order_relaxed);
    if (!is_in_trouble(p, &ret->trouble)) {
        pthread_mutex_lock(&p->lock);
        ret->trouble = p->away;
        pthread_mutex_unlock(&p->lock);
    }
    return true;
}

int source_pull_try(const struct config_source *config, struct error *error)
{
    return kinds[config->kind].try(config, error);
}

/* ---- Lanes ------------------------------------------------------------------------------------- */

int lane_open(struct lane *l, struct pull *p, const char *name,
              enum decode_format format, char **ret_bookmark)
{
    const struct source_sink *sink = &p->stream->sink;
    *l = (struct lane){.pull = p, .format = format, .name = strdup(name)};
    if (!l->name)
        return -ENOMEM;
    int err = sink->name(sink->ctx, name, strlen(name), &l->source);
    *ret_bookmark = NULL;
    if (err == 0)
        err = sink->bookmark(sink->ctx, l->source, ret_bookmark);
    return err == 0 ? lane_begin(l) : err;
}

static void lane_forget(struct lane *l)
{
    if (l->feed.decoder)
        feed_free(&l->feed);
    l->feed = (struct feed){0};
    letters_drop(&l->letters);
    memset(l->rejected, 0, sizeof(l->rejected));
}

/* It stays behind: what it did not read still holds windows open. */
void lane_close(struct lane *l)
{
    lane_forget(l);
    letters_free(&l->letters);
    free(l->name);
    l->name = NULL;
}

int lane_begin(struct lane *l)
{
    lane_forget(l);
    int err = feed_setup(&l->feed, l->pull->stream, l->format);
    if (err < 0)
        return err;
    letters_listen(&l->letters, l->feed.decoder, l->pull->stream);
    decoder_reset(l->feed.decoder, feed_now(&l->feed));
    feed_begin(&l->feed, PIECE_ROWS);
    return 0;
}

bool lane_is_stale(const struct lane *l)
{
    return l->feed.decode != source_decode(l->pull->stream) &&
           decoder_is_between(l->feed.decoder);
}

/* What rejected records there were since the last call. */
static void count_rejected(struct lane *l)
{
    const struct decode_stats *d = decoder_stats(l->feed.decoder);
    for (size_t i = 0; i < DECODE_REASONS; i++) {
        uint64_t more = d->by_reason[i] - l->rejected[i];
        if (more)
            metric_add(&l->pull->stream->rejected[i], more);
        l->rejected[i] = d->by_reason[i];
    }
}

int lane_piece(struct lane *l, const char *data, size_t size)
{
    metric_add(&l->pull->stream->bytes, size);
    return feed_piece(&l->feed, data, size);
}

int lane_finish(struct lane *l)
{
    return feed_finish(&l->feed);
}

void lane_restart(struct lane *l, void (*place)(void *ctx, struct dead_letter *d),
                  void *ctx)
{
    count_rejected(l);
    letters_hand_on_each(&l->letters, l->pull->stream, place, ctx);
    decoder_reset(l->feed.decoder, feed_now(&l->feed));
    memset(l->rejected, 0, sizeof(l->rejected));
}

/* The database is not where it was: nothing is taken before it is. */
static bool is_taken(const struct pull *p)
{
    const struct source_sink *sink = &p->stream->sink;
    while (sink->ready && sink->ready(sink->ctx)) {
        if (pull_stops(p))
            return false;
        pull_wait(p, -1, READY_LOOK_MS);
    }
    return true;
}

static int hand_on(struct lane *l, struct request q)
{
    struct pull *p = l->pull;
    const struct source_sink *sink = &p->stream->sink;
    uint64_t rows;
    q.stop = &p->stop;
    count_rejected(l);
    letters_hand_on(&l->letters, l->pull->stream, l->name);
    q.n = feed_batches(&l->feed, &q.batch, &rows);
    int err;
    do {
        err = is_taken(p) ? sink->append_wait(sink->ctx, &q) : -EINTR;
        if (err == -ENOMEM)
            pull_wait(p, -1, NO_MEMORY_US / 1000);
    } while (err == -ENOMEM && !pull_stops(p));
    if (err == 0) {
        feed_taken(&l->feed, q.n);
        metric_add(&p->stream->accepted, rows);
        return 0;
    }
    if (pull_stops(p) || err == -ESHUTDOWN)
        return -EINTR;
    return pull_fail(p, err, "'%s': the stream takes nothing: %s", l->name,
                     strerror(-err));
}

int lane_hand_on(struct lane *l, const char *bookmark)
{
    return hand_on(l, (struct request){.source = l->source, .bookmark = bookmark});
}

int lane_hand_on_of(struct lane *l, uint32_t source, int64_t reached_us,
                    const char *bookmark)
{
    return hand_on(l, (struct request){.source = source,
                                       .bookmark = bookmark,
                                       .held = true,
                                       .reached_us = reached_us});
}

int lane_hand_on_told(struct lane *l, struct ticket *ticket)
{
    return hand_on(l, (struct request){.source = l->source, .ticket = ticket});
}

void lane_behind(struct lane *l, bool behind)
{
    const struct source_sink *sink = &l->pull->stream->sink;
    if (behind == l->behind)
        return;
    l->behind = behind;
    if (sink->waits)
        sink->waits(sink->ctx, l->source, NULL, behind);
}

/* ---- The thread -------------------------------------------------------------------------------- */

static void *pull_run(void *pull)
{
    struct pull *p = pull;
    thread_stand_back();
    if (!is_taken(p))
        return NULL;
    kinds[p->config->kind].run(p);
    return NULL;
}

/* What is counted of a kind of sources only. */
static const struct counted {
    enum config_source_kind kind;
    enum metric_kind type;
    const char *name, *help;
    size_t offset; /* in struct pull */
} counted[] = {
    {CONFIG_SOURCE_FILE, METRIC_GAUGE, "weir_source_lag_bytes",
     "Bytes of tailed files that were not read yet.", offsetof(struct pull, lag)},
    {CONFIG_SOURCE_KAFKA, METRIC_GAUGE, "weir_source_lag_messages",
     "Messages of Kafka that were not read yet.", offsetof(struct pull, lag)},
    {CONFIG_SOURCE_KAFKA, METRIC_COUNTER, "weir_source_lost_messages_total",
     "Messages that Kafka had removed before they were read.",
     offsetof(struct pull, lost)},
    {CONFIG_SOURCE_KAFKA, METRIC_GAUGE, "weir_source_unreached_partitions",
     "Partitions of Kafka of which no broker answers.",
     offsetof(struct pull, unreached)},
    {CONFIG_SOURCE_MQTT, METRIC_COUNTER, "weir_source_messages_total",
     "Messages of MQTT that came.", offsetof(struct pull, messages)},
    {CONFIG_SOURCE_MQTT, METRIC_COUNTER, "weir_source_passed_over_messages_total",
     "Messages of MQTT that were not read: empty, retained, or of a topic that is not "
     "asked for.",
     offsetof(struct pull, passed)},
    {CONFIG_SOURCE_MQTT, METRIC_COUNTER, "weir_source_connects_total",
     "How often a broker of MQTT has let the server in.",
     offsetof(struct pull, connects)},
    {CONFIG_SOURCE_MQTT, METRIC_GAUGE, "weir_source_connected",
     "1: the broker of MQTT is connected.", offsetof(struct pull, connected)},
};

static int count(struct pull *p, struct metrics *m)
{
    char label[128];
    snprintf(label, sizeof(label), "stream=\"%s\"", p->stream->name);
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(counted) / sizeof(counted[0]); i++) {
        const struct counted *c = &counted[i];
        if (c->kind == p->config->kind)
            err = metrics_add(m, c->type, c->name, c->help, label,
                              (_Atomic uint64_t *)((char *)p + c->offset), 1);
    }
    if (!err)
        err = metrics_add(m, METRIC_COUNTER, "weir_source_errors_total",
                          "What went wrong with a stream's source, told in the log.",
                          label, &p->errors, 1);
    return err;
}

static int make(struct pull *p, struct source_stream *stream,
                const struct config_source *config, struct metrics *metrics,
                struct error *error)
{
    *p = (struct pull){.stream = stream, .config = config};
    pthread_mutex_init(&p->lock, NULL);
    stream->pull = p;
    p->stopper = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = p->stopper < 0 ? -errno : count(p, metrics);
    if (err < 0)
        return error_set(error, err, "the source of stream '%s': %s", stream->name,
                         strerror(-err));
    return kinds[config->kind].open ? kinds[config->kind].open(p, error) : 0;
}

int source_pulls_new(struct source_stream *streams, const struct config_stream *config,
                     size_t n, struct metrics *metrics, struct source_pulls **ret,
                     struct error *error)
{
    struct source_pulls *all = calloc(1, sizeof(*all) + n * sizeof(all->pull[0]));
    if (!all)
        return error_set(error, -ENOMEM, "no memory");
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        if (config[i].source.kind != CONFIG_SOURCE_NONE)
            err = make(&all->pull[all->n++], &streams[i], &config[i].source, metrics,
                       error);
    if (err < 0) {
        source_pulls_free(all);
        return err;
    }
    *ret = all;
    return 0;
}

int source_pulls_start(struct source_pulls *all, struct error *error)
{
    for (size_t i = 0; i < all->n; i++) {
        struct pull *p = &all->pull[i];
        int err = thread_start(&p->thread, "source", pull_run, p);
        if (err < 0)
            return error_set(error, err, "cannot start a thread: %s", strerror(-err));
        p->started = true;
    }
    return 0;
}

bool source_pulls_failed(struct source_pulls *all, struct error *ret)
{
    bool failed = false;
    for (size_t i = 0; all && !failed && i < all->n; i++) {
        struct error why;
        failed = is_in_trouble(&all->pull[i], &why);
        if (failed)
            error_set(ret, 0, "stream '%s': its source is not read: %.400s",
                      all->pull[i].stream->name, why.text);
    }
    return failed;
}

void source_pulls_end(struct source_pulls *all)
{
    for (size_t i = 0; all && i < all->n; i++) {
        struct pull *p = &all->pull[i];
        uint64_t one = 1;
        atomic_store_explicit(&p->stop, true, memory_order_relaxed);
        if (p->started && write(p->stopper, &one, sizeof(one)) < 0)
            logger_warn("source", "stream '%s': %s", p->stream->name, strerror(errno));
    }
    for (size_t i = 0; all && i < all->n; i++) {
        if (all->pull[i].started)
            pthread_join(all->pull[i].thread, NULL);
        all->pull[i].started = false;
    }
}

void source_pulls_free(struct source_pulls *all)
{
    if (!all)
        return;
    source_pulls_end(all);
    for (size_t i = 0; i < all->n; i++) {
        kafka_close(&all->pull[i]);
        mqtt_close(&all->pull[i]);
        if (all->pull[i].stopper >= 0)
            close(all->pull[i].stopper);
        pthread_mutex_destroy(&all->pull[i].lock);
    }
    free(all);
}
