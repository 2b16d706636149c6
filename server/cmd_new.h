/* SPDX-License-Identifier: Apache-2.0
 *
 * What an analyzer of one's own is begun with: made from the files of etc/new by sql/embed.sh.
 */
#ifndef WEIR_CMD_NEW_H
#define WEIR_CMD_NEW_H

extern const char new_one[], new_many[], new_whole[]; /* sources */
extern const char new_one_test[], new_many_test[], new_whole_test[];
extern const char new_Makefile[], new_weir[];
extern const char new_async[], new_async_test[],
    new_async_service[]; /* it asks others */
extern const char new_async_Makefile[], new_async_weir[];
extern const char new_python[], new_python_pytest[], new_python_test[]; /* in Python */
extern const char new_python_Makefile[], new_python_weir[];

#endif
