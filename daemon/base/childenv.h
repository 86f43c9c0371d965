/* childenv - the environment of a command: the daemon's own, without what is meant for it alone,
 * and further variables. */
#ifndef BASE_CHILDENV_H
#define BASE_CHILDENV_H

/* For execve(): a fresh array, to be given to free(), of strings that are not its own.  One of MORE
 * ("NAME=value"; NULL: none) takes the place of a variable that is there already.  NULL: no memory.
 */
char **childenv_new(char *const *more);

#endif
