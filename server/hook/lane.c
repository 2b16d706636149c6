/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of a hook: what is sent, what an answer means, when it is tried again.
 *
 *      2xx                        delivered
 *      4xx but 408, 425, 429      refused: not repeated, counted
 *      anything else, or nothing  repeated: backoff, doubled up to max_backoff, half of it by chance; Retry-After
 *      HOOK_BREAK in a row        broken: one request of the hook at a time, until one is answered
 */
#include "base/clock.h"
#include "base/logger.h"
#include "hook/internal.h"
#include "hook/sign.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WARN_US (60 * SECOND_US) /* refused rows are logged so often at most */

void lane_cancel(struct lane *l)
{
    if (l->sending)
        l->hook->flying--;
    sender_cancel(l->sending);
    l->sending = NULL;
    l->n = 0;
    l->tries = 0;
    l->first = NULL;
    l->last = &l->first;
}

/* ---- A request ----------------------------------------------------------------------------------- */

static void put_body(struct lane *l)
{
    const struct hook *k = l->hook;
    const struct item *i = l->first;
    buffer_clear(&l->body);
    if (k->spec->body) {
        buffer_put(&l->body, i->text, i->size);
        return;
    }
    buffer_printf(&l->body,
                  "{\"pipeline\":\"%s\",\"table\":\"%s\",\"webhook\":\"%s\","
                  "\"rows\":[",
                  k->id.pipeline, k->id.table, k->id.hook);
    for (size_t n = 0; n < l->n; n++, i = i->lane_next) {
        if (n)
            buffer_putc(&l->body, ',');
        buffer_put(&l->body, i->text, i->size);
    }
    buffer_puts(&l->body, "]}\n");
}

/* As many as fit; what is repeated is the same request. */
static void choose_items(struct lane *l)
{
    const struct config_hook *c = l->hook->spec->config;
    size_t bytes = 0;
    for (const struct item *i = l->first; !l->tries && i && l->n < c->batch;
         i = i->lane_next) {
        bytes += i->size;
        if (l->n && bytes > HOOK_BODY_MAX)
            break;
        l->n++;
    }
}

/* PIPELINE.HOOK.SINCE-NUMBER, of many rows with the last number behind it. */
static void put_id(const struct lane *l, char id[256])
{
    const struct hook *k = l->hook;
    const struct item *last = l->first;
    int n = snprintf(id, 256, "%s.%s.%" PRId64 "-%" PRId64, k->id.pipeline, k->id.hook,
                     k->since_us, l->first->seq);
    for (size_t i = 1; i < l->n; i++)
        last = last->lane_next;
    if (l->n > 1)
        snprintf(id + n, 256 - (size_t)n, "-%" PRId64, last->seq);
}

static bool has_header(const struct config_hook *c, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < c->n_headers; i++)
        if (strncasecmp(c->header[i], name, size) == 0 && c->header[i][size] == ':')
            return true;
    return false;
}

static int begin(struct lane *l, struct error *error)
{
    const struct hook *k = l->hook;
    const struct config_hook *c = k->spec->config;
    const char *header[40];
    char id[256], id_header[300], time_header[64];
    struct buffer signature = {0};
    size_t n = 0;
    int64_t now_s = clock_now_us() / SECOND_US;
    choose_items(l);
    put_body(l);
    put_id(l, id);
    snprintf(id_header, sizeof(id_header), "webhook-id: %s", id);
    snprintf(time_header, sizeof(time_header), "webhook-timestamp: %" PRId64, now_s);
    header[n++] = id_header;
    header[n++] = time_header;
    if (!has_header(c, "Content-Type"))
        header[n++] = "Content-Type: application/json";
    for (size_t i = 0; i < c->n_headers; i++)
        header[n++] = c->header[i];
    if (k->spec->secret.size) {
        buffer_puts(&signature, "webhook-signature: ");
        sign_put(&signature, &k->spec->secret, id, now_s, l->body.data, l->body.size);
        header[n++] = buffer_text(&signature);
    }
    const struct sender_request request = {.url = c->to,
                                           .ca_file = c->ca_file,
                                           .n_headers = n,
                                           .header = header,
                                           .body = l->body.data,
                                           .size = l->body.size,
                                           .timeout_us = c->timeout_us,
                                           .ctx = l};
    int err = l->body.error || signature.error
                  ? error_set(error, -ENOMEM, "out of memory")
                  : sender_begin(k->hooks->sender, &request, &l->sending, error);
    buffer_free(&signature);
    return err;
}

/* ---- When ---------------------------------------------------------------------------------------- */

static uint64_t throw_dice(struct hooks *h)
{
    h->dice ^= h->dice << 13;
    h->dice ^= h->dice >> 7;
    h->dice ^= h->dice << 17;
    return h->dice;
}

static int64_t wait_us(const struct hook *k, uint64_t failures)
{
    const struct config_hook *c = k->spec->config;
    int64_t us = c->backoff_us;
    for (uint64_t i = 1; i < failures && us < c->max_backoff_us; i++)
        us *= 2;
    us = us > c->max_backoff_us ? c->max_backoff_us : us;
    return us / 2 + (int64_t)(throw_dice(k->hooks) % (uint64_t)(us / 2 + 1));
}

static void failed(struct lane *l, const char *text, int64_t retry_after_us)
{
    struct hook *k = l->hook;
    int64_t now_us = clock_monotonic_us();
    l->tries++;
    k->failures++;
    metric_add(&k->count.retries, 1);
    int64_t pause_us = wait_us(k, l->tries);
    l->next_us = now_us + (pause_us > retry_after_us ? pause_us : retry_after_us);
    if (retry_after_us)
        k->not_before_us = now_us + retry_after_us;
    k->probe_us = now_us + wait_us(k, k->failures);
    pthread_mutex_lock(&k->hooks->lock);
    snprintf(k->shown.error, sizeof(k->shown.error), "%s", text);
    k->shown.error_us = clock_now_us();
    pthread_mutex_unlock(&k->hooks->lock);
    if (k->failures != HOOK_BREAK || k->said_broken)
        return;
    k->said_broken = true;
    logger_warn("hook",
                "webhook '%s' of pipeline '%s': %d requests in a row have failed, the "
                "last with: %s; it is tried until it works, rows wait",
                k->id.hook, k->id.pipeline, HOOK_BREAK, text);
}

int64_t lane_dispatch(struct hook *k, int64_t now_us)
{
    int64_t next_us = INT64_MAX;
    const bool broken = k->failures >= HOOK_BREAK;
    for (size_t i = 0; i < k->spec->config->in_flight; i++) {
        struct lane *l = &k->lane[i];
        struct error error = {""};
        if (l->sending || !l->first)
            continue;
        if (broken && k->flying)
            break; /* its answer brings us here again */
        int64_t due_us = l->next_us > k->not_before_us ? l->next_us : k->not_before_us;
        if (broken && k->probe_us > due_us)
            due_us = k->probe_us;
        if (due_us <= now_us && begin(l, &error) == 0) {
            k->flying++;
            continue;
        }
        if (due_us <= now_us) {
            failed(l, error.text, 0);
            due_us = l->next_us;
        }
        next_us = due_us < next_us ? due_us : next_us;
    }
    return next_us;
}

/* ---- Answers ------------------------------------------------------------------------------------- */

static void refused(struct hook *k, size_t rows, int status)
{
    int64_t now_us = clock_monotonic_us();
    metric_add(&k->count.refused, rows);
    pthread_mutex_lock(&k->hooks->lock);
    snprintf(k->shown.error, sizeof(k->shown.error), "HTTP status %d", status);
    k->shown.error_us = clock_now_us();
    pthread_mutex_unlock(&k->hooks->lock);
    if (k->warned_us && now_us - k->warned_us < WARN_US)
        return;
    k->warned_us = now_us;
    logger_warn("hook",
                "webhook '%s' of pipeline '%s': the receiver refuses rows with status "
                "%d, they are not sent again; %" PRIu64 " since the start",
                k->id.hook, k->id.pipeline, status,
                atomic_load_explicit(&k->count.refused, memory_order_relaxed));
}

/* The receiver works, and has had these rows. */
static void answered(struct lane *l, int status)
{
    struct hook *k = l->hook;
    if (status / 100 == 2) {
        metric_add(&k->count.sent, l->n);
        metric_add(&k->count.ok, 1);
        pthread_mutex_lock(&k->hooks->lock);
        k->shown.success_us = clock_now_us();
        pthread_mutex_unlock(&k->hooks->lock);
    } else {
        refused(k, l->n, status);
    }
    if (k->said_broken)
        logger_info("hook", "webhook '%s' of pipeline '%s': the receiver answers again",
                    k->id.hook, k->id.pipeline);
    k->said_broken = false;
    k->failures = 0;
    l->tries = 0;
    for (; l->n; l->n--) {
        l->first->stage = ITEM_SENT;
        l->first = l->first->lane_next;
    }
    if (!l->first)
        l->last = &l->first;
    hook_sweep(k);
    k->look = k->look || !k->first; /* what waited for these */
}

void lane_answer(struct lane *l, const struct sender_answer *a)
{
    struct hook *k = l->hook;
    l->sending = NULL;
    k->flying--;
    bool final = a->status / 100 == 2 || (a->status / 100 == 4 && a->status != 408 &&
                                          a->status != 425 && a->status != 429);
    if (final) {
        answered(l, a->status);
        return;
    }
    char text[64];
    snprintf(text, sizeof(text), "HTTP status %d", a->status);
    failed(l, a->status ? text : a->error.text, a->retry_after_us);
}
