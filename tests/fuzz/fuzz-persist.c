/* Files of a connection that are found at a start: spool, outbox, places of readers.  They are
 * built from the input and then damaged; what is taken up is compared with a plain reading of the
 * layout (conn/blockfile.h), what is torn is cut once and for all, and all goes on from there.
 *
 * Input: a byte (bit 0: messages in doubt are sent again), then files.  Each: a byte of what it is
 * (bits 0-1: spool, outbox, place, reader's place; 2-3: its number), then its content, see
 * build_log() and build_place(). */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/sync.h"
#include "conn/cursors.h"
#include "conn/outbox.h"
#include "conn/spool.h"
#include "conn/store.h"
#include "loop.h"
#include "scratch.h"

enum {
	FILES_MAX = 4,
	BYTES_MAX = 12 * 1024,
	RECORDS_MAX = 64,
	FOUND_MAX = 512,
	HEAD = 64,
	RECORD_HEAD = 24,
	CHECK_AT = 16,
	STATE_AT = 20, /* conn/blockfile.h, conn/block.h */
	SPAN = 16,     /* at the end of each record of the outbox */
	PLACE_BYTES = 4096,
	WAITING = 0,
	RELEASED = 2, /* what is neither is in doubt */
};

#define LOG_MAGIC UINT64_C(0x6b6c62657069770a)
#define PLACE_MAGIC UINT64_C(0x3172756365706977)

enum {
	WHOLE = 1,
	SIZED = 2,
	LARGE_NUMBERS = 4,
	MEND_HEAD = 8,
	MEND_RECORDS = 16
}; /* of how a log is built */

/* --- the disk is not waited for ------------------------------------------------------------------
 */

int sync_take(int fd)
{
	close(fd);
	return 0;
}

int sync_error(void)
{
	return 0;
}

void sync_stop(void)
{
}

/* --- files from an input
 * --------------------------------------------------------------------------- */

struct image {
	uint8_t bytes[BYTES_MAX];
	size_t len;
	uint64_t serial;
	uint32_t tail;
};

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void put64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static uint64_t take_number(struct food *food, int bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | take_byte(food);
	return value;
}

static uint32_t head_check(const uint8_t *head)
{
	uint64_t state = digest_step(get64(head), get32(head + 8));

	state = digest_step(state, get32(head + 12));
	for (int at = 16; at < 40; at += 8)
		state = digest_step(state, get64(head + at));
	return digest_end(state);
}

/* The record at this offset behind the head, which lies within the file. */
static uint32_t record_check(const struct image *image, size_t offset)
{
	const uint8_t *record = image->bytes + HEAD + offset;
	uint64_t state = digest_step(image->serial, offset);

	state = digest_bytes(state, record, CHECK_AT);
	return digest_end(digest_bytes(state, record + RECORD_HEAD, get32(record) - image->tail));
}

static void put_head(struct image *image, uint64_t first_seq, uint64_t used)
{
	uint8_t *head = image->bytes;

	put64(head, LOG_MAGIC);
	put32(head + 8, BLOCKFILE_VERSION);
	put32(head + 12, HEAD);
	put64(head + 16, image->len - HEAD);
	put64(head + 24, first_seq);
	put64(head + 32, image->serial);
	put64(head + 40, used);
	put32(head + 48, head_check(head));
}

static size_t padded(size_t len)
{
	return (RECORD_HEAD + len + 7) & ~(size_t)7;
}

/* Bytes used then. */
static size_t put_records(struct image *image, struct food *food)
{
	unsigned n = take_byte(food) % RECORDS_MAX;
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		uint8_t bits = take_byte(food);
		size_t len = take_byte(food) % 64 + image->tail;
		uint8_t *record = image->bytes + HEAD + at;
		struct food payload;

		if (HEAD + at + padded(len) > image->len)
			break;
		payload = take_bytes(food, len - image->tail);
		put32(record, (uint32_t)len);
		record[4] = bits & 7;
		record[5] = bits >> 6;
		put64(record + 8, 1000 + i);
		put32(record + STATE_AT, bits >> 3 & 3);
		if (payload.len > 0)
			memcpy(record + RECORD_HEAD, payload.at, payload.len);
		put32(record + CHECK_AT, record_check(image, at));
		at += padded(len);
	}
	return at;
}

static void damage(struct image *image, struct food *food)
{
	unsigned n = take_byte(food) % 16;

	while (n-- > 0 && image->len > 0) {
		size_t at = take_number(food, 2) % image->len;

		image->bytes[at] ^= take_byte(food);
	}
}

/* Checks are right again, so that what is wrong comes further. */
static void mend(struct image *image, uint8_t how)
{
	size_t used, at = 0;

	if (image->len < HEAD)
		return;
	if (how & MEND_HEAD)
		put32(image->bytes + 48, head_check(image->bytes));
	used = get64(image->bytes + 40);
	if (!(how & MEND_RECORDS) || used > image->len - HEAD)
		return;
	while (used - at >= RECORD_HEAD) {
		size_t len = get32(image->bytes + HEAD + at);

		if (len < image->tail || len > used - at - RECORD_HEAD)
			return;
		put32(image->bytes + HEAD + at + CHECK_AT, record_check(image, at));
		if (padded(len) > used - at)
			return;
		at += padded(len);
	}
}

/* How it is built, its length if that is not 4096, number of the first message, records, damage. */
static void build_log(struct image *image, struct food *food)
{
	uint8_t how = take_byte(food);
	uint64_t first_seq;

	image->len = how & SIZED ? take_number(food, 2) % BYTES_MAX : 4096;
	first_seq = take_number(food, how & LARGE_NUMBERS ? 8 : 1);
	memset(image->bytes, 0, sizeof(image->bytes));
	if (image->len >= HEAD) {
		size_t used = put_records(image, food);

		put_head(image, first_seq, used);
	}
	if (!(how & WHOLE))
		damage(image, food);
	mend(image, how);
}

/* Number and marks, damage, length if there is any. */
static void build_place(struct image *image, struct food *food)
{
	uint64_t seq = take_number(food, 2), marks = take_byte(food);

	memset(image->bytes, 0, sizeof(image->bytes));
	image->len = PLACE_BYTES;
	put64(image->bytes, PLACE_MAGIC);
	put64(image->bytes + 8, seq << 16 | marks);
	put64(image->bytes + 16, take_byte(food));
	damage(image, food);
	if (image->bytes[100])
		image->len = image->bytes[100];
}

/* --- a plain reading
 * --------------------------------------------------------------------------------- */

struct found {
	uint32_t kind, state, len;
	uint64_t stamp, seq;
	uint8_t data[64];
};

/* All that one log has, oldest first. */
struct plain {
	struct found found[FOUND_MAX];
	unsigned n, cut_files, set_aside;
	uint64_t next_seq, absent, cut_bytes, messages;
	bool any;
};

static bool is_log(const struct image *image)
{
	const uint8_t *head = image->bytes;

	return image->len >= HEAD && get64(head) == LOG_MAGIC && get32(head + 8) == 1 &&
	       get32(head + 12) == HEAD && get32(head + 48) == head_check(head) &&
	       get64(head + 32) == image->serial && get64(head + 16) == image->len - HEAD &&
	       get64(head + 40) <= image->len - HEAD && get64(head + 24) <= SEQ_MAX;
}

static bool is_blank(const struct image *image)
{
	for (size_t i = 0; i < HEAD; i++)
		if (i >= image->len || image->bytes[i])
			return false;
	return true;
}

static bool is_record(const struct image *image, size_t at, size_t used)
{
	const uint8_t *record = image->bytes + HEAD + at;
	size_t room = used - at, len;

	if (room < RECORD_HEAD)
		return false;
	len = get32(record);
	return len <= room - RECORD_HEAD && len >= image->tail && padded(len) <= room &&
	       record[4] >= 1 && record[4] <= 4 &&
	       get32(record + CHECK_AT) == record_check(image, at);
}

static void add_record(struct plain *plain, const struct image *image, size_t at, uint64_t *seq)
{
	const uint8_t *record = image->bytes + HEAD + at;
	struct found *found = &plain->found[plain->n++];
	size_t len = get32(record) - image->tail;

	HOLDS(plain->n <= FOUND_MAX);
	*found = (struct found){
		record[4], get32(record + STATE_AT), (uint32_t)len, get64(record + 8), *seq, {0}};
	memcpy(found->data, record + RECORD_HEAD, len < 64 ? len : 64);
	if (record[4] <= 2) {
		(*seq)++;
		plain->messages++;
	}
}

/* Files come in order of their numbers. */
static void read_plainly(struct plain *plain, const struct image *image)
{
	uint64_t first, seq;
	size_t used, at = 0;

	if (is_blank(image) || image->len == 0)
		return;
	if (!is_log(image)) {
		plain->set_aside++;
		return;
	}
	first = seq = get64(image->bytes + 24);
	used = get64(image->bytes + 40);
	while (at < used && is_record(image, at, used))
		at += padded(get32(image->bytes + HEAD + at));
	plain->cut_files += at < used;
	plain->cut_bytes += used - at;
	if (plain->any && first < plain->next_seq) {
		plain->set_aside++;
		return;
	}
	if (plain->any)
		plain->absent += first - plain->next_seq;
	for (size_t to = at, from = 0; from < to; from += padded(get32(image->bytes + HEAD + from)))
		add_record(plain, image, from, &seq);
	plain->next_seq = seq;
	plain->any = true;
}

/* --- the real one
 * -------------------------------------------------------------------------------------- */

struct real {
	struct store *store;
	struct spool *spool;
	struct outbox *outbox;
	struct cursors *cursors;
	struct records_found received, queued;
	struct outbox_loss doubtful;
};

static void real_open(struct real *real, bool again)
{
	static const struct spool_options spool_options = {.keep_bytes = 1 << 20};
	static const struct outbox_options outbox_options = {.queue_bytes = 1 << 20};
	static const struct spool_events events = {0};

	*real = (struct real){0};
	HOLDS(store_open(&real->store, scratch_fd, "x") == 0);
	HOLDS(spool_new(&real->spool, &spool_options, NULL, &events, NULL) == 0);
	HOLDS(outbox_new(&real->outbox, &outbox_options) == 0);
	HOLDS(cursors_new(&real->cursors, real->spool) == 0);
	HOLDS(spool_set_store(real->spool, real->store, true, &real->received) == 0);
	HOLDS(outbox_take_up(real->outbox, real->store, again, &real->queued, &real->doubtful) ==
	      0);
	HOLDS(cursors_set_store(real->cursors, real->store, true) == 0);
}

static void real_close(struct real *real)
{
	cursors_free(real->cursors);
	outbox_free(real->outbox);
	spool_free(real->spool);
	store_close(real->store);
}

static void check_found(const struct plain *plain, const struct records_found *found)
{
	HOLDS(found->messages == plain->messages && found->absent == plain->absent);
	HOLDS(found->cut_files == plain->cut_files && found->cut_bytes == plain->cut_bytes);
	HOLDS(found->set_aside == plain->set_aside);
}

static void check_message(const struct found *found, const struct msg *msg)
{
	HOLDS(msg->kind == found->kind && msg->len == found->len);
	HOLDS(same_bytes(msg->data, msg->len < 64 ? msg->len : 64, found->data,
			 msg->len < 64 ? msg->len : 64));
}

/* From the oldest on, over gaps. */
static unsigned check_spool(const struct real *real, const struct plain *plain)
{
	struct cursor cursor = {0};
	unsigned n = 0, rounds = 0;

	cursor_open(&cursor, real->spool, CURSOR_OLDEST, "test", NULL, NULL);
	while (!cursor_at_end(&cursor)) {
		struct position at = cursor_start(&cursor);
		struct msg msg;

		HOLDS(++rounds <= FILES_MAX + 2);
		while (cursor_read(&cursor, &at, &msg)) {
			HOLDS(n < plain->n);
			HOLDS(msg.time_us == plain->found[n].stamp);
			check_message(&plain->found[n++], &msg);
		}
		cursor_commit(&cursor, &at);
	}
	HOLDS(n == plain->n);
	cursor_close(&cursor);
	return n;
}

/* All that waits is sent: in order, each once, and only what can be sent. */
static void check_outbox(const struct real *real, const struct plain *plain, bool again)
{
	struct outbox_stats stats;
	struct msg msg;
	unsigned n = 0;
	uint64_t position = 0;

	for (unsigned i = 0; i < plain->n; i++) {
		const struct found *found = &plain->found[i];

		if (found->state == RELEASED || (found->state != WAITING && !again))
			continue;
		if (found->kind != MSG_TEXT && found->kind != MSG_BINARY)
			continue; /* a mark of the spool's */
		HOLDS(outbox_next(real->outbox, &msg));
		HOLDS(msg.kind == MSG_TEXT || msg.kind == MSG_BINARY);
		check_message(found, &msg);
		outbox_begin(real->outbox);
		outbox_take(real->outbox, position, position + 10);
		position += 10;
		n++;
	}
	HOLDS(!outbox_next(real->outbox, &msg));
	HOLDS(outbox_written(real->outbox, position).messages == n);
	outbox_get_stats(real->outbox, &stats);
	HOLDS(outbox_empty(real->outbox) && stats.queued_messages == 0 && stats.queued_bytes == 0);
}

static void check_places(const struct real *real)
{
	uint64_t next = spool_next_seq(real->spool);

	for (struct mark *mark = cursors_next(real->cursors, NULL); mark;
	     mark = cursors_next(real->cursors, mark)) {
		HOLDS(cursors_name_valid(mark->name));
		HOLDS(mark->seq <= next && mark_behind(mark) <= next);
	}
}

/* Life goes on: what comes now gets the next number, and is found behind all that was. */
static void go_on(const struct real *real)
{
	const struct msg msg = {
		.kind = MSG_TEXT, .time_us = 77, .data = (const uint8_t *)"fresh", .len = 5};
	uint64_t next = spool_next_seq(real->spool);
	struct msg newest, waiting;

	HOLDS(spool_append(real->spool, &msg) == SPOOL_OK);
	HOLDS(spool_next_seq(real->spool) == next + 1);
	HOLDS(spool_newest(real->spool, &newest) &&
	      same_bytes(newest.data, newest.len, "fresh", 5));
	HOLDS(outbox_put(real->outbox, &msg, NULL) == OUTBOX_OK);
	HOLDS(outbox_next(real->outbox, &waiting) &&
	      same_bytes(waiting.data, waiting.len, "fresh", 5));
}

/* A second start finds nothing to mend, and the same and what came since. */
static void check_again(struct plain *spool, uint64_t next)
{
	struct real real;
	struct msg msg;

	spool->found[spool->n++] = (struct found){MSG_TEXT, 0, 5, 77, next - 1, "fresh"};
	real_open(&real, true);
	HOLDS(real.received.cut_files == 0 && real.received.set_aside == 0);
	HOLDS(real.queued.cut_files == 0 && real.queued.set_aside == 0);
	HOLDS(real.doubtful.messages == 0);
	HOLDS(spool_next_seq(real.spool) == next);
	check_spool(&real, spool);
	check_places(&real);
	HOLDS(outbox_next(real.outbox, &msg) && same_bytes(msg.data, msg.len, "fresh", 5));
	real_close(&real);
}

/* --- all together
 * ----------------------------------------------------------------------------------- */

static void write_image(const char *name, const struct image *image)
{
	char path[64];

	snprintf(path, sizeof(path), "x/%s", name);
	scratch_put(path, image->bytes, image->len);
}

/* By number; each is there once. */
static void make_files(struct food *food, struct image logs[2][4], bool there[2][4])
{
	static struct image place;
	char name[64];

	for (int i = 0; i < FILES_MAX && food->len > 0; i++) {
		uint8_t what = take_byte(food), kind = what & 3, number = what >> 2 & 3;

		if (kind < 2) {
			struct image *image = &logs[kind][number];

			image->serial = number;
			image->tail = kind ? SPAN : 0;
			build_log(image, food);
			there[kind][number] = true;
			snprintf(name, sizeof(name), "%s.%016x", kind ? "outbox" : "spool", number);
			write_image(name, image);
		} else {
			build_place(&place, food);
			snprintf(name, sizeof(name), "%s.%c", kind == 2 ? "cursor" : "reader",
				 "ab-c"[number]);
			write_image(name, &place);
		}
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR - 1);
	scratch_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct image logs[2][4];
	static struct plain plain[2];
	struct food food = {data, len};
	bool there[2][4] = {{false}}, again = take_byte(&food) & 1;
	struct real real;
	uint64_t next;

	memset(plain, 0, sizeof(plain));
	HOLDS(mkdirat(scratch_fd, "x", 0700) == 0);
	make_files(&food, logs, there);
	for (int i = 0; i < 8; i++)
		if (there[i / 4][i % 4])
			read_plainly(&plain[i / 4], &logs[i / 4][i % 4]);
	HOLDS(loop_init() == 0);
	real_open(&real, again);
	check_found(&plain[0], &real.received);
	check_found(&plain[1], &real.queued);
	check_spool(&real, &plain[0]);
	check_places(&real);
	check_outbox(&real, &plain[1], again);
	go_on(&real);
	next = spool_next_seq(real.spool);
	real_close(&real);
	if (next < SEQ_MAX)
		check_again(&plain[0], next);
	HOLDS(fake_loop_timers() == 0);
	loop_done();
	scratch_clear();
	return 0;
}
