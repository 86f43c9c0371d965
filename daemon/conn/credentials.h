/* credentials - what one attempt says of us: the configured request and greetings, with what stands
 * in files added and with the token in place of each "@token@".
 *
 * Made anew for each attempt, so that a file that was replaced counts from then on; each part is
 * wiped as soon as it has been used. */
#ifndef CONN_CREDENTIALS_H
#define CONN_CREDENTIALS_H

#include <stdbool.h>

#include "base/cause.h"
#include "codec/url.h"
#include "net/ws.h"

struct conn_options;
struct credentials;

enum { CREDENTIALS_TOKEN_MAX = 64 * 1024 };

struct credentials_options {
	char *header_file;   /* further header lines */
	char *token_file;    /* its content is the token */
	char *token_command; /* the first line of its output is */
	char *on_open_file;  /* further greetings, one a line */
};

/* Does anything of this have to be read?  Otherwise the options say all. */
bool credentials_needed(const struct credentials_options *options);

/* DONE is called once, from a clean stack: CAUSE is NULL, or CAUSE_LOCAL that names the file.  They
 * may be freed there.  NAME (for the log), OPTIONS and URL must stay until the request has been
 * sent. -errno. */
int credentials_start(struct credentials **ret, const char *name,
		      const struct conn_options *options, const struct url *url,
		      void (*done)(void *owner, const struct cause *cause), void *owner);
struct credentials *credentials_free(struct credentials *credentials);

/* From DONE on, until they are forgotten. */
const struct url *credentials_url(const struct credentials *credentials);
const struct ws_options *credentials_ws(const struct credentials *credentials);
char **credentials_on_open(const struct credentials *credentials); /* those of the options first */

void credentials_forget_request(struct credentials *credentials);   /* it was sent; NULL is fine */
void credentials_forget_greetings(struct credentials *credentials); /* they were sent */

#endif
