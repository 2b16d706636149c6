/* SPDX-License-Identifier: Apache-2.0
 *
 * File descriptors are a budget: what streams and queries need is set aside, connections get the rest.
 */
#ifndef WEIR_DESCRIPTORS_H
#define WEIR_DESCRIPTORS_H

#include "config/config.h"

/* Raises the process's limit as far as it may be, and sees how many connections it leaves room for: at most
 * max_connections; a warning tells if there are fewer. -EMFILE: too few to be of use. */
int descriptors_budget(const struct config *c, unsigned *ret_connections,
                       struct error *error);

#endif
