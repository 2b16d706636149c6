/* SPDX-License-Identifier: Apache-2.0
 *
 * The process that runs statements of strangers: started with exec by query/process.c, one statement at a time, within
 * limits that the kernel keeps.
 */
#ifndef WEIR_QUERY_CHILD_H
#define WEIR_QUERY_CHILD_H

/* The word behind the program's name by which main finds query_child. */
#define QUERY_CHILD_COMMAND "sql-process"

#define QUERY_CHILD_SOCKET 3 /* the descriptor that it talks over */

/* How long after its deadline a statement that does not look at the clock is ended. */
#define QUERY_GRACE_US 200000

/* argv: the command, then DATABASE MEMORY TEMP PARENT (bytes, bytes, process number). Returns the exit status once the
 * other end is closed. */
int query_child(int argc, char **argv);

#endif
