/* cleanup - locals that clean up after themselves at the end of their scope.
 *
 *	cleanup_free char *text = NULL;
 *	cleanup_close int fd = -1;
 *
 * To hand the value on, use take_ptr() or take_fd(): they leave nothing to clean behind. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

/* A secret is not left behind in memory that others get. */
static inline void *wipe_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return NULL;
}

static inline void cleanup_wipe_(void *p)
{
	wipe_free(*(char **)p);
}

static inline void cleanup_close_(const int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_fclose_(FILE **file)
{
	if (*file) {
		int saved = errno;

		fclose(*file);
		errno = saved;
	}
}

#define cleanup_free __attribute__((cleanup(cleanup_free_)))
#define cleanup_wipe __attribute__((cleanup(cleanup_wipe_))) /* a string */
#define cleanup_close __attribute__((cleanup(cleanup_close_)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclose_)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define take_ptr(p)                                                                                \
	__extension__({                                                                            \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#endif
