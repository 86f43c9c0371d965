/* presets - see presets.h.  Each row is from the protocol's own documents; a row is tried against the
 * real thing, or against messages from those documents, in tests/system/test_presets.py. */
#include "service/presets.h"

#include <stdio.h>

/* clang-format off */
const struct preset presets[] = {
	{"json-rpc", "JSON-RPC 2.0", {
		{"id", "/method : /id"},
		{"reply-id", "/id"},
		{"not-reply", "/method"},
		{"error-reply", "/error"},
	}},
	{"cdp", "Chrome DevTools Protocol", {
		{"id", "/method : /id"},
		{"reply-id", "/id"},
		{"id-type", "integer"},
		{"not-reply", "/method"},
		{"error-reply", "/error"},
	}},
	{"obs", "OBS Studio, obs-websocket 5", {
		{"subprotocol", "obswebsocket.json"},
		{"id", "/op=6 : /d/requestId"},
		{"id", "/op=8 : /d/requestId"},
		{"reply-id", "/op=7 : /d/requestId"},
		{"reply-id", "/op=9 : /d/requestId"},
		{"id-type", "string"},
		{"error-reply", "/d/requestStatus/result=false"},
	}},
	{"home-assistant", "Home Assistant", {
		{"id", "/id"},
		{"id-type", "integer"},
		{"not-reply", "/type=event"},
		{"error-reply", "/success=false"},
	}},
	{"janus", "Janus WebRTC Server", {
		{"subprotocol", "janus-protocol"},
		{"id", "/transaction"},
		{"id-type", "string"},
		{"interim", "/janus=ack"},
		{"error-reply", "/janus=error"},
	}},
	{"aria2", "aria2", {
		{"id", "/method : /id"},
		{"reply-id", "/id"},
		{"not-reply", "/method"},
		{"error-reply", "/error"},
	}},
	{"graphql-ws", "GraphQL over WebSocket, graphql-transport-ws", {
		{"subprotocol", "graphql-transport-ws"},
		{"id", "/id"},
		{"id-type", "string"},
		{"partial", "/type=next"},
		{"error-reply", "/type=error"},
	}},
	{"phoenix", "Phoenix channels, serializer 2.0.0", {
		{"id", "/1"},
		{"id-type", "string"},
		{"reply-id", "/3=phx_reply : /1"},
		{"error-reply", "/4/status=error"},
	}},
	{"wamp", "WAMP 2", {
		{"subprotocol", "wamp.2.json"},
		/* PUBLISH, SUBSCRIBE, UNSUBSCRIBE, CALL, REGISTER, UNREGISTER */
		{"id", "/0=16 : /1"}, {"id", "/0=32 : /1"}, {"id", "/0=34 : /1"},
		{"id", "/0=48 : /1"}, {"id", "/0=64 : /1"}, {"id", "/0=66 : /1"},
		{"id-type", "integer"},
		/* ERROR has it elsewhere; events and invocations have an id that is not ours */
		{"reply-id", "/0=8 : /2"}, {"reply-id", "/1"},
		{"partial", "/2/progress=true"},
		{"not-reply", "/0=36"}, {"not-reply", "/0=68"},
		{"error-reply", "/0=8"},
	}},
};
/* clang-format on */

const size_t presets_n = sizeof(presets) / sizeof(*presets);

const char *const preset_names[] = {"json-rpc", "cdp",	 "obs",	       "home-assistant",
				    "janus",	"aria2", "graphql-ws", "phoenix",
				    "wamp",	NULL};

void presets_print(void)
{
	for (size_t i = 0; i < presets_n; i++) {
		const struct preset *preset = &presets[i];

		printf("%s# %s\npreset = %s\n", i ? "\n" : "", preset->help, preset->name);
		for (const struct preset_value *v = preset->values; v->key; v++)
			printf("  %s = %s\n", v->key, v->value);
	}
}
