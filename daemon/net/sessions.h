/* sessions - what servers have given us to go on with next time (RFC 8446 2.2, RFC 5246 7.3, RFC
 * 5077), so that a reconnect costs one signature less on each side and no certificates.
 *
 * A resumed session is not verified again: neither the chain nor the name is looked at
 * (OpenSSL 3.0, tested).  So it may be offered only where the same would have been asked of the
 * server: KEY says with whom and as whom, and there is one `sessions` for each SSL_CTX, which
 * stands for the authorities, our certificate, the versions, and whether there is any verification
 * at all. */
#ifndef NET_SESSIONS_H
#define NET_SESSIONS_H

struct ssl_session_st;
struct sessions;

enum {
	SESSIONS_MAX = 256,      /* of all keys; the oldest goes */
	SESSIONS_OF_KEY_MAX = 4, /* OpenSSL and nginx give two at each handshake */
	SESSIONS_AGE_MAX_S = 24 * 3600, /* RFC 8446 4.6.1 allows a week */
};

int sessions_new(struct sessions **ret); /* -ENOMEM */
struct sessions *sessions_free(struct sessions *sessions);

/* Keeps a copy of its own: OpenSSL spoils a session when the connection that has it ends badly,
 * which is just when it is wanted.  Without memory it is not kept. */
void sessions_put(struct sessions *sessions, const char *key, struct ssl_session_st *session);

/* The newest one that is still good, the caller's to free, or NULL.  One of TLS 1.3 is given out
 * once (RFC 8446 C.4: who sees a ticket twice knows that it is the same client). */
struct ssl_session_st *sessions_take(struct sessions *sessions, const char *key);

/* The server refuses what we offer: all of KEY go. */
void sessions_forget(struct sessions *sessions, const char *key);

#endif
