/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C (Castagnoli; RFC 3720, section 12.1): what lies on disk is what was written.
 */
#ifndef WEIR_BASE_CRC32C_H
#define WEIR_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes, going on from `crc` of the bytes before them; 0 at first. Uses the processor's
 * instruction where there is one. Any thread. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

/* The same from tables, on any processor; for tests. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t size);

#endif
