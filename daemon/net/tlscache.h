/* tlscache - one SSL_CTX for all connections that trust the same and show the same certificate.
 *
 * A context with the system's authorities in it has some hundred KiB and takes milliseconds to make, so
 * a thousand connections share one, and with it the sessions that they can resume (sessions.h).  It is
 * shared only while the files it was read from are unchanged (size, time, inode): a certificate renewed
 * on disk is picked up at the next connect, and what was trusted because of the old one is not resumed.
 * Process-wide, as OpenSSL's own state is; bounded, and emptied by tlscache_clear(). */
#ifndef NET_TLSCACHE_H
#define NET_TLSCACHE_H

#include "base/cause.h"
#include "net/tls.h"

/* As tls_context_new(), and given back the same way. */
int tlscache_get(struct ssl_ctx_st **ret, const struct tls_options *options,
		 struct cause *ret_cause);
void tlscache_clear(void);

#endif
