/* answers - see answers.h. */
#include "endpoint/answers.h"

#include <errno.h>
#include <string.h>

#include "endpoint/outlet.h"

enum { MEMORY_TO_KEEP = 128 * 1024 }; /* more is given back when the last one has gone */

/* Ahead of each record. */
struct answer {
	uint64_t seq; /* number of the message that it goes ahead of */
	size_t len;
};

void answers_init(struct answers *answers, size_t max_record)
{
	answers->done = 0;
	buf_init(&answers->waiting, max_record + OUTLET_PUSHED_MAX);
}

void answers_done(struct answers *answers)
{
	buf_done(&answers->waiting);
}

int answers_add(struct answers *answers, uint64_t seq, const struct frame_parts *record)
{
	struct answer answer = {.seq = seq, .len = frame_parts_len(record)};
	size_t all = sizeof(answer) + answer.len;
	uint8_t *tail;
	int r;

	if (!answers_empty(answers) && buf_len(&answers->waiting) + all > OUTLET_PUSHED_MAX)
		return -ENOBUFS;
	r = buf_reserve(&answers->waiting, all, &tail);
	if (r < 0)
		return r;
	memcpy(tail, &answer, sizeof(answer));
	frame_parts_put(tail + sizeof(answer), record);
	buf_commit(&answers->waiting, all);
	return 0;
}

/* Records are of any length, so what is ahead of one may lie anywhere: it is copied. */
static struct answer first(const struct answers *answers)
{
	struct answer answer;

	memcpy(&answer, buf_head(&answers->waiting), sizeof(answer));
	return answer;
}

uint64_t answers_stop(const struct answers *answers)
{
	return answers_empty(answers) ? UINT64_MAX : first(answers).seq;
}

bool answers_due(const struct answers *answers, uint64_t seq)
{
	return !answers_empty(answers) && (answers->done > 0 || seq >= first(answers).seq);
}

struct iovec answers_rest(const struct answers *answers)
{
	uint8_t *record = buf_head(&answers->waiting) + sizeof(struct answer);

	return (struct iovec){record + answers->done, first(answers).len - answers->done};
}

bool answers_wrote(struct answers *answers, size_t bytes)
{
	size_t len = first(answers).len;

	answers->done += bytes;
	if (answers->done < len)
		return false;
	buf_consume(&answers->waiting, sizeof(struct answer) + len);
	answers->done = 0;
	if (answers->waiting.size > MEMORY_TO_KEEP)
		buf_trim(&answers->waiting);
	return true;
}
