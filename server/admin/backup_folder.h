/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder of the backups that a server makes of itself: named by the time, the oldest removed.
 */
#ifndef WEIR_ADMIN_BACKUP_FOLDER_H
#define WEIR_ADMIN_BACKUP_FOLDER_H

#include "admin/backup.h"

/* Makes a backup as of `o` (`to` is not looked at) in a new folder below `folder`, which is made if need be,
 * and then removes all but the newest `keep`, by their names; the one just made stays, though the clock may have
 * gone back. Only what has a name of the form 20260102T030405.678Z is ever
 * removed, or such a name with .part that nobody is making any more; and no backup that a server runs
 * on. *ret_path: malloc'ed. Errors of backup_make. */
int backup_folder_add(const char *folder, unsigned keep, const struct backup_options *o,
                      char **ret_path, struct backup_report *ret, struct error *error);

#endif
