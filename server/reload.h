/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGHUP: the configuration is read again. Pipelines that are new or changed, or that have failed, start;
 * those that are gone stop; the others are not touched. No event is lost: a pipeline is exchanged between
 * two entries of its log, behind a checkpoint.
 */
#ifndef WEIR_RELOAD_H
#define WEIR_RELOAD_H

#include "wire.h"

/* Reads `path`. On failure everything is as before, and the text says why. -EINVAL: not a valid configuration,
 * or streams are others, which takes a restart. */
int weir_reload(struct weir *w, const char *path, struct error *error);

/* The chain that the pipeline is of, as it is configured, is made anew and takes the place of the one there is: from its
 * last checkpoint. */
int weir_exchange(struct weir *w, struct pipeline *p, struct error *error);

#endif
