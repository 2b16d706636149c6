/* SPDX-License-Identifier: Apache-2.0
 *
 * An analyzer's asynchronous part (struct weir_async): requests of values, and answers of replies. It does no I/O, a
 * service does. One thread at a time.
 */
#ifndef WEIR_LOOKUP_ASKER_H
#define WEIR_LOOKUP_ASKER_H

#include "lookup/answer.h"
#include "lookup/sender.h"
#include "plugin/host.h"

struct asker;

/* `b`, the name and the schema of answers (behind a time) outlive it. Memory that the plugin takes is counted in *held. */
int asker_new(struct binding *b, const char *pipeline, const struct schema *answer,
              _Atomic uint64_t *held, struct asker **ret, struct error *error);
void asker_free(struct asker *a); /* takes NULL */

/* Fills URL, headers and body. The first two stay until the next call; the body is the caller's, NULL if there is none. A
 * fault of the plugin, -EINVAL with a text, is for good. -ENOMEM. */
int asker_ask(struct asker *a, const struct weir_cell *value, struct sender_request *to,
              char **ret_body, struct error *error);

/* What a reply with a status says: 0 and an answer, or WEIR_AGAIN, WEIR_NO_ANSWER with a text. -EINVAL, -ENOMEM as above. */
int asker_read(struct asker *a, const struct weir_cell *value,
               const struct sender_answer *reply, struct answer **ret,
               struct error *error);

#endif
