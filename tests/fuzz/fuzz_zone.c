/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of time zones: each is refused, or says of every time what its clocks show, and when they first do.
 */
#include "window/zone.h"

#include "target.h"

#include <stdlib.h>

/* What is found is the first time at which they show it. */
static void ask(const struct zone *z, int64_t local_s)
{
    int64_t s = zone_when_s(z, local_s);
    int64_t ahead_s = zone_ahead_s(z, s);
    if (ahead_s > ZONE_OFFSET_MAX || ahead_s < -ZONE_OFFSET_MAX ||
        s + ahead_s < local_s || s - 1 + zone_ahead_s(z, s - 1) >= local_s)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zone *z = NULL;
    if (size > ZONE_FILE_MAX || zone_parse(data, size, &z) < 0)
        return 0;
    static const int64_t at_s[] = {-9000000000000, -4000000000, -86400,       0, 86399,
                                   1711839600,     4102444800,  9000000000000};
    for (size_t i = 0; i < sizeof(at_s) / sizeof(at_s[0]); i++)
        ask(z, at_s[i]);
    for (int64_t day = 0; day < 366; day++)
        ask(z, 4102444800 + day * 86400);
    zone_free(z);
    return 0;
}
