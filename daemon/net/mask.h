/* mask - RFC 6455 5.3: every frame of a client is XORed with a fresh key that nobody can foresee
 * (10.3: else a page could make us write bytes of its choice past a careless proxy). */
#ifndef NET_MASK_H
#define NET_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MASK_KEY_LEN = 4 };

/* Random bytes in store, so that not every frame costs a system call.  Starts zeroed. */
struct mask {
	uint8_t *pool; /* NULL: none; an idle owner has none */
	size_t left;
};

/* The next key.  BURST: more will follow soon, a pool is worth its memory.  -errno when the kernel
 * gives no random bytes: then nothing may be sent. */
int mask_key(struct mask *mask, bool burst, uint8_t ret_key[MASK_KEY_LEN]);
void mask_done(struct mask *mask); /* frees the pool; it comes again when needed */

/* OUT and IN do not overlap. */
void mask_copy(uint8_t *out, const uint8_t *in, size_t len, const uint8_t key[MASK_KEY_LEN]);

#endif
