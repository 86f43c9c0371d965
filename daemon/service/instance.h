/* instance - which daemon this is: its runtime and state directories, and that it is the only one there. */
#ifndef SERVICE_INSTANCE_H
#define SERVICE_INSTANCE_H

struct instance {
	char *runtime_dir; /* path */
	int runtime_fd;
	int lock_fd; /* RUNTIME/daemon, locked as long as we live; it holds our pid, for people */
	char *state_dir;
	int state_fd, state_lock_fd; /* -1: not taken */
};

/* RUNTIME_DIR NULL: $RUNTIME_DIRECTORY (systemd), /run/wspipe for root, $XDG_RUNTIME_DIR/wspipe or
 * /tmp/wspipe-UID for others.  What a crash has left there is taken over.  -EWOULDBLOCK: another daemon
 * has it; -EPERM: the directory belongs to somebody else; or another -errno.  ret->runtime_dir is set
 * in any case, for the message. */
int instance_take(struct instance *ret, const char *runtime_dir, const char *state_dir);
void instance_done(struct instance *instance);

/* The state directory, taken when it is first needed: its descriptor or -errno.  NULL dir:
 * $STATE_DIRECTORY, /var/lib/wspipe for root, $XDG_STATE_HOME/wspipe or ~/.local/state/wspipe.  What
 * fails is in the log; -EWOULDBLOCK: another daemon has it. */
int instance_take_state(struct instance *instance);

/* As many descriptors as we may have; none that we inherited for our children; no SIGPIPE, no
 * SIGXFSZ. */
void instance_prepare_process(void);

#endif
