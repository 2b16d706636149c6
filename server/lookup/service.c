/* SPDX-License-Identifier: Apache-2.0
 *
 * One other service: which keys are known, which are asked for, when it is tried again. Of one that a plugin asks, it makes
 * the requests and reads what is 2xx to 4xx; otherwise
 *
 *      2xx with a JSON object       found, kept for cache_ttl
 *      404, or none of the columns  missing, kept likewise
 *      other 4xx, other bodies      failed: asking again would not help
 *      anything else, or nothing    repeated `retries` times: backoff, doubled up to max_backoff, half of it by chance;
 *                                   Retry-After. Then it has failed
 */
#include "base/clock.h"
#include "base/logger.h"
#include "lookup/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARN_US (60 * SECOND_US) /* failures are logged so often at most */

/* ---- Keys ---------------------------------------------------------------------------------------- */

static struct known **place_of(struct service *s, uint64_t hash)
{
    return &s->bucket[hash & (s->n_buckets - 1)];
}

static struct known *find(struct service *s, const char *key, size_t size,
                          uint64_t hash)
{
    struct known *k = *place_of(s, hash);
    while (k && (k->hash != hash || k->size != size || memcmp(k->key, key, size) != 0))
        k = k->same;
    return k;
}

/* Without memory lists are longer. */
static void grow(struct service *s)
{
    size_t before = s->n_buckets;
    struct known **old = s->bucket, **grown = calloc(2 * before, sizeof(*grown));
    if (!grown)
        return;
    s->bucket = grown;
    s->n_buckets = 2 * before;
    for (size_t i = 0; i < before; i++) {
        for (struct known *k = old[i], *next; k; k = next) {
            struct known **at = place_of(s, k->hash);
            next = k->same;
            k->same = *at;
            *at = k;
        }
    }
    free(old);
}

static size_t memory_of(const struct known *k)
{
    return sizeof(*k) + k->size + sizeof(struct answer) + k->answer->bytes.size;
}

static void unlink_kept(struct service *s, struct known *k)
{
    *(k->newer ? &k->newer->older : &s->newest) = k->older;
    *(k->older ? &k->older->newer : &s->oldest) = k->newer;
    k->newer = k->older = NULL;
    s->bytes -= memory_of(k);
}

static void link_kept(struct service *s, struct known *k)
{
    k->older = s->newest;
    k->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = k;
    s->newest = k;
    s->bytes += memory_of(k);
}

/* Nobody waits for it. */
static void forget(struct service *s, struct known *k)
{
    struct known **at = place_of(s, k->hash);
    while (*at != k)
        at = &(*at)->same;
    *at = k->same;
    s->n_known--;
    answer_unref(k->answer);
    free(k->body);
    free(k);
}

static struct known *add(struct service *s, const char *key, size_t size, uint64_t hash)
{
    struct known *k = calloc(1, sizeof(*k) + size);
    if (!k)
        return NULL;
    if (s->n_known >= s->n_buckets)
        grow(s);
    struct known **at = place_of(s, hash);
    k->same = *at;
    *at = k;
    s->n_known++;
    k->service = s;
    k->hash = hash;
    k->size = (uint32_t)size;
    memcpy(k->key, key, size);
    return k;
}

/* ---- Answers to who asked ------------------------------------------------------------------------ */

static const char *what_of(const struct service *s)
{
    return s->asker ? "analyzer" : "http_lookup";
}

static void set_error(struct service *s, const char *text, bool over)
{
    pthread_mutex_lock(&s->lookups->lock);
    if (!s->over)
        snprintf(s->error, sizeof(s->error), "%.255s", text);
    s->over = s->over || over;
    pthread_mutex_unlock(&s->lookups->lock);
}

static void note_error(struct service *s, const char *text)
{
    int64_t now_us = clock_monotonic_us();
    set_error(s, text, false);
    if (s->warned_us && now_us - s->warned_us < WARN_US)
        return;
    s->warned_us = now_us;
    logger_warn("lookup", "%s '%s' of pipeline '%s': %s", what_of(s), s->config->name,
                s->pipeline, text);
}

/* An answer that several keys share is counted for each: rows have it once each in the end. */
static void give_one(struct service *s, struct lookup_ask *ask, uint32_t id,
                     struct answer *a)
{
    uint64_t size = a == s->failed ? 0 : sizeof(*a) + a->bytes.size;
    if (size && *ask->size + size > LOOKUP_ENTRY_MAX) {
        note_error(s, "the answers for one entry of the log are larger than 256 MiB");
        metric_add(&s->count.failed, 1);
        a = s->failed;
        size = 0;
    }
    *ask->size += size;
    atomic_fetch_add(&ask->held->bytes, size);
    ask->answer[id] = answer_ref(a);
}

static void give(struct service *s, struct known *k, struct answer *a)
{
    for (struct ask_key *key = k->first, *next; key; key = next) {
        struct lookup_ask *ask = key->ask;
        next = key->next; /* it is gone with its ask, once that is done */
        give_one(s, ask, key->id, a);
        if (--ask->left == 0)
            ask->done(ask->ctx);
    }
    k->first = NULL;
}

/* Takes the answer. */
static void answered(struct service *s, struct known *k, struct answer *a)
{
    const struct config_lookup *c = s->config;
    give(s, k, a);
    k->answer = a;
    free(k->body);
    k->body = NULL;
    k->at_us = clock_monotonic_us();
    if (!c->cache_ttl_us || memory_of(k) > c->cache_size) {
        forget(s, k);
        return;
    }
    link_kept(s, k);
    while (s->bytes > c->cache_size) {
        struct known *old = s->oldest;
        unlink_kept(s, old);
        forget(s, old);
    }
    atomic_store_explicit(&s->count.bytes, s->bytes, memory_order_relaxed);
}

static void fail(struct service *s, struct known *k)
{
    metric_add(&s->count.failed, 1);
    give(s, k, s->failed);
    forget(s, k);
}

/* ---- When ---------------------------------------------------------------------------------------- */

static int64_t by_chance(struct service *s, int64_t us)
{
    uint64_t *d = &s->lookups->dice;
    *d ^= *d << 13;
    *d ^= *d >> 7;
    *d ^= *d << 17;
    return us / 2 + (int64_t)(*d % (uint64_t)(us / 2 + 1));
}

static bool is_broken(const struct service *s)
{
    return s->failures >= s->config->break_after;
}

/* The least due time comes first: heap of an array. -ENOMEM. */
static int put_due(struct service *s, struct known *k)
{
    if (s->n_due == s->due_room) {
        size_t room = s->due_room ? 2 * s->due_room : 64;
        struct known **due = realloc(s->due, room * sizeof(*due));
        if (!due)
            return -ENOMEM;
        s->due = due;
        s->due_room = room;
    }
    size_t i = s->n_due++;
    for (; i && s->due[(i - 1) / 2]->due_us > k->due_us; i = (i - 1) / 2)
        s->due[i] = s->due[(i - 1) / 2];
    s->due[i] = k;
    return 0;
}

static struct known *take_due(struct service *s)
{
    struct known *first = s->due[0], *k = s->due[--s->n_due];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_due; i = child) {
        if (child + 1 < s->n_due && s->due[child + 1]->due_us < s->due[child]->due_us)
            child++;
        if (s->due[child]->due_us >= k->due_us)
            break;
        s->due[i] = s->due[child];
    }
    s->due[i] = k;
    return first;
}

static void put_waiting(struct service *s, struct known *k,
                        const struct lookup_ask *ask)
{
    k->next = NULL;
    k->held = ask->held;
    k->number = ask->number;
    *s->last = k;
    s->last = &k->next;
}

/* Who waits in front waits for the oldest entry that still waits for a place here. */
static bool may_begin(const struct known *k)
{
    return atomic_load(&k->held->bytes) < LOOKUP_BYTES_MAX ||
           k->number <= atomic_load(&k->held->first);
}

static struct known *take_waiting(struct service *s)
{
    struct known *k = s->first;
    s->first = k->next;
    if (!s->first)
        s->last = &s->first;
    return k;
}

/* ---- Requests ------------------------------------------------------------------------------------ */

static void put_escaped(struct buffer *b, const char *text, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789-._~";
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c && strchr(plain, c))
            buffer_putc(b, (char)c);
        else
            buffer_printf(b, "%%%02X", c);
    }
}

static void put_value(struct buffer *b, const struct weir_cell *v)
{
    if (v->type == WEIR_STRING)
        put_escaped(b, v->as.s, v->size);
    else if (v->type == WEIR_BOOL)
        buffer_puts(b, v->as.i ? "true" : "false");
    else
        buffer_printf(b, "%lld", (long long)v->as.i);
}

/* What it is asked by. */
struct values {
    struct weir_cell value[CONFIG_LOOKUP_ON_MAX];
    char scratch[CONFIG_LOOKUP_ON_MAX][KEY_BYTES_MAX];
};

static const struct weir_cell *read_key(const struct known *k, struct values *v)
{
    const struct service *s = k->service;
    const char *at = k->key;
    for (size_t i = 0; i < s->config->n_on; i++)
        keys_read(&at, k->key + k->size, s->on_type[i], i + 1 == s->config->n_on,
                  v->scratch[i], &v->value[i]);
    return v->value;
}

static int make_url(const struct known *k, struct sender_request *to,
                    struct error *error)
{
    struct service *s = k->service;
    const struct config_lookup *c = s->config;
    struct values values;
    const struct weir_cell *value = read_key(k, &values);
    buffer_clear(&s->url);
    for (size_t i = 0; i < c->n_parts; i++) {
        buffer_puts(&s->url, c->part[i].text);
        if (c->part[i].on != SIZE_MAX)
            put_value(&s->url, &value[c->part[i].on]);
    }
    to->url = buffer_text(&s->url);
    to->n_headers = c->n_headers;
    to->header = (const char *const *)c->header;
    return s->url.error ? error_set(error, -ENOMEM, "out of memory") : 0;
}

static int ask_plugin(struct known *k, struct sender_request *to, struct error *error)
{
    struct values values;
    free(k->body);
    k->body = NULL;
    int r = asker_ask(k->service->asker, read_key(k, &values), to, &k->body, error);
    if (r == -EINVAL)
        set_error(k->service, error->text, true);
    return r;
}

static void failed(struct known *k, const char *text, int64_t retry_after_us);

static void begin(struct known *k)
{
    struct service *s = k->service;
    const struct config_lookup *c = s->config;
    struct error error = {""};
    struct sender_request request = {.ca_file = c->ca_file,
                                     .answer_max = LOOKUP_ANSWER_MAX,
                                     .timeout_us = c->timeout_us,
                                     .ctx = k};
    int r = s->asker ? ask_plugin(k, &request, &error) : make_url(k, &request, &error);
    s->flying++;
    if (r < 0 || sender_begin(s->lookups->sender, &request, &k->sending, &error) < 0)
        failed(k, error.text, 0);
}

/* It is repeated, or nobody answers. */
static void failed(struct known *k, const char *text, int64_t retry_after_us)
{
    struct service *s = k->service;
    const struct config_lookup *c = s->config;
    int64_t now_us = clock_monotonic_us(), us = c->backoff_us;
    s->flying--;
    note_error(s, text);
    if (k->tries++ < c->retries && !is_broken(s) && !s->over) {
        for (unsigned i = 1; i < k->tries && us < c->max_backoff_us; i++)
            us *= 2;
        us = by_chance(s, us > c->max_backoff_us ? c->max_backoff_us : us);
        k->due_us = now_us + (us > retry_after_us ? us : retry_after_us);
        if (put_due(s, k) == 0) {
            metric_add(&s->count.retries, 1);
            return;
        }
    }
    s->failures++;
    fail(s, k);
    if (!is_broken(s))
        return;
    us = by_chance(s, c->max_backoff_us);
    s->shut_us = now_us + (us > retry_after_us ? us : retry_after_us);
    if (s->said_broken)
        return;
    s->said_broken = true;
    atomic_store_explicit(&s->count.broken, 1, memory_order_relaxed);
    logger_warn(
        "lookup",
        "%s '%s' of pipeline '%s': %u look-ups in a row have failed, the "
        "last with: %s; others fail at once until one that is tried now and then "
        "is answered",
        what_of(s), c->name, s->pipeline, c->break_after, text);
}

static void works(struct service *s)
{
    s->failures = 0;
    if (!s->said_broken)
        return;
    s->said_broken = false;
    atomic_store_explicit(&s->count.broken, 0, memory_order_relaxed);
    logger_info("lookup", "%s '%s' of pipeline '%s': the service answers again",
                what_of(s), s->config->name, s->pipeline);
}

static void count_answer(struct service *s, const struct answer *a)
{
    metric_add(a->bytes.outcome == ANSWER_FOUND ? &s->count.found : &s->count.missing,
               1);
}

/* The plugin says what it is. */
static void read_reply(struct known *k, const struct sender_answer *reply)
{
    struct service *s = k->service;
    struct answer *answer;
    struct error error = {""};
    struct values values;
    int r = asker_read(s->asker, read_key(k, &values), reply, &answer, &error);
    if (r == WEIR_AGAIN) {
        failed(k, error.text, reply->retry_after_us);
        return;
    }
    s->flying--;
    works(s);
    if (r == 0) {
        count_answer(s, answer);
        answered(s, k, answer);
        return;
    }
    if (r == -EINVAL)
        set_error(s, error.text, true);
    note_error(s, error.text);
    fail(s, k);
}

void service_answer(struct known *k, const struct sender_answer *a)
{
    struct service *s = k->service;
    struct answer *answer = NULL;
    struct error error = {""};
    char text[64];
    int class = a->status / 100;
    k->sending = NULL;
    if (!a->status || class == 5 || a->status == 408 || a->status == 425 ||
        a->status == 429) {
        snprintf(text, sizeof(text), "HTTP status %d", a->status);
        failed(k, a->status ? text : a->error.text, a->retry_after_us);
        return;
    }
    if (s->asker) {
        read_reply(k, a);
        return;
    }
    s->flying--;
    works(s);
    if (a->status == 404)
        answer = answer_new(ANSWER_MISSING, s->config->answer->n - 1);
    else if (class == 2)
        answer_read(s->reader, a->body ? a->body : "", a->size, &answer, &error);
    if (answer) {
        count_answer(s, answer);
        answered(s, k, answer);
        return;
    }
    snprintf(text, sizeof(text), "HTTP status %d", a->status);
    note_error(s, error.text[0] ? error.text : text);
    fail(s, k);
}

/* ---- Asking -------------------------------------------------------------------------------------- */

/* True: it is known still. Otherwise it is asked for again, for this entry. */
static bool is_fresh(struct service *s, struct known *k, const struct lookup_ask *ask,
                     int64_t now_us)
{
    if (!k->answer)
        return false;
    unlink_kept(s, k);
    if (now_us - k->at_us < s->config->cache_ttl_us) {
        link_kept(s, k);
        return true;
    }
    answer_unref(k->answer);
    k->answer = NULL;
    k->tries = 0;
    put_waiting(s, k, ask);
    return false;
}

static void ask_key(struct service *s, struct lookup_ask *ask, uint32_t id,
                    int64_t now_us)
{
    const struct key_ids *keys = ask->keys;
    const char *key = keys->bytes + keys->offset[id];
    size_t size = keys->offset[id + 1] - keys->offset[id];
    struct known *k = find(s, key, size, keys->hash[id]);
    if (k && is_fresh(s, k, ask, now_us)) {
        metric_add(&s->count.kept, 1);
        give_one(s, ask, id, k->answer);
        ask->left--;
        return;
    }
    if (!k && (k = add(s, key, size, keys->hash[id])))
        put_waiting(s, k, ask);
    if (!k) { /* no memory */
        give_one(s, ask, id, s->failed);
        ask->left--;
        return;
    }
    ask->key[id] = (struct ask_key){.ask = ask, .id = id, .next = k->first};
    k->first = &ask->key[id];
}

void service_ask(struct service *s, struct lookup_ask *ask)
{
    int64_t now_us = clock_monotonic_us();
    ask->left = 1; /* until all are looked at */
    for (uint32_t id = 0; id < ask->keys->n; id++)
        ask->left += !ask->wanted || ask->wanted[id];
    for (uint32_t id = 0; id < ask->keys->n; id++)
        if (!ask->wanted || ask->wanted[id])
            ask_key(s, ask, id, now_us);
    if (--ask->left == 0)
        ask->done(ask->ctx);
}

/* All that wait fail: nobody is asked now. */
static void fail_all(struct service *s)
{
    while (s->first)
        fail(s, take_waiting(s));
    for (size_t i = 0; i < s->n_due; i++)
        fail(s, s->due[i]);
    s->n_due = 0;
}

int64_t service_run(struct service *s, int64_t now_us)
{
    bool broken = is_broken(s);
    if (broken && now_us < s->shut_us)
        fail_all(s);
    /* One is tried; the others wait for what becomes of it. What is to be repeated keeps its place: a service that is in
     * trouble is not asked for the next ones meanwhile. */
    size_t places = broken ? 1 : s->config->in_flight;
    while (s->n_due && s->due[0]->due_us <= now_us)
        begin(take_due(s));
    while (s->first && s->flying + s->n_due < places && may_begin(s->first))
        begin(take_waiting(s));
    atomic_store_explicit(&s->count.flying, s->flying, memory_order_relaxed);
    return s->n_due ? s->due[0]->due_us : INT64_MAX;
}

void service_end(struct service *s)
{
    for (size_t i = 0; i < s->n_buckets; i++) {
        for (struct known *k = s->bucket[i], *next; k; k = next) {
            next = k->same;
            sender_cancel(k->sending);
            answer_unref(k->answer);
            free(k->body);
            free(k);
        }
        s->bucket[i] = NULL;
    }
}
