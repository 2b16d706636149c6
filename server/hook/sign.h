/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of requests as "Standard Webhooks" has them (standardwebhooks.com), so that receivers find libraries:
 *
 *      webhook-signature: v1,BASE64(HMAC-SHA-256(secret, ID "." TIMESTAMP "." BODY))
 */
#ifndef WEIR_HOOK_SIGN_H
#define WEIR_HOOK_SIGN_H

#include "base/buffer.h"

#include <stdint.h>

#define SIGN_SECRET_MAX 4096

/* The bytes that a secret stands for: whsec_BASE64, or itself. -EINVAL: no base64, or it is empty. */
int sign_secret(const char *text, size_t size, struct buffer *ret);

/* Appends "v1,...". The buffer's error is sticky. */
void sign_put(struct buffer *to, const struct buffer *secret, const char *id,
              int64_t time_s, const char *body, size_t size);

#endif
