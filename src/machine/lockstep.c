/* SPDX-License-Identifier: MIT */
/* Runs that can be compared; see lockstep.h. */
#include "machine/lockstep.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

int lockstep_open(struct lockstep *lockstep, const struct lockstep_config *config)
{
	if (!config->file)
		return 0;
	lockstep->file = fopen(config->file, "we");
	if (!lockstep->file)
		return -errno;
	/* Whoever reads along compares line by line. */
	setvbuf(lockstep->file, NULL, _IOLBF, BUFSIZ);
	return 0;
}

void lockstep_close(struct lockstep *lockstep)
{
	if (lockstep->file)
		fclose(lockstep->file);
	lockstep->file = NULL;
}

bool lockstep_report(struct lockstep *lockstep, struct vcpu *vcpu)
{
	if (lockstep->failed)
		return true;
	if (fprintf(lockstep->file, "%" PRIu64 " %016" PRIx64 "\n", vcpu_instructions(vcpu),
		    vcpu_hash(vcpu)) >= 0)
		return true;
	lockstep->failed = true;
	log_line("--lockstep: cannot write: %s", strerror(errno));
	return false;
}

void lockstep_write_console(const void *data, size_t length)
{
	const uint8_t *next = data;

	while (length) {
		ssize_t done = write(STDOUT_FILENO, next, length);

		if (done < 0 && errno == EAGAIN) {
			struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };

			poll(&room, 1, -1);
		} else if (done < 0 && errno != EINTR) {
			return;
		} else if (done > 0) {
			next += done;
			length -= (size_t)done;
		}
	}
}
