/* SPDX-License-Identifier: MIT */
/*
 * Landlock and seccomp; see user_sandbox.h.
 *
 * Sources: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h of
 * Linux, for the bits that later versions of the ABI have; seccomp_rule_add(3).
 */
#include "vfio/user_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

/* --- files ----------------------------------------------------------------------------- */

/* As the newest version of the ABI has it; an older kernel is told of less. */
struct ruleset {
	uint64_t files;
	uint64_t network;
	uint64_t scoped;
};

#define FILES_ABI_1 ((1ull << 13) - 1)
#define FILES_REFER (1ull << 13)	/* ABI 2 */
#define FILES_TRUNCATE (1ull << 14)	/* ABI 3 */
#define FILES_DEVICE_IOCTL (1ull << 15) /* ABI 5 */
#define NETWORK_ALL 3ull		/* ABI 4: bind, connect */
#define SCOPED_ALL 3ull			/* ABI 6: abstract sockets, signals */

static int make_ruleset(uint64_t *files)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset rules = { .files = FILES_ABI_1 };
	size_t size = sizeof(rules.files);
	int fd;

	if (abi < 0)
		return -errno;
	if (abi >= 2)
		rules.files |= FILES_REFER;
	if (abi >= 3)
		rules.files |= FILES_TRUNCATE;
	if (abi >= 5)
		rules.files |= FILES_DEVICE_IOCTL;
	if (abi >= 4) {
		rules.network = NETWORK_ALL;
		size = offsetof(struct ruleset, scoped);
	}
	if (abi >= 6) {
		rules.scoped = SCOPED_ALL;
		size = sizeof(rules);
	}
	*files = rules.files;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	return fd < 0 ? -errno : fd;
}

/* What a file can be used for: as it is, not executed. */
static int allow_file(int ruleset, const char *path, uint64_t known)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = known & (LANDLOCK_ACCESS_FS_READ_FILE |
					   LANDLOCK_ACCESS_FS_WRITE_FILE | FILES_TRUNCATE |
					   FILES_DEVICE_IOCTL),
		.parent_fd = open(path, O_PATH | O_CLOEXEC),
	};
	int rc = 0;

	if (rule.parent_fd < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		rc = -errno;
	close(rule.parent_fd);
	return rc;
}

int user_sandbox_files(const char *const *paths, unsigned count)
{
	uint64_t known = 0;
	int ruleset = make_ruleset(&known);
	int rc = 0;

	if (ruleset < 0)
		return ruleset;
	for (unsigned i = 0; !rc && i < count; i++)
		rc = allow_file(ruleset, paths[i], known);
	if (!rc && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    syscall(SYS_landlock_restrict_self, ruleset, 0)))
		rc = -errno;
	close(ruleset);
	return rc;
}

/* --- system calls ------------------------------------------------------------------------ */

#ifdef HAVE_SECCOMP

static const int allowed[] = {
	/* the client */
	SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(shutdown),
	SCMP_SYS(setsockopt), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(close), SCMP_SYS(fcntl),
	SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatfs),
	/* the device */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(lseek),
	SCMP_SYS(fallocate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(ftruncate),
	SCMP_SYS(eventfd2), SCMP_SYS(io_uring_enter),
	/* memory, threads, time */
	SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(membarrier), SCMP_SYS(gettid), SCMP_SYS(getpid),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(getrandom), SCMP_SYS(restart_syscall),
	/* an abort() that is seen as one; the signal of user_events.h */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
};

#ifdef __s390x__
#define CLONE_FLAGS 1 /* the arguments are the other way round */
#else
#define CLONE_FLAGS 0
#endif

/* IORING_REGISTER_SYNC_CANCEL of <linux/io_uring.h>, from Linux 6.0 on. */
#define REGISTER_SYNC_CANCEL 24

static int add_rules(scmp_filter_ctx filter)
{
	int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	for (size_t i = 0; !rc && i < ARRAY_SIZE(allowed); i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	/* A thread; what the flags of clone3 are cannot be seen, and libc knows another way. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				      SCMP_CMP(CLONE_FLAGS, SCMP_CMP_MASKED_EQ, CLONE_THREAD,
					       CLONE_THREAD));
	/* Rings are there (devices/block_ring.h); what one has been asked for may be taken back. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_register), 1,
				      SCMP_A1(SCMP_CMP_EQ, REGISTER_SYNC_CANCEL));
	/* Signals, for threads of this process. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	/* Nothing that is data becomes code. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return rc;
}

int user_sandbox_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!filter)
		return -ENOMEM;
	rc = add_rules(filter);
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}

#else

int user_sandbox_calls(void)
{
	return -ENOSYS;
}

#endif
