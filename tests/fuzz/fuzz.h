/* fuzz - what the targets share.
 *
 * A target is one LLVMFuzzerTestOneInput() (libFuzzer's name for it).  It runs in two programs:
 * with clang's libFuzzer, which looks for inputs, and with replay.c, which goes through the corpus
 * in the tree.  HOLDS() is a property of what is tested; when it does not hold the program ends
 * with a line that says which, and libFuzzer keeps the input. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv); /* once, ahead of all */

#define HOLDS(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "%s:%d: %s: does not hold: %s\n", __FILE__,         \
				__LINE__, __func__, #condition);                                   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* --- an input, taken from its beginning ------------------------------------------------------ */

struct food {
	const uint8_t *at;
	size_t len;
};

static inline uint8_t take_byte(struct food *food)
{
	if (food->len == 0)
		return 0;
	food->len--;
	return *food->at++;
}

static inline struct food take_bytes(struct food *food, size_t len)
{
	struct food piece = {food->at, len < food->len ? len : food->len};

	food->at += piece.len;
	food->len -= piece.len;
	return piece;
}

/* Up to the next END, which is passed over; or all that is left. */
static inline struct food take_until(struct food *food, uint8_t end)
{
	const uint8_t *found = food->len > 0 ? memchr(food->at, end, food->len) : NULL;
	struct food piece = take_bytes(food, found ? (size_t)(found - food->at) : food->len);

	if (found)
		take_byte(food);
	return piece;
}

/* How many of LEFT bytes come next, in a stream cut as CUTS says; all of them once that is used up.
 */
static inline size_t next_cut(struct food *cuts, size_t left)
{
	size_t n = cuts->len > 0 ? (size_t)take_byte(cuts) + 1 : left;

	return n < left ? n : left;
}

/* --- bytes of their own ---------------------------------------------------------------------- */

/* Memory of this very size, so that a sanitizer sees a read behind it; to be freed. */
static inline uint8_t *copy_bytes(const void *data, size_t len)
{
	uint8_t *copy = calloc(len > 0 ? len : 1, 1);

	if (!copy)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

/* The same with a NUL behind. */
static inline char *copy_text(const void *data, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	return copy;
}

static inline bool same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* May it stand in one line that people see? */
static inline bool is_one_line(const char *text)
{
	for (; *text; text++)
		if ((uint8_t)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

#endif
