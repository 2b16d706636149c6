/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells systemd how far the service is, sd_notify(3), without its library: a datagram of lines NAME=VALUE.
 */
#ifndef WEIR_BASE_NOTIFY_H
#define WEIR_BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Looks at NOTIFY_SOCKET and WATCHDOG_USEC, and takes them out of the environment: processes that are started say nothing
 * in the service's name. Before threads start. Without it, or where nobody listens, the others do nothing. */
void notify_setup(void);

/* Any thread. */
void notify_ready(const char *status); /* after the start, and after notify_reloading */
void notify_reloading(void);
void notify_stopping(const char *status);

/* How often notify_alive is to be called; INT64_MAX: it is not wanted. Half of what systemd waits. */
int64_t notify_alive_every_us(void);
void notify_alive(void);

/* For weir node, which starts servers: what they have not read yet, and why they are not ready (""); systemd passes it by. Waits for
 * nobody. False: it did not arrive. */
bool notify_state(uint64_t lag, const char *problem);

#endif
