/* start - a daemon of the user's own, started because a command needs one (as ssh starts a master).
 * It ends by itself when nothing is left to hold. */
#ifndef CLIENT_START_H
#define CLIENT_START_H

struct place;

/* Start one in the first directory of PLACE, wait until it (or one that somebody else has started
 * at the same moment) answers, and connect to it. 0, or an exit status: it has been told what
 * failed. */
int start_daemon(const struct place *place, int *ret_fd);

/* Become `wspiped` with these arguments (ARGV[0] is not looked at). Returns only when that fails:
 * the exit status. */
int start_become(char *const *argv);

#endif
