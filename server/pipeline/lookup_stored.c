/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/lookup_stored.h"

#include "base/hash.h"
#include "batch/keys.h"
#include "pipeline/stored.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1u

struct stored_answer {
    uint64_t hash;
    char *key;
    size_t size;
    struct answer *answer;
};

struct head {
    uint32_t version, n_services;
    uint64_t digest;
};

struct service_head {
    uint32_t n, zero;
};

struct answer_head {
    uint32_t key_size, answer_size;
};

void stored_answers_free(struct stored_answers *s)
{
    for (size_t i = 0; s && i < s->n_services; i++) {
        struct stored_service *v = &s->service[i];
        for (size_t k = 0; v->answer && k < v->n; k++) {
            free(v->answer[k].key);
            answer_unref(v->answer[k].answer);
        }
        free(v->answer);
    }
    free(s);
}

/* ---- Writing ------------------------------------------------------------------------------------- */

static void put_padded(struct buffer *b, const void *bytes, size_t size)
{
    static const char zeros[8];
    buffer_put(b, bytes, size);
    buffer_put(b, zeros, -size & 7);
}

void stored_answers_head(struct buffer *to, uint32_t n_services, uint64_t digest)
{
    const struct head head = {
        .version = VERSION, .n_services = n_services, .digest = digest};
    buffer_put(to, &head, sizeof(head));
}

void stored_answers_service(struct buffer *to, uint32_t n)
{
    const struct service_head head = {.n = n};
    buffer_put(to, &head, sizeof(head));
}

void stored_answers_put(struct buffer *to, const char *key, size_t size,
                        const struct answer *a)
{
    const struct answer_head head = {.key_size = (uint32_t)size,
                                     .answer_size = a->bytes.size};
    buffer_put(to, &head, sizeof(head));
    put_padded(to, key, size);
    put_padded(to, &a->bytes, a->bytes.size);
}

/* ---- Reading ------------------------------------------------------------------------------------- */

static int load_answer(struct stored_bytes *r, const struct schema *schema,
                       struct stored_answer *to)
{
    struct answer_head head;
    const char *bytes = stored_take(r, sizeof(head)), *key, *answer;
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.key_size > KEY_BYTES_MAX || !(key = stored_take(r, head.key_size)) ||
        !(answer = stored_take(r, head.answer_size)))
        return -EBADMSG;
    if (!(to->key = malloc(head.key_size + 1)))
        return -ENOMEM;
    memcpy(to->key, key, head.key_size);
    to->size = head.key_size;
    to->hash = hash_bytes(key, head.key_size);
    return answer_load(answer, head.answer_size, schema, &to->answer);
}

static int by_hash(const void *a, const void *b)
{
    const struct stored_answer *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static int load_service(struct stored_bytes *r, const struct schema *schema,
                        struct stored_service *to)
{
    struct service_head head;
    const char *bytes = stored_take(r, sizeof(head));
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.n > (size_t)(r->end - r->at) / sizeof(struct answer_head))
        return -EBADMSG;
    if (!(to->answer = calloc((size_t)head.n + 1, sizeof(*to->answer))))
        return -ENOMEM;
    int err = 0;
    for (; err == 0 && to->n < head.n; to->n++)
        err = load_answer(r, schema, &to->answer[to->n]);
    if (err == 0 && to->n)
        qsort(to->answer, to->n, sizeof(*to->answer), by_hash);
    return err;
}

int stored_answers_load(const char *data, size_t size, uint64_t digest,
                        const struct schema *const *answer, size_t n,
                        struct stored_answers **ret)
{
    struct stored_bytes r = {.at = data, .end = data + size};
    struct head head;
    const char *bytes = stored_take(&r, sizeof(head));
    if (!bytes)
        return -EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.version != VERSION)
        return -EBADMSG;
    if (head.digest != digest || head.n_services != n)
        return -ESTALE;
    struct stored_answers *s = calloc(1, sizeof(*s) + n * sizeof(s->service[0]));
    if (!s)
        return -ENOMEM;
    s->n_services = n;
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        err = load_service(&r, answer[i], &s->service[i]);
    if (err == 0 && r.at != r.end)
        err = -EBADMSG;
    if (err < 0) {
        stored_answers_free(s);
        return err;
    }
    *ret = s;
    return 0;
}

struct answer *stored_answers_find(const struct stored_answers *s, size_t service,
                                   const char *key, size_t size, uint64_t hash)
{
    const struct stored_service *v = &s->service[service];
    size_t low = 0, high = v->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->answer[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < v->n && v->answer[low].hash == hash; low++)
        if (v->answer[low].size == size && !memcmp(v->answer[low].key, key, size))
            return v->answer[low].answer;
    return NULL;
}
