/* SPDX-License-Identifier: Apache-2.0
 *
 * A source that weir reads itself (`source:` of a stream), on a thread of its own: files that are tailed
 * (tail.c), topics of Kafka (kafka.c) or MQTT (mqtt.c). Each file or partition, or all of a broker of MQTT, is a lane: a source of the log, with a decoder, rows that wait,
 * and a bookmark that goes with them. Internal to source.
 *
 *      lane_open: bookmark -> [seek] -> lane_piece ... lane_hand_on(bookmark) -> the stream's sink
 */
#ifndef WEIR_SOURCE_PULL_H
#define WEIR_SOURCE_PULL_H

#include "config/config.h"
#include "source/feed.h"
#include "source/letters.h"
#include "source/source.h"

#include <pthread.h>

struct pull {
    struct source_stream *stream;
    const struct config_source *config;
    pthread_t thread;
    bool started;
    int stopper;             /* eventfd: readable once it is to stop; -1 */
    _Atomic bool stop;       /* relaxed: soon enough */
    struct kafka *kafka;     /* kafka.c's */
    struct mqtt *mqtt;       /* mqtt.c's */
    _Atomic uint64_t lag;    /* bytes, or messages, that were not read yet */
    _Atomic uint64_t errors; /* what was said of it */
    _Atomic uint64_t lost,
        unreached; /* messages that were removed before; partitions */
    _Atomic uint64_t messages, passed, connects,
        connected;        /* of MQTT: that came, that are none of ours, ... */
    pthread_mutex_t lock; /* protects `fault`, `waits`, `away` */
    struct error fault;   /* "": none; it reads no more */
    struct error waits;   /* "": nothing; it has not begun to read */
    struct error away;    /* "": nothing; it had begun, and does not read now */
};

struct lane {
    struct pull *pull;
    char *name;
    uint32_t source;
    enum decode_format format;
    struct feed feed;
    struct letters letters;
    uint64_t rejected[DECODE_REASONS]; /* that were counted */
    bool behind;                       /* there is more than was read */
};

/* ---- pull.c ---- */

/* Nothing more is to be done. */
bool pull_stops(const struct pull *p);
/* Until there is something at `fd` (-1: only that), it is to stop, or so much time has passed. */
void pull_wait(const struct pull *p, int fd, int timeout_ms);
/* Logs and counts. */
void pull_say(struct pull *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* It reads no more until the next start; logs. Returns `result`. */
int pull_fail(struct pull *p, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What keeps it from beginning to read; "": nothing. Logs what is new. */
void pull_waits(struct pull *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What keeps it from reading on; "": nothing. Only told when asked: the caller logs. */
void pull_away(struct pull *p, const char *text);

/* Known to the log by this name: *ret_bookmark says where to go on, malloc'ed, NULL: never read. -ENOSPC: too many
 * names; -ENOMEM. lane_close also after a failure. */
int lane_open(struct lane *l, struct pull *p, const char *name,
              enum decode_format format, char **ret_bookmark);
void lane_close(struct lane *l);

/* A body begins. -ENOMEM. */
int lane_begin(struct lane *l);
/* The stream has other fields by now: a new body has to begin. All that was decoded was handed on. */
bool lane_is_stale(const struct lane *l);
/* As feed_piece, feed_finish. */
int lane_piece(struct lane *l, const char *data, size_t size);
int lane_finish(struct lane *l);
/* A body has ended, and another begins, which adds to what was decoded. What was rejected is told, with what `place` makes of its
 * line and source; those texts are used during the call only. */
void lane_restart(struct lane *l, void (*place)(void *ctx, struct dead_letter *d),
                  void *ctx);
/* Gives what was decoded to the stream, with the bookmark, waits for room. Without rows the source is said to be there. -EINTR,
 * -ESHUTDOWN: it stops; others are said, and the source has failed. */
int lane_hand_on(struct lane *l, const char *bookmark);
/* The same of one of several who send in it: the rows are of `source`, and do not say how far that is; where there are none,
 * reached_us does (INT64_MIN: no further). */
int lane_hand_on_of(struct lane *l, uint32_t source, int64_t reached_us,
                    const char *bookmark);
/* The same of a producer's events, which have no bookmark: the ticket says when they are on disk. */
int lane_hand_on_told(struct lane *l, struct ticket *ticket);
/* There is more than was read: it is we who keep it waiting, and it is not silent. */
void lane_behind(struct lane *l, bool behind);

/* Any thread. */
bool pull_has_failed(struct pull *p, struct error *ret);

/* ---- tail.c: until it stops, or fails (pull_fail) ---- */
void tail_run(struct pull *p);
int tail_try(const struct config_source *config, struct error *error);

/* ---- kafka.c, or kafka_none.c ---- */

/* What can be said without the brokers; -EINVAL. kafka_close also after a failure, and if it was never opened. */
int kafka_open(struct pull *p, struct error *error);
void kafka_close(struct pull *p);
void kafka_run(struct pull *p);
int kafka_try(const struct config_source *config, struct error *error);

/* ---- mqtt.c, or mqtt_none.c: as those of Kafka ---- */
int mqtt_open(struct pull *p, struct error *error);
void mqtt_close(struct pull *p);
void mqtt_run(struct pull *p);
int mqtt_try(const struct config_source *config, struct error *error);

#endif
