/* look - the commands that only look at what the daemon has: ls, status, stats, top.  They
 * return the exit status. */
#ifndef CLIENT_LOOK_H
#define CLIENT_LOOK_H

struct options;

int look_ls(const struct options *options);
int look_status(const struct options *options);
int look_stats(const struct options *options);
int look_top(const struct options *options);

#endif
