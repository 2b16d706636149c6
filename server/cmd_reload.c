/* SPDX-License-Identifier: Apache-2.0
 *
 * weir reload: a running server reads its configuration again, and says what came of it.
 */
#include "cmd.h"
#include "config/config.h"
#include "control.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: weir reload [-c FILE | -d FILE]\n\n"
    "Has a running server of this user read its configuration, tokens and certificates "
    "again, waits until it\n"
    "has, and says what happened. The server checks all of the configuration before it "
    "changes anything:\n"
    "what is wrong leaves everything as it was. It reads the file that it was started "
    "with; FILE says\n"
    "where its database is.\n\n"
    "  -c, --config FILE    the configuration, weir.yaml(5)\n"
    "  -d, --database FILE  the database, where the server was started with another "
    "one\n"
    "  -h, --help           this text\n\n"
    "Exit status: 0 the configuration is in force, 1 it is, but a pipeline could not "
    "start, or tokens or\n"
    "certificates were refused, 64 usage, 69 no server runs, or it ended meanwhile, 78 "
    "the configuration\n"
    "was refused.\n";

static void print_said(void *ctx, const char *level, const char *text)
{
    static const char prefix[] = "SIGHUP: "; /* so the log has it */
    (void)ctx;
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        text += sizeof(prefix) - 1;
    bool well = strcmp(level, "info") == 0 || strcmp(level, "debug") == 0;
    fprintf(well ? stdout : stderr, "weir: %s\n", text);
}

static int ask(const struct cmd_files *files, void *asked)
{
    struct error error = {""};
    *(bool *)asked = true;
    int status = control_reload(files->journal, print_said, NULL, &error);
    if (status >= 0)
        return status;
    fprintf(stderr, "weir: %s\n", error.text);
    return status == -EACCES || status == -ENOMEM ? EXIT_FAILURE : EXIT_UNAVAILABLE;
}

int cmd_reload(int argc, char **argv)
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
    if (optind < argc)
        return cmd_usage("reload", "one argument too many");
    if (!config && !database && !(config = cmd_default_config()))
        return cmd_usage("reload", CMD_NO_CONFIG);
    bool asked = false;
    int status = cmd_on_files(config, database, ask, &asked);
    if (status == EXIT_CONFIG && !asked)
        fputs("weir: the server was not asked: tokens and certificates stay as they "
              "were, too; 'weir reload -d DATABASE' has it read them all the same\n",
              stderr);
    return status;
}
