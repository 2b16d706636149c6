/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#ifdef WEIR_FAULTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic long passed; /* relaxed: a count */

void fault_point(const char *name)
{
    const char *want = getenv("WEIR_FAULT"); /* nobody changes the environment */
    size_t size = strlen(name);
    if (!want || strncmp(want, name, size) != 0 || want[size] != ':')
        return;
    char *end;
    long at = strtol(want + size + 1, &end, 10);
    if (atomic_fetch_add_explicit(&passed, 1, memory_order_relaxed) + 1 == at)
        raise(strcmp(end, ":stop") == 0 ? SIGSTOP : SIGKILL);
}

bool fault_skips(const char *name)
{
    const char *want = getenv("WEIR_FAULT_SKIP");
    const size_t size = strlen(name);
    for (; want && *want; want += strcspn(want, ","), want += *want == ',')
        if (strcspn(want, ",") == size && strncmp(want, name, size) == 0)
            return true;
    return false;
}
#endif
