/* SPDX-License-Identifier: Apache-2.0
 *
 * weir token new, list, revoke: the file of tokens that a configuration names. No server is asked, and none needs to run.
 */
#include "access/access.h"
#include "access/rate.h"
#include "base/clock.h"
#include "cmd.h"
#include "config/config.h"
#include "config/faults.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRES_US (365 * DAY_US) /* unless it is said */

static const char help[] =
    "Usage: weir token new    -c FILE --may VERB,... [OPTIONS]\n"
    "       weir token list   -c FILE\n"
    "       weir token revoke -c FILE ID...\n\n"
    "Who asks a server whose configuration names a file of tokens (server: tokens:) "
    "needs "
    "one. `new` prints it,\n"
    "once: only its SHA-256 is kept. A server that runs reads the file again at "
    "SIGHUP.\n\n"
    "  -c, --config FILE      the configuration, weir.yaml(5)\n"
    "  -f, --file FILE        the file of tokens itself, instead\n"
    "      --may VERB,...     post, read, sql, metrics, admin; or all\n"
    "      --stream NAME      only of these streams (again for more); '*': all\n"
    "      --pipeline NAME    only of these pipelines; with neither: all of both\n"
    "      --expires WHEN     90d, a time such as 2027-01-31T00:00:00Z, or never; "
    "default 365d\n"
    "      --requests N       at most so many requests a second\n"
    "      --events N         at most so many events a second\n"
    "      --concurrent N     at most so many requests at a time\n"
    "      --note TEXT        what it is for\n"
    "  -h, --help             this text\n\n"
    "Exit status: 0 done, 1 not done, 64 usage, 73 the file cannot be written, 78 bad "
    "configuration or file of tokens.\n";

struct asked {
    const char *config, *file;
    const char *may, *expires, *note;
    struct token token; /* to be */
    char text[SECRET_TEXT_MAX];
    char **id; /* to be revoked */
    int n_ids;
};

static int say(const struct error *error, int status)
{
    fprintf(stderr, "weir: %s\n", error->text);
    return status;
}

static int exit_of(int err)
{
    return err == -EINVAL                     ? EXIT_CONFIG
           : err == -ENOMEM || err == -EEXIST ? EXIT_FAILURE
                                              : EXIT_CANNOT_CREATE;
}

/* ---- Which file ---- */

static bool has_stream(const struct config *c, const char *name)
{
    bool has = false;
    for (size_t i = 0; i < c->n_streams; i++)
        has = has || strcmp(c->stream[i].name, name) == 0;
    return has;
}

static bool has_pipeline(const struct config *c, const char *name)
{
    bool has = false;
    for (size_t i = 0; i < c->n_pipelines; i++)
        has = has || strcmp(c->pipeline[i].name, name) == 0;
    return has;
}

/* What is misspelt now would be noticed by somebody else, later. */
static int check_names(const struct config *c, const struct token *t)
{
    for (size_t i = 0; i < t->streams.n; i++)
        if (!has_stream(c, t->streams.name[i]))
            return cmd_usage("token", "--stream: there is no stream '%s'",
                             t->streams.name[i]);
    for (size_t i = 0; i < t->pipelines.n; i++)
        if (!has_pipeline(c, t->pipelines.name[i]))
            return cmd_usage("token", "--pipeline: there is no pipeline '%s'",
                             t->pipelines.name[i]);
    return 0;
}

/* *ret_path: the caller's. 0, or an exit status; said. */
static int find_file(const struct asked *q, char **ret_path)
{
    struct config *c = NULL;
    struct error error = {""};
    struct faults faults;
    if (q->file) {
        *ret_path = strdup(q->file);
        return *ret_path ? 0 : EXIT_FAILURE;
    }
    if (!q->config)
        return cmd_usage("token", "-c FILE is missing");
    faults_begin(&faults);
    int r = config_load(q->config, &c, &error);
    faults_end();
    if (r < 0) {
        cmd_say_faults(&faults, &error);
        return EXIT_CONFIG;
    }
    int status = check_names(c, &q->token);
    if (status == 0 && !c->server.tokens) {
        fprintf(stderr,
                "weir: %s names no file of tokens; server: tokens: says where it is\n",
                q->config);
        status = EXIT_CONFIG;
    }
    if (status == 0 && !(*ret_path = strdup(c->server.tokens)))
        status = EXIT_FAILURE;
    config_free(c);
    return status;
}

/* ---- new ---- */

static int add(struct tokens *t, void *ctx, struct error *error)
{
    struct asked *q = ctx;
    if (t->n >= TOKENS_MAX)
        return error_set(error, -EEXIST, "there are %d tokens already", TOKENS_MAX);
    struct token *more = realloc(t->token, (t->n + 1) * sizeof(*more));
    if (!more)
        return error_set(error, -ENOMEM, "out of memory");
    t->token = more;
    t->token[t->n++] = q->token; /* freed with the others */
    q->token = (struct token){0};
    return 0;
}

/* 0, or an exit status. */
static int set_may(struct asked *q)
{
    char word[16];
    for (const char *at = q->may; *at; at += *at == ',') {
        size_t n = strcspn(at, ",");
        snprintf(word, sizeof(word), "%.*s", (int)(n < 15 ? n : 15), at);
        enum access_verb v = access_verb_of(word);
        if (strcmp(word, "all") == 0)
            q->token.may |= ACCESS_ALL;
        else if (v == ACCESS_UNSAID)
            return cmd_usage(
                "token", "--may: '%s' is none of post, read, sql, metrics, admin, all",
                word);
        else
            q->token.may |= 1u << v;
        at += n;
    }
    return q->token.may ? 0 : cmd_usage("token", "--may: it may nothing");
}

static int set_expires(struct asked *q, int64_t now_us)
{
    int64_t us;
    q->token.expires_us = now_us + EXPIRES_US;
    if (!q->expires)
        return 0;
    if (strcmp(q->expires, "never") == 0)
        q->token.expires_us = INT64_MAX;
    else if (clock_parse_duration(q->expires, &us) == 0 && us > 0 && us < INT64_MAX / 2)
        q->token.expires_us = now_us + us;
    else if (clock_parse(q->expires, strlen(q->expires), &us) == 0 && us > now_us)
        q->token.expires_us = us;
    else
        return cmd_usage("token",
                         "--expires: '%s' is no duration such as 90d, no time to come, "
                         "and not never",
                         q->expires);
    return 0;
}

static int set_note(struct asked *q)
{
    if (!q->note)
        return 0;
    for (const char *at = q->note; *at; at++)
        if ((unsigned char)*at < ' ' || at - q->note >= TOKENS_NOTE_MAX)
            return cmd_usage("token", "--note: a line of at most %d bytes",
                             TOKENS_NOTE_MAX);
    q->token.note = *q->note ? strdup(q->note) : NULL;
    return *q->note && !q->token.note ? EXIT_FAILURE : 0;
}

static int make(struct asked *q)
{
    struct error error = {""};
    char *path = NULL, id[SECRET_ID_MAX + 1];
    int64_t now_us = clock_now_us() / SECOND_US * SECOND_US;
    if (!q->may)
        return cmd_usage("token", "--may is missing: what is it to be allowed?");
    struct token *t = &q->token;
    int status = set_may(q);
    if (status == 0)
        status = set_expires(q, now_us);
    if (status == 0)
        status = set_note(q);
    if (status == 0 && !t->streams.n && !t->streams.all && !t->pipelines.n &&
        !t->pipelines.all)
        t->streams.all = t->pipelines.all = true;
    if (status == 0)
        status = find_file(q, &path);
    if (status)
        return status;
    int err = secret_make(id, q->text, &error);
    if (err == 0) {
        strcpy(t->id, id);
        sha256(q->text, strlen(q->text), t->digest);
        t->created_us = now_us;
        err = tokens_change(path, true, add, q, &error);
    }
    if (err == 0) {
        fprintf(
            stderr,
            "token %s, in %s; this is shown once. A server that runs knows it after "
            "SIGHUP.\n",
            id, path);
        if (puts(q->text) == EOF || fflush(stdout) == EOF)
            err =
                error_set(&error, -EIO,
                          "token %s was made, but could not be printed: revoke it", id);
    }
    explicit_bzero(q->text, sizeof(q->text));
    free(path);
    return err == 0 ? EXIT_SUCCESS : say(&error, exit_of(err));
}

/* ---- list ---- */

static void print_names(const char *what, const struct token_names *names)
{
    printf("  %s %s", what, names->all ? "*" : names->n ? "" : "-");
    for (size_t i = 0; i < names->n; i++)
        printf("%s%s", i ? "," : "", names->name[i]);
}

static void print_limit(const char *what, uint64_t limit)
{
    if (limit)
        printf("  %s %llu", what, (unsigned long long)limit);
}

static void print_token(const struct token *t, int64_t now_us)
{
    char expires[CLOCK_TEXT_MAX] = "never";
    const char *between = "";
    if (t->expires_us != INT64_MAX)
        clock_format(t->expires_us, expires);
    printf("%s  ", t->id);
    for (unsigned v = ACCESS_POST; v < ACCESS_VERBS; v++)
        if (t->may & 1u << v) {
            printf("%s%s", between, access_verb_word[v]);
            between = ",";
        }
    print_names("streams", &t->streams);
    print_names("pipelines", &t->pipelines);
    printf("  expires %s%s", expires, t->expires_us <= now_us ? " (over)" : "");
    print_limit("requests", t->requests);
    print_limit("events", t->events);
    print_limit("concurrent", t->concurrent);
    printf("%s%s\n", t->note ? "  # " : "", t->note ? t->note : "");
}

static int list(struct asked *q)
{
    struct tokens t = {0};
    struct error error = {""};
    char *path = NULL;
    int status = find_file(q, &path);
    if (status)
        return status;
    int err = tokens_load(path, &t, &error);
    int64_t now_us = clock_now_us();
    for (size_t i = 0; i < t.n; i++)
        print_token(&t.token[i], now_us);
    tokens_free(&t);
    free(path);
    return err == 0 ? EXIT_SUCCESS : say(&error, EXIT_CONFIG);
}

/* ---- revoke ---- */

static int take_out(struct tokens *t, void *ctx, struct error *error)
{
    const struct asked *q = ctx;
    for (int k = 0; k < q->n_ids; k++) {
        size_t i = 0;
        while (i < t->n && strcmp(t->token[i].id, q->id[k]) != 0)
            i++;
        if (i == t->n)
            return error_set(error, -EEXIST,
                             "there is no token '%.40s'; nothing was revoked",
                             q->id[k]);
        token_free(&t->token[i]);
        memmove(&t->token[i], &t->token[i + 1], (--t->n - i) * sizeof(*t->token));
    }
    return 0;
}

static int revoke(struct asked *q)
{
    struct error error = {""};
    char *path = NULL;
    if (q->n_ids == 0)
        return cmd_usage("token", "which one? `weir token list` shows their ids");
    int status = find_file(q, &path);
    if (status)
        return status;
    int err = tokens_change(path, false, take_out, q, &error);
    if (err == 0)
        fprintf(
            stderr,
            "revoked in %s; a server that runs knows it after SIGHUP, and ends what "
            "it does for them\n",
            path);
    free(path);
    return err == 0 ? EXIT_SUCCESS : say(&error, exit_of(err));
}

/* ---- */

/* 0, or an exit status. */
static int take_name(struct token_names *names, const char *name)
{
    char **more;
    if (strcmp(name, "*") == 0) {
        names->all = true;
        return 0;
    }
    if (names->n == TOKENS_NAMES_MAX)
        return cmd_usage("token", "more than %d names", TOKENS_NAMES_MAX);
    if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
        return cmd_usage("token", "'%s' is no name of a stream or a pipeline", name);
    if (!(more = realloc(names->name, (names->n + 1) * sizeof(*more))))
        return EXIT_FAILURE;
    names->name = more;
    if (!(more[names->n] = strdup(name)))
        return EXIT_FAILURE;
    names->n++;
    return 0;
}

static int take_number(const char *option, const char *text, uint64_t most,
                       uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || n < 1 || n > most)
        return cmd_usage("token", "--%s: a number from 1 to %llu", option,
                         (unsigned long long)most);
    *ret = n;
    return 0;
}

static int read_options(int argc, char **argv, struct asked *q, bool is_new)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"file", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"may", required_argument, NULL, 'm'}, /* from here on only for `new` */
        {"stream", required_argument, NULL, 's'},
        {"pipeline", required_argument, NULL, 'p'},
        {"expires", required_argument, NULL, 'x'},
        {"requests", required_argument, NULL, 'r'},
        {"events", required_argument, NULL, 'e'},
        {"concurrent", required_argument, NULL, 'n'},
        {"note", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0}};
    struct token *t = &q->token;
    int status = 0;
    for (int o;
         status == 0 && (o = getopt_long(argc, argv, "c:f:h", options, NULL)) != -1;) {
        if (!is_new && !strchr("cfh?", o))
            return cmd_usage("token", "that option is for `weir token new`");
        switch (o) {
        case 'c':
            q->config = optarg;
            break;
        case 'f':
            q->file = optarg;
            break;
        case 'h':
            exit(fputs(help, stdout) < 0);
        case 'm':
            q->may = optarg;
            break;
        case 's':
            status = take_name(&t->streams, optarg);
            break;
        case 'p':
            status = take_name(&t->pipelines, optarg);
            break;
        case 'x':
            q->expires = optarg;
            break;
        case 'r':
            status = take_number("requests", optarg, RATE_MAX, &t->requests);
            break;
        case 'e':
            status = take_number("events", optarg, RATE_MAX, &t->events);
            break;
        case 'n':
            status = take_number("concurrent", optarg, 1000000, &t->concurrent);
            break;
        case 't':
            q->note = optarg;
            break;
        default:
            return EXIT_USAGE;
        }
    }
    return status;
}

int cmd_token(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct asked *q);
    } commands[] = {{"new", make}, {"list", list}, {"revoke", revoke}};
    struct asked q = {0};
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return fputs(help, stdout) < 0;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        argv[1] = argv[0];
        int status = read_options(argc - 1, argv + 1, &q, i == 0);
        q.id = argv + 1 + optind;
        q.n_ids = argc - 1 - optind;
        if (status == 0 && q.n_ids > 0 && i != 2)
            status = cmd_usage("token", "one argument too many");
        if (status == 0)
            status = commands[i].run(&q);
        token_free(&q.token);
        return status;
    }
    return cmd_usage("token", "there are new, list and revoke");
}
