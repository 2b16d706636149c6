/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of all keys, and a list of those that are known in the order of their positions, which
 * is that of their age. Entries of the list that somebody else holds do not change any more; they are
 * counted by reference, so that they can be shown without the lock.
 *
 *      table --> [key, reserved]   [key, known]   [key, known] ...
 *                              oldest ------------> newest
 */
#include "log/idempotency.h"

#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BUCKETS_MIN 64u
#define EXPIRE_AT_ONCE                                                                 \
    64u /* keys that one call forgets for their age: it is to be quick */
#define EACH_AT_ONCE 1024u /* keys that are shown in one go */

enum evicted { EVICTED_AGE, EVICTED_NUMBER, EVICTED_MEMORY, EVICTED_REASONS };

struct entry {
    struct entry *chain;         /* in its bucket */
    struct entry *older, *newer; /* in the list of those that are known */
    uint64_t hash, digest, accepted, rejected, position;
    int64_t taken_us;
    char *errors;
    uint32_t errors_size;
    uint32_t refs;
    bool known; /* false: reserved */
    uint8_t size;
    char key[];
};

struct idempotency {
    uint64_t max_keys, max_bytes;
    int64_t retain_us;

    pthread_mutex_t lock; /* protects the rest, but for the metrics */
    struct entry **bucket;
    size_t n_buckets; /* a power of two */
    size_t n;         /* entries, reserved ones too */
    struct entry *oldest, *newest;
    uint64_t n_known, bytes; /* in the list */

    _Atomic uint64_t keys, replayed, evicted[EVICTED_REASONS], forgotten;
};

/* ---- The table, with the lock held ---- */

static struct entry **find(struct idempotency *k, const char *key, size_t size,
                           uint64_t hash)
{
    struct entry **at = &k->bucket[hash & (k->n_buckets - 1)];
    while (*at && ((*at)->hash != hash || (*at)->size != size ||
                   memcmp((*at)->key, key, size) != 0))
        at = &(*at)->chain;
    return at;
}

/* Without memory the chains grow longer instead. */
static void grow(struct idempotency *k)
{
    size_t n = k->n_buckets * 2;
    struct entry **bucket = k->n < k->n_buckets ? NULL : calloc(n, sizeof(*bucket));
    if (!bucket)
        return;
    for (size_t i = 0; i < k->n_buckets; i++) {
        struct entry *next;
        for (struct entry *e = k->bucket[i]; e; e = next) {
            next = e->chain;
            e->chain = bucket[e->hash & (n - 1)];
            bucket[e->hash & (n - 1)] = e;
        }
    }
    free(k->bucket);
    k->bucket = bucket;
    k->n_buckets = n;
}

/* NULL: no memory. `at`: where find has ended. */
static struct entry *add(struct idempotency *k, struct entry **at, const char *key,
                         size_t size, uint64_t hash)
{
    struct entry *e = calloc(1, sizeof(*e) + size);
    if (!e)
        return NULL;
    e->hash = hash;
    e->size = (uint8_t)size;
    e->refs = 1;
    memcpy(e->key, key, size);
    *at = e;
    k->n++;
    grow(k);
    return e;
}

static void unref(struct entry *e)
{
    if (--e->refs)
        return;
    free(e->errors);
    free(e);
}

/* ---- The list, with the lock held ---- */

static size_t entry_bytes(const struct entry *e)
{
    return sizeof(*e) + e->size + e->errors_size;
}

static void list_remove(struct idempotency *k, struct entry *e)
{
    *(e->older ? &e->older->newer : &k->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &k->newest) = e->older;
    k->n_known--;
    k->bytes -= entry_bytes(e);
    atomic_store_explicit(&k->keys, k->n_known, memory_order_relaxed);
}

/* They come in order, or nearly so. */
static void list_put(struct idempotency *k, struct entry *e)
{
    struct entry *older = k->newest;
    while (older && older->position > e->position)
        older = older->older;
    e->older = older;
    e->newer = older ? older->newer : k->oldest;
    *(e->older ? &e->older->newer : &k->oldest) = e;
    *(e->newer ? &e->newer->older : &k->newest) = e;
    k->n_known++;
    k->bytes += entry_bytes(e);
    atomic_store_explicit(&k->keys, k->n_known, memory_order_relaxed);
}

static void forget(struct idempotency *k, struct entry *e)
{
    struct entry **at = find(k, e->key, e->size, e->hash);
    *at = e->chain;
    k->n--;
    if (e->known)
        list_remove(k, e);
    unref(e);
}

static bool is_over(const struct idempotency *k, const struct entry *e, int64_t now_us)
{
    int64_t until_us;
    return !__builtin_add_overflow(e->taken_us, k->retain_us, &until_us) &&
           until_us <= now_us;
}

static void evict(struct idempotency *k, enum evicted reason)
{
    forget(k, k->oldest);
    metric_add(&k->evicted[reason], 1);
}

/* Those that are too old, as far as that takes no time, and those that are too many. */
static void evict_all(struct idempotency *k, int64_t now_us)
{
    for (size_t i = 0; i < EXPIRE_AT_ONCE && k->oldest && is_over(k, k->oldest, now_us);
         i++)
        evict(k, EVICTED_AGE);
    while (k->n_known > k->max_keys)
        evict(k, EVICTED_NUMBER);
    while (k->bytes > k->max_bytes && k->n_known > 1)
        evict(k, EVICTED_MEMORY);
}

/* ---- Calls ---- */

static int copy_answer(const struct entry *e, struct request_known *ret)
{
    char *errors = NULL;
    if (e->errors_size && !(errors = malloc(e->errors_size)))
        return -ENOMEM;
    if (errors)
        memcpy(errors, e->errors, e->errors_size);
    ret->digest = e->digest;
    ret->answer = (struct request_answer){.accepted = e->accepted,
                                          .rejected = e->rejected,
                                          .position = e->position,
                                          .errors = errors,
                                          .errors_size = e->errors_size};
    return 0;
}

/* As idempotency_begin, with the lock held. */
static int begin(struct idempotency *k, const char *key, size_t size, int64_t now_us,
                 struct request_known *ret)
{
    uint64_t hash = hash_bytes(key, size);
    evict_all(k, now_us);
    struct entry **at = find(k, key, size, hash);
    if (*at && (*at)->known && is_over(k, *at, now_us)) {
        forget(k, *at);
        metric_add(&k->evicted[EVICTED_AGE], 1);
        at = find(k, key, size, hash);
    }
    if (!*at)
        return add(k, at, key, size, hash) ? 0 : -ENOMEM;
    if (!(*at)->known)
        return -EBUSY;
    int rc = copy_answer(*at, ret);
    if (rc)
        return rc;
    metric_add(&k->replayed, 1);
    return 1;
}

int idempotency_begin(struct idempotency *k, const char *key, size_t size,
                      int64_t now_us, struct request_known *ret)
{
    pthread_mutex_lock(&k->lock);
    int rc = begin(k, key, size, now_us, ret);
    pthread_mutex_unlock(&k->lock);
    return rc;
}

uint64_t idempotency_known(struct idempotency *k)
{
    pthread_mutex_lock(&k->lock);
    uint64_t n = k->n_known;
    pthread_mutex_unlock(&k->lock);
    return n;
}

void idempotency_abandon(struct idempotency *k, const char *key, size_t size)
{
    pthread_mutex_lock(&k->lock);
    struct entry *e = *find(k, key, size, hash_bytes(key, size));
    if (e && !e->known)
        forget(k, e);
    pthread_mutex_unlock(&k->lock);
}

/* Takes `errors`. */
static void set_answer(struct entry *e, const struct request_id *key, int64_t taken_us,
                       char *errors)
{
    free(e->errors);
    e->digest = key->digest;
    e->accepted = key->answer.accepted;
    e->rejected = key->answer.rejected;
    e->position = key->answer.position;
    e->taken_us = taken_us;
    e->errors = errors;
    e->errors_size = errors ? (uint32_t)key->answer.errors_size : 0;
}

/* Can a known one get the position where it stands, and does nobody hold it? Those that were known before they
 * had a position get it in the order in which they stand. */
static bool can_stay(const struct entry *e, uint64_t position)
{
    return e->known && e->refs == 1 && (!e->older || e->older->position <= position) &&
           (!e->newer || e->newer->position >= position);
}

/* With the lock held; takes `errors`. */
static int complete(struct idempotency *k, const struct request_id *key,
                    int64_t taken_us, char *errors)
{
    uint64_t hash = hash_bytes(key->key, key->size);
    struct entry **at = find(k, key->key, key->size, hash);
    struct entry *e = *at;
    if (e && can_stay(e, key->answer.position)) {
        k->bytes -= entry_bytes(e);
        set_answer(e, key, taken_us, errors);
        k->bytes += entry_bytes(e);
        evict_all(k, taken_us);
        return 0;
    }
    if (e && e->known) { /* found a second time: the later request counts */
        forget(k, e);
        at = find(k, key->key, key->size, hash);
        e = NULL;
    }
    if (!e && !(e = add(k, at, key->key, key->size, hash))) {
        free(errors);
        return -ENOMEM;
    }
    e->known = true;
    set_answer(e, key, taken_us, errors);
    list_put(k, e);
    evict_all(k, taken_us);
    return 0;
}

int idempotency_complete(struct idempotency *k, const struct request_id *key,
                         int64_t taken_us)
{
    size_t size = key->answer.errors ? key->answer.errors_size : 0;
    char *errors = size ? malloc(size) : NULL;
    int rc = size && !errors ? -ENOMEM : 0;
    if (errors)
        memcpy(errors, key->answer.errors, size);
    if (rc)
        idempotency_abandon(k, key->key, key->size);
    pthread_mutex_lock(&k->lock);
    if (!rc)
        rc = complete(k, key, taken_us, errors);
    pthread_mutex_unlock(&k->lock);
    if (rc)
        metric_add(&k->forgotten, 1);
    return rc;
}

/* ---- Showing all ---- */

struct held {
    struct entry **entry;
    size_t n, room;
};

/* The oldest entry behind `after`, or NULL. With the lock held. */
static struct entry *first_behind(const struct idempotency *k, uint64_t after)
{
    struct entry *first = NULL;
    for (struct entry *e = k->newest; e && e->position > after; e = e->older)
        first = e;
    return first;
}

static int hold_one(struct held *h, struct entry *e)
{
    if (h->n == h->room) {
        size_t room = h->room ? h->room * 2 : EACH_AT_ONCE;
        struct entry **entry = realloc(h->entry, room * sizeof(struct entry *));
        if (!entry)
            return -ENOMEM;
        h->entry = entry;
        h->room = room;
    }
    e->refs++;
    h->entry[h->n++] = e;
    return 0;
}

/* The next ones with positions in (after, up_to]. All of one position are held together, so that the
 * last position says where to go on. With the lock held. */
static int hold(struct idempotency *k, uint64_t after, uint64_t up_to, struct held *h)
{
    int rc = 0;
    struct entry *e = first_behind(k, after);
    for (; !rc && e && e->position <= up_to; e = e->newer) {
        if (h->n >= EACH_AT_ONCE && h->entry[h->n - 1]->position != e->position)
            break;
        rc = hold_one(h, e);
    }
    return rc;
}

static int show(const struct entry *e,
                int (*call)(void *ctx, const struct request_id *key, int64_t taken_us),
                void *ctx)
{
    const struct request_id key = {.key = e->key,
                                   .size = e->size,
                                   .digest = e->digest,
                                   .answer = {.accepted = e->accepted,
                                              .rejected = e->rejected,
                                              .position = e->position,
                                              .errors = e->errors,
                                              .errors_size = e->errors_size}};
    return call(ctx, &key, e->taken_us);
}

int idempotency_each(struct idempotency *k, uint64_t after, uint64_t up_to,
                     int (*call)(void *ctx, const struct request_id *key,
                                 int64_t taken_us),
                     void *ctx)
{
    struct held h = {0};
    int rc = 0;
    do {
        pthread_mutex_lock(&k->lock);
        for (size_t i = 0; i < h.n; i++)
            unref(h.entry[i]);
        h.n = 0;
        if (!rc)
            rc = hold(k, after, up_to, &h);
        pthread_mutex_unlock(&k->lock);
        for (size_t i = 0; !rc && i < h.n; i++) {
            rc = show(h.entry[i], call, ctx);
            after = h.entry[i]->position;
        }
    } while (h.n);
    free(h.entry);
    return rc;
}

/* ---- Making and ending ---- */

static int add_metrics(struct idempotency *k, const char *stream, struct metrics *m)
{
    static const char *const reason[] = {"age", "number", "memory"};
    char label[160];
    snprintf(label, sizeof(label), "stream=\"%s\"", stream);
    int rc = metrics_add(m, METRIC_GAUGE, "weir_idempotency_keys",
                         "Idempotency keys that are known.", label, &k->keys, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_idempotency_replayed_total",
                         "Requests with a key that was known already.", label,
                         &k->replayed, 1);
    for (int i = 0; !rc && i < EVICTED_REASONS + 1; i++) {
        bool last = i == EVICTED_REASONS;
        snprintf(label, sizeof(label), "stream=\"%s\",reason=\"%s\"", stream,
                 last ? "no_memory" : reason[i]);
        rc = metrics_add(m, METRIC_COUNTER, "weir_idempotency_evicted_total",
                         "Idempotency keys that were forgotten, by reason.", label,
                         last ? &k->forgotten : &k->evicted[i], 1);
    }
    return rc;
}

int idempotency_new(const struct idempotency_options *options, struct metrics *metrics,
                    struct idempotency **ret)
{
    struct idempotency *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->max_keys = options->max_keys;
    k->max_bytes = options->max_keys * IDEMPOTENCY_KEY_BYTES;
    k->retain_us = options->retain_us;
    k->n_buckets = BUCKETS_MIN;
    k->bucket = calloc(k->n_buckets, sizeof(*k->bucket));
    pthread_mutex_init(&k->lock, NULL);
    int rc = k->bucket ? 0 : -ENOMEM;
    if (!rc && metrics)
        rc = add_metrics(k, options->stream, metrics);
    if (rc) {
        idempotency_free(k);
        return rc;
    }
    *ret = k;
    return 0;
}

void idempotency_free(struct idempotency *k)
{
    if (!k)
        return;
    for (size_t i = 0; k->bucket && i < k->n_buckets; i++) {
        struct entry *next;
        for (struct entry *e = k->bucket[i]; e; e = next) {
            next = e->chain;
            unref(e);
        }
    }
    free(k->bucket);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
