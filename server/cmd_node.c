/* SPDX-License-Identifier: Apache-2.0
 *
 * weir node: servers for the shards of this machine, which takes over from others.
 */
#include "base/logger.h"
#include "base/notify.h"
#include "cmd.h"
#include "config/config.h"
#include "config/faults.h"
#include "node/node.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_SIZE 63

static const char help[] =
    "Usage: weir node [-c FILE] [--name NAME] [--dir DIR]\n"
    "       weir node --list [-c FILE]\n\n"
    "Runs a server for each shard that is this node's, by leases in PostgreSQL, and "
    "takes over those of\n"
    "nodes that are no more, until SIGTERM or SIGINT. What nodes have in common stands "
    "in `nodes:` of the\n"
    "configuration, weir.yaml(5), which all servers read: WEIR_SHARD and "
    "WEIR_PARTITIONS say which each is.\n\n"
    "  -c, --config FILE  the configuration\n"
    "      --name NAME    of this node, another one for each; default: that of the "
    "machine\n"
    "      --dir DIR      where the shards' databases are; default: shards\n"
    "      --list         show nodes and shards, and end\n"
    "  -v, --verbose      debug messages, too, also of the servers\n"
    "  -h, --help         this text\n\n"
    "Exit status: 0 stopped by a signal, 78 bad configuration, or another node has its "
    "name,\n"
    "69 PostgreSQL (--list) or the address is not there.\n";

struct arguments {
    const char *path, *name, *folder;
    bool list, verbose;
};

/* Partitions and shards are those of the first one. */
static int load(const char *path, struct config **ret)
{
    struct error error = {""};
    struct faults faults;
    struct buffer partitions = {0};
    setenv("WEIR_SHARD", "0", 1);
    setenv("WEIR_PARTITIONS", "0", 1);
    faults_begin(&faults);
    int err = config_load(path, ret, &error);
    faults_end();
    if (err) {
        cmd_say_faults(&faults, &error);
        return EXIT_CONFIG;
    }
    struct config *c = *ret;
    if (!c->nodes.node) {
        fprintf(stderr, "weir: %s: 'nodes' is missing\n", path);
        return EXIT_CONFIG;
    }
    config_put_partitions(&c->nodes, 0, &partitions);
    setenv("WEIR_PARTITIONS", buffer_text(&partitions), 1);
    buffer_free(&partitions);
    config_free(c);
    err = config_load(path, ret, &error);
    if (!err)
        err = config_check_shard(*ret, 0, "0", &error);
    if (err)
        fprintf(stderr, "weir: %s\n", error.text);
    return err ? EXIT_CONFIG : 0;
}

static int list(const struct config *c)
{
    struct error error = {""};
    int err = node_list(c, stdout, &error);
    if (err)
        fprintf(stderr, "weir: %s\n", error.text);
    return err ? EXIT_UNAVAILABLE : fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct node_options *options)
{
    static const int status[] = {[NODE_STOPPED] = EXIT_SUCCESS,
                                 [NODE_REFUSED] = EXIT_CONFIG,
                                 [NODE_NO_START] = EXIT_UNAVAILABLE};
    struct error error = {""};
    sigset_t all;
    signal(SIGCHLD, SIG_DFL); /* ignored, as some hand it on, no end would be told */
    sigfillset(&all);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, NULL); /* threads inherit it */
    const enum node_end end = node_run(options, &error);
    if (end == NODE_NO_START)
        fprintf(stderr, "weir: %s\n", error.text);
    else if (end != NODE_STOPPED)
        logger_error("node", "%s", error.text);
    else
        logger_info("node", "stopped");
    return status[end];
}

static int read_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "c:vh", options, NULL)) != -1;) {
        if (o == 'c')
            ret->path = optarg;
        else if (o == 'n')
            ret->name = optarg;
        else if (o == 'd')
            ret->folder = optarg;
        else if (o == 'l')
            ret->list = true;
        else if (o == 'v')
            ret->verbose = true;
        else if (o == 'h')
            return fputs(help, stdout) < 0 ? EXIT_FAILURE : -1;
        else
            return EXIT_USAGE;
    }
    if (optind < argc)
        return cmd_usage("node", "one argument too many");
    if (!ret->path && !(ret->path = cmd_default_config()))
        return cmd_usage("node", CMD_NO_CONFIG);
    return 0;
}

static bool is_name(const char *text)
{
    const size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyz"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return size > 0 && size <= NAME_MAX_SIZE && !text[size];
}

int cmd_node(int argc, char **argv)
{
    struct arguments a = {.folder = "shards"};
    char host[256] = "";
    struct config *c = NULL;
    int status = read_arguments(argc, argv, &a);
    if (status)
        return status < 0 ? EXIT_SUCCESS : status;
    if (!a.name && gethostname(host, sizeof(host) - 1) == 0)
        a.name = host;
    if (!a.list && (!a.name || !is_name(a.name)))
        return cmd_usage("node",
                         "--name: expected up to %d letters, digits, '.', '_' and '-', "
                         "found '%s'",
                         NAME_MAX_SIZE, a.name ? a.name : "");
    const enum logger_level least = a.verbose ? LOGGER_DEBUG : LOGGER_INFO;
    logger_setup(least, false);
    notify_setup();
    status = load(a.path, &c);
    if (!status) {
        const struct node_options options = {.config = c,
                                             .path = a.path,
                                             .name = a.name,
                                             .folder = a.folder,
                                             .verbose = a.verbose,
                                             .superseded = EXIT_SUPERSEDED};
        logger_setup(least, c->server.log_json);
        status = a.list ? list(c) : run(&options);
    }
    config_free(c);
    return status;
}
