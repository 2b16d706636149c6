/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup/asker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kept_text {
    struct kept_text *next;
    char bytes[];
};

struct asker {
    struct host host;
    struct binding binding; /* with answers in place of outputs */
    const char *pipeline;
    const struct schema *answer;
    struct host_asked asked; /* of the last call */
    const char **header;     /* of it */
    struct weir_cell cell[CONFIG_LOOKUP_COLUMNS_MAX];
    struct kept_text *texts; /* of cells */
};

int asker_new(struct binding *b, const char *pipeline, const struct schema *answer,
              _Atomic uint64_t *held, struct asker **ret, struct error *error)
{
    struct asker *a = calloc(1, sizeof(*a));
    if (!a)
        return error_set(error, -ENOMEM, "no memory");
    a->pipeline = pipeline;
    a->answer = answer;
    int r = host_open_for_answers(&a->host, b, &a->binding, pipeline, held, error);
    if (r < 0) {
        free(a);
        return r;
    }
    *ret = a;
    return 0;
}

static void clear_asked(struct asker *a)
{
    buffer_clear(&a->asked.url);
    buffer_clear(&a->asked.headers);
    buffer_free(&a->asked.body);
    a->asked.n_headers = 0;
    a->asked.given = a->asked.has_body = false;
    free(a->header);
    a->header = NULL;
}

void asker_free(struct asker *a)
{
    if (!a)
        return;
    host_close(&a->host);
    clear_asked(a);
    buffer_free(&a->asked.url);
    buffer_free(&a->asked.headers);
    free(a);
}

static int plugin_is_wrong(const struct asker *a, struct error *error)
{
    return error_set(error, -EINVAL, "%s", a->host.error.text);
}

/* They stand one behind the other, each with its zero. */
static int point_to_headers(struct asker *a)
{
    const char *at = a->asked.headers.data;
    if (!(a->header = calloc(a->asked.n_headers + 1, sizeof(*a->header))))
        return -ENOMEM;
    for (size_t i = 0; i < a->asked.n_headers; i++, at += strlen(at) + 1)
        a->header[i] = at;
    return 0;
}

int asker_ask(struct asker *a, const struct weir_cell *value, struct sender_request *to,
              char **ret_body, struct error *error)
{
    clear_asked(a);
    doing_pipeline(a->pipeline, 0);
    int r = host_ask(&a->host, value, &a->asked);
    doing_pipeline(NULL, 0);
    if (r < 0)
        return plugin_is_wrong(a, error);
    /* Its last byte is a zero: an empty body has memory, too. */
    buffer_putc(&a->asked.body, 0);
    if (a->asked.body.error || point_to_headers(a) < 0)
        return error_set(error, -ENOMEM, "no memory");
    to->url = buffer_text(&a->asked.url);
    to->n_headers = a->asked.n_headers;
    to->header = a->header;
    if (!a->asked.has_body)
        return 0;
    to->size = a->asked.body.size - 1;
    to->body = *ret_body = a->asked.body.data;
    a->asked.body = (struct buffer){0};
    return 0;
}

/* ---- Answers ------------------------------------------------------------------------------------- */

static struct weir_cell *cells_of(void *asker, size_t i)
{
    struct asker *a = asker;
    (void)i;
    memset(a->cell, 0, sizeof(a->cell));
    return a->cell;
}

static const char *keep_text(void *asker, const char *bytes, size_t size)
{
    struct asker *a = asker;
    struct kept_text *t = malloc(sizeof(*t) + size);
    if (!t)
        return NULL;
    memcpy(t->bytes, bytes, size);
    t->next = a->texts;
    a->texts = t;
    return t->bytes;
}

static void forget_texts(struct asker *a)
{
    for (struct kept_text *t = a->texts, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    a->texts = NULL;
}

int asker_read(struct asker *a, const struct weir_cell *value,
               const struct sender_answer *reply, struct answer **ret,
               struct error *error)
{
    struct weir_out out = {.group = cells_of, .keep = keep_text, .ctx = a, .n = 1};
    const struct weir_reply given = {.value = value,
                                     .body = reply->size ? reply->body : "",
                                     .body_size = reply->size,
                                     .status = reply->status};
    doing_pipeline(a->pipeline, 0);
    int r = host_begin_group(&a->host, &out, 0);
    if (r == 0)
        r = host_read(&a->host, &given, &out);
    doing_pipeline(NULL, 0);
    if (r < 0)
        plugin_is_wrong(a, error);
    else if (r > 0)
        error_set(error, r, "%s",
                  a->host.error.text[0] ? a->host.error.text
                  : r == WEIR_AGAIN     ? "its reply says that it is to be asked again"
                                        : "its reply is no answer");
    else if ((r = answer_of_cells(a->cell, a->answer, ret)) == -E2BIG)
        r = error_set(error, WEIR_NO_ANSWER, "the answer has more than %u bytes",
                      ANSWER_TEXTS_MAX);
    else if (r < 0)
        error_set(error, r, "no memory");
    forget_texts(a);
    return r;
}
