/* SPDX-License-Identifier: Apache-2.0
 *
 * weir.py and weir_host.py, as they stand beside this: made by sql/embed.sh.
 */
#ifndef WEIR_PYTHON_TEXTS_H
#define WEIR_PYTHON_TEXTS_H

extern const char python_weir[], python_weir_host[];

#endif
