/* SPDX-License-Identifier: MIT */
/*
 * A machine's life: made, run, reset, ended.
 *
 * Each vCPU thread is in one of three places: in vcpu_run(); resting, because
 * its vCPU is stopped or in a disabled wait, until a SIGP of another one changes
 * that; or held, because the main thread wants all of them out of the way. When
 * the last one comes to rest nothing can happen any more, and the run has ended:
 * powered off if they all stopped, crashed otherwise.
 *
 * Everything that concerns all vCPUs is done by the main thread while they are
 * held, so a reset never meets a running CPU.
 */
#include "machine/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/irq_sources.h"
#include "base/log.h"
#include "base/trace.h"
#include "machine/devices.h"
#include "machine/internal.h"
#include "machine/pci.h"

/* The instruction address of the disabled wait that ends a shutdown by quiesce. */
#define QUIESCE_PSW_ADDRESS 0xfff

/* Milliseconds between updates of PCI measurement blocks. */
#define MEASUREMENT_INTERVAL 250

/* Milliseconds in which a signal of the same sender is the same request. */
#define SIGNAL_ECHO_INTERVAL 1000

/* Milliseconds after which a vCPU that shall leave vcpu_run() is told again. */
#define HOLD_INTERVAL 100

/* Milliseconds after which it is looked again whether the host has ended something. */
#define AGAIN_INTERVAL 10

/* Milliseconds after which a person is told that it has not. */
#define PATIENCE 5000

static const char *const exit_names[] = {
	[VCPU_EXIT_STOPPED] = "stopped",
	[VCPU_EXIT_DISABLED_WAIT] = "disabled wait",
	[VCPU_EXIT_CHECK_STOP] = "check stop",
	[VCPU_EXIT_REQUEST] = "request",
};

void machine_wake(struct machine *machine)
{
	uint64_t one = 1;

	/* It cannot fail but by overflow, and then it is readable anyway. */
	if (write(machine->wake, &one, sizeof(one)) < 0)
		return;
}

void machine_tell(struct machine *machine, const struct machine_event *event)
{
	if (machine->listener)
		machine->listener(machine->listener_opaque, event);
}

static void tell(struct machine *machine, enum machine_event_kind kind)
{
	machine_tell(machine, &(struct machine_event){ .kind = kind });
}

/* With the lock held, after a reason to stay out was set: hold, paused or quit. */
static void ask_all_out(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->config.cpus; i++)
		vcpu_request_exit(machine->cpu[i].vcpu);
	pthread_cond_broadcast(&machine->changed);
}

static void hold_all(struct machine *machine)
{
	machine->hold = true;
	ask_all_out(machine);
}

void machine_request_reset(struct machine *machine, enum machine_reset kind, struct vcpu *vcpu)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->reset == MACHINE_RESET_NONE) {
		machine->reset = kind;
		machine->reset_cpu = machine_cpu_address(vcpu);
		/* Of the subsystem resets QEMU sends no event. */
		machine->reset_reason = kind == MACHINE_RESET_REIPL ? "guest-reset" : NULL;
		machine->reset_by_guest = true;
	}
	hold_all(machine);
	pthread_mutex_unlock(&machine->lock);
	machine_wake(machine);
}

/* --- vCPU threads ------------------------------------------------------------------ */

/* With the lock held: does no vCPU run any more, and can none begin to? */
static bool all_rest(const struct machine *machine)
{
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		const struct machine_cpu *cpu = &machine->cpu[i];

		if (!cpu->resting || cpu->kicks != cpu->seen)
			return false;
	}
	return true;
}

static void *vcpu_thread(void *argument)
{
	struct machine_cpu *cpu = argument;
	struct machine *machine = cpu->machine;

	pthread_mutex_lock(&machine->lock);
	while (!machine->quit) {
		enum vcpu_exit why;

		if (machine->hold || machine->paused) {
			cpu->held = true;
			pthread_cond_broadcast(&machine->changed);
			pthread_cond_wait(&machine->changed, &machine->lock);
			continue;
		}
		cpu->held = false;
		if (cpu->resting && cpu->kicks == cpu->seen) {
			pthread_cond_wait(&machine->changed, &machine->lock);
			continue;
		}
		cpu->resting = false;
		cpu->seen = cpu->kicks;
		pthread_mutex_unlock(&machine->lock);
		why = vcpu_run(cpu->vcpu);
		if (why == VCPU_EXIT_STOPPED)
			machine_pci_cpu_stopped(machine, machine_cpu_address(cpu->vcpu));
		pthread_mutex_lock(&machine->lock);
		/* When it has stopped, its state is others' to change. */
		cpu->psw_mask = cpu->psw_addr = 0;
		if (why != VCPU_EXIT_STOPPED) {
			cpu->psw_mask = vcpu_state(cpu->vcpu)->psw_mask;
			cpu->psw_addr = vcpu_state(cpu->vcpu)->psw_addr;
		}
		trace_machine_vcpu_exit(machine_cpu_address(cpu->vcpu), exit_names[why],
					cpu->psw_mask, cpu->psw_addr);
		if (why == VCPU_EXIT_REQUEST)
			continue;
		/* If it is to be held now, vcpu_run() will say the same again later. */
		if (machine->hold || machine->paused)
			continue;
		cpu->resting = true;
		cpu->rest = why;
		if (all_rest(machine)) {
			machine->ended = true;
			machine_wake(machine);
		}
	}
	cpu->held = true;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

static bool all_held(const struct machine *machine)
{
	for (unsigned int i = 0; i < machine->config.cpus; i++)
		if (machine->cpu[i].thread_started && !machine->cpu[i].held)
			return false;
	return true;
}

/*
 * With the lock held: get all vCPU threads out of vcpu_run(), into the wait for the end
 * of `hold` or to their own end. A CPU that another one resets and starts at that very
 * moment forgets that it shall leave; so it is told again.
 */
static void wait_all_held(struct machine *machine)
{
	while (!all_held(machine)) {
		struct timespec again;

		ask_all_out(machine);
		clock_gettime(CLOCK_REALTIME, &again);
		again.tv_nsec += HOLD_INTERVAL * 1000000;
		again.tv_sec += again.tv_nsec / 1000000000;
		again.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&machine->changed, &machine->lock, &again);
	}
}

static int start_threads(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		struct machine_cpu *cpu = &machine->cpu[i];
		char name[16];
		int error = pthread_create(&cpu->thread, NULL, vcpu_thread, cpu);

		if (error)
			return -error;
		cpu->thread_started = true;
		snprintf(name, sizeof(name), "cpu %u", i);
		pthread_setname_np(cpu->thread, name);
	}
	return 0;
}

static void join_threads(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->quit = true;
	hold_all(machine);
	wait_all_held(machine);
	pthread_mutex_unlock(&machine->lock);
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		if (machine->cpu[i].thread_started)
			pthread_join(machine->cpu[i].thread, NULL);
		machine->cpu[i].thread_started = false;
	}
}

/* --- what the monitor asks: see control.h ------------------------------------------------ */

enum machine_run_state machine_run_state(struct machine *machine)
{
	enum machine_run_state state = MACHINE_RUNNING;

	pthread_mutex_lock(&machine->lock);
	if (machine->shut_down)
		state = MACHINE_SHUT_DOWN;
	else if (machine->paused)
		state = MACHINE_PAUSED;
	pthread_mutex_unlock(&machine->lock);
	return state;
}

void machine_pause(struct machine *machine)
{
	bool pauses;

	pthread_mutex_lock(&machine->lock);
	pauses = !machine->paused && !machine->shut_down;
	if (pauses) {
		machine->paused = true;
		wait_all_held(machine);
		machine->paused_tod = cpu_complex_tod(machine->cpus);
	}
	pthread_mutex_unlock(&machine->lock);
	if (pauses)
		tell(machine, MACHINE_EVENT_PAUSED);
}

void machine_resume(struct machine *machine)
{
	bool resumes;

	pthread_mutex_lock(&machine->lock);
	resumes = machine->paused && !machine->shut_down;
	if (resumes)
		cpu_complex_set_tod(machine->cpus, machine->paused_tod);
	pthread_mutex_unlock(&machine->lock);
	if (!resumes)
		return;
	/* Before anything that the guest does now. */
	tell(machine, MACHINE_EVENT_RESUMED);
	pthread_mutex_lock(&machine->lock);
	machine->paused = false;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
}

void machine_system_reset(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	/* It includes what any other one does. */
	machine->reset = MACHINE_RESET_REIPL;
	machine->reset_cpu = 0;
	machine->reset_reason = "host-qmp-system-reset";
	machine->reset_by_guest = false;
	hold_all(machine);
	pthread_mutex_unlock(&machine->lock);
	machine_wake(machine);
}

void machine_power_down(struct machine *machine)
{
	tell(machine, MACHINE_EVENT_POWER_DOWN);
	sclp_quiesce(&machine->sclp);
}

void machine_request_end(struct machine *machine, const char *why)
{
	pthread_mutex_lock(&machine->lock);
	machine->end_requested = why;
	pthread_mutex_unlock(&machine->lock);
	machine_wake(machine);
}

void machine_quit(struct machine *machine)
{
	machine_request_end(machine, "host-qmp-quit");
}

void machine_listen(struct machine *machine, machine_listener *listener, void *opaque)
{
	machine->listener_opaque = opaque;
	machine->listener = listener;
}

/* --- the main thread ------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Memory to which the host may still transfer something cannot be given to what is loaded
 * next. So a reset begins when nothing is under way; vCPUs are held until then, but
 * signals and the monitor are served. True: it can begin.
 */
static bool ready_for_reset(struct machine *machine)
{
	uint32_t fid;

	pthread_mutex_lock(&machine->lock);
	hold_all(machine);
	wait_all_held(machine);
	pthread_mutex_unlock(&machine->lock);
	if (machine_pci_quiesce(machine, &fid)) {
		machine->reset_since = 0;
		return true;
	}
	if (!machine->reset_since) {
		machine->reset_since = now_ms();
		machine->reset_complained = false;
	} else if (!machine->reset_complained && now_ms() - machine->reset_since > PATIENCE) {
		machine->reset_complained = true;
		log_line("reset waits for the device with fid=%#x: its host does not answer", fid);
	}
	return false;
}

/* Do what machine_request_reset() asked for; vCPUs are held. 0 or -errno, reported. */
static int do_reset(struct machine *machine)
{
	struct machine_event event = { .kind = MACHINE_EVENT_RESET };
	char error[LOG_LINE_MAX] = "";
	enum machine_reset kind;
	unsigned int cpu;
	int rc;

	pthread_mutex_lock(&machine->lock);
	kind = machine->reset;
	cpu = machine->reset_cpu;
	event.reason = machine->reset_reason;
	event.by_guest = machine->reset_by_guest;
	machine->reset = MACHINE_RESET_NONE;
	machine->ended = false;
	pthread_mutex_unlock(&machine->lock);

	rc = machine_perform_reset(machine, kind, cpu, error, sizeof(error));
	if (rc)
		log_line("%s", error);
	else if (event.reason)
		machine_tell(machine, &event);

	pthread_mutex_lock(&machine->lock);
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		machine->cpu[i].resting = false;
		machine->cpu[i].held = false;
	}
	machine->hold = false;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	return rc;
}

static void tell_crash(struct machine *machine, unsigned int number)
{
	const struct machine_cpu *cpu = &machine->cpu[number];
	const struct machine_event event = {
		.kind = MACHINE_EVENT_CRASHED,
		/* QEMU has no word for a check stop: "crashloop" comes nearest. */
		.reason = cpu->rest == VCPU_EXIT_CHECK_STOP ? "crashloop" : "disabled-wait",
		.cpu = number,
		.psw_mask = cpu->psw_mask,
		.psw_addr = cpu->psw_addr,
	};

	machine_tell(machine, &event);
}

/* Of a vCPU that rests: did it end otherwise than by a shutdown? */
static bool has_crashed(const struct machine_cpu *cpu)
{
	return cpu->rest != VCPU_EXIT_STOPPED &&
	       (cpu->rest != VCPU_EXIT_DISABLED_WAIT || cpu->psw_addr != QUIESCE_PSW_ADDRESS);
}

/* All vCPUs rest: was that a shutdown? */
static enum machine_status how_ended(struct machine *machine, struct machine_event *end)
{
	enum machine_status status = MACHINE_POWERED_OFF;

	end->by_guest = true;
	end->reason = "guest-shutdown";
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		if (!has_crashed(&machine->cpu[i]))
			continue;
		if (status != MACHINE_CRASHED)
			tell_crash(machine, i);
		end->reason = "guest-panic";
		status = MACHINE_CRASHED;
	}
	return status;
}

static void print_crash(const struct machine *machine)
{
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		const struct machine_cpu *cpu = &machine->cpu[i];

		if (has_crashed(cpu))
			log_line("guest crashed: cpu %u in %s, psw %016" PRIx64 " %016" PRIx64, i,
				 cpu->rest == VCPU_EXIT_CHECK_STOP ? "check stop" : "disabled wait",
				 cpu->psw_mask, cpu->psw_addr);
	}
}

static void suspend(struct machine *machine)
{
	console_suspend(machine->console);
	/* This stops the process; what follows happens when it is continued. */
	raise(SIGSTOP);
	console_resume(machine->console);
}

enum verdict { GO_ON, END };

/* The signal by which the guest has been asked to shut down. */
struct shutdown_request {
	bool made;
	uint32_t signal;
	uint32_t sender;
	struct timespec at;
};

/*
 * timeout(1) signals its child, and then the group that the child is in as well. The
 * second one is not another request.
 */
static bool is_echo(const struct shutdown_request *request, const struct signalfd_siginfo *info)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return request->made && info->ssi_code == SI_USER && info->ssi_signo == request->signal &&
	       info->ssi_pid == request->sender &&
	       (now.tv_sec - request->at.tv_sec) * 1000 +
			       (now.tv_nsec - request->at.tv_nsec) / 1000000 <
		       SIGNAL_ECHO_INTERVAL;
}

static enum verdict take_signal(struct machine *machine, struct shutdown_request *request,
				enum machine_status *status)
{
	struct signalfd_siginfo info;

	if (read(machine->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return GO_ON;
	if (info.ssi_signo == SIGTSTP) {
		suspend(machine);
		return GO_ON;
	}
	if (is_echo(request, &info))
		return GO_ON;
	*status = MACHINE_FAILED;
	if (request->made || info.ssi_signo == SIGQUIT) {
		log_line("%s: guest ended before it had shut down",
			 strsignal((int)info.ssi_signo));
		return END;
	}
	*request = (struct shutdown_request){
		.made = true,
		.signal = info.ssi_signo,
		.sender = info.ssi_pid,
	};
	clock_gettime(CLOCK_MONOTONIC, &request->at);
	if (!sclp_quiesce(&machine->sclp))
		return GO_ON;
	log_line("%s: guest ended, it does not listen to shutdown requests",
		 strsignal((int)info.ssi_signo));
	return END;
}

/* `end` is told why the run has ended. */
static enum machine_status main_loop(struct machine *machine, struct machine_event *end)
{
	enum machine_status status = MACHINE_POWERED_OFF;
	struct shutdown_request request = { .made = false };
	bool again = false;

	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = machine->wake, .events = POLLIN },
			{ .fd = machine->signals, .events = POLLIN },
		};
		const char *end_requested;
		bool ended;
		enum machine_reset kind;
		uint64_t count;

		if (poll(fds, ARRAY_SIZE(fds),
			 again				  ? AGAIN_INTERVAL :
			 machine_devices_present(machine) ? MEASUREMENT_INTERVAL :
							    -1) < 0)
			continue;
		if (machine_devices_present(machine))
			machine_pci_update(machine);
		if (fds[1].revents && take_signal(machine, &request, &status) == END) {
			end->reason = "host-signal";
			return status;
		}
		if (fds[0].revents)
			(void)!read(machine->wake, &count, sizeof(count));
		else if (!again)
			continue;
		pthread_mutex_lock(&machine->lock);
		ended = machine->ended;
		end_requested = machine->end_requested;
		kind = machine->reset;
		pthread_mutex_unlock(&machine->lock);
		end->reason = end_requested;
		if (end_requested)
			return machine->lockstep.failed ? MACHINE_FAILED : MACHINE_POWERED_OFF;
		if (kind != MACHINE_RESET_NONE && !ready_for_reset(machine)) {
			again = true;
			continue;
		}
		if (kind != MACHINE_RESET_NONE) {
			if (do_reset(machine)) {
				end->reason = "host-error";
				return MACHINE_FAILED;
			}
			request.made = false;
		} else if (ended) {
			return how_ended(machine, end);
		}
		again = !machine_devices_finish(machine);
	}
}

/* Resident memory that is not the guest's, in KiB. */
static uint64_t own_memory(const struct machine *machine)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t sum = 0;
	char line[256];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		uint64_t kib;

		if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1 ||
		    sscanf(line, "RssFile: %" SCNu64, &kib) == 1)
			sum += kib;
	}
	fclose(file);
	return sum + cpu_complex_code_memory(machine->cpus) / KIB;
}

static void print_stats(struct machine *machine)
{
	uint64_t instructions = 0;
	struct timespec now;
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = (double)(now.tv_sec - machine->started.tv_sec) +
		  (double)(now.tv_nsec - machine->started.tv_nsec) / 1e9;
	for (unsigned int i = 0; i < machine->config.cpus; i++)
		instructions += vcpu_instructions(machine->cpu[i].vcpu);
	log_line("stats: instructions=%" PRIu64 " seconds=%.3f mips=%.1f memory_kib=%" PRIu64,
		 instructions, seconds, (double)instructions / 1e6 / seconds, own_memory(machine));
}

enum machine_status machine_run(struct machine *machine)
{
	const struct console_config console = {
		.in = machine->config.lockstep.file ? -1 : STDIN_FILENO,
		.out = STDOUT_FILENO,
		/* A line-mode console is edited on the host's side. */
		.raw = machine->config.console == SCLP_CONSOLE_VT220,
		.ops = &machine_console_ops,
		.opaque = machine,
	};
	struct machine_event end = { .kind = MACHINE_EVENT_SHUT_DOWN, .reason = "host-error" };
	enum machine_status status;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &machine->started);
	rc = console_create(&console, &machine->console);
	if (rc) {
		log_line("cannot start the console: %s", strerror(-rc));
		return MACHINE_FAILED;
	}
	machine_enter(machine, 0, machine->entry.psw_mask, machine->entry.psw_addr);
	rc = start_threads(machine);
	if (rc) {
		log_line("cannot start a thread for each of %u CPUs: %s", machine->config.cpus,
			 strerror(-rc));
		status = MACHINE_FAILED;
	} else {
		status = main_loop(machine, &end);
	}
	pthread_mutex_lock(&machine->lock);
	machine->shut_down = true;
	pthread_mutex_unlock(&machine->lock);
	machine_tell(machine, &end);
	join_threads(machine);
	/* What the guest wrote last comes out, unless a signal says that it shall not. */
	console_drain(machine->console, machine->signals);
	/* After what the guest itself said of it. */
	if (status == MACHINE_CRASHED)
		print_crash(machine);
	if (machine->config.stats)
		print_stats(machine);
	return status;
}

/* --- made and taken apart ----------------------------------------------------------------- */

static enum machine_status status_of(int error)
{
	return error == -EIO || error == -ENOMEM ? MACHINE_FAILED : MACHINE_WRONG_REQUEST;
}

static void on_lockstep_report(void *opaque, struct vcpu *vcpu)
{
	struct machine *machine = opaque;

	if (!lockstep_report(&machine->lockstep, vcpu))
		machine_request_end(machine, "host-error");
}

static int take_signals(struct machine *machine)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP };
	sigset_t set;

	sigemptyset(&set);
	for (unsigned int i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	/* Threads inherit this: no other thread is interrupted by them. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	machine->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return machine->signals < 0 ? -errno : 0;
}

static int create_cpus(struct machine *machine)
{
	const struct cpu_complex_config config = {
		.memory = machine->memory.base,
		.memory_size = machine->memory.size,
		.vcpus = machine->config.cpus,
		.model = machine_version_cpu_model(machine->version, machine->features),
		.floating = &machine_floating_ops,
		.idle = &machine->idle_ops,
		.opaque = machine,
		.vcpu_state_changed = machine_on_vcpu_state_changed,
		.deterministic = machine->config.lockstep.file,
		.execution = machine->config.lockstep.execution,
		.from = machine->config.lockstep.from,
		.report_every = machine->config.lockstep.every,
		.report = on_lockstep_report,
	};
	int rc;

	machine->cpus = cpu_complex_create(&config);
	if (!machine->cpus)
		return -errno;
	machine->floating.cpus = machine->cpus;
	machine->memory.written = machine_on_memory_written;
	machine->memory.opaque = machine;
	for (unsigned int i = 0; i < machine->config.cpus; i++) {
		machine->cpu[i].machine = machine;
		machine->cpu[i].vcpu = cpu_complex_vcpu(machine->cpus, i);
		vcpu_clear_reset(machine->cpu[i].vcpu);
	}
	rc = css_install(machine);
	return rc ? rc : service_install(machine);
}

/* Everything that depends on the host alone, not on what was asked for. */
static int create_parts(struct machine *machine)
{
	const struct sclp_config sclp = {
		.memory = &machine->memory,
		.cpus = machine->config.cpus,
		.console = machine->config.console,
		.directed_interrupts = machine->features & MACHINE_DIRECTED_INTERRUPTS,
		.ops = &machine_sclp_ops,
		.opaque = machine,
	};
	int rc;

	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->changed, NULL);
	machine->lock_ready = true;
	machine->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->wake < 0)
		return -errno;
	machine->irq_sources = irq_sources_create();
	if (!machine->irq_sources)
		return -errno;
	machine->idle_ops = (struct cpu_idle_ops){
		.epoll = irq_sources_idle_fd(machine->irq_sources),
		.wanted = machine_irq_sources_wanted,
		.serve = machine_irq_sources_serve,
		.serve_rest = machine_irq_sources_serve_rest,
		.watch = machine_irq_sources_watch,
	};
	rc = take_signals(machine);
	if (rc)
		return rc;
	css_init(&machine->css);
	machine->css_ready = true;
	sclp_init(&machine->sclp, &sclp);
	machine->sclp_ready = true;
	floating_reset(&machine->floating);
	return create_cpus(machine);
}

enum machine_status machine_create(const struct machine_config *config, struct machine **result,
				   char *error, size_t error_size)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	enum machine_status status = MACHINE_FAILED;
	int rc;

	if (!machine) {
		snprintf(error, error_size, "out of memory");
		return MACHINE_FAILED;
	}
	machine->config = *config;
	machine->version = config->version;
	machine->features = config->version->features & ~config->features_off;
	machine->memory.fd = machine->wake = machine->signals = -1;

	rc = memory_create(&machine->memory, config->memory_size);
	if (rc) {
		snprintf(error, error_size, "--memory: cannot have %llu MiB: %s",
			 (unsigned long long)(config->memory_size / MIB), strerror(-rc));
		goto fail;
	}
	/* Before devices take locks on files: what cannot be loaded touches nothing. */
	rc = machine_load(machine, error, error_size);
	if (rc) {
		status = status_of(rc);
		goto fail;
	}
	rc = lockstep_open(&machine->lockstep, &config->lockstep);
	if (rc) {
		snprintf(error, error_size, "--lockstep: cannot write to %s: %s",
			 config->lockstep.file, strerror(-rc));
		status = status_of(rc);
		goto fail;
	}
	rc = create_parts(machine);
	if (rc) {
		snprintf(error, error_size, "cannot make the machine: %s", strerror(-rc));
		goto fail;
	}
	rc = machine_pci_create(machine, error, error_size);
	if (!rc)
		rc = machine_devices_create(machine, error, error_size);
	if (rc) {
		status = status_of(rc);
		goto fail;
	}
	*result = machine;
	return MACHINE_POWERED_OFF;
fail:
	machine_destroy(machine);
	return status;
}

/* Has the host ended what devices had under way, or does it soon? */
static bool come_to_rest(struct machine *machine)
{
	const struct timespec pause = { 0, AGAIN_INTERVAL * 1000000 };
	uint64_t begun = now_ms();
	uint32_t fid;

	while (!machine_pci_quiesce(machine, &fid)) {
		if (now_ms() - begun > PATIENCE) {
			log_line("the device with fid=%#x is left as it is: its host does not "
				 "answer",
				 fid);
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return true;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	/* What the host may still use then ends with the process. */
	if (machine->zpci && !come_to_rest(machine))
		return;
	/* Devices first: they use memory and interruptions. */
	machine_pci_destroy(machine);
	machine_devices_destroy(machine);
	irq_sources_destroy(machine->irq_sources);
	console_destroy(machine->console);
	if (machine->cpus)
		cpu_complex_destroy(machine->cpus);
	if (machine->sclp_ready)
		sclp_destroy(&machine->sclp);
	if (machine->css_ready)
		css_destroy(&machine->css);
	memory_destroy(&machine->memory);
	lockstep_close(&machine->lockstep);
	if (machine->signals >= 0)
		close(machine->signals);
	if (machine->wake >= 0)
		close(machine->wake);
	if (machine->lock_ready) {
		pthread_cond_destroy(&machine->changed);
		pthread_mutex_destroy(&machine->lock);
	}
	free(machine);
}
