/* SPDX-License-Identifier: MIT */
/* The device type; see kernel.h. */
#include "vfio/kernel.h"

#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "devices/device.h"
#include "vfio/kernel_internal.h"

/* DOMAIN:BUS:SLOT.FUNCTION, hexadecimal, or without the domain, as lspci has it. */
static bool parse_address(const char *text, char *address, size_t size)
{
	unsigned domain = 0, bus, slot, function;
	int end = 0;

	if (!isxdigit((unsigned char)*text))
		return false;
	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &slot, &function, &end) != 4 ||
	    text[end]) {
		domain = 0;
		if (sscanf(text, "%x:%x.%x%n", &bus, &slot, &function, &end) != 3 || text[end])
			return false;
	}
	snprintf(address, size, "%04x:%02x:%02x.%x", domain, bus, slot, function);
	return bus <= 0xff && slot <= 0x1f && function <= 7;
}

/* Which device is meant? */
static int name_device(const struct device_config *config, struct kernel_device *d, char *error,
		       size_t error_size)
{
	const struct device_value *host = device_config_value(config, "host");
	const struct device_value *sysfs = device_config_value(config, "sysfsdev");
	char address[64], *slash;

	if (host->given == sysfs->given) {
		snprintf(error, error_size,
			 "device %s: wants host=… or sysfsdev=…: which function of the host it is",
			 config->type->name);
		return -EINVAL;
	}
	snprintf(d->called, sizeof(d->called), "%s=%s", host->given ? "host" : "sysfsdev",
		 host->given ? host->text : sysfs->text);
	if (host->given && !parse_address(host->text, address, sizeof(address))) {
		snprintf(error, error_size,
			 "device %s: %s: wants DOMAIN:BUS:SLOT.FUNCTION, hexadecimal, as lspci -D "
			 "has it",
			 config->type->name, d->called);
		return -EINVAL;
	}
	if (host->given)
		snprintf(d->sysfs, sizeof(d->sysfs), "/sys/bus/pci/devices/%s", address);
	else if (!realpath(sysfs->text, d->sysfs))
		snprintf(d->sysfs, sizeof(d->sysfs), "%s", sysfs->text);
	slash = strrchr(d->sysfs, '/');
	snprintf(d->name, sizeof(d->name), "%.*s", NAME_MAX, slash ? slash + 1 : d->sysfs);
	return 0;
}

static enum kernel_iommufd asked_iommufd(const struct device_config *config)
{
	const struct device_value *value = device_config_value(config, "iommufd");

	if (!value->given)
		return KERNEL_IOMMUFD_AUTO;
	return value->number ? KERNEL_IOMMUFD_ON : KERNEL_IOMMUFD_OFF;
}

static int make(struct kernel_device *d, const struct device_config *config, const char *name,
		const struct device_host *host, struct device_made *made, char *reason,
		size_t reason_size)
{
	const struct passthrough_setup setup = {
		.name = name,
		.fid = config->fid,
		.ops = &kernel_backend_ops,
		.backend = d,
		.irq_sources = config->irq_sources,
		.host = host,
	};
	int rc;

	d->others_lock = host->locked;
	rc = kernel_open(d, asked_iommufd(config), host->memory, host->memory_size, reason,
			 reason_size);
	if (!rc)
		rc = kernel_describe(d, made, reason, reason_size);
	if (!rc)
		(void)passthrough_create(&setup, made, &rc, reason, reason_size);
	return rc;
}

static int create_on(const struct device_config *config, const char *name,
		     const struct device_host *host, struct device_made *made, char *error,
		     size_t error_size)
{
	struct kernel_device *d = calloc(1, sizeof(*d));
	char reason[DEVICE_ERROR_MAX] = "";
	int rc;

	if (!d) {
		snprintf(error, error_size, "device %s: out of memory", config->type->name);
		return -ENOMEM;
	}
	d->fd = d->container = d->group = d->iommufd = -1;
	rc = name_device(config, d, error, error_size);
	if (rc) {
		free(d);
		return rc;
	}
	rc = make(d, config, name, host, made, reason, sizeof(reason));
	if (rc) {
		snprintf(error, error_size, "device %s: %.200s: %s", config->type->name, d->called,
			 reason);
		kernel_backend_ops.close(d);
	}
	return rc;
}

static const struct device_property properties[] = {
	{ "host", DEVICE_TEXT, .minimum = 1, .maximum = 32,
	  .help = "address of a PCI function of the host, as lspci -D has it" },
	{ "sysfsdev", DEVICE_PATH, .help = "or its folder below /sys" },
	{ "iommufd", DEVICE_SWITCH, .preset = "on where the host's kernel has it",
	  .help = "map memory by /dev/iommu instead of a VFIO container" },
	{ NULL },
};

const struct device_type vfio_device_type = {
	.name = "vfio",
	.help = "PCI function of the host, passed through",
	.properties = properties,
	.create_on = create_on,
};

const struct device_type vfio_pci_device_type = {
	.name = "vfio-pci",
	.help = "the same by QEMU's name",
	.properties = properties,
	.create_on = create_on,
};
