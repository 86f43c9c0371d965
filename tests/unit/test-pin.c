/* Pins: their syntax, and that one is the digest of the key as it stands in the certificate. */
#include <errno.h>

#include <openssl/sha.h>

#include "base/strv.h"
#include "certs.h"
#include "check.h"
#include "codec/base64.h"
#include "net/pin.h"

#define DIGEST "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OTHER "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA="

static void test_syntax(void)
{
	static const char *const good[] = {
		"sha256//" DIGEST,
		"sha256//" DIGEST ";",
		"sha256//" DIGEST ";sha256//" OTHER,
	};
	static const char *const bad[] = {
		"",
		";",
		DIGEST,
		"sha256//",
		"sha256/" DIGEST,
		"sha512//" DIGEST,
		"SHA256//" DIGEST,
		"sha256//" DIGEST "=",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", /* bits behind the end */
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-=",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A",
		"sha256//" DIGEST ";x",
		"sha256//" DIGEST ";;sha256//" OTHER,
		"/etc/key.pem",
	};
	const char *problem = NULL;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_EQ(pin_check(good[i], &problem), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		problem = NULL;
		if (pin_check(bad[i], &problem) != -EINVAL)
			CHECK_STR(bad[i], "refused");
		CHECK(problem && strstr(problem, "sha256//"));
	}
}

static void test_listed(void)
{
	char *list[] = {(char *)"sha256//" OTHER, (char *)"sha256//" OTHER ";sha256//" DIGEST,
			NULL};
	char *others[] = {(char *)"sha256//" OTHER, NULL};

	CHECK(pin_is_listed(list, "sha256//" DIGEST));
	CHECK(pin_is_listed(list, "sha256//" OTHER));
	CHECK(!pin_is_listed(others, "sha256//" DIGEST));
	CHECK(!pin_is_listed(NULL, "sha256//" DIGEST));
}

static void test_of(void)
{
	struct cert cert = cert_new(&(struct cert_want){.cn = "x"}, NULL);
	struct cert rsa = cert_new(&(struct cert_want){.cn = "x", .rsa_bits = 2048}, NULL);
	unsigned char *key = NULL, digest[SHA256_DIGEST_LENGTH];
	char pin[PIN_TEXT_MAX], other[PIN_TEXT_MAX], expected[PIN_TEXT_MAX] = "sha256//";
	const char *problem;
	int len = i2d_PUBKEY(cert.key, &key);

	CHECK(len > 0);
	SHA256(key, (size_t)len, digest);
	base64_encode(expected + 8, digest, sizeof(digest));
	expected[PIN_TEXT_MAX - 1] = '\0';
	CHECK_EQ(pin_of(cert.x509, pin), 0);
	CHECK_STR(pin, expected);
	CHECK_EQ(pin_check(pin, &problem), 0);
	CHECK_EQ(pin_of(rsa.x509, other), 0);
	CHECK(strcmp(pin, other) != 0);
	OPENSSL_free(key);
	cert_free(&cert);
	cert_free(&rsa);
}

int main(void)
{
	test_syntax();
	test_listed();
	test_of();
	return 0;
}
