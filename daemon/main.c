/* wspiped - argv -> log -> configuration -> service -> control -> run -> exit status; nothing else. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sync.h"
#include "control/control.h"
#include "net/tls.h"
#include "service/config.h"
#include "service/fdstore.h"
#include "service/instance.h"
#include "service/presets.h"
#include "service/service.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_BAD_USE = 2, FAULTS_MAX = 4 * 1024 * 1024 };

struct arguments {
	const char *config_file, *runtime_dir, *state_dir;
	int log_level; /* -1: as configured */
	bool check, keys, presets, on_demand;
};

static const char usage[] =
	"Usage: wspiped [OPTION]...\n"
	"Hold WebSocket connections for programs that read and write files.\n\n"
	"  --config FILE        read this configuration and no other\n"
	"  --runtime-dir DIR    where `control` and the connections' directories are\n"
	"  --state-dir DIR      where messages are kept across restarts\n"
	"  --log-level LEVEL    error, warning, info or debug\n"
	"  --check              read the configuration, tell every fault, exit with 0 or 2\n"
	"  --keys               list every key of the configuration: name, section, default\n"
	"  --presets            list what each preset sets\n"
	"  --on-demand          end when there is no connection and no client left\n"
	"  --help, --version\n\n"
	"Stays in the foreground.  SIGHUP reloads, SIGTERM and SIGINT close every\n"
	"connection properly.  See wspiped(8), wspipe.conf(5), wspipe(1).\n";

static int bad_use(const char *what, const char *value)
{
	fprintf(stderr, "wspiped: %s '%s' (wspiped --help tells what there is)\n", what, value);
	return EXIT_BAD_USE;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	enum { CONFIG, RUNTIME, STATE, LEVEL, CHECK, KEYS, PRESETS, ON_DEMAND, HELP, VERSION };
	static const struct option options[] = {
		{"config", required_argument, NULL, CONFIG},
		{"runtime-dir", required_argument, NULL, RUNTIME},
		{"state-dir", required_argument, NULL, STATE},
		{"log-level", required_argument, NULL, LEVEL},
		{"check", no_argument, NULL, CHECK},
		{"keys", no_argument, NULL, KEYS},
		{"presets", no_argument, NULL, PRESETS},
		{"on-demand", no_argument, NULL, ON_DEMAND},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	int option;

	*ret = (struct arguments){.log_level = -1};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case CONFIG:
			ret->config_file = optarg;
			break;
		case RUNTIME:
			ret->runtime_dir = optarg;
			break;
		case STATE:
			ret->state_dir = optarg;
			break;
		case LEVEL:
			ret->log_level = log_level_from_name(optarg);
			if (ret->log_level < 0)
				return bad_use("unknown log level", optarg);
			break;
		case CHECK:
			ret->check = true;
			break;
		case KEYS:
			ret->keys = true;
			break;
		case PRESETS:
			ret->presets = true;
			break;
		case ON_DEMAND:
			ret->on_demand = true;
			break;
		case HELP:
			fputs(usage, stdout);
			return EXIT_OK;
		case VERSION:
			puts("wspiped " WSPIPE_VERSION);
			return EXIT_OK;
		default:
			return EXIT_BAD_USE; /* getopt has said it */
		}
	}
	return optind < argc ? bad_use("unexpected argument", argv[optind]) : -1;
}

static int list_keys(void)
{
	struct config_key key;

	for (size_t i = 0; i < config_keys(); i++) {
		config_key_at(i, &key);
		printf("%s\t%s\t%s\n", key.name, key.in_daemon ? "daemon" : "connection",
		       key.fallback ? key.fallback : "");
	}
	return EXIT_OK;
}

/* The service's upcall after a reload: the control socket's rights may have changed. */
struct above {
	struct service *service;
	struct control *control;
};

static void main_service_reloaded(void *owner)
{
	struct above *above = owner;

	if (above->control)
		control_set_access(above->control, service_daemon_options(above->service)->access);
}

static int run(const struct arguments *arguments, struct instance *instance,
	       struct config *config)
{
	struct above above = {0};
	struct fdstore *fdstore = NULL;
	/* One that a client has started is no service, whatever stands in the environment. */
	int r = arguments->on_demand ? 0 : fdstore_new(&fdstore);
	struct service_options options = {
		.config_file = arguments->config_file,
		.runtime_fd = instance->runtime_fd,
		.runtime_dir = instance->runtime_dir,
		.shelf = fdstore_shelf(fdstore),
		.instance = instance,
		.on_demand = arguments->on_demand,
		.reloaded = main_service_reloaded,
		.owner = &above,
	};

	if (r < 0)
		config_free(config);
	else
		r = service_new(&above.service, &options, config);
	if (r == 0)
		r = control_new(&above.control, above.service, instance->runtime_fd, options.shelf,
				service_daemon_options(above.service)->access);
	if (r == 0) {
		fdstore_settle(fdstore);
		r = loop_run();
	}
	if (r < 0)
		log_error(NULL, "cannot run in %s: %s", instance->runtime_dir, strerror(-r));
	above.control = control_free(above.control);
	above.service = service_free(above.service);
	fdstore_free(fdstore);
	sync_stop(); /* ... when all is on the disk */
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int start(const struct arguments *arguments, struct config *config)
{
	struct instance instance;
	int r = instance_take(&instance, arguments->runtime_dir, arguments->state_dir);
	int status = EXIT_FAILED;

	if (r == 0) {
		status = run(arguments, &instance, config);
	} else {
		log_error(NULL, "cannot use %s: %s",
			  instance.runtime_dir ? instance.runtime_dir : "the runtime directory",
			  r == -EWOULDBLOCK ? "another wspiped is running there" : strerror(-r));
		config_free(config);
	}
	instance_done(&instance);
	return status;
}

/* Faults go to standard error as they are, so that editors can jump to them. */
static int load(const struct arguments *arguments, struct config **ret)
{
	struct buf faults;
	int r;

	buf_init(&faults, FAULTS_MAX);
	r = config_load(ret, arguments->config_file, &faults);
	if (buf_len(&faults) > 0)
		fwrite(buf_head(&faults), 1, buf_len(&faults), stderr);
	else if (r < 0)
		fprintf(stderr, "wspiped: cannot read the configuration: %s\n", strerror(-r));
	buf_done(&faults);
	return r;
}

int main(int argc, char **argv)
{
	struct arguments arguments;
	struct config *config = NULL;
	char *absolute;
	int status = parse(argc, argv, &arguments), r;

	if (status >= 0)
		return status;
	if (arguments.presets) {
		presets_print();
		return EXIT_OK;
	}
	if (arguments.keys)
		return list_keys();
	if (load(&arguments, &config) < 0)
		return EXIT_BAD_USE;
	/* A client in another directory may want to read it, too. */
	absolute = arguments.config_file ? realpath(arguments.config_file, NULL) : NULL;
	arguments.config_file = absolute;
	if (arguments.check) {
		config_free(config);
		free(absolute);
		return EXIT_OK;
	}
	if (arguments.log_level >= 0)
		config->daemon.log_level = arguments.log_level;
	instance_prepare_process();
	log_open((enum log_level)config->daemon.log_level);
	r = loop_init();
	if (r < 0) {
		log_error(NULL, "cannot make the event loop: %s", strerror(-r));
		config_free(config);
		free(absolute);
		return EXIT_FAILED;
	}
	if (tls_start() < 0) {
		log_error(NULL, "TLS cannot be set up: %s", strerror(ENOMEM));
		config_free(config);
		status = EXIT_FAILED;
	} else {
		status = start(&arguments, config);
	}
	loop_done();
	free(absolute);
	return status;
}
