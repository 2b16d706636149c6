/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters to try a plugin with: those that are given, the others by its own declaration; columns of every type
 * that it takes.
 */
#ifndef WEIR_LAWS_CHOOSE_H
#define WEIR_LAWS_CHOOSE_H

#include "plugin/binding.h"

#define CHOICES_MAX 8u /* of a plugin */

struct choice {
    struct node *params; /* owns the texts of the binding's parameters */
    struct schema *schema;
    struct binding *binding;
    char text[512]; /* "{of: a}, a float" */
};

/* `with`: YAML without braces, "of: price, k: 3", or NULL; a column may name its type, "price:float". *ret_n: 1 to
 * CHOICES_MAX. -EINVAL: the parameters are wrong, or none can be chosen; -ENOMEM. */
int choices_new(struct plugins *plugins, const char *name, const char *with,
                struct choice ret[CHOICES_MAX], size_t *ret_n, struct error *error);
void choices_free(struct choice *c, size_t n);

#endif
