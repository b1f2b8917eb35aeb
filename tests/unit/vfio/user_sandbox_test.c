/* SPDX-License-Identifier: MIT */
/* The sandbox of a served device: each test is a process, as it does not come out again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vfio/user_sandbox.h"

/* How the process in there ended: 0 all was as it should be, a line otherwise. */
#define CHECK(condition)                      \
	do {                                  \
		if (!(condition))             \
			_exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1); \
	} while (0)
#define SKIP 77

static char allowed[] = "/tmp/zvisor-sandbox-XXXXXX", other[] = "/tmp/zvisor-sandbox-XXXXXX";

static int make_files(void **state)
{
	int a = mkstemp(allowed), b = mkstemp(other);

	assert_true(a >= 0 && b >= 0);
	close(a);
	close(b);
	return 0;
}

static int remove_files(void **state)
{
	unlink(allowed);
	unlink(other);
	return 0;
}

static void run(void (*inside)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		inside();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIP)
		skip();
	if (WEXITSTATUS(status))
		fail_msg("line %d (modulo 256)", WEXITSTATUS(status));
}

static void only_named_files_inside(void)
{
	const char *const paths[] = { allowed };
	int rc = user_sandbox_files(paths, 1);

	if (rc == -ENOSYS || rc == -EOPNOTSUPP)
		_exit(SKIP);
	CHECK(!rc);
	CHECK(open(allowed, O_RDWR) >= 0);
	CHECK(open(other, O_RDONLY) < 0 && errno == EACCES);
	CHECK(open("/tmp/zvisor-sandbox-new", O_CREAT | O_RDWR, 0600) < 0 && errno == EACCES);
	CHECK(unlink(other) && errno == EACCES);
}

static void only_the_files_that_are_named_can_be_opened(void **state)
{
	run(only_named_files_inside);
}

static void *answer(void *opaque)
{
	return opaque;
}

static void only_serving_inside(void)
{
	int rc = user_sandbox_calls(), value;
	pthread_t thread;
	void *result;

	if (rc == -ENOSYS)
		_exit(SKIP);
	CHECK(!rc);
	CHECK(open(allowed, O_RDWR) < 0 && errno == EPERM);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(fork() < 0);
	CHECK(execl("/bin/true", "true", NULL) && errno == EPERM);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	/* … and what serving takes is there. */
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	      MAP_FAILED);
	CHECK(!pthread_create(&thread, NULL, answer, &value));
	CHECK(!pthread_join(thread, &result) && result == &value);
}

static void only_what_serving_takes_can_be_called(void **state)
{
	run(only_serving_inside);
}

static void file_that_is_not_there_closes_nothing_off_inside(void)
{
	const char *const paths[] = { "/tmp/zvisor-sandbox-none" };
	int rc = user_sandbox_files(paths, 1);

	if (rc == -ENOSYS || rc == -EOPNOTSUPP)
		_exit(SKIP);
	CHECK(rc == -ENOENT);
	CHECK(open(other, O_RDONLY) >= 0);
}

static void file_that_is_not_there_closes_nothing_off(void **state)
{
	run(file_that_is_not_there_closes_nothing_off_inside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_files_that_are_named_can_be_opened),
		cmocka_unit_test(only_what_serving_takes_can_be_called),
		cmocka_unit_test(file_that_is_not_there_closes_nothing_off),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
