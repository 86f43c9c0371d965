/* cursor - see cursor.h. */
#include "control/cursor.h"

#include <errno.h>

#include "base/cleanup.h"
#include "conn/cursors.h"
#include "service/status.h"

static int refuse_name(struct request *request, const char *name)
{
	peer_refuse(request->peer, EXIT_USAGE,
		    "'%s' is no name for a cursor (1 to %d letters, digits, dots, hyphens and underscores, a "
		    "letter or digit first)", name, CURSOR_NAME_MAX);
	return 0;
}

/* 1, or 0: somebody reads from it, and the client has been told. */
static int need_idle(struct request *request, struct mark *mark)
{
	if (!mark_is_held(mark))
		return 1;
	peer_refuse(request->peer, EXIT_PEER, "cursor '%s' is in use by process %d", mark->name,
		    mark->holder->pid);
	return 0;
}

/* 1, 0 refused, -errno.  MAKE: what is not there is made. */
static int find(struct request *request, struct conn *conn, const char *name, bool make,
		struct mark **ret)
{
	struct cursors *cursors = conn_cursors(conn);
	int r;

	if (!cursors_name_valid(name))
		return refuse_name(request, name);
	*ret = cursors_find(cursors, MARK_NAMED, name);
	if (*ret)
		return need_idle(request, *ret);
	if (!make) {
		peer_refuse(request->peer, EXIT_PEER, "'%s' has no cursor '%s' (wspipe cursor ls %s shows what "
			    "there is)", conn_name(conn), name, conn_name(conn));
		return 0;
	}
	r = cursors_add(cursors, MARK_NAMED, name, ret);
	if (r != -EUSERS)
		return r < 0 ? r : 1;
	peer_refuse(request->peer, EXIT_PEER, "there are %d cursors already (wspipe cursor rm removes one)",
		    CURSORS_MAX);
	return 0;
}

/* --- recv ----------------------------------------------------------------------------------- */

static int seek(struct flow_options *options, enum cursor_seek to, uint64_t number)
{
	options->seeks = true;
	options->seek = to;
	options->number = number;
	return 1;
}

int cursor_place(struct request *request, struct conn *conn, struct flow_options *options)
{
	cleanup_free char *name = NULL;
	uint64_t last = 0, since = 0;
	int has_name = request_str(request, "/cursor", &name);
	int has_last = request_uint(request, "/last", &last);
	int has_since = request_uint(request, "/since", &since);

	if (has_name < 0 || has_last < 0 || has_since < 0)
		return has_name == -ENOMEM ? -ENOMEM : -EINVAL;
	options->backlog = !request_true(request, "/follow", true);
	options->pid = request->rights.pid;
	if (has_name + has_last + has_since > 1)
		return -EINVAL;
	if (has_last)
		return seek(options, SEEK_LAST, last);
	if (has_since)
		return seek(options, SEEK_SINCE, since);
	return has_name ? find(request, conn, name, true, &options->mark) : 1;
}

/* --- the verb ------------------------------------------------------------------------------- */

static const char *const action_words[] = {"ls", "rm", "set", NULL};
enum { ACTION_LS, ACTION_RM, ACTION_SET };
static const char *const to_words[] = {"oldest", "newest", NULL};

static int list(struct request *request, struct conn *conn)
{
	struct buf line;
	int r = request_begin_ok(&line);

	if (r >= 0)
		r = buf_append_str(&line, ",\"cursors\":[");
	if (r >= 0)
		r = status_cursors(&line, conn);
	if (r >= 0)
		r = buf_append_char(&line, ']');
	return request_answer(request, &line, r);
}

static int set(struct request *request, struct conn *conn, const char *name)
{
	uint64_t since;
	struct mark *mark;
	int to = -1, r = request_word(request, "/to", to_words, &to);
	int has_since = request_uint(request, "/since", &since);

	if (r < 0 || has_since < 0 || r + has_since != 1)
		return -EINVAL;
	r = find(request, conn, name, true, &mark);
	if (r <= 0)
		return r;
	if (has_since)
		mark_move_since(mark, since);
	else
		mark_move(mark, to == 0 ? CURSOR_OLDEST : CURSOR_NEWEST);
	return request_answer_ok(request);
}

static int take_away(struct request *request, struct conn *conn, const char *name)
{
	struct mark *mark;
	int r = find(request, conn, name, false, &mark);

	if (r <= 0)
		return r;
	cursors_remove(mark);
	return request_answer_ok(request);
}

int verb_cursor(struct request *request)
{
	cleanup_free char *name = NULL;
	struct channel *channel;
	struct conn *conn;
	int action = -1, r = request_word(request, "/action", action_words, &action);

	if (r == 0)
		return -EINVAL;
	if (r > 0)
		r = request_str(request, "/cursor", &name);
	if (r >= 0 && !name && action != ACTION_LS)
		return -EINVAL;
	if (r >= 0)
		r = request_find(request, &channel);
	if (r <= 0)
		return r;
	conn = channel_conn(channel);
	if (action == ACTION_LS)
		return list(request, conn);
	return action == ACTION_RM ? take_away(request, conn, name) : set(request, conn, name);
}
