/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a token, as its owner has it, and where it stands in a request.
 *
 *      weir_ID_SECRET      ID: up to 32 of [a-z0-9]; SECRET: 64 hexadecimal digits, 256 bits by chance
 *
 * By its ID an entry is found, by the SHA-256 of the whole text it is proved: what is stored cannot be sent.
 */
#ifndef WEIR_ACCESS_SECRET_H
#define WEIR_ACCESS_SECRET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECRET_ID_MAX   32
#define SECRET_TEXT_MAX 128 /* bytes of a token, with its zero */

/* A new one, by chance. -EIO. */
int secret_make(char ret_id[SECRET_ID_MAX + 1], char ret_text[SECRET_TEXT_MAX],
                struct error *error);

bool secret_is_id(const char *text, size_t size);

/* The ID in a token. False: it is none. */
bool secret_id(const char *text, char ret_id[SECRET_ID_MAX + 1]);

/* The token that a field Authorization holds: `Bearer T`, `Token T`, or the password of `Basic`. False: none. */
bool secret_of_field(const char *field, char ret_text[SECRET_TEXT_MAX]);

/* 64 hexadecimal digits. False: these are none. */
bool secret_digest(const char *text, uint8_t ret[32]);
void secret_put_hex(const uint8_t *bytes, size_t n, char *to); /* 2 n, and a zero */

#endif
