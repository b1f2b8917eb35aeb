/* SPDX-License-Identifier: MIT */
/*
 * qmp SOCKET COMMAND...: for hosts in which no Python is. Each command is a line of JSON; what the
 * monitor says goes to standard output. Ends when all are answered: with 1 if one of
 * them by an error, with 2 if the monitor does not answer.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The next line that begins with `word`. */
static bool wait_for(FILE *monitor, const char *word, const char *other, char *line, int size)
{
	while (fgets(line, size, monitor)) {
		fputs(line, stdout);
		if (!strncmp(line, word, strlen(word)) || !strncmp(line, other, strlen(other)))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), result = 0;
	char line[65536];
	FILE *monitor;

	if (argc < 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror(argv[1]);
		return 2;
	}
	monitor = fdopen(fd, "r+");
	if (!monitor || !wait_for(monitor, "{\"QMP\"", "{\"QMP\"", line, sizeof(line)))
		return 2;
	for (int i = 1; i < argc; i++) {
		dprintf(fd, "%s\n", i == 1 ? "{\"execute\": \"qmp_capabilities\"}" : argv[i]);
		if (!wait_for(monitor, "{\"return\"", "{\"error\"", line, sizeof(line)))
			return 2;
		if (line[2] == 'e')
			result = 1;
	}
	fclose(monitor);
	return result;
}
