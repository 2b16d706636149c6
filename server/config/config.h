/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file, checked as far as that is possible without plugins: parameters of analyzers
 * stay nodes until the plugin's own tables check them (plugin/params.h), `where` stays text until
 * SQLite compiles it (expr/filter.h).
 */
#ifndef WEIR_CONFIG_CONFIG_H
#define WEIR_CONFIG_CONFIG_H

#include "base/buffer.h"
#include "base/cidr.h"
#include "batch/schema.h"
#include "config/node.h"
#include "decode/decode.h"
#include "expr/derive.h"

#define CONFIG_PLUGIN_FOLDERS_MAX 64 /* of plugin_path */
#define CONFIG_HOSTS_MAX          64 /* of hosts */
#define CONFIG_PROXIES_MAX        64 /* of trusted_proxies */

/* What a token may do, and `audit` names. The order is that of enum access_verb from ACCESS_POST on, which is to the right. */
#define CONFIG_VERBS 5
extern const char *const config_verb_word[CONFIG_VERBS];

/* Where result tables go, whatever it is. */
struct config_target {
    char **pipeline; /* whose tables go there, NULL-ended; NULL: all */
    const struct node *pipelines;
    int64_t
        hold_us; /* `retain` waits for so long for rows that are not there; INT64_MAX, the
                       * default: for ever */
    uint64_t max_lag; /* changes behind; then all that is in the table goes there */
    int64_t timeout_us, backoff_us, max_backoff_us; /* 30s, 1s, 30s */
};

/* `postgresql` of the server: result tables are carried there. */
struct config_postgresql {
    struct config_target target;
    char *connect;       /* for libpq; may hold a password */
    char *password_file; /* NULL: none */
    char *schema;        /* default "weir" */
    char *shard; /* this server's name among those of a table; NULL: the only one */
    int64_t partition_us; /* tables are cut into so long pieces; 0: they are not */
    int64_t retain_us;    /* there; 0: for ever */
    int64_t copy_us;      /* so often the database's pages are copied there; 0: never */
    const struct node *node;
};

struct config_server {
    char *address;        /* "127.0.0.1", "::1", ... */
    uint16_t port;        /* 0: any free one; the log says which */
    char *socket;         /* `listen: unix:PATH`; NULL: address and port */
    char *socket_group;   /* NULL: that of the process */
    unsigned socket_mode; /* default 0660 */
    char **origins;       /* whose pages may send requests; NULL-ended */
    bool reachable;       /* from other machines */
    struct config_tls {
        char *certificate, *key; /* NULL: no TLS */
        char *client_ca;         /* NULL: clients need no certificate */
    } tls;
    char *tokens; /* file (access/tokens.h); NULL: nobody needs one */
    unsigned
        audit; /* bits 1 << place in config_verb_word: requests that are logged; default sql and admin */
    size_t n_proxies;
    struct cidr *proxies; /* trusted_proxies */
    char *database;
    char **
        plugin_path; /* folders, searched in this order, then the installed one; NULL-ended */
    char *
        *hosts; /* names besides loopback's that Host may hold, "*": any; NULL-ended */
    unsigned http_threads;    /* default: cores, at most 16 */
    unsigned threads;         /* default: cores, at most 64 */
    unsigned query_threads;   /* default 4 */
    unsigned nice;            /* of threads that analyze, store and query; default 10 */
    unsigned max_connections; /* default 4096 */
    uint64_t
        max_body; /* bytes of one bounded request after decompression; default 64 MiB */
    uint64_t max_record; /* bytes of one event; default 1 MiB */
    uint64_t
        queue_events; /* a stream's log takes no more while so many wait; default 1,000,000 */
    int64_t
        queue_wait_us; /* how long a full queue is waited for before 429; default 1s */
    int64_t
        linger_us; /* how long small requests are gathered; default 2ms; at most 1s */
    int64_t commit_interval_us; /* default 100ms */
    char *journal;              /* folder of the journals; NULL: DATABASE.journal */
    uint64_t segment_size;      /* bytes of a journal's file; default 64 MiB */
    uint64_t journal_limit;     /* bytes of a stream's journal; default 16 GiB */
    uint64_t journal_keep;      /* of these stay though nobody needs them; default 0 */
    uint64_t database_limit;    /* bytes of the database; 0, the default: none */
    char *backups;         /* folder of POST /api/v1/backup; NULL: DATABASE.backups */
    unsigned backups_kept; /* default 7 */
    int64_t checkpoint_interval_us; /* default 10s */
    int64_t
        idempotency_retain_us; /* how long an Idempotency-Key is known; default 1h */
    uint64_t idempotency_keys; /* of a stream, at most; default 1,000,000 */
    uint64_t dead_letters;     /* rejected records kept of a stream; default 10,000 */
    int64_t sql_timeout_us;    /* default 10s */
    uint64_t sql_max_rows;     /* default 1,000,000 */
    uint64_t sql_max_bytes;    /* default 256 MiB */
    unsigned sql_processes;    /* default 4 */
    uint64_t sql_memory;       /* bytes that each of them may have; default 256 MiB */
    uint64_t sql_temp;         /* the same in temporary files; default 1 GiB */
    uint64_t
        spool_limit; /* bytes of answers in files, of slow clients; default 1 GiB */
    bool log_json;   /* JSON instead of key=value */
    struct config_postgresql *postgresql; /* NULL: nothing is carried */
    struct config_kafka *kafka;           /* NULL: nothing is published */
};

/* `derive:`, columns behind those that are there. */
struct config_derive {
    size_t n;
    struct config_derived {
        char *text;
        enum weir_type type;
        const struct node *node;
    } * column;
    struct schema *schema; /* with them; NULL: there are none */
};

/* As derive_new takes them; `to` has room for SCHEMA_COLUMNS_MAX. Returns how many. */
size_t config_derive_columns(const struct config_derive *d, struct derive_column *to);

/* `source:`: what weir reads itself. */
enum config_source_kind {
    CONFIG_SOURCE_NONE,
    CONFIG_SOURCE_FILE,
    CONFIG_SOURCE_KAFKA,
    CONFIG_SOURCE_MQTT
};
#define CONFIG_TOPICS_MAX  100
#define CONFIG_SENDERS_MAX 100
struct config_option {
    char *name, *value, *file; /* its value, or the file it is in */
    const struct node *node;
};
struct config_mqtt {
    char *host;
    int port;
    bool tls;
    unsigned qos;    /* 0, 1 */
    char *client_id; /* NULL: the broker gives one; clean_session then */
    bool clean_session, retained;
    int64_t keepalive_us;
    char *user;                    /* NULL: none */
    struct config_option password; /* value and file NULL: none */
    char *ca, *certificate, *key;  /* paths; NULL: the system's; none */
    size_t n_columns;              /* that are filled from the topic */
    struct config_topic_column {
        char *name;
        unsigned level; /* 1, 2, ...; 0: all of it */
        const struct node *node;
    } * column;
};
struct config_source {
    enum config_source_kind kind;
    const struct node *node, *format_node; /* format_node NULL: not given */
    enum decode_format format;
    bool
        newest; /* begin: newest: those that are there at the first start, at their ends */
    char *file; /* path, or pattern of glob(7) */
    char *brokers,
        *group; /* HOST:PORT, ...; group NULL: nobody is told how far it is */
    size_t n_topics;
    char **topic;
    size_t n_partitions; /* 0: all of them, which no other server reads */
    int32_t *partition;  /* ascending */
    const struct node *partitions;
    size_t n_partitioned_by;
    char **partitioned_by; /* columns: rows with the same values are in one partition */
    const struct node *partitioned_by_node; /* NULL: not given */
    size_t n_senders;
    char **sender;     /* who publishes there, `shard` of each; 0: whoever */
    bool lost_goes_on; /* on_lost: go_on */
    size_t n_options;
    struct config_option *option; /* librdkafka's */
    struct config_mqtt mqtt;
};

/* `kafka` of the server: result tables are published there. */
struct config_kafka {
    struct config_source link; /* its brokers and options; first */
    struct config_target target;
    char *prefix;    /* of the topics' names; default "weir." */
    char *shard;     /* as in config_postgresql */
    bool watermarks; /* are published, too */
};

struct config_stream {
    char *name;
    const struct node *node, *map; /* where its name stands, and what it says */
    struct schema *schema; /* what is decoded. Column 0: the time; named "time" when the
                            * time is the arrival */
    size_t n_fields;
    struct decode_field *field; /* of each column of `schema` */
    struct paths *paths;        /* NULL: none has a path or a name */
    unsigned lenient;           /* enum decode_lenient */
    struct config_derive derive;
    const struct schema *columns; /* what pipelines see: with the derived ones */
    enum decode_unit time_unit;
    int64_t max_future_skew_us; /* default 1h; INT64_MAX: none */
    bool check_unit;            /* of the time; default true */
    bool durable; /* ack: durable, the default: answers wait until events are on disk */
    struct config_source source;
};

struct config_analyzer {
    char *plugin; /* "stats" */
    char *
        as; /* name of its output column, prefix where it has several, or for its table's
               * name; NULL: none */
    char *where; /* which rows it gets; NULL: all */
    const struct node *where_node;
    uint32_t max_rows; /* of a group, that are kept for it; 0: not given */
    bool async;        /* `run: async` */
    struct config_lookup
        *ask;              /* then: time-outs and the like, and nothing else of it */
    bool apart;            /* `run: process`; what follows is for it */
    unsigned processes;    /* as many as there are workers; 0: not given */
    uint64_t memory;       /* bytes; default 1 GiB */
    int64_t limit_time_us; /* of a call; default 10 s */
    bool crash_stops;      /* `on_crash: stop`; also of a thread */
    const char
        *program; /* not in the file: what is started for it; NULL: this executable */
    bool moved; /* `apart` is not what the file says: it ended the server in a thread */
    const struct node *node;   /* where it stands */
    const struct node *params; /* map; scalar: the value of the first; or NULL */
};

/* What becomes of an event whose window the watermark had passed when it came. */
enum config_late {
    CONFIG_LATE_DROP, /* counted */
    CONFIG_LATE_SIDE, /* a row of the table PIPELINE_late */
    CONFIG_LATE_REVISE, /* folded in, the results are given out again; for allowed_lateness */
};
#define CONFIG_LATE_POLICIES 3
extern const char *const config_late_word[CONFIG_LATE_POLICIES]; /* in the file */

/* Rows of which other servers have other parts: sent as they are, or as states of their analyzers. */
enum config_partial { CONFIG_PARTIAL_NOT, CONFIG_PARTIAL_ROWS, CONFIG_PARTIAL_STATES };

/* What `window:` says; which members have a meaning depends on the kind. */
enum config_window_kind {
    CONFIG_TUMBLING,
    CONFIG_HOPPING,
    CONFIG_SESSION,
    CONFIG_COUNT,
    CONFIG_GLOBAL,
    CONFIG_UNTIL,
    CONFIG_NONE, /* rows themselves; not in `window: {KIND: ...}` */
};
#define CONFIG_WINDOW_KINDS 7
#define CONFIG_COARSE_MAX   7
extern const char *const config_window_word[CONFIG_WINDOW_KINDS]; /* in the file */

struct config_window {
    enum config_window_kind kind;
    const struct node *node; /* what stands behind `window:` */
    int64_t
        size_us; /* tumbling, hopping: its length, 0: as days, months; session: the gap;
                        * global: from result to result */
    size_t n_coarse;                      /* tumbling: longer windows, made of these: */
    int64_t coarse_us[CONFIG_COARSE_MAX]; /* each a multiple of the one before; 0: */
    unsigned coarse_days[CONFIG_COARSE_MAX],
        coarse_months[CONFIG_COARSE_MAX]; /* with a zone: as days, months */
    int64_t offset_us; /* tumbling, hopping: they begin at multiples of the size,
                        * or of by_us, plus this, which is less; default 0 */
    char *zone;        /* tumbling: whose days or months they are; NULL: none */
    const struct node *zone_node;
    unsigned days, months; /* with a zone: the size; both are 0 where size_us is not */
    int64_t by_us;         /* hopping: from start to start, at most the length */
    int64_t max_us; /* session: no longer than this; INT64_MAX, the default: any */
    int64_t
        expire_us; /* global, count: groups without events for so long are forgotten;
                        * INT64_MAX, the default: never */
    uint64_t rows; /* count: of a key in a window, */
    uint64_t
        by_rows; /* from the first of one to that of the next, at most as many; default as many */
    bool
        running; /* count: a result is of all rows of the key so far, not of those of a window */
    size_t column; /* until: a time, or an int in the unit of the stream's time */
};

/* Of sizes of `tumbling` the i-th, 0 the shortest: one of three is not 0. */
struct config_span {
    int64_t us;
    unsigned days, months;
};
struct config_span config_window_span(const struct config_window *w, size_t i);
/* As in the file: "10s", "1d", "3mo". */
#define CONFIG_SIZE_MAX 40
void config_window_size(const struct config_window *w, size_t i,
                        char ret[CONFIG_SIZE_MAX]);

#define CONFIG_JOINS_MAX        8
#define CONFIG_JOIN_ON_MAX      16
#define CONFIG_JOIN_COLUMNS_MAX 64

/* A name in `join:` that is none of a stream: a table of another pipeline's results. */
struct config_result {
    char *table;
    const struct node *node; /* where its name stands */
    size_t pipeline;         /* whose it is: index into config.pipeline */
    struct schema *columns;  /* as who reads the table sees them; NULL until then */
};
struct config_results {
    size_t n;
    struct config_result item[CONFIG_JOINS_MAX];
};

/* `join:`: to each row, columns of the newest row of another stream, or of a table of results. */
struct config_join {
    size_t stream; /* index into config.stream; SIZE_MAX: it is no stream, but: */
    const struct config_result *result; /* NULL: a stream */
    const struct node *node;            /* where its name stands */
    size_t n_on;
    size_t on[CONFIG_JOIN_ON_MAX],
        their_on[CONFIG_JOIN_ON_MAX]; /* columns of both that are the same */
    bool as_of;
    int64_t within_us; /* it is no older than this */
    int64_t
        lead_us; /* where there is none, the first one up to so much later; default 0 */
    int64_t out_of_orderness_us; /* of the other stream; default: the pipeline's */
    size_t n_columns, column[CONFIG_JOIN_COLUMNS_MAX]; /* of the other stream */
    size_t first; /* of them in the pipeline's schema */
};

struct config_joins {
    size_t n;
    struct config_join *join;
    struct schema
        *schema; /* with their columns behind the stream's; NULL: there are none */
    /* `from: [bids, auctions]`: events of all of these go into windows. The schema has the time, what all have in common, a
     * number that says whose an event is, and the others of each as "STREAM.COLUMN". */
    bool all;
    size_t number; /* that column; it is called ".streams bids auctions" */
    size_t *
        pick; /* the stream's own columns in the place of each of the schema, SIZE_MAX: null; then those of each join */
};

/* `join:` with `table`: columns of a row of a user's table in the database. */
struct config_reference {
    const struct node *node; /* what it is called */
    char *table;
    const struct node *table_node;
    /* What is read of it, by the names that it has there: the time, n_on columns that are the same as the
     * stream's `on`, and those that are joined. Each with the node that names it; that of the time is NULL
     * where there is none. */
    struct schema *read;
    const struct node *read_node[1 + CONFIG_JOIN_ON_MAX + CONFIG_JOIN_COLUMNS_MAX];
    size_t n_on, on[CONFIG_JOIN_ON_MAX], n_columns;
    unsigned time_unit; /* enum decode_unit */
    int64_t within_us;  /* it is no older than this; default INT64_MAX: however old */
    int64_t
        lead_us; /* where there is none, the first one up to so much later; default 0 */
    size_t first; /* of its columns in the pipeline's schema */
};
struct config_references {
    size_t n;
    struct config_reference *reference;
    struct schema
        *schema; /* with their columns behind those before; NULL: there are none */
};

#define CONFIG_LOOKUPS_MAX        8
#define CONFIG_ASYNC_MAX          8 /* analyzers of a pipeline with `run: async` */
#define CONFIG_LOOKUP_ON_MAX      8
#define CONFIG_LOOKUP_COLUMNS_MAX 64

enum config_on_error {
    CONFIG_NULL_ON_ERROR,
    CONFIG_STOP_ON_ERROR,
    CONFIG_DROP_ON_ERROR
};

/* An item of `http_lookup`: columns from another service, by key. */
struct config_lookup {
    char *name;
    const struct node *node; /* where its name stands */
    char *url;               /* as given */
    size_t n_parts; /* of the URL: text, and behind it the value of a column; */
    struct config_lookup_part {
        char *text;
        size_t on; /* index into on[]; SIZE_MAX: none, it is the end */
    } * part;
    size_t n_on, on[CONFIG_LOOKUP_ON_MAX]; /* columns of the stream that are in it */
    struct schema *answer;      /* a time that is not used, and the columns */
    struct decode_field *field; /* of each column of `answer` */
    struct paths *paths;        /* NULL: none has a path or a name */
    size_t first;               /* of the columns in the pipeline's schema */
    size_t n_headers;
    char **header;
    char *ca_file;
    char *
        where; /* over the stream's columns: of other events nobody asks; NULL: of all */
    const struct node *where_node;
    enum config_on_error on_error; /* default null */
    int64_t timeout_us;            /* of a request; default 2s */
    unsigned retries;              /* of one that fails; default 3 */
    int64_t backoff_us,
        max_backoff_us; /* before the first, doubled up to; default 100ms, 5s */
    unsigned
        break_after; /* failures in a row, then nobody is asked for max_backoff; default 20 */
    unsigned in_flight;   /* default 100 */
    int64_t cache_ttl_us; /* default 5m; 0: answers are not kept */
    uint64_t cache_size;  /* bytes; default 64 MiB */
};

struct config_lookups {
    size_t n;
    struct config_lookup *lookup;
    struct schema
        *schema; /* with their columns behind the stream's; NULL: there are none */
};

/* An item of `webhook`. */
struct config_hook {
    char *name; /* "webhook": not given */
    const struct node *node;
    char *to;    /* URL */
    char *table; /* NULL: the first of the pipeline */
    const struct node *table_node;
    char *when; /* NULL: all rows */
    const struct node *when_node;
    bool alert;        /* `when` is watched, key by key: these four have a meaning */
    int64_t for_us;    /* it has to hold for so long */
    int64_t repeat_us; /* as long as it holds; INT64_MAX, the default: told once */
    bool resolved;     /* its end is told, too; default true */
    uint64_t max_keys; /* for which it holds; default 100,000 */
    char *body;        /* template; NULL: JSON of our own */
    const struct node *body_node;
    size_t n_headers;
    char **header;              /* "Name: value" */
    char *secret, *secret_file; /* at most one; both NULL: not signed */
    const struct node *secret_node;
    char *ca_file;          /* NULL: the system's */
    unsigned batch;         /* rows of a request, at most; default 1 */
    unsigned in_flight;     /* requests; default 1 */
    int64_t timeout_us;     /* default 10s */
    int64_t backoff_us;     /* after the first failure; default 1s, */
    int64_t max_backoff_us; /* doubled up to this; default 1m */
    uint64_t max_lag;       /* rows; default 1,000,000 */
};

struct config_pipeline {
    char *name;
    const struct node *node, *map; /* where its name stands, and what it says */
    size_t
        stream; /* index into config.stream; of one that reads a pipeline: where it all comes from */
    char
        *from; /* the table that it reads, of the pipeline `parent`; NULL: the stream */
    const struct node *from_node;
    /* What it begins with, where the database does not know it: files, then what the journal has. */
    size_t n_backfill;
    char **backfill;
    const struct node *backfill_node; /* NULL: not given */
    bool backfill_journal;
    size_t parent;  /* index into config.pipeline; SIZE_MAX: it reads the stream */
    unsigned depth; /* pipelines between it and streams */
    struct config_joins
        joins; /* where there are results: once config_resolve was called */
    struct config_results results; /* that it joins */
    const struct node *join_node;  /* NULL: not given */
    struct config_references references;
    struct config_lookups lookups;
    bool asks; /* other services: it has look-ups, or analyzers that do */
    const struct node *lookups_node; /* NULL: not given */
    struct config_derive derive;     /* of its own */
    const struct schema *
        schema; /* of what it reads, with columns that are joined and derived; with `from`: once config_resolve was called */
    char *where; /* NULL: every row */
    const struct node *where_node;
    size_t n_keys;
    size_t *key; /* columns of its schema; types string, int, bool */
    const struct node *derive_node, *key_node; /* with `from`: for config_resolve */
    struct config_window window;
    int64_t out_of_orderness_us; /* default 0 */
    int64_t
        allowed_lateness_us; /* > 0 with CONFIG_LATE_REVISE, at most what is retained; 0 without */
    enum config_late late;
    const struct node *late_node; /* NULL: not given */
    enum config_partial partial;
    const struct node *partial_node; /* NULL: not given */
    const struct node *
        merges; /* `parts_of`: it merges the states of another, of the same configuration; NULL: not given */
    const struct node *parts_map; /* then: what that says, */
    size_t parts_of;              /* its index; the analyzers are its own */
    uint32_t
        sender; /* with CONFIG_PARTIAL_STATES: the place of this server among `senders` */
    int64_t idle_timeout_us;                     /* default 30s */
    int64_t retain_us;                           /* INT64_MAX: for ever, the default */
    int64_t coarse_retain_us[CONFIG_COARSE_MAX]; /* of window.coarse_us */
    unsigned workers;                            /* default 1, at most 64 */
    uint64_t max_groups; /* open groups of the whole pipeline; default 10,000,000 */
    bool
        over_max_groups_fails; /* the pipeline stops; otherwise rows of new groups are dropped */
    size_t
        n_select; /* with CONFIG_NONE: columns of the schema that are kept; otherwise 0 */
    size_t *select;
    const struct node *select_node; /* NULL: not given */
    size_t n_expose; /* columns of its own table that are gauges in /metrics */
    char **expose;
    const struct node *expose_node; /* NULL: not given */
    size_t n_analyzers;
    struct config_analyzer *analyzer;
    size_t n_hooks;
    struct config_hook *hook;
    char *left_out; /* why it is not to run, from who knows after reading; NULL */
};

#define CONFIG_CHAIN_MAX 32 /* pipelines that read one another, one behind the other */

/* `nodes`: machines that take over from each other (weir node). */
#define CONFIG_SHARDS_MAX     1024
#define CONFIG_PARTITIONS_MAX 100000 /* of a topic */
struct config_nodes {
    const struct node *node; /* NULL: not given */
    unsigned shards;         /* shard i reads the partitions i, i + shards, ... */
    unsigned partitions;     /* of each topic */
    int64_t session_us;      /* default 3s */
    int64_t
        restart_us; /* that a node has which says that it comes again; default: session_us */
    char *address; /* of the node; shard i listens at port + 1 + i */
    uint16_t port; /* 0: all at any free one */
};

struct config {
    _Atomic unsigned refs; /* taken relaxed, given back acq_rel */
    struct node *root;
    struct config_server server;
    struct config_nodes nodes;
    size_t n_streams;
    struct config_stream *stream;
    size_t n_pipelines;
    struct config_pipeline *pipeline;
};

/* Reads and checks `path`. -EINVAL (also for unknown keys), -ENOENT, ...: the text begins with
 * file:line:column where there is one. */
int config_load(const char *path, struct config **ret, struct error *error);
int config_parse(const char *file, const char *text, size_t size, struct config **ret,
                 struct error *error);

/* Puts `text`, what --listen says ("127.0.0.1:8080"), in place of the configured address. -EINVAL, also where other machines
 * can reach it and nothing says who may; -ENOMEM. */
int config_listen(const char *text, struct config_server *server, struct error *error);
/* Partitions of a shard of `nodes`, as `partitions` of a source takes them: "0,8,16". */
void config_put_partitions(const struct config_nodes *nodes, unsigned shard,
                           struct buffer *to);
/* Is it what shard `shard` is to read, as whom it is to put rows? For weir node, which has said so in the environment. */
int config_check_shard(const struct config *c, unsigned shard, const char *name,
                       struct error *error);
/* Logs what may surprise: bodies that the journal could never hold. */
void config_warn(const struct config_server *server);

/* The same of a tree that is there; takes it. */
int config_of_node(struct node *root, struct config **ret, struct error *error);
/* Of a pipeline that reads another one, or joins its results: its key and all that is made of columns, once those are known
 * that it reads. Before others have the configuration. -EINVAL, -ENOMEM. */
int config_resolve(struct config *c, size_t pipeline, const struct schema *columns,
                   struct error *error);
/* Are results of the pipeline made of events of this stream? */
bool config_depends(const struct config *c, size_t pipeline, size_t stream);

/* Do the tables of this pipeline go there by these settings (NULL: none does)? -ENOENT: there is no such pipeline. */
int config_is_target(const struct config *c, const struct config_target *t,
                     const char *pipeline);

/* JSON Schema (2020-12) of the file, made of the tables that check it. What an analyzer is, an item of `analyzers`,
 * the caller writes: only plugins know. */
void config_schema(struct buffer *to, void (*analyzer)(void *ctx, struct buffer *to),
                   void *ctx);
/* What may stand beside the name of any analyzer, or `inside` its parameters: "as": ..., a comma behind each. */
void config_analyzer_keys_schema(bool inside, struct buffer *to);

struct config *config_ref(struct config *c);
void config_free(struct config *c); /* gives a reference back; takes NULL */

#endif
