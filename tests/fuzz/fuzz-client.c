/* What the client believes of a daemon: its events, its answers to requests, records that are to be
 * stamped, its status.  In any pieces the same is printed.
 *
 * Input: a byte (bits 0-1: which of these; others: its options), a byte (number of cuts), the cuts,
 * the bytes. */
#include <errno.h>
#include <sys/socket.h>

#include "answers.h"
#include "codec/utf8.h"
#include "events.h"
#include "fuzz.h"
#include "print.h"
#include "session.h"
#include "stamp.h"

enum { CUTS_MAX = 32, OUT_MAX = 64 << 20, LEN_MAX = 64 * 1024, DIGITS_MAX = 4 };

/* --- answers ---------------------------------------------------------------------------------- */

static int answer(uint8_t flags, struct food cuts, struct food bytes, struct buf *out,
		  int *ret_exit)
{
	struct answers answers = {
		.who = "x",
		.field = flags & 4 ? "/result" : NULL,
		.ordered = flags & 8,
		.numbered = flags & 16,
	};
	int r = 0;

	buf_init(out, OUT_MAX);
	answers_init(&answers);
	while (bytes.len > 0 && r == 0) {
		struct food piece = take_bytes(&bytes, next_cut(&cuts, bytes.len));
		uint8_t *copy = copy_bytes(piece.at, piece.len);

		r = answers_feed(&answers, copy, piece.len, out);
		free(copy);
	}
	*ret_exit = answers.exit;
	answers_done(&answers);
	return r;
}

/* In order of numbers there is a place for each: a number of many digits is only a lot of memory.
 */
static bool has_long_number(struct food bytes)
{
	size_t digits = 0;

	for (size_t i = 0; i < bytes.len && digits <= DIGITS_MAX; i++)
		digits = bytes.at[i] >= '0' && bytes.at[i] <= '9' ? digits + 1 : 0;
	return digits > DIGITS_MAX;
}

static void check_answers(uint8_t flags, struct food cuts, struct food bytes)
{
	struct food no_cuts = {NULL, 0};
	struct buf one, other;
	int exit_one, exit_other, r;

	if (flags & 8 && has_long_number(bytes))
		return;
	r = answer(flags, no_cuts, bytes, &one, &exit_one);
	HOLDS(answer(flags, cuts, bytes, &other, &exit_other) == r && exit_one == exit_other);
	HOLDS(same_bytes(buf_head(&one), buf_len(&one), buf_head(&other), buf_len(&other)));
	buf_done(&one);
	buf_done(&other);
}

/* --- stamps ----------------------------------------------------------------------------------- */

static int put_stamps(enum framing framing, struct food cuts, struct food bytes, struct buf *out)
{
	struct stamp stamp;
	int r = 0;

	buf_init(out, OUT_MAX);
	stamp_init(&stamp, framing);
	while (bytes.len > 0 && r == 0) {
		struct food piece = take_bytes(&bytes, next_cut(&cuts, bytes.len));
		uint8_t *copy = copy_bytes(piece.at, piece.len);

		r = stamp_feed(&stamp, copy, piece.len, out);
		free(copy);
	}
	stamp_done(&stamp);
	return r;
}

static void check_stamps(uint8_t flags, struct food cuts, struct food bytes)
{
	enum framing framing = flags & 4 ? FRAMING_NUL : FRAMING_LINE;
	struct food no_cuts = {NULL, 0};
	struct buf one, other;
	int r = put_stamps(framing, no_cuts, bytes, &one);

	HOLDS(put_stamps(framing, cuts, bytes, &other) == r);
	HOLDS(same_bytes(buf_head(&one), buf_len(&one), buf_head(&other), buf_len(&other)));
	buf_done(&one);
	buf_done(&other);
}

/* --- events ----------------------------------------------------------------------------------- */

static void listen_to(uint8_t flags, struct food cuts, struct food bytes, struct events *events)
{
	struct session session;
	int fds[2];

	HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	session_init(&session, "x");
	session.fd = fds[0];
	*events = (struct events){.who = "x", .writes = flags & 4};
	while (bytes.len > 0 && !events->ended) {
		struct food piece = take_bytes(&bytes, next_cut(&cuts, bytes.len));

		HOLDS(send(fds[1], piece.at, piece.len, MSG_NOSIGNAL) == (ssize_t)piece.len);
		events_read(events, &session);
	}
	close(fds[1]);
	for (int i = 0; i < 100 && !events->ended; i++)
		events_read(events, &session);
	HOLDS(events->ended && events->missed == 0);
	session_done(&session);
}

static void check_events(uint8_t flags, struct food cuts, struct food bytes)
{
	struct food no_cuts = {NULL, 0};
	struct events one, other;

	listen_to(flags, no_cuts, bytes, &one);
	listen_to(flags, cuts, bytes, &other);
	HOLDS(one.exit == other.exit && one.taken == other.taken &&
	      one.missed_any == other.missed_any);
}

/* --- status ----------------------------------------------------------------------------------- */

/* Valid, as session.c has it from json_find(). */
static void check_status(uint8_t flags, struct food bytes)
{
	char *text = (char *)copy_bytes(bytes.at, bytes.len);
	struct json_span whole;

	if (json_find(text, bytes.len, "", &whole) == 1 && utf8_valid((uint8_t *)text, bytes.len)) {
		if (flags & 4)
			print_table(&whole);
		else if (flags & 8)
			print_cursors(&whole);
		else
			print_object(&whole);
		print_json(&whole);
	}
	free(text);
}

/* What is told to people goes nowhere; HOLDS() writes to the descriptor. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	stderr = fopen("/dev/null", "w");
	stdout = stderr;
	HOLDS(stderr);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, cuts;
	uint8_t flags = take_byte(&food);

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	food.len = food.len < LEN_MAX ? food.len : LEN_MAX;
	if (flags % 4 == 0)
		check_answers(flags, cuts, food);
	else if (flags % 4 == 1)
		check_stamps(flags, cuts, food);
	else if (flags % 4 == 2)
		check_events(flags, cuts, food);
	else
		check_status(flags, food);
	return 0;
}
