/* fake/ws - see fake/ws.h. */
#include "ws.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"

enum { MESSAGES_MAX = 4096 };
enum fake_state { UPGRADING, OPEN, CLOSING, ENDED };

struct ws {
	enum fake_state state;
	const struct ws_options *options;
	const struct ws_events *events;
	void *owner;
	struct transport *transport;
	struct later ended, drained;
	struct cause cause;
	uint64_t queued, written;
	size_t budget;
	struct sent {
		uint64_t end;
		char *text;
	} sent[MESSAGES_MAX];
	size_t n_sent, n_got;
	bool paused, ping_outstanding;
	const char *location;
	const struct url *url;
	uint64_t silence_ms, ping_mark;
	unsigned pings, flushes;
	uint16_t code, peer_code;
	char reason[WS_REASON_MAX + 1], peer_reason[WS_REASON_MAX + 1];
};

static struct ws *now;
static unsigned starts;
static int start_error;
static char **got;
static size_t n_got, got_room;

size_t fake_ws_budget = SIZE_MAX;
size_t fake_ws_room = 64 * 1024;
int fake_ws_send_error;
bool fake_ws_many;

struct transport *fake_ws_transport(void)
{
	return malloc(1); /* so that one that nobody frees is found */
}

struct ws *fake_ws_now(void)
{
	return now;
}

const struct url *fake_ws_url(const struct ws *ws, const struct ws_options **ret_options)
{
	*ret_options = ws->options;
	return ws->url;
}

unsigned fake_ws_starts(void)
{
	return starts;
}

void fake_ws_refuse(int error)
{
	start_error = error;
}

static void on_ended(void *owner)
{
	struct ws *ws = owner;

	ws->events->ended(ws->owner, &ws->cause);
}

static void on_drained(void *owner)
{
	struct ws *ws = owner;

	if (ws->state == OPEN || ws->state == CLOSING)
		ws->events->drained(ws->owner);
}

int ws_start(struct ws **ret, struct transport *transport, const struct url *url,
	     const struct ws_options *options, const struct ws_events *events, void *owner)
{
	struct ws *ws;
	int r = start_error;

	start_error = 0;
	ws = r ? NULL : calloc(1, sizeof(*ws));
	if (!ws) {
		free(transport);
		return r ? r : -ENOMEM;
	}
	assert(!now || fake_ws_many);
	ws->transport = transport;
	ws->url = url;
	ws->options = options;
	ws->events = events;
	ws->owner = owner;
	ws->budget = fake_ws_budget;
	later_init(&ws->ended, on_ended, ws);
	later_init(&ws->drained, on_drained, ws);
	starts++;
	*ret = now = ws;
	return 0;
}

struct ws *ws_free(struct ws *ws)
{
	if (!ws)
		return NULL;
	if (ws == now)
		now = NULL;
	later_cancel(&ws->ended);
	later_cancel(&ws->drained);
	for (size_t i = 0; i < ws->n_sent; i++)
		free(ws->sent[i].text);
	free(ws->transport);
	free(ws);
	return NULL;
}

/* --- sending -------------------------------------------------------------------------------- */

bool ws_is_open(const struct ws *ws)
{
	return ws->state == OPEN;
}

bool ws_writable(const struct ws *ws)
{
	return ws->state == OPEN && ws->queued - ws->written < fake_ws_room &&
	       ws->n_sent < MESSAGES_MAX;
}

int ws_send(struct ws *ws, const struct msg *msg, uint64_t *ret_end)
{
	struct sent *sent = &ws->sent[ws->n_sent];

	assert(ws_writable(ws));
	assert(msg->kind == MSG_TEXT || msg->kind == MSG_BINARY);
	if (fake_ws_send_error)
		return fake_ws_send_error;
	ws->queued += msg->len + FAKE_WS_HEAD;
	sent->end = *ret_end = ws->queued;
	sent->text = strndup((const char *)msg->data, msg->len);
	ws->n_sent++;
	return 0;
}

static void receive(char *text)
{
	if (n_got == got_room) {
		got_room = got_room ? got_room * 2 : 64;
		got = realloc(got, got_room * sizeof(*got));
	}
	assert(got && text);
	got[n_got++] = text;
}

static void write_out(struct ws *ws)
{
	uint64_t bytes = ws->queued - ws->written;

	if (bytes > ws->budget)
		bytes = ws->budget;
	if (bytes == 0)
		return;
	if (ws->budget != SIZE_MAX)
		ws->budget -= bytes;
	ws->written += bytes;
	for (; ws->n_got < ws->n_sent && ws->sent[ws->n_got].end <= ws->written; ws->n_got++) {
		receive(ws->sent[ws->n_got].text);
		ws->sent[ws->n_got].text = NULL;
	}
	if (ws->n_got == ws->n_sent)
		ws->n_got = ws->n_sent = 0;
	loop_later(&ws->drained);
}

void ws_flush(struct ws *ws)
{
	if (ws->state == ENDED)
		return;
	ws->flushes += ws->queued > ws->written;
	write_out(ws);
}

void fake_ws_take(struct ws *ws, size_t bytes)
{
	ws->budget = bytes;
	write_out(ws);
}

uint64_t ws_written(const struct ws *ws)
{
	return ws->written;
}

uint64_t ws_queued(const struct ws *ws)
{
	return ws->queued;
}

/* --- the server ----------------------------------------------------------------------------- */

void fake_ws_open(struct ws *ws)
{
	assert(ws->state == UPGRADING);
	ws->state = OPEN;
	ws->events->opened(ws->owner);
}

void fake_ws_message(struct ws *ws, uint8_t kind, const void *data, size_t len)
{
	struct msg msg = {.kind = kind, .time_us = loop_wall_us(), .data = data, .len = len};

	assert(ws->state == OPEN || ws->state == CLOSING);
	ws->events->message(ws->owner, &msg);
}

void fake_ws_text(struct ws *ws, const char *text)
{
	fake_ws_message(ws, MSG_TEXT, text, strlen(text));
}

void fake_ws_pong(struct ws *ws, uint32_t rtt_us)
{
	assert(ws->ping_outstanding);
	ws->ping_outstanding = false;
	ws->events->pong(ws->owner, ws->ping_mark, rtt_us);
}

void fake_ws_end(struct ws *ws, enum cause_class class, int code, uint16_t peer_code,
		 const char *reason)
{
	assert(ws->state != ENDED);
	ws->state = ENDED;
	ws->peer_code = peer_code;
	snprintf(ws->peer_reason, sizeof(ws->peer_reason), "%s", reason);
	cause_set(&ws->cause, class, code, "the test ended it: %d %s", code, reason);
	loop_later(&ws->ended);
}

void fake_ws_refused(struct ws *ws, int http_status, uint32_t retry_after_ms)
{
	fake_ws_end(ws, CAUSE_HTTP, http_status, 0, "");
	ws->cause.retry_after_ms = retry_after_ms;
}

void fake_ws_redirect(struct ws *ws, int http_status, const char *location)
{
	ws->location = location;
	fake_ws_end(ws, CAUSE_HTTP, http_status, 0, "");
}

void fake_ws_set_silence(struct ws *ws, uint64_t ms)
{
	ws->silence_ms = ms;
}

size_t fake_ws_got(void)
{
	return n_got;
}

const char *fake_ws_got_text(size_t i)
{
	return i < n_got ? got[i] : NULL;
}

void fake_ws_forget(void)
{
	while (n_got > 0)
		free(got[--n_got]);
	free(got);
	got = NULL;
	got_room = 0;
}

/* --- closing, pinging, pausing -------------------------------------------------------------- */

void ws_close(struct ws *ws, uint16_t code, const char *reason)
{
	if (ws->state > OPEN)
		return;
	if (ws->state == UPGRADING) {
		fake_ws_end(ws, CAUSE_OPERATOR, 0, 0, "");
		return;
	}
	ws->state = CLOSING;
	ws->code = code;
	snprintf(ws->reason, sizeof(ws->reason), "%s", reason ? reason : "");
	write_out(ws);
}

void ws_abort(struct ws *ws, const struct cause *cause)
{
	if (ws->state == ENDED)
		return;
	ws->state = ENDED;
	ws->cause = *cause;
	loop_later(&ws->ended);
}

void ws_give_up(struct ws *ws, uint16_t code, const struct cause *cause)
{
	ws->code = code;
	ws_abort(ws, cause);
}

void ws_ping(struct ws *ws)
{
	if (ws->state != OPEN || ws->ping_outstanding)
		return;
	ws->pings++;
	ws->ping_mark = ws->queued;
	ws->ping_outstanding = true;
	ws->silence_ms = 0;
}

bool ws_ping_outstanding(const struct ws *ws)
{
	return ws->ping_outstanding;
}

uint64_t ws_silence_ms(const struct ws *ws)
{
	return ws->ping_outstanding && !ws->paused ? ws->silence_ms : 0;
}

void ws_pause(struct ws *ws)
{
	ws->paused = true;
}

void ws_resume(struct ws *ws)
{
	ws->paused = false;
}

bool fake_ws_is_paused(const struct ws *ws)
{
	return ws->paused;
}

bool fake_ws_is_closing(const struct ws *ws, uint16_t *ret_code, const char **ret_reason)
{
	if (ret_code)
		*ret_code = ws->code;
	if (ret_reason)
		*ret_reason = ws->reason;
	return ws->state == CLOSING;
}

unsigned fake_ws_pings(const struct ws *ws)
{
	return ws->pings;
}

unsigned fake_ws_flushes(const struct ws *ws)
{
	return ws->flushes;
}

void ws_forgive_silence(struct ws *ws)
{
	ws->silence_ms = 0;
}

const char *ws_location(const struct ws *ws)
{
	return ws->location;
}

const char *ws_subprotocol(const struct ws *ws)
{
	(void)ws;
	return "";
}

const char *ws_compression(const struct ws *ws)
{
	(void)ws;
	return "";
}

const char *ws_address(const struct ws *ws)
{
	(void)ws;
	return "nowhere:1";
}

const char *ws_tls(const struct ws *ws)
{
	(void)ws;
	return "";
}

uint16_t ws_close_code(const struct ws *ws, const char **ret_reason)
{
	*ret_reason = ws->peer_reason;
	return ws->peer_code;
}
