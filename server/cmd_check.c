/* SPDX-License-Identifier: Apache-2.0
 *
 * weir check: the way of `weir serve` up to the point where it would listen; or, with --database, all that
 * is in the files.
 */
#include "access/access.h"
#include "admin/verify.h"
#include "cmd.h"
#include "config/faults.h"
#include "graph.h"
#include "http/tls.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: weir check [-c FILE] [--no-database] [--graph[=dot]]\n"
    "       weir check [-c FILE] --database [DATABASE]\n\n"
    "Reads the configuration, loads its plugins, checks their parameters, compiles the "
    "filters,\n"
    "reads the files of tokens and certificates, and looks at the database and its "
    "tables.\n"
    "Makes and changes nothing.\n\n"
    "With --database: reads all of the database (of the configuration, or DATABASE) "
    "and of its journals,\n"
    "and says what is damaged, and what to do. Changes nothing; a server may be "
    "running.\n\n"
    "  -c, --config FILE  the configuration, weir.yaml(5)\n"
    "      --no-database  leave the database alone\n"
    "      --graph[=dot]  draw what reads what, as text or for Graphviz; the database "
    "is "
    "left alone\n"
    "      --database[=DATABASE]\n"
    "                     verify it and its journals\n"
    "  -h, --help         this text\n\n"
    "Exit status: 0 all is well, 78 the configuration is wrong, 73/74 the database "
    "is;\n"
    "with --database: 1 something is damaged, 69 there is none, 73 made by a newer "
    "weir, 74 it cannot\n"
    "be read.\n";

static void print_summary(const struct weir *w)
{
    printf("%zu stream%s, %zu pipeline%s\n", w->config->n_streams,
           w->config->n_streams == 1 ? "" : "s", w->n_pipelines,
           w->n_pipelines == 1 ? "" : "s");
    for (size_t i = 0; i < w->n_pipelines; i++) {
        const struct table *const *table;
        size_t n = pipeline_tables(w->pipeline[i], &table);
        for (size_t k = 0; k < n; k++) {
            printf("table %s:", table[k]->name);
            for (size_t j = 0; j < table[k]->n_columns; j++)
                printf(" %s", table[k]->column[table_shown(table[k], j)].name);
            putchar('\n');
        }
    }
}

enum graph { GRAPH_NONE, GRAPH_TEXT, GRAPH_DOT };

static void print_checked(const struct weir *w, enum graph graph)
{
    if (graph == GRAPH_TEXT)
        graph_text(w, stdout);
    else if (graph == GRAPH_DOT)
        graph_dot(w, stdout);
    else
        print_summary(w);
}

/* The files of tokens and certificates, as serve reads them; a certificate that ends soon is warned of. */
static int check_access(const struct config_server *c, struct error *error)
{
    struct access *access = NULL;
    struct tls *tls = NULL;
    const struct tls_options options = {.certificate = c->tls.certificate,
                                        .key = c->tls.key,
                                        .client_ca = c->tls.client_ca};
    int r = c->tokens ? access_new(c->tokens, NULL, &access, error) : 0;
    if (r == 0 && options.certificate)
        r = tls_new(&options, NULL, &tls, error);
    if (r == 0 && access && access_count(access) == 0)
        fprintf(stderr, "weir: there is no token in '%s': nobody may do anything\n",
                c->tokens);
    tls_free(tls);
    access_free(access);
    return r;
}

static int check_config(const char *path, bool database, enum graph graph)
{
    struct weir *w;
    struct error error = {0};
    struct faults faults;
    int status;
    faults_begin(&faults);
    int r = weir_load(path, &w, &status, &error);
    faults_end();
    if (r < 0) {
        cmd_say_faults(&faults, &error);
        return status;
    }
    config_warn(&w->config->server);
    r = graph ? 0 : check_access(&w->config->server, &error);
    if (r < 0)
        status = EXIT_CONFIG;
    if (r == 0 && database)
        r = weir_try_store(w, &status, &error);
    if (r == 0 && database && store_is_open(w->config->server.database))
        fputs("weir: a server has the database open: its tables fit; what changed in "
              "'server' and 'streams' takes a restart\n",
              stderr);
    if (r < 0)
        fprintf(stderr, "weir: %s\n", error.text);
    if (r == 0)
        status = EXIT_SUCCESS;
    if (status == EXIT_SUCCESS)
        print_checked(w, graph);
    weir_free(w);
    return status;
}

/* ---- --database ---- */

static void print_said(void *ctx, enum verify_said what, const char *text)
{
    (void)ctx;
    if (what == VERIFY_FOUND)
        puts(text);
    else
        fprintf(stderr, "weir: %s%s\n", what == VERIFY_TO_DO ? "to do: " : "", text);
}

static int verify_exit_code(int err)
{
    return err == -ENOENT   ? EXIT_UNAVAILABLE
           : err == -EEXIST ? EXIT_CANNOT_CREATE
                            : EXIT_IO;
}

static int verify(const struct cmd_files *files, void *unused)
{
    (void)unused;
    const struct verify_options options = {.database = files->database,
                                           .journal = files->journal,
                                           .config = files->config,
                                           .say = print_said};
    struct error error = {""};
    size_t faults = 0;
    int err = verify_database(&options, &faults, &error);
    if (err) {
        fprintf(stderr, "weir: %s\n", error.text);
        return verify_exit_code(err);
    }
    if (faults)
        fprintf(stderr, "weir: %zu fault%s found\n", faults, faults == 1 ? "" : "s");
    else
        puts("no faults found");
    return faults ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- */

struct arguments {
    const char *config, *database;
    bool no_database, verify;
    enum graph graph;
};

/* -1: go on. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"no-database", no_argument, NULL, 'n'},
                                            {"database", optional_argument, NULL, 'd'},
                                            {"graph", optional_argument, NULL, 'g'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (o == 'c')
            a->config = optarg;
        else if (o == 'n')
            a->no_database = true;
        else if (o == 'd')
            a->verify = true, a->database = optarg;
        else if (o == 'g' && optarg && strcmp(optarg, "dot") != 0)
            return cmd_usage("check", "'%s' is no form of a graph: dot", optarg);
        else if (o == 'g')
            a->graph = optarg ? GRAPH_DOT : GRAPH_TEXT;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (a->verify && !a->database && optind < argc)
        a->database = argv[optind++];
    if (optind < argc)
        return cmd_usage("check", "one argument too many");
    if (a->verify && a->graph)
        return cmd_usage("check", "--database and --graph exclude each other");
    if (a->verify && a->no_database)
        return cmd_usage("check", "--database and --no-database exclude each other");
    if (!a->config && !a->database && !(a->config = cmd_default_config()))
        return cmd_usage("check", a->verify ? "--database needs a DATABASE, or -c FILE"
                                            : CMD_NO_CONFIG);
    return -1;
}

int cmd_check(int argc, char **argv)
{
    struct arguments a = {0};
    int status = read_arguments(argc, argv, &a);
    if (status >= 0)
        return status;
    return a.verify ? cmd_on_files(a.config, a.database, verify, NULL)
                    : check_config(a.config, !a.no_database && !a.graph, a.graph);
}
