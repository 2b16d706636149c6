/* SPDX-License-Identifier: Apache-2.0
 *
 * How `weir reload` asks the server of a folder of journals, and hears what came of it: a socket with an abstract name,
 * made of the folder's device and inode, for root and the user of the server. One question a connection, and one connection at a time; the others wait.
 *
 *      weir reload                                   server
 *                  ---- connects ------------------>
 *                  <--- "info pipeline 'x' starts\n"  lines of a level and a message
 *                  <--- "status 0\n"                  the exit status; without it the server ended in between
 */
#ifndef WEIR_CONTROL_H
#define WEIR_CONTROL_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

struct control;

/* Listens. `reload` runs on the control's thread: appends the whole answer; it must return when the server is to end.
 * -EADDRINUSE: somebody has taken the name; another -errno. */
int control_new(const char *folder, void (*reload)(void *ctx, struct buffer *answer),
                void *ctx, struct control **ret, struct error *error);
void control_free(struct control *c); /* takes NULL */

/* Asks. `said` is called for each line. The status, or -ENOENT, -ECONNREFUSED: no server has this folder; -EACCES: it is not
 * the owner's; -EPIPE: it ended in between. */
int control_reload(const char *folder,
                   void (*said)(void *ctx, const char *level, const char *text),
                   void *ctx, struct error *error);

/* ---- The names, for others: `kind` tells them apart ---- */

/* A socket of that type that listens. -errno. */
int control_listen(const char *folder, const char *kind, int type, int *ret_fd);
/* One that is connected; -errno of what keeps it from being so. -EACCES: who listens is not the owner of the folder. */
int control_reach(const char *folder, const char *kind, int type);
/* Whether who has connected is root's or this user's. */
bool control_is_own(int fd);

#endif
