/* fake/ws - net/ws.h without a wire: the test is the server, and the kernel's buffer.  Linked
 * instead of the real one; works with the real loop and with fake/loop.
 *
 * A message covers 6 bytes more than it has.  It counts as received by the server when its last
 * byte has been written; of one that was cut off the server has nothing. */
#ifndef FAKE_WS_H
#define FAKE_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/ws.h"

enum { FAKE_WS_HEAD = 6 };

struct transport *fake_ws_transport(void); /* what a dial hands over */

struct ws *fake_ws_now(void); /* or NULL */
const struct url *fake_ws_url(const struct ws *ws, const struct ws_options **ret_options);
unsigned fake_ws_starts(void);

/* The next ws_start() returns this error. */
void fake_ws_refuse(int error);

/* --- the server ----------------------------------------------------------------------------- */

void fake_ws_open(struct ws *ws);
void fake_ws_message(struct ws *ws, uint8_t kind, const void *data, size_t len);
void fake_ws_text(struct ws *ws, const char *text);
void fake_ws_pong(struct ws *ws, uint32_t rtt_us);
/* The end, from a clean stack.  PEER_CODE: of the server's Close frame, 0 without one. */
void fake_ws_end(struct ws *ws, enum cause_class class, int code, uint16_t peer_code,
		 const char *reason);
void fake_ws_refused(struct ws *ws, int http_status, uint32_t retry_after_ms);
void fake_ws_redirect(struct ws *ws, int http_status, const char *location);
void fake_ws_set_silence(struct ws *ws, uint64_t ms);

/* What it has received, over all connections, whole messages in order. */
size_t fake_ws_got(void);
const char *fake_ws_got_text(size_t i);
void fake_ws_forget(void);

/* --- the kernel ----------------------------------------------------------------------------- */

/* So many bytes more can be written (at first, and with SIZE_MAX: any number); and writes them. */
void fake_ws_take(struct ws *ws, size_t bytes);
extern size_t fake_ws_budget; /* what a new one begins with */
extern size_t fake_ws_room;   /* bytes that may wait in the buffer before it is not writable */
extern int fake_ws_send_error;
extern bool fake_ws_many; /* several at once; fake_ws_now() is the newest */

/* --- what has become of it ------------------------------------------------------------------ */

bool fake_ws_is_paused(const struct ws *ws);
bool fake_ws_is_closing(const struct ws *ws, uint16_t *ret_code, const char **ret_reason);
unsigned fake_ws_pings(const struct ws *ws);
unsigned fake_ws_flushes(const struct ws *ws); /* that had something to write */

#endif
