/* SPDX-License-Identifier: Apache-2.0
 *
 * CSV. The first byte chooses the unit, the second the cuts; the rest is the body.
 */
#include "pieces.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct decode_options o = pieces_options(data[0] % (DECODE_ARRIVAL + 1));
    struct buffer dump = {0};
    pieces_compare(&o, DECODE_CSV, (const char *)data + 2, size - 2, data[1], &dump);
    buffer_free(&dump);
    return 0;
}
