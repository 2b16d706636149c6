/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources that go into the programs of example.c: made from counter.c and settings.h by sql/embed.sh.
 */
#ifndef WEIR_LAWS_TEXTS_H
#define WEIR_LAWS_TEXTS_H

extern const char laws_counter[], laws_settings[];

#endif
