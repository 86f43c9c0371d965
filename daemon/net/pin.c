/* pin - see the header.
 *
 * A digest has one text only, because the decoder is strict (no bits behind the end, no missing
 * padding): so pins are compared as texts. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/strv.h"
#include "codec/base64.h"
#include "net/pin.h"

static const char prefix[] = "sha256//";

enum {
	DIGEST_BYTES = 32, /* SHA-256 */
	PREFIX_CHARS = sizeof(prefix) - 1,
	PIN_CHARS = PIN_TEXT_MAX - 1,
};

static bool is_pin(const char *text, size_t len)
{
	uint8_t digest[(PIN_CHARS - PREFIX_CHARS) / 4 * 3];

	return len == PIN_CHARS && memcmp(text, prefix, PREFIX_CHARS) == 0 &&
	       base64_decode(digest, text + PREFIX_CHARS, len - PREFIX_CHARS) == DIGEST_BYTES;
}

/* As curl takes it: a ';' behind the last one is fine. */
int pin_check(const char *text, const char **ret_problem)
{
	size_t len;

	*ret_problem = "is not sha256// and the 44 characters of a digest in base64";
	do {
		len = strcspn(text, ";");
		if (!is_pin(text, len))
			return -EINVAL;
		text += len + (text[len] == ';');
	} while (*text);
	return 0;
}

int pin_of(const X509 *cert, char ret[PIN_TEXT_MAX])
{
	unsigned char *key = NULL, digest[EVP_MAX_MD_SIZE];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &key);
	unsigned digest_len = 0;
	bool ok = len > 0 &&
		  EVP_Digest(key, (size_t)len, digest, &digest_len, EVP_sha256(), NULL) &&
		  digest_len == DIGEST_BYTES;

	OPENSSL_free(key);
	ERR_clear_error();
	if (!ok)
		return -EINVAL;
	memcpy(ret, prefix, PREFIX_CHARS);
	base64_encode(ret + PREFIX_CHARS, digest, DIGEST_BYTES);
	ret[PIN_CHARS] = '\0';
	return 0;
}

bool pin_is_listed(char *const *pins, const char *pin)
{
	char *const *item;

	strv_for_each(item, pins)
		if (strstr(*item, pin)) /* none begins inside another: they are all of one length */
			return true;
	return false;
}
