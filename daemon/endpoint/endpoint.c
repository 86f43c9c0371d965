/* endpoint - see endpoint.h. */
#include "endpoint/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/strv.h"
#include "endpoint/drain.h"
#include "endpoint/fifo.h"
#include "endpoint/filelog.h"
#include "endpoint/latest.h"
#include "endpoint/latestdir.h"
#include "endpoint/outlet.h"
#include "endpoint/statefile.h"
#include "endpoint/stream.h"

const char *const endpoint_names[ENDPOINT_KINDS + 1] = {
	[ENDPOINT_IN] = "in",     [ENDPOINT_OUT] = "out",   [ENDPOINT_DRAIN] = "drain",
	[ENDPOINT_SOCK] = "sock", [ENDPOINT_LAST] = "last", [ENDPOINT_STATUS] = "status",
	[ENDPOINT_FILE] = "file",
};

struct endpoints {
	int runtime_fd, dirfd;
	struct arrivals *arrivals;
	struct shelf *shelf;
	struct conn *conn;
	const struct endpoint_options *options;
	struct access access;
	struct fifo_in *in;
	struct fifo_out *out;
	struct drain *drain;
	struct stream *stream;
	struct latest *latest;
	struct statefile *statefile;
	struct filelog *filelog;
	struct latestdir *latestdir;
};

static int make_in(struct endpoints *e)
{
	return fifo_in_new(&e->in, e->dirfd, e->shelf, e->conn, e->options, &e->access);
}

static int make_out(struct endpoints *e)
{
	return fifo_out_new(&e->out, e->dirfd, e->arrivals, e->shelf, e->conn, e->options,
			    &e->access);
}

static int make_drain(struct endpoints *e)
{
	return drain_new(&e->drain, e->dirfd, e->arrivals, e->shelf, e->conn, e->options,
			 &e->access);
}

static int make_file(struct endpoints *e)
{
	return filelog_new(&e->filelog, e->conn, e->options, &e->access);
}

static int make_sock(struct endpoints *e)
{
	return stream_new(&e->stream, e->dirfd, e->shelf, e->conn, e->options, &e->access);
}

static int make_last(struct endpoints *e)
{
	return latest_new(&e->latest, e->dirfd, e->conn, e->options, &e->access);
}

static int make_status(struct endpoints *e)
{
	return statefile_new(&e->statefile, e->dirfd, e->conn, &e->access);
}

static int (*const makers[ENDPOINT_KINDS])(struct endpoints *endpoints) = {
	[ENDPOINT_IN] = make_in,     [ENDPOINT_OUT] = make_out,   [ENDPOINT_DRAIN] = make_drain,
	[ENDPOINT_SOCK] = make_sock, [ENDPOINT_LAST] = make_last, [ENDPOINT_STATUS] = make_status,
	[ENDPOINT_FILE] = make_file,
};

/* The directory can be entered only when it has its grants, and has them before anything is in it. */
static int make_directory(struct endpoints *e)
{
	struct file_grant *grants = NULL;
	size_t n;
	int r = file_open_dir(e->runtime_fd, conn_name(e->conn), &e->dirfd);

	/* The group's bits are the mask of an access list: this shuts out whom an earlier one let in. */
	if (r == 0 && fchmod(e->dirfd, 0700) < 0)
		r = -errno;
	if (r == 0)
		r = access_grants(&e->access, ACCESS_DIRECTORY, &grants, &n);
	if (r == 0)
		r = file_grant(e->dirfd, true, grants, n);
	free(grants);
	return r;
}

static bool is_wanted(const struct endpoints *e, int kind)
{
	if (kind == ENDPOINT_FILE)
		return e->options->file != NULL;
	return strv_contains(e->options->endpoints, endpoint_names[kind]);
}

/* What a configuration no longer asks for, or a crash has left, does not stay to mislead. */
static void remove_unwanted(const struct endpoints *e)
{
	for (int kind = 0; kind < ENDPOINT_KINDS; kind++)
		if (!is_wanted(e, kind))
			unlinkat(e->dirfd, endpoint_names[kind], 0);
	if (!e->options->latest)
		latestdir_remove(e->dirfd);
}

static int make_all(struct endpoints *e, const char **ret_path)
{
	int r;

	*ret_path = conn_name(e->conn);
	r = make_directory(e);
	if (r < 0)
		return r;
	remove_unwanted(e);
	for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
		if (!is_wanted(e, kind))
			continue;
		*ret_path = endpoint_names[kind];
		r = makers[kind](e);
		if (r < 0)
			return r;
	}
	*ret_path = "latest";
	if (e->options->latest)
		r = latestdir_new(&e->latestdir, e->dirfd, e->conn, e->options, &e->access);
	return r;
}

int endpoints_new(struct endpoints **ret, int runtime_fd, struct arrivals *arrivals,
		  struct shelf *shelf, struct conn *conn, const struct endpoint_options *options,
		  const char **ret_path)
{
	struct endpoints *e = calloc(1, sizeof(*e));
	const char *problem;
	int r;

	*ret_path = conn_name(conn);
	if (!e)
		return -ENOMEM;
	e->runtime_fd = runtime_fd;
	e->dirfd = -1;
	e->arrivals = arrivals;
	e->shelf = shelf;
	e->conn = conn;
	e->options = options;
	r = access_parse(&e->access, options->access, &problem);
	if (r == 0)
		r = make_all(e, ret_path);
	if (r < 0) {
		endpoints_free(e, true);
		return r;
	}
	*ret = e;
	return 0;
}

static void remove_directory(const struct endpoints *e)
{
	for (int kind = 0; kind < ENDPOINT_KINDS; kind++)
		unlinkat(e->dirfd, endpoint_names[kind], 0);
	latestdir_remove(e->dirfd);
	unlinkat(e->runtime_fd, conn_name(e->conn), AT_REMOVEDIR);
}

struct endpoints *endpoints_free(struct endpoints *e, bool keep)
{
	if (!e)
		return NULL;
	e->in = fifo_in_free(e->in);
	e->out = fifo_out_free(e->out);
	e->drain = drain_free(e->drain);
	e->stream = stream_free(e->stream, e->dirfd);
	e->latest = latest_free(e->latest);
	e->statefile = statefile_free(e->statefile, e->dirfd);
	e->filelog = filelog_free(e->filelog);
	e->latestdir = latestdir_free(e->latestdir);
	if (!keep && e->dirfd >= 0)
		remove_directory(e);
	if (e->dirfd >= 0)
		close(e->dirfd);
	access_done(&e->access);
	free(e);
	return NULL;
}

void endpoints_set_options(struct endpoints *e, const struct endpoint_options *options)
{
	e->options = options;
	if (e->stream)
		stream_set_options(e->stream, options);
	if (e->latest)
		latest_set_options(e->latest, options);
	if (e->filelog)
		filelog_set_options(e->filelog, options);
	if (e->latestdir)
		latestdir_set_options(e->latestdir, options);
}

void endpoints_reopen(struct endpoints *e)
{
	if (e->filelog)
		filelog_reopen(e->filelog);
}

void endpoints_drain_in(struct endpoints *e)
{
	if (e->in)
		fifo_in_drain(e->in);
}

void endpoints_freeze(struct endpoints *e)
{
	if (e->in)
		fifo_in_freeze(e->in);
	if (e->stream)
		stream_freeze(e->stream);
}

static int describe_fifo(const char *name, const struct outlet *outlet, struct buf *out)
{
	return buf_printf(out,
			  ",{\"kind\":\"%s\",\"name\":\"%s\",\"pid\":null,"
			  "\"behind_messages\":%llu,\"missed\":%llu}",
			  name, name, (unsigned long long)outlet_behind(outlet),
			  (unsigned long long)outlet_missed(outlet));
}

int endpoints_describe(const struct endpoints *e, struct buf *out)
{
	size_t before = buf_len(out);
	int r = 0;

	if (e->out)
		r = describe_fifo("out", fifo_out_outlet(e->out), out);
	if (r == 0 && e->drain)
		r = describe_fifo("drain", drain_outlet(e->drain), out);
	if (r == 0 && e->stream)
		r = stream_describe(e->stream, out);
	if (r == 0 && e->filelog)
		r = filelog_describe(e->filelog, out);
	if (r == 0 && e->latestdir)
		r = latestdir_describe(e->latestdir, out);
	if (r == 0 && buf_len(out) > before) /* the first has no comma ahead */
		buf_head(out)[before] = ' ';
	return r;
}
