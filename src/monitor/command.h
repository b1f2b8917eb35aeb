/* SPDX-License-Identifier: MIT */
/* The table of commands: what qmp.c looks up, and commands.c has. */
#ifndef ZVISOR_MONITOR_COMMAND_H
#define ZVISOR_MONITOR_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct machine;

#define COMMAND_ARGUMENTS_MAX 4

struct command_argument {
	const char *name;
	enum { ARGUMENT_STRING, ARGUMENT_BOOLEAN, ARGUMENT_INTEGER } type;
	bool required;
};

/* `error_class` is NULL when there was no error. */
struct command_error {
	const char *error_class;
	char text[640];
};

struct command {
	const char *name;
	struct command_argument arguments[COMMAND_ARGUMENTS_MAX]; /* ends with a NULL name */
	bool any_argument; /* and others, which the command checks itself */
	/*
	 * The result, which is the caller's; NULL for the usual empty object, or when
	 * `error` is filled. `arguments` is an object and fits the table.
	 */
	json_t *(*run)(struct machine *machine, json_t *arguments, struct command_error *error);
};

extern const struct command commands[];
extern const size_t command_count;

void command_fail(struct command_error *error, const char *error_class, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* {"qemu": {…}, "package": …}, as the greeting has it, too. */
json_t *command_version(void);

#endif
