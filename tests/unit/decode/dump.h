/* SPDX-License-Identifier: Apache-2.0
 *
 * What a decoder makes of some bytes, as text, so that tests compare two ways with strcmp.
 *
 *      row ts=1700000000123000 symbol="SYM" price=0x1.edccccccccccdp+6 qty=null
 *      bad 2:14 type field 'qty': expected a whole number, got 17.5
 *      end 1 accepted, 1 rejected
 */
#ifndef WEIR_TESTS_DECODE_DUMP_H
#define WEIR_TESTS_DECODE_DUMP_H

#include "base/buffer.h"
#include "decode/decode.h"

/* A schema from "ts,symbol:string,price:float,qty:int,ok:bool,at:time"; aborts on a bad one. */
struct schema *dump_schema(const char *text);

/* One row, without "row " and line feed. */
void dump_row(struct buffer *to, const struct batch *b, uint32_t row);

/* Feeds the body in pieces that end at the offsets in cut[0..n), then at its end. Each piece lies in
 * memory of its own, of just its size, so that a sanitizer sees every byte read behind it. Returns
 * what decoder_feed or decoder_finish returned at last. */
int dump_decode(struct decoder *d, const struct schema *schema, const char *body,
                size_t size, const size_t *cut, size_t n, struct buffer *to);

#endif
