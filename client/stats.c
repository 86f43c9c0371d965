/* stats - see stats.h.  To add a counter, add a row. */
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/cleanup.h"
#include "print.h"
#include "when.h"

/* --- for people ----------------------------------------------------------------------------- */

static const struct column columns[] = {
	{"NAME", "/name", COLUMN_TEXT},
	{"STATE", "/state", COLUMN_TEXT},
	{"RECEIVED", "/received/messages", COLUMN_NUMBER},
	{"BYTES", "/received/bytes", COLUMN_NUMBER},
	{"SENT", "/sent/messages", COLUMN_NUMBER},
	{"BYTES", "/sent/bytes", COLUMN_NUMBER},
	{"DROPPED", "/dropped/messages", COLUMN_NUMBER},
	{"REJECTED", "/rejected/messages", COLUMN_NUMBER},
	{"QUEUE", "/queue/messages", COLUMN_NUMBER},
	{"KEPT", "/kept/messages", COLUMN_NUMBER},
	{"RECONNECTS", "/reconnects", COLUMN_NUMBER},
	{"RTT ms", "/rtt_ms", COLUMN_NUMBER},
};

void stats_print(const struct json_span *connections)
{
	print_columns(columns, sizeof(columns) / sizeof(*columns), connections);
}

/* --- for Prometheus ------------------------------------------------------------------------- */

enum scale { AS_IS, MILLISECONDS, MOMENT }; /* what the daemon tells; seconds are printed */

struct metric {
	const char *name; /* behind "wspipe_"; that of a counter ends with "_total" */
	const char *pointer;
	enum scale scale;
	const char *help;
};

static const struct metric of_daemon[] = {
	{"start_time_seconds", "/daemon/started", MOMENT,
	 "When the daemon was started, since 1970."},
	{"connections", "/daemon/connections", AS_IS, "Connections that there are."},
	{"memory_used_bytes", "/daemon/memory/used", AS_IS, "Kept messages of all connections."},
	{"memory_limit_bytes", "/daemon/memory/limit", AS_IS, "Their bound (key memory)."},
};

static const struct metric of_connection[] = {
	{"state_since_seconds", "/since", MOMENT, "Since when it is in its state, since 1970."},
	{"received_messages_total", "/received/messages", AS_IS, "Messages received."},
	{"received_bytes_total", "/received/bytes", AS_IS, "Their bytes."},
	{"sent_messages_total", "/sent/messages", AS_IS, "Messages sent."},
	{"sent_bytes_total", "/sent/bytes", AS_IS, "Their bytes."},
	{"dropped_messages_total", "/dropped/messages", AS_IS,
	 "Messages lost, in either direction."},
	{"dropped_bytes_total", "/dropped/bytes", AS_IS, "Their bytes."},
	{"unsent_messages_total", "/unsent/messages", AS_IS,
	 "Of those, messages that were not sent."},
	{"unconfirmed_messages_total", "/unconfirmed/messages", AS_IS,
	 "Messages sent of which nobody knows whether they have arrived."},
	{"rejected_messages_total", "/rejected/messages", AS_IS, "Records that could not be sent."},
	{"reconnects_total", "/reconnects", AS_IS, "How often it was opened again."},
	{"queue_messages", "/queue/messages", AS_IS, "Messages waiting to be sent."},
	{"queue_bytes", "/queue/bytes", AS_IS, "Their bytes."},
	{"kept_messages", "/kept/messages", AS_IS, "Received messages that are kept."},
	{"kept_bytes", "/kept/bytes", AS_IS, "Their bytes."},
	{"rtt_seconds", "/rtt_ms", MILLISECONDS, "Round trip of the last ping."},
	{"requests_open", "/requests/open", AS_IS, "Requests without a reply yet."},
	{"requests_answered_total", "/requests/answered", AS_IS, "Requests that had their reply."},
	{"requests_timed_out_total", "/requests/timed_out", AS_IS,
	 "Requests that had none in time."},
	{"requests_failed_total", "/requests/failed", AS_IS, "Requests lost with a connection."},
};

static const struct metric of_reader[] = {
	{"reader_behind_messages", "/behind_messages", AS_IS,
	 "Messages that a reader has not got yet."},
	{"reader_missed_messages_total", "/missed", AS_IS,
	 "Messages that a reader was too slow for."},
};

static void print_family(const char *name, const char *help)
{
	size_t len = strlen(name);
	bool counts = len > 6 && strcmp(name + len - 6, "_total") == 0;

	printf("# HELP wspipe_%s %s\n# TYPE wspipe_%s %s\n", name, help, name,
	       counts ? "counter" : "gauge");
}

/* KEY="text", with what has a meaning in quotes escaped. */
static void print_label(const char *key, const struct json_span *object, const char *pointer)
{
	cleanup_free char *text = answer_text(object, pointer);

	printf("%s=\"", key);
	for (const char *c = text ? text : ""; *c; c++) {
		if (*c == '\n')
			fputs("\\n", stdout);
		else
			printf("%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
	}
	putchar('"');
}

/* In seconds, where it is a time.  False: it is not known. */
static bool find_value(const struct json_span *object, const struct metric *metric, char ret[64])
{
	cleanup_free char *text = NULL;
	struct json_span value;
	uint64_t us;

	if (json_find(object->at, object->len, metric->pointer, &value) <= 0 || *value.at == 'n')
		return false;
	if (metric->scale == AS_IS) {
		snprintf(ret, 64, "%.*s", (int)value.len, value.at);
		return true;
	}
	if (metric->scale == MILLISECONDS) {
		snprintf(ret, 64, "%.6f", strtod(value.at, NULL) / 1000);
		return true;
	}
	if (json_unquote_str(&value, &text) < 0 || when_parse(text, &us) < 0)
		return false;
	snprintf(ret, 64, "%llu.%03u", (unsigned long long)(us / 1000000),
		 (unsigned)(us / 1000 % 1000));
	return true;
}

static void print_of_daemon(const struct json_span *answer)
{
	char value[64];

	print_family("daemon_info", "The daemon's version.");
	fputs("wspipe_daemon_info{", stdout);
	print_label("version", answer, "/daemon/version");
	fputs("} 1\n", stdout);
	for (size_t i = 0; i < sizeof(of_daemon) / sizeof(*of_daemon); i++) {
		if (!find_value(answer, &of_daemon[i], value))
			continue;
		print_family(of_daemon[i].name, of_daemon[i].help);
		printf("wspipe_%s %s\n", of_daemon[i].name, value);
	}
}

static void print_states(const struct json_span *connections)
{
	static const char *const states[] = {"connecting", "open",    "closing",
					     "closed",     "waiting", "failed"};
	struct json_span connection;
	size_t at = 0;

	print_family("connection_state", "1 for the state that a connection is in.");
	while (json_next(connections, &at, NULL, &connection) > 0) {
		cleanup_free char *state = answer_text(&connection, "/state");

		for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
			fputs("wspipe_connection_state{", stdout);
			print_label("name", &connection, "/name");
			printf(",state=\"%s\"} %d\n", states[i],
			       state && strcmp(state, states[i]) == 0);
		}
	}
}

static void print_of_connections(const struct metric *metric, const struct json_span *connections)
{
	struct json_span connection;
	char value[64];
	size_t at = 0;

	print_family(metric->name, metric->help);
	while (json_next(connections, &at, NULL, &connection) > 0) {
		if (!find_value(&connection, metric, value))
			continue;
		printf("wspipe_%s{", metric->name);
		print_label("name", &connection, "/name");
		printf("} %s\n", value);
	}
}

/* A process may read by several sockets.  Two samples with the same labels would have Prometheus
 * refuse all of the text, so these count together. */
struct sample {
	struct json_span kind, name;
	uint64_t pid, value;
};

static bool is_same_span(const struct json_span *a, const struct json_span *b)
{
	return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

static struct sample *find_sample(struct sample *samples, size_t n, const struct sample *like)
{
	for (size_t i = 0; i < n; i++)
		if (samples[i].pid == like->pid && is_same_span(&samples[i].kind, &like->kind) &&
		    is_same_span(&samples[i].name, &like->name))
			return &samples[i];
	return NULL;
}

static bool read_sample(const struct json_span *reader, const struct metric *metric,
			struct sample *ret)
{
	if (json_find(reader->at, reader->len, "/kind", &ret->kind) <= 0 ||
	    json_find(reader->at, reader->len, "/name", &ret->name) <= 0)
		return false;
	ret->pid = answer_number(reader, "/pid", 0);
	ret->value = answer_number(reader, metric->pointer, 0);
	return true;
}

/* SAMPLES has room for all of them. */
static size_t add_samples(const struct metric *metric, const struct json_span *readers,
			  struct sample *samples)
{
	struct json_span reader;
	size_t n = 0, at = 0;

	while (json_next(readers, &at, NULL, &reader) > 0) {
		struct sample *same;

		if (!read_sample(&reader, metric, &samples[n]))
			continue;
		same = find_sample(samples, n, &samples[n]);
		if (same)
			same->value += samples[n].value;
		else
			n++;
	}
	return n;
}

static void print_of_readers(const struct metric *metric, const struct json_span *connection)
{
	cleanup_free struct sample *samples = NULL;
	struct json_span readers, reader;
	size_t n = 0, at = 0;

	if (json_find(connection->at, connection->len, "/readers", &readers) <= 0)
		return;
	while (json_next(&readers, &at, NULL, &reader) > 0)
		n++;
	samples = calloc(n + 1, sizeof(*samples));
	n = samples ? add_samples(metric, &readers, samples) : 0;
	for (size_t i = 0; i < n; i++) {
		printf("wspipe_%s{", metric->name);
		print_label("name", connection, "/name");
		putchar(',');
		print_label("kind", &samples[i].kind, "");
		putchar(',');
		print_label("reader", &samples[i].name, "");
		printf(",pid=\"%llu\"} %llu\n", (unsigned long long)samples[i].pid,
		       (unsigned long long)samples[i].value);
	}
}

void stats_print_prometheus(const struct json_span *answer)
{
	struct json_span connections, connection;

	print_of_daemon(answer);
	if (json_find(answer->at, answer->len, "/connections", &connections) <= 0)
		return;
	print_states(&connections);
	for (size_t i = 0; i < sizeof(of_connection) / sizeof(*of_connection); i++)
		print_of_connections(&of_connection[i], &connections);
	for (size_t i = 0; i < sizeof(of_reader) / sizeof(*of_reader); i++) {
		size_t at = 0;

		print_family(of_reader[i].name, of_reader[i].help);
		while (json_next(&connections, &at, NULL, &connection) > 0)
			print_of_readers(&of_reader[i], &connection);
	}
}
