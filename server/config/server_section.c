/* SPDX-License-Identifier: Apache-2.0
 *
 * `server:` of the configuration file.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "batch/request.h"
#include "config/fields.h"
#include "config/sections.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* ---- listen ------------------------------------------------------------------------------------ */

static const char listen_what[] =
    "an address and a port, such as 127.0.0.1:8080 or \"[::1]:8080\", or unix:PATH";
/* A macro, so that the compiler sees the format. */
#define LISTEN_REACHED                                                                 \
    "'%s' can be reached from other machines, and nothing says who may: name a file "  \
    "of tokens (server: tokens:, made by `weir token new`), ask for certificates of "  \
    "clients (server: tls: client_ca:), or listen on 127.0.0.1 or [::1]"

const char *const config_verb_word[CONFIG_VERBS] = {"post", "read", "sql", "metrics",
                                                    "admin"};
#define AUDIT_DEFAULT (1u << 2 | 1u << 4) /* sql, admin */

static bool parse_port(const char *text, uint16_t *ret)
{
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > 5 || text[length])
        return false;
    unsigned long port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* 1: loopback, 0: another address, -1: none. */
static int classify_address(const char *text, bool bracketed)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (bracketed)
        return inet_pton(AF_INET6, text, &v6) == 1 ? IN6_IS_ADDR_LOOPBACK(&v6) : -1;
    return inet_pton(AF_INET, text, &v4) == 1 ? ntohl(v4.s_addr) >> 24 == 127 : -1;
}

/* -EINVAL: no address and port; -ENOMEM. */
static int set_listen(const char *text, struct config_server *s)
{
    char host[INET6_ADDRSTRLEN] = "";
    uint16_t port;
    if (strncmp(text, "unix:", 5) == 0) {
        char *path = text[5] == '/' ? strdup(text + 5) : NULL;
        if (!path)
            return text[5] == '/' ? -ENOMEM : -EINVAL;
        free(s->socket);
        s->socket = path;
        strcpy(host, "127.0.0.1");
        text = "127.0.0.1:0";
    } else {
        free(s->socket);
        s->socket = NULL;
    }
    const char *colon = strrchr(text, ':');
    if (!colon || !parse_port(colon + 1, &port))
        return -EINVAL;
    bool bracketed = *text == '[' && colon - text > 2 && colon[-1] == ']';
    const char *from = text + bracketed;
    size_t size = (size_t)(colon - from) - bracketed;
    if (size >= sizeof host)
        return -EINVAL;
    memcpy(host, from, size);
    if (strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    int loopback = classify_address(host, bracketed);
    if (loopback < 0)
        return -EINVAL;
    char *copy = strdup(host);
    if (!copy)
        return -ENOMEM;
    free(s->address);
    s->address = copy;
    s->port = port;
    s->reachable = !loopback;
    return 0;
}

static bool is_open_to_all(const struct config_server *s)
{
    return s->reachable && !s->tokens && !s->tls.client_ca;
}

static int read_listen(const struct node *n, void *target, void *ctx,
                       struct error *error)
{
    (void)ctx;
    int r = n->kind == NODE_SCALAR ? set_listen(n->text, target) : -EINVAL;
    if (r == -EINVAL)
        return node_expected(n, listen_what, error);
    return r < 0 ? error_set(error, r, "%s: out of memory", n->file) : 0;
}

int config_listen(const char *text, struct config_server *server, struct error *error)
{
    struct config_server other = {.tokens = server->tokens, .tls = server->tls};
    int r = set_listen(text, &other);
    if (r == -EINVAL)
        error_set(error, r, "expected %s, found '%s'", listen_what, text);
    else if (r < 0)
        error_set(error, r, "out of memory");
    else if (is_open_to_all(&other))
        error_set(error, r = -EINVAL, LISTEN_REACHED, text);
    if (r < 0) {
        error_prefix(error, "--listen");
        free(other.address);
        free(other.socket);
        return r;
    }
    free(server->address);
    free(server->socket);
    server->socket = other.socket;
    server->address = other.address;
    server->port = other.port;
    server->reachable = other.reachable;
    return 0;
}

int server_section_address(const struct node *n, const struct config_server *server,
                           char **ret_address, uint16_t *ret_port, struct error *error)
{
    struct config_server other = {.tokens = server->tokens, .tls = server->tls};
    int r = n->kind == NODE_SCALAR && strncmp(n->text, "unix:", 5) != 0
                ? set_listen(n->text, &other)
                : -EINVAL;
    if (r == -ENOMEM)
        return error_set(error, r, "%s: out of memory", n->file);
    if (r < 0)
        return node_expected(n, "an address and a port, such as 127.0.0.1:9000", error);
    if (is_open_to_all(&other)) {
        free(other.address);
        return node_error(n, error, LISTEN_REACHED, n->text);
    }
    *ret_address = other.address;
    *ret_port = other.port;
    return 0;
}

/* ---- Files ------------------------------------------------------------------------------------- */

static int read_database(const struct node *n, void *target, void *ctx,
                         struct error *error)
{
    struct config_server *s = target;
    char *path;
    (void)ctx;
    int r = fields_text(n, &path, error);
    if (r < 0)
        return r;
    if (*path == ':' || strncmp(path, "file:", 5) == 0) {
        free(path);
        return node_error(
            n, error,
            "the database must be a file, given by its path: readers have "
            "connections of their own");
    }
    free(s->database);
    s->database = path;
    return 0;
}

static int read_plugin_path(const struct node *n, void *target, void *ctx,
                            struct error *error)
{
    struct config_server *s = target;
    const struct node *folder = n->kind == NODE_LIST ? n->item : n;
    size_t n_folders = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    if (n->kind == NODE_MAP)
        return node_expected(n, "a folder or a list of folders", error);
    if (n_folders > CONFIG_PLUGIN_FOLDERS_MAX)
        return node_error(n, error, "there are more than %d folders",
                          CONFIG_PLUGIN_FOLDERS_MAX);
    char **path = calloc(n_folders + 1, sizeof *path);
    if (!path)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    free(s->plugin_path);
    s->plugin_path = path;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_folders; i++)
        r = fields_text(&folder[i], &path[i], error);
    return r;
}

/* ---- hosts ---- */

/* A name or an address, without port and brackets; or * */
static bool is_host(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-._");
    struct in6_addr v6;
    return (size > 0 && size < 256 && !text[size]) || strcmp(text, "*") == 0 ||
           inet_pton(AF_INET6, text, &v6) == 1;
}

static int read_hosts(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_server *s = target;
    const struct node *name = n->kind == NODE_LIST ? n->item : n;
    size_t n_names = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    if (n->kind == NODE_MAP)
        return node_expected(n, "a name or a list of names", error);
    if (n_names > CONFIG_HOSTS_MAX)
        return node_error(n, error, "there are more than %d names", CONFIG_HOSTS_MAX);
    char **host = calloc(n_names + 1, sizeof *host);
    if (!host)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    free(s->hosts); /* the default, an empty list */
    s->hosts = host;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_names; i++) {
        r = fields_text(&name[i], &host[i], error);
        if (r == 0 && !is_host(host[i]))
            r = node_expected(&name[i],
                              "a name without a port, such as weir.example, or \"*\"",
                              error);
    }
    return r;
}

/* ---- Who may ---- */

static int read_mode(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_server *s = target;
    (void)ctx;
    if (n->kind != NODE_SCALAR || strlen(n->text) < 3 || strlen(n->text) > 4 ||
        strspn(n->text, "01234567") != strlen(n->text) ||
        (s->socket_mode = (unsigned)strtoul(n->text, NULL, 8)) > 0777)
        return node_expected(n, "a mode in octal, such as 0660", error);
    return 0;
}

/* scheme://host[:port], as browsers send it */
static bool is_origin(const char *text)
{
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : "";
    return strcmp(text, "*") == 0 ||
           (*host && !host[strcspn(host, "/?# \t@\r\n")] && strlen(text) < 256);
}

static int read_origins(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_server *s = target;
    const struct node *origin = n->kind == NODE_LIST ? n->item : n;
    size_t n_origins = n->kind == NODE_LIST ? n->n : 1;
    int r = 0;
    (void)ctx;
    if (n->kind == NODE_MAP || n_origins > CONFIG_HOSTS_MAX)
        return node_expected(n, "a list of at most 64 origins", error);
    s->origins = calloc(n_origins + 1, sizeof *s->origins);
    if (!s->origins)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    for (size_t i = 0; r == 0 && i < n_origins; i++) {
        r = fields_text(&origin[i], &s->origins[i], error);
        if (r == 0 && !is_origin(s->origins[i]))
            r = node_expected(&origin[i],
                              "an origin without a path, such as https://a.example",
                              error);
        else if (r == 0 && *s->origins[i] == '*' && !s->tokens)
            r = node_error(&origin[i], error,
                           "any page may send requests only where they take tokens: "
                           "server: tokens:");
    }
    return r;
}

#define TLS_AT(member) offsetof(struct config_tls, member)

static const struct field tls_fields[] = {
    {"certificate", FIELD_TEXT, .required = true, .offset = TLS_AT(certificate)},
    {"key", FIELD_TEXT, .required = true, .offset = TLS_AT(key)},
    {"client_ca", FIELD_TEXT, .offset = TLS_AT(client_ca)},
};
#define TLS_FIELDS (sizeof tls_fields / sizeof tls_fields[0])

static int read_tls(const struct node *n, void *target, void *ctx, struct error *error)
{
    struct config_server *s = target;
    (void)ctx;
    if (n->kind != NODE_MAP)
        return node_expected(n, "certificate: and key:, names of files", error);
    return fields_read(tls_fields, TLS_FIELDS, n, "'tls'", &s->tls, NULL, error);
}

static int read_audit(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    struct config_server *s = target;
    const struct node *word = n->kind == NODE_LIST ? n->item : n;
    size_t n_words = n->kind == NODE_LIST ? n->n : 1;
    int r = 0;
    (void)ctx;
    s->audit = 0;
    for (size_t i = 0; r >= 0 && i < n_words; i++) {
        r = node_word(&word[i], config_verb_word, CONFIG_VERBS, error);
        s->audit |= r < 0 ? 0 : 1u << r;
    }
    return r < 0 ? r : 0;
}

static int read_proxies(const struct node *n, void *target, void *ctx,
                        struct error *error)
{
    struct config_server *s = target;
    const struct node *net = n->kind == NODE_LIST ? n->item : n;
    size_t n_nets = n->kind == NODE_LIST ? n->n : 1;
    (void)ctx;
    if (n->kind == NODE_MAP || n_nets > CONFIG_PROXIES_MAX)
        return node_expected(n, "a list of at most 64 addresses or networks", error);
    s->proxies = calloc(n_nets + 1, sizeof *s->proxies);
    if (!s->proxies)
        return error_set(error, -ENOMEM, "%s: out of memory", n->file);
    for (size_t i = 0; i < n_nets; i++)
        if (net[i].kind != NODE_SCALAR || !cidr_parse(net[i].text, &s->proxies[i]))
            return node_expected(&net[i], "an address or a network, such as 10.0.0.0/8",
                                 error);
    s->n_proxies = n_nets;
    return 0;
}

static int read_postgresql(const struct node *n, void *target, void *ctx,
                           struct error *error)
{
    (void)ctx;
    return postgresql_section(n, &((struct config_server *)target)->postgresql, error);
}

static int read_kafka(const struct node *n, void *target, void *ctx,
                      struct error *error)
{
    (void)ctx;
    return kafka_section(n, &((struct config_server *)target)->kafka, error);
}

/* ---- The section ------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct config_server, member)

/* threads, http_threads: 0 stands for the number of cores until the end. */
static const struct field server_fields[] = {
    {"listen", FIELD_CALL, .read = read_listen, .schema = FIELD_SCHEMA_TEXT},
    {"database", FIELD_CALL, .read = read_database, .schema = FIELD_SCHEMA_TEXT},
    {"plugin_path", FIELD_CALL, .read = read_plugin_path, .schema = FIELD_SCHEMA_TEXTS},
    {"hosts", FIELD_CALL, .read = read_hosts, .schema = FIELD_SCHEMA_TEXTS},
    {"tls", FIELD_CALL, .read = read_tls, .keys = tls_fields, .n_keys = TLS_FIELDS},
    {"tokens", FIELD_TEXT, .offset = AT(tokens)},
    {"origins", FIELD_CALL, .read = read_origins, .schema = FIELD_SCHEMA_TEXTS},
    {"socket_mode", FIELD_CALL, .read = read_mode},
    {"socket_group", FIELD_TEXT, .offset = AT(socket_group)},
    {"audit", FIELD_CALL, .read = read_audit, .schema = FIELD_SCHEMA_TEXTS},
    {"trusted_proxies", FIELD_CALL, .read = read_proxies, .schema = FIELD_SCHEMA_TEXTS},
    {"threads", FIELD_UNSIGNED, .offset = AT(threads), .min = 1, .max = 64},
    {"http_threads", FIELD_UNSIGNED, .offset = AT(http_threads), .min = 1, .max = 64},
    {"query_threads", FIELD_UNSIGNED, .offset = AT(query_threads), .min = 1, .max = 64,
     .init = 4},
    {"nice", FIELD_UNSIGNED, .offset = AT(nice), .min = 0, .max = 19, .init = 10},
    {"max_connections", FIELD_UNSIGNED, .offset = AT(max_connections), .min = 1,
     .max = 65536, .init = 4096},
    {"max_body", FIELD_SIZE, .offset = AT(max_body), .min = KIB, .max = 4 * GIB,
     .init = 64 * MIB},
    {"max_record", FIELD_SIZE, .offset = AT(max_record), .min = 64, .max = 16 * MIB,
     .init = MIB},
    {"queue_events", FIELD_COUNT, .offset = AT(queue_events), .min = 1,
     .max = 1000000000, .init = 1000000},
    {"queue_wait", FIELD_DURATION, .offset = AT(queue_wait_us), .min = 0,
     .max = 60 * SECOND_US, .init = SECOND_US},
    {"linger", FIELD_DURATION, .offset = AT(linger_us), .min = 0, .max = SECOND_US,
     .init = 2000},
    {"journal", FIELD_TEXT, .offset = AT(journal)},
    {"segment_size", FIELD_SIZE, .offset = AT(segment_size), .min = MIB, .max = GIB,
     .init = 64 * MIB},
    {"journal_limit", FIELD_SIZE, .offset = AT(journal_limit), .min = 4 * MIB,
     .max = 1024 * 1024 * GIB, .init = 16 * GIB},
    {"journal_keep", FIELD_SIZE, .offset = AT(journal_keep), .min = 0,
     .max = 512 * 1024 * GIB, .init = 0},
    {"database_limit", FIELD_SIZE, .offset = AT(database_limit), .min = MIB,
     .max = 1024 * 1024 * GIB, .init = 0},
    {"backups", FIELD_TEXT, .offset = AT(backups)},
    {"backups_kept", FIELD_UNSIGNED, .offset = AT(backups_kept), .min = 1, .max = 1000,
     .init = 7},
    {"checkpoint_interval", FIELD_DURATION, .offset = AT(checkpoint_interval_us),
     .min = 1000, .max = 3600 * SECOND_US, .init = 10 * SECOND_US},
    {"commit_interval", FIELD_DURATION, .offset = AT(commit_interval_us), .min = 1000,
     .max = 60 * SECOND_US, .init = 100000},
    {"idempotency_retain", FIELD_DURATION, .offset = AT(idempotency_retain_us),
     .min = SECOND_US, .max = 30 * DAY_US, .init = 3600 * SECOND_US},
    {"idempotency_keys", FIELD_COUNT, .offset = AT(idempotency_keys), .min = 1,
     .max = 100000000, .init = 1000000},
    {"dead_letters", FIELD_COUNT, .offset = AT(dead_letters), .min = 0, .max = 1000000,
     .init = 10000},
    {"sql_timeout", FIELD_DURATION, .offset = AT(sql_timeout_us), .min = 1000,
     .max = 3600 * SECOND_US, .init = 10 * SECOND_US},
    {"sql_max_rows", FIELD_COUNT, .offset = AT(sql_max_rows), .min = 1,
     .max = 1000000000, .init = 1000000},
    {"sql_max_bytes", FIELD_SIZE, .offset = AT(sql_max_bytes), .min = KIB,
     .max = 16 * GIB, .init = 256 * MIB},
    {"sql_processes", FIELD_UNSIGNED, .offset = AT(sql_processes), .min = 1, .max = 64,
     .init = 4},
    {"sql_memory", FIELD_SIZE, .offset = AT(sql_memory), .min = 16 * MIB,
     .max = 1024 * GIB, .init = 256 * MIB},
    {"sql_temp", FIELD_SIZE, .offset = AT(sql_temp), .min = MIB, .max = 1024 * GIB,
     .init = GIB},
    {"spool_limit", FIELD_SIZE, .offset = AT(spool_limit), .min = MIB,
     .max = 1024 * GIB, .init = GIB},
    {"postgresql", FIELD_CALL, .read = read_postgresql,
     .schema = "{\"$ref\":\"#/$defs/postgresql\"}"},
    {"kafka", FIELD_CALL, .read = read_kafka, .schema = "{\"$ref\":\"#/$defs/kafka\"}"},
    {"log_json", FIELD_BOOL, .offset = AT(log_json), .min = 0, .max = 1},
};

void server_section_schema(struct buffer *to)
{
    fields_schema(server_fields, sizeof server_fields / sizeof server_fields[0], to);
}

void config_warn(const struct config_server *s)
{
    uint64_t most = request_stored_max(s->journal_limit);
    if (s->max_body > most)
        logger_warn(
            "config",
            "'server': max_body is %llu bytes, but a request may take only %llu bytes "
            "of the journal (three eighths of journal_limit, and at most 1 GiB); "
            "what would take more is answered 413",
            (unsigned long long)s->max_body, (unsigned long long)most);
}

static unsigned default_threads(unsigned most)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > most ? most : (unsigned)cores;
}

int server_section(const struct node *map, struct config_server *ret,
                   struct error *error)
{
    ret->audit = AUDIT_DEFAULT;
    ret->socket_mode = 0660;
    int r = fields_read(server_fields, sizeof server_fields / sizeof server_fields[0],
                        map, "'server'", ret, NULL, error);
    if (r == 0 && is_open_to_all(ret))
        r = node_error(node_get(map, "listen"), error, LISTEN_REACHED,
                       node_get(map, "listen")->text);
    if (r == 0 && ret->journal_keep > ret->journal_limit / 2)
        r = node_error(node_get(map, "journal_keep"), error,
                       "'journal_keep' is at most half of 'journal_limit'");
    if (r < 0)
        return r;
    if (ret->threads == 0)
        ret->threads = default_threads(64);
    if (ret->http_threads == 0)
        ret->http_threads = default_threads(16);
    if (!ret->address) {
        ret->address = strdup("127.0.0.1");
        ret->port = 8080;
    }
    if (!ret->database)
        ret->database = strdup("weir.db");
    if (!ret->plugin_path)
        ret->plugin_path = calloc(1, sizeof *ret->plugin_path);
    if (!ret->hosts)
        ret->hosts = calloc(1, sizeof *ret->hosts);
    if (!ret->address || !ret->database || !ret->plugin_path || !ret->hosts)
        return error_set(error, -ENOMEM, "out of memory");
    return 0;
}

void server_section_free(struct config_server *s)
{
    for (char **path = s->plugin_path; path && *path; path++)
        free(*path);
    free(s->plugin_path);
    for (char **host = s->hosts; host && *host; host++)
        free(*host);
    free(s->hosts);
    postgresql_section_free(s->postgresql);
    kafka_section_free(s->kafka);
    free(s->tls.certificate);
    free(s->tls.key);
    free(s->tls.client_ca);
    free(s->tokens);
    free(s->proxies);
    free(s->socket);
    free(s->socket_group);
    for (char **origin = s->origins; origin && *origin; origin++)
        free(*origin);
    free(s->origins);
    free(s->address);
    free(s->database);
    free(s->journal);
    free(s->backups);
}
