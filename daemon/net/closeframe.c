/* closeframe - see closeframe.h.  Which codes there are is closecode's. */
#include "net/closeframe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec/utf8.h"
#include "net/closecode.h"

void closeframe_set(struct closeframe *close, uint16_t code, const char *reason)
{
	size_t len = reason ? strlen(reason) : 0;

	if (len > CLOSEFRAME_REASON_MAX)
		len = CLOSEFRAME_REASON_MAX -
		      utf8_tail((const uint8_t *)reason, CLOSEFRAME_REASON_MAX);
	close->code = code;
	if (len > 0)
		memcpy(close->reason, reason, len);
	close->reason[len] = '\0';
}

bool closeframe_refuse(struct closeframe *refusal, uint16_t code, const char *format, ...)
{
	va_list args;

	refusal->code = code;
	va_start(args, format);
	vsnprintf(refusal->reason, sizeof(refusal->reason), format, args);
	va_end(args);
	return false;
}

size_t closeframe_encode(const struct closeframe *close, uint8_t ret[CLOSEFRAME_PAYLOAD_MAX])
{
	size_t len = strlen(close->reason);

	if (close->code == 0)
		return 0;
	ret[0] = (uint8_t)(close->code >> 8);
	ret[1] = (uint8_t)close->code;
	memcpy(ret + 2, close->reason, len);
	return 2 + len;
}

bool closeframe_judge(const uint8_t *payload, size_t len, uint16_t *ret_code,
		      struct closeframe *ret_refusal)
{
	uint16_t code = CLOSECODE_NONE;

	if (len == 1)
		return closeframe_refuse(ret_refusal, CLOSECODE_PROTOCOL,
					 "the server sent a Close with half a code");
	if (len >= 2) {
		code = (uint16_t)(payload[0] << 8 | payload[1]);
		if (!closecode_is_valid(code))
			return closeframe_refuse(ret_refusal, CLOSECODE_PROTOCOL,
						 "the server sent close code %u", (unsigned)code);
		if (!utf8_valid(payload + 2, len - 2))
			return closeframe_refuse(
				ret_refusal, CLOSECODE_INVALID,
				"the server sent a close reason that is not UTF-8");
	}
	*ret_code = code;
	return true;
}
