/* SPDX-License-Identifier: MIT */
/* Interrupts of a served function: eventfds of the client; see user_server.h. */
#include "vfio/user_server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"

struct irq_type {
	int *eventfds;
	unsigned count;
};

static struct irq_type irq_type(struct user_server *server, uint32_t index)
{
	switch (index) {
	case VFIO_PCI_MSI_IRQ_INDEX:
		return (struct irq_type){ server->msi, pci_function_msi_vectors(server->function) };
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return (struct irq_type){ server->msix,
					  pci_function_msix_vectors(server->function) };
	case VFIO_PCI_ERR_IRQ_INDEX:
		return (struct irq_type){ &server->error, 1 };
	case VFIO_PCI_REQ_IRQ_INDEX:
		return (struct irq_type){ &server->request, 1 };
	default:
		return (struct irq_type){ NULL, 0 };
	}
}

static void signal_irq(struct user_server *server, uint32_t index, unsigned vector)
{
	const struct irq_type type = irq_type(server, index);
	int rc = 0;

	pthread_mutex_lock(&server->irq_lock);
	if (vector < type.count && type.eventfds[vector] >= 0)
		rc = user_events_give(server->events, type.eventfds[vector]);
	/* One that is full has been signalled. */
	if (unlikely(rc))
		trace_user_server_irq_lost(vector, -rc);
	/* The channel is there as long as any eventfd. */
	if (unlikely(rc == -ETIMEDOUT))
		user_channel_end(server->channel,
				 "an eventfd for interrupts was full, blocked, and nobody read it");
	pthread_mutex_unlock(&server->irq_lock);
}

/* `fd` is taken over; -1: none. */
static void set_irq(struct user_server *server, int *place, int fd)
{
	int old;

	pthread_mutex_lock(&server->irq_lock);
	old = *place;
	*place = fd;
	pthread_mutex_unlock(&server->irq_lock);
	if (old >= 0)
		close(old);
}

void user_server_clear_irqs(struct user_server *server, uint32_t index)
{
	const struct irq_type type = irq_type(server, index);

	for (unsigned i = 0; i < type.count; i++)
		set_irq(server, &type.eventfds[i], -1);
}

/*
 * An eventfd, as far as can be seen: nothing in a file system, no pipe and no socket. What the
 * client does to its flags later is seen to when it is written (user_events.h).
 */
static bool is_eventfd(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat status;

	return flags >= 0 && !fstat(fd, &status) && !(status.st_mode & S_IFMT) &&
	       (flags & O_ACCMODE) != O_RDONLY &&
	       (flags & O_NONBLOCK || !fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

/* What the function itself goes by: does anybody take its vectors? */
static void enable_capability(struct user_server *server, uint32_t index, bool on)
{
	bool msix = index == VFIO_PCI_MSIX_IRQ_INDEX;
	uint8_t wanted = msix ? PCI_CAP_ID_MSIX : PCI_CAP_ID_MSI;
	uint16_t bit = msix ? PCI_MSIX_FLAGS_ENABLE : PCI_MSI_FLAGS_ENABLE;
	struct pci_function *f = server->function;
	unsigned offset = pci_function_config_read(f, PCI_CAPABILITY_LIST, 1);
	uint32_t control;

	if (!msix && index != VFIO_PCI_MSI_IRQ_INDEX)
		return;
	for (unsigned i = 0; offset && i < PCI_CONFIG_SIZE / 4; i++) {
		if (pci_function_config_read(f, offset, 1) == wanted)
			break;
		offset = pci_function_config_read(f, offset + 1, 1);
	}
	if (!offset)
		return;
	/* PCI_MSI_FLAGS is at the same place. */
	control = pci_function_config_read(f, offset + PCI_MSIX_FLAGS, 2);
	control = on ? control | bit : control & ~(uint32_t)bit;
	pci_function_config_write(f, offset + PCI_MSIX_FLAGS, 2, control);
}

static void on_vector(void *opaque, bool msix, unsigned vector)
{
	signal_irq(opaque, msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX, vector);
}

void user_server_on_error(void *opaque, enum pci_error error)
{
	signal_irq(opaque, VFIO_PCI_ERR_IRQ_INDEX, 0);
}

const struct pci_msi_ops user_server_msi_ops = {
	.notify = on_vector,
	.error = user_server_on_error,
};

/* --- commands ---------------------------------------------------------------------- */

int user_server_get_irq_info(struct user_server *server, struct user_message *message,
			     const char **why)
{
	struct user_irq_info info;
	const void *payload = user_payload(message, sizeof(info), USER_ANY_TAIL);
	struct irq_type type;

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return user_server_answer(server, message, EINVAL, NULL, 0);
	type = irq_type(server, info.index);
	info = (struct user_irq_info){
		.argsz = sizeof(info),
		.flags = type.count ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE : 0,
		.index = info.index,
		.count = type.count,
	};
	return user_server_answer(server, message, 0, &info, sizeof(info));
}

/* The action is "trigger", the range is there. Returns 0 or a positive errno. */
static int assign_irqs(struct user_server *server, const struct user_irq_set *set,
		       struct user_fds *fds)
{
	const struct irq_type type = irq_type(server, set->index);

	if (fds->count && fds->count != set->count)
		return EINVAL;
	for (unsigned i = 0; i < fds->count; i++)
		if (!is_eventfd(fds->fd[i]))
			return EINVAL;
	for (unsigned i = 0; i < set->count; i++)
		set_irq(server, &type.eventfds[set->start + i], user_fds_take(fds, i));
	if (fds->count)
		enable_capability(server, set->index, true);
	return 0;
}

int user_server_set_irqs(struct user_server *server, struct user_message *message, const char **why)
{
	struct user_irq_set set;
	const uint8_t *payload = user_payload(message, sizeof(set), USER_ANY_TAIL);
	uint32_t data, action;
	struct irq_type type;

	if (!payload)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	memcpy(&set, payload, sizeof(set));
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	if (data == VFIO_IRQ_SET_DATA_BOOL && message->length - sizeof(set) != set.count)
		return user_server_refuse(why, USER_SERVER_WRONG_SIZE);
	if (data != VFIO_IRQ_SET_DATA_EVENTFD && message->fds.count)
		return user_server_refuse(why, "it has file descriptors");
	type = irq_type(server, set.index);
	if (set.flags != (data | action) || action != VFIO_IRQ_SET_ACTION_TRIGGER ||
	    !range_fits(set.start, set.count, type.count))
		return user_server_answer(server, message, EINVAL, NULL, 0);
	switch (data) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return user_server_answer(server, message, assign_irqs(server, &set, &message->fds),
					  NULL, 0);
	case VFIO_IRQ_SET_DATA_NONE:
		if (!set.count) {
			user_server_clear_irqs(server, set.index);
			enable_capability(server, set.index, false);
		}
		for (uint32_t i = 0; i < set.count; i++)
			signal_irq(server, set.index, set.start + i);
		break;
	case VFIO_IRQ_SET_DATA_BOOL:
		for (uint32_t i = 0; i < set.count; i++)
			if (payload[sizeof(set) + i])
				signal_irq(server, set.index, set.start + i);
		break;
	default:
		return user_server_answer(server, message, EINVAL, NULL, 0);
	}
	return user_server_answer(server, message, 0, NULL, 0);
}
