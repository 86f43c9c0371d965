/* fake/transport - see the header. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"

#include "transport.h"

enum { FAKE_MAX = 256 * 1024 * 1024 };

struct transport {
	const struct transport_events *events;
	void *owner;
	struct buf in, tx, out;
	size_t drip, offered, takes;
	unsigned failing, flushes;
	bool paused, again, written_news, shutdown_wanted, is_shut, ending, ended, reading;
	struct cause end;
	uint64_t committed, written, last_rx_ms;
};

struct transport *fake_transport_new(void)
{
	struct transport *transport = calloc(1, sizeof(*transport));

	if (!transport)
		abort();
	buf_init(&transport->in, FAKE_MAX);
	buf_init(&transport->tx, TRANSPORT_TX_MAX);
	buf_init(&transport->out, FAKE_MAX);
	transport->takes = SIZE_MAX;
	return transport;
}

void fake_transport_feed(struct transport *transport, const void *data, size_t len)
{
	if (buf_append(&transport->in, data, len) < 0)
		abort();
}

void fake_transport_drip(struct transport *transport, size_t drip)
{
	transport->drip = drip;
}

void fake_transport_end(struct transport *transport, enum cause_class class, int code,
			const char *text)
{
	cause_set(&transport->end, class, code, "%s", text);
	transport->ending = true;
}

static void fake_send(struct transport *transport)
{
	size_t n = buf_len(&transport->tx);

	if (transport->ended)
		return;
	n = n < transport->takes ? n : transport->takes;
	if (n > 0) {
		if (buf_append(&transport->out, buf_head(&transport->tx), n) < 0)
			abort();
		buf_consume(&transport->tx, n);
		transport->written += n;
		if (transport->takes != SIZE_MAX)
			transport->takes -= n;
	}
	if (buf_len(&transport->tx) == 0 && transport->shutdown_wanted)
		transport->is_shut = true;
}

void fake_transport_take(struct transport *transport, size_t bytes)
{
	uint64_t before = transport->written;

	transport->takes = bytes;
	fake_send(transport);
	if (transport->written > before) /* as the real one, when the socket has room again */
		transport_ask_writable(transport);
}

void transport_ask_writable(struct transport *transport)
{
	transport->written_news = true;
}

void fake_transport_fail(struct transport *transport, unsigned n)
{
	transport->failing = n;
}

static void fake_offer(struct transport *transport)
{
	size_t n = buf_len(&transport->in);

	transport->again = false;
	transport->offered = transport->drip && transport->drip < n ? transport->drip : n;
	if (n > 0)
		transport->last_rx_ms = loop_now_ms();
	transport->reading = true;
	transport->events->readable(transport->owner);
	transport->reading = false;
	if (transport->offered > 0 && !transport->paused)
		abort(); /* readable: until transport_read() returns 0, or pause */
	transport->offered = 0;
}

bool fake_transport_turn(struct transport *transport)
{
	bool busy = false;

	if (!transport->events || transport->ended)
		return false;
	if (!transport->paused && (transport->again || buf_len(&transport->in) > 0)) {
		fake_offer(transport);
		busy = true;
	}
	if (transport->written_news && buf_len(&transport->tx) <= TRANSPORT_TX_MAX / 2) {
		transport->written_news = false;
		transport->events->writable(transport->owner);
		busy = true;
	}
	buf_trim(&transport->tx);
	if (transport->ending && !transport->paused && buf_len(&transport->in) == 0) {
		transport->ended = true;
		transport->events->ended(transport->owner, &transport->end);
		return true;
	}
	return busy;
}

const struct buf *fake_transport_output(const struct transport *transport)
{
	return &transport->out;
}

bool fake_transport_is_shut(const struct transport *transport)
{
	return transport->is_shut;
}

unsigned fake_transport_flushes(const struct transport *transport)
{
	return transport->flushes;
}

/* --- net/transport.h ------------------------------------------------------------------------ */

struct transport *transport_free(struct transport *transport)
{
	if (!transport)
		return NULL;
	if (transport->reading)
		abort(); /* the floor was pulled from under us */
	buf_done(&transport->in);
	buf_done(&transport->tx);
	buf_done(&transport->out);
	free(transport);
	return NULL;
}

void transport_attach(struct transport *transport, const struct transport_events *events,
		      void *owner)
{
	transport->events = events;
	transport->owner = owner;
}

size_t transport_read(struct transport *transport, uint8_t *data, size_t len)
{
	if (!transport->reading)
		abort();
	if (transport->paused)
		return 0;
	len = len < transport->offered ? len : transport->offered;
	if (len == 0)
		return 0;
	memcpy(data, buf_head(&transport->in), len);
	buf_consume(&transport->in, len);
	transport->offered -= len;
	return len;
}

void transport_pause(struct transport *transport)
{
	transport->paused = true;
}

void transport_resume(struct transport *transport)
{
	transport->again = transport->again || transport->paused;
	transport->paused = false;
}

int transport_reserve(struct transport *transport, size_t bytes, uint8_t **ret_tail)
{
	if (transport->failing > 0) {
		transport->failing--;
		return -ENOMEM;
	}
	return buf_reserve(&transport->tx, bytes, ret_tail);
}

void transport_commit(struct transport *transport, size_t bytes)
{
	buf_commit(&transport->tx, bytes);
	transport->committed += bytes;
}

void transport_mark_secret(struct transport *transport)
{
	(void)transport;
}

size_t transport_room(const struct transport *transport)
{
	return buf_room(&transport->tx);
}

void transport_flush(struct transport *transport)
{
	transport->flushes++;
	fake_send(transport);
}

uint64_t transport_committed(const struct transport *transport)
{
	return transport->committed;
}

uint64_t transport_written(const struct transport *transport)
{
	return transport->written;
}

uint64_t transport_last_rx_ms(const struct transport *transport)
{
	return transport->last_rx_ms;
}

void transport_shutdown(struct transport *transport)
{
	transport->shutdown_wanted = true;
	fake_send(transport);
}

const char *transport_address(const struct transport *transport)
{
	(void)transport;
	return "192.0.2.7:80";
}

const char *transport_tls(const struct transport *transport)
{
	(void)transport;
	return "";
}

bool transport_wants_certificate(const struct transport *transport)
{
	(void)transport;
	return false;
}
