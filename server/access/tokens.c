/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the file of tokens.
 */
#include "access/tokens.h"
#include "access/rate.h"
#include "base/clock.h"
#include "config/config.h"
#include "config/fields.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define AT(member) offsetof(struct token, member)

static_assert(ACCESS_VERBS - ACCESS_POST == CONFIG_VERBS,
              "the words of the configuration");

const char *const access_verb_word[ACCESS_VERBS] = {[ACCESS_POST] = "post",
                                                    [ACCESS_READ] = "read",
                                                    [ACCESS_SQL] = "sql",
                                                    [ACCESS_METRICS] = "metrics",
                                                    [ACCESS_ADMIN] = "admin"};

enum access_verb access_verb_of(const char *word)
{
    for (unsigned v = ACCESS_POST; v < ACCESS_VERBS; v++)
        if (strcmp(access_verb_word[v], word) == 0)
            return (enum access_verb)v;
    return ACCESS_UNSAID;
}

/* ---- One ---- */

bool token_names_have(const struct token_names *names, const char *name)
{
    bool have = names->all;
    for (size_t i = 0; !have && i < names->n; i++)
        have = strcmp(names->name[i], name) == 0;
    return have;
}

static bool names_same(const struct token_names *a, const struct token_names *b)
{
    bool same = a->all == b->all && a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->name[i], b->name[i]) == 0;
    return same;
}

bool token_same(const struct token *a, const struct token *b)
{
    return strcmp(a->id, b->id) == 0 && sha256_same(a->digest, b->digest) &&
           a->expires_us == b->expires_us && a->may == b->may &&
           names_same(&a->streams, &b->streams) &&
           names_same(&a->pipelines, &b->pipelines) && a->requests == b->requests &&
           a->events == b->events && a->concurrent == b->concurrent;
}

static void names_free(struct token_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct token_names){0};
}

void token_free(struct token *t)
{
    names_free(&t->streams);
    names_free(&t->pipelines);
    free(t->note);
    *t = (struct token){0};
}

void tokens_free(struct tokens *t)
{
    for (size_t i = 0; i < t->n; i++)
        token_free(&t->token[i]);
    free(t->token);
    *t = (struct tokens){0};
}

/* ---- Its keys ---- */

static int read_id(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct token *t = target;
    (void)ctx;
    if (n->kind != NODE_SCALAR || !secret_is_id(n->text, strlen(n->text)))
        return node_expected(n, "an id of up to 32 small letters and digits", error);
    strcpy(t->id, n->text);
    return 0;
}

static int read_digest(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    struct token *t = target;
    (void)ctx;
    if (n->kind != NODE_SCALAR || !secret_digest(n->text, t->digest))
        return node_expected(n, "the SHA-256 of the token, 64 hexadecimal digits",
                             error);
    return 0;
}

static int read_time(const struct node *n, int64_t *ret, struct error *error)
{
    if (n->kind != NODE_SCALAR || clock_parse(n->text, strlen(n->text), ret) < 0)
        return node_expected(n, "a time such as 2027-01-31T00:00:00Z", error);
    return 0;
}

static int read_created(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct token *t = target;
    (void)ctx;
    return read_time(n, &t->created_us, error);
}

static int read_expires(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct token *t = target;
    (void)ctx;
    return read_time(n, &t->expires_us, error);
}

static int read_may(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct token *t = target;
    (void)ctx;
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    int r = n->kind == NODE_MAP || n_items == 0
                ? node_expected(n, "a list of post, read, sql, metrics, admin", error)
                : 0;
    for (size_t i = 0; r == 0 && i < n_items; i++) {
        r = node_word(&item[i], &access_verb_word[ACCESS_POST],
                      ACCESS_VERBS - ACCESS_POST, error);
        if (r >= 0)
            t->may |= 1u << (ACCESS_POST + (unsigned)r);
        r = r < 0 ? r : 0;
    }
    return r;
}

static int read_names(const struct node *n, struct token_names *to, struct error *error)
{
    const struct node *item = n->kind == NODE_LIST ? n->item : n;
    size_t n_items = n->kind == NODE_LIST ? n->n : 1;
    if (n->kind == NODE_MAP || n_items > TOKENS_NAMES_MAX)
        return node_expected(n, "a list of at most 1000 names, or \"*\"", error);
    to->name = calloc(n_items + 1, sizeof(*to->name));
    if (!to->name)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    for (size_t i = 0; i < n_items; i++) {
        const char *name;
        bool all = item[i].kind == NODE_SCALAR && strcmp(item[i].text, "*") == 0;
        int r = all ? 0 : node_name(&item[i], &name, error);
        if (r < 0)
            return r;
        to->all = to->all || all;
        if (!all && (r = fields_text(&item[i], &to->name[to->n], error)) < 0)
            return r;
        to->n += !all;
    }
    return 0;
}

static int read_streams(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct token *t = target;
    (void)ctx;
    return read_names(n, &t->streams, error);
}

static int read_pipelines(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct token *t = target;
    (void)ctx;
    return read_names(n, &t->pipelines, error);
}

static const struct field token_fields[] = {
    {"id", FIELD_CALL, .required = true, .read = read_id},
    {"note", FIELD_TEXT, .offset = AT(note)},
    {"sha256", FIELD_CALL, .required = true, .read = read_digest},
    {"created", FIELD_CALL, .read = read_created},
    {"expires", FIELD_CALL, .read = read_expires},
    {"may", FIELD_CALL, .required = true, .read = read_may},
    {"streams", FIELD_CALL, .read = read_streams},
    {"pipelines", FIELD_CALL, .read = read_pipelines},
    {"requests", FIELD_COUNT, .offset = AT(requests), .min = 1, .max = RATE_MAX},
    {"events", FIELD_COUNT, .offset = AT(events), .min = 1, .max = RATE_MAX},
    {"concurrent", FIELD_COUNT, .offset = AT(concurrent), .min = 1, .max = 1000000},
};

static int read_token(const struct node *n, struct token *t, struct error *error)
{
    *t = (struct token){.created_us = INT64_MIN, .expires_us = INT64_MAX};
    if (n->kind != NODE_MAP)
        return node_expected(n, "a token: id, sha256, may, ...", error);
    int r =
        fields_read(token_fields, COUNT(token_fields), n, "a token", t, NULL, error);
    if (r == 0 && !node_get(n, "streams") && !node_get(n, "pipelines"))
        t->streams.all = t->pipelines.all = true;
    return r;
}

/* ---- All ---- */

/* `root` NULL: an empty file. */
static int read_tokens(const struct node *root, struct tokens *t, struct error *error)
{
    if (!root || node_is_null(root))
        return 0;
    if (root->kind != NODE_LIST)
        return node_expected(root, "a list of tokens", error);
    if (root->n > TOKENS_MAX)
        return node_error(root, error, "there are more than %d tokens", TOKENS_MAX);
    t->token = calloc(root->n + 1, sizeof(*t->token));
    if (!t->token)
        return error_set(error, -ENOMEM, "%s: out of memory", root->file);
    for (size_t i = 0; i < root->n; i++) {
        t->n++;
        int r = read_token(&root->item[i], &t->token[i], error);
        if (r < 0)
            return r;
        for (size_t k = 0; k < i; k++)
            if (strcmp(t->token[k].id, t->token[i].id) == 0)
                return node_error(&root->item[i], error, "there are two tokens '%s'",
                                  t->token[i].id);
    }
    return 0;
}

int tokens_load(const char *path, struct tokens *ret, struct error *error)
{
    struct tokens t = {0};
    struct stat st;
    struct node *root = NULL;
    if (stat(path, &st) < 0)
        return error_set(error, -errno, "%s: %s", path, strerror(errno));
    if (st.st_mode & S_IWOTH)
        return error_set(
            error, -EPERM,
            "%s: everybody may write to it (mode %04o), and so make tokens", path,
            (unsigned)st.st_mode & 07777);
    int r = st.st_size == 0 && S_ISREG(st.st_mode) ? 0 : node_load(path, &root, error);
    if (r == 0)
        r = read_tokens(root, &t, error);
    node_free(root);
    if (r < 0)
        tokens_free(&t);
    else
        *ret = t;
    return r;
}
