/* SPDX-License-Identifier: MIT */
/*
 * Interrupts of passed-through functions.
 *
 * A device may have 2048 vectors, and a host has some hundred for each of its CPUs, so the
 * device gets the first few when the guest enables MSI-X and more when it unmasks one
 * beyond them. It gets some at once, though nothing is unmasked yet: devices look at whether
 * MSI-X is enabled (QEMU's NVMe controller when a queue is made), and Linux unmasks late. Kernels before 6.5 cannot add to what an index has: then all are given up and
 * a larger number is asked for. What the device has signalled in between is lost, so each
 * vector that was in use is raised once; a driver finds nothing to do and goes on.
 *
 * A vector that the guest masks stays armed: the model keeps it pending.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "base/irq_sources.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "vfio/passthrough_internal.h"

/* What is asked for at first: an NVMe driver on a small guest needs not even these. */
#define VECTORS_AT_FIRST 8

/* --- what the device signals ------------------------------------------------------- */

static void on_msix(void *opaque)
{
	struct passthrough_vector *vector = opaque;

	pci_function_msix_notify(vector->p->function, vector->number);
}

static void on_msi(void *opaque)
{
	struct passthrough_vector *vector = opaque;

	pci_function_msi_notify(vector->p->function, vector->number);
}

static void on_error(void *opaque)
{
	struct passthrough_vector *vector = opaque;

	trace_passthrough_error(pci_function_name(vector->p->function));
	if (!atomic_exchange(&vector->p->error_told, true))
		log_line("%s: the host reports an error of the device",
			 pci_function_name(vector->p->function));
	passthrough_fail(vector->p, PCI_ERROR_FUNCTION);
}

static void on_request(void *opaque)
{
	struct passthrough_vector *vector = opaque;

	passthrough_want_back(vector->p);
}

/* --- arming: with irq_lock held ------------------------------------------------------ */

static int listen_to(struct passthrough_vector *vector, irq_source_callback *callback)
{
	int rc;

	if (vector->source)
		return 0;
	if (vector->fd < 0)
		vector->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vector->fd < 0)
		return -errno;
	rc = irq_source_add(vector->p->irq_sources, vector->fd, callback, vector, &vector->source);
	if (rc)
		vector->source = NULL;
	return rc;
}

/* What was signalled before is forgotten. */
static void stop_listening(struct passthrough_vector *vector)
{
	if (!vector->source)
		return;
	irq_source_remove(vector->source);
	vector->source = NULL;
	(void)event_take(vector->fd);
}

static void disarm(struct passthrough *p)
{
	if (!p->index)
		return;
	if (p->enabled)
		(void)p->ops->set_irqs(p->backend, p->index, 0, 0, NULL);
	for (unsigned i = 0; i < p->vector_count; i++)
		stop_listening(&p->vectors[i]);
	p->index = 0;
	p->enabled = 0;
}

/* Ask the device for vectors 0 to count - 1, with the eventfds of those that are in use. */
static int enable(struct passthrough *p, unsigned count)
{
	int fds[PCI_MSIX_VECTORS_MAX], rc;

	for (unsigned i = 0; i < count; i++)
		fds[i] = p->vectors[i].source ? p->vectors[i].fd : -1;
	rc = p->ops->set_irqs(p->backend, p->index, 0, count, fds);
	p->enabled = rc ? 0 : count;
	return rc;
}

/* There are not enough yet. */
static int enable_more(struct passthrough *p, unsigned number)
{
	unsigned before = p->enabled, most = pci_function_msix_vectors(p->function);
	unsigned count = MIN(most, MAX(MAX(VECTORS_AT_FIRST, 2 * before), number + 1));
	int rc;

	if (before && !p->ops->set_irqs(p->backend, p->index, number, 1, &p->vectors[number].fd))
		return 0;
	if (before)
		(void)p->ops->set_irqs(p->backend, p->index, 0, 0, NULL);
	rc = enable(p, count);
	/* The host may not have so many. */
	if (rc && count > number + 1)
		rc = enable(p, number + 1);
	if (rc && before)
		(void)enable(p, before);
	for (unsigned i = 0; i < before; i++) {
		if (p->vectors[i].source)
			pci_function_msix_notify(p->function, i);
	}
	return rc;
}

/* More of them are missed the same way, each time that the guest tries. */
static void tell_refusal(struct passthrough *p, unsigned number, int error)
{
	trace_passthrough_irq_refused(pci_function_name(p->function), number, error);
	/* Whose connection has ended has said so. */
	if (error != -ENOTCONN && !atomic_exchange(&p->irq_told, true))
		log_line("%s: the host has no interrupt for vector %u, and maybe others: %s",
			 pci_function_name(p->function), number, strerror(-error));
}

static void arm_msix(struct passthrough *p, unsigned number)
{
	struct passthrough_vector *vector = &p->vectors[number];
	int rc;

	if (vector->source || pci_function_msix_masked(p->function, number))
		return;
	rc = listen_to(vector, on_msix);
	if (!rc && number < p->enabled)
		rc = p->ops->set_irqs(p->backend, p->index, number, 1, &vector->fd);
	else if (!rc)
		rc = enable_more(p, number);
	if (!rc)
		return;
	stop_listening(vector);
	tell_refusal(p, number, rc);
}

static void arm_msi(struct passthrough *p, unsigned count)
{
	int rc = 0;

	for (unsigned i = 0; i < count && !rc; i++)
		rc = listen_to(&p->vectors[i], on_msi);
	if (!rc)
		rc = enable(p, count);
	if (rc)
		tell_refusal(p, 0, rc);
}

/* --- what the guest does ---------------------------------------------------------------- */

void passthrough_irq_update(struct passthrough *p)
{
	unsigned msi, index;

	pthread_mutex_lock(&p->irq_lock);
	msi = pci_function_msi_enabled_vectors(p->function);
	index = pci_function_msix_enabled(p->function) ? VFIO_PCI_MSIX_IRQ_INDEX :
		msi				       ? VFIO_PCI_MSI_IRQ_INDEX :
							 0;
	if (index != p->index || (index == VFIO_PCI_MSI_IRQ_INDEX && msi != p->enabled))
		disarm(p);
	if (index == VFIO_PCI_MSI_IRQ_INDEX && !p->index) {
		p->index = index;
		arm_msi(p, msi);
	}
	if (index == VFIO_PCI_MSIX_IRQ_INDEX) {
		if (!p->index) {
			p->index = index;
			(void)enable(p,
				     MIN(pci_function_msix_vectors(p->function), VECTORS_AT_FIRST));
		}
		for (unsigned i = 0; i < pci_function_msix_vectors(p->function); i++)
			arm_msix(p, i);
	}
	pthread_mutex_unlock(&p->irq_lock);
}

void passthrough_irq_vector_changed(void *device, unsigned vector)
{
	struct passthrough *p = device;

	pthread_mutex_lock(&p->irq_lock);
	if (p->index == VFIO_PCI_MSIX_IRQ_INDEX && pci_function_msix_enabled(p->function))
		arm_msix(p, vector);
	pthread_mutex_unlock(&p->irq_lock);
}

void passthrough_irq_disarm(struct passthrough *p)
{
	pthread_mutex_lock(&p->irq_lock);
	disarm(p);
	pthread_mutex_unlock(&p->irq_lock);
}

/* --- made and taken apart ----------------------------------------------------------------- */

static int arm_always(struct passthrough *p, struct passthrough_vector *vector, unsigned index,
		      irq_source_callback *callback)
{
	unsigned count = 0;
	int rc;

	/* Not every device has them. */
	if (p->ops->irq_count(p->backend, index, &count) || !count)
		return 0;
	rc = listen_to(vector, callback);
	if (!rc)
		rc = p->ops->set_irqs(p->backend, index, 0, 1, &vector->fd);
	return rc;
}

int passthrough_irq_create(struct passthrough *p)
{
	unsigned count =
		MAX(pci_function_msix_vectors(p->function), pci_function_msi_vectors(p->function));
	int rc;

	p->failed = p->wanted = (struct passthrough_vector){ .p = p, .fd = -1 };
	p->vectors = calloc(MAX(count, 1u), sizeof(*p->vectors));
	if (!p->vectors)
		return -ENOMEM;
	p->vector_count = count;
	for (unsigned i = 0; i < count; i++)
		p->vectors[i] = (struct passthrough_vector){ .p = p, .number = i, .fd = -1 };
	rc = arm_always(p, &p->failed, VFIO_PCI_ERR_IRQ_INDEX, on_error);
	if (!rc)
		rc = arm_always(p, &p->wanted, VFIO_PCI_REQ_IRQ_INDEX, on_request);
	return rc;
}

static void end(struct passthrough *p, struct passthrough_vector *vector, unsigned index)
{
	if (vector->source && index)
		(void)p->ops->set_irqs(p->backend, index, 0, 0, NULL);
	stop_listening(vector);
	if (vector->fd >= 0)
		close(vector->fd);
}

void passthrough_irq_destroy(struct passthrough *p)
{
	if (!p->vectors)
		return;
	passthrough_irq_disarm(p);
	end(p, &p->failed, VFIO_PCI_ERR_IRQ_INDEX);
	end(p, &p->wanted, VFIO_PCI_REQ_IRQ_INDEX);
	for (unsigned i = 0; i < p->vector_count; i++)
		end(p, &p->vectors[i], 0);
	free(p->vectors);
}
