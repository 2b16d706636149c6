/* SPDX-License-Identifier: Apache-2.0
 *
 * `webhook:` of a pipeline: where its rows are sent, and when. What needs the columns of the table (`when`, `body`)
 * is text until hook/spec.h looks at it.
 */
#include "base/clock.h"
#include "config/faults.h"
#include "config/fields.h"
#include "config/sections.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HOOKS_MAX    32 /* of a pipeline */
#define HEADERS_MAX  32
#define HEADER_MAX   4096 /* bytes of its value */
#define URL_MAX      2048 /* bytes */

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

static int read_name(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_hook *h = target;
    const char *name;
    (void)ctx;
    int r = section_name(n, "webhook", &name, error);
    if (r == 0 && !(h->name = strdup(name)))
        return out_of_memory(n, error);
    return r;
}

bool section_is_url(const char *text)
{
    bool plain = strlen(text) <= URL_MAX;
    for (const unsigned char *c = (const unsigned char *)text; plain && *c; c++)
        plain = *c > ' ' && *c < 0x7f;
    size_t scheme = strncasecmp(text, "http://", 7) == 0    ? 7
                    : strncasecmp(text, "https://", 8) == 0 ? 8
                                                            : 0;
    return plain && scheme && text[scheme] && !strchr("/?#:", text[scheme]);
}

/* Its text may be a secret, as it is with chat services, and is not repeated. */
static int read_to(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_hook *h = target;
    (void)ctx;
    int r = fields_text(n, &h->to, error);
    if (r < 0)
        return r;
    if (!section_is_url(h->to))
        return node_error(n, error,
                          "expected a URL such as https://example.org/alerts, http or "
                          "https, of at most %d ASCII characters without spaces",
                          URL_MAX);
    return 0;
}

static int read_table(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_hook *h = target;
    (void)ctx;
    h->table_node = n;
    return fields_text(n, &h->table, error);
}

static int read_when(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_hook *h = target;
    (void)ctx;
    h->when_node = n;
    return fields_text(n, &h->when, error);
}

static int read_body(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_hook *h = target;
    (void)ctx;
    h->body_node = n;
    return fields_text(n, &h->body, error);
}

static int read_secret_file(const struct node *n, void *target, void *ctx,
                            struct error *error)
{
    struct config_hook *h = target;
    (void)ctx;
    h->secret_node = n;
    return fields_text(n, &h->secret_file, error);
}

/* ---- headers ----------------------------------------------------------------------------------- */

static int check_header(const struct node *key, const char *value, const struct node *n,
                        const char *const *own, struct error *error)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (!*key->text || key->text[strspn(key->text, token)])
        return node_error(key, error, "'%s' is no name of a header", key->text);
    for (size_t i = 0; own[i]; i++)
        if (strcasecmp(own[i], key->text) == 0)
            return node_error(key, error, "header '%s' is set by weir itself",
                              key->text);
    bool plain = strlen(value) <= HEADER_MAX;
    for (const unsigned char *c = (const unsigned char *)value; plain && *c; c++)
        plain = (*c >= ' ' && *c != 0x7f) || *c == '\t';
    return plain ? 0
                 : node_error(n, error,
                              "the value of header '%s' has control characters, or "
                              "more than %d bytes",
                              key->text, HEADER_MAX);
}

int section_headers(const struct node *n, const char *const *own, char ***ret,
                    size_t *ret_n, struct error *error)
{
    if (n->kind != NODE_MAP)
        return node_expected(n, "headers such as {Authorization: Bearer ${TOKEN}}",
                             error);
    if (n->n > HEADERS_MAX)
        return node_error(n, error, "a request has at most %d headers, not %zu",
                          HEADERS_MAX, n->n);
    if (!(*ret = calloc(n->n + 1, sizeof(**ret))))
        return out_of_memory(n, error);
    for (size_t i = 0; i < n->n; i++) {
        char *value = NULL;
        int r = fields_text(&n->item[i], &value, error);
        if (r == 0)
            r = check_header(&n->key[i], value, &n->item[i], own, error);
        if (r == 0 && asprintf(&(*ret)[*ret_n], "%s: %s", n->key[i].text, value) < 0) {
            (*ret)[*ret_n] = NULL;
            r = out_of_memory(n, error);
        }
        free(value);
        if (r < 0)
            return r;
        ++*ret_n;
    }
    return 0;
}

static int read_headers(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    static const char *const own[] = {
        "content-length", "transfer-encoding", "connection",        "expect",
        "webhook-id",     "webhook-timestamp", "webhook-signature", NULL};
    struct config_hook *h = target;
    (void)ctx;
    return section_headers(n, own, &h->header, &h->n_headers, error);
}

/* ---- The section ------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct config_hook, member)

static const struct field hook_fields[] = {
    {"to", FIELD_CALL, .required = true, .read = read_to, .schema = FIELD_SCHEMA_TEXT},
    {"name", FIELD_CALL, .read = read_name, .schema = FIELD_SCHEMA_TEXT},
    {"table", FIELD_CALL, .read = read_table, .schema = FIELD_SCHEMA_TEXT},
    {"when", FIELD_CALL, .read = read_when, .schema = FIELD_SCHEMA_TEXT},
    {"for", FIELD_DURATION, .offset = AT(for_us), .min = 0, .max = 366 * DAY_US},
    {"repeat", FIELD_DURATION, .offset = AT(repeat_us), .min = SECOND_US,
     .max = 366 * DAY_US, .init = INT64_MAX, .never = "never"},
    {"resolved", FIELD_BOOL, .offset = AT(resolved), .init = true},
    {"max_keys", FIELD_COUNT, .offset = AT(max_keys), .min = 1, .max = 1000000,
     .init = 100000},
    {"body", FIELD_CALL, .read = read_body, .schema = FIELD_SCHEMA_TEXT},
    {"headers", FIELD_CALL, .read = read_headers,
     .schema = "{\"type\":\"object\",\"maxProperties\":32,"
               "\"additionalProperties\":{\"$ref\":\"#/$defs/text\"}}"},
    {"secret", FIELD_TEXT, .offset = AT(secret)},
    {"secret_file", FIELD_CALL, .read = read_secret_file, .schema = FIELD_SCHEMA_TEXT},
    {"ca_file", FIELD_TEXT, .offset = AT(ca_file)},
    {"batch", FIELD_UNSIGNED, .offset = AT(batch), .min = 1, .max = 1000, .init = 1},
    {"in_flight", FIELD_UNSIGNED, .offset = AT(in_flight), .min = 1, .max = 64,
     .init = 1},
    {"timeout", FIELD_DURATION, .offset = AT(timeout_us), .min = SECOND_US / 10,
     .max = 600 * SECOND_US, .init = 10 * SECOND_US},
    {"backoff", FIELD_DURATION, .offset = AT(backoff_us), .min = 10000,
     .max = 600 * SECOND_US, .init = SECOND_US},
    {"max_backoff", FIELD_DURATION, .offset = AT(max_backoff_us), .min = 10000,
     .max = DAY_US, .init = 60 * SECOND_US},
    {"max_lag", FIELD_COUNT, .offset = AT(max_lag), .min = 100, .max = 100000000,
     .init = 1000000},
};
static_assert(HEADERS_MAX == 32, "the schema says 32");

void hook_section_schema(struct buffer *to)
{
    fields_schema(hook_fields, COUNT(hook_fields), to);
}

/* Keys that make alerts of rows. */
static int check_alert(struct config_hook *h, const struct node *map,
                       struct error *error)
{
    static const char *const alert[] = {"for", "repeat", "resolved", "max_keys"};
    for (size_t i = 0; i < COUNT(alert); i++) {
        const struct node *n = node_get(map, alert[i]);
        if (n && !h->when)
            return node_error(
                n, error, "'%s' needs 'when', the condition that is watched", alert[i]);
        h->alert = h->alert || n;
    }
    return 0;
}

static int check_hook(struct config_hook *h, const struct node *map,
                      struct error *error)
{
    if (h->body && h->batch > 1)
        return node_error(h->body_node, error,
                          "'body' is written for each row; it does not go with "
                          "'batch: %u'",
                          h->batch);
    if (h->secret && h->secret_file)
        return node_error(h->secret_node, error,
                          "one of 'secret' and 'secret_file' is enough");
    if (h->backoff_us > h->max_backoff_us)
        return node_error(map, error, "'backoff' is longer than 'max_backoff'");
    return check_alert(h, map, error);
}

static int hook_section(const struct node *map, struct config_hook *ret,
                        struct error *error)
{
    ret->node = map;
    int r =
        fields_read(hook_fields, COUNT(hook_fields), map, "webhook", ret, NULL, error);
    if (r == 0 && !ret->name && !(ret->name = strdup("webhook")))
        return out_of_memory(map, error);
    return r < 0 ? r : check_hook(ret, map, error);
}

int hook_sections(const struct node *n, struct config_pipeline *p, struct error *error)
{
    const struct node *map = n->kind == NODE_LIST ? n->item : n;
    size_t n_hooks = n->kind == NODE_LIST ? n->n : 1;
    if (n_hooks < 1 || n_hooks > HOOKS_MAX)
        return node_error(n, error, "a pipeline has 1 to %d webhooks, not %zu",
                          HOOKS_MAX, n_hooks);
    if (!(p->hook = calloc(n_hooks, sizeof(*p->hook))))
        return out_of_memory(n, error);
    int r = 0, failed = 0;
    for (size_t i = 0; r == 0 && i < n_hooks; i++) {
        struct config_hook *h = &p->hook[p->n_hooks++];
        r = hook_section(&map[i], h, error);
        for (size_t k = 0; r == 0 && k < i; k++)
            if (p->hook[k].name && strcmp(p->hook[k].name, h->name) == 0)
                r = node_error(&map[i], error,
                               "there is a webhook '%s' already; 'name: NAME' tells "
                               "them apart",
                               h->name);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

void hook_section_free(struct config_hook *h)
{
    for (size_t i = 0; i < h->n_headers; i++)
        free(h->header[i]);
    free(h->header);
    free(h->name);
    free(h->to);
    free(h->table);
    free(h->when);
    free(h->body);
    free(h->secret);
    free(h->secret_file);
    free(h->ca_file);
}
