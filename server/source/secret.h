/* SPDX-License-Identifier: Apache-2.0
 *
 * A password in a file.
 */
#ifndef WEIR_SOURCE_SECRET_H
#define WEIR_SOURCE_SECRET_H

#include "base/error.h"
#include "config/config.h"

/* What is in o->file, without the line feed at its end; secret_free. -EINVAL with a text that does not have it. */
int secret_read(const struct config_option *o, char **ret, struct error *error);
void secret_free(char *secret); /* forgets it; takes NULL */

#endif
