/* digest - 32 bits that tell whether bytes are as they were written: against torn writes and rotten
 * disks, not against people.  Fast enough to be taken of every message (8 bytes a step). */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t digest_step(uint64_t state, uint64_t word)
{
	state = (state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return state ^ state >> 32;
}

static inline uint64_t digest_bytes(uint64_t state, const void *data, size_t len)
{
	const uint8_t *at = data;
	uint64_t word;

	state = digest_step(state, len);
	for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		state = digest_step(state, word);
	}
	if (len > 0) {
		word = 0;
		memcpy(&word, at, len);
		state = digest_step(state, word);
	}
	return state;
}

/* Never 0, which is what a disk holds where nothing was written. */
static inline uint32_t digest_end(uint64_t state)
{
	uint32_t digest = (uint32_t)(state ^ state >> 29);

	return digest ? digest : 1;
}

#endif
