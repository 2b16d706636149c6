/* SPDX-License-Identifier: Apache-2.0
 *
 * weir: the command line. Each subcommand has a file of its own.
 */
#include "config.h"

#include <stdio.h>

int main(void)
{
    printf("weir %s\n", PACKAGE_VERSION);
    return 0;
}
