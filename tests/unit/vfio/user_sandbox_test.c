/* SPDX-License-Identifier: MIT */
/* The sandbox of a served device: each test is a process, as it does not come out again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/block_ring.h"
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
	CHECK(tgkill(getppid(), getppid(), 0) < 0 && errno == EPERM);
	CHECK(execl("/bin/true", "true", NULL) && errno == EPERM);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	/* … and what serving takes is there. */
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	      MAP_FAILED);
	CHECK(!tgkill(getpid(), gettid(), 0));
	CHECK(!pthread_create(&thread, NULL, answer, &value));
	CHECK(!pthread_join(thread, &result) && result == &value);
}

static void only_what_serving_takes_can_be_called(void **state)
{
	run(only_serving_inside);
}

/* Let the ring do what has been prepared: its result. */
static int perform(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int result;

	CHECK(io_uring_submit(ring) == 1);
	CHECK(!io_uring_wait_cqe(ring, &cqe));
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

/* A socket that listens, so that only the ring can refuse to connect to it. */
static socklen_t listen_somewhere(struct sockaddr_un *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* An abstract name that the kernel chooses. */
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)));
	CHECK(!listen(fd, 1) && !getsockname(fd, (struct sockaddr *)address, &length));
	return length;
}

static void ring_inside(void)
{
	struct sockaddr_un address;
	socklen_t length = listen_somewhere(&address);
	int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0), file = open(allowed, O_RDWR);
	struct io_uring_sync_cancel_reg cancel = { .addr = 1 };
	struct io_uring ring, second;
	struct open_how how = { .flags = O_RDONLY };
	char byte = 'z';
	int rc = block_ring_init(&ring, 4, eventfd(0, EFD_CLOEXEC));

	if (rc == -ENOSYS || rc == -EPERM)
		_exit(SKIP);
	CHECK(!rc && file >= 0);
	rc = user_sandbox_calls();
	if (rc == -ENOSYS)
		_exit(SKIP);
	CHECK(!rc);

	io_uring_prep_write(io_uring_get_sqe(&ring), file, &byte, 1, 0);
	CHECK(perform(&ring) == 1);
	byte = 0;
	io_uring_prep_read(io_uring_get_sqe(&ring), file, &byte, 1, 0);
	CHECK(perform(&ring) == 1 && byte == 'z');
	CHECK(io_uring_register_sync_cancel(&ring, &cancel) == -ENOENT);

	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, other, O_RDONLY, 0);
	CHECK(perform(&ring) == -EACCES);
	io_uring_prep_openat2(io_uring_get_sqe(&ring), AT_FDCWD, other, &how);
	CHECK(perform(&ring) == -EACCES);
	io_uring_prep_connect(io_uring_get_sqe(&ring), socket_fd, (struct sockaddr *)&address,
			      length);
	CHECK(perform(&ring) == -EACCES);
	io_uring_prep_socket(io_uring_get_sqe(&ring), AF_UNIX, SOCK_STREAM, 0, 0);
	CHECK(perform(&ring) == -EACCES);
	io_uring_prep_unlink(io_uring_get_sqe(&ring), other, 0);
	CHECK(perform(&ring) == -EACCES);

	CHECK(io_uring_queue_init(4, &second, 0) == -EPERM);
	CHECK(io_uring_register_files(&ring, &file, 1) == -EPERM);
	CHECK(io_uring_unregister_eventfd(&ring) == -EPERM);
}

static void ring_works_on_open_files_and_nothing_else(void **state)
{
	run(ring_inside);
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
		cmocka_unit_test(ring_works_on_open_files_and_nothing_else),
		cmocka_unit_test(file_that_is_not_there_closes_nothing_off),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
