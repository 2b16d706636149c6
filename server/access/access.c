/* SPDX-License-Identifier: Apache-2.0 */
#include "access/access.h"
#include "access/rate.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct access_user {
    struct token token;
    _Atomic unsigned
        refs; /* the list's, and one for each request under way; taken relaxed, given back acq_rel */
    _Atomic bool over; /* relaxed: seen soon enough */
    struct rate requests, events;
    struct {
        _Atomic uint64_t requests, events, forbidden, throttled,
            under_way; /* relaxed */
    } count;
};

struct access {
    char *path;
    struct metrics *metrics;
    pthread_mutex_t lock;      /* protects the list */
    struct access_user **user; /* by id */
    size_t n;
    _Atomic uint64_t unknown; /* requests without a token that is one; relaxed */
};

/* ---- Users ---- */

static void user_unref(struct access_user *u)
{
    if (atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
        return;
    token_free(&u->token);
    free(u);
}

/* Takes the token over. NULL: no memory. */
static struct access_user *user_new(struct token *t)
{
    struct access_user *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->token = *t;
    *t = (struct token){0};
    u->refs = 1;
    u->requests.per_second = u->token.requests;
    u->events.per_second = u->token.events;
    return u;
}

static int user_count(struct access_user *u, struct metrics *m)
{
    struct buffer label = {0}, forbidden = {0}, throttled = {0};
    metrics_put_label(&label, "token", u->token.id);
    metrics_put_label(&forbidden, "token", u->token.id);
    metrics_put_label(&forbidden, "reason", "forbidden");
    metrics_put_label(&throttled, "token", u->token.id);
    metrics_put_label(&throttled, "reason", "throttled");
    static const char refused[] = "weir_token_refused_total",
                      refused_help[] = "Requests of a token that were refused.";
    int rc = label.error || forbidden.error || throttled.error ? -ENOMEM : 0;
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_token_requests_total",
                         "Requests with a token, also refused ones.",
                         buffer_text(&label), &u->count.requests, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, "weir_token_events_total",
                         "Events accepted with a token.", buffer_text(&label),
                         &u->count.events, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_GAUGE, "weir_token_requests_active",
                         "Requests with a token that are under way.",
                         buffer_text(&label), &u->count.under_way, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, refused, refused_help,
                         buffer_text(&forbidden), &u->count.forbidden, 1);
    if (!rc)
        rc = metrics_add(m, METRIC_COUNTER, refused, refused_help,
                         buffer_text(&throttled), &u->count.throttled, 1);
    buffer_free(&label);
    buffer_free(&forbidden);
    buffer_free(&throttled);
    return rc;
}

static int user_order(const void *a, const void *b)
{
    const struct access_user *const *x = a, *const *y = b;
    return strcmp((*x)->token.id, (*y)->token.id);
}

static int user_find(const void *id, const void *element)
{
    const struct access_user *const *u = element;
    return strcmp(id, (*u)->token.id);
}

/* With the lock held. */
static struct access_user *find(const struct access *a, const char *id)
{
    struct access_user **at =
        a->n ? bsearch(id, a->user, a->n, sizeof(struct access_user *), user_find)
             : NULL;
    return at ? *at : NULL;
}

/* ---- The list ---- */

/* Those of `t` that are as they were are the users of before. On failure of memory there is no list. */
static struct access_user **make_list(struct access *a, struct tokens *t)
{
    struct access_user **list = calloc(t->n + 1, sizeof(struct access_user *));
    for (size_t i = 0; list && i < t->n; i++) {
        struct access_user *old = find(a, t->token[i].id);
        if (old && token_same(&old->token, &t->token[i])) {
            atomic_fetch_add_explicit(&old->refs, 1, memory_order_relaxed);
            list[i] = old;
        } else if (!(list[i] = user_new(&t->token[i]))) {
            while (i > 0)
                user_unref(list[--i]);
            free(list);
            return NULL;
        }
    }
    if (list)
        qsort(list, t->n, sizeof(*list), user_order);
    return list;
}

static bool has(struct access_user *const *list, size_t n, const struct access_user *u)
{
    size_t i = 0;
    while (i < n && list[i] != u)
        i++;
    return i < n;
}

/* What counts one that is gone must not be looked at any more, and one that is new begins. */
static void exchange(struct access *a, struct access_user **list, size_t n)
{
    pthread_mutex_lock(&a->lock);
    struct access_user **old = a->user;
    size_t n_old = a->n;
    a->user = list;
    a->n = n;
    pthread_mutex_unlock(&a->lock);
    for (size_t i = 0; i < n_old; i++) {
        if (!has(list, n, old[i])) {
            atomic_store_explicit(&old[i]->over, true, memory_order_relaxed);
            if (a->metrics)
                metrics_remove(a->metrics, &old[i]->count, sizeof(old[i]->count));
        }
    }
    for (size_t i = 0; a->metrics && i < n; i++)
        if (!has(old, n_old, list[i]))
            (void)!user_count(list[i], a->metrics); /* without memory: not shown */
    for (size_t i = 0; i < n_old; i++)
        user_unref(old[i]);
    free(old);
}

int access_reload(struct access *a, struct error *error)
{
    struct tokens t = {0};
    int r = tokens_load(a->path, &t, error);
    if (r < 0) {
        error_prefix(error, "tokens");
        return r;
    }
    struct access_user **list = make_list(a, &t);
    if (list)
        exchange(a, list, t.n);
    else
        r = error_set(error, -ENOMEM, "no memory for tokens");
    tokens_free(&t);
    return r;
}

int access_new(const char *path, struct metrics *metrics, struct access **ret,
               struct error *error)
{
    struct access *a = calloc(1, sizeof(*a));
    if (!a || !(a->path = strdup(path))) {
        free(a);
        return error_set(error, -ENOMEM, "no memory for tokens");
    }
    a->metrics = metrics;
    pthread_mutex_init(&a->lock, NULL);
    int r = access_reload(a, error);
    if (r == 0 && metrics &&
        (r = metrics_add(metrics, METRIC_COUNTER, "weir_unauthorized_total",
                         "Requests without a token that is in force.", "", &a->unknown,
                         1)))
        error_set(error, r, "no memory for tokens");
    if (r < 0) {
        access_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++) {
        if (a->metrics)
            metrics_remove(a->metrics, &a->user[i]->count, sizeof(a->user[i]->count));
        user_unref(a->user[i]);
    }
    if (a->metrics)
        metrics_remove(a->metrics, a, sizeof(*a));
    pthread_mutex_destroy(&a->lock);
    free(a->user);
    free(a->path);
    free(a);
}

size_t access_count(struct access *a)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->n;
    pthread_mutex_unlock(&a->lock);
    return n;
}

/* ---- Requests ---- */

/* The digest is made, and all of it compared, whether there is such a token or not. */
static struct access_user *prove(struct access *a, const char *text)
{
    static const uint8_t nobody[SHA256_SIZE];
    char id[SECRET_ID_MAX + 1] = "";
    uint8_t digest[SHA256_SIZE];
    secret_id(text, id);
    sha256(text, strlen(text), digest);
    pthread_mutex_lock(&a->lock);
    struct access_user *u = find(a, id);
    bool same = sha256_same(digest, u ? u->token.digest : nobody);
    if (u && same)
        atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&a->lock);
    return same ? u : NULL;
}

/* One more request of it. */
static enum access_answer admit(struct access_user *u, int64_t *ret_wait_ns)
{
    uint64_t others =
        atomic_fetch_add_explicit(&u->count.under_way, 1, memory_order_relaxed);
    metric_add(&u->count.requests, 1);
    if (clock_now_us() >= u->token.expires_us)
        return ACCESS_EXPIRED;
    enum access_answer answer = ACCESS_GRANTED;
    if (u->token.concurrent && others >= u->token.concurrent) {
        answer = ACCESS_TOO_MANY;
    } else if (u->requests.per_second || u->events.per_second) {
        int64_t now_ns = clock_monotonic_ns();
        int64_t wait_ns = rate_wait(&u->events, now_ns);
        if (!wait_ns)
            wait_ns = rate_take(&u->requests, now_ns);
        *ret_wait_ns = wait_ns;
        answer = wait_ns ? ACCESS_TOO_OFTEN : ACCESS_GRANTED;
    }
    if (answer != ACCESS_GRANTED)
        metric_add(&u->count.throttled, 1);
    return answer;
}

enum access_answer access_enter(struct access *a, const char *authorization,
                                struct access_user **ret, int64_t *ret_wait_ns)
{
    char text[SECRET_TEXT_MAX];
    bool given = authorization && secret_of_field(authorization, text);
    struct access_user *u = given ? prove(a, text) : NULL;
    explicit_bzero(text, sizeof(text));
    *ret = u;
    *ret_wait_ns = 0;
    if (u)
        return admit(u, ret_wait_ns);
    metric_add(&a->unknown, 1);
    return given ? ACCESS_BAD_TOKEN : ACCESS_NO_TOKEN;
}

void access_leave(struct access_user *u)
{
    if (!u)
        return;
    atomic_fetch_sub_explicit(&u->count.under_way, 1, memory_order_relaxed);
    user_unref(u);
}

static const struct token_names *names_of(const struct access_user *u,
                                          enum access_kind kind)
{
    return kind == ACCESS_STREAM ? &u->token.streams : &u->token.pipelines;
}

bool access_may(const struct access_user *u, enum access_verb verb,
                enum access_kind kind, const char *name)
{
    if (verb == ACCESS_UNSAID)
        return false;
    if (verb >= ACCESS_POST && !(u->token.may & 1u << verb))
        return false;
    return kind == ACCESS_NOTHING ||
           (name && token_names_have(names_of(u, kind), name));
}

bool access_may_all(const struct access_user *u, enum access_kind kind)
{
    return names_of(u, kind)->all;
}

const struct token *access_token(const struct access_user *u)
{
    return &u->token;
}

bool access_is_over(const struct access_user *u, int64_t now_us)
{
    return atomic_load_explicit(&u->over, memory_order_relaxed) ||
           now_us >= u->token.expires_us;
}

void access_spend(struct access_user *u, uint64_t events)
{
    metric_add(&u->count.events, events);
    if (u->events.per_second)
        rate_owe(&u->events, events, clock_monotonic_ns());
}

int64_t access_wait_ns(const struct access_user *u)
{
    return u->events.per_second ? rate_wait(&u->events, clock_monotonic_ns()) : 0;
}

void access_count_forbidden(struct access_user *u)
{
    metric_add(&u->count.forbidden, 1);
}
