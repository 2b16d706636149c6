/* SPDX-License-Identifier: Apache-2.0
 *
 * The subcommands of weir: a file each, cmd_NAME.c. They get argv from their own name on and return
 * the exit status.
 */
#ifndef WEIR_CMD_H
#define WEIR_CMD_H

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_plugins(int argc, char **argv);
int cmd_plugin(int argc, char **argv);
int cmd_sql(int argc, char **argv);
int cmd_backup(int argc, char **argv);

/* Says "weir NAME: text (weir NAME --help tells more)" and returns 64. */
int cmd_usage(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
