/* SPDX-License-Identifier: Apache-2.0
 *
 * Topics of Kafka: all their partitions, each a lane called TOPIC/PARTITION. What goes with the rows as bookmark is the offset of the
 * message that follows, so whatever ends, server or broker, reading goes on behind what the log has:
 *
 *      topics: partitions, those never read: where to begin -> lanes, all told to the log before the first is read
 *      queue -> each message: copied to the piece of its partition, or decoded where it is; what a round had of each partition
 *               -> lane_hand_on("offset=.. partitions=..")
 *      each second: the ends of all partitions: how much there is to read, and who cannot be reached
 *
 * NDJSON is fed many messages at once; of the other formats each message is a body of its own, so that what one leaves open
 * is not taken for the next one's.
 *
 * Where `partitions` says which ones this server reads, others read the rest: then a topic has to have as many as ever, as another
 * number would give keys to other servers.
 *
 * Where `senders` says who publishes there, each of them is a source of its own (source/senders.h), and what is handed on are the
 * messages of one in a row. Their bookmarks are of the same partition: the greatest offset says where to go on.
 *
 * A partition that has more, or of which nobody can say, is not silent: what waits in it holds windows open.
 */
#include "source/broker.h"
#include "source/pull.h"
#include "source/senders.h"

#include "base/clock.h"
#include "base/logger.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MESSAGES     16384 /* of a piece */
#define PIECE        ((size_t)256 << 10)
#define DIRECT       ((size_t)8 << 10) /* longer messages are decoded where they are */
#define HAND_ON      ((size_t)1 << 20) /* about so much is a request */
#define DECODED      ((size_t)4 << 20) /* that waits for the end of a round, of all */
#define SEEN         10000.0           /* messages that tell how long others are */
#define LOOK_US      SECOND_US
#define LOOK_MS      500 /* that who cannot be reached may hold up the others, each time */
#define TOPICS_US    (10 * SECOND_US) /* for partitions that are new */
#define ANSWER_MS    2000
#define STALLED_S    15  /* without a message that is there: asked for anew, */
#define STALLED_MOST 960 /* and later after twice as many, each time in vain */
#define AWAY_US      (5 * SECOND_US)
#define COMMIT_US    SECOND_US
#define RETRY_MS     200
#define TRY_MS       5000
#define GATHER_US    2000 /* what comes meanwhile is read at once */
#define BOOKMARK_MAX 160

struct part {
    struct lane lane;
    struct topic *topic;
    int32_t number;
    int64_t at;        /* offset of the message to be read next */
    int64_t saved;     /* as the bookmark has it */
    int64_t committed; /* as the group has it */
    int64_t end;       /* of the partition, as far as is known */
    bool reached;      /* its broker has answered the last time */
    int64_t looked_at; /* `at` when it was looked at; */
    int64_t moved_us;  /* when nothing was missing; */
    int patience_s;    /* how long it may be */
    int64_t now_us;    /* time: arrival: that of the messages being decoded */
    rd_kafka_resp_err_t said;
    bool lost;             /* Kafka has no message of that offset */
    int64_t lost_us;       /* when it may be asked again where there are some */
    struct sender *sender; /* NULL: whoever sends is one source, that of the lane */
    struct sent run; /* of what was fed and is to be handed on the last message; */
    bool runs;       /* there are rows of it */

    int64_t fed;          /* behind the last message that was decoded, or passed over */
    size_t size;          /* bytes that were, and are to be handed on */
    int64_t eof;          /* behind them nothing follows before this offset; -1 */
    bool again;           /* there was no memory: it is read from `at` on once more */
    struct part *touched; /* the next one of this round */
    bool is_touched;
};

struct topic {
    struct kafka *owner;
    const char *name;
    rd_kafka_topic_t *handle, *asked; /* of `broker`, of `ask` */
    int32_t n;                        /* partitions with a lane */
    int32_t started;                  /* those of them that are read */
    int32_t total;                    /* that the topic has; 0: not asked yet */
    int32_t known;      /* those from here on are new; 0: none was ever read */
    struct part **part; /* in the order of their numbers */
    bool missing;       /* was said to be */
};

/* A message in a body. */
struct mark {
    int64_t offset;
    size_t end; /* where it ends */
};

struct kafka {
    struct pull *pull;
    struct broker *broker; /* reads */
    struct broker *
        ask; /* a broker answers one request of a connection after the other, and one for
                            * messages when there are some: questions go over connections of their own */
    rd_kafka_queue_t *queue;
    int wake; /* eventfd: there is something in the queue, or to be said */
    size_t n_topics, n_parts, first_topic; /* to be asked at the next look */
    struct topic *topic;
    char *piece;
    size_t size;             /* bytes in it */
    const char *body;        /* the piece, or a message where it is */
    struct mark *mark;       /* MESSAGES: what is in it */
    size_t n_marks;          /* 0: none */
    struct part *piece_part; /* whose */
    struct part *recent;     /* whose the last message was; NULL */
    const rd_kafka_topic_t *recent_topic;
    struct part *touched;    /* of this round */
    size_t decoded;          /* bytes, of all of them */
    int err;                 /* of this round, as read_message */
    bool full;               /* librdkafka has stopped asking for more */
    double seen, seen_bytes; /* messages, to know about how long they are */
    double most, most_bytes; /* that librdkafka queues; 0: it looks itself */
    char place[300];         /* of a dead letter */
    int64_t topics_us, look_us, commit_us; /* when to look next */
    int64_t watched_us;                    /* when stalls were looked for last */
    bool unreached, uncommitted;           /* was said */
    bool lost, again;                      /* of some partition */
    bool yielded; /* not all that was in the queue was read in this round; */
    bool emptied; /* in one since the last look it was */
};

/* ---- Opening ----------------------------------------------------------------------------------- */

static double number_of(const struct kafka *k, const char *property)
{
    char text[32];
    size_t size = sizeof(text);
    bool known = rd_kafka_conf_get(rd_kafka_conf(k->broker->client), property, text,
                                   &size) == RD_KAFKA_CONF_OK;
    return known ? strtod(text, NULL) : 0;
}

/* A librdkafka that knows fetch.queue.backoff.ms looks itself whether there is room again. */
static void note_most(struct kafka *k)
{
    if (number_of(k, "fetch.queue.backoff.ms") > 0)
        return;
    k->most = number_of(k, "queued.min.messages");
    k->most_bytes = number_of(k, "queued.max.messages.kbytes") * 1024;
}

int kafka_open(struct pull *p, struct error *error)
{
    const struct config_source *c = p->config;
    struct kafka *k = calloc(1, sizeof(*k));
    if (!k)
        return error_set(error, -ENOMEM, "no memory for Kafka");
    p->kafka = k;
    k->pull = p;
    k->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    k->piece = malloc(PIECE);
    k->mark = calloc(MESSAGES, sizeof(*k->mark));
    k->topic = calloc(c->n_topics, sizeof(*k->topic));
    if (k->wake < 0 || !k->piece || !k->mark || !k->topic)
        return error_set(error, -ENOMEM, "no memory for Kafka");
    int err = broker_open(c, &k->broker, error);
    if (err == 0)
        err = broker_open(c, &k->ask, error);
    if (err < 0)
        return err;
    snprintf(p->waits.text, sizeof(p->waits.text), "no broker has answered yet");
    note_most(k);
    k->queue = rd_kafka_queue_new(k->broker->client);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(k->queue, k->wake, &one, sizeof(one));
    for (size_t i = 0; i < c->n_topics; i++) {
        struct topic *t = &k->topic[i];
        rd_kafka_topic_conf_t *conf =
            rd_kafka_default_topic_conf_dup(k->broker->client);
        rd_kafka_topic_conf_set_opaque(conf, t);
        *t = (struct topic){.owner = k, .name = c->topic[i]};
        t->handle = rd_kafka_topic_new(k->broker->client, t->name, conf);
        t->asked = rd_kafka_topic_new(k->ask->client, t->name, NULL);
        k->n_topics++;
        if (!t->handle || !t->asked)
            return node_error(c->node, error, "topic '%s': %s", t->name,
                              rd_kafka_err2str(rd_kafka_last_error()));
    }
    return 0;
}

static void part_free(struct part *p)
{
    lane_close(&p->lane);
    free(p->sender);
    free(p);
}

static void topic_free(struct topic *t)
{
    for (int32_t i = 0; i < t->n; i++)
        rd_kafka_consume_stop(t->handle, t->part[i]->number);
    for (int32_t i = 0; i < t->n; i++)
        part_free(t->part[i]);
    free(t->part);
    if (t->handle)
        rd_kafka_topic_destroy(t->handle);
    if (t->asked)
        rd_kafka_topic_destroy(t->asked);
}

void kafka_close(struct pull *p)
{
    struct kafka *k = p->kafka;
    if (!k)
        return;
    for (size_t i = 0; i < k->n_topics; i++)
        topic_free(&k->topic[i]);
    if (k->queue)
        rd_kafka_queue_destroy(k->queue);
    broker_close(k->broker);
    broker_close(k->ask);
    if (k->wake >= 0)
        close(k->wake);
    free(k->topic);
    free(k->piece);
    free(k->mark);
    free(k);
    p->kafka = NULL;
}

/* ---- Which partitions are ours ------------------------------------------------------------------ */

static int32_t number_at(const struct topic *t, int32_t place)
{
    const struct config_source *c = t->owner->pull->config;
    return c->n_partitions ? c->partition[place] : place;
}

/* Of so many partitions; all numbers of `partitions` are below. */
static int32_t count_ours(const struct topic *t, int32_t total)
{
    const struct config_source *c = t->owner->pull->config;
    return c->n_partitions ? (int32_t)c->n_partitions : total;
}

/* The place of the partition among ours; -1: it is none. */
static int32_t place_of(const struct topic *t, int32_t number)
{
    const struct config_source *c = t->owner->pull->config;
    size_t from = 0, to = c->n_partitions;
    if (!to)
        return number;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (c->partition[middle] < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from < c->n_partitions && c->partition[from] == number ? (int32_t)from : -1;
}

/* For source_sink.bookmarks: what was read into this database stays its own, with the windows that are open. */
static int check_former(void *topic, const char *name, const char *bookmark)
{
    const struct topic *t = topic;
    const size_t size = strlen(t->name);
    (void)bookmark;
    if (strncmp(name, t->name, size) || name[size] != '/')
        return 0;
    if (place_of(t, (int32_t)strtol(name + size + 1, NULL, 10)) >= 0)
        return 0;
    return pull_fail(t->owner->pull, -EBADMSG,
                     "'%s' was read into this database, and is not in 'partitions': "
                     "what is open of it is here, another server would not go on "
                     "with it",
                     name);
}

/* Before the first of them is opened. */
static int check_ours(struct topic *t, int32_t total)
{
    struct pull *pull = t->owner->pull;
    const struct source_sink *sink = &pull->stream->sink;
    const size_t n = pull->config->n_partitions;
    if (!n || t->total)
        return 0;
    if (pull->config->partition[n - 1] >= total)
        return pull_fail(pull, -EBADMSG,
                         "topic '%s' has %" PRId32 " partitions, from 0 on: %" PRId32
                         " in 'partitions' is none of them",
                         t->name, total, pull->config->partition[n - 1]);
    int err = sink->bookmarks ? sink->bookmarks(sink->ctx, check_former, t) : 0;
    return err == -ENOMEM ? -EAGAIN : err;
}

/* ---- Where a partition is begun ---------------------------------------------------------------- */

static bool parse_bookmark(const char *text, int64_t *ret_offset,
                           int32_t *ret_partitions)
{
    int end = 0;
    int n = sscanf(text, "offset=%" SCNd64 " partitions=%" SCNd32 "%n", ret_offset,
                   ret_partitions, &end);
    return n == 2 && !text[end] && *ret_offset >= 0 && *ret_partitions > 0;
}

static bool parse_sender(const char *text, int64_t *ret_offset, int32_t *ret_partitions,
                         struct sender *s)
{
    int end = 0;
    int n = sscanf(text,
                   "offset=%" SCNd64 " partitions=%" SCNd32 " since=%" SCNd64
                   " seq=%" SCNd64 "%n",
                   ret_offset, ret_partitions, &s->since_us, &s->seq, &end);
    return n == 4 && !text[end] && *ret_offset >= 0 && *ret_partitions > 0;
}

/* What was fed is the log's, up to the offset. */
static int put(struct part *p, int64_t offset, int32_t known)
{
    char text[BOOKMARK_MAX];
    int size = snprintf(text, sizeof(text), "offset=%" PRId64 " partitions=%" PRId32,
                        offset, known);
    if (!p->sender)
        return lane_hand_on(&p->lane, text);
    struct sender *s = &p->sender[p->run.sender];
    struct sender behind = *s;
    if (p->runs && p->run.what == SENT_PUT) {
        behind.since_us = p->run.since_us;
        behind.seq = p->run.seq;
    }
    snprintf(text + size, sizeof(text) - (size_t)size,
             " since=%" PRId64 " seq=%" PRId64, behind.since_us, behind.seq);
    int err = lane_hand_on_of(&p->lane, s->source,
                              p->runs ? p->run.reached_us : INT64_MIN, text);
    if (err == 0)
        *s = behind;
    p->runs = false;
    return err;
}

/* A bookmark makes no partition known but its own: those behind it that have none yet are still new after kill -9. */
static int hand_on(struct part *p, int64_t offset)
{
    struct topic *t = p->topic;
    int32_t known = p->number < t->known ? t->known : p->number + 1;
    int err = put(p, offset, known);
    if (err < 0)
        return err;
    p->at = p->fed = p->saved = offset;
    t->known = known;
    return 0;
}

/* Of one that was never read. Those that came later than the others are read from their beginning. -EAGAIN: nobody answers. */
static int find_begin(struct part *p)
{
    const struct pull *pull = p->topic->owner->pull;
    int64_t low, high;
    rd_kafka_resp_err_t err =
        rd_kafka_query_watermark_offsets(p->topic->owner->ask->client, p->topic->name,
                                         p->number, &low, &high, ANSWER_MS);
    if (err)
        return -EAGAIN;
    bool newest =
        pull->config->newest && (!p->topic->known || p->number < p->topic->known);
    p->at = newest ? high : low;
    return 0;
}

static int64_t part_now(void *part)
{
    const struct part *p = part;
    return p->now_us;
}

/* -EAGAIN; others were said. */
static int begin_body(struct part *p)
{
    int err = lane_begin(&p->lane);
    p->lane.feed.now = part_now;
    p->lane.feed.ctx = p;
    return err;
}

/* Those that are not in `senders` any more have bookmarks, too. */
struct former {
    const char *name; /* of the partition */
    int64_t offset;   /* the greatest; -1: none */
    int32_t known;
};

static int look_at_former(void *former, const char *name, const char *bookmark)
{
    struct former *f = former;
    struct sender unused;
    int64_t offset;
    int32_t known;
    const size_t size = strlen(f->name);
    if (strncmp(name, f->name, size) || name[size] != '/' ||
        !parse_sender(bookmark, &offset, &known, &unused))
        return 0;
    f->offset = offset > f->offset ? offset : f->offset;
    f->known = known > f->known ? known : f->known;
    return 0;
}

/* Others send there than before, or nobody knew who did: what was read then is known by other names. */
static int check_way(struct part *p, int64_t of_senders)
{
    const bool senders = p->topic->owner->pull->config->n_senders;
    if (senders ? p->at < 0 : of_senders < 0)
        return 0;
    return pull_fail(
        p->topic->owner->pull, -EBADMSG,
        "'%s' was read %s 'senders' into this database: the one does not go "
        "on where the other was",
        p->lane.name, senders ? "without" : "with");
}

static int open_sender(struct part *p, const char *name, struct sender *s)
{
    struct pull *pull = p->topic->owner->pull;
    const struct source_sink *sink = &pull->stream->sink;
    char full[400], *bookmark = NULL;
    int64_t offset;
    int32_t known;
    snprintf(full, sizeof(full), "%s/%s", p->lane.name, name);
    *s = (struct sender){.name = name};
    int err = sink->name(sink->ctx, full, strlen(full), &s->source);
    if (err == 0)
        err = sink->bookmark(sink->ctx, s->source, &bookmark);
    if (err == 0 && bookmark && !parse_sender(bookmark, &offset, &known, s))
        err = pull_fail(pull, -EBADMSG, "the bookmark of '%s' is none of Kafka: '%s'",
                        full, bookmark);
    else if (err == -ENOSPC)
        pull_fail(pull, err, "'%s': a stream has at most 1023 sources", full);
    free(bookmark);
    return err;
}

/* Where to go on, of all who have sent there. */
static int open_senders(struct part *p)
{
    struct pull *pull = p->topic->owner->pull;
    const struct source_sink *sink = &pull->stream->sink;
    const struct config_source *c = pull->config;
    struct former former = {.name = p->lane.name, .offset = -1};
    int err = sink->bookmarks ? sink->bookmarks(sink->ctx, look_at_former, &former) : 0;
    if (err == 0)
        err = check_way(p, former.offset);
    if (err < 0 || !c->n_senders)
        return err;
    if (!(p->sender = calloc(c->n_senders, sizeof(*p->sender))))
        return -ENOMEM;
    for (size_t i = 0; err == 0 && i < c->n_senders; i++)
        err = open_sender(p, c->sender[i], &p->sender[i]);
    p->at = former.offset;
    p->topic->known = former.known > p->topic->known ? former.known : p->topic->known;
    return err;
}

static int open_part(struct topic *t, int32_t number, struct part **ret)
{
    struct pull *pull = t->owner->pull;
    char name[300], *bookmark = NULL;
    int32_t known = 0;
    struct part *p = calloc(1, sizeof(*p));
    if (!p)
        return -EAGAIN;
    *p = (struct part){.topic = t, .number = number, .at = -1, .end = -1};
    p->eof = -1;
    p->saved = p->committed = -1;
    snprintf(name, sizeof(name), "%s/%" PRId32, t->name, number);
    int err = lane_open(&p->lane, pull, name, pull->config->format, &bookmark);
    if (err == 0)
        err = begin_body(p);
    if (err == 0 && bookmark && !parse_bookmark(bookmark, &p->at, &known))
        err = pull_fail(pull, -EBADMSG, "the bookmark of '%s' is none of Kafka: '%s'",
                        name, bookmark);
    else if (err == -ENOSPC)
        pull_fail(pull, err, "'%s': a stream has at most 1023 sources", name);
    free(bookmark);
    if (err == 0)
        err = open_senders(p);
    p->saved = p->at;
    t->known = known > t->known ? known : t->known;
    if (err < 0) {
        part_free(p);
        return err == -ENOMEM ? -EAGAIN : err;
    }
    *ret = p;
    return 0;
}

/* ---- Topics and their partitions --------------------------------------------------------------- */

/* A smaller number is another topic of that name: its offsets are not those that were read. A greater one, where others read
 * the rest, gives keys to other partitions, and so to other servers. */
static int check_number(struct topic *t, int32_t n)
{
    const int32_t before = t->known > t->total ? t->known : t->total;
    if (n > before && before && t->owner->pull->config->n_partitions)
        return pull_fail(
            t->owner->pull, -EBADMSG,
            "topic '%s' has %" PRId32 " partitions, and had %" PRId32
            ": keys may be in others now, which other servers read; with "
            "'partitions' a topic keeps its number, more are another topic",
            t->name, n, before);
    if (n >= before)
        return 0;
    return pull_fail(
        t->owner->pull, -EBADMSG,
        "topic '%s' has %" PRId32 " partitions, and had %" PRId32
        " when it was read before: it is not the topic it was, and offsets "
        "say nothing about it",
        t->name, n, before);
}

/* Lanes of those of `total` partitions that are ours and have none. All bookmarks first: they say how many there were. */
static int open_parts(struct topic *t, int32_t total)
{
    const int32_t n = count_ours(t, total);
    struct part **list = realloc(t->part, (size_t)n * sizeof(*list));
    if (!list)
        return -EAGAIN;
    t->part = list;
    int32_t from = t->n, to = from;
    int err = check_ours(t, total);
    while (err == 0 && to < n)
        if ((err = open_part(t, number_at(t, to), &list[to])) == 0)
            to++;
    if (err == 0 && from == 0)
        err = check_number(t, total);
    for (int32_t i = from; err == 0 && i < to; i++)
        err = list[i]->at < 0 ? find_begin(list[i]) : 0;
    if (err < 0) {
        while (to > from)
            part_free(list[--to]);
        return err;
    }
    t->n = n;
    t->total = total;
    return 0;
}

static void set_behind(struct part *p, bool behind)
{
    const struct pull *pull = p->topic->owner->pull;
    const struct source_sink *sink = &pull->stream->sink;
    if (!p->sender) {
        lane_behind(&p->lane, behind);
        return;
    }
    if (behind == p->lane.behind)
        return;
    p->lane.behind = behind;
    for (size_t i = 0; sink->waits && i < pull->config->n_senders; i++)
        sink->waits(sink->ctx, p->sender[i].source, NULL, behind);
}

/* So that it holds windows open; with `senders`, each of them. */
static int tell_of(struct part *p)
{
    const size_t n = p->topic->owner->pull->config->n_senders;
    int err = n ? 0 : hand_on(p, p->at);
    for (p->run.sender = 0; err == 0 && p->run.sender < n; p->run.sender++)
        err = hand_on(p, p->at);
    p->run.sender = 0;
    return err;
}

/* The log hears of all of them before one of them is read. At the very first start none of them is new. Once all have a
 * bookmark that of the first, partition 0, which any topic of that name has, where all are ours, tells how many there are
 * (check_number). */
static int start_parts(struct topic *t)
{
    if (!t->known)
        t->known = t->total;
    int32_t before = t->known;
    for (int32_t i = t->started; i < t->n; i++) {
        set_behind(t->part[i], true);
        int err = tell_of(t->part[i]);
        if (err < 0)
            return err;
    }
    return t->known > before ? hand_on(t->part[0], t->part[0]->at) : 0;
}

static int consume(struct part *p)
{
    struct kafka *k = p->topic->owner;
    p->moved_us = clock_monotonic_us();
    if (rd_kafka_consume_start_queue(p->topic->handle, p->number, p->at, k->queue) == 0)
        return 0;
    return pull_fail(k->pull, -EIO, "'%s': %s", p->lane.name,
                     rd_kafka_err2str(rd_kafka_last_error()));
}

/* Partitions that have no lane yet, of one topic. -EAGAIN: to be tried again, with a text. */
static int look_at_topic(struct topic *t, struct error *error)
{
    struct kafka *k = t->owner;
    int32_t n;
    int err = broker_partitions(k->ask, t->asked, ANSWER_MS, &n, error);
    if (err == -ENOENT && !t->missing)
        pull_say(k->pull, "%s; it is waited for", error->text);
    t->missing = err == -ENOENT;
    if (err < 0)
        return err;
    if (n == t->total)
        return 0;
    err = t->total ? check_number(t, n) : 0;
    if (err == 0)
        err = open_parts(t, n);
    if (err == -EAGAIN)
        error_set(error, 0,
                  "topic '%s': the offsets of its partitions cannot be asked for",
                  t->name);
    return err;
}

/* All topics, at the first start until one gives no answer; later each waits for itself, as long as answers do not take too long: then
 * the next look begins behind it, and 1 is returned. *ret_waits: why one is not read. */
static int ask_topics(struct kafka *k, struct error *ret_waits, bool *ret_all)
{
    const size_t first = k->first_topic;
    const int64_t until_us = clock_monotonic_us() + ANSWER_MS * 1000;
    *ret_all = true;
    for (size_t i = 0; i < k->n_topics; i++) {
        struct topic *t = &k->topic[(first + i) % k->n_topics];
        struct error error = {0};
        int err = look_at_topic(t, &error);
        if (err < 0 && !t->n)
            *ret_waits = error;
        if (err == 0 || err == -ENOENT)
            continue;
        *ret_all = false;
        if (err != -EAGAIN || !k->n_parts)
            return err;
        if (clock_monotonic_us() < until_us || i + 1 == k->n_topics)
            continue;
        k->first_topic = (first + i + 1) % k->n_topics;
        return 1;
    }
    return 0;
}

/* New partitions of all topics. */
static int look_at_topics(struct kafka *k)
{
    struct error waits = {0};
    bool all;
    int err = ask_topics(k, &waits, &all);
    k->topics_us = clock_monotonic_us() + (all && k->n_parts ? TOPICS_US : LOOK_US);
    if (err == 0 || err == -EAGAIN || waits.text[0])
        pull_waits(k->pull, "%s", waits.text);
    if (err < 0)
        return err;
    err = 0;
    for (size_t i = 0; err == 0 && i < k->n_topics; i++)
        err = start_parts(&k->topic[i]);
    for (size_t i = 0; err == 0 && i < k->n_topics; i++) {
        struct topic *t = &k->topic[i];
        while (t->started < t->n && (err = consume(t->part[t->started])) == 0) {
            t->started++;
            k->n_parts++;
        }
    }
    k->look_us = 0;
    return err;
}

/* ---- The ends of partitions -------------------------------------------------------------------- */

static struct part *find_part(const struct kafka *k, const char *topic, int32_t number)
{
    for (size_t i = 0; i < k->n_topics; i++)
        if (!strcmp(k->topic[i].name, topic)) {
            int32_t place = place_of(&k->topic[i], number);
            return place >= 0 && place < k->topic[i].n ? k->topic[i].part[place] : NULL;
        }
    return NULL;
}

static rd_kafka_topic_partition_list_t *list_parts(const struct kafka *k, bool ends)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)k->n_parts);
    for (size_t i = 0; i < k->n_topics; i++)
        for (int32_t j = 0; j < k->topic[i].started; j++) {
            struct part *p = k->topic[i].part[j];
            if (ends || p->committed != p->saved)
                rd_kafka_topic_partition_list_add(list, p->topic->name, p->number)
                    ->offset = ends ? RD_KAFKA_OFFSET_END : p->saved;
        }
    return list;
}

/* How many of them gave no answer. */
static size_t ask_ends(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = list_parts(k, true);
    size_t unreached = 0;
    rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(k->ask->client, list, LOOK_MS);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        struct part *p = find_part(k, e->topic, e->partition);
        p->reached =
            (!err || err == RD_KAFKA_RESP_ERR__TIMED_OUT) && !e->err && e->offset >= 0;
        if (p->reached)
            p->end = e->offset;
        unreached += !p->reached;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return unreached;
}

static void note_lag(struct kafka *k)
{
    uint64_t lag = 0;
    for (size_t i = 0; i < k->n_topics; i++)
        for (int32_t j = 0; j < k->topic[i].started; j++) {
            struct part *p = k->topic[i].part[j];
            lag += p->end > p->saved ? (uint64_t)(p->end - p->saved) : 0;
            set_behind(p, !p->reached || p->saved < p->end);
        }
    atomic_store_explicit(&k->pull->lag, lag, memory_order_relaxed);
}

static void look_at_ends(struct kafka *k)
{
    size_t unreached = ask_ends(k);
    const char *stream = k->pull->stream->name;
    broker_listen(k->ask);
    note_lag(k);
    atomic_store_explicit(&k->pull->unreached, unreached, memory_order_relaxed);
    if (unreached && !k->unreached)
        pull_say(
            k->pull,
            "%zu of %zu partitions cannot be reached%s%s; tried again until they can "
            "be, and what was read last holds windows open",
            unreached, k->n_parts, k->ask->why[0] ? ": " : "", k->ask->why);
    else if (!unreached && k->unreached)
        logger_info("source", "stream '%s': all partitions are reached again", stream);
    k->unreached = unreached > 0;
    k->broker->complained = false;
    k->look_us = clock_monotonic_us() + LOOK_US;
}

/* For those who look at a group's lag. Where to go on is in the bookmarks. */
static void commit(struct kafka *k)
{
    k->commit_us = clock_monotonic_us() + COMMIT_US;
    if (!k->pull->config->group)
        return;
    rd_kafka_topic_partition_list_t *list = list_parts(k, false);
    if (list->cnt)
        rd_kafka_commit(k->broker->client, list, 1);
    for (int i = 0; i < list->cnt; i++)
        find_part(k, list->elems[i].topic, list->elems[i].partition)->committed =
            list->elems[i].offset;
    rd_kafka_topic_partition_list_destroy(list);
    if (k->broker->commit[0] && !k->uncommitted)
        pull_say(k->pull, "group '%s' is not told how far it was read: %s",
                 k->pull->config->group, k->broker->commit);
    k->uncommitted = k->broker->commit[0];
}

/* ---- Reading ----------------------------------------------------------------------------------- */

/* Of which message, and which of its lines, a line of the body is. */
static void place_letter(void *kafka, struct dead_letter *d)
{
    struct kafka *k = kafka;
    uint64_t before = 0, lines = 0;
    size_t i = 0;
    for (const char *c = k->body;; c = k->body + k->mark[i++].end) {
        const char *end = k->body + k->mark[i].end;
        lines = end > c && end[-1] != '\n';
        for (; (c = memchr(c, '\n', (size_t)(end - c))); c++)
            lines++;
        if (d->line <= before + lines || i + 1 == k->n_marks)
            break;
        before += lines;
    }
    snprintf(k->place, sizeof(k->place), "%s@%" PRId64, k->piece_part->lane.name,
             k->mark[i].offset);
    d->source = k->place;
    d->line -= before;
}

/* A body ends here, what was wrong in it is told with its place. -EBADMSG: the rest could not be read; that was told, too. */
static int end_body(struct kafka *k, int err)
{
    struct lane *l = &k->piece_part->lane;
    if (err == 0)
        err = lane_finish(l);
    lane_restart(l, place_letter, k);
    return err == -EBADMSG ? 0 : err;
}

static int flush_piece(struct kafka *k)
{
    if (!k->size)
        return 0;
    k->body = k->piece;
    int err = lane_piece(&k->piece_part->lane, k->piece, k->size);
    k->size = 0;
    return end_body(k, err);
}

static int feed_direct(struct kafka *k, struct part *p, const rd_kafka_message_t *m)
{
    int err = flush_piece(k);
    if (err < 0)
        return err;
    k->body = m->payload;
    k->mark[0] = (struct mark){m->offset, m->len};
    k->n_marks = 1;
    k->piece_part = p;
    return end_body(k, lane_piece(&p->lane, m->payload, m->len));
}

static int feed_among_others(struct kafka *k, struct part *p,
                             const rd_kafka_message_t *m)
{
    const bool fits = k->n_marks < MESSAGES && k->size + m->len + 1 <= PIECE;
    int err = fits ? 0 : flush_piece(k);
    if (err < 0)
        return err;
    if (!k->size) {
        k->piece_part = p;
        k->n_marks = 0;
    }
    memcpy(k->piece + k->size, m->payload, m->len);
    k->size += m->len;
    if (k->piece[k->size - 1] != '\n')
        k->piece[k->size++] = '\n';
    k->mark[k->n_marks++] = (struct mark){m->offset, k->size};
    return 0;
}

/* `time: arrival`: an event arrives when its message says, and not in the future. */
static int note_time(struct kafka *k, struct part *p, const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t type;
    int64_t ms = rd_kafka_message_timestamp(m, &type), now_us = clock_now_us();
    if (type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && ms < now_us / 1000)
        now_us = ms * 1000;
    int err = now_us != p->now_us ? flush_piece(k) : 0;
    p->now_us = now_us;
    return err;
}

enum fit { FITS, FITS_NOT, PASSED_OVER };

/* Does it go with those before it, of the same sender? Where the watermark is said, nothing follows. Rows that were sent before, and
 * those that `retain` has taken, are none. -EBADMSG: it was said. */
static int look_at_sent(struct part *p, const rd_kafka_message_t *m)
{
    struct pull *pull = p->topic->owner->pull;
    struct sent s;
    char why[200];
    if (sent_read(m, p->sender, pull->config->n_senders, &s, why) < 0)
        return pull_fail(pull, -EBADMSG, "'%s', offset %" PRId64 ": %s", p->lane.name,
                         m->offset, why);
    if (p->runs && (s.sender != p->run.sender || s.what == SENT_WATERMARK ||
                    p->run.what == SENT_WATERMARK))
        return FITS_NOT;
    const struct sender *before = &p->sender[s.sender];
    const int64_t since_us = p->runs ? p->run.since_us : before->since_us;
    const int64_t seq = p->runs ? p->run.seq : before->seq;
    if (s.what == SENT_DELETE ||
        (s.what == SENT_PUT && s.since_us == since_us && s.seq <= seq)) {
        if (!p->runs)
            p->run.sender = s.sender;
        return PASSED_OVER;
    }
    p->run = s;
    p->runs = true;
    return s.what == SENT_WATERMARK ? PASSED_OVER : FITS;
}

/* What was fed is handed on. */
static int finish(struct kafka *k, struct part *p)
{
    int err = k->piece_part == p ? flush_piece(k) : 0;
    if (err == 0)
        err = hand_on(p, p->fed);
    k->decoded -= p->size;
    p->size = 0;
    return err;
}

/* Before the first message that is to be handed on with others. -ENOMEM. */
static int begin_request(struct part *p)
{
    p->runs = false;
    p->now_us = clock_now_us();
    bool stale = p->lane.feed.decode != source_decode(p->topic->owner->pull->stream);
    return stale ? begin_body(p) : 0;
}

static int feed(struct kafka *k, struct part *p, const rd_kafka_message_t *m)
{
    const bool arrival = p->lane.feed.decode->time_unit == DECODE_ARRIVAL;
    const bool lines = k->pull->config->format == DECODE_NDJSON;
    int err = arrival ? note_time(k, p, m) : 0;
    p->size += m->len;
    k->decoded += m->len;
    if (err == 0)
        err = lines && m->len < DIRECT ? feed_among_others(k, p, m)
                                       : feed_direct(k, p, m);
    return err;
}

/* -ENOMEM; -EINTR, or it was said: the source is not read any more. */
static int read_message(struct kafka *k, struct part *p, const rd_kafka_message_t *m)
{
    if (m->offset < p->fed)
        return 0;
    int err = p->fed == p->at ? begin_request(p) : 0;
    int fit = err == 0 && p->sender ? look_at_sent(p, m) : FITS;
    if (fit == FITS_NOT) {
        err = finish(k, p);
        err = err == 0 ? begin_request(p) : err;
        fit = err == 0 ? look_at_sent(p, m) : FITS;
    }
    if (fit < 0)
        return fit;
    if (err == 0 && fit == FITS && m->len)
        err = feed(k, p, m);
    if (err < 0)
        return err;
    p->fed = m->offset + 1;
    return p->size >= HAND_ON ? finish(k, p) : 0;
}

/* Whatever there is no memory for is read once more. */
static void note_error(struct kafka *k, struct part *p, int err)
{
    struct error said;
    if (err == -ENOMEM) {
        p->again = k->again = true;
        k->size = k->piece_part == p ? 0 : k->size;
        return;
    }
    if (err < 0 && k->err == 0)
        k->err = err;
    if (err < 0 && err != -EINTR && !pull_has_failed(k->pull, &said))
        pull_fail(k->pull, err, "'%s', from offset %" PRId64 " on: %s", p->lane.name,
                  p->at, strerror(-err));
}

/* What is left of a round of each. */
static void finish_all(struct kafka *k)
{
    for (struct part *p = k->touched; p; p = p->touched) {
        if (k->err == 0 && !p->again && p->fed > p->at)
            note_error(k, p, finish(k, p));
        /* What a transaction, or compaction, has left there is no message. */
        if (k->err == 0 && !p->again && p->eof > p->at)
            note_error(k, p, hand_on(p, p->eof));
        p->is_touched = false;
        p->size = 0;
        p->eof = -1;
    }
    k->touched = NULL;
    k->decoded = 0;
}

/* ---- What is lost ------------------------------------------------------------------------------ */

static int start_again(struct part *p, int64_t at)
{
    rd_kafka_consume_stop(p->topic->handle, p->number);
    int err = at == p->at ? 0 : hand_on(p, at);
    return err < 0 ? err : consume(p);
}

/* Kafka had no message of that offset. */
static int lost(struct part *p)
{
    struct kafka *k = p->topic->owner;
    int64_t low, high;
    p->lost_us = clock_monotonic_us() + LOOK_US;
    rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(
        k->ask->client, p->topic->name, p->number, &low, &high, ANSWER_MS);
    if (err)
        return -EAGAIN;
    /* By now it has: another broker answers, or it was written anew. */
    if (p->at >= low && p->at <= high) {
        pull_say(k->pull,
                 "'%s' had no offset %" PRId64 ", and has those from %" PRId64
                 " to %" PRId64 " by now: it is read on, and nothing is passed over",
                 p->lane.name, p->at, low, high);
        return start_again(p, p->at);
    }
    int64_t to = p->at < low ? low : high;
    if (!k->pull->config->lost_goes_on)
        return pull_fail(k->pull, -ENODATA,
                         "'%s' was read up to offset %" PRId64
                         ", and has those from %" PRId64 " to %" PRId64
                         ": %s; with `on_lost: go_on` it is read from %" PRId64 " on",
                         p->lane.name, p->at, low, high,
                         p->at < low ? "messages were removed before they were read"
                                     : "it is not the partition it was",
                         to);
    pull_say(k->pull,
             "'%s' was read up to offset %" PRId64 ", and has those from %" PRId64
             " to %" PRId64 ": what is between is lost, it is read from %" PRId64 " on",
             p->lane.name, p->at, low, high, to);
    if (to > p->at)
        metric_add(&k->pull->lost, (uint64_t)(to - p->at));
    return start_again(p, to);
}

/* For how many seconds; 0: it may go on so. */
static int stalled_s(struct part *p, int64_t now_us)
{
    const bool moves = p->at != p->looked_at;
    if (moves || !p->patience_s)
        p->patience_s = STALLED_S;
    if (moves || !p->reached || p->lost || p->at >= p->end)
        p->moved_us = now_us;
    p->looked_at = p->at;
    const int64_t s = (now_us - p->moved_us) / SECOND_US;
    return s >= p->patience_s ? (int)s : 0;
}

/* Where brokers were away, librdkafka may wait for ever, or for minutes, for messages that they have. */
static void look_at_stalled(struct kafka *k)
{
    const int64_t now_us = clock_monotonic_us();
    const bool was_away =
        now_us > k->watched_us + AWAY_US; /* the log had no room, say */
    k->watched_us = now_us;
    if (!k->emptied) /* they may be in the queue */
        return;
    k->emptied = false;
    for (size_t i = 0; i < k->n_topics; i++)
        for (int32_t j = 0; j < k->topic[i].started; j++) {
            struct part *p = k->topic[i].part[j];
            if (was_away)
                p->moved_us = now_us;
            const int s = stalled_s(p, now_us);
            if (!s)
                continue;
            pull_say(k->pull,
                     "'%s': none of the messages from offset %" PRId64 " to %" PRId64
                     " has come for %d s: they are asked for anew",
                     p->lane.name, p->at, p->end, s);
            p->moved_us = now_us;
            p->patience_s = s < STALLED_MOST / 2 ? 2 * s : STALLED_MOST;
            start_again(p, p->at);
        }
}

/* Those that could not be asked are asked again at the next look. */
static int look_at_lost(struct kafka *k)
{
    k->lost = false;
    for (size_t i = 0; i < k->n_topics; i++)
        for (int32_t j = 0; j < k->topic[i].started; j++) {
            struct part *p = k->topic[i].part[j];
            if (!p->lost)
                continue;
            int err = clock_monotonic_us() < p->lost_us ? -EAGAIN : lost(p);
            if (err < 0 && err != -EAGAIN)
                return err;
            p->lost = err == -EAGAIN;
            k->lost = k->lost || p->lost;
        }
    return 0;
}

/* ---- Rounds ------------------------------------------------------------------------------------ */

/* What comes instead of a message. */
static void take_event(struct part *p, const rd_kafka_message_t *m)
{
    struct kafka *k = p->topic->owner;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        p->eof = m->offset;
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        p->lost = k->lost = true;
    } else {
        if (m->err != p->said)
            pull_say(k->pull, "'%s': %s", p->lane.name, rd_kafka_message_errstr(m));
        p->said = m->err;
    }
}

/* About: where the last messages were longer, or shorter, librdkafka is woken for nothing, or sleeps its second. */
static bool is_full(const struct kafka *k)
{
    const double n = k->most > 0 ? (double)rd_kafka_queue_length(k->queue) : 0;
    return n > 0 &&
           (n >= k->most * 0.75 || n * k->seen_bytes >= k->most_bytes * 0.75 * k->seen);
}

/* Its threads sleep for up to a second where the queue was full, and do not hear that it is empty. A question to the brokers wakes
 * them; the answer is not waited for. */
static void wake_readers(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *list = list_parts(k, true);
    rd_kafka_offsets_for_times(k->broker->client, list, 0);
    rd_kafka_topic_partition_list_destroy(list);
    k->full = false;
}

static void note_size(struct kafka *k, size_t size)
{
    if (k->seen >= SEEN) {
        k->seen /= 2;
        k->seen_bytes /= 2;
    }
    k->seen++;
    k->seen_bytes += (double)size;
}

static struct part *part_of(struct kafka *k, const rd_kafka_message_t *m)
{
    if (k->recent && m->rkt == k->recent_topic && m->partition == k->recent->number)
        return k->recent;
    const struct topic *t = m->rkt ? rd_kafka_topic_opaque(m->rkt) : NULL;
    const int32_t place = t && m->partition >= 0 ? place_of(t, m->partition) : -1;
    if (place < 0 || place >= t->n)
        return NULL;
    k->recent = t->part[place];
    k->recent_topic = m->rkt;
    return k->recent;
}

/* The message is librdkafka's, and there during the call only: one that lives on until others were read costs a third more. */
static void take_message(rd_kafka_message_t *m, void *kafka)
{
    struct kafka *k = kafka;
    struct part *p = k->err == 0 ? part_of(k, m) : NULL;
    if (k->full) /* and has been emptied before this call */
        wake_readers(k);
    if (p && k->size && k->piece_part != p)
        note_error(k, k->piece_part, flush_piece(k));
    if (!p || k->err < 0 || p->again)
        return;
    if (!p->is_touched) {
        p->is_touched = true;
        p->touched = k->touched;
        k->touched = p;
    }
    if (m->err) {
        take_event(p, m);
        return;
    }
    p->said = RD_KAFKA_RESP_ERR_NO_ERROR;
    note_size(k, m->len);
    note_error(k, p, read_message(k, p, m));
    if (k->decoded >= DECODED)
        finish_all(k);
    if (p->fed == p->at && clock_monotonic_us() >= k->look_us) {
        rd_kafka_yield(k->broker->client); /* the rest is for the next round */
        k->yielded = true;
    }
}

/* Those that there was no memory for. */
static int read_again(struct kafka *k)
{
    k->again = false;
    for (size_t i = 0; i < k->n_topics; i++)
        for (int32_t j = 0; j < k->topic[i].started; j++) {
            struct part *p = k->topic[i].part[j];
            if (!p->again)
                continue;
            do {
                if (pull_stops(k->pull))
                    return -EINTR;
                pull_wait(k->pull, -1, NO_MEMORY_US / 1000);
            } while (begin_body(p) < 0);
            p->again = false;
            p->fed = p->at;
            int err = start_again(p, p->at);
            if (err < 0)
                return err;
        }
    return 0;
}

/* All that is there now. Returns how much; negative: it stops, or has failed. */
static int run_round(struct kafka *k)
{
    k->err = 0;
    k->yielded = false;
    k->full = is_full(k);
    int n = rd_kafka_consume_callback_queue(k->queue, 0, take_message, k);
    k->emptied = k->emptied || !k->yielded;
    finish_all(k);
    int err = k->err;
    if (err == 0 && k->again)
        err = read_again(k);
    if (err == 0 && k->lost)
        err = look_at_lost(k);
    return err < 0 ? err : n > 0 ? n : 0;
}

/* Until there is something, or it is time to look. */
static void rest(struct kafka *k)
{
    char events[256];
    int64_t us = k->look_us - clock_monotonic_us();
    note_lag(k);
    pull_wait(k->pull, k->wake, us > 0 ? (int)(us / 1000) + 1 : 0);
    clock_sleep_us(GATHER_US);
    while (read(k->wake, events, sizeof(events)) > 0)
        ;
}

/* What is to be done from time to time. Does it go on? */
static bool look(struct kafka *k)
{
    struct error none;
    int64_t now_us = clock_monotonic_us();
    broker_listen(k->broker);
    if (k->broker->fatal[0])
        pull_fail(k->pull, -EIO, "librdkafka: %s", k->broker->fatal);
    if (now_us >= k->topics_us)
        look_at_topics(k);
    if (k->n_parts &&
        (now_us >= k->look_us || (k->broker->complained && !k->unreached))) {
        look_at_ends(k);
        look_at_stalled(k);
    }
    if (k->n_parts && now_us >= k->commit_us)
        commit(k);
    return !pull_stops(k->pull) && !pull_has_failed(k->pull, &none);
}

void kafka_run(struct pull *p)
{
    struct kafka *k = p->kafka;
    struct error none;
    while (look(k)) {
        if (!k->n_parts) {
            pull_wait(p, -1, RETRY_MS);
            continue;
        }
        if (run_round(k) == 0)
            rest(k);
    }
    /* What is not read holds windows open, also after a failure. */
    while (pull_has_failed(p, &none) && !pull_stops(p)) {
        broker_listen(k->broker);
        broker_listen(k->ask);
        pull_wait(p, -1, LOOK_US / 1000);
    }
}

/* ---- weir doctor ------------------------------------------------------------------------------- */

int kafka_try(const struct config_source *config, struct error *error)
{
    const int32_t last =
        config->n_partitions ? config->partition[config->n_partitions - 1] : -1;
    struct broker *b = NULL;
    int err = broker_open(config, &b, error);
    for (size_t i = 0; err == 0 && i < config->n_topics; i++) {
        int32_t n;
        rd_kafka_topic_t *t = rd_kafka_topic_new(b->client, config->topic[i], NULL);
        err = t ? broker_partitions(b, t, TRY_MS, &n, error)
                : error_set(error, -EIO, "topic '%s': %s", config->topic[i],
                            rd_kafka_err2str(rd_kafka_last_error()));
        if (err == 0 && last >= n)
            err = error_set(error, -EBADMSG,
                            "topic '%s' has %" PRId32 " partitions, from 0 on: %" PRId32
                            " in 'partitions' is none of them",
                            config->topic[i], n, last);
        if (t)
            rd_kafka_topic_destroy(t);
    }
    broker_close(b);
    return err;
}
