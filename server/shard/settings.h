/* SPDX-License-Identifier: Apache-2.0
 *
 * What a configuration says of where events come from and rows go to, for a host that reads and writes itself.
 */
#ifndef WEIR_SHARD_SETTINGS_H
#define WEIR_SHARD_SETTINGS_H

#include "shard/internal.h"

struct settings {
    struct weir_shard_setting *list;
    size_t n, room;
};

/* -ENOMEM. What it has so far is for settings_free also where it fails. */
int settings_make(struct settings *s, const struct job *job);
void settings_free(struct settings *s);

#endif
