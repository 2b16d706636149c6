/* SPDX-License-Identifier: Apache-2.0
 *
 * weir backup: a copy of the database and the journals, from their files, whether a server runs or not.
 */
#include "admin/backup.h"
#include "cmd.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "Usage: weir backup [-c FILE] FOLDER\n"
    "       weir backup -d DATABASE FOLDER\n\n"
    "Copies the database and the journals to FOLDER, which is made; a server may be "
    "running and goes on.\n"
    "weir serve -c FILE -d FOLDER/" BACKUP_DATABASE " starts from the copy.\n\n"
    "  -c, --config FILE    the configuration, weir.yaml(5)\n"
    "  -d, --database FILE  copy this one, with the journals beside it\n"
    "  -h, --help           this text\n\n"
    "Exit status: 0 done, 1 interrupted, 64 usage, 69 no database, 73 FOLDER cannot be "
    "made,\n"
    "74 reading or writing failed, or a journal is damaged, and so is the copy of it;\n"
    "78 bad configuration.\n";

static bool is_stopped(void *unused)
{
    (void)unused;
    return cmd_stop;
}

static void print_report(const char *folder, const struct backup_report *r)
{
    printf("%s: %llu bytes in %.2f s\n", folder, (unsigned long long)r->bytes,
           (double)r->took_us / 1e6);
    for (size_t i = 0; i < r->n_streams; i++)
        printf("stream %s: up to entry %llu\n", r->stream[i].name,
               (unsigned long long)r->stream[i].position);
    if (r->n_streams == 0)
        puts("no journals");
}

static int exit_code(int err)
{
    switch (-err) {
    case ECANCELED:
        return EXIT_FAILURE;
    case ENOENT:
    case EINVAL:
        return EXIT_UNAVAILABLE;
    case EEXIST:
    case EACCES:
    case EROFS:
    case EPERM:
    case ENOTDIR:
        return EXIT_CANNOT_CREATE;
    default:
        return EXIT_IO;
    }
}

static int make(const struct cmd_files *files, void *to)
{
    const struct backup_options options = {.database = files->database,
                                           .journal = files->journal,
                                           .to = to,
                                           .cancelled = is_stopped};
    struct backup_report report = {0};
    struct error error = {""};
    int err = backup_make(&options, &report, &error);
    if (err) {
        fprintf(stderr, "weir: %s\n", error.text);
        return exit_code(err);
    }
    print_report(to, &report);
    int status = EXIT_SUCCESS;
    if (report.damage.text[0]) {
        fprintf(stderr, "weir: the copy is as damaged as the original: %s\n",
                report.damage.text);
        status = EXIT_IO;
    }
    backup_report_free(&report);
    return status;
}

int cmd_backup(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"database", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL, *database = NULL;
    for (int o; (o = getopt_long(argc, argv, "c:d:h", options, NULL)) != -1;) {
        if (o == 'c')
            config = optarg;
        else if (o == 'd')
            database = optarg;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (!config && !database && !(config = cmd_default_config()))
        return cmd_usage("backup", "one of --config and --database is needed");
    if (optind + 1 != argc)
        return cmd_usage("backup", "one FOLDER is needed");
    cmd_stop_on_signals(SA_RESTART);
    return cmd_on_files(config, database, make, argv[optind]);
}
