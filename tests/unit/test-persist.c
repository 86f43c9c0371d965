/* persist: what spool, outbox and cursors leave in files is found again, after kill -9 all of it, after
 * torn writes all that is whole; nothing that stands in a file does any harm. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/sync.h"
#include "check.h"
#include "conn/cursors.h"
#include "conn/durable.h"
#include "conn/outbox.h"
#include "conn/spool.h"
#include "conn/store.h"
#include "loop.h"

enum { HEAD_BYTES = 64, RECORD_HEAD = 24, RECORD_STATE = 20, RECORD_KIND = 4, RECORD_CHECK = 16,
       FIRST_SEQ_AT = 24, SERIAL_AT = 32, USED_AT = 40, HEAD_CHECK_AT = 48, VERSION_AT = 8, CURSOR_PLACE_AT = 8 };

static char place[] = "/tmp/test-persist-XXXXXX";
static int place_fd;

/* --- directories ---------------------------------------------------------------------------- */

static void remove_dir(const char *name)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%s/%s'", place, name);
	CHECK_EQ(system(command), 0);
}

/* The kernel has what was written to a mapping: a copy now is what kill -9 now would leave. */
static void copy_dir(const char *from, const char *to)
{
	char command[300];

	remove_dir(to);
	snprintf(command, sizeof(command), "cp -r '%s/%s' '%s/%s'", place, from, place, to);
	CHECK_EQ(system(command), 0);
}

/* The N-th of the files that begin so, in order of names; -1 counts from the end. */
static void find_file(const char *dir, const char *prefix, int n, char path[600])
{
	char where[300];
	struct dirent **entries;
	int count, matches = 0;

	snprintf(where, sizeof(where), "%s/%s", place, dir);
	count = scandir(where, &entries, NULL, alphasort);
	CHECK(count >= 0);
	for (int i = 0; i < count; i++)
		matches += strncmp(entries[i]->d_name, prefix, strlen(prefix)) == 0;
	if (n < 0)
		n += matches;
	CHECK(n >= 0 && n < matches);
	for (int i = 0; i < count; i++) {
		if (strncmp(entries[i]->d_name, prefix, strlen(prefix)) == 0 && n-- == 0)
			snprintf(path, 600, "%s/%s", where, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

static unsigned count_files(const char *dir, const char *prefix)
{
	char where[300];
	struct dirent *entry;
	unsigned n = 0;
	DIR *listing;

	snprintf(where, sizeof(where), "%s/%s", place, dir);
	listing = opendir(where);
	CHECK(listing);
	while ((entry = readdir(listing)))
		n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(listing);
	return n;
}

static void change_byte(const char *path, long at, uint8_t bits)
{
	FILE *file = fopen(path, "r+");
	int byte;

	CHECK(file && fseek(file, at, SEEK_SET) == 0);
	byte = fgetc(file);
	if (byte >= 0) { /* else it has been cut before */
		CHECK(fseek(file, at, SEEK_SET) == 0);
		CHECK(fputc(byte ^ bits, file) >= 0);
	}
	CHECK(fclose(file) == 0);
}

static void zero_bytes(const char *path, long from, long to)
{
	FILE *file = fopen(path, "r+");

	CHECK(file && fseek(file, from, SEEK_SET) == 0);
	for (; from < to; from++)
		CHECK(fputc(0, file) == 0);
	CHECK(fclose(file) == 0);
}

static uint64_t used_of(const char *path)
{
	FILE *file = fopen(path, "r");
	uint64_t used;

	CHECK(file && fseek(file, USED_AT, SEEK_SET) == 0);
	CHECK(fread(&used, sizeof(used), 1, file) == 1);
	fclose(file);
	return used;
}

/* --- spools --------------------------------------------------------------------------------- */

static struct {
	uint64_t missed;
} seen;

static void on_missed(void *owner, const char *reader, uint64_t messages, uint64_t bytes)
{
	(void)owner, (void)reader, (void)bytes;
	seen.missed += messages;
}

struct kept {
	struct store *store;
	struct spool *spool;
	struct cursors *cursors;
	struct records_found found;
};

static void open_kept(struct kept *kept, const char *dir, uint64_t keep)
{
	static const struct spool_events events = {NULL, on_missed};
	const struct spool_options options = {keep, 0, SPOOL_DROP};

	memset(&seen, 0, sizeof(seen));
	CHECK_EQ(store_open(&kept->store, place_fd, dir), 0);
	CHECK_EQ(spool_new(&kept->spool, &options, NULL, &events, NULL), 0);
	CHECK_EQ(cursors_new(&kept->cursors, kept->spool), 0);
	CHECK_EQ(spool_set_store(kept->spool, kept->store, true, &kept->found), 0);
	CHECK_EQ(cursors_set_store(kept->cursors, kept->store, true), 0);
}

static void close_kept(struct kept *kept)
{
	kept->cursors = cursors_free(kept->cursors);
	kept->spool = spool_free(kept->spool);
	kept->store = store_close(kept->store);
}

/* Message NUMBER: its number, and bytes that follow from it. */
static void put(struct kept *kept, uint32_t number, size_t len)
{
	static uint8_t data[1 << 20];
	struct msg msg = {.kind = MSG_BINARY, .flags = 1, .time_us = 1000 + number, .data = data, .len = len};

	CHECK(len >= sizeof(number) && len <= sizeof(data));
	memset(data, (int)(number & 0xff), len);
	memcpy(data, &number, sizeof(number));
	CHECK(spool_append(kept->spool, &msg) >= 0);
}

static void put_mark(struct kept *kept)
{
	const uint8_t *why = (const uint8_t *)"why";
	struct msg mark = {.kind = MSG_CLOSED, .code = 1001, .time_us = 5, .data = why, .len = 3};

	CHECK(spool_append(kept->spool, &mark) >= 0);
}

static uint32_t number_of(const struct msg *msg)
{
	uint32_t number;

	CHECK(msg->len >= sizeof(number));
	memcpy(&number, msg->data, sizeof(number));
	for (size_t i = sizeof(number); i < msg->len; i++)
		CHECK_EQ(msg->data[i], number & 0xff);
	CHECK_EQ(msg->time_us, 1000 + number);
	CHECK_EQ(msg->flags, 1);
	return number;
}

/* Read all: the numbers rise, from FIRST if that is not negative.  How many they are. */
static unsigned read_all(struct kept *kept, long long first)
{
	struct cursor cursor;
	struct position at;
	struct msg msg;
	long long before = -1;
	unsigned n = 0;

	cursor_open(&cursor, kept->spool, CURSOR_OLDEST, "test", NULL, NULL);
	while (!cursor_at_end(&cursor)) {
		at = cursor_start(&cursor);
		while (cursor_read(&cursor, &at, &msg)) {
			cursor_commit(&cursor, &at);
			if (msg.kind == MSG_CLOSED)
				continue;
			CHECK(number_of(&msg) > before);
			before = number_of(&msg);
			if (n++ == 0 && first >= 0)
				CHECK_EQ(before, first);
		}
	}
	CHECK_EQ(cursor.at.seq, spool_next_seq(kept->spool));
	cursor_close(&cursor);
	return n;
}

static void check_kill_at_any_time(void)
{
	struct kept kept, after;
	struct msg newest;

	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 300; i++) {
		put(&kept, i, 4 + i * 7 % 900);
		if (i % 9 == 4)
			put_mark(&kept);
		if (i % 25 != 3)
			continue;
		copy_dir("a", "b");
		open_kept(&after, "b", 1 << 20);
		CHECK_EQ(after.found.messages, i + 1);
		CHECK_EQ(after.found.cut_files, 0);
		CHECK_EQ(read_all(&after, 0), i + 1);
		CHECK(spool_newest(after.spool, &newest));
		CHECK_EQ(number_of(&newest), i);
		put(&after, i + 1, 2000); /* and it goes on */
		CHECK_EQ(spool_next_seq(after.spool), i + 2);
		CHECK_EQ(read_all(&after, 0), i + 2);
		close_kept(&after);
	}
	close_kept(&kept);
	CHECK(count_files("a", "spool.") > 2);
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(read_all(&kept, 0), 300);
	close_kept(&kept);
	remove_dir("a");
	remove_dir("b");
}

static void make_ten(const char *dir)
{
	struct kept kept;

	open_kept(&kept, dir, 1 << 20);
	for (uint32_t i = 0; i < 10; i++)
		put(&kept, i, 20 + i);
	close_kept(&kept);
}

/* Pages that had not been written are zeros: from any byte of the last record on. */
static void check_torn_at_every_byte(void)
{
	size_t record = record_size(29);
	char path[600];
	struct kept kept;
	uint64_t used;

	make_ten("a");
	find_file("a", "spool.", 0, path);
	used = used_of(path);
	for (size_t cut = 0; cut < RECORD_HEAD + 29; cut++) {
		if (cut == RECORD_STATE + 4 + 29)
			continue;
		copy_dir("a", "b");
		find_file("b", "spool.", 0, path);
		zero_bytes(path, (long)(HEAD_BYTES + used - record + cut), (long)(HEAD_BYTES + used));
		open_kept(&kept, "b", 1 << 20);
		CHECK_EQ(kept.found.messages, 9);
		CHECK_EQ(kept.found.cut_files, 1);
		CHECK_EQ(kept.found.cut_bytes, record);
		put(&kept, 9, 500);
		close_kept(&kept);
		open_kept(&kept, "b", 1 << 20);
		CHECK_EQ(kept.found.cut_files, 0);
		CHECK_EQ(read_all(&kept, 0), 10);
		close_kept(&kept);
	}
	remove_dir("a");
	remove_dir("b");
}

static void check_wrong_at_every_byte(void)
{
	char path[600];
	struct kept kept;
	uint64_t used;
	size_t record = record_size(29);

	make_ten("a");
	find_file("a", "spool.", 0, path);
	used = used_of(path);
	for (size_t at = 0; at < RECORD_HEAD + 29; at++) {
		bool is_state = at >= RECORD_STATE && at < RECORD_HEAD;

		copy_dir("a", "b");
		find_file("b", "spool.", 0, path);
		change_byte(path, (long)(HEAD_BYTES + used - record + at), 0x10);
		open_kept(&kept, "b", 1 << 20);
		CHECK_EQ(kept.found.messages, is_state ? 10 : 9);
		close_kept(&kept);
	}
	for (long at = 0; at < HEAD_BYTES - 12; at++) { /* the head: nothing of it is believed, or all */
		copy_dir("a", "b");
		find_file("b", "spool.", 0, path);
		change_byte(path, at, 0x40);
		open_kept(&kept, "b", 1 << 20);
		CHECK(kept.found.messages == (at >= USED_AT && at < USED_AT + 8 ? kept.found.messages : 0));
		CHECK_EQ(read_all(&kept, -1), kept.found.messages);
		put(&kept, 20, 100);
		close_kept(&kept);
	}
	remove_dir("a");
	remove_dir("b");
}

static void check_nonsense(void)
{
	char path[600];
	struct kept kept;

	srandom(7);
	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 400; i++)
		put(&kept, i, 4 + (size_t)random() % 400);
	close_kept(&kept);
	for (int round = 0; round < 150; round++) {
		copy_dir("a", "b");
		for (long i = random() % 20; i >= 0; i--) {
			struct stat st;

			find_file("b", "spool.", (int)(random() % count_files("b", "spool.")), path);
			CHECK_EQ(stat(path, &st), 0);
			if (random() % 10 == 0)
				CHECK_EQ(truncate(path, 1 + random() % st.st_size), 0);
			else
				change_byte(path, random() % (random() % 2 ? st.st_size : HEAD_BYTES + 100),
					    (uint8_t)(1 + random() % 255));
		}
		open_kept(&kept, "b", 1 << 20);
		CHECK_EQ(read_all(&kept, -1), kept.found.messages);
		CHECK_EQ(seen.missed, kept.found.absent);
		put(&kept, 1000000, 100);
		close_kept(&kept);
	}
	remove_dir("a");
	remove_dir("b");
}

static void check_missing_block(void)
{
	char path[600];
	struct kept kept;
	struct cursor reader;

	open_kept(&kept, "a", 64 * 1024);
	for (uint32_t i = 0; i < 200; i++)
		put(&kept, i, 200);
	close_kept(&kept);
	CHECK(count_files("a", "spool.") >= 4);
	find_file("a", "spool.", -2, path);
	CHECK_EQ(unlink(path), 0);
	open_kept(&kept, "a", 64 * 1024);
	CHECK(kept.found.absent > 0);
	CHECK_EQ(kept.found.absent + kept.found.messages, 200);
	cursor_open(&reader, kept.spool, CURSOR_OLDEST, "second", NULL, NULL);
	CHECK_EQ(read_all(&kept, 0), kept.found.messages);
	CHECK_EQ(seen.missed, kept.found.absent);
	CHECK_EQ(cursor_behind(&reader), 200);
	cursor_seek(&reader, SEEK_SEQ, 199, 0);
	CHECK_EQ(cursor_behind(&reader), 1);
	cursor_close(&reader);
	close_kept(&kept);
	remove_dir("a");
}

static void check_other_version(void)
{
	char path[600];
	struct kept kept;

	make_ten("a");
	find_file("a", "spool.", 0, path);
	change_byte(path, VERSION_AT, 2);
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(kept.found.set_aside, 1);
	CHECK_EQ(kept.found.messages, 0);
	CHECK_EQ(count_files("a", "bad.spool."), 1);
	put(&kept, 0, 10);
	close_kept(&kept);
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(kept.found.set_aside, 0);
	CHECK_EQ(read_all(&kept, 0), 1);
	close_kept(&kept);
	remove_dir("a");
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* No file can be made: what comes is in memory, and when the disk is better, on it again. */
static void check_full_disk(void)
{
	struct kept kept;
	uint32_t i = 0;

	open_kept(&kept, "a", 1 << 20);
	for (; i < 50; i++)
		put(&kept, i, 200);
	limit_files(100);
	for (; i < 300; i++)
		put(&kept, i, 200);
	CHECK(store_problem(kept.store));
	CHECK_EQ(read_all(&kept, 0), 300);
	limit_files(RLIM_INFINITY);
	for (; i < 3000; i++)
		put(&kept, i, 200);
	CHECK(!store_problem(kept.store));
	CHECK_EQ(read_all(&kept, 0), 3000);
	close_kept(&kept);
	open_kept(&kept, "a", 1 << 20);
	CHECK(kept.found.absent > 0);
	CHECK_EQ(read_all(&kept, 0) + kept.found.absent, 3000);
	close_kept(&kept);
	remove_dir("a");
}

/* Files go with their blocks; a block that is held stays readable. */
static void check_retention(void)
{
	struct kept kept;
	struct cursor cursor;
	struct position at;
	struct block *held;
	struct msg msg;

	open_kept(&kept, "a", 100 * 1024);
	put(&kept, 0, 5000);
	cursor_open(&cursor, kept.spool, CURSOR_OLDEST, "test", NULL, NULL);
	at = cursor_start(&cursor);
	CHECK(cursor_read(&cursor, &at, &msg));
	held = cursor_hold(&at);
	for (uint32_t i = 1; i < 1000; i++)
		put(&kept, i, 5000);
	CHECK(count_files("a", "spool.") < 20);
	CHECK_EQ(number_of(&msg), 0);
	block_release(held);
	cursor_close(&cursor);
	close_kept(&kept);
	open_kept(&kept, "a", 100 * 1024);
	CHECK(kept.found.messages < 30 && kept.found.messages > 5);
	CHECK_EQ(spool_next_seq(kept.spool), 1000);
	CHECK_EQ(read_all(&kept, 1000 - (long long)kept.found.messages), kept.found.messages);
	close_kept(&kept);
	remove_dir("a");
}

/* What lies on the disk does not count as memory, and is not given up for it. */
static void check_pool(void)
{
	static const struct spool_events events = {NULL, on_missed};
	const struct spool_options options = {1 << 20, 0, SPOOL_DROP};
	static const uint8_t data[1000];
	struct msg msg = {.kind = MSG_TEXT, .data = data, .len = sizeof(data)};
	struct records_found found;
	struct records_pool pool;
	struct spool *on_disk, *in_memory;
	struct spool_stats stats;
	struct store *store;

	records_pool_init(&pool, 64 * 1024);
	CHECK_EQ(store_open(&store, place_fd, "a"), 0);
	CHECK_EQ(spool_new(&on_disk, &options, &pool, &events, NULL), 0);
	CHECK_EQ(spool_new(&in_memory, &options, &pool, &events, NULL), 0);
	CHECK_EQ(spool_set_store(on_disk, store, true, &found), 0);
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(spool_append(on_disk, &msg), SPOOL_OK);
		CHECK_EQ(spool_append(in_memory, &msg), SPOOL_OK);
		CHECK(pool.used <= pool.limit);
	}
	spool_get_stats(on_disk, &stats);
	CHECK_EQ(stats.kept_messages, 500);
	spool_get_stats(in_memory, &stats);
	CHECK(stats.kept_messages > 20 && stats.kept_messages < 66);
	spool_free(in_memory);
	spool_free(on_disk);
	store_close(store);
	CHECK_EQ(pool.used, 0);
	remove_dir("a");
}

/* --- places --------------------------------------------------------------------------------- */

static void check_seek(void)
{
	struct kept kept;
	struct cursor cursor;
	struct position at;
	struct msg msg;

	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 100; i++) {
		put(&kept, i, 200);
		put_mark(&kept);
		put_mark(&kept);
	}
	cursor_open(&cursor, kept.spool, CURSOR_OLDEST, "test", NULL, NULL);
	for (uint32_t i = 0; i <= 100; i++) {
		for (uint32_t marks = 0; marks < 4; marks++) {
			cursor_seek(&cursor, SEEK_SEQ, i, marks);
			CHECK_EQ(cursor_behind(&cursor), 100 - i);
			at = cursor_start(&cursor);
			if (i == 100 && marks >= 2) {
				CHECK(!cursor_read(&cursor, &at, &msg));
				continue;
			}
			CHECK(cursor_read(&cursor, &at, &msg));
			CHECK_EQ(msg.kind, i > 0 && marks < 2 ? MSG_CLOSED : MSG_BINARY);
		}
	}
	cursor_seek(&cursor, SEEK_LAST, 30, 0);
	CHECK_EQ(cursor_behind(&cursor), 30);
	at = cursor_start(&cursor);
	CHECK(cursor_read(&cursor, &at, &msg) && msg.kind == MSG_BINARY && number_of(&msg) == 70);
	cursor_seek(&cursor, SEEK_LAST, 1000, 0);
	CHECK_EQ(cursor_behind(&cursor), 100);
	cursor_close(&cursor);
	close_kept(&kept);
	remove_dir("a");
}

static void check_since(void)
{
	struct kept kept;
	struct cursor cursor;

	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 100; i++)
		put(&kept, i, 300); /* at 1000 + i */
	cursor_open(&cursor, kept.spool, CURSOR_OLDEST, "test", NULL, NULL);
	for (uint32_t i = 0; i <= 100; i++) {
		cursor_seek(&cursor, SEEK_SINCE, 1000 + i, 0);
		CHECK_EQ(cursor_behind(&cursor), 100 - i);
	}
	cursor_seek(&cursor, SEEK_SINCE, 0, 0);
	CHECK_EQ(cursor_behind(&cursor), 100);
	cursor_close(&cursor);
	close_kept(&kept);
	remove_dir("a");
}

static void check_marks_last(void)
{
	struct mark_holder holder = {.pid = 7};
	struct kept kept;
	struct mark *mark;

	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 20; i++)
		put(&kept, i, 100);
	CHECK(!cursors_find(kept.cursors, MARK_NAMED, "c"));
	CHECK_EQ(cursors_add(kept.cursors, MARK_NAMED, "c", &mark), 0);
	CHECK_EQ(mark_behind(mark), 0);
	CHECK_EQ(cursors_add(kept.cursors, MARK_READER, "c", &mark), 0);
	CHECK_EQ(mark_behind(mark), 20);
	mark = cursors_find(kept.cursors, MARK_NAMED, "c");
	CHECK(mark && !mark_is_held(mark));
	mark_hold(mark, &holder);
	CHECK(mark_is_held(mark));
	mark_commit(mark, 13, 2);
	copy_dir("a", "b");
	close_kept(&kept);
	CHECK(!holder.mark);
	open_kept(&kept, "b", 1 << 20);
	mark = cursors_find(kept.cursors, MARK_NAMED, "c");
	CHECK(mark && mark->seq == 13 && mark->marks == 2 && mark_behind(mark) == 7);
	mark_move(mark, CURSOR_OLDEST);
	CHECK_EQ(mark_behind(mark), 20);
	mark_move_since(mark, 1015);
	CHECK_EQ(mark_behind(mark), 5);
	CHECK_EQ(count_files("b", "cursor."), 1);
	cursors_remove(mark);
	CHECK_EQ(count_files("b", "cursor."), 0);
	CHECK_EQ(count_files("b", "reader."), 1);
	close_kept(&kept);
	remove_dir("a");
	remove_dir("b");
	CHECK(cursors_name_valid("a.b-c_9") && !cursors_name_valid("") && !cursors_name_valid(".a") &&
	      !cursors_name_valid("a/b"));
}

/* Nobody reads, and retention passes the place: counted, and told to who comes, over a restart. */
static void check_mark_is_passed(void)
{
	struct kept kept;
	struct mark *mark;

	open_kept(&kept, "a", 32 * 1024);
	CHECK_EQ(cursors_add(kept.cursors, MARK_NAMED, "c", &mark), 0);
	for (uint32_t i = 0; i < 500; i++)
		put(&kept, i, 500);
	CHECK(mark->missed > 300);
	CHECK_EQ(seen.missed, mark->missed);
	CHECK_EQ(mark->missed + mark_behind(mark), 500);
	close_kept(&kept);
	open_kept(&kept, "a", 32 * 1024);
	mark = cursors_find(kept.cursors, MARK_NAMED, "c");
	CHECK_EQ(mark->missed + mark_behind(mark), 500);
	mark_told(mark);
	CHECK_EQ(mark->missed, 0);
	close_kept(&kept);
	remove_dir("a");
}

/* The messages are gone, the places are not: no number is given twice. */
static void check_numbers_go_on(void)
{
	char path[600];
	struct kept kept;
	struct mark *mark;

	open_kept(&kept, "a", 1 << 20);
	for (uint32_t i = 0; i < 50; i++)
		put(&kept, i, 100);
	CHECK_EQ(cursors_add(kept.cursors, MARK_NAMED, "c", &mark), 0);
	close_kept(&kept);
	while (count_files("a", "spool.") > 0) {
		find_file("a", "spool.", 0, path);
		CHECK_EQ(unlink(path), 0);
	}
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(spool_next_seq(kept.spool), 50);
	put(&kept, 50, 100);
	mark = cursors_find(kept.cursors, MARK_NAMED, "c");
	CHECK_EQ(mark_behind(mark), 1);
	CHECK_EQ(read_all(&kept, 50), 1);
	close_kept(&kept);
	remove_dir("a");
}

/* --- numbers that were not written by us --------------------------------------------------------- */

static void put_number(const char *path, long at, uint64_t number)
{
	FILE *file = fopen(path, "r+");

	CHECK(file && fseek(file, at, SEEK_SET) == 0);
	CHECK(fwrite(&number, sizeof(number), 1, file) == 1);
	CHECK(fclose(file) == 0);
}

/* The head of a log with another number of its first message, and with the check for that. */
static void forge_first(const char *path, uint64_t first_seq)
{
	uint64_t words[5], state;
	uint32_t version[2], check;
	FILE *file;

	put_number(path, FIRST_SEQ_AT, first_seq);
	file = fopen(path, "r+");
	CHECK(file && fread(words, sizeof(words), 1, file) == 1);
	memcpy(version, &words[1], sizeof(version));
	state = digest_step(digest_step(words[0], version[0]), version[1]);
	for (int i = 2; i < 5; i++)
		state = digest_step(state, words[i]);
	check = digest_end(state);
	CHECK(fseek(file, HEAD_CHECK_AT, SEEK_SET) == 0 && fwrite(&check, sizeof(check), 1, file) == 1);
	CHECK(fclose(file) == 0);
}

/* They would wrap, and what came then be taken for older than what was there. */
static void check_absurd_numbers(void)
{
	struct kept kept;
	struct mark *mark;
	char path[600];

	open_kept(&kept, "a", 1 << 20);
	put(&kept, 0, 10);
	CHECK_EQ(cursors_add(kept.cursors, MARK_NAMED, "c", &mark), 0);
	close_kept(&kept);
	find_file("a", "spool.", 0, path);
	forge_first(path, 40);
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(kept.found.set_aside, 0); /* forged well, but no harm */
	CHECK_EQ(spool_next_seq(kept.spool), 41);
	close_kept(&kept);
	forge_first(path, UINT64_MAX);
	find_file("a", "cursor.", 0, path);
	put_number(path, CURSOR_PLACE_AT, UINT64_MAX);
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(kept.found.set_aside, 1);
	CHECK(!cursors_find(kept.cursors, MARK_NAMED, "c"));
	CHECK_EQ(count_files("a", "bad."), 2);
	CHECK_EQ(spool_next_seq(kept.spool), 0);
	put(&kept, 7, 10);
	CHECK_EQ(spool_next_seq(kept.spool), 1);
	CHECK_EQ(read_all(&kept, 7), 1);
	close_kept(&kept);
	remove_dir("a");
}

/* --- outbox --------------------------------------------------------------------------------- */

struct queue {
	struct store *store;
	struct outbox *outbox;
	struct records_found found;
	struct outbox_loss lost;
	uint64_t position;
};

static void open_queue_as(struct queue *queue, const char *dir, bool again)
{
	const struct outbox_options options = {10 << 20, 0};

	*queue = (struct queue){0};
	CHECK_EQ(store_open(&queue->store, place_fd, dir), 0);
	CHECK_EQ(outbox_new(&queue->outbox, &options), 0);
	CHECK_EQ(outbox_take_up(queue->outbox, queue->store, again, &queue->found,
				&queue->lost), 0);
}

static void open_queue(struct queue *queue, const char *dir)
{
	open_queue_as(queue, dir, false);
}

static void close_queue(struct queue *queue)
{
	queue->outbox = outbox_free(queue->outbox);
	queue->store = store_close(queue->store);
}

static void queue_put(struct queue *queue, unsigned number)
{
	static char text[1000];
	struct msg msg = {.kind = MSG_TEXT, .data = (uint8_t *)text, .len = 100 + number * 13 % 800};

	memset(text, 'x', sizeof(text));
	snprintf(text, sizeof(text), "%u", number);
	CHECK_EQ(outbox_put(queue->outbox, &msg, NULL), OUTBOX_OK);
}

static unsigned queue_take(struct queue *queue, bool whole)
{
	struct msg msg;
	unsigned number;

	CHECK(outbox_next(queue->outbox, &msg));
	number = (unsigned)atoi((const char *)msg.data);
	CHECK_EQ(msg.len, 100 + number * 13 % 800);
	outbox_begin(queue->outbox);
	if (!whole)
		return number;
	outbox_take(queue->outbox, queue->position, queue->position + msg.len);
	queue->position += msg.len;
	return number;
}

static uint64_t queued(const struct queue *queue)
{
	struct outbox_stats stats;

	outbox_get_stats(queue->outbox, &stats);
	return stats.queued_messages;
}

/* With `resend`: what the link had waits once more, ahead of the rest, and numbers go on. */
static void check_sent_again(unsigned doubtful, unsigned released, unsigned put_in)
{
	struct outbox_stats stats;
	struct queue after;

	copy_dir("a", "b");
	open_queue_as(&after, "b", true);
	CHECK_EQ(after.lost.messages, doubtful);
	outbox_get_stats(after.outbox, &stats);
	CHECK_EQ(stats.queued_messages, put_in - released);
	CHECK_EQ(stats.taken_messages, 0);
	CHECK(stats.put_messages == put_in || put_in == released);
	for (unsigned next = released; next < put_in; next++)
		CHECK_EQ(queue_take(&after, next + 1 < put_in), next);
	close_queue(&after);
}

/* The first record of FILE as somebody would write it who knows the check. */
static void forge_kind(const char *path, uint8_t kind)
{
	uint8_t record[RECORD_HEAD + 1024];
	uint64_t serial, state;
	uint32_t len, check;
	FILE *file = fopen(path, "r+");

	CHECK(file && fseek(file, SERIAL_AT, SEEK_SET) == 0);
	CHECK(fread(&serial, sizeof(serial), 1, file) == 1 && fseek(file, HEAD_BYTES, SEEK_SET) == 0);
	CHECK(fread(record, sizeof(record), 1, file) == 1);
	memcpy(&len, record, sizeof(len));
	record[RECORD_KIND] = kind;
	state = digest_bytes(digest_step(serial, 0), record, RECORD_CHECK);
	check = digest_end(digest_bytes(state, record + RECORD_HEAD, len - 16)); /* 16: its span */
	memcpy(record + RECORD_CHECK, &check, sizeof(check));
	CHECK(fseek(file, HEAD_BYTES, SEEK_SET) == 0 && fwrite(record, sizeof(record), 1, file) == 1);
	CHECK(fclose(file) == 0);
}

/* What waits is counted, and sent once: nothing else in the file is. */
static void check_only(const char *dir, bool again, unsigned doubtful, unsigned first)
{
	struct queue queue;
	struct msg msg;

	open_queue_as(&queue, dir, again);
	CHECK_EQ(queue.found.cut_files, 0);
	CHECK_EQ(queue.lost.messages, doubtful);
	CHECK_EQ(queued(&queue), 3 - first);
	for (unsigned next = first; next < 3; next++)
		CHECK_EQ(queue_take(&queue, true), next);
	CHECK(!outbox_next(queue.outbox, &msg));
	CHECK_EQ(outbox_written(queue.outbox, queue.position).messages, 3 - first);
	CHECK(outbox_empty(queue.outbox));
	CHECK_EQ(queued(&queue), 0);
	close_queue(&queue);
}

/* How far a message has got is not covered by its check: a rotten one is in doubt.  And a mark, for which
 * there is no frame, is not sent. */
static void check_outbox_damaged(void)
{
	struct queue queue;
	char path[600];

	open_queue(&queue, "a");
	for (unsigned i = 0; i < 3; i++)
		queue_put(&queue, i);
	close_queue(&queue);
	copy_dir("a", "b");
	find_file("b", "outbox.", 0, path);
	change_byte(path, HEAD_BYTES + RECORD_STATE, 3);
	check_only("b", false, 1, 1);
	copy_dir("a", "b");
	change_byte(path, HEAD_BYTES + RECORD_STATE + 3, 0x80);
	check_only("b", true, 1, 0);
	copy_dir("a", "b");
	forge_kind(path, MSG_CLOSED);
	check_only("b", true, 0, 1);
	remove_dir("a");
	remove_dir("b");
}

/* Whatever moment: what was released is gone, what was taken is counted, what waits is there. */
static void check_outbox_killed(void)
{
	struct queue queue, after;
	unsigned put_in = 0, taken = 0, released = 0;

	srandom(3);
	open_queue(&queue, "a");
	for (int round = 0; round < 60; round++) {
		bool begun = false;

		for (long i = random() % 30; i > 0; i--)
			queue_put(&queue, put_in++);
		for (long i = random() % 30; i > 0 && taken < put_in; i--)
			CHECK_EQ(queue_take(&queue, true), taken++);
		if (random() % 2)
			released += (unsigned)outbox_written(queue.outbox, queue.position / 4 * 3).messages;
		if (random() % 5 == 0) {
			struct outbox_loss half = outbox_rewind(queue.outbox, queue.position / 10 * 9);

			released += (unsigned)half.messages;
			taken = released;
			queue.position = 0;
		}
		if (taken < put_in && random() % 2) {
			CHECK_EQ(queue_take(&queue, false), taken);
			begun = true;
		}
		check_sent_again(taken - released + begun, released, put_in);
		copy_dir("a", "b");
		open_queue(&after, "b");
		CHECK_EQ(after.lost.messages, taken - released + begun);
		CHECK_EQ(queued(&after), put_in - taken - begun);
		CHECK_EQ(after.found.cut_files, 0);
		for (unsigned next = taken + begun; next < put_in; next++)
			CHECK_EQ(queue_take(&after, true), next);
		outbox_written(after.outbox, after.position);
		CHECK(outbox_empty(after.outbox));
		queue_put(&after, 99);
		close_queue(&after);
		open_queue(&after, "b");
		CHECK_EQ(after.lost.messages, 0);
		CHECK_EQ(queued(&after), 1);
		CHECK_EQ(queue_take(&after, true), 99);
		close_queue(&after);
		if (begun)
			outbox_rewind(queue.outbox, 0), taken = released, queue.position = 0;
	}
	CHECK(put_in > 300 && released > 100);
	close_queue(&queue);
	remove_dir("a");
	remove_dir("b");
}

/* A file is not made for each message, nor kept for ever. */
static void check_outbox_files(void)
{
	struct queue queue;
	char path[600], first[600];

	open_queue(&queue, "a");
	queue_put(&queue, 1);
	find_file("a", "outbox.", 0, first);
	for (int i = 0; i < 2; i++) {
		queue_take(&queue, true);
		outbox_written(queue.outbox, queue.position);
		queue_put(&queue, 2);
		find_file("a", "outbox.", 0, path);
		CHECK_STR(path, first);
	}
	for (unsigned i = 0; i < 2000; i++)
		queue_put(&queue, i);
	CHECK(count_files("a", "outbox.") > 5);
	while (!outbox_empty(queue.outbox)) {
		queue_take(&queue, true);
		outbox_written(queue.outbox, queue.position);
	}
	CHECK(count_files("a", "outbox.") <= 1);
	close_queue(&queue);
	remove_dir("a");
}

/* --- together ------------------------------------------------------------------------------- */

/* What a time without `persist` has left alone is not mixed with what came since. */
static void check_moved_away(void)
{
	static const struct spool_events events = {0};
	const struct spool_options spool_options = {1 << 20, 0, SPOOL_DROP};
	const struct outbox_options outbox_options = {1 << 20, 0};
	struct msg msg = {.kind = MSG_TEXT, .data = (uint8_t *)"x", .len = 1};
	struct durable durable;
	struct outbox_loss lost;
	struct spool *spool;
	struct outbox *outbox;
	struct cursors *cursors;
	char name[] = "a";

	make_ten("a");
	CHECK_EQ(spool_new(&spool, &spool_options, NULL, &events, NULL), 0);
	CHECK_EQ(outbox_new(&outbox, &outbox_options), 0);
	CHECK_EQ(cursors_new(&cursors, spool), 0);
	spool_append(spool, &msg);
	durable_init(&durable, name, spool, outbox, cursors);
	durable_start(&durable, -ENOENT, false, &lost);
	CHECK(durable_problem(&durable));
	durable_start(&durable, place_fd, false, &lost);
	CHECK(!durable_problem(&durable));
	CHECK_EQ(count_files("a", "spool."), 0);
	CHECK_EQ(count_files("", "a~"), 1);
	spool_append(spool, &msg);
	CHECK_EQ(count_files("a", "spool."), 1);
	durable_stop(&durable);
	spool_append(spool, &msg);
	durable_start(&durable, place_fd, false, &lost);
	spool_append(spool, &msg);
	CHECK_EQ(count_files("a", "spool."), 2);
	durable_forget(&durable);
	cursors_free(cursors);
	outbox_free(outbox);
	spool_free(spool);
	durable_done(&durable);
	CHECK_EQ(count_files("", "a"), 1);
}

static void check_sync(void)
{
	struct kept kept;
	int pipes[2];

	sync_stop(); /* what the others have queued */
	open_kept(&kept, "a", 1 << 20);
	CHECK_EQ(fake_loop_timers(), 0);
	put(&kept, 0, 100);
	CHECK_EQ(fake_loop_timers(), 1); /* within a second, and only when there is something */
	CHECK(fake_loop_next_ms() < 1000);
	fake_loop_advance(1000);
	CHECK_EQ(fake_loop_timers(), 0);
	CHECK(list_empty(&kept.store->dirty));
	put(&kept, 1, 100);
	CHECK_EQ(fake_loop_timers(), 1);
	close_kept(&kept);
	CHECK_EQ(fake_loop_timers(), 0);
	remove_dir("a");
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	CHECK_EQ(sync_take(pipes[1]), 0); /* no disk behind it: no error, and it is closed */
	sync_stop();
	CHECK_EQ(sync_error(), 0);
	CHECK_EQ(fcntl(pipes[1], F_GETFD), -1);
	close(pipes[0]);
}

int main(void)
{
	CHECK(freopen("/dev/null", "w", stdout));
	log_set_level(0);
	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(loop_init(), 0);
	CHECK(mkdtemp(place));
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(place_fd >= 0);
	check_kill_at_any_time();
	check_torn_at_every_byte();
	check_wrong_at_every_byte();
	check_nonsense();
	check_missing_block();
	check_other_version();
	check_full_disk();
	check_retention();
	check_pool();
	check_seek();
	check_since();
	check_marks_last();
	check_mark_is_passed();
	check_numbers_go_on();
	check_outbox_killed();
	check_absurd_numbers();
	check_outbox_damaged();
	check_outbox_files();
	check_moved_away();
	check_sync();
	sync_stop();
	loop_done();
	remove_dir("");
	return 0;
}
