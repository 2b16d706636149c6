/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's side of its leases. Every third of a session, and whenever something has changed here or others have told: it lives on,
 * gives back what has ended, looks, and takes what is its share of what is free.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "node/internal.h"
#include "node/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRY_LEAST_US (SECOND_US / 10)
#define TRY_MOST_US  SECOND_US
#define TELL_US      (5 * SECOND_US) /* between two reasons */
#define TURNS        5 /* that shards are looked for again when others were quicker */
#define AFTER_END_US (SECOND_US / 50) /* that a node which is over is looked at later */
#define LEAVING      (SHARE_NOBODY - 1)

struct tenant {
    struct weir_node *n;
    struct leases *l;
    bool registered;
    int64_t registered_us, connected_us; /* monotonic; anew only if it was away */
    int64_t answered_us;                 /* PostgreSQL, all of a turn */
    int64_t try_us;                      /* of the next connection */
    struct error told; /* why PostgreSQL does not answer; "": it does */
    int64_t told_us;
    bool told_stop;          /* PostgreSQL, that we stop */
    bool stopping, restarts; /* when the turn began */
    int64_t renewed_us;      /* monotonic */
    size_t *owner, *has, *some;
    int64_t *since;
    struct leases_news *news;
};

static int64_t session_us(const struct tenant *t)
{
    return t->n->config->session_us;
}

static bool is_mine(const struct tenant *t, const struct leases_shard *s)
{
    return strcmp(s->node, t->l->name) == 0 && strcmp(s->run, t->l->run) == 0;
}

/* ---- What is held ------------------------------------------------------------------------------- */

static const char *whose(const struct leases_shard *s)
{
    return *s->node ? s->node : "nobody";
}

/* `lock`: what PostgreSQL says is so. It is not for us to act on while no session is known: it has ended since that was asked. */
static void adopt_shard(struct tenant *t, unsigned i, const struct leases_shard *now,
                        const struct leases_shard *was)
{
    struct node_shard *s = &t->n->shard[i];
    const bool mine = is_mine(t, now);
    if (mine && s->hold == NODE_NOT_OURS && t->n->valid_until_us != INT64_MIN) {
        s->hold = !t->n->stopping ? NODE_HELD
                  : t->n->keeps   ? NODE_KEEPING
                                  : NODE_GIVING;
        if (!was || !strcmp(was->node, t->l->name))
            logger_info("node", "shard %u: ours still", i);
        else if (!*was->node)
            logger_info("node", "shard %u: taken", i);
        else
            logger_info("node", "shard %u: taken over from node '%s', which is over", i,
                        was->node);
        s->note = true; /* of one that runs still, as it was lost for a moment only */
        metric_add(&t->n->taken, 1);
    } else if (!mine && s->hold != NODE_NOT_OURS) {
        logger_warn("node", "shard %u: it is node '%s''s now; its server is ended", i,
                    whose(now));
        s->hold = NODE_NOT_OURS;
        metric_add(&t->n->lost, 1);
    }
}

static void adopt(struct tenant *t, struct leases_view *v)
{
    struct weir_node *n = t->n;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < v->n_shards; i++)
        adopt_shard(t, i, &v->shard[i], n->view.shard ? &n->view.shard[i] : NULL);
    struct leases_view was = n->view;
    n->view = *v;
    n->looks++;
    pthread_mutex_unlock(&n->lock);
    node_wake(n->wake_main);
    leases_view_free(&was);
    *v = (struct leases_view){0};
}

/* ---- Shares ------------------------------------------------------------------------------------- */

static const struct leases_node *find(const struct leases_view *v, const char *name,
                                      size_t *ret)
{
    for (*ret = 0; *ret < v->n_nodes; ++*ret)
        if (strcmp(v->node[*ret].name, name) == 0)
            return &v->node[*ret];
    return NULL;
}

/* A node that lives has what is its run's; one that stops keeps it until it has ended. What is free is not taken in the first moments,
 * so that of nodes that begin together not the first one takes all; nor what is that of nodes which are over, while we have just
 * connected: after PostgreSQL was away all seem to be. */
static size_t owner_of(const struct tenant *t, const struct leases_view *v,
                       const size_t *place, const struct leases_shard *s,
                       int64_t now_us)
{
    size_t i;
    const struct leases_node *n = *s->node ? find(v, s->node, &i) : NULL;
    if (n && n->lives && !strcmp(n->run, s->run))
        return place[i];
    const int64_t from_us = *s->node ? t->connected_us + session_us(t)
                                     : t->registered_us + session_us(t) / 3;
    return now_us < from_us ? LEAVING : SHARE_NOBODY;
}

/* Places among those that shards are dealt out to. */
static void fill_share(struct tenant *t, const struct leases_view *v, struct share *ret)
{
    const int64_t now_us = clock_monotonic_us();
    size_t *const place = t->some;
    *ret = (struct share){.me = SHARE_NOBODY,
                          .has = t->has,
                          .n_shards = v->n_shards,
                          .owner = t->owner,
                          .since = t->since};
    for (size_t i = 0; i < v->n_nodes; i++) {
        const struct leases_node *n = &v->node[i];
        /* Who restarts keeps what it has, and gets nothing until it is there. */
        place[i] = n->lives && !n->stops && !n->restarts ? ret->n_nodes++ : LEAVING;
        if (place[i] != LEAVING && !strcmp(n->name, t->l->name) &&
            !strcmp(n->run, t->l->run))
            ret->me = place[i];
    }
    memset(t->has, 0, ret->n_nodes * sizeof(*t->has));
    for (unsigned i = 0; i < v->n_shards; i++) {
        t->owner[i] = owner_of(t, v, place, &v->shard[i], now_us);
        t->since[i] = v->shard[i].since_us;
        if (t->owner[i] < ret->n_nodes)
            t->has[t->owner[i]]++;
    }
}

static void give(struct tenant *t, const size_t *shard, size_t n)
{
    pthread_mutex_lock(&t->n->lock);
    for (size_t i = 0; i < n; i++) {
        struct node_shard *s = &t->n->shard[shard[i]];
        if (s->hold != NODE_HELD)
            continue;
        s->hold = NODE_GIVING;
        metric_add(&t->n->given, 1);
        logger_info("node", "shard %zu: given to another node", shard[i]);
    }
    pthread_mutex_unlock(&t->n->lock);
    if (n)
        node_wake(t->n->wake_main);
}

/* 1: others were quicker, or something came to us: look again. One that stops neither takes nor gives any more than it has. */
static int deal(struct tenant *t, struct error *error)
{
    struct leases_view v = {0};
    struct share share;
    size_t taken = 0;
    int err = leases_look(t->l, &v, error);
    if (err)
        return err;
    fill_share(t, &v, &share);
    if (t->stopping)
        share.me = SHARE_NOBODY;
    size_t *const some = t->some;
    size_t n = share_surplus(&share, some);
    give(t, some, n);
    n = n ? 0 : share_wanted(&share, some);
    if (n)
        err = leases_take(t->l, &v, some, n, &taken, error);
    adopt(t, &v);
    return err ? err : n > 0;
}

/* ---- A turn ------------------------------------------------------------------------------------- */

/* What our servers say that PostgreSQL is not told yet, into t->news; which are to be given back, into t->some. */
static void collect_news(struct tenant *t, size_t *ret_news, size_t *ret_given)
{
    struct weir_node *n = t->n;
    *ret_news = *ret_given = 0;
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->config->shards; i++) {
        struct node_shard *s = &n->shard[i];
        if (s->hold == NODE_GIVING && !s->runs) {
            t->some[(*ret_given)++] = i;
        } else if (s->hold != NODE_NOT_OURS && (s->note || s->differs)) {
            t->news[(*ret_news)++] = s->news;
            s->note = s->differs = false;
        }
    }
    pthread_mutex_unlock(&n->lock);
}

static void is_given(struct weir_node *n, size_t i)
{
    pthread_mutex_lock(&n->lock);
    n->shard[i].hold = NODE_NOT_OURS;
    pthread_mutex_unlock(&n->lock);
    logger_info("node", "shard %zu: free", i);
}

static void note_again(struct tenant *t, size_t news)
{
    pthread_mutex_lock(&t->n->lock);
    for (size_t i = 0; i < news; i++)
        t->n->shard[t->news[i].shard].note = true;
    pthread_mutex_unlock(&t->n->lock);
}

static void valid_from(struct weir_node *n, int64_t us)
{
    pthread_mutex_lock(&n->lock);
    n->valid_until_us = us + n->config->session_us;
    pthread_mutex_unlock(&n->lock);
}

static int live_on(struct tenant *t, struct error *error)
{
    const bool stops = t->stopping && !t->restarts; /* others count on our shards now */
    const int64_t sent_us = clock_monotonic_us();
    pthread_mutex_lock(&t->n->lock);
    memcpy(t->l->definition, t->n->definition, sizeof(t->l->definition));
    pthread_mutex_unlock(&t->n->lock);
    int err = t->registered ? leases_renew(t->l, stops, error) : -ENOENT;
    if (err == -ENOENT) {
        err = leases_register(t->l, error);
        if (!err)
            err = leases_tell(t->l, error);
        if (!err && !t->registered)
            t->registered_us = sent_us;
        t->registered = t->registered || !err;
    }
    if (err)
        return err;
    valid_from(t->n, sent_us);
    t->renewed_us = sent_us;
    if (stops && !t->told_stop)
        err = leases_tell(t->l, error);
    t->told_stop = t->stopping && !err;
    return err;
}

/* Within a turn that takes long, as PostgreSQL does. */
static int live_on_still(struct tenant *t, struct error *error)
{
    return clock_monotonic_us() - t->renewed_us < session_us(t) / 3 ? 0
                                                                    : live_on(t, error);
}

static int put_news(struct tenant *t, struct error *error)
{
    size_t news, given;
    collect_news(t, &news, &given);
    int err = news ? leases_note(t->l, t->news, news, error) : 0;
    if (err)
        note_again(t, news);
    for (size_t i = 0; !err && i < given; i++) {
        err = live_on_still(t, error);
        if (!err)
            err = leases_give_back(t->l, (unsigned)t->some[i], error);
        if (!err)
            is_given(t->n, t->some[i]);
    }
    return err || !given ? err : leases_tell(t->l, error);
}

/* What we do not know that PostgreSQL knows may be told once more. */
static void forget_news(struct weir_node *n)
{
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->config->shards; i++)
        n->shard[i].note = true;
    pthread_mutex_unlock(&n->lock);
}

static bool is_stopping(struct weir_node *n, bool *ret_restarts, bool *ret_ended)
{
    pthread_mutex_lock(&n->lock);
    const bool stopping = n->stopping;
    *ret_restarts = n->keeps;
    *ret_ended = stopping;
    for (unsigned i = 0; i < n->config->shards; i++)
        *ret_ended = *ret_ended && !n->shard[i].runs;
    pthread_mutex_unlock(&n->lock);
    return stopping;
}

/* When something is to be done again: to live on, or to look whether a node is over. */
static int64_t next_turn(struct tenant *t, int64_t began_us)
{
    struct weir_node *n = t->n;
    int64_t least_us = session_us(t) / 3;
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->view.n_nodes; i++)
        if (n->view.node[i].lives && n->view.node[i].left_us + AFTER_END_US < least_us)
            least_us = n->view.node[i].left_us + AFTER_END_US;
    pthread_mutex_unlock(&n->lock);
    return began_us + (least_us > AFTER_END_US ? least_us : AFTER_END_US);
}

static void leave(struct tenant *t)
{
    struct error error = {""};
    int err = !t->registered ? 0
              : t->restarts  ? leases_keep(t->l, &error)
                             : leases_leave(t->l, &error);
    if (err)
        return;
    pthread_mutex_lock(&t->n->lock);
    t->n->left = true;
    pthread_mutex_unlock(&t->n->lock);
    node_wake(t->n->wake_main);
}

static int turn(struct tenant *t, struct error *error)
{
    bool ended;
    t->stopping = is_stopping(t->n, &t->restarts, &ended);
    int err = live_on(t, error);
    if (!err)
        err = put_news(t, error);
    for (int i = 0, more = 1; !err && more && i < TURNS; i++) {
        err = live_on_still(t, error);
        more = err ? err : deal(t, error);
        err = more < 0 ? more : 0;
    }
    if (!err && ended)
        leave(t);
    return err;
}

/* ---- The thread --------------------------------------------------------------------------------- */

static void give_up(struct weir_node *n, const struct error *error)
{
    pthread_mutex_lock(&n->lock);
    n->end = NODE_REFUSED;
    n->why = *error;
    pthread_mutex_unlock(&n->lock);
    node_wake(n->wake_main);
}

static void set_connected(struct weir_node *n, bool connected)
{
    pthread_mutex_lock(&n->lock);
    n->connected = connected;
    pthread_mutex_unlock(&n->lock);
}

/* Once for each reason. */
static void tell(struct tenant *t, const struct error *error)
{
    const int64_t now_us = clock_monotonic_us();
    const char *told = t->told.text;
    metric_add(&t->n->failures, 1);
    if (!strcmp(error->text, told) || (*told && now_us < t->told_us + TELL_US))
        return;
    logger_warn("node", "PostgreSQL: %s; it is tried again", error->text);
    t->told = *error;
    t->told_us = now_us;
}

static bool connect_to(struct tenant *t)
{
    struct error error = {""};
    int err = leases_open(t->l, &error);
    if (err == -EBADF)
        give_up(t->n, &error);
    if (err) {
        tell(t, &error);
        t->try_us = 2 * t->try_us < TRY_LEAST_US  ? TRY_LEAST_US
                    : 2 * t->try_us > TRY_MOST_US ? TRY_MOST_US
                                                  : 2 * t->try_us;
        return false;
    }
    t->try_us = 0;
    const int64_t now_us = clock_monotonic_us();
    if (!t->answered_us || now_us > t->answered_us + session_us(t) / 2)
        t->connected_us = now_us;
    set_connected(t->n, true);
    forget_news(t->n);
    return true;
}

static void fail(struct tenant *t, int err, const struct error *error)
{
    if (err == -ESTALE) {
        struct error why;
        error_set(&why, err,
                  "another 'weir node' has the name '%s': each has one of its own "
                  "(--name)",
                  t->l->name);
        give_up(t->n, &why);
    }
    tell(t, error);
    /* A table is gone, or rows of it: who connects makes what is missing. */
    if (err == -EBADMSG || (err == -EINVAL && !strcmp(t->l->pg.state, "42P01")))
        pg_close(&t->l->pg);
}

/* One that has left would come again with its next turn. */
static bool is_over(struct weir_node *n)
{
    pthread_mutex_lock(&n->lock);
    const bool over = n->over || n->left || n->end != NODE_STOPPED;
    pthread_mutex_unlock(&n->lock);
    return over;
}

static bool stops(void *node)
{
    struct weir_node *n = node;
    pthread_mutex_lock(&n->lock);
    const bool over = n->over;
    pthread_mutex_unlock(&n->lock);
    return over;
}

static bool has_news(struct tenant *t)
{
    struct weir_node *n = t->n;
    pthread_mutex_lock(&n->lock);
    bool news = n->over || (n->stopping && !t->told_stop);
    for (unsigned i = 0; !news && i < n->config->shards; i++) {
        const struct node_shard *s = &n->shard[i];
        news = s->look > n->looks || (s->hold == NODE_GIVING && !s->runs) ||
               (s->hold != NODE_NOT_OURS && s->note);
    }
    pthread_mutex_unlock(&n->lock);
    return news;
}

/* Until it is time, others tell something, or something has happened here. */
static void idle(struct tenant *t, int64_t until_us)
{
    bool told = leases_told(t->l); /* they come with answers, too */
    while (t->l->pg.c && !told && !has_news(t) && clock_monotonic_us() < until_us) {
        pg_idle(&t->l->pg, until_us);
        told = leases_told(t->l);
    }
}

static void work(struct tenant *t)
{
    struct error error = {""};
    while (!is_over(t->n)) {
        if (!t->l->pg.c && !connect_to(t)) {
            pg_idle(&t->l->pg, clock_monotonic_us() + t->try_us);
            continue;
        }
        const int64_t began_us = clock_monotonic_us();
        int err = turn(t, &error);
        if (err) {
            fail(t, err, &error);
        } else {
            if (*t->told.text)
                logger_info("node", "PostgreSQL answers");
            t->told = (struct error){""};
            t->answered_us = clock_monotonic_us();
            idle(t, next_turn(t, began_us));
        }
        if (!t->l->pg.c)
            set_connected(t->n, false);
        else if (err)
            pg_idle(&t->l->pg, clock_monotonic_us() + TRY_LEAST_US);
    }
}

void *tenant_run(void *node)
{
    struct weir_node *n = node;
    const size_t shards = n->config->shards,
                 most = shards > LEASES_NODES_MAX ? shards : LEASES_NODES_MAX;
    struct tenant t = {.n = n,
                       .l = &n->leases,
                       .owner = calloc(shards, sizeof(*t.owner)),
                       .has = calloc(LEASES_NODES_MAX, sizeof(*t.has)),
                       .some = calloc(most, sizeof(*t.some)),
                       .since = calloc(shards, sizeof(*t.since)),
                       .news = calloc(shards, sizeof(*t.news))};
    n->leases.pg.wake = n->wake_tenant;
    n->leases.pg.stop = stops;
    n->leases.pg.ctx = n;
    if (t.owner && t.has && t.some && t.since && t.news) {
        work(&t);
    } else {
        struct error error;
        error_set(&error, -ENOMEM, "out of memory");
        give_up(n, &error);
    }
    free(t.owner);
    free(t.has);
    free(t.some);
    free(t.since);
    free(t.news);
    pg_close(&n->leases.pg);
    return NULL;
}
