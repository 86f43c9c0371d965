/* wspipe - argv -> verb row -> exit status; nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/protocol.h"
#include "hide.h"
#include "options.h"
#include "print.h"
#include "verbs.h"

enum { WORD_MAX = 16 };

/* What is opened next must not get the place of a standard descriptor that was closed.  Read-only:
 * an end of file on standard input, and an error for whoever prints. */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
			_Exit(EXIT_PEER);
	}
}

static void print_usage(FILE *file)
{
	fputs("Usage: wspipe [--runtime-dir DIR] COMMAND [ARGUMENT]...\n\n", file);
	for (size_t i = 0; i < verbs_n; i++)
		if (verbs[i].bit != FOR_RESUME) /* stands in the line above */
			fprintf(file, "  %-10s%-26.26s %s\n", verbs[i].word, verbs[i].synopsis,
				verbs[i].summary);
	fputs("\nwspipe COMMAND --help shows its options.  open, and cat, exec and request with a URL\n"
	      "start a daemon when none answers.  See wspipe(1), wspipe.conf(5), wspiped(8).\n", file);
}

static void print_verb_usage(FILE *file, const struct verb *verb)
{
	fprintf(file, "Usage: wspipe %s %s\n%s\n\n", verb->word, verb->synopsis, verb->summary);
	options_print(file, verb->bit);
}

/* --- which command -------------------------------------------------------------------------- */

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters must be put in, left out or changed; only the last line of the table is kept. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1];
	size_t b_len = strlen(b);

	if (strlen(a) > WORD_MAX || b_len > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= b_len; j++)
		d[j] = j;
	for (unsigned i = 1; *a; a++, i++) {
		unsigned diagonal = d[0];

		d[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned above = d[j];

			d[j] = least(diagonal + (*a != b[j - 1]), least(above, d[j - 1]) + 1);
			diagonal = above;
		}
	}
	return d[b_len];
}

static const struct verb *find_verb(const char *word)
{
	const struct verb *nearest = &verbs[0];
	unsigned best = WORD_MAX + 1;

	for (size_t i = 0; i < verbs_n; i++) {
		unsigned far = distance(word, verbs[i].word);

		if (far == 0)
			return &verbs[i];
		if (far < best) {
			best = far;
			nearest = &verbs[i];
		}
	}
	if (best <= strlen(nearest->word) / 2 + 1)
		say(NULL, "unknown command '%s'; did you mean '%s'?", word, nearest->word);
	else
		say(NULL, "unknown command '%s' (wspipe --help shows what there is)", word);
	return NULL;
}

/* --- what it says --------------------------------------------------------------------------- */

static int check_words(const struct verb *verb, const struct options *options)
{
	const char *problem = NULL;

	if (options->words_n < verb->words_min)
		problem = "something is missing";
	else if (options->words_n > verb->words_max)
		problem = "too many arguments";
	else if (verb->words_min && !*options->words[0])
		problem = "the name is empty";
	if (!problem)
		return 0;
	say(verb->word, "%s; usage: wspipe %s %s", problem, verb->word, verb->synopsis);
	return EXIT_USAGE;
}

static int run(const struct verb *verb, struct options *options, int argc, char **argv)
{
	int r;

	if (options_parse(options, verb->bit, argc, argv) < 0)
		return EXIT_USAGE;
	if (options->help) {
		print_verb_usage(stdout, verb);
		return EXIT_DONE;
	}
	if (options->version) {
		puts("wspipe " WSPIPE_VERSION);
		return EXIT_DONE;
	}
	r = check_words(verb, options);
	if (r == 0 && (verb->bit & FOR_SETTINGS) && hide_secrets(options) < 0) {
		say(NULL, "no memory");
		r = EXIT_PEER;
	}
	if (r == 0 && (verb->bit & FOR_SETTINGS) && options_find_proxy(options) < 0)
		r = EXIT_PEER;
	return r ? r : verb->run(options);
}

static int start(struct options *options, int argc, char **argv)
{
	int at = options_begin(options, argc, argv);
	const struct verb *verb;

	if (at < 0)
		return EXIT_USAGE;
	if (options->help || options->version) {
		if (options->help)
			print_usage(stdout);
		else
			puts("wspipe " WSPIPE_VERSION);
		return EXIT_DONE;
	}
	if (at >= argc) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	verb = find_verb(argv[at]);
	return verb ? run(verb, options, argc - at - 1, argv + at + 1) : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct options options;
	int r;

	signal(SIGPIPE, SIG_DFL); /* who started us may have ignored it */
	fill_standard_descriptors();
	r = start(&options, argc, argv);
	options_done(&options);
	if ((fflush(stdout) != 0 || ferror(stdout)) && r == EXIT_DONE) {
		say("standard output", "%s", strerror(errno));
		r = EXIT_PEER;
	}
	return r;
}
