/* SPDX-License-Identifier: Apache-2.0
 *
 * The function that libFuzzer, or replay.c, calls with each input.
 */
#ifndef WEIR_TESTS_FUZZ_TARGET_H
#define WEIR_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
