/* statefile - see statefile.h. */
#include "endpoint/statefile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/proxy.h"
#include "net/ws.h"

enum {
	STATUS_MAX = 64 * 1024,
	AGAIN_MS = 1000,
};

struct statefile {
	int dirfd;
	struct conn *conn;
	struct conn_watch watch;
	struct file_grant *grants;
	size_t n_grants;
	struct timer again;
	bool failing;
};

/* In single quotes nothing is special to a shell but the quote itself. */
static void put(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "%s='", key);
	for (; *value; value++) {
		if (*value == '\'')
			buf_append_str(out, "'\\''");
		else
			buf_append_char(out, *value);
	}
	buf_append_str(out, "'\n");
}

static void put_number(struct buf *out, const char *key, uint64_t value)
{
	buf_printf(out, "%s=%" PRIu64 "\n", key, value);
}

static void put_time(struct buf *out, const char *key, uint64_t time_us)
{
	time_t seconds = (time_t)(time_us / 1000000);
	char text[40];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	put(out, key, text);
}

/* There is room for STATUS_MAX bytes, so buf_* do not fail; what is longer would be cut. */
static void write_down(struct statefile *statefile, struct buf *out)
{
	struct conn *conn = statefile->conn;
	struct ws *ws = conn_ws(conn);
	char clean[WS_REASON_MAX + 1], proxy[PROXY_TEXT_MAX];
	const char *reason;
	uint16_t code = conn_close_code(conn, &reason);

	/* The server's words: no line of them shall look like one of ours. */
	snprintf(clean, sizeof(clean), "%s", reason);
	cause_clean(clean, false);
	put(out, "name", conn_name(conn));
	put(out, "state", conn_state_names[conn_state(conn)]);
	put_time(out, "since", conn_since_us(conn));
	put(out, "url", conn_url(conn)->display);
	put(out, "cause", conn_cause(conn)->text);
	put(out, "cause_class", cause_class_name(conn_cause(conn)->class));
	if (code)
		put_number(out, "close_code", code);
	else
		buf_append_str(out, "close_code=\n");
	put(out, "close_reason", clean);
	put_number(out, "http_status", (uint64_t)conn_http_status(conn));
	put(out, "address", ws ? ws_address(ws) : "");
	proxy_show(ws ? conn_options(conn)->dial.proxy : NULL, proxy);
	put(out, "proxy", proxy);
	put(out, "tls", ws ? ws_tls(ws) : "");
	put(out, "subprotocol", ws ? ws_subprotocol(ws) : "");
	put_number(out, "reconnects", conn_get_stats(conn)->reconnects);
	put_number(out, "pid", (uint64_t)getpid());
}

static int replace(struct statefile *statefile)
{
	struct buf text;
	uint8_t *tail;
	int r;

	buf_init(&text, STATUS_MAX);
	r = buf_reserve(&text, STATUS_MAX, &tail);
	if (r == 0) {
		write_down(statefile, &text);
		r = file_replace(statefile->dirfd, "status", buf_head(&text), buf_len(&text),
				 statefile->grants, statefile->n_grants);
	}
	buf_done(&text);
	return r;
}

/* What cannot be written now (a full disk, no descriptors) is old: it is tried until it can be. */
static void statefile_conn_changed(void *owner)
{
	struct statefile *statefile = owner;
	int r = replace(statefile);

	if (r < 0 && !statefile->failing)
		log_warning(conn_name(statefile->conn), "status: cannot be replaced: %s, trying every second",
			    strerror(-r));
	else if (r >= 0 && statefile->failing)
		log_info(conn_name(statefile->conn), "status: is up to date again");
	statefile->failing = r < 0;
	if (r < 0)
		timer_set(&statefile->again, AGAIN_MS);
	else
		timer_cancel(&statefile->again);
}

int statefile_new(struct statefile **ret, int dirfd, struct conn *conn,
		  const struct access *access)
{
	struct statefile *statefile = calloc(1, sizeof(*statefile));
	int r;

	if (!statefile)
		return -ENOMEM;
	statefile->dirfd = dirfd;
	statefile->conn = conn;
	r = access_grants(access, ACCESS_OUTPUT, &statefile->grants, &statefile->n_grants);
	if (r == 0)
		r = timer_init(&statefile->again, statefile_conn_changed, statefile);
	if (r < 0) {
		free(statefile->grants);
		free(statefile);
		return r;
	}
	statefile->watch = (struct conn_watch){.changed = statefile_conn_changed, .owner = statefile};
	conn_watch_add(conn, &statefile->watch);
	statefile_conn_changed(statefile);
	*ret = statefile;
	return 0;
}

struct statefile *statefile_free(struct statefile *statefile, int dirfd)
{
	if (!statefile)
		return NULL;
	conn_watch_remove(&statefile->watch);
	timer_done(&statefile->again);
	unlinkat(dirfd, "status", 0);
	free(statefile->grants);
	free(statefile);
	return NULL;
}
