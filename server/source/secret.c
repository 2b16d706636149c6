/* SPDX-License-Identifier: Apache-2.0 */
#include "source/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX 65536u /* bytes of a file; a chain of certificates fits */

int secret_read(const struct config_option *o, char **ret, struct error *error)
{
    FILE *f = fopen(o->file, "re");
    if (!f)
        return node_error(o->node, error, "'%s': %s", o->file, strerror(errno));
    char *text = calloc(1, SECRET_MAX + 1);
    size_t n = text ? fread(text, 1, SECRET_MAX, f) : 0;
    bool whole = text && feof(f) && !ferror(f);
    fclose(f);
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        text[--n] = 0;
    if (!whole || !n || strlen(text) != n) {
        free(text);
        return node_error(o->node, error, "'%s' has no text of 1 to %u bytes", o->file,
                          SECRET_MAX - 1);
    }
    *ret = text;
    return 0;
}

void secret_free(char *secret)
{
    if (!secret)
        return;
    explicit_bzero(secret, strlen(secret));
    free(secret);
}
