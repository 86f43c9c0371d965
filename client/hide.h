/* hide - take what may be a password out of the process list. */
#ifndef CLIENT_HIDE_H
#define CLIENT_HIDE_H

struct options;

/* Settings that may be secret, and userinfo in a url, are copied, and their places in argv filled with
 * blanks.  Before that, others could see them for a moment: that cannot be helped.  -ENOMEM. */
int hide_secrets(struct options *options);

#endif
