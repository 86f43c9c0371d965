/* replay - a fuzz target without a fuzzer: runs it on files, and on all files in directories.
 *
 * Each is given whole, then cut short at some places: what is unfinished is another kind of input.
 */
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { FILE_MAX = 1 << 20, CUTS = 16 };

static unsigned inputs;

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

static void run(const uint8_t *data, size_t len)
{
	uint8_t *copy = copy_bytes(data, len);

	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	inputs++;
}

static void run_file(const char *path)
{
	static uint8_t data[FILE_MAX];
	FILE *file = fopen(path, "r");
	size_t len, step;

	if (!file) {
		perror(path);
		exit(2);
	}
	len = fread(data, 1, sizeof(data), file);
	fclose(file);
	printf("%s\n", path);
	fflush(stdout);
	step = len / CUTS + 1;
	run(data, len);
	for (size_t cut = step; cut < len; cut += step)
		run(data, cut);
}

static int no_dots(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run_dir(const char *dir)
{
	struct dirent **entries;
	char path[PATH_MAX];
	int n = scandir(dir, &entries, no_dots, alphasort);

	if (n < 0) {
		perror(dir);
		exit(2);
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		run_file(path);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	struct stat st;

	LLVMFuzzerInitialize(&argc, &argv);
	run(NULL, 0);
	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			run_dir(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%u inputs\n", inputs);
	return inputs > 1 ? 0 : 2;
}
