/* cause - why something ended.  Said once, at the place that knows; carried by everyone else;
 * it drives the retry table, `status` and the one line in the log. */
#ifndef BASE_CAUSE_H
#define BASE_CAUSE_H

#include <stdbool.h>
#include <stdint.h>

enum cause_class {
	CAUSE_NONE,
	CAUSE_DNS,      /* code: EAI_... */
	CAUSE_CONNECT,  /* code: errno */
	CAUSE_PROXY,    /* code: the proxy's HTTP status or SOCKS reply, 0: none, 1000: a bad answer */
	CAUSE_TLS,      /* code: X509_V_ERR_... where a certificate was refused, else 0 */
	CAUSE_HTTP,     /* code: the status that was not 101, or 0 for an answer that breaks the rules */
	CAUSE_PROTOCOL, /* code: the close code that we sent (RFC 6455 7.4.1) */
	CAUSE_TOO_BIG,  /* code: 1009 */
	CAUSE_TIMEOUT,  /* code: 0 */
	CAUSE_CLOSED,   /* by the peer; code: its close code, 1005 without one, 1006 without a frame */
	CAUSE_LOGIN,    /* code: the exit status of `login`; 0: ended by a signal, or wrote nonsense */
	CAUSE_LOCAL,    /* code: errno; no memory, no descriptors */
	CAUSE_OPERATOR, /* asked for */
	CAUSE_CLASSES
};

struct cause {
	enum cause_class class;
	int code;
	uint32_t retry_after_ms; /* what the server asked for (Retry-After); 0: nothing */
	char text[256];          /* for people, one line, no secrets, no control characters */
};

/* Fills *cause whole.  Control characters and broken UTF-8 in the text become '?'. */
void cause_set(struct cause *cause, enum cause_class class, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Make TEXT fit for one line that people see: each control character and each broken byte becomes
 * '?'.  With WAS_CUT (by a full buffer) a character that is not whole at the very end is left out. */
void cause_clean(char *text, bool was_cut);

/* Room for a cause, made when there is one to tell, since most objects live long without: *place, or, when
 * there is no memory for it, a room that all share (it says what was set last).  Then cause_free(*place). */
struct cause *cause_room(struct cause **place);
void cause_free(struct cause *cause); /* NULL, or the shared one, is fine */

/* "dns", "connect", "tls", ... as `status` and the log show it; "none" for CAUSE_NONE. */
const char *cause_class_name(enum cause_class class);

#endif
