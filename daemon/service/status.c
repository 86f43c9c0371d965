/* status - the names and shapes here are a contract with scripts (wspipe(1)).
 *
 * Everything is appended to one buf; the first failure (no memory, or more than the caller's
 * maximum) is returned, and the caller throws away what was written so far. */
#include "service/status.h"

#include <time.h>
#include <unistd.h>

#include "base/cause.h"
#include "codec/json.h"
#include "conn/cursors.h"
#include "endpoint/outlet.h"
#include "net/proxy.h"

/* --- members -------------------------------------------------------------------------------- */

/* TEXT NULL or empty: null, so that a script can tell "none" by one test. */
static int put_text(struct buf *out, const char *key, const char *text)
{
	int r = buf_printf(out, ",\"%s\":", key);

	if (r < 0)
		return r;
	return json_quote_str(out, text && *text ? text : NULL);
}

/* 0: null; for numbers of which none is 0. */
static int put_code(struct buf *out, const char *key, unsigned code)
{
	if (!code)
		return buf_printf(out, ",\"%s\":null", key);
	return buf_printf(out, ",\"%s\":%u", key, code);
}

static int put_time(struct buf *out, const char *key, uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	unsigned ms = (unsigned)(wall_us / 1000 % 1000);
	char text[32];
	struct tm tm;

	if (!wall_us || !gmtime_r(&seconds, &tm))
		return buf_printf(out, ",\"%s\":null", key);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return buf_printf(out, ",\"%s\":\"%s.%03uZ\"", key, text, ms);
}

static int put_amount(struct buf *out, const char *key, uint64_t messages, uint64_t bytes)
{
	return buf_printf(out, ",\"%s\":{\"messages\":%llu,\"bytes\":%llu}", key,
			  (unsigned long long)messages, (unsigned long long)bytes);
}

/* --- parts of a connection ------------------------------------------------------------------ */

static int put_name(struct buf *out, struct conn *conn)
{
	int r = buf_append_str(out, "{\"name\":");

	if (r >= 0)
		r = json_quote_str(out, conn_name(conn));
	if (r >= 0)
		r = put_text(out, "url", conn_url(conn)->display);
	if (r >= 0)
		r = put_text(out, "state", conn_state_names[conn_state(conn)]);
	if (r >= 0)
		r = put_time(out, "since", conn_since_us(conn));
	return r;
}

static int put_cause(struct buf *out, struct conn *conn)
{
	const struct cause *cause = conn_cause(conn);
	bool any = cause->class != CAUSE_NONE;
	const char *reason = NULL;
	unsigned code = conn_close_code(conn, &reason);
	int r;

	r = put_text(out, "cause", any ? cause->text : NULL);
	if (r >= 0)
		r = put_text(out, "cause_class", any ? cause_class_name(cause->class) : NULL);
	if (r >= 0)
		r = put_code(out, "close_code", code);
	if (r >= 0)
		r = put_text(out, "close_reason", code ? reason : NULL);
	if (r >= 0)
		r = put_code(out, "http_status", (unsigned)conn_http_status(conn));
	return r;
}

static int put_rtt(struct buf *out, uint32_t rtt_us)
{
	if (!rtt_us)
		return buf_append_str(out, ",\"rtt_ms\":null");
	return buf_printf(out, ",\"rtt_ms\":%u.%03u", rtt_us / 1000, rtt_us % 1000);
}

/* Whose `address` that is, where it is not the server's. */
static int put_proxy(struct buf *out, struct conn *conn)
{
	char proxy[PROXY_TEXT_MAX];

	proxy_show(conn_ws(conn) ? conn_options(conn)->dial.proxy : NULL, proxy);
	return put_text(out, "proxy", *proxy ? proxy : NULL);
}

static int put_link(struct buf *out, struct conn *conn)
{
	struct ws *ws = conn_ws(conn);
	char step[512];
	int r;

	conn_describe_step(conn, step, sizeof(step));
	r = put_text(out, "subprotocol", ws ? ws_subprotocol(ws) : NULL);
	if (r >= 0)
		r = put_text(out, "compression",
			     ws && *ws_compression(ws) ? ws_compression(ws) : "none");
	if (r >= 0)
		r = put_text(out, "tls", ws ? ws_tls(ws) : NULL);
	if (r >= 0)
		r = put_text(out, "address", ws ? ws_address(ws) : NULL);
	if (r >= 0)
		r = put_proxy(out, conn);
	if (r >= 0)
		r = put_text(out, "redirected_to", conn_redirected_to(conn));
	if (r >= 0)
		r = put_text(out, "step", step);
	if (r >= 0)
		r = put_rtt(out, conn_get_stats(conn)->rtt_us);
	return r;
}

static int put_retry(struct buf *out, struct conn *conn)
{
	int r = buf_printf(out, ",\"reconnects\":%llu",
			   (unsigned long long)conn_get_stats(conn)->reconnects);

	if (r < 0)
		return r;
	if (conn_state(conn) != CONN_WAITING)
		return buf_append_str(out, ",\"retry_in_ms\":null");
	return buf_printf(out, ",\"retry_in_ms\":%llu", (unsigned long long)conn_retry_in_ms(conn));
}

static int put_persist(struct buf *out, struct conn *conn)
{
	const char *problem = conn_persist_problem(conn);

	if (!problem)
		return put_text(out, "persist", conn_options(conn)->persist ? "ok" : NULL);
	return buf_printf(out, ",\"persist\":\"failing: %s\"", problem);
}

/* `dropped` is every loss of a message that had been accepted, in either direction. */
static int put_counts(struct buf *out, struct conn *conn)
{
	const struct conn_stats *stats = conn_get_stats(conn);
	struct spool_stats spool;
	struct outbox_stats outbox;
	int r;

	spool_get_stats(conn_spool(conn), &spool);
	outbox_get_stats(conn_outbox(conn), &outbox);
	r = put_amount(out, "received", stats->received_messages, stats->received_bytes);
	if (r >= 0)
		r = put_amount(out, "sent", stats->sent_messages, stats->sent_bytes);
	if (r >= 0)
		r = put_amount(out, "dropped", spool.dropped_messages + stats->unsent_messages,
			       spool.dropped_bytes + stats->unsent_bytes);
	if (r >= 0)
		r = put_amount(out, "unsent", stats->unsent_messages, stats->unsent_bytes);
	if (r >= 0)
		r = buf_printf(out, ",\"unconfirmed\":{\"messages\":%llu}",
			       (unsigned long long)stats->unconfirmed_messages);
	if (r >= 0)
		r = buf_printf(out, ",\"rejected\":{\"messages\":%llu}",
			       (unsigned long long)stats->rejected_messages);
	if (r >= 0)
		r = put_amount(out, "queue", outbox.queued_messages, outbox.queued_bytes);
	if (r >= 0)
		r = put_amount(out, "kept", spool.kept_messages, spool.kept_bytes);
	return r < 0 ? r : put_persist(out, conn);
}

static int put_requests(struct buf *out, const struct conn *conn)
{
	struct calls_stats stats;

	conn_get_calls(conn, &stats);
	return buf_printf(out,
			  ",\"requests\":{\"open\":%llu,\"answered\":%llu,\"timed_out\":%llu,"
			  "\"failed\":%llu,\"late\":%llu,\"repeated\":%llu,\"unknown\":%llu}",
			  (unsigned long long)stats.open, (unsigned long long)stats.answered,
			  (unsigned long long)stats.timed_out, (unsigned long long)stats.failed,
			  (unsigned long long)stats.late, (unsigned long long)stats.repeated,
			  (unsigned long long)stats.unknown);
}

static int put_reader(struct buf *out, const struct channel_reader *reader)
{
	return buf_printf(out,
			  "{\"kind\":\"%s\",\"name\":\"%s\",\"pid\":%d,\"behind_messages\":%llu,"
			  "\"missed\":%llu}",
			  reader->kind, reader->kind, reader->pid,
			  (unsigned long long)outlet_behind(reader->outlet),
			  (unsigned long long)outlet_missed(reader->outlet));
}

static int put_cursor(struct buf *out, const struct mark *mark)
{
	int r = buf_printf(out, "{\"kind\":\"cursor\",\"name\":\"%s\",\"pid\":", mark->name);

	if (r >= 0)
		r = mark->holder ? buf_printf(out, "%d", mark->holder->pid)
				 : buf_append_str(out, "null");
	if (r >= 0)
		r = buf_printf(out, ",\"behind_messages\":%llu,\"missed\":%llu}",
			       (unsigned long long)mark_behind(mark), (unsigned long long)mark->missed);
	return r;
}

int status_cursors(struct buf *out, struct conn *conn)
{
	struct cursors *cursors = conn_cursors(conn);
	size_t before = buf_len(out);
	int r = 0;

	for (struct mark *m = cursors_next(cursors, NULL); m && r >= 0; m = cursors_next(cursors, m)) {
		if (m->kind != MARK_NAMED)
			continue;
		if (buf_len(out) > before)
			r = buf_append_char(out, ',');
		if (r >= 0)
			r = put_cursor(out, m);
	}
	return r;
}

/* BEHIND: others are there already. */
static int put_cursors(struct buf *out, struct conn *conn, bool behind)
{
	size_t before = buf_len(out);
	int r = behind ? buf_append_char(out, ',') : 0;

	if (r >= 0)
		r = status_cursors(out, conn);
	if (r >= 0 && buf_len(out) == before + 1)
		out->end--; /* there are none: no comma */
	return r;
}

/* Endpoints first, then requests; neither knows whether the other has written anything. */
static int put_readers(struct buf *out, const struct channel *channel)
{
	const struct endpoints *endpoints = channel_endpoints(channel);
	struct channel_reader *reader;
	size_t before;
	int r;

	r = buf_append_str(out, ",\"readers\":[");
	if (r < 0)
		return r;
	before = buf_len(out);
	if (endpoints)
		r = endpoints_describe(endpoints, out);
	if (r >= 0 && channel_hooks(channel))
		r = hooks_describe(channel_hooks(channel), buf_len(out) > before, out);
	list_for_each (reader, channel_readers(channel), link) {
		if (r >= 0 && reader->outlet && buf_len(out) > before)
			r = buf_append_char(out, ',');
		if (r >= 0 && reader->outlet)
			r = put_reader(out, reader);
	}
	if (r >= 0)
		r = put_cursors(out, channel_conn(channel), buf_len(out) > before);
	return r < 0 ? r : buf_append_char(out, ']');
}

static int put_directory(struct buf *out, struct service *service, const struct channel *channel)
{
	const char *name = conn_name(channel_conn(channel));
	struct buf path;
	int r;

	if (!channel_endpoints(channel))
		return put_text(out, "directory", NULL);
	buf_init(&path, 8192);
	r = buf_printf(&path, "%s/%s", service_runtime_dir(service), name);
	if (r >= 0)
		r = buf_append_str(out, ",\"directory\":");
	if (r >= 0)
		r = json_quote(out, (const char *)buf_head(&path), buf_len(&path));
	buf_done(&path);
	return r;
}

/* --- the whole ------------------------------------------------------------------------------ */

int status_channel(struct buf *out, struct service *service, const struct channel *channel)
{
	struct conn *conn = channel_conn(channel);
	int r;

	r = put_name(out, conn);
	if (r >= 0)
		r = put_cause(out, conn);
	if (r >= 0)
		r = put_link(out, conn);
	if (r >= 0)
		r = put_retry(out, conn);
	if (r >= 0)
		r = put_counts(out, conn);
	if (r >= 0)
		r = put_readers(out, channel);
	if (r >= 0)
		r = put_requests(out, conn);
	if (r >= 0)
		r = buf_printf(out, ",\"configured\":%s",
			       channel_configured(channel) ? "true" : "false");
	if (r >= 0)
		r = put_directory(out, service, channel);
	return r < 0 ? r : buf_append_char(out, '}');
}

static int status_daemon(struct buf *out, struct service *service)
{
	const struct records_pool *pool = service_pool(service);
	unsigned connections = 0;
	int r;

	for (struct channel *c = service_next(service, NULL); c; c = service_next(service, c))
		connections++;
	r = buf_printf(out, "\"daemon\":{\"version\":\"%s\",\"pid\":%d", WSPIPE_VERSION,
		       (int)getpid());
	if (r >= 0)
		r = put_text(out, "runtime_dir", service_runtime_dir(service));
	if (r >= 0)
		r = put_text(out, "config", service_config_file(service));
	if (r >= 0)
		r = put_time(out, "started", service_started_us(service));
	if (r >= 0)
		r = buf_printf(out,
			       ",\"connections\":%u,\"memory\":{\"used\":%llu,\"limit\":%llu}}",
			       connections, (unsigned long long)pool->used,
			       (unsigned long long)pool->limit);
	return r;
}

int status_all(struct buf *out, struct service *service, struct channel *channel)
{
	bool alone = channel != NULL;
	int r;

	r = status_daemon(out, service);
	if (r >= 0)
		r = buf_append_str(out, ",\"connections\":[");
	if (!alone)
		channel = service_next(service, NULL);
	while (r >= 0 && channel) {
		struct channel *following = alone ? NULL : service_next(service, channel);

		r = status_channel(out, service, channel);
		if (r >= 0 && following)
			r = buf_append_char(out, ',');
		channel = following;
	}
	return r < 0 ? r : buf_append_char(out, ']');
}
