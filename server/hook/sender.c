/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's multi interface. curl_multi_poll, and not curl_multi_socket_action with an epoll of our own: some dozens of
 * requests are in flight, rarely a thousand, and poll takes these in microseconds; the wake-up comes with it.
 */
#include "config.h"

#include "hook/sender.h"

#include <errno.h>

#ifdef HAVE_LIBCURL

#include "base/clock.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX     65536 /* bytes of an answer that are read, and thrown away */
#define CONNECTIONS    1000  /* open at once, all receivers together */
#define RETRY_AFTER_US (3600 * SECOND_US) /* believed at most */

struct sending {
    struct sender *sender;
    CURL *easy;
    struct curl_slist *headers;
    void *ctx;
    size_t answered; /* bytes */
    char text[CURL_ERROR_SIZE];
    struct sending *next, *prev;
};

struct sender {
    CURLM *multi;
    struct sending *first;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global;

static void setup(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int sender_new(struct sender **ret, struct error *error)
{
    pthread_once(&once, setup);
    struct sender *s = calloc(1, sizeof(*s));
    if (!s || global || !(s->multi = curl_multi_init())) {
        free(s);
        return error_set(error, -ENOMEM, "libcurl: out of memory");
    }
    curl_multi_setopt(s->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS);
    *ret = s;
    return 0;
}

static void sending_free(struct sending *r)
{
    if (r->prev || r->sender->first == r)
        *(r->prev ? &r->prev->next : &r->sender->first) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    free(r);
}

void sender_cancel(struct sending *r)
{
    if (!r)
        return;
    curl_multi_remove_handle(r->sender->multi, r->easy);
    sending_free(r);
}

void sender_free(struct sender *s)
{
    if (!s)
        return;
    while (s->first)
        sender_cancel(s->first);
    curl_multi_cleanup(s->multi);
    free(s);
}

/* The status says all. One who answers without end is cut off. */
static size_t take_answer(char *bytes, size_t size, size_t n, void *sending)
{
    struct sending *r = sending;
    (void)bytes;
    r->answered += size * n;
    return r->answered <= ANSWER_MAX ? size * n : 0;
}

static bool add_header(struct sending *r, const char *header)
{
    struct curl_slist *list = curl_slist_append(r->headers, header);
    if (list)
        r->headers = list;
    return list;
}

#define SET(option, value)                                                             \
    ((void)(failed = curl_easy_setopt(e, option, value) != CURLE_OK || failed))

static int set_options(struct sending *r, const struct sender_request *q)
{
    CURL *e = r->easy;
    bool ok = add_header(r, "Expect:");
    for (size_t i = 0; ok && i < q->n_headers; i++)
        ok = add_header(r, q->header[i]);
    bool failed = !ok;
    SET(CURLOPT_URL, q->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* A name that does not resolve in time is not waited for. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "weir/" PACKAGE_VERSION);
    SET(CURLOPT_HTTPHEADER, r->headers);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, q->body);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->size);
    SET(CURLOPT_TIMEOUT_MS, (long)(q->timeout_us / 1000));
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, r);
    SET(CURLOPT_ERRORBUFFER, r->text);
    SET(CURLOPT_PRIVATE, r);
    if (q->ca_file)
        SET(CURLOPT_CAINFO, q->ca_file);
    return failed ? -EINVAL : 0;
}

int sender_begin(struct sender *s, const struct sender_request *q, struct sending **ret,
                 struct error *error)
{
    struct sending *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, -ENOMEM, "out of memory");
    *r = (struct sending){.sender = s, .easy = curl_easy_init(), .ctx = q->ctx};
    int err = r->easy ? set_options(r, q) : -ENOMEM;
    if (!err && curl_multi_add_handle(s->multi, r->easy))
        err = -ENOMEM;
    if (err) {
        sending_free(r);
        return error_set(error, err, "libcurl does not take the request");
    }
    r->next = s->first;
    if (r->next)
        r->next->prev = r;
    s->first = r;
    *ret = r;
    return 0;
}

void sender_wait(struct sender *s, int64_t timeout_us)
{
    int running;
    curl_multi_perform(s->multi, &running);
    int64_t ms = timeout_us < 0 ? 0 : timeout_us / 1000 + (timeout_us % 1000 > 0);
    /* A transfer that has ended is to be told of at once. */
    size_t n = 0;
    for (struct sending *r = s->first; r; r = r->next)
        n++;
    if ((size_t)running < n)
        ms = 0;
    curl_multi_poll(s->multi, NULL, 0, ms > 1000000 ? 1000000 : (int)ms, NULL);
    curl_multi_perform(s->multi, &running);
}

void sender_wake(struct sender *s)
{
    curl_multi_wakeup(s->multi);
}

bool sender_next(struct sender *s, struct sender_answer *ret)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(s->multi, &left)) && m->msg != CURLMSG_DONE)
        ;
    if (!m)
        return false;
    struct sending *r = NULL;
    CURLcode code = m->data.result;
    long status = 0;
    curl_off_t after_s = 0;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after_s);
    *ret = (struct sender_answer){.ctx = r->ctx};
    /* An answer that was cut short by the other end is none; one that was too long is one. */
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && r->answered > ANSWER_MAX))
        ret->status = (int)status;
    if (!ret->status)
        error_set(&ret->error, -EIO, "%s",
                  r->text[0] ? r->text : curl_easy_strerror(code));
    if (after_s > 0)
        ret->retry_after_us = after_s >= RETRY_AFTER_US / SECOND_US
                                  ? RETRY_AFTER_US
                                  : (int64_t)after_s * SECOND_US;
    curl_multi_remove_handle(s->multi, r->easy);
    sending_free(r);
    return true;
}

#else /* the configuration refuses what would come here */

int sender_new(struct sender **ret, struct error *error)
{
    (void)ret;
    return error_set(error, -ENOSYS, "this weir was built without libcurl");
}

void sender_free(struct sender *s)
{
    (void)s;
}

int sender_begin(struct sender *s, const struct sender_request *q, struct sending **ret,
                 struct error *error)
{
    (void)s, (void)q, (void)ret;
    return error_set(error, -ENOSYS, "this weir was built without libcurl");
}

void sender_cancel(struct sending *r)
{
    (void)r;
}

void sender_wait(struct sender *s, int64_t timeout_us)
{
    (void)s, (void)timeout_us;
}

void sender_wake(struct sender *s)
{
    (void)s;
}

bool sender_next(struct sender *s, struct sender_answer *ret)
{
    (void)s, (void)ret;
    return false;
}

#endif
