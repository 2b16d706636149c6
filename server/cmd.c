/* SPDX-License-Identifier: Apache-2.0
 *
 * What the subcommands share.
 */
#include "cmd.h"

#include "config/faults.h"
#include "wire.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int cmd_usage(const char *name, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "weir %s: ", name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (weir %s --help tells more)\n", name);
    return EXIT_USAGE;
}

_Atomic bool cmd_stop;

static void on_signal(int number)
{
    (void)number;
    cmd_stop = true;
}

void cmd_stop_on_signals(int flags)
{
    const struct sigaction action = {.sa_handler = on_signal,
                                     .sa_flags = (int)SA_RESETHAND | flags};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

void cmd_say_faults(const struct faults *f, const struct error *error)
{
    for (size_t i = 0; i < f->n; i++)
        fprintf(stderr, "weir: %s\n", f->fault[i].text);
    if (f->n == 0)
        fprintf(stderr, "weir: %s\n", error->text);
    if (f->n == FAULTS_MAX)
        fputs("weir: there may be more\n", stderr);
}

const char *cmd_default_config(void)
{
    static const char path[] = WEIR_SYSCONF_DIR "/weir.yaml";
    const char *named = getenv("WEIR_CONFIG");
    if (named && *named)
        return named;
    return access(path, R_OK) == 0 ? path : NULL;
}

int cmd_on_files(const char *config_path, const char *database, cmd_files_fn *act,
                 void *ctx)
{
    const struct config_server none = {0};
    struct config *config = NULL;
    struct error error = {""};
    if (config_path && config_load(config_path, &config, &error)) {
        fprintf(stderr, "weir: %s\n", error.text);
        return EXIT_CONFIG;
    }
    const struct config_server *s = config ? &config->server : &none;
    char *journal = weir_journal_folder(s, database);
    const struct cmd_files files = {.config = config,
                                    .database = database ? database : s->database,
                                    .journal = journal};
    int status = EXIT_FAILURE;
    if (journal)
        status = act(&files, ctx);
    else
        fputs("weir: out of memory\n", stderr);
    free(journal);
    config_free(config);
    return status;
}
