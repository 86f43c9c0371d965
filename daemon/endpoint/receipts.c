/* receipts - see receipts.h. */
#include "endpoint/receipts.h"

#include <string.h>

static void commit(struct receipts *receipts, uint64_t seq, uint32_t marks)
{
	if (receipts->holder->mark)
		mark_commit(receipts->holder->mark, seq, marks);
}

/* Every second one goes; the newest stays, which is where all is confirmed. */
static void thin_out(struct receipts *receipts)
{
	unsigned kept = 0;

	for (unsigned i = 1; i < receipts->n; i += 2)
		receipts->receipt[kept++] = receipts->receipt[i];
	receipts->n = kept;
}

void receipts_note(struct receipts *receipts, uint64_t bytes, const struct position *at)
{
	if (bytes <= receipts->confirmed) { /* what has no bytes in this framing */
		commit(receipts, at->seq, at->marks);
		return;
	}
	if (receipts->n > 0 && receipts->receipt[receipts->n - 1].bytes == bytes)
		receipts->n--;
	if (receipts->n == RECEIPTS_MAX)
		thin_out(receipts);
	receipts->receipt[receipts->n++] = (struct receipt){bytes, at->seq, at->marks};
}

void receipts_confirm(struct receipts *receipts, uint64_t bytes)
{
	unsigned n = 0;

	if (bytes > receipts->confirmed)
		receipts->confirmed = bytes;
	while (n < receipts->n && receipts->receipt[n].bytes <= receipts->confirmed)
		n++;
	if (n == 0)
		return;
	commit(receipts, receipts->receipt[n - 1].seq, receipts->receipt[n - 1].marks);
	receipts->n -= n;
	memmove(receipts->receipt, receipts->receipt + n, receipts->n * sizeof(*receipts->receipt));
}
