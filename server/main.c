/* SPDX-License-Identifier: Apache-2.0
 *
 * weir: finds the subcommand. Each has a file of its own, cmd_NAME.c; wire.c ties the stages together.
 */
#include "config.h"

#include "apart/process.h"
#include "cmd.h"
#include "pipeline/remote_child.h"
#include "query/child.h"
#include "wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int cmd_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("weir " PACKAGE_VERSION);
    return EXIT_SUCCESS;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", cmd_serve, "start the server"},
    {"reload", cmd_reload, "have a server read its configuration again, and wait"},
    {"check", cmd_check,
     "check a configuration, its plugins, a database and its journals"},
    {"doctor", cmd_doctor, "look at disks, limits, memory, the clock and the address"},
    {"run", cmd_run, "push files or standard input through the pipelines and exit"},
    {"test", cmd_test,
     "compare what a configuration makes of events with what is expected"},
    {"node", cmd_node,
     "run servers for shards of Kafka, and take over those of other machines"},
    {"plugins", cmd_plugins, "list the analyzers, or show one"},
    {"plugin", cmd_plugin, "begin an analyzer of your own (new), or check one (check)"},
    {"schema", cmd_schema, "JSON Schema of the configuration, for editors"},
    {"sql", cmd_sql, "ask the database of a configuration"},
    {"backup", cmd_backup,
     "copy the database and the journals, also of a running server"},
    {"top", cmd_top, "show what a running server does: rates, lag, CPU, errors"},
    {"token", cmd_token, "make, list and revoke the tokens of those who may ask"},
    {"version", cmd_version, "print the version"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
    fputs("Usage: weir COMMAND [OPTIONS]\n\n", to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-8s  %s\n", commands[i].name, commands[i].help);
    fputs("\nweir COMMAND --help tells the options; weir(1) tells all.\n", to);
}

/* What was printed has arrived: a full disk, say, is told, not passed over. */
static int printed(int status)
{
    int failed = ferror(stdout);
    if ((fflush(stdout) == 0 && !failed) || status != EXIT_SUCCESS)
        return status;
    fputs("weir: standard output could not be written\n", stderr);
    return EXIT_IO;
}

/* getopt's messages begin with argv[0]. */
static int run_command(size_t i, int argc, char **argv)
{
    char name[32];
    snprintf(name, sizeof(name), "weir %s", commands[i].name);
    argv[0] = name;
    return printed(commands[i].run(argc, argv));
}

/* What is opened is not to be taken for a standard stream that was closed. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, QUERY_CHILD_COMMAND)) /* for the server, not for people */
        return query_child(argc - 1, argv + 1);
    if (!strcmp(name, APART_COMMAND)) /* likewise */
        return remote_child(argc - 1, argv + 1);
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(stdout);
        return printed(EXIT_SUCCESS);
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        name = "version";
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name))
            return run_command(i, argc - 1, argv + 1);
    fprintf(stderr, "weir: '%s' is no command (weir --help lists them)\n", name);
    return EXIT_USAGE;
}
