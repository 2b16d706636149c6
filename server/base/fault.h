/* SPDX-License-Identifier: Apache-2.0
 *
 * Named places at which a test may end the process, as a power cut would: configure --enable-faults.
 * In any other build a place costs nothing.
 *
 *      WEIR_FAULT=journal_written:17      kill -9 at the 17th time that place is passed
 *      WEIR_FAULT=carry_fenced:3:stop     SIGSTOP there
 *      WEIR_FAULT=carry_begin:/F:stop     at the first time since there is a file /F
 *      WEIR_FAULT_SKIP=carry_fence        what is so called is left out, or, with commas, all of them: tests have to find what comes of it
 */
#ifndef WEIR_BASE_FAULT_H
#define WEIR_BASE_FAULT_H

#include "config.h"

#include <stdbool.h>

#ifdef WEIR_FAULTS
void fault_point(const char *name);
bool fault_skips(const char *name);
#else
#define fault_point(name) ((void)0)
#define fault_skips(name) false
#endif

#endif
