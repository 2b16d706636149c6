/* SPDX-License-Identifier: Apache-2.0
 *
 * A binding as bytes, for another process that has loaded the same plugin.
 */
#ifndef WEIR_PLUGIN_BINDING_FORM_H
#define WEIR_PLUGIN_BINDING_FORM_H

#include "base/buffer.h"
#include "plugin/binding.h"

/* A number for the tables of a plugin, so far as bindings depend on them: of the same file it is the same. */
uint64_t binding_form_plugin(const struct plugin *p);

void binding_form_put(const struct binding *b, struct buffer *to);
/* -EBADMSG: not what binding_form_put wrote of this plugin; -ENOMEM. */
int binding_form_take(struct plugin *plugin, const char *bytes, size_t size,
                      struct binding **ret);

/* What open has made of it, back to where it came from: outputs that it described, inputs that are not kept. -EBADMSG,
 * -ENOMEM; -EINVAL: other outputs than those before. */
void binding_form_put_opened(const struct binding *b, struct buffer *to);
int binding_form_take_opened(struct binding *b, const char *bytes, size_t size,
                             struct error *error);

#endif
