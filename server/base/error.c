/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text quotes what users wrote, line feeds and all. */
static void keep_one_line(struct error *error)
{
    for (char *p = error->text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

int error_set(struct error *error, int err, const char *format, ...)
{
    if (!error)
        return err;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    keep_one_line(error);
    return err;
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (!error)
        return;
    struct error old = *error;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    if (n < 0 || (size_t)n + 2 >= sizeof(error->text))
        return;
    size_t room = sizeof(error->text) - (size_t)n;
    snprintf(error->text + n, room, ": %.*s", (int)room - 3, old.text);
}
