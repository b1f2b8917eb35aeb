/* SPDX-License-Identifier: MIT */
/*
 * Finding and opening a function of the host.
 *
 * Most of what goes wrong with passthrough goes wrong here, and what the kernel says of
 * it is one of three errnos. So it is found out beforehand in sysfs, or afterwards, and the
 * line that a person gets ends with what to do.
 *
 * Sources: Linux, Documentation/driver-api/vfio.rst; drivers/vfio/group.c, iommufd.c and
 * device_cdev.c for what each error means.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "vfio/kernel_internal.h"
#include "vfio/uapi.h"

__attribute__((format(printf, 4, 5))) static int complain(int code, char *error, size_t error_size,
							  const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, error_size, format, args);
	va_end(args);
	return code;
}

/* --- sysfs ----------------------------------------------------------------------------- */

/* The last part of what a link in the device's folder leads to; false: there is none. */
static bool link_name(const char *folder, const char *link, char *name, size_t size)
{
	char path[PATH_MAX + 32], target[PATH_MAX];
	const char *slash;
	ssize_t length;

	snprintf(path, sizeof(path), "%s/%s", folder, link);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return false;
	target[length] = '\0';
	slash = strrchr(target, '/');
	snprintf(name, size, "%.*s", NAME_MAX, slash ? slash + 1 : target);
	return true;
}

/* vfio-pci, or one of its variants (mlx5_vfio_pci, …), or what does no harm in a group. */
static bool is_vfio_driver(const char *driver)
{
	return strstr(driver, "vfio");
}

static int check_driver(const struct kernel_device *d, char *error, size_t error_size)
{
	char driver[NAME_MAX + 1] = "", bus[NAME_MAX + 1] = "", unbind[2 * NAME_MAX + 64] = "";
	const char *name = d->name;

	if (!link_name(d->sysfs, "subsystem", bus, sizeof(bus)) || strcmp(bus, "pci"))
		return 0; /* a mediated device: its driver is VFIO's */
	if (link_name(d->sysfs, "driver", driver, sizeof(driver)) && is_vfio_driver(driver))
		return 0;
	if (*driver)
		snprintf(unbind, sizeof(unbind),
			 "echo %s > /sys/bus/pci/devices/%s/driver/unbind; ", name, name);
	return complain(
		-EINVAL, error, error_size,
		"it is bound to %s instead of vfio-pci; bind it, as root: modprobe vfio-pci; "
		"echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; %s"
		"echo %s > /sys/bus/pci/drivers_probe",
		*driver ? driver : "no driver", name, unbind, name);
}

/* Those of its group that belong to other drivers, so that the group cannot be used. */
static void list_others(const struct kernel_device *d, const char *group, char *others, size_t size)
{
	char path[PATH_MAX], device[PATH_MAX + NAME_MAX + 2], driver[NAME_MAX + 1];
	struct dirent *entry;
	DIR *folder;

	*others = '\0';
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%s/devices", group);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		size_t used = strlen(others);

		snprintf(device, sizeof(device), "%s/%s", path, entry->d_name);
		if (*entry->d_name == '.' || !strcmp(entry->d_name, d->name) ||
		    !link_name(device, "driver", driver, sizeof(driver)) ||
		    is_vfio_driver(driver) || !strcmp(driver, "pci-stub") ||
		    !strcmp(driver, "pcieport"))
			continue;
		snprintf(others + used, size - used, "%s%s (%s)", used ? ", " : "", entry->d_name,
			 driver);
	}
	if (folder)
		closedir(folder);
}

static int not_viable(const char *group, const char *others, char *error, size_t error_size)
{
	return complain(
		-EBUSY, error, error_size,
		"the devices of IOMMU group %s can only be passed through together, and "
		"drivers of the host still have %s: bind these to vfio-pci, too, or unbind them",
		group, *others ? others : "some of them");
}

/* --- the limit of locked memory ------------------------------------------------------------ */

static bool may_lock_anything(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return !syscall(SYS_capget, &header, data) &&
	       data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

/*
 * A guest may have all of its memory mapped, which is then locked; the kernel counts it for
 * each function anew.
 */
static int check_limit(uint64_t needed, char *error, size_t error_size)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur >= needed || may_lock_anything())
		return 0;
	if (limit.rlim_max >= needed) {
		limit.rlim_cur = limit.rlim_max;
		if (!setrlimit(RLIMIT_MEMLOCK, &limit))
			return 0;
	}
	return complain(-EPERM, error, error_size,
			"the limit of locked memory is %llu KiB, and the guest's memory has to be "
			"locked for each of its functions: it must be %llu at least (ulimit -l "
			"%llu, or memlock in /etc/security/limits.conf, or LimitMEMLOCK= of the "
			"service)",
			(unsigned long long)limit.rlim_cur / 1024,
			(unsigned long long)needed / 1024, (unsigned long long)needed / 1024);
}

/* --- opening ----------------------------------------------------------------------------- */

/* Why a node of VFIO cannot be opened. */
static int cannot_open(const char *path, int code, char *error, size_t error_size)
{
	switch (code) {
	case -EACCES:
	case -EPERM:
		return complain(code, error, error_size,
				"no permission for %s: run as root, or, as root: chown %u %s", path,
				(unsigned)getuid(), path);
	case -EBUSY:
		return complain(code, error, error_size,
				"it is in use, or another function of its IOMMU group is (fuser -v "
				"%s says by which program)",
				path);
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return complain(
			code, error, error_size,
			"there is no %s: as root, modprobe vfio-pci, and see that the kernel "
			"has VFIO",
			path);
	default:
		return complain(code, error, error_size, "%s cannot be opened: %s", path,
				strerror(-code));
	}
}

static int open_node(const char *path, int *fd, char *error, size_t error_size)
{
	*fd = open(path, O_RDWR | O_CLOEXEC);
	return *fd >= 0 ? 0 : cannot_open(path, -errno, error, error_size);
}

static int check_group(const struct kernel_device *d, const char *group, char *error,
		       size_t error_size)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char others[512];

	if (ioctl(d->group, VFIO_GROUP_GET_STATUS, &status))
		return complain(-errno, error, error_size,
				"the kernel says nothing of its group: %s", strerror(errno));
	if (status.flags & VFIO_GROUP_FLAGS_VIABLE)
		return 0;
	list_others(d, group, others, sizeof(others));
	return not_viable(group, others, error, error_size);
}

static int open_type1(struct kernel_device *d, const char *group, uint8_t *memory,
		      uint64_t memory_size, char *error, size_t error_size)
{
	char path[NAME_MAX + 16];
	int rc;

	rc = open_node("/dev/vfio/vfio", &d->container, error, error_size);
	if (rc)
		return rc;
	if (ioctl(d->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(d->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return complain(-ENODEV, error, error_size,
				"the kernel's VFIO has no type 1 container: as root, modprobe "
				"vfio_iommu_type1");
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	rc = open_node(path, &d->group, error, error_size);
	if (!rc)
		rc = check_group(d, group, error, error_size);
	if (rc)
		return rc;
	if (ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &d->container) ||
	    ioctl(d->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return complain(-errno, error, error_size,
				"its group %s gets no IOMMU mappings: %s%s", group, strerror(errno),
				errno == EPERM ?
					" (a host that cannot isolate its interrupts wants "
					"vfio_iommu_type1.allow_unsafe_interrupts=1)" :
					"");
	d->fd = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, d->name);
	if (d->fd < 0)
		return errno == EBUSY ?
			       cannot_open(path, -EBUSY, error, error_size) :
			       complain(-errno, error, error_size,
					"the kernel does not hand it over: %s", strerror(errno));
	fcntl(d->fd, F_SETFD, FD_CLOEXEC);
	return vfio_type1_create(d->container, memory, memory_size, &d->iommu, error, error_size);
}

/* The device's own node, "vfio0", as the kernel has it below vfio-dev. */
static bool find_node(const struct kernel_device *d, char *path, size_t size)
{
	char folder[PATH_MAX + 16];
	struct dirent *entry;
	bool found = false;
	DIR *nodes;

	snprintf(folder, sizeof(folder), "%s/vfio-dev", d->sysfs);
	nodes = opendir(folder);
	while (nodes && !found && (entry = readdir(nodes))) {
		found = !strncmp(entry->d_name, "vfio", 4);
		if (found)
			snprintf(path, size, "/dev/vfio/devices/%s", entry->d_name);
	}
	if (nodes)
		closedir(nodes);
	return found && !access(path, F_OK);
}

static int open_iommufd(struct kernel_device *d, const char *path, const char *group,
			uint8_t *memory, uint64_t memory_size, char *error, size_t error_size)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	char others[512];
	int rc;

	rc = open_node("/dev/iommu", &d->iommufd, error, error_size);
	if (!rc)
		rc = open_node(path, &d->fd, error, error_size);
	if (rc)
		return rc;
	bind.iommufd = d->iommufd;
	if (ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
		rc = -errno;
		list_others(d, group, others, sizeof(others));
		if (*others)
			return not_viable(group, others, error, error_size);
		if (rc == -EBUSY)
			return cannot_open(path, rc, error, error_size);
		return complain(rc, error, error_size, "the kernel does not hand it over: %s",
				strerror(-rc));
	}
	d->iommufd_id = bind.out_devid;
	return vfio_iommufd_create(d->iommufd, d->fd, bind.out_devid, memory, memory_size,
				   &d->iommu, error, error_size);
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The device first: its DMA ends before what it may reach does. */
void kernel_close(struct kernel_device *d)
{
	close_one(&d->fd);
	if (d->iommu)
		d->iommu->ops->destroy(d->iommu);
	d->iommu = NULL;
	close_one(&d->group);
	close_one(&d->container);
	close_one(&d->iommufd);
}

int kernel_open(struct kernel_device *d, enum kernel_iommufd iommufd, uint8_t *memory,
		uint64_t memory_size, char *error, size_t error_size)
{
	char bus[NAME_MAX + 1], group[NAME_MAX + 1], node[2 * NAME_MAX];
	bool has_node;
	int rc;

	if (access(d->sysfs, F_OK))
		return complain(-ENODEV, error, error_size,
				"there is no such device (lspci -D lists those that there are)");
	/* Of other buses, only mediated devices ("mdev") may be PCI functions. */
	if (!link_name(d->sysfs, "subsystem", bus, sizeof(bus)) ||
	    (strcmp(bus, "pci") && strcmp(bus, "mdev")))
		return complain(-ENODEV, error, error_size,
				"it is no PCI device (ls /sys/bus/pci/devices lists those that "
				"there are)");
	/* First: without one, vfio-pci does not take it. */
	if (!link_name(d->sysfs, "iommu_group", group, sizeof(group)))
		return complain(
			-ENODEV, error, error_size,
			"the host has no IOMMU for it: switch it on in the firmware (VT-d, "
			"AMD-Vi), and boot the host's kernel with intel_iommu=on on Intel's");
	rc = check_driver(d, error, error_size);
	if (!rc)
		rc = check_limit(d->others_lock + memory_size, error, error_size);
	if (rc)
		return rc;
	has_node = find_node(d, node, sizeof(node)) && !access("/dev/iommu", F_OK);
	if (iommufd == KERNEL_IOMMUFD_ON && !has_node)
		return complain(-ENODEV, error, error_size,
				"iommufd=on: the kernel has no /dev/iommu, or no node below "
				"/dev/vfio/devices for it (Linux 6.6 with CONFIG_IOMMUFD and "
				"CONFIG_VFIO_DEVICE_CDEV has); leave it away");
	if (has_node && iommufd != KERNEL_IOMMUFD_OFF) {
		rc = open_iommufd(d, node, group, memory, memory_size, error, error_size);
		/* Not asked for: what the older interface says of it counts, if it is there. */
		if (!rc || iommufd == KERNEL_IOMMUFD_ON || access("/dev/vfio/vfio", F_OK))
			return rc;
		kernel_close(d);
	}
	return open_type1(d, group, memory, memory_size, error, error_size);
}
