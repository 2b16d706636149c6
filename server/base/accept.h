/* SPDX-License-Identifier: Apache-2.0
 *
 * What headers like Accept and Accept-Encoding want (RFC 9110, 12.4.2).
 */
#ifndef WEIR_BASE_ACCEPT_H
#define WEIR_BASE_ACCEPT_H

/* Thousandths of "; q=0.5" behind the name of a list's member; 1000 if there is none. */
unsigned accept_weight(const char *parameters);

/* The weight of the member with this name, or else of "*"; -1: the list has neither. */
int accept_find(const char *list, const char *name);

#endif
