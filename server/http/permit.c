/* SPDX-License-Identifier: Apache-2.0
 *
 * May who sends this do it? Each route says what it wants to do (http_route.may); of what, the names in its path say. This is
 * the only place that asks for every request; handlers ask once more where the names are in the body, or in a list.
 */
#include "access/access.h"
#include "base/clock.h"
#include "base/logger.h"
#include "http/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PERMIT_SAID_MAX 10 /* refusals told in a second */

/* A browser would ask its user in the middle of a page's own work. */
static bool is_of_script(const struct http_request *r)
{
    const char *given = http_header(r, "Authorization"),
               *mode = http_header(r, "Sec-Fetch-Mode");
    return (given && strncasecmp(given, "Basic ", 6) != 0) ||
           (mode && strcmp(mode, "navigate") != 0);
}

static void permit_ask(struct http_request *r, enum access_answer answer)
{
    http_set_header(r, "WWW-Authenticate",
                    answer == ACCESS_NO_TOKEN
                        ? "Bearer realm=\"weir\""
                        : "Bearer realm=\"weir\", error=\"invalid_token\"");
    if (!is_of_script(r))
        http_set_header(r, "WWW-Authenticate",
                        "Basic realm=\"weir\", charset=\"UTF-8\"");
    if (answer == ACCESS_NO_TOKEN)
        http_problem(r, 401, "unauthorized",
                     "this takes a token: Authorization: Bearer weir_...; `weir token "
                     "new` makes them");
    else if (answer == ACCESS_EXPIRED)
        http_problem(r, 401, "token_expired", "the token has expired");
    else
        http_problem(r, 401, "unauthorized", "the token is not one that is in force");
}

static void permit_throttle(struct http_request *r, enum access_answer answer,
                            int64_t wait_ns)
{
    const struct token *t = access_token(r->user);
    char seconds[24];
    int64_t wait_s = wait_ns / 1000000000 + 1;
    snprintf(seconds, sizeof(seconds), "%" PRId64, wait_s);
    http_set_header(r, "Retry-After", seconds);
    if (answer == ACCESS_TOO_MANY)
        http_problem(r, 429, "too_many_requests",
                     "the token '%s' may have %" PRIu64 " requests under way at a time",
                     t->id, t->concurrent);
    else
        http_problem(r, 429, "too_many_requests",
                     "the token '%s' has sent more than it may in a second (requests: "
                     "%" PRIu64 ", events: %" PRIu64 "; 0: any)",
                     t->id, t->requests, t->events);
}

static const struct {
    const char *param;
    const char *word;
} object[] = {[ACCESS_STREAM] = {"stream", "stream"},
              [ACCESS_PIPELINE] = {"pipeline", "pipeline"}};

static void permit_forbid(struct http_request *r, enum access_kind kind,
                          const char *name)
{
    const struct token *t = access_token(r->user);
    enum access_verb verb = r->entry->route.may;
    access_count_forbidden(r->user);
    r->refused = true;
    if (!(t->may & 1u << verb))
        http_problem(r, 403, "forbidden",
                     "the token '%s' may not do this: it lacks '%s'", t->id,
                     access_verb_word[verb]);
    else
        http_problem(r, 403, "forbidden",
                     "the token '%s' may do this ('%s'), but not with the %s '%.100s'",
                     t->id, access_verb_word[verb], object[kind].word, name);
}

/* Names in the path. False: answered. */
static bool permit_names(struct http_request *r)
{
    const enum access_verb verb = r->entry->route.may;
    if (!access_may(r->user, verb, ACCESS_NOTHING, NULL)) {
        permit_forbid(r, ACCESS_NOTHING, NULL);
        return false;
    }
    for (enum access_kind k = ACCESS_STREAM; k <= ACCESS_PIPELINE; k++) {
        const char *name = http_param(r, object[k].param);
        if (name && !access_may(r->user, verb, k, name)) {
            permit_forbid(r, k, name);
            return false;
        }
    }
    return true;
}

/* ---- The log ---- */

/* So many in a second; the rest is counted (metrics), and told in one. */
static bool permit_may_say(struct http_server *s, uint64_t *ret_left_out)
{
    int64_t second = clock_monotonic_us() / SECOND_US, before;
    before = atomic_load_explicit(&s->said.second, memory_order_relaxed);
    *ret_left_out = 0;
    if (before != second && atomic_compare_exchange_strong_explicit(
                                &s->said.second, &before, second, memory_order_relaxed,
                                memory_order_relaxed)) {
        uint64_t said = atomic_exchange_explicit(&s->said.n, 0, memory_order_relaxed);
        *ret_left_out = said > PERMIT_SAID_MAX ? said - PERMIT_SAID_MAX : 0;
    }
    return atomic_fetch_add_explicit(&s->said.n, 1, memory_order_relaxed) <
           PERMIT_SAID_MAX;
}

static void permit_say(struct http_request *r, const char *id, bool cut)
{
    char from[HTTP_FROM_MAX];
    const enum access_verb verb = r->entry
                                      ? r->entry->route.may
                                      : ACCESS_UNSAID; /* that of a preflight is none */
    from_text(r, from);
    logger_info("access", "token=%s verb=%s from=%s status=%u%s %s %.200s",
                id ? id : "none",
                access_verb_word[verb] ? access_verb_word[verb] : "any", from,
                r->status, cut ? " cut" : "", r->method, r->path);
}

void permit_log(struct http_request *r, bool cut)
{
    const struct http_server *s = r->server;
    const enum access_verb verb = r->entry ? r->entry->route.may : ACCESS_UNSAID;
    bool refused = r->refused;
    uint64_t left_out = 0;
    r->refused = false;
    if (refused && !permit_may_say(r->server, &left_out))
        return;
    if (left_out)
        logger_info("access", "%" PRIu64 " more refusals in that second", left_out);
    if (refused || (s->options.audit & 1u << verb))
        permit_say(r, r->user ? access_token(r->user)->id : NULL, cut);
}

/* ---- */

/* The timer looks at users, too. */
static void permit_set_user(struct http_request *r, struct access_user *u)
{
    pthread_mutex_lock(&r->server->pauses.lock);
    r->user = u;
    pthread_mutex_unlock(&r->server->pauses.lock);
}

bool permit_enter(struct http_request *r)
{
    struct access_user *user;
    int64_t wait_ns;
    if (r->entry->route.may == ACCESS_FREE)
        return true;
    enum access_answer answer = access_enter(
        r->server->options.access, http_header(r, "Authorization"), &user, &wait_ns);
    if (answer ==
        ACCESS_EXPIRED) { /* the timer would cut it, before it has its answer */
        access_leave(user);
        user = NULL;
    }
    if (user)
        permit_set_user(r, user);
    switch (answer) {
    case ACCESS_GRANTED:
        r->refused = !permit_names(r);
        break;
    case ACCESS_TOO_OFTEN:
    case ACCESS_TOO_MANY:
        permit_throttle(r, answer, wait_ns);
        r->refused = true;
        break;
    case ACCESS_NO_TOKEN:
    case ACCESS_BAD_TOKEN:
    case ACCESS_EXPIRED:
        permit_ask(r, answer);
        r->refused = true;
        break;
    }
    return !r->refused;
}

void permit_leave(struct http_request *r)
{
    struct access_user *u = r->user;
    if (!u)
        return;
    permit_set_user(r, NULL);
    access_leave(u);
}

bool http_may(const struct http_request *r, enum access_kind kind, const char *name)
{
    return !r->user || access_may(r->user, r->entry->route.may, kind, name);
}

bool http_may_all(const struct http_request *r, enum access_kind kind)
{
    return !r->user || access_may_all(r->user, kind);
}

bool http_has_verb(const struct http_request *r, enum access_verb verb)
{
    return !r->user || access_may(r->user, verb, ACCESS_NOTHING, NULL);
}

void http_forbid(struct http_request *r, enum access_kind kind, const char *name)
{
    permit_forbid(r, kind, name);
}

void http_spend(struct http_request *r, uint64_t events)
{
    if (r->user)
        access_spend(r->user, events);
}

bool http_may_go_on(struct http_request *r)
{
    int64_t wait_ns = r->user ? access_wait_ns(r->user) : 0;
    if (!wait_ns)
        return true;
    http_resume_at(r, clock_monotonic_us() + wait_ns / 1000 + 1);
    return false;
}
