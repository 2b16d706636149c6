/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of what a client accepts: "gzip;q=0.8, *;q=0".
 */
#include "base/accept.h"

#include <string.h>
#include <strings.h>

unsigned accept_weight(const char *parameters)
{
    for (const char *p = parameters; *p == ';' || *p == ' ' || *p == '\t';) {
        p += strspn(p, "; \t");
        if ((*p | 32) == 'q' && p[1] == '=') {
            unsigned weight = p[2] == '1' ? 1000 : 0, unit = 100;
            p += p[2] ? 3 : 2;
            for (p += *p == '.'; unit && *p >= '0' && *p <= '9'; p++, unit /= 10)
                weight += (unsigned)(*p - '0') * unit;
            return weight > 1000 ? 1000 : weight;
        }
        p += strcspn(p, ";,");
    }
    return 1000;
}

int accept_find(const char *list, const char *name)
{
    int any = -1;
    for (const char *p = list; *p; p += strcspn(p, ",")) {
        p += strspn(p, " \t,");
        size_t size = strcspn(p, " \t,;");
        if (size == strlen(name) && strncasecmp(p, name, size) == 0)
            return (int)accept_weight(p + size);
        if (size == 1 && *p == '*')
            any = (int)accept_weight(p + size);
    }
    return any;
}
