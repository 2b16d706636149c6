/* SPDX-License-Identifier: Apache-2.0
 *
 * The process of an analyzer (`run: process`), from its main on: it loads the plugin, keeps the states of one worker's groups, and
 * does what remote.h writes down, within the limits of apart/limits.h.
 */
#ifndef WEIR_PIPELINE_REMOTE_CHILD_H
#define WEIR_PIPELINE_REMOTE_CHILD_H

/* argv: the command, then what apart/process.h says. Returns the exit status if it cannot begin. */
int remote_child(int argc, char **argv);

#endif
