/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file as a whole.
 */
#include "config/config.h"
#include "config/faults.h"
#include "config/fields.h"
#include "config/sections.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(const struct node *n, struct error *error)
{
    return error_set(error, -ENOMEM, "%s: out of memory", n->file);
}

int section_name(const struct node *n, const char *what, const char **ret,
                 struct error *error)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    const char *text;
    int r = node_text(n, &text, error);
    if (r < 0)
        return r;
    if (*text < 'a' || *text > 'z' || text[strspn(text, letters)])
        return node_error(
            n, error,
            "'%.48s' is no name for a %s: a small letter comes first, then "
            "small letters, digits and '_'",
            text, what);
    if (strlen(text) > SECTION_NAME_MAX)
        return node_error(n, error, "the name '%.48s...' has more than %d characters",
                          text, SECTION_NAME_MAX);
    if (strncmp(text, "weir_", 5) == 0 || strncmp(text, "sqlite_", 7) == 0)
        return node_error(
            n, error,
            "'%s' is no name for a %s: names that begin with weir_ or sqlite_ "
            "are those of the server's own tables",
            text, what);
    *ret = text;
    return 0;
}

static int check_items(const struct node *map, const char *what, struct error *error)
{
    if (map->kind != NODE_MAP)
        return node_expected(map, what, error);
    if (map->n > SECTION_ITEMS_MAX)
        return node_error(map, error, "there are more than %d of them",
                          SECTION_ITEMS_MAX);
    return 0;
}

static int read_server(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    (void)ctx;
    return server_section(n, &((struct config *)target)->server, error);
}

static int read_streams(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config *c = target;
    (void)ctx;
    int r = check_items(n, "a mapping of streams (name: ...)", error);
    if (r == 0 && n->n == 0)
        return node_error(n, error, "no stream is declared");
    if (r == 0 && !(c->stream = calloc(n->n, sizeof *c->stream)))
        return out_of_memory(n, error);
    int failed = r;
    for (size_t i = 0; r == 0 && i < n->n; i++) {
        r = stream_section(&n->key[i], &n->item[i], &c->stream[c->n_streams++], error);
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    return failed;
}

static int read_pipelines(const struct node *n, void *target, void *ctx,
                          struct error *error)
{
    struct config *c = target;
    (void)ctx;
    int r = check_items(n, "a mapping of pipelines (name: ...)", error);
    if (r == 0 && !(c->pipeline = calloc(n->n + 1, sizeof *c->pipeline)))
        return out_of_memory(n, error);
    int failed = r;
    for (size_t i = 0; r == 0 && i < n->n; i++) {
        struct config_pipeline *p = &c->pipeline[c->n_pipelines++];
        r = pipeline_section(&n->key[i], &n->item[i], c, p, error);
        if (!p->name) /* that was what is wrong, and others cannot read it */
            c->n_pipelines--;
        failed = r < 0 ? r : failed;
        r = faults_go_on(r, error) ? 0 : r;
    }
    int linked = r == 0 ? chain_link(c, error) : 0;
    return failed < 0 ? failed : linked;
}

static int read_nodes(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config *c = target;
    (void)ctx;
    return nodes_section(n, &c->server, &c->nodes, error);
}

/* Streams before the pipelines that read them. */
static const struct field file_fields[] = {
    {"server", FIELD_CALL, .read = read_server,
     .schema = "{\"$ref\":\"#/$defs/server\"}"},
    {"nodes", FIELD_CALL, .read = read_nodes, .schema = "{\"$ref\":\"#/$defs/nodes\"}"},
    {"streams", FIELD_CALL, .required = true, .read = read_streams,
     .schema = "{\"$ref\":\"#/$defs/streams\"}"},
    {"pipelines", FIELD_CALL, .read = read_pipelines,
     .schema = "{\"$ref\":\"#/$defs/pipelines\"}"},
};

/* Shapes that the tables refer to. A variable may stand for any value. */
static const char shapes[] =
    "\"variable\":{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"},"
    "\"text\":{\"type\":[\"string\",\"number\",\"boolean\"],\"minLength\":1},"
    "\"truth\":{\"anyOf\":[{\"type\":\"boolean\"},{\"type\":\"string\",\"pattern\":"
    "\"^([yY][eE][sS]|[nN][oO]|[oO][nN]|[oO][fF][fF]|[tT][rR][uU][eE]|[fF][aA][lL][sS]["
    "eE])$\"},"
    "{\"$ref\":\"#/$defs/variable\"}]},"
    "\"duration\":{\"type\":\"string\",\"pattern\":"
    "\"^[0-9]+(\\\\.[0-9]+)?(us|ms|s|m|h|d|w)$|\\\\$\\\\{\"},"
    "\"size\":{\"type\":\"string\",\"pattern\":\"^[0-9]+([kMGTP]?B|[KMGTP]iB)?$|\\\\$"
    "\\\\{\"},"
    "\"name\":{\"pattern\":\"^[a-z][a-z0-9_]*$\",\"maxLength\":48},"
    "\"field\":{\"pattern\":\"^[A-Za-z_][A-Za-z0-9_]{0,62}$\"},"
    "\"fields\":{\"type\":\"object\",\"maxProperties\":255,\"propertyNames\":{\"$ref\":"
    "\"#/$defs/"
    "field\"},\"additionalProperties\":{\"anyOf\":[{\"enum\":[\"string\",\"float\","
    "\"int\",\"bool\",\"time\"]},{\"$ref\":\"#/$defs/"
    "variable\"},{\"type\":\"object\"}]}},"
    "\"derive\":{\"type\":\"object\",\"propertyNames\":{\"$ref\":\"#/$defs/field\"},"
    "\"additionalProperties\":{\"anyOf\":[{\"$ref\":\"#/$defs/text\"},"
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"expr\"],"
    "\"properties\":{\"expr\":{\"$ref\":\"#/$defs/text\"},"
    "\"type\":{\"enum\":[\"string\",\"float\",\"int\",\"bool\",\"time\"]}}}]}},";

static void named_schema(const char *name, unsigned least,
                         void (*item)(struct buffer *to), struct buffer *to)
{
    buffer_printf(
        to,
        "\"%s\":{\"type\":\"object\",\"minProperties\":%u,\"maxProperties\":%d,"
        "\"propertyNames\":{\"$ref\":\"#/$defs/name\"},\"additionalProperties\":",
        name, least, SECTION_ITEMS_MAX);
    item(to);
    buffer_puts(to, "},");
}

void config_schema(struct buffer *to, void (*analyzer)(void *ctx, struct buffer *to),
                   void *ctx)
{
    buffer_puts(to,
                "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                "\"title\":\"The configuration of weir, weir.yaml(5)\",\"$defs\":{");
    buffer_puts(to, shapes);
    buffer_puts(to, "\"postgresql\":");
    postgresql_section_schema(to);
    buffer_puts(to, ",\"kafka\":");
    kafka_section_schema(to);
    buffer_puts(to, ",\"server\":");
    server_section_schema(to);
    buffer_puts(to, ",\"nodes\":");
    nodes_section_schema(to);
    buffer_puts(to, ",\"window\":");
    window_section_schema(to);
    buffer_puts(to, ",\"join\":");
    join_section_schema(to);
    buffer_puts(to, ",\"table_join\":");
    reference_section_schema(to);
    buffer_puts(to, ",\"http_lookup\":");
    lookup_section_schema(to);
    buffer_puts(to, ",\"ask\":");
    ask_section_schema(to);
    buffer_puts(to, ",\"source\":");
    source_section_schema(to);
    buffer_puts(to, ",\"webhook\":");
    hook_section_schema(to);
    buffer_putc(to, ',');
    named_schema("streams", 1, stream_section_schema, to);
    named_schema("pipelines", 0, pipeline_section_schema, to);
    buffer_puts(to, "\"analyzer\":");
    analyzer(ctx, to);
    buffer_puts(to, "},\"allOf\":[");
    fields_schema(file_fields, sizeof file_fields / sizeof file_fields[0], to);
    buffer_puts(to, "]}\n");
}

void config_analyzer_keys_schema(bool inside, struct buffer *to)
{
    analyzer_keys_schema(inside, to);
}

int config_of_node(struct node *root, struct config **ret, struct error *error)
{
    struct config *c = calloc(1, sizeof *c);
    if (!c) {
        int e = out_of_memory(root, error);
        node_free(root);
        return e;
    }
    atomic_init(&c->refs, 1);
    c->root = root;
    int r = server_section(NULL, &c->server, error);
    if (r == 0)
        r = fields_read(file_fields, sizeof file_fields / sizeof file_fields[0], root,
                        "the file", c, NULL, error);
    if (r == 0)
        r = share_check(c, error);
    if (r == 0 && c->server.postgresql)
        r = postgresql_section_check(c, error);
    if (r == 0 && c->server.kafka)
        r = target_section_check(c, &c->server.kafka->target, error);
    if (r < 0) {
        config_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int config_load(const char *path, struct config **ret, struct error *error)
{
    struct node *root;
    int r = node_load(path, &root, error);
    return r < 0 ? r : config_of_node(root, ret, error);
}

int config_parse(const char *file, const char *text, size_t size, struct config **ret,
                 struct error *error)
{
    struct node *root;
    int r = node_parse(file, text, size, &root, error);
    return r < 0 ? r : config_of_node(root, ret, error);
}

struct config *config_ref(struct config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void config_free(struct config *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    server_section_free(&c->server);
    nodes_section_free(&c->nodes);
    for (size_t i = 0; i < c->n_streams; i++)
        stream_section_free(&c->stream[i]);
    for (size_t i = 0; i < c->n_pipelines; i++)
        pipeline_section_free(&c->pipeline[i]);
    free(c->stream);
    free(c->pipeline);
    node_free(c->root);
    free(c);
}
