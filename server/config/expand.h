/* SPDX-License-Identifier: Apache-2.0
 *
 * Variables of the environment in the scalars of the configuration file:
 *
 *      ${VAR}            its value; an error if it is not set
 *      ${VAR:-default}   `default` if it is not set or empty
 *      ${VAR:?message}   an error with the message if it is not set or empty
 *      $$                a dollar
 *
 * A dollar before anything else is a dollar. The default and the message end at the
 * first '}'; what was put in is not looked at again.
 */
#ifndef WEIR_CONFIG_EXPAND_H
#define WEIR_CONFIG_EXPAND_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

/* Appends `text` to `out`, which may have a limit (-EFBIG, -ENOMEM: no text is set).
 * -EINVAL with a text without place. `ret_replaced`: a variable was there. */
int expand(const char *text, size_t size, struct buffer *out, bool *ret_replaced,
           struct error *error);

#endif
