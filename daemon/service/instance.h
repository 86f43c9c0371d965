/* instance - which daemon this is: its runtime directory, and that it is the only one there. */
#ifndef SERVICE_INSTANCE_H
#define SERVICE_INSTANCE_H

struct instance {
	char *runtime_dir; /* path */
	int runtime_fd;
	int lock_fd; /* RUNTIME/daemon, locked as long as we live; it holds our pid, for people */
};

/* RUNTIME_DIR NULL: $RUNTIME_DIRECTORY (systemd), /run/wspipe for root, $XDG_RUNTIME_DIR/wspipe or
 * /tmp/wspipe-UID for others.  What a crash has left there is taken over.  -EWOULDBLOCK: another daemon
 * has it; -EPERM: the directory belongs to somebody else; or another -errno.  ret->runtime_dir is set
 * in any case, for the message. */
int instance_take(struct instance *ret, const char *runtime_dir);
void instance_done(struct instance *instance);

/* As many descriptors as we may have; none that we inherited for our children; no SIGPIPE, no
 * SIGXFSZ. */
void instance_prepare_process(void);

#endif
