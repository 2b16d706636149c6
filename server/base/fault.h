/* SPDX-License-Identifier: Apache-2.0
 *
 * Named places at which a test may end the process, as a power cut would: configure --enable-faults.
 * In any other build a place costs nothing.
 *
 *      WEIR_FAULT=journal_written:17      kill -9 at the 17th time that place is passed
 */
#ifndef WEIR_BASE_FAULT_H
#define WEIR_BASE_FAULT_H

#include "config.h"

#ifdef WEIR_FAULTS
void fault_point(const char *name);
#else
#define fault_point(name) ((void)0)
#endif

#endif
