/* place - the runtime directories in which a daemon may answer, the likeliest first. */
#ifndef CLIENT_PLACE_H
#define CLIENT_PLACE_H

#include <stddef.h>

struct options;

struct place {
	char *dirs[2]; /* absolute; the first is where an instance of our own would be */
	size_t n;
};

/* 0, or an exit status: it has been told why none may be used. */
int place_find(struct place *place, const struct options *options);
void place_done(struct place *place);

/* Connect to the control socket of the first that answers. 0; -ECONNREFUSED: none is there; or what
 * kept us from one that is (-EACCES). */
int place_connect(const struct place *place, int *ret_fd);
/* Say that: the exit status.  ERROR is of place_connect(). */
int place_explain(const struct place *place, int error);

/* Relative names are relative to the working directory. NULL: no memory, or there is none. */
char *place_absolute(const char *path);

#endif
