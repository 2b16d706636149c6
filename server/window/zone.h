/* SPDX-License-Identifier: Apache-2.0
 *
 * A time zone: by how much its clocks are ahead of UTC, and when that changes. Read from the system's TZif files
 * (RFC 9636); libc's functions would need TZ to be set for the whole process. Times are seconds since 1970-01-01 UTC,
 * local ones what the clocks show, counted as if they were that. A zone does not change: any thread.
 */
#ifndef WEIR_WINDOW_ZONE_H
#define WEIR_WINDOW_ZONE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define ZONE_FILE_MAX   65536       /* bytes; those of 2025 have less than 4,000 */
#define ZONE_OFFSET_MAX (26 * 3600) /* seconds, either way */

struct zone;

/* From the folder TZDIR of the environment, or /usr/share/zoneinfo; UTC is there without. -EINVAL: it cannot be the name
 * of one; -ENOENT, -EBADMSG: none that can be read, ... */
int zone_load(const char *name, struct zone **ret, struct error *error);

/* The bytes of such a file. -EBADMSG, -ENOMEM. */
int zone_parse(const unsigned char *bytes, size_t size, struct zone **ret);
void zone_free(struct zone *z); /* takes NULL */

/* How far the clocks are ahead of UTC at a time, within 2^53 of 1970. */
int64_t zone_ahead_s(const struct zone *z, int64_t s);

/* The first time at which the clocks show local_s or later: where that is skipped, when they are put forward; where it is
 * shown twice, the first of both. */
int64_t zone_when_s(const struct zone *z, int64_t local_s);

/* What the clocks show from 1970 to 2100, as one number: another one where some time has got another rule. */
uint64_t zone_sum(const struct zone *z);

#endif
