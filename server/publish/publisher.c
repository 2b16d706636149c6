/* SPDX-License-Identifier: Apache-2.0
 *
 * Kafka as a target (target/kind.h).
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "publish/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- Whose a table is --------------------------------------------------------------------------- */

static bool is_others(const struct publisher *p, const struct published *k,
                      const struct link_place *there)
{
    return there->there && k->base.taken && strcmp(there->writer, p->base.writer) &&
           strcmp(there->writer, k->base.before);
}

/* Is what is there what we have up to its place? What had a lower number than ours when that was noted is the same in all copies of the
 * file; and of who has published before this run what it may have published until the file was opened anew. */
static bool is_ours(const struct publisher *p, const struct published *k,
                    const struct link_place *there)
{
    const struct carried_place *here = &k->base.place;
    if (!there->there || there->since_us != here->since_us)
        return false;
    return there->position <= here->position ||
           strcmp(there->writer, p->base.writer) == 0 ||
           (*here->writer && strcmp(there->writer, here->writer) == 0 &&
            there->position <= here->bound);
}

static void say_where(const struct published *k, const struct link_place *there)
{
    if (there->there && there->since_us == k->base.place.since_us)
        logger_warn("publish",
                    "table '%s': what Kafka has was published from another copy of the "
                    "database: what was put since this one was copied is published "
                    "again",
                    k->base.table->name);
    else if (!there->there && *k->base.place.writer)
        logger_warn("publish",
                    "table '%s': Kafka does not know how far it is: it goes on where "
                    "the file is, and what was published just before the last stop may "
                    "come again",
                    k->base.table->name);
}

/* -EEXIST: it is another's. The name of this run is in the file before it is there. */
static int take(struct publisher *p, struct published *k, struct error *error)
{
    struct target_table *t = &k->base;
    struct link_place there;
    int err = link_topic(&p->link, k->topic, &k->partitions, error);
    if (!err)
        err = link_place(&p->link, k->topic, &there, error);
    if (err)
        return err;
    if (is_others(p, k, &there))
        return error_set(error, -EEXIST, "another server has taken its place");
    const bool ours = is_ours(p, k, &there);
    if (!ours && !t->taken)
        say_where(k, &there);
    if (ours && there.position > t->place.position)
        t->place.position = there.position;
    if (!t->taken)
        memcpy(t->before, there.there ? there.writer : "",
               there.there ? sizeof(t->before) : 1);
    memcpy(t->place.writer, p->base.writer, sizeof(p->base.writer));
    t->place.bound = -1;
    t->stage = TARGET_CHANGES;
    t->look = k->sign = true;
    k->told_us = INT64_MIN;
    k->tell_us = 0;
    target_note(&p->base, t);
    return 0;
}

static struct link_place place_there(const struct publisher *p,
                                     const struct published *k, int64_t position)
{
    struct link_place to = {.position = position, .since_us = k->base.place.since_us};
    memcpy(to.writer, p->base.writer, sizeof(to.writer));
    return to;
}

/* The file knows it: now it is ours there, too. */
static int sign(struct publisher *p, struct published *k, struct error *error)
{
    fault_point("publish_noted");
    const struct link_place to = place_there(p, k, k->base.place.position);
    int err = link_begin(&p->link, error);
    if (!err)
        err = link_commit(&p->link, k->topic, &to, error);
    if (err)
        return err;
    fault_point("publish_taken");
    k->base.taken = true;
    k->sign = false;
    return 0;
}

/* ---- One table ---------------------------------------------------------------------------------- */

/* Behind the rows of a piece; where there are none (*ret 1), in a transaction of its own, which is worth it now and then. */
static int tell_watermark(struct publisher *p, struct published *k,
                          const struct publish_piece *piece, int *ret,
                          struct error *error)
{
    if (!p->config->watermarks || piece->tells_us <= k->told_us)
        return 0;
    const int64_t now_us = clock_monotonic_us();
    if (*ret == 1 && now_us < k->tell_us) {
        k->base.next_us = k->tell_us;
        return 0;
    }
    int err = *ret == 1 ? link_begin(&p->link, error) : 0;
    if (!err)
        err = watermarks_send(p, k, piece->tells_us, error);
    *ret = err;
    return err;
}

static int publish_changes(struct publisher *p, struct published *k,
                           struct error *error)
{
    struct target_table *t = &k->base;
    struct publish_piece piece;
    int err = messages_send(p, k, &piece, error);
    if (err >= 0)
        tell_watermark(p, k, &piece, &err, error);
    if (err == 1) {
        t->look = t->next_us > clock_monotonic_us();
        target_settle(t, piece.watermark_us);
        return 0;
    }
    const struct link_place to = place_there(p, k, piece.last);
    fault_point("publish_sent");
    if (!err)
        err = link_commit(&p->link, k->topic, &to, error);
    if (err)
        return err;
    fault_point("publish_committed");
    t->place.position = piece.last;
    t->look = !piece.all;
    t->dirty = true;
    if (piece.tells_us > k->told_us) {
        k->told_us = piece.tells_us;
        k->tell_us = clock_monotonic_us() + PUBLISH_TELL_US;
    }
    target_settle(t, piece.watermark_us);
    metric_add(&t->count.put, piece.rows);
    metric_add(&t->count.deleted, piece.gone);
    return 0;
}

/* What was sent is given up, and all tables are asked for their places anew. */
static void disconnect(struct target *t)
{
    struct publisher *p = (struct publisher *)t;
    if (!p->link.producer)
        return;
    link_close(&p->link);
    target_ask(t);
}

static int step(struct target *t, struct target_table *table, struct error *error)
{
    struct publisher *p = (struct publisher *)t;
    struct published *k = (struct published *)table;
    int err = table->stage == TARGET_TAKE ? take(p, k, error)
              : k->sign                   ? sign(p, k, error)
                                          : publish_changes(p, k, error);
    if (!err || err == -ECANCELED || err == -EEXIST || err == -ENOENT ||
        err == -EMSGSIZE || err == -EBADMSG)
        return err;
    p->superseded = p->superseded || err == -ESTALE;
    disconnect(t);
    return err;
}

static bool is_lost(const struct target *t, int err)
{
    (void)t;
    return err == -EAGAIN;
}

static void tell(const struct target *t, int err, const struct error *error,
                 char ret[256])
{
    const bool own = err == -EEXIST || err == -ENOENT || err == -EMSGSIZE;
    (void)t;
    snprintf(ret, 256, "%.250s",
             own               ? error->text
             : err == -EAGAIN  ? "Kafka cannot be reached, or does not answer"
             : err == -EBADMSG ? "a broker refuses it, the log says why"
                               : "the log says why");
}

/* ---- The connection ----------------------------------------------------------------------------- */

/* Another producer has begun: tables that it has taken are left to it before ours would end what it has under way. */
static int look_for_others(struct publisher *p, struct error *error)
{
    int err = 0;
    for (struct target_table *t = p->base.set->first; !err && t; t = t->next) {
        struct published *k = (struct published *)t;
        struct link_place there;
        if (t->stage == TARGET_OVER)
            continue;
        err = link_place(&p->link, k->topic, &there, error);
        if (!err && is_others(p, k, &there)) {
            error_set(error, 0, "another server has taken its place");
            target_give_up(&p->base, t, error);
        }
    }
    return err;
}

static bool is_connected(const struct target *t)
{
    return ((const struct publisher *)t)->link.producer != NULL;
}

static int connect_to(struct target *t, struct error *error)
{
    struct publisher *p = (struct publisher *)t;
    int err = link_open(&p->link, p->config, t->set->database, error);
    if (!err && p->superseded)
        err = look_for_others(p, error);
    if (!err && target_is_over(t))
        err = -ECANCELED;
    if (!err)
        err = link_take(&p->link, error);
    if (err) {
        link_close(&p->link);
        return err;
    }
    p->superseded = false;
    logger_info("publish", "results are published to Kafka at '%s'",
                p->config->link.brokers);
    return 0;
}

static void listen_to_it(struct target *t)
{
    link_listen(&((struct publisher *)t)->link);
}

/* ---- The target --------------------------------------------------------------------------------- */

static void adopted(struct target *t)
{
    ((struct publisher *)t)->config = t->set->config->server.kafka;
}

static void open_publisher(struct target *t, const void *with)
{
    (void)with;
    ((struct publisher *)t)->link = (struct link){.stop = target_is_ending, .ctx = t};
}

static void close_publisher(struct target *t)
{
    struct publisher *p = (struct publisher *)t;
    buffer_free(&p->key);
    buffer_free(&p->value);
}

static const struct config_target *settings(const struct config *c)
{
    return c->server.kafka ? &c->server.kafka->target : NULL;
}

const struct target_kind publish_kind = {
    .to = CARRIED_KAFKA,
    .name = "Kafka",
    .done = "published",
    .log = "publish",
    .thread = "weir-publish",
    .size = sizeof(struct publisher),
    .table_size = sizeof(struct published),
    .metric = {.rows = "weir_kafka_rows_total",
               .rows_help = "Rows by what was sent to Kafka.",
               .put = "published",
               .deleted = "deleted",
               .failures = "weir_kafka_failures_total",
               .lag = "weir_kafka_lag_rows",
               .lag_help = "Changes of the table that are not in Kafka.",
               .connected = "weir_kafka_connected",
               .connected_help = "1: there is a connection to Kafka, to publish."},
    .settings = settings,
    .check = topics_check,
    .table_new = topics_new,
    .table_free = topics_free,
    .open = open_publisher,
    .close = close_publisher,
    .adopted = adopted,
    .is_connected = is_connected,
    .connect = connect_to,
    .disconnect = disconnect,
    .listen = listen_to_it,
    .step = step,
    .is_lost = is_lost,
    .tell = tell,
};
