/* proxyenv - which proxy the environment names for a URL, by curl's rules.
 *
 * Only the client reads it: a daemon's environment is not its users'. */
#ifndef CLIENT_PROXYENV_H
#define CLIENT_PROXYENV_H

struct url;

/* The value of the first variable that is set and not empty, or NULL: none is, or no_proxy names the
 * host, or the URL is of a Unix socket. */
const char *proxyenv_find(const struct url *url);

#endif
