/* ping - see ping.h.  Round trips are measured by the clock itself, since the loop's stands still
 * while it works. */
#include "net/ping.h"

#include <endian.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "net/transport.h"
#include "net/wsout.h"

static uint64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool ping_send(struct ping *ping, struct wsout *out)
{
	uint64_t payload = htobe64(ping->count + 1);

	if (wsout_put_control(out, WSOUT_PING, (uint8_t *)&payload, sizeof(payload)) < 0)
		return false;
	ping->count++;
	ping->outstanding = true;
	ping->left = false;
	ping->mark = out->encoded;
	ping->end = transport_committed(out->transport);
	ping->sent_us = clock_us();
	return true;
}

void ping_written(struct ping *ping, uint64_t written)
{
	if (!ping->outstanding || ping->left || written < ping->end)
		return;
	ping->left = true;
	ping->left_ms = loop_now_ms();
}

bool ping_take_pong(struct ping *ping, const uint8_t *payload, size_t len, uint32_t *ret_rtt_us)
{
	uint64_t expected = htobe64(ping->count), rtt_us;

	if (!ping->left || len != sizeof(expected) || memcmp(payload, &expected, len) != 0)
		return false;
	rtt_us = clock_us() - ping->sent_us;
	ping->outstanding = ping->left = false;
	*ret_rtt_us = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX;
	return true;
}

uint64_t ping_silence_ms(const struct ping *ping, uint64_t last_rx_ms)
{
	uint64_t since_ms = last_rx_ms, now_ms = loop_now_ms();

	if (!ping->left)
		return 0;
	if (since_ms < ping->left_ms)
		since_ms = ping->left_ms;
	return now_ms > since_ms ? now_ms - since_ms : 0;
}

void ping_forgive(struct ping *ping)
{
	if (ping->left)
		ping->left_ms = loop_now_ms();
}
