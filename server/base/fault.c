/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#ifdef WEIR_FAULTS
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic long passed; /* relaxed: a count */

void fault_point(const char *name)
{
    const char *want = getenv("WEIR_FAULT"); /* nobody changes the environment */
    size_t size = strlen(name);
    if (!want || strncmp(want, name, size) != 0 || want[size] != ':')
        return;
    const char *when = want + size + 1, *how = strrchr(when, ':');
    const bool stops = how && strcmp(how, ":stop") == 0;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.*s", (int)(stops ? how - when : (long)strlen(when)),
             when);
    if (*path == '/' && access(path, F_OK) != 0)
        return;
    const long at = *path == '/' ? 1 : strtol(path, NULL, 10);
    if (atomic_fetch_add_explicit(&passed, 1, memory_order_relaxed) + 1 == at)
        raise(stops ? SIGSTOP : SIGKILL);
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
