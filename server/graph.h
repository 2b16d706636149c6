/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration drawn: streams, the pipelines that read them, their tables, and the pipelines that read those.
 */
#ifndef WEIR_GRAPH_H
#define WEIR_GRAPH_H

#include "wire.h"

#include <stdio.h>

/* A line for each, what reads it further to the right. */
void graph_text(const struct weir *w, FILE *to);
/* For Graphviz. */
void graph_dot(const struct weir *w, FILE *to);

#endif
