/* SPDX-License-Identifier: Apache-2.0
 *
 * All that is wrong with a configuration, and not only the first of it. Who begins a collection on his thread has
 * the readers of independent parts (keys of a section, streams, pipelines, analyzers) go on behind a fault:
 *
 *      faults_begin(&f);  config_load, pipeline_new, ...;  faults_end();
 *
 * Without one they return at the first fault, as any function does.
 */
#ifndef WEIR_CONFIG_FAULTS_H
#define WEIR_CONFIG_FAULTS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define FAULTS_MAX 20

struct faults {
    size_t n;
    struct error fault[FAULTS_MAX]; /* each text with its place */
};

/* `f` is emptied, and is to stay until faults_end. */
void faults_begin(struct faults *f);
void faults_end(void);

/* After a part has failed with r: keeps its text, once, however many layers report it. True: go on with the next
 * part, and return r in the end. False: return it now (nobody collects, memory is out, or there are
 * enough). */
bool faults_go_on(int r, const struct error *error);

#endif
