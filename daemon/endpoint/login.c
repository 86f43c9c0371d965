/* login - see login.h.
 *
 * The end is the end of the shell, as for all commands: something that it has left in the background may
 * hold its output open for ever.  Then what it wrote is read and sent to the last message, and only
 * then the opening is told; always from login_look(), which has a clean stack. */
#include "endpoint/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/command.h"
#include "base/log.h"
#include "base/loop.h"
#include "conn/conn.h"
#include "endpoint/endpoint.h"
#include "endpoint/hookenv.h"
#include "endpoint/intake.h"
#include "endpoint/outlet.h"
#include "endpoint/pipe.h"

struct login {
	struct conn *conn;
	struct opening *opening;
	int in_fd, out_fd; /* our ends: it reads from in_fd and writes to out_fd */
	struct command *command;
	struct intake *intake;
	struct outlet *outlet;
	struct later look;
	bool ended; /* it has; what it wrote may not have been sent yet */
	char problem[96];
};

/* --- its end -------------------------------------------------------------------------------- */

static void tell(struct login *login)
{
	int status = login->ended ? command_status(login->command) : -1;
	const char *problem = *login->problem ? login->problem : command_problem(login->command);
	struct cause cause;

	outlet_take_back(login->outlet, pipe_bytes(login->in_fd));
	cause_set(&cause, CAUSE_LOGIN, status > 0 ? status : 0, "login %s",
		  problem ? problem : "is done");
	opening_login_ended(login->opening, problem ? &cause : NULL, outlet_place(login->outlet));
}

/* What it wrote last counts, too. */
static void login_look(void *owner)
{
	struct login *login = owner;

	if (login->ended && !*login->problem && intake_is_empty(login->intake))
		intake_drain(login->intake);
	if (*login->problem || (login->ended && intake_is_empty(login->intake)))
		tell(login);
}

static void login_command_line(void *owner, const char *text)
{
	struct login *login = owner;

	log_info(conn_name(login->conn), "login: %s", text);
}

static void login_command_ended(void *owner)
{
	struct login *login = owner;

	login->ended = true;
	loop_later(&login->look);
}

static const struct command_events command_events = {.line = login_command_line,
						     .ended = login_command_ended};

/* --- the movers ----------------------------------------------------------------------------- */

static int login_sink_take(void *owner, const struct msg *msg, struct outbox_waiter *waiter,
			   const char **ret_problem)
{
	struct login *login = owner;
	int r = opening_say(login->opening, msg, waiter, ret_problem);

	if (login->ended)
		loop_later(&login->look);
	return r;
}

/* It has closed its output; that is not its end. */
static void login_intake_ended(void *owner)
{
	(void)owner;
}

/* It would wait for an answer that does not come. */
static void login_intake_refused(void *owner, const char *problem, bool broken)
{
	struct login *login = owner;

	(void)broken;
	if (!*login->problem)
		snprintf(login->problem, sizeof(login->problem), "wrote a message that %s", problem);
	loop_later(&login->look);
}

/* It has closed its input, and hears no more. */
static void login_outlet_ended(void *owner, int error)
{
	(void)owner;
	(void)error;
}

static int start_movers(struct login *login, enum framing framing)
{
	static const struct intake_events intake_events = {login_intake_ended, login_intake_refused};
	static const struct outlet_events outlet_events = {.ended = login_outlet_ended};
	const struct intake_sink sink = {login_sink_take, login};
	const struct outlet_options options = {
		.framing = framing,
		.type = (enum msg_kind)conn_options(login->conn)->type,
		.spool = opening_heard(login->opening),
		.from = CURSOR_OLDEST,
		.label = "login",
		.is_fifo = true,
		.pages = true,
	};
	int r = outlet_new(&login->outlet, login->in_fd, login->conn, &options, &outlet_events, login);

	if (r == 0)
		r = intake_new(&login->intake, login->out_fd, login->conn, framing, options.type,
			       &intake_events, login);
	if (r < 0)
		return r;
	intake_set_sink(login->intake, &sink);
	intake_start(login->intake);
	outlet_start(login->outlet);
	outlet_set_present(login->outlet, true);
	return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

/* The command's ends are blocking, as programs expect. */
static int make_pipes(struct login *login, int *ret_in, int *ret_out)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	*ret_in = in[0];
	login->in_fd = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	login->out_fd = out[0];
	*ret_out = out[1];
	fcntl(login->in_fd, F_SETPIPE_SZ, PIPE_ONE_PAGE);
	if (fcntl(login->in_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(login->out_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int run(struct login *login, int in_fd, int out_fd)
{
	const struct command_ends ends = {in_fd, out_fd};
	struct command_options options = {
		.line = conn_options(login->conn)->opening.login,
		.ends = &ends,
	};
	struct hookenv_moment moment;
	struct hookenv env;
	int r;

	hookenv_now(&moment, login->conn);
	hookenv_init(&env);
	hookenv_describe(&env, "login", login->conn, &moment);
	r = hookenv_list(&env, &options.environment);
	if (r == 0)
		r = command_start(&login->command, &options, &command_events, login);
	hookenv_done(&env);
	return r;
}

static struct login *login_free(struct login *login)
{
	if (!login)
		return NULL;
	later_cancel(&login->look);
	command_free(login->command);
	intake_free(login->intake);
	outlet_free(login->outlet);
	if (login->in_fd >= 0)
		close(login->in_fd);
	if (login->out_fd >= 0)
		close(login->out_fd);
	free(login);
	return NULL;
}

static int login_start(struct login **ret, void *owner, struct conn *conn, struct opening *opening)
{
	const struct endpoint_options *options = owner;
	struct login *login = calloc(1, sizeof(*login));
	cleanup_close int in_fd = -1, out_fd = -1;
	int r;

	if (!login)
		return -ENOMEM;
	login->conn = conn;
	login->opening = opening;
	login->in_fd = login->out_fd = -1;
	later_init(&login->look, login_look, login);
	r = make_pipes(login, &in_fd, &out_fd);
	if (r == 0)
		r = start_movers(login, (enum framing)options->framing);
	if (r == 0)
		r = run(login, in_fd, out_fd);
	if (r < 0) {
		login_free(login);
		return r;
	}
	*ret = login;
	return 0;
}

void login_runner_init(struct opening_runner *runner, struct endpoint_options *options)
{
	*runner = (struct opening_runner){login_start, login_free, options};
}
