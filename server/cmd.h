/* SPDX-License-Identifier: Apache-2.0
 *
 * The subcommands of weir: a file each, cmd_NAME.c. They get argv from their own name on and return
 * the exit status.
 */
#ifndef WEIR_CMD_H
#define WEIR_CMD_H

#include <stdbool.h>

struct config;

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_plugins(int argc, char **argv);
int cmd_plugin(int argc, char **argv);
int cmd_schema(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_sql(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_backup(int argc, char **argv);

/* Says "weir NAME: text (weir NAME --help tells more)" and returns 64. */
int cmd_usage(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Set by SIGTERM and SIGINT from now on; nothing else hangs on it. The second signal ends the process at once.
 * flags: SA_RESTART, or 0, where a read that waits is to end with EINTR. */
extern _Atomic bool cmd_stop;
void cmd_stop_on_signals(int flags);

/* Says all that was collected, or else what stands in `error`. */
struct faults;
struct error;
void cmd_say_faults(const struct faults *f, const struct error *error);

/* Where -c names none: what WEIR_CONFIG names, or the configuration of the machine's server. NULL: there is none, or it may not be read. */
const char *cmd_default_config(void);
#define CMD_NO_CONFIG                                                                  \
    "-c FILE is missing, and there is no " WEIR_SYSCONF_DIR "/weir.yaml"

struct cmd_files {
    const struct config *config; /* NULL: none was named */
    const char *database;
    const char *journal; /* the folder of all journals */
};

typedef int cmd_files_fn(const struct cmd_files *files, void *ctx);

/* The exit status of `act` on the files of a configuration, or on `database` and the journals beside it; one of
 * both may be NULL. What goes wrong before is said. */
int cmd_on_files(const char *config_path, const char *database, cmd_files_fn *act,
                 void *ctx);

#endif
