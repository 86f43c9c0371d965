/* pin - "sha256//BASE64": the digest of a public key, by which one server is known whatever
 * authority says of it.  The key is taken as it stands in the certificate (SubjectPublicKeyInfo,
 * RFC 5280 4.1), as HPKP (RFC 7469 2.4) and curl's --pinnedpubkey do. */
#ifndef NET_PIN_H
#define NET_PIN_H

#include <stdbool.h>

struct x509_st;

enum { PIN_TEXT_MAX = 8 + 44 + 1 }; /* with its NUL */

/* For the configuration: one pin, or several with ';' between them. 0, or -EINVAL with a constant
 * phrase in *ret_problem. */
int pin_check(const char *text, const char **ret_problem);

/* The pin of this certificate's key; -EINVAL when there is none to be had. */
int pin_of(const struct x509_st *cert, char ret[PIN_TEXT_MAX]);

/* Is PIN in the list?  Its items were checked by pin_check(). */
bool pin_is_listed(char *const *pins, const char *pin);

#endif
