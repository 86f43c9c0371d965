/* tlscause - a cause out of what went wrong in TLS: whose fault it looks like, in plain words, and
 * what to do about it. */
#ifndef NET_TLSCAUSE_H
#define NET_TLSCAUSE_H

#include "base/cause.h"

struct ssl_st;

/* After SSL_do_handshake/read/write failed with SSL_ERROR_SSL: what to tell; empties the error
 * queue.  Certificate refusals say the reason, the depth and the next step; an answer in plain text
 * says "not TLS"; a peer's alert is named; an end without close_notify is CAUSE_CLOSED/1006. */
void tlscause_set(struct cause *ret, struct ssl_st *ssl);

/* The handshake was good, but the server's key is not one of those that are wanted, or it wants to
 * speak something else than HTTP/1.1. */
void tlscause_set_pin(struct cause *ret, const struct ssl_st *ssl);
void tlscause_set_protocol(struct cause *ret, const struct ssl_st *ssl);

/* What it may mean that the server hangs up in the handshake; some send no alert. */
const char *tlscause_hang_up_hint(const struct ssl_st *ssl);

#endif
