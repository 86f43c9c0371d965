/* held - see held.h.  The file: a head of 4096 bytes, room for input, room for output.  Room is
 * address space; memory is used up to where bytes have stood, and a memfd gives it back when much
 * of it did. */
#include "endpoint/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sync.h"

#define MAGIC UINT64_C(0x646c656865706977) /* "wipeheld" */

enum {
	HEAD_BYTES = 4096,
	UNREAD = 0xff,            /* where a read has not been */
	COMPACT_FROM = 64 * 1024, /* bytes ahead of what is held: then it goes to the front */
	TRIM_FROM = 256 * 1024,
	RESERVE_STEP = 256 * 1024,
	BATCH_ROOM = 256 * 1024, /* what an outlet writes at once, and more */
	SLOT_BIT = 1,
	MOVING_BIT = 2,
};
#define ROOM_MAX (UINT64_C(1) << 30)

struct head {
	uint64_t magic;
	uint32_t version, head_bytes;
	uint32_t kind, framing, type, unused;
	uint64_t max_message, input_room, output_room;
	char name[HELD_NAME_MAX + 1];
	uint64_t life;       /* struct held_terms; 0: it was closed */
	uint64_t input;      /* start: 31 bits, length: 31 bits, skipping: 1 bit */
	uint64_t read_until; /* where a read that was begun would end; 0: none was */
	uint64_t output;     /* which slot is in force, and MOVING_BIT */
	struct held_place slot[2];
};
_Static_assert(sizeof(struct head) <= HEAD_BYTES, "the head has outgrown its page");

struct held {
	int fd;
	struct head *head;
	uint8_t *input, *output;
	size_t bytes;
	size_t input_used, output_used; /* highest end so far */
	size_t reserved;                /* of the input, in a file on a disk */
	bool in_memory;
};

/* --- the file ------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + HEAD_BYTES - 1) / HEAD_BYTES * HEAD_BYTES;
}

/* A record in progress is shorter than six times a message and some (frame.c); it must fit beside a
 * copy of itself, because that is how it is moved to the front. */
static uint64_t input_room(const struct held_terms *terms)
{
	uint64_t record =
		(uint64_t)terms->max_message * (terms->framing == FRAMING_JSON ? 6 : 2) + 4096;

	return terms->kind == HELD_OUT || terms->kind == HELD_DRAIN
		       ? 0
		       : round_up(2 * (record + HELD_READ_MAX) + COMPACT_FROM);
}

static uint64_t output_room(const struct held_terms *terms)
{
	return terms->kind == HELD_IN
		       ? 0
		       : round_up((uint64_t)terms->max_message * 6 + 4096 + BATCH_ROOM);
}

static int map(struct held *held, size_t bytes)
{
	uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, held->fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	held->bytes = bytes;
	held->head = (struct head *)at;
	return 0;
}

/* A hole in a file on a disk is a promise that the disk may break, with a signal. */
static int reserve(const struct held *held, size_t from, size_t bytes)
{
	int r;

	if (held->in_memory)
		return 0;
	do {
		r = -posix_fallocate(held->fd, (off_t)from, (off_t)bytes);
	} while (r == -EINTR);
	return r;
}

static int start_afresh(struct held *held, const struct held_terms *terms)
{
	uint64_t input = input_room(terms), output = output_room(terms);
	int r = input > ROOM_MAX || output > ROOM_MAX ? -EFBIG : 0;

	if (r == 0 && ftruncate(held->fd, (off_t)(HEAD_BYTES + input + output)) < 0)
		r = -errno;
	if (r == 0)
		r = reserve(held, 0, HEAD_BYTES);
	if (r == 0)
		r = map(held, HEAD_BYTES + input + output);
	if (r < 0)
		return r;
	held->head->version = HELD_VERSION;
	held->head->head_bytes = HEAD_BYTES;
	held->head->kind = terms->kind;
	held->head->framing = terms->framing;
	held->head->type = terms->type;
	held->head->max_message = terms->max_message;
	held->head->input_room = input;
	held->head->output_room = output;
	snprintf(held->head->name, sizeof(held->head->name), "%s", terms->name);
	__atomic_store_n(&held->head->magic, MAGIC, __ATOMIC_RELEASE);
	return 0;
}

static bool is_for(const struct head *head, const struct held_terms *terms)
{
	return head->version == HELD_VERSION && head->head_bytes == HEAD_BYTES &&
	       head->kind == terms->kind && head->framing == terms->framing &&
	       head->type == terms->type && head->max_message == terms->max_message &&
	       head->input_room == input_room(terms) && head->output_room == output_room(terms) &&
	       strncmp(head->name, terms->name, sizeof(head->name)) == 0;
}

static bool lives(const struct head *head, const struct held_terms *terms)
{
	return head->life == 0 || head->life == terms->life;
}

static size_t input_start(uint64_t word)
{
	return word >> 32 & INT32_MAX;
}

static size_t input_len(uint64_t word)
{
	return word >> 1 & INT32_MAX;
}

static uint64_t input_word(size_t start, size_t len, bool skipping)
{
	return (uint64_t)start << 32 | (uint64_t)len << 1 | skipping;
}

/* Every number in it is looked at before it is used: whoever had the file may have written to it.
 */
static bool is_sound(const struct head *head)
{
	const struct held_place *place = &head->slot[head->output & SLOT_BIT];

	return input_start(head->input) + input_len(head->input) <= head->input_room &&
	       head->read_until <= head->input_room && head->output <= (SLOT_BIT | MOVING_BIT) &&
	       (uint64_t)place->start + place->len <= head->output_room &&
	       place->total <= head->output_room;
}

static int map_found(struct held *held, size_t bytes, const struct held_terms *terms)
{
	int r;

	if (bytes < HEAD_BYTES)
		return -EINVAL;
	r = map(held, bytes);
	if (r < 0)
		return r;
	if (held->head->magic != MAGIC)
		return -EINVAL;
	if (!is_for(held->head, terms) || (!held->in_memory && !lives(held->head, terms)))
		return -ESTALE;
	if (bytes != HEAD_BYTES + held->head->input_room + held->head->output_room ||
	    !is_sound(held->head))
		return -EINVAL;
	return reserve(held, 0, HEAD_BYTES);
}

/* A read was begun, and nobody knows whether it was carried out: its bytes say so. */
static void look_for_read(struct held *held)
{
	uint64_t word = held->head->input;
	size_t end = input_start(word) + input_len(word), until = held->head->read_until;

	for (size_t at = end; at < until; at++) {
		if (held->input[at] == UNREAD)
			continue;
		word = input_word(input_start(word), until - input_start(word), word & 1);
		__atomic_store_n(&held->head->input, word, __ATOMIC_RELEASE);
		break;
	}
	held->head->read_until = 0;
}

int held_open(struct held **ret, int fd, const struct held_terms *terms)
{
	struct held *held = calloc(1, sizeof(*held));
	struct stat st;
	int r = 0;

	if (!held) {
		close(fd);
		return -ENOMEM;
	}
	held->fd = fd;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	/* A memfd has seals, as all files of tmpfs have, which may be full; but it has no name. */
	held->in_memory = r == 0 && st.st_nlink == 0 && fcntl(fd, F_GET_SEALS) >= 0;
	if (r == 0)
		r = st.st_size == 0 ? start_afresh(held, terms)
				    : map_found(held, (size_t)st.st_size, terms);
	if (r < 0) {
		held_free(held);
		return r;
	}
	held->input = (uint8_t *)held->head + HEAD_BYTES;
	held->output = held->input + held->head->input_room;
	look_for_read(held);
	held->head->life = terms->life;
	*ret = held;
	return 0;
}

int held_new(struct held **ret, const struct held_terms *terms)
{
	int fd = memfd_create(terms->name, MFD_CLOEXEC);

	return fd < 0 ? -errno : held_open(ret, fd, terms);
}

struct held *held_free(struct held *held)
{
	if (!held)
		return NULL;
	if (held->output && !held->in_memory)
		held->head->life = 0;
	if (held->head)
		munmap(held->head, held->bytes);
	if (!held->output || held->in_memory || sync_take(held->fd) < 0)
		close(held->fd);
	free(held);
	return NULL;
}

int held_fd(const struct held *held)
{
	return held->fd;
}

/* Much memory that nothing stands in goes back to the kernel. */
static void trim(const struct held *held, size_t from, size_t *used, size_t room)
{
	size_t bytes = round_up(*used) < room ? round_up(*used) : room;

	if (*used <= TRIM_FROM || !held->in_memory)
		return;
	fallocate(held->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes);
	*used = 0;
}

/* --- input ---------------------------------------------------------------------------------- */

size_t held_input(const struct held *held, const uint8_t **ret, bool *ret_skipping)
{
	uint64_t word = held->head->input;

	*ret = held->input + input_start(word);
	*ret_skipping = word & 1;
	return input_len(word);
}

static void store_input(struct held *held, size_t start, size_t len, bool skipping)
{
	__atomic_store_n(&held->head->input, input_word(start, len, skipping), __ATOMIC_RELEASE);
}

/* Room for N bytes behind what is there, which goes to the front when there is much ahead of it: a
 * copy that does not touch the original, and then it is the one that counts. */
static int make_room(struct held *held, size_t n)
{
	uint64_t word = held->head->input;
	size_t start = input_start(word), len = input_len(word);
	int r;

	if (start >= COMPACT_FROM && start >= len) {
		memcpy(held->input, held->input + start, len);
		store_input(held, 0, len, word & 1);
		start = 0;
	}
	if (start + len + n > held->head->input_room)
		return -ENOSPC;
	if (!held->in_memory && start + len + n > held->reserved) {
		size_t bytes = start + len + n + RESERVE_STEP;

		if (bytes > held->head->input_room)
			bytes = held->head->input_room;
		r = reserve(held, HEAD_BYTES, bytes);
		if (r < 0)
			return -ENOSPC;
		held->reserved = bytes;
	}
	return 0;
}

/* As many as are there; or one, to see whether it is the end. */
static size_t bytes_there(int fd)
{
	int bytes = 0;

	if (ioctl(fd, FIONREAD, &bytes) < 0 || bytes <= 0)
		return 1;
	return bytes < HELD_READ_MAX ? (size_t)bytes : HELD_READ_MAX;
}

ssize_t held_read(struct held *held, int fd, const uint8_t **ret)
{
	size_t want = bytes_there(fd), start, end;
	uint64_t word;
	ssize_t n;
	int r = make_room(held, want);

	if (r < 0)
		return r;
	word = held->head->input;
	start = input_start(word);
	end = start + input_len(word);
	memset(held->input + end, UNREAD, want);
	__atomic_store_n(&held->head->read_until, end + want, __ATOMIC_RELEASE);
	do {
		n = read(fd, held->input + end, want);
	} while (n < 0 && errno == EINTR);
	r = n < 0 ? -errno : 0;
	if (n > 0)
		store_input(held, start, end + (size_t)n - start, word & 1);
	__atomic_store_n(&held->head->read_until, 0, __ATOMIC_RELEASE);
	if (end + want > held->input_used)
		held->input_used = end + want;
	*ret = held->input + end;
	return r < 0 ? r : n;
}

void held_settle(struct held *held, size_t left, bool skipping)
{
	uint64_t word = held->head->input;
	size_t end = input_start(word) + input_len(word);

	if (left == 0) {
		store_input(held, 0, 0, skipping);
		trim(held, HEAD_BYTES, &held->input_used, held->head->input_room);
		return;
	}
	if (left <= input_len(word))
		store_input(held, end - left, left, skipping);
}

/* --- output --------------------------------------------------------------------------------- */

struct held_place held_place(const struct held *held)
{
	return held->head->slot[held->head->output & SLOT_BIT];
}

void held_publish(struct held *held, const struct held_place *place)
{
	uint64_t slot = (held->head->output & SLOT_BIT) ^ SLOT_BIT;

	held->head->slot[slot] = *place;
	__atomic_store_n(&held->head->output, slot, __ATOMIC_RELEASE);
}

void held_moving(struct held *held)
{
	__atomic_store_n(&held->head->output, held->head->output | MOVING_BIT, __ATOMIC_RELEASE);
}

bool held_was_moving(const struct held *held)
{
	return held->head->output & MOVING_BIT;
}

uint8_t *held_output(struct held *held, size_t offset, size_t len)
{
	if (offset > held->head->output_room || len > held->head->output_room - offset)
		return NULL;
	if (offset + len > held->output_used)
		held->output_used = offset + len;
	return held->output + offset;
}

void held_trim_output(struct held *held)
{
	trim(held, HEAD_BYTES + held->head->input_room, &held->output_used,
	     held->head->output_room);
}
