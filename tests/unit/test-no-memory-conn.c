/* No memory: each allocation of what makes, sets or fills an object fails in turn, first alone and
 * then with all behind it.  It says -ENOMEM, holds nothing more than before, and what there was is
 * as it was. Here are conn and endpoint. */
#include "base/file.h"
#include "base/strv.h"
#include "codec/url.h"
#include "conn/calls.h"
#include "conn/conn.h"
#include "conn/credentials.h"
#include "conn/cursors.h"
#include "conn/outbox.h"
#include "conn/redirect.h"
#include "conn/rule.h"
#include "conn/spool.h"
#include "conn/store.h"
#include "conn/turns.h"
#include "endpoint/access.h"
#include "endpoint/arrivals.h"
#include "endpoint/endpoint.h"
#include "endpoint/hookenv.h"
#include "endpoint/hooks.h"
#include "endpoint/hookslot.h"
#include "endpoint/recordfile.h"
#include "fail.h"

enum { BIG = 5000 };

static const char some_url[] = "ws://example.org?x";
static const char url_with_all[] = "wss://us%20er:pw@Example.org:8443/x?y";
static char big[BIG + 1];
static char log_path[200];
static const char *problem;

/* ---- conn ---- */

static struct records_pool pool;

static void spool_eased(void *owner)
{
	(void)owner;
}

static void spool_missed(void *owner, const char *reader, uint64_t messages, uint64_t bytes)
{
	(void)owner, (void)reader, (void)messages, (void)bytes;
}

static const struct spool_options spool_options = {.keep_bytes = 1 << 20};
static const struct spool_events spool_events = {spool_eased, spool_missed};
static const struct outbox_options outbox_options = {.queue_bytes = 1 << 20};

static struct spool *make_spool(void)
{
	struct spool *spool;

	CHECK_EQ(spool_new(&spool, &spool_options, &pool, &spool_events, NULL), 0);
	return spool;
}

static int try_spool(void)
{
	struct msg msg = message(big), newest;
	struct spool_stats stats;
	struct spool *spool = NULL;
	int r = TRY(spool_new(&spool, &spool_options, &pool, &spool_events, NULL));

	if (r < 0)
		return r;
	msg.kind = MSG_BINARY;
	r = TRY(spool_append(spool, &msg));
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.kept_messages, r < 0 ? 0 : 1);
	CHECK_EQ(spool_append(spool, &msg), SPOOL_OK);
	CHECK(spool_newest(spool, &newest) && newest.len == BIG);
	spool_free(spool);
	CHECK_EQ(pool.used, 0);
	return r;
}

static int try_outbox(void)
{
	struct msg msg = message(big), oldest;
	struct outbox_waiter waiter = {0};
	struct outbox *outbox = NULL;
	struct outbox_stats stats;
	int r = TRY(outbox_new(&outbox, &outbox_options));

	if (r < 0)
		return r;
	r = TRY(outbox_put(outbox, &msg, &waiter));
	outbox_get_stats(outbox, &stats);
	CHECK_EQ(stats.queued_messages, r < 0 ? 0 : 1);
	CHECK_EQ(outbox_put(outbox, &msg, &waiter), OUTBOX_OK);
	CHECK(outbox_next(outbox, &oldest) && oldest.len == BIG);
	outbox_free(outbox);
	return r;
}

static int try_cursors(void)
{
	struct spool *spool = make_spool();
	struct cursors *cursors = NULL;
	struct mark *mark = NULL;
	int r = TRY(cursors_new(&cursors, spool));

	if (r == 0) {
		r = TRY(cursors_add(cursors, MARK_NAMED, "a", &mark));
		CHECK((r == 0) == (cursors_find(cursors, MARK_NAMED, "a") != NULL));
	}
	cursors_free(cursors);
	spool_free(spool);
	return r;
}

static void remove_store(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%s/store'", fail_root);
	CHECK_EQ(system(command), 0);
}

/* Making a file that fails is tried again after a second; the log goes on in memory. */
static int try_store(void)
{
	struct mapped mapped = {0};
	struct store *store = NULL;
	char **names = NULL;
	uint64_t *numbers = NULL;
	size_t n = 0;
	int r = TRY(store_open(&store, fail_root_fd, "store"));

	CHECK(r == 0 || !store);
	if (r == 0)
		r = TRY(store_make(store, "m.0000000000000001", 4096, &mapped));
	if (r == 0) {
		mapped_done(&mapped);
		r = TRY(store_list(store, "m.", &numbers, &n));
		CHECK(r < 0 || (n == 1 && numbers[0] == 1));
	}
	if (r == 0) {
		free(numbers);
		r = TRY(store_names(store, "m.", &names));
	}
	if (r == 0) {
		strv_free(names);
		r = TRY(store_map(store, "m.0000000000000001", &mapped));
		if (r == 0)
			mapped_done(&mapped);
	}
	store_close(store);
	remove_store();
	return r;
}

static void fill_store(struct store *store)
{
	struct msg msg = message("kept");
	struct spool *spool = make_spool();
	struct records_found found;
	struct cursors *cursors;
	struct mark *mark;

	CHECK_EQ(spool_set_store(spool, store, true, &found), 0);
	CHECK_EQ(cursors_new(&cursors, spool), 0);
	CHECK_EQ(cursors_set_store(cursors, store, true), 0);
	CHECK_EQ(cursors_add(cursors, MARK_NAMED, "a", &mark), 0);
	CHECK_EQ(spool_append(spool, &msg), SPOOL_OK);
	cursors_free(cursors);
	spool_free(spool);
}

/* Nothing that lies there is lost because it could not be read for want of memory. */
static int try_take_up(void)
{
	struct spool *spool = make_spool();
	struct records_found found;
	struct cursors *cursors;
	struct store *store;
	int r;

	CHECK_EQ(store_open(&store, fail_root_fd, "store"), 0);
	fill_store(store);
	CHECK_EQ(cursors_new(&cursors, spool), 0);
	r = TRY(spool_set_store(spool, store, true, &found));
	if (r == 0) {
		CHECK_EQ(found.messages, 1);
		r = TRY(cursors_set_store(cursors, store, true));
		CHECK(r < 0 || cursors_find(cursors, MARK_NAMED, "a"));
	}
	cursors_free(cursors);
	spool_free(spool);

	spool = make_spool();
	CHECK_EQ(cursors_new(&cursors, spool), 0);
	CHECK_EQ(spool_set_store(spool, store, true, &found), 0);
	CHECK_EQ(found.messages, 1);
	CHECK_EQ(found.set_aside, 0);
	CHECK_EQ(cursors_set_store(cursors, store, true), 0);
	CHECK(cursors_find(cursors, MARK_NAMED, "a"));
	cursors_free(cursors);
	spool_free(spool);
	store_close(store);
	remove_store();
	return r;
}

static char *ids[] = {(char *)"/id", NULL},
	    *others[] = {(char *)"/0=8 : /2", (char *)"/other", NULL};
static char *tests[] = {(char *)"/status=\"x\"", (char *)"/y", NULL};
static const struct calls_options calls_options = {.id = ids, .timeout_ms = 1000};
static const struct calls_options other_calls = {
	.id = others, .interim = tests, .partial = tests, .not_reply = tests, .timeout_ms = 1000};

static int prepare(struct calls *calls, const char *text, struct msg *ret)
{
	const struct calls_terms no_terms = {0};
	struct msg msg = message(text);

	return calls_prepare(calls, &msg, &no_terms, 1000, NULL, ret, &problem);
}

static int try_calls(void)
{
	struct calls *calls = NULL;
	struct msg ready;
	int r = TRY(calls_new(&calls, &calls_options));

	CHECK(r == 0 || !calls);
	if (r < 0)
		return r;
	r = TRY(prepare(calls, "{\"id\":\"mine\"}", &ready));
	CHECK(r == -ENOMEM || r == CALLS_READY);
	CHECK_EQ(prepare(calls, "{\"id\":\"mine\"}", &ready), CALLS_READY);
	calls_free(calls);
	return r < 0 ? r : 0;
}

static int try_calls_options(void)
{
	struct calls *calls;
	struct msg ready;
	int r;

	CHECK_EQ(calls_new(&calls, &calls_options), 0);
	r = TRY(calls_set_options(calls, &other_calls));
	CHECK_EQ(prepare(calls, "{\"id\":1}", &ready), r < 0 ? CALLS_READY : CALLS_NONE);
	CHECK_EQ(prepare(calls, "{\"other\":1}", &ready), r < 0 ? CALLS_NONE : CALLS_READY);
	calls_free(calls);
	return r;
}

static int try_rules(void)
{
	struct rules rules = {0};
	int r = TRY(rules_init(&rules, others, true, &problem));

	if (r == 0)
		rules_done(&rules);
	return r;
}

static int try_turns(void)
{
	struct turns *turns = NULL;
	struct turn one, two;
	struct url url;
	int r = TRY(turns_new(&turns));

	if (r < 0)
		return r;
	CHECK_EQ(url_parse(&url, url_with_all, &problem), 0);
	turn_init(&one, nothing, NULL);
	turn_init(&two, nothing, NULL);
	r = TRY(turn_take(&one, turns, &url, NULL));
	CHECK(r == -ENOMEM || r == TURN_NOW);
	if (r == TURN_NOW) {
		r = TRY(turn_take(&two, turns, &url, NULL));
		CHECK(r == -ENOMEM || r == TURN_WAITS);
	}
	turn_leave(&two);
	turn_leave(&one);
	turns_free(turns);
	url_done(&url);
	return r < 0 ? r : 0;
}

static struct conn_options conn_options_of(const char *url)
{
	return (struct conn_options){
		.url = (char *)url,
		.ws.max_message_bytes = 1 << 20,
		.spool.keep_bytes = 1 << 20,
		.outbox.queue_bytes = 1 << 20,
		.type = MSG_TEXT,
		.max_redirects = 5,
		.connect_timeout_ms = 20000,
		.close_timeout_ms = 5000,
		.reconnect_delay_ms = 60000,
		.reconnect_max_ms = 60000,
	};
}

static int try_redirect(void)
{
	const struct conn_options options = conn_options_of(url_with_all);
	struct redirect *place = NULL;
	struct cause cause;
	struct url url;
	int r;

	CHECK_EQ(url_parse(&url, url_with_all, &problem), 0);
	cause_set(&cause, CAUSE_HTTP, 302, "HTTP 302");
	r = TRY(redirect_follow(&place, &options, &url, &options.ws, "wss://other/x?secret",
				&cause));
	CHECK((r == 0) == (place != NULL));
	redirect_free(place);
	url_done(&url);
	return r;
}

static void credentials_done(void *owner, const struct cause *cause)
{
	const struct cause **ret = owner;
	static struct cause copy;

	if (cause)
		copy = *cause;
	*ret = cause ? &copy : NULL;
}

/* What fails while they are made is told later. */
static int try_credentials(void)
{
	const struct cause none = {0}, *told = &none;
	struct conn_options options = conn_options_of(some_url);
	char *headers[] = {(char *)"X-Token: @token@", NULL}, path[300];
	struct credentials *credentials = NULL;
	struct url url;
	int r;

	CHECK_EQ(file_replace(fail_root_fd, "token", "secret\n", 7, NULL, 0), 0);
	snprintf(path, sizeof(path), "%s/token", fail_root);
	options.credentials.token_file = path;
	options.ws.upgrade.headers = headers;
	CHECK_EQ(url_parse(&url, some_url, &problem), 0);
	fail_begin();
	r = credentials_start(&credentials, "c", &options, &url, credentials_done, &told);
	if (r == 0)
		turns_of_loop(3);
	fail_end(0);
	if (r == 0) {
		CHECK(told != &none);
		CHECK(!told || (told->class == CAUSE_LOCAL && told->code == ENOMEM));
		r = told ? -ENOMEM : 0;
	}
	if (r == 0)
		CHECK_STR(credentials_ws(credentials)->upgrade.headers[0], "X-Token: secret");
	credentials_free(credentials);
	url_done(&url);
	CHECK_EQ(unlinkat(fail_root_fd, "token", 0), 0);
	return r;
}

static int try_conn(void)
{
	struct conn_options options = conn_options_of(url_with_all);
	struct conn *conn = NULL;
	int r;

	options.calls = calls_options;
	r = TRY(conn_new(&conn, "feed", &options, &pool));
	CHECK(r == 0 || !conn);
	conn_free(conn);
	return r;
}

static struct conn *make_conn(const struct conn_options *options)
{
	struct conn *conn;

	CHECK_EQ(conn_new(&conn, "feed", options, &pool), 0);
	return conn;
}

static int try_conn_send(void)
{
	struct conn_options options = conn_options_of(some_url);
	struct outbox_waiter waiter = {0};
	const struct calls_terms no_terms = {0};
	struct msg msg = message("{\"id\":7}");
	struct outbox_stats stats;
	struct conn *conn;
	int r;

	options.calls = calls_options;
	conn = make_conn(&options);
	r = TRY(conn_request(conn, &msg, &no_terms, &waiter, &problem));
	outbox_get_stats(conn_outbox(conn), &stats);
	CHECK_EQ(stats.queued_messages, r < 0 ? 0 : 1);
	CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_QUEUED);
	conn_free(conn);
	return r;
}

/* The options have moved all the same: who calls frees the old ones. */
static int try_conn_options(void)
{
	struct conn_options options = conn_options_of(some_url),
			    fresh = conn_options_of("ws://[fe80::1%25lo]:81/x");
	struct outbox_waiter waiter = {0};
	struct msg msg = message("x");
	struct conn *conn;
	int r;

	fresh.calls = other_calls;
	conn = make_conn(&options);
	r = TRY(conn_set_options(conn, &fresh));
	CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_QUEUED);
	conn_free(conn);
	return r;
}

/* What cannot be kept is told, and the connection works without. */
static int try_persist(void)
{
	struct conn_options options = conn_options_of(some_url);
	struct outbox_waiter waiter = {0};
	struct msg msg = message("x");
	struct conn *conn;

	options.persist = true;
	conn = make_conn(&options);
	fail_begin();
	conn_persist(conn, fail_root_fd);
	fail_end(0);
	CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_QUEUED);
	CHECK((conn_persist_problem(conn) != NULL) == (fail.failed > 0));
	conn_forget(conn);
	conn_free(conn);
	unlinkat(fail_root_fd, "feed", AT_REMOVEDIR);
	return 0;
}

/* ---- endpoint ---- */

static char *rights[] = {(char *)"user:0:read", (char *)"group:0", (char *)"user:0:write", NULL};

static int try_access(void)
{
	struct access access = {0};
	struct file_grant *grants = NULL;
	size_t n = 0;
	int r = TRY(access_parse(&access, rights, &problem));

	if (r < 0)
		return r;
	r = TRY(access_grants(&access, ACCESS_OUTPUT, &grants, &n));
	CHECK(r < 0 || n > 0);
	if (r == 0)
		free(grants);
	access_done(&access);
	return r;
}

static int try_arrivals(void)
{
	struct arrivals *arrivals = NULL;
	struct arrival arrival = {0};
	int r = TRY(arrivals_new(&arrivals));

	CHECK(r == 0 || !arrivals);
	if (r == 0)
		r = TRY(arrivals_watch(arrivals, &arrival, fail_root_fd, nothing, NULL));
	arrivals_forget(&arrival);
	arrivals_free(arrivals);
	return r;
}

static char *kinds[] = {(char *)"in",   (char *)"out",    (char *)"drain", (char *)"sock",
			(char *)"last", (char *)"status", (char *)"file",  NULL};

static struct endpoint_options endpoint_options(void)
{
	return (struct endpoint_options){
		.endpoints = kinds,
		.framing = FRAMING_JSON,
		.file = log_path,
		.file_max_bytes = 1 << 20,
		.latest = (char *)"/key",
		.latest_max = 10,
		.access = rights,
	};
}

/* What is made, is all of it or nothing that is left in memory; and it can be made again. */
static int try_endpoints(void)
{
	const struct conn_options options = conn_options_of(some_url);
	const struct endpoint_options ends = endpoint_options();
	struct msg msg = message("{\"key\":\"value\"}");
	struct endpoints *endpoints = NULL;
	struct conn *conn = make_conn(&options);
	struct arrivals *arrivals;
	const char *path;
	struct buf text;
	int r;

	CHECK_EQ(arrivals_new(&arrivals), 0);
	CHECK_EQ(spool_append(conn_spool(conn), &msg), SPOOL_OK);
	r = TRY(endpoints_new(&endpoints, fail_root_fd, arrivals, NULL, conn, &ends, &path));
	CHECK(r == 0 || (!endpoints && path));
	if (r < 0)
		CHECK_EQ(
			endpoints_new(&endpoints, fail_root_fd, arrivals, NULL, conn, &ends, &path),
			0);
	buf_init(&text, 10000);
	if (r == 0)
		r = TRY(endpoints_describe(endpoints, &text));
	buf_done(&text);
	turns_of_loop(3);
	endpoints_free(endpoints, false);
	arrivals_free(arrivals);
	conn_free(conn);
	unlink(log_path);
	return r;
}

static int try_hooks(void)
{
	const struct hooks_options wanted = {(char *)"true", (char *)"true"},
				   none = {NULL, (char *)"true"};
	const struct conn_options options = conn_options_of(some_url);
	struct conn *conn = make_conn(&options);
	struct hookslots slots;
	struct hooks *hooks = NULL;
	int r;

	hookslots_init(&slots);
	r = TRY(hooks_new(&hooks, conn, &none, fail_root, &slots, nothing, NULL));
	CHECK(r == 0 || !hooks);
	if (r == 0)
		r = TRY(hooks_set_options(hooks, &wanted));
	hooks_free(hooks);
	conn_free(conn);
	return r;
}

static int try_hookenv(void)
{
	char *const *list = NULL;
	struct hookenv env;
	int r;

	hookenv_init(&env);
	fail_begin();
	hookenv_set(&env, "NAME", "feed");
	hookenv_set_number(&env, "PID", 1);
	r = fail_end(hookenv_list(&env, &list));
	hookenv_done(&env);
	return r;
}

static int try_record_file(void)
{
	const struct conn_options options = conn_options_of(some_url);
	const struct endpoint_options ends = endpoint_options();
	struct msg msg = message(big);
	struct conn *conn = make_conn(&options);
	int r = TRY(recordfile_replace(fail_root_fd, "record", conn, &ends, &msg, NULL, 0));

	CHECK_EQ(faccessat(fail_root_fd, "record", F_OK, 0), r < 0 ? -1 : 0);
	unlinkat(fail_root_fd, "record", 0);
	conn_free(conn);
	return r;
}

/* ---- all of them ---- */

static const struct attempt attempts[] = {
	{"spool", try_spool, false},
	{"outbox", try_outbox, false},
	{"cursors", try_cursors, false},
	{"store", try_store, false},
	{"taking up", try_take_up, false},
	{"calls", try_calls, false},
	{"calls_set_options", try_calls_options, false},
	{"rules", try_rules, false},
	{"turns", try_turns, false},
	{"redirect", try_redirect, false},
	{"credentials", try_credentials, false},
	{"conn", try_conn, false},
	{"conn_request", try_conn_send, false},
	{"conn_set_options", try_conn_options, false},
	{"conn_persist", try_persist, true},
	{"access", try_access, false},
	{"arrivals", try_arrivals, false},
	{"endpoints", try_endpoints, true},
	{"hooks", try_hooks, false},
	{"hookenv", try_hookenv, false},
	{"recordfile", try_record_file, false},
};

int main(void)
{
	fail_init();
	memset(big, 'x', BIG);
	fail_open_root();
	snprintf(log_path, sizeof(log_path), "%s/file.log", fail_root);
	records_pool_init(&pool, 1 << 28);
	CHECK_EQ(loop_init(), 0);
	warm_up();
	walk_all(attempts, sizeof(attempts) / sizeof(*attempts));
	loop_done();
	fail_close_root();
	return 0;
}
