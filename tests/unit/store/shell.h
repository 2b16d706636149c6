/* SPDX-License-Identifier: Apache-2.0
 *
 * The sqlite3 shell as an independent reader and writer of database files, and a folder to work in.
 */
#ifndef TEST_SHELL_H
#define TEST_SHELL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char shell_folder[64];

static inline int shell_setup(void **state)
{
    (void)state;
    strcpy(shell_folder, "/tmp/weir-store-XXXXXX");
    return mkdtemp(shell_folder) ? 0 : -1;
}

static inline int shell_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", shell_folder);
    return system(command);
}

static inline const char *shell_path(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", shell_folder, name);
    return path;
}

/* What `sqlite3 OPTIONS FILE SQL` prints, errors too. */
static inline const char *shell_with(const char *options, const char *file,
                                     const char *sql)
{
    static char out[65536];
    char command[4096];
    snprintf(command, sizeof(command), "sqlite3 -batch %s '%s' \"%s\" 2>&1", options,
             shell_path(file), sql);
    FILE *f = popen(command, "r");
    if (!f)
        return "popen failed";
    size_t n = fread(out, 1, sizeof(out) - 1, f);
    pclose(f);
    out[n] = 0;
    return out;
}

/* With '|' between columns. */
static inline const char *shell(const char *file, const char *sql)
{
    return shell_with("", file, sql);
}

#endif
