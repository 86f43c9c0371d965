/* conflicts - values that do not go together, though each of them alone is good. */
#ifndef SERVICE_CONFLICTS_H
#define SERVICE_CONFLICTS_H

struct option;
struct section;

/* FAULT is called for what does not, with the row to blame and one line. */
void conflicts_find(const struct section *section,
		    void (*fault)(void *owner, const struct option *option, const char *problem),
		    void *owner);

#endif
